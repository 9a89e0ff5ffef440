/* busy - a thread that may be cancelled at any instruction. In C, since C++ ends a program that is cancelled where no call
 * is. It calls nothing meanwhile, as pthreads(7) demands. */
#include "busy.h"

#include <pthread.h>

void *be_busy(void *given)
{
	struct busy *busy = given;
	volatile unsigned sum = 0;
	int before;

	pthread_cleanup_push(busy->clean, busy->argument);
	sem_post(busy->is_ready);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
	for (;;)
		sum = sum * 31 + 1;
	pthread_cleanup_pop(0);
	return NULL;
}
