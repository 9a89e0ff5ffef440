/* The handler's side of the module map. Two counters keep it safe without a lock:
 *
 * - readers: a map that was replaced is freed only after the readers of its phase were seen at 0 later on. A handler raises
 *   them before it loads the pointer, the setup side replaces the pointer before it looks at the counter; both are
 *   sequentially consistent, so either the handler sees the new pointer or the setup side sees the handler.
 * - walkers, the same way with unloading: either the handler sees that a module may vanish, or dlclose's hook sees the
 *   walk and waits for its end.
 */
#include "module_map.h"

#include "../segment/segment.h"

struct module_gate module_gate;

/* The phases that this thread entered in, the last in the lowest bit: a handler may interrupt another. */
static __thread uint32_t phases __attribute__((tls_model("initial-exec")));

/* Entries that were let in: nothing vanishes until they leave. */
static __thread uint32_t let_in __attribute__((tls_model("initial-exec")));

bool sig_modules_enter(void)
{
	uint32_t phase = atomic_load_explicit(&module_gate.phase, memory_order_relaxed);

	phases = phases << 1 | phase;
	atomic_fetch_add_explicit(&module_gate.inside, gate_reader(phase) + GATE_WALKER, memory_order_seq_cst);
	if (!atomic_load_explicit(&module_gate.unloading, memory_order_seq_cst)) {
		let_in++;
		return true;
	}
	atomic_fetch_sub_explicit(&module_gate.inside, GATE_WALKER, memory_order_release);
	return false;
}

void sig_modules_leave(bool has_entered)
{
	uint32_t phase = phases & 1;

	phases >>= 1;
	let_in -= has_entered;
	atomic_fetch_sub_explicit(&module_gate.inside, gate_reader(phase) + (has_entered ? GATE_WALKER : 0), memory_order_release);
}

static const struct module_map *current_map(void)
{
	return atomic_load_explicit(&module_gate.current, memory_order_seq_cst);
}

const struct map_range *sig_map_find(const struct module_map *map, uintptr_t pc)
{
	uint32_t low = 0;
	uint32_t high = map->range_count;

	/* The last range that does not begin above pc lies below high and not below low. */
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (map->ranges[middle].low <= pc)
			low = middle;
		else
			high = middle;
	}
	if (low == high || pc < map->ranges[low].low || pc >= map->ranges[low].high)
		return NULL;
	return &map->ranges[low];
}

uint64_t sig_modules_frame(uintptr_t pc, bool is_return)
{
	/* Before the map: once it is 0 again, the map shows what is there. */
	bool is_doubtful = atomic_load_explicit(&module_gate.unloading, memory_order_seq_cst) && !let_in;
	const struct module_map *map = current_map();
	const struct map_range *range = map ? sig_map_find(map, pc - is_return) : NULL;

	if (!range) {
		atomic_store_explicit(&module_gate.is_stale, 1, memory_order_relaxed);
		return seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN);
	}
	const struct map_object *object = &map->objects[range->object];
	if (object->module == SEG_MODULE_NONE || (is_doubtful && !object->is_permanent))
		return seg_frame_key(SEG_MODULE_PSEUDO, SEG_PSEUDO_UNKNOWN);
	return seg_frame_key(object->module, pc - is_return - object->info.dlpi_addr);
}

bool sig_modules_is_own(uintptr_t pc)
{
	const struct module_map *map = current_map();

	return map && pc >= map->own_low && pc < map->own_high;
}

bool sig_modules_is_system(uintptr_t pc)
{
	const struct module_map *map = current_map();
	const struct map_range *range = map ? sig_map_find(map, pc) : NULL;

	return range && map->objects[range->object].is_system;
}

static bool object_has_readable(const struct map_object *object, uintptr_t address, size_t bytes)
{
	for (uint32_t i = 0; i < object->info.dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &object->info.dlpi_phdr[i];
		/* To the end of the last page: the kernel maps no less. */
		uintptr_t low = (object->info.dlpi_addr + header->p_vaddr) & ~(uintptr_t)4095;
		uintptr_t high = (object->info.dlpi_addr + header->p_vaddr + header->p_memsz + 4095) & ~(uintptr_t)4095;
		bool is_readable = header->p_type == PT_LOAD && header->p_flags & PF_R;
		if (is_readable && address >= low && address < high && bytes <= high - address)
			return true;
	}
	return false;
}

bool sig_modules_is_readable(uintptr_t address, size_t bytes)
{
	const struct module_map *map = current_map();

	for (uint32_t i = 0; map && i < map->object_count; i++)
		if (address + bytes > map->objects[i].low && address < map->objects[i].high + 4096 &&
		    object_has_readable(&map->objects[i], address, bytes))
			return true;
	return false;
}

uint32_t sig_modules_epoch(void)
{
	const struct module_map *map = current_map();

	return map ? map->epoch : 0;
}

int sig_modules_iterate(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data)
{
	const struct module_map *map = current_map();
	int result = 0;

	for (uint32_t i = 0; map && i < map->object_count && result == 0; i++) {
		struct dl_phdr_info info = map->objects[i].info;
		result = callback(&info, sizeof(info), data);
	}
	return result;
}
