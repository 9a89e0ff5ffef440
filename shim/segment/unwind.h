#pragma once
/* unwind - how to leave each place of a module's code: rules of one word, in tables that all processes of a session share.
 * Context: signal. Pure functions over the segment's bytes; nothing in here writes but seg_unwind_publish (exporter).
 *
 * A table is a piece of the arena (SEG_TABLE_UNWIND_ARENA), in this order: `block_count + 1` words, the first row of each
 * block of 2^shift bytes of code; `row_count` words, the rules; `row_count` half words, the lower half of the address from
 * which on the rule holds. The blocks are at least half as wide as a row and its share of the index comes to at most 8
 * bytes. Addresses are those of the ELF file (pc - load bias). What lies before the first row or behind the last block has
 * no rule; gaps within have rows of kind NONE.
 *
 * A table is written as a whole, then its state is set (release); it never changes after that. Its maker may be killed
 * anywhere: then the piece of the arena is lost, the state is what it was, and the next one makes the table anew.
 */
#include "segment.h"

#include <string.h>

/* CFA: the value of sp before the call instruction was executed, plus 8 (x86-64 psABI, DWARF); the return address lies
 * right below it in every rule there is. */
enum seg_unwind_kind {
	SEG_UNWIND_NONE,        /* no unwind information covers this address */
	SEG_UNWIND_END,         /* the outermost frame: its return address is said to be undefined */
	SEG_UNWIND_UNSUPPORTED, /* what the file says has no place in a rule */
	SEG_UNWIND_SP,          /* CFA = sp + offset */
	SEG_UNWIND_BP,          /* CFA = rbp + offset */
	SEG_UNWIND_BX,          /* CFA = rbx + offset: the loader's trampoline for lazy binding */
	SEG_UNWIND_PLT,         /* CFA = sp + 8 + ((pc & 15) >= offset) * 8: linkage table entries as GNU ld writes them */
	SEG_UNWIND_SIGNAL,      /* sp points to the ucontext of what was interrupted */
	SEG_UNWIND_DEREF_SP,    /* CFA = *(sp + offset) + added: assembler that aligns its stack */
	SEG_UNWIND_DEREF_BP,    /* CFA = *(rbp + offset) + added: gcc's; saved registers are told from rbp, not from the CFA */
	SEG_UNWIND_REGISTER,    /* CFA = another register + offset: known of the interrupted frame only */
	SEG_UNWIND_SP_BYTES,    /* CFA = sp + offset in single bytes: leaves that are compiled for size move sp by odd numbers */
	SEG_UNWIND_DEREF_BP_CFA, /* as DEREF_BP, of assembler: saved registers are told from the CFA */
	SEG_UNWIND_SP_FAR,      /* CFA = sp + 256 KiB + offset, unsigned: frames that hold large buffers */
	SEG_UNWIND_SP_FAR_LAST = SEG_UNWIND_SP_FAR + 2, /* each of these begins 512 KiB above the one before it */
};

/* Where a caller's register is: 0 = it was not touched; 1..SEG_UNWIND_SLOT_MAX: saved at CFA - 8 * slot (DEREF_BP: at
 * rbp - 8 * slot). */
enum {
	SEG_UNWIND_KEPT = 0,
	SEG_UNWIND_SLOT_MAX = 61,
	SEG_UNWIND_AT_BP = 62, /* at rbp + 0 */
	SEG_UNWIND_LOST = 63,  /* cannot be told */
};

#define SEG_UNWIND_FAR_BYTES 0x40000 /* 256 KiB: beyond what 16 signed bits say in units of 8 bytes */

/* kind: 4 bits, rbp's slot: 6, rbx's: 6, and 16 for the offset, signed and in units of 8 bytes. DEREF_*: 9 of them for the
 * offset, 7 for what is added; REGISTER: 12 and 4 for its DWARF number; PLT, SP_BYTES: the offset as it is.
 *
 * What has no place in this (of the 600,000 rows of libc, libstdc++, libcrypto, CPython, nginx, Redis, PostgreSQL, MariaDB
 * and ripgrep in Debian 12 it is nine: longjmp and setcontext, which leave for another stack; vfork, which keeps its
 * return address in a register; and an expression in libcrypto that multiplies) ends the walk there and is counted
 * (profshim_stack_walks_total, end unsupported). libunwind is not asked instead: to load it into every
 * program for nine rows would cost a megabyte and, for each thread that meets one, a cache of 262 KiB. And its first use
 * opens a pipe, once for the process: full steps by its cursor write a byte of each page that they read from into it, unless
 * the page is one of the last four, and where nothing can be read from the pipe any more, since the program closed it, two
 * descriptors of these numbers are closed and a new one is opened (1.6.2, src/x86_64/Ginit.c and Gstep.c). */
struct seg_unwind_rule {
	enum seg_unwind_kind kind;
	uint32_t bp, bx;
	int32_t offset; /* bytes */
	int32_t added;  /* bytes; or the register's number */
};

static inline uint32_t seg_unwind_kind_of(uint32_t word) { return word & 15; }
static inline uint32_t seg_unwind_bp(uint32_t word) { return word >> 4 & 63; }
static inline uint32_t seg_unwind_bx(uint32_t word) { return word >> 10 & 63; }
static inline int64_t seg_unwind_offset(uint32_t word) { return (int64_t)((int32_t)word >> 16) * 8; }
static inline int64_t seg_unwind_deref_offset(uint32_t word) { return (int64_t)((int32_t)word >> 23) * 8; }
static inline int64_t seg_unwind_deref_added(uint32_t word) { return (int64_t)(word >> 16 & 127) * 8; }
static inline int64_t seg_unwind_register_offset(uint32_t word) { return (int64_t)((int32_t)word >> 20) * 8; }
static inline uint32_t seg_unwind_register(uint32_t word) { return word >> 16 & 15; }
static inline uint32_t seg_unwind_plt_limit(uint32_t word) { return word >> 16 & 15; }
static inline uint64_t seg_unwind_byte_offset(uint32_t word) { return word >> 16; }
static inline uint64_t seg_unwind_far_offset(uint32_t word)
{
	return SEG_UNWIND_FAR_BYTES + ((uint64_t)(seg_unwind_kind_of(word) - SEG_UNWIND_SP_FAR) << 16 | word >> 16) * 8;
}

static inline bool seg_unwind_fits(int32_t bytes, int bits)
{
	return bytes % 8 == 0 && bytes / 8 >= -(1 << (bits - 1)) && bytes / 8 < 1 << (bits - 1);
}

/* sp + an offset that SEG_UNWIND_SP has no place for. */
static inline uint32_t seg_unwind_pack_unusual(uint32_t saved, int32_t offset)
{
	uint32_t far = (uint32_t)(offset - SEG_UNWIND_FAR_BYTES) / 8;

	if (offset >= 0 && offset <= UINT16_MAX)
		return SEG_UNWIND_SP_BYTES | saved | (uint32_t)offset << 16;
	if (offset < SEG_UNWIND_FAR_BYTES || offset % 8 || far >> 16 > SEG_UNWIND_SP_FAR_LAST - SEG_UNWIND_SP_FAR)
		return SEG_UNWIND_UNSUPPORTED;
	return (SEG_UNWIND_SP_FAR + (far >> 16)) | saved | far << 16;
}

/* The word for a rule; one of kind UNSUPPORTED where it does not fit. */
static inline uint32_t seg_unwind_pack(const struct seg_unwind_rule *rule)
{
	uint32_t saved = (rule->bp & 63) << 4 | (rule->bx & 63) << 10, word = (uint32_t)rule->kind | saved;
	uint32_t offset = (uint32_t)(rule->offset / 8);

	switch (rule->kind) {
	case SEG_UNWIND_SP:
		return seg_unwind_fits(rule->offset, 16) ? word | offset << 16 : seg_unwind_pack_unusual(saved, rule->offset);
	case SEG_UNWIND_BP:
	case SEG_UNWIND_BX:
		return seg_unwind_fits(rule->offset, 16) ? word | offset << 16 : SEG_UNWIND_UNSUPPORTED;
	case SEG_UNWIND_PLT:
		return rule->offset >= 0 && rule->offset < 16 ? word | (uint32_t)rule->offset << 16 : SEG_UNWIND_UNSUPPORTED;
	case SEG_UNWIND_DEREF_SP:
	case SEG_UNWIND_DEREF_BP:
	case SEG_UNWIND_DEREF_BP_CFA:
		if (!seg_unwind_fits(rule->offset, 9) || rule->added < 0 || rule->added % 8 || rule->added / 8 > 127)
			return SEG_UNWIND_UNSUPPORTED;
		return word | offset << 23 | (uint32_t)(rule->added / 8) << 16;
	case SEG_UNWIND_REGISTER:
		if (!seg_unwind_fits(rule->offset, 12) || rule->added < 0 || rule->added > 15)
			return SEG_UNWIND_UNSUPPORTED;
		return word | offset << 20 | (uint32_t)rule->added << 16;
	default:
		return (uint32_t)rule->kind;
	}
}

static inline uint64_t seg_unwind_bytes(uint64_t row_count, uint64_t block_count)
{
	return (block_count + 1) * sizeof(uint32_t) + row_count * (sizeof(uint32_t) + sizeof(uint16_t));
}

/* Looks a module's table over once, so that seg_unwind_find need not; what it says may be of any other process. False: there
 * is no table (yet), or none that lies in the arena. */
static inline bool seg_unwind_open(const struct seg_view *view, uint32_t module, struct seg_unwind_view *ret_view)
{
	if (module >= view->slots[SEG_TABLE_UNWIND].count)
		return false;
	const struct seg_unwind *entry = &view->unwind[module];
	if (atomic_load_explicit(&entry->state, memory_order_acquire) != SEG_UNWIND_READY)
		return false;
	const struct seg_slots *arena = &view->slots[SEG_TABLE_UNWIND_ARENA];
	uint64_t bytes = (uint64_t)arena->count * arena->stride, place = (uint64_t)entry->place * arena->stride;
	/* A copy of it is what is checked: whoever writes the entry may do so still. */
	*ret_view = (struct seg_unwind_view){ .base = entry->base, .shift = entry->shift, .block_count = entry->block_count,
					      .row_count = entry->row_count };
	if (place > bytes || seg_unwind_bytes(ret_view->row_count, ret_view->block_count) > bytes - place || ret_view->shift > 16)
		return false;
	ret_view->blocks = (const uint32_t *)((const char *)arena->entries + place);
	ret_view->rules = ret_view->blocks + ret_view->block_count + 1;
	ret_view->lows = (const uint16_t *)(ret_view->rules + ret_view->row_count);
	return true;
}

/* The rule for an address, SEG_UNWIND_NONE where there is none. */
static inline uint32_t seg_unwind_find(const struct seg_unwind_view *table, uint64_t address)
{
	uint64_t block = (address - table->base) >> table->shift;

	if (address < table->base || block >= table->block_count)
		return SEG_UNWIND_NONE;
	uint32_t low = table->blocks[block], high = table->blocks[block + 1];
	uint16_t wanted = (uint16_t)address;
	if (high > table->row_count || low > high)
		return SEG_UNWIND_NONE;
	/* Rows below low do not begin above the address, those from high on do. */
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (table->lows[middle] <= wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? table->rules[low - 1] : SEG_UNWIND_NONE;
}
