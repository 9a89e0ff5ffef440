#pragma once
/* descriptor - what other hooks tell of descriptors.
 * Context: call.
 */
#include <stdint.h>

/* close_range(2) was called by its number: the connections in that range end, unless flags say that they stay. */
void descriptor_range_closing(unsigned first, unsigned last, unsigned flags, uint64_t now_ns);
