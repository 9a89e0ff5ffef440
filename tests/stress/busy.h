#pragma once
/* busy - see busy.c. */
#include <semaphore.h>

#ifdef __cplusplus
extern "C" {
#endif

struct busy {
	sem_t *is_ready;
	void (*clean)(void *);
	void *argument;
};

void *be_busy(void *given);

#ifdef __cplusplus
}
#endif
