/* At every instruction of steps.c, and of all that it calls in libc, the loader, libstdc++, libgcc, libcrypto and the vDSO,
 * the walk by rules finds what libunwind's cursor finds, or more. The processor's trap flag brings a SIGTRAP after each
 * instruction; its handler walks twice. The walk by rules uses the state of one thread, so what it remembers is put to the
 * test as well.
 *
 * Where ours ends at the outermost frame and libunwind's does not, ours is better (at the first instruction of a landing pad
 * libunwind takes the rule of the instruction before, which is the end of another path); so it is where
 * libunwind goes on from our end to an address that is no code at all, or back to a frame that it has passed (while an
 * exception's context is being installed, saved registers on the stack are those of the frame it will land in). All other differences are printed with the place
 * where they were met and the reason that is known for it; there may be one in a thousand, and none without a reason.
 */
#include "../../../shim/sampling/modules.h"
#include "../../../shim/sampling/sampling.h"
#include "../../../shim/sampling/unwind.h"
#include "fixture.h"
#include "steps.h"

#define UNW_LOCAL_ONLY
#include <dlfcn.h>
#include <libunwind.h>
#include <pthread.h>
#include <string.h>

enum { DEPTH_MAX = 64, DIFFERENCES_MAX = 64, WORST_PER_MILLE = 1 };

struct difference {
	uintptr_t pc;
	uint32_t count, our_depth, their_depth, equal;
	bool is_unsupported; /* our walk ended at a rule that cannot be followed, and says so */
	uintptr_t ours, theirs; /* at the first frame that differs */
};

static struct {
	bool is_on;
	uint64_t steps, same, better, kept_frames, frames;
	struct difference differences[DIFFERENCES_MAX];
	uint32_t difference_count;
	uint64_t different;
} stepping;

/* Opened, not linked: it would take the exceptions over that are to be stepped through. */
static struct {
	int (*init)(unw_cursor_t *, unw_context_t *, int);
	int (*step)(unw_cursor_t *);
	int (*get)(unw_cursor_t *, int, unw_word_t *);
} cursor_api;

static uint32_t walk_by_cursor(ucontext_t *context, uintptr_t *pcs)
{
	unw_cursor_t cursor;
	unw_word_t pc;
	uint32_t depth = 0;

	if (cursor_api.init(&cursor, (unw_context_t *)context, UNW_INIT_SIGNAL_FRAME))
		return 0;
	do {
		if (cursor_api.get(&cursor, UNW_REG_IP, &pc) || !pc)
			break;
		pcs[depth++] = pc;
	} while (depth < DEPTH_MAX && cursor_api.step(&cursor) > 0);
	return depth;
}

static uint32_t walk_by_rules(const ucontext_t *context, uintptr_t *pcs)
{
	struct unwind_state *state = sig_unwind_begin();
	bool has_entered = sig_modules_enter();
	struct sig_walk walk = sig_unwind(context, state);
	uint32_t depth = walk.depth < DEPTH_MAX ? walk.depth : DEPTH_MAX;

	for (uint32_t i = 0; i < depth; i++)
		pcs[i] = walk.frames[walk.depth - 1 - i].tag & ~SIG_TAG_RETURN;
	stepping.kept_frames += walk.kept;
	stepping.frames += walk.depth;
	sig_modules_leave(has_entered);
	sig_unwind_end(state);
	return depth;
}

static void note(uintptr_t pc, const uintptr_t *ours, uint32_t our_depth, const uintptr_t *theirs, uint32_t their_depth, uint32_t equal,
		 bool is_unsupported)
{
	stepping.different++;
	for (uint32_t i = 0; i < stepping.difference_count; i++)
		if (stepping.differences[i].pc == pc) {
			stepping.differences[i].count++;
			return;
		}
	if (stepping.difference_count < DIFFERENCES_MAX)
		stepping.differences[stepping.difference_count++] = (struct difference){
			pc, 1, our_depth, their_depth, equal, is_unsupported, equal < our_depth ? ours[equal] : 0, equal < their_depth ? theirs[equal] : 0
		};
}


static uint64_t count_of(enum seg_counter counter)
{
	return atomic_load(&self.slot->counters[counter]);
}

/* Some module has code there. */
static bool is_code(uintptr_t address)
{
	return seg_frame_module(sig_modules_frame(address, true)) >= SEG_MODULE_FIRST;
}

static bool is_root_theirs(const uintptr_t *theirs, uint32_t their_depth, const uintptr_t *ours, uint32_t our_depth)
{
	return their_depth && theirs[their_depth - 1] == ours[our_depth - 1];
}

/* libunwind goes on from the end of our stack to where no caller can be. */
static bool is_astray(const uintptr_t *theirs, uint32_t their_depth, uint32_t our_depth)
{
	if (our_depth >= their_depth)
		return false;
	for (uint32_t i = 0; i < our_depth; i++)
		if (theirs[i] == theirs[our_depth])
			return true;
	return !is_code(theirs[our_depth]);
}

static void on_step(int number, siginfo_t *info, void *data)
{
	ucontext_t *context = data;
	uintptr_t ours[DEPTH_MAX], theirs[DEPTH_MAX];

	(void)number;
	(void)info;
	if (!stepping.is_on) {
		context->uc_mcontext.gregs[REG_EFL] &= ~0x100;
		return;
	}
	stepping.steps++;
	uint64_t roots = count_of(SEG_COUNTER_WALK_ROOT), unsupported = count_of(SEG_COUNTER_WALK_UNSUPPORTED);
	uint32_t our_depth = walk_by_rules(context, ours), equal = 0;
	bool is_root = count_of(SEG_COUNTER_WALK_ROOT) > roots;
	uint32_t their_depth = walk_by_cursor(context, theirs);
	while (equal < our_depth && equal < their_depth && ours[equal] == theirs[equal])
		equal++;
	if (equal == our_depth && equal == their_depth)
		stepping.same++;
	else if ((is_root && !is_root_theirs(theirs, their_depth, ours, our_depth)) || (equal == our_depth && is_astray(theirs, their_depth, our_depth)))
		stepping.better++;
	else
		note((uintptr_t)context->uc_mcontext.gregs[REG_RIP], ours, our_depth, theirs, their_depth, equal,
		     count_of(SEG_COUNTER_WALK_UNSUPPORTED) > unsupported);
}

static void describe(uintptr_t address, char *ret_text, size_t n)
{
	Dl_info info;

	if (!address || !dladdr((void *)address, &info))
		snprintf(ret_text, n, "%#lx", (unsigned long)address);
	else
		snprintf(ret_text, n, "%s(%s+%#lx) %#lx", info.dli_fname, info.dli_sname ? info.dli_sname : "?",
			 (unsigned long)(address - (uintptr_t)info.dli_saddr), (unsigned long)(address - (uintptr_t)info.dli_fbase));
}

static void print_result(const char *name)
{
	printf("# %s: %lu instructions, the same %lu, better %lu, different %lu; %lu of %lu frames were kept\n", name,
	       (unsigned long)stepping.steps, (unsigned long)stepping.same, (unsigned long)stepping.better,
	       (unsigned long)stepping.different, (unsigned long)stepping.kept_frames, (unsigned long)stepping.frames);
	for (uint32_t i = 0; i < stepping.difference_count; i++) {
		const struct difference *difference = &stepping.differences[i];
		char at[256], ours[256], theirs[256];
		describe(difference->pc, at, sizeof(at));
		describe(difference->ours, ours, sizeof(ours));
		describe(difference->theirs, theirs, sizeof(theirs));
		printf("#   %u times at %s: depth %u and libunwind's %u, frame %u is %s and libunwind's %s%s\n", difference->count, at,
		       difference->our_depth, difference->their_depth, difference->equal, ours, theirs,
		       difference->is_unsupported ? ", because the return address is said to be in a register (longjmp, eh_return), "
						    "which no rule can say; counted as unsupported" : "");
	}
	fflush(stdout);
}

static void find_cursor(void)
{
	void *library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);

	ck_assert_msg(library != NULL, "%s", dlerror());
	*(void **)&cursor_api.init = dlsym(library, "_ULx86_64_init_local2");
	*(void **)&cursor_api.step = dlsym(library, "_ULx86_64_step");
	*(void **)&cursor_api.get = dlsym(library, "_ULx86_64_get_reg");
	ck_assert(cursor_api.init && cursor_api.step && cursor_api.get);
}

static void prepare(void)
{
	struct sigaction action = { .sa_sigaction = on_step, .sa_flags = SA_SIGINFO };
	uintptr_t pcs[DEPTH_MAX];
	ucontext_t here;

	find_cursor();
	fixture_start_sampling(100, "auto");
	fixture_make_tables();
	getcontext(&here);
	walk_by_cursor(&here, pcs); /* what it does only once */
	memset(&stepping, 0, sizeof(stepping));
	sigaction(SIGTRAP, &action, NULL);
}

static const struct {
	const char *name;
	void (*body)(void);
	bool is_warmed; /* gone through once before: what the library does only once takes a million instructions */
	bool is_left;   /* for another place on the stack, by longjmp or eh_return */
} bodies[] = {
	{ "plain", steps_plain, false, false },        { "small", steps_small, false, false }, { "pointers", steps_pointers, false, false },
	{ "stack", steps_stack, false, false },        { "lazy", steps_lazy, false, false },   { "library", steps_library, false, false },
	{ "jump", steps_jump, false, true },           { "signal", steps_signal, false, false }, { "vdso", steps_vdso, false, false },
	{ "assembler", steps_assembler, true, false }, { "throw", steps_throw, false, true },
};

static void step_through(int index)
{
	memset(&stepping, 0, sizeof(stepping));
	if (bodies[index].is_warmed)
		bodies[index].body();
	stepping.is_on = true;
	steps_on();
	bodies[index].body();
	stepping.is_on = false;
	__asm__ volatile("nop");
	print_result(bodies[index].name);
	ck_assert_uint_gt(stepping.steps, 100);
	for (uint32_t i = 0; i < stepping.difference_count; i++)
		ck_assert_msg(bodies[index].is_left && stepping.differences[i].is_unsupported, "%s: a difference without a reason", bodies[index].name);
}

START_TEST(at_every_instruction_the_callers_are_those_that_libunwind_finds)
{
	uint64_t steps = 0, different = 0, better = 0;

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		step_through((int)i);
		steps += stepping.steps;
		different += stepping.different;
		better += stepping.better;
	}
	printf("# all: %lu instructions, different %lu\n", (unsigned long)steps, (unsigned long)different);
	fflush(stdout);
	ck_assert_uint_gt(steps, 50000);
	ck_assert_uint_le(different * 1000, steps * WORST_PER_MILLE);
	ck_assert_uint_le(fixture_counter(SEG_COUNTER_WALK_REFUSED), better);
	ck_assert_uint_gt(stepping.kept_frames, stepping.frames / 2);
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("single step") };

	tcase_add_checked_fixture(cases[0], prepare, NULL);
	tcase_set_timeout(cases[0], 150);
	tcase_add_test(cases[0], at_every_instruction_the_callers_are_those_that_libunwind_finds);
	return fixture_run(cases, 1, "single step");
}
