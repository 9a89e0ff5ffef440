#include "../../../shim/requests/hpack.h"
#include "../../../shim/requests/heap.h"
#include "check_main.h"
#include "guarded.h"

#include <stdio.h>

/* Appends what a block says, "name=value;" each, then how it ended. In pieces of at most piece_bytes. */
static void read_block(struct hpack *hpack, const char *bytes, size_t n, size_t piece_bytes, char *text)
{
	struct hpack_field field;
	struct hpack_step step;

	text += strlen(text);
	do {
		size_t piece = n < piece_bytes ? n : piece_bytes;
		const char *copy = guarded(bytes, piece);
		bytes += piece;
		n -= piece;
		do {
			step = hpack_read(hpack, copy, piece, !n, &field);
			ck_assert_uint_le(step.used_bytes, piece);
			copy += step.used_bytes;
			piece -= step.used_bytes;
			if (step.event == HPACK_FIELD)
				text += sprintf(text, "%.*s=%.*s;", (int)field.name_bytes, field.name,
						(int)field.value_bytes, field.value);
		} while (step.event == HPACK_FIELD);
	} while (step.event == HPACK_MORE && n);
	sprintf(text, step.event == HPACK_END ? "." : step.event == HPACK_BROKEN ? "broken" : "more");
}

static struct hpack *begin(void)
{
	ck_assert(hpack_open());
	struct hpack *hpack = hpack_new();
	ck_assert_ptr_nonnull(hpack);
	return hpack;
}

/* RFC 7541 appendix C.4: three requests on one connection, with Huffman codes. */
static const struct {
	const char *bytes;
	size_t n;
} requests[] = {
	{ "\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", 17 },
	{ "\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf", 12 },
	{ "\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", 24 },
};
static const char requests_say[] =
	":method=GET;:scheme=http;:path=/;:authority=www.example.com;."
	":method=GET;:scheme=http;:path=/;:authority=www.example.com;cache-control=no-cache;."
	":method=GET;:scheme=https;:path=/index.html;:authority=www.example.com;custom-key=custom-value;.";

START_TEST(the_examples_of_the_rfc_are_decoded_in_pieces_of_any_size)
{
	for (size_t piece = 1; piece <= 24; piece++) {
		struct hpack *hpack = begin();
		char text[1024] = "";
		for (size_t i = 0; i < 3; i++)
			read_block(hpack, requests[i].bytes, requests[i].n, piece, text);
		ck_assert_str_eq(text, requests_say);
		hpack_free(hpack);
	}
}
END_TEST

START_TEST(an_empty_block_ends_at_once)
{
	struct hpack *hpack = begin();
	char text[64] = "";

	read_block(hpack, "", 0, 1, text);
	ck_assert_str_eq(text, ".");
	hpack_free(hpack);
}
END_TEST

START_TEST(a_block_that_ends_too_early_is_broken_for_good)
{
	struct hpack *hpack = begin();
	char text[64] = "";

	read_block(hpack, requests[0].bytes, requests[0].n - 1, 100, text);
	read_block(hpack, requests[0].bytes, requests[0].n, 100, text);
	ck_assert_str_eq(text, ":method=GET;:scheme=http;:path=/;brokenbroken");
	hpack_free(hpack);
}
END_TEST

/* A table of 8192 bytes: dynamic table size update, RFC 7541 clause 6.3. */
static const char update_to_8192[] = "\x3f\xe1\x3f\x82";

START_TEST(a_table_larger_than_allowed_is_broken)
{
	struct hpack *hpack = begin();
	char text[64] = "";

	read_block(hpack, update_to_8192, 4, 100, text);
	ck_assert_str_eq(text, "broken");
	hpack_free(hpack);
}
END_TEST

START_TEST(a_table_as_large_as_allowed_is_good_and_the_allowance_never_shrinks)
{
	struct hpack *hpack = begin();
	char text[64] = "";

	ck_assert(hpack_allow_table(hpack, 8192));
	ck_assert(hpack_allow_table(hpack, 0));
	read_block(hpack, "\x82", 1, 100, text); /* the encoder has not taken notice of the change yet */
	read_block(hpack, update_to_8192, 4, 100, text);
	read_block(hpack, "\x20\x82", 2, 100, text); /* now it empties its table */
	read_block(hpack, "\xbe", 1, 100, text);
	ck_assert_str_eq(text, ":method=GET;.:method=GET;.:method=GET;.broken");
	hpack_free(hpack);
}
END_TEST

START_TEST(a_table_is_at_most_as_large_as_we_bear)
{
	struct hpack *hpack = begin();
	char text[64] = "";

	ck_assert(hpack_allow_table(hpack, UINT32_MAX));
	read_block(hpack, "\x3f\xe1\xff\x0f\x82", 5, 100, text); /* 256 KiB */
	ck_assert_str_eq(text, ":method=GET;.");
	read_block(hpack, "\x3f\xe2\xff\x0f\x82", 5, 100, text);
	ck_assert_str_eq(text, ":method=GET;.broken");
	hpack_free(hpack);
}
END_TEST

/* A literal without indexing, name "a", value of n bytes; how many bytes it takes. */
static size_t put_literal(char *to, size_t n, char first)
{
	size_t left = n - 127;
	char *at = to;

	*at++ = first;
	*at++ = 1;
	*at++ = 'a';
	*at++ = 0x7f;
	for (; left >= 128; left >>= 7)
		*at++ = (char)(0x80 | (left & 0x7f));
	*at++ = (char)left;
	memset(at, 'x', n);
	return (size_t)(at - to) + n;
}

START_TEST(a_value_of_64_kib_is_decoded_and_a_longer_one_is_broken)
{
	static char block[70000], text[70000];

	for (size_t n = 65536; n <= 65537; n++) {
		struct hpack *hpack = begin();
		text[0] = '\0';
		size_t bytes = put_literal(block, n, 0);
		read_block(hpack, block, bytes, 1000, text);
		ck_assert_uint_eq(strlen(text), n == 65536 ? 2 + n + 2 : 6);
		hpack_free(hpack);
	}
}
END_TEST

START_TEST(decoders_that_come_and_go_leave_no_memory_behind)
{
	static char block[4000], text[4000];

	/* A megabyte of tables at a time: more than there is, if any of it were lost. */
	for (int round = 0; round < 200; round++) {
		struct hpack *decoders[300];
		for (int i = 0; i < 300; i++) {
			decoders[i] = begin();
			text[0] = '\0';
			read_block(decoders[i], block, put_literal(block, 3000, 0x40), 4000, text);
			ck_assert_uint_eq(strlen(text), 3004);
			text[0] = '\0';
			read_block(decoders[i], block, 2000, 4000, text); /* cut off in the middle of a value */
			ck_assert_str_eq(text, "broken");
		}
		for (int i = 0; i < 300; i++)
			hpack_free(decoders[i]);
	}
	hpack_free(NULL);
}
END_TEST

START_TEST(without_memory_there_is_no_decoder)
{
	enum { PIECES_MAX = 2000000 };
	static void *pieces[PIECES_MAX];
	size_t count = 0;

	ck_assert(hpack_open());
	while (count < PIECES_MAX && (pieces[count] = heap_alloc(1)))
		count++;
	ck_assert_uint_lt(count, PIECES_MAX);
	ck_assert_ptr_null(hpack_new());
	while (count)
		heap_free(pieces[--count]);
	hpack_free(begin());
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, the_examples_of_the_rfc_are_decoded_in_pieces_of_any_size);
	tcase_add_test(tcase, an_empty_block_ends_at_once);
	tcase_add_test(tcase, a_block_that_ends_too_early_is_broken_for_good);
	tcase_add_test(tcase, a_table_larger_than_allowed_is_broken);
	tcase_add_test(tcase, a_table_as_large_as_allowed_is_good_and_the_allowance_never_shrinks);
	tcase_add_test(tcase, a_table_is_at_most_as_large_as_we_bear);
	tcase_add_test(tcase, a_value_of_64_kib_is_decoded_and_a_longer_one_is_broken);
	tcase_add_test(tcase, decoders_that_come_and_go_leave_no_memory_behind);
	tcase_add_test(tcase, without_memory_there_is_no_decoder);
}

int main(void)
{
	return check_main("hpack", add_tests);
}
