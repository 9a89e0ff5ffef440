/* DWARF 5, 6.4.1; .eh_frame: Linux Standard Base Core 5.0, 10.6. Records that are each the description of a function (FDE)
 * or of what several of these have in common (CIE). An FDE tells where its CIE is: .eh_frame by how far back from the word
 * that says so, .debug_frame by its offset. Only .eh_frame has encodings of addresses, told by letters in the CIE.
 *
 * Functions are read twice: once for the order of their addresses, once, in that order, for what is said of them.
 */
#include "frames.h"

#include "rangelist.h"
#include "sort.h"
#include "step.h"

#include <errno.h>
#include <stdlib.h>

enum {
	PE_ULEB128 = 0x01,
	PE_UDATA2 = 0x02,
	PE_UDATA4 = 0x03,
	PE_SLEB128 = 0x09,
	PE_SDATA2 = 0x0a,
	PE_SDATA4 = 0x0b,
	PE_FORMAT = 0x0f,   /* how wide, and whether signed; 0, 4 and 12: an address */
	PE_PCREL = 0x10,    /* counts from the place where it stands */
	PE_RELATION = 0x70,
	PE_INDIRECT = 0x80,
};
enum { ADDRESS_BYTES = sizeof(void *), LETTERS_MAX = 16 };

/* What a CIE says for its FDEs. */
struct common {
	uint64_t at; /* offset of its record */
	bool is_sound;
	bool has_augmentation; /* FDEs have a length and data of it, too */
	uint8_t encoding;
	struct unwind_frame frame; /* what is the same of all */
};

struct reading {
	struct bytes section;
	uint64_t address;
	bool is_eh;
	struct common common; /* the last one that was asked for: FDEs of one CIE lie together */
};

struct record {
	struct cursor body; /* behind the id */
	uint64_t at, id, id_at;
	bool is_64;
};

/* Reads the record at the cursor and moves the cursor behind it. False: none is left, or not in one piece. */
static bool next_record(const struct reading *reading, struct cursor *cursor, struct record *ret_record)
{
	struct record record = { .at = (uint64_t)(cursor->at - reading->section.at) };
	uint64_t length = cursor_read(cursor, 4);

	step_taken(1);
	record.is_64 = length == UINT32_MAX;
	if (record.is_64)
		length = cursor_read(cursor, 8);
	if (cursor->is_past || !length || length > cursor_left(cursor))
		return false;
	record.body = (struct cursor){ .at = cursor->at, .end = cursor->at + length };
	record.id_at = (uint64_t)(cursor->at - reading->section.at);
	record.id = cursor_read(&record.body, record.is_64 && !reading->is_eh ? 8 : 4);
	cursor_skip(cursor, length);
	*ret_record = record;
	return !record.body.is_past;
}

static bool is_cie(const struct reading *reading, const struct record *record)
{
	if (reading->is_eh)
		return record->id == 0;
	return record->id == (record->is_64 ? UINT64_MAX : UINT32_MAX);
}

static uint64_t read_encoded(struct cursor *cursor, uint8_t encoding)
{
	switch (encoding & PE_FORMAT) {
	case PE_ULEB128:
	case PE_SLEB128:
		return cursor_read_leb(cursor, (encoding & PE_FORMAT) == PE_SLEB128);
	case PE_UDATA2:
		return cursor_read(cursor, 2);
	case PE_SDATA2:
		return (uint64_t)(int16_t)cursor_read(cursor, 2);
	case PE_UDATA4:
		return cursor_read(cursor, 4);
	case PE_SDATA4:
		return (uint64_t)(int32_t)cursor_read(cursor, 4);
	default:
		return cursor_read(cursor, ADDRESS_BYTES);
	}
}

/* What the letters of an augmentation stand for. False: one of them is not known. */
static bool read_augmentation(struct cursor *data, const char *letters, struct common *common)
{
	for (; *letters; letters++) {
		switch (*letters) {
		case 'R':
			common->encoding = (uint8_t)cursor_read(data, 1);
			break;
		case 'P': /* an encoding, and the address of a function */
			read_encoded(data, (uint8_t)cursor_read(data, 1));
			break;
		case 'L':
			cursor_skip(data, 1);
			break;
		case 'S':
			common->frame.is_signal = true;
			break;
		case 'B': /* AArch64's, harmless */
			break;
		default:
			return false;
		}
	}
	/* Relative to text, data or function, or kept elsewhere: nobody writes that for x86-64. */
	return !data->is_past && !(common->encoding & PE_INDIRECT) &&
	       (!(common->encoding & PE_RELATION) || (common->encoding & PE_RELATION) == PE_PCREL);
}

static bool read_cie(struct cursor *body, struct common *common)
{
	struct unwind_frame *frame = &common->frame;
	uint64_t version = cursor_read(body, 1);

	if (version != 1 && version != 3 && version != 4)
		return false;
	uint64_t room = cursor_left(body) < LETTERS_MAX ? cursor_left(body) : LETTERS_MAX;
	if (!memchr(body->at, 0, room))
		return false;
	const char *letters = cursor_read_string(body);
	if (version == 4 && (cursor_read(body, 1) != ADDRESS_BYTES || cursor_read(body, 1) != 0))
		return false;
	frame->code_factor = cursor_read_uleb(body);
	frame->data_factor = (int64_t)cursor_read_leb(body, true);
	frame->return_register = (uint32_t)(version == 1 ? cursor_read(body, 1) : cursor_read_uleb(body));
	common->has_augmentation = letters[0] == 'z';
	if (letters[0] && !common->has_augmentation)
		return false;
	if (common->has_augmentation) {
		uint64_t bytes = cursor_read_uleb(body);
		if (body->is_past || bytes > cursor_left(body))
			return false;
		struct cursor data = { .at = body->at, .end = body->at + bytes };
		if (!read_augmentation(&data, letters + 1, common))
			return false;
		cursor_skip(body, bytes);
	}
	frame->initial = body->at;
	frame->initial_bytes = cursor_left(body);
	return !body->is_past;
}

/* The CIE of an FDE; NULL = there is none, or one that is not understood. */
static const struct common *common_of(struct reading *reading, const struct record *fde)
{
	uint64_t at = reading->is_eh ? fde->id_at - fde->id : fde->id;
	struct cursor cursor = cursor_at(reading->section, at);
	struct record cie;

	if (reading->is_eh && fde->id > fde->id_at)
		return NULL;
	if (at != reading->common.at) {
		reading->common = (struct common){ .at = at };
		reading->common.is_sound = next_record(reading, &cursor, &cie) && is_cie(reading, &cie) && read_cie(&cie.body, &reading->common);
	}
	return reading->common.is_sound ? &reading->common : NULL;
}

/* False: the record describes no function, or not in a way that is understood. */
static bool read_fde(struct reading *reading, struct record *fde, struct unwind_frame *ret_frame)
{
	const struct common *common = common_of(reading, fde);
	struct unwind_frame frame;

	if (!common)
		return false;
	frame = common->frame;
	uint64_t here = reading->address + (uint64_t)(fde->body.at - reading->section.at);
	frame.start = read_encoded(&fde->body, common->encoding);
	frame.length = read_encoded(&fde->body, common->encoding & PE_FORMAT);
	if (common->encoding & PE_PCREL)
		frame.start += here;
	if (common->has_augmentation)
		cursor_skip(&fde->body, cursor_read_uleb(&fde->body));
	frame.program = fde->body.at;
	frame.program_bytes = cursor_left(&fde->body);
	*ret_frame = frame;
	return !fde->body.is_past && frame.length && frame.start + frame.length > frame.start;
}

/* Where the FDEs are, by the addresses of their functions. */
struct place {
	uint64_t start, at;
};
struct places {
	struct place *items;
	size_t count, capacity;
};

static int add_place(struct places *places, struct place place)
{
	if (places->count == places->capacity) {
		size_t capacity = places->capacity ? places->capacity * 2 : 256;
		struct place *items = realloc(places->items, capacity * sizeof(*items));
		if (!items)
			return -ENOMEM;
		places->items = items;
		places->capacity = capacity;
	}
	places->items[places->count++] = place;
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	step_taken(1);
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->at > y->at) - (x->at < y->at);
}

static int find_places(struct reading *reading, struct places *places)
{
	struct cursor cursor = cursor_at(reading->section, 0);
	struct record record;
	struct unwind_frame frame;
	int failed = 0;

	while (!failed && next_record(reading, &cursor, &record))
		if (!is_cie(reading, &record) && read_fde(reading, &record, &frame))
			failed = add_place(places, (struct place){ frame.start, record.at });
	if (places->count)
		sort_items(places->items, places->count, sizeof(*places->items), by_start);
	return failed;
}

int frames_visit(struct bytes section, uint64_t address, bool is_eh, int (*found)(void *context, const struct unwind_frame *frame),
                 void *context)
{
	struct reading reading = { .section = section, .address = address, .is_eh = is_eh, .common = { .at = UINT64_MAX } };
	struct places places = { 0 };
	struct record record;
	struct unwind_frame frame;
	int result = find_places(&reading, &places);

	for (size_t i = 0; i < places.count && !result; i++) {
		struct cursor cursor = cursor_at(section, places.items[i].at);
		if (next_record(&reading, &cursor, &record) && read_fde(&reading, &record, &frame))
			result = found(context, &frame);
	}
	free(places.items);
	return result;
}

static int add_span(void *context, const struct unwind_frame *frame)
{
	return rangelist_add(context, frame->start, frame->start + frame->length, 0);
}

int frames_read(struct bytes section, uint64_t address, struct spans *ret_frames)
{
	int failed = frames_visit(section, address, true, add_span, ret_frames);

	spans_sort(ret_frames);
	return failed;
}
