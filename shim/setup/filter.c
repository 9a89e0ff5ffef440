/* Classic BPF over struct seccomp_data, Documentation/networking/filter.rst: an accumulator, an index, 16 words of memory.
 * A filter that cannot be read is taken to let nothing through.
 */
#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

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
	case BPF_LSH: machine->a <<= by % 32; return true; /* as processors do */
	case BPF_RSH: machine->a >>= by % 32; return true;
	case BPF_NEG: machine->a = -machine->a; return true;
	default: return false;
	}
}

static bool load(struct machine *machine, const struct sock_filter *line, const struct seccomp_data *data)
{
	uint32_t *to = BPF_CLASS(line->code) == BPF_LDX ? &machine->x : &machine->a;

	switch (BPF_MODE(line->code)) {
	case BPF_ABS:
		if (line->k > sizeof(*data) - sizeof(uint32_t) || line->k % sizeof(uint32_t))
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

uint32_t filter_answer(const struct sock_fprog *filter, const struct seccomp_data *data)
{
	struct machine machine = { 0 };

	/* A jump may say any number of lines: in 64 bits it does not come round. */
	for (uint64_t at = 0; at < filter->len; at++) {
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

static bool is_readable(const void *address, size_t bytes)
{
	char copy[512];

	for (size_t at = 0; at < bytes; at += sizeof(copy)) {
		size_t n = bytes - at < sizeof(copy) ? bytes - at : sizeof(copy);
		struct iovec to = { copy, n }, from = { (char *)(uintptr_t)address + at, n };
		ssize_t read = syscall(SYS_process_vm_readv, getpid(), &to, 1, &from, 1, 0);
		if (read < 0 && errno != EFAULT)
			return true; /* nobody tells: it is the program's word that there is a filter */
		if (read != (ssize_t)n)
			return false;
	}
	return true;
}

bool filter_can_be_read(const struct sock_fprog *filter)
{
	return is_readable(filter, sizeof(*filter)) &&
	       is_readable(filter->filter, filter->len * sizeof(filter->filter[0]));
}

bool filter_allows_us(const struct sock_fprog *filter)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct seccomp_data data = { .nr = calls[i], .arch = AUDIT_ARCH_X86_64 };
		uint32_t action = filter_answer(filter, &data) & SECCOMP_RET_ACTION_FULL;
		if (action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_LOG)
			return false;
	}
	return true;
}
