#include "../../../shim/sampling/module_map.h"
#include "../../../shim/sampling/modules.h"
#include "fixture.h"

#include <dlfcn.h>
#include <elf.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Pages of address space (statm in proc(5)). */
static size_t mapped_pages(void)
{
	FILE *statm = fopen("/proc/self/statm", "r");
	size_t pages = 0;

	ck_assert_ptr_nonnull(statm);
	ck_assert_int_eq(fscanf(statm, "%zu", &pages), 1);
	fclose(statm);
	return pages;
}

static void open_session(void)
{
	fixture_open(100, "fp");
	modules_refresh();
}

static uint64_t frame_of(const void *function)
{
	bool has_entered = sig_modules_enter();
	uint64_t frame = sig_modules_frame((uintptr_t)function, false);

	sig_modules_leave(has_entered);
	return frame;
}

static const struct seg_module *module_of(const void *function)
{
	uint32_t module = seg_frame_module(frame_of(function));

	ck_assert_uint_ge(module, SEG_MODULE_FIRST);
	ck_assert_uint_eq(atomic_load(&seg.modules[module].ready), 1);
	return &seg.modules[module];
}

int main(void);

START_TEST(the_programs_module_is_its_real_path)
{
	char path[PATH_MAX] = "";

	ck_assert_int_gt(readlink("/proc/self/exe", path, sizeof(path) - 1), 0);
	ck_assert_str_eq(module_of((void *)main)->path, path);
}
END_TEST

START_TEST(an_offset_is_the_address_in_the_file)
{
	Dl_info info;

	ck_assert(dladdr((void *)main, &info));
	ck_assert_uint_eq(seg_frame_offset(frame_of((void *)main)), (uintptr_t)main - (uintptr_t)info.dli_fbase);
}
END_TEST

START_TEST(the_c_library_is_known_by_its_path_and_build_id)
{
	const struct seg_module *libc = module_of((void *)getpid);
	bool has_id = false;

	ck_assert_ptr_nonnull(strstr(libc->path, "/libc.so.6"));
	ck_assert_uint_eq(libc->build_id_bytes, SEG_BUILD_ID_BYTES);
	for (int i = 0; i < SEG_BUILD_ID_BYTES; i++)
		has_id |= libc->build_id[i] != 0;
	ck_assert(has_id);
}
END_TEST

START_TEST(the_vdso_is_a_module_too)
{
	const ElfW(Ehdr) *vdso = (const ElfW(Ehdr) *)getauxval(AT_SYSINFO_EHDR);

	ck_assert_ptr_nonnull(vdso);
	ck_assert_str_eq(module_of((const char *)vdso + vdso->e_entry + 0x600)->path, "linux-vdso.so.1");
	ck_assert(sig_modules_is_system((uintptr_t)vdso + 0x600));
}
END_TEST

START_TEST(the_c_library_is_system_and_the_program_is_not)
{
	ck_assert(sig_modules_is_system((uintptr_t)getpid));
	ck_assert(!sig_modules_is_system((uintptr_t)main));
}
END_TEST

START_TEST(what_is_linked_into_the_program_is_not_our_library)
{
	ck_assert(!sig_modules_is_own((uintptr_t)modules_refresh));
	ck_assert(!sig_modules_is_own((uintptr_t)main));
}
END_TEST

START_TEST(data_and_nothing_are_no_code)
{
	static int data;
	int local;

	ck_assert_uint_eq(frame_of(&data), seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN));
	ck_assert_uint_eq(frame_of(&local), seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN));
	ck_assert_uint_eq(frame_of(NULL), seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN));
	ck_assert_uint_eq(frame_of((void *)UINTPTR_MAX), seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN));
}
END_TEST

START_TEST(memory_of_modules_is_readable_and_other_memory_is_not_known_to_be)
{
	static int data;
	int local;
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert(sig_modules_is_readable((uintptr_t)main, 8));
	ck_assert(sig_modules_is_readable((uintptr_t)&data, 4));
	ck_assert(!sig_modules_is_readable((uintptr_t)&local, 4));
	ck_assert(!sig_modules_is_readable((uintptr_t)page, 4096));
	ck_assert(!sig_modules_is_readable(0, 1));
	ck_assert(!sig_modules_is_readable((uintptr_t)main, 1UL << 40));
}
END_TEST

struct seen {
	int count;
	bool has_vdso;
	bool has_tables;
};

static int look(struct dl_phdr_info *info, size_t size, void *data)
{
	struct seen *seen = data;

	ck_assert_uint_eq(size, sizeof(*info));
	seen->count++;
	seen->has_vdso |= strcmp(info->dlpi_name, "linux-vdso.so.1") == 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		seen->has_tables |= info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME;
	return 0;
}

static int stop_at_second(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)info;
	(void)size;
	return ++*(int *)data == 2 ? 42 : 0;
}

START_TEST(iterating_shows_what_the_loader_shows)
{
	struct seen ours = { 0 }, loaders = { 0 };
	int count = 0;

	sig_modules_iterate(look, &ours);
	dl_iterate_phdr(look, &loaders);
	ck_assert_int_eq(ours.count, loaders.count);
	ck_assert(ours.has_vdso);
	ck_assert(ours.has_tables);
	ck_assert_int_eq(sig_modules_iterate(stop_at_second, &count), 42);
	ck_assert_int_eq(count, 2);
}
END_TEST

START_TEST(the_same_modules_again_are_the_same_entries)
{
	uint64_t before = frame_of((void *)main);
	uint32_t epoch = sig_modules_epoch();

	for (int i = 0; i < 5; i++)
		modules_refresh();
	ck_assert_uint_eq(frame_of((void *)main), before);
	ck_assert_uint_eq(sig_modules_epoch(), epoch);
}
END_TEST

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

START_TEST(a_library_that_is_opened_is_known_and_one_that_is_closed_is_not)
{
	void *handle = open_plugin(PLUGIN_A);
	void *function = dlsym(handle, "plugin_work");

	ck_assert_str_eq(module_of(function)->path, PLUGIN_A);
	close_plugin(handle);
	ck_assert_uint_eq(frame_of(function), seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN));
}
END_TEST

static uintptr_t function_page(void *handle)
{
	return (uintptr_t)dlsym(handle, "plugin_work") & ~4095UL;
}

/* The kernel puts a library into the highest gap that fits. Maps take gaps, too, so where it comes to lie goes round in a
 * circle, once that has settled. */
static void *open_plugin_settled(const char *path)
{
	for (int i = 0; i < 8; i++)
		close_plugin(open_plugin(path));
	return open_plugin(path);
}

static void *open_plugin_at(const char *path, uintptr_t page)
{
	for (int i = 0; i < 100; i++) {
		void *handle = open_plugin(path);
		if (function_page(handle) == page)
			return handle;
		close_plugin(handle);
	}
	ck_abort_msg("%s never came to lie at %#lx", path, (unsigned long)page);
	return NULL;
}

START_TEST(a_library_that_comes_back_to_its_place_changes_no_epoch)
{
	void *handle = open_plugin_settled(PLUGIN_A);
	uintptr_t page = function_page(handle);
	uint32_t epoch = sig_modules_epoch();

	close_plugin(handle);
	open_plugin_at(PLUGIN_A, page);
	ck_assert_uint_eq(sig_modules_epoch(), epoch);
}
END_TEST

START_TEST(another_library_in_the_same_place_changes_the_epoch)
{
	void *handle = open_plugin_settled(PLUGIN_A);
	uintptr_t page = function_page(handle);
	uint32_t epoch = sig_modules_epoch();

	close_plugin(handle);
	ck_assert_uint_eq(sig_modules_epoch(), epoch);
	open_plugin_at(PLUGIN_B, page);
	ck_assert_uint_ne(sig_modules_epoch(), epoch);
}
END_TEST

START_TEST(a_library_that_changes_place_with_another_between_two_looks_changes_the_epoch)
{
	void *handle = open_plugin(PLUGIN_A);
	uintptr_t page = function_page(handle);
	uint32_t epoch = sig_modules_epoch();

	dlclose(handle);
	handle = open_plugin(PLUGIN_B);
	ck_assert_uint_eq(function_page(handle), page);
	ck_assert_uint_ne(sig_modules_epoch(), epoch);
}
END_TEST

static bool may_walk(void)
{
	bool has_entered = sig_modules_enter();

	sig_modules_leave(has_entered);
	return has_entered;
}

START_TEST(opening_stops_walks_only_where_something_was_unmapped)
{
	modules_open_begin();
	ck_assert(may_walk());
	modules_open_end();
	close_plugin(open_plugin(PLUGIN_A));
	modules_open_begin();
	ck_assert(!may_walk());
	modules_open_begin(); /* a constructor opens another one */
	modules_open_end();
	ck_assert(!may_walk());
	modules_open_end();
	ck_assert(may_walk());
}
END_TEST

START_TEST(a_relative_path_is_made_absolute)
{
	char directory[PATH_MAX], name[PATH_MAX];

	snprintf(directory, sizeof(directory), "%s", PLUGIN_A);
	char *slash = strrchr(directory, '/');
	*slash = '\0';
	snprintf(name, sizeof(name), "./%s", slash + 1);
	ck_assert_int_eq(chdir(directory), 0);
	void *handle = open_plugin(name);
	const struct seg_module *module = module_of(dlsym(handle, "plugin_work"));
	ck_assert_int_eq(module->path[0], '/');
	ck_assert_int_eq(access(module->path, R_OK), 0);
}
END_TEST

START_TEST(a_full_table_of_modules_is_counted_and_its_code_is_unknown)
{
	seg.slots[SEG_TABLE_MODULES].count = SEG_MODULE_FIRST + 1;
	for (uint32_t i = 0; i < SEG_MODULE_FIRST + 1; i++)
		atomic_store(&seg.modules[i].key, i + 1);
	atomic_store(&module_gate.current, NULL); /* nothing is known from before */
	modules_refresh();
	ck_assert_uint_ge(fixture_counter(SEG_COUNTER_OVERFLOW_MODULES), 3);
	ck_assert_uint_eq(frame_of((void *)main), seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN));
}
END_TEST

START_TEST(an_entry_that_its_writer_left_unfinished_is_finished_by_the_next)
{
	uint32_t module = seg_frame_module(frame_of((void *)main));
	char path[SEG_MODULE_PATH_BYTES];

	memcpy(path, seg.modules[module].path, sizeof(path));
	memset(seg.modules[module].path, 0, sizeof(path));
	atomic_store(&seg.modules[module].ready, 0);
	modules_refresh();
	ck_assert_str_eq(seg.modules[module].path, path);
}
END_TEST

START_TEST(unknown_code_makes_the_map_be_looked_at_once_a_second)
{
	void *handle = dlopen(PLUGIN_A, RTLD_NOW); /* as the loader does by itself: no hook, no refresh */
	void *function = dlsym(handle, "plugin_work");

	ck_assert_uint_eq(seg_frame_module(frame_of(function)), SEG_MODULE_PSEUDO);
	modules_refresh_if_stale(5000000000);
	ck_assert_str_eq(module_of(function)->path, PLUGIN_A);
	dlclose(handle);
	frame_of(NULL);
	modules_refresh_if_stale(5999999999);
	ck_assert_uint_ge(seg_frame_module(frame_of(function)), SEG_MODULE_FIRST);
	modules_refresh_if_stale(6000000000);
	ck_assert_uint_eq(seg_frame_module(frame_of(function)), SEG_MODULE_PSEUDO);
}
END_TEST

START_TEST(unloading_waits_for_a_walk_but_not_for_ever)
{
	ck_assert(sig_modules_enter());
	modules_unload_begin(); /* in a debugger's hands, say: gives up */
	ck_assert(!sig_modules_enter());
	sig_modules_leave(false);
	modules_unload_end();
	ck_assert(sig_modules_enter());
	sig_modules_leave(true);
	sig_modules_leave(true);
	ck_assert_uint_eq(atomic_load(&module_gate.inside), 0);
}
END_TEST

START_TEST(a_forked_child_forgets_the_walks_of_its_parents_threads)
{
	ck_assert(sig_modules_enter());
	ck_assert_uint_eq(modules_forked(), 1);
	ck_assert_uint_eq(modules_forked(), 0);
	modules_unload_begin();
	modules_forked();
	ck_assert(!sig_modules_enter()); /* it is this thread that unloads */
	sig_modules_leave(false);
	modules_unload_end();
	ck_assert(sig_modules_enter());
}
END_TEST

static _Atomic int looks;

static void *look_again(void *unused)
{
	atomic_fetch_add(&looks, 1);
	modules_refresh();
	atomic_fetch_add(&looks, 1);
	return unused;
}

/* The loader's lists are locked, and another thread waits for them to draw the map. */
static int change_within(struct dl_phdr_info *info, size_t size, void *data)
{
	const struct timespec moment = { .tv_nsec = 50000000 };
	pthread_t *thread = data;

	(void)info;
	(void)size;
	if (atomic_load(&looks))
		return 0;
	ck_assert_int_eq(pthread_create(thread, NULL, look_again, NULL), 0);
	while (!atomic_load(&looks))
		;
	nanosleep(&moment, NULL);
	modules_open_begin();
	modules_opened();
	modules_unload_begin();
	modules_unloaded();
	ck_assert(!may_walk()); /* the other thread ends that, too, when it has drawn what we want */
	return 0;
}

START_TEST(a_change_within_the_loaders_lock_waits_for_nobody)
{
	pthread_t thread;

	atomic_store(&looks, 0);
	dl_iterate_phdr(change_within, &thread);
	pthread_join(thread, NULL);
	ck_assert_int_eq(atomic_load(&looks), 2);
	ck_assert(may_walk());
}
END_TEST

static _Atomic int is_enough;

static void *draw_always(void *unused)
{
	while (!atomic_load(&is_enough))
		modules_refresh();
	return unused;
}

static void run_child(void)
{
	struct seen seen = { 0 };

	alarm(5); /* the loader's lock may be locked by a thread that is not here */
	modules_forked();
	dl_iterate_phdr(look, &seen);
	modules_refresh();
	_exit(0);
}

START_TEST(a_child_of_fork_finds_the_loaders_lists_unlocked)
{
	pthread_t thread;
	int failures = 0, status;

	atomic_store(&is_enough, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, draw_always, NULL), 0);
	for (int i = 0; i < 15 && !failures; i++) {
		modules_fork_begin();
		pid_t child = fork();
		if (child == 0)
			run_child();
		modules_fork_end();
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		failures += status != 0;
	}
	atomic_store(&is_enough, 1);
	pthread_join(thread, NULL);
	ck_assert_int_eq(failures, 0);
}
END_TEST

/* A constructor left by a jump. */
START_TEST(what_was_begun_can_be_abandoned)
{
	close_plugin(open_plugin(PLUGIN_A));
	modules_open_begin();
	modules_unload_begin();
	ck_assert(!may_walk());
	modules_abandon();
	ck_assert(may_walk());
	modules_abandon();
	ck_assert(may_walk());
}
END_TEST

/* Another may have come to lie where it was, before the map shows it. */
START_TEST(while_a_library_vanishes_its_code_is_unknown_and_the_programs_is_not)
{
	void *function = dlsym(open_plugin(PLUGIN_A), "plugin_work");

	ck_assert_str_eq(module_of(function)->path, PLUGIN_A);
	modules_unload_begin();
	ck_assert_uint_eq(frame_of(function), seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN));
	ck_assert_uint_ge(seg_frame_module(frame_of((void *)main)), SEG_MODULE_FIRST);
	ck_assert_uint_ge(seg_frame_module(frame_of((void *)getpid)), SEG_MODULE_FIRST);
	modules_unload_end();
	ck_assert_str_eq(module_of(function)->path, PLUGIN_A);
}
END_TEST

/* However many handlers run at any moment. */
START_TEST(maps_that_were_replaced_are_freed_while_others_are_read)
{
	size_t before = 0, after = 0;

	for (int i = 0; i < 300; i++) {
		ck_assert(sig_modules_enter());
		modules_refresh();
		modules_refresh();
		sig_modules_leave(true);
		ck_assert(sig_modules_enter());
		modules_refresh();
		sig_modules_leave(true);
		size_t pages = mapped_pages();
		before = i == 20 ? pages : before;
		after = pages;
	}
	ck_assert_uint_le(after, before + 16);
}
END_TEST

int main(void)
{
	TCase *cases[] = { tcase_create("modules") };

	tcase_add_checked_fixture(cases[0], open_session, NULL);
	tcase_add_test(cases[0], the_programs_module_is_its_real_path);
	tcase_add_test(cases[0], an_offset_is_the_address_in_the_file);
	tcase_add_test(cases[0], the_c_library_is_known_by_its_path_and_build_id);
	tcase_add_test(cases[0], the_vdso_is_a_module_too);
	tcase_add_test(cases[0], the_c_library_is_system_and_the_program_is_not);
	tcase_add_test(cases[0], what_is_linked_into_the_program_is_not_our_library);
	tcase_add_test(cases[0], data_and_nothing_are_no_code);
	tcase_add_test(cases[0], memory_of_modules_is_readable_and_other_memory_is_not_known_to_be);
	tcase_add_test(cases[0], iterating_shows_what_the_loader_shows);
	tcase_add_test(cases[0], the_same_modules_again_are_the_same_entries);
	tcase_add_test(cases[0], a_library_that_is_opened_is_known_and_one_that_is_closed_is_not);
	tcase_add_test(cases[0], a_library_that_comes_back_to_its_place_changes_no_epoch);
	tcase_add_test(cases[0], another_library_in_the_same_place_changes_the_epoch);
	tcase_add_test(cases[0], a_library_that_changes_place_with_another_between_two_looks_changes_the_epoch);
	tcase_add_test(cases[0], opening_stops_walks_only_where_something_was_unmapped);
	tcase_add_test(cases[0], a_relative_path_is_made_absolute);
	tcase_add_test(cases[0], a_full_table_of_modules_is_counted_and_its_code_is_unknown);
	tcase_add_test(cases[0], an_entry_that_its_writer_left_unfinished_is_finished_by_the_next);
	tcase_add_test(cases[0], unknown_code_makes_the_map_be_looked_at_once_a_second);
	tcase_add_test(cases[0], unloading_waits_for_a_walk_but_not_for_ever);
	tcase_add_test(cases[0], a_forked_child_forgets_the_walks_of_its_parents_threads);
	tcase_add_test(cases[0], a_change_within_the_loaders_lock_waits_for_nobody);
	tcase_add_test(cases[0], a_child_of_fork_finds_the_loaders_lists_unlocked);
	tcase_add_test(cases[0], what_was_begun_can_be_abandoned);
	tcase_add_test(cases[0], while_a_library_vanishes_its_code_is_unknown_and_the_programs_is_not);
	tcase_add_test(cases[0], maps_that_were_replaced_are_freed_while_others_are_read);
	return fixture_run(cases, 1, "modules");
}
