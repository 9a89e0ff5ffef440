#include "allowance.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Three times what we were seen to take of each: addresses are the segment's, the libraries', a thread's and what malloc
 * reserves for it; of data most is never touched, but counted all the same. */
#define ADDRESSES_LEFT (3 * (240ULL << 20))
#define DATA_LEFT (3 * (80ULL << 20))

/* Pages of all addresses and of data, proc(5) under statm. False: cannot tell. */
static bool read_pages(uint64_t *ret_addresses, uint64_t *ret_data)
{
	enum { FIELDS = 7, OF_ADDRESSES = 0, OF_DATA = 5 };
	uint64_t fields[FIELDS];
	char text[256], *at = text;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	for (int i = 0; i < FIELDS; i++)
		fields[i] = strtoull(at, &at, 10);
	*ret_addresses = fields[OF_ADDRESSES];
	*ret_data = fields[OF_DATA];
	return true;
}

static bool is_too_little(rlim_t limit, uint64_t pages, uint64_t wanted, unsigned long *ret_left_mib)
{
	uint64_t used = pages * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t left = limit > used ? limit - used : 0;

	*ret_left_mib = (unsigned long)(left >> 20);
	return limit != RLIM_INFINITY && left < wanted;
}

const char *allowance_in_the_way(unsigned long *ret_left_mib)
{
	struct rlimit addresses = { RLIM_INFINITY, RLIM_INFINITY }, data = addresses;
	uint64_t address_pages = 0, data_pages = 0; /* as if nothing were taken, where nobody tells */

	getrlimit(RLIMIT_AS, &addresses);
	getrlimit(RLIMIT_DATA, &data);
	if (addresses.rlim_cur == RLIM_INFINITY && data.rlim_cur == RLIM_INFINITY)
		return NULL;
	read_pages(&address_pages, &data_pages);
	if (is_too_little(addresses.rlim_cur, address_pages, ADDRESSES_LEFT, ret_left_mib))
		return "RLIMIT_AS";
	return is_too_little(data.rlim_cur, data_pages, DATA_LEFT, ret_left_mib) ? "RLIMIT_DATA" : NULL;
}
