#pragma once
/* frames - the functions that call frame information describes, and where what it says of each stands.
 * Context: any thread. Needs no library. A damaged section gives the functions before the damage.
 */
#include "cursor.h"
#include "spans.h"
#include "unwind.h"

/* Calls found for each function that has code, by rising addresses; found returns 0 to go on. is_eh: .eh_frame, else .debug_frame.
 * address: where the section is in memory, since .eh_frame counts from there. 0, -ENOMEM, or what found returned. */
int frames_visit(struct bytes section, uint64_t address, bool is_eh, int (*found)(void *context, const struct unwind_frame *frame),
                 void *context);

/* Adds the functions of .eh_frame, sorted, ids 0. 0 or -ENOMEM. */
int frames_read(struct bytes section, uint64_t address, struct spans *ret_frames);
