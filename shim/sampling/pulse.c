#include "pulse.h"

#include "../base/clock.h"
#include "../base/hot.h"
#include "../segment/kernel_clock.h"

#include <fcntl.h>

/* Without a sample from the perf clock for so long: it is not to be trusted to see the thread at all. */
#define SILENCE_NS 32000000 /* 8 ticks of 4 ms */
#define LOOK_EVERY_NS 100000000
#define MANY_TICKS_NS 100000000

/* The kernel numbers a process's timers in a row (kernel/time/posix-timers.c), so those that are made at one time have places of
 * their own. A thread that lost its place to a much later timer before its first sample is not met by that, but by its first call. */
enum { STRANGERS = 1 << 14 };

enum { PERF_RECORD_BYTES = 16 }; /* header and instruction pointer: perf.c asks for no more */

__thread struct pulse pulse __attribute__((tls_model("initial-exec")));
char pulse_cookies[PULSE_HZ_MAX + 1];
static _Atomic uint64_t strangers[STRANGERS]; /* at the timer's number: tid << 32 | the number. W: pulse_expect */
HOT_DATA _Atomic bool pulse_is_given_up;

static uint32_t hz_of_timer(const siginfo_t *info)
{
	uintptr_t offset = (uintptr_t)info->si_value.sival_ptr - (uintptr_t)pulse_cookies;

	return info->si_code == SI_TIMER && offset <= PULSE_HZ_MAX ? (uint32_t)offset : 0;
}

/* As kill_fasync in the kernel's fs/fcntl.c has it: a number of POLL_*, and the descriptor for which it was asked. */
static bool is_of_perf(const siginfo_t *info)
{
	return pulse.perf_fd && info->si_code >= POLL_IN && info->si_code <= POLL_HUP && info->si_fd == pulse.perf_fd;
}

bool sig_pulse_is_ours(const siginfo_t *info)
{
	return hz_of_timer(info) || is_of_perf(info);
}

void pulse_expect(int32_t timer, uint32_t tid)
{
	atomic_store_explicit(&strangers[(uint32_t)timer % STRANGERS], (uint64_t)tid << 32 | (uint32_t)timer, memory_order_relaxed);
}

uint32_t sig_pulse_stranger(const siginfo_t *info)
{
	uint32_t timer = (uint32_t)info->si_timerid;
	uint64_t expected = hz_of_timer(info) ? atomic_load_explicit(&strangers[timer % STRANGERS], memory_order_relaxed) : 0;

	return (uint32_t)expected == timer ? (uint32_t)(expected >> 32) : 0;
}

/* The system call instruction leaves the address of the next one in rcx (Intel's manual, SYSCALL), and nothing else does:
 * the thread was met in the kernel, in a system call. */
static bool is_in_system_call(const ucontext_t *context)
{
	return context->uc_mcontext.gregs[REG_RCX] == context->uc_mcontext.gregs[REG_RIP];
}

/* Signals that came while another was pending are not there any more; what they wrote is. */
static uint64_t perf_ns(void)
{
	if (!pulse.perf_head)
		return 0;
	uint64_t head = *pulse.perf_head;
	uint64_t records = (head - pulse.perf_seen) / PERF_RECORD_BYTES;
	pulse.perf_seen = head;
	return records * pulse.perf_ns;
}

static uint64_t weigh_perf(uint64_t enough_ns)
{
	pulse.perf_due_ns += perf_ns();
	if (pulse.perf_due_ns < enough_ns)
		return 0;
	uint64_t weight_ns = pulse.perf_due_ns;
	pulse.perf_due_ns = 0;
	pulse.owed_ns -= (int64_t)weight_ns;
	return weight_ns;
}

/* It expires in the kernel, too, where it makes no sample. */
static void account_perf(uint64_t told_ns)
{
	uint64_t tick_ns = atomic_load_explicit(&seg.head->perf_tick_ns, memory_order_relaxed);

	thread_add(&self.slot->overhead_ns[SEG_PHASE_SAMPLING], told_ns * tick_ns / pulse.perf_ns);
}

static uint64_t weigh_timer(uint64_t told_ns, uint64_t enough_ns, const ucontext_t *context)
{
	if (pulse.perf_head)
		account_perf(told_ns);
	pulse.told_ns += (int64_t)told_ns;
	pulse.owed_ns += (int64_t)told_ns;
	if (pulse.told_ns >= pulse.look_ns) {
		pulse.look_ns = pulse.told_ns + LOOK_EVERY_NS;
		atomic_store_explicit(&pulse.hz, PULSE_LOOK, memory_order_relaxed);
	}
	if (pulse.owed_ns < (int64_t)enough_ns)
		return 0;
	if (pulse.perf_head && !is_in_system_call(context) && pulse.owed_ns < SILENCE_NS)
		return 0;
	uint64_t weight_ns = (uint64_t)pulse.owed_ns;
	pulse.owed_ns = 0;
	return weight_ns;
}

uint64_t sig_pulse_weigh(const siginfo_t *info, const ucontext_t *context)
{
	uint32_t hz = pulse_rate();
	uint32_t timer_hz = hz_of_timer(info);

	if (!hz)
		return 0;
	/* The rate was lowered and the timer does not know yet: the sample is left out, its time is not. */
	uint64_t enough_ns = pulse_period_ns(hz) / 4 * 3;
	if (!timer_hz)
		return weigh_perf(enough_ns);
	uint64_t missed = info->si_overrun > 0 ? (uint64_t)info->si_overrun : 0;
	return weigh_timer(pulse_period_ns(timer_hz) * (1 + missed), enough_ns, context);
}

uint64_t pulse_begin(uint32_t hz, bool is_new, bool is_looked_at)
{
	int64_t inherited_ns = atomic_exchange_explicit(&seg.head->uncounted_ns, 0, memory_order_relaxed);
	int64_t period_ns = (int64_t)pulse_period_ns(hz);
	uint64_t dice[2] = { clock_now_ns(), (uintptr_t)&pulse };
	int64_t first_ns = 1 + (int64_t)(seg_key_of_bytes(dice, sizeof(dice), 0) % (uint64_t)period_ns) - inherited_ns;
	int64_t at_once_ns = inherited_ns > period_ns ? inherited_ns - period_ns : 0;

	pulse.base_ns = (is_new ? 0 : (int64_t)kernel_clock_ns(CLOCK_THREAD_CPUTIME_ID)) - inherited_ns;
	pulse.told_ns = pulse.owed_ns = at_once_ns;
	pulse.look_ns = is_looked_at ? at_once_ns + LOOK_EVERY_NS : INT64_MAX;
	pulse.ledger_hz = hz;
	if (first_ns < 1)
		return 1;
	return (uint64_t)(first_ns < 2 * period_ns ? first_ns : 2 * period_ns);
}

void pulse_end(void)
{
	if (!pulse.ledger_hz)
		return;
	int64_t counted_ns = pulse.told_ns - pulse.owed_ns;
	int64_t uncounted_ns = (int64_t)kernel_clock_ns(CLOCK_THREAD_CPUTIME_ID) - pulse.base_ns - counted_ns;
	/* More than that no tick leaves uncounted: signals were kept from the thread, and no other one answers for its time. */
	int64_t most_ns = 2 * (int64_t)pulse_period_ns(pulse.ledger_hz) + MANY_TICKS_NS;

	pulse_forget();
	if (uncounted_ns > most_ns)
		uncounted_ns = most_ns;
	if (uncounted_ns < -most_ns)
		uncounted_ns = -most_ns;
	atomic_fetch_add_explicit(&seg.head->uncounted_ns, uncounted_ns, memory_order_relaxed);
}

void pulse_forget(void)
{
	pulse.ledger_hz = 0;
	pulse.owed_ns = 0;
	pulse.told_ns = 0;
	pulse.perf_due_ns = 0;
}
