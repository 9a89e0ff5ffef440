#include "fixture.h"

#include "../../../shim/base/real.h"
#include "../../../shim/sampling/handler.h"
#include "../../../shim/sampling/modules.h"
#include "../../../shim/sampling/pulse.h"
#include "../../../shim/sampling/sampling.h"
#include "../../../shim/base/log.h"
#include "../run.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

unsigned fixture_log_count;
char fixture_log_last[512];

void log_line(enum seg_log_level level, const char *format, ...)
{
	va_list list;

	(void)level;
	va_start(list, format);
	vsnprintf(fixture_log_last, sizeof(fixture_log_last), format, list);
	va_end(list);
	fixture_log_count++;
}

void fixture_open(uint32_t hz, const char *unwind)
{
	size_t bytes = seg_bytes_for(32 << 20);
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(base, MAP_FAILED);
	real_resolve();
	seg_format(base, bytes, 1);
	struct segment *head = base;
	atomic_store(&head->config.hz, hz);
	atomic_store(&head->hz_now, hz);
	atomic_store(&head->config.is_enabled, 1);
	snprintf(head->config.unwind, sizeof(head->config.unwind), "%s", unwind);
	seg_publish(head);
	ck_assert_int_eq(seg_view_init(&seg, base, bytes), SEG_OK);
	thread_attach();
	ck_assert_uint_eq(self.is_exclusive, 1);
}

void fixture_start_sampling(uint32_t hz, const char *unwind)
{
	fixture_open(hz, unwind);
	modules_refresh();
	ck_assert(sampling_start());
}

uint64_t fixture_counter(enum seg_counter counter)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_THREADS].count; i++)
		sum += atomic_load(&seg.threads[i].counters[counter]);
	return sum;
}

uint64_t fixture_overhead_ns(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_THREADS].count; i++)
		sum += atomic_load(&seg.threads[i].overhead_ns[SEG_PHASE_SAMPLING]);
	return sum;
}

uint64_t fixture_cpu_ns(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_ENDPOINTS].count; i++)
		sum += atomic_load(&seg.endpoints[i].cpu_ns);
	return sum;
}

static uint64_t sum_cells(uint32_t node, size_t offset)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_CELLS].count; i++) {
		uint64_t key = atomic_load(&seg.cells[i].key);
		if (key && seg_cell_node(key) == node)
			sum += atomic_load((_Atomic uint64_t *)((char *)&seg.cells[i] + offset));
	}
	return sum;
}

uint64_t fixture_node_samples(uint32_t node)
{
	return sum_cells(node, offsetof(struct seg_cell, samples));
}

uint64_t fixture_node_activations(uint32_t node)
{
	return sum_cells(node, offsetof(struct seg_cell, activations));
}

uint32_t fixture_hottest_node(void)
{
	uint64_t most = 0;
	uint32_t node = 0;

	for (uint32_t i = 0; i < seg.slots[SEG_TABLE_CELLS].count; i++) {
		uint64_t samples = atomic_load(&seg.cells[i].samples);
		if (samples > most) {
			most = samples;
			node = seg_cell_node(atomic_load(&seg.cells[i].key));
		}
	}
	return node;
}

uint32_t fixture_path(uint32_t node, uint64_t *ret_frames, uint32_t max)
{
	uint32_t depth = 0;

	while (node && depth < max) {
		uint64_t key = atomic_load(&seg.nodes[node - 1].key);
		ck_assert_uint_ne(key, 0);
		ret_frames[depth++] = atomic_load(&seg.frames[seg_node_frame(key) - 1].key);
		node = seg_node_parent(key);
	}
	return depth;
}

bool fixture_frame_is_in(uint64_t frame, const void *start)
{
	Dl_info at_start, at_frame;

	if (!dladdr(start, &at_start))
		return false;
	uintptr_t address = (uintptr_t)at_start.dli_fbase + seg_frame_offset(frame);
	return dladdr((void *)address, &at_frame) && at_frame.dli_saddr == start;
}

siginfo_t fixture_signal(int overrun)
{
	siginfo_t info = { 0 };

	info.si_signo = SIGPROF;
	info.si_code = SI_TIMER;
	info.si_overrun = overrun;
	info.si_value.sival_ptr = pulse_cookie(atomic_load(&seg.head->hz_now));
	return info;
}

int fixture_run(TCase **cases, size_t count, const char *name)
{
	Suite *suite = suite_create(name);

	for (size_t i = 0; i < count; i++)
		suite_add_tcase(suite, cases[i]);
	SRunner *runner = srunner_create(suite);
	int failed = run_tests(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
