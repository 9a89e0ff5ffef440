/* ELF-64 (System V ABI, "Object Files"; elf(5)), in this machine's byte order, as every module of a process is that runs on it.
 * Header and sections' headers are kept while an image is open; whatever else is asked for is read by pread into memory of its
 * own, so that it goes back when it has been looked at. Each place and size is held against the file's size first, and what is
 * cut off by a section's end is cut off there.
 */
#include "image.h"
#include "cursor.h"
#include "step.h"
#include "unpack.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Deflate makes no more of a byte (zlib's documentation): what claims to unpack to more than that is damaged. */
enum { UNPACKED_RATIO_MAX = 1032, NAMES_BYTES_MAX = 64 * 1024 * 1024 };

struct image {
	int descriptor;        /* -1 = in memory */
	const uint8_t *memory; /* borrowed */
	Elf64_Ehdr header;
	Elf64_Shdr *sections;  /* owned */
	uint64_t section_count;
	struct image_section names; /* of sections; without bytes = they have none */
	struct image_identity identity;
	uint64_t symbols_max;  /* bytes of one table of symbols or names */
	bool was_limited;
};

void image_set_limit(struct image *image, uint64_t bytes_max)
{
	image->symbols_max = bytes_max;
}

bool image_was_limited(const struct image *image)
{
	return image->was_limited;
}

const struct image_identity *image_identity(const struct image *image)
{
	return &image->identity;
}

bool image_is_x86_64(const struct image *image)
{
	return image->header.e_machine == EM_X86_64;
}

/* --- bytes --- */

static bool is_inside(const struct image *image, uint64_t offset, uint64_t n)
{
	uint64_t file_bytes = (uint64_t)image->identity.size_bytes;

	return offset <= file_bytes && n <= file_bytes - offset;
}

static int read_bytes(const struct image *image, uint64_t offset, void *ret_bytes, uint64_t n)
{
	uint64_t done = 0;

	if (!is_inside(image, offset, n))
		return -ENOEXEC;
	if (image->descriptor < 0) {
		memcpy(ret_bytes, image->memory + offset, n);
		return 0;
	}
	while (done < n) {
		ssize_t got = pread(image->descriptor, (uint8_t *)ret_bytes + done, n - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0) /* truncated since it was opened */
			return -ENOEXEC;
		done += (uint64_t)got;
	}
	return 0;
}

static uint8_t *alloc_with_slack(uint64_t n)
{
	uint8_t *bytes = n < SIZE_MAX - IMAGE_SLACK_BYTES ? malloc(n + IMAGE_SLACK_BYTES) : NULL;

	if (bytes)
		memset(bytes + n, 0, IMAGE_SLACK_BYTES);
	return bytes;
}

/* --- sections --- */

static bool has_contents(const struct image *image, const Elf64_Shdr *section)
{
	return section->sh_type != SHT_NOBITS && section->sh_type != SHT_NULL && section->sh_size > 0 &&
	       is_inside(image, section->sh_offset, section->sh_size);
}

/* "" where there is none. */
static const char *name_of(const struct image *image, const Elf64_Shdr *section)
{
	return section->sh_name < image->names.size ? (const char *)image->names.bytes + section->sh_name : "";
}

/* Is the section called name, or .zdebug_x where .debug_x is asked for? */
static bool is_named(const char *name, const char *asked, bool *ret_is_zdebug)
{
	*ret_is_zdebug = name[0] == '.' && name[1] == 'z';
	if (*ret_is_zdebug)
		return strncmp(asked, ".debug_", 7) == 0 && strcmp(name + 2, asked + 1) == 0;
	return strcmp(name, asked) == 0;
}

/* The first section of that name, if it has contents; the one at index 0 stands for none (elf(5)). */
static const Elf64_Shdr *find_section(const struct image *image, const char *asked, bool *ret_is_zdebug)
{
	for (uint64_t i = 1; i < image->section_count; i++) {
		const Elf64_Shdr *section = &image->sections[i];
		if (is_named(name_of(image, section), asked, ret_is_zdebug))
			return has_contents(image, section) ? section : NULL;
	}
	return NULL;
}

/* The next after `after`, NULL = the first. */
static const Elf64_Shdr *find_section_of_type(const struct image *image, uint32_t type, const Elf64_Shdr *after)
{
	for (uint64_t i = after ? (uint64_t)(after - image->sections) + 1 : 1; i < image->section_count; i++)
		if (image->sections[i].sh_type == type && has_contents(image, &image->sections[i]))
			return &image->sections[i];
	return NULL;
}

bool image_has_section(const struct image *image, const char *name)
{
	bool is_zdebug;

	return find_section(image, name, &is_zdebug) != NULL;
}

static int read_plain(const struct image *image, const Elf64_Shdr *header, uint64_t max_bytes, struct image_section *ret_section)
{
	if (header->sh_size > max_bytes)
		return -EFBIG;
	uint8_t *bytes = alloc_with_slack(header->sh_size);
	if (!bytes)
		return -ENOMEM;
	int failed = read_bytes(image, header->sh_offset, bytes, header->sh_size);
	if (failed) {
		free(bytes);
		return failed;
	}
	*ret_section = (struct image_section){ bytes, header->sh_size, header->sh_addr, header->sh_entsize };
	return 0;
}

/* Where a compressed section says how large it is unpacked: gABI's header, or binutils' own of before, "ZLIB" and the size as
 * eight bytes, highest first. ret_n 0 = of an unknown kind. */
static int read_unpacked_size(const struct image *image, const Elf64_Shdr *header, bool is_zdebug, uint64_t *ret_n, uint64_t *ret_head)
{
	Elf64_Chdr chdr;
	uint8_t zdebug[12];
	int failed;

	*ret_n = 0;
	*ret_head = is_zdebug ? sizeof(zdebug) : sizeof(chdr);
	if (header->sh_size < *ret_head)
		return 0;
	failed = is_zdebug ? read_bytes(image, header->sh_offset, zdebug, sizeof(zdebug)) :
			     read_bytes(image, header->sh_offset, &chdr, sizeof(chdr));
	if (failed)
		return failed;
	if (!is_zdebug)
		*ret_n = chdr.ch_type == ELFCOMPRESS_ZLIB ? chdr.ch_size : 0;
	else if (memcmp(zdebug, "ZLIB", 4) == 0)
		for (uint32_t i = 4; i < 12; i++)
			*ret_n = *ret_n << 8 | zdebug[i];
	return 0;
}

static int read_compressed(const struct image *image, const Elf64_Shdr *header, bool is_zdebug, uint64_t max_bytes,
			   struct image_section *ret_section)
{
	uint64_t n, head;
	int failed = read_unpacked_size(image, header, is_zdebug, &n, &head);

	if (failed)
		return failed;
	if (!n || n / UNPACKED_RATIO_MAX > header->sh_size)
		return -ENOEXEC;
	if (n > max_bytes)
		return -EFBIG;
	uint8_t *bytes = alloc_with_slack(n);
	if (!bytes)
		return -ENOMEM;
	failed = unpack(image->descriptor, image->memory, header->sh_offset + head, header->sh_size - head, bytes, n);
	if (failed) {
		free(bytes);
		return failed;
	}
	*ret_section = (struct image_section){ bytes, n, header->sh_addr, header->sh_entsize };
	return 0;
}

int image_read_section(struct image *image, const char *name, uint64_t max_bytes, struct image_section *ret_section)
{
	bool is_zdebug;
	const Elf64_Shdr *header = find_section(image, name, &is_zdebug);

	if (!header)
		return -ENOENT;
	if (is_zdebug || (header->sh_flags & SHF_COMPRESSED))
		return read_compressed(image, header, is_zdebug, max_bytes, ret_section);
	return read_plain(image, header, max_bytes, ret_section);
}

/* In a debug file the code's sections have addresses but no contents; that is as good here. */
int image_read_code(struct image *image, struct spans *ret_code)
{
	for (uint64_t i = 1; i < image->section_count; i++) {
		const Elf64_Shdr *header = &image->sections[i];
		if ((header->sh_flags & SHF_EXECINSTR) && (header->sh_flags & SHF_ALLOC) &&
		    spans_add(ret_code, header->sh_addr, header->sh_addr + header->sh_size, 0) != 0)
			return -ENOMEM;
	}
	spans_sort(ret_code);
	return 0;
}

/* --- symbols --- */

/* A table of symbols and the names that it refers to; owned. */
struct symbols {
	struct image_section table, names;
};

static void free_symbols(struct symbols *symbols)
{
	free(symbols->table.bytes);
	free(symbols->names.bytes);
}

/* 0 or -ENOENT: there is no such table that could be read. */
static int read_symbols(struct image *image, const Elf64_Shdr *header, struct symbols *ret_symbols)
{
	struct symbols symbols = { 0 };
	const Elf64_Shdr *names = header->sh_link < image->section_count ? &image->sections[header->sh_link] : NULL;

	if (!names || names->sh_type != SHT_STRTAB || !has_contents(image, names) || (header->sh_flags & SHF_COMPRESSED) ||
	    (names->sh_flags & SHF_COMPRESSED))
		return -ENOENT;
	image->was_limited |= header->sh_size > image->symbols_max || names->sh_size > image->symbols_max;
	if (read_plain(image, header, image->symbols_max, &symbols.table) || read_plain(image, names, image->symbols_max, &symbols.names)) {
		free_symbols(&symbols);
		return -ENOENT;
	}
	*ret_symbols = symbols;
	return 0;
}

/* False: the table has no such entry. */
static bool get_symbol(const struct symbols *symbols, uint64_t index, Elf64_Sym *ret_symbol)
{
	if (index >= symbols->table.size / sizeof(*ret_symbol))
		return false;
	step_taken(1);
	memcpy(ret_symbol, symbols->table.bytes + index * sizeof(*ret_symbol), sizeof(*ret_symbol));
	return true;
}

static const char *get_name(const struct symbols *symbols, const Elf64_Sym *symbol)
{
	return symbol->st_name < symbols->names.size ? (const char *)symbols->names.bytes + symbol->st_name : "";
}

/* False: not a function or label defined here. */
static bool symbol_of(const struct symbols *symbols, const Elf64_Sym *entry, struct image_symbol *ret_symbol)
{
	uint32_t type = ELF64_ST_TYPE(entry->st_info), binding = ELF64_ST_BIND(entry->st_info);

	if (entry->st_shndx == SHN_UNDEF || entry->st_shndx == SHN_ABS || entry->st_shndx == SHN_COMMON)
		return false;
	if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE)
		return false;
	ret_symbol->name = get_name(symbols, entry);
	if (!ret_symbol->name[0])
		return false;
	ret_symbol->start = entry->st_value;
	ret_symbol->size = entry->st_size;
	ret_symbol->binding = binding == STB_LOCAL ? IMAGE_LOCAL : binding == STB_WEAK ? IMAGE_WEAK : IMAGE_GLOBAL;
	ret_symbol->is_function = type != STT_NOTYPE;
	return true;
}

int image_read_symbols(struct image *image, bool is_dynamic, int (*found)(void *context, const struct image_symbol *symbol),
                       void *context)
{
	const Elf64_Shdr *header = find_section_of_type(image, is_dynamic ? SHT_DYNSYM : SHT_SYMTAB, NULL);
	struct symbols symbols;
	struct image_symbol symbol;
	Elf64_Sym entry;
	int result = 0;

	if (!header || read_symbols(image, header, &symbols) != 0)
		return -ENOENT;
	for (uint64_t i = 1; result == 0 && get_symbol(&symbols, i, &entry); i++)
		if (symbol_of(&symbols, &entry, &symbol))
			result = found(context, &symbol);
	free_symbols(&symbols);
	return result;
}

/* One table of relocations with addends, the only kind x86-64 has. */
static int read_import_table(struct image *image, const Elf64_Shdr *header,
                             int (*found)(void *context, uint64_t address, const char *symbol), void *context)
{
	const Elf64_Shdr *table = header->sh_link < image->section_count ? &image->sections[header->sh_link] : NULL;
	struct image_section relocations;
	struct symbols symbols;
	int result = 0;

	if (!table || table->sh_type != SHT_DYNSYM || !has_contents(image, table) || read_symbols(image, table, &symbols) != 0)
		return 0;
	if ((header->sh_flags & SHF_COMPRESSED) || read_plain(image, header, image->symbols_max, &relocations) != 0) {
		free_symbols(&symbols);
		return 0;
	}
	for (uint64_t i = 0; result == 0 && i < relocations.size / sizeof(Elf64_Rela); i++) {
		Elf64_Rela relocation;
		Elf64_Sym symbol;

		memcpy(&relocation, relocations.bytes + i * sizeof(relocation), sizeof(relocation));
		uint64_t index = ELF64_R_SYM(relocation.r_info);
		if (index > 0 && get_symbol(&symbols, index, &symbol) && get_name(&symbols, &symbol)[0])
			result = found(context, relocation.r_offset, get_name(&symbols, &symbol));
	}
	free(relocations.bytes);
	free_symbols(&symbols);
	return result;
}

int image_read_imports(struct image *image, int (*found)(void *context, uint64_t address, const char *symbol), void *context)
{
	const Elf64_Shdr *section = NULL;
	int result = 0;

	while (result == 0 && (section = find_section_of_type(image, SHT_RELA, section)) != NULL)
		result = read_import_table(image, section, found, context);
	return result;
}

/* --- who it is --- */

/* True: the notes hold a build-id, now in the identity. Names and descriptions are padded to four bytes (elf(5), "Notes"). */
static bool find_build_id(struct image *image, struct bytes notes)
{
	struct cursor cursor = cursor_at(notes, 0);
	Elf64_Nhdr note;

	while (cursor_left(&cursor) >= sizeof(note)) {
		memcpy(&note, cursor.at, sizeof(note));
		cursor_skip(&cursor, sizeof(note));
		const uint8_t *name = cursor.at;
		cursor_skip(&cursor, ((uint64_t)note.n_namesz + 3) & ~3ull);
		const uint8_t *id = cursor.at;
		if (cursor.is_past || note.n_descsz > cursor_left(&cursor))
			return false;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(name, "GNU", 4) == 0 && note.n_descsz > 0 &&
		    note.n_descsz <= IMAGE_BUILD_ID_MAX) {
			memcpy(image->identity.build_id, id, note.n_descsz);
			image->identity.build_id_bytes = note.n_descsz;
			return true;
		}
		cursor_skip(&cursor, ((uint64_t)note.n_descsz + 3) & ~3ull);
	}
	return false;
}

/* What stands in that place of the file. */
static bool find_build_id_at(struct image *image, uint64_t offset, uint64_t n)
{
	uint8_t *bytes = n && is_inside(image, offset, n) ? malloc(n) : NULL;
	bool is_found = bytes && read_bytes(image, offset, bytes, n) == 0 && find_build_id(image, (struct bytes){ bytes, n });

	free(bytes);
	return is_found;
}

/* By section, since a debug file's program headers point at what it does not hold; by program header where the sections
 * were stripped, too. */
static void read_build_id(struct image *image)
{
	const Elf64_Shdr *section = NULL;
	bool has_sections = false;

	while ((section = find_section_of_type(image, SHT_NOTE, section)) != NULL) {
		has_sections = true;
		if (find_build_id_at(image, section->sh_offset, section->sh_size))
			return;
	}
	if (has_sections || image->header.e_phentsize != sizeof(Elf64_Phdr))
		return;
	for (uint64_t i = 0; i < image->header.e_phnum; i++) {
		Elf64_Phdr segment;
		uint64_t at;

		if (__builtin_add_overflow(image->header.e_phoff, i * sizeof(segment), &at) ||
		    read_bytes(image, at, &segment, sizeof(segment)) != 0)
			return;
		if (segment.p_type == PT_NOTE && find_build_id_at(image, segment.p_offset, segment.p_filesz))
			return;
	}
}

/* A name, its end, padding to a multiple of four, and the CRC in the file's byte order (GDB manual, "Separate Debug
 * Files"). */
static void read_debuglink(struct image *image)
{
	struct image_section link = { 0 };
	size_t name_bytes, crc_at;

	if (image_read_section(image, ".gnu_debuglink", IMAGE_DEBUGLINK_MAX + 8, &link) != 0)
		return;
	name_bytes = strnlen((char *)link.bytes, link.size);
	crc_at = (name_bytes + 4) & ~(size_t)3;
	if (name_bytes < IMAGE_DEBUGLINK_MAX && crc_at + 4 <= link.size && !memchr(link.bytes, '/', name_bytes)) {
		memcpy(image->identity.debuglink, link.bytes, name_bytes);
		memcpy(&image->identity.debuglink_crc, link.bytes + crc_at, 4);
	}
	free(link.bytes);
}

/* A file with more sections than fit the header has their number and that of their names in the first one (elf(5)). */
static int read_section_headers(struct image *image)
{
	const Elf64_Ehdr *header = &image->header;
	uint64_t count = header->e_shnum, names = header->e_shstrndx;
	Elf64_Shdr first;

	if (!header->e_shoff || header->e_shentsize != sizeof(first) || read_bytes(image, header->e_shoff, &first, sizeof(first)) != 0)
		return 0; /* it has none */
	if (count == 0)
		count = first.sh_size;
	if (names == SHN_XINDEX)
		names = first.sh_link;
	if (count > (uint64_t)image->identity.size_bytes / sizeof(first) || !is_inside(image, header->e_shoff, count * sizeof(first)))
		return -ENOEXEC;
	image->sections = malloc(count * sizeof(first) + 1);
	if (!image->sections)
		return -ENOMEM;
	int failed = read_bytes(image, header->e_shoff, image->sections, count * sizeof(first));
	if (failed)
		return failed;
	image->section_count = count;
	if (names < count && image->sections[names].sh_type == SHT_STRTAB && has_contents(image, &image->sections[names]))
		failed = read_plain(image, &image->sections[names], NAMES_BYTES_MAX, &image->names);
	return failed == -ENOMEM ? failed : 0;
}

static int read_headers(struct image *image)
{
	static const uint8_t wanted[] = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
					  __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB };

	if (read_bytes(image, 0, &image->header, sizeof(image->header)) != 0 ||
	    memcmp(image->header.e_ident, wanted, sizeof(wanted)) != 0)
		return -ENOEXEC;
	int failed = read_section_headers(image);
	if (failed)
		return failed;
	read_build_id(image);
	read_debuglink(image);
	return 0;
}

static int open_file(const char *path, struct image *image)
{
	struct stat status;

	/* O_NONBLOCK: a path that is a FIFO now must not make us wait. */
	image->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (image->descriptor < 0 || fstat(image->descriptor, &status) != 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	image->identity.device = status.st_dev;
	image->identity.inode = status.st_ino;
	image->identity.size_bytes = status.st_size;
	image->identity.modified_ns = status.st_mtim.tv_sec * 1000000000LL + status.st_mtim.tv_nsec;
	return read_headers(image);
}

int image_open(const char *path, struct image **ret_image)
{
	struct image *image = calloc(1, sizeof(*image));
	int failed;

	if (!image)
		return -ENOMEM;
	image->symbols_max = UINT64_MAX;
	failed = open_file(path, image);
	if (failed) {
		image_close(image);
		return failed;
	}
	*ret_image = image;
	return 0;
}

int image_open_memory(const uint8_t *bytes, size_t n, struct image **ret_image)
{
	struct image *image = calloc(1, sizeof(*image));
	int failed;

	if (!image)
		return -ENOMEM;
	image->descriptor = -1;
	image->symbols_max = UINT64_MAX;
	image->memory = bytes;
	image->identity.size_bytes = (int64_t)n;
	failed = read_headers(image);
	if (failed) {
		image_close(image);
		return failed;
	}
	*ret_image = image;
	return 0;
}

void image_close(struct image *image)
{
	if (!image)
		return;
	if (image->descriptor >= 0)
		close(image->descriptor);
	free(image->names.bytes);
	free(image->sections);
	free(image);
}
