/* threads - by the hundred, with stacks of all kinds, and all the ways to end them. */
#include "torture.h"

#include "busy.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr size_t STACK_BYTES = 64 << 10;

struct Count {
	std::atomic<int> done{ 0 };
	sem_t all;
	int wanted = 0;
};

struct AtEnd {
	int pair[2] = { -1, -1 };
	~AtEnd() /* hooks in a destructor of thread-local data */
	{
		close(pair[0]);
		close(pair[1]);
	}
};

void tell(Count *count)
{
	if (++count->done == count->wanted)
		sem_post(&count->all);
}

void *be_short(void *given)
{
	thread_local AtEnd at_end;

	require(pipe(at_end.pair) == 0, "pipe");
	burn(2);
	tell(static_cast<Count *>(given));
	pthread_exit(nullptr);
}

int be_standard(void *given)
{
	burn(2);
	tell(static_cast<Count *>(given));
	return 7;
}

/* --- cancellation --- */

struct Victim {
	int kind = 0;
	sem_t is_ready;
	std::atomic<int> cleaned{ 0 };
};

void clean(void *given)
{
	char byte = 0;
	int pair[2];

	require(pipe(pair) == 0 && write(pair[1], &byte, 1) == 1 && read(pair[0], &byte, 1) == 1, "clean"); /* hooks again */
	close(pair[0]);
	close(pair[1]);
	static_cast<Victim *>(given)->cleaned++;
}

void wait_for_ever(int kind)
{
	static thread_local pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static thread_local pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	char byte;
	int pair[2];
	sem_t never;

	require(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	struct pollfd waited = { pair[0], POLLIN, 0 };
	pthread_cleanup_push([](void *fds) { close(static_cast<int *>(fds)[0]); close(static_cast<int *>(fds)[1]); }, pair);
	sem_init(&never, 0, 0);
	pthread_mutex_lock(&mutex);
	/* The program's own SIGPROF may end a poll. It must not come to the close below: that one may be cancelled, too, in a
	 * destructor, from which nothing may be thrown. */
	for (;;)
		switch (kind % 5) {
		case 0: read(pair[0], &byte, 1); break;
		case 1: poll(&waited, 1, -1); break;
		case 2: recv(pair[0], &byte, 1, 0); break;
		case 3: sem_wait(&never); break;
		case 4: pthread_cond_wait(&condition, &mutex); break;
		}
	pthread_cleanup_pop(1);
}

void *be_victim(void *given)
{
	Victim &victim = *static_cast<Victim *>(given);

	pthread_cleanup_push(clean, given);
	sem_post(&victim.is_ready);
	wait_for_ever(victim.kind);
	pthread_cleanup_pop(0);
	return nullptr;
}

void *be_busy_victim(void *given)
{
	Victim &victim = *static_cast<Victim *>(given);
	struct busy busy = { &victim.is_ready, clean, given };

	return be_busy(&busy);
}

long cancel_one(int kind, void *(*routine)(void *), unsigned thousands)
{
	Victim victim;
	pthread_t thread;
	void *result = nullptr;

	victim.kind = kind;
	sem_init(&victim.is_ready, 0, 0);
	require(pthread_create(&thread, nullptr, routine, &victim) == 0, "pthread_create");
	while (sem_wait(&victim.is_ready) != 0)
		;
	burn(thousands);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	sem_destroy(&victim.is_ready);
	return victim.cleaned + 10 * (result == PTHREAD_CANCELED);
}

/* --- blocking calls, beside threads that are busy --- */

int check_interrupted(int result)
{
	if (result < 0 && errno == EINTR)
		note_interrupted();
	return result;
}

}

long thread_round()
{
	enum { DETACHED = 100, JOINED = 20, OWN_STACKS = 10, STANDARD = 10 };
	Count count;
	pthread_attr_t small, own;
	pthread_t threads[JOINED + OWN_STACKS];
	thrd_t standard[STANDARD];
	char *stacks = (char *)mmap(nullptr, OWN_STACKS * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	require(stacks != MAP_FAILED, "mmap");
	sem_init(&count.all, 0, 0);
	count.wanted = DETACHED + JOINED + OWN_STACKS + STANDARD;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK_BYTES);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	for (int i = 0; i < DETACHED; i++)
		step("pthread_create", [&] {
			pthread_t thread;
			require(pthread_create(&thread, &small, be_short, &count) == 0, "pthread_create");
		});
	for (int i = 0; i < JOINED; i++)
		require(pthread_create(&threads[i], nullptr, be_short, &count) == 0, "pthread_create");
	for (int i = 0; i < OWN_STACKS; i++) {
		pthread_attr_init(&own);
		pthread_attr_setstack(&own, stacks + i * STACK_BYTES, STACK_BYTES);
		require(pthread_create(&threads[JOINED + i], &own, be_short, &count) == 0, "pthread_create");
		pthread_attr_destroy(&own);
	}
	for (thrd_t &thread : standard)
		require(thrd_create(&thread, be_standard, &count) == thrd_success, "thrd_create");
	while (sem_wait(&count.all) != 0)
		;
	for (pthread_t thread : threads)
		pthread_join(thread, nullptr);
	int sum = 0;
	for (thrd_t thread : standard) {
		int result = 0;
		thrd_join(thread, &result);
		sum += result;
	}
	munmap(stacks, OWN_STACKS * STACK_BYTES);
	pthread_attr_destroy(&small);
	sem_destroy(&count.all);
	return count.done + sum;
}

long cancel_round()
{
	long result = 0;

	for (int kind = 0; kind < 10; kind++)
		result += cancel_one(kind, be_victim, 100);
	return result;
}

long async_cancel_round()
{
	long result = 0;

	for (int i = 0; i < 10; i++)
		result += cancel_one(i, be_busy_victim, 500);
	return result;
}

/* With SIGPROF blocked, since the program has a SIGPROF of its own: what interrupts these would not be the program's. */
long blocking_round()
{
	struct timespec moment = { 0, 2000000 }, until;
	struct epoll_event event;
	sigset_t prof;
	sem_t never;
	int epoll = epoll_create1(EPOLL_CLOEXEC), result = 0;

	sigemptyset(&prof);
	sigaddset(&prof, SIGPROF);
	pthread_sigmask(SIG_BLOCK, &prof, nullptr);
	sem_init(&never, 0, 0);
	for (int i = 0; i < 10; i++) {
		uint64_t begin_ns = now_ns();
		result += check_interrupted(nanosleep(&moment, nullptr));
		result += check_interrupted(poll(nullptr, 0, 2));
		result += check_interrupted(epoll_wait(epoll, &event, 1, 2));
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 2000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		if (check_interrupted(sem_timedwait(&never, &until)) != -1 || errno != ETIMEDOUT)
			result += 1000;
		result += now_ns() - begin_ns >= 7900000; /* none came back early */
		burn(200);
	}
	sem_destroy(&never);
	close(epoll);
	return result;
}
