#pragma once
/* unpack - bytes that were compressed by zlib's method, from a file into memory.
 * Context: any thread. Keeps nothing; what it needs meanwhile, some 40 KiB, it gives back.
 */
#include <stdint.h>

/* Reads n bytes of the descriptor from offset on (where memory is given, of that instead) and writes exactly ret_n bytes. 0 or
 * -errno: -ENOEXEC they are damaged, or unpack to another size; -ENOMEM. */
int unpack(int descriptor, const uint8_t *memory, uint64_t offset, uint64_t n, uint8_t *ret_bytes, uint64_t ret_n);
