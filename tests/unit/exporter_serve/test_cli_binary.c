/* Which programs can be preloaded, told from ELF files and scripts made here, byte by byte. */
#include "../../../exporter/cli/binary.h"
#include "../run.h"

#include <check.h>
#include <elf.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
#define MACHINE_OWN EM_X86_64
#define LOADER "/lib64/ld-linux-x86-64.so.2"
#else
#define MACHINE_OWN EM_AARCH64
#define LOADER "/lib/ld-linux-aarch64.so.1"
#endif

static char dir[] = "/tmp/profshim-test-XXXXXX";
static char path[64];
static struct binary binary;

static void make_dir(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/program", dir);
}

static void remove_dir(void)
{
	char command[64];

	snprintf(command, sizeof(command), "/bin/rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *file, const void *bytes, size_t n, mode_t mode)
{
	FILE *stream = fopen(file, "w");

	ck_assert_ptr_nonnull(stream);
	ck_assert_uint_eq(fwrite(bytes, 1, n, stream), n);
	fclose(stream);
	ck_assert_int_eq(chmod(file, mode), 0);
}

/* The smallest ELF program of this machine, before a test spoils it. */
struct image {
	Elf64_Ehdr header;
	Elf64_Phdr segments[3]; /* interpreter, everything, dynamic */
	char loader[64];
	Elf64_Dyn dynamic[4];
	char strings[64];
	Elf64_Shdr sections[3]; /* null, names, one of any name */
	char names[64];
};

static struct image make_image(const char *loader, const char *section)
{
	struct image image = {
		.header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		            .e_type = ET_DYN, .e_machine = MACHINE_OWN, .e_version = EV_CURRENT,
		            .e_phoff = offsetof(struct image, segments), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3,
		            .e_shoff = offsetof(struct image, sections), .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 3, .e_shstrndx = 1 },
		.segments = { { .p_type = loader ? PT_INTERP : PT_NULL, .p_offset = offsetof(struct image, loader) },
		              { .p_type = PT_LOAD, .p_vaddr = 0x1000, .p_filesz = sizeof(struct image) },
		              { .p_type = PT_DYNAMIC, .p_offset = offsetof(struct image, dynamic), .p_filesz = 4 * sizeof(Elf64_Dyn) } },
		.dynamic = { { .d_tag = DT_NEEDED, .d_un.d_val = 1 },
		             { .d_tag = DT_STRTAB, .d_un.d_ptr = 0x1000 + offsetof(struct image, strings) },
		             { .d_tag = DT_NEEDED, .d_un.d_val = 11 } },
		.strings = "\0libc.so.6\0libssl.so.3",
		.sections = { { 0 },
		              { .sh_type = SHT_STRTAB, .sh_offset = offsetof(struct image, names), .sh_size = 64 },
		              { .sh_type = SHT_PROGBITS, .sh_name = 1, .sh_size = 1 } },
	};

	snprintf(image.loader, sizeof(image.loader), "%s", loader ? loader : "");
	snprintf(image.names + 1, sizeof(image.names) - 1, "%s", section);
	return image;
}

static void check_image(const struct image *image)
{
	write_file(path, image, sizeof(*image), 0755);
	binary_check(&binary, path);
}

static void assert_refused(const char *reason)
{
	ck_assert_int_eq(binary.verdict, BINARY_REFUSED);
	ck_assert_msg(strstr(binary.reason, reason) != NULL, "not for '%s' but: %s", reason, binary.reason);
	ck_assert_str_eq(binary.path, path);
}

START_TEST(a_program_linked_with_glibc_is_accepted)
{
	struct image image = make_image(LOADER, ".symtab");

	check_image(&image);
	ck_assert_msg(binary.verdict == BINARY_ACCEPTED, "%s", binary.reason);
	ck_assert_str_eq(binary.reason, "");
	ck_assert_str_eq(binary.loader, LOADER);
	ck_assert_str_eq(binary.tls_library, "libssl.so.3");
	ck_assert(binary.has_symbols);
	ck_assert(!binary.has_lines);
	ck_assert(!binary.has_frames);
	ck_assert_str_eq(binary.debug_file, "");
}
END_TEST

START_TEST(a_static_program_is_refused)
{
	struct image image = make_image(NULL, ".text");

	check_image(&image);
	assert_refused("is statically linked, so that no loader runs");
}
END_TEST

START_TEST(a_static_go_program_is_refused_as_such)
{
	struct image image = make_image(NULL, ".go.buildinfo");

	check_image(&image);
	assert_refused("is statically linked (a Go program)");
}
END_TEST

START_TEST(a_dynamic_go_program_is_refused)
{
	struct image image = make_image(LOADER, ".gopclntab");

	check_image(&image);
	assert_refused("is a Go program");
}
END_TEST

START_TEST(a_program_linked_with_musl_is_refused)
{
	struct image image = make_image("/lib/ld-musl-x86_64.so.1", ".text");

	check_image(&image);
	assert_refused("is linked with musl (its loader is /lib/ld-musl-x86_64.so.1)");
}
END_TEST

START_TEST(a_program_whose_loader_is_missing_is_refused)
{
	struct image image = make_image("/nowhere/ld-linux.so.2", ".text");

	check_image(&image);
	assert_refused("needs the loader /nowhere/ld-linux.so.2, which is not there");
}
END_TEST

START_TEST(a_program_of_another_machine_is_refused)
{
	struct image image = make_image(LOADER, ".text");

	image.header.e_machine = EM_RISCV;
	check_image(&image);
	assert_refused("is for RISC-V, profshim for ");
	image.header.e_machine = EM_386;
	image.header.e_ident[EI_CLASS] = ELFCLASS32;
	check_image(&image);
	assert_refused("is for 32-bit x86");
	image.header.e_machine = MACHINE_OWN; /* x32 */
	check_image(&image);
	assert_refused("is a 32-bit program");
	image.header.e_ident[EI_DATA] = ELFDATA2MSB;
	check_image(&image);
	assert_refused("big-endian");
}
END_TEST

START_TEST(an_elf_file_that_is_no_program_is_refused)
{
	struct image image = make_image(LOADER, ".text");

	image.header.e_type = ET_REL;
	check_image(&image);
	assert_refused("is an ELF file, but not a program");
}
END_TEST

START_TEST(setuid_and_setgid_programs_are_refused)
{
	struct image image = make_image(LOADER, ".text");

	check_image(&image);
	ck_assert_int_eq(chmod(path, 04755), 0);
	binary_check(&binary, path);
	assert_refused("is setuid");
	ck_assert_int_eq(chmod(path, 02755), 0);
	binary_check(&binary, path);
	assert_refused("is setgid");
	ck_assert_int_eq(chmod(path, 02745), 0); /* without execution by the group it means mandatory locking, inode(7) */
	binary_check(&binary, path);
	ck_assert_int_eq(binary.verdict, BINARY_ACCEPTED);
}
END_TEST

START_TEST(a_program_of_any_damage_is_only_refused)
{
	struct image image = make_image(LOADER, ".symtab");
	unsigned char *bytes = (unsigned char *)&image;

	for (size_t i = EI_CLASS; i < sizeof(image); i++) {
		unsigned char before = bytes[i];
		bytes[i] = 0xff;
		check_image(&image);
		ck_assert_int_ne(binary.verdict, BINARY_ABSENT);
		ck_assert_int_eq(binary.verdict == BINARY_ACCEPTED, binary.reason[0] == '\0');
		bytes[i] = before;
	}
	for (size_t n = 0; n < sizeof(image); n += 7) {
		write_file(path, &image, n, 0755);
		binary_check(&binary, path);
		ck_assert_int_ne(binary.verdict, BINARY_ABSENT);
	}
}
END_TEST

START_TEST(a_text_without_interpreter_is_refused)
{
	write_file(path, "echo hello\n", 11, 0755);
	binary_check(&binary, path);
	assert_refused("is neither an ELF program nor a script");
	write_file(path, "", 0, 0755);
	binary_check(&binary, path);
	assert_refused("is neither an ELF program nor a script");
}
END_TEST

static void check_script(const char *text)
{
	write_file(path, text, strlen(text), 0755);
	binary_check(&binary, path);
}

static void write_tool(const char *name, const struct image *image, char ret_path[static 96])
{
	snprintf(ret_path, 96, "%s/%s", dir, name);
	write_file(ret_path, image, sizeof(*image), 0755);
}

START_TEST(of_a_script_its_interpreter_counts)
{
	struct image good = make_image(LOADER, ".text"), bad = make_image(NULL, ".text");
	char tool[96], text[256];

	write_tool("good", &good, tool);
	snprintf(text, sizeof(text), "#! %s -x\n", tool);
	check_script(text);
	ck_assert_msg(binary.verdict == BINARY_ACCEPTED, "%s", binary.reason);
	ck_assert_str_eq(binary.runs, tool);
	write_tool("bad", &bad, tool);
	snprintf(text, sizeof(text), "#!%s", tool);
	check_script(text);
	assert_refused("is a script run by ");
	assert_refused("which is statically linked");
	check_script("#!/nowhere/sh\n");
	ck_assert_int_eq(binary.verdict, BINARY_ABSENT);
	ck_assert_ptr_nonnull(strstr(binary.reason, "is a script for /nowhere/sh, which cannot be found"));
}
END_TEST

START_TEST(env_is_looked_through_to_what_it_starts)
{
	struct image bad = make_image(NULL, ".text");
	char tool[96];

	write_tool("tool", &bad, tool);
	ck_assert_int_eq(setenv("PATH", dir, 1), 0);
	check_script("#!/usr/bin/env tool\n");
	assert_refused(tool);
	check_script("#!/usr/bin/env -S A=1 tool -x\n");
	assert_refused(tool);
}
END_TEST

START_TEST(scripts_that_run_each_other_come_to_an_end)
{
	char text[128];

	snprintf(text, sizeof(text), "#!%s\n", path);
	check_script(text);
	assert_refused("too often in turn");
}
END_TEST

START_TEST(what_cannot_run_at_all_is_absent)
{
	binary_check(&binary, path);
	ck_assert_int_eq(binary.verdict, BINARY_ABSENT);
	ck_assert_ptr_nonnull(strstr(binary.reason, "cannot be found"));
	binary_check(&binary, dir);
	ck_assert_int_eq(binary.verdict, BINARY_ABSENT);
	ck_assert_str_eq(binary.reason, "is a directory");
	write_file(path, "", 0, 0644);
	binary_check(&binary, path);
	ck_assert_int_eq(binary.verdict, BINARY_ABSENT);
	ck_assert_ptr_nonnull(strstr(binary.reason, "is not executable"));
	binary_check(&binary, "no-such-program-anywhere");
	ck_assert_str_eq(binary.reason, "is not found in PATH");
	binary_check(&binary, "");
	ck_assert_int_eq(binary.verdict, BINARY_ABSENT);
}
END_TEST

START_TEST(path_is_searched_as_a_shell_does)
{
	struct image good = make_image(LOADER, ".text");
	char tool[96], value[256];

	write_tool("tool", &good, tool);
	snprintf(value, sizeof(value), "/nowhere::%s:/usr/bin", dir);
	ck_assert_int_eq(setenv("PATH", value, 1), 0);
	binary_check(&binary, "tool");
	ck_assert_msg(binary.verdict == BINARY_ACCEPTED, "%s", binary.reason);
	ck_assert_str_eq(binary.path, tool);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("binary");
	TCase *tcase = tcase_create("binary");
	tcase_set_timeout(tcase, 30); /* it starts the program some hundred times */
	SRunner *runner = srunner_create(suite);

	tcase_add_checked_fixture(tcase, make_dir, remove_dir);
	tcase_add_test(tcase, a_program_linked_with_glibc_is_accepted);
	tcase_add_test(tcase, a_static_program_is_refused);
	tcase_add_test(tcase, a_static_go_program_is_refused_as_such);
	tcase_add_test(tcase, a_dynamic_go_program_is_refused);
	tcase_add_test(tcase, a_program_linked_with_musl_is_refused);
	tcase_add_test(tcase, a_program_whose_loader_is_missing_is_refused);
	tcase_add_test(tcase, a_program_of_another_machine_is_refused);
	tcase_add_test(tcase, an_elf_file_that_is_no_program_is_refused);
	tcase_add_test(tcase, setuid_and_setgid_programs_are_refused);
	tcase_add_test(tcase, a_program_of_any_damage_is_only_refused);
	tcase_add_test(tcase, a_text_without_interpreter_is_refused);
	tcase_add_test(tcase, of_a_script_its_interpreter_counts);
	tcase_add_test(tcase, env_is_looked_through_to_what_it_starts);
	tcase_add_test(tcase, scripts_that_run_each_other_come_to_an_end);
	tcase_add_test(tcase, what_cannot_run_at_all_is_absent);
	tcase_add_test(tcase, path_is_searched_as_a_shell_does);
	suite_add_tcase(suite, tcase);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
