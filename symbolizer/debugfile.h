#pragma once
/* debugfile - finds the file that holds the symbols and lines that were split off a module (GDB manual, "Separate Debug
 * Files").
 * Context: any thread.
 */
#include "image.h"

/* Opens the debug file of the module at path, which has this identity: by its build-id under root, else by the name in
 * its .gnu_debuglink beside the module, in .debug there, and in the module's directory under root. A file that belongs
 * to another build is passed over. ret_path receives its name. 0 or -ENOENT. */
int debugfile_open(const char *path, const struct image_identity *module, const char *root, char ret_path[static 4096],
                   struct image **ret_image);
