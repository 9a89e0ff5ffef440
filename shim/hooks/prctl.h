#pragma once
/* prctl - filters of system calls, by whatever way the program installs them.
 * Context: call, before the call is made.
 */
void prctl_begins(int option, unsigned long mode, const void *filter);
void prctl_seccomp(unsigned long operation, unsigned long flags, const void *filter);
