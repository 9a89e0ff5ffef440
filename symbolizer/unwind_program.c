/* Runs the little programs of call frame information. Each instruction is at least a byte long and none leads back, so a
 * program ends whatever it contains; places beyond the function, states that were never remembered and numbers without
 * sense end it early, and the rest of the function is UNWIND_UNSUPPORTED.
 */
#include "cursor.h"
#include "unwind.h"

#include <stddef.h>

enum { REMEMBERED_MAX = 16 };

/* DWARF 5, 7.24: the two highest bits tell the first three, whose operand is in the others. */
enum {
	CFA_ADVANCE = 0x40,
	CFA_OFFSET = 0x80,
	CFA_RESTORE = 0xc0,
	CFA_NOP = 0x00,
	CFA_ADVANCE1 = 0x02,
	CFA_ADVANCE2 = 0x03,
	CFA_ADVANCE4 = 0x04,
	CFA_OFFSET_EXTENDED = 0x05,
	CFA_RESTORE_EXTENDED = 0x06,
	CFA_UNDEFINED = 0x07,
	CFA_SAME_VALUE = 0x08,
	CFA_REGISTER = 0x09,
	CFA_REMEMBER = 0x0a,
	CFA_RESTORE_STATE = 0x0b,
	CFA_DEF = 0x0c,
	CFA_DEF_REGISTER = 0x0d,
	CFA_DEF_OFFSET = 0x0e,
	CFA_DEF_EXPRESSION = 0x0f,
	CFA_EXPRESSION = 0x10,
	CFA_OFFSET_EXTENDED_SF = 0x11,
	CFA_DEF_SF = 0x12,
	CFA_DEF_OFFSET_SF = 0x13,
	CFA_VAL_OFFSET = 0x14,
	CFA_VAL_OFFSET_SF = 0x15,
	CFA_VAL_EXPRESSION = 0x16,
	CFA_GNU_ARGS_SIZE = 0x2e,
	CFA_GNU_NEGATIVE_OFFSET = 0x2f,
};

enum { OP_DEREF = 0x06, OP_PLUS_UCONST = 0x23, OP_BREG0 = 0x70, OP_BREGX = 0x92 };

/* Where one register of the caller is said to be. */
struct told {
	enum { TOLD_SAME, TOLD_OFFSET, TOLD_EXPRESSION, TOLD_OTHERWISE, TOLD_UNDEFINED } how;
	int64_t offset;          /* OFFSET: from the CFA */
	struct bytes expression; /* EXPRESSION: of its address */
};

struct state {
	bool has_cfa;
	uint64_t reg;
	int64_t offset;
	struct bytes expression; /* of the CFA; at NULL: reg + offset */
	struct told bp, bx, ra;
};

struct run {
	const struct unwind_frame *frame;
	struct state state, initial;
	struct state remembered[REMEMBERED_MAX];
	uint32_t remembered_count;
	uint64_t at, end; /* the row being described begins at `at` */
	unwind_found *found;
	void *context;
};

/* The registers that lead on; NULL: another one. */
static struct told *told_of(const struct run *run, struct state *state, uint64_t reg)
{
	if (reg == run->frame->return_register)
		return &state->ra;
	return reg == UNWIND_RBP ? &state->bp : reg == UNWIND_RBX ? &state->bx : NULL;
}

/* breg R off: a register and what is added to it. */
static bool read_base(struct cursor *cursor, uint32_t *ret_reg, int64_t *ret_offset)
{
	uint8_t op = (uint8_t)cursor_read(cursor, 1);

	if (op >= OP_BREG0 && op < OP_BREG0 + 32)
		*ret_reg = op - OP_BREG0;
	else if (op == OP_BREGX)
		*ret_reg = (uint32_t)cursor_read_uleb(cursor);
	else
		return false;
	*ret_offset = (int64_t)cursor_read_leb(cursor, true);
	return !cursor->is_past;
}

static bool is_small(int64_t offset)
{
	return offset > INT32_MIN / 2 && offset < INT32_MAX / 2;
}

/* As binutils writes it for entries of the linkage table (bfd/elfxx-x86.h, elf_x86_64_eh_frame_lazy_plt): sp + 8, and 8 more
 * from that byte of the entry on at which the first push is done: 11, or less where the entry begins otherwise. */
static bool is_plt(struct bytes expression, int32_t *ret_limit)
{
	static const uint8_t pattern[] = { 0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x30, 0x2a, 0x33, 0x24, 0x22 };
	enum { LIMIT_AT = 6 };

	if (expression.size != sizeof(pattern) || memcmp(expression.at, pattern, LIMIT_AT) != 0 ||
	    memcmp(expression.at + LIMIT_AT + 1, pattern + LIMIT_AT + 1, sizeof(pattern) - LIMIT_AT - 1) != 0)
		return false;
	*ret_limit = expression.at[LIMIT_AT] - pattern[LIMIT_AT];
	return *ret_limit >= 0 && *ret_limit < 16;
}

/* breg R off [deref] [plus_uconst added] */
static void rule_of_expression(struct bytes expression, struct unwind_rule *rule)
{
	struct cursor cursor = cursor_at(expression, 0);
	int64_t offset, added = 0;

	rule->kind = UNWIND_UNSUPPORTED;
	if (is_plt(expression, &rule->offset)) {
		rule->kind = UNWIND_CFA_PLT;
		return;
	}
	if (!read_base(&cursor, &rule->reg, &offset))
		return;
	bool is_deref = cursor_left(&cursor) && *cursor.at == OP_DEREF;
	cursor_skip(&cursor, is_deref);
	if (cursor_left(&cursor) && cursor_read(&cursor, 1) == OP_PLUS_UCONST)
		added = (int64_t)cursor_read_uleb(&cursor);
	else if (cursor.at != cursor.end || cursor.at == expression.at)
		return;
	if (cursor.is_past || cursor_left(&cursor) || !is_small(offset) || !is_small(added))
		return;
	rule->kind = is_deref ? UNWIND_CFA_DEREF : UNWIND_CFA;
	rule->offset = (int32_t)(is_deref ? offset : offset + added);
	rule->added = is_deref ? (int32_t)added : 0;
}

static struct unwind_saved saved_of(const struct told *told)
{
	struct unwind_saved lost = { .place = UNWIND_LOST };

	if (told->how == TOLD_SAME)
		return (struct unwind_saved){ .place = UNWIND_KEPT };
	if (told->how == TOLD_OFFSET && is_small(told->offset))
		return (struct unwind_saved){ .place = UNWIND_AT_CFA, .offset = (int32_t)told->offset };
	if (told->how == TOLD_EXPRESSION) {
		struct cursor cursor = cursor_at(told->expression, 0);
		uint32_t reg;
		int64_t offset;
		if (read_base(&cursor, &reg, &offset) && !cursor_left(&cursor) && reg == UNWIND_RBP && is_small(offset))
			return (struct unwind_saved){ .place = UNWIND_AT_BP, .offset = (int32_t)offset };
	}
	return lost;
}

/* Offset of the stack pointer in the ucontext that the kernel leaves at sp: what the frames of signals have as their CFA. */
static bool is_kernel_frame(const struct unwind_rule *rule)
{
	enum { UCONTEXT_RSP = 160 };

	return rule->kind == UNWIND_CFA_DEREF && rule->reg == UNWIND_RSP && rule->offset == UCONTEXT_RSP && rule->added == 0;
}

static struct unwind_rule rule_of(const struct run *run)
{
	const struct state *state = &run->state;
	struct unwind_rule rule = { .kind = UNWIND_UNSUPPORTED };

	if (state->ra.how == TOLD_UNDEFINED)
		return (struct unwind_rule){ .kind = UNWIND_END };
	if (state->expression.at) {
		rule_of_expression(state->expression, &rule);
	} else if (state->has_cfa && state->reg <= UNWIND_RIP && is_small(state->offset)) {
		rule.kind = UNWIND_CFA;
		rule.reg = (uint32_t)state->reg;
		rule.offset = (int32_t)state->offset;
	}
	if (run->frame->is_signal && is_kernel_frame(&rule))
		return (struct unwind_rule){ .kind = UNWIND_SIGNAL };
	if (state->ra.how != TOLD_OFFSET || state->ra.offset != -8)
		return (struct unwind_rule){ .kind = UNWIND_UNSUPPORTED };
	rule.bp = saved_of(&state->bp);
	rule.bx = saved_of(&state->bx);
	return rule;
}

/* The row up to `to` is known. 0 to go on. */
static int advance(struct run *run, uint64_t to)
{
	if (to == run->at)
		return 0;
	struct unwind_rule rule = rule_of(run);
	int result = run->found(run->context, run->at, &rule);
	run->at = to;
	return result;
}

static struct bytes read_block(struct cursor *cursor)
{
	uint64_t size = cursor_read_uleb(cursor);
	struct bytes block = { cursor->at, size };

	cursor_skip(cursor, size);
	return block;
}

static void tell(struct run *run, uint64_t reg, struct told told)
{
	struct told *place = told_of(run, &run->state, reg);

	if (place)
		*place = told;
}

/* What is too large for any frame stays so (is_small). */
static int64_t offset_of(const struct run *run, int64_t factored)
{
	int64_t offset;

	return __builtin_mul_overflow(factored, run->frame->data_factor, &offset) ? INT64_MAX : offset;
}

static void tell_offset(struct run *run, uint64_t reg, int64_t factored)
{
	tell(run, reg, (struct told){ .how = TOLD_OFFSET, .offset = offset_of(run, factored) });
}

static void restore(struct run *run, uint64_t reg)
{
	struct told *initial = told_of(run, &run->initial, reg);

	if (initial)
		tell(run, reg, *initial);
}

static void define_cfa(struct run *run, uint64_t reg, int64_t offset)
{
	run->state.has_cfa = true;
	run->state.reg = reg;
	run->state.offset = offset;
	run->state.expression = (struct bytes){ 0 };
}

static bool do_state(struct run *run, uint8_t op)
{
	if (op == CFA_REMEMBER) {
		if (run->remembered_count == REMEMBERED_MAX)
			return false;
		run->remembered[run->remembered_count++] = run->state;
		return true;
	}
	if (!run->remembered_count)
		return false;
	run->state = run->remembered[--run->remembered_count];
	return true;
}

/* An instruction about one register. */
static bool do_register(struct run *run, uint8_t op, struct cursor *cursor)
{
	uint64_t reg = cursor_read_uleb(cursor);

	switch (op) {
	case CFA_OFFSET_EXTENDED: tell_offset(run, reg, (int64_t)cursor_read_uleb(cursor)); return true;
	case CFA_OFFSET_EXTENDED_SF: tell_offset(run, reg, (int64_t)cursor_read_leb(cursor, true)); return true;
	case CFA_GNU_NEGATIVE_OFFSET: tell_offset(run, reg, -(int64_t)(cursor_read_uleb(cursor) & INT32_MAX)); return true;
	case CFA_RESTORE_EXTENDED: restore(run, reg); return true;
	case CFA_UNDEFINED: tell(run, reg, (struct told){ .how = TOLD_UNDEFINED }); return true;
	case CFA_SAME_VALUE: tell(run, reg, (struct told){ .how = TOLD_SAME }); return true;
	case CFA_EXPRESSION:
		tell(run, reg, (struct told){ .how = TOLD_EXPRESSION, .expression = read_block(cursor) });
		return true;
	case CFA_VAL_EXPRESSION:
		read_block(cursor);
		tell(run, reg, (struct told){ .how = TOLD_OTHERWISE });
		return true;
	case CFA_REGISTER:
	case CFA_VAL_OFFSET:
	case CFA_VAL_OFFSET_SF:
		cursor_read_uleb(cursor);
		tell(run, reg, (struct told){ .how = TOLD_OTHERWISE });
		return true;
	default:
		return false; /* not known; where it ends neither */
	}
}

/* An instruction about the CFA or none; the others are do_register's. */
static bool do_other(struct run *run, uint8_t op, struct cursor *cursor)
{
	uint64_t reg;

	switch (op) {
	case CFA_NOP: return true;
	case CFA_GNU_ARGS_SIZE: cursor_read_uleb(cursor); return true;
	case CFA_REMEMBER:
	case CFA_RESTORE_STATE: return do_state(run, op);
	case CFA_DEF:
		reg = cursor_read_uleb(cursor);
		define_cfa(run, reg, (int64_t)cursor_read_uleb(cursor));
		return true;
	case CFA_DEF_SF:
		reg = cursor_read_uleb(cursor);
		define_cfa(run, reg, offset_of(run, (int64_t)cursor_read_leb(cursor, true)));
		return true;
	case CFA_DEF_REGISTER: define_cfa(run, cursor_read_uleb(cursor), run->state.offset); return true;
	case CFA_DEF_OFFSET: define_cfa(run, run->state.reg, (int64_t)cursor_read_uleb(cursor)); return true;
	case CFA_DEF_OFFSET_SF:
		define_cfa(run, run->state.reg, offset_of(run, (int64_t)cursor_read_leb(cursor, true)));
		return true;
	case CFA_DEF_EXPRESSION: run->state.expression = read_block(cursor); return true;
	default: return do_register(run, op, cursor);
	}
}

/* By how much an instruction advances; 0: it does not. */
static uint64_t read_advance(uint8_t op, struct cursor *cursor)
{
	if ((op & 0xc0) == CFA_ADVANCE)
		return op & 0x3f;
	if (op == CFA_ADVANCE1 || op == CFA_ADVANCE2 || op == CFA_ADVANCE4)
		return cursor_read(cursor, op == CFA_ADVANCE1 ? 1 : op == CFA_ADVANCE2 ? 2 : 4);
	return 0;
}

static bool is_advance(uint8_t op)
{
	return (op & 0xc0) == CFA_ADVANCE || op == CFA_ADVANCE1 || op == CFA_ADVANCE2 || op == CFA_ADVANCE4;
}

/* False: the rest makes no sense. ret_result: what found said. */
static bool run_program(struct run *run, struct bytes program, int *ret_result)
{
	struct cursor cursor = cursor_at(program, 0);

	while (cursor_left(&cursor)) {
		uint8_t op = (uint8_t)cursor_read(&cursor, 1);
		if (is_advance(op)) {
			uint64_t by;
			if (__builtin_mul_overflow(read_advance(op, &cursor), run->frame->code_factor, &by) || cursor.is_past ||
			    by > run->end - run->at)
				return false;
			*ret_result = advance(run, run->at + by);
			if (*ret_result || run->at == run->end)
				return true;
			continue;
		}
		bool is_known = true;
		if ((op & 0xc0) == CFA_OFFSET)
			tell_offset(run, op & 0x3f, (int64_t)cursor_read_uleb(&cursor));
		else if ((op & 0xc0) == CFA_RESTORE)
			restore(run, op & 0x3f);
		else
			is_known = do_other(run, op, &cursor);
		if (!is_known || cursor.is_past)
			return false;
	}
	return true;
}

int unwind_run(const struct unwind_frame *frame, unwind_found *found, void *context)
{
	struct run run = { .frame = frame, .at = frame->start, .end = frame->start + frame->length, .found = found, .context = context };
	int result = 0;

	if (run.end <= run.at)
		return 0;
	/* A CIE's program describes the function's first byte only. */
	uint64_t end = run.end;
	run.end = run.at;
	bool is_sound = run_program(&run, (struct bytes){ frame->initial, frame->initial_bytes }, &result);
	run.end = end;
	run.initial = run.state;
	is_sound = is_sound && run_program(&run, (struct bytes){ frame->program, frame->program_bytes }, &result);
	if (result || run.at == run.end)
		return result;
	if (is_sound)
		return advance(&run, run.end);
	struct unwind_rule unsupported = { .kind = UNWIND_UNSUPPORTED };
	return found(context, run.at, &unsupported);
}
