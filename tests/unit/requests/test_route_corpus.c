/* Routes that are made of requests to public interfaces: each file of tests/corpus/routes is a server with the templates
 * of its paths, one a line; variables get values by the rules in VARIABLES. Requests come in random order, and at the end
 * every request is looked up again: which route is it counted under by now?
 *
 * A template maps one to one if all its requests are under one route that no other template has. It merges wrongly if it
 * shares a route with another. The figures stand in the output as comments; -v lists the templates that fail.
 */
#include "../../../shim/requests/endpoint.h"
#include "check_main.h"
#include "room.h"

#include <dirent.h>
#include <errno.h>

enum {
	REQUESTS_PER_TEMPLATE = 50,
	TEMPLATES_MAX = 320, /* of a server */
	SERVERS_MAX = 128,
	VARIABLES_MAX = 512,
	DEPTH_MAX = 8,
	TARGET_BYTES = 512,
};

static const char *folder;
static bool is_verbose;
static uint64_t random_state;

/* Marsaglia's xorshift64*, so that all machines ask for the same. */
static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * 0x2545f4914f6cdd1dULL >> 33) % n);
}

/* An assertion of check.h costs a message to the parent process: too much for each character. */
static void promise(bool is_kept)
{
	if (!is_kept)
		ck_abort_msg("a template or VARIABLES is not written as it must be");
}

static char *file_text(const char *name)
{
	char path[4096];
	char *text = NULL;
	size_t room;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "r");
	ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
	ssize_t n = getdelim(&text, &room, '\0', file);
	ck_assert_int_gt(n, 0);
	fclose(file);
	return text;
}

static struct variable {
	const char *name;
	char *values; /* separated by bars */
} variables[VARIABLES_MAX];
static size_t variable_count;

static void variables_read(void)
{
	char *text = file_text("VARIABLES");

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		char *equals = strstr(line, " = ");
		if (*line == '#')
			continue;
		ck_assert_msg(equals != NULL && variable_count < VARIABLES_MAX, "%s", line);
		*equals = '\0';
		variables[variable_count++] = (struct variable){ line, equals + 3 };
	}
}

struct target {
	char text[TARGET_BYTES];
	size_t n;
};

static void put(struct target *target, char c)
{
	promise(target->n < TARGET_BYTES);
	target->text[target->n++] = c;
}

static bool put_characters(struct target *target, const char *name, size_t n)
{
	static const char *const alphabets[][2] = {
		{ "hex", "0123456789abcdef" },
		{ "digits", "0123456789" },
		{ "lower", "abcdefghijklmnopqrstuvwxyz" },
		{ "upper", "ABCDEFGHIJKLMNOPQRSTUVWXYZ" },
		{ "lower36", "abcdefghijklmnopqrstuvwxyz0123456789" },
		{ "upper36", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" },
		{ "alnum", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" },
		{ "url64", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_" },
	};
	const char *colon = memchr(name, ':', n);

	for (size_t i = 0; colon && i < sizeof(alphabets) / sizeof(alphabets[0]); i++) {
		if (strlen(alphabets[i][0]) != (size_t)(colon - name) || strncmp(alphabets[i][0], name, (size_t)(colon - name)) != 0)
			continue;
		uint32_t letters = (uint32_t)strlen(alphabets[i][1]);
		for (int count = atoi(colon + 1); count; count--)
			put(target, alphabets[i][1][random_below(letters)]);
		return true;
	}
	return false;
}

/* digits random ones, the first not 0. */
static void put_number(struct target *target, uint32_t digits)
{
	put(target, (char)('1' + random_below(9)));
	while (--digits)
		put(target, (char)('0' + random_below(10)));
}

static void put_variable(struct target *target, const char *name, size_t n, int depth);

static void put_value(struct target *target, const char *value, size_t n, int depth)
{
	for (size_t i = 0; i < n; i++) {
		if (value[i] != '<') {
			put(target, value[i]);
			continue;
		}
		const char *end = memchr(value + i, '>', n - i);
		promise(end != NULL);
		put_variable(target, value + i + 1, (size_t)(end - value) - i - 1, depth + 1);
		i = (size_t)(end - value);
	}
}

static void put_variable(struct target *target, const char *name, size_t n, int depth)
{
	size_t v = 0;

	promise(depth < DEPTH_MAX);
	if (n == 6 && memcmp(name, "number", 6) == 0) {
		put_number(target, 1 + random_below(9));
		return;
	}
	if (n == 5 && memcmp(name, "small", 5) == 0) {
		put_number(target, 1 + random_below(3));
		return;
	}
	if (put_characters(target, name, n))
		return;
	while (v < variable_count && (strlen(variables[v].name) != n || memcmp(variables[v].name, name, n) != 0))
		v++;
	if (v == variable_count)
		ck_abort_msg("VARIABLES has no %.*s", (int)n, name);
	const char *value = variables[v].values;
	uint32_t count = 1;
	for (const char *c = value; *c; c++)
		count += *c == '|';
	for (uint32_t skip = random_below(count); skip; skip--)
		value = strchr(value, '|') + 1;
	put_value(target, value, strcspn(value, "|"), depth);
}

static void target_make(struct target *target, const char *template)
{
	target->n = 0;
	for (const char *c = template; *c; c++) {
		if (*c != '{') {
			put(target, *c);
			continue;
		}
		const char *end = strchr(c, '}');
		promise(end != NULL);
		put_variable(target, c + 1, (size_t)(end - c) - 1, 0);
		c = end;
	}
	put(target, '\0');
}

struct server {
	char name[64];
	char *templates[TEMPLATES_MAX];
	uint32_t count;
};
static struct server servers[SERVERS_MAX];
static uint32_t server_count;

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct server *)a)->name, ((const struct server *)b)->name);
}

static void servers_read(void)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		struct server *server = &servers[server_count];
		size_t n = strlen(entry->d_name);
		if (n < 5 || n - 4 >= sizeof(server->name) || strcmp(entry->d_name + n - 4, ".txt") != 0)
			continue;
		ck_assert_uint_lt(++server_count, SERVERS_MAX);
		memcpy(server->name, entry->d_name, n - 4);
		char *text = file_text(entry->d_name);
		for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
			ck_assert_uint_lt(server->count, TEMPLATES_MAX);
			server->templates[server->count++] = line;
		}
	}
	closedir(dir);
	qsort(servers, server_count, sizeof(servers[0]), by_name);
}

struct request {
	uint32_t template;
	uint32_t endpoint;
};

/* The order in which REQUESTS_PER_TEMPLATE of each template come. */
static void requests_shuffle(struct request *requests, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		requests[i].template = i / REQUESTS_PER_TEMPLATE;
	for (uint32_t i = count - 1; i; i--) {
		uint32_t other = random_below(i + 1), template = requests[i].template;
		requests[i].template = requests[other].template;
		requests[other].template = template;
	}
}

static uint32_t final_of(uint32_t endpoint)
{
	while (seg.endpoints[endpoint].alias)
		endpoint = seg.endpoints[endpoint].alias - 1;
	return endpoint;
}

struct figures {
	uint32_t templates, one_to_one, merged, split, overflown;
	uint32_t requests, requests_astray; /* not under their template's most frequent route */
};

/* Counts of requests of each template under each endpoint. */
enum { ENDPOINTS_MAX = 2048 };
static uint16_t (*counts)[ENDPOINTS_MAX];

static void judge(const struct server *server, uint32_t template, struct figures *figures)
{
	uint32_t routes = 0, most = 0, sum = 0;
	bool is_merged = false, is_overflown = false;

	for (uint32_t e = 0; e < ENDPOINTS_MAX; e++) {
		uint32_t n = counts[template][e];
		if (!n)
			continue;
		routes++;
		sum += n;
		most = n > most ? n : most;
		is_overflown |= seg.endpoints[e].is_overflow != 0;
		for (uint32_t other = 0; other < server->count && !seg.endpoints[e].is_overflow; other++)
			is_merged |= other != template && counts[other][e];
	}
	figures->templates++;
	figures->merged += is_merged;
	figures->overflown += is_overflown;
	figures->split += routes > 1;
	figures->one_to_one += routes == 1 && !is_merged && !is_overflown;
	figures->requests += sum;
	figures->requests_astray += sum - most;
	if (!is_verbose || (routes == 1 && !is_merged && !is_overflown))
		return;
	printf("# %s %s:%s%s\n", server->name, server->templates[template], is_merged ? " merged" : "", routes > 1 ? " split" : "");
	for (uint32_t e = 0; e < ENDPOINTS_MAX; e++)
		if (counts[template][e])
			printf("#     %u %s\n", counts[template][e], seg.endpoints[e].name);
}

static void ask(const struct server *server, struct figures *figures)
{
	uint32_t count = server->count * REQUESTS_PER_TEMPLATE;
	struct request *requests = calloc(count, sizeof(*requests));
	struct figures before = *figures;
	struct target target;

	/* A server with more routes than the default is configured for them. */
	room_open(server->count > 256 ? server->count : 256);
	requests_shuffle(requests, count);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t candidate;
		target_make(&target, server->templates[requests[i].template]);
		requests[i].endpoint = endpoint_of_http(SEG_METHOD_GET, target.text, (uint32_t)target.n - 1, &candidate);
		if (candidate)
			requests[i].endpoint = endpoint_settle(candidate, true);
	}
	memset(counts, 0, sizeof(*counts) * TEMPLATES_MAX);
	for (uint32_t i = 0; i < count; i++)
		counts[requests[i].template][final_of(requests[i].endpoint)]++;
	for (uint32_t t = 0; t < server->count; t++)
		judge(server, t, figures);
	printf("# %s: %u of %u one to one, %u merged\n", server->name, figures->one_to_one - before.one_to_one, server->count,
	       figures->merged - before.merged);
	free(requests);
}

static double percent(uint32_t n, uint32_t of)
{
	return of ? 100.0 * n / of : 0;
}

START_TEST(public_interfaces_get_a_route_for_each_of_their_templates)
{
	struct figures figures = { 0 };

	random_state = 20240131 + (uint64_t)_i;
	variables_read();
	servers_read();
	counts = calloc(TEMPLATES_MAX, sizeof(*counts));
	for (uint32_t i = 0; i < server_count; i++)
		ask(&servers[i], &figures);
	printf("# %u servers, %u templates: %.1f %% one to one, %.1f %% merged wrongly, %.1f %% split, %.1f %% with overflow; "
	       "%.2f %% of %u requests astray\n", server_count, figures.templates, percent(figures.one_to_one, figures.templates),
	       percent(figures.merged, figures.templates), percent(figures.split, figures.templates),
	       percent(figures.overflown, figures.templates), percent(figures.requests_astray, figures.requests), figures.requests);
	ck_assert_uint_ge(figures.templates, 1000);
	ck_assert_double_ge(percent(figures.one_to_one, figures.templates), 90);
	ck_assert_double_le(percent(figures.merged, figures.templates), 2);
}
END_TEST

static void add_tests(TCase *tcase)
{
	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, public_interfaces_get_a_route_for_each_of_their_templates, 0, getenv("PROFSHIM_TEST_FULL") ? 5 : 1);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return EXIT_FAILURE;
	folder = argv[1];
	is_verbose = argc > 2;
	return check_main("route_corpus", add_tests);
}
