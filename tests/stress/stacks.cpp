/* stacks - that are not where they are looked for, and handlers that never come back. */
#include "torture.h"

#include <csetjmp>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace {

constexpr size_t STACK_BYTES = 16 << 10, ALTERNATE_BYTES = 8 << 10, PAGE_BYTES = 4096;

/* --- jumps --- */

thread_local sigjmp_buf out;

void jump_out(int)
{
	siglongjmp(out, 1);
}

void handle(int number, void (*handler)(int), int flags)
{
	struct sigaction action = {};

	action.sa_handler = handler;
	action.sa_flags = flags;
	require(sigaction(number, &action, nullptr) == 0, "sigaction");
}

timer_t start_timer(int number, long ns)
{
	struct sigevent event = {};
	struct itimerspec soon = {};
	timer_t timer;

	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = number;
	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	soon.it_value.tv_nsec = ns;
	require(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &soon, nullptr) == 0, "timer");
	return timer;
}

/* Each of these never returns by itself. */
void block(int kind, int fd)
{
	struct pollfd waited = { fd, POLLIN, 0 };
	char byte;

	for (;;)
		switch (kind % 3) {
		case 0: read(fd, &byte, 1); break;
		case 1: poll(&waited, 1, -1); break;
		default: burn(10); break;
		}
}

/* --- coroutines --- */

char *map_stack()
{
	char *stack = (char *)mmap(nullptr, STACK_BYTES + PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	require(stack != MAP_FAILED, "mmap");
	mprotect(stack, PAGE_BYTES, PROT_NONE);
	return stack;
}

void unmap_stack(char *stack)
{
	munmap(stack, STACK_BYTES + PAGE_BYTES);
}

thread_local ucontext_t outer, inner;
thread_local int turns;

void turn()
{
	for (int i = 0; i < 5; i++) {
		turns += burn(20);
		swapcontext(&inner, &outer);
	}
}

/* By hand, as fast libraries do: no frame of the old stack can be found from the new one. */
extern "C" void torture_switch(void **ret_from, void *to);
extern "C" void torture_enter(void);
__asm__(".text\n"
	".globl torture_switch\n"
	"torture_switch:\n"
	"	push %rbp\n	push %rbx\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbx\n	pop %rbp\n"
	"	ret\n");

thread_local void *caller_stack, *own_stack;

void be_switched()
{
	for (;;) {
		turns += burn(20);
		torture_switch(&own_stack, caller_stack);
	}
}

/* --- alternate stacks, faults --- */

thread_local volatile int handled;

int use_stack(int depth)
{
	volatile char room[200];

	room[0] = (char)depth;
	return depth ? use_stack(depth - 1) + room[0] : burn(100);
}

void on_alternate(int)
{
	handled = handled + (use_stack(2) > 0); /* of 8 KiB two signal frames take more than 6 */
}

thread_local char *faulting;
thread_local sigjmp_buf fault_out;

void on_fault(int, siginfo_t *info, void *)
{
	if (info->si_addr != faulting)
		_exit(4); /* another's fault */
	if (handled++ % 2)
		siglongjmp(fault_out, 1);
	mprotect(faulting, PAGE_BYTES, PROT_READ | PROT_WRITE);
}

}

long jump_round()
{
	const int number = SIGRTMIN + 1;
	volatile long result = 0;
	int pair[2];
	volatile int kind = 0;
	volatile timer_t timer = nullptr; /* else the jump back brings the one before, which is gone already */

	handle(number, jump_out, 0);
	require(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	for (; kind < 12; kind = kind + 1) {
		if (sigsetjmp(out, 1) == 0) {
			timer = start_timer(number, 3000000);
			block(kind, pair[0]);
		}
		result = result + 1;
		timer_delete(timer);
	}
	close(pair[0]);
	close(pair[1]);
	return result;
}

long coroutine_round()
{
	turns = 0;
	for (int i = 0; i < 20; i++) {
		char *stack = map_stack();
		getcontext(&inner);
		inner.uc_stack.ss_sp = stack + PAGE_BYTES;
		inner.uc_stack.ss_size = STACK_BYTES;
		inner.uc_link = &outer;
		makecontext(&inner, turn, 0);
		for (int j = 0; j < 6; j++)
			swapcontext(&outer, &inner);
		unmap_stack(stack);
	}
	return turns;
}

long switched_round()
{
	turns = 0;
	for (int i = 0; i < 40; i++) {
		char *stack = map_stack();
		void **top = (void **)(stack + PAGE_BYTES + STACK_BYTES) - 8;
		memset(top, 0, 8 * sizeof(*top));
		top[6] = (void *)be_switched;
		own_stack = top;
		for (int j = 0; j < 3; j++)
			torture_switch(&caller_stack, own_stack);
		unmap_stack(stack);
	}
	return turns;
}

long alternate_round()
{
	const int number = SIGRTMIN + 2;
	char *memory = (char *)mmap(nullptr, ALTERNATE_BYTES + PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = {}, none = {};

	require(memory != MAP_FAILED, "mmap");
	mprotect(memory, PAGE_BYTES, PROT_NONE);
	stack.ss_sp = memory + PAGE_BYTES;
	stack.ss_size = ALTERNATE_BYTES;
	none.ss_flags = SS_DISABLE;
	handle(number, on_alternate, SA_ONSTACK | SA_RESTART);
	require(sigaltstack(&stack, nullptr) == 0, "sigaltstack");
	handled = 0;
	for (int i = 0; i < 20; i++)
		raise(number);
	sigaltstack(&none, nullptr);
	munmap(memory, ALTERNATE_BYTES + PAGE_BYTES);
	return handled;
}

/* The program's own handler of SIGSEGV repairs every other fault, and jumps out of the rest. */
long fault_round()
{
	static bool has_handler = false;
	struct sigaction action = {};
	volatile long result = 0;

	if (!has_handler) {
		action.sa_sigaction = on_fault;
		action.sa_flags = SA_SIGINFO;
		require(sigaction(SIGSEGV, &action, nullptr) == 0, "sigaction");
		has_handler = true;
	}
	handled = 0;
	for (volatile int i = 0; i < 40; i = i + 1) {
		faulting = (char *)mmap(nullptr, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		require(faulting != MAP_FAILED, "mmap");
		if (sigsetjmp(fault_out, 1) == 0) {
			*(volatile char *)faulting = 1;
			result = result + 1;
		} else {
			result = result + 100;
		}
		munmap(faulting, PAGE_BYTES);
		burn(20);
	}
	return result;
}

long recursion_round()
{
	return use_stack(20000) != 0;
}
