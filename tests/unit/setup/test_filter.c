/* Filters of system calls are read as the kernel reads them: by hand, and by asking the kernel about any that chance makes. */
#include "../../../shim/setup/filter.h"
#include "../run.h"

#include <check.h>
#include <errno.h>
#include <linux/audit.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define REFUSE(number) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (number))
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_EQUAL(k, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, yes, no)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define ALLOWS_US(lines) filter_allows_us(&(struct sock_fprog){ COUNT(lines), lines })

static struct seccomp_data call_of(int number)
{
	return (struct seccomp_data){ .nr = number, .arch = AUDIT_ARCH_X86_64, .args = { 1, 2, 3, 1ULL << 40, 5, 6 } };
}

#define ANSWER(number, ...)                                                                                            \
	__extension__({                                                                                                \
		struct sock_filter lines_[] = { __VA_ARGS__ };                                                         \
		struct seccomp_data data_ = call_of(number);                                                           \
		filter_answer(&(struct sock_fprog){ COUNT(lines_), lines_ }, &data_);                                  \
	})

START_TEST(a_list_of_what_is_denied_lets_us_through_unless_it_names_a_call_of_ours)
{
	struct sock_filter others[] = { LOAD(nr), IF_EQUAL(SYS_ptrace, 0, 1), KILL, IF_EQUAL(SYS_mount, 0, 1), REFUSE(EPERM), ALLOW };
	struct sock_filter ours[] = { LOAD(nr), IF_EQUAL(SYS_ptrace, 0, 1), KILL, IF_EQUAL(SYS_timer_settime, 0, 1), REFUSE(EPERM), ALLOW };
	struct sock_filter noted[] = { LOAD(nr), IF_EQUAL(SYS_timer_settime, 0, 1),
				       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_LOG), ALLOW };

	ck_assert(ALLOWS_US(others));
	ck_assert(!ALLOWS_US(ours));
	ck_assert(ALLOWS_US(noted));
}
END_TEST

START_TEST(a_list_of_what_is_allowed_lets_us_through_only_if_it_has_all_calls_of_ours)
{
	struct sock_filter some[] = { LOAD(nr), IF_EQUAL(SYS_read, 2, 0), IF_EQUAL(SYS_write, 1, 0), KILL, ALLOW };
	struct sock_filter numbers_below[] = { LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 512, 0, 1), KILL, ALLOW };
	struct sock_filter everything[] = { ALLOW };
	struct sock_filter nothing[] = { REFUSE(ENOSYS) };

	ck_assert(!ALLOWS_US(some));
	ck_assert(ALLOWS_US(numbers_below));
	ck_assert(ALLOWS_US(everything));
	ck_assert(!ALLOWS_US(nothing));
}
END_TEST

START_TEST(the_architecture_is_ours)
{
	struct sock_filter ours_only[] = { LOAD(arch), IF_EQUAL(AUDIT_ARCH_X86_64, 1, 0), KILL, ALLOW };
	struct sock_filter another_only[] = { LOAD(arch), IF_EQUAL(AUDIT_ARCH_I386, 1, 0), KILL, ALLOW };

	ck_assert(ALLOWS_US(ours_only));
	ck_assert(!ALLOWS_US(another_only));
}
END_TEST

START_TEST(traps_traces_and_notices_are_in_our_way)
{
	static const uint32_t actions[] = { SECCOMP_RET_TRAP, SECCOMP_RET_TRACE, SECCOMP_RET_USER_NOTIF, SECCOMP_RET_KILL_THREAD };

	for (size_t i = 0; i < COUNT(actions); i++) {
		struct sock_filter lines[] = { LOAD(nr), IF_EQUAL(SYS_futex, 0, 1), BPF_STMT(BPF_RET | BPF_K, actions[i]), ALLOW };
		ck_assert(!ALLOWS_US(lines));
	}
}
END_TEST

START_TEST(arguments_have_two_halves_the_lower_first)
{
	ck_assert_uint_eq(ANSWER(0, LOAD(args[3]), BPF_STMT(BPF_RET | BPF_A, 0)), 0);
	ck_assert_uint_eq(ANSWER(0, LOAD(args[3]) , BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3]) + 4),
				 BPF_STMT(BPF_RET | BPF_A, 0)), 1U << 8);
	ck_assert_uint_eq(ANSWER(0, LOAD(args[5]), BPF_STMT(BPF_RET | BPF_A, 0)), 6);
}
END_TEST

/* The kernel refuses each of them, so that the program's call fails; here it must end, and read nothing beyond. */
START_TEST(what_is_no_filter_lets_nothing_through)
{
	struct sock_filter lines[][4] = {
		{ BPF_STMT(BPF_JMP | BPF_JA, 0xffffffff), ALLOW, ALLOW, ALLOW },            /* comes round to itself in 32 bits */
		{ BPF_STMT(BPF_JMP | BPF_JA, 0xfffffffe), ALLOW, ALLOW, ALLOW },
		{ IF_EQUAL(0, 255, 255), ALLOW, ALLOW, ALLOW },                             /* beyond the end */
		{ LOAD(nr), LOAD(nr), LOAD(nr), LOAD(nr) },                                 /* no end */
		{ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, sizeof(struct seccomp_data)), ALLOW, ALLOW, ALLOW },
		{ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0xfffffffc), ALLOW, ALLOW, ALLOW },
		{ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), ALLOW, ALLOW, ALLOW },             /* across two words */
		{ BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), ALLOW, ALLOW, ALLOW },
		{ BPF_STMT(BPF_LD | BPF_MEM, 16), ALLOW, ALLOW, ALLOW },
		{ BPF_STMT(BPF_ST, 0xffffffff), ALLOW, ALLOW, ALLOW },
		{ BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), ALLOW, ALLOW, ALLOW },
		{ BPF_STMT(BPF_ALU | 0xf0, 0), ALLOW, ALLOW, ALLOW },
	};

	for (size_t i = 0; i < COUNT(lines); i++)
		ck_assert_msg(!ALLOWS_US(lines[i]), "filter %zu", i);
	ck_assert(!filter_allows_us(&(struct sock_fprog){ 0, lines[0] }));
}
END_TEST

START_TEST(memory_that_is_not_there_is_no_filter)
{
	long page_bytes = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, (size_t)(2 * page_bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sock_filter *lines = (struct sock_filter *)(void *)(pages + page_bytes) - 2, allow = ALLOW;

	lines[0] = lines[1] = allow;
	ck_assert_int_eq(mprotect(pages + page_bytes, (size_t)page_bytes, PROT_NONE), 0);
	ck_assert(filter_can_be_read(&(struct sock_fprog){ 2, lines }));
	ck_assert(!filter_can_be_read(&(struct sock_fprog){ 3, lines }));
	ck_assert(!filter_can_be_read(&(struct sock_fprog){ 1, NULL }));
	ck_assert(!filter_can_be_read((const struct sock_fprog *)(const void *)(pages + page_bytes)));
	munmap(pages, (size_t)(2 * page_bytes));
}
END_TEST

START_TEST(what_can_be_spared_is_forbidden_by_a_filter_that_lets_our_hooks_through)
{
	struct sock_filter lines[] = { LOAD(nr), IF_EQUAL(SYS_perf_event_open, 1, 0), IF_EQUAL(SYS_pidfd_getfd, 0, 1), KILL, ALLOW };
	struct sock_filter more[] = { LOAD(nr), IF_EQUAL(SYS_accept4, 0, 1), REFUSE(EPERM), ALLOW };

	ck_assert(ALLOWS_US(lines));
	filter_note(&(struct sock_fprog){ COUNT(lines), lines });
	ck_assert(!permitted(SYS_perf_event_open));
	ck_assert(!permitted(SYS_pidfd_getfd));
	ck_assert(permitted(SYS_kcmp));
	ck_assert(filter_permits(FILTER_OWN));
	ck_assert(filter_permits(FILTER_SERVING));
	ck_assert(!filter_permits(FILTER_SPARED));
	filter_note(&(struct sock_fprog){ COUNT(more), more });
	ck_assert(!filter_permits(FILTER_SERVING));
	ck_assert(filter_permits(FILTER_OWN));
}
END_TEST

/* --- compared with the kernel: filters of chance for getppid(2) that end by giving an error number */

enum { CHILDREN = 12, FILTERS = 15, RANDOM_LINES = 40, FILTER_LINES_MAX = 128 };

struct builder {
	struct sock_filter lines[FILTER_LINES_MAX];
	unsigned short count;
};

static void add(struct builder *builder, struct sock_filter line)
{
	ck_assert_uint_lt(builder->count, FILTER_LINES_MAX);
	builder->lines[builder->count++] = line;
}

static struct sock_filter random_line(unsigned lines_left)
{
	static const uint16_t operations[] = { BPF_ADD, BPF_SUB, BPF_MUL, BPF_OR, BPF_AND, BPF_XOR, BPF_LSH, BPF_RSH, BPF_DIV };
	static const uint16_t jumps[] = { BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET };
	static const uint32_t fields[] = { 0, 4, 16, 20, 24, 28, 40, 44, 60 };
	uint32_t k = (uint32_t)random() >> (unsigned)random() % 32, source = random() % 2 ? BPF_X : BPF_K;
	uint16_t operation = operations[(unsigned)random() % COUNT(operations)];

	switch (random() % 10) {
	case 0: return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, fields[(unsigned)random() % COUNT(fields)]);
	case 1: return (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, k);
	case 2: return (struct sock_filter)BPF_STMT(BPF_LDX | BPF_IMM, k | 1);
	case 3: return (struct sock_filter)BPF_STMT((random() % 2 ? BPF_LD : BPF_LDX) | BPF_MEM, (unsigned)random() % 16);
	case 4: return (struct sock_filter)BPF_STMT(random() % 2 ? BPF_ST : BPF_STX, (unsigned)random() % 16);
	case 5: return (struct sock_filter)BPF_STMT(BPF_MISC | (random() % 2 ? BPF_TAX : BPF_TXA), 0);
	case 6: return (struct sock_filter)BPF_STMT((random() % 2 ? BPF_LD : BPF_LDX) | BPF_W | BPF_LEN, 0);
	case 7:
		return (struct sock_filter)BPF_JUMP(BPF_JMP | jumps[(unsigned)random() % COUNT(jumps)] | source, k,
						    (unsigned)random() % lines_left, (unsigned)random() % lines_left);
	case 8:
		return random() % 4 ? (struct sock_filter)BPF_STMT(BPF_ALU | BPF_NEG, 0) :
				      (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, (unsigned)random() % lines_left);
	default:
		if (source == BPF_K && (operation == BPF_LSH || operation == BPF_RSH))
			k %= 32;
		return (struct sock_filter)BPF_STMT(BPF_ALU | operation | source, source == BPF_K && operation == BPF_DIV ? k | 1 : k);
	}
}

static void make_filter(struct builder *builder)
{
	builder->count = 0;
	add(builder, (struct sock_filter)LOAD(nr));
	add(builder, (struct sock_filter)IF_EQUAL(SYS_getppid, 1, 0));
	add(builder, (struct sock_filter)ALLOW);
	for (uint32_t word = 0; word < 16; word++) { /* what was never written the kernel lets nobody read */
		add(builder, (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, (uint32_t)random()));
		add(builder, (struct sock_filter)BPF_STMT(BPF_ST, word));
	}
	for (unsigned left = RANDOM_LINES; left > 0; left--)
		add(builder, random_line(left));
	add(builder, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xfff));
	add(builder, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO));
	add(builder, (struct sock_filter)BPF_STMT(BPF_RET | BPF_A, 0));
}

struct outcome {
	bool is_refused, is_done;
	uint32_t answer; /* expected */
	long result;     /* 0 or errno */
};

/* A division by 0 ends the filter, and the process with it. */
static uint32_t expected(const struct builder *builder)
{
	struct seccomp_data data = { .nr = SYS_getppid, .arch = AUDIT_ARCH_X86_64, .args = { 11, ~0ULL, 1ULL << 33, 4, 5, 77 } };

	return filter_answer(&(struct sock_fprog){ builder->count, (struct sock_filter *)builder->lines }, &data);
}

static void ask_kernel(struct outcome *outcomes)
{
	struct builder builder;

	for (int i = 0; i < FILTERS; i++) {
		do
			make_filter(&builder);
		while ((outcomes[i].answer = expected(&builder)) == SECCOMP_RET_KILL_PROCESS && i < FILTERS - 1);
		struct sock_fprog filter = { builder.count, builder.lines };
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
			outcomes[i].is_refused = true;
			return;
		}
		errno = 0;
		syscall(SYS_getppid, 11, ~0UL, 1UL << 33, 4, 5, 77);
		outcomes[i].result = errno;
		outcomes[i].is_done = true;
	}
}

START_TEST(filters_of_chance_answer_as_the_kernel_does)
{
	size_t bytes = CHILDREN * FILTERS * sizeof(struct outcome);
	struct outcome *outcomes = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int different_answers = 0, last_answer = -1;

	for (int child = 0; child < CHILDREN; child++) {
		srandom((unsigned)child + 1);
		pid_t pid = fork();
		if (pid == 0) {
			ask_kernel(outcomes + child * FILTERS);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		for (int i = 0; i < FILTERS; i++) {
			const struct outcome *outcome = &outcomes[child * FILTERS + i];
			ck_assert_msg(!outcome->is_refused, "seed %d, filter %d is refused", child + 1, i);
			if (outcome->answer == SECCOMP_RET_KILL_PROCESS) {
				ck_assert_msg(!outcome->is_done, "seed %d, filter %d killed nobody", child + 1, i);
				continue;
			}
			ck_assert_msg(outcome->is_done, "seed %d, filter %d killed", child + 1, i);
			ck_assert_msg((long)(outcome->answer & SECCOMP_RET_DATA) == outcome->result, "seed %d, filter %d: %x, the kernel %lx",
				      child + 1, i, outcome->answer, (unsigned long)outcome->result);
			different_answers += last_answer != (int)outcome->result;
			last_answer = (int)outcome->result;
		}
	}
	ck_assert_int_gt(different_answers, CHILDREN * FILTERS / 4);
	munmap(outcomes, bytes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("filter");
	TCase *tcase = tcase_create("filter");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, a_list_of_what_is_denied_lets_us_through_unless_it_names_a_call_of_ours);
	tcase_add_test(tcase, a_list_of_what_is_allowed_lets_us_through_only_if_it_has_all_calls_of_ours);
	tcase_add_test(tcase, the_architecture_is_ours);
	tcase_add_test(tcase, traps_traces_and_notices_are_in_our_way);
	tcase_add_test(tcase, arguments_have_two_halves_the_lower_first);
	tcase_add_test(tcase, what_is_no_filter_lets_nothing_through);
	tcase_add_test(tcase, memory_that_is_not_there_is_no_filter);
	tcase_add_test(tcase, what_can_be_spared_is_forbidden_by_a_filter_that_lets_our_hooks_through);
	tcase_add_test(tcase, filters_of_chance_answer_as_the_kernel_does);
	return run_tests(srunner_create(suite));
}
