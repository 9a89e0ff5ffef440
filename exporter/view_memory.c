/* A counter that vanishes from a scrape looks like a restart to Prometheus, and so does one that falls. Hence functions
 * once shown are shown for ever (at most as many as the call tree can hold), and what dead processes had used stays in
 * the sum. All of it is one server's knowledge: after another process took over, it begins anew, as counters may.
 */
#include "view_parts.h"

#include <stdlib.h>
#include <string.h>

struct remembered_process {
	pid_t pid;
	uint64_t start_real_ns, cpu_ns;
};

struct view_memory {
	char **texts; /* open addressing, capacity a power of two; NULL = free */
	size_t count, capacity;
	struct remembered_process *processes; /* of the last scrape */
	uint32_t process_count;
	uint64_t gone_cpu_ns;
};

struct view_memory *view_memory_new(void)
{
	return calloc(1, sizeof(struct view_memory));
}

void view_memory_free(struct view_memory *memory)
{
	if (!memory)
		return;
	for (size_t i = 0; i < memory->capacity; i++)
		free(memory->texts[i]);
	free(memory->texts);
	free(memory->processes);
	free(memory);
}

/* Where text is, or the free place where it belongs. */
static size_t place_of(char *const *texts, size_t capacity, const char *text)
{
	size_t at = seg_key_of_bytes(text, (uint32_t)strlen(text), 0) & (capacity - 1);

	while (texts[at] && strcmp(texts[at], text))
		at = (at + 1) & (capacity - 1);
	return at;
}

bool view_memory_knows(const struct view_memory *memory, const char *labels)
{
	return memory && memory->capacity && memory->texts[place_of(memory->texts, memory->capacity, labels)];
}

/* At most half full, so that searches stay short. */
static bool grow(struct view_memory *memory)
{
	size_t capacity = memory->capacity ? memory->capacity * 2 : 128;

	if (memory->count * 2 < memory->capacity)
		return true;
	char **texts = calloc(capacity, sizeof(*texts));
	if (!texts)
		return false;
	for (size_t i = 0; i < memory->capacity; i++)
		if (memory->texts[i])
			texts[place_of(texts, capacity, memory->texts[i])] = memory->texts[i];
	free(memory->texts);
	memory->texts = texts;
	memory->capacity = capacity;
	return true;
}

bool view_memory_learn(struct view_memory *memory, const char *labels)
{
	if (!memory || view_memory_knows(memory, labels))
		return true;
	if (!grow(memory))
		return false;
	char *copy = strdup(labels);
	if (!copy)
		return false;
	memory->texts[place_of(memory->texts, memory->capacity, labels)] = copy;
	memory->count++;
	return true;
}

static const struct snapshot_process *process_find(const struct snapshot *snapshot,
                                                   const struct remembered_process *known)
{
	for (uint32_t i = 0; i < snapshot->process_count; i++) {
		const struct snapshot_process *process = &snapshot->processes[i];
		if (process->pid == known->pid && process->usage.has_stat &&
		    process->usage.start_real_ns == known->start_real_ns)
			return process;
	}
	return NULL;
}

uint64_t view_memory_cpu_ns(struct view_memory *memory, const struct snapshot *snapshot)
{
	uint64_t cpu_ns = 0;
	uint32_t count = 0;

	for (uint32_t i = 0; i < snapshot->process_count; i++)
		cpu_ns += snapshot->processes[i].usage.cpu_ns;
	if (!memory)
		return cpu_ns;
	struct remembered_process *processes = calloc((size_t)snapshot->process_count + 1, sizeof(*processes));
	if (!processes)
		return cpu_ns + memory->gone_cpu_ns; /* the next scrape catches up */
	for (uint32_t i = 0; i < memory->process_count; i++)
		if (!process_find(snapshot, &memory->processes[i]))
			memory->gone_cpu_ns += memory->processes[i].cpu_ns;
	for (uint32_t i = 0; i < snapshot->process_count; i++) {
		const struct snapshot_usage *usage = &snapshot->processes[i].usage;
		if (usage->has_stat)
			processes[count++] = (struct remembered_process){ snapshot->processes[i].pid, usage->start_real_ns,
				                                          usage->cpu_ns };
	}
	free(memory->processes);
	memory->processes = processes;
	memory->process_count = count;
	return cpu_ns + memory->gone_cpu_ns;
}
