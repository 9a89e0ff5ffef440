/* The only user of libelf. It reads headers, symbols and notes through libelf, which checks them against the file's size,
 * and plain sections by pread straight into our own memory, so that big ones are not held twice.
 */
#include "image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct image {
	Elf *elf;
	int descriptor;        /* -1 = in memory */
	const uint8_t *memory; /* borrowed */
	GElf_Ehdr header;
	size_t names_index; /* the section of section names */
	struct image_identity identity;
};

const struct image_identity *image_identity(const struct image *image)
{
	return &image->identity;
}

bool image_is_x86_64(const struct image *image)
{
	return image->header.e_machine == EM_X86_64 && image->header.e_ident[EI_CLASS] == ELFCLASS64;
}

static bool has_contents(const struct image *image, const GElf_Shdr *section)
{
	uint64_t file_bytes = (uint64_t)image->identity.size_bytes;

	return section->sh_type != SHT_NOBITS && section->sh_type != SHT_NULL && section->sh_size > 0 &&
	       section->sh_offset < file_bytes && section->sh_size <= file_bytes - section->sh_offset;
}

/* Is the section called name, or .zdebug_x where .debug_x is asked for? */
static bool is_named(const char *name, const char *asked, bool *ret_is_zdebug)
{
	*ret_is_zdebug = name[0] == '.' && name[1] == 'z';
	if (*ret_is_zdebug)
		return strncmp(asked, ".debug_", 7) == 0 && strcmp(name + 2, asked + 1) == 0;
	return strcmp(name, asked) == 0;
}

static Elf_Scn *find_section(const struct image *image, const char *asked, GElf_Shdr *ret_header, bool *ret_is_zdebug)
{
	Elf_Scn *section = NULL;

	while ((section = elf_nextscn(image->elf, section)) != NULL) {
		const char *name;

		if (!gelf_getshdr(section, ret_header))
			continue;
		name = elf_strptr(image->elf, image->names_index, ret_header->sh_name);
		if (name && is_named(name, asked, ret_is_zdebug))
			return has_contents(image, ret_header) ? section : NULL;
	}
	return NULL;
}

static Elf_Scn *find_section_of_type(const struct image *image, uint32_t type, Elf_Scn *after, GElf_Shdr *ret_header)
{
	Elf_Scn *section = after;

	while ((section = elf_nextscn(image->elf, section)) != NULL)
		if (gelf_getshdr(section, ret_header) && ret_header->sh_type == type && has_contents(image, ret_header))
			return section;
	return NULL;
}

bool image_has_section(const struct image *image, const char *name)
{
	GElf_Shdr header;
	bool is_zdebug;

	return find_section(image, name, &header, &is_zdebug) != NULL;
}

static int read_bytes(const struct image *image, uint64_t offset, uint8_t *bytes, uint64_t n)
{
	uint64_t done = 0;

	if (image->descriptor < 0) {
		memcpy(bytes, image->memory + offset, n);
		return 0;
	}
	while (done < n) {
		ssize_t got = pread(image->descriptor, bytes + done, n - done, (off_t)(offset + done));

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

/* The size that a compressed section claims to have when unpacked; 0 = damaged or of an unknown kind. */
static uint64_t unpacked_bytes(Elf_Scn *section, bool is_zdebug)
{
	GElf_Chdr header;
	Elf_Data *raw;
	uint64_t size = 0;

	if (!is_zdebug)
		return gelf_getchdr(section, &header) && header.ch_type == ELFCOMPRESS_ZLIB ? header.ch_size : 0;
	/* "ZLIB" and the size as eight bytes, highest first (binutils' own format before gABI had one). */
	raw = elf_rawdata(section, NULL);
	if (!raw || raw->d_size < 12 || memcmp(raw->d_buf, "ZLIB", 4) != 0)
		return 0;
	for (uint32_t i = 4; i < 12; i++)
		size = size << 8 | ((const uint8_t *)raw->d_buf)[i];
	return size;
}

static int read_compressed(Elf_Scn *section, bool is_zdebug, uint64_t max_bytes, struct image_section *ret_section)
{
	uint64_t size = unpacked_bytes(section, is_zdebug);
	Elf_Data *data;

	if (size == 0)
		return -ENOEXEC;
	if (size > max_bytes)
		return -EFBIG;
	if ((is_zdebug ? elf_compress_gnu(section, 0, 0) : elf_compress(section, 0, 0)) < 0)
		return -ENOEXEC;
	data = elf_rawdata(section, NULL);
	if (!data || !data->d_buf)
		return -ENOEXEC;
	ret_section->bytes = alloc_with_slack(data->d_size);
	if (!ret_section->bytes)
		return -ENOMEM;
	memcpy(ret_section->bytes, data->d_buf, data->d_size);
	ret_section->size = data->d_size;
	return 0;
}

static int read_plain(const struct image *image, const GElf_Shdr *header, uint64_t max_bytes, struct image_section *ret_section)
{
	uint8_t *bytes;
	int failed;

	if (header->sh_size > max_bytes)
		return -EFBIG;
	bytes = alloc_with_slack(header->sh_size);
	if (!bytes)
		return -ENOMEM;
	failed = read_bytes(image, header->sh_offset, bytes, header->sh_size);
	if (failed) {
		free(bytes);
		return failed;
	}
	ret_section->bytes = bytes;
	ret_section->size = header->sh_size;
	return 0;
}

int image_read_section(struct image *image, const char *name, uint64_t max_bytes, struct image_section *ret_section)
{
	GElf_Shdr header;
	bool is_zdebug;
	Elf_Scn *section = find_section(image, name, &header, &is_zdebug);

	if (!section)
		return -ENOENT;
	ret_section->address = header.sh_addr;
	ret_section->entry_size = header.sh_entsize;
	if (is_zdebug || (header.sh_flags & SHF_COMPRESSED))
		return read_compressed(section, is_zdebug, max_bytes, ret_section);
	return read_plain(image, &header, max_bytes, ret_section);
}

/* In a debug file the code's sections have addresses but no contents; that is as good here. */
int image_read_code(struct image *image, struct spans *ret_code)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;

	while ((section = elf_nextscn(image->elf, section)) != NULL) {
		if (!gelf_getshdr(section, &header))
			continue;
		if ((header.sh_flags & SHF_EXECINSTR) && (header.sh_flags & SHF_ALLOC) &&
		    spans_add(ret_code, header.sh_addr, header.sh_addr + header.sh_size, 0) != 0)
			return -ENOMEM;
	}
	spans_sort(ret_code);
	return 0;
}

/* False: not a function or label defined here. */
static bool symbol_of(const struct image *image, const GElf_Sym *entry, size_t strings_index, struct image_symbol *ret_symbol)
{
	uint32_t type = GELF_ST_TYPE(entry->st_info), binding = GELF_ST_BIND(entry->st_info);

	if (entry->st_shndx == SHN_UNDEF || entry->st_shndx == SHN_ABS || entry->st_shndx == SHN_COMMON)
		return false;
	if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE)
		return false;
	ret_symbol->name = elf_strptr(image->elf, strings_index, entry->st_name);
	if (!ret_symbol->name || !ret_symbol->name[0])
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
	GElf_Shdr header;
	Elf_Scn *section = find_section_of_type(image, is_dynamic ? SHT_DYNSYM : SHT_SYMTAB, NULL, &header);
	Elf_Data *data = section ? elf_getdata(section, NULL) : NULL;
	struct image_symbol symbol;
	GElf_Sym entry;
	int result = 0;

	if (!data)
		return -ENOENT;
	for (int i = 1; result == 0 && gelf_getsym(data, i, &entry); i++)
		if (symbol_of(image, &entry, header.sh_link, &symbol))
			result = found(context, &symbol);
	return result;
}

/* One table of relocations with addends, the only kind x86-64 has. */
static int read_import_table(struct image *image, Elf_Scn *section, const GElf_Shdr *header,
                             int (*found)(void *context, uint64_t address, const char *symbol), void *context)
{
	Elf_Scn *symbols_section = elf_getscn(image->elf, header->sh_link);
	Elf_Data *relocations = elf_getdata(section, NULL), *symbols = NULL;
	GElf_Shdr symbols_header;
	GElf_Rela relocation;
	GElf_Sym symbol;
	int result = 0;

	if (symbols_section && gelf_getshdr(symbols_section, &symbols_header) && symbols_header.sh_type == SHT_DYNSYM)
		symbols = elf_getdata(symbols_section, NULL);
	if (!relocations || !symbols)
		return 0;
	for (int i = 0; result == 0 && gelf_getrela(relocations, i, &relocation); i++) {
		uint64_t index = GELF_R_SYM(relocation.r_info);
		const char *name = NULL;

		if (index > 0 && index < INT32_MAX && gelf_getsym(symbols, (int)index, &symbol))
			name = elf_strptr(image->elf, symbols_header.sh_link, symbol.st_name);
		if (name && name[0])
			result = found(context, relocation.r_offset, name);
	}
	return result;
}

int image_read_imports(struct image *image, int (*found)(void *context, uint64_t address, const char *symbol), void *context)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	int result = 0;

	while (result == 0 && (section = find_section_of_type(image, SHT_RELA, section, &header)) != NULL)
		result = read_import_table(image, section, &header, found, context);
	return result;
}

/* True: the notes hold a build-id, now in the identity. */
static bool find_build_id(struct image *image, Elf_Data *notes)
{
	size_t offset = 0, next, name_offset, id_offset;
	GElf_Nhdr note;

	while (notes && (next = gelf_getnote(notes, offset, &note, &name_offset, &id_offset)) > 0) {
		const char *bytes = notes->d_buf;

		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(bytes + name_offset, "GNU", 4) == 0 &&
		    note.n_descsz > 0 && note.n_descsz <= IMAGE_BUILD_ID_MAX) {
			memcpy(image->identity.build_id, bytes + id_offset, note.n_descsz);
			image->identity.build_id_bytes = note.n_descsz;
			return true;
		}
		offset = next;
	}
	return false;
}

/* By section, since a debug file's program headers point at what it does not hold; by program header where the sections
 * were stripped, too. */
static void read_build_id(struct image *image)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	GElf_Phdr segment;
	size_t segments = 0;
	bool has_sections = false;

	while ((section = find_section_of_type(image, SHT_NOTE, section, &header)) != NULL) {
		has_sections = true;
		if (find_build_id(image, elf_getdata(section, NULL)))
			return;
	}
	if (has_sections || elf_getphdrnum(image->elf, &segments) != 0)
		return;
	for (size_t i = 0; i < segments; i++)
		if (gelf_getphdr(image->elf, (int)i, &segment) && segment.p_type == PT_NOTE &&
		    find_build_id(image, elf_getdata_rawchunk(image->elf, (int64_t)segment.p_offset, segment.p_filesz,
		                                             ELF_T_NHDR)))
			return;
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

static int read_headers(struct image *image)
{
	if (!image->elf || elf_kind(image->elf) != ELF_K_ELF || !gelf_getehdr(image->elf, &image->header))
		return -ENOEXEC;
	if (elf_getshdrstrndx(image->elf, &image->names_index) != 0)
		image->names_index = 0;
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
	elf_version(EV_CURRENT);
	image->elf = elf_begin(image->descriptor, ELF_C_READ, NULL);
	return read_headers(image);
}

int image_open(const char *path, struct image **ret_image)
{
	struct image *image = calloc(1, sizeof(*image));
	int failed;

	if (!image)
		return -ENOMEM;
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
	image->memory = bytes;
	image->identity.size_bytes = (int64_t)n;
	elf_version(EV_CURRENT);
	image->elf = elf_memory((char *)bytes, n);
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
	elf_end(image->elf);
	if (image->descriptor >= 0)
		close(image->descriptor);
	free(image);
}
