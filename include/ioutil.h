/*
 * ioutil.h: small helpers around file descriptors, files and time.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_IOUTIL_H
#define PGW_IOUTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "attr.h"
#include "buf.h"

#define IO_TIME_BYTES 28	/* "2026-11-23T20:00:00.000000Z" and a NUL */

/* All bytes or false with errno; retries EINTR and short writes. */
PGW_MUSTCHECK bool io_write_all(int fd, const void *p, size_t n);
PGW_MUSTCHECK bool io_pread_all(int fd, void *p, size_t n, off_t at);
/* The whole file into b (max bytes, else EFBIG).  False with errno. */
PGW_MUSTCHECK bool io_read_file(const char *path, struct buf *b, size_t max);
/*
 * Durable replace: write PATH.tmp, fsync, rename, fsync the directory.  One
 * process at a time writes a path: what one that dies leaves, the next uses.
 */
PGW_MUSTCHECK bool io_replace_file(const char *path, const void *p, size_t n,
	mode_t mode);
/* A directory and all in it; true if there is none.  False with errno. */
bool io_remove_tree(const char *path);
PGW_MUSTCHECK bool io_fsync_dir(const char *path);
PGW_MUSTCHECK bool io_set_nonblock(int fd);
PGW_MUSTCHECK bool io_set_cloexec(int fd, bool on);

/* Microseconds since 1970, UTC; and from an arbitrary start, never back. */
int64_t io_now_us(void);
int64_t io_monotonic_us(void);
/* RFC 3339 with microseconds and Z; returns out. */
char *io_format_time(int64_t us, char out[IO_TIME_BYTES]);

/* snprintf that ends the process if the result does not fit (paths). */
void io_path(char *out, size_t size, const char *fmt, ...) PGW_PRINTF(3, 4);

/* CRC-32C (Castagnoli), hardware where there is one. */
uint32_t io_crc32c(uint32_t crc, const void *p, size_t n);

#endif
