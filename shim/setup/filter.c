/* Classic BPF over struct seccomp_data, Documentation/networking/filter.rst: an accumulator, an index, 16 words of memory.
 * A filter that cannot be read is taken to let nothing through.
 */
#include "filter.h"

#include "../base/readable.h"

#include <errno.h>
#include <linux/audit.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What hooks, the handler, and the beginning and end of a thread ask of the kernel. */
static const uint16_t own_calls[] = {
	SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigtimedwait, SYS_rt_sigqueueinfo,
	SYS_rt_tgsigqueueinfo, SYS_getpid, SYS_gettid, SYS_tgkill, SYS_kill, SYS_timer_create, SYS_timer_settime, SYS_timer_delete,
	SYS_clock_gettime, SYS_getrusage, SYS_get_robust_list, SYS_futex, SYS_fstat, SYS_newfstatat, SYS_getsockname,
	SYS_getpeername, SYS_getsockopt, SYS_mmap, SYS_munmap, SYS_madvise, SYS_mprotect, SYS_openat, SYS_getdents64, SYS_read,
	SYS_write, SYS_close, SYS_fcntl, SYS_ppoll, SYS_sigaltstack, SYS_sched_yield, SYS_nanosleep,
};

/* What its making and its work ask, beyond those: that of glibc 2.36, of libmicrohttpd 0.9.75 and of ours. */
static const uint16_t serving_calls[] = {
	SYS_clone3, SYS_clone, SYS_set_robust_list, SYS_rseq, SYS_prctl, SYS_exit, SYS_clock_nanosleep, SYS_pread64, SYS_lseek,
	SYS_readlink, SYS_access, SYS_statfs, SYS_fstatfs, SYS_brk, SYS_mremap, SYS_getrandom, SYS_socket, SYS_bind, SYS_listen,
	SYS_accept4, SYS_setsockopt, SYS_recvfrom, SYS_sendto, SYS_sendmsg, SYS_shutdown, SYS_writev, SYS_epoll_create1,
	SYS_epoll_ctl, SYS_epoll_wait, SYS_eventfd2, SYS_poll, SYS_unlink, SYS_unlinkat, SYS_sched_getscheduler, SYS_capget,
	SYS_fallocate,
};

static const uint16_t spared_calls[] = {
	SYS_perf_event_open, SYS_pidfd_open, SYS_pidfd_getfd, SYS_close_range, SYS_unshare, SYS_kcmp, SYS_sched_setscheduler, SYS_memfd_create,
	SYS_mlock2, SYS_munlock, SYS_mkdir, SYS_set_tid_address,
};

/* The beginning of a session, or of a part in it. */
static const uint16_t starting_calls[] = {
	SYS_geteuid, SYS_getppid, SYS_ftruncate, SYS_fstatfs, SYS_statfs, SYS_unlink, SYS_readlink, SYS_getcwd, SYS_prlimit64,
	SYS_sysinfo, SYS_fallocate, SYS_lseek, SYS_pread64, SYS_access, SYS_brk, SYS_getrandom,
};

#define LIST(numbers) { numbers, sizeof(numbers) / sizeof((numbers)[0]) }
const struct filter_list filter_lists[FILTER_CALLS_COUNT] = {
	[FILTER_OWN] = LIST(own_calls),
	[FILTER_SERVING] = LIST(serving_calls),
	[FILTER_STARTING] = LIST(starting_calls),
	[FILTER_SPARED] = LIST(spared_calls),
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

bool filter_can_be_read(const struct sock_fprog *filter)
{
	return readable_asked(filter, sizeof(*filter)) &&
	       readable_asked(filter->filter, filter->len * sizeof(filter->filter[0]));
}

static bool allows(const struct sock_fprog *filter, uint16_t number)
{
	struct seccomp_data data = { .nr = number, .arch = AUDIT_ARCH_X86_64 };
	uint32_t action = filter_answer(filter, &data) & SECCOMP_RET_ACTION_FULL;

	return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG;
}

bool filter_allows_us(const struct sock_fprog *filter)
{
	for (size_t i = 0; i < filter_lists[FILTER_OWN].count; i++)
		if (!allows(filter, own_calls[i]))
			return false;
	return true;
}

void filter_note(const struct sock_fprog *filter)
{
	for (enum filter_calls calls = FILTER_SERVING; calls < FILTER_CALLS_COUNT; calls++)
		for (size_t i = 0; i < filter_lists[calls].count; i++)
			if (!allows(filter, filter_lists[calls].numbers[i]))
				permitted_forbid(filter_lists[calls].numbers[i]);
}

bool filter_permits(enum filter_calls calls)
{
	for (size_t i = 0; i < filter_lists[calls].count; i++)
		if (!permitted(filter_lists[calls].numbers[i]))
			return false;
	return true;
}
