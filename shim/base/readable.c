#include "permitted.h"
#include "readable.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORD_BYTES = 8, PAGE_BYTES = 4096 };

/* The kernel reads the set before it looks at what to do with it, which is nothing: no call that we do not make anyway. */
static bool is_page_readable(uintptr_t address)
{
	enum { HOW_NONE = -1 };
	uintptr_t word = address & ~(uintptr_t)(WORD_BYTES - 1);
	int saved_errno = errno;
	bool is_readable = word && permitted(SYS_rt_sigprocmask) &&
			   (syscall(SYS_rt_sigprocmask, HOW_NONE, word, NULL, WORD_BYTES) != -1 || errno != EFAULT);

	errno = saved_errno;
	return is_readable;
}

static uintptr_t page_of(uintptr_t address)
{
	return address & ~(uintptr_t)(PAGE_BYTES - 1);
}

bool readable_asked(const void *memory, size_t bytes)
{
	uintptr_t address = (uintptr_t)memory;

	if (!bytes)
		return true;
	if (bytes - 1 > UINTPTR_MAX - address)
		return false;
	for (uintptr_t page = page_of(address), last = page_of(address + bytes - 1);; page += PAGE_BYTES) {
		if (!is_page_readable(page > address ? page : address))
			return false;
		if (page == last)
			return true;
	}
}

/* known: the page that was asked for last. */
static bool is_readable_again(uintptr_t address, uintptr_t *known)
{
	if (page_of(address) == *known)
		return true;
	*known = page_of(address);
	return is_page_readable(address);
}

static bool is_string(const char *string, uintptr_t *known)
{
	for (;;) {
		uintptr_t address = (uintptr_t)string;
		size_t in_page = PAGE_BYTES - address % PAGE_BYTES;
		if (!is_readable_again(address, known))
			return false;
		if (memchr(string, 0, in_page))
			return true;
		string += in_page;
	}
}

bool readable_strings(char *const *list)
{
	uintptr_t list_page = UINTPTR_MAX, string_page = UINTPTR_MAX; /* no page begins there */

	for (;; list++) {
		uintptr_t end = (uintptr_t)list + sizeof(*list) - 1;
		if (!is_readable_again((uintptr_t)list, &list_page) || !is_readable_again(end, &list_page))
			return false;
		if (!*list)
			return true;
		if (!is_string(*list, &string_page))
			return false;
	}
}
