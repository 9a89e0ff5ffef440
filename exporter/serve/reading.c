#include "reading.h"

#include "../pace.h"

#include <errno.h>

int reading_init(struct reading *ret_reading, const struct seg_view *seg)
{
	*ret_reading = (struct reading){ .seg = *seg };
	if (!names_init(&ret_reading->names))
		return -ENOMEM;
	ret_reading->memory = view_memory_new();
	if (!ret_reading->memory) {
		names_deinit(&ret_reading->names);
		return -ENOMEM;
	}
	return 0;
}

void reading_deinit(struct reading *reading)
{
	view_memory_free(reading->memory);
	names_deinit(&reading->names);
}

struct snapshot *reading_snapshot(const struct reading *reading)
{
	if (reading->changed_real_ns)
		return snapshot_take_file(&reading->seg, reading->changed_real_ns);
	return snapshot_take(&reading->seg);
}

static enum reading_result render(struct reading *reading, const struct snapshot *snapshot, const struct view *view,
                                  const struct view_params *params, struct strbuf *out,
                                  char problem[static VIEW_PROBLEM_BYTES])
{
	struct view_params remembering = *params;
	pace_point();
	struct model *model = model_build(snapshot, &reading->names);
	enum reading_result result = READING_OK;

	if (!model)
		return READING_NO_MEMORY;
	pace_point();
	remembering.memory = reading->memory;
	if (view_params_check(&remembering, model, problem)) {
		result = READING_BAD_PARAMETER;
	} else {
		view->render(model, &remembering, out);
		result = !out->error ? READING_OK : out->error == -EFBIG ? READING_TOO_LARGE : READING_NO_MEMORY;
	}
	model_free(model);
	/* The debug information of a large program would be many times what we may take of its memory. */
	if (reading->names.trim)
		reading->names.trim(reading->names.context);
	return result;
}

enum reading_result reading_render(struct reading *reading, const struct view *view, const struct view_params *params,
                                   const struct snapshot *earlier, struct strbuf *out,
                                   char problem[static VIEW_PROBLEM_BYTES])
{
	struct snapshot *snapshot = reading_snapshot(reading);

	if (!snapshot)
		return READING_NO_MEMORY;
	if (earlier)
		snapshot_subtract(snapshot, earlier);
	enum reading_result result = render(reading, snapshot, view, params, out, problem);
	snapshot_free(snapshot);
	return result;
}
