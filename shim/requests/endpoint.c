/* Three steps, each for what the one before did not know:
 *   1. the raw path's hash was met before in this process: paths[] gives the endpoint, without a look at its text;
 *   2. the name, once inferred, was met by any process of the session: an index over the segment's table finds it;
 *   3. it is new: a candidate keeps the name until the answer says that it exists; then it is counted against the cap and
 *      appended to the table.
 * The index covers the entries in the order in which they were appended and catches up before it is asked, so that
 * "not found" means it: with the cap reached and every place taken, a flood of new names costs no walk through the table.
 * A place is counted before it is taken, so that the cap is never passed; who loses a race for the last places may count
 * a request under the overflow entry.
 *
 * A word of paths[] is [tag:48][endpoint:16], and the tag with the place in the table make 61 bits of the hash: two paths
 * that share them would be counted as one. The hash is seeded by the kernel's random bytes, so nobody can choose them.
 *
 * The last entries of the table stand in for candidates. Such an entry is claimed by its key, which names the process that
 * uses it, and is hidden from readers (not ready) until it is settled; then it is an alias of the final endpoint, whoever
 * still credits time to it. It stands in for another candidate only if no time was ever credited to it: most requests are
 * too short to meet a sample.
 */
#include "endpoint.h"

#include "pool.h"
#include "route.h"
#include "route_trie.h"

#include <string.h>
#include <sys/auxv.h>

#define PATHS_BITS 13 /* 64 KiB */
#define INDEX_BITS 12 /* of entries' numbers; at most every second place is taken */
#define STAND_INS 64u /* entries; more candidates at once share the overflow entry */
#define STAND_IN_SETTLED (1ULL << 63)
/* Below it in a key 1 + the process's place, the microsecond since when it has that, and above 0 the candidate's number. */
#define STAND_IN_PLACE_SHIFT 51 /* 12 bits */
#define STAND_IN_SINCE_BITS 19
#define OVERFLOW_ENTRIES (SEG_METHOD_COUNT + SEG_PROTOCOL_COUNT) /* at most */
#define ALIAS_HOPS 16 /* an alias may become one of another */

/* W, R: any thread; relaxed: each word is whole by itself. */
static _Atomic uint64_t paths[1 << PATHS_BITS];
static _Atomic uint16_t index_of_key[1 << INDEX_BITS]; /* 0 = free */
static _Atomic uint32_t indexed_end;                   /* entries below are in the index */
/* 1 + endpoint; 0 = not met yet */
static _Atomic uint32_t of_operation[SEG_PROTOCOL_COUNT][ENDPOINT_OPERATIONS_MAX];
static _Atomic uint32_t overflow_of_method[SEG_METHOD_COUNT];
static _Atomic uint32_t next_stand_in;                 /* where the search for one begins: the longest settled comes first */
static _Atomic uint32_t stand_ins_wanted;              /* in vain: the search is not worth it each time */
static uint64_t path_seed;

/* The bytes of a name as it is made. */
struct name {
	char bytes[SEG_ENDPOINT_BYTES];
	uint32_t n;
	uint8_t protocol;
	uint8_t method;
};

struct candidate {
	struct pool_link link;
	uint32_t stand_in; /* 0 = none: the overflow entry is credited meanwhile */
	uint64_t stand_in_key;
	struct name name;
};

/* 16 MiB: requests for unknown routes in flight at once. One more is counted as overflow. */
static struct pool candidates = POOL_OF(struct candidate, 65536);

static uint64_t key_at(uint32_t endpoint)
{
	return atomic_load_explicit(&seg.endpoints[endpoint].key, memory_order_relaxed);
}

/* One past the entries that are given out in order. */
static uint32_t table_end(void)
{
	uint32_t count = seg.slots[SEG_TABLE_ENDPOINTS].count - STAND_INS;

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

/* What endpoint is an alias of, by now. */
static uint32_t final_of(uint32_t endpoint)
{
	uint32_t alias;

	for (int hop = 0; hop < ALIAS_HOPS; hop++) {
		alias = atomic_load_explicit(&seg.endpoints[endpoint].alias, memory_order_relaxed);
		if (!alias)
			break;
		endpoint = alias - 1;
	}
	return endpoint;
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
	uint32_t room = table_end() - SEG_ENDPOINT_FIRST - OVERFLOW_ENTRIES;

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

static void unreserve_route(void)
{
	atomic_fetch_sub_explicit(&seg.head->routes_count, 1, memory_order_relaxed);
}

/* SEG_NOT_FOUND: the table has no more room. */
static uint32_t append(uint64_t key, bool is_overflow, bool *ret_is_new)
{
	struct seg_slots slots = seg.slots[SEG_TABLE_ENDPOINTS];
	uint32_t begin = atomic_load_explicit(&indexed_end, memory_order_acquire);

	slots.count = table_end() - (is_overflow ? 0 : OVERFLOW_ENTRIES);
	return seg_table_append(&slots, begin, key, ret_is_new);
}

static uint32_t claim_route(uint64_t key)
{
	bool is_new = false;

	if (!reserve_route()) {
		/* Whoever took the last place may have brought this very key. */
		return index_find(key);
	}
	uint32_t endpoint = append(key, false, &is_new);
	if (!is_new) /* another brought it meanwhile, or there is no room: the place was not needed */
		unreserve_route();
	return endpoint;
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

static void name_begin(struct name *name, enum seg_protocol protocol)
{
	name->n = 0;
	name->protocol = (uint8_t)protocol;
	name->method = SEG_METHOD_OTHER;
}

static void name_begin_http(struct name *name, enum seg_method method)
{
	name_begin(name, SEG_PROTOCOL_HTTP);
	name->method = (uint8_t)method;
	name_put(name, seg_method_names[method], strlen(seg_method_names[method]));
	name_put(name, " ", 1);
}

/* The entry called name, SEG_NOT_FOUND if it would be one too many. */
static uint32_t intern(const struct name *name, bool is_overflow)
{
	uint64_t key = name_key(name);
	uint32_t endpoint = index_find(key);

	if (endpoint == SEG_NOT_FOUND)
		endpoint = is_overflow ? append(key, true, NULL) : claim_route(key);
	if (endpoint != SEG_NOT_FOUND)
		write_entry(endpoint, name, is_overflow);
	return endpoint;
}

static uint32_t overflow_of(enum seg_protocol protocol, enum seg_method method)
{
	bool is_http = protocol == SEG_PROTOCOL_HTTP;
	_Atomic uint32_t *place = is_http ? &overflow_of_method[method] : &of_operation[protocol][0];
	uint32_t known = atomic_load_explicit(place, memory_order_relaxed);
	struct name name;

	if (known)
		return known - 1;
	if (is_http)
		name_begin_http(&name, method);
	else
		name_begin(&name, protocol);
	name_put(&name, "_OTHER", 6);
	uint32_t endpoint = intern(&name, true);
	if (endpoint == SEG_NOT_FOUND)
		return SEG_ENDPOINT_OTHER;
	atomic_store_explicit(place, endpoint + 1, memory_order_relaxed);
	return endpoint;
}

uint32_t endpoint_of_broken_http(void)
{
	return overflow_of(SEG_PROTOCOL_HTTP, SEG_METHOD_OTHER);
}

uint32_t endpoint_of_http_method(enum seg_method method)
{
	return overflow_of(SEG_PROTOCOL_HTTP, method);
}

uint32_t endpoint_overflow_of(uint32_t endpoint)
{
	const struct seg_endpoint *entry = &seg.endpoints[endpoint];

	return overflow_of(entry->protocol < SEG_PROTOCOL_COUNT ? entry->protocol : SEG_PROTOCOL_UNKNOWN,
			   entry->method < SEG_METHOD_COUNT ? entry->method : SEG_METHOD_OTHER);
}

void endpoint_init(void)
{
	const void *random = (const void *)getauxval(AT_RANDOM);

	route_trie_init();
	if (random)
		memcpy(&path_seed, random, sizeof(path_seed));
	if (atomic_load_explicit(&indexed_end, memory_order_relaxed)) { /* else they are empty, and their pages not made yet */
		memset(paths, 0, sizeof(paths));
		memset(index_of_key, 0, sizeof(index_of_key));
		memset(of_operation, 0, sizeof(of_operation));
		memset(overflow_of_method, 0, sizeof(overflow_of_method));
	}
	atomic_store_explicit(&indexed_end, SEG_ENDPOINT_FIRST, memory_order_relaxed);
}

/* Of a place in the table of processes, and of who has it now by when that came: a pid may be another's soon. */
static uint64_t bits_of(const struct seg_process *process)
{
	uint64_t place = (uint64_t)(process - seg.processes) + 1;
	uint64_t since_us = atomic_load_explicit(&process->since_boot_ns, memory_order_relaxed) / 1000;

	return (place << STAND_IN_PLACE_SHIFT & ~STAND_IN_SETTLED) | since_us % (1u << STAND_IN_SINCE_BITS) << 32;
}

/* This process in the keys of its stand-ins. 0 = it has no place: nobody could tell when it is gone. */
static uint64_t process_bits(void)
{
	return thread_process ? bits_of(thread_process) : 0;
}

/* The time credited to a stand-in so far and from now on is final's. */
static void stand_in_settle(uint32_t stand_in, uint64_t key, uint32_t final)
{
	struct seg_endpoint *entry = &seg.endpoints[stand_in];

	atomic_store_explicit(&entry->alias, final + 1, memory_order_relaxed);
	atomic_store_explicit(&entry->ready, 1, memory_order_release);
	atomic_compare_exchange_strong_explicit(&entry->key, &key, key | STAND_IN_SETTLED, memory_order_release,
						memory_order_relaxed);
}

/* Whose key this is has left, or the server has buried it. */
static bool is_gone(uint64_t key)
{
	uint64_t place = (key >> STAND_IN_PLACE_SHIFT) - 1;

	if (place >= seg.slots[SEG_TABLE_PROCESSES].count)
		return true;
	const struct seg_process *process = &seg.processes[place];
	return !atomic_load_explicit(&process->owner, memory_order_relaxed) || bits_of(process) != (key & ~(uint64_t)UINT32_MAX);
}

/* Its process ended before the answer: nobody will settle it. */
static void stand_in_reap(uint32_t stand_in)
{
	const struct seg_endpoint *entry = &seg.endpoints[stand_in];
	uint64_t key = key_at(stand_in);

	if (key && !(key & STAND_IN_SETTLED) && is_gone(key))
		stand_in_settle(stand_in, key, overflow_of(entry->protocol, entry->method));
}

static bool stand_in_take(uint32_t stand_in, uint64_t key, const struct name *name)
{
	struct seg_endpoint *entry = &seg.endpoints[stand_in];
	uint64_t seen = atomic_load_explicit(&entry->key, memory_order_acquire);

	if ((seen && !(seen & STAND_IN_SETTLED)) || atomic_load_explicit(&entry->cpu_samples, memory_order_relaxed))
		return false;
	if (!atomic_compare_exchange_strong_explicit(&entry->key, &seen, key, memory_order_relaxed, memory_order_relaxed))
		return false;
	atomic_store_explicit(&entry->ready, 0, memory_order_relaxed);
	atomic_store_explicit(&entry->alias, 0, memory_order_relaxed);
	entry->protocol = name->protocol;
	entry->method = name->method;
	return true;
}

/* After a search in vain the next 255 candidates go without. */
static bool stand_in_is_worth_a_search(void)
{
	uint32_t wanted = atomic_load_explicit(&stand_ins_wanted, memory_order_relaxed);

	if (!wanted)
		return true;
	atomic_store_explicit(&stand_ins_wanted, (wanted + 1) % 256, memory_order_relaxed);
	return false;
}

static void stand_in_find(struct candidate *candidate)
{
	uint32_t first = seg.slots[SEG_TABLE_ENDPOINTS].count - STAND_INS;

	candidate->stand_in = 0;
	if (!process_bits() || !stand_in_is_worth_a_search())
		return;
	uint32_t turn = atomic_fetch_add_explicit(&next_stand_in, 1, memory_order_relaxed);
	uint64_t key = process_bits() | candidate->link.number;
	for (uint32_t i = 0; i < STAND_INS; i++) {
		uint32_t stand_in = first + (turn + i) % STAND_INS;
		if (!stand_in_take(stand_in, key, &candidate->name))
			continue;
		candidate->stand_in = stand_in;
		candidate->stand_in_key = key;
		return;
	}
	for (uint32_t i = 0; i < STAND_INS; i++)
		stand_in_reap(first + i);
	atomic_store_explicit(&stand_ins_wanted, 1, memory_order_relaxed);
}

static uint32_t count_overflow(enum seg_protocol protocol, enum seg_method method)
{
	thread_count(SEG_COUNTER_OVERFLOW_ENDPOINTS);
	return overflow_of(protocol, method);
}

/* Keeps name until it is settled; the endpoint that stands in for it. */
static uint32_t propose(const struct name *name, uint32_t *ret_candidate)
{
	struct candidate *candidate = pool_take(&candidates);

	if (!candidate)
		return count_overflow(name->protocol, name->method);
	memcpy(candidate->name.bytes, name->bytes, name->n);
	candidate->name.n = name->n;
	candidate->name.protocol = name->protocol;
	candidate->name.method = name->method;
	stand_in_find(candidate);
	*ret_candidate = candidate->link.number;
	return candidate->stand_in ? candidate->stand_in : overflow_of(name->protocol, name->method);
}

static void end_candidate(struct candidate *candidate, uint32_t final)
{
	/* A child of fork has copies of its parent's candidates, but the parent settles what stands in for them. */
	if (candidate->stand_in && process_bits() == (candidate->stand_in_key & ~(uint64_t)UINT32_MAX))
		stand_in_settle(candidate->stand_in, candidate->stand_in_key, final);
	pool_give(&candidates, candidate);
}

/* The route in name, by what is known now; is as good as answered. False: it is the same as before. */
static bool learn(struct name *name)
{
	struct name before = *name;
	size_t method_bytes = strlen(seg_method_names[name->method]) + 1;
	struct route_path path = { before.bytes + method_bytes, before.n - method_bytes };

	name->n = (uint32_t)(method_bytes + route_learn(name->bytes + method_bytes, sizeof(name->bytes) - 1 - method_bytes, path));
	return name->n != before.n || memcmp(name->bytes, before.bytes, before.n) != 0;
}

/* An entry called name, for the place of another that is given up. */
static uint32_t intern_instead(const struct name *name)
{
	uint64_t key = name_key(name);
	uint32_t endpoint = index_find(key);
	bool is_new = false;

	if (endpoint == SEG_NOT_FOUND)
		endpoint = append(key, false, &is_new);
	if (is_new)
		atomic_fetch_add_explicit(&seg.head->routes_count, 1, memory_order_relaxed);
	if (endpoint != SEG_NOT_FOUND)
		write_entry(endpoint, name, false);
	return endpoint;
}

static void name_again(uint32_t endpoint)
{
	struct seg_endpoint *entry = &seg.endpoints[endpoint];
	uint32_t no_alias = 0;
	struct name name;

	if (!atomic_load_explicit(&entry->ready, memory_order_acquire) || entry->protocol != SEG_PROTOCOL_HTTP ||
	    entry->is_overflow || atomic_load_explicit(&entry->alias, memory_order_relaxed))
		return;
	name_begin(&name, SEG_PROTOCOL_HTTP);
	name.method = entry->method;
	name_put(&name, entry->name, strlen(entry->name));
	if (!learn(&name))
		return;
	uint32_t instead = intern_instead(&name);
	if (instead == SEG_NOT_FOUND || final_of(instead) == endpoint)
		return;
	if (atomic_compare_exchange_strong_explicit(&entry->alias, &no_alias, instead + 1, memory_order_release, memory_order_relaxed))
		unreserve_route();
}

/* Routes lead elsewhere since this many changes of the trie: those made before become aliases. Rare and bounded, since
 * each change is kept for good in a table of fixed size. */
static void name_all_again(uint32_t changes)
{
	while (route_trie_changes() != changes) {
		changes = route_trie_changes();
		for (uint32_t i = SEG_ENDPOINT_FIRST; i < table_end() && key_at(i); i++)
			name_again(i);
	}
}

/* SEG_NOT_FOUND: the route is one too many. */
static uint32_t make_route(struct name *name)
{
	uint32_t changes;

	do {
		changes = route_trie_changes();
		learn(name);
		name_all_again(changes); /* first, since it may give places back */
	} while (route_trie_changes() != changes);
	uint32_t endpoint = intern(name, false);
	name_all_again(changes); /* another process taught it meanwhile */
	return endpoint;
}

uint32_t endpoint_settle(uint32_t number, bool is_found)
{
	struct candidate *candidate = pool_at(&candidates, number);
	struct name *name = &candidate->name;
	uint32_t final = SEG_NOT_FOUND;

	if (is_found)
		final = name->protocol == SEG_PROTOCOL_HTTP ? make_route(name) : intern(name, false);
	if (final != SEG_NOT_FOUND)
		final = final_of(final);
	else if (is_found)
		final = count_overflow(name->protocol, name->method);
	else
		final = overflow_of(name->protocol, name->method);
	end_candidate(candidate, final);
	return final;
}

void endpoint_forget(uint32_t number)
{
	struct candidate *candidate = pool_at(&candidates, number);

	end_candidate(candidate, overflow_of(candidate->name.protocol, candidate->name.method));
}

/* The endpoint whose path's hash was met before; SEG_NOT_FOUND = none. */
static uint32_t path_find(uint64_t hash)
{
	uint64_t known = atomic_load_explicit(&paths[hash % (1 << PATHS_BITS)], memory_order_relaxed);

	return known && known >> 16 == hash >> 16 ? final_of((uint32_t)known & 0xffff) : SEG_NOT_FOUND;
}

static void path_remember(uint64_t hash, uint32_t endpoint)
{
	atomic_store_explicit(&paths[hash % (1 << PATHS_BITS)], hash >> 16 << 16 | endpoint, memory_order_relaxed);
}

/* The endpoint called name, which is remembered by hash if it is known. */
static uint32_t find_or_propose(const struct name *name, uint64_t hash, uint32_t *ret_candidate)
{
	uint32_t endpoint = index_find(name_key(name));

	if (endpoint == SEG_NOT_FOUND)
		return propose(name, ret_candidate);
	write_entry(endpoint, name, false);
	endpoint = final_of(endpoint);
	path_remember(hash, endpoint);
	return endpoint;
}

uint32_t endpoint_of_http(enum seg_method method, const char *target, uint32_t target_bytes, uint32_t *ret_candidate)
{
	struct route_path path = route_path_of(target, target_bytes, method == SEG_METHOD_CONNECT);
	struct name name;

	*ret_candidate = 0;
	if (!path.text)
		return overflow_of(SEG_PROTOCOL_HTTP, method);
	uint64_t hash = seg_key_of_bytes(path.text, (uint32_t)path.n, path_seed + (uint64_t)method);
	uint32_t endpoint = path_find(hash);
	if (endpoint != SEG_NOT_FOUND)
		return endpoint;
	name_begin_http(&name, method);
	name.n += (uint32_t)route_write(name.bytes + name.n, sizeof(name.bytes) - 1 - name.n, path);
	return find_or_propose(&name, hash, ret_candidate);
}

/* Service names are made of identifiers and dots, but the protocol leaves them free (gRPC over HTTP2, "Path"): any
 * printable text without a query. */
static bool is_rpc_path(const char *path, uint32_t n)
{
	const char *slash = n > 1 && path[0] == '/' ? memchr(path + 1, '/', n - 1) : NULL;

	if (!slash || slash == path + 1 || slash + 1 == path + n || n > SEG_ENDPOINT_BYTES)
		return false;
	for (const char *c = path; c < path + n; c++)
		if (*c <= ' ' || *c > '~' || memchr("?#%\"\\<>{}", *c, 9) || (*c == '/' && c > slash))
			return false;
	return true;
}

uint32_t endpoint_of_rpc(const char *path, uint32_t path_bytes, uint32_t *ret_candidate)
{
	struct name name;

	*ret_candidate = 0;
	if (!is_rpc_path(path, path_bytes))
		return overflow_of(SEG_PROTOCOL_GRPC, SEG_METHOD_OTHER);
	uint64_t hash = seg_key_of_bytes(path, path_bytes, path_seed + SEG_METHOD_COUNT);
	uint32_t endpoint = path_find(hash);
	if (endpoint != SEG_NOT_FOUND)
		return endpoint;
	name_begin(&name, SEG_PROTOCOL_GRPC);
	name_put(&name, path + 1, path_bytes - 1);
	return find_or_propose(&name, hash, ret_candidate);
}

/* SEG_NOT_FOUND: it would be one too many. */
uint32_t endpoint_find_operation(enum seg_protocol protocol, uint32_t operation, const char *text)
{
	_Atomic uint32_t *place = &of_operation[protocol][operation];
	uint32_t known = atomic_load_explicit(place, memory_order_relaxed);
	struct name name;

	if (known)
		return known - 1;
	if (!operation)
		known = overflow_of(protocol, SEG_METHOD_OTHER);
	else {
		name_begin(&name, protocol);
		name_put(&name, text, strlen(text));
		known = intern(&name, false);
	}
	if (known != SEG_NOT_FOUND)
		atomic_store_explicit(place, known + 1, memory_order_relaxed);
	return known;
}

uint32_t endpoint_of_operation(enum seg_protocol protocol, uint32_t operation, const char *name)
{
	uint32_t endpoint = endpoint_find_operation(protocol, operation, name);

	return endpoint == SEG_NOT_FOUND ? count_overflow(protocol, SEG_METHOD_OTHER) : endpoint;
}

uint32_t endpoint_peek_operation(enum seg_protocol protocol, uint32_t operation, const char *name)
{
	uint32_t endpoint = endpoint_find_operation(protocol, operation, name);

	return endpoint == SEG_NOT_FOUND ? overflow_of(protocol, SEG_METHOD_OTHER) : endpoint;
}
