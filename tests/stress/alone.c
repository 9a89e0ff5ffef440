/* alone - a library for a namespace of its own, where profshim's hooks are not seen. */
#include <string.h>
#include <unistd.h>

__attribute__((visibility("default"))) int alone_work(int n);

int alone_work(int n)
{
	char text[64];
	volatile unsigned sum = 0;
	int pair[2];

	for (int i = 0; i < n * 1000; i++)
		sum = sum * 31 + (unsigned)i;
	memset(text, 'x', sizeof(text));
	if (pipe(pair) != 0)
		return -1;
	ssize_t written = write(pair[1], text, sizeof(text)), got = read(pair[0], text, sizeof(text));
	close(pair[0]);
	close(pair[1]);
	return (int)(written + got) + (sum == 1);
}
