#pragma once
/* route_words - tells the words that interfaces are made of (users, merge_requests, getQueueUrl) from names of things.
 * Context: call. Pure, but for the index of the vocabulary, which the first look makes, once in a process.
 * Overlap: any calls with each other.
 *
 * A closed vocabulary of the English of interfaces, and how its words are put together: by dashes, dots, underscores,
 * capitals, or nothing at all. What it says is a guess; route_trie.h weighs it with what it counts.
 */
#include <stdbool.h>
#include <stddef.h>

enum route_word {
	ROUTE_WORD_PLAIN,   /* of the vocabulary: "issues", "pull-requests", "chat.postMessage", "_search", "v1" */
	ROUTE_WORD_ACTION,  /* the same, of those that stand beside a variable: "search", "me", "count", "findByStatus" */
	ROUTE_WORD_ODD,     /* letters that are no such word: "octocat", "hello-world" */
	ROUTE_WORD_STRANGE, /* digits within, escapes, more than a few words: "web-7", "U024BE7LH", "caf%C3%A9" */
};

/* What there is to say of one word. */
struct route_word_look {
	enum route_word word;
	bool is_plural; /* its last part: what comes behind it is one of those ("users") */
	bool is_prefix; /* it only says which interface is meant ("api", "v1", "2.0"): what comes behind it are words */
};

/* s: one segment of a path, n > 0. */
struct route_word_look route_word_look(const char *s, size_t n);
