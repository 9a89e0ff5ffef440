#include "text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool text_file_read(const char *path, char *ret_text, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	do
		n = read(fd, ret_text, bytes - 1);
	while (n < 0 && errno == EINTR);
	close(fd);
	if (n <= 0)
		return false;
	ret_text[n] = '\0';
	return true;
}
