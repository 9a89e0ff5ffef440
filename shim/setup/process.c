/* A place in the table is claimed by a compare-and-swap on its owner and freed by whoever holds it or, if that one was
 * killed, by the server. Gauges live in the place and vanish with it; everything else was added to cells that belong to
 * nobody and needs no burial.
 *
 * While a place is filled in or cleared its owner carries a flag beside the pid of who does that: so nobody counts what a
 * former owner left in it, and it can be freed if he dies meanwhile (unless he is in a pid namespace of his own: then the
 * flag is alone). A server that buries claims first, lest it clears what
 * has become another's. What a parent reserved for a child either of the two turns into a claim by the child: the
 * parent, since the child may be killed before it comes to it; the child, since the parent may be.
 */
#include "process.h"

#include "../base/clock.h"
#include "../base/thread.h"
#include "../segment/kernel_clock.h"
#include "namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static pid_t entered_pid;
static uint32_t own_namespace;   /* of pids; 0 = not known */
static uint32_t rings_left; /* rings_counted of the place that was given up */

static const struct seg_slots *table(void)
{
	return &seg.slots[SEG_TABLE_PROCESSES];
}

static void clear_gauges(struct seg_process *process)
{
	atomic_store_explicit(&process->threads, 0, memory_order_relaxed);
	atomic_store_explicit(&process->has_server, 0, memory_order_relaxed);
	for (int i = 0; i < SEG_PROTOCOL_COUNT; i++) {
		atomic_store_explicit(&process->open_connections[i], 0, memory_order_relaxed);
		atomic_store_explicit(&process->open_streams[i], 0, memory_order_relaxed);
	}
	for (int i = 0; i < SEG_METHOD_COUNT; i++)
		for (int scheme = 0; scheme < 2; scheme++) {
			atomic_store_explicit(&process->active_requests[i][scheme], 0, memory_order_relaxed);
			atomic_store_explicit(&process->active_owned[i][scheme], 0, memory_order_relaxed);
		}
}

/* Frees the entries of connections for whose owner is_left says so. */
static void free_connections(bool (*is_left)(uint64_t owner, uint64_t argument), uint64_t argument)
{
	const struct seg_slots *connections = &seg.slots[SEG_TABLE_CONNECTIONS];

	for (uint32_t i = 0; (i = seg_table_next(connections, i)) < connections->count; i++) {
		struct seg_connection *entry = &seg.connections[i];
		uint64_t owner = atomic_load_explicit(&entry->owner, memory_order_acquire);
		if (!owner || !is_left(owner, argument))
			continue;
		atomic_store_explicit(&entry->begin_mono_ns, 0, memory_order_relaxed);
		atomic_store_explicit(&entry->opened_mono_ns, 0, memory_order_relaxed);
		atomic_compare_exchange_strong_explicit(&entry->owner, &owner, 0, memory_order_release, memory_order_relaxed);
	}
}

static bool is_same_owner(uint64_t owner, uint64_t wanted)
{
	return owner == wanted;
}

/* Those of a process that is going, before its place is anybody else's. */
static void free_connections_of(const struct seg_process *process, uint64_t pid)
{
	free_connections(is_same_owner, seg_connection_owner(pid, (uint32_t)(process - seg.processes)));
}

static uint64_t owner_of(const struct seg_process *process)
{
	return atomic_load_explicit(&process->owner, memory_order_acquire);
}

static bool is_foreign(void)
{
	return own_namespace != seg.head->pid_namespace;
}

static uint32_t namespace_of(const struct seg_process *process)
{
	return atomic_load_explicit(&process->pid_namespace, memory_order_relaxed);
}

/* Above the pid of its threads' slots. */
static uint32_t owner_tag(uint32_t namespace)
{
	return namespace == seg.head->pid_namespace ? 0 : SEG_OWNER_FOREIGN | namespace << SEG_OWNER_NAMESPACE_SHIFT;
}

/* Whose parent is in no namespace of its own has the number 0 for it (getppid(2)). */
static void learn_namespace(void)
{
	bool is_first = !entered_pid;

	if (!is_first && (entered_pid == getpid() || getppid() != 0))
		return;
	/* Where who began the session did not know it, nobody who joins can compare. */
	uint32_t namespace = is_first && !seg.head->pid_namespace ? 0 : namespace_read();
	own_namespace = namespace ? namespace : is_first ? seg.head->pid_namespace : NAMESPACE_UNKNOWN;
	thread_owner_tag = owner_tag(own_namespace);
}

/* While a place is ours, and not yet or no more used. */
static uint64_t claimed_by_us(void)
{
	return (is_foreign() ? 0 : (uint64_t)entered_pid) | SEG_PROCESS_CLAIMED;
}

/* Makes owner, which nobody else does if it was before, after. */
static bool change_owner(struct seg_process *process, uint64_t before, uint64_t after)
{
	return atomic_compare_exchange_strong_explicit(&process->owner, &before, after, memory_order_acq_rel, memory_order_relaxed);
}

static struct seg_process *claim(uint64_t owner)
{
	for (uint32_t i = 0; i < table()->count; i++) {
		struct seg_process *process = &seg.processes[i];
		if (owner_of(process) != 0)
			continue;
		seg_table_mark(table(), i);
		if (change_owner(process, 0, owner))
			return process;
	}
	return NULL;
}

/* The number of a reservation tells it from a later one of the same place by the same parent. */
struct process_reservation process_reserve(void)
{
	static _Atomic uint32_t turn;
	struct process_reservation reservation = { 0 };

	if (!process_is_self())
		return reservation;
	reservation.owner = (uint64_t)atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed) << SEG_PROCESS_TURN_SHIFT |
			    SEG_PROCESS_RESERVED | (uint64_t)entered_pid;
	reservation.place = claim(reservation.owner);
	if (reservation.place)
		atomic_store_explicit(&reservation.place->is_exiting, 0, memory_order_relaxed);
	return reservation;
}

static uint64_t turn_of(uint64_t owner)
{
	return owner >> SEG_PROCESS_TURN_SHIFT;
}

void process_reserve_end(const struct process_reservation *reservation, pid_t child)
{
	uint64_t claimed = turn_of(reservation->owner) << SEG_PROCESS_TURN_SHIFT | SEG_PROCESS_CLAIMED | (uint32_t)child;

	if (reservation->place)
		change_owner(reservation->place, reservation->owner, child > 0 ? claimed : 0);
}

/* By the child, which may know itself by another number than its parent does (pid_namespaces(7)). False: the parent died,
 * and its place for us with it. */
static bool take_reserved(const struct process_reservation *reservation)
{
	uint64_t ours = claimed_by_us();

	if (change_owner(reservation->place, reservation->owner, ours))
		return true;
	uint64_t seen = owner_of(reservation->place);
	return (seen & SEG_PROCESS_CLAIMED) && turn_of(seen) == turn_of(reservation->owner) &&
	       change_owner(reservation->place, seen, ours);
}

bool process_enter(const struct process_reservation *reservation)
{
	/* A child of fork has its parent's rings, and its parent's place until now. */
	uint32_t rings = thread_process ? atomic_load_explicit(&thread_process->rings_counted, memory_order_relaxed) : rings_left;
	struct seg_process *process;

	learn_namespace();
	entered_pid = getpid();
	thread_pid = (uint32_t)entered_pid;
	thread_process = NULL;
	if (reservation && reservation->place && take_reserved(reservation))
		process = reservation->place;
	else
		process = claim(claimed_by_us());
	if (!process)
		return false;
	atomic_store_explicit(&process->since_boot_ns, kernel_clock_ns(CLOCK_BOOTTIME), memory_order_relaxed);
	atomic_store_explicit(&process->is_exiting, 0, memory_order_relaxed);
	clear_gauges(process);
	atomic_store_explicit(&process->pid_namespace, own_namespace, memory_order_relaxed);
	atomic_store_explicit(&process->session_pid, 0, memory_order_relaxed);
	atomic_store_explicit(&process->rings_counted, rings, memory_order_relaxed);
	atomic_store_explicit(&seg.head->ended_mono_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&process->owner, (uint64_t)entered_pid, memory_order_release);
	thread_process = process;
	return true;
}

bool process_is_self(void)
{
	return entered_pid == getpid();
}

bool process_leave(enum seg_counter cause)
{
	struct seg_process *process = thread_process;

	if (!process || !process_is_self())
		return false;
	thread_process = NULL;
	rings_left = atomic_load_explicit(&process->rings_counted, memory_order_relaxed);
	thread_count(cause);
	atomic_store_explicit(&process->is_exiting, 1, memory_order_relaxed);
	clear_gauges(process);
	free_connections_of(process, (uint64_t)entered_pid);
	if (process_is_last())
		atomic_store_explicit(&seg.head->ended_mono_ns, clock_now_ns(), memory_order_relaxed);
	atomic_store_explicit(&process->owner, 0, memory_order_release);
	return true;
}

bool process_is_last(void)
{
	for (uint32_t i = 0; (i = seg_table_next(table(), i)) < table()->count; i++) {
		uint64_t owner = owner_of(&seg.processes[i]);
		pid_t pid = seg_process_pid(owner);
		if (seg_process_is_in(owner) && namespace_of(&seg.processes[i]) != own_namespace)
			return false;
		/* A reservation of our own is another thread's, whose child may live on. */
		if (pid > 0 && owner != (uint64_t)entered_pid && (kill(pid, 0) == 0 || errno != ESRCH))
			return false;
	}
	return true;
}

/* Of /proc/PID/stat (proc(5)): whether all its threads have ended, and field 22, the start in clock ticks since boot.
 * False: cannot tell. */
static bool read_stat(pid_t pid, bool *ret_has_ended, uint64_t *ret_start_boot_ns)
{
	char path[32], text[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	char *field = strrchr(text, ')'); /* the name before it may hold anything */
	if (!field || !field[1])
		return false;
	char state = field[2]; /* of the first thread, which may have ended before the others */
	unsigned long threads = 0;
	for (int i = 2; field && i < 22; i++) {
		field = strchr(field + 1, ' ');
		if (field && i == 19)
			threads = strtoul(field + 1, NULL, 10);
	}
	if (!field)
		return false;
	*ret_has_ended = state == 'X' || (state == 'Z' && threads <= 1);
	*ret_start_boot_ns = strtoull(field, NULL, 10) * (1000000000ULL / (uint64_t)sysconf(_SC_CLK_TCK));
	return true;
}

bool process_is_alive(pid_t pid, uint64_t since_boot_ns)
{
	uint64_t start_ns;
	bool has_ended;

	if (kill(pid, 0) < 0 && errno == ESRCH)
		return false;
	if (!namespace_has_proc() || !read_stat(pid, &has_ended, &start_ns))
		return true;
	/* Started later than it entered: another process with the same number. */
	return !has_ended && (!since_boot_ns || start_ns <= since_boot_ns);
}

/* Of one in another namespace: there is an answer only where the session began. */
static bool is_foreigner_dead(struct seg_process *process, uint64_t owner)
{
	uint64_t since_ns = atomic_load_explicit(&process->since_boot_ns, memory_order_relaxed);
	pid_t known = atomic_load_explicit(&process->session_pid, memory_order_relaxed);
	bool is_sure = false;

	if (is_foreign())
		return false;
	if (known)
		return !process_is_alive(known, since_ns);
	known = namespace_find(namespace_of(process), seg_process_pid(owner), &is_sure);
	atomic_store_explicit(&process->session_pid, known, memory_order_relaxed);
	return !known && is_sure && namespace_of(process) != NAMESPACE_UNKNOWN;
}

/* Whoever owns the place, or has claimed it. */
static bool is_dead(struct seg_process *process, uint64_t owner, bool is_thorough)
{
	pid_t pid = seg_process_pid(owner);
	bool is_in = seg_process_is_in(owner);

	if (is_in && namespace_of(process) != own_namespace)
		return is_thorough && is_foreigner_dead(process, owner);
	if (!pid)
		return false; /* claimed by one of another namespace */
	if (pid == entered_pid)
		return is_in && process != thread_process; /* of one that had our number before us */
	if (!is_thorough)
		return kill(pid, 0) < 0 && errno == ESRCH;
	return !process_is_alive(pid, is_in ? atomic_load_explicit(&process->since_boot_ns, memory_order_relaxed) : 0);
}

static void bury(struct seg_process *process, uint64_t owner)
{
	if (!change_owner(process, owner, claimed_by_us()))
		return;
	clear_gauges(process);
	free_connections_of(process, (uint64_t)seg_process_pid(owner));
	/* What a parent that died had reserved may be for nobody. */
	if (!(owner & SEG_PROCESS_RESERVED) && !atomic_load_explicit(&process->is_exiting, memory_order_relaxed))
		thread_count(SEG_COUNTER_EXIT_KILLED);
	/* Counted: should we be killed here the next server only frees it. */
	atomic_store_explicit(&process->is_exiting, 1, memory_order_relaxed);
	atomic_store_explicit(&process->owner, 0, memory_order_release);
}

static void bury_processes(bool is_thorough)
{
	uint32_t server_count = 0;

	for (uint32_t i = 0; (i = seg_table_next(table(), i)) < table()->count; i++) {
		struct seg_process *process = &seg.processes[i];
		uint64_t owner = owner_of(process);
		if (!owner)
			continue;
		if (is_dead(process, owner, is_thorough))
			bury(process, owner);
		else if (seg_process_is_in(owner))
			server_count += atomic_load_explicit(&process->has_server, memory_order_relaxed);
	}
	atomic_store_explicit(&seg.head->standby_count, server_count, memory_order_relaxed);
}

uint32_t process_count_servers(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; (i = seg_table_next(table(), i)) < table()->count; i++) {
		struct seg_process *process = &seg.processes[i];
		uint64_t owner = owner_of(process);
		if (seg_process_is_in(owner) && !is_dead(process, owner, namespace_of(process) == own_namespace))
			count += atomic_load_explicit(&process->has_server, memory_order_relaxed);
	}
	return count;
}

void process_bury_server(void)
{
	uint32_t pid = atomic_load_explicit(&seg.head->server_pid, memory_order_relaxed);

	for (uint32_t i = 0; (i = seg_table_next(table(), i)) < table()->count; i++) {
		struct seg_process *process = &seg.processes[i];
		uint64_t owner = owner_of(process);
		if (owner == pid && namespace_of(process) != own_namespace &&
		    atomic_load_explicit(&process->has_server, memory_order_relaxed))
			bury(process, owner);
	}
}

/* Some process of the session has this tag and number. */
static bool has_place(uint32_t tagged)
{
	for (uint32_t i = 0; (i = seg_table_next(table(), i)) < table()->count; i++)
		if ((owner_tag(namespace_of(&seg.processes[i])) | (uint32_t)owner_of(&seg.processes[i])) == tagged)
			return true;
	return false;
}

/* A thread in another namespace has ended when its process has: that was seen at the last look, too, since threads of one
 * that is ending go on for a moment. */
static bool is_foreign_thread_dead(uint32_t slot, uint32_t tagged)
{
	static uint64_t seen[17]; /* a bit for each slot, or shard behind them: its owner's process had no place */
	uint64_t bit = 1ULL << slot % 64;

	if (slot / 64 >= sizeof(seen) / sizeof(seen[0]) || is_foreign())
		return false;
	bool was_seen = seen[slot / 64] & bit;
	seen[slot / 64] &= ~bit;
	if (has_place(tagged))
		return false;
	seen[slot / 64] |= bit;
	return was_seen;
}

static bool is_thread_dead(uint32_t slot, uint64_t owner)
{
	uint32_t tagged = (uint32_t)(owner >> 32), tag = tagged >> SEG_OWNER_NAMESPACE_SHIFT << SEG_OWNER_NAMESPACE_SHIFT;

	if (!(tagged & SEG_OWNER_FOREIGN))
		tag = 0;
	if (tag != thread_owner_tag)
		return tag && is_foreign_thread_dead(slot, tagged);
	return syscall(SYS_tgkill, (pid_t)(tagged & ~tag), (pid_t)(uint32_t)owner, 0) < 0 && errno == ESRCH;
}

/* slot: a number of its own for what is owned. */
static void take_from_dead(_Atomic uint64_t *word, uint32_t slot)
{
	uint64_t owner = atomic_load_explicit(word, memory_order_acquire);

	if (owner && is_thread_dead(slot, owner))
		atomic_compare_exchange_strong_explicit(word, &owner, 0, memory_order_release, memory_order_relaxed);
}

static void bury_threads(void)
{
	const struct seg_slots *threads = &seg.slots[SEG_TABLE_THREADS];

	for (uint32_t i = 1; (i = seg_table_next(threads, i)) < threads->count; i++)
		take_from_dead(&seg.threads[i].owner, i);
	for (uint32_t i = 0; i < SEG_SHARDS_MAX; i++)
		take_from_dead(&seg.head->shard_owners[i], threads->count + i);
}

/* An entry that was claimed while its process was going, or by a process without a place. */
static bool is_astray(uint64_t owner, uint64_t unused)
{
	uint32_t index = (uint32_t)owner;
	uint64_t pid = owner >> 32;

	(void)unused;
	if (index < table()->count && atomic_load_explicit(&seg.processes[index].owner, memory_order_relaxed) == pid)
		return false;
	return kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

void process_bury(bool is_thorough)
{
	bury_processes(is_thorough);
	if (!is_thorough)
		return;
	bury_threads();
	free_connections(is_astray, 0);
}
