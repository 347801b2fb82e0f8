/*
 * spool_int.h: what the spool's writer (spool.c) and its readers
 * (spool_read.c) both know.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SPOOL_INT_H
#define PGW_SPOOL_INT_H

#include <limits.h>

#include "buf.h"
#include "spool.h"

#define SPOOL_MAGIC 0x70677350u /* "pgsP" */
#define SPOOL_HEADER 44
#define SPOOL_CRC_AT 40

struct spool_reader {
	char dir[PATH_MAX];
	struct spool_position at; /* of spool_next() */
	int fd;                   /* of `segment`, -1 if none */
	uint64_t segment;
	uint64_t offset; /* in the segment, of window's bytes */
	uint64_t ahead;  /* bytes to read at once */
	struct buf window;
};

void spool_segment_path(const char *dir, uint64_t segment, const char *suffix,
	char *out);
/* 0: not the name of a segment. */
uint64_t spool_segment_of(const char *name);
/* Lowest and highest segment, 0 if there is none.  False with errno. */
PGW_MUSTCHECK bool spool_segment_range(const char *dir, uint64_t *lowest,
	uint64_t *highest);

/* Of DIR/spool; at no segment. */
PGW_MUSTCHECK struct spool_reader *spool_reader_new(const char *spool_dir);
PGW_MUSTCHECK bool spool_open_segment(struct spool_reader *r,
	uint64_t segment);
/* Bytes of the open segment's file. */
uint64_t spool_segment_size(const struct spool_reader *r);
/* The whole frame at `at` of the open segment, ending at limit at most. */
PGW_MUSTCHECK bool spool_get_frame(struct spool_reader *r,
	struct spool_position at, uint64_t limit, struct spool_frame *f);
/* All bytes of the open segment from offset to limit are 0. */
PGW_MUSTCHECK bool spool_is_zero(struct spool_reader *r, uint64_t offset,
	uint64_t limit);

#endif
