#include "steps.h"

#include <stdexcept>
#include <string>

namespace {

struct guard {
	std::string text;
	explicit guard(int n) : text(static_cast<size_t>(n) + 20, 'x') {}
	~guard() { steps_sink = steps_sink + static_cast<int>(text.size()); }
};

__attribute__((noinline)) int thrower(int depth)
{
	guard held(depth);
	if (depth == 0)
		throw std::runtime_error("thrown on purpose");
	return thrower(depth - 1) + static_cast<int>(held.text.size());
}

} // namespace

extern "C" void steps_throw(void)
{
	try {
		steps_sink = steps_sink + thrower(2);
	} catch (const std::exception &error) {
		steps_sink = steps_sink + error.what()[0];
	}
}
