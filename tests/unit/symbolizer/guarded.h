#pragma once
/* guarded - a copy of bytes that ends where unreadable memory begins, so that reading one byte too many ends the test. */
#include <check.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static inline const uint8_t *guarded_copy(const void *bytes, size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (n + page - 1) / page * page;
	uint8_t *place = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(place, MAP_FAILED);
	ck_assert_int_eq(mprotect(place + room, page, PROT_NONE), 0);
	return memcpy(place + room - n, bytes, n);
}
