#include "sessions.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void sessions_dirs_init(struct sessions_dirs *ret_dirs, const char *dir)
{
	const char *named = dir ? dir : getenv("PROFSHIM_DIR"), *runtime = getenv("XDG_RUNTIME_DIR");

	ret_dirs->count = 0;
	if (named && named[0]) {
		snprintf(ret_dirs->paths[ret_dirs->count++], PATH_MAX, "%s", named);
		return;
	}
	if (runtime && runtime[0])
		snprintf(ret_dirs->paths[ret_dirs->count++], PATH_MAX, "%s/profshim", runtime);
	snprintf(ret_dirs->paths[ret_dirs->count++], PATH_MAX, "/dev/shm/profshim-%u", geteuid());
}

enum seg_problem session_open(struct seg_view *ret_seg, const char *path, uint64_t *ret_changed_real_ns)
{
	struct stat status;
	enum seg_problem problem = seg_open(ret_seg, path, false);

	*ret_changed_real_ns = 1; /* long ago, rather than unknown: it is a file's in any case */
	if (problem == SEG_OK && stat(path, &status) == 0 && status.st_mtim.tv_sec > 0)
		*ret_changed_real_ns = (uint64_t)status.st_mtim.tv_sec * 1000000000u + (uint64_t)status.st_mtim.tv_nsec;
	return problem;
}

const char *session_problem_text(char ret_text[static 128], enum seg_problem problem, int error)
{
	if (problem == SEG_PROBLEM_OPEN)
		snprintf(ret_text, 128, "%s: %s", seg_problem_text(problem), strerror(error));
	else
		snprintf(ret_text, 128, "%s", seg_problem_text(problem));
	return ret_text;
}

static void look_at(struct session *session)
{
	struct seg_view seg = { 0 };
	uint64_t changed_real_ns;

	session->problem = session_open(&seg, session->path, &changed_real_ns);
	session->error = errno;
	if (session->problem != SEG_OK)
		return;
	session->created_real_ns = seg.head->created_real_ns;
	seg_close(&seg);
}

/* Length of the session's name in a file's name; 0 = no session's file. */
static size_t name_length(const char *file_name)
{
	size_t length = strlen(file_name);

	return length > 4 && file_name[0] != '.' && !strcmp(file_name + length - 4, ".seg") ? length - 4 : 0;
}

static int add(struct sessions *sessions, const char *dir, const char *file_name)
{
	struct session *list = realloc(sessions->list, (sessions->count + 1) * sizeof(*list));

	if (!list)
		return -ENOMEM;
	sessions->list = list;
	struct session *session = &list[sessions->count];
	*session = (struct session){ 0 };
	memcpy(session->name, file_name, name_length(file_name));
	if ((size_t)snprintf(session->path, sizeof(session->path), "%s/%s", dir, file_name) >= sizeof(session->path))
		return 0; /* cannot be opened anyway */
	look_at(session);
	sessions->count++;
	return 0;
}

static int add_all(struct sessions *sessions, const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int result = 0;

	while (dir && !result && (entry = readdir(dir)))
		if (name_length(entry->d_name))
			result = add(sessions, path, entry->d_name);
	if (dir)
		closedir(dir);
	return result;
}

static int newer_first(const void *a_void, const void *b_void)
{
	const struct session *a = a_void, *b = b_void;

	if (a->created_real_ns != b->created_real_ns)
		return a->created_real_ns > b->created_real_ns ? -1 : 1;
	return strcmp(a->name, b->name);
}

int sessions_list(struct sessions *ret_sessions, const struct sessions_dirs *dirs)
{
	int result = 0;

	*ret_sessions = (struct sessions){ 0 };
	for (unsigned i = 0; i < dirs->count && !result; i++)
		result = add_all(ret_sessions, dirs->paths[i]);
	if (result)
		sessions_free(ret_sessions);
	else if (ret_sessions->count)
		qsort(ret_sessions->list, ret_sessions->count, sizeof(*ret_sessions->list), newer_first);
	return result;
}

void sessions_free(struct sessions *sessions)
{
	free(sessions->list);
	*sessions = (struct sessions){ 0 };
}

/* The session was begun by this process, as its name tells, or has it now. */
static bool has_process(const struct session *session, const char *pid_text)
{
	const char *dot = strrchr(session->name, '.');
	uint64_t pid = strtoull(pid_text, NULL, 10), changed_real_ns;
	struct seg_view seg = { 0 };
	bool is_found = dot && !strcmp(dot + 1, pid_text);

	if (is_found || session_open(&seg, session->path, &changed_real_ns) != SEG_OK)
		return is_found;
	const struct seg_slots *slots = &seg.slots[SEG_TABLE_PROCESSES];
	for (uint32_t i = 0; (i = seg_table_next(slots, i)) < slots->count && !is_found; i++)
		is_found = atomic_load_explicit(&seg.processes[i].owner, memory_order_relaxed) == pid;
	seg_close(&seg);
	return is_found;
}

const struct session *sessions_find(const struct sessions *sessions, const char *text)
{
	for (unsigned i = 0; i < sessions->count; i++) {
		const struct session *session = &sessions->list[i];
		if (text ? !strcmp(session->name, text) : session->problem == SEG_OK)
			return session;
	}
	if (!text || !text[0] || text[strspn(text, "0123456789")] || strtoull(text, NULL, 10) == 0)
		return NULL;
	for (unsigned i = 0; i < sessions->count; i++)
		if (has_process(&sessions->list[i], text))
			return &sessions->list[i];
	return NULL;
}
