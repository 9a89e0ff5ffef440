#pragma once
/* json - builds one JSON document, member after member. The only user of jansson.
 * Context: any thread of the exporter. Remembers its first failure, so callers check nothing until the end. Texts may be
 * any bytes (see strbuf_add_clean); numbers are independent of the locale. Key NULL: the next element of an array.
 */
#include "strbuf.h"

#define JSON_DEPTH_MAX 8

struct json_writer {
	void *open[JSON_DEPTH_MAX]; /* the nested objects and arrays, outermost first; borrowed from root */
	void *root;                 /* owned */
	unsigned depth;
	bool has_failed;
};

void json_write_begin_object(struct json_writer *json, const char *key);
void json_write_begin_array(struct json_writer *json, const char *key);
void json_write_end(struct json_writer *json); /* of the innermost object or array */

void json_write_text(struct json_writer *json, const char *key, const char *text /* NULL = null */);
void json_write_number(struct json_writer *json, const char *key, uint64_t n);
void json_write_bool(struct json_writer *json, const char *key, bool is_true);
void json_write_null(struct json_writer *json, const char *key);
void json_write_seconds(struct json_writer *json, const char *key, uint64_t ns);

/* Adds the document to out with a final newline and frees it; what failed before is out's failure now. */
void json_write_finish(struct json_writer *json, struct strbuf *out);
/* The same as one line without blanks. */
void json_write_finish_line(struct json_writer *json, struct strbuf *out);
