/* The directory is ours alone (0700) and checked to be so before anything in it is opened: a directory that somebody
 * else could write to would let him exchange the file under us. The file's space is checked when it is made, since a page
 * of a sparse file that cannot be had later is a SIGBUS in the program.
 */
#include "session.h"

#include "../base/clock.h"
#include "../base/log.h"
#include "../base/thread.h"
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
#include <time.h>
#include <unistd.h>

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

	if (mkdir(directory_path, 0700) < 0 && errno != EEXIST)
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
		base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int saved_errno = errno;
	close(fd);
	errno = saved_errno;
	if (base != MAP_FAILED)
		return base;
	unlink(file_path);
	errno = saved_errno;
	return NULL;
}

/* Some process of the session in the file at path is alive, or nobody can tell. */
static bool file_is_in_use(const char *path)
{
	struct seg_view view = { 0 };
	bool is_in_use = false;

	if (seg_open(&view, path, false) != SEG_OK)
		return false;
	const struct seg_slots *processes = &view.slots[SEG_TABLE_PROCESSES];
	for (uint32_t i = 0; (i = seg_table_next(processes, i)) < processes->count && !is_in_use; i++) {
		pid_t pid = (pid_t)atomic_load_explicit(&view.processes[i].owner, memory_order_relaxed);
		is_in_use = pid > 0 && (kill(pid, 0) == 0 || errno != ESRCH);
	}
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

static uint64_t real_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void fill_header(struct segment *head, const struct config *config, const char *program)
{
	head->config = config->shared;
	head->created_mono_ns = clock_now_ns();
	head->created_real_ns = real_ns();
	snprintf(head->program, sizeof(head->program), "%s", program);
	snprintf(head->session, sizeof(head->session), "%.200s.%d", program, (int)getpid());
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
		base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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

struct leftover {
	char name[NAME_MAX + 1];
	time_t modified;
};

static int compare_newest_first(const void *left, const void *right)
{
	const struct leftover *a = left, *b = right;

	return (a->modified < b->modified) - (a->modified > b->modified);
}

/* Session files in the directory, newest first. At most max: what is beyond goes another time. */
static size_t list_files(struct leftover *ret_files, size_t max)
{
	DIR *directory = opendir(directory_path);
	size_t count = 0;

	if (!directory)
		return 0;
	for (struct dirent *entry; count < max && (entry = readdir(directory));) {
		struct stat status;
		size_t n = strlen(entry->d_name);
		if (n < 5 || strcmp(entry->d_name + n - 4, ".seg") != 0 || fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		strcpy(ret_files[count].name, entry->d_name);
		ret_files[count++].modified = status.st_mtime;
	}
	closedir(directory);
	qsort(ret_files, count, sizeof(ret_files[0]), compare_newest_first);
	return count;
}

void session_prune(void)
{
	enum { FILES_MAX = SESSION_KEEP * 4 };
	struct leftover *files = mmap(NULL, FILES_MAX * sizeof(*files), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char path[PATH_MAX];

	if (files == MAP_FAILED || !file_path[0])
		return;
	size_t count = list_files(files, FILES_MAX);
	for (size_t i = SESSION_KEEP; i < count; i++) {
		int n = snprintf(path, sizeof(path), "%s/%s", directory_path, files[i].name);
		if (n > 0 && (size_t)n < sizeof(path) && !file_is_in_use(path))
			unlink(path);
	}
	munmap(files, FILES_MAX * sizeof(*files));
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
	if (!file_path[0] || is_worth_keeping())
		return false;
	return unlink(file_path) == 0;
}
