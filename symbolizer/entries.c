/* Units and entries of .debug_info, versions 2 to 5 of the DWARF standard, read without any library: libdwarf 20210528
 * reads wild memory where a file is damaged, and this runs inside of somebody's server.
 *
 * An entry is a code and the values of the attributes that its abbreviation lists, one behind the other. What is looked
 * for is picked up in one pass over them (read_entry); the rest is skipped by form. Values are made sense of after that,
 * since what they count from may stand behind them.
 *
 * Nothing here takes longer than what was read is large: entries are passed once, forwards; tables of abbreviations and
 * lists of ranges, which many entries could name, have a budget in proportion to the sections.
 */
#include "entries.h"

#include "step.h"

#include "abbreviations.h"
#include "rangelist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Bounds that sound files do not reach: nested scopes, references from one entry to the next, and how often the sections
 * are read over, on the average. */
enum { SCOPES_MAX = 64, REFERENCES_MAX = 8, READINGS_MAX = 16 };
enum { ADDRESS_BYTES = sizeof(void *) };

/* By their names in the standard (7.5 and 7.6), those of GNU's besides. */
enum {
	UT_COMPILE = 1, UT_TYPE, UT_PARTIAL, UT_SKELETON, UT_SPLIT_COMPILE, UT_SPLIT_TYPE,
};
enum {
	TAG_CLASS_TYPE = 0x02, TAG_ENUMERATION_TYPE = 0x04, TAG_LEXICAL_BLOCK = 0x0b, TAG_STRUCTURE_TYPE = 0x13,
	TAG_UNION_TYPE = 0x17, TAG_MODULE = 0x1e, TAG_SUBPROGRAM = 0x2e, TAG_NAMESPACE = 0x39,
};
enum {
	FORM_ADDR = 0x01, FORM_BLOCK2 = 0x03, FORM_BLOCK4, FORM_DATA2, FORM_DATA4, FORM_DATA8, FORM_STRING, FORM_BLOCK,
	FORM_BLOCK1, FORM_DATA1, FORM_FLAG, FORM_SDATA, FORM_STRP, FORM_UDATA, FORM_REF_ADDR, FORM_REF1, FORM_REF2,
	FORM_REF4, FORM_REF8, FORM_REF_UDATA, FORM_INDIRECT, FORM_SEC_OFFSET, FORM_EXPRLOC, FORM_FLAG_PRESENT, FORM_STRX,
	FORM_ADDRX, FORM_REF_SUP4, FORM_STRP_SUP, FORM_DATA16, FORM_LINE_STRP, FORM_REF_SIG8, FORM_IMPLICIT_CONST,
	FORM_LOCLISTX, FORM_RNGLISTX, FORM_REF_SUP8, FORM_STRX1, FORM_STRX2, FORM_STRX3, FORM_STRX4, FORM_ADDRX1,
	FORM_ADDRX2, FORM_ADDRX3, FORM_ADDRX4,
	FORM_GNU_ADDR_INDEX = 0x1f01, FORM_GNU_STR_INDEX, FORM_GNU_REF_ALT = 0x1f20, FORM_GNU_STRP_ALT,
};

/* The attributes that are looked for: X(NAME, code). */
#define ATTRIBUTES(X)                                                                                                  \
	X(SIBLING, 0x01) X(NAME, 0x03) X(STMT_LIST, 0x10) X(LOW_PC, 0x11) X(HIGH_PC, 0x12) X(COMP_DIR, 0x1b)           \
	X(ABSTRACT_ORIGIN, 0x31) X(DECL_FILE, 0x3a) X(DECL_LINE, 0x3b) X(SPECIFICATION, 0x47) X(RANGES, 0x55)          \
	X(LINKAGE_NAME, 0x6e) X(STR_OFFSETS_BASE, 0x72) X(ADDR_BASE, 0x73) X(RNGLISTS_BASE, 0x74)                      \
	X(MIPS_LINKAGE_NAME, 0x2007)

#define ATTRIBUTE_ENUM(name, code) AT_##name,
enum attribute { ATTRIBUTES(ATTRIBUTE_ENUM) AT_COUNT };

struct value {
	uint64_t form;     /* 0 = the entry has no such attribute */
	uint64_t number;   /* constant, offset, index or address; a reference: as it stands there */
	const char *text;  /* of FORM_STRING */
};

/* What the header of a unit says, and its first entry. */
struct unit {
	uint64_t header, entries, end; /* offsets of its header, first entry and next unit */
	uint64_t abbreviations;
	uint32_t version;
	bool is_sound;             /* its entries can be read */
	uint64_t str_offsets_base;
	struct rangelist_unit bases;
};

struct entries {
	struct bytes info, abbrev, str, line_str, str_offsets;
	struct rangelist_sections lists;
	struct unit *units; /* by rising offset */
	uint32_t unit_count;
	struct abbreviations abbreviations; /* the table read last */
	bool has_abbreviations;
	uint64_t abbreviation_bytes;        /* read of all tables so far */
};

struct entry {
	uint64_t offset, next; /* next: behind its attributes: its first child, or its sibling */
	uint64_t tag;          /* 0 = it ends a list of siblings */
	bool has_children;
	struct value values[AT_COUNT];
};

/* sections */

static void keep_section(struct entries *entries, const struct entries_section *section)
{
	const struct { const char *name; struct bytes *place; } places[] = {
		{ ".debug_info", &entries->info }, { ".debug_abbrev", &entries->abbrev }, { ".debug_str", &entries->str },
		{ ".debug_line_str", &entries->line_str }, { ".debug_str_offsets", &entries->str_offsets },
		{ ".debug_addr", &entries->lists.addr }, { ".debug_ranges", &entries->lists.ranges },
		{ ".debug_rnglists", &entries->lists.rnglists },
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (strcmp(section->name, places[i].name) == 0)
			*places[i].place = (struct bytes){ .at = section->bytes, .size = section->size };
}

int entries_open(const struct entries_section *sections, uint32_t count, struct entries **ret_entries)
{
	struct entries *entries = calloc(1, sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		keep_section(entries, &sections[i]);
	*ret_entries = entries;
	return 0;
}

void entries_close(struct entries *entries)
{
	if (!entries)
		return;
	abbreviations_free(&entries->abbreviations);
	free(entries->units);
	free(entries);
}

/* The table of abbreviations at offset, NULL = cannot be had. */
static const struct abbreviations *abbreviations_at(struct entries *entries, uint64_t offset)
{
	uint64_t budget = READINGS_MAX * (entries->abbrev.size + entries->info.size);

	if (entries->has_abbreviations && entries->abbreviations.offset == offset)
		return &entries->abbreviations;
	if (entries->abbreviation_bytes > budget)
		return NULL;
	abbreviations_free(&entries->abbreviations);
	entries->has_abbreviations = abbreviations_read(entries->abbrev, offset, &entries->abbreviations) == 0;
	entries->abbreviation_bytes += entries->abbreviations.bytes;
	return entries->has_abbreviations ? &entries->abbreviations : NULL;
}

/* entries */

static enum attribute attribute_of(uint64_t code)
{
#define ATTRIBUTE_CASE(name, code) case code: return AT_##name;
	switch (code) {
		ATTRIBUTES(ATTRIBUTE_CASE)
	}
	return AT_COUNT;
}

/* Bytes of a form whose size does not depend on the value; 0: of no other form that is handled there. */
static uint32_t fixed_bytes(const struct unit *unit, uint64_t form)
{
	switch (form) {
	case FORM_DATA1: case FORM_FLAG: case FORM_REF1: case FORM_STRX1: case FORM_ADDRX1:
		return 1;
	case FORM_DATA2: case FORM_REF2: case FORM_STRX2: case FORM_ADDRX2:
		return 2;
	case FORM_STRX3: case FORM_ADDRX3:
		return 3;
	case FORM_DATA4: case FORM_REF4: case FORM_REF_SUP4: case FORM_STRX4: case FORM_ADDRX4:
		return 4;
	case FORM_DATA8: case FORM_REF8: case FORM_REF_SIG8: case FORM_REF_SUP8:
		return 8;
	case FORM_ADDR:
		return ADDRESS_BYTES;
	case FORM_REF_ADDR:
		return unit->version == 2 ? ADDRESS_BYTES : unit->bases.offset_bytes;
	case FORM_STRP: case FORM_LINE_STRP: case FORM_STRP_SUP: case FORM_SEC_OFFSET: case FORM_GNU_REF_ALT:
	case FORM_GNU_STRP_ALT:
		return unit->bases.offset_bytes;
	}
	return 0;
}

/* Reads a value, or skips it where it is none that could be looked for. False: what comes next cannot be told. */
static bool read_value(struct cursor *cursor, const struct unit *unit, uint64_t form, int64_t constant, struct value *ret_value)
{
	uint32_t bytes = fixed_bytes(unit, form);

	*ret_value = (struct value){ .form = form };
	if (bytes) {
		ret_value->number = cursor_read(cursor, bytes);
		return !cursor->is_past;
	}
	switch (form) {
	case FORM_STRING:
		ret_value->text = cursor_read_string(cursor);
		break;
	case FORM_SDATA:
		ret_value->number = cursor_read_leb(cursor, true);
		break;
	case FORM_UDATA: case FORM_REF_UDATA: case FORM_STRX: case FORM_ADDRX: case FORM_LOCLISTX: case FORM_RNGLISTX:
	case FORM_GNU_ADDR_INDEX: case FORM_GNU_STR_INDEX:
		ret_value->number = cursor_read_uleb(cursor);
		break;
	case FORM_IMPLICIT_CONST:
		ret_value->number = (uint64_t)constant;
		break;
	case FORM_FLAG_PRESENT:
		break;
	case FORM_DATA16:
		cursor_skip(cursor, 16);
		break;
	case FORM_BLOCK1:
		cursor_skip(cursor, cursor_read(cursor, 1));
		break;
	case FORM_BLOCK2:
		cursor_skip(cursor, cursor_read(cursor, 2));
		break;
	case FORM_BLOCK4:
		cursor_skip(cursor, cursor_read(cursor, 4));
		break;
	case FORM_BLOCK: case FORM_EXPRLOC:
		cursor_skip(cursor, cursor_read_uleb(cursor));
		break;
	default:
		return false;
	}
	return !cursor->is_past;
}

/* DW_FORM_indirect: the form stands before the value. */
static uint64_t direct_form(struct cursor *cursor, uint64_t form)
{
	for (int i = 0; form == FORM_INDIRECT && i < REFERENCES_MAX; i++)
		form = cursor_read_uleb(cursor);
	return form;
}

/* False: there is none at offset, or it is damaged. */
static bool read_entry(struct entries *entries, const struct unit *unit, uint64_t offset, struct entry *ret_entry)
{
	const struct abbreviations *table = abbreviations_at(entries, unit->abbreviations);
	struct cursor cursor = cursor_at((struct bytes){ entries->info.at, unit->end }, offset);
	uint64_t name, form, code = cursor_read_uleb(&cursor);
	const struct abbreviation *abbreviation;
	struct value value;
	int64_t constant;

	if (cursor.is_past || !table || offset < unit->entries)
		return false;
	step_taken(1);
	*ret_entry = (struct entry){ .offset = offset };
	if (code) {
		abbreviation = abbreviations_find(table, code);
		if (!abbreviation)
			return false;
		ret_entry->tag = abbreviation->tag;
		ret_entry->has_children = abbreviation->has_children;
		struct cursor list = cursor_at(entries->abbrev, abbreviation->attributes);
		while (abbreviations_next(&list, &name, &form, &constant)) {
			if (!read_value(&cursor, unit, direct_form(&cursor, form), constant, &value))
				return false;
			if (attribute_of(name) != AT_COUNT)
				ret_entry->values[attribute_of(name)] = value;
		}
	}
	ret_entry->next = (uint64_t)(cursor.at - entries->info.at);
	return true;
}

/* values */

static const char *text_at(struct bytes section, uint64_t offset)
{
	struct cursor cursor = cursor_at(section, offset);
	const char *text = cursor_read_string(&cursor);

	return text[0] ? text : NULL;
}

/* What stands at an index of an array that begins at base. */
static uint64_t element_at(struct bytes section, uint64_t base, uint64_t index, uint32_t bytes)
{
	if (base > section.size || index > section.size / bytes)
		return 0;
	struct cursor cursor = cursor_at(section, base + index * bytes);
	return cursor_read(&cursor, bytes);
}

/* NULL: there is none, also where it lies in another file (dwz's common file), which we do not open. */
static const char *text_of(const struct entries *entries, const struct unit *unit, const struct value *value)
{
	switch (value->form) {
	case FORM_STRING:
		return value->text[0] ? value->text : NULL;
	case FORM_STRP:
		return text_at(entries->str, value->number);
	case FORM_LINE_STRP:
		return text_at(entries->line_str, value->number);
	case FORM_STRX: case FORM_STRX1: case FORM_STRX2: case FORM_STRX3: case FORM_STRX4: case FORM_GNU_STR_INDEX:
		return text_at(entries->str, element_at(entries->str_offsets, unit->str_offsets_base, value->number,
		                                      unit->bases.offset_bytes));
	}
	return NULL;
}

static bool is_constant(const struct value *value)
{
	switch (value->form) {
	case FORM_DATA1: case FORM_DATA2: case FORM_DATA4: case FORM_DATA8: case FORM_UDATA: case FORM_SDATA: case FORM_IMPLICIT_CONST:
		return true;
	}
	return false;
}

/* 0: there is none. */
static uint64_t address_of(const struct entries *entries, const struct unit *unit, const struct value *value)
{
	switch (value->form) {
	case FORM_ADDR:
		return value->number;
	case FORM_ADDRX: case FORM_ADDRX1: case FORM_ADDRX2: case FORM_ADDRX3: case FORM_ADDRX4: case FORM_GNU_ADDR_INDEX:
		return element_at(entries->lists.addr, unit->bases.addr_base, value->number, ADDRESS_BYTES);
	}
	return 0;
}

/* An offset in another section; DWARF 2 and 3 write it as a constant. */
static bool is_offset(const struct value *value)
{
	return value->form == FORM_SEC_OFFSET || value->form == FORM_DATA4 || value->form == FORM_DATA8;
}

/* Where an entry of this file is referred to. False: it is none. */
static bool target_of(const struct unit *unit, const struct value *value, uint64_t *ret_offset)
{
	switch (value->form) {
	case FORM_REF_ADDR:
		*ret_offset = value->number;
		return true;
	case FORM_REF1: case FORM_REF2: case FORM_REF4: case FORM_REF8: case FORM_REF_UDATA:
		*ret_offset = unit->header + value->number;
		return value->number < unit->end - unit->header;
	}
	return false;
}

static int add_list(const struct entries *entries, const struct unit *unit, const struct value *ranges, struct spans *spans, uint32_t id)
{
	if (ranges->form == FORM_RNGLISTX)
		return rangelist_read_indexed(&entries->lists, &unit->bases, ranges->number, spans, id);
	return is_offset(ranges) ? rangelist_read(&entries->lists, &unit->bases, unit->version, ranges->number, spans, id) : 0;
}

/* The addresses that an entry covers, by its list of ranges or by its low and high end. */
static int add_entry_ranges(const struct entries *entries, const struct unit *unit, const struct entry *entry, struct spans *spans,
                            uint32_t id)
{
	const struct value *high = &entry->values[AT_HIGH_PC];
	uint64_t low = address_of(entries, unit, &entry->values[AT_LOW_PC]);

	/* A range takes two bytes at least where it is written down, and hardly any is written for two entries. */
	if (spans->count > (entries->info.size + entries->lists.ranges.size + entries->lists.rnglists.size) / 2)
		return 0;
	if (entry->values[AT_RANGES].form)
		return add_list(entries, unit, &entry->values[AT_RANGES], spans, id);
	if (!low || !high->form)
		return 0;
	return rangelist_add(spans, low, is_constant(high) ? low + high->number : address_of(entries, unit, high), id);
}

/* units */

static void read_version_5(struct cursor *cursor, struct unit *unit, uint32_t *ret_address_bytes)
{
	uint64_t kind = cursor_read(cursor, 1);

	*ret_address_bytes = (uint32_t)cursor_read(cursor, 1);
	unit->abbreviations = cursor_read(cursor, unit->bases.offset_bytes);
	if (kind == UT_SKELETON || kind == UT_SPLIT_COMPILE)
		cursor_skip(cursor, 8);
	else if (kind == UT_TYPE || kind == UT_SPLIT_TYPE)
		cursor_skip(cursor, 8 + unit->bases.offset_bytes);
	else if (kind != UT_COMPILE && kind != UT_PARTIAL)
		unit->is_sound = false;
}

/* False: there is no unit at offset. One whose inside is not known is passed over. */
static bool read_header(const struct entries *entries, uint64_t offset, struct unit *ret_unit)
{
	struct cursor cursor = cursor_at(entries->info, offset);
	uint64_t length = cursor_read(&cursor, 4);
	uint32_t address_bytes;

	*ret_unit = (struct unit){ .header = offset, .is_sound = true, .bases = { .offset_bytes = 4 } };
	if (length == UINT32_MAX) {
		length = cursor_read(&cursor, 8);
		ret_unit->bases.offset_bytes = 8;
	}
	if (cursor.is_past || !length || length > cursor_left(&cursor))
		return false;
	ret_unit->end = (uint64_t)(cursor.at - entries->info.at) + length;
	cursor.end = cursor.at + length;
	ret_unit->version = (uint32_t)cursor_read(&cursor, 2);
	if (ret_unit->version >= 5) {
		read_version_5(&cursor, ret_unit, &address_bytes);
	} else {
		ret_unit->abbreviations = cursor_read(&cursor, ret_unit->bases.offset_bytes);
		address_bytes = (uint32_t)cursor_read(&cursor, 1);
	}
	ret_unit->entries = (uint64_t)(cursor.at - entries->info.at);
	if (cursor.is_past || ret_unit->version < 2 || ret_unit->version > 5 || address_bytes != ADDRESS_BYTES)
		ret_unit->is_sound = false;
	return true;
}

static void read_bases(const struct entries *entries, struct unit *unit, const struct entry *entry)
{
	const struct { enum attribute attribute; uint64_t *base; } bases[] = {
		{ AT_STR_OFFSETS_BASE, &unit->str_offsets_base },
		{ AT_ADDR_BASE, &unit->bases.addr_base },
		{ AT_RNGLISTS_BASE, &unit->bases.rnglists_base },
	};

	for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
		if (is_offset(&entry->values[bases[i].attribute]))
			*bases[i].base = entry->values[bases[i].attribute].number;
	unit->bases.base = address_of(entries, unit, &entry->values[AT_LOW_PC]);
}

/* The unit's first entry: what it says of the unit. */
static int describe_unit(struct entries *entries, struct unit *unit, struct entries_unit *place, uint32_t id, struct spans *covered)
{
	struct entry entry;

	unit->is_sound = unit->is_sound && read_entry(entries, unit, unit->entries, &entry) && entry.tag;
	if (!unit->is_sound)
		return 0;
	read_bases(entries, unit, &entry);
	place->directory = text_of(entries, unit, &entry.values[AT_COMP_DIR]);
	if (is_offset(&entry.values[AT_STMT_LIST]))
		place->lines = entry.values[AT_STMT_LIST].number;
	return add_entry_ranges(entries, unit, &entry, covered, id);
}

/* Room for one more; capacities are powers of two. */
static int grow(void **array, uint32_t count, size_t item_bytes)
{
	void *grown;

	if (count & (count - 1))
		return 0;
	grown = count < UINT32_MAX / 2 ? realloc(*array, (count ? (size_t)count * 2 : 1) * item_bytes) : NULL;
	if (!grown)
		return -ENOMEM;
	*array = grown;
	return 0;
}

int entries_read_units(struct entries *entries, struct entries_unit **ret_units, uint32_t *ret_count, struct spans *ret_covered)
{
	struct entries_unit *places = NULL;
	struct unit unit;
	int failed = 0;

	for (uint64_t at = 0; !failed && read_header(entries, at, &unit); at = unit.end) {
		uint32_t id = entries->unit_count;
		failed = grow((void **)&places, id, sizeof(*places));
		if (!failed)
			failed = grow((void **)&entries->units, id, sizeof(*entries->units));
		if (failed)
			break;
		places[id] = (struct entries_unit){ .start = unit.entries, .end = unit.end, .lines = ENTRIES_NO_LINES };
		failed = describe_unit(entries, &unit, &places[id], id, ret_covered);
		entries->units[id] = unit;
		entries->unit_count++;
	}
	spans_sort(ret_covered);
	*ret_units = places;
	*ret_count = entries->unit_count;
	return failed;
}

/* The unit in which the entry at this offset lies, NULL = none that can be read. */
static const struct unit *unit_at(const struct entries *entries, uint64_t offset)
{
	uint32_t low = 0, high = entries->unit_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (entries->units[middle].end <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < entries->unit_count && entries->units[low].is_sound && entries->units[low].entries <= offset ? &entries->units[low] : NULL;
}

/* functions */

/* Scopes that hold functions which are not inside of others. */
static bool is_outer_scope(uint64_t tag)
{
	return tag == TAG_NAMESPACE || tag == TAG_MODULE || tag == TAG_CLASS_TYPE || tag == TAG_STRUCTURE_TYPE ||
	       tag == TAG_UNION_TYPE || tag == TAG_ENUMERATION_TYPE;
}

static bool is_inner_scope(uint64_t tag)
{
	return tag == TAG_SUBPROGRAM || tag == TAG_LEXICAL_BLOCK;
}

/* How deep we are, and below which depth nothing is looked at; 0 = at everything. */
struct walk {
	const struct unit *unit;
	bool is_deep;
	uint32_t depth, ignored_depth;
};

/* Where the walk goes from an entry: into its children, over them where it knows how, or to what comes next. */
static uint64_t step(struct walk *walk, const struct entry *entry)
{
	bool is_scope = !walk->ignored_depth && walk->depth < SCOPES_MAX &&
	                (is_outer_scope(entry->tag) || (walk->is_deep && is_inner_scope(entry->tag)));
	uint64_t sibling;

	if (!entry->tag) {
		walk->depth--;
		if (walk->depth < walk->ignored_depth)
			walk->ignored_depth = 0;
		return entry->next;
	}
	if (!entry->has_children)
		return entry->next;
	if (!is_scope && target_of(walk->unit, &entry->values[AT_SIBLING], &sibling) && sibling >= entry->next)
		return sibling;
	walk->depth++;
	if (!is_scope && !walk->ignored_depth)
		walk->ignored_depth = walk->depth;
	return entry->next;
}

int entries_read_functions(struct entries *entries, const struct entries_unit *place, bool is_deep, struct spans *ret_functions)
{
	const struct unit *unit = unit_at(entries, place->start);
	struct walk walk = { .unit = unit, .is_deep = is_deep, .depth = 1 };
	struct entry entry;
	int failed = 0;

	if (!unit || !read_entry(entries, unit, unit->entries, &entry))
		return -ENOENT;
	if (!entry.has_children)
		return 0;
	for (uint64_t at = entry.next; !failed && walk.depth && read_entry(entries, unit, at, &entry); at = step(&walk, &entry))
		if (entry.tag == TAG_SUBPROGRAM && !walk.ignored_depth)
			failed = add_entry_ranges(entries, unit, &entry, ret_functions, (uint32_t)(entry.offset - place->start));
	spans_sort(ret_functions);
	return failed;
}

/* False: it is no constant, or not one that a line or a file could have. */
static bool number_of(const struct value *value, uint32_t *ret_number)
{
	if (!is_constant(value) || value->number >= UINT32_MAX)
		return false;
	*ret_number = (uint32_t)value->number;
	return true;
}

static const char *linkage_name_of(const struct entries *entries, const struct unit *unit, const struct entry *entry)
{
	const char *name = text_of(entries, unit, &entry->values[AT_LINKAGE_NAME]);

	return name ? name : text_of(entries, unit, &entry->values[AT_MIPS_LINKAGE_NAME]);
}

/* Takes from the entry what is not known yet. */
static void describe_by_entry(const struct entries *entries, const struct unit *unit, const struct entry *entry,
                              struct entries_function *function, bool *has_linkage_name)
{
	const char *name = *has_linkage_name ? NULL : linkage_name_of(entries, unit, entry);

	if (name) {
		function->name = name;
		*has_linkage_name = true;
	} else if (!function->name) {
		function->name = text_of(entries, unit, &entry->values[AT_NAME]);
	}
	if (function->line == 0)
		number_of(&entry->values[AT_DECL_LINE], &function->line);
	if (function->file == ENTRIES_NO_FILE && number_of(&entry->values[AT_DECL_FILE], &function->file))
		function->file_unit_entry = entry->offset;
}

/* A function's code may stand in an entry that says no more than where its abstract origin is, and that one may name the
 * declaration it specifies. What is said nearest to the code wins: the definition's line over that of its declaration. */
void entries_describe_function(struct entries *entries, uint64_t at, struct entries_function *ret_function)
{
	bool has_linkage_name = false;
	struct entry entry;

	*ret_function = (struct entries_function){ .file = ENTRIES_NO_FILE, .file_unit_entry = at };
	for (uint32_t i = 0; i < REFERENCES_MAX; i++) {
		const struct unit *unit = unit_at(entries, at);
		if (!unit || !read_entry(entries, unit, at, &entry))
			return;
		describe_by_entry(entries, unit, &entry, ret_function, &has_linkage_name);
		if (!target_of(unit, &entry.values[AT_ABSTRACT_ORIGIN], &at) && !target_of(unit, &entry.values[AT_SPECIFICATION], &at))
			return;
	}
}
