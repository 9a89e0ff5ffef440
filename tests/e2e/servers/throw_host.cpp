// throw_host - opens a plugin at run time and catches what it throws.
//
//     throw_host PLUGIN BATCHES THROWS
//
// Prints how many were caught, on stdout, and on stderr the CPU time of a throw in nanoseconds, as the least of the
// batches: what disturbs a batch only ever adds.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <stdexcept>

using plugin_function = int (*)(int);

static double cpu_ns()
{
	timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

static long catch_some(plugin_function plugin_throw, long count)
{
	long caught = 0;

	for (long i = 0; i < count; i++) {
		try {
			plugin_throw(5);
		} catch (const std::runtime_error &error) {
			caught += std::strcmp(error.what(), "thrown by the plugin") == 0;
		}
	}
	return caught;
}

int main(int argc, char **argv)
{
	void *library = argc == 4 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
	auto plugin_throw = library ? reinterpret_cast<plugin_function>(dlsym(library, "plugin_throw")) : nullptr;
	long batches, throws, caught = 0;
	double least_ns = 1e18;

	if (!plugin_throw) {
		std::fprintf(stderr, "throw_host: cannot open the plugin\n");
		return 2;
	}
	batches = std::atol(argv[2]);
	throws = std::atol(argv[3]);
	for (long batch = 0; batch < batches; batch++) {
		double began_ns = cpu_ns();

		caught += catch_some(plugin_throw, throws);
		least_ns = std::min(least_ns, (cpu_ns() - began_ns) / static_cast<double>(throws));
	}
	std::printf("caught %ld\n", caught);
	std::fprintf(stderr, "%.1f\n", least_ns);
	return caught == batches * throws ? 0 : 1;
}
