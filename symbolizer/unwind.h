#pragma once
/* unwind - how to leave each place of a module's code, out of its call frame information (DWARF 5, 6.4; .eh_frame: Linux
 * Standard Base Core 5.0, 10.6).
 * Context: the symbolizer's thread. Trusts nothing: what a damaged file says is bounded and left out, never followed.
 * Knows x86-64 only, and of the registers only those that lead to the next frame: sp, rbp, rbx and the return address.
 */
#include <stdbool.h>
#include <stdint.h>

enum unwind_kind {
	UNWIND_NONE,        /* from here on nothing is said */
	UNWIND_END,         /* the return address is undefined: the outermost frame */
	UNWIND_UNSUPPORTED, /* said in a way that is not known here */
	UNWIND_CFA,         /* CFA = reg + offset */
	UNWIND_CFA_DEREF,   /* CFA = *(reg + offset) + added */
	UNWIND_CFA_PLT,     /* CFA = sp + 8 + ((pc & 15) >= offset) * 8 */
	UNWIND_SIGNAL,      /* a signal frame as the kernel makes it: a ucontext at sp */
};

/* Where the caller's value of a register is. */
enum unwind_place { UNWIND_KEPT, UNWIND_AT_CFA /* saved at CFA + offset */, UNWIND_AT_BP /* at rbp + offset */, UNWIND_LOST };
struct unwind_saved {
	enum unwind_place place;
	int32_t offset;
};

enum { UNWIND_RBX = 3, UNWIND_RBP = 6, UNWIND_RSP = 7, UNWIND_RIP = 16 }; /* DWARF's numbers (x86-64 psABI) */

struct unwind_rule {
	enum unwind_kind kind;
	uint32_t reg;
	int32_t offset, added;
	struct unwind_saved bp, bx;
};

/* Takes the rules of one module in rising order of addresses: each holds from its address up to the next one's. 0 to go on. */
typedef int unwind_found(void *context, uint64_t address, const struct unwind_rule *rule);

/* Reads the module's file (the vDSO: our own memory; symbolizer.h says what path and build_id are). .eh_frame first; where
 * that is missing .debug_frame.
 * 0, -ENOENT: it has neither; -ESTALE: the file is gone or another build by now; else -errno, or what found returned. */
int unwind_read(const char *path, const uint8_t *build_id, uint32_t build_id_bytes, unwind_found *found, void *context,
                uint64_t *ret_code_bytes);

/* --- between unwind.c and unwind_program.c --- */

/* One function's description (an FDE with its CIE). The bytes are borrowed. */
struct unwind_frame {
	uint64_t start, length;
	const uint8_t *initial, *program;
	uint64_t initial_bytes, program_bytes;
	uint64_t code_factor;
	int64_t data_factor;
	uint32_t return_register;
	bool is_signal;
};

/* Runs the frame's program; found gets its rows. A damaged rest is UNWIND_UNSUPPORTED from its place on. */
int unwind_run(const struct unwind_frame *frame, unwind_found *found, void *context);
