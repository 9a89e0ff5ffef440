/* fuzz_fastcgi - whatever bytes come, in whatever pieces, both sides of FastCGI stay within them, come to an end, and say
 * the same as for the bytes in one piece: the records, the parameters of requests, the heads of answers.
 * Input: side (1 byte), seed of the cuts (1 byte), bytes.
 */
#include "../../shim/requests/fastcgi.h"
#include "pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A side, and the streams of the request whose record comes, ids taken together by fours. */
struct parser {
	struct fastcgi records;
	struct fastcgi_params params[4];
	struct fastcgi_head heads[4];
	struct trace_context traces[4];
	uint64_t other_bytes;
};

static void say_params(struct said *said, const struct fastcgi_params *params)
{
	say_number(said, params->method | (uint64_t)params->is_https << 8);
	say(said, params->target, params->target_bytes);
	say(said, params->trace->trace_id, sizeof(params->trace->trace_id));
	say(said, params->trace->request_id, params->trace->request_id_bytes);
}

static void on_event(struct parser *parser, struct fastcgi_step step, struct said *said)
{
	unsigned id = parser->records.id % 4;
	struct fastcgi_head *head = &parser->heads[id];

	if (step.event == FASTCGI_CONTENT && parser->records.type == FASTCGI_PARAMS)
		fastcgi_read_params(&parser->params[id], step.content, step.content_bytes);
	else if (step.event == FASTCGI_CONTENT && parser->records.type == FASTCGI_STDOUT)
		fastcgi_read_head(head, step.content, step.content_bytes);
	else if (step.event == FASTCGI_CONTENT)
		parser->other_bytes += step.content_bytes;
	if (step.event == FASTCGI_MORE || step.event == FASTCGI_CONTENT)
		return;
	said->events++;
	say_number(said, (uint64_t)step.event << 32 | (uint64_t)parser->records.type << 16 | parser->records.id);
	if (step.event == FASTCGI_STREAM_END && parser->records.type == FASTCGI_PARAMS)
		say_params(said, &parser->params[id]);
	if (step.event == FASTCGI_END) {
		say_number(said, (uint64_t)head->status << 2 | (uint64_t)head->is_over << 1 | head->is_event_stream);
		say_number(said, head->body_bytes);
	}
}

static void feed(void *reader, const char *bytes, size_t n, struct said *said)
{
	struct parser *parser = reader;
	uint64_t steps_left = 16 + n;
	struct fastcgi_step step;

	do {
		step = fastcgi_read(&parser->records, bytes, n);
		if (step.used_bytes > n || step.content_bytes > step.used_bytes || !steps_left--)
			abort();
		on_event(parser, step, said);
		bytes += step.used_bytes;
		n -= step.used_bytes;
	} while (step.event != FASTCGI_MORE);
	if (n)
		abort();
}

static struct said read_pieces(bool is_response, const char *bytes, size_t n, uint32_t seed)
{
	struct parser parser = { .records = { .is_response = is_response } };
	struct said said = { 0 };

	for (int i = 0; i < 4; i++)
		parser.params[i].trace = &parser.traces[i];
	feed_pieces(feed, &parser, bytes, n, seed, &said);
	say_number(&said, parser.other_bytes);
	return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	bool is_response = data[0] & 1;
	const char *bytes = (const char *)data + 2;
	need_same(read_pieces(is_response, bytes, size - 2, 0),
		  read_pieces(is_response, bytes, size - 2, 1 + (uint32_t)data[1]));
	return 0;
}
