#include "real.h"

#include <dlfcn.h>

struct real real;

/* dlsym finds the caller's library by the return address, so it must be called from this one and not in tail position:
 * as a jump the loader would see our caller instead and search from there. Storing the result keeps it a call. */
#define REAL_RESOLVE(result, name, parameters) *(void **)&real.name = dlsym(RTLD_NEXT, #name);

void real_resolve(void)
{
	REAL_FUNCTIONS(REAL_RESOLVE)
}
