/* Fuzzes the symbolizer with a whole file: headers, symbols, notes, frames and debug information of any kind.
 * Built by clang with -fsanitize=fuzzer; good seeds are small shared objects with debug information.
 */
#include "../../symbolizer/symbolizer.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void look_all_over(const char *path)
{
	struct symbolizer *symbolizer = symbolizer_new();
	struct module *module = symbolizer_module(symbolizer, path, NULL, 0);
	struct symbol symbol;

	symbolizer_set_memory_limit(symbolizer, 64 * 1024 * 1024);
	symbolizer_lookup(module, 0, &symbol);
	symbolizer_lookup(module, UINT64_MAX, &symbol);
	for (uint64_t address = 0x1000; address < 0x1400; address += 7)
		symbolizer_lookup(module, address, &symbol);
	symbolizer_free(symbolizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	int file = memfd_create("fuzz_elf", MFD_CLOEXEC);
	char path[64];

	if (file < 0 || write(file, bytes, n) != (ssize_t)n)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	look_all_over(path);
	close(file);
	return 0;
}
