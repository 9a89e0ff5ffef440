/* By the relocations: the symbol table does not tell its length, and names what is defined, too. */
#include "imports.h"

#include "../base/real.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct dynamic {
	uintptr_t base;
	const ElfW(Sym) *symbols;
	const char *strings;
	const ElfW(Rela) *relocations[2]; /* of functions, of all else */
	size_t bytes[2];
	const char *soname;
};

struct search {
	const char *name;
	bool is_found;
};

/* glibc relocates these entries in place, other loaders do not. */
static const void *pointer_of(const struct dynamic *dynamic, const ElfW(Dyn) *entry)
{
	uintptr_t address = entry->d_un.d_ptr;

	return (const void *)(address < dynamic->base ? address + dynamic->base : address);
}

static struct dynamic read_dynamic(const struct dl_phdr_info *module)
{
	struct dynamic dynamic = { .base = module->dlpi_addr };
	const ElfW(Dyn) *entry = NULL;
	size_t soname_at = 0;

	for (int i = 0; i < module->dlpi_phnum; i++)
		if (module->dlpi_phdr[i].p_type == PT_DYNAMIC)
			entry = (const ElfW(Dyn) *)(module->dlpi_addr + module->dlpi_phdr[i].p_vaddr);
	for (; entry && entry->d_tag != DT_NULL; entry++) {
		switch (entry->d_tag) {
		case DT_SYMTAB: dynamic.symbols = pointer_of(&dynamic, entry); break;
		case DT_STRTAB: dynamic.strings = pointer_of(&dynamic, entry); break;
		case DT_JMPREL: dynamic.relocations[0] = pointer_of(&dynamic, entry); break;
		case DT_PLTRELSZ: dynamic.bytes[0] = entry->d_un.d_val; break;
		case DT_RELA: dynamic.relocations[1] = pointer_of(&dynamic, entry); break;
		case DT_RELASZ: dynamic.bytes[1] = entry->d_un.d_val; break;
		case DT_SONAME: soname_at = entry->d_un.d_val; break;
		}
	}
	dynamic.soname = dynamic.strings && soname_at ? dynamic.strings + soname_at : "";
	return dynamic;
}

static bool is_imported(const struct dynamic *dynamic, const char *name)
{
	for (int kind = 0; kind < 2 && dynamic->symbols && dynamic->strings; kind++)
		for (size_t i = 0; dynamic->relocations[kind] && i < dynamic->bytes[kind] / sizeof(ElfW(Rela)); i++) {
			const ElfW(Sym) *symbol = &dynamic->symbols[ELF64_R_SYM(dynamic->relocations[kind][i].r_info)];
			if (symbol->st_shndx == SHN_UNDEF && strcmp(dynamic->strings + symbol->st_name, name) == 0)
				return true;
		}
	return false;
}

static int look_into(struct dl_phdr_info *module, size_t bytes, void *argument)
{
	struct dynamic dynamic = read_dynamic(module);
	struct search *search = argument;

	(void)bytes;
	if (strcmp(dynamic.soname, "libc.so.6") != 0 && strcmp(dynamic.soname, "libprofshim.so") != 0)
		search->is_found = is_imported(&dynamic, search->name);
	return search->is_found;
}

bool imports_has(const char *name)
{
	struct search search = { .name = name };

	real.dl_iterate_phdr(look_into, &search);
	return search.is_found;
}
