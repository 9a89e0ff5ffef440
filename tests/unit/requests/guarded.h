#pragma once
/* guarded - bytes that end exactly where an unreadable page begins, so that reading one too many crashes the test. */
#include <check.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARDED_BYTES = 128 * 1024 };

/* A copy of n bytes; valid until the next call. */
static inline const char *guarded(const char *bytes, size_t n)
{
	static char *end;

	if (!end) {
		size_t page = (size_t)sysconf(_SC_PAGESIZE);
		char *base = mmap(NULL, GUARDED_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ck_assert_ptr_ne(base, MAP_FAILED);
		end = base + GUARDED_BYTES;
		ck_assert_int_eq(mprotect(end, page, PROT_NONE), 0);
	}
	ck_assert_uint_le(n, GUARDED_BYTES);
	return n ? memcpy(end - n, bytes, n) : end;
}
