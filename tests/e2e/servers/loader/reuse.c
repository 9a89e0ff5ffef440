/* reuse A B: opens and closes two libraries in turn, each of which is busy; says whether they lay at one address. */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>

static void *work_in(const char *path, int millions)
{
	void *handle = dlopen(path, RTLD_NOW);
	struct link_map *map = handle;

	if (!handle) {
		fprintf(stderr, "%s\n", dlerror());
		return NULL;
	}
	void (*work)(int) = (void (*)(int))dlsym(handle, "plugin_work");
	void *base = (void *)map->l_addr;
	work(millions);
	dlclose(handle);
	return base;
}

int main(int argc, char **argv)
{
	int same = 0;

	for (int i = 0; argc == 3 && i < 30; i++)
		same += work_in(argv[1], 5) == work_in(argv[2], 5);
	printf("%d times at one address\n", same);
	return 0;
}
