#pragma once
/* route_trie - what the paths of a session have taught: which places in them vary from request to request.
 * Context: call, but for route_trie_init: setup.
 * Overlap: any number of walks of any threads and processes: the trie is a table of the segment, so that the workers of a
 * server agree; its entries are claimed by one compare-and-swap and never freed, and what is known of a node only grows.
 *
 * Behind every beginning of a path stands a node. Once too many different words that are no words of interfaces
 * (route_words.h) followed it, they vary: from then on each is the variable {name}. How many are too many depends on what
 * leads there, and on the share of such words; see the limits in route_trie.c. A node is never taken for fixed again.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a variable was taken for by its form: a bit each in the state of its node. */
enum route_kind {
	ROUTE_KIND_ID,
	ROUTE_KIND_UUID,
	ROUTE_KIND_HASH,
	ROUTE_KIND_DATE,
	ROUTE_KIND_EMAIL,
	ROUTE_KIND_IP,
	ROUTE_KIND_TOKEN,
	ROUTE_KIND_BYTES,
	ROUTE_KIND_NAME, /* by the trie, not by its form */
	ROUTE_KIND_COUNT
};
extern const char *const route_kind_labels[ROUTE_KIND_COUNT]; /* "{id}" */

/* Takes the entries that the trie cannot do without, before others take their places; once the segment is open. */
void route_trie_init(void);

/* A walk down the trie along one path, a segment a step. */
struct route_walk {
	uint64_t key;        /* of the node it has come to */
	uint64_t twin;       /* of the {name} beside the word that led there; 0 = that is no word beside a name */
	uint8_t came_by;     /* enum in route_trie.c */
	uint8_t before_came_by;
	uint8_t word;        /* enum route_word: the word that led there, if it was one */
	bool is_learning;
	bool has_changed;    /* learning changed where other paths lead */
	struct seg_word *node;   /* NULL = not in the trie */
	struct seg_word *before; /* the node before it */
};

/* is_learning: the path was answered, and what it has of new words is remembered. */
void route_walk_begin(struct route_walk *walk, bool is_learning);

/* Takes the next segment, n > 0 bytes, in which what varies by its form stands as variables already; what varies by what
 * was learned becomes one, too. At most room bytes; returns how many, 0 = it does not fit. */
size_t route_walk_step(struct route_walk *walk, char *segment, size_t n, size_t room);

/* Grows whenever a walk has changed where other paths lead. */
uint32_t route_trie_changes(void);
