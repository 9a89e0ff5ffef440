/* From a module's file to its rules. The section is read into memory of ours (image.h), its records are looked over, and
 * libdwarf makes the list of functions out of it; what their programs say is found out by unwind_program.c, which is ten
 * times as fast as libdwarf's own interpreter and bounded by construction.
 *
 * libdwarf is not given anything whose records do not follow each other exactly to the section's end, or are too short for
 * what they must contain, or name a CIE that does not begin a record: damaged lists are where it was found to read
 * beyond its bounds.
 */
#include "unwind.h"
#include "cursor.h"
#include "dwarf.h"
#include "image.h"
#include "vdso.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The largest real ones have some 20 MiB. libdwarf takes some ten times as much for its list. */
#define SECTION_BYTES_MAX (32u << 20)

struct reading {
	unwind_found *found;
	void *context;
	uint64_t reached; /* the end of the last function: they are sorted, and what overlaps is left out */
};

static int read_function(void *context, const struct unwind_frame *frame)
{
	static const struct unwind_rule none = { .kind = UNWIND_NONE };
	struct reading *reading = context;

	if (!frame->length || frame->start < reading->reached || frame->length > UINT64_MAX - frame->start)
		return 0;
	int result = reading->reached && frame->start > reading->reached ? reading->found(reading->context, reading->reached, &none) : 0;
	reading->reached = frame->start + frame->length;
	return result ? result : unwind_run(frame, reading->found, reading->context);
}

/* --- looking records over --- */

/* A record: its length, then an id that tells a CIE (.eh_frame: 0, .debug_frame: all ones) from how an FDE names its CIE
 * (.eh_frame: how far back from that word it begins, .debug_frame: where in the section). Only the 32-bit format is known. */
struct record {
	uint64_t start, id_at, end;
	uint32_t id;
};

static bool read_record(const struct image_section *section, uint64_t at, struct record *ret_record)
{
	struct cursor cursor = cursor_at((struct bytes){ section->bytes, section->size }, at);
	uint32_t length = (uint32_t)cursor_read(&cursor, 4);
	uint64_t left = cursor_left(&cursor);

	*ret_record = (struct record){ .start = at, .id_at = at + 4, .end = at + 4 + length };
	ret_record->id = (uint32_t)cursor_read(&cursor, 4);
	return length >= 4 && length <= left && !cursor.is_past;
}

static bool is_cie(const struct record *record, bool is_eh)
{
	return record->id == (is_eh ? 0 : UINT32_MAX);
}

static bool skip_pointer(struct cursor *cursor, uint8_t encoding)
{
	static const uint8_t sizes[16] = { [0] = 8, [2] = 2, [3] = 4, [4] = 8, [10] = 2, [11] = 4, [12] = 8 };

	if (encoding == 0xff)
		return true;
	if (!sizes[encoding & 15])
		return false;
	cursor_skip(cursor, sizes[encoding & 15]);
	return !cursor->is_past;
}

/* Letters of the augmentation that are known: z, R, P, L, S, B. ret_pointer_bytes: of an FDE's addresses, which must have a
 * fixed size. */
static bool cie_is_sound(const struct image_section *section, const struct record *record, uint32_t *ret_pointer_bytes)
{
	static const uint8_t sizes[16] = { [0] = 8, [3] = 4, [4] = 8, [11] = 4, [12] = 8 };
	struct cursor cursor = cursor_at((struct bytes){ section->bytes, record->end }, record->id_at + 4);
	uint8_t version = (uint8_t)cursor_read(&cursor, 1);
	const char *augmentation = cursor_read_string(&cursor);

	*ret_pointer_bytes = 8;
	if (cursor.is_past || (version != 1 && version != 3 && version != 4))
		return false;
	if (version == 4 && (cursor_read(&cursor, 1) != 8 || cursor_read(&cursor, 1) != 0))
		return false;
	cursor_read_uleb(&cursor);
	cursor_read_leb(&cursor, true);
	if (version == 1)
		cursor_read(&cursor, 1);
	else
		cursor_read_uleb(&cursor);
	if (augmentation[0] == '\0')
		return !cursor.is_past;
	if (augmentation[0] != 'z')
		return false;
	uint64_t bytes = cursor_read_uleb(&cursor);
	if (cursor.is_past || bytes > cursor_left(&cursor))
		return false;
	cursor.end = cursor.at + bytes;
	for (const char *letter = augmentation + 1; *letter; letter++) {
		uint8_t encoding;
		switch (*letter) {
		case 'R':
			encoding = (uint8_t)cursor_read(&cursor, 1);
			*ret_pointer_bytes = encoding == 0xff ? 0 : sizes[encoding & 15];
			if (!*ret_pointer_bytes || (encoding & 0x60))
				return false;
			break;
		case 'P':
			encoding = (uint8_t)cursor_read(&cursor, 1);
			if (!skip_pointer(&cursor, encoding))
				return false;
			break;
		case 'L': cursor_read(&cursor, 1); break;
		case 'S':
		case 'B': break;
		default: return false;
		}
	}
	return !cursor.is_past;
}

static bool fde_is_sound(const struct image_section *section, const struct record *record, bool is_eh,
                         const struct record *last_cie, uint32_t *last_pointer_bytes)
{
	uint64_t cie_at = is_eh ? record->id_at - record->id : record->id;
	struct record cie = *last_cie;
	uint32_t pointer_bytes = *last_pointer_bytes;

	if (is_eh && record->id > record->id_at)
		return false;
	if (cie_at != last_cie->start || !last_cie->end)
		if (!read_record(section, cie_at, &cie) || !is_cie(&cie, is_eh) || !cie_is_sound(section, &cie, &pointer_bytes))
			return false;
	struct cursor cursor = cursor_at((struct bytes){ section->bytes, record->end }, record->id_at + 4);
	cursor_skip(&cursor, 2 * pointer_bytes);
	struct cursor letters = cursor_at((struct bytes){ section->bytes, cie.end }, cie.id_at + 5);
	if (cursor_left(&letters) && *letters.at == 'z') {
		uint64_t bytes = cursor_read_uleb(&cursor);
		return !cursor.is_past && bytes <= cursor_left(&cursor);
	}
	return !cursor.is_past;
}

/* Looks over all records up to the section's end, or to the terminating zero of .eh_frame, behind which the section is cut
 * off. A section that is damaged further on keeps what stands before. False: nothing is left. */
static bool cut_to_sound(struct image_section *section, bool is_eh)
{
	struct record last_cie = { 0 };
	uint32_t pointer_bytes = 8;
	uint64_t at = 0;

	while (at + 4 <= section->size) {
		struct record record;
		bool is_sound = read_record(section, at, &record);
		if (is_sound && is_cie(&record, is_eh)) {
			is_sound = cie_is_sound(section, &record, &pointer_bytes);
			last_cie = record;
		} else if (is_sound) {
			is_sound = fde_is_sound(section, &record, is_eh, &last_cie, &pointer_bytes);
		}
		if (!is_sound)
			break;
		at = record.end;
	}
	/* What is left behind the end must not be taken for a record. */
	if (section->size > at)
		memset(section->bytes + at, 0, section->size - at);
	section->size = at;
	return at > 0;
}

/* --- files --- */

static int open_module(const char *path, struct image **ret_image)
{
	const uint8_t *bytes;
	size_t n;

	if (!vdso_is_path(path))
		return image_open(path, ret_image);
	if (vdso_find(&bytes, &n) != 0)
		return -ENOENT;
	return image_open_memory(bytes, n, ret_image);
}

/* Always from the module itself: a debug file's .eh_frame is empty. */
static int read_section(const char *path, const uint8_t *build_id, uint32_t build_id_bytes, struct image_section *ret_section,
                        bool *ret_is_eh)
{
	struct image *image;
	int failed = open_module(path, &image);

	if (failed)
		return failed == -ENOENT ? -ESTALE : failed;
	const struct image_identity *identity = image_identity(image);
	uint32_t compared = identity->build_id_bytes < build_id_bytes ? identity->build_id_bytes : build_id_bytes;
	if (build_id_bytes && (!compared || memcmp(identity->build_id, build_id, compared) != 0)) {
		failed = -ESTALE;
	} else if (!image_is_x86_64(image)) {
		failed = -ENOEXEC;
	} else {
		*ret_is_eh = image_has_section(image, ".eh_frame");
		failed = image_read_section(image, *ret_is_eh ? ".eh_frame" : ".debug_frame", SECTION_BYTES_MAX, ret_section);
	}
	image_close(image);
	return failed;
}

int unwind_read(const char *path, const uint8_t *build_id, uint32_t build_id_bytes, unwind_found *found, void *context)
{
	static const struct unwind_rule none = { .kind = UNWIND_NONE };
	struct reading reading = { .found = found, .context = context };
	struct image_section section = { 0 };
	struct dwarf *dwarf;
	bool is_eh;
	int result = read_section(path, build_id, build_id_bytes, &section, &is_eh);

	if (result)
		return result;
	const char *name = is_eh ? ".eh_frame" : ".debug_frame";
	result = -ENOEXEC;
	if (cut_to_sound(&section, is_eh))
		result = dwarf_open(&(struct dwarf_section){ name, section.bytes, section.size, section.address }, 1, &dwarf);
	if (!result) {
		result = dwarf_visit_frames(dwarf, is_eh, read_function, &reading);
		dwarf_close(dwarf);
	}
	free(section.bytes);
	if (!result && reading.reached)
		result = found(context, reading.reached, &none);
	return result;
}
