#pragma once
/* descriptors - the few descriptors of this process that are profshim's own: kept out of the program's way, hidden from
 * its close and dup, and not inherited by its forks.
 * Context: call for asking, setup for changes. A fixed table without lock.
 *
 * Our thread has a table of descriptors of its own (close_range(2), CLOSE_RANGE_UNSHARE, or unshare(2), CLONE_FILES, or
 * successor.h, none of which takes a right): whatever it opens takes no number from the program, is met by no closefrom, counts
 * against no limit of the program's and is in no fork. The one thing that it wants of the program's table is stderr: see log.h.
 * What is below is for what the program's own threads open on our behalf: a report at the end.
 *
 * They lie above DESCRIPTORS_FLOOR where the limit allows, so that the program sees the low numbers it would have had. A
 * program may still close them behind our back (close_range, closefrom) and get a number back for a file of its own:
 * so a descriptor counts as ours only while it leads to the inode that it led to at first.
 */
#include <stdbool.h>

enum {
	DESCRIPTORS_FLOOR = 960, /* lower numbers are the program's; the kernel's table for 1024 is one page */
	DESCRIPTORS_MAX = 4096,  /* higher ones are not hidden */
};

/* The calling thread, which is ours, gets a table of its own, empty but for /dev/null where others expect stdio; lines of
 * log.h go on to the program's stderr. False: filters refuse all ways to one, and the thread must not open anything: no check
 * is quicker than a program that takes a number over. */
bool descriptors_part(void);

/* Another number for fd's open file, close-on-exec and out of the way, fd being closed; fd itself where there is none. */
int descriptors_raise(int fd);

/* In a thread with a table of its own these do nothing. */
void descriptors_add(int fd);
void descriptors_remove(int fd);
bool descriptors_is_own(int fd);

/* In the child of fork: closes all of them by the real close. */
void descriptors_close_all(void);
