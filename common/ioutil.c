/*
 * ioutil.c: small helpers around file descriptors, files and time.
 *
 * Keeps no state.  What can fail says so by its result and errno; only a path
 * that does not fit its buffer ends the process.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ioutil.h"
#include "log.h"

bool
io_write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t done = write(fd, at, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return false;
		at += done;
		n -= (size_t)done;
	}
	return true;
}

bool
io_pread_all(int fd, void *p, size_t n, off_t at)
{
	char *to = p;

	while (n > 0) {
		ssize_t done = pread(fd, to, n, at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done == 0)
			errno = ENODATA;
		if (done <= 0)
			return false;
		to += done;
		at += done;
		n -= (size_t)done;
	}
	return true;
}

static bool
io_read_fd(int fd, struct buf *b, size_t max)
{
	size_t total = 0;

	for (;;) {
		size_t want = 64 * 1024;
		ssize_t n = read(fd, buf_reserve(b, want), want);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		total += (size_t)n;
		if (total > max) {
			errno = EFBIG;
			return false;
		}
		b->len += (size_t)n;
	}
}

/* Closes without losing the errno of what went before. */
static void
io_close(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
}

bool
io_read_file(const char *path, struct buf *b, size_t max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = b->len;
	bool ok;

	if (fd < 0)
		return false;
	ok = io_read_fd(fd, b, max);
	if (!ok)
		b->len = len;
	io_close(fd);
	return ok;
}

static int
remove_entry(
    const char *path, const struct stat *st, int flag, struct FTW *where)
{
	(void)st;
	(void)where;
	return flag == FTW_DP ? rmdir(path) : unlink(path);
}

bool
io_remove_tree(const char *path)
{
	return nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0 ||
	       errno == ENOENT;
}

bool
io_fsync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = fsync(fd) == 0;
	io_close(fd);
	return ok;
}

static bool
io_fsync_parent(const char *path)
{
	char dir[PATH_MAX];
	char *slash;

	io_path(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash == NULL)
		return io_fsync_dir(".");
	slash[slash == dir ? 1 : 0] = '\0';
	return io_fsync_dir(dir);
}

static bool
io_write_temp(const char *temp, const void *p, size_t n, mode_t mode)
{
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	bool ok;

	if (fd < 0)
		return false;
	ok = fchmod(fd, mode) == 0 && io_write_all(fd, p, n) && fsync(fd) == 0;
	io_close(fd);
	return ok;
}

bool
io_replace_file(const char *path, const void *p, size_t n, mode_t mode)
{
	char temp[PATH_MAX];
	int saved;

	io_path(temp, sizeof(temp), "%s.tmp", path);
	if (io_write_temp(temp, p, n, mode) && rename(temp, path) == 0)
		return io_fsync_parent(path);
	saved = errno;
	unlink(temp);
	errno = saved;
	return false;
}

bool
io_set_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

bool
io_set_cloexec(int fd, bool on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) == 0;
}

static int64_t
io_clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t
io_now_us(void)
{
	return io_clock_us(CLOCK_REALTIME);
}

int64_t
io_monotonic_us(void)
{
	return io_clock_us(CLOCK_MONOTONIC);
}

/* The last `digits` digits of v, and what follows them. */
static char *
put_number(char *to, unsigned v, unsigned digits, char after)
{
	for (unsigned i = digits; i-- > 0; v /= 10)
		to[i] = (char)('0' + v % 10);
	to[digits] = after;
	return to + digits + 1;
}

#define SECOND_BYTES (sizeof("YYYY-MM-DDTHH:MM:SS.") - 1)

static void
format_second(time_t seconds, char *to)
{
	struct tm tm;

	if (gmtime_r(&seconds, &tm) == NULL || tm.tm_year > 9999 - 1900 ||
	    tm.tm_year < -1900) {
		memset(&tm, 0, sizeof(tm)); /* outside RFC 3339 */
		tm.tm_mday = 1;
	}
	to = put_number(to, (unsigned)(tm.tm_year + 1900), 4, '-');
	to = put_number(to, (unsigned)tm.tm_mon + 1, 2, '-');
	to = put_number(to, (unsigned)tm.tm_mday, 2, 'T');
	to = put_number(to, (unsigned)tm.tm_hour, 2, ':');
	to = put_number(to, (unsigned)tm.tm_min, 2, ':');
	(void)put_number(to, (unsigned)tm.tm_sec, 2, '.');
}

/*
 * By hand: each line of evidence has one, and strftime() takes its time.  The
 * second is mostly that of the line before.
 */
char *
io_format_time(int64_t us, char out[IO_TIME_BYTES])
{
	static _Thread_local struct {
		bool known;
		time_t seconds;
		char text[SECOND_BYTES];
	} last;
	int64_t fraction = us % 1000000;
	time_t seconds = (time_t)(us / 1000000);

	if (fraction < 0) {
		fraction += 1000000;
		seconds--;
	}
	if (!last.known || last.seconds != seconds) {
		format_second(seconds, last.text);
		last.seconds = seconds;
		last.known = true;
	}
	memcpy(out, last.text, SECOND_BYTES);
	*put_number(out + SECOND_BYTES, (unsigned)fraction, 6, 'Z') = '\0';
	return out;
}

void
io_path(char *out, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out, size, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= size)
		log_fatal("path_too_long", "path is too long: \"%s...\"",
		    size > 0 ? out : "");
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
io_crc32c_sse42(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t crc64 = crc;

	for (; n >= 8; p += 8, n -= 8) {
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		crc64 = __builtin_ia32_crc32di(crc64, word);
	}
	crc = (uint32_t)crc64;
	for (; n > 0; p++, n--)
		crc = __builtin_ia32_crc32qi(crc, *p);
	return crc;
}
#endif

/* A nibble at a time: sixteen remainders of the reflected polynomial. */
static uint32_t
io_crc32c_portable(uint32_t crc, const uint8_t *p, size_t n)
{
	static const uint32_t remainder[16] = { 0x00000000, 0x105ec76f,
		0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362,
		0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75 };

	for (; n > 0; p++, n--) {
		crc ^= *p;
		crc = (crc >> 4) ^ remainder[crc & 15];
		crc = (crc >> 4) ^ remainder[crc & 15];
	}
	return crc;
}

uint32_t
io_crc32c(uint32_t crc, const void *p, size_t n)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~io_crc32c_sse42(~crc, p, n);
#endif
	return ~io_crc32c_portable(~crc, p, n);
}
