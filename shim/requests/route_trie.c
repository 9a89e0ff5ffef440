/* A node's key is the hash of its path: of its parent's key and the word that leads to it, with what varies left out. Its
 * children are counted, not listed: each new child's key was claimed by exactly one writer, and that one adds to its
 * parent's counts. Words that vary by their form ({id}) lead to one child, whatever their form, so that an id that looks
 * like a hash once does not make a second route; its state remembers all forms that were seen, and they give its label.
 *
 * What tells names from words of interfaces is their share. Where a path has its words ("/repos/{name}/{name}/" before
 * "issues"), some are not in our vocabulary, but those are few among the others. Where it has names, few are in it. So a
 * node's words vary once enough of them are odd, and these weigh as much as the others. Enough is little where one
 * expects names: behind a plural, or beside ids; and much where a server's interfaces begin. Which words stay beside the
 * variable, then, is a matter of the word: "search" and "me" do.
 *
 * A word that was itself followed by ids ("/kunden/42") names a collection, whatever the language: it counts as known.
 * And a word of the vocabulary beside a {name} may be one more name (a repository called "docs"): it is, once both are
 * known to be followed by the same words.
 */
#include "route_trie.h"

#include "../base/thread.h"
#include "route_words.h"

#include <string.h>

const char *const route_kind_labels[ROUTE_KIND_COUNT] = {
	"{id}", "{uuid}", "{hash}", "{date}", "{email}", "{ip}", "{token}", "{bytes}", "{name}",
};

/* struct seg_word's state. */
enum {
	STATE_VARIES = 1,        /* odd words behind this node are {name} */
	STATE_PLAIN_VARY = 2,    /* so are those of the vocabulary, but for actions */
	STATE_COLLECTION = 4,    /* a word that ids were seen behind */
	STATE_HAS_IDS = 8,       /* some word behind this node varies by its form */
	STATE_HAS_WORDS = 16,    /* odd words are {name}, but others stayed as they are */
	STATE_INSTANCE = 32,     /* a word that turned out to be one more {name} */
	STATE_SHARED = 64,       /* the {name} beside the word before is followed by this word, too */
	STATE_ALL_VARY = 128,    /* as STATE_PLAIN_VARY, collections included */
	STATE_SHARED_SHIFT = 8,  /* from here on: how many of the words behind this one are so shared; 8 bits */
	STATE_KINDS_SHIFT = 16,  /* from here on: the kinds that a variable's node was seen as */
};

/* struct seg_word's children, of each sort: plain words, actions, and odd words by weight. */
enum { PLAIN_SHIFT = 0, ACTION_SHIFT = 10, ODD_SHIFT = 20, PLAIN_MAX = 1 << 9, ACTION_MAX = 1 << 9, ODD_MAX = 1 << 11 };
enum { ODD_WEIGHT = 2, STRANGE_WEIGHT = 3 };
struct children {
	uint32_t plain, actions, odd;
};

/* What led to a node, and from how much weight of odd, or number of plain words on what follows varies. Behind a prefix
 * stand the names of interfaces: public ones have a few hundred. */
enum came_by { BY_PREFIX, BY_PLURAL, BY_VARIABLE, BY_WORD };
static const struct {
	uint32_t odd_weight;
	uint32_t odd_weight_beside_ids;
	uint32_t plain;
} limits[] = {
	[BY_PREFIX] = { 80, 80, 400 },
	[BY_PLURAL] = { 6, 6, 48 },
	[BY_VARIABLE] = { 20, 6, 200 },
	[BY_WORD] = { 16, 6, 100 },
};

enum { LOOKS = 2048, LOOK_IS_PLURAL = 4, LOOK_IS_PREFIX = 8, LOOK_IS_KNOWN = 16 };
#define VARIABLE_HASH 0 /* which no word has */

#define CHANGES_KEY 1 /* an entry that is no node: counts changes */

static struct seg_word *find(uint64_t key)
{
	uint32_t index = seg_table_find(&seg.slots[SEG_TABLE_WORDS], key);

	return index == SEG_NOT_FOUND ? NULL : &seg.words[index];
}

/* NULL: the trie is full. */
static struct seg_word *insert(uint64_t key, bool *ret_is_new)
{
	uint32_t index = seg_table_insert(&seg.slots[SEG_TABLE_WORDS], key, ret_is_new);

	return index == SEG_NOT_FOUND ? NULL : &seg.words[index];
}

static uint32_t state_at(const struct seg_word *node)
{
	return atomic_load_explicit(&node->state, memory_order_relaxed);
}

/* NULL: of a node that is not in the trie nothing is known. */
static uint32_t state_of(const struct seg_word *node)
{
	return node ? state_at(node) : 0;
}

/* True if that is news. *ret_before: what the state was. */
static bool state_add_to(struct seg_word *node, uint32_t bits, uint32_t *ret_before)
{
	*ret_before = state_at(node);
	if ((*ret_before & bits) == bits)
		return false;
	*ret_before = atomic_fetch_or_explicit(&node->state, bits, memory_order_relaxed);
	return (*ret_before & bits) != bits;
}

static bool state_add(struct seg_word *node, uint32_t bits)
{
	uint32_t before;

	return state_add_to(node, bits, &before);
}

uint32_t route_trie_changes(void)
{
	struct seg_word *changes = seg.words ? find(CHANGES_KEY) : NULL;

	return changes ? atomic_load_explicit(&changes->children, memory_order_acquire) : 0;
}

static void note_change(struct route_walk *walk)
{
	struct seg_word *changes = find(CHANGES_KEY);

	if (changes) /* pairs with route_trie_changes: who sees the count sees the change */
		atomic_fetch_add_explicit(&changes->children, 1, memory_order_release);
	walk->has_changed = true;
}

/* The same in all processes of the session, and not to be guessed by who would like keys to collide. */
static uint64_t root_key(void)
{
	const uint64_t created[2] = { seg.head->created_mono_ns, seg.head->created_real_ns };

	return seg_key_of_bytes(created, sizeof(created), 0);
}

void route_trie_init(void)
{
	insert(CHANGES_KEY, NULL);
	insert(root_key(), NULL);
}

void route_walk_begin(struct route_walk *walk, bool is_learning)
{
	*walk = (struct route_walk){ .is_learning = is_learning, .came_by = BY_PREFIX };
	if (!seg.words)
		return;
	walk->key = root_key();
	walk->node = find(walk->key);
}

/* The label of s's beginning, as its kind; ROUTE_KIND_COUNT = it does not begin with one. */
static enum route_kind kind_at(const char *s, size_t n)
{
	int kind = 0;

	while (kind < ROUTE_KIND_COUNT) {
		size_t bytes = strlen(route_kind_labels[kind]);
		if (bytes <= n && memcmp(s, route_kind_labels[kind], bytes) == 0)
			break;
		kind++;
	}
	return (enum route_kind)kind;
}

/* One kind is called as it is; of several nothing can be said but that they are ids, or names. */
static enum route_kind kind_of_state(uint32_t state)
{
	uint32_t kinds = state >> STATE_KINDS_SHIFT;

	if (kinds >> ROUTE_KIND_NAME)
		return ROUTE_KIND_NAME;
	return kinds & (kinds - 1) || !kinds ? ROUTE_KIND_ID : (enum route_kind)__builtin_ctz(kinds);
}

/* What a segment's text is but for the kinds of its variables. */
struct shape {
	const char *text;
	size_t n;
	size_t others; /* bytes besides variables */
	uint32_t kinds; /* bits of a state */
	uint64_t hash;  /* of text, but for a segment that is nothing but a variable */
	char copy[SEG_ENDPOINT_BYTES]; /* what text points to, if it is not the segment itself */
};

/* The shape borrows s. */
static void shape_of(struct shape *ret, const char *s, size_t n)
{
	ret->text = s;
	ret->n = ret->others = n;
	ret->kinds = 0;
	if (!memchr(s, '{', n))
		return;
	ret->text = ret->copy;
	ret->n = ret->others = 0;
	for (size_t i = 0; i < n && i < sizeof(ret->copy);) {
		enum route_kind kind = s[i] == '{' ? kind_at(s + i, n - i) : ROUTE_KIND_COUNT;
		if (kind == ROUTE_KIND_COUNT) {
			ret->copy[ret->n++] = s[i++];
			ret->others++;
			continue;
		}
		memcpy(ret->copy + ret->n, "{}", 2);
		ret->n += 2;
		ret->kinds |= 1u << (STATE_KINDS_SHIFT + kind);
		i += strlen(route_kind_labels[kind]);
	}
}

/* Puts the label of kind in the place of each variable of a shape. */
static size_t shape_write(const struct shape *shape, enum route_kind kind, char *ret_segment, size_t room)
{
	const char *label = route_kind_labels[kind];
	size_t bytes = strlen(label), n = 0;

	for (size_t i = 0; i < shape->n;) {
		bool is_variable = i + 1 < shape->n && memcmp(shape->text + i, "{}", 2) == 0;
		if (n + (is_variable ? bytes : 1) > room)
			return 0;
		if (is_variable)
			memcpy(ret_segment + n, label, bytes);
		else
			ret_segment[n] = shape->text[i];
		n += is_variable ? bytes : 1;
		i += is_variable ? 2 : 1;
	}
	return n;
}

/* The key of what a word of this hash leads to. */
static uint64_t key_behind(uint64_t key, uint64_t word_hash)
{
	const uint64_t both[2] = { key, word_hash };

	return seg_key_of_bytes(both, sizeof(both), 0);
}

static uint64_t key_of_variable(const struct route_walk *walk)
{
	return key_behind(walk->key, VARIABLE_HASH);
}

/* To the child of this key. */
static void move_on(struct route_walk *walk, uint64_t key, struct seg_word *child, enum came_by came_by, enum route_word word)
{
	walk->before = walk->node;
	walk->before_came_by = walk->came_by;
	walk->twin = 0;
	walk->key = key;
	walk->node = child;
	walk->came_by = (uint8_t)came_by;
	walk->word = (uint8_t)word;
}

static struct children children_of(const struct seg_word *node)
{
	uint32_t all = atomic_load_explicit(&node->children, memory_order_relaxed);

	return (struct children){ all & (PLAIN_MAX * 2 - 1), all >> ACTION_SHIFT & (ACTION_MAX * 2 - 1), all >> ODD_SHIFT };
}

static uint32_t weight_of(enum route_word word)
{
	return word == ROUTE_WORD_ODD ? ODD_WEIGHT : word == ROUTE_WORD_STRANGE ? STRANGE_WEIGHT : 0;
}

/* One more; far beyond all limits it does not matter any more. */
static void children_add(struct seg_word *node, enum route_word word)
{
	struct children children = children_of(node);
	uint32_t one = weight_of(word) << ODD_SHIFT;

	if (word == ROUTE_WORD_PLAIN)
		one = 1u << PLAIN_SHIFT;
	else if (word == ROUTE_WORD_ACTION)
		one = 1u << ACTION_SHIFT;
	if (children.plain < PLAIN_MAX && children.actions < ACTION_MAX && children.odd < ODD_MAX)
		atomic_fetch_add_explicit(&node->children, one, memory_order_relaxed);
}

static bool too_many(const struct route_walk *walk, const struct seg_word *node)
{
	struct children children = children_of(node);
	bool has_ids = state_at(node) & STATE_HAS_IDS;
	uint32_t limit = has_ids ? limits[walk->came_by].odd_weight_beside_ids : limits[walk->came_by].odd_weight;

	return children.odd >= limit && children.odd >= children.plain;
}

/* Words of the vocabulary beside names may be names (a repository called "docs"), beside ids they are not. */
static bool plain_may_be_names(const struct route_walk *walk, const struct seg_word *node)
{
	return !(state_at(node) & STATE_HAS_IDS) && (walk->came_by == BY_PLURAL || walk->came_by == BY_WORD);
}

static void judge(struct route_walk *walk, struct seg_word *node)
{
	uint32_t bits = 0;

	if (!(state_at(node) & STATE_VARIES) && too_many(walk, node))
		bits = plain_may_be_names(walk, node) ? STATE_VARIES | STATE_PLAIN_VARY : STATE_VARIES;
	if (children_of(node).plain >= limits[walk->came_by].plain)
		bits |= STATE_VARIES | STATE_PLAIN_VARY | STATE_ALL_VARY;
	if (bits && state_add(node, bits))
		note_change(walk);
}

/* The word that led to the node, unknown as it is, is followed by ids: it counts among its siblings as a known one. Only
 * where an interface begins: a user's name may be followed by ids as well. */
static void is_collection(struct route_walk *walk)
{
	uint32_t weight = weight_of((enum route_word)walk->word);

	if (walk->before_came_by != BY_PREFIX || !weight || !walk->before || !state_add(walk->node, STATE_COLLECTION))
		return;
	if (children_of(walk->before).odd < weight)
		return;
	atomic_fetch_sub_explicit(&walk->before->children, weight << ODD_SHIFT, memory_order_relaxed);
	children_add(walk->before, ROUTE_WORD_PLAIN);
}

/* What follows the node varies by its form. */
static void has_ids(struct route_walk *walk)
{
	is_collection(walk);
	if (!state_add(walk->node, STATE_HAS_IDS))
		return;
	if (children_of(walk->node).odd)
		note_change(walk); /* some may be strange */
	judge(walk, walk->node);
}

/* Enters the child of this key, which holds variables of these kinds. NULL: the trie is full. */
static struct seg_word *learn_kinds(struct route_walk *walk, uint64_t key, uint32_t kinds)
{
	struct seg_word *child = insert(key, NULL);
	uint32_t before;

	if (!child)
		return NULL;
	bool is_news = state_add_to(child, kinds, &before);
	if (is_news && before >> STATE_KINDS_SHIFT && kind_of_state(before) != kind_of_state(before | kinds))
		note_change(walk); /* it is called otherwise from now on */
	return child;
}

/* A segment that is nothing but a variable. */
static size_t step_variable(struct route_walk *walk, uint32_t kinds, char *segment, size_t room)
{
	uint64_t key = key_of_variable(walk);
	bool is_name = kinds >> STATE_KINDS_SHIFT == 1u << ROUTE_KIND_NAME;
	struct seg_word *child = walk->is_learning ? learn_kinds(walk, key, kinds) : find(key);

	if (walk->is_learning && walk->node && !is_name)
		has_ids(walk);
	const char *label = route_kind_labels[kind_of_state(state_of(child) | kinds)];
	size_t n = strlen(label);
	if (n > room)
		return 0;
	memcpy(segment, label, n);
	move_on(walk, key, child, BY_VARIABLE, ROUTE_WORD_PLAIN);
	return n;
}

/* Whether the word that leads to child, which may be NULL, is a variable. */
static bool varies(const struct route_walk *walk, const struct seg_word *child, enum route_word word)
{
	uint32_t state = state_of(walk->node), child_state = state_of(child);

	if (word == ROUTE_WORD_STRANGE && state & STATE_HAS_IDS && walk->came_by != BY_PREFIX)
		return true;
	if (!(state & STATE_VARIES))
		return false;
	if (child_state & STATE_INSTANCE)
		return true;
	if (word == ROUTE_WORD_ACTION)
		return false;
	if (state & STATE_ALL_VARY)
		return true;
	if (child_state & STATE_COLLECTION)
		return false;
	return word != ROUTE_WORD_PLAIN || state & STATE_PLAIN_VARY;
}

/* Enough of the words behind a word are also behind the {name} beside it. Where an interface begins, and for an action,
 * that takes most of them: /{name}/settings does not make /account/settings one more of it. */
static bool is_one_of_names(const struct route_walk *walk)
{
	uint32_t shared = state_at(walk->node) >> STATE_SHARED_SHIFT & 0xff;
	struct children children = children_of(walk->node);
	uint32_t all = children.plain + children.actions + children.odd / ODD_WEIGHT;

	if (walk->before_came_by != BY_PREFIX && walk->word == ROUTE_WORD_PLAIN)
		return shared > 0;
	return shared >= 3 && shared * 4 >= all * 3;
}

/* The node was reached by a word beside a {name}, and the word that leads to child is known behind that name, too:
 * /repos/docs/issues, where there is /repos/{name}/issues. */
static void look_for_twin(struct route_walk *walk, struct seg_word *child, uint64_t word_hash)
{
	if (!child || !find(key_behind(walk->twin, word_hash)))
		return;
	if (state_add(child, STATE_SHARED) && (state_at(walk->node) >> STATE_SHARED_SHIFT & 0xff) < 0xf0)
		atomic_fetch_add_explicit(&walk->node->state, 1u << STATE_SHARED_SHIFT, memory_order_relaxed);
	if (is_one_of_names(walk) && state_add(walk->node, STATE_INSTANCE))
		note_change(walk);
}

/* Enters the child of this key, reached by a word. NULL: the trie is full. */
static struct seg_word *learn_word(struct route_walk *walk, uint64_t key, enum route_word word)
{
	bool is_new;
	struct seg_word *child = insert(key, &is_new);

	if (!child || !is_new)
		return child;
	if (walk->came_by == BY_VARIABLE && state_of(walk->before) & STATE_HAS_WORDS)
		note_change(walk); /* it may be the twin of one that is known */
	children_add(walk->node, word);
	judge(walk, walk->node);
	return child;
}

/* The look of a segment whose variables are left out: {}.json is as plain as json. */
static struct route_word_look look_at_shape(const struct shape *shape)
{
	char text[SEG_ENDPOINT_BYTES];
	size_t n = 0;

	for (size_t i = 0; i < shape->n; i++)
		if (shape->text[i] != '{' && shape->text[i] != '}')
			text[n++] = shape->text[i];
	return n ? route_word_look(text, n) : (struct route_word_look){ .word = ROUTE_WORD_PLAIN };
}

/* The same, remembered by this process, since a look is slow beside all else. A word of looks[] is [tag:56][look:8]. */
static struct route_word_look look_at(const struct shape *shape)
{
	static _Atomic uint64_t looks[LOOKS];
	uint64_t tag = shape->hash;
	_Atomic uint64_t *place = &looks[tag % LOOKS];
	uint64_t known = atomic_load_explicit(place, memory_order_relaxed);

	if (known && known >> 8 == tag >> 8)
		return (struct route_word_look){ known & 3, known & LOOK_IS_PLURAL, known & LOOK_IS_PREFIX };
	struct route_word_look look = look_at_shape(shape);
	uint64_t bits = look.word | (look.is_plural ? LOOK_IS_PLURAL : 0) | (look.is_prefix ? LOOK_IS_PREFIX : 0) | LOOK_IS_KNOWN;
	atomic_store_explicit(place, tag >> 8 << 8 | bits, memory_order_relaxed);
	return look;
}

static enum came_by came_by_word(const struct route_walk *walk, struct route_word_look look)
{
	if (walk->came_by == BY_PREFIX && look.is_prefix)
		return BY_PREFIX;
	return look.is_plural ? BY_PLURAL : BY_WORD;
}

/* A segment that is a word, perhaps with variables within, and stays one. */
static size_t step_word(struct route_walk *walk, const struct shape *shape, uint64_t key, struct seg_word *child,
			struct route_word_look look, char *segment, size_t n, size_t room)
{
	if (shape->kinds) {
		if (walk->is_learning)
			child = learn_kinds(walk, key, shape->kinds);
		if (walk->is_learning && walk->node && look.word != ROUTE_WORD_STRANGE)
			has_ids(walk); /* a part of a strange word may look like an id by chance */
		n = shape_write(shape, kind_of_state(state_of(child) | shape->kinds), segment, room);
	}
	bool is_beside_names = state_of(walk->node) & STATE_VARIES && !memchr("_$", *shape->text, 2);
	uint64_t twin = is_beside_names ? key_of_variable(walk) : 0;
	if (twin && walk->is_learning)
		state_add(walk->node, STATE_HAS_WORDS);
	move_on(walk, key, child, came_by_word(walk, look), look.word);
	walk->twin = twin;
	return n <= room ? n : 0;
}

size_t route_walk_step(struct route_walk *walk, char *segment, size_t n, size_t room)
{
	struct shape shape;

	if (!seg.words || n > sizeof(shape.copy))
		return n <= room ? n : 0;
	shape_of(&shape, segment, n);
	if (shape.kinds && !shape.others)
		return step_variable(walk, shape.kinds, segment, room);
	shape.hash = seg_key_of_bytes(shape.text, (uint32_t)shape.n, 0);
	struct route_word_look look = look_at(&shape);
	uint64_t key = key_behind(walk->key, shape.hash);
	struct seg_word *child = find(key);
	if (walk->is_learning && walk->node && !varies(walk, child, look.word))
		child = learn_word(walk, key, look.word);
	if (walk->is_learning && walk->node && walk->twin)
		look_for_twin(walk, child, shape.hash);
	if (!varies(walk, child, look.word))
		return step_word(walk, &shape, key, child, look, segment, n, room);
	/* Strange beside ids: one that has not quite their form. */
	bool is_id = look.word == ROUTE_WORD_STRANGE && state_of(walk->node) & STATE_HAS_IDS;
	return step_variable(walk, 1u << (STATE_KINDS_SHIFT + (is_id ? ROUTE_KIND_TOKEN : ROUTE_KIND_NAME)), segment, room);
}
