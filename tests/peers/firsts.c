/* firsts - makes every program that is executed a first process, profiled and sampled from its first instruction on: it
 * takes the session out of the environment before profshim looks for it. Preloaded behind profshim, whose constructor
 * runs after this one: the loader initialises what comes last in LD_PRELOAD first. For test suites whose tests are
 * processes of their own.
 */
#include <stdlib.h>

__attribute__((constructor)) static void forget_session(void)
{
	unsetenv("PROFSHIM_SESSION");
}
