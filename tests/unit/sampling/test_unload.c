/* Libraries come and go under a fast sampler. What these tests prove is that nothing crashes, and that what is found on a
 * stack is never the library that was there before. */
#include "../../../shim/base/clock.h"
#include "../../../shim/sampling/modules.h"
#include "../../../shim/sampling/sampling.h"
#include "fixture.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { HZ = 1000, SECONDS = 2 };

static _Atomic int is_over;

static void start_sampling(void)
{
	fixture_start_sampling(HZ, "libunwind");
}

static int callback(int n)
{
	volatile int sum = n;

	for (int i = 0; i < 2000; i++)
		sum += i;
	return sum;
}

static void *open_plugin(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW);

	ck_assert_msg(handle != NULL, "%s", dlerror());
	modules_refresh();
	return handle;
}

static void close_plugin(void *handle)
{
	modules_unload_begin();
	dlclose(handle);
	modules_refresh();
	modules_unload_end();
}

static void work_in(const char *path)
{
	void *handle = open_plugin(path);
	int (*work)(int (*)(int), int) = (int (*)(int (*)(int), int))dlsym(handle, "plugin_work");

	work(callback, 100);
	close_plugin(handle);
}

static void *other_thread(void *unused)
{
	(void)unused;
	thread_attach();
	sampling_thread_start();
	while (!atomic_load(&is_over))
		callback(1);
	sampling_thread_stop();
	thread_detach();
	return NULL;
}

static void churn_for(const char *first, const char *second)
{
	pthread_t thread;
	uint64_t end_ns = clock_now_ns() + SECONDS * 1000000000ULL;
	int rounds = 0;

	ck_assert_int_eq(pthread_create(&thread, NULL, other_thread, NULL), 0);
	sampling_thread_start();
	/* On a busy machine it takes longer to be sampled so often. */
	while (clock_now_ns() < end_ns || fixture_counter(SEG_COUNTER_SAMPLES) <= 100) {
		work_in(first);
		work_in(second);
		rounds++;
	}
	sampling_thread_stop();
	atomic_store(&is_over, 1);
	pthread_join(thread, NULL);
	ck_assert_int_gt(rounds, 10);
}

START_TEST(the_same_library_may_come_and_go_while_samples_are_taken)
{
	churn_for(PLUGIN_A, PLUGIN_A);
}
END_TEST

START_TEST(different_libraries_may_take_each_others_place_while_samples_are_taken)
{
	churn_for(PLUGIN_A, PLUGIN_B);
}
END_TEST

/* One after the other in the same place, and a sample in each, in a thread whose unwinder knows the place by heart. */
static uint32_t module_of_sampled_plugin(const char *path)
{
	uint64_t frames[64];
	uint32_t found = 0;
	void *handle = open_plugin(path);
	int (*work)(int (*)(int), int) = (int (*)(int (*)(int), int))dlsym(handle, "plugin_work");
	uint64_t before = fixture_counter(SEG_COUNTER_SAMPLES);

	sampling_thread_start();
	while (fixture_counter(SEG_COUNTER_SAMPLES) < before + 20)
		work(callback, 100);
	sampling_thread_stop();
	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_CELLS].count; i++) {
		uint64_t key = atomic_load(&seg.cells[i].key);
		uint32_t depth = key ? fixture_path(seg_cell_node(key), frames, 64) : 0;
		for (uint32_t j = 0; j < depth; j++) {
			uint32_t module = seg_frame_module(frames[j]);
			if (module >= SEG_MODULE_FIRST && strcmp(seg.modules[module].path, path) == 0)
				found++;
		}
	}
	close_plugin(handle);
	return found;
}

START_TEST(a_library_in_anothers_place_is_found_under_its_own_name)
{
	ck_assert_uint_gt(module_of_sampled_plugin(PLUGIN_A), 0);
	ck_assert_uint_gt(module_of_sampled_plugin(PLUGIN_B), 0);
	ck_assert_uint_eq(fixture_counter(SEG_COUNTER_DROP_UNWIND), 0);
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("unload") };

	tcase_set_timeout(cases[0], 30);
	tcase_add_checked_fixture(cases[0], start_sampling, NULL);
	tcase_add_test(cases[0], a_library_in_anothers_place_is_found_under_its_own_name);
	tcase_add_test(cases[0], the_same_library_may_come_and_go_while_samples_are_taken);
	tcase_add_test(cases[0], different_libraries_may_take_each_others_place_while_samples_are_taken);
	return fixture_run(cases, 1, "unload");
}
