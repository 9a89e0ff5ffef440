#pragma once
/* steps - code to be stepped through: every way in which a function can begin, end and be left (test_single_step.c). */
#ifdef __cplusplus
extern "C" {
#endif

extern volatile int steps_sink;

/* Sets the trap flag of the calling thread: a SIGTRAP after each instruction from here on. Needed anew in a handler. */
static inline void steps_on(void)
{
	__asm__ volatile("pushf\n\torq $0x100, (%%rsp)\n\tpopf" ::: "memory", "cc");
}

void steps_plain(void);      /* prologues, epilogues, leaf code, many arguments, tail calls */
void steps_small(void);      /* the same for size: push and pop */
void steps_pointers(void);   /* with frame pointers */
void steps_stack(void);      /* alloca, large frames, frames that align themselves */
void steps_lazy(void);       /* calls through the linkage table, bound on the way */
void steps_library(void);    /* qsort's callback, printf's machinery */
void steps_jump(void);       /* setjmp and longjmp */
void steps_signal(void);     /* a handler, a handler on an alternate stack, one that interrupts the other */
void steps_vdso(void);
void steps_assembler(void);  /* with rules by expression: libcrypto's */
void steps_throw(void);      /* C++ exceptions through frames with destructors */

#ifdef __cplusplus
}
#endif
