/* The symbolizer keeps modules and answers, which are small and few, since a profile's addresses are. What it reads of files,
 * symbols and debug information, it holds until the report is done: the memory is the profiled program's.
 */
#include "symbolizer.h"
#include "module.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A million answers is more addresses than a session's segment can hold. */
enum { ANSWERS_FIRST = 32, ANSWERS_MAX = 1024 * 1024 };

struct symbolizer *symbolizer_new(void)
{
	struct symbolizer *symbolizer = calloc(1, sizeof(*symbolizer));

	if (!symbolizer)
		return NULL;
	symbolizer->debug_root = "/usr/lib/debug";
	symbolizer->memory_limit_bytes = SYMBOLIZER_MEMORY_LIMIT;
	symbolizer->tables_limit_bytes = UINT64_MAX;
	return symbolizer;
}

void symbolizer_free(struct symbolizer *symbolizer)
{
	if (!symbolizer)
		return;
	while (symbolizer->modules) {
		struct module *module = symbolizer->modules;

		symbolizer->modules = module->next;
		module_close(module);
	}
	strings_free(&symbolizer->strings);
	free(symbolizer);
}

void symbolizer_set_debug_root(struct symbolizer *symbolizer, const char *root)
{
	const char *kept = strings_keep(&symbolizer->strings, root);

	if (kept)
		symbolizer->debug_root = kept;
}

void symbolizer_set_memory_limit(struct symbolizer *symbolizer, uint64_t limit_bytes)
{
	symbolizer->memory_limit_bytes = limit_bytes;
}

void symbolizer_set_tables_limit(struct symbolizer *symbolizer, uint64_t limit_bytes)
{
	symbolizer->tables_limit_bytes = limit_bytes;
}

static bool is_asked(const struct module *module, const char *path, const uint8_t *build_id, uint32_t build_id_bytes)
{
	return strcmp(module->path, path) == 0 && module->build_id_bytes == build_id_bytes &&
	       (build_id_bytes == 0 || memcmp(module->build_id, build_id, build_id_bytes) == 0);
}

struct module *symbolizer_module(struct symbolizer *symbolizer, const char *path, const uint8_t *build_id,
                                 uint32_t build_id_bytes)
{
	struct module *module;

	if (build_id_bytes > IMAGE_BUILD_ID_MAX)
		build_id_bytes = IMAGE_BUILD_ID_MAX; /* matches no file */
	for (module = symbolizer->modules; module; module = module->next)
		if (is_asked(module, path, build_id, build_id_bytes))
			return module;
	module = calloc(1, sizeof(*module));
	if (!module)
		return NULL;
	module->symbolizer = symbolizer;
	module->path = strings_keep(&symbolizer->strings, path);
	module->build_id_bytes = build_id_bytes;
	if (build_id_bytes)
		memcpy(module->build_id, build_id, build_id_bytes);
	if (!module->path || module_open(module) != 0) {
		module_close(module);
		return NULL;
	}
	module->next = symbolizer->modules;
	symbolizer->modules = module;
	return module;
}

const char *symbolizer_note(const struct module *module)
{
	return module->note;
}

/* The finalizer of MurmurHash3. */
static uint32_t hash_address(uint64_t address)
{
	address = (address ^ address >> 33) * 0xff51afd7ed558ccdULL;
	address = (address ^ address >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return (uint32_t)(address ^ address >> 33);
}

/* The answer's place or the free one where it belongs. The table is never full. */
static struct module_answer *find_answer(struct module_answer *answers, uint32_t slots, uint64_t address)
{
	uint32_t index = hash_address(address) & (slots - 1);

	while (answers[index].is_used && answers[index].address != address)
		index = (index + 1) & (slots - 1);
	return &answers[index];
}

static bool grow_answers(struct module *module)
{
	uint32_t slots = module->answer_slots ? module->answer_slots * 2 : ANSWERS_FIRST;
	struct module_answer *answers = slots <= 2 * ANSWERS_MAX ? calloc(slots, sizeof(*answers)) : NULL;

	if (!answers)
		return false;
	for (uint32_t i = 0; i < module->answer_slots; i++)
		if (module->answers[i].is_used)
			*find_answer(answers, slots, module->answers[i].address) = module->answers[i];
	free(module->answers);
	module->answers = answers;
	module->answer_slots = slots;
	return true;
}

/* Without room the answer is worked out again next time. */
static void keep_answer(struct module *module, uint64_t address, const struct symbol *symbol)
{
	if (module->answer_count >= module->answer_slots / 2 && !grow_answers(module))
		return;
	*find_answer(module->answers, module->answer_slots, address) =
		(struct module_answer){ .address = address, .symbol = *symbol, .is_used = true };
	module->answer_count++;
}

static uint64_t held_bytes(const struct symbolizer *symbolizer)
{
	uint64_t sum = 0;

	for (const struct module *module = symbolizer->modules; module; module = module->next)
		sum += debuginfo_bytes(module->debuginfo);
	return sum;
}

void symbolizer_lookup(struct module *module, uint64_t address, struct symbol *ret_symbol)
{
	struct symbolizer *symbolizer = module->symbolizer;
	uint64_t sections_max = symbolizer->memory_limit_bytes / 2, held;
	struct module_answer *answer;

	if (module->answer_slots) {
		answer = find_answer(module->answers, module->answer_slots, address);
		if (answer->is_used) {
			*ret_symbol = answer->symbol;
			return;
		}
	}
	*ret_symbol = (struct symbol){ .function_start = address };
	module_find_function(module, address, ret_symbol);
	held = held_bytes(symbolizer);
	module_find_source(module, address, held < sections_max ? sections_max - held : 0, ret_symbol);
	if (module->debuginfo_failed != -EFBIG && !module->lacks_room) /* there may be room later */
		keep_answer(module, address, ret_symbol);
	if (held_bytes(symbolizer) > symbolizer->memory_limit_bytes)
		symbolizer_trim(symbolizer);
}

void symbolizer_lookup_function(struct module *module, uint64_t address, struct symbol *ret_symbol)
{
	*ret_symbol = (struct symbol){ .function_start = address };
	module_find_function(module, address, ret_symbol);
}

void symbolizer_trim(struct symbolizer *symbolizer)
{
	for (struct module *module = symbolizer->modules; module; module = module->next)
		module_forget(module);
}
