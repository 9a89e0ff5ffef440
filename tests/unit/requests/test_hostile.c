/* A million distinct URLs that nobody should be able to turn into labels: from bytes on a connection to counts in the
 * segment. However many threads and processes are asked: never more routes than may be, and every request counted once.
 */
#include "../../../shim/requests/endpoint.h"
#include "check_main.h"
#include "room.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { MAX_ROUTES = 256, URLS = 1000000, THREADS = 4, PROCESSES = 2 };

struct urls {
	uint64_t random;
	uint32_t number; /* of the next, and part of it: no URL comes twice */
};

static uint32_t random_below(struct urls *urls, uint32_t n)
{
	urls->random ^= urls->random >> 12;
	urls->random ^= urls->random << 25;
	urls->random ^= urls->random >> 27;
	return (uint32_t)((urls->random * 0x2545f4914f6cdd1dULL >> 33) % n);
}

static char *put_letters(struct urls *urls, char *to, uint32_t n)
{
	while (n--)
		*to++ = (char)('a' + random_below(urls, 26));
	return to;
}

/* A number in letters: "bcd". */
static char *put_number(char *to, uint32_t number)
{
	do
		*to++ = (char)('a' + number % 26);
	while ((number /= 26));
	return to;
}

static char *put_words(struct urls *urls, char *to, uint32_t n, char separator)
{
	static const char *const words[] = { "user", "order", "item", "product", "search", "list", "get", "api", "v1", "file", "image", "page",
					     "account", "session", "team", "group", "role", "event", "log", "report", "task", "job" };

	for (uint32_t i = 0; i < n; i++) {
		*to++ = separator;
		to = stpcpy(to, words[random_below(urls, sizeof(words) / sizeof(words[0]))]);
	}
	return to;
}

/* The next URL, and its length. No blanks and no control characters: those are other tests'. */
static size_t next_url(struct urls *urls, char *url)
{
	char *to = url;
	uint32_t number = urls->number++;

	switch (random_below(urls, 12)) {
	case 0: /* one word each */
		to += sprintf(to, "/");
		to = put_number(to, number);
		break;
	case 1: /* a new word before, in and behind ones that are known */
		to = put_words(urls, to, random_below(urls, 4), '/');
		*to++ = '/';
		to = put_number(to, number);
		to = put_words(urls, to, random_below(urls, 4), '/');
		break;
	case 2: /* words of the vocabulary only, but for the last */
		to = put_words(urls, to, 1 + random_below(urls, 6), '/');
		*to++ = '-';
		to = put_number(to, number);
		break;
	case 3: /* deep */
		for (int i = 0; i < 20; i++) {
			*to++ = '/';
			to = put_letters(urls, to, 1 + random_below(urls, 3));
		}
		*to++ = '/';
		to = put_number(to, number);
		break;
	case 4: /* long */
		*to++ = '/';
		to = put_number(to, number);
		to = put_letters(urls, to, 200 + random_below(urls, 600));
		break;
	case 5:
		to += sprintf(to, "/users/%u/posts/%08x%u", number, number, random_below(urls, 10));
		break;
	case 6: /* escapes */
		to += sprintf(to, "/%%%02x%%%02x/..%%2f%%2e/%u%%00", random_below(urls, 256), random_below(urls, 256), number);
		break;
	case 7: /* what looks like our own variables */
		to += sprintf(to, "/{id}/{name}/{x%u}/{}", number);
		break;
	case 8: /* UTF-8, whole and broken */
		to += sprintf(to, "/\xc3\xa9%u/\xff\xfe", number);
		break;
	case 9: /* everything in one word */
		to += sprintf(to, "/");
		to = put_words(urls, to, 5, '.') + 0;
		to += sprintf(to, "_%u.php;a=%u?q=%u#f", number, number, number);
		break;
	case 10:
		to += sprintf(to, "http://host%u.example/%u", number, number);
		break;
	default: /* words that are all in the vocabulary, endlessly combined */
		to += sprintf(to, "/");
		to = put_words(urls, to, 3, '_');
		to = put_words(urls, to, 3, '/');
		to += sprintf(to, "?%u", number);
	}
	return (size_t)(to - url);
}

/* Routes that a reader sees. */
static uint32_t routes_shown(void)
{
	uint32_t count = 0;

	for (uint32_t i = SEG_ENDPOINT_FIRST; i < seg.slots[SEG_TABLE_ENDPOINTS].count; i++)
		count += seg.endpoints[i].ready && !seg.endpoints[i].alias && !seg.endpoints[i].is_overflow;
	return count;
}

static uint64_t requests_at_overflow(void)
{
	return room_requests(SEG_PROTOCOL_HTTP, "GET _OTHER", ROOM_ANY, ROOM_ANY);
}

static void flood(int fd, uint32_t first, uint32_t count, uint32_t not_found_of_ten)
{
	struct urls urls = { 0x9e3779b97f4a7c15ULL + first, first };
	char text[4096], answer[64];

	room_accept(fd);
	for (uint32_t i = 0; i < count; i++) {
		size_t n = (size_t)sprintf(text, "GET ");
		n += next_url(&urls, text + n);
		n += (size_t)sprintf(text + n, " HTTP/1.1\r\n\r\n");
		room_receive_n(fd, text, n);
		sprintf(answer, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", i % 10 < not_found_of_ten ? 404 : 200);
		room_send(fd, answer);
	}
	room_close(fd);
}

START_TEST(a_million_distinct_urls_make_no_more_routes_than_may_be_and_are_counted_once_each)
{
	room_open(MAX_ROUTES);
	flood(5, 0, URLS, 0);
	ck_assert_uint_le(routes_shown(), MAX_ROUTES);
	ck_assert_uint_eq(seg.head->routes_count, routes_shown());
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_HTTP, NULL, 200, ROOM_ANY), URLS);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_HTTP, NULL, ROOM_ANY, ROOM_ANY), URLS);
	/* Each request at an overflow entry is one that was counted as such, and the other way round. */
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), requests_at_overflow());
	ck_assert(room_is_balanced());
	printf("# %u routes; %lu of %u requests at the overflow entry\n", routes_shown(), (unsigned long)requests_at_overflow(), URLS);
}
END_TEST

START_TEST(urls_that_are_not_found_make_no_route_and_are_no_overflow)
{
	enum { NOT_FOUND = URLS / 10 };

	room_open(MAX_ROUTES);
	flood(5, 0, NOT_FOUND, 10);
	ck_assert_uint_eq(routes_shown(), 0);
	ck_assert_uint_eq(seg.head->routes_count, 0);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_HTTP, "GET _OTHER", 404, ROOM_ANY), NOT_FOUND);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 0);
	uint32_t learned = 0;
	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_WORDS].count; i++)
		learned += seg.words[i].key != 0;
	ck_assert_uint_eq(learned, 2); /* the root, and the count of changes */
}
END_TEST

START_TEST(a_flood_takes_no_place_from_routes_that_were_there_before)
{
	static const char *const paths[] = { "/", "/api/v1/users", "/api/v1/users/{id}", "/api/v1/users/{id}/orders", "/api/v1/search",
					     "/checkout", "/checkout/payment", "/invoices/{uuid}", "/static/app.js", "/healthz" };
	char name[64], request[128];

	room_open(MAX_ROUTES);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		sprintf(name, "GET %s", paths[i]);
		room_know(name);
	}
	flood(5, 0, URLS / 20, 0);
	room_accept(6);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		sprintf(name, "GET %s", paths[i]);
		uint64_t before = room_requests(SEG_PROTOCOL_HTTP, name, 200, 0);
		ck_assert_uint_ge(before, 1);
		sprintf(request, "GET %s HTTP/1.1\r\n\r\n", paths[i]);
		room_receive(6, request);
		room_answer(6, 0);
		ck_assert_uint_eq(room_requests(SEG_PROTOCOL_HTTP, name, 200, 0), before + 1);
	}
}
END_TEST

static _Atomic uint32_t next_thread;

static void *flood_as_thread(void *argument)
{
	uint32_t process = *(uint32_t *)argument, thread = next_thread++;
	uint32_t count = URLS / THREADS / PROCESSES;

	thread_attach();
	flood((int)(10 + thread), (process * THREADS + thread) * count, count, 1);
	thread_detach();
	return NULL;
}

START_TEST(threads_and_processes_share_the_cap_and_miss_no_request)
{
	pthread_t threads[THREADS];
	uint32_t process = 0;

	room_open(MAX_ROUTES);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		process = 1;
		thread_forget();
		thread_attach();
		conn_forked();
		room_next_process();
		endpoint_init();
	}
	next_thread = 0;
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, flood_as_thread, &process);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	if (!child)
		_exit(0);
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_le(routes_shown(), MAX_ROUTES);
	ck_assert_uint_eq(seg.head->routes_count, routes_shown());
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_HTTP, NULL, 200, ROOM_ANY), URLS / 10 * 9);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_HTTP, NULL, 404, ROOM_ANY), URLS / 10);
	uint64_t not_found_at_overflow = room_requests(SEG_PROTOCOL_HTTP, "GET _OTHER", 404, ROOM_ANY);
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), requests_at_overflow() - not_found_at_overflow);
	for (uint32_t i = SEG_ENDPOINT_FIRST; seg.endpoints[i].key; i++)
		for (uint32_t k = SEG_ENDPOINT_FIRST; k < i; k++)
			ck_assert_msg(seg.endpoints[i].alias || seg.endpoints[k].alias || strcmp(seg.endpoints[i].name, seg.endpoints[k].name) != 0,
				      "%s is there twice", seg.endpoints[i].name);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, a_million_distinct_urls_make_no_more_routes_than_may_be_and_are_counted_once_each);
	tcase_add_test(tcase, urls_that_are_not_found_make_no_route_and_are_no_overflow);
	tcase_add_test(tcase, a_flood_takes_no_place_from_routes_that_were_there_before);
	tcase_add_test(tcase, threads_and_processes_share_the_cap_and_miss_no_request);
}

int main(void)
{
	return check_main("hostile", add_tests);
}
