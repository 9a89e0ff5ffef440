#include "report.h"

#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Appends up to n bytes; keeps room for the NUL. */
static int append(char ret_path[static REPORT_PATH_BYTES], size_t *length, const char *text, size_t n)
{
	if (*length + n >= REPORT_PATH_BYTES)
		return -ENAMETOOLONG;
	memcpy(ret_path + *length, text, n);
	*length += n;
	ret_path[*length] = '\0';
	return 0;
}

int report_path(char ret_path[static REPORT_PATH_BYTES], const char *pattern, pid_t pid, uint32_t number)
{
	char digits[16];
	size_t length = 0;
	int result = 0;

	ret_path[0] = '\0';
	for (const char *at = pattern; *at && !result; at++) {
		char kind = at[0] == '%' ? at[1] : '\0';
		if (kind == 'p')
			snprintf(digits, sizeof(digits), "%d", pid);
		else if (kind == 'n')
			snprintf(digits, sizeof(digits), "%u", number);
		else if (kind == '%')
			snprintf(digits, sizeof(digits), "%%");
		else
			kind = '\0';
		result = kind ? append(ret_path, &length, digits, strlen(digits)) : append(ret_path, &length, at, 1);
		at += kind != '\0';
	}
	return result;
}

static void log_failure(const struct exporter_host *host, const char *name, uint32_t number, int error, size_t written,
                        size_t count)
{
	char line[REPORT_PATH_BYTES + 160];

	if (written)
		snprintf(line, sizeof(line), "report %u: only %zu of %zu bytes could be written to %s: %s", number, written, count,
		         name, strerrordesc_np(-error));
	else
		snprintf(line, sizeof(line), "report %u could not be written to %s: %s", number, name, strerrordesc_np(-error));
	host->log(SEG_LOG_WARN, line);
}

static int write_stderr(const struct exporter_host *host, const char *bytes, size_t count, size_t *ret_written)
{
	struct sink sink;
	int fd = host->stderr_borrow();

	if (fd < 0)
		return -EBADF;
	int result = sink_init(&sink, fd);
	if (!result)
		result = sink_write(&sink, bytes, count, ret_written);
	host->stderr_return(fd);
	return result;
}

static int write_file(const struct exporter_host *host, const char *path, const char *bytes, size_t count,
                      size_t *ret_written)
{
	struct sink sink;
	int fd = sink_open(path, O_CREAT | O_TRUNC);

	if (fd < 0)
		return fd;
	host->descriptor_opened(fd);
	int result = sink_init(&sink, fd);
	if (!result)
		result = sink_write(&sink, bytes, count, ret_written);
	host->descriptor_closed(fd);
	if (close(fd) < 0 && !result) /* some file systems tell of a full disk only now */
		result = -errno;
	return result;
}

int report_write(const struct exporter_host *host, const char *target, uint32_t number, const char *bytes, size_t count)
{
	char path[REPORT_PATH_BYTES];
	const char *name = path;
	size_t written = 0;
	int result = report_path(path, target, getpid(), number);

	if (result) {
		name = target;
	} else if (!strcmp(target, "stderr")) {
		name = "stderr";
		result = write_stderr(host, bytes, count, &written);
	} else {
		result = write_file(host, path, bytes, count, &written);
	}
	if (result)
		log_failure(host, name, number, result, written, count);
	return result;
}
