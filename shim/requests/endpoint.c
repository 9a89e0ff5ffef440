/* Three steps, each for what the one before did not know:
 *   1. the raw path's hash was met before in this process: paths[] gives the endpoint, without a look at its text;
 *   2. the name, once inferred, was met by any process of the session: an index over the segment's table finds it;
 *   3. it is new: counted against the cap, then appended to the table.
 * The index covers the entries in the order in which they were appended and catches up before it is asked, so that
 * "not found" means it: with the cap reached and every place taken, a flood of new names costs no walk through the table.
 * A place is counted before it is taken, so that the cap is never passed; who loses a race for the last places may count
 * a request under the overflow entry, but remembers nothing of it.
 *
 * A word of paths[] is [tag:47][is overflow:1][endpoint:16], and the tag with the place in the table make 60 bits of the
 * hash: two paths that share them would be counted as one. The hash is seeded by the kernel's random bytes, so nobody can
 * choose them.
 */
#include "endpoint.h"

#include "redis_commands.h"
#include "route.h"

#include <string.h>
#include <sys/auxv.h>

#define PATHS_BITS 13 /* 64 KiB */
#define INDEX_BITS 12 /* of entries' numbers; at most every second place is taken */
#define OVERFLOW_FLAG (1u << 16)

/* W, R: any thread; relaxed: each word is whole by itself. */
static _Atomic uint64_t paths[1 << PATHS_BITS];
static _Atomic uint16_t index_of_key[1 << INDEX_BITS]; /* 0 = free */
static _Atomic uint32_t indexed_end;                   /* entries below are in the index */
static _Atomic uint32_t of_command[REDIS_COMMANDS_MAX]; /* 1 + endpoint, perhaps with OVERFLOW_FLAG; 0 = not met yet */
static _Atomic bool is_full;                           /* table_is_full said so; never changes back */
static uint64_t path_seed;
static uint64_t overflow_keys[SEG_METHOD_COUNT + 1]; /* W: endpoint_init; each HTTP method's, and Redis's */

/* The bytes of a name as it is made. */
struct name {
	char bytes[SEG_ENDPOINT_BYTES];
	uint32_t n;
	uint8_t protocol;
	uint8_t method;
};

static uint64_t key_at(uint32_t endpoint)
{
	return atomic_load_explicit(&seg.endpoints[endpoint].key, memory_order_relaxed);
}

static uint32_t table_end(void)
{
	uint32_t count = seg.slots[SEG_TABLE_ENDPOINTS].count;

	return count < 1u << (INDEX_BITS - 1) ? count : 1u << (INDEX_BITS - 1);
}

static void index_add(uint32_t endpoint)
{
	uint32_t place = (uint32_t)(key_at(endpoint) >> 20) % (1 << INDEX_BITS);
	uint16_t there = 0;

	while (!atomic_compare_exchange_strong_explicit(&index_of_key[place], &there, (uint16_t)endpoint,
							memory_order_relaxed, memory_order_relaxed)) {
		if (there == endpoint)
			return;
		place = (place + 1) % (1 << INDEX_BITS);
		there = 0;
	}
}

/* Two threads may index the same entries at once; the index then holds them once. */
static void index_catch_up(void)
{
	uint32_t begin = atomic_load_explicit(&indexed_end, memory_order_acquire);
	uint32_t end = begin;

	for (; end < table_end() && key_at(end); end++)
		index_add(end);
	while (begin < end && !atomic_compare_exchange_weak_explicit(&indexed_end, &begin, end, memory_order_release,
								     memory_order_relaxed))
		;
}

static uint32_t index_find(uint64_t key)
{
	index_catch_up();
	for (uint32_t place = (uint32_t)(key >> 20) % (1 << INDEX_BITS);; place = (place + 1) % (1 << INDEX_BITS)) {
		uint32_t endpoint = atomic_load_explicit(&index_of_key[place], memory_order_relaxed);
		if (!endpoint)
			return SEG_NOT_FOUND;
		if (key_at(endpoint) == key)
			return endpoint;
	}
}

static void write_entry(uint32_t endpoint, const struct name *name, bool is_overflow)
{
	struct seg_endpoint *entry = &seg.endpoints[endpoint];

	if (atomic_load_explicit(&entry->ready, memory_order_acquire))
		return;
	entry->protocol = name->protocol;
	entry->method = name->method;
	entry->is_overflow = is_overflow;
	memcpy(entry->name, name->bytes, name->n);
	memset(entry->name + name->n, 0, sizeof(entry->name) - name->n);
	atomic_store_explicit(&entry->ready, 1, memory_order_release);
}

/* Room is kept for every overflow entry, whatever the configuration allows. */
static uint32_t routes_max(void)
{
	uint32_t room = table_end() - SEG_ENDPOINT_FIRST - SEG_METHOD_COUNT - 1;

	return seg.head->config.max_routes < room ? seg.head->config.max_routes : room;
}

/* Counts one more route. False: there are as many as may be, or will be once those who are at it have appended theirs. */
static bool reserve_route(void)
{
	uint32_t count = atomic_load_explicit(&seg.head->routes_count, memory_order_relaxed);

	do {
		if (count >= routes_max())
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&seg.head->routes_count, &count, count + 1,
							memory_order_relaxed, memory_order_relaxed));
	return true;
}

static uint32_t append(uint64_t key, bool *ret_is_new)
{
	uint32_t begin = atomic_load_explicit(&indexed_end, memory_order_acquire);

	return seg_table_append(&seg.slots[SEG_TABLE_ENDPOINTS], begin, key, ret_is_new);
}

static void name_put(struct name *name, const char *bytes, size_t n)
{
	memcpy(name->bytes + name->n, bytes, n);
	name->n += (uint32_t)n;
}

static uint64_t name_key(const struct name *name)
{
	return seg_key_of_bytes(name->bytes, name->n, name->protocol);
}

static void name_begin_http(struct name *name, enum seg_method method)
{
	name->n = 0;
	name->protocol = SEG_PROTOCOL_HTTP;
	name->method = (uint8_t)method;
	name_put(name, seg_method_names[method], strlen(seg_method_names[method]));
	name_put(name, " ", 1);
}

static void name_overflow_of_http(struct name *name, enum seg_method method)
{
	name_begin_http(name, method);
	name_put(name, "_OTHER", 6);
}

static void name_redis(struct name *name, uint32_t command)
{
	const char *text = redis_command_name(command);

	name->n = 0;
	name->protocol = SEG_PROTOCOL_REDIS;
	name->method = SEG_METHOD_OTHER;
	name_put(name, text, strlen(text));
}

static void learn_overflow_keys(void)
{
	struct name name;

	for (int method = 0; method < SEG_METHOD_COUNT; method++) {
		name_overflow_of_http(&name, (enum seg_method)method);
		overflow_keys[method] = name_key(&name);
	}
	name_redis(&name, REDIS_COMMAND_OTHER);
	overflow_keys[SEG_METHOD_COUNT] = name_key(&name);
}

static bool is_overflow_key(uint64_t key)
{
	for (int i = 0; i <= SEG_METHOD_COUNT; i++)
		if (overflow_keys[i] == key)
			return true;
	return false;
}

void endpoint_init(void)
{
	const void *random = (const void *)getauxval(AT_RANDOM);

	if (random)
		memcpy(&path_seed, random, sizeof(path_seed));
	memset(paths, 0, sizeof(paths));
	memset(index_of_key, 0, sizeof(index_of_key));
	memset(of_command, 0, sizeof(of_command));
	atomic_store_explicit(&is_full, false, memory_order_relaxed);
	learn_overflow_keys();
	atomic_store_explicit(&indexed_end, SEG_ENDPOINT_FIRST, memory_order_relaxed);
}

/* Every route that may be is in the table: none will follow. */
static bool table_is_full(void)
{
	uint32_t count = 0;

	for (uint32_t i = SEG_ENDPOINT_FIRST; i < table_end() && key_at(i); i++)
		count += !is_overflow_key(key_at(i));
	return count >= routes_max();
}

/* Claims an entry for key, which was not in the table a moment ago. SEG_NOT_FOUND: it would be one too many. */
static uint32_t claim_route(uint64_t key)
{
	bool is_new = false;

	if (atomic_load_explicit(&is_full, memory_order_acquire))
		return SEG_NOT_FOUND;
	if (!reserve_route()) {
		if (!table_is_full())
			return SEG_NOT_FOUND;
		atomic_store_explicit(&is_full, true, memory_order_release);
		return index_find(key);
	}
	uint32_t endpoint = append(key, &is_new);
	if (!is_new) /* another brought it meanwhile: the place was not needed */
		atomic_fetch_sub_explicit(&seg.head->routes_count, 1, memory_order_relaxed);
	return endpoint;
}

/* The entry called name, SEG_NOT_FOUND if it would be one too many. */
static uint32_t intern(const struct name *name, bool is_overflow)
{
	uint64_t key = name_key(name);
	uint32_t endpoint = index_find(key);

	if (endpoint == SEG_NOT_FOUND)
		endpoint = is_overflow ? append(key, NULL) : claim_route(key);
	if (endpoint != SEG_NOT_FOUND)
		write_entry(endpoint, name, is_overflow);
	return endpoint;
}

static uint32_t overflow_of_http(enum seg_method method)
{
	struct name name;

	name_overflow_of_http(&name, method);
	uint32_t endpoint = intern(&name, true);
	return endpoint == SEG_NOT_FOUND ? SEG_ENDPOINT_OTHER : endpoint;
}

uint32_t endpoint_of_broken_http(void)
{
	return overflow_of_http(SEG_METHOD_OTHER);
}

static uint32_t overflow_of_redis(void)
{
	struct name name;

	name_redis(&name, REDIS_COMMAND_OTHER);
	uint32_t endpoint = intern(&name, true);
	return endpoint == SEG_NOT_FOUND ? SEG_ENDPOINT_OTHER : endpoint;
}

uint32_t endpoint_overflow_of(uint32_t endpoint)
{
	const struct seg_endpoint *entry = &seg.endpoints[endpoint];

	if (entry->protocol == SEG_PROTOCOL_REDIS)
		return overflow_of_redis();
	return overflow_of_http(entry->method < SEG_METHOD_COUNT ? entry->method : SEG_METHOD_OTHER);
}

/* Endpoint with OVERFLOW_FLAG where due. */
static uint32_t learn_path(enum seg_method method, struct route_path path)
{
	struct name name;

	name_begin_http(&name, method);
	name.n += (uint32_t)route_write(name.bytes + name.n, sizeof(name.bytes) - 1 - name.n, path);
	uint32_t endpoint = intern(&name, false);
	return endpoint == SEG_NOT_FOUND ? overflow_of_http(method) | OVERFLOW_FLAG : endpoint;
}

/* While others are about to take the last places, or to give them back, an overflow may be none the next time. */
static bool is_final(uint32_t endpoint)
{
	return !(endpoint & OVERFLOW_FLAG) || atomic_load_explicit(&is_full, memory_order_relaxed);
}

static uint32_t count_overflow(uint32_t endpoint)
{
	if (!(endpoint & OVERFLOW_FLAG))
		return endpoint;
	thread_count(SEG_COUNTER_OVERFLOW_ENDPOINTS);
	return endpoint & ~OVERFLOW_FLAG;
}

uint32_t endpoint_of_http(enum seg_method method, const char *target, uint32_t target_bytes)
{
	struct route_path path = route_path_of(target, target_bytes, method == SEG_METHOD_CONNECT);

	if (!path.text)
		return overflow_of_http(method);
	uint64_t hash = seg_key_of_bytes(path.text, (uint32_t)path.n, path_seed + (uint64_t)method);
	_Atomic uint64_t *place = &paths[hash % (1 << PATHS_BITS)];
	uint64_t tag = hash >> 17, known = atomic_load_explicit(place, memory_order_relaxed);
	if (known >> 17 == tag)
		return count_overflow((uint32_t)known & (OVERFLOW_FLAG | 0xffff));
	uint32_t endpoint = learn_path(method, path);
	if (is_final(endpoint))
		atomic_store_explicit(place, tag << 17 | endpoint, memory_order_relaxed);
	return count_overflow(endpoint);
}

static uint32_t learn_command(uint32_t command)
{
	struct name name;

	if (command == REDIS_COMMAND_OTHER)
		return overflow_of_redis();
	name_redis(&name, command);
	uint32_t endpoint = intern(&name, false);
	return endpoint == SEG_NOT_FOUND ? overflow_of_redis() | OVERFLOW_FLAG : endpoint;
}

/* Endpoint with OVERFLOW_FLAG where due. */
static uint32_t find_command(uint32_t command)
{
	uint32_t known = atomic_load_explicit(&of_command[command], memory_order_relaxed);

	if (!known) {
		known = 1 + learn_command(command);
		if (is_final(known - 1))
			atomic_store_explicit(&of_command[command], known, memory_order_relaxed);
	}
	return known - 1;
}

uint32_t endpoint_of_redis(uint32_t command)
{
	return count_overflow(find_command(command));
}

uint32_t endpoint_peek_redis(uint32_t command)
{
	return find_command(command) & ~OVERFLOW_FLAG;
}
