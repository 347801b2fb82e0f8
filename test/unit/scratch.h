/*
 * scratch.h: a directory of a unit test's own, gone when the test has ended.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SCRATCH_H
#define PGW_SCRATCH_H

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SCRATCH_BYTES 64

static inline int
scratch_remove_one(
    const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(path);
}

/* Fills in dir; the name says whose it is. */
static inline bool
scratch_make(char dir[SCRATCH_BYTES], const char *name)
{
	snprintf(dir, SCRATCH_BYTES, "/tmp/pgw-%s-XXXXXX", name);
	return mkdtemp(dir) != NULL;
}

/* A directory with all that is in it; 0 or -1, as a tear_down() wants it. */
static inline int
scratch_remove(const char *dir)
{
	return nftw(dir, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
