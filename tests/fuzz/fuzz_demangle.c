/* Fuzzes the demangling of names: on a stack as large as the one that it has in a program, and in bounded time. */
#include "../../symbolizer/demangle.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { STACK_BYTES = 1 << 20, /* half of what the serving thread has */ LENGTH_MAX = 1 << 20 };

static void *run(void *name)
{
	char *readable = demangle(name);

	if (readable && strlen(readable) > LENGTH_MAX)
		abort();
	free(readable);
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *name = malloc(n + 1);
	pthread_attr_t attributes;
	pthread_t thread;

	memcpy(name, bytes, n);
	name[n] = '\0';
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	if (pthread_create(&thread, &attributes, run, name) == 0)
		pthread_join(thread, NULL);
	pthread_attr_destroy(&attributes);
	free(name);
	return 0;
}
