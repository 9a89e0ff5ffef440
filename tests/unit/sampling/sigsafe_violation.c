/* What check-sigsafe must not let pass. */
#include <stdlib.h>

void *sig_allocate(void);

void *sig_allocate(void)
{
	return malloc(1);
}
