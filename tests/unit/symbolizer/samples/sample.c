/* What the symbolizer's tests look up. Each probe is a local label, of which the test finds the address in the symbol
 * table (nm) and the line by the comment MARK and the label's name. Nothing here is ever run.
 */
#include "sample.h"

#define PROBE(name) __asm__ volatile("probe_" #name ": nop")

int shared_counter;

static __attribute__((noinline, noclone)) int static_function(int n) /* MARK static_function */
{
	PROBE(in_static); /* MARK in_static */
	return n * shared_counter;
}

static inline __attribute__((always_inline)) int inlined(int n) /* MARK inlined */
{
	PROBE(in_inlined); /* MARK in_inlined */
	return n + 3;
}

__attribute__((noinline)) int outer(int n) /* MARK outer */
{
	shared_counter += n;
	PROBE(in_outer); /* MARK in_outer */
	return inlined(n) + static_function(n);
}

int _alias_with_underscore(int n) __attribute__((alias("outer")));
int longer_alias_of_outer(int n) __attribute__((alias("outer")));
int out(int n) __attribute__((weak, alias("outer")));

__attribute__((noinline)) int calls_header(int n) /* MARK calls_header */
{
	return from_header(n);
}

__attribute__((noinline)) int has_nested(int n) /* MARK has_nested */
{
	__attribute__((noinline)) int nested(int k) /* MARK nested */
	{
		PROBE(in_nested); /* MARK in_nested */
		return k * shared_counter;
	}
	return nested(n) + nested(n + 1);
}

__attribute__((cold)) void report_error(const char *text, int n);

/* gcc moves the branch out of the way, as has_cold_part.cold: one function in two pieces. */
__attribute__((noinline)) int has_cold_part(int n) /* MARK has_cold_part */
{
	int product = n * 3;

	if (n > 100) {
		report_error("product", product);
		shared_counter += 12;
		report_error("n", n);
	}
	for (int i = 0; i < n; i++)
		shared_counter += i * shared_counter;
	return n + shared_counter;
}

/* An assembler function without a size, described by a frame, and then code that nothing names; a visible label inside of
 * a function of known size, and a sized function after which comes a gap. */
__asm__(".text\n"
	".p2align 4\n"
	".globl unsized_function\n"
	".type unsized_function, @function\n"
	"unsized_function:\n"
	".cfi_startproc\n"
	"nop\n"
	"probe_in_unsized: nop\n"
	"ret\n"
	".cfi_endproc\n"
	"probe_nameless: nop\n"
	"ret\n"
	".p2align 4\n"
	".globl sized_function\n"
	".type sized_function, @function\n"
	"sized_function:\n"
	"nop\n"
	".globl visible_label\n"
	"visible_label: nop\n"
	"ret\n"
	".size sized_function, .-sized_function\n"
	"probe_behind_sized: nop\n"
	"ret\n"
	"probe_only_framed:\n"
	".cfi_startproc\n"
	"nop\n"
	"probe_in_only_framed: nop\n"
	"ret\n"
	".cfi_endproc\n");
