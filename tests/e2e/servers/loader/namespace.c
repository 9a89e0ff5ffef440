/* namespace LIBRARY: is busy in a library of another namespace, in this thread and in another. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

static void (*work)(int);

static void *run(void *unused)
{
	work(300);
	return unused;
}

int main(int argc, char **argv)
{
	void *handle = argc == 2 ? dlmopen(LM_ID_NEWLM, argv[1], RTLD_NOW) : NULL;
	pthread_t thread;

	if (!handle) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	work = (void (*)(int))dlsym(handle, "plugin_work");
	pthread_create(&thread, NULL, run, NULL);
	run(NULL);
	pthread_join(thread, NULL);
	printf("done\n");
	return dlclose(handle);
}
