/* unwind_rows - prints the unwind tables that the serving thread makes of files, for comparison with other readers.
 *
 *     unwind_rows FILE...
 *
 * For each file a line `file PATH rows N covered PERCENT bytes N`, then a line for each row: address, how the CFA is found, where the
 * caller's rbp and rbx are. Words: rsp+16; *(rsp+8)+8; plt+11 (segment/unwind.h); end, none, unsupported, signal. Saved
 * registers: u = not touched, c-16 = at CFA - 16, b-16 = at rbp - 16, lost. A file without a table is an error.
 */
#include "../../../shim/segment/unwind.h"
#include "fixture.h"

#include <string.h>
#include <sys/mman.h>

/* DWARF's order (x86-64 psABI, 3.6.2). */
static const char *const registers[] = { "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
					 "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

static void print_cfa(uint32_t rule)
{
	switch (seg_unwind_kind_of(rule)) {
	case SEG_UNWIND_NONE: printf("none"); break;
	case SEG_UNWIND_END: printf("end"); break;
	case SEG_UNWIND_SIGNAL: printf("signal"); break;
	case SEG_UNWIND_SP: printf("rsp%+ld", (long)seg_unwind_offset(rule)); break;
	case SEG_UNWIND_SP_BYTES: printf("rsp%+ld", (long)seg_unwind_byte_offset(rule)); break;
	case SEG_UNWIND_SP_FAR ... SEG_UNWIND_SP_FAR_LAST: printf("rsp%+ld", (long)seg_unwind_far_offset(rule)); break;
	case SEG_UNWIND_BP: printf("rbp%+ld", (long)seg_unwind_offset(rule)); break;
	case SEG_UNWIND_BX: printf("rbx%+ld", (long)seg_unwind_offset(rule)); break;
	case SEG_UNWIND_PLT: printf("plt%+ld", (long)seg_unwind_plt_limit(rule)); break;
	case SEG_UNWIND_DEREF_SP:
	case SEG_UNWIND_DEREF_BP:
	case SEG_UNWIND_DEREF_BP_CFA:
		printf("*(r%s%+ld)%+ld", seg_unwind_kind_of(rule) == SEG_UNWIND_DEREF_SP ? "sp" : "bp", (long)seg_unwind_deref_offset(rule),
		       (long)seg_unwind_deref_added(rule));
		break;
	case SEG_UNWIND_REGISTER: printf("%s%+ld", registers[seg_unwind_register(rule)], (long)seg_unwind_register_offset(rule)); break;
	default: printf("unsupported"); break;
	}
}

static void print_saved(uint32_t slot, uint32_t rule)
{
	char base = seg_unwind_kind_of(rule) == SEG_UNWIND_DEREF_BP ? 'b' : 'c';

	if (slot == SEG_UNWIND_KEPT)
		printf(" u");
	else if (slot == SEG_UNWIND_AT_BP)
		printf(" b+0");
	else if (slot == SEG_UNWIND_LOST)
		printf(" lost");
	else
		printf(" %c-%u", base, 8 * slot);
}

/* A row's address: of its block, in whole 64 KiB, and its own lower half. */
static void print_rows(const struct seg_unwind_view *table)
{
	for (uint32_t block = 0; block < table->block_count; block++) {
		uint64_t high = (table->base + ((uint64_t)block << table->shift)) & ~0xffffull;
		for (uint32_t i = table->blocks[block]; i < table->blocks[block + 1]; i++) {
			printf("%lx ", (unsigned long)(high | table->lows[i]));
			print_cfa(table->rules[i]);
			print_saved(seg_unwind_bp(table->rules[i]), table->rules[i]);
			print_saved(seg_unwind_bx(table->rules[i]), table->rules[i]);
			putchar('\n');
		}
	}
}

static bool open_session(void)
{
	size_t bytes = seg_bytes_for(32 << 20);
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return false;
	seg_format(base, bytes, 1);
	struct segment *head = base;
	atomic_store(&head->config.hz, 100);
	strcpy(head->config.unwind, "auto");
	seg_publish(head);
	return seg_view_init(&seg, base, bytes) == SEG_OK;
}

static void enter_module(const char *path, uint32_t index)
{
	atomic_store(&seg.modules[index].key, seg_key_of_bytes(path, (uint32_t)strlen(path), 0));
	snprintf(seg.modules[index].path, SEG_MODULE_PATH_BYTES, "%s", path);
	atomic_store(&seg.modules[index].ready, 1);
}

int main(int argc, char **argv)
{
	int failed = argc < 2 || !open_session();

	for (int i = 1; i < argc && !failed; i++)
		enter_module(argv[i], SEG_MODULE_FIRST + (uint32_t)i - 1);
	if (failed)
		return failed;
	fixture_make_tables();
	for (int i = 1; i < argc; i++) {
		uint32_t index = SEG_MODULE_FIRST + (uint32_t)i - 1;
		const struct seg_unwind *entry = &seg.unwind[index];
		struct seg_unwind_view table;
		if (!seg_unwind_open(&seg, index, &table)) {
			fprintf(stderr, "unwind_rows: %s has no table\n", argv[i]);
			failed = 1;
			continue;
		}
		printf("file %s rows %u covered %u bytes %lu\n", argv[i], entry->row_count, entry->covered_pct,
		       (unsigned long)seg_unwind_bytes(entry->row_count, entry->block_count));
		print_rows(&table);
	}
	return failed;
}
