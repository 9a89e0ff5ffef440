#include "pace.h"

#include "../shim/segment/kernel_clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum {
	WORK_NS = 100000,      /* at a stretch: about what a request of a fast server takes */
	PAUSE_NS = 100000,     /* who sleeps for less is hardly gone before it is back */
	PAUSE_NS_MAX = 160000, /* the kernel may wake it 50 us late (prctl(2), PR_SET_TIMERSLACK); later than this it waits for a core */
	PAUSES_BLIND = 20,     /* between questions whether to end */
};

static struct {
	_Atomic bool is_on;    /* W: the serving thread; R: any, which then finds that it is not the owner; release, acquire */
	pthread_t owner;
	/* The rest is the owner's alone. */
	bool (*is_to_end)(void);
	bool must_hurry;
	unsigned steps, pauses;
	uint64_t slept_ns;
	uint64_t began_ns;     /* to work, after the last pause */
	uint64_t ended_ns;     /* when the work before was done */
} pace;

/* Short pieces of work that follow one another are one stretch, of which what lay between them is no part. */
static void begin_stretch(void)
{
	uint64_t now_ns = kernel_clock_ns(CLOCK_MONOTONIC);

	if (now_ns - pace.ended_ns >= PAUSE_NS)
		pace.began_ns = now_ns;
	else
		pace.began_ns += now_ns - pace.ended_ns;
}

void pace_begin(bool (*is_to_end)(void))
{
	pace.owner = pthread_self();
	pace.is_to_end = is_to_end;
	pace.must_hurry = false;
	pace.steps = 0;
	pace.pauses = 0;
	pace.slept_ns = 0;
	begin_stretch();
	atomic_store_explicit(&pace.is_on, true, memory_order_release);
	pace_point();
}

static void pause_work(void)
{
	pace.pauses++;
	if (pace.pauses % PAUSES_BLIND == 0)
		pace.must_hurry = pace.is_to_end();
	uint64_t begin_ns = kernel_clock_ns(CLOCK_MONOTONIC);
	clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
	pace.began_ns = kernel_clock_ns(CLOCK_MONOTONIC);
	uint64_t took_ns = pace.began_ns - begin_ns;
	pace.slept_ns += took_ns < PAUSE_NS_MAX ? took_ns : PAUSE_NS_MAX;
}

static bool is_ours(void)
{
	return atomic_load_explicit(&pace.is_on, memory_order_acquire) && pthread_equal(pace.owner, pthread_self());
}

void pace_point(void)
{
	if (is_ours() && !pace.must_hurry && kernel_clock_ns(CLOCK_MONOTONIC) - pace.began_ns >= WORK_NS)
		pause_work();
}

void pace_step(unsigned weight)
{
	if (!is_ours())
		return;
	pace.steps += weight;
	if (pace.steps < PACE_LOOK)
		return;
	pace.steps = 0;
	pace_point();
}

uint64_t pace_end(void)
{
	atomic_store_explicit(&pace.is_on, false, memory_order_relaxed);
	pace.ended_ns = kernel_clock_ns(CLOCK_MONOTONIC);
	return pace.slept_ns;
}
