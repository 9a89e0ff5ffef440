#pragma once
/* hpack - header blocks of HTTP/2 (RFC 7541) as fields, through libnghttp2's decoder, which is opened at run time.
 * Context: call, but for hpack_open: setup. The decoder's memory comes from heap.h.
 * Overlap: any, of different decoders.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a table may grow to, whatever its owner permits: browsers ask for 64 KiB. */
#define HPACK_TABLE_BYTES_MAX (256u * 1024)

/* Opens the library; again changes nothing. False, and one line in the log the first time: there is none, or it lacks
 * what is needed. */
bool hpack_open(void);

/* A decoder can be had. */
bool hpack_is_open(void);

/* The decoder of one direction of a connection: the fields of each of its blocks depend on all blocks before. */
struct hpack;

/* NULL: hpack_is_open is false, or there is no memory. */
struct hpack *hpack_new(void);

/* NULL changes nothing. */
void hpack_free(struct hpack *hpack);

/* The encoder may let its table grow to bytes, which is what the other side's SETTINGS_HEADER_TABLE_SIZE says. Between
 * blocks only. It never gets smaller again: an encoder that must use less says so in its next block (RFC 7541 clause 4.2),
 * and that is followed to the letter. So it does no harm to call this before the encoder has acknowledged the setting.
 * False: it is broken. */
bool hpack_allow_table(struct hpack *hpack, uint32_t bytes);

enum hpack_event {
	HPACK_MORE,      /* all bytes are used, the block goes on */
	HPACK_FIELD,     /* a field is known */
	HPACK_END,       /* all bytes are used, and they were the block's last */
	HPACK_BROKEN,    /* no valid block: no later one can be understood either */
	HPACK_NO_MEMORY, /* the same */
};

/* Valid until the next call for the same decoder, and as long as the bytes given. */
struct hpack_field {
	const char *name; /* in lower case; RFC 9113 clause 8.2 */
	size_t name_bytes;
	const char *value;
	size_t value_bytes;
};

struct hpack_step {
	enum hpack_event event;
	size_t used_bytes; /* of those given */
};

/* Goes on to the next field. is_last: no more bytes of this block follow. Call until HPACK_MORE or worse. */
struct hpack_step hpack_read(struct hpack *hpack, const char *bytes, size_t n, bool is_last, struct hpack_field *ret_field);
