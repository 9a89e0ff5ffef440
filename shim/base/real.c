#include "real.h"

#include <dlfcn.h>

struct real real;

/* dlsym finds the caller's library by the return address, so it must be called from this one and not in tail position:
 * as a jump the loader would see our caller instead and search from there. Storing the result keeps it a call. */
#define REAL_RESOLVE(result, name, parameters) *(void **)&real.name = dlsym(RTLD_NEXT, #name);
#define REAL_RESOLVE_OLDER(name)                                                                                       \
	*(void **)&real.older.name = dlvsym(RTLD_NEXT, #name, "GLIBC_2.2.5");                                          \
	if (!real.older.name)                                                                                          \
		real.older.name = real.name;

_Atomic bool real_is_known;

/* A name that this libc lacks makes dlsym allocate its message, and an allocator may call hooks. */
static __thread bool is_resolving __attribute__((tls_model("initial-exec")));

void real_resolve(void)
{
	if (is_resolving)
		return;
	is_resolving = true;
	REAL_FUNCTIONS(REAL_RESOLVE)
	REAL_OLDER_FUNCTIONS(REAL_RESOLVE_OLDER)
	atomic_store_explicit(&real_is_known, true, memory_order_release);
	is_resolving = false;
}
