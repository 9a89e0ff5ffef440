/* A second unit for link-time optimization: what is inlined across units keeps its own file. */
#include "sample.h"

int outer(int n);

__attribute__((noinline)) int other_function(int n) /* MARK other_function */
{
	__asm__ volatile("probe_in_other: nop"); /* MARK in_other */
	return outer(n) + 1;
}
