/*
 * faultdisk.c: a disk that fails on demand, for tests; an LD_PRELOAD library
 * (build/test/faultdisk.so), also included by unit tests.
 *
 * While the file named by FAULTDISK exists, each of its lines
 *
 *	CALL ERRNO PART
 *
 * makes CALL (write and pwrite, fdatasync, fsync, open for writing, ftruncate) fail with
 * that number on files whose path contains PART.  A write that is to fail
 * writes half of its bytes first, once.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int fd);
long syscall(long number, ...);

#define TEXT_MAX 1024

static bool
read_text(char *text)
{
	const char *file = getenv("FAULTDISK");
	long fd, n;

	if (file == NULL)
		return false;
	fd = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	n = syscall(SYS_read, fd, text, (size_t)TEXT_MAX - 1);
	(void)syscall(SYS_close, fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* The errno that this call on this path shall have, 0 for none. */
static int
fault_of(const char *call, const char *path)
{
	char text[TEXT_MAX], name[16], part[256];
	char *line, *rest = text;
	int saved = errno, error, found = 0;

	if (read_text(text))
		while ((line = strsep(&rest, "\n")) != NULL)
			if (sscanf(line, "%15s %d %255s", name, &error,
			    part) == 3 && strcmp(name, call) == 0 &&
			    strstr(path, part) != NULL)
				found = error;
	errno = saved;
	return found;
}

static int
fault_of_fd(const char *call, int fd)
{
	char link[64], path[512];
	int saved = errno;
	long n;

	if (getenv("FAULTDISK") == NULL)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	errno = saved;
	return fault_of(call, path);
}

ssize_t
write(int fd, const void *bytes, size_t n)
{
	static bool half;
	int error = fault_of_fd("write", fd);

	if (error == 0)
		half = false;
	else if (half || n < 2) {
		errno = error;
		return -1;
	} else {
		half = true;
		n /= 2;
	}
	return syscall(SYS_write, fd, bytes, n);
}

/* Behind write() only zeros are written so. */
ssize_t
pwrite(int fd, const void *bytes, size_t n, off_t at)
{
	int error = fault_of_fd("write", fd);

	if (error != 0) {
		errno = error;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, bytes, n, at);
}

#define FAILING(name, number, ...)				\
	do {							\
		int error_ = fault_of_fd(name, fd);		\
								\
		if (error_ != 0) {				\
			errno = error_;				\
			return -1;				\
		}						\
		return (int)syscall(number, __VA_ARGS__);	\
	} while (0)

int
fdatasync(int fd)
{
	FAILING("fdatasync", SYS_fdatasync, fd);
}

int
fsync(int fd)
{
	FAILING("fsync", SYS_fsync, fd);
}

int
ftruncate(int fd, off_t length)
{
	FAILING("ftruncate", SYS_ftruncate, fd, length);
}

int
open(const char *path, int flags, ...)
{
	int mode = 0, error;
	va_list ap;

	if ((flags & O_CREAT) != 0) {
		va_start(ap, flags);
		mode = va_arg(ap, int);
		va_end(ap);
	}
	error = (flags & O_ACCMODE) == O_RDONLY ? 0 : fault_of("open", path);
	if (error != 0) {
		errno = error;
		return -1;
	}
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
