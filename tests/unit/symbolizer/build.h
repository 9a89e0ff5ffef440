#pragma once
/* build - ELF files made from samples/ while the tests run, and what other tools know of them.
 * Everything lies in one new directory under TMPDIR, removed by build_clean.
 */
#include <stdint.h>

/* Makes the directory. */
void build_start(void);
void build_clean(void);

/* The path of a file in the directory; valid until the 16th next call. */
const char *build_path(const char *name);

/* Runs a shell command in the directory; it must succeed. In it, S stands for the directory of the samples. */
void build_run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The first line that a command prints, valid until the next call; it must succeed. */
const char *build_ask(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The address of a symbol in the symbol table of a file in the directory, by nm. */
uint64_t build_address(const char *file, const char *symbol);

/* The bytes of the file's build-id, by readelf; returns how many. */
uint32_t build_id(const char *file, uint8_t id[static 64]);

/* The number of the line in samples/FILE that holds the comment MARK NAME, and the file's full path. */
uint32_t build_mark(const char *file, const char *name);
const char *build_sample(const char *file);
