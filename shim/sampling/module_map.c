/* Draws the map of modules. The loader is asked twice, once for the sizes and once for the contents; should it have
 * opened another module in between, the second answer does not fit and the drawing begins again.
 *
 * Graves: where a module was unmapped, its range and name are kept for a while. If another module later comes to lie
 * there, the epoch changes, which tells the handlers that what they remember about addresses may be wrong. The same module
 * coming back to its old place, which is what a program that opens and closes a plugin again and again does, changes
 * nothing.
 */
#include "module_map.h"

#include "../base/real.h"
#include "../base/thread.h"

#include <elf.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STALE_LOOK_NS 1000000000 /* 1 s: code that no library owns (a JIT's) is met again and again */
#define UNLOAD_YIELDS 10         /* a walk takes microseconds */
#define UNLOAD_WAIT_NS 50000     /* 50 us: then the walking thread has lost its core */
#define UNLOAD_WAITS_MAX 2000    /* 0.1 s in all: the program must go on */
#define DRAW_ATTEMPTS 4

enum { GRAVES = 64 };

struct grave {
	uintptr_t low, high; /* 0, 0 = free */
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

/* All below belong to whoever holds the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct module_map *retired; /* newest first */
static struct grave graves[GRAVES];
static uint32_t epoch;
static uint64_t last_stale_look_ns;

/* Of module_gate.unloading, what this thread has put there: all that is left of it in the child of fork. */
static __thread uint32_t unloading_here __attribute__((tls_model("initial-exec")));
static __thread uint32_t opening_here __attribute__((tls_model("initial-exec")));

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
	object->is_system = holds(object, (uintptr_t)gnu_get_libc_version) || holds(object, getauxval(AT_BASE)) ||
			    holds(object, getauxval(AT_SYSINFO_EHDR));
	/* The first is the program: what is linked into that is no library of ours. */
	if (map->object_count > 0 && holds(object, (uintptr_t)add_object)) {
		map->own_low = object->low;
		map->own_high = object->high;
	}
	map->object_count++;
	return 0;
}

static int by_address(const void *left, const void *right)
{
	const struct map_range *a = left, *b = right;

	return a->low < b->low ? -1 : a->low > b->low;
}

static struct module_map *draw(void)
{
	for (int attempt = 0; attempt < DRAW_ATTEMPTS; attempt++) {
		struct room room = { 0 };
		real.dl_iterate_phdr(add_sizes, &room);
		struct module_map *map = map_new(&room);
		if (!map)
			return NULL;
		struct drawing drawing = { .map = map, .free = room };
		drawing.headers = (ElfW(Phdr) *)(map->ranges + room.ranges);
		drawing.text = (char *)(drawing.headers + room.headers);
		real.dl_iterate_phdr(add_object, &drawing);
		if (!drawing.is_too_small) {
			qsort(map->ranges, map->range_count, sizeof(*map->ranges), by_address);
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

static const uint8_t *module_build_id(const struct map_object *object, uint32_t *ret_bytes)
{
	for (uint32_t i = 0; i < object->info.dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &object->info.dlpi_phdr[i];
		uintptr_t notes = object->info.dlpi_addr + header->p_vaddr;
		if (header->p_type != PT_NOTE || notes < object->low || notes + header->p_memsz > object->high)
			continue;
		const uint8_t *id = find_build_id((const char *)notes, (const char *)notes + header->p_memsz, ret_bytes);
		if (id)
			return id;
	}
	*ret_bytes = 0;
	return NULL;
}

static void write_entry(struct seg_module *entry, const char *path, const uint8_t *id, uint32_t id_bytes)
{
	size_t length = strlen(path);
	size_t cut = length < SEG_MODULE_PATH_BYTES ? 0 : length - (SEG_MODULE_PATH_BYTES - 1);

	memcpy(entry->path, path + cut, length - cut + 1);
	if (id)
		memcpy(entry->build_id, id, id_bytes);
	entry->build_id_bytes = id_bytes;
	atomic_store_explicit(&entry->ready, 1, memory_order_release);
}

/* The module's index in the segment's table, entered now if need be. */
static uint32_t intern(const struct map_object *object, bool is_program, const uint8_t *id, uint32_t id_bytes)
{
	char path[PATH_MAX];

	module_path(object, is_program, path);
	uint64_t key = seg_key_of_bytes(path, (uint32_t)strlen(path), id ? seg_key_of_bytes(id, id_bytes, 1) : 0);
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
static uint32_t find_interned(const struct module_map *before, const struct map_object *object, const uint8_t *id,
			      uint32_t id_bytes)
{
	for (uint32_t i = 0; before && i < before->object_count; i++) {
		const struct map_object *old = &before->objects[i];
		if (old->low != object->low || old->high != object->high || strcmp(old->info.dlpi_name, object->info.dlpi_name) != 0)
			continue;
		const struct seg_module *entry = &seg.modules[old->module];
		bool is_same = atomic_load_explicit(&entry->ready, memory_order_acquire) && entry->build_id_bytes == id_bytes &&
			       (!id || memcmp(entry->build_id, id, id_bytes) == 0);
		return is_same ? old->module : SEG_MODULE_NONE;
	}
	return SEG_MODULE_NONE;
}

static void intern_all(struct module_map *map)
{
	const struct module_map *before = atomic_load_explicit(&module_gate.current, memory_order_relaxed);

	for (uint32_t i = 0; i < map->object_count && seg.head; i++) {
		struct map_object *object = &map->objects[i];
		uint32_t id_bytes;
		const uint8_t *id = module_build_id(object, &id_bytes);
		object->module = find_interned(before, object, id, id_bytes);
		if (object->module == SEG_MODULE_NONE)
			object->module = intern(object, i == 0, id, id_bytes);
	}
}

/* --- graves --- */

static bool is_same_module(const struct grave *grave, const struct map_object *object)
{
	return grave->module == object->module && grave->bias == object->info.dlpi_addr;
}

static void dig(const struct map_range *range, const struct map_object *object)
{
	for (int i = 0; i < GRAVES; i++)
		if (!graves[i].high) {
			graves[i] = (struct grave){ range->low, range->high, object->module, object->info.dlpi_addr };
			return;
		}
	/* More than can be remembered: from here on every address is suspect, once. */
	memset(graves, 0, sizeof(graves));
	epoch++;
}

/* Ranges of before that are no longer what they were. */
static void bury(const struct module_map *before, const struct module_map *now)
{
	for (uint32_t i = 0; i < before->range_count; i++) {
		const struct map_range *old = &before->ranges[i];
		const struct map_object *object = &before->objects[old->object];
		const struct map_range *range = sig_map_find(now, old->low);
		struct grave grave = { old->low, old->high, object->module, object->info.dlpi_addr };
		bool is_there = range && range->low == old->low && range->high == old->high &&
				is_same_module(&grave, &now->objects[range->object]);
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
			epoch += !is_same_module(grave, &now->objects[range->object]);
			*grave = (struct grave){ 0 };
		}
	}
}

/* --- changes --- */

/* With the lock held, before the next map is published: whoever reads an older map than the current one has been reading
 * since before it was replaced. */
static void free_retired(void)
{
	if (atomic_load_explicit(&module_gate.readers, memory_order_seq_cst))
		return;
	while (retired) {
		struct module_map *map = retired;
		retired = map->older;
		munmap(map, map->bytes);
	}
}

static void publish(struct module_map *map)
{
	struct module_map *before = atomic_load_explicit(&module_gate.current, memory_order_relaxed);

	if (before) {
		bury(before, map);
		build_over(map);
	}
	map->epoch = epoch;
	atomic_store_explicit(&module_gate.current, map, memory_order_seq_cst);
	if (before) {
		before->older = retired;
		retired = before;
	}
}

static void refresh_locked(void)
{
	struct module_map *map = draw();

	if (!map)
		return; /* the old one stays: new modules show as unknown */
	intern_all(map);
	free_retired();
	publish(map);
}

void modules_refresh(void)
{
	pthread_mutex_lock(&lock);
	refresh_locked();
	pthread_mutex_unlock(&lock);
}

void modules_refresh_if_stale(uint64_t now_ns)
{
	if (!atomic_load_explicit(&module_gate.is_stale, memory_order_relaxed) || pthread_mutex_trylock(&lock))
		return;
	if (now_ns - last_stale_look_ns >= STALE_LOOK_NS) {
		last_stale_look_ns = now_ns;
		atomic_store_explicit(&module_gate.is_stale, 0, memory_order_relaxed);
		refresh_locked();
	}
	pthread_mutex_unlock(&lock);
}

void modules_unload_begin(void)
{
	const struct timespec pause = { .tv_nsec = UNLOAD_WAIT_NS };

	unloading_here++;
	atomic_fetch_add_explicit(&module_gate.unloading, 1, memory_order_seq_cst);
	for (int i = 0; i < UNLOAD_YIELDS + UNLOAD_WAITS_MAX; i++) {
		if (!atomic_load_explicit(&module_gate.walkers, memory_order_seq_cst))
			return;
		if (i < UNLOAD_YIELDS)
			sched_yield();
		else
			nanosleep(&pause, NULL);
	}
}

void modules_unload_end(void)
{
	unloading_here--;
	atomic_fetch_sub_explicit(&module_gate.unloading, 1, memory_order_seq_cst);
}

static bool has_graves(void)
{
	bool has_any = false;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < GRAVES; i++)
		has_any |= graves[i].high != 0;
	pthread_mutex_unlock(&lock);
	return has_any;
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

uint32_t modules_forked(void)
{
	pthread_mutex_init(&lock, NULL);
	atomic_store_explicit(&module_gate.unloading, unloading_here, memory_order_relaxed);
	atomic_store_explicit(&module_gate.readers, 0, memory_order_relaxed);
	return atomic_exchange_explicit(&module_gate.walkers, 0, memory_order_relaxed);
}
