/* Fuzzes the programs of call frame information, and whole files of it: rows rise, lie within the function and have kinds and
 * places that exist.
 * Built by clang with -fsanitize=fuzzer. The input: a byte that says what it is, then either the fields of a frame (struct
 * head), its CIE's program and its own, or a file.
 */
#include "../../symbolizer/unwind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { ROWS_MAX = 1 << 16 };

struct head {
	uint64_t start, length, code_factor;
	int64_t data_factor;
	uint8_t return_register, is_signal, initial_bytes;
} __attribute__((packed));

struct rows {
	uint64_t low, high; /* of the function; of a file 0 and UINT64_MAX */
	uint64_t last;
	uint32_t count;
};

static void check(bool is_true)
{
	if (!is_true)
		abort();
}

static int on_row(void *context, uint64_t address, const struct unwind_rule *rule)
{
	struct rows *rows = context;

	check(address >= rows->low && address < rows->high);
	check(!rows->count || address > rows->last);
	check(rule->kind <= UNWIND_SIGNAL && rule->bp.place <= UNWIND_LOST && rule->bx.place <= UNWIND_LOST);
	rows->last = address;
	return ++rows->count == ROWS_MAX;
}

static void run_frame(const uint8_t *bytes, size_t n)
{
	struct head head;

	if (n < sizeof(head))
		return;
	memcpy(&head, bytes, sizeof(head));
	bytes += sizeof(head);
	n -= sizeof(head);
	size_t initial_bytes = head.initial_bytes < n ? head.initial_bytes : n;
	struct unwind_frame frame = {
		.start = head.start >> 1,
		.length = head.length >> 1,
		.code_factor = head.code_factor,
		.data_factor = head.data_factor,
		.return_register = head.return_register,
		.is_signal = head.is_signal & 1,
		.initial = bytes,
		.initial_bytes = initial_bytes,
		.program = bytes + initial_bytes,
		.program_bytes = n - initial_bytes,
	};
	struct rows rows = { .low = frame.start, .high = frame.start + frame.length };
	unwind_run(&frame, on_row, &rows);
}

static void read_file(const uint8_t *bytes, size_t n)
{
	int file = memfd_create("fuzz_frames", MFD_CLOEXEC);
	struct rows rows = { .high = UINT64_MAX };
	uint64_t code_bytes;
	char path[64];

	check(file >= 0 && write(file, bytes, n) == (ssize_t)n);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	unwind_read(path, NULL, 0, on_row, &rows, &code_bytes);
	close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	if (!n)
		return 0;
	if (bytes[0] & 1)
		read_file(bytes + 1, n - 1);
	else
		run_frame(bytes + 1, n - 1);
	return 0;
}
