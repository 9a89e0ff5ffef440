#pragma once
/* descriptors - the few descriptors of this process that are profshim's own, so that the program can neither close nor
 * use them and its forks do not inherit them.
 * Context: call for asking, setup for changes. A fixed set without lock.
 */
#include <stdbool.h>

void descriptors_add(int fd);
void descriptors_remove(int fd);
bool descriptors_is_own(int fd);

/* In the child of fork: closes all of them by the real close. */
void descriptors_close_all(void);
