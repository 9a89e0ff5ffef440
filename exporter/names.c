#include "names.h"

#include "../symbolizer/step.h"
#include "pace.h"
#include "room.h"

#include <stdlib.h>
#include <string.h>

/* Of the memory that is left a quarter may be taken for names and lines, for it is the profiled program that would be killed;
 * and one table among those read for names, of which several are in use in a form of their own, a sixteenth. */
enum { ROOM_SHARE = 4, TABLES_SHARE = 16 };

/* Frames come in runs of one module, so the last one is at hand. */
struct source {
	struct symbolizer *symbolizer;
	bool has_limit; /* that of the memory which there is now */
	bool is_tight;  /* it is less than what is usually allowed: what was read of a module goes before another one is read */
	struct snapshot_module last;
	struct module *module; /* of last */
};

static void set_limits(struct source *source)
{
	uint64_t room = room_bytes();

	source->has_limit = true;
	source->is_tight = room / ROOM_SHARE < SYMBOLIZER_MEMORY_LIMIT;
	symbolizer_set_memory_limit(source->symbolizer, source->is_tight ? room / ROOM_SHARE : SYMBOLIZER_MEMORY_LIMIT);
	symbolizer_set_tables_limit(source->symbolizer, source->is_tight ? room / TABLES_SHARE : UINT64_MAX);
}

static struct module *module_of(struct source *source, const struct snapshot_module *module)
{
	bool is_last = source->module && module->build_id_bytes == source->last.build_id_bytes &&
		       !memcmp(module->build_id, source->last.build_id, sizeof(module->build_id)) &&
		       !strcmp(module->path, source->last.path);

	if (!source->has_limit)
		set_limits(source);
	if (is_last)
		return source->module;
	if (source->is_tight)
		symbolizer_trim(source->symbolizer);
	source->module = symbolizer_module(source->symbolizer, module->path, module->build_id, module->build_id_bytes);
	source->last = *module;
	return source->module;
}

static void resolve(void *context, const struct snapshot_module *module, uint64_t offset, struct symbol *ret_symbol)
{
	struct module *known = module_of(context, module);

	pace_point();
	if (known)
		symbolizer_lookup(known, offset, ret_symbol);
	else
		*ret_symbol = (struct symbol){ .function_start = offset };
}

static const char *note(void *context, const struct snapshot_module *module)
{
	struct module *known = module_of(context, module);

	return known ? symbolizer_note(known) : NULL;
}

static void trim(void *context)
{
	struct source *source = context;

	symbolizer_trim(source->symbolizer);
	source->has_limit = false;
}

bool names_init(struct names *ret_names)
{
	struct source *source = calloc(1, sizeof(*source));

	if (!source)
		return false;
	step_taken = pace_step;
	source->symbolizer = symbolizer_new();
	if (!source->symbolizer) {
		free(source);
		return false;
	}
	*ret_names = (struct names){ .resolve = resolve, .note = note, .trim = trim, .context = source };
	return true;
}

void names_deinit(struct names *names)
{
	struct source *source = names->context;

	if (source) {
		symbolizer_free(source->symbolizer);
		free(source);
	}
	*names = (struct names){ 0 };
}
