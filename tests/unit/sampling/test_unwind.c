/* Built three times: with frame pointers (UNWIND "fp", HAS_POINTERS) and without ("auto", HAS_TABLES; "libunwind",
 * HAS_LIBRARY). */
#include "../../../shim/base/real.h"
#include "../../../shim/sampling/deputy.h"
#include "../../../shim/sampling/entry.h"
#include "../../../shim/sampling/guard.h"
#include "../../../shim/sampling/handler.h"
#include "../../../shim/sampling/modules.h"
#include "../../../shim/sampling/sampling.h"
#include "../../../shim/sampling/unwind.h"
#include "fixture.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHOWN __attribute__((noinline, visibility("default")))

SHOWN void take_sample_here(void);
SHOWN void innermost(int);
SHOWN void middle(int);
SHOWN void outermost(int);
SHOWN void recurse(int);
SHOWN void from_one_side(void);
SHOWN void from_other_side(void);
SHOWN void leave_room(int);
SHOWN void above_on_one_side(int, int);
SHOWN void above_on_other_side(int, int);
SHOWN void *thread_body(void *);
SHOWN void on_other_signal(int);
SHOWN int compare_and_sample(const void *, const void *);

static volatile int sink;
static siginfo_t signal_of_ours;
static long pid, tid;

/* A signal with our cookie, to this thread, as the kernel's timer would send it: but once, and now. No libc function in
 * between, so that what is interrupted is this function. */
void take_sample_here(void)
{
	long result = SYS_rt_tgsigqueueinfo;
	register siginfo_t *info __asm__("r10") = &signal_of_ours;

	/* Naming the frame makes the compiler build one, which it need not in a function that calls nothing. */
	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"(pid), "S"(tid), "d"((long)SIGPROF), "r"(info), "m"(*(char *)__builtin_frame_address(0))
			 : "rcx", "r11", "memory");
	sink += (int)result;
}

void innermost(int n)
{
	for (int i = 0; i < n; i++)
		take_sample_here();
	sink++;
}

void middle(int n)
{
	innermost(n);
	sink++;
}

void outermost(int n)
{
	middle(n);
	sink++;
}

void recurse(int depth)
{
	if (depth > 0)
		recurse(depth - 1);
	else
		take_sample_here();
	sink++;
}

/* What the serving thread does. */
static void make_tables(void)
{
#ifdef HAS_TABLES
	fixture_make_tables();
#endif
}

static void start_sampling(void)
{
	fixture_start_sampling(100, UNWIND);
	make_tables();
	signal_of_ours = fixture_signal(0);
	pid = getpid();
	tid = syscall(SYS_gettid);
}

static void expect_chain(const uint64_t *frames, uint32_t depth, const void *const *functions, uint32_t count)
{
	ck_assert_uint_ge(depth, count);
	for (uint32_t i = 0; i < count; i++)
		ck_assert_msg(fixture_frame_is_in(frames[i], functions[i]), "frame %u is elsewhere: module %u offset %#lx", i,
			      seg_frame_module(frames[i]), (unsigned long)seg_frame_offset(frames[i]));
}

static const void *const chain[] = { (void *)take_sample_here, (void *)innermost, (void *)middle, (void *)outermost };

START_TEST(a_chain_of_functions_is_found_in_order)
{
	uint64_t frames[64];

	outermost(1);
	ck_assert_uint_eq(fixture_log_count, 0);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_UNWIND), 0);
	uint32_t depth = fixture_path(fixture_hottest_node(), frames, 64);
	expect_chain(frames, depth, chain, 4);
	ck_assert_uint_gt(depth, 4);
}
END_TEST

START_TEST(the_same_place_is_the_same_node_every_time)
{
	outermost(50);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 50);
	ck_assert_uint_eq(fixture_node_samples(fixture_hottest_node()), 50);
	ck_assert_uint_eq(fixture_node_activations(fixture_hottest_node()), 1);
}
END_TEST

void from_one_side(void)
{
	recurse(20);
	sink++;
}

void from_other_side(void)
{
	recurse(20);
	sink += 2;
}

/* From the leaf up to there all is as it was, to the last word. */
START_TEST(a_stack_that_differs_far_from_its_leaf_is_another_one)
{
	uint64_t frames[64];

	from_one_side();
	for (volatile int i = 0; i < 2; i++)
		from_other_side();
	uint32_t node = fixture_hottest_node();
	ck_assert_uint_eq(fixture_node_samples(node), 2);
	ck_assert_uint_gt(fixture_path(node, frames, 64), 22);
	ck_assert(fixture_frame_is_in(frames[21], (void *)recurse));
	ck_assert(fixture_frame_is_in(frames[22], (void *)from_other_side));
}
END_TEST

/* Leaves what lies there as it is. */
void leave_room(int bytes)
{
	char *room = __builtin_alloca((size_t)bytes);

	__asm__ volatile("" : : "r"(room));
	take_sample_here();
	sink++;
}

void above_on_one_side(int bytes, int more_bytes)
{
	char *room = __builtin_alloca((size_t)bytes);

	__asm__ volatile("" : : "r"(room));
	leave_room(more_bytes);
	sink++;
}

void above_on_other_side(int bytes, int more_bytes)
{
	char *room = __builtin_alloca((size_t)bytes);

	__asm__ volatile("" : : "r"(room));
	leave_room(more_bytes);
	sink += 2;
}

/* The stack pointer is where it was, and so is, further up, the return address of before: in room that nobody wrote to. */
START_TEST(a_frame_that_is_found_by_its_frame_pointer_is_looked_for_where_that_points)
{
	void (*const sides[])(int, int) = { above_on_one_side, above_on_other_side, above_on_other_side };
	const void *const other[] = { (void *)take_sample_here, (void *)leave_room, (void *)above_on_other_side };
	uint64_t frames[64];

	for (volatile int i = 0; i < 3; i++)
		sides[i](i ? 16 : 1024, i ? 1024 : 16);
	uint32_t node = fixture_hottest_node();
	ck_assert_uint_eq(fixture_node_samples(node), 2);
	expect_chain(frames, fixture_path(node, frames, 64), other, 3);
}
END_TEST

START_TEST(a_stack_deeper_than_is_kept_shows_its_leaf_end_below_truncated)
{
	uint64_t frames[SEG_DEPTH_MAX + 8];

	recurse(1100);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_TRUNCATED), 1);
	uint32_t depth = fixture_path(fixture_hottest_node(), frames, SEG_DEPTH_MAX + 8);
	ck_assert_uint_eq(depth, SEG_DEPTH_MAX);
	ck_assert(fixture_frame_is_in(frames[0], (void *)take_sample_here));
	for (uint32_t i = 1; i < depth - 1; i++)
		ck_assert(fixture_frame_is_in(frames[i], (void *)recurse));
	ck_assert_uint_eq(frames[depth - 1], seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_TRUNCATED));
}
END_TEST

void *thread_body(void *unused)
{
	(void)unused;
	thread_attach();
	tid = syscall(SYS_gettid);
	outermost(1);
	return NULL;
}

START_TEST(a_thread_that_nothing_was_prepared_for_is_walked)
{
	uint64_t frames[64];
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, thread_body, NULL), 0);
	pthread_join(thread, NULL);
	uint32_t depth = fixture_path(fixture_hottest_node(), frames, 64);
	expect_chain(frames, depth, chain, 4);
	ck_assert(fixture_frame_is_in(frames[4], (void *)thread_body));
}
END_TEST

#ifdef HAS_LIBRARY
static void *short_thread(void *unused)
{
	thread_body(unused);
	sampling_thread_stop();
	thread_detach();
	return NULL;
}

static uint32_t count_caches(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < unwinder.state_count; i++)
		count += unwinder.states[i].cache != NULL;
	return count;
}

START_TEST(threads_one_after_the_other_need_one_cache)
{
	pthread_t thread;

	outermost(1);
	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, short_thread, NULL), 0);
		pthread_join(thread, NULL);
	}
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 51);
	ck_assert_uint_eq(count_caches(), 2);
}
END_TEST

static pid_t silent_tid;

static void *silent_thread(void *unused)
{
	silent_tid = gettid();
	return thread_body(unused);
}

/* pthread_join returns a little before the kernel has let go of the thread's number. */
static void join_to_the_end(pthread_t thread)
{
	pthread_join(thread, NULL);
	while (tgkill(getpid(), silent_tid, 0) == 0)
		sched_yield();
}

START_TEST(the_state_of_a_thread_that_ended_without_a_word_is_taken_back)
{
	pthread_t thread;

	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, silent_thread, NULL), 0);
		join_to_the_end(thread);
		unwind_reclaim();
	}
	ck_assert_uint_eq(count_caches(), 2);
}
END_TEST

START_TEST(more_threads_than_states_are_followed_by_pointers)
{
	uint64_t frames[64];

	unwind_thread_stop();
	unwinder.state_count = 1;
	outermost(1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_UNWIND), 0);
	ck_assert_uint_ge(fixture_path(fixture_hottest_node(), frames, 64), 1);
	ck_assert(fixture_frame_is_in(frames[0], (void *)take_sample_here));
}
END_TEST
#endif

void on_other_signal(int number)
{
	(void)number;
	outermost(1);
}

START_TEST(a_sample_in_a_signal_handler_shows_the_handler)
{
	uint64_t frames[64];
	struct sigaction action = { .sa_handler = on_other_signal };

	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR2);
	uint32_t depth = fixture_path(fixture_hottest_node(), frames, 64);
	expect_chain(frames, depth, chain, 4);
	ck_assert(fixture_frame_is_in(frames[4], (void *)on_other_signal));
}
END_TEST

static unsigned char alternate[65536] __attribute__((aligned(4096)));

static void do_nothing(int number)
{
	sink += number;
}

/* How much of the alternate stack a handler needs on this machine; the kernel's part depends on its registers. */
static size_t alternate_bytes_of(void (*handle)(int))
{
	struct sigaction action = { .sa_handler = handle, .sa_flags = SA_ONSTACK };
	size_t free_bytes = 0;

	memset(alternate, 0xa5, sizeof(alternate));
	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR2);
	while (free_bytes < sizeof(alternate) && alternate[free_bytes] == 0xa5)
		free_bytes++;
	return sizeof(alternate) - free_bytes;
}

START_TEST(a_sample_on_an_alternate_stack_takes_little_more_than_the_kernel_does)
{
	uint64_t frames[64];
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };

	sigaltstack(&stack, NULL);
	size_t bare = alternate_bytes_of(do_nothing);
	size_t sampled = alternate_bytes_of(on_other_signal);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 1);
	ck_assert_uint_ge(sampled, 2 * bare - 512);
	ck_assert_uint_le(sampled, 2 * bare + 1024);
	uint32_t depth = fixture_path(fixture_hottest_node(), frames, 64);
	ck_assert_uint_ge(depth, 1);
	ck_assert(fixture_frame_is_in(frames[0], (void *)take_sample_here));
#ifndef HAS_POINTERS
	expect_chain(frames, depth, chain, 4);
	ck_assert_uint_gt(depth, 10);
#endif
}
END_TEST

enum { HANDLER_STACK_BYTES = 2048, SMALL_RECURSION = 200, RECURSION_STACK_BYTES = 1 << 20 };

static uintptr_t kernels_part; /* of the signal that was sampled last: where it begins, the lower end */

/* In sig_on_prof's place; what it takes for itself counts as the handler's. The kernel lays the address to return to below the
 * context (struct rt_sigframe, arch/x86/include/asm/sigframe.h). */
static void note_and_sample(int number, siginfo_t *info, void *context)
{
	kernels_part = (uintptr_t)context - sizeof(void *);
	sig_on_prof(number, info, context);
}

static void sample_and_recurse(int number)
{
	(void)number;
	outermost(1);           /* nothing is known of the code nor of the stack */
	outermost(2);           /* some is, all is */
	recurse(SMALL_RECURSION);
}

START_TEST(a_sample_takes_less_than_two_kib_of_stack_below_the_kernels_part)
{
	struct sigaction action = { .sa_sigaction = note_and_sample, .sa_flags = SA_SIGINFO | SA_RESTART };
	static unsigned char room[RECURSION_STACK_BYTES] __attribute__((aligned(4096)));
	stack_t stack = { .ss_sp = room, .ss_size = sizeof(room) };
	void (*const handlers[])(int) = { on_other_signal, sample_and_recurse };

	real.sigaction(SIGPROF, &action, NULL);
	sigaltstack(&stack, NULL);
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		struct sigaction other = { .sa_handler = handlers[i], .sa_flags = SA_ONSTACK };
		size_t untouched = 0;
		memset(room, 0xa5, sizeof(room));
		sigaction(SIGUSR2, &other, NULL);
		raise(SIGUSR2);
		while (room[untouched] == 0xa5)
			untouched++;
		ck_assert_uint_gt(untouched, 0);
		ck_assert_uint_gt(kernels_part, (uintptr_t)room + untouched);
		ck_assert_uint_le(kernels_part - (uintptr_t)room - untouched, HANDLER_STACK_BYTES);
		ck_assert_uint_ge(kernels_part - (uintptr_t)room - untouched, 256); /* else it was not looked at */
	}
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 5);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_UNWIND), 0);
}
END_TEST

/* Not SHOWN's kind of code: jumped to with a frame pointer that points nowhere good. */
static void sample_with_frame_pointer(uintptr_t frame_pointer)
{
	long result = SYS_rt_tgsigqueueinfo;
	register siginfo_t *info __asm__("r10") = &signal_of_ours;

	__asm__ volatile("push %%rbp\n\tmov %[frame], %%rbp\n\tsyscall\n\tpop %%rbp"
			 : "+a"(result)
			 : "D"(pid), "S"(tid), "d"((long)SIGPROF), "r"(info), [frame] "r"(frame_pointer)
			 : "rcx", "r11", "memory");
}

START_TEST(a_wild_frame_pointer_is_not_followed)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	const uintptr_t wild[] = { 0, 1, 8, here + 1, here - 4096, here + (64 << 20), UINTPTR_MAX, UINTPTR_MAX - 7, 1UL << 63, 0x7fffffffeff8 };

	for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++)
		sample_with_frame_pointer(wild[i]);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), sizeof(wild) / sizeof(wild[0]));
}
END_TEST

/* Sends the signal with the frame pointer where frame says, and its call frame information says that it leads on. */
void sample_and_lie(uintptr_t frame, long to_pid, long to_tid, long number, const siginfo_t *info);
__asm__(".text\n"
	".type sample_and_lie, @function\n"
	"sample_and_lie:\n"
	"	.cfi_startproc\n"
	"	push %rbp\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset %rbp, -16\n"
	"	mov %rdi, %rbp\n"
	"	.cfi_def_cfa_register %rbp\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov $297, %eax\n" /* SYS_rt_tgsigqueueinfo */
	"	syscall\n"
	"	pop %rbp\n"
	"	.cfi_def_cfa %rsp, 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size sample_and_lie, . - sample_and_lie\n");

enum { PAGE = 4096 };

/* On a stack one of whose pages, nearer to the root, cannot be read; there the lie leads. */
static void lie(int times)
{
	char room[3 * PAGE];
	char *page = (char *)(((uintptr_t)room + PAGE - 1) & ~(uintptr_t)(PAGE - 1));

	ck_assert_int_eq(mprotect(page, PAGE, PROT_NONE), 0);
	for (int i = 0; i < times; i++)
		sample_and_lie((uintptr_t)page + 64, pid, tid, SIGPROF, &signal_of_ours);
	ck_assert_int_eq(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
	sink += room[0];
}

START_TEST(a_page_of_the_stack_that_cannot_be_read_ends_the_walk_and_nothing_else)
{
	uint64_t frames[64];

	lie(1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_WALK_FAULTED), 1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_UNWIND), 1);
	ck_assert_uint_eq(self.in_handler, 0);
	outermost(3);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_WALK_FAULTED), 1);
	uint32_t depth = fixture_path(fixture_hottest_node(), frames, 64);
	ck_assert(fixture_frame_is_in(frames[0], (void *)take_sample_here));
	ck_assert_uint_ge(depth, 2);
}
END_TEST

START_TEST(a_way_to_walk_that_faults_again_and_again_is_given_up_and_told_of_once)
{
	lie(40);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 40);
#ifdef HAS_LIBRARY
	/* libunwind at once, and then the pointers that were followed in its place. */
	const unsigned ways = 2, faults = 1 + 8;
#else
	const unsigned ways = 1, faults = 8;
#endif
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_WALK_FAULTED), faults);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_FAULT_UNWIND), ways);
	ck_assert_uint_eq(fixture_log_count, 0);
	unwind_tell();
	unwind_tell();
	ck_assert_uint_eq(fixture_log_count, ways);
	outermost(1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 41);
}
END_TEST

/* What the hooks do for the program. */
static void set_action(int number, struct sigaction action)
{
	struct sigaction kernel = entry_kernel_action(number, &action);

	ck_assert_int_eq(sigaction(number, &kernel, NULL), 0);
}

static struct sigaction get_action(int number)
{
	struct sigaction action;

	ck_assert_int_eq(sigaction(number, NULL, &action), 0);
	entry_program_action(&action);
	return action;
}

static sigjmp_buf out_of_fault;
static volatile int handled_faults;
static void *volatile handled_address;

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	handled_faults++;
	handled_address = info->si_addr;
	siglongjmp(out_of_fault, 1);
}

START_TEST(a_handler_of_the_program_gets_its_own_faults_and_none_of_ours)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	char *page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	set_action(SIGSEGV, action);
	lie(2);
	ck_assert_int_eq(handled_faults, 0);
	ck_assert_uint_ge(fixture_counter(SEG_COUNTER_WALK_FAULTED), 2);
	if (sigsetjmp(out_of_fault, 1) == 0)
		*(volatile char *)(page + 7) = 1;
	ck_assert_int_eq(handled_faults, 1);
	ck_assert_ptr_eq(handled_address, page + 7);
}
END_TEST

START_TEST(what_the_program_set_is_what_it_is_told)
{
	static const int flags[] = { 0, SA_SIGINFO, SA_ONSTACK, SA_RESTART, (int)SA_RESETHAND, SA_NODEFER, (int)SA_RESETHAND | SA_SIGINFO | SA_ONSTACK };
	const int numbers[] = { SIGSEGV, SIGBUS };

	for (size_t i = 0; i < 2; i++) {
		struct sigaction found = get_action(numbers[i]);
		ck_assert_ptr_eq(found.sa_handler, SIG_DFL);
		ck_assert_int_eq(found.sa_flags, 0);
		ck_assert_uint_eq(deputy_mask_of(&found.sa_mask), 0);
		ck_assert_ptr_null(found.sa_restorer);
	}
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		for (int is_default = 0; is_default < 2; is_default++) {
			struct sigaction action = { .sa_flags = flags[i], .sa_mask = deputy_set_of(deputy_bit_of(SIGPROF) | deputy_bit_of(SIGUSR1)) };
			action.sa_handler = is_default ? SIG_DFL : on_other_signal;
			set_action(SIGBUS, action);
			struct sigaction found = get_action(SIGBUS);
			ck_assert_ptr_eq(found.sa_handler, action.sa_handler);
			ck_assert_int_eq(found.sa_flags & ~0x04000000, flags[i]);
			ck_assert_uint_eq(deputy_mask_of(&found.sa_mask), deputy_mask_of(&action.sa_mask));
		}
}
END_TEST

START_TEST(what_the_kernel_had_it_has_again_when_the_guard_is_lowered)
{
	struct sigaction action = { .sa_handler = on_other_signal, .sa_flags = (int)SA_RESETHAND }, found;

	set_action(SIGBUS, action);
	guard_lower();
	sigaction(SIGSEGV, NULL, &found);
	ck_assert_ptr_eq(found.sa_handler, SIG_DFL);
	sigaction(SIGBUS, NULL, &found);
	ck_assert_int_eq(found.sa_flags & ~0x04000000, (int)SA_RESETHAND);
	ck_assert_ptr_eq(get_action(SIGBUS).sa_handler, on_other_signal);
	guard_raise();
	lie(1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_WALK_FAULTED), 1);
}
END_TEST

/* A fault in a handler that interrupts a walk is none of the walk's. */
START_TEST(a_fault_that_is_not_the_walks_is_left_alone)
{
	siginfo_t fault = { .si_signo = SIGSEGV, .si_code = SEGV_MAPERR }, sent = { .si_signo = SIGSEGV, .si_code = SI_USER };
	char stack[8192];
	ucontext_t within = { 0 }, below = { 0 };

	unwind_walk.escape = stack + sizeof(stack);
	within.uc_mcontext.gregs[REG_RSP] = (greg_t)(uintptr_t)(stack + sizeof(stack) - 200);
	below.uc_mcontext.gregs[REG_RSP] = (greg_t)(uintptr_t)(stack + 200);
	ck_assert(!sig_guard_catch(&fault, &within)); /* none is on */
	unwind_walk.is_guarded = true;
	ck_assert(!sig_guard_catch(&fault, &below));
	ck_assert(!sig_guard_catch(&fault, &within)); /* after another handler */
	unwind_walk.is_guarded = true;
	ck_assert(!sig_guard_catch(&sent, &within));
	unwind_walk.is_guarded = true;
	ck_assert(!sig_guard_catch(NULL, &within));
	unwind_walk.is_guarded = true;
	ck_assert(sig_guard_catch(&fault, &within));
	ck_assert_uint_eq((uintptr_t)within.uc_mcontext.gregs[REG_RSP], (uintptr_t)unwind_walk.escape);
	ck_assert(!unwind_walk.is_guarded);
}
END_TEST

/* Code that no module has, as a JIT makes it: push rbp; mov rbp, rsp; call rdi; pop rbp; ret. */
static const unsigned char made_code[] = { 0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3 };

START_TEST(made_code_on_the_stack_is_passed_or_ends_the_stack)
{
	uint64_t frames[64];
	unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(page, made_code, sizeof(made_code));
	mprotect(page, 4096, PROT_READ | PROT_EXEC);
	for (int i = 0; i < 3; i++)
		((void (*)(void (*)(void)))page)(take_sample_here);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 3);
	uint32_t depth = fixture_path(fixture_hottest_node(), frames, 64);
	ck_assert_uint_ge(depth, 2);
	ck_assert(fixture_frame_is_in(frames[0], (void *)take_sample_here));
	ck_assert_uint_eq(frames[1], seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN));
}
END_TEST

int compare_and_sample(const void *left, const void *right)
{
	take_sample_here();
	return *(const int *)left - *(const int *)right;
}

#ifndef HAS_POINTERS
START_TEST(a_callback_of_the_c_library_is_found_through_it)
{
	uint64_t frames[64];
	int numbers[] = { 2, 1 };

	qsort(numbers, 2, sizeof(numbers[0]), compare_and_sample);
	uint32_t depth = fixture_path(fixture_hottest_node(), frames, 64);
	ck_assert(fixture_frame_is_in(frames[1], (void *)compare_and_sample));
	ck_assert_uint_gt(depth, 5);
	const struct seg_module *libc = &seg.modules[seg_frame_module(frames[2])];
	ck_assert_ptr_nonnull(strstr(libc->path, "libc.so.6"));
}
END_TEST

static int sample_in_callback(int n)
{
	outermost(1);
	return n;
}

SHOWN void call_plugin(const char *path);
void call_plugin(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW);

	ck_assert_msg(handle != NULL, "%s", dlerror());
	modules_refresh();
	make_tables();
	((int (*)(int (*)(int), int))dlsym(handle, "plugin_work"))(sample_in_callback, 1);
	dlclose(handle);
}

/* How many of the sampled stacks lead from the sample through a library to the function that opened it. */
static uint32_t count_whole_stacks(const char *path)
{
	uint64_t frames[64];
	uint32_t count = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_CELLS].count; i++) {
		uint64_t key = atomic_load(&seg.cells[i].key);
		if (!key || !atomic_load(&seg.cells[i].samples))
			continue;
		uint32_t depth = fixture_path(seg_cell_node(key), frames, 64);
		for (uint32_t j = 0; j + 1 < depth; j++)
			count += seg_frame_module(frames[j]) >= SEG_MODULE_FIRST &&
				 strcmp(seg.modules[seg_frame_module(frames[j])].path, path) == 0 &&
				 fixture_frame_is_in(frames[j + 1], (void *)call_plugin);
	}
	return count;
}

/* The second library comes to lie where the first one was, and its frames are twice as large: what libunwind remembers of
 * the place would lead it astray. */
START_TEST(what_is_known_of_a_library_that_went_is_not_believed_of_the_next)
{
	call_plugin(PLUGIN_A);
	call_plugin(PLUGIN_B);
	ck_assert_uint_eq(sig_modules_epoch(), 1);
	ck_assert_uint_eq(count_whole_stacks(PLUGIN_A), 1);
	ck_assert_uint_eq(count_whole_stacks(PLUGIN_B), 1);
}
END_TEST

#endif

#ifdef HAS_LIBRARY
static uint64_t open_descriptors(void)
{
	uint64_t set = 0;

	for (int fd = 0; fd < 64; fd++)
		set |= (uint64_t)(fcntl(fd, F_GETFD) != -1) << fd;
	return set;
}

static uint64_t descriptors_before;

static void start_sampling_with_look(void)
{
	descriptors_before = open_descriptors();
	start_sampling();
}

START_TEST(libunwind_opens_no_descriptor_of_its_own)
{
	outermost(2);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 2);
	ck_assert_uint_eq(open_descriptors(), descriptors_before);
}
END_TEST

START_TEST(a_child_torn_out_of_a_walk_follows_pointers)
{
	ck_assert_ptr_nonnull(atomic_load(&unwinder.backtrace));
	unwind_forked(true);
	ck_assert_ptr_null(atomic_load(&unwinder.backtrace));
	outermost(1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 1);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_UNWIND), 0);
}
END_TEST
#endif

int main(void)
{
	TCase *cases[] = { tcase_create("unwind " UNWIND), tcase_create("descriptors") };

	tcase_add_checked_fixture(cases[0], start_sampling, NULL);
	tcase_add_test(cases[0], a_chain_of_functions_is_found_in_order);
	tcase_add_test(cases[0], the_same_place_is_the_same_node_every_time);
	tcase_add_test(cases[0], a_stack_that_differs_far_from_its_leaf_is_another_one);
	tcase_add_test(cases[0], a_frame_that_is_found_by_its_frame_pointer_is_looked_for_where_that_points);
	tcase_add_test(cases[0], a_stack_deeper_than_is_kept_shows_its_leaf_end_below_truncated);
	tcase_add_test(cases[0], a_thread_that_nothing_was_prepared_for_is_walked);
	tcase_add_test(cases[0], a_sample_in_a_signal_handler_shows_the_handler);
	tcase_add_test(cases[0], a_sample_on_an_alternate_stack_takes_little_more_than_the_kernel_does);
	tcase_add_test(cases[0], a_sample_takes_less_than_two_kib_of_stack_below_the_kernels_part);
	tcase_add_test(cases[0], a_wild_frame_pointer_is_not_followed);
	tcase_add_test(cases[0], a_page_of_the_stack_that_cannot_be_read_ends_the_walk_and_nothing_else);
	tcase_add_test(cases[0], a_way_to_walk_that_faults_again_and_again_is_given_up_and_told_of_once);
	tcase_add_test(cases[0], a_handler_of_the_program_gets_its_own_faults_and_none_of_ours);
	tcase_add_test(cases[0], what_the_program_set_is_what_it_is_told);
	tcase_add_test(cases[0], what_the_kernel_had_it_has_again_when_the_guard_is_lowered);
	tcase_add_test(cases[0], a_fault_that_is_not_the_walks_is_left_alone);
	tcase_add_test(cases[0], made_code_on_the_stack_is_passed_or_ends_the_stack);
#ifdef HAS_LIBRARY
	tcase_add_test(cases[0], threads_one_after_the_other_need_one_cache);
	tcase_add_test(cases[0], the_state_of_a_thread_that_ended_without_a_word_is_taken_back);
	tcase_add_test(cases[0], more_threads_than_states_are_followed_by_pointers);
	tcase_add_checked_fixture(cases[1], start_sampling_with_look, NULL);
	tcase_add_test(cases[1], libunwind_opens_no_descriptor_of_its_own);
	tcase_add_test(cases[0], a_child_torn_out_of_a_walk_follows_pointers);
#endif
#ifndef HAS_POINTERS
	tcase_add_test(cases[0], a_callback_of_the_c_library_is_found_through_it);
	tcase_add_test(cases[0], what_is_known_of_a_library_that_went_is_not_believed_of_the_next);
#endif
	return fixture_run(cases, 2, "unwind");
}
