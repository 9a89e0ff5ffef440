/* The program's CPU time is asked of the kernel, process by process (clock_getcpuclockid(3) by hand: any process may ask for
 * any other's). A process that ended since the last look is missing from it, so that the share comes out too high rather
 * than too low, for one look. */
#include "governor.h"

#include "../base/clock.h"
#include "../base/log.h"
#include "../base/thread.h"
#include "../segment/kernel_clock.h"

#define LOOK_EVERY_NS 1000000000
#define PROGRAM_NS_MIN 100000000 /* 0.1 s of CPU: less tells nothing, the look lasts on */

enum { SHIFT_MAX = 14 /* 10000 Hz >> 14 is none */ };

static uint64_t process_cpu_ns(pid_t pid)
{
	enum { BY_SCHEDULER = 2 }; /* include/linux/posix-timers_types.h: of the process of that id */

	return kernel_clock_ns((clockid_t)(~(uint32_t)pid << 3 | BY_SCHEDULER));
}

static uint64_t program_cpu_ns(void)
{
	const struct seg_slots *table = &seg.slots[SEG_TABLE_PROCESSES];
	uint64_t sum_ns = 0;

	for (uint32_t i = 0; (i = seg_table_next(table, i)) < table->count; i++) {
		uint64_t owner = atomic_load_explicit(&seg.processes[i].owner, memory_order_relaxed);
		if (owner && owner <= INT32_MAX)
			sum_ns += process_cpu_ns((pid_t)owner);
	}
	return sum_ns;
}

static struct governor_costs costs_now(void)
{
	const struct seg_slots *table = &seg.slots[SEG_TABLE_THREADS];
	struct governor_costs costs = { .program_ns = program_cpu_ns() };

	for (uint32_t i = 0; (i = seg_table_next(table, i)) < table->count; i++)
		for (int phase = 0; phase < SEG_PHASE_COUNT; phase++) {
			uint64_t ns = atomic_load_explicit(&seg.threads[i].overhead_ns[phase], memory_order_relaxed);
			*(phase == SEG_PHASE_SAMPLING ? &costs.sampling_ns : &costs.other_ns) += ns;
		}
	return costs;
}

uint32_t governor_shift(uint32_t hz, uint32_t shift, uint32_t budget_ppm, const struct governor_costs *costs)
{
	uint64_t budget_ns = costs->program_ns / 1000 * budget_ppm / 1000;
	uint64_t kept_ns = budget_ns / 2;
	uint64_t left_ns = budget_ns > costs->other_ns + kept_ns ? budget_ns - costs->other_ns : kept_ns;

	if (costs->sampling_ns > left_ns && hz >> (shift + 1))
		return shift + 1;
	if (shift && costs->sampling_ns * 2 < left_ns / 4 * 3)
		return shift - 1;
	return shift;
}

static uint64_t difference(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

/* The decision of a look that has lasted long enough; else the shift as it is. */
static uint32_t look(uint32_t hz, uint32_t shift)
{
	static uint64_t looked_ns;
	static struct governor_costs before;
	uint64_t now_ns = clock_now_ns();

	if (now_ns - looked_ns < LOOK_EVERY_NS)
		return shift;
	struct governor_costs now = costs_now();
	struct governor_costs costs = { difference(now.program_ns, before.program_ns), difference(now.sampling_ns, before.sampling_ns),
					difference(now.other_ns, before.other_ns) };
	bool is_first = !looked_ns;
	if (!is_first && now.program_ns >= before.program_ns && costs.program_ns < PROGRAM_NS_MIN)
		return shift;
	looked_ns = now_ns;
	before = now;
	return is_first || !costs.program_ns ? shift : governor_shift(hz, shift, seg.head->config.budget_ppm, &costs);
}

static void change(uint32_t hz, uint32_t before, uint32_t shift)
{
	atomic_store_explicit(&seg.head->rate_shift, shift, memory_order_relaxed);
	thread_count(shift > before ? SEG_COUNTER_RATE_LOWERED : SEG_COUNTER_RATE_RAISED);
	log_line(SEG_LOG_INFO, "%s budget: sampling at %u Hz from now on, %u were asked for", shift > before ? "over the" : "within the",
		 (unsigned)(hz >> shift), (unsigned)hz);
}

void governor_tick(void)
{
	struct segment *head = seg.head;
	uint32_t hz = atomic_load_explicit(&head->config.hz, memory_order_relaxed);
	uint32_t before = atomic_load_explicit(&head->rate_shift, memory_order_relaxed);
	uint32_t shift = before <= SHIFT_MAX ? before : 0;

	while (shift && !(hz >> shift)) /* less was asked for meanwhile */
		shift--;
	if (!hz || !atomic_load_explicit(&head->config.is_enabled, memory_order_relaxed)) {
		atomic_store_explicit(&head->hz_now, 0, memory_order_relaxed);
		return;
	}
	shift = head->config.budget_ppm ? look(hz, shift) : 0;
	if (shift != before)
		change(hz, before, shift);
	atomic_store_explicit(&head->hz_now, hz >> shift, memory_order_relaxed);
}
