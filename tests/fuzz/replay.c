/* replay - feeds every file of the folders given to a fuzz target, so that machines without a fuzzer run what one found.
 * Prints the number of inputs; fails if there were none, for then nothing was tested.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	static uint8_t bytes[1 << 20];
	FILE *file = fopen(path, "rb");

	if (!file) {
		perror(path);
		return -1;
	}
	/* A copy of the exact size lets a sanitizer see what reads beyond it. */
	size_t size = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	uint8_t *copy = malloc(size ? size : 1);
	if (!copy)
		return -1;
	for (size_t i = 0; i < size; i++)
		copy[i] = bytes[i];
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
	return 0;
}

static int replay_folder(const char *folder)
{
	char path[4096];
	DIR *dir = opendir(folder);
	int count = 0;

	if (!dir) {
		perror(folder);
		return -1;
	}
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (replay_file(path) < 0)
			count = -1000000;
		count++;
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	int count = 0;

	for (int i = 1; i < argc; i++) {
		int files = replay_folder(argv[i]);
		if (files < 0)
			return EXIT_FAILURE;
		count += files;
	}
	printf("%d inputs\n", count);
	return count ? EXIT_SUCCESS : EXIT_FAILURE;
}
