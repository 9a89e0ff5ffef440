#pragma once
/* step - told of while a file is read: long work may be interrupted there, for no lock is held.
 * Context: whoever uses the symbolizer.
 */

/* Weight 1 is an entry of some table, STEP_LARGE a piece of some KiB. */
enum { STEP_LARGE = 64 };
extern void (*step_taken)(unsigned weight); /* does nothing; set before anything is read */
