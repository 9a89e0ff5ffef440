/* What the program sets meanwhile, in another thread, must not be lost: what comes out of the kernel when ours goes in is
 * compared with what was thought to be in there, and if it is another, goes back in. */
#include "guard.h"

#include "../base/real.h"
#include "deputy.h"
#include "entry.h"

#include <stdatomic.h>
#include <string.h>

static const int numbers[] = { SIGSEGV, SIGBUS };
enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };

static bool is_same(const struct sigaction *a, const struct sigaction *b)
{
	return a->sa_handler == b->sa_handler && a->sa_flags == b->sa_flags && deputy_mask_of(&a->sa_mask) == deputy_mask_of(&b->sa_mask);
}

/* The kernel's disposition becomes what is right for the program's now. */
static void settle(int number)
{
	struct sigaction in_kernel, wanted, found;

	if (real.sigaction(number, NULL, &in_kernel) != 0)
		return;
	entry_program_action(&in_kernel);
	wanted = in_kernel;
	for (;;) {
		struct sigaction kernel = entry_kernel_action_of_start(number, &wanted);
		if (real.sigaction(number, &kernel, &found) != 0)
			return;
		entry_program_action(&found);
		if (is_same(&found, &in_kernel))
			return;
		in_kernel = wanted;
		wanted = found;
	}
}

static void settle_all(void)
{
	for (int i = 0; i < NUMBERS; i++)
		settle(numbers[i]);
}

void guard_raise(void)
{
	uint64_t guarded = 0;

	if (atomic_load_explicit(&entry_guarded, memory_order_relaxed))
		return;
	for (int i = 0; i < NUMBERS; i++)
		guarded |= deputy_bit_of(numbers[i]);
	if (atomic_exchange_explicit(&entry_guarded, guarded, memory_order_relaxed) == 0)
		settle_all();
}

void guard_lower(void)
{
	if (atomic_exchange_explicit(&entry_guarded, 0, memory_order_relaxed))
		settle_all();
}
