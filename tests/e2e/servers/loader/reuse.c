/* reuse A B: opens and closes two libraries in turn, each of which is busy; says how often they lay at one address. What else
 * is mapped and unmapped meanwhile leaves holes that the kernel may prefer: those are filled first.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

enum { ROUNDS = 30, FILLERS_MAX = 64, PAGE_BYTES = 4096 };

/* Of a library: where it lies, and how many bytes from its first page to its last. */
struct place {
	uintptr_t base, bytes;
};

static int note_bytes(struct dl_phdr_info *module, size_t size, void *given)
{
	struct place *place = given;

	(void)size;
	if (module->dlpi_addr != place->base)
		return 0;
	for (int i = 0; i < module->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &module->dlpi_phdr[i];
		uintptr_t end = (segment->p_vaddr + segment->p_memsz + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
		if (segment->p_type == PT_LOAD && end > place->bytes)
			place->bytes = end;
	}
	return 1;
}

static struct place work_in(const char *path, int millions)
{
	struct place place = { 0, 0 };
	void *handle = dlopen(path, RTLD_NOW);
	struct link_map *map = handle;

	if (!handle) {
		fprintf(stderr, "%s\n", dlerror());
		return place;
	}
	void (*work)(int) = (void (*)(int))dlsym(handle, "plugin_work");
	place.base = map->l_addr;
	dl_iterate_phdr(note_bytes, &place);
	work(millions);
	dlclose(handle);
	return place;
}

/* The next mapping as large will lie there, if the hole is still one. */
static void fill_other_holes(struct place place)
{
	for (int i = 0; i < FILLERS_MAX; i++) {
		void *memory = mmap(NULL, place.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			return;
		if ((uintptr_t)memory == place.base) {
			munmap(memory, place.bytes);
			return;
		}
	}
}

int main(int argc, char **argv)
{
	int same = 0;

	for (int i = 0; argc == 3 && i < ROUNDS; i++) {
		struct place first = work_in(argv[1], 5);
		fill_other_holes(first);
		same += work_in(argv[2], 5).base == first.base;
	}
	printf("%d times at one address\n", same);
	return 0;
}
