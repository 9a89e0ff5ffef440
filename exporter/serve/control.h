#pragma once
/* control - what can be changed at run time: POST /control/...
 * Context: the serving thread. The other processes of the session see it in the segment.
 */
#include "../../shim/segment/segment.h"

enum control { CONTROL_NONE, CONTROL_ENABLE, CONTROL_DISABLE, CONTROL_RESET, CONTROL_HZ };

enum { CONTROL_HZ_MAX = 10000, CONTROL_TEXT_BYTES = 96 };

/* What a path stands for; CONTROL_NONE: nothing of this. */
enum control control_find(const char *path);

/* Does it. hz: of CONTROL_HZ. ret_text: one line, with its end, that tells the state now in force. */
void control_do(enum control control, uint32_t hz, const struct seg_view *seg, char ret_text[static CONTROL_TEXT_BYTES]);
