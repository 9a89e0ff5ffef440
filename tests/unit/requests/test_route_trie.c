#include "../../../shim/requests/endpoint.h"
#include "../../../shim/requests/route.h"
#include "../../../shim/requests/route_trie.h"
#include "../../../shim/requests/route_words.h"
#include "check_main.h"
#include "room.h"

#include <stdarg.h>

static const char *const names[] = {
	"octocat", "torvalds", "gvanrossum", "antirez", "alice", "bob-smith", "carol", "dmr", "ken", "yuki",
	"priya", "jessfraz", "fatima", "lukas", "sindresorhus", "feross", "zofia", "burntsushi", "ngozi", "heidi",
};
enum { NAMES = sizeof(names) / sizeof(names[0]) };

/* A GET for this path that is answered by 200; its endpoint then. */
__attribute__((format(printf, 1, 2))) static uint32_t get(const char *format, ...)
{
	char target[256];
	uint32_t candidate;
	va_list arguments;

	va_start(arguments, format);
	int n = vsnprintf(target, sizeof(target), format, arguments);
	va_end(arguments);
	uint32_t endpoint = endpoint_of_http(SEG_METHOD_GET, target, (uint32_t)n, &candidate);
	return candidate ? endpoint_settle(candidate, true) : endpoint;
}

/* The route that an endpoint is shown under, without the method. */
static const char *route_of(uint32_t endpoint)
{
	while (seg.endpoints[endpoint].alias)
		endpoint = seg.endpoints[endpoint].alias - 1;
	return seg.endpoints[endpoint].name + 4;
}

static uint32_t routes_shown(void)
{
	uint32_t count = 0;

	for (uint32_t i = SEG_ENDPOINT_FIRST; i < seg.slots[SEG_TABLE_ENDPOINTS].count; i++)
		count += seg.endpoints[i].ready && !seg.endpoints[i].alias && !seg.endpoints[i].is_overflow;
	return count;
}

START_TEST(names_behind_a_plural_become_one_route_and_those_made_before_are_part_of_it)
{
	uint32_t first;

	room_open(256);
	first = get("/users/%s", names[0]);
	ck_assert_str_eq(route_of(first), "/users/octocat");
	for (int i = 1; i < NAMES; i++)
		get("/users/%s", names[i]);
	ck_assert_str_eq(route_of(first), "/users/{name}");
	ck_assert_str_eq(route_of(get("/users/octocat")), "/users/{name}");
	ck_assert_str_eq(route_of(get("/users/never-seen")), "/users/{name}");
	ck_assert_uint_eq(routes_shown(), 1);
	ck_assert_uint_eq(seg.head->routes_count, 1);
}
END_TEST

START_TEST(actions_stay_beside_names)
{
	static const char *const actions[] = { "search", "me", "findByStatus", "count", "_all" };

	room_open(256);
	for (int i = 0; i < NAMES; i++) {
		get("/users/%s", names[i]);
		get("/users/%s", actions[i % 5]);
	}
	for (int i = 0; i < 5; i++)
		ck_assert_str_eq(route_of(get("/users/%s", actions[i])) + 7, actions[i]);
	ck_assert_uint_eq(routes_shown(), 6);
}
END_TEST

START_TEST(owners_and_repositories_become_names_while_what_follows_them_stays)
{
	static const char *const parts[] = { "issues", "pulls", "branches", "releases", "stargazers", "actions/runs", "git/trees" };
	char expected[64];

	room_open(256);
	for (int i = 0; i < 600; i++)
		get("/repos/%s/%s-%s/%s", names[i % NAMES], names[i * 7 % NAMES], names[i / 9 % NAMES], parts[i % 7]);
	for (int i = 0; i < 7; i++) {
		sprintf(expected, "/repos/{name}/{name}/%s", parts[i]);
		ck_assert_str_eq(route_of(get("/repos/somebody/something/%s", parts[i])), expected);
		ck_assert_str_eq(route_of(get("/repos/somebody/docs/%s", parts[i])), expected);
	}
	ck_assert_uint_eq(routes_shown(), 7);
}
END_TEST

START_TEST(hundreds_of_words_under_one_node_stay_words)
{
	static const char *const verbs[] = { "get", "list", "create", "update", "delete", "search", "enable", "disable", "count", "export" };
	static const char *const nouns[] = { "users", "orders", "invoices", "payments", "accounts", "webhooks", "reports", "devices", "sessions",
					     "messages", "channels", "products", "customers", "subscriptions", "events", "tasks", "projects",
					     "roles", "keys", "regions" };

	room_open(256);
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 200; i++)
			ck_assert_uint_eq(strlen(route_of(get("/api/%s.%s", nouns[i / 10], verbs[i % 10]))),
					  strlen("/api/.") + strlen(nouns[i / 10]) + strlen(verbs[i % 10]));
	ck_assert_uint_eq(routes_shown(), 200);
}
END_TEST

START_TEST(unknown_words_among_known_ones_stay)
{
	static const char *const known[] = { "users", "orders", "invoices", "payments", "accounts", "webhooks", "reports", "devices", "sessions",
					     "messages", "channels", "products" };

	room_open(256);
	for (int i = 0; i < 12; i++)
		get("/shops/7/%s", known[i]);
	for (int i = 0; i < 5; i++)
		get("/shops/7/%s", names[i]);
	ck_assert_str_eq(route_of(get("/shops/8/octocat")), "/shops/{id}/octocat");
	ck_assert_uint_eq(routes_shown(), 17);
}
END_TEST

START_TEST(collections_in_any_language_stay_words_where_an_interface_begins)
{
	static const char *const collections[] = {
		"kunden", "rechnungen", "bestellungen", "artikel", "lieferanten", "mitarbeiter", "auftraege", "lager", "termine", "zahlungen",
		"vertraege", "angebote", "gutschriften", "mahnungen", "standorte", "fahrzeuge", "werkzeuge", "maschinen", "schichten",
		"urlaube", "projekte", "aufgaben", "notizen", "dateien", "ordner", "nachrichten", "gruppen", "rollen", "rechte",
		"sprachen", "laender", "waehrungen", "steuern", "konten", "buchungen", "belege", "kassen", "filialen", "regale",
		"paletten", "sendungen", "retouren", "gutscheine", "kampagnen", "umfragen", "bewertungen",
	};
	enum { COLLECTIONS = sizeof(collections) / sizeof(collections[0]) };

	room_open(256);
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < COLLECTIONS; i++)
			get("/api/v1/%s/%d", collections[i], round + 10 * i);
	ck_assert_uint_eq(routes_shown(), COLLECTIONS);
	ck_assert_str_eq(route_of(get("/api/v1/kunden/99")), "/api/v1/kunden/{id}");
}
END_TEST

START_TEST(forms_of_ids_at_one_place_are_one_route)
{
	room_open(256);
	uint32_t hash = get("/commits/07c5e92aa0e54077f832609deadbeef012345678");
	ck_assert_str_eq(route_of(hash), "/commits/{hash}");
	ck_assert_str_eq(route_of(get("/commits/1234567")), "/commits/{id}");
	ck_assert_str_eq(route_of(hash), "/commits/{id}");
	ck_assert_str_eq(route_of(get("/commits/5f4a6d4")), "/commits/{id}"); /* too short for a hash, but strange beside ids */
	ck_assert_str_eq(route_of(get("/commits/search")), "/commits/search");
	ck_assert_uint_eq(routes_shown(), 2);
	get("/files/12.json");
	ck_assert_str_eq(route_of(get("/files/5f4a6d4e12.json")), "/files/{id}.json");
	ck_assert_uint_eq(routes_shown(), 3);
}
END_TEST

START_TEST(a_word_is_one_of_the_names_beside_it_once_both_are_followed_by_the_same)
{
	room_open(256);
	for (int i = 0; i < NAMES; i++)
		get("/api/v1/namespaces/%s/pods", names[i]);
	ck_assert_str_eq(route_of(get("/api/v1/namespaces/default/pods")), "/api/v1/namespaces/{name}/pods");
	ck_assert_str_eq(route_of(get("/api/v1/namespaces/default/services")), "/api/v1/namespaces/{name}/services");
	ck_assert_uint_eq(routes_shown(), 2);
}
END_TEST

START_TEST(what_is_not_answered_teaches_nothing)
{
	uint32_t candidate;
	char target[64];

	room_open(256);
	for (int i = 0; i < NAMES; i++) {
		int n = sprintf(target, "/users/%s", names[i]);
		endpoint_of_http(SEG_METHOD_GET, target, (uint32_t)n, &candidate);
		endpoint_settle(candidate, false);
	}
	ck_assert_str_eq(route_of(get("/users/octocat")), "/users/octocat");
}
END_TEST

START_TEST(templates_are_not_learned_from_and_not_changed)
{
	room_open(256);
	ck_assert_ptr_null(route_templates_set("/users/octocat,/users/{login}/repos"));
	for (int i = 0; i < NAMES; i++) {
		get("/users/%s", names[i]);
		get("/users/%s/repos", names[i]);
	}
	ck_assert_str_eq(route_of(get("/users/octocat")), "/users/octocat");
	ck_assert_str_eq(route_of(get("/users/alice")), "/users/{name}");
	ck_assert_str_eq(route_of(get("/users/alice/repos")), "/users/{login}/repos");
	ck_assert_uint_eq(routes_shown(), 3);
	route_templates_set(NULL);
}
END_TEST

START_TEST(places_given_back_by_merged_routes_are_taken_again)
{
	room_open(8);
	for (int i = 0; i < NAMES; i++)
		get("/users/%s", names[i]);
	ck_assert_uint_eq(seg.head->routes_count, 1);
	static const char *const more[] = { "/a", "/b", "/c", "/d", "/e", "/f", "/g" };
	for (int i = 0; i < 7; i++)
		ck_assert_str_eq(route_of(get("%s", more[i])), more[i]);
	ck_assert_str_eq(route_of(get("/h")), "_OTHER");
	ck_assert_uint_eq(room_counter(SEG_COUNTER_OVERFLOW_ENDPOINTS), 1);
	ck_assert_uint_eq(routes_shown(), 8);
}
END_TEST

START_TEST(a_merged_routes_time_and_requests_are_its_names)
{
	room_open(256);
	for (int i = 0; i < NAMES; i++) {
		char request[64];
		sprintf(request, "GET /users/%s HTTP/1.1\r\n\r\n", names[i]);
		room_accept(5);
		room_receive(5, request);
		work_credit(0, 0, 1000);
		room_answer(5, 0);
		room_close(5);
	}
	uint64_t samples = 0;
	for (uint32_t i = SEG_ENDPOINT_FIRST; i < seg.slots[SEG_TABLE_ENDPOINTS].count; i++)
		if (seg.endpoints[i].cpu_samples && strcmp(route_of(i), "/users/{name}") == 0)
			samples += seg.endpoints[i].cpu_samples;
	ck_assert_uint_eq(samples, NAMES);
	ck_assert_uint_eq(room_requests(SEG_PROTOCOL_HTTP, NULL, 200, 0), NAMES);
}
END_TEST

START_TEST(a_full_trie_leaves_paths_as_they_are)
{
	char name[32];

	room_open(256);
	for (uint64_t key = 1; key < 100000; key++)
		seg_table_insert(&seg.slots[SEG_TABLE_WORDS], seg_key_of_bytes(&key, sizeof(key), 0), NULL);
	for (int i = 0; i < NAMES; i++) {
		sprintf(name, "/users/%s", names[i]);
		ck_assert_str_eq(route_of(get("%s", name)), name);
		ck_assert_str_eq(route_of(get("%s", name)), name);
	}
	ck_assert_str_eq(route_of(get("/users/42")), "/users/{id}");
}
END_TEST

static const struct {
	const char *word;
	enum route_word is;
} words[] = {
	{ "users", ROUTE_WORD_PLAIN }, { "merge_requests", ROUTE_WORD_PLAIN }, { "serviceaccounts", ROUTE_WORD_PLAIN },
	{ "pull-requests", ROUTE_WORD_PLAIN }, { "getQueueUrl", ROUTE_WORD_ACTION }, { "chat.postMessage", ROUTE_WORD_PLAIN },
	{ "v1", ROUTE_WORD_PLAIN }, { "v2beta1", ROUTE_WORD_PLAIN }, { "2.0", ROUTE_WORD_PLAIN }, { "oauth2", ROUTE_WORD_PLAIN },
	{ "categories", ROUTE_WORD_PLAIN }, { "indices", ROUTE_WORD_PLAIN }, { "tagging", ROUTE_WORD_PLAIN }, { "x", ROUTE_WORD_PLAIN },
	{ "index.html", ROUTE_WORD_PLAIN }, { "search", ROUTE_WORD_ACTION }, { "me", ROUTE_WORD_ACTION }, { "@me", ROUTE_WORD_ACTION },
	{ "_search", ROUTE_WORD_ACTION }, { "$metadata", ROUTE_WORD_ACTION }, { "find-by-name", ROUTE_WORD_ACTION },
	{ "octocat", ROUTE_WORD_ODD }, { "hello-world", ROUTE_WORD_ODD }, { "USD", ROUTE_WORD_ODD }, { "GET", ROUTE_WORD_ODD },
	{ "example.com", ROUTE_WORD_ODD }, { "web-7", ROUTE_WORD_STRANGE }, { "U024BE7LH", ROUTE_WORD_STRANGE },
	{ "caf%C3%A9", ROUTE_WORD_STRANGE }, { "caf\xc3\xa9", ROUTE_WORD_STRANGE }, { "how-to-update-your-user-account", ROUTE_WORD_STRANGE },
	{ "VVDsoOKXBnWwGGvaCeTwTokj", ROUTE_WORD_STRANGE }, { "fwiicaibtwcwbfbyhbiahmxty", ROUTE_WORD_STRANGE }, { "7", ROUTE_WORD_STRANGE },
};

START_TEST(words_of_interfaces_are_told_from_others)
{
	ck_assert_int_eq(route_word_look(words[_i].word, strlen(words[_i].word)).word, words[_i].is);
}
END_TEST

START_TEST(any_bytes_are_some_word)
{
	char word[80];
	uint32_t random = 1;

	for (int i = 0; i < 100000; i++) {
		size_t n = 1 + (random >> 20) % sizeof(word);
		for (size_t k = 0; k < n; k++) {
			random = random * 1664525 + 1013904223;
			word[k] = (char)(random >> 24);
		}
		if (route_word_look(word, n).word > ROUTE_WORD_STRANGE)
			ck_abort();
	}
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_add_test(tcase, names_behind_a_plural_become_one_route_and_those_made_before_are_part_of_it);
	tcase_add_test(tcase, actions_stay_beside_names);
	tcase_add_test(tcase, owners_and_repositories_become_names_while_what_follows_them_stays);
	tcase_add_test(tcase, hundreds_of_words_under_one_node_stay_words);
	tcase_add_test(tcase, unknown_words_among_known_ones_stay);
	tcase_add_test(tcase, collections_in_any_language_stay_words_where_an_interface_begins);
	tcase_add_test(tcase, forms_of_ids_at_one_place_are_one_route);
	tcase_add_test(tcase, a_word_is_one_of_the_names_beside_it_once_both_are_followed_by_the_same);
	tcase_add_test(tcase, what_is_not_answered_teaches_nothing);
	tcase_add_test(tcase, templates_are_not_learned_from_and_not_changed);
	tcase_add_test(tcase, places_given_back_by_merged_routes_are_taken_again);
	tcase_add_test(tcase, a_merged_routes_time_and_requests_are_its_names);
	tcase_add_test(tcase, a_full_trie_leaves_paths_as_they_are);
	tcase_add_loop_test(tcase, words_of_interfaces_are_told_from_others, 0, sizeof(words) / sizeof(words[0]));
	tcase_add_test(tcase, any_bytes_are_some_word);
}

int main(void)
{
	return check_main("route_trie", add_tests);
}
