/* Open addressing with linear probing; what is dropped is closed up at once, so that there are no marks to clean. Who makes
 * room is found as a clock's hand does (Corbató 1969): it passes over those used since it came by last.
 */
#include "prepared.h"

#include <string.h>

/* 37 MiB: connections that have prepared something. */
static struct pool pool = POOL_OF(struct prepared, 16384);

struct prepared *prepared_take(void)
{
	struct prepared *prepared = pool_take(&pool);

	if (prepared)
		prepared_clear(prepared);
	return prepared;
}

void prepared_give(struct prepared *prepared)
{
	pool_give(&pool, prepared);
}

static uint32_t place_of(uint64_t name)
{
	return (uint32_t)(((name * 0x9e3779b97f4a7c15ULL) >> 32) * PREPARED_PLACES >> 32);
}

static bool is_at(const struct prepared *prepared, uint32_t place, uint64_t name)
{
	return prepared->low[place] == (uint32_t)name && prepared->high[place] == (uint8_t)(name >> 32);
}

/* The place of name, or the free one where it would be: there always is one. */
static uint32_t find(const struct prepared *prepared, uint64_t name)
{
	uint32_t place = place_of(name & 0xffffffffffULL);

	while (prepared->verbs[place] && !is_at(prepared, place, name))
		place = (place + 1) % PREPARED_PLACES;
	return place;
}

static uint64_t name_at(const struct prepared *prepared, uint32_t place)
{
	return (uint64_t)prepared->high[place] << 32 | prepared->low[place];
}

/* How far to lies behind from, around the end. */
static uint32_t distance(uint32_t from, uint32_t to)
{
	return (to + PREPARED_PLACES - from) % PREPARED_PLACES;
}

/* Frees place, and moves up those behind it that a search would not reach any more. */
static void close_up(struct prepared *prepared, uint32_t place)
{
	uint32_t next = place;

	prepared->verbs[place] = 0;
	prepared->count--;
	for (;;) {
		next = (next + 1) % PREPARED_PLACES;
		if (!prepared->verbs[next])
			return;
		uint32_t home = place_of(name_at(prepared, next));
		/* home lies behind place (cyclically, as seen from next): it is reached without it. */
		if (distance(home, next) < distance(place, next))
			continue;
		prepared->low[place] = prepared->low[next];
		prepared->high[place] = prepared->high[next];
		prepared->verbs[place] = prepared->verbs[next];
		prepared->verbs[next] = 0;
		place = next;
	}
}

static void move_hand(struct prepared *prepared)
{
	prepared->verbs[prepared->hand] &= (uint8_t)~PREPARED_USED;
	prepared->hand = (prepared->hand + 1) % PREPARED_PLACES;
}

/* The hand begins to move when half of the room is taken, two places for each new name: when there is none left, it has
 * been everywhere, and a name that it finds unused was not used for about 160 new ones. */
static void age(struct prepared *prepared)
{
	if (prepared->count < PREPARED_MAX / 2)
		return;
	move_hand(prepared);
	move_hand(prepared);
}

static void forget_one(struct prepared *prepared)
{
	while (!prepared->verbs[prepared->hand] || prepared->verbs[prepared->hand] & PREPARED_USED)
		move_hand(prepared);
	close_up(prepared, prepared->hand);
}

void prepared_clear(struct prepared *prepared)
{
	prepared->count = 0;
	prepared->hand = 0;
	memset(prepared->verbs, 0, sizeof(prepared->verbs));
}

bool prepared_put(struct prepared *prepared, uint64_t name, uint32_t verb)
{
	uint32_t place = find(prepared, name);
	bool is_full = false;

	if (!prepared->verbs[place]) {
		age(prepared);
		is_full = prepared->count == PREPARED_MAX;
		if (is_full) {
			forget_one(prepared);
			place = find(prepared, name);
		}
		prepared->count++;
		prepared->low[place] = (uint32_t)name;
		prepared->high[place] = (uint8_t)(name >> 32);
	}
	prepared->verbs[place] = (uint8_t)((verb + 1) | PREPARED_USED);
	return !is_full;
}

bool prepared_get(struct prepared *prepared, uint64_t name, uint32_t *ret_verb)
{
	uint32_t place = find(prepared, name);

	if (!prepared->verbs[place])
		return false;
	prepared->verbs[place] |= PREPARED_USED;
	*ret_verb = (prepared->verbs[place] & ~PREPARED_USED) - 1;
	return true;
}

void prepared_drop(struct prepared *prepared, uint64_t name)
{
	uint32_t place = find(prepared, name);

	if (prepared->verbs[place])
		close_up(prepared, place);
}
