#pragma once
/* prepared - the verbs of a connection's prepared statements and portals, by the names or numbers that the protocol gives
 * them.
 * Context: call. Memory is bounded, and comes from a pool.
 *
 * Room for PREPARED_MAX names. Beyond that the new one takes the place of one that was not used while some 160 others were
 * prepared: one that the program forgot, or dropped by SQL, which is not followed. Only if more than PREPARED_MAX are used
 * in turn, one of those in use is forgotten.
 */
#include "pool.h"

#include <stdbool.h>
#include <stdint.h>

#define PREPARED_MAX 320u    /* pgjdbc keeps 256 statements a connection, psycopg 100, Connector/J 250 */
#define PREPARED_PLACES 384u /* those that stay free keep the searches short */

/* A name is a number or a hash, of which 40 bits are kept: among 320 hashes two are the same with a chance of 1 in 20
 * million. All zero (but for link): empty. */
struct prepared {
	struct pool_link link;
	uint32_t count;
	uint32_t hand;                  /* the place to look at next for one that was not used for long */
	uint32_t low[PREPARED_PLACES];  /* bits 0 to 31 of the name */
	uint8_t high[PREPARED_PLACES];  /* bits 32 to 39 */
	uint8_t verbs[PREPARED_PLACES]; /* 0 = free; else 1 + verb, and PREPARED_USED */
};

#define PREPARED_USED 0x80u
#define PREPARED_VERB_MAX 126u

/* An empty one; NULL: there is no memory. */
struct prepared *prepared_take(void);
void prepared_give(struct prepared *prepared);

void prepared_clear(struct prepared *prepared);

/* name means verb (0..PREPARED_VERB_MAX) from now on, whatever it meant before. False: another one was forgotten. */
bool prepared_put(struct prepared *prepared, uint64_t name, uint32_t verb);

/* False: not known. */
bool prepared_get(struct prepared *prepared, uint64_t name, uint32_t *ret_verb);

void prepared_drop(struct prepared *prepared, uint64_t name);
