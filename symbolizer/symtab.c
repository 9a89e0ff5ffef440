/* Many names may stand for one address: aliases (write, __write, __libc_write), the same function in .dynsym and .symtab,
 * labels of hand-written assembler. Which one is shown must not depend on the order of the file, so names are ranked:
 * real functions before labels, sized before unsized, visible before local, without leading underscores before with,
 * global before weak, then the shortest, then the alphabet.
 */
#include "symtab.h"

#include "demangle.h"
#include "sort.h"
#include "step.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RANK_GLOBAL = 1, RANK_PLAIN = 2, RANK_VISIBLE = 4, RANK_SIZED = 8, RANK_FUNCTION = 16 };

/* Stubs of unknown size are as long as the entries of the classic PLT. */
enum { STUB_BYTES = 16, STUBS_BYTES_MAX = 16 * 1024 * 1024 };

static uint8_t rank_of(const struct image_symbol *symbol)
{
	bool is_mangled = strncmp(symbol->name, "_Z", 2) == 0 || strncmp(symbol->name, "_R", 2) == 0;

	return (uint8_t)((symbol->is_function ? RANK_FUNCTION : 0) | (symbol->size ? RANK_SIZED : 0) |
	                 (symbol->binding != IMAGE_LOCAL ? RANK_VISIBLE : 0) |
	                 (symbol->name[0] != '_' || is_mangled ? RANK_PLAIN : 0) |
	                 (symbol->binding == IMAGE_GLOBAL ? RANK_GLOBAL : 0));
}

/* Labels without type or size are taken where they are visible, as assembler programs name functions so; local ones are
 * jump targets, and the linker's marks are no functions. */
static bool is_wanted_label(const struct image_symbol *symbol)
{
	static const char *const marks[] = { "etext", "_etext", "__etext" };

	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
		if (strcmp(symbol->name, marks[i]) == 0)
			return false;
	return symbol->size > 0 || symbol->binding != IMAGE_LOCAL;
}

static struct symtab_entry *new_entry(struct symtab *symtab)
{
	if (symtab->count == symtab->capacity) {
		uint32_t capacity = symtab->capacity ? symtab->capacity * 2 : 256;
		struct symtab_entry *entries = NULL;

		if (capacity > symtab->capacity)
			entries = realloc(symtab->entries, capacity * sizeof(*entries));
		if (!entries)
			return NULL;
		symtab->entries = entries;
		symtab->capacity = capacity;
	}
	return &symtab->entries[symtab->count++];
}

static int add_symbol(void *context, const struct image_symbol *symbol)
{
	struct symtab *symtab = context;
	const struct span *section = spans_find(&symtab->code, symbol->start);
	size_t name_bytes = strcspn(symbol->name + 1, "@") + 1;
	struct symtab_entry *entry;
	uint64_t room;

	if (!section || (!symbol->is_function && !is_wanted_label(symbol)))
		return 0;
	room = section->end - symbol->start;
	entry = new_entry(symtab);
	if (!entry)
		return -ENOMEM;
	*entry = (struct symtab_entry){
		.name = strings_keep_n(&symtab->strings, symbol->name, name_bytes),
		.start = symbol->start,
		.size = symbol->size < room ? symbol->size : room,
		.end = symbol->start + (symbol->size && symbol->size < room ? symbol->size : room),
		.rank = rank_of(symbol),
	};
	symtab->defined++;
	return entry->name ? 0 : -ENOMEM;
}

int symtab_add_image(struct symtab *symtab, struct image *image, bool is_dynamic)
{
	if (symtab->code.count == 0) {
		int failed = image_read_code(image, &symtab->code);

		if (failed)
			return failed;
	}
	return image_read_symbols(image, is_dynamic, add_symbol, symtab);
}

struct imports {
	struct spans places; /* of the words that the stubs jump through; ids are indexes of names */
	const char **names;
	uint32_t capacity;
	struct strings *strings;
};

static int add_import(void *context, uint64_t address, const char *symbol)
{
	struct imports *imports = context;

	if (imports->places.count == imports->capacity) {
		uint32_t capacity = imports->capacity ? imports->capacity * 2 : 64;
		const char **names = capacity > imports->capacity ? realloc(imports->names, capacity * sizeof(*names)) : NULL;

		if (!names)
			return -ENOMEM;
		imports->names = names;
		imports->capacity = capacity;
	}
	imports->names[imports->places.count] = strings_keep(imports->strings, symbol);
	if (!imports->names[imports->places.count] || address > UINT64_MAX - 8)
		return imports->names[imports->places.count] ? 0 : -ENOMEM;
	return spans_add(&imports->places, address, address + 8, imports->places.count);
}

static int add_stub(struct symtab *symtab, uint64_t start, uint64_t size, const char *import)
{
	struct symtab_entry *entry;
	char name[512];
	size_t name_bytes = strnlen(import, sizeof(name) - sizeof("@plt"));

	memcpy(name, import, name_bytes);
	memcpy(name + name_bytes, "@plt", sizeof("@plt"));
	entry = new_entry(symtab);
	if (!entry)
		return -ENOMEM;
	*entry = (struct symtab_entry){
		.name = strings_keep(&symtab->strings, name), .start = start, .size = size, .end = start + size, .rank = RANK_SIZED,
	};
	return entry->name ? 0 : -ENOMEM;
}

/* A stub holds, after an optional landing pad, FF 25 and a distance: jump to where the word at that distance says (Intel
 * SDM volume 2, JMP r/m64 relative to RIP). The relocation of that word names the function. */
static int add_stubs_of(struct symtab *symtab, const struct image_section *section, const struct imports *imports)
{
	uint64_t step = section->entry_size == 8 || section->entry_size == 16 ? section->entry_size : STUB_BYTES;

	for (uint64_t at = 0; at + step <= section->size; at += step)
		for (uint64_t i = at; i + 6 <= at + step; i++) {
			const struct span *place;
			int32_t distance;

			if (section->bytes[i] != 0xff || section->bytes[i + 1] != 0x25)
				continue;
			memcpy(&distance, section->bytes + i + 2, sizeof(distance));
			place = spans_find(&imports->places, section->address + i + 6 + (uint64_t)(int64_t)distance);
			if (place && add_stub(symtab, section->address + at, step, imports->names[place->id]) != 0)
				return -ENOMEM;
			break;
		}
	return 0;
}

int symtab_add_stubs(struct symtab *symtab, struct image *image)
{
	static const char *const sections[] = { ".plt", ".plt.sec", ".plt.got" };
	struct imports imports = { .strings = &symtab->strings };
	int failed;

	if (!image_is_x86_64(image))
		return 0;
	failed = image_read_imports(image, add_import, &imports);
	spans_sort(&imports.places);
	for (size_t i = 0; !failed && i < sizeof(sections) / sizeof(*sections); i++) {
		struct image_section section = { 0 };

		if (image_read_section(image, sections[i], STUBS_BYTES_MAX, &section) != 0)
			continue;
		failed = add_stubs_of(symtab, &section, &imports);
		free(section.bytes);
	}
	spans_free(&imports.places);
	free(imports.names);
	return failed;
}

static int compare_names(const char *a, const char *b)
{
	size_t a_bytes = strlen(a), b_bytes = strlen(b);

	return a_bytes != b_bytes ? (a_bytes < b_bytes ? -1 : 1) : strcmp(a, b);
}

/* By address, the best name of each first. */
static int compare_entries(const void *left, const void *right)
{
	const struct symtab_entry *a = left, *b = right;

	step_taken(1);
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank > b->rank ? -1 : 1;
	return compare_names(a->name, b->name);
}

/* Keeps one name for each address, and no label without a size that lies inside of a function. */
static void keep_best_names(struct symtab *symtab)
{
	uint64_t functions_end = 0, last_start = 0;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < symtab->count; i++) {
		struct symtab_entry *entry = &symtab->entries[i];

		if (kept > 0 && last_start == entry->start)
			continue;
		if (entry->rank < RANK_SIZED && entry->start < functions_end)
			continue;
		if (entry->rank >= (RANK_FUNCTION | RANK_SIZED) && entry->end > functions_end)
			functions_end = entry->end;
		last_start = entry->start;
		symtab->entries[kept++] = *entry;
	}
	symtab->count = kept;
}

int symtab_finish(struct symtab *symtab)
{
	if (symtab->count == 0)
		return 0;
	sort_items(symtab->entries, symtab->count, sizeof(*symtab->entries), compare_entries);
	keep_best_names(symtab);
	for (uint32_t i = 0; i < symtab->count; i++) {
		struct symtab_entry *entry = &symtab->entries[i];

		if (entry->size == 0 && i + 1 < symtab->count && symtab->entries[i + 1].start < entry->end)
			entry->end = symtab->entries[i + 1].start;
		if (spans_add(&symtab->places, entry->start, entry->end, i) != 0)
			return -ENOMEM;
	}
	spans_sort(&symtab->places);
	return 0;
}

struct symtab_entry *symtab_find(const struct symtab *symtab, uint64_t address)
{
	const struct span *place = spans_find(&symtab->places, address);

	return place ? &symtab->entries[place->id] : NULL;
}

const char *symtab_entry_shown(struct symtab_entry *entry, struct strings *kept)
{
	if (!entry->shown) {
		char *readable = demangle(entry->name);

		entry->shown = strings_keep(kept, readable ? readable : entry->name);
		free(readable);
	}
	return entry->shown;
}

void symtab_free(struct symtab *symtab)
{
	free(symtab->entries);
	spans_free(&symtab->places);
	spans_free(&symtab->code);
	strings_free(&symtab->strings);
	*symtab = (struct symtab){ 0 };
}
