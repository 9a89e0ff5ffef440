#include "exporter_library.h"

#include "../base/log.h"
#include "../base/own_memory.h"
#include "../base/permitted.h"
#include "../base/thread.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In the build tree it has a folder of its own; installed, both libraries are in the same. */
static const char *const places[] = { "libprofshim-exporter.so", "../../exporter/serve/libprofshim-exporter.so" };

static char path[PATH_MAX]; /* "" = not found */
static void *image;         /* the file's bytes, NULL = not mapped */
static size_t image_bytes;

/* place, seen from libprofshim.so's folder. */
static bool make_path(const char *place)
{
	Dl_info own;

	if (!dladdr((void *)&exporter_library_prepare, &own) || !own.dli_fname)
		return false;
	const char *slash = strrchr(own.dli_fname, '/');
	int folder_bytes = slash ? (int)(slash - own.dli_fname) + 1 : 0;
	int n = snprintf(path, sizeof(path), "%.*s%s", folder_bytes, own.dli_fname, place);
	return n > 0 && (size_t)n < sizeof(path);
}

static void map_file(int fd)
{
	struct stat status;

	if (fstat(fd, &status) < 0 || status.st_size <= 0)
		return;
	void *base = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (base == MAP_FAILED)
		return;
	own_memory_add((uintptr_t)base, (uintptr_t)base + (size_t)status.st_size);
	image = base;
	image_bytes = (size_t)status.st_size;
}

void exporter_library_prepare(void)
{
	if (image)
		return;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int fd = make_path(places[i]) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
		if (fd < 0)
			continue;
		map_file(fd);
		close(fd);
		return;
	}
	path[0] = '\0';
}

/* By the copy: the kernel reads the mapping for us, and so a file that was cut short meanwhile is an error, no SIGBUS. */
static void *open_copy(void)
{
	char name[32];
	void *library = NULL;
	int fd = image && permitted(SYS_memfd_create) ? memfd_create("libprofshim-exporter.so", MFD_CLOEXEC) : -1;

	if (fd < 0)
		return NULL;
	if (write(fd, image, image_bytes) == (ssize_t)image_bytes) {
		snprintf(name, sizeof(name), "/proc/thread-self/fd/%d", fd);
		library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	}
	close(fd);
	return library;
}

static void *open_any(void)
{
	if (!path[0]) {
		thread_count(SEG_COUNTER_FAULT_EXPORTER);
		log_line(SEG_LOG_WARN, "libprofshim-exporter.so is not beside libprofshim.so, there will be no reports");
		return NULL;
	}
	void *library = access(path, R_OK) == 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : open_copy();
	if (!library) {
		thread_count(SEG_COUNTER_FAULT_EXPORTER);
		const char *why = dlerror();
		log_line(SEG_LOG_WARN, "%s cannot be opened (%s), there will be no reports from process %d", path,
			 why ? why : strerror(errno), (int)getpid());
	}
	return library;
}

void *exporter_library_open(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the serving thread, and the one that ends the program */
	static void *library;
	static bool has_tried;

	pthread_mutex_lock(&lock);
	if (!has_tried)
		library = open_any();
	has_tried = true;
	pthread_mutex_unlock(&lock);
	return library;
}
