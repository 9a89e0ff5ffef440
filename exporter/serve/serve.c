/* The functions that libprofshim-exporter.so exports, and the loop behind the first: housekeeping of the host every tick,
 * reports that signals asked for, the log of slow requests, and HTTP. Everything runs on the caller's thread and nothing in here waits but
 * one poll, of EXPORTER_TICK_MS at most.
 */
#include "../exporter.h"
#include "../../shim/segment/kernel_clock.h"
#include "../pace.h"
#include "http.h"
#include "reading.h"
#include "report.h"
#include "reset.h"
#include "slow_log.h"
#include "unwind_tables.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	/* Time for clients: as much as a person or a few scrapers ever ask for, and of more a share only, since it is taken
	 * from the program where that has no more cores than it needs. A tenth of a core is 50 scrapes of nginx in a second. With a
	 * twentieth whoever asks a program that keeps all cores busy, where turns take longer, waits for many seconds. */
	BURST_MS = 500, SHARE_PCT = 10, PAUSE_MS = 20,
	DEEP_NS = 1000000,       /* of CPU time in a tick: housekeeping takes less, what goes deep more */
	DEEP_BYTES = 192 << 10,  /* of stack: views and debug information take up to 120 KiB */
	SHALLOW_BYTES = 4 << 10,
	SLOWEST = 4,             /* times its CPU time is the most that a turn is said to have taken: the process may have been stopped */
};

struct server {
	const struct exporter_host *host;
	struct reading reading;
	struct slow_log slow_log;
	struct unwind_tables unwind_tables;
	struct http *http;       /* NULL: off, or no address to be had */
	int64_t allowance_ns;    /* time that clients may still have; below 0 = none for now */
	uint64_t allowed_at_ns;  /* when it was last added to */
	uint64_t next_tick_ns;
	uint64_t cpu_ns;         /* of this thread, when last accounted for */
};

/* Writes report `number`, whatever it takes out of reading. 0 or -errno, which has been logged. */
static int write_report(const struct exporter_host *host, struct reading *reading, uint32_t number)
{
	const struct view *view = view_find("/report");
	struct view_params params;
	struct strbuf text = STRBUF_EMPTY;
	char problem[VIEW_PROBLEM_BYTES], target[SEG_TEXT_BYTES];
	int result;

	snprintf(target, sizeof(target), "%.*s", SEG_TEXT_BYTES - 1, reading->seg.head->config.report);
	view_params_default(&params, &reading->seg.head->config);
	if (reading_render(reading, view, &params, NULL, &text, problem) == READING_OK) {
		result = report_write(host, target, number, text.text, text.length);
	} else {
		result = -ENOMEM;
		snprintf(problem, sizeof(problem), "report %u: not enough memory", number);
		host->log(SEG_LOG_WARN, problem);
	}
	strbuf_free(&text);
	atomic_fetch_add_explicit(&host->seg.head->reports_finished, 1, memory_order_release);
	return result;
}

/* Writes one report if any is asked for. A report that fails is not tried again: its line in the log said so. */
static void write_requested_report(struct server *server)
{
	struct segment *head = server->host->seg.head;
	uint32_t requested = atomic_load_explicit(&head->reports_requested, memory_order_relaxed);
	uint32_t written = atomic_load_explicit(&head->reports_written, memory_order_relaxed);

	if ((int32_t)(requested - written) <= 0)
		return;
	uint32_t number = atomic_fetch_add_explicit(&head->reports_written, 1, memory_order_relaxed) + 1;
	write_report(server->host, &server->reading, number);
}

static bool is_report_requested(const struct server *server)
{
	const struct segment *head = server->host->seg.head;

	return (int32_t)(atomic_load_explicit(&head->reports_requested, memory_order_relaxed) -
	                 atomic_load_explicit(&head->reports_written, memory_order_relaxed)) > 0;
}

/* Into slot 0, which anybody may add to with locked instructions: the slots of threads are their owners' alone. Returns what
 * was added. */
static uint64_t account_cpu(struct server *server)
{
	uint64_t cpu_ns = kernel_clock_ns(CLOCK_THREAD_CPUTIME_ID), since_ns = cpu_ns - server->cpu_ns;

	seg_table_mark(&server->host->seg.slots[SEG_TABLE_THREADS], 0);
	atomic_fetch_add_explicit(&server->host->seg.threads[0].overhead_ns[SEG_PHASE_EXPORT], since_ns, memory_order_relaxed);
	server->cpu_ns = cpu_ns;
	return since_ns;
}

/* The pages that deep work left below us, for they count as the program's. The stack goes on for much longer than that: its
 * size is the host's, 2 MiB. */
static void give_back_stack(void)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), here = (uintptr_t)__builtin_frame_address(0) & -page;

	madvise((void *)(here - DEEP_BYTES), DEEP_BYTES - SHALLOW_BYTES, MADV_DONTNEED);
}

/* The host's housekeeping, if it is time for it. False: stop serving. */
static bool tick(struct server *server)
{
	uint64_t now_ns = kernel_clock_ns(CLOCK_MONOTONIC);

	if (now_ns < server->next_tick_ns)
		return true;
	server->next_tick_ns = now_ns + EXPORTER_TICK_MS * 1000000ull;
	if (account_cpu(server) > DEEP_NS)
		give_back_stack();
	slow_log_turn(&server->slow_log);
	return server->host->tick();
}

/* False: clients had all that they may have for now. */
static bool is_http_allowed(struct server *server)
{
	uint64_t now_ns = kernel_clock_ns(CLOCK_MONOTONIC);

	server->allowance_ns += (int64_t)((now_ns - server->allowed_at_ns) * SHARE_PCT / 100);
	server->allowed_at_ns = now_ns;
	if (server->allowance_ns > BURST_MS * 1000000ll)
		server->allowance_ns = BURST_MS * 1000000ll;
	return server->allowance_ns >= 0;
}

/* max_ms: how long at most, -1 = as long as new modules may wait for being seen. */
static void wait_for_work(struct server *server, int max_ms)
{
	struct pollfd fds[HTTP_POLL_FDS];
	uint64_t now_ns = kernel_clock_ns(CLOCK_MONOTONIC);
	uint64_t left_ns = now_ns < server->next_tick_ns ? server->next_tick_ns - now_ns : 0;
	int timeout_ms = (int)((left_ns + 999999) / 1000000);
	unsigned fd_count = 0;

	if (max_ms < 0 || max_ms > UNWIND_TABLES_LOOK_MS)
		max_ms = UNWIND_TABLES_LOOK_MS;
	if (timeout_ms > max_ms)
		timeout_ms = max_ms;
	if (is_report_requested(server))
		timeout_ms = 0;
	if (server->http && is_http_allowed(server))
		fd_count = http_poll(server->http, fds, timeout_ms, &timeout_ms);
	else if (server->http && timeout_ms > PAUSE_MS)
		timeout_ms = PAUSE_MS;
	/* What poll found is not looked at: http_turn sees by itself, and after a failure there is the next tick. */
	poll(fds, fd_count, timeout_ms);
}

/* To be woken is on the clients' account, too: connections that come and go are little else. And of a turn, which never waits
 * but of its own will, all of its time, also while others have the core: so the thread wants one for a tenth of the time at
 * most, and on a machine that is short of them takes no larger part of what little the program gets. */
static void serve_clients(struct server *server, int max_ms)
{
	uint64_t cpu_ns = kernel_clock_ns(CLOCK_THREAD_CPUTIME_ID);

	wait_for_work(server, max_ms);
	uint64_t woken_ns = kernel_clock_ns(CLOCK_MONOTONIC), slept_ns = 0;
	if (server->http && server->allowance_ns >= 0) {
		pace_begin(server->host->is_to_end);
		http_turn(server->http);
		slept_ns = pace_end();
	}
	uint64_t took_ns = kernel_clock_ns(CLOCK_MONOTONIC) - woken_ns - slept_ns;
	cpu_ns = kernel_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
	if (took_ns > cpu_ns * SLOWEST)
		took_ns = cpu_ns * SLOWEST;
	server->allowance_ns -= (int64_t)(took_ns > cpu_ns ? took_ns : cpu_ns);
}

static void serve(struct server *server)
{
	while (tick(server) && !server->host->is_to_end()) {
		write_requested_report(server);
		serve_clients(server, unwind_tables_turn(&server->unwind_tables));
	}
}

/* Whoever asks for much at our address must not take the processor from the program. SCHED_BATCH: to be woken displaces
 * nobody (sched(7)), and what the thread has of a program that runs in real time it gives up. It is of this thread alone, no
 * thread or process is made by it. Where it is refused, so be it.
 *
 * It is no nicer than the program, and not under SCHED_IDLE: the address space is the program's, whose mmap waits for ours,
 * and a thread that lost its core in the middle of one gets it back the later the less it counts for. Longest of 4000 calls
 * of a program with three busy threads on two cores, while clients took a quarter of a core: 18 and 132 ms so, 187 ms nicer
 * by ten, 475 ms as nice as can be, 823 ms under SCHED_IDLE; and nicer by ten a scrape of a program that keeps all cores
 * busy took up to 10 s while unwind tables were made, now 1 s. What brakes clients is their share. */
static void step_back(const struct exporter_host *host)
{
	int policy = host->may_set_policy ? sched_getscheduler(0) : -1;

	if (policy == SCHED_OTHER || policy == SCHED_FIFO || policy == SCHED_RR)
		sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){ 0 });
}

int profshim_exporter_serve(const struct exporter_host *host)
{
	struct server server = { .host = host, .cpu_ns = kernel_clock_ns(CLOCK_THREAD_CPUTIME_ID),
	                         .allowance_ns = BURST_MS * 1000000ll, .allowed_at_ns = kernel_clock_ns(CLOCK_MONOTONIC) };
	int result = reading_init(&server.reading, &host->seg);

	kernel_clock_open();
	if (result) {
		host->log(SEG_LOG_ERROR, "not enough memory to serve");
		return result;
	}
	atomic_store_explicit(&host->seg.head->server_pid, (uint32_t)getpid(), memory_order_relaxed);
	step_back(host);
	reset_finish(&host->seg);
	slow_log_init(&server.slow_log, host, &server.reading.names);
	unwind_tables_init(&server.unwind_tables, host);
	if (http_new(&server.http, host, &server.reading))
		host->log(SEG_LOG_ERROR, "not enough memory to serve HTTP; reports by signal still work");
	serve(&server);
	http_free(server.http);
	slow_log_turn(&server.slow_log);
	reading_deinit(&server.reading);
	return 0;
}

int profshim_exporter_report(const struct exporter_host *host)
{
	struct segment *head = host->seg.head;
	struct reading reading;
	int result = reading_init(&reading, &host->seg);

	if (result) {
		host->log(SEG_LOG_ERROR, "not enough memory for a report");
		return result;
	}
	/* Its number first, then the request that it answers: a server that looks in between sees nothing left to do. */
	uint32_t number = atomic_fetch_add_explicit(&head->reports_written, 1, memory_order_relaxed) + 1;
	atomic_fetch_add_explicit(&head->reports_requested, 1, memory_order_relaxed);
	result = write_report(host, &reading, number);
	reading_deinit(&reading);
	return result;
}

int profshim_exporter_finish(const struct exporter_host *host)
{
	struct reading reading;
	struct slow_log slow_log;
	int result = reading_init(&reading, &host->seg);

	if (result) {
		host->log(SEG_LOG_ERROR, "not enough memory for the last slow requests");
		return result;
	}
	slow_log_init(&slow_log, host, &reading.names);
	slow_log_finish(&slow_log);
	reading_deinit(&reading);
	return 0;
}
