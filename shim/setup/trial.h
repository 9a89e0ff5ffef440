#pragma once
/* trial - what a seccomp(2) filter that was there before the program's start makes of our calls: that of a service manager
 * (systemd.exec(5), SystemCallFilter=) or of a container. Nobody under it can read it, and some end the process.
 * Context: setup.
 */
#include <stdbool.h>

/* Whether we may do anything in this process. Calls that we may not make are forbidden (base/permitted.h). Where no filter is in
 * force it costs a look at /proc/self/status; else the calls are tried in a child that the program never hears of. */
bool trial_is_passed(void);
