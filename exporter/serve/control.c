#include "control.h"

#include "reset.h"

#include <stdio.h>
#include <string.h>

static const char *const paths[] = {
	[CONTROL_ENABLE] = "/control/enable",
	[CONTROL_DISABLE] = "/control/disable",
	[CONTROL_RESET] = "/control/reset",
	[CONTROL_HZ] = "/control/hz",
};

enum control control_find(const char *path)
{
	for (enum control control = CONTROL_ENABLE; control <= CONTROL_HZ; control++)
		if (!strcmp(path, paths[control]))
			return control;
	return CONTROL_NONE;
}

static void tell(const struct seg_config *config, const char *what, char ret_text[static CONTROL_TEXT_BYTES])
{
	uint32_t hz = atomic_load_explicit(&config->hz, memory_order_relaxed);
	bool is_enabled = atomic_load_explicit(&config->is_enabled, memory_order_relaxed);

	snprintf(ret_text, CONTROL_TEXT_BYTES, "%ssampling is %s, at %u Hz\n", what, is_enabled ? "enabled" : "disabled", hz);
}

void control_do(enum control control, uint32_t hz, const struct seg_view *seg, char ret_text[static CONTROL_TEXT_BYTES])
{
	struct seg_config *config = &seg->head->config;

	if (control == CONTROL_ENABLE || control == CONTROL_DISABLE)
		atomic_store_explicit(&config->is_enabled, control == CONTROL_ENABLE, memory_order_relaxed);
	else if (control == CONTROL_HZ)
		atomic_store_explicit(&config->hz, hz, memory_order_relaxed);
	else if (control == CONTROL_RESET)
		reset_session(seg);
	tell(config, control == CONTROL_RESET ? "all counters begin anew; " : "", ret_text);
}
