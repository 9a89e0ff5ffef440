/* Classic BPF over struct seccomp_data, Documentation/networking/filter.rst: an accumulator, an index, 16 words of memory.
 * A filter that cannot be read is taken to let nothing through.
 */
#include "filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

/* What hooks, the handler, and the beginning and end of a thread ask of the kernel. */
static const uint16_t calls[] = {
	SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_getpid, SYS_gettid, SYS_tgkill, SYS_kill, SYS_timer_create,
	SYS_timer_settime, SYS_timer_delete, SYS_clock_gettime, SYS_futex, SYS_fstat, SYS_newfstatat, SYS_getsockname,
	SYS_getpeername, SYS_getsockopt, SYS_mmap, SYS_munmap, SYS_madvise, SYS_mprotect, SYS_openat, SYS_read, SYS_write,
	SYS_close, SYS_sigaltstack, SYS_sched_yield, SYS_nanosleep,
};

struct machine {
	uint32_t a, x, memory[BPF_MEMWORDS];
};

static uint32_t operand(const struct machine *machine, const struct sock_filter *line)
{
	return BPF_SRC(line->code) == BPF_X ? machine->x : line->k;
}

/* False: no such operation. */
static bool calculate(struct machine *machine, const struct sock_filter *line)
{
	uint32_t by = operand(machine, line);

	switch (BPF_OP(line->code)) {
	case BPF_ADD: machine->a += by; return true;
	case BPF_SUB: machine->a -= by; return true;
	case BPF_MUL: machine->a *= by; return true;
	case BPF_DIV: machine->a = by ? machine->a / by : 0; return by != 0;
	case BPF_OR: machine->a |= by; return true;
	case BPF_AND: machine->a &= by; return true;
	case BPF_XOR: machine->a ^= by; return true;
	case BPF_LSH: machine->a = by < 32 ? machine->a << by : 0; return true;
	case BPF_RSH: machine->a = by < 32 ? machine->a >> by : 0; return true;
	case BPF_NEG: machine->a = -machine->a; return true;
	default: return false;
	}
}

static bool load(struct machine *machine, const struct sock_filter *line, const struct seccomp_data *data)
{
	uint32_t *to = BPF_CLASS(line->code) == BPF_LDX ? &machine->x : &machine->a;

	switch (BPF_MODE(line->code)) {
	case BPF_ABS:
		if (line->k > sizeof(*data) - sizeof(uint32_t))
			return false;
		memcpy(to, (const char *)data + line->k, sizeof(*to));
		return true;
	case BPF_IMM: *to = line->k; return true;
	case BPF_LEN: *to = sizeof(*data); return true;
	case BPF_MEM:
		if (line->k >= BPF_MEMWORDS)
			return false;
		*to = machine->memory[line->k];
		return true;
	default: return false;
	}
}

static bool store(struct machine *machine, const struct sock_filter *line)
{
	if (line->k >= BPF_MEMWORDS)
		return false;
	machine->memory[line->k] = BPF_CLASS(line->code) == BPF_STX ? machine->x : machine->a;
	return true;
}

/* How many lines to pass over. */
static uint32_t jump(const struct machine *machine, const struct sock_filter *line)
{
	uint32_t with = operand(machine, line);
	bool is_so;

	switch (BPF_OP(line->code)) {
	case BPF_JEQ: is_so = machine->a == with; break;
	case BPF_JGT: is_so = machine->a > with; break;
	case BPF_JGE: is_so = machine->a >= with; break;
	case BPF_JSET: is_so = machine->a & with; break;
	default: return line->k; /* BPF_JA */
	}
	return is_so ? line->jt : line->jf;
}

/* SECCOMP_RET_...; what kills, where the filter cannot be read. */
static uint32_t run(const struct sock_fprog *filter, const struct seccomp_data *data)
{
	struct machine machine = { 0 };

	for (uint32_t at = 0; at < filter->len; at++) {
		const struct sock_filter *line = &filter->filter[at];
		bool is_understood = true;
		switch (BPF_CLASS(line->code)) {
		case BPF_LD:
		case BPF_LDX: is_understood = load(&machine, line, data); break;
		case BPF_ST:
		case BPF_STX: is_understood = store(&machine, line); break;
		case BPF_ALU: is_understood = calculate(&machine, line); break;
		case BPF_JMP: at += jump(&machine, line); break;
		case BPF_RET: return BPF_RVAL(line->code) == BPF_A ? machine.a : line->k;
		default: /* BPF_MISC */
			if (BPF_MISCOP(line->code) == BPF_TXA)
				machine.a = machine.x;
			else
				machine.x = machine.a;
		}
		if (!is_understood)
			break;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

bool filter_allows_us(const struct sock_fprog *filter)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct seccomp_data data = { .nr = calls[i], .arch = AUDIT_ARCH_X86_64 };
		uint32_t action = run(filter, &data) & SECCOMP_RET_ACTION_FULL;
		if (action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_LOG)
			return false;
	}
	return true;
}
