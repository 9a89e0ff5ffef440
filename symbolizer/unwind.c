/* From a module's file to its rules. The section is read into memory of ours (image.h); frames.c makes the list of functions
 * out of it, and what their programs say is found out by unwind_program.c, both bounded by construction.
 */
#include "unwind.h"
#include "frames.h"
#include "image.h"
#include "vdso.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The largest real ones have some 20 MiB. */
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

static uint64_t code_bytes(struct image *image)
{
	struct spans code = { 0 };
	uint64_t bytes = 0;

	if (image_read_code(image, &code) == 0)
		for (uint32_t i = 0; i < code.count; i++)
			bytes += code.items[i].end - code.items[i].start;
	spans_free(&code);
	return bytes;
}

/* Always from the module itself: a debug file's .eh_frame is empty. */
static int read_section(const char *path, const uint8_t *build_id, uint32_t build_id_bytes, struct image_section *ret_section,
                        bool *ret_is_eh, uint64_t *ret_code_bytes)
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
		*ret_code_bytes = code_bytes(image);
		failed = image_read_section(image, *ret_is_eh ? ".eh_frame" : ".debug_frame", SECTION_BYTES_MAX, ret_section);
	}
	image_close(image);
	return failed;
}

int unwind_read(const char *path, const uint8_t *build_id, uint32_t build_id_bytes, unwind_found *found, void *context,
                uint64_t *ret_code_bytes)
{
	static const struct unwind_rule none = { .kind = UNWIND_NONE };
	struct reading reading = { .found = found, .context = context };
	struct image_section section = { 0 };
	bool is_eh;
	int result = read_section(path, build_id, build_id_bytes, &section, &is_eh, ret_code_bytes);

	if (result)
		return result;
	result = frames_visit((struct bytes){ section.bytes, section.size }, section.address, is_eh, read_function, &reading);
	free(section.bytes);
	if (result)
		return result;
	return reading.reached ? found(context, reading.reached, &none) : -ENOEXEC;
}
