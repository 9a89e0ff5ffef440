/* busy_allocator - allocates and frees in several threads at once, some of which fork; linked with one allocator or another. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, ROUNDS = 3000000, HELD = 64 };

static void *work(void *given)
{
	char *held[HELD] = { NULL };
	unsigned random = (unsigned)(size_t)given + 1;
	long sum = 0;

	for (int i = 0; i < ROUNDS; i++) {
		random = random * 1103515245 + 12345;
		char **place = &held[random / 65536 % HELD];
		free(*place);
		*place = malloc(1 + random % 3000);
		if (!*place)
			exit(1);
		(*place)[0] = (char)i;
		sum += (*place)[0];
		if (i % (ROUNDS / 4) == 0) {
			pid_t child = fork();
			if (child == 0)
				_exit(0);
			waitpid(child, NULL, 0);
		}
	}
	for (int i = 0; i < HELD; i++)
		free(held[i]);
	return (void *)sum;
}

int main(void)
{
	pthread_t threads[THREADS];
	long sum = 0;

	for (size_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
			return 1;
	for (size_t i = 0; i < THREADS; i++) {
		void *result;
		pthread_join(threads[i], &result);
		sum += (long)result;
	}
	printf("%ld\n", sum);
	return 0;
}
