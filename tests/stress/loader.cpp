/* loader - libraries that come and go, in two threads at once and under a third one's feet. */
#include "torture.h"

#include <stdexcept>
#include <string>

#include <csetjmp>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

namespace {

struct Plugin {
	void *handle = nullptr;
	int (*work)(int) = nullptr;
	int (*throw_it)(int) = nullptr;
	int (*call)(int (*)(void *), void *) = nullptr;
	int (*add_thread_local)(int) = nullptr;
};

std::string folder()
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path));

	require(n > 0, "/proc/self/exe");
	std::string whole(path, (size_t)n);
	return whole.substr(0, whole.rfind('/') + 1);
}

template <typename Function> void find(void *handle, const char *name, Function **ret)
{
	*ret = (Function *)dlsym(handle, name);
	require(*ret != nullptr, name);
}

Plugin open_plugin(const char *which, int flags)
{
	Plugin plugin;

	plugin.handle = dlopen((folder() + "torture_plugin_" + which + ".so").c_str(), flags);
	require(plugin.handle != nullptr, plugin.handle ? "" : dlerror());
	find(plugin.handle, "plugin_work", &plugin.work);
	find(plugin.handle, "plugin_throw", &plugin.throw_it);
	find(plugin.handle, "plugin_call", &plugin.call);
	find(plugin.handle, "plugin_thread_local", &plugin.add_thread_local);
	return plugin;
}

long use(const Plugin &plugin)
{
	long result = plugin.work(20);

	try {
		plugin.throw_it(7);
	} catch (int thrown) {
		result += thrown;
	}
	return result;
}

/* It does not open anything: glibc itself would wait for ever for a thread that closes something. */
int look(struct dl_phdr_info *info, size_t, void *data)
{
	*static_cast<int *>(data) += info->dlpi_phnum > 0;
	return 0;
}

struct Stay {
	sigjmp_buf out;
	sem_t *is_in, *is_gone;
};

int stay(void *given)
{
	Stay &stay = *static_cast<Stay *>(given);

	sem_post(stay.is_in);
	while (sem_wait(stay.is_gone) != 0)
		;
	for (int i = 0; i < 20; i++)
		burn(100); /* what called this is no longer there, so there is no return */
	siglongjmp(stay.out, 1);
}

struct Guest {
	Plugin plugin;
	sem_t is_in, is_gone;
	long result = 0;
};

__attribute__((noinline)) void *be_guest(void *given)
{
	Guest &guest = *static_cast<Guest *>(given);
	Stay stay_there;

	stay_there.is_in = &guest.is_in;
	stay_there.is_gone = &guest.is_gone;
	if (sigsetjmp(stay_there.out, 0) == 0)
		guest.plugin.call(stay, &stay_there);
	else
		guest.result = 5;
	return nullptr;
}

}

long loader_round()
{
	long result = 0;

	for (int i = 0; i < 4; i++) {
		Plugin first, second;
		step("dlopen", [&] { first = open_plugin("a", RTLD_NOW); });
		result += use(first);
		step("dlclose", [&] { dlclose(first.handle); });
		step("dlopen", [&] { second = open_plugin("b", i % 2 ? RTLD_NOW : RTLD_LAZY); });
		result += use(second);
		step("dlclose", [&] { dlclose(second.handle); });
		burn(5000); /* elsewhere, or there would be no stacks but those of the loader's users */
	}
	step("iterate", [&] {
		int count = 0;
		dl_iterate_phdr(look, &count);
		result += count > 0;
	});
	return result;
}

/* The library is closed while a thread is in a callback that it made; and a thread that used its thread-local data ends. */
long unload_round()
{
	Guest guest;
	pthread_t thread;

	guest.plugin = open_plugin("a", RTLD_NOW);
	sem_init(&guest.is_in, 0, 0);
	sem_init(&guest.is_gone, 0, 0);
	require(pthread_create(&thread, nullptr, be_guest, &guest) == 0, "pthread_create");
	while (sem_wait(&guest.is_in) != 0)
		;
	step("dlclose", [&] { dlclose(guest.plugin.handle); });
	sem_post(&guest.is_gone);
	pthread_join(thread, nullptr);
	sem_destroy(&guest.is_in);
	sem_destroy(&guest.is_gone);

	Plugin stays = open_plugin("b", RTLD_NOW | RTLD_NODELETE);
	dlclose(stays.handle);
	return guest.result + stays.work(10);
}

/* Code of another namespace, with a C library of its own. Namespaces are few, so it is one at a time. */
long namespace_round()
{
	long result = 0;
	void *handle = nullptr;
	int (*work)(int) = nullptr;

	step("dlmopen", [&] { handle = dlmopen(LM_ID_NEWLM, (folder() + "torture_alone.so").c_str(), RTLD_NOW); });
	require(handle != nullptr, handle ? "" : dlerror());
	find(handle, "alone_work", &work);
	for (int i = 0; i < 20; i++)
		result += work(1000);
	step("dlclose", [&] { dlclose(handle); });
	return result;
}

namespace {

struct Guard {
	long *count;
	~Guard() { ++*count; }
};

__attribute__((noinline)) void dive(int depth, long *count)
{
	Guard guard = { count };

	if (depth == 0)
		throw std::out_of_range("deep");
	dive(depth - 1, count);
	asm volatile("");
}

}

long exception_round()
{
	long count = 0;

	for (int i = 0; i < 300; i++) {
		try {
			dive(i % 40, &count);
		} catch (const std::exception &) {
			count++;
		}
	}
	return count;
}
