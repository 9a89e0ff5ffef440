/* An event has a ticket t, its place is t modulo the size of the ring. Its sequence is 2 t + 1 while it is written and
 * 2 (t + 1) from then on (struct seg_slow); less: its writer has the ticket, but was not there yet; more: a later one has
 * overwritten it. slow_events_logged is the next ticket to look at; whoever moves it on has the event.
 */
#include "slow_log.h"

#include "../../shim/segment/kernel_clock.h"
#include "../view.h"
#include "host.h"
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	BATCH = 16,           /* events that are read, named and written at once */
	PATIENCE_MS = 1000,   /* a writer that takes longer than this for a few stores was killed */
	HIGH_DESCRIPTOR = 960, /* out of the program's way, as setup/descriptors.h has it */
};

void slow_log_init(struct slow_log *ret_log, const struct exporter_host *host, const struct names *names)
{
	*ret_log = (struct slow_log){ .host = host, .names = names };
	snprintf(ret_log->path, sizeof(ret_log->path), "%.*s", SEG_TEXT_BYTES - 1, host->seg.head->config.slow_log);
}

/* taking events */

enum event { EVENT_FINISHED, EVENT_UNFINISHED, EVENT_OVERRUN };

static enum event event_copy(struct seg_slow *ret_event, const struct seg_slow *from, uint64_t ticket)
{
	uint64_t wanted = 2 * (ticket + 1), sequence = atomic_load_explicit(&from->sequence, memory_order_acquire);

	if (sequence != wanted)
		return sequence < wanted ? EVENT_UNFINISHED : EVENT_OVERRUN;
	memcpy((void *)ret_event, (const void *)from, sizeof(*ret_event));
	atomic_thread_fence(memory_order_acquire);
	sequence = atomic_load_explicit(&from->sequence, memory_order_relaxed);
	return sequence == wanted ? EVENT_FINISHED : EVENT_OVERRUN;
}

static bool is_given_up(struct slow_log *log, uint64_t ticket, bool is_end)
{
	if (is_end)
		return true;
	if (log->waits_for != ticket + 1) {
		log->waits_for = ticket + 1;
		log->waits_since_ns = kernel_clock_ns(CLOCK_MONOTONIC);
	}
	return kernel_clock_ns(CLOCK_MONOTONIC) - log->waits_since_ns > PATIENCE_MS * 1000000ull;
}

/* Moves the log on from ticket. False: another did, and *ticket is where to now. */
static bool move_on(const struct slow_log *log, uint64_t *ticket, uint64_t to)
{
	_Atomic uint64_t *logged = &log->host->seg.head->slow_events_logged;

	if (!atomic_compare_exchange_strong_explicit(logged, ticket, to, memory_order_relaxed, memory_order_relaxed))
		return false;
	*ticket = to;
	return true;
}

/* Events that are ours from now on, at most BATCH; 0: there are none to be had. */
static uint32_t take(struct slow_log *log, struct seg_slow ret_events[static BATCH], bool is_end)
{
	const struct seg_view *seg = &log->host->seg;
	uint64_t ticket = atomic_load_explicit(&seg->head->slow_events_logged, memory_order_relaxed);
	uint64_t end = atomic_load_explicit(&seg->head->slow_events_begun, memory_order_relaxed);
	uint32_t places = seg->slots[SEG_TABLE_SLOW_EVENTS].count, taken = 0;

	while (taken < BATCH && ticket < end) {
		uint64_t here = ticket;
		if (end - here > places) {
			if (move_on(log, &ticket, end - places))
				host_count(log->host, SEG_COUNTER_SLOW_UNLOGGED, end - places - here);
			continue;
		}
		enum event event = event_copy(&ret_events[taken], &seg->slow_events[here % places], here);
		if (event == EVENT_UNFINISHED && !is_given_up(log, here, is_end))
			break;
		if (!move_on(log, &ticket, here + 1))
			continue;
		taken += event == EVENT_FINISHED;
		host_count(log->host, SEG_COUNTER_SLOW_UNLOGGED, event != EVENT_FINISHED);
	}
	return taken;
}

/* writing lines */

/* -errno. */
static int open_log(const struct slow_log *log)
{
	int fd = sink_open(log->path, O_APPEND | O_CREAT);

	if (fd < 0)
		return fd;
	int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
	if (high >= 0) {
		close(fd);
		fd = high;
	}
	log->host->descriptor_opened(fd);
	return fd;
}

/* Whole lines, one write each, so that lines of several writers do not mix. Returns how many were written; -errno of the
 * one that was not in *ret_error. */
static uint32_t write_lines(struct slow_log *log, const struct sink *sink, const char *text, int *ret_error)
{
	uint32_t count = 0;
	size_t written;

	*ret_error = log->has_torn_line ? sink_write(sink, "\n", 1, &written) : 0;
	log->has_torn_line = *ret_error && log->has_torn_line;
	while (*text && !*ret_error) {
		size_t n = strcspn(text, "\n") + 1;
		*ret_error = sink_write(sink, text, n, &written);
		log->has_torn_line = written > 0 && written < n;
		count += !*ret_error;
		text += n;
	}
	return count;
}

static uint32_t append(struct slow_log *log, const char *text, int *ret_error)
{
	struct sink sink;
	uint32_t count = 0;
	int fd = open_log(log);

	*ret_error = fd < 0 ? fd : 0;
	if (fd < 0)
		return 0;
	*ret_error = sink_init(&sink, fd);
	if (!*ret_error)
		count = write_lines(log, &sink, text, ret_error);
	log->host->descriptor_closed(fd);
	close(fd);
	return count;
}

static void tell(struct slow_log *log, int error)
{
	char line[SEG_TEXT_BYTES + 160];

	if (error && !log->is_failing) {
		snprintf(line, sizeof(line), "slow requests cannot be logged to %s: %s", log->path, strerrordesc_np(-error));
		log->host->log(SEG_LOG_WARN, line);
	}
	log->is_failing = error != 0;
}

/* The lines of events. 0 or -ENOMEM. */
static int render(const struct slow_log *log, const struct seg_slow *events, uint32_t count, struct strbuf *out)
{
	struct snapshot *snapshot = snapshot_take_slow(&log->host->seg, events, count);
	struct model *model = snapshot ? model_build(snapshot, log->names) : NULL;

	if (model)
		view_slow_log_render(model, out);
	else
		strbuf_fail(out, -ENOMEM);
	model_free(model);
	snapshot_free(snapshot);
	return out->error;
}

static void write_events(struct slow_log *log, const struct seg_slow *events, uint32_t count)
{
	struct strbuf text = STRBUF_EMPTY;
	uint32_t written = 0;
	int error = render(log, events, count, &text);

	if (!error)
		written = append(log, strbuf_text(&text), &error);
	tell(log, error);
	host_count(log->host, SEG_COUNTER_SLOW_UNLOGGED, count - written);
	strbuf_free(&text);
}

bool slow_log_is_due(const struct slow_log *log)
{
	const struct segment *head = log->host->seg.head;

	return log->path[0] && atomic_load_explicit(&head->slow_events_logged, memory_order_relaxed) <
	                               atomic_load_explicit(&head->slow_events_begun, memory_order_relaxed);
}

static void log_all(struct slow_log *log, bool is_end)
{
	struct seg_slow events[BATCH];
	uint32_t count;

	if (!slow_log_is_due(log))
		return;
	while ((count = take(log, events, is_end)))
		write_events(log, events, count);
}

void slow_log_turn(struct slow_log *log)
{
	log_all(log, false);
}

void slow_log_finish(struct slow_log *log)
{
	log_all(log, true);
}
