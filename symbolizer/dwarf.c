/* The only user of libdwarf (20210528, the interface of out-parameters and Dwarf_Error). The sections are handed to it
 * as memory, so it never opens a file, and what it decodes is copied into tables at once and given back.
 *
 * Every call gets an error pointer, for without one libdwarf prints and aborts. DW_DLV_NO_ENTRY (1) and DW_DLV_ERROR (-1)
 * mean the same here: nothing to be had.
 */
#include "dwarf.h"
#include "rangelist.h"

#include <elf.h>
#include <errno.h>
#include <libdwarf/dwarf.h>
#include <libdwarf/libdwarf.h>
#include <stdlib.h>
#include <string.h>

/* Bounds that sound files do not reach: nested scopes, and references from one entry to the next. */
enum { SCOPES_MAX = 64, REFERENCES_MAX = 8 };

struct dwarf {
	Dwarf_Debug debug;
	struct Dwarf_Obj_Access_Interface_s access;
	struct dwarf_section sections[DWARF_SECTIONS_MAX + 1]; /* 0 is the empty one that ELF has, too */
	uint32_t count;
	struct rangelist_sections lists;
	Dwarf_Error error; /* of the last call; given back by succeeded() */
};

/* Was the call's result that there is a result? */
static bool succeeded(struct dwarf *dwarf, int result)
{
	if (result == DW_DLV_ERROR && dwarf->error)
		dwarf_dealloc_error(dwarf->debug, dwarf->error);
	dwarf->error = NULL;
	return result == DW_DLV_OK;
}

static int get_section_info(void *object, Dwarf_Half index, Dwarf_Obj_Access_Section *ret_section, int *ret_error)
{
	const struct dwarf *dwarf = object;

	(void)ret_error;
	if (index > dwarf->count)
		return DW_DLV_NO_ENTRY;
	*ret_section = (Dwarf_Obj_Access_Section){
		.addr = dwarf->sections[index].address,
		.type = index ? SHT_PROGBITS : SHT_NULL,
		.size = dwarf->sections[index].size,
		.name = dwarf->sections[index].name,
	};
	return DW_DLV_OK;
}

static Dwarf_Endianness get_byte_order(void *object)
{
	(void)object;
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? DW_OBJECT_LSB : DW_OBJECT_MSB;
}

static Dwarf_Small get_length_size(void *object)
{
	(void)object;
	return 4; /* of 32-bit DWARF; units of the 64-bit format say so themselves */
}

static Dwarf_Small get_pointer_size(void *object)
{
	(void)object;
	return sizeof(void *);
}

static Dwarf_Unsigned get_section_count(void *object)
{
	return ((const struct dwarf *)object)->count + 1;
}

static int load_section(void *object, Dwarf_Half index, Dwarf_Small **ret_bytes, int *ret_error)
{
	const struct dwarf *dwarf = object;

	(void)ret_error;
	if (index == 0 || index > dwarf->count)
		return DW_DLV_NO_ENTRY;
	*ret_bytes = dwarf->sections[index].bytes;
	return DW_DLV_OK;
}

static const struct Dwarf_Obj_Access_Methods_s methods = {
	.get_section_info = get_section_info,
	.get_byte_order = get_byte_order,
	.get_length_size = get_length_size,
	.get_pointer_size = get_pointer_size,
	.get_section_count = get_section_count,
	.load_section = load_section,
};

/* Range lists are ours to read; the rest is given to libdwarf. */
static void add_section(struct dwarf *dwarf, const struct dwarf_section *section)
{
	struct bytes bytes = { .at = section->bytes, .size = section->size };

	if (strcmp(section->name, ".debug_ranges") == 0)
		dwarf->lists.ranges = bytes;
	else if (strcmp(section->name, ".debug_rnglists") == 0)
		dwarf->lists.rnglists = bytes;
	else if (dwarf->count < DWARF_SECTIONS_MAX)
		dwarf->sections[++dwarf->count] = *section;
	if (strcmp(section->name, ".debug_addr") == 0)
		dwarf->lists.addr = bytes;
}

int dwarf_open(const struct dwarf_section *sections, uint32_t count, struct dwarf **ret_dwarf)
{
	struct dwarf *dwarf = calloc(1, sizeof(*dwarf));

	if (!dwarf)
		return -ENOMEM;
	dwarf->sections[0].name = "";
	for (uint32_t i = 0; i < count; i++)
		add_section(dwarf, &sections[i]);
	dwarf->access = (struct Dwarf_Obj_Access_Interface_s){ .object = dwarf, .methods = &methods };
	if (!succeeded(dwarf, dwarf_object_init_b(&dwarf->access, NULL, NULL, DW_GROUPNUMBER_ANY, &dwarf->debug,
	                                          &dwarf->error))) {
		free(dwarf);
		return -ENOEXEC;
	}
	*ret_dwarf = dwarf;
	return 0;
}

void dwarf_close(struct dwarf *dwarf)
{
	if (!dwarf)
		return;
	succeeded(dwarf, dwarf_object_finish(dwarf->debug, &dwarf->error));
	free(dwarf);
}

static bool find_attribute(struct dwarf *dwarf, Dwarf_Die die, Dwarf_Half name, Dwarf_Attribute *ret_attribute,
                           Dwarf_Half *ret_form)
{
	if (!succeeded(dwarf, dwarf_attr(die, name, ret_attribute, &dwarf->error)))
		return false;
	if (succeeded(dwarf, dwarf_whatform(*ret_attribute, ret_form, &dwarf->error)))
		return true;
	dwarf_dealloc_attribute(*ret_attribute);
	return false;
}

/* A constant. Tried unsigned first: read as signed, a file number of 200 in one byte would be negative. */
static bool read_number(struct dwarf *dwarf, Dwarf_Die die, Dwarf_Half name, uint32_t *ret_number)
{
	Dwarf_Attribute attribute;
	Dwarf_Half form;
	Dwarf_Unsigned number;
	Dwarf_Signed constant;
	bool is_read;

	if (!find_attribute(dwarf, die, name, &attribute, &form))
		return false;
	is_read = form != DW_FORM_implicit_const && succeeded(dwarf, dwarf_formudata(attribute, &number, &dwarf->error));
	if (!is_read && succeeded(dwarf, dwarf_formsdata(attribute, &constant, &dwarf->error))) {
		is_read = constant >= 0;
		number = (Dwarf_Unsigned)constant;
	}
	dwarf_dealloc_attribute(attribute);
	if (is_read && number < UINT32_MAX)
		*ret_number = (uint32_t)number;
	return is_read && number < UINT32_MAX;
}

/* A text, or NULL; also where it lies in another file (dwz's common file), which we do not open. */
static const char *read_text(struct dwarf *dwarf, Dwarf_Die die, Dwarf_Half name)
{
	Dwarf_Attribute attribute;
	Dwarf_Half form;
	char *text = NULL;

	if (!find_attribute(dwarf, die, name, &attribute, &form))
		return NULL;
	if (form == DW_FORM_GNU_strp_alt || form == DW_FORM_strp_sup ||
	    !succeeded(dwarf, dwarf_formstring(attribute, &text, &dwarf->error)))
		text = NULL;
	dwarf_dealloc_attribute(attribute);
	return text && text[0] ? text : NULL;
}

/* An offset in another section. */
static void read_offset(struct dwarf *dwarf, Dwarf_Die die, Dwarf_Half name, uint64_t *offset)
{
	Dwarf_Attribute attribute;
	Dwarf_Half form;
	Dwarf_Off found;

	if (!find_attribute(dwarf, die, name, &attribute, &form))
		return;
	if (succeeded(dwarf, dwarf_global_formref(attribute, &found, &dwarf->error)))
		*offset = found;
	dwarf_dealloc_attribute(attribute);
}

/* Where an entry of this file is referred to. */
static bool read_reference(struct dwarf *dwarf, Dwarf_Die die, Dwarf_Half name, Dwarf_Off *ret_offset)
{
	Dwarf_Attribute attribute;
	Dwarf_Half form;
	bool is_read;

	if (!find_attribute(dwarf, die, name, &attribute, &form))
		return false;
	is_read = (form == DW_FORM_ref1 || form == DW_FORM_ref2 || form == DW_FORM_ref4 || form == DW_FORM_ref8 ||
	           form == DW_FORM_ref_udata || form == DW_FORM_ref_addr) &&
	          succeeded(dwarf, dwarf_global_formref(attribute, ret_offset, &dwarf->error));
	dwarf_dealloc_attribute(attribute);
	return is_read;
}

static uint64_t read_low(struct dwarf *dwarf, Dwarf_Die die)
{
	Dwarf_Addr low;

	return succeeded(dwarf, dwarf_lowpc(die, &low, &dwarf->error)) ? low : 0;
}

static struct rangelist_unit read_bases(struct dwarf *dwarf, Dwarf_Die unit_die)
{
	struct rangelist_unit bases = { .base = read_low(dwarf, unit_die), .offset_bytes = 4 };
	Dwarf_Half version, offset_bytes;

	read_offset(dwarf, unit_die, DW_AT_rnglists_base, &bases.rnglists_base);
	read_offset(dwarf, unit_die, DW_AT_addr_base, &bases.addr_base);
	if (dwarf_get_version_of_die(unit_die, &version, &offset_bytes) == DW_DLV_OK && offset_bytes == 8)
		bases.offset_bytes = 8;
	return bases;
}

static int add_list(struct dwarf *dwarf, Dwarf_Die die, Dwarf_Attribute attribute, Dwarf_Half form,
                    const struct rangelist_unit *bases, struct spans *spans, uint32_t id)
{
	Dwarf_Half version, offset_bytes;
	Dwarf_Unsigned place;

	if (form == DW_FORM_rnglistx)
		return succeeded(dwarf, dwarf_formudata(attribute, &place, &dwarf->error))
		               ? rangelist_read_indexed(&dwarf->lists, bases, place, spans, id) : 0;
	if (dwarf_get_version_of_die(die, &version, &offset_bytes) != DW_DLV_OK ||
	    !succeeded(dwarf, dwarf_global_formref(attribute, &place, &dwarf->error)))
		return 0;
	return rangelist_read(&dwarf->lists, bases, version, place, spans, id);
}

/* The addresses that an entry covers, by its list of ranges or by its low and high end. */
static int add_entry_ranges(struct dwarf *dwarf, Dwarf_Die die, const struct rangelist_unit *bases, struct spans *spans,
                            uint32_t id)
{
	enum Dwarf_Form_Class form_class = DW_FORM_CLASS_UNKNOWN;
	Dwarf_Attribute attribute;
	Dwarf_Half form;
	Dwarf_Addr high;
	uint64_t low;
	int failed;

	if (find_attribute(dwarf, die, DW_AT_ranges, &attribute, &form)) {
		failed = add_list(dwarf, die, attribute, form, bases, spans, id);
		dwarf_dealloc_attribute(attribute);
		return failed;
	}
	low = read_low(dwarf, die);
	if (!low || !succeeded(dwarf, dwarf_highpc_b(die, &high, &form, &form_class, &dwarf->error)))
		return 0;
	return rangelist_add(spans, low, form_class == DW_FORM_CLASS_CONSTANT ? low + high : high, id);
}

/* The first entry of the unit that dwarf_next_cu_header_d has just come to. */
static int add_unit(struct dwarf *dwarf, struct dwarf_unit *unit, uint32_t id, struct spans *covered)
{
	struct rangelist_unit bases;
	Dwarf_Die die;
	Dwarf_Off offset;
	int failed = 0;

	if (!succeeded(dwarf, dwarf_siblingof_b(dwarf->debug, NULL, 1, &die, &dwarf->error)))
		return 0;
	if (succeeded(dwarf, dwarf_dieoffset(die, &offset, &dwarf->error))) {
		unit->start = offset;
		unit->directory = read_text(dwarf, die, DW_AT_comp_dir);
		read_offset(dwarf, die, DW_AT_stmt_list, &unit->lines);
		bases = read_bases(dwarf, die);
		failed = add_entry_ranges(dwarf, die, &bases, covered, id);
	}
	dwarf_dealloc_die(die);
	return failed;
}

static int grow_units(struct dwarf_unit **units, uint32_t count)
{
	struct dwarf_unit *grown;

	if (count & (count - 1)) /* capacities are powers of two */
		return 0;
	grown = count < UINT32_MAX / 2 ? realloc(*units, (count ? count * 2 : 1) * sizeof(*grown)) : NULL;
	if (!grown)
		return -ENOMEM;
	*units = grown;
	return 0;
}

int dwarf_read_units(struct dwarf *dwarf, struct dwarf_unit **ret_units, uint32_t *ret_count, struct spans *ret_covered)
{
	Dwarf_Unsigned length, type_offset, next = 0, previous = 0;
	Dwarf_Half version, address_bytes, offset_bytes, extension_bytes, kind;
	Dwarf_Off abbreviations;
	Dwarf_Sig8 signature;
	struct dwarf_unit *units = NULL;
	uint32_t count = 0;
	int failed = 0;

	while (!failed && succeeded(dwarf, dwarf_next_cu_header_d(dwarf->debug, 1, &length, &version, &abbreviations,
	                                                          &address_bytes, &offset_bytes, &extension_bytes, &signature,
	                                                          &type_offset, &next, &kind, &dwarf->error))) {
		failed = next > previous ? grow_units(&units, count) : -ENOEXEC;
		if (failed)
			break;
		units[count] = (struct dwarf_unit){ .start = previous, .end = next, .lines = DWARF_NO_LINES };
		failed = add_unit(dwarf, &units[count], count, ret_covered);
		previous = next;
		count++;
	}
	spans_sort(ret_covered);
	*ret_units = units;
	*ret_count = count;
	return failed == -ENOMEM ? failed : 0;
}

struct walk {
	struct dwarf *dwarf;
	const struct dwarf_unit *unit;
	struct rangelist_unit bases;
	bool is_deep;
	struct spans *functions;
};

/* Scopes that hold functions which are not inside of others. */
static bool is_outer_scope(Dwarf_Half tag)
{
	return tag == DW_TAG_namespace || tag == DW_TAG_module || tag == DW_TAG_class_type || tag == DW_TAG_structure_type ||
	       tag == DW_TAG_union_type || tag == DW_TAG_enumeration_type;
}

static bool is_inner_scope(Dwarf_Half tag)
{
	return tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block;
}

static int walk_children(const struct walk *walk, Dwarf_Die parent, uint32_t depth);

static int visit(const struct walk *walk, Dwarf_Die die, Dwarf_Off offset, uint32_t depth)
{
	Dwarf_Half tag;
	int failed = 0;

	if (!succeeded(walk->dwarf, dwarf_tag(die, &tag, &walk->dwarf->error)))
		return 0;
	if (tag == DW_TAG_subprogram)
		failed = add_entry_ranges(walk->dwarf, die, &walk->bases, walk->functions, (uint32_t)(offset - walk->unit->start));
	if (!failed && depth < SCOPES_MAX && (is_outer_scope(tag) || (walk->is_deep && is_inner_scope(tag))))
		failed = walk_children(walk, die, depth + 1);
	return failed;
}

/* Each entry must lie behind the one before it, or a damaged file could lead us in circles. */
static int walk_children(const struct walk *walk, Dwarf_Die parent, uint32_t depth)
{
	struct dwarf *dwarf = walk->dwarf;
	Dwarf_Off previous = 0, offset;
	Dwarf_Die die, next;
	int failed = 0;

	if (!succeeded(dwarf, dwarf_child(parent, &die, &dwarf->error)))
		return 0;
	while (!failed) {
		if (!succeeded(dwarf, dwarf_dieoffset(die, &offset, &dwarf->error)) || offset <= previous ||
		    offset < walk->unit->start || offset >= walk->unit->end)
			break;
		previous = offset;
		failed = visit(walk, die, offset, depth);
		if (failed || !succeeded(dwarf, dwarf_siblingof_b(dwarf->debug, die, 1, &next, &dwarf->error)))
			break;
		dwarf_dealloc_die(die);
		die = next;
	}
	dwarf_dealloc_die(die);
	return failed;
}

int dwarf_read_functions(struct dwarf *dwarf, const struct dwarf_unit *unit, bool is_deep, struct spans *ret_functions)
{
	struct walk walk = { .dwarf = dwarf, .unit = unit, .is_deep = is_deep, .functions = ret_functions };
	Dwarf_Die die;
	int failed;

	if (!succeeded(dwarf, dwarf_offdie_b(dwarf->debug, unit->start, 1, &die, &dwarf->error)))
		return -ENOENT;
	walk.bases = read_bases(dwarf, die);
	failed = walk_children(&walk, die, 0);
	dwarf_dealloc_die(die);
	spans_sort(ret_functions);
	return failed;
}

/* Takes from the entry what is not known yet. */
static void describe_by_entry(struct dwarf *dwarf, Dwarf_Die die, uint64_t entry, struct dwarf_function *function,
                              bool *has_linkage_name)
{
	const char *name = *has_linkage_name ? NULL : read_text(dwarf, die, DW_AT_linkage_name);

	if (name) {
		function->name = name;
		*has_linkage_name = true;
	} else if (!function->name) {
		function->name = read_text(dwarf, die, DW_AT_name);
	}
	if (function->line == 0)
		read_number(dwarf, die, DW_AT_decl_line, &function->line);
	if (function->file == DWARF_NO_FILE && read_number(dwarf, die, DW_AT_decl_file, &function->file))
		function->file_unit_entry = entry;
}

/* A function's code may stand in an entry that says no more than where its abstract origin is, and that one may name the
 * declaration it specifies. What is said nearest to the code wins: the definition's line over that of its declaration. */
void dwarf_describe_function(struct dwarf *dwarf, uint64_t entry, struct dwarf_function *ret_function)
{
	bool has_linkage_name = false;
	Dwarf_Off next = entry;

	*ret_function = (struct dwarf_function){ .file = DWARF_NO_FILE, .file_unit_entry = entry };
	for (uint32_t i = 0; i < REFERENCES_MAX; i++) {
		Dwarf_Die die;
		bool has_next;

		entry = next;
		if (!succeeded(dwarf, dwarf_offdie_b(dwarf->debug, entry, 1, &die, &dwarf->error)))
			return;
		describe_by_entry(dwarf, die, entry, ret_function, &has_linkage_name);
		has_next = read_reference(dwarf, die, DW_AT_abstract_origin, &next) ||
		           read_reference(dwarf, die, DW_AT_specification, &next);
		dwarf_dealloc_die(die);
		if (!has_next)
			return;
	}
}

int dwarf_read_frames(struct dwarf *dwarf, struct spans *ret_frames)
{
	Dwarf_Cie *cies;
	Dwarf_Fde *fdes;
	Dwarf_Signed cie_count, fde_count;
	Dwarf_Addr start;
	Dwarf_Unsigned length;
	int failed = 0;

	if (!succeeded(dwarf, dwarf_get_fde_list_eh(dwarf->debug, &cies, &cie_count, &fdes, &fde_count, &dwarf->error)))
		return -ENOENT;
	for (Dwarf_Signed i = 0; i < fde_count && !failed; i++)
		if (succeeded(dwarf, dwarf_get_fde_range(fdes[i], &start, &length, NULL, NULL, NULL, NULL, NULL, &dwarf->error)))
			failed = rangelist_add(ret_frames, start, start + length, 0);
	dwarf_fde_cie_list_dealloc(dwarf->debug, cies, cie_count, fdes, fde_count);
	spans_sort(ret_frames);
	return failed;
}

/* What a CIE says for all of its FDEs; they lie together, so the last one is remembered. */
static bool read_common(struct dwarf *dwarf, Dwarf_Cie cie, struct unwind_frame *frame)
{
	Dwarf_Unsigned bytes, code_factor, initial_bytes;
	Dwarf_Small version;
	Dwarf_Signed data_factor;
	Dwarf_Half return_register, offset_bytes;
	Dwarf_Ptr initial;
	char *augmentation;

	if (!succeeded(dwarf, dwarf_get_cie_info_b(cie, &bytes, &version, &augmentation, &code_factor, &data_factor,
	                                           &return_register, &initial, &initial_bytes, &offset_bytes, &dwarf->error)))
		return false;
	frame->initial = initial;
	frame->initial_bytes = initial_bytes;
	frame->code_factor = code_factor;
	frame->data_factor = data_factor;
	frame->return_register = return_register;
	frame->is_signal = augmentation && strchr(augmentation, 'S');
	return true;
}

static bool read_frame(struct dwarf *dwarf, Dwarf_Fde fde, Dwarf_Cie *last_cie, struct unwind_frame *frame)
{
	Dwarf_Addr start;
	Dwarf_Unsigned length, program_bytes;
	Dwarf_Ptr program;
	Dwarf_Cie cie;

	if (!succeeded(dwarf, dwarf_get_fde_range(fde, &start, &length, NULL, NULL, NULL, NULL, NULL, &dwarf->error)) ||
	    !succeeded(dwarf, dwarf_get_fde_instr_bytes(fde, &program, &program_bytes, &dwarf->error)) ||
	    !succeeded(dwarf, dwarf_get_cie_of_fde(fde, &cie, &dwarf->error)))
		return false;
	if (cie != *last_cie && !read_common(dwarf, cie, frame))
		return false;
	*last_cie = cie;
	frame->start = start;
	frame->length = length;
	frame->program = program;
	frame->program_bytes = program_bytes;
	return true;
}

int dwarf_visit_frames(struct dwarf *dwarf, bool is_eh, int (*found)(void *context, const struct unwind_frame *frame), void *context)
{
	Dwarf_Cie *cies, last_cie = NULL;
	Dwarf_Fde *fdes;
	Dwarf_Signed cie_count, fde_count;
	struct unwind_frame frame = { 0 };
	int result = 0;
	int listed = is_eh ? dwarf_get_fde_list_eh(dwarf->debug, &cies, &cie_count, &fdes, &fde_count, &dwarf->error)
	                   : dwarf_get_fde_list(dwarf->debug, &cies, &cie_count, &fdes, &fde_count, &dwarf->error);

	if (!succeeded(dwarf, listed))
		return -ENOENT;
	for (Dwarf_Signed i = 0; i < fde_count && !result; i++)
		if (read_frame(dwarf, fdes[i], &last_cie, &frame))
			result = found(context, &frame);
	dwarf_fde_cie_list_dealloc(dwarf->debug, cies, cie_count, fdes, fde_count);
	return result;
}
