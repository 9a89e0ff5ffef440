#include "environment.h"

#include "../segment/layout.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KEPT_MAX = 32, KEPT_BYTES = 16384 };

static const char *library = "";                 /* "" = not known, environments pass unchanged */
static char kept_text[KEPT_BYTES];               /* copies: the program may change its environment */
static char *kept[KEPT_MAX];
static size_t kept_count, kept_bytes;

static size_t name_bytes(const char *entry)
{
	return strcspn(entry, "=") + 1;
}

static void keep(const char *entry)
{
	size_t n = strlen(entry) + 1;

	if (kept_count == KEPT_MAX || n > KEPT_BYTES - kept_bytes)
		return;
	kept[kept_count++] = memcpy(kept_text + kept_bytes, entry, n);
	kept_bytes += n;
}

void environment_init(const char *session)
{
	char session_entry[PATH_MAX + 32];
	Dl_info own;

	if (!dladdr((void *)&environment_init, &own) || !own.dli_fname || own.dli_fname[0] != '/' || strlen(own.dli_fname) >= PATH_MAX)
		return;
	kept_count = kept_bytes = 0;
	for (char **entry = environ; entry && *entry; entry++)
		if (strncmp(*entry, "PROFSHIM_", 9) == 0 && strncmp(*entry, "PROFSHIM_SESSION=", 17) != 0)
			keep(*entry);
	snprintf(session_entry, sizeof(session_entry), "PROFSHIM_SESSION=%s", *session ? session : "none");
	keep(session_entry);
	library = own.dli_fname; /* the loader's, as long as we are loaded */
}

size_t environment_count(char *const *original)
{
	size_t n = 0;

	if (!*library)
		return 0;
	while (original && original[n])
		n++;
	return n + kept_count + 2; /* LD_PRELOAD, NULL */
}

/* Our library is one of the entries of an LD_PRELOAD value (separated by colons or spaces, ld.so(8)). */
static bool is_preloaded(const char *value)
{
	size_t n = strlen(library);

	while (*value) {
		size_t entry_bytes = strcspn(value, ": ");
		if (entry_bytes == n && memcmp(value, library, n) == 0)
			return true;
		value += entry_bytes;
		value += strspn(value, ": ");
	}
	return false;
}

/* The LD_PRELOAD entry to use in place of original (NULL = there was none); original itself if it will do. */
static char *preload_entry(char *original, char ret_preload[static ENVIRONMENT_PRELOAD_BYTES])
{
	static const char name[] = "LD_PRELOAD=";
	const char *others = original ? original + sizeof(name) - 1 : "";

	if (original && is_preloaded(others))
		return original;
	size_t needed = sizeof(name) + strlen(library) + 1 + strlen(others);
	if (needed > ENVIRONMENT_PRELOAD_BYTES)
		return original;
	char *end = stpcpy(stpcpy(ret_preload, name), library);
	if (*others) {
		*end++ = ':';
		strcpy(end, others);
	}
	return ret_preload;
}

static bool has_entry(char *const *entries, size_t count, const char *entry)
{
	for (size_t i = 0; i < count; i++)
		if (strncmp(entries[i], entry, name_bytes(entry)) == 0)
			return true;
	return false;
}

void environment_fill(char *const *original, char **ret_entries, char ret_preload[static ENVIRONMENT_PRELOAD_BYTES])
{
	char *old_preload = NULL;
	size_t count = 0;

	for (; original && *original; original++) {
		if (strncmp(*original, "LD_PRELOAD=", 11) == 0)
			old_preload = *original;
		else if (strncmp(*original, "PROFSHIM_SESSION=", 17) != 0)
			ret_entries[count++] = *original;
	}
	size_t theirs = count;
	for (size_t i = 0; i < kept_count; i++)
		if (!has_entry(ret_entries, theirs, kept[i]))
			ret_entries[count++] = kept[i];
	char *preload = preload_entry(old_preload, ret_preload);
	if (preload)
		ret_entries[count++] = preload;
	ret_entries[count] = NULL;
}

/* --- environ itself ---
 *
 * Other threads may read environ at any time, so what was lent is never given back to the kernel, and a new one is made
 * only while nobody has the last one.
 */

static struct {
	char **entries;      /* what environ is made, room for as many again behind it: as they were written */
	size_t room;
	char **before;       /* what environ was */
	size_t count;
	char preload[ENVIRONMENT_PRELOAD_BYTES];
} lent;

static bool make_room(size_t count)
{
	if (count <= lent.room)
		return true;
	size_t room = count * 2;
	void *memory = mmap(NULL, 2 * room * sizeof(char *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	lent.entries = memory;
	lent.room = room;
	return true;
}

bool environment_lend(void)
{
	size_t count = environment_count(environ);

	if (!count || (lent.entries && environ == lent.entries) || !make_room(count))
		return false;
	environment_fill(environ, lent.entries, lent.preload);
	memcpy(lent.entries + lent.room, lent.entries, count * sizeof(char *));
	lent.count = count;
	lent.before = environ;
	environ = lent.entries;
	return true;
}

void environment_take_back(void)
{
	if (environ == lent.entries && memcmp(lent.entries, lent.entries + lent.room, lent.count * sizeof(char *)) == 0)
		environ = lent.before;
}
