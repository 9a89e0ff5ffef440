/* The format is that of chapter 6.2 of the DWARF standard, versions 2 to 5.
 */
#include "linetable.h"

#include "step.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Opcodes and codes by their names in the standard (7.22). */
enum {
	LNS_EXTENDED,
	LNS_COPY,
	LNS_ADVANCE_PC,
	LNS_ADVANCE_LINE,
	LNS_SET_FILE,
	LNS_SET_COLUMN,
	LNS_NEGATE_STMT,
	LNS_SET_BASIC_BLOCK,
	LNS_CONST_ADD_PC,
	LNS_FIXED_ADVANCE_PC,
};
enum { LNE_END_SEQUENCE = 1, LNE_SET_ADDRESS = 2, LNE_DEFINE_FILE = 3 };
enum { LNCT_PATH = 1, LNCT_DIRECTORY_INDEX = 2 };
enum {
	FORM_BLOCK2 = 0x03,
	FORM_BLOCK4 = 0x04,
	FORM_DATA2 = 0x05,
	FORM_DATA4 = 0x06,
	FORM_DATA8 = 0x07,
	FORM_STRING = 0x08,
	FORM_BLOCK = 0x09,
	FORM_BLOCK1 = 0x0a,
	FORM_DATA1 = 0x0b,
	FORM_SDATA = 0x0d,
	FORM_STRP = 0x0e,
	FORM_UDATA = 0x0f,
	FORM_SEC_OFFSET = 0x17,
	FORM_DATA16 = 0x1e,
	FORM_LINE_STRP = 0x1f,
};
enum { FORMATS_MAX = 16 }; /* the standard defines five kinds of content */

struct header {
	uint32_t version;
	bool is_64; /* the 64-bit format of DWARF, whatever the machine */
	uint8_t instruction_bytes, line_range, opcode_base;
	int8_t line_base;
	uint8_t operands[256]; /* how many each standard opcode has */
	const char **directories; /* owned */
	uint32_t directory_count, directory_capacity;
};

/* An array with room for one more, NULL = no memory. Capacities double. */
static void *grow(void *array, uint32_t *capacity, uint32_t count, size_t item_bytes)
{
	uint32_t more = *capacity ? *capacity * 2 : 32;

	if (count < *capacity)
		return array;
	array = more > *capacity ? realloc(array, more * item_bytes) : NULL;
	if (array)
		*capacity = more;
	return array;
}

static int add_directory(struct header *header, const char *name)
{
	const char **directories = grow(header->directories, &header->directory_capacity, header->directory_count,
	                                sizeof(*directories));

	if (!directories)
		return -ENOMEM;
	header->directories = directories;
	directories[header->directory_count++] = name;
	return 0;
}

static int add_file(struct linetable *table, const struct header *header, const char *name, uint64_t directory)
{
	struct linetable_file *files = grow(table->files, &table->file_capacity, table->file_count, sizeof(*files));

	if (!files)
		return -ENOMEM;
	table->files = files;
	files[table->file_count++] = (struct linetable_file){
		.name = name,
		.directory = directory < header->directory_count ? header->directories[directory] : NULL,
	};
	return 0;
}

/* Before version 5: texts up to an empty one. Number 0 is the directory of compilation, and no file. */
static int read_tables_4(struct cursor *cursor, struct header *header, struct linetable *table)
{
	int failed = add_directory(header, NULL);
	const char *name;

	while (!failed && *(name = cursor_read_string(cursor)))
		failed = add_directory(header, name);
	if (!failed)
		failed = add_file(table, header, NULL, 0);
	while (!failed && *(name = cursor_read_string(cursor))) {
		uint64_t directory = cursor_read_uleb(cursor);

		cursor_read_uleb(cursor); /* time */
		cursor_read_uleb(cursor); /* size */
		failed = add_file(table, header, name, directory);
	}
	return failed;
}

static const char *string_at(struct bytes section, uint64_t offset)
{
	return section.at && offset < section.size ? (const char *)section.at + offset : NULL;
}

/* Reads one value of any form; a text's into ret_text, a number's into ret_number. False: a form not known here. */
static bool read_form(struct cursor *cursor, uint64_t form, bool is_64, const struct linetable_sections *sections,
                      const char **ret_text, uint64_t *ret_number)
{
	switch (form) {
	case FORM_STRING: *ret_text = cursor_read_string(cursor); return true;
	case FORM_LINE_STRP: *ret_text = string_at(sections->line_str, cursor_read(cursor, is_64 ? 8 : 4)); return true;
	case FORM_STRP: *ret_text = string_at(sections->str, cursor_read(cursor, is_64 ? 8 : 4)); return true;
	case FORM_SEC_OFFSET: cursor_read(cursor, is_64 ? 8 : 4); return true;
	case FORM_DATA1: *ret_number = cursor_read(cursor, 1); return true;
	case FORM_DATA2: *ret_number = cursor_read(cursor, 2); return true;
	case FORM_DATA4: *ret_number = cursor_read(cursor, 4); return true;
	case FORM_DATA8: *ret_number = cursor_read(cursor, 8); return true;
	case FORM_DATA16: cursor_skip(cursor, 16); return true;
	case FORM_UDATA: *ret_number = cursor_read_uleb(cursor); return true;
	case FORM_SDATA: cursor_read_leb(cursor, true); return true;
	case FORM_BLOCK: cursor_skip(cursor, cursor_read_uleb(cursor)); return true;
	case FORM_BLOCK1: cursor_skip(cursor, cursor_read(cursor, 1)); return true;
	case FORM_BLOCK2: cursor_skip(cursor, cursor_read(cursor, 2)); return true;
	case FORM_BLOCK4: cursor_skip(cursor, cursor_read(cursor, 4)); return true;
	default: return false;
	}
}

/* Version 5: a description of what each entry consists of, and the entries; first of directories, then of files. */
static int read_entries_5(struct cursor *cursor, struct header *header, const struct linetable_sections *sections,
                          bool is_of_files, struct linetable *table)
{
	uint64_t kinds[FORMATS_MAX], forms[FORMATS_MAX], count;
	uint32_t format_count = (uint32_t)cursor_read(cursor, 1);
	int failed = 0;

	if (format_count > FORMATS_MAX)
		return -ENOEXEC;
	for (uint32_t i = 0; i < format_count; i++) {
		kinds[i] = cursor_read_uleb(cursor);
		forms[i] = cursor_read_uleb(cursor);
	}
	count = cursor_read_uleb(cursor);
	for (uint64_t entry = 0; entry < count && !failed; entry++) {
		const char *path = NULL, *text = NULL;
		uint64_t directory = 0, number = 0;

		for (uint32_t i = 0; i < format_count; i++) {
			if (!read_form(cursor, forms[i], header->is_64, sections, &text, &number))
				return -ENOEXEC;
			if (kinds[i] == LNCT_PATH)
				path = text;
			else if (kinds[i] == LNCT_DIRECTORY_INDEX)
				directory = number;
		}
		if (cursor->is_past || format_count == 0)
			return -ENOEXEC;
		failed = is_of_files ? add_file(table, header, path, directory) : add_directory(header, path);
	}
	return failed;
}

/* Reads the header at the cursor and leaves the cursor on the program that follows, ended by the table's end. */
static int read_header(struct cursor *cursor, const struct linetable_sections *sections, struct header *header,
                       struct linetable *table)
{
	uint64_t length = cursor_read(cursor, 4), header_length;
	const uint8_t *program;
	int failed;

	header->is_64 = length == UINT32_MAX;
	if (header->is_64)
		length = cursor_read(cursor, 8);
	if (length > cursor_left(cursor))
		return -ENOEXEC;
	cursor->end = cursor->at + length;
	header->version = (uint32_t)cursor_read(cursor, 2);
	if (header->version < 2 || header->version > 5)
		return -ENOEXEC;
	if (header->version == 5)
		cursor_skip(cursor, 2); /* sizes of an address and of a segment's number */
	header_length = cursor_read(cursor, header->is_64 ? 8 : 4);
	if (header_length > cursor_left(cursor))
		return -ENOEXEC;
	program = cursor->at + header_length;
	header->instruction_bytes = (uint8_t)cursor_read(cursor, 1);
	if (header->version >= 4)
		cursor_skip(cursor, 1); /* operations of an instruction: 1, except on VLIW machines */
	cursor_skip(cursor, 1);         /* whether rows begin statements, at first */
	header->line_base = (int8_t)cursor_read(cursor, 1);
	header->line_range = (uint8_t)cursor_read(cursor, 1);
	header->opcode_base = (uint8_t)cursor_read(cursor, 1);
	for (uint32_t i = 1; i < header->opcode_base; i++)
		header->operands[i] = (uint8_t)cursor_read(cursor, 1);
	if (cursor->is_past || header->line_range == 0 || header->opcode_base == 0)
		return -ENOEXEC;
	if (header->version == 5) {
		failed = read_entries_5(cursor, header, sections, false, table);
		if (!failed)
			failed = read_entries_5(cursor, header, sections, true, table);
	} else {
		failed = read_tables_4(cursor, header, table);
	}
	cursor->at = program;
	cursor->is_past = false;
	return failed;
}

/* The registers of the line number program that matter here (6.2.2). */
struct machine {
	uint64_t address, line, file;
	uint32_t first; /* row of the sequence */
	bool is_ended;
};

static const struct machine machine_at_start = { .line = 1, .file = 1 };

static int add_row(struct linetable *table, const struct machine *machine)
{
	struct linetable_row row = {
		.address = machine->address,
		.line = machine->line < UINT32_MAX ? (uint32_t)machine->line : 0,
		.file = machine->file < UINT32_MAX ? (uint32_t)machine->file : LINETABLE_NO_FILE,
	};
	struct linetable_row *rows, *last = table->row_count > machine->first ? &table->rows[table->row_count - 1] : NULL;

	if (last && last->line == row.line && last->file == row.file && last->address <= row.address)
		return 0; /* says nothing new */
	rows = grow(table->rows, &table->row_capacity, table->row_count, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	table->rows = rows;
	rows[table->row_count++] = row;
	return 0;
}

/* Code that the linker left out is said to begin at 0, or at the highest addresses (LLVM's tombstones). */
static int end_sequence(struct linetable *table, struct machine *machine)
{
	uint32_t count = table->row_count - machine->first;
	uint64_t start = count ? table->rows[machine->first].address : 0;
	struct linetable_row *rows;

	if (count == 0 || start == 0 || start >= machine->address) {
		table->row_count = machine->first;
	} else {
		rows = grow(table->rows, &table->row_capacity, table->row_count, sizeof(*rows));
		if (!rows)
			return -ENOMEM;
		table->rows = rows;
		rows[table->row_count] =
			(struct linetable_row){ .address = machine->address, .line = count, .file = LINETABLE_NO_FILE };
		if (spans_add(&table->sequences, start, machine->address, table->row_count) != 0)
			return -ENOMEM;
		table->row_count++;
	}
	*machine = machine_at_start;
	machine->first = table->row_count;
	return 0;
}

static int run_extended(struct cursor *cursor, const struct header *header, struct linetable *table, struct machine *machine)
{
	uint64_t length = cursor_read_uleb(cursor);
	struct cursor operands = *cursor;
	const char *name;

	cursor_skip(cursor, length);
	if (length == 0 || cursor->is_past)
		return 0;
	operands.end = cursor->at;
	switch (cursor_read(&operands, 1)) {
	case LNE_END_SEQUENCE:
		return end_sequence(table, machine);
	case LNE_SET_ADDRESS:
		machine->address = cursor_read(&operands, length - 1 < 8 ? (uint32_t)length - 1 : 8);
		return 0;
	case LNE_DEFINE_FILE:
		name = cursor_read_string(&operands);
		return add_file(table, header, name, cursor_read_uleb(&operands));
	default:
		return 0;
	}
}

static int run_standard(struct cursor *cursor, uint8_t opcode, const struct header *header, struct linetable *table,
                        struct machine *machine)
{
	switch (opcode) {
	case LNS_COPY: return add_row(table, machine);
	case LNS_ADVANCE_PC: machine->address += cursor_read_uleb(cursor) * header->instruction_bytes; return 0;
	case LNS_ADVANCE_LINE: machine->line += cursor_read_leb(cursor, true); return 0;
	case LNS_SET_FILE: machine->file = cursor_read_uleb(cursor); return 0;
	case LNS_CONST_ADD_PC:
		machine->address += (uint64_t)((255 - header->opcode_base) / header->line_range) * header->instruction_bytes;
		return 0;
	case LNS_FIXED_ADVANCE_PC: machine->address += cursor_read(cursor, 2); return 0;
	default:
		for (uint32_t i = 0; i < header->operands[opcode]; i++)
			cursor_read_uleb(cursor);
		return 0;
	}
}

static int run_special(uint8_t opcode, const struct header *header, struct linetable *table, struct machine *machine)
{
	uint32_t step = (uint32_t)opcode - header->opcode_base;

	machine->address += (uint64_t)(step / header->line_range) * header->instruction_bytes;
	machine->line += (uint64_t)(int64_t)(header->line_base + (int32_t)(step % header->line_range));
	return add_row(table, machine);
}

static int run_program(struct cursor *cursor, const struct header *header, struct linetable *table)
{
	struct machine machine = machine_at_start;
	int failed = 0;

	while (!failed && cursor->at < cursor->end) {
		uint8_t opcode = (uint8_t)cursor_read(cursor, 1);

		step_taken(1);
		if (opcode >= header->opcode_base)
			failed = run_special(opcode, header, table, &machine);
		else if (opcode == LNS_EXTENDED)
			failed = run_extended(cursor, header, table, &machine);
		else
			failed = run_standard(cursor, opcode, header, table, &machine);
	}
	table->row_count = machine.first; /* without the rows of a sequence that has no end */
	return failed;
}

int linetable_read(const struct linetable_sections *sections, uint64_t offset, struct linetable *ret_table)
{
	struct cursor cursor = cursor_at(sections->line, offset);
	struct header header = { 0 };
	int failed;

	*ret_table = (struct linetable){ 0 };
	failed = read_header(&cursor, sections, &header, ret_table);
	if (!failed)
		failed = run_program(&cursor, &header, ret_table);
	free(header.directories);
	spans_sort(&ret_table->sequences);
	if (failed)
		linetable_free(ret_table);
	return failed;
}

const struct linetable_row *linetable_find(const struct linetable *table, uint64_t address)
{
	const struct span *sequence = spans_find(&table->sequences, address);
	uint32_t first, low, high;

	if (!sequence)
		return NULL;
	first = low = sequence->id - table->rows[sequence->id].line;
	high = sequence->id;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (table->rows[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low > first ? &table->rows[low - 1] : NULL;
}

uint64_t linetable_bytes(const struct linetable *table)
{
	return table->row_capacity * sizeof(*table->rows) + table->file_capacity * sizeof(*table->files) +
	       spans_bytes(&table->sequences);
}

void linetable_free(struct linetable *table)
{
	free(table->rows);
	free(table->files);
	spans_free(&table->sequences);
	*table = (struct linetable){ 0 };
}
