#pragma once
/* growth_module - what growth_load and the modules that it opens have in common. */
#include <stdint.h>

struct growth {
	uint64_t (**steps)(const struct growth *growth, uint32_t left, uint64_t state); /* of each module */
	uint32_t count;
	uint64_t (*bottom)(uint64_t state);
};
