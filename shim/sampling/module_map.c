/* Draws the map of modules. The loader is asked twice, once for the sizes and once for the contents; should it have
 * opened another module in between, the second answer does not fit and the drawing begins again. It holds a lock of its
 * own while it answers, so that no module can vanish; afterwards nothing of a module's memory is looked at.
 *
 * Drawing: one thread at a time, and nobody waits for it, since the program may hold the loader's lock and call a hook (in
 * a callback of dl_iterate_phdr). Who finds another at it leaves his wish, and that one draws again. Only fork waits, for
 * some ms at most: its child would inherit the loader's lock locked for ever.
 *
 * Namespaces: the loader tells each caller only of its own. Modules that dlmopen put elsewhere are found by way of what the
 * loader shows debuggers (glibc 2.35, struct r_debug_extended in link.h); an older one shows nothing, and their code is
 * unknown.
 *
 * Graves: where a module was unmapped, its range and name are kept for a while. If another module later comes to lie
 * there, the epoch changes, which tells the handlers that what they remember about addresses may be wrong. The same module
 * coming back to its old place, which is what a program that opens and closes a plugin again and again does, changes
 * nothing.
 */
#include "module_map.h"

#include "../base/clock.h"
#include "../base/log.h"
#include "../base/real.h"
#include "../base/thread.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STALE_LOOK_NS 1000000000 /* 1 s: code that no library owns (a JIT's) is met again and again */
#define UNLOAD_YIELDS 10         /* a walk takes microseconds */
#define UNLOAD_WAIT_NS 50000     /* 50 us: then the walking thread has lost its core */
#define UNLOAD_NS_MAX 100000000  /* 0.1 s in all: the program must go on */
#define FORK_NS_MAX 1000000000   /* 1 s: a drawing takes some 0.1 ms, unless its thread has lost its core */
#define DRAW_ATTEMPTS 4

enum { GRAVES = 64 };

struct grave {
	uintptr_t low;
	_Atomic uintptr_t high; /* 0 = free; others than the holder of the lock look whether there is any */
	uint32_t module;
	uintptr_t bias;
};

/* What a map needs, and what is still free while it is filled. */
struct room {
	uint32_t objects, ranges, headers;
	size_t text_bytes;
};

struct drawing {
	struct module_map *map;
	struct room free;
	ElfW(Phdr) *headers;
	char *text;
	bool is_too_small;
};

typedef int visit_function(struct dl_phdr_info *, size_t, void *);

/* A round through all modules of all namespaces. */
struct round {
	visit_function *visit;
	void *data;
	bool has_begun;
};

/* All below belong to whoever holds the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct module_map *retired;  /* since the phase began; linked by older */
static struct module_map *draining; /* before that: free when no reader of the phase before is left */
static struct grave graves[GRAVES];
static uint32_t epoch;
static bool is_at_start; /* what is there now was there before anything was opened */
static uint64_t last_stale_look_ns;

/* W: whoever wants a drawing, then the one who makes it. */
static _Atomic bool is_wanted;
static _Atomic uint32_t forks;     /* of other threads, which no drawing may begin before; they draw afterwards */
static _Atomic uint32_t owed_ends; /* of module_gate.unloading, to be taken back when what is wanted has been drawn */

/* Of module_gate.unloading, what this thread has put there: all that is left of it in the child of fork. */
static __thread uint32_t unloading_here __attribute__((tls_model("initial-exec")));
static __thread uint32_t opening_here __attribute__((tls_model("initial-exec")));
static __thread bool holds_for_fork __attribute__((tls_model("initial-exec")));

/* --- drawing --- */

static int add_sizes(struct dl_phdr_info *info, size_t size, void *data)
{
	struct room *room = data;

	(void)size;
	room->objects++;
	room->headers += info->dlpi_phnum;
	room->text_bytes += strlen(info->dlpi_name) + 1;
	for (int i = 0; i < info->dlpi_phnum; i++)
		room->ranges += info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X;
	return 0;
}

static struct module_map *map_new(const struct room *room)
{
	size_t objects_at = (sizeof(struct module_map) + 63) & ~(size_t)63;
	size_t ranges_at = objects_at + room->objects * sizeof(struct map_object);
	size_t headers_at = ranges_at + room->ranges * sizeof(struct map_range);
	size_t bytes = headers_at + room->headers * sizeof(ElfW(Phdr)) + room->text_bytes;
	char *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	struct module_map *map = (struct module_map *)base;
	map->bytes = bytes;
	map->objects = (struct map_object *)(base + objects_at);
	map->ranges = (struct map_range *)(base + ranges_at);
	return map;
}

/* An unwinder would search a module linearly, or even abort, where the table that leads to its frames is not of the kind
 * that all linkers of today write (Linux Standard Base Core 5.0, 10.6.2): version 1, pointers relative to the place, a
 * sorted table of signed 4-byte offsets from its start. */
static bool has_common_frame_table(const ElfW(Phdr) *header, uintptr_t bias)
{
	enum { PCREL_SDATA4 = 0x1b, UDATA4 = 0x03, DATAREL_SDATA4 = 0x3b };
	const uint8_t *table = (const uint8_t *)(bias + header->p_vaddr);

	static const uint8_t common[] = { 1, PCREL_SDATA4, UDATA4, DATAREL_SDATA4 };

	return header->p_memsz >= 8 && memcmp(table, common, sizeof(common)) == 0;
}

/* The descriptor of the GNU note in [note, end) that holds the build-id; NULL = none. */
static const uint8_t *find_build_id(const char *note, const char *end, uint32_t *ret_bytes)
{
	while ((size_t)(end - note) >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *header = (const ElfW(Nhdr) *)note;
		size_t name_bytes = ((size_t)header->n_namesz + 3) & ~(size_t)3;
		size_t bytes = sizeof(*header) + name_bytes + (((size_t)header->n_descsz + 3) & ~(size_t)3);
		if (bytes > (size_t)(end - note))
			return NULL;
		const char *name = note + sizeof(*header);
		if (header->n_type == NT_GNU_BUILD_ID && header->n_namesz == 4 && memcmp(name, "GNU", 4) == 0) {
			*ret_bytes = header->n_descsz < SEG_BUILD_ID_BYTES ? header->n_descsz : SEG_BUILD_ID_BYTES;
			return (const uint8_t *)name + name_bytes;
		}
		note += bytes;
	}
	return NULL;
}

static void copy_build_id(struct map_object *object)
{
	for (uint32_t i = 0; i < object->info.dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &object->info.dlpi_phdr[i];
		uintptr_t notes = object->info.dlpi_addr + header->p_vaddr;
		uint32_t bytes;
		if (header->p_type != PT_NOTE || notes < object->low || notes + header->p_memsz > object->high)
			continue;
		const uint8_t *id = find_build_id((const char *)notes, (const char *)notes + header->p_memsz, &bytes);
		if (!id)
			continue;
		memcpy(object->build_id, id, bytes);
		object->build_id_bytes = bytes;
		return;
	}
}

static bool holds(const struct map_object *object, uintptr_t address)
{
	return address >= object->low && address < object->high;
}

static void copy_headers(struct drawing *drawing, struct map_object *object, const struct dl_phdr_info *info)
{
	struct module_map *map = drawing->map;

	object->info.dlpi_phdr = drawing->headers;
	object->low = UINTPTR_MAX;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		ElfW(Phdr) *header = drawing->headers++;
		*header = info->dlpi_phdr[i];
		uintptr_t low = info->dlpi_addr + header->p_vaddr;
		if (header->p_type == PT_GNU_EH_FRAME && !has_common_frame_table(header, info->dlpi_addr))
			header->p_type = PT_NULL;
		if (header->p_type != PT_LOAD)
			continue;
		if (low < object->low)
			object->low = low;
		if (low + header->p_memsz > object->high)
			object->high = low + header->p_memsz;
		struct map_range range = { low, low + header->p_memsz, map->object_count };
		if (header->p_flags & PF_X)
			map->ranges[map->range_count++] = range;
	}
}

static bool take_room(struct room *room, const struct room *needs)
{
	if (needs->objects > room->objects || needs->ranges > room->ranges || needs->headers > room->headers ||
	    needs->text_bytes > room->text_bytes)
		return false;
	room->objects -= needs->objects;
	room->ranges -= needs->ranges;
	room->headers -= needs->headers;
	room->text_bytes -= needs->text_bytes;
	return true;
}

static int add_object(struct dl_phdr_info *info, size_t size, void *data)
{
	struct drawing *drawing = data;
	struct module_map *map = drawing->map;
	struct room needs = { 0 };

	add_sizes(info, size, &needs);
	if (!take_room(&drawing->free, &needs)) {
		drawing->is_too_small = true;
		return 1;
	}

	struct map_object *object = &map->objects[map->object_count];
	object->info = *info;
	object->info.dlpi_tls_data = NULL; /* of the drawing thread */
	object->info.dlpi_name = memcpy(drawing->text, info->dlpi_name, needs.text_bytes);
	drawing->text += needs.text_bytes;
	copy_headers(drawing, object, info);
	copy_build_id(object);
	object->is_system = holds(object, (uintptr_t)gnu_get_libc_version) || holds(object, getauxval(AT_BASE)) ||
			    holds(object, getauxval(AT_SYSINFO_EHDR));
	object->is_permanent = is_at_start || object->is_system || map->object_count == 0 || holds(object, (uintptr_t)add_object);
	/* The first is the program: what is linked into that is no library of ours. */
	if (map->object_count > 0 && holds(object, (uintptr_t)add_object)) {
		map->own_low = object->low;
		map->own_high = object->high;
	}
	map->object_count++;
	return 0;
}

/* After Shell: the C library's qsort may allocate, and its allocator may be the program's. */
static void sort(struct map_range *ranges, uint32_t count)
{
	static const uint32_t gaps[] = { 701, 301, 132, 57, 23, 10, 4, 1 };

	for (size_t g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++)
		for (uint32_t i = gaps[g]; i < count; i++) {
			struct map_range range = ranges[i];
			uint32_t j = i;
			for (; j >= gaps[g] && ranges[j - gaps[g]].low > range.low; j -= gaps[g])
				ranges[j] = ranges[j - gaps[g]];
			ranges[j] = range;
		}
}

#if __GLIBC_PREREQ(2, 36) /* RTLD_DI_PHDR */
/* The loader itself stands in every list, but in one only with headers. */
static void visit_namespace(const struct r_debug_extended *namespace, const struct round *round)
{
	for (struct link_map *module = namespace->base.r_map; module; module = module->l_next) {
		const ElfW(Phdr) *headers = NULL;
		int count = dlinfo(module, RTLD_DI_PHDR, (void *)&headers);
		struct dl_phdr_info info = { .dlpi_addr = module->l_addr, .dlpi_name = module->l_name, .dlpi_phdr = headers };
		if (count <= 0 || !headers)
			continue;
		info.dlpi_phnum = (ElfW(Half))count;
		if (round->visit(&info, sizeof(info), round->data) != 0)
			return;
	}
}

static void visit_other_namespaces(const struct round *round)
{
	static const struct r_debug_extended *_Atomic base;
	const struct r_debug_extended *first = atomic_load_explicit(&base, memory_order_relaxed);

	if (!first) {
		first = dlsym(RTLD_DEFAULT, "_r_debug");
		atomic_store_explicit(&base, first, memory_order_relaxed);
	}
	if (!first || first->base.r_version < 2)
		return;
	for (const struct r_debug_extended *other = first->r_next; other; other = other->r_next)
		visit_namespace(other, round);
}
#else
static void visit_other_namespaces(const struct round *round)
{
	(void)round;
}
#endif

/* Within the first answer: then the loader's lists are locked, and the first of all modules is still the program. */
static int go_on(struct dl_phdr_info *info, size_t size, void *data)
{
	struct round *round = data;
	bool is_first = !round->has_begun;

	round->has_begun = true;
	int result = round->visit(info, size, round->data);
	if (is_first && result == 0)
		visit_other_namespaces(round);
	return result;
}

static void visit_all(visit_function *visit, void *data)
{
	struct round round = { .visit = visit, .data = data };

	real.dl_iterate_phdr(go_on, &round);
}

static struct module_map *draw(void)
{
	for (int attempt = 0; attempt < DRAW_ATTEMPTS; attempt++) {
		struct room room = { 0 };
		visit_all(add_sizes, &room);
		struct module_map *map = map_new(&room);
		if (!map)
			return NULL;
		struct drawing drawing = { .map = map, .free = room };
		drawing.headers = (ElfW(Phdr) *)(map->ranges + room.ranges);
		drawing.text = (char *)(drawing.headers + room.headers);
		visit_all(add_object, &drawing);
		if (!drawing.is_too_small) {
			sort(map->ranges, map->range_count);
			return map;
		}
		munmap(map, map->bytes);
	}
	return NULL;
}

/* --- names --- */

/* Debian's redis-server is a link to redis-check-rdb: the program is shown under the name that it was called by, where
 * that is another name, in the same directory, for the same file. */
static void name_as_called(char *path)
{
	static char called[NAME_MAX + 1]; /* at the first look: programs write their titles over it */
	char other[PATH_MAX];
	struct stat as_linked, as_called;
	char *slash = strrchr(path, '/');

	if (!called[0])
		snprintf(called, sizeof(called), "%s", program_invocation_short_name);
	int n = snprintf(other, sizeof(other), "%.*s/%s", (int)(slash ? slash - path : 0), path, called);

	if (!slash || n < 0 || (size_t)n >= sizeof(other) || strcmp(other, path) == 0)
		return;
	if (stat(path, &as_linked) == 0 && stat(other, &as_called) == 0 && as_linked.st_dev == as_called.st_dev &&
	    as_linked.st_ino == as_called.st_ino)
		strcpy(path, other);
}

/* The path under which readers, whatever directory they stand in, find the module's file. */
static void module_path(const struct map_object *object, bool is_program, char ret_path[PATH_MAX])
{
	static const char deleted[] = " (deleted)";
	const char *name = object->info.dlpi_name;
	ssize_t n;

	if (is_program && (n = readlink("/proc/self/exe", ret_path, PATH_MAX - 1)) > 0) {
		ret_path[n] = '\0';
		char *end = ret_path + n - (sizeof(deleted) - 1);
		if (end > ret_path && strcmp(end, deleted) == 0)
			*end = '\0'; /* replaced since: its build-id tells readers whether the file there is the same */
		name_as_called(ret_path);
		return;
	}
	/* A name without a slash is no path: linux-vdso.so.1. */
	bool is_relative = name[0] != '/' && strchr(name, '/');
	size_t used = 0;
	if (is_relative && getcwd(ret_path, PATH_MAX - 1)) {
		used = strlen(ret_path);
		ret_path[used++] = '/';
	}
	size_t length = strnlen(name, PATH_MAX - 1 - used);
	memcpy(ret_path + used, name, length);
	ret_path[used + length] = '\0';
}

static void write_entry(struct seg_module *entry, const char *path, const uint8_t *id, uint32_t id_bytes)
{
	size_t length = strlen(path);
	size_t cut = length < SEG_MODULE_PATH_BYTES ? 0 : length - (SEG_MODULE_PATH_BYTES - 1);

	memcpy(entry->path, path + cut, length - cut + 1);
	memcpy(entry->build_id, id, id_bytes);
	entry->build_id_bytes = id_bytes;
	atomic_store_explicit(&entry->ready, 1, memory_order_release);
}

/* The module's index in the segment's table, entered now if need be. */
static uint32_t intern(const struct map_object *object, bool is_program)
{
	const uint8_t *id = object->build_id;
	uint32_t id_bytes = object->build_id_bytes;
	char path[PATH_MAX];

	module_path(object, is_program, path);
	uint64_t key = seg_key_of_bytes(path, (uint32_t)strlen(path), id_bytes ? seg_key_of_bytes(id, id_bytes, 1) : 0);
	uint32_t index = seg_table_append(&seg.slots[SEG_TABLE_MODULES], SEG_MODULE_FIRST, key, NULL);
	if (index == SEG_NOT_FOUND) {
		thread_count(SEG_COUNTER_OVERFLOW_MODULES);
		return SEG_MODULE_NONE;
	}
	struct seg_module *entry = &seg.modules[index];
	if (!atomic_load_explicit(&entry->ready, memory_order_acquire))
		write_entry(entry, path, id, id_bytes);
	return index;
}

/* What the map before says of the object, if it is the same: then its name need not be looked up. */
static uint32_t find_interned(const struct module_map *before, struct map_object *object)
{
	for (uint32_t i = 0; before && i < before->object_count; i++) {
		const struct map_object *old = &before->objects[i];
		if (old->low != object->low || old->high != object->high || strcmp(old->info.dlpi_name, object->info.dlpi_name) != 0)
			continue;
		const struct seg_module *entry = &seg.modules[old->module];
		bool is_same = atomic_load_explicit(&entry->ready, memory_order_acquire) &&
			       entry->build_id_bytes == object->build_id_bytes &&
			       memcmp(entry->build_id, object->build_id, object->build_id_bytes) == 0;
		object->is_permanent |= is_same && old->is_permanent;
		return is_same ? old->module : SEG_MODULE_NONE;
	}
	return SEG_MODULE_NONE;
}

static void intern_all(struct module_map *map)
{
	const struct module_map *before = atomic_load_explicit(&module_gate.current, memory_order_relaxed);

	for (uint32_t i = 0; i < map->object_count && seg.head; i++) {
		struct map_object *object = &map->objects[i];
		object->module = find_interned(before, object);
		if (object->module == SEG_MODULE_NONE)
			object->module = intern(object, i == 0);
	}
}

/* --- graves --- */

static bool is_same_module(uint32_t module, uintptr_t bias, const struct map_object *object)
{
	return module == object->module && bias == object->info.dlpi_addr;
}

static void dig(const struct map_range *range, const struct map_object *object)
{
	for (int i = 0; i < GRAVES; i++)
		if (!graves[i].high) {
			graves[i].low = range->low;
			graves[i].module = object->module;
			graves[i].bias = object->info.dlpi_addr;
			graves[i].high = range->high;
			return;
		}
	/* More than can be remembered: from here on every address is suspect, once. */
	for (int i = 0; i < GRAVES; i++)
		graves[i].high = 0;
	epoch++;
}

/* Ranges of before that are no longer what they were. */
static void bury(const struct module_map *before, const struct module_map *now)
{
	for (uint32_t i = 0; i < before->range_count; i++) {
		const struct map_range *old = &before->ranges[i];
		const struct map_object *object = &before->objects[old->object];
		const struct map_range *range = sig_map_find(now, old->low);
		bool is_there = range && range->low == old->low && range->high == old->high &&
				is_same_module(object->module, object->info.dlpi_addr, &now->objects[range->object]);
		if (!is_there)
			dig(old, object);
	}
}

static void build_over(const struct module_map *now)
{
	for (int i = 0; i < GRAVES; i++) {
		struct grave *grave = &graves[i];
		for (uint32_t j = 0; grave->high && j < now->range_count; j++) {
			const struct map_range *range = &now->ranges[j];
			if (range->high <= grave->low || range->low >= grave->high)
				continue;
			epoch += !is_same_module(grave->module, grave->bias, &now->objects[range->object]);
			grave->high = 0;
		}
	}
}

/* --- changes --- */

/* With the lock held. Whoever reads a map that was retired in an earlier phase entered in that phase; those that enter now
 * are counted apart, so that the old ones run out however many there are. One who is late, and enters by the number of a
 * phase that is over, loads the current map after that. */
static void free_retired(void)
{
	uint32_t phase = atomic_load_explicit(&module_gate.phase, memory_order_relaxed);

	if (gate_readers(atomic_load_explicit(&module_gate.inside, memory_order_seq_cst), !phase))
		return;
	while (draining) {
		struct module_map *map = draining;
		draining = map->older;
		munmap(map, map->bytes);
	}
	draining = retired;
	retired = NULL;
	atomic_store_explicit(&module_gate.phase, !phase, memory_order_seq_cst);
}

/* map: NULL where there is no memory for one. Then all code is unknown, and looked at again within a second: the map before
 * may show what is no longer there. */
static void publish(struct module_map *map)
{
	struct module_map *before = atomic_load_explicit(&module_gate.current, memory_order_relaxed);

	if (before && map) {
		bury(before, map);
		build_over(map);
	}
	if (map)
		map->epoch = epoch;
	else
		epoch++; /* whatever comes next, the graves do not tell what lay there */
	atomic_store_explicit(&module_gate.current, map, memory_order_seq_cst);
	if (before) {
		before->older = retired;
		retired = before;
	}
}

static void say_no_memory(void)
{
	static bool has_said;

	thread_count(SEG_COUNTER_FAULT_MODULES);
	if (!has_said)
		log_line(SEG_LOG_WARN, "no memory for the map of modules: until there is, code is shown as unknown");
	has_said = true;
}

static void draw_locked(void)
{
	struct module_map *map = draw();

	if (map)
		intern_all(map);
	else
		say_no_memory();
	publish(map);
	free_retired();
}

/* A handler of the program might leave for good by a jump, or fork, and a cancelled thread ends where it stands. The C
 * library's own function keeps the signal that cancels unblocked. */
static uint64_t block_all(void)
{
	uint64_t all = ~0ull, before = 0;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all));
	return before;
}

static void unblock(uint64_t mask)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
}

/* A wish that came while another drew is fulfilled by that one, or by us if it had just ended. What is owed is taken first:
 * what was owed later may be for what this drawing does not show. */
static void draw_while_wanted(void)
{
	if (!atomic_load_explicit(&is_wanted, memory_order_seq_cst))
		return;
	uint64_t mask = block_all();
	while (atomic_load_explicit(&is_wanted, memory_order_seq_cst) &&
	       !atomic_load_explicit(&forks, memory_order_seq_cst) && pthread_mutex_trylock(&lock) == 0) {
		atomic_store_explicit(&is_wanted, false, memory_order_seq_cst);
		uint32_t ends = atomic_exchange_explicit(&owed_ends, 0, memory_order_seq_cst);
		draw_locked();
		atomic_fetch_sub_explicit(&module_gate.unloading, ends, memory_order_seq_cst);
		pthread_mutex_unlock(&lock);
	}
	unblock(mask);
}

void modules_refresh(void)
{
	atomic_store_explicit(&is_wanted, true, memory_order_seq_cst);
	draw_while_wanted();
}

void modules_start(bool has_just_begun)
{
	is_at_start = has_just_begun;
	modules_refresh();
	is_at_start = false;
}

void modules_refresh_if_stale(uint64_t now_ns)
{
	if (!atomic_load_explicit(&module_gate.is_stale, memory_order_relaxed) || pthread_mutex_trylock(&lock))
		return;
	bool is_time = now_ns - last_stale_look_ns >= STALE_LOOK_NS;
	if (is_time) {
		last_stale_look_ns = now_ns;
		atomic_store_explicit(&module_gate.is_stale, 0, memory_order_relaxed);
		atomic_store_explicit(&is_wanted, true, memory_order_seq_cst);
	}
	pthread_mutex_unlock(&lock);
	draw_while_wanted();
}

void modules_refresh_if_missing(uint64_t now_ns)
{
	if (!atomic_load_explicit(&module_gate.current, memory_order_relaxed))
		modules_refresh_if_stale(now_ns);
}

/* By the kernel itself: nanosleep would be a point where the thread may be cancelled. */
static void pause_shortly(void)
{
	const struct timespec pause = { .tv_nsec = UNLOAD_WAIT_NS };

	syscall(SYS_nanosleep, &pause, NULL);
}

void modules_unload_begin(void)
{
	uint64_t begin_ns = 0;

	unloading_here++;
	atomic_fetch_add_explicit(&module_gate.unloading, 1, memory_order_seq_cst);
	for (int i = 0; gate_walkers(atomic_load_explicit(&module_gate.inside, memory_order_seq_cst)); i++) {
		if (i < UNLOAD_YIELDS) {
			sched_yield();
			continue;
		}
		if (!begin_ns)
			begin_ns = clock_now_ns();
		if (clock_now_ns() - begin_ns > UNLOAD_NS_MAX)
			return;
		pause_shortly();
	}
}

void modules_unload_end(void)
{
	unloading_here--;
	atomic_fetch_sub_explicit(&module_gate.unloading, 1, memory_order_seq_cst);
}

void modules_unloaded(void)
{
	unloading_here--;
	atomic_fetch_add_explicit(&owed_ends, 1, memory_order_seq_cst);
	modules_refresh();
}

static bool has_graves(void)
{
	for (int i = 0; i < GRAVES; i++)
		if (atomic_load_explicit(&graves[i].high, memory_order_relaxed))
			return true;
	return false;
}

/* No walk need be waited for: what is on a stack now is not the module that will come. */
void modules_open_begin(void)
{
	if (has_graves() || opening_here) {
		opening_here++;
		unloading_here++;
		atomic_fetch_add_explicit(&module_gate.unloading, 1, memory_order_seq_cst);
	}
}

void modules_open_end(void)
{
	if (!opening_here)
		return;
	opening_here--;
	modules_unload_end();
}

void modules_opened(void)
{
	if (!opening_here) {
		modules_refresh();
		return;
	}
	opening_here--;
	modules_unloaded();
}

void modules_abandon(void)
{
	uint32_t count = unloading_here;

	if (!count)
		return;
	unloading_here = 0;
	opening_here = 0;
	atomic_fetch_add_explicit(&owed_ends, count, memory_order_seq_cst);
	modules_refresh();
}

/* --- fork --- */

void modules_fork_begin(void)
{
	uint64_t begin_ns = clock_now_ns();

	atomic_fetch_add_explicit(&forks, 1, memory_order_seq_cst);
	while (pthread_mutex_trylock(&lock) != 0) {
		if (clock_now_ns() - begin_ns > FORK_NS_MAX)
			return;
		pause_shortly();
	}
	holds_for_fork = true;
}

void modules_fork_end(void)
{
	if (holds_for_fork)
		pthread_mutex_unlock(&lock);
	holds_for_fork = false;
	atomic_fetch_sub_explicit(&forks, 1, memory_order_seq_cst);
	draw_while_wanted();
}

uint32_t modules_forked(void)
{
	holds_for_fork = false;
	pthread_mutex_init(&lock, NULL);
	atomic_store_explicit(&forks, 0, memory_order_relaxed);
	atomic_store_explicit(&owed_ends, 0, memory_order_relaxed);
	atomic_store_explicit(&module_gate.unloading, unloading_here, memory_order_relaxed);
	return gate_walkers(atomic_exchange_explicit(&module_gate.inside, 0, memory_order_relaxed));
}
