/* Modules are looked through by what the loader has mapped of them: dynamic section, hash table, symbols (gABI chapter 5;
 * DT_GNU_HASH as binutils and glibc agree on it). dlsym would take the lock that dlopen holds while it runs constructors,
 * which may wait for the very thread that makes its first call here.
 */
#include "foreign.h"

#include "../base/real.h"

#include <elf.h>
#include <link.h>
#include <string.h>

enum {
	LIBRARIES_MAX = 8, /* of one kind, loaded at once */
	SITES = 256,       /* return addresses remembered */
	OBJECT_WORDS = 8,  /* where an object of OpenSSL's begins: its kind, context and method tables */
	SITE_BY_OBJECT = 0xff,
	SPINS_MAX = 100000, /* some ms: far longer than it takes to write down what was found */
};

static const char *const openssl_names[] = {
#define NAME(name) #name,
	FOREIGN_OPENSSL_NAMES(NAME)
};
static const char *const gnutls_names[] = { FOREIGN_GNUTLS_NAMES(NAME) };
static const char *const liburing_names[] = { FOREIGN_LIBURING_NAMES(NAME) };

static const struct {
	const char *const *names;
	int count;
	bool is_told_by_object;
} kinds[FOREIGN_KIND_COUNT] = {
	[FOREIGN_OPENSSL] = { openssl_names, FOREIGN_OPENSSL_COUNT, true },
	[FOREIGN_GNUTLS] = { gnutls_names, FOREIGN_GNUTLS_COUNT, false },
	[FOREIGN_LIBURING] = { liburing_names, FOREIGN_LIBURING_COUNT, false },
};

/* What is known. W: who holds is_writing. */
static struct {
	struct foreign_library libraries[LIBRARIES_MAX];
	_Atomic int count; /* of the used ones among the first of libraries */
} known[FOREIGN_KIND_COUNT];

static _Atomic bool is_writing;
static _Atomic uint64_t sites[SITES]; /* return address << 8 | 1 + index of the library, 0 = free */

/* a module in memory */

struct module {
	uintptr_t base, low, high;
	const ElfW(Sym) *symbols;
	const char *strings;
	const ElfW(Half) *versions;
	const uint32_t *gnu_hash, *hash;
	const ElfW(Dyn) *dynamic;
};

/* glibc relocates these entries in place, other loaders do not. */
static const void *pointer_of(const struct module *module, const ElfW(Dyn) *entry)
{
	uintptr_t address = entry->d_un.d_ptr;

	return (const void *)(address < module->base ? address + module->base : address);
}

static void read_dynamic(struct module *module)
{
	for (const ElfW(Dyn) *entry = module->dynamic; entry->d_tag != DT_NULL; entry++) {
		switch (entry->d_tag) {
		case DT_SYMTAB: module->symbols = pointer_of(module, entry); break;
		case DT_STRTAB: module->strings = pointer_of(module, entry); break;
		case DT_VERSYM: module->versions = pointer_of(module, entry); break;
		case DT_GNU_HASH: module->gnu_hash = pointer_of(module, entry); break;
		case DT_HASH: module->hash = pointer_of(module, entry); break;
		}
	}
}

static bool read_module(struct module *module, const struct dl_phdr_info *info)
{
	*module = (struct module){ .base = info->dlpi_addr, .low = UINTPTR_MAX };
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t begin = info->dlpi_addr + segment->p_vaddr;
		if (segment->p_type == PT_DYNAMIC)
			module->dynamic = (const ElfW(Dyn) *)begin;
		if (segment->p_type != PT_LOAD)
			continue;
		module->low = begin < module->low ? begin : module->low;
		module->high = begin + segment->p_memsz > module->high ? begin + segment->p_memsz : module->high;
	}
	if (!module->dynamic)
		return false;
	read_dynamic(module);
	return module->symbols && module->strings;
}

/* A symbol that others may bind to: defined, a function, of its name's default version. */
static bool is_offered(const struct module *module, uint32_t index, const char *name)
{
	const ElfW(Sym) *symbol = &module->symbols[index];

	if (symbol->st_shndx == SHN_UNDEF || (symbol->st_info & 0xf) != STT_FUNC)
		return false;
	if (module->versions && module->versions[index] & 0x8000)
		return false;
	return strcmp(module->strings + symbol->st_name, name) == 0;
}

static uint32_t find_by_gnu_hash(const struct module *module, const char *name)
{
	const uint32_t *table = module->gnu_hash; /* buckets, first symbol, words of the filter, its shift */
	uint32_t bucket_count = table[0], first = table[1], filter_words = table[2], shift = table[3], hash = 5381;
	const ElfW(Addr) *filter = (const ElfW(Addr) *)(const void *)(table + 4);
	const uint32_t *buckets = (const uint32_t *)(const void *)(filter + filter_words), *chain = buckets + bucket_count;
	const uint32_t bits = 8 * sizeof(ElfW(Addr));

	for (const char *c = name; *c; c++)
		hash = hash * 33 + (unsigned char)*c;
	if (!bucket_count || !filter_words)
		return 0;
	ElfW(Addr) word = filter[hash / bits % filter_words];
	if (!(word >> hash % bits & word >> (hash >> shift) % bits & 1))
		return 0;
	uint32_t index = buckets[hash % bucket_count];
	if (index < first)
		return 0;
	for (;; index++) {
		uint32_t link = chain[index - first];
		if ((link | 1) == (hash | 1) && is_offered(module, index, name))
			return index;
		if (link & 1)
			return 0;
	}
}

static uint32_t find_by_hash(const struct module *module, const char *name)
{
	const uint32_t *table = module->hash; /* buckets, symbols; then the buckets and the chain */
	uint32_t hash = 0;

	for (const char *c = name; *c; c++) {
		hash = (hash << 4) + (unsigned char)*c;
		hash ^= (hash & 0xf0000000) >> 24;
		hash &= 0x0fffffff;
	}
	uint32_t index = table[0] ? table[2 + hash % table[0]] : 0;
	while (index && !is_offered(module, index, name))
		index = table[2 + table[0] + index];
	return index;
}

static void *find_function(const struct module *module, const char *name)
{
	uint32_t index = 0;

	if (module->gnu_hash)
		index = find_by_gnu_hash(module, name);
	else if (module->hash)
		index = find_by_hash(module, name);
	return index ? (void *)(module->base + module->symbols[index].st_value) : NULL;
}

/* looking */

struct look {
	enum foreign_kind kind;
	uintptr_t caller;
	bool has_caller;
	struct module caller_module;
	struct module modules[LIBRARIES_MAX];
	struct {
		void *functions[FOREIGN_FUNCTIONS_MAX];
	} found[LIBRARIES_MAX];
	int count;
	bool is_behind_us; /* modules are told in the order in which the loader searches them */
	void *interposed[FOREIGN_FUNCTIONS_MAX]; /* by modules between us and the first whole library */
};

static void find_functions(const struct look *look, const struct module *module, void **ret_functions)
{
	for (int i = 0; i < kinds[look->kind].count; i++)
		ret_functions[i] = find_function(module, kinds[look->kind].names[i]);
}

static void note_interposed(struct look *look, const struct module *module)
{
	for (int i = 1; i < kinds[look->kind].count; i++)
		if (!look->interposed[i])
			look->interposed[i] = find_function(module, kinds[look->kind].names[i]);
}

static int look_at_module(struct dl_phdr_info *info, size_t bytes, void *data)
{
	struct look *look = data;
	struct module module;

	(void)bytes;
	if (!read_module(&module, info))
		return 0;
	if ((uintptr_t)&known >= module.low && (uintptr_t)&known < module.high) {
		look->is_behind_us = true;
		return 0;
	}
	if (look->caller >= module.low && look->caller < module.high) {
		look->has_caller = true;
		look->caller_module = module;
	}
	if (look->count == LIBRARIES_MAX)
		return 0;
	if (find_function(&module, kinds[look->kind].names[0])) {
		find_functions(look, &module, look->found[look->count].functions);
		look->modules[look->count++] = module;
	} else if (look->is_behind_us && !look->count) {
		note_interposed(look, &module);
	}
	return 0;
}

/* writing down */

static bool is_same(const struct foreign_library *library, const struct module *module, void *const *functions)
{
	if (atomic_load_explicit(&library->low, memory_order_relaxed) != module->low ||
	    atomic_load_explicit(&library->high, memory_order_relaxed) != module->high)
		return false;
	for (int i = 0; i < FOREIGN_FUNCTIONS_MAX; i++)
		if (atomic_load_explicit(&library->functions[i], memory_order_relaxed) != functions[i])
			return false;
	return true;
}

static void write_library(struct foreign_library *library, const struct module *module, void *const *functions)
{
	atomic_store_explicit(&library->low, 0, memory_order_relaxed);
	for (int i = 0; i < FOREIGN_FUNCTIONS_MAX; i++)
		atomic_store_explicit(&library->functions[i], functions[i], memory_order_relaxed);
	atomic_store_explicit(&library->high, module->high, memory_order_relaxed);
	atomic_store_explicit(&library->low, module->low, memory_order_release);
}

/* Who wrote and did not let go in all that time did not survive a fork. */
static void begin_writing(void)
{
	for (int spins = 0; spins < SPINS_MAX; spins++)
		if (!atomic_exchange_explicit(&is_writing, true, memory_order_acquire))
			return;
}

/* The libraries are kept at the place that they have in the loader's order, so that two threads write the same. */
static void write_down(const struct look *look)
{
	begin_writing();
	bool has_changed = atomic_load_explicit(&known[look->kind].count, memory_order_relaxed) != look->count;
	for (int i = 0; i < look->count; i++) {
		struct foreign_library *library = &known[look->kind].libraries[i];
		if (is_same(library, &look->modules[i], look->found[i].functions))
			continue;
		has_changed = true;
		write_library(library, &look->modules[i], look->found[i].functions);
	}
	atomic_store_explicit(&known[look->kind].count, look->count, memory_order_release);
	if (has_changed)
		foreign_forget();
	atomic_store_explicit(&is_writing, false, memory_order_release);
}

/* choosing */

static int index_by_object(enum foreign_kind kind, const void *object)
{
	int count = atomic_load_explicit(&known[kind].count, memory_order_acquire);
	const uintptr_t *words = object;

	for (int word = 0; object && word < OBJECT_WORDS; word++)
		for (int i = 0; i < count; i++)
			if (foreign_has(&known[kind].libraries[i], (const void *)words[word]))
				return i;
	return -1;
}

static const char *soname_of(const struct module *module)
{
	for (const ElfW(Dyn) *entry = module->dynamic; entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag == DT_SONAME)
			return module->strings + entry->d_un.d_val;
	return NULL;
}

static bool needs(const struct module *module, const char *soname)
{
	for (const ElfW(Dyn) *entry = module->dynamic; soname && entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag == DT_NEEDED && strcmp(module->strings + entry->d_un.d_val, soname) == 0)
			return true;
	return false;
}

static int index_by_caller(const struct look *look)
{
	for (int i = 0; look->has_caller && i < look->count; i++)
		if (needs(&look->caller_module, soname_of(&look->modules[i])) ||
		    (look->caller >= look->modules[i].low && look->caller < look->modules[i].high))
			return i;
	return 0;
}

static _Atomic uint64_t *site_of(uintptr_t caller)
{
	return &sites[(caller ^ caller >> 8) % SITES];
}

static void remember(uintptr_t caller, int index)
{
	atomic_store_explicit(site_of(caller), (uint64_t)caller << 8 | (uint64_t)(index + 1), memory_order_relaxed);
}

static const struct foreign_library *find_slowly(enum foreign_kind kind, const void *object, const void *caller)
{
	struct look look = { .kind = kind, .caller = (uintptr_t)caller };

	if (!real.dl_iterate_phdr)
		real_resolve();
	real.dl_iterate_phdr(look_at_module, &look);
	for (int i = 0; i < look.count; i++)
		for (int name = 1; name < kinds[kind].count; name++)
			if (look.interposed[name])
				look.found[i].functions[name] = look.interposed[name];
	write_down(&look);
	if (!look.count)
		return NULL;
	bool is_by_object = look.count > 1 && kinds[kind].is_told_by_object;
	int index = index_by_caller(&look);
	remember(look.caller, is_by_object ? SITE_BY_OBJECT - 1 : index);
	int made_by = is_by_object ? index_by_object(kind, object) : -1;
	return &known[kind].libraries[made_by >= 0 ? made_by : index];
}

const struct foreign_library *foreign_find(enum foreign_kind kind, const void *object, const void *caller)
{
	uint64_t site = atomic_load_explicit(site_of((uintptr_t)caller), memory_order_acquire);

	if (site >> 8 != (uintptr_t)caller)
		return find_slowly(kind, object, caller);
	int index = (int)(site & 0xff) - 1;
	if (index == SITE_BY_OBJECT - 1)
		index = index_by_object(kind, object);
	return index >= 0 ? &known[kind].libraries[index] : find_slowly(kind, object, caller);
}

void foreign_forget(void)
{
	for (int i = 0; i < SITES; i++)
		atomic_store_explicit(&sites[i], 0, memory_order_relaxed);
}
