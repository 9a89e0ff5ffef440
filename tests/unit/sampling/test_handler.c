#include "../../../shim/base/work.h"
#include "../../../shim/sampling/deputy.h"
#include "../../../shim/sampling/disposition.h"
#include "../../../shim/sampling/handler.h"
#include "../../../shim/sampling/modules.h"
#include "../../../shim/sampling/pulse.h"
#include "../../../shim/sampling/sampling.h"
#include "../../../shim/sampling/unwind.h"
#include "fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PERIOD_NS = 10000000 };

static char own_stack[4096];

/* A context in which only this function runs: no caller can be found. */
static ucontext_t context_here(void)
{
	ucontext_t context = { 0 };

	context.uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)context_here + 1;
	context.uc_mcontext.gregs[REG_RSP] = (greg_t)(uintptr_t)own_stack;
	return context;
}

static void deliver(siginfo_t info)
{
	ucontext_t context = context_here();

	sig_on_prof(SIGPROF, &info, &context);
}

static void start_sampling(void)
{
	fixture_start_sampling(100, "fp");
}

START_TEST(a_sample_weighs_one_period)
{
	deliver(fixture_signal(0));
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 1);
	ck_assert_uint_eq(fixture_cpu_ns(), PERIOD_NS);
}
END_TEST

START_TEST(missed_expiries_add_their_weight)
{
	deliver(fixture_signal(3));
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 1);
	ck_assert_uint_eq(fixture_cpu_ns(), 4 * PERIOD_NS);
}
END_TEST

START_TEST(a_negative_overrun_counts_as_none)
{
	deliver(fixture_signal(-1));
	ck_assert_uint_eq(fixture_cpu_ns(), PERIOD_NS);
}
END_TEST

START_TEST(a_thousand_signals_are_a_thousand_samples)
{
	for (int i = 0; i < 1000; i++)
		deliver(fixture_signal(0));
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 1000);
	ck_assert_uint_eq(fixture_cpu_ns(), 1000ULL * PERIOD_NS);
	ck_assert_uint_eq(fixture_node_samples(fixture_hottest_node()), 1000);
	ck_assert_uint_eq(fixture_node_activations(fixture_hottest_node()), 1);
	ck_assert_uint_gt(fixture_overhead_ns(), 0);
}
END_TEST

START_TEST(samples_go_to_the_endpoint_that_the_thread_works_for)
{
	work_set((struct work){ SEG_ENDPOINT_FIRST, 0 });
	deliver(fixture_signal(0));
	work_set_pending();
	deliver(fixture_signal(0));
	ck_assert_uint_eq(atomic_load(&seg.endpoints[SEG_ENDPOINT_FIRST].cpu_samples), 1);
	work_set((struct work){ SEG_ENDPOINT_FIRST + 1, 0 });
	ck_assert_uint_eq(atomic_load(&seg.endpoints[SEG_ENDPOINT_FIRST + 1].cpu_samples), 1);
}
END_TEST

START_TEST(errno_stays_what_it_was)
{
	errno = EXDEV;
	deliver(fixture_signal(0));
	ck_assert_int_eq(errno, EXDEV);
}
END_TEST

START_TEST(a_disabled_session_takes_no_samples)
{
	atomic_store(&seg.head->config.is_enabled, 0);
	deliver(fixture_signal(0));
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 0);
}
END_TEST

START_TEST(a_sample_within_a_sample_keeps_its_weight_and_says_why_its_stack_is_lost)
{
	uint64_t frames[4];

	self.in_handler = 1;
	deliver(fixture_signal(0));
	ck_assert_uint_eq(self.in_handler, 1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_NESTED), 1);
	ck_assert_uint_eq(fixture_cpu_ns(), PERIOD_NS);
	ck_assert_uint_eq(fixture_path(fixture_hottest_node(), frames, 4), 2);
	ck_assert_uint_eq(frames[1], seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_LOST));
}
END_TEST

/* Nothing of a library is read, so the stack is walked all the same; what it is made of may not be told. */
START_TEST(while_a_library_goes_stacks_are_walked_but_not_remembered)
{
	uint64_t frames[512];

	deliver(fixture_signal(0));
	uint32_t before = unwind_walk.own->path.depth;
	unwind_walk.own->path.depth = 0;
	modules_unload_begin();
	deliver(fixture_signal(0));
	modules_unload_end();
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_LOADER), 0);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 2);
	ck_assert_uint_ge(fixture_path(fixture_hottest_node(), frames, 512), 1);
	ck_assert_uint_eq(unwind_walk.own->path.depth, 0);
	deliver(fixture_signal(0));
	ck_assert_uint_eq(unwind_walk.own->path.depth, before);
}
END_TEST

START_TEST(threads_that_share_a_slot_drop_what_comes_at_once)
{
	self.is_exclusive = 0;
	struct unwind_state *other_threads = sig_unwind_begin();

	ck_assert_ptr_nonnull(other_threads);
	deliver(fixture_signal(0));
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_NO_SLOT), 1);
	sig_unwind_end(other_threads);
	deliver(fixture_signal(0));
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_NO_SLOT), 1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 2);
}
END_TEST

START_TEST(a_full_table_keeps_the_weight_and_shows_lost)
{
	uint64_t frames[4];

	seg.slots[SEG_TABLE_FRAMES].count = 1;
	atomic_store(&seg.frames[0].key, seg_frame_key(SEG_MODULE_FIRST, 1));
	deliver(fixture_signal(0));
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_FRAMES_FULL), 1);
	ck_assert_uint_eq(fixture_cpu_ns(), PERIOD_NS);
	seg.slots[SEG_TABLE_FRAMES].count = seg.head->tables[SEG_TABLE_FRAMES].count;
	ck_assert_uint_eq(fixture_path(fixture_hottest_node(), frames, 4), 1);
	ck_assert_uint_eq(frames[0], seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_LOST));
}
END_TEST

START_TEST(a_thread_without_a_slot_gets_one_with_its_first_sample)
{
	enum { TIMER = 1 << 20 | 7 };
	siginfo_t info = fixture_signal(0);
	uint32_t tid = self.tid;

	thread_detach();
	thread_pid = (uint32_t)getpid();
	info.si_timerid = TIMER;
	deliver(info);
	ck_assert_ptr_null(self.slot); /* a timer that nobody told of */
	pulse_expect(TIMER, tid);
	deliver(info);
	ck_assert_ptr_nonnull(self.slot);
	ck_assert_uint_eq(self.tid, tid);
	ck_assert_uint_eq(atomic_load(&self.slot->owner), (uint64_t)getpid() << 32 | tid);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 1);
}
END_TEST

START_TEST(a_thread_that_our_own_code_runs_on_is_not_attached)
{
	thread_detach();
	self.own_depth = 1;
	deliver(fixture_signal(0));
	ck_assert_ptr_null(self.slot);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 0);
}
END_TEST

/* --- signals that are not ours --- */

static volatile int program_calls;
static volatile int program_code;
static siginfo_t *volatile program_info;
static void *volatile program_context;
static sigset_t program_mask;

static void on_program(int number)
{
	ck_assert_int_eq(number, SIGPROF);
	program_calls++;
}

static void on_program_info(int number, siginfo_t *info, void *context)
{
	on_program(number);
	program_code = info->si_code;
	program_info = info;
	program_context = context;
	sigprocmask(SIG_BLOCK, NULL, &program_mask);
}

static void set_program_action(struct sigaction action)
{
	sampling_program_action(SIGPROF, &action, NULL);
}

START_TEST(a_signal_without_our_cookie_is_the_programs)
{
	siginfo_t wrong_code = fixture_signal(0), wrong_value = fixture_signal(0);

	wrong_code.si_code = SI_USER;
	wrong_value.si_value.sival_ptr = own_stack;
	set_program_action((struct sigaction){ .sa_handler = on_program });
	deliver(wrong_code);
	deliver(wrong_value);
	ck_assert_int_eq(program_calls, 2);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 0);
}
END_TEST

START_TEST(our_own_signal_is_not_shown_to_the_program)
{
	set_program_action((struct sigaction){ .sa_handler = on_program });
	deliver(fixture_signal(0));
	ck_assert_int_eq(program_calls, 0);
}
END_TEST

START_TEST(the_programs_handler_gets_the_signals_own_arguments)
{
	siginfo_t info = fixture_signal(0);
	ucontext_t context = context_here();

	info.si_code = SI_QUEUE;
	set_program_action((struct sigaction){ .sa_sigaction = on_program_info, .sa_flags = SA_SIGINFO });
	sig_on_prof(SIGPROF, &info, &context);
	ck_assert_int_eq(program_calls, 1);
	ck_assert_int_eq(program_code, SI_QUEUE);
	ck_assert_ptr_eq(program_info, &info);
	ck_assert_ptr_eq(program_context, &context);
}
END_TEST

START_TEST(the_programs_handler_runs_with_the_mask_that_it_asked_for)
{
	struct sigaction action = { .sa_sigaction = on_program_info, .sa_flags = SA_SIGINFO };

	sigaddset(&action.sa_mask, SIGUSR2);
	set_program_action(action);
	raise(SIGPROF);
	ck_assert_int_eq(program_calls, 1);
	ck_assert(sigismember(&program_mask, SIGUSR2));
	ck_assert(!sigismember(&program_mask, SIGUSR1));
	/* Its own signal waits as the deputy, ours goes on. */
	ck_assert(sigismember(&program_mask, deputy_signal));
	ck_assert(!sigismember(&program_mask, SIGPROF));
	/* And afterwards the mask is what it was. */
	sigprocmask(SIG_BLOCK, NULL, &program_mask);
	ck_assert(!sigismember(&program_mask, SIGUSR2));
	ck_assert(!sigismember(&program_mask, deputy_signal));
}
END_TEST

START_TEST(a_handler_that_asked_for_it_is_not_blocked_against_itself)
{
	set_program_action((struct sigaction){ .sa_sigaction = on_program_info, .sa_flags = SA_SIGINFO | SA_NODEFER });
	raise(SIGPROF);
	ck_assert(!sigismember(&program_mask, deputy_signal));
}
END_TEST

START_TEST(a_handler_for_one_signal_is_gone_after_it)
{
	struct sigaction now;

	set_program_action((struct sigaction){ .sa_handler = on_program, .sa_flags = (int)SA_RESETHAND });
	raise(SIGPROF);
	ck_assert_int_eq(program_calls, 1);
	sampling_program_action(SIGPROF, NULL, &now);
	ck_assert_ptr_eq((void *)now.sa_handler, (void *)SIG_DFL);
}
END_TEST

START_TEST(a_signal_that_the_program_ignores_is_ignored)
{
	set_program_action((struct sigaction){ .sa_handler = SIG_IGN });
	raise(SIGPROF);
	ck_assert_int_eq(program_calls, 0);
}
END_TEST

START_TEST(the_program_sees_the_action_that_it_set)
{
	struct sigaction action = { .sa_handler = on_program, .sa_flags = SA_NODEFER }, old, now;

	sigaddset(&action.sa_mask, SIGHUP);
	sampling_program_action(SIGPROF, &action, &old);
	ck_assert_ptr_eq((void *)old.sa_handler, (void *)SIG_DFL);
	sampling_program_action(SIGPROF, NULL, &now);
	ck_assert_ptr_eq((void *)now.sa_handler, (void *)on_program);
	ck_assert_int_eq(now.sa_flags, SA_NODEFER);
	ck_assert(sigismember(&now.sa_mask, SIGHUP));
	sigaction(SIGPROF, NULL, &now);
	ck_assert_ptr_eq((void *)now.sa_sigaction, (void *)sig_on_prof);
}
END_TEST

/* Samples and signals of the program on the same thread: neither is lost, neither is taken for the other. */
START_TEST(the_programs_timer_and_ours_live_together)
{
	siginfo_t ours = fixture_signal(0);

	set_program_action((struct sigaction){ .sa_handler = on_program });
	for (int i = 0; i < 100; i++) {
		raise(SIGPROF);
		deliver(ours);
	}
	ck_assert_int_eq(program_calls, 100);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 100);
}
END_TEST

static int status_of_child(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		body();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void die_by_default(void)
{
	set_program_action((struct sigaction){ .sa_handler = SIG_DFL });
	raise(SIGPROF);
}

START_TEST(a_signal_that_nobody_handles_ends_the_program_as_it_would_have)
{
	int status = status_of_child(die_by_default);

	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGPROF);
}
END_TEST

/* --- threads that block everything --- */

static void block_all(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
}

static bool is_prof_blocked(void)
{
	sigset_t now;

	sigprocmask(SIG_BLOCK, NULL, &now);
	return sigismember(&now, SIGPROF);
}

START_TEST(a_thread_that_blocks_everything_is_sampled)
{
	siginfo_t info = fixture_signal(0);

	block_all();
	sampling_thread_start();
	syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGPROF, &info);
	ck_assert_uint_ge(fixture_counter(SEG_COUNTER_SAMPLES), 1);
	sampling_thread_stop();
	ck_assert(is_prof_blocked());
}
END_TEST

/* The program's SIGPROF waits as the deputy; taken with sigtimedwait, as the hook of that does. */
static siginfo_t take_waiting(void)
{
	sigset_t deputy;
	siginfo_t info;
	struct timespec at_once = { 0 };

	sigemptyset(&deputy);
	sigaddset(&deputy, deputy_signal);
	ck_assert_int_eq(sigtimedwait(&deputy, &info, &at_once), deputy_signal);
	ck_assert(sig_disposition_translate(&info));
	return info;
}

static void sample_here(void)
{
	siginfo_t info = fixture_signal(0);
	uint64_t before = fixture_counter(SEG_COUNTER_SAMPLES);

	syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGPROF, &info);
	ck_assert_uint_gt(fixture_counter(SEG_COUNTER_SAMPLES), before);
}

START_TEST(a_signal_for_the_program_waits_where_the_program_blocks_it_and_samples_go_on)
{
	block_all();
	sampling_thread_start();
	ck_assert(!is_prof_blocked());
	kill(getpid(), SIGPROF); /* its default action would be the end */
	kill(getpid(), SIGPROF); /* one at a time is kept, as ever */
	sample_here();
	siginfo_t info = take_waiting();
	ck_assert_int_eq(info.si_signo, SIGPROF);
	ck_assert_int_eq(info.si_code, SI_USER);
	ck_assert_int_eq(info.si_pid, getpid());
	sigset_t pending;
	sigpending(&pending);
	ck_assert(!sigismember(&pending, deputy_signal));
}
END_TEST

START_TEST(a_signal_to_the_blocking_thread_alone_waits_there)
{
	block_all();
	sampling_thread_start();
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGPROF);
	sample_here();
	ck_assert_int_eq(take_waiting().si_code, SI_TKILL);
}
END_TEST

START_TEST(a_signal_that_the_kernel_has_no_room_for_waits_all_the_same)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_SIGPENDING, &none);
	block_all();
	sampling_thread_start();
	kill(getpid(), SIGPROF);
	ck_assert_int_eq(take_waiting().si_signo, SIGPROF);
}
END_TEST

START_TEST(what_was_pending_before_us_is_pending_still)
{
	block_all();
	raise(SIGPROF);
	sampling_thread_start();
	ck_assert(!is_prof_blocked());
	ck_assert_int_eq(take_waiting().si_signo, SIGPROF);
}
END_TEST

START_TEST(a_signal_that_waited_reaches_the_handler_when_it_may)
{
	sigset_t set;

	set_program_action((struct sigaction){ .sa_sigaction = on_program_info, .sa_flags = SA_SIGINFO });
	block_all();
	sampling_thread_start();
	kill(getpid(), SIGPROF);
	ck_assert_int_eq(program_calls, 0);
	sigemptyset(&set);
	sigaddset(&set, deputy_signal);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	ck_assert_int_eq(program_calls, 1);
	ck_assert_int_eq(program_code, SI_USER);
}
END_TEST

START_TEST(what_waits_for_the_program_waits_in_the_program_that_is_executed)
{
	sigset_t pending;

	block_all();
	sampling_thread_start();
	kill(getpid(), SIGPROF);
	sampling_pause();
	sigpending(&pending);
	ck_assert(sigismember(&pending, SIGPROF));
	ck_assert(!sigismember(&pending, deputy_signal));
}
END_TEST

START_TEST(a_program_that_is_executed_gets_the_mask_that_it_was_meant_to)
{
	block_all();
	sampling_thread_start();
	sampling_pause();
	ck_assert(is_prof_blocked());
	sampling_resume();
	ck_assert(!is_prof_blocked());
}
END_TEST

/* --- around exec --- */

START_TEST(a_pause_throws_away_what_is_pending)
{
	sigset_t prof;

	sigemptyset(&prof);
	sigaddset(&prof, SIGPROF);
	sigprocmask(SIG_BLOCK, &prof, NULL);
	raise(SIGPROF);
	sampling_pause();
	sigpending(&prof);
	ck_assert(!sigismember(&prof, SIGPROF));
}
END_TEST

START_TEST(what_the_program_ignores_stays_ignored_after_exec)
{
	struct sigaction now;

	set_program_action((struct sigaction){ .sa_handler = SIG_IGN });
	sampling_pause();
	sigaction(SIGPROF, NULL, &now);
	ck_assert_ptr_eq((void *)now.sa_handler, (void *)SIG_IGN);
	sampling_resume();
	sigaction(SIGPROF, NULL, &now);
	ck_assert_ptr_eq((void *)now.sa_sigaction, (void *)sig_on_prof);
}
END_TEST

START_TEST(a_paused_sampler_takes_no_samples_and_a_resumed_one_does)
{
	sampling_pause();
	deliver(fixture_signal(0));
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 0);
	ck_assert_int_eq(self.timer, -1);
	sampling_resume();
	ck_assert_int_ge(self.timer, 0);
	sampling_thread_stop();
	deliver(fixture_signal(0));
	ck_assert_uint_ge(fixture_counter(SEG_COUNTER_SAMPLES), 1);
}
END_TEST

START_TEST(an_ignored_signal_from_before_us_is_the_programs_wish)
{
	struct sigaction now;

	fixture_open(100, "fp");
	modules_refresh();
	signal(SIGPROF, SIG_IGN);
	ck_assert(sampling_start());
	sampling_program_action(SIGPROF, NULL, &now);
	ck_assert_ptr_eq((void *)now.sa_handler, (void *)SIG_IGN);
}
END_TEST

START_TEST(no_samples_asked_for_means_no_timer_until_some_are)
{
	fixture_open(0, "fp");
	modules_refresh();
	ck_assert(sampling_start());
	sampling_thread_start();
	ck_assert_int_eq(self.timer, -1);
	ck_assert(!pulse_is_behind());
	atomic_store(&seg.head->hz_now, 100);
	ck_assert(pulse_is_behind());
	sampling_follow();
	ck_assert(!pulse_is_behind());
	ck_assert_int_ge(self.timer, 0);
	atomic_store(&seg.head->hz_now, 0);
	sampling_follow();
	ck_assert_int_eq(self.timer, -1);
}
END_TEST

START_TEST(a_rate_beyond_all_that_may_be_asked_for_is_none)
{
	static const uint32_t forged[] = { PULSE_HZ_MAX + 1, 1000000001, UINT32_MAX };
	const ucontext_t context = { 0 };

	fixture_open(100, "fp");
	modules_refresh();
	ck_assert(sampling_start());
	sampling_thread_start();
	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		atomic_store(&seg.head->hz_now, 100);
		sampling_follow();
		ck_assert_int_ge(self.timer, 0);
		siginfo_t due = fixture_signal(0);
		atomic_store(&seg.head->hz_now, forged[i]);
		ck_assert_uint_eq(sig_pulse_weigh(&due, &context), 0); /* the thread does not know yet */
		sampling_follow();
		ck_assert_int_eq(self.timer, -1);
	}
}
END_TEST

/* On an alternate stack that has so many bytes left below this function's frame. */
static ucontext_t context_on_alternate_stack(size_t left)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	ucontext_t context = { .uc_stack = { .ss_sp = (void *)(here - left), .ss_size = left + 4096 } };

	return context;
}

START_TEST(a_shield_is_raised_where_an_alternate_stack_has_no_room)
{
	ucontext_t small = context_on_alternate_stack(6000), roomy = context_on_alternate_stack(60000), disarmed = small;
	ucontext_t elsewhere = { .uc_stack = { .ss_sp = own_stack, .ss_size = sizeof(own_stack) } };

	disarmed.uc_stack.ss_size = 0; /* SS_AUTODISARM, a second signal */
	ck_assert_uint_eq(deputy_raise_shield(&roomy), 0);
	ck_assert_uint_eq(deputy_raise_shield(&elsewhere), 0);
	ck_assert_uint_eq(deputy_raise_shield(&disarmed), 0);
	ck_assert(!deputy_is_shielded());
	ck_assert(!deputy_forget_shield());
	ck_assert_uint_eq(deputy_raise_shield(&small), deputy_bit_of(SIGPROF));
	ck_assert(deputy_is_shielded());
	ck_assert_uint_eq(deputy_program_mask(deputy_bit_of(SIGPROF)), 0);
	ck_assert(!disposition_end_shield());
	ck_assert(deputy_forget_shield());
	ck_assert(!deputy_is_shielded());
	ck_assert_uint_eq(deputy_program_mask(deputy_bit_of(SIGPROF)), deputy_bit_of(SIGPROF));
	ck_assert(disposition_end_shield());
}
END_TEST

static uint64_t kernel_mask_now(void)
{
	uint64_t mask = 0;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof(mask));
	return mask;
}

static __attribute__((noinline)) void raise_on_small_stack(void)
{
	ucontext_t small = context_on_alternate_stack(6000);
	uint64_t prof = deputy_raise_shield(&small);

	ck_assert_uint_eq(prof, deputy_bit_of(SIGPROF));
	sampling_vfork_pause();
	ck_assert_uint_eq(kernel_mask_now() & prof, 0);
	sampling_vfork_resume();
	ck_assert_uint_eq(kernel_mask_now() & prof, prof);
}

/* So that what is called later lies above that stretch. */
static __attribute__((noinline)) void raise_further_down(void)
{
	volatile char room[8192];

	room[0] = 0;
	raise_on_small_stack();
	room[1] = room[0];
}

START_TEST(a_shield_is_raised_again_behind_a_spawn_and_lowered_where_it_was_left)
{
	raise_further_down();
	ck_assert_uint_eq(kernel_mask_now() & deputy_bit_of(SIGPROF), deputy_bit_of(SIGPROF));
	ck_assert(disposition_end_shield());
	ck_assert_uint_eq(kernel_mask_now() & deputy_bit_of(SIGPROF), 0);
}
END_TEST

int main(void)
{
	TCase *cases[] = {
		tcase_create("samples"), tcase_create("the program's signals"), tcase_create("around exec"), tcase_create("start"),
	};

	for (int i = 0; i < 3; i++)
		tcase_add_checked_fixture(cases[i], start_sampling, NULL);
	tcase_add_test(cases[0], a_sample_weighs_one_period);
	tcase_add_test(cases[0], a_shield_is_raised_where_an_alternate_stack_has_no_room);
	tcase_add_test(cases[0], a_shield_is_raised_again_behind_a_spawn_and_lowered_where_it_was_left);
	tcase_add_test(cases[0], missed_expiries_add_their_weight);
	tcase_add_test(cases[0], a_negative_overrun_counts_as_none);
	tcase_add_test(cases[0], a_thousand_signals_are_a_thousand_samples);
	tcase_add_test(cases[0], samples_go_to_the_endpoint_that_the_thread_works_for);
	tcase_add_test(cases[0], errno_stays_what_it_was);
	tcase_add_test(cases[0], a_disabled_session_takes_no_samples);
	tcase_add_test(cases[0], a_sample_within_a_sample_keeps_its_weight_and_says_why_its_stack_is_lost);
	tcase_add_test(cases[0], while_a_library_goes_stacks_are_walked_but_not_remembered);
	tcase_add_test(cases[0], threads_that_share_a_slot_drop_what_comes_at_once);
	tcase_add_test(cases[0], a_full_table_keeps_the_weight_and_shows_lost);
	tcase_add_test(cases[0], a_thread_without_a_slot_gets_one_with_its_first_sample);
	tcase_add_test(cases[0], a_thread_that_our_own_code_runs_on_is_not_attached);
	tcase_add_test(cases[1], a_signal_without_our_cookie_is_the_programs);
	tcase_add_test(cases[1], our_own_signal_is_not_shown_to_the_program);
	tcase_add_test(cases[1], the_programs_handler_gets_the_signals_own_arguments);
	tcase_add_test(cases[1], the_programs_handler_runs_with_the_mask_that_it_asked_for);
	tcase_add_test(cases[1], a_handler_that_asked_for_it_is_not_blocked_against_itself);
	tcase_add_test(cases[1], a_handler_for_one_signal_is_gone_after_it);
	tcase_add_test(cases[1], a_signal_that_the_program_ignores_is_ignored);
	tcase_add_test(cases[1], the_program_sees_the_action_that_it_set);
	tcase_add_test(cases[1], the_programs_timer_and_ours_live_together);
	tcase_add_test(cases[1], a_signal_that_nobody_handles_ends_the_program_as_it_would_have);
	tcase_add_test(cases[1], a_thread_that_blocks_everything_is_sampled);
	tcase_add_test(cases[1], a_signal_for_the_program_waits_where_the_program_blocks_it_and_samples_go_on);
	tcase_add_test(cases[1], a_signal_to_the_blocking_thread_alone_waits_there);
	tcase_add_test(cases[1], a_signal_that_the_kernel_has_no_room_for_waits_all_the_same);
	tcase_add_test(cases[1], a_signal_that_waited_reaches_the_handler_when_it_may);
	tcase_add_test(cases[1], what_waits_for_the_program_waits_in_the_program_that_is_executed);
	tcase_add_test(cases[1], what_was_pending_before_us_is_pending_still);
	tcase_add_test(cases[1], a_program_that_is_executed_gets_the_mask_that_it_was_meant_to);
	tcase_add_test(cases[2], a_pause_throws_away_what_is_pending);
	tcase_add_test(cases[2], what_the_program_ignores_stays_ignored_after_exec);
	tcase_add_test(cases[2], a_paused_sampler_takes_no_samples_and_a_resumed_one_does);
	tcase_add_test(cases[3], an_ignored_signal_from_before_us_is_the_programs_wish);
	tcase_add_test(cases[3], no_samples_asked_for_means_no_timer_until_some_are);
	tcase_add_test(cases[3], a_rate_beyond_all_that_may_be_asked_for_is_none);
	return fixture_run(cases, 4, "handler");
}
