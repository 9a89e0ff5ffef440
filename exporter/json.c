/* jansson writes real numbers with 17 digits unless told otherwise, and then turns 0.1 into 0.10000000000000001; with 15,
 * nanoseconds are exact up to eleven days and microseconds for thirty years. It undoes the locale's decimal point only
 * where that is one byte long, hence the thread writes in the C locale.
 */
#include "json.h"

#include <errno.h>
#include <jansson.h>
#include <locale.h>

static void insert(struct json_writer *json, const char *key, json_t *value)
{
	json_t *parent = json->depth ? json->open[json->depth - 1] : NULL;
	int error = -1;

	if (json->has_failed || !value) {
		json_decref(value);
		json->has_failed = true;
		return;
	}
	if (!parent && !json->root) {
		json->root = value;
		return;
	}
	/* Both take the reference, even when they fail. */
	if (parent && key)
		error = json_object_set_new(parent, key, value);
	else if (parent)
		error = json_array_append_new(parent, value);
	else
		json_decref(value);
	json->has_failed |= error != 0;
}

static void begin(struct json_writer *json, const char *key, json_t *value)
{
	if (json->depth == JSON_DEPTH_MAX) {
		json_decref(value);
		value = NULL;
	}
	insert(json, key, value);
	if (!json->has_failed)
		json->open[json->depth++] = value;
}

void json_write_begin_object(struct json_writer *json, const char *key)
{
	begin(json, key, json_object());
}

void json_write_begin_array(struct json_writer *json, const char *key)
{
	begin(json, key, json_array());
}

void json_write_end(struct json_writer *json)
{
	if (json->depth && !json->has_failed)
		json->depth--;
}

void json_write_text(struct json_writer *json, const char *key, const char *text)
{
	struct strbuf clean = STRBUF_EMPTY;

	if (!text) {
		json_write_null(json, key);
		return;
	}
	strbuf_add_clean(&clean, text);
	insert(json, key, clean.error ? NULL : json_string(strbuf_text(&clean)));
	strbuf_free(&clean);
}

void json_write_number(struct json_writer *json, const char *key, uint64_t n)
{
	insert(json, key, json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n));
}

void json_write_bool(struct json_writer *json, const char *key, bool is_true)
{
	insert(json, key, json_boolean(is_true));
}

void json_write_null(struct json_writer *json, const char *key)
{
	insert(json, key, json_null());
}

void json_write_seconds(struct json_writer *json, const char *key, uint64_t ns)
{
	insert(json, key, json_real((double)ns / 1e9));
}

static int add_chunk(const char *chunk, size_t n, void *out)
{
	strbuf_add_bytes(out, chunk, n);
	return ((struct strbuf *)out)->error ? -1 : 0;
}

static void finish(struct json_writer *json, struct strbuf *out, size_t layout)
{
	locale_t plain = newlocale(LC_ALL_MASK, "C", NULL), previous = plain ? uselocale(plain) : NULL;

	if (json->has_failed || !json->root ||
	    json_dump_callback(json->root, add_chunk, out, layout | JSON_REAL_PRECISION(15) | JSON_ENCODE_ANY))
		strbuf_fail(out, -ENOMEM);
	strbuf_add_char(out, '\n');
	if (plain) {
		uselocale(previous);
		freelocale(plain);
	}
	json_decref(json->root);
	*json = (struct json_writer){ 0 };
}

void json_write_finish(struct json_writer *json, struct strbuf *out)
{
	finish(json, out, JSON_INDENT(2));
}

void json_write_finish_line(struct json_writer *json, struct strbuf *out)
{
	finish(json, out, JSON_COMPACT);
}
