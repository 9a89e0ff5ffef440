/* The directory is ours alone (0700) and checked to be so before anything in it is opened: a directory that somebody
 * else could write to would let him exchange the file under us.
 *
 * A page of a sparse file that cannot be had is a SIGBUS in the program. So the file's space is checked when it is made,
 * and the serving thread takes all of it for good as soon as what is free runs low. Not before: most programs need a small
 * part of it.
 */
#include "session.h"

#include "../base/clock.h"
#include "../base/log.h"
#include "../base/own_memory.h"
#include "../base/permitted.h"
#include "../base/thread.h"
#include "../segment/kernel_clock.h"
#include "namespace.h"
#include "process.h"
#include "server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HEARTBEAT_MAX_NS 10000000000ULL  /* 10 s: many ticks of the server */
#define SPACE_SCARCE_BYTES (1ULL << 30)  /* 1 GiB: more than memory can be filled with between two looks */
#define UNFINISHED_MAX_NS 60000000000ULL /* 60 s: a segment is laid out in milliseconds */

static char directory_path[PATH_MAX];
static char file_path[PATH_MAX];

/* Which directory; the default depends on who we are. False: the path is too long. */
static bool choose_directory(const struct config *config)
{
	int n;

	if (config->directory[0])
		n = snprintf(directory_path, sizeof(directory_path), "%s", config->directory);
	else if (config->runtime_directory[0])
		n = snprintf(directory_path, sizeof(directory_path), "%s/profshim", config->runtime_directory);
	else
		n = snprintf(directory_path, sizeof(directory_path), "/dev/shm/profshim-%u", (unsigned)geteuid());
	return n > 0 && (size_t)n < sizeof(directory_path);
}

/* Makes the directory if need be; NULL, or why it cannot be used. */
static const char *prepare_directory(void)
{
	struct stat status;

	if (permitted(SYS_mkdir) && mkdir(directory_path, 0700) < 0 && errno != EEXIST)
		return strerror(errno);
	if (lstat(directory_path, &status) < 0)
		return strerror(errno);
	if (!S_ISDIR(status.st_mode))
		return "it is not a directory";
	if (status.st_uid != geteuid())
		return "it belongs to another user";
	if (status.st_mode & 022)
		return "others may write to it";
	return NULL;
}

/* A new file of bytes, mapped; NULL and errno if it cannot be had. */
static void *map_new_file(size_t bytes)
{
	struct rlimit size;
	struct statvfs space;

	/* A file beyond the limit would be a SIGXFSZ, setrlimit(2). */
	if (getrlimit(RLIMIT_FSIZE, &size) == 0 && size.rlim_cur < bytes) {
		errno = EFBIG;
		return NULL;
	}
	int fd = open(file_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return NULL;
	void *base = MAP_FAILED;
	if (fstatvfs(fd, &space) == 0 && (uint64_t)space.f_bavail * space.f_frsize < bytes)
		errno = ENOSPC;
	else if (ftruncate(fd, (off_t)bytes) == 0)
		base = own_memory_map(bytes, MAP_SHARED, fd);
	int saved_errno = errno;
	close(fd);
	errno = saved_errno;
	if (base != MAP_FAILED)
		return base;
	unlink(file_path);
	errno = saved_errno;
	return NULL;
}

/* A session whose server looked after it not long ago is somebody's, though he be in a pid namespace that we do not see. */
static bool was_served_lately(const struct segment *head)
{
	uint64_t heartbeat_ns = atomic_load_explicit(&head->heartbeat_mono_ns, memory_order_relaxed);
	uint64_t now_ns = clock_now_ns();

	return heartbeat_ns && heartbeat_ns <= now_ns && now_ns - heartbeat_ns < HEARTBEAT_MAX_NS &&
	       !atomic_load_explicit(&head->ended_mono_ns, memory_order_relaxed);
}

static bool view_is_in_use(const struct seg_view *view)
{
	const struct seg_slots *processes = &view->slots[SEG_TABLE_PROCESSES];

	for (uint32_t i = 0; (i = seg_table_next(processes, i)) < processes->count; i++) {
		uint64_t owner = atomic_load_explicit(&view->processes[i].owner, memory_order_relaxed);
		uint64_t since_ns = atomic_load_explicit(&view->processes[i].since_boot_ns, memory_order_relaxed);
		pid_t pid = seg_process_pid(owner);
		/* Of one in a namespace of its own the server's word below must do. */
		if (atomic_load_explicit(&view->processes[i].pid_namespace, memory_order_relaxed) != view->head->pid_namespace)
			continue;
		if (pid > 0 && process_is_alive(pid, seg_process_is_in(owner) ? since_ns : 0))
			return true;
	}
	return was_served_lately(view->head);
}

/* Some process of the session in the file at path is alive, or nobody can tell. */
static bool file_is_in_use(const char *path)
{
	struct seg_view view = { 0 };

	if (seg_open(&view, path, false) != SEG_OK)
		return false;
	bool is_in_use = view_is_in_use(&view);
	seg_close(&view);
	return is_in_use;
}

static bool name_file(const char *program, const char *distinction)
{
	int n = snprintf(file_path, sizeof(file_path), "%s/%s%s.%d.seg", directory_path, program, distinction, (int)getpid());

	return n > 0 && (size_t)n < sizeof(file_path);
}

/* A session is named after its program and process; a file left over from an earlier process of that pid goes, but not
 * one that is in use: by a process of the same number in another pid namespace. */
static void *map_session_file(const struct config *config, const char *program, size_t bytes)
{
	const char *problem = choose_directory(config) ? prepare_directory() : strerror(ENAMETOOLONG);

	if (problem) {
		log_line(SEG_LOG_WARN, "%s cannot hold the session (%s), it stays in memory and ends with its processes",
			 directory_path, problem);
		return NULL;
	}
	if (!name_file(program, "") || (file_is_in_use(file_path) && !name_file(program, "-2"))) {
		file_path[0] = '\0';
		return NULL;
	}
	unlink(file_path);
	void *base = map_new_file(bytes);
	if (!base) {
		log_line(SEG_LOG_WARN, "%s cannot be made (%s), the session stays in memory and ends with its processes", file_path,
			 strerror(errno));
		file_path[0] = '\0';
	}
	return base;
}

static void fill_header(struct segment *head, const struct config *config, const char *program)
{
	head->config = config->shared;
	atomic_init(&head->hz_now, atomic_load_explicit(&head->config.hz, memory_order_relaxed));
	head->created_mono_ns = clock_now_ns();
	head->created_real_ns = kernel_clock_ns(CLOCK_REALTIME);
	snprintf(head->program, sizeof(head->program), "%s", program);
	snprintf(head->session, sizeof(head->session), "%.200s.%d", program, (int)getpid());
	head->pid_namespace = namespace_read();
	server_format_election(head);
}

/* The endpoints that are there from the start. */
static void fill_endpoints(void)
{
	static const char *const names[SEG_ENDPOINT_FIRST] = {
		[SEG_ENDPOINT_BACKGROUND] = "_background", [SEG_ENDPOINT_IDLE] = "_idle", [SEG_ENDPOINT_OTHER] = "_OTHER"
	};

	for (uint32_t i = 0; i < SEG_ENDPOINT_FIRST; i++) {
		struct seg_endpoint *endpoint = &seg.endpoints[i];
		strcpy(endpoint->name, names[i]);
		endpoint->is_overflow = i == SEG_ENDPOINT_OTHER;
		atomic_store_explicit(&endpoint->key, i + 1, memory_order_relaxed);
		atomic_store_explicit(&endpoint->ready, 1, memory_order_release);
	}
}

bool session_begin(const struct config *config, const char *program)
{
	size_t bytes = seg_bytes_for(config->memory_bytes);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	void *base = map_session_file(config, program, bytes);

	if (!base) {
		base = own_memory_map(bytes, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1);
		if (base == MAP_FAILED) {
			log_line(SEG_LOG_WARN, "no memory for the session (%s), this program is not profiled", strerror(errno));
			return false;
		}
	}
	seg_format(base, bytes, cores > 0 ? (uint32_t)cores : 1);
	fill_header(base, config, program);
	seg_publish(base);
	enum seg_problem problem = seg_view_init(&seg, base, bytes);
	if (problem != SEG_OK) {
		log_line(SEG_LOG_ERROR, "the session just made %s, this program is not profiled", seg_problem_text(problem));
		return false;
	}
	fill_endpoints();
	return true;
}

bool session_join(const struct config *config, const char *program)
{
	struct seg_view view = { 0 };
	enum seg_problem problem = seg_open(&view, config->session, true);

	if (problem != SEG_OK)
		return false;
	snprintf(file_path, sizeof(file_path), "%s", config->session);
	snprintf(directory_path, sizeof(directory_path), "%s", config->session);
	char *slash = strrchr(directory_path, '/');
	if (slash)
		*slash = '\0';
	seg = view;
	own_memory_add((uintptr_t)seg.head, (uintptr_t)seg.head + seg.head->total_bytes);
	/* Executed in place (env, a wrapper's exec): the session is now known by what it has become. */
	if (session_is_own(file_path))
		snprintf(seg.head->program, sizeof(seg.head->program), "%s", program);
	return true;
}

/* By the pid in the file's name, so that a helper program need not open it to learn that it is not meant. */
bool session_is_own(const char *path)
{
	char suffix[32];
	size_t path_bytes = strlen(path);
	size_t suffix_bytes = (size_t)snprintf(suffix, sizeof(suffix), ".%d.seg", (int)getpid());

	return path_bytes >= suffix_bytes && strcmp(path + path_bytes - suffix_bytes, suffix) == 0;
}

const char *session_path(void)
{
	return file_path;
}

/* False: the file cannot be reached any more, or there is no room left. Linux 5.14 has MADV_POPULATE_WRITE. */
static bool take_space(void)
{
	int fd = open(file_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return madvise(seg.head, seg.head->total_bytes, MADV_POPULATE_WRITE) == 0;
	bool is_taken = fallocate(fd, 0, 0, (off_t)seg.head->total_bytes) == 0;
	close(fd);
	return is_taken;
}

void session_keep_space(void)
{
	static bool is_settled;
	struct statvfs space;

	if (is_settled || !file_path[0])
		return;
	if (statvfs(file_path, &space) == 0 && (uint64_t)space.f_bavail * space.f_frsize >= SPACE_SCARCE_BYTES + seg.head->total_bytes)
		return;
	is_settled = true;
	if (!take_space())
		log_line(SEG_LOG_WARN, "the space that %s may need cannot be kept for it (%s): the program may get a SIGBUS when it is used up",
			 file_path, strerror(errno));
}

/* A session's file whose session is over. */
struct leftover {
	char name[NAME_MAX + 1];
	uint64_t ended_real_ns;
	uint64_t bytes; /* of memory or disk, which are fewer than it seems to have */
};

enum { LEFTOVERS_MAX = 256 }; /* looked at in one go; what is beyond goes another time */

static int compare_newest_first(const void *left, const void *right)
{
	const struct leftover *a = left, *b = right;

	return (a->ended_real_ns < b->ended_real_ns) - (a->ended_real_ns > b->ended_real_ns);
}

/* Of what cannot be read, as it is being made or of another version: by the number in its name. */
static bool may_be_begun_by_somebody(const char *name, uint64_t modified_ns)
{
	const char *end = name + strlen(name) - strlen(".seg");
	const char *digits = end;

	while (digits > name && digits[-1] >= '0' && digits[-1] <= '9')
		digits--;
	pid_t pid = digits < end ? (pid_t)strtol(digits, NULL, 10) : 0;
	return kernel_clock_ns(CLOCK_REALTIME) < modified_ns + UNFINISHED_MAX_NS || (pid > 0 && process_is_alive(pid, 0));
}

/* When the session ended, as far as its header tells. */
static uint64_t ended_real_ns(const struct segment *head)
{
	uint64_t ended_ns = atomic_load_explicit(&head->ended_mono_ns, memory_order_relaxed);
	uint64_t heartbeat_ns = atomic_load_explicit(&head->heartbeat_mono_ns, memory_order_relaxed);
	uint64_t last_ns = ended_ns > heartbeat_ns ? ended_ns : heartbeat_ns;

	return head->created_real_ns + (last_ns > head->created_mono_ns ? last_ns - head->created_mono_ns : 0);
}

/* False: no session's file, or the session goes on. */
static bool is_leftover(struct leftover *ret_file, int directory, const char *name)
{
	struct seg_view view = { 0 };
	struct stat status;
	char path[PATH_MAX];
	size_t n = strlen(name);

	if (n < 5 || strcmp(name + n - 4, ".seg") != 0 || fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISREG(status.st_mode) || (size_t)snprintf(path, sizeof(path), "%s/%s", directory_path, name) >= sizeof(path))
		return false;
	uint64_t modified_ns = (uint64_t)status.st_mtim.tv_sec * 1000000000u + (uint64_t)status.st_mtim.tv_nsec;
	strcpy(ret_file->name, name);
	ret_file->bytes = (uint64_t)status.st_blocks * 512;
	ret_file->ended_real_ns = modified_ns;
	if (seg_open(&view, path, false) != SEG_OK)
		return !may_be_begun_by_somebody(name, modified_ns);
	bool is_over = !view_is_in_use(&view);
	ret_file->ended_real_ns = ended_real_ns(view.head);
	seg_close(&view);
	return is_over;
}

/* What is left over in the directory, newest first. */
static size_t list_leftovers(struct leftover ret_files[LEFTOVERS_MAX], DIR *directory)
{
	size_t count = 0;

	for (struct dirent *entry; count < LEFTOVERS_MAX && (entry = readdir(directory));)
		count += is_leftover(&ret_files[count], dirfd(directory), entry->d_name);
	qsort(ret_files, count, sizeof(ret_files[0]), compare_newest_first);
	return count;
}

/* The newest one stays, whatever it takes. */
static void remove_leftovers(const struct leftover *files, size_t count, int directory)
{
	uint64_t now_ns = kernel_clock_ns(CLOCK_REALTIME), bytes = 0;

	for (size_t i = 0; i < count; i++) {
		bytes += files[i].bytes;
		bool is_old = now_ns > files[i].ended_real_ns && now_ns - files[i].ended_real_ns > SESSION_KEEP_NS;
		if (i && (i >= SESSION_KEEP || bytes > SESSION_KEEP_BYTES || is_old) && unlinkat(directory, files[i].name, 0) == 0)
			bytes -= files[i].bytes;
	}
}

void session_prune(void)
{
	DIR *directory = file_path[0] && permitted(SYS_unlinkat) ? opendir(directory_path) : NULL;

	if (!directory)
		return;
	size_t bytes = LEFTOVERS_MAX * sizeof(struct leftover);
	struct leftover *files = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (files != MAP_FAILED) {
		remove_leftovers(files, list_leftovers(files, directory), dirfd(directory));
		munmap(files, bytes);
	}
	closedir(directory);
}

static bool is_worth_keeping(void)
{
	if (atomic_load_explicit(&seg.head->has_listened, memory_order_relaxed))
		return true;
	const struct seg_slots *threads = &seg.slots[SEG_TABLE_THREADS];
	for (uint32_t i = 0; (i = seg_table_next(threads, i)) < threads->count; i++)
		if (atomic_load_explicit(&seg.threads[i].counters[SEG_COUNTER_SAMPLES], memory_order_relaxed))
			return true;
	return false;
}

bool session_discard(void)
{
	if (!file_path[0] || !permitted(SYS_unlink) || is_worth_keeping())
		return false;
	return unlink(file_path) == 0;
}
