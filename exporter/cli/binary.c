/* The order of the checks is that of what stops first: no file, no permission, a kernel that ignores LD_PRELOAD (it says
 * AT_SECURE for setuid, setgid and capabilities), no loader, a loader that is not glibc's, a language that goes past
 * libc. What the file lacks for good profiles is no reason to refuse.
 */
#include "binary.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#if defined(__x86_64__)
#define MACHINE_OWN EM_X86_64
#elif defined(__aarch64__)
#define MACHINE_OWN EM_AARCH64
#else
#error "profshim does not know this architecture"
#endif

enum {
	SECTIONS_MAX = 65536, /* all that e_shnum can say */
	DYNAMIC_MAX = 4096,   /* entries of a dynamic section that are looked at; big programs have a few hundred */
	NOTE_BYTES_MAX = 4096,
};

__attribute__((format(printf, 3, 4)))
static void refuse(struct binary *binary, enum binary_verdict verdict, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(binary->reason, sizeof(binary->reason), format, arguments);
	va_end(arguments);
	binary->verdict = verdict;
}

static bool read_at(int fd, uint64_t offset, void *ret_bytes, size_t n)
{
	return offset <= INT64_MAX && pread(fd, ret_bytes, n, (off_t)offset) == (ssize_t)n;
}

/* A text that ends within the buffer; false if it does not. */
static bool read_text(int fd, uint64_t offset, char *ret_text, size_t size)
{
	ssize_t n = offset <= INT64_MAX ? pread(fd, ret_text, size - 1, (off_t)offset) : -1;

	if (n < 0)
		n = 0;
	ret_text[n] = '\0';
	return strlen(ret_text) < (size_t)n;
}

/* --- finding the file */

static bool is_program_file(const char *path)
{
	struct stat status;

	return !stat(path, &status) && S_ISREG(status.st_mode);
}

/* Looks in PATH as execvp does: the first that can be executed, else the first that exists. */
static bool find_in_path(const char *name, char ret_path[static PATH_MAX])
{
	const char *dirs = getenv("PATH");
	char candidate[PATH_MAX], first[PATH_MAX] = "";

	for (const char *dir = dirs ? dirs : "/bin:/usr/bin"; dir; dir = strchr(dir, ':') ? strchr(dir, ':') + 1 : NULL) {
		int length = (int)strcspn(dir, ":");
		int written = snprintf(candidate, sizeof(candidate), "%.*s/%s", length ? length : 1, length ? dir : ".", name);
		if (written >= PATH_MAX || !is_program_file(candidate))
			continue;
		if (!first[0] || !access(candidate, X_OK))
			strcpy(first, candidate);
		if (!access(candidate, X_OK))
			break;
	}
	strcpy(ret_path, first);
	return first[0] != '\0';
}

static bool find(struct binary *binary, const char *program, char ret_path[static PATH_MAX])
{
	struct stat status;

	if (!program[0] || strlen(program) >= PATH_MAX) {
		refuse(binary, BINARY_ABSENT, "has no usable name");
		return false;
	}
	strcpy(ret_path, program);
	if (!strchr(program, '/') && !find_in_path(program, ret_path)) {
		strcpy(ret_path, program);
		refuse(binary, BINARY_ABSENT, "is not found in PATH");
		return false;
	}
	if (stat(ret_path, &status) < 0)
		refuse(binary, BINARY_ABSENT, "cannot be found: %s", strerror(errno));
	else if (S_ISDIR(status.st_mode))
		refuse(binary, BINARY_ABSENT, "is a directory");
	else if (!S_ISREG(status.st_mode))
		refuse(binary, BINARY_ABSENT, "is not a regular file");
	else if (access(ret_path, X_OK) < 0)
		refuse(binary, BINARY_ABSENT, "is not executable: %s", strerror(errno));
	return binary->verdict == BINARY_ACCEPTED;
}

/* --- who it runs as */

static bool runs_with_more_rights(struct binary *binary, const char *path, int fd)
{
	static const char consequence[] = "so that the loader ignores LD_PRELOAD";
	struct stat status;

	if (fstat(fd, &status) < 0)
		return false;
	if (status.st_mode & S_ISUID)
		refuse(binary, BINARY_REFUSED, "is setuid, %s", consequence);
	else if (status.st_mode & S_ISGID && status.st_mode & S_IXGRP)
		refuse(binary, BINARY_REFUSED, "is setgid, %s", consequence);
	else if (getxattr(path, "security.capability", NULL, 0) > 0)
		refuse(binary, BINARY_REFUSED, "has file capabilities, %s", consequence);
	return binary->verdict != BINARY_ACCEPTED;
}

/* --- what it is */

struct elf {
	int fd;
	Elf64_Ehdr header;
};

static const char *machine_name(unsigned machine)
{
	switch (machine) {
	case EM_386: return "32-bit x86";
	case EM_X86_64: return "x86-64";
	case EM_ARM: return "32-bit ARM";
	case EM_AARCH64: return "ARM64";
	case EM_RISCV: return "RISC-V";
	case EM_PPC64: return "POWER";
	case EM_S390: return "S/390";
	default: return "another architecture";
	}
}

static bool is_for_this_machine(struct binary *binary, const struct elf *elf)
{
	const Elf64_Ehdr *header = &elf->header;

	if (header->e_ident[EI_DATA] != ELFDATA2LSB)
		refuse(binary, BINARY_REFUSED, "is for a big-endian machine");
	else if (header->e_machine != MACHINE_OWN)
		refuse(binary, BINARY_REFUSED, "is for %s, profshim for %s", machine_name(header->e_machine), machine_name(MACHINE_OWN));
	else if (header->e_ident[EI_CLASS] != ELFCLASS64)
		refuse(binary, BINARY_REFUSED, "is a 32-bit program, profshim is 64-bit");
	else if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
		refuse(binary, BINARY_REFUSED, "is an ELF file, but not a program");
	else if (header->e_phentsize != sizeof(Elf64_Phdr))
		refuse(binary, BINARY_REFUSED, "is damaged: its program headers have an unknown size");
	return binary->verdict == BINARY_ACCEPTED;
}

/* The first program header of a type. */
static bool find_segment(const struct elf *elf, uint32_t type, Elf64_Phdr *ret_segment)
{
	for (uint32_t i = 0; i < elf->header.e_phnum; i++)
		if (!read_at(elf->fd, elf->header.e_phoff + i * sizeof(*ret_segment), ret_segment, sizeof(*ret_segment)))
			return false;
		else if (ret_segment->p_type == type)
			return true;
	return false;
}

/* Where in the file an address of the program lies. */
static bool offset_of(const struct elf *elf, uint64_t address, uint64_t *ret_offset)
{
	Elf64_Phdr segment;

	for (uint32_t i = 0; i < elf->header.e_phnum; i++) {
		if (!read_at(elf->fd, elf->header.e_phoff + i * sizeof(segment), &segment, sizeof(segment)))
			return false;
		if (segment.p_type == PT_LOAD && address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_filesz) {
			*ret_offset = segment.p_offset + (address - segment.p_vaddr);
			return true;
		}
	}
	return false;
}

static bool read_section(const struct elf *elf, uint32_t index, Elf64_Shdr *ret_section)
{
	return elf->header.e_shentsize == sizeof(*ret_section) &&
	       read_at(elf->fd, elf->header.e_shoff + index * sizeof(*ret_section), ret_section, sizeof(*ret_section));
}

static bool find_section(const struct elf *elf, const char *name, Elf64_Shdr *ret_section)
{
	Elf64_Shdr names;
	char text[64];

	if (!elf->header.e_shoff || !read_section(elf, elf->header.e_shstrndx, &names))
		return false;
	for (uint32_t i = 1; i < elf->header.e_shnum; i++) {
		if (!read_section(elf, i, ret_section))
			return false;
		if (read_text(elf->fd, names.sh_offset + ret_section->sh_name, text, sizeof(text)) && !strcmp(text, name))
			return true;
	}
	return false;
}

static bool has_section(const struct elf *elf, const char *name)
{
	Elf64_Shdr section;

	return find_section(elf, name, &section) && section.sh_type != SHT_NOBITS && section.sh_size;
}

static bool is_go(const struct elf *elf)
{
	return has_section(elf, ".go.buildinfo") || has_section(elf, ".note.go.buildid") || has_section(elf, ".gopclntab");
}

static bool has_glibc_loader(struct binary *binary, const struct elf *elf)
{
	Elf64_Phdr segment;
	bool is_go_program = is_go(elf);

	if (!find_segment(elf, PT_INTERP, &segment))
		refuse(binary, BINARY_REFUSED, "is statically linked%s, so that no loader runs that could preload anything",
		       is_go_program ? " (a Go program)" : "");
	else if (!read_text(elf->fd, segment.p_offset, binary->loader, sizeof(binary->loader)))
		refuse(binary, BINARY_REFUSED, "is damaged: the name of its loader cannot be read");
	else if (strstr(binary->loader, "ld-musl"))
		refuse(binary, BINARY_REFUSED, "is linked with musl (its loader is %s), profshim with glibc", binary->loader);
	else if (!strstr(binary->loader, "ld-linux"))
		refuse(binary, BINARY_REFUSED, "has a loader that is not glibc's: %s", binary->loader);
	else if (access(binary->loader, X_OK) < 0)
		refuse(binary, BINARY_REFUSED, "needs the loader %s, which is not there", binary->loader);
	else if (is_go_program)
		refuse(binary, BINARY_REFUSED, "is a Go program, whose runtime makes its system calls past libc");
	return binary->verdict == BINARY_ACCEPTED;
}

/* --- what would be seen */

/* The text of a DT_NEEDED entry that names a TLS library. */
static void note_tls_library(struct binary *binary, const struct elf *elf, uint64_t strings, uint64_t name)
{
	char text[sizeof(binary->tls_library)];

	if (!read_text(elf->fd, strings + name, text, sizeof(text)))
		return;
	if (!strncmp(text, "libssl.", 7) || !strncmp(text, "libgnutls.", 10) || !strncmp(text, "libmbedtls.", 11))
		strcpy(binary->tls_library, text);
}

static void look_at_libraries(struct binary *binary, const struct elf *elf)
{
	Elf64_Phdr segment;
	Elf64_Dyn entry;
	uint64_t strings = 0;

	if (!find_segment(elf, PT_DYNAMIC, &segment))
		return;
	uint64_t count = segment.p_filesz / sizeof(entry);
	if (count > DYNAMIC_MAX)
		count = DYNAMIC_MAX;
	for (int pass = 0; pass < 2; pass++) { /* the names' place first, then the names */
		for (uint64_t i = 0; i < count && read_at(elf->fd, segment.p_offset + i * sizeof(entry), &entry, sizeof(entry)); i++) {
			if (entry.d_tag == DT_NULL)
				break;
			if (!pass && entry.d_tag == DT_STRTAB && !offset_of(elf, entry.d_un.d_ptr, &strings))
				return;
			if (pass && entry.d_tag == DT_NEEDED)
				note_tls_library(binary, elf, strings, entry.d_un.d_val);
		}
	}
}

static bool find_by_build_id(struct binary *binary, const struct elf *elf)
{
	Elf64_Shdr section;
	struct {
		Elf64_Nhdr header;
		char owner[4];
		uint8_t id[64];
	} note = { 0 };
	char hex[2 * sizeof(note.id) + 1];

	if (!find_section(elf, ".note.gnu.build-id", &section) || section.sh_size > sizeof(note) ||
	    !read_at(elf->fd, section.sh_offset, &note, section.sh_size))
		return false;
	uint32_t id_bytes = note.header.n_descsz;
	if (memcmp(note.owner, ELF_NOTE_GNU, sizeof(note.owner)) || id_bytes < 2 || id_bytes > sizeof(note.id))
		return false;
	for (uint32_t i = 0; i < id_bytes; i++)
		snprintf(hex + 2 * i, 3, "%02x", note.id[i]);
	snprintf(binary->debug_file, sizeof(binary->debug_file), "/usr/lib/debug/.build-id/%.2s/%s.debug", hex, hex + 2);
	return !access(binary->debug_file, R_OK);
}

static bool find_by_link(struct binary *binary, const struct elf *elf)
{
	Elf64_Shdr section;
	char name[NAME_MAX + 1], real[PATH_MAX];

	if (!find_section(elf, ".gnu_debuglink", &section) || !read_text(elf->fd, section.sh_offset, name, sizeof(name)) ||
	    !realpath(binary->runs, real))
		return false;
	*strrchr(real, '/') = '\0';
	static const char *const forms[] = { "%2$s/%1$s", "%2$s/.debug/%1$s", "/usr/lib/debug%2$s/%1$s" };
	for (int i = 0; i < 3; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		int length = snprintf(binary->debug_file, sizeof(binary->debug_file), forms[i], name, real);
#pragma GCC diagnostic pop
		if (length < PATH_MAX && !access(binary->debug_file, R_OK))
			return true;
	}
	return false;
}

static void look_inside(struct binary *binary, const struct elf *elf)
{
	Elf64_Phdr segment;

	binary->has_symbols = has_section(elf, ".symtab");
	binary->has_lines = has_section(elf, ".debug_line");
	binary->has_frames = find_segment(elf, PT_GNU_EH_FRAME, &segment);
	if (!find_by_build_id(binary, elf) && !find_by_link(binary, elf))
		binary->debug_file[0] = '\0';
	look_at_libraries(binary, elf);
}

/* --- scripts */

/* Takes the next word off the line. */
static char *next_word(char **line)
{
	char *word = *line + strspn(*line, " \t");
	char *end = word + strcspn(word, " \t");

	*line = *end ? end + 1 : end;
	*end = '\0';
	return word;
}

/* The program that a script's first line, behind #!, names: what `env` starts rather than env. */
static char *interpreter_of(char *line)
{
	line[strcspn(line, "\n")] = '\0';
	char *program = next_word(&line);
	const char *slash = strrchr(program, '/');

	if (strcmp(slash ? slash + 1 : program, "env"))
		return program;
	char *word = next_word(&line);
	while (word[0] == '-' || strchr(word, '='))
		word = next_word(&line);
	return word[0] ? word : program;
}

static void check_file(struct binary *binary, const char *path, int scripts);

static void check_script(struct binary *binary, const char *path, char *first_line, int scripts)
{
	char interpreter[PATH_MAX], script[PATH_MAX];

	snprintf(script, sizeof(script), "%s", path);
	if (scripts == BINARY_SCRIPTS_MAX) {
		refuse(binary, BINARY_REFUSED, "is a script run by a script, too often in turn");
		return;
	}
	const char *name = interpreter_of(first_line);
	struct binary outcome = { 0 };
	if (!find(&outcome, name, interpreter)) {
		refuse(binary, BINARY_ABSENT, "is a script for %.512s, which %.512s", name, outcome.reason);
		return;
	}
	strcpy(binary->runs, interpreter);
	check_file(binary, interpreter, scripts + 1);
	if (binary->verdict != BINARY_ACCEPTED) {
		snprintf(outcome.reason, sizeof(outcome.reason), "%s", binary->reason);
		refuse(binary, binary->verdict, "is a script run by %.1024s, which %.2048s", interpreter, outcome.reason);
	}
}

static void check_elf(struct binary *binary, const struct elf *elf)
{
	if (is_for_this_machine(binary, elf) && has_glibc_loader(binary, elf))
		look_inside(binary, elf);
}

static void check_open_file(struct binary *binary, const char *path, int fd, int scripts)
{
	struct elf elf = { .fd = fd };
	char first_line[256]; /* BINPRM_BUF_SIZE: the kernel reads no more of it either */

	if (runs_with_more_rights(binary, path, fd))
		return;
	ssize_t n = pread(fd, first_line, sizeof(first_line) - 1, 0);
	first_line[n > 0 ? n : 0] = '\0';
	if (n > 2 && !memcmp(first_line, "#!", 2))
		check_script(binary, path, first_line + 2, scripts);
	else if (n < SELFMAG || memcmp(first_line, ELFMAG, SELFMAG))
		refuse(binary, BINARY_REFUSED, "is neither an ELF program nor a script that begins with #!");
	else if (!read_at(fd, 0, &elf.header, sizeof(elf.header)))
		refuse(binary, BINARY_REFUSED, "is cut short");
	else
		check_elf(binary, &elf);
}

static void check_file(struct binary *binary, const char *path, int scripts)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0) {
		refuse(binary, BINARY_REFUSED, "cannot be read to tell: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	if (!S_ISREG(status.st_mode))
		refuse(binary, BINARY_REFUSED, "is not a regular file");
	else
		check_open_file(binary, path, fd, scripts);
	close(fd);
}

void binary_check(struct binary *ret_binary, const char *program)
{
	*ret_binary = (struct binary){ 0 };
	if (!find(ret_binary, program, ret_binary->path))
		return;
	strcpy(ret_binary->runs, ret_binary->path);
	check_file(ret_binary, ret_binary->path, 0);
}
