/* What libunwind gets to call: the stand-ins are called here as it would, inside a walk and outside of one. */
#include "../../../shim/sampling/sampling.h"
#include "../../../shim/sampling/stand_ins.h"
#include "../../../shim/sampling/unwind.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct unwind_state *state;

static void start_sampling(void)
{
	fixture_start_sampling(100, "libunwind");
	ck_assert_ptr_nonnull(atomic_load(&unwinder.backtrace));
	state = sig_unwind_begin();
	ck_assert_ptr_nonnull(state);
}

static void *stand_in(const char *name)
{
	for (size_t i = 0; i < sig_stand_in_count; i++)
		if (strcmp(sig_stand_ins[i].name, name) == 0)
			return sig_stand_ins[i].function;
	ck_abort_msg("no stand-in for %s", name);
	return NULL;
}

/* What a walk does: in place of libunwind. */
static int walk(int (*body)(void **, int))
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	return sig_unwind_library(body, state, here, here + 256);
}

START_TEST(libunwind_itself_calls_the_stand_ins)
{
	siginfo_t sample = fixture_signal(0);

	sig_unwind_end(state);
	ck_assert_int_eq(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGPROF, &sample), 0);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_SAMPLES), 1);
	ck_assert_ptr_nonnull(state->cache); /* its mmap came to us */
	ck_assert_uint_eq(state->has_tls, 1);
}
END_TEST

static int (*mincore_)(void *, size_t, unsigned char *);

static int look_at_memory(void **unused, int max)
{
	unsigned char present[2];
	int local = max;
	static int data;
	char *pages = mmap(NULL, 2 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)unused;
	mprotect(pages + 4096, 4096, PROT_NONE);
#define PAGE_OF(address) ((void *)((uintptr_t)(address) & ~4095UL))
	bool is_right = mincore_(PAGE_OF(&local), 4096, present) == 0 &&                 /* the stack that it runs on */
			mincore_(PAGE_OF(unwind_walk.stack_low), 4096, present) == 0 &&  /* the one it walks over */
			mincore_(PAGE_OF(&data), 4096, present) == 0 && mincore_(PAGE_OF(look_at_memory), 4096, present) == 0 &&
			mincore_(pages, 4096, present) == 0 &&           /* the kernel was asked */
			mincore_(pages, 8192, present) == -1 &&          /* its second half cannot be read */
			mincore_(pages + 4096, 4096, present) == -1 && mincore_(PAGE_OF(NULL), 4096, present) == -1 &&
			mincore_((void *)0xffff800000000000, 4096, present) == -1;
	return is_right;
}

START_TEST(only_readable_memory_is_called_valid)
{
	*(void **)&mincore_ = stand_in("mincore");
	ck_assert_int_eq(walk(look_at_memory), 1);
}
END_TEST

static ssize_t (*read_)(int, void *, size_t);
static int (*close_)(int);
static int (*pipe2_)(int *, int);
static long (*syscall_)(long, ...);
static int (*open_)(const char *, int, ...);
static int fds[2];

static int use_descriptors(void **unused, int max)
{
	char byte = 'x';
	int made[2] = { -1, -1 };

	(void)unused;
	(void)max;
	if (read_(fds[0], &byte, 1) != -1 || errno != EAGAIN || byte != 'x')
		return 0;
	if (syscall_(SYS_write, fds[1], &byte, 1L) != 1 || close_(fds[0]) != 0)
		return 0;
	return pipe2_(made, 0) == 0 && made[0] == -1 && open_("/dev/null", O_RDONLY) == -1 && errno == ENOENT;
}

START_TEST(no_descriptor_is_touched_in_a_walk)
{
	char bytes[4];

	*(void **)&read_ = stand_in("read");
	*(void **)&close_ = stand_in("close");
	*(void **)&pipe2_ = stand_in("pipe2");
	*(void **)&syscall_ = stand_in("syscall");
	*(void **)&open_ = stand_in("open");
	ck_assert_int_eq(pipe2(fds, O_NONBLOCK), 0);
	ck_assert_int_eq(write(fds[1], "a", 1), 1);
	ck_assert_int_eq(walk(use_descriptors), 1);
	ck_assert_int_eq(read(fds[0], bytes, sizeof(bytes)), 1); /* nothing was taken, nothing added, nothing closed */
	ck_assert_int_eq(bytes[0], 'a');
}
END_TEST

START_TEST(outside_of_a_walk_the_program_gets_the_true_functions)
{
	char byte = 0;
	unsigned char present[1];

	*(void **)&mincore_ = stand_in("mincore");
	*(void **)&read_ = stand_in("read");
	*(void **)&close_ = stand_in("close");
	*(void **)&pipe2_ = stand_in("pipe2");
	*(void **)&syscall_ = stand_in("syscall");
	*(void **)&open_ = stand_in("open");
	ck_assert_int_eq(pipe2_(fds, O_CLOEXEC), 0);
	ck_assert_int_eq(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(syscall_(SYS_write, fds[1], "b", 1L), 1);
	ck_assert_int_eq(read_(fds[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'b');
	ck_assert_int_eq(close_(fds[0]), 0);
	ck_assert_int_eq(fcntl(fds[0], F_GETFD), -1);
	int fd = open_("/dev/null", O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(mincore_((void *)((uintptr_t)&byte & ~4095UL), 4096, present), 0);
}
END_TEST

static int (*lock)(pthread_mutex_t *);
static int (*unlock)(pthread_mutex_t *);
static void (*abort_)(void);
static pthread_mutex_t mutexes[UNWIND_HELD_MAX + 1];

static int lock_two(void **unused, int max)
{
	(void)unused;
	(void)max;
	lock(&mutexes[0]);
	lock(&mutexes[1]);
	unlock(&mutexes[1]);
	unlock(&mutexes[0]);
	return 7;
}

static bool is_free(pthread_mutex_t *mutex)
{
	return pthread_mutex_trylock(mutex) == 0 && pthread_mutex_unlock(mutex) == 0;
}

static void make_mutexes(void)
{
	for (int i = 0; i <= UNWIND_HELD_MAX; i++)
		pthread_mutex_init(&mutexes[i], NULL);
	*(void **)&lock = stand_in("pthread_mutex_lock");
	*(void **)&unlock = stand_in("pthread_mutex_unlock");
	*(void **)&abort_ = stand_in("abort");
}

START_TEST(free_mutexes_are_taken_and_given_back)
{
	make_mutexes();
	ck_assert_int_eq(walk(lock_two), 7);
	ck_assert(is_free(&mutexes[0]));
	ck_assert(is_free(&mutexes[1]));
}
END_TEST

START_TEST(a_mutex_that_another_thread_has_ends_the_walk_with_nothing_held)
{
	make_mutexes();
	pthread_mutex_lock(&mutexes[1]);
	ck_assert_int_eq(walk(lock_two), 0);
	ck_assert(is_free(&mutexes[0]));
	ck_assert_ptr_null(unwind_walk.state);
	pthread_mutex_unlock(&mutexes[1]);
	ck_assert_int_eq(walk(lock_two), 7);
}
END_TEST

static int lock_too_many(void **unused, int max)
{
	(void)unused;
	(void)max;
	for (int i = 0; i <= UNWIND_HELD_MAX; i++)
		lock(&mutexes[i]);
	return 7;
}

START_TEST(more_mutexes_than_can_be_remembered_end_the_walk)
{
	make_mutexes();
	ck_assert_int_eq(walk(lock_too_many), 0);
	for (int i = 0; i <= UNWIND_HELD_MAX; i++)
		ck_assert(is_free(&mutexes[i]));
}
END_TEST

static int lock_and_abort(void **unused, int max)
{
	(void)unused;
	lock(&mutexes[0]);
	abort_();
	return max;
}

START_TEST(an_abort_ends_the_walk_and_not_the_program)
{
	make_mutexes();
	ck_assert_int_eq(walk(lock_and_abort), 0);
	ck_assert(is_free(&mutexes[0]));
}
END_TEST

static int count_modules(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)info;
	(void)size;
	++*(int *)data;
	return 0;
}

static int iterate(void **unused, int max)
{
	int (*iterate_)(int (*)(struct dl_phdr_info *, size_t, void *), void *);
	int count = 0;

	*(void **)&iterate_ = stand_in("dl_iterate_phdr");
	(void)unused;
	(void)max;
	iterate_(count_modules, &count);
	return count;
}

START_TEST(modules_come_from_the_map)
{
	int count = 0;

	dl_iterate_phdr(count_modules, &count);
	ck_assert_int_eq(walk(iterate), count);
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("stand-ins") };

	tcase_add_checked_fixture(cases[0], start_sampling, NULL);
	tcase_add_test(cases[0], libunwind_itself_calls_the_stand_ins);
	tcase_add_test(cases[0], only_readable_memory_is_called_valid);
	tcase_add_test(cases[0], no_descriptor_is_touched_in_a_walk);
	tcase_add_test(cases[0], outside_of_a_walk_the_program_gets_the_true_functions);
	tcase_add_test(cases[0], free_mutexes_are_taken_and_given_back);
	tcase_add_test(cases[0], a_mutex_that_another_thread_has_ends_the_walk_with_nothing_held);
	tcase_add_test(cases[0], more_mutexes_than_can_be_remembered_end_the_walk);
	tcase_add_test(cases[0], an_abort_ends_the_walk_and_not_the_program);
	tcase_add_test(cases[0], modules_come_from_the_map);
	return fixture_run(cases, 1, "stand-ins");
}
