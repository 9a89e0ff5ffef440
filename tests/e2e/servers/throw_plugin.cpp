// throw_plugin - loaded late by throw_host: throws what its host catches, from a few frames below.
#include <stdexcept>

namespace {

__attribute__((noinline)) int descend(int depth)
{
	if (depth == 0)
		throw std::runtime_error("thrown by the plugin");
	return descend(depth - 1) + 1; // no tail call: the frame stays
}

} // namespace

extern "C" int plugin_throw(int depth);
extern "C" int plugin_throw(int depth)
{
	return descend(depth) + 1;
}
