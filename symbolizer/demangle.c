#include "demangle.h"

#include <libiberty/demangle.h>
#include <string.h>

char *demangle(const char *name)
{
	/* Everything that DMGL_AUTO knows begins so: Itanium C++ and old Rust names, Rust's v0, and the initializers
	 * of translation units. Other names are spared the attempt, for the D and Ada schemes match plain C names. */
	if (strncmp(name, "_Z", 2) != 0 && strncmp(name, "_R", 2) != 0 && strncmp(name, "_GLOBAL_", 8) != 0)
		return NULL;
	/* Without DMGL_NO_RECURSE_LIMIT names over 1024 characters stay mangled, since their demangling could need more
	 * stack than we know to have. */
	return cplus_demangle(name, DMGL_AUTO | DMGL_PARAMS | DMGL_ANSI);
}
