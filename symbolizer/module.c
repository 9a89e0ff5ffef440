/* A module reads its files in short visits: each opens the file, makes sure that it still is the one seen first, copies
 * what it came for, and closes it.
 */
#include "module.h"
#include "debugfile.h"
#include "demangle.h"
#include "frames.h"
#include "vdso.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The largest real ones have some 100 MiB. */
enum { FRAMES_BYTES_MAX = 256 * 1024 * 1024 };

static int open_image(const struct module *module, struct image **ret_image)
{
	const uint8_t *bytes;
	size_t n;

	if (!vdso_is_path(module->path))
		return image_open(module->path, ret_image);
	if (vdso_find(&bytes, &n) != 0)
		return -ENOENT;
	return image_open_memory(bytes, n, ret_image);
}

static bool is_same_file(const struct image_identity *a, const struct image_identity *b)
{
	return a->device == b->device && a->inode == b->inode && a->size_bytes == b->size_bytes &&
	       a->modified_ns == b->modified_ns;
}

/* Opens the file, or its debug file, as first seen. -ESTALE: it is another one now. */
static int open_again(const struct module *module, bool is_debug_file, struct image **ret_image)
{
	struct image *image;
	int failed = is_debug_file ? image_open(module->debug_path, &image) : open_image(module, &image);

	if (failed)
		return failed;
	if (!is_same_file(image_identity(image), is_debug_file ? &module->debug_identity : &module->identity)) {
		image_close(image);
		return -ESTALE;
	}
	image_set_limit(image, module->symbolizer->tables_limit_bytes);
	*ret_image = image;
	return 0;
}

static int set_note(struct module *module, const char *note)
{
	module->note = strings_keep(&module->symbolizer->strings, note);
	return module->note ? 0 : -ENOMEM;
}

static void describe_names(const struct module *module, char *text, size_t n)
{
	if (module->has_symtab)
		snprintf(text, n, "names from its symbol table");
	else if (module->debug_has_symtab)
		snprintf(text, n, "names from %s", module->debug_path);
	else
		snprintf(text, n, "only the names it exports, as it is stripped and no debug file for it was found");
}

static void describe_lines(const struct module *module, char *text, size_t n)
{
	if (!module->has_dwarf && !module->debug_has_dwarf)
		snprintf(text, n, "no lines, as it has no debug information");
	else if (module->debuginfo_failed == -EFBIG)
		snprintf(text, n, "no lines, as its debug information would take more than the %" PRIu64 " MiB allowed for that",
		         module->symbolizer->memory_limit_bytes / 2 / (1024 * 1024));
	else if (module->debuginfo_failed)
		snprintf(text, n, "no lines, as its debug information cannot be read (%s)", strerror(-module->debuginfo_failed));
	else
		snprintf(text, n, "lines from %s", module->has_dwarf ? "its own debug information" : module->debug_path);
}

static int note_sources(struct module *module)
{
	char names[4200], lines[4200], note[8500];

	describe_names(module, names, sizeof(names));
	describe_lines(module, lines, sizeof(lines));
	snprintf(note, sizeof(note), "%s; %s", names, lines);
	return set_note(module, note);
}

static int note_failure(struct module *module, int failed)
{
	char note[128];

	if (failed == -ENOEXEC)
		return set_note(module, "no names: the file is not an ELF file, or is damaged");
	if (failed == -EINVAL)
		return set_note(module, "no names: the path is not that of a regular file");
	snprintf(note, sizeof(note), "no names: the file cannot be read (%s)", strerror(-failed));
	return set_note(module, note);
}

static bool is_build_expected(const struct module *module, const struct image_identity *identity)
{
	return module->build_id_bytes == 0 || (module->build_id_bytes == identity->build_id_bytes &&
	                                       memcmp(module->build_id, identity->build_id, module->build_id_bytes) == 0);
}

static int look_for_debug_file(struct module *module)
{
	struct image *image;
	char path[4096];

	if ((module->has_symtab && module->has_dwarf) || vdso_is_path(module->path) ||
	    debugfile_open(module->path, &module->identity, module->symbolizer->debug_root, path, &image) != 0)
		return 0;
	module->debug_identity = *image_identity(image);
	module->debug_has_symtab = image_has_section(image, ".symtab");
	module->debug_has_dwarf = image_has_section(image, ".debug_info");
	image_close(image);
	module->debug_path = strings_keep(&module->symbolizer->strings, path);
	return module->debug_path ? 0 : -ENOMEM;
}

int module_open(struct module *module)
{
	struct image *image;
	int failed = open_image(module, &image);

	if (failed)
		return note_failure(module, failed);
	module->identity = *image_identity(image);
	module->has_symtab = image_has_section(image, ".symtab");
	module->has_dwarf = image_has_section(image, ".debug_info");
	image_close(image);
	if (!is_build_expected(module, &module->identity))
		return set_note(module, "no names: the file was replaced since by another build");
	module->is_usable = true;
	failed = look_for_debug_file(module);
	return failed ? failed : note_sources(module);
}

void module_forget(struct module *module)
{
	debuginfo_close(module->debuginfo);
	module->debuginfo = NULL;
	module->has_debuginfo = false;
	symtab_free(&module->symtab);
	module->has_symbols = false;
	spans_free(&module->frames);
	module->has_frames = false;
}

void module_close(struct module *module)
{
	module_forget(module);
	free(module->answers);
	free(module);
}

/* Tables that cannot be read are as good as absent: the others still name something. */
static void read_symbols(struct module *module)
{
	struct image *image;
	int failed;

	module->has_symbols = true;
	failed = open_again(module, false, &image);
	if (failed) {
		module->is_usable = false;
		note_failure(module, failed);
		return;
	}
	symtab_add_image(&module->symtab, image, true);
	symtab_add_image(&module->symtab, image, false);
	symtab_add_stubs(&module->symtab, image);
	module->lacks_room = image_was_limited(image);
	image_close(image);
	if (!module->has_symtab && module->debug_has_symtab && open_again(module, true, &image) == 0) {
		symtab_add_image(&module->symtab, image, false);
		module->lacks_room |= image_was_limited(image);
		image_close(image);
	}
	if (symtab_finish(&module->symtab) != 0)
		symtab_free(&module->symtab);
}

/* Always from the module itself: a debug file's .eh_frame is empty. */
static void read_frames(struct module *module)
{
	struct image_section section = { 0 };
	struct image *image;
	int failed;

	module->has_frames = true;
	if (open_again(module, false, &image) != 0)
		return;
	uint64_t limit = module->symbolizer->tables_limit_bytes;
	failed = image_read_section(image, ".eh_frame", limit < FRAMES_BYTES_MAX ? limit : FRAMES_BYTES_MAX, &section);
	module->lacks_room |= failed == -EFBIG;
	image_close(image);
	if (failed)
		return;
	frames_read((struct bytes){ section.bytes, section.size }, section.address, &module->frames);
	free(section.bytes);
}

static const struct span *find_frame(struct module *module, uint64_t address)
{
	if (!module->has_frames)
		read_frames(module);
	return spans_find(&module->frames, address);
}

/* A symbol without a size ends where the frame description of its start does, at the latest where another begins. */
static bool is_beyond(struct module *module, const struct symtab_entry *entry, uint64_t address)
{
	const struct span *frame = find_frame(module, address);

	return frame ? frame->start > entry->start : find_frame(module, entry->start) != NULL;
}

void module_find_function(struct module *module, uint64_t address, struct symbol *symbol)
{
	struct symtab_entry *entry;
	const struct span *frame;

	if (module->is_usable && !module->has_symbols)
		read_symbols(module);
	if (!module->is_usable)
		return;
	entry = symtab_find(&module->symtab, address);
	if (entry && (entry->size != 0 || !is_beyond(module, entry, address))) {
		symbol->function = symtab_entry_shown(entry, &module->symbolizer->strings);
		symbol->function_start = entry->start;
		return;
	}
	frame = find_frame(module, address);
	if (frame)
		symbol->function_start = frame->start;
}

static void read_debuginfo(struct module *module, uint64_t max_section_bytes)
{
	struct image *image;
	int failed = open_again(module, !module->has_dwarf, &image);

	module->has_debuginfo = true;
	if (!failed) {
		failed = debuginfo_open(image, max_section_bytes, &module->debuginfo);
		image_close(image);
	}
	if (failed != module->debuginfo_failed) {
		module->debuginfo_failed = failed;
		note_sources(module);
	}
}

static const char *keep_readable(struct strings *strings, const char *name)
{
	char *readable = demangle(name);
	const char *kept = readable ? strings_keep(strings, readable) : name;

	free(readable);
	return kept;
}

void module_find_source(struct module *module, uint64_t address, uint64_t max_section_bytes, struct symbol *symbol)
{
	struct debuginfo_source source = { 0 };

	if (!module->is_usable || (!module->has_dwarf && !module->debug_has_dwarf))
		return;
	if (!module->has_debuginfo)
		read_debuginfo(module, max_section_bytes);
	if (!module->debuginfo)
		return;
	debuginfo_find(module->debuginfo, &module->symbolizer->strings, address, symbol->function_start, &source);
	symbol->file = source.file;
	symbol->line = source.line;
	symbol->function_file = source.function_file;
	symbol->function_line = source.function_line;
	if (!symbol->function && source.function)
		symbol->function = keep_readable(&module->symbolizer->strings, source.function);
}
