/* Setup for kernel_clock.c, apart from it since the loader is not for signal context. */
#include "kernel_clock.h"

#include <dlfcn.h>
#include <stddef.h>

void kernel_clock_open(void)
{
	void *library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	kernel_clock_function *function = NULL;

	if (library)
		*(void **)&function = dlsym(library, "clock_gettime");
	atomic_store_explicit(&kernel_clock, function, memory_order_release);
}
