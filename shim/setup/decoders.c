#include "decoders.h"

#include "../base/thread.h"
#include "../requests/hpack.h"
#include "../sampling/modules.h"

#include <errno.h>

_Atomic bool decoders_are_asked_for;

void decoders_open(void)
{
	int saved_errno = errno;

	if (atomic_exchange_explicit(&decoders_are_asked_for, true, memory_order_relaxed))
		return;
	self.own_depth++;
	if (hpack_open())
		modules_refresh();
	self.own_depth--;
	errno = saved_errno;
}
