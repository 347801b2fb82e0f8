/*
 * evlog.h: reads the files evidence-NNNNNNNN.jsonl of a log, line by line.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_EVLOG_H
#define PGW_EVLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "attr.h"

/* Of a line, without its newline; the limit of C2SP entry bundles. */
#define EVLOG_MAX_LINE 65535

enum evlog_result {
	EVLOG_LINE,
	EVLOG_END,
	EVLOG_TORN,	/* the last file's last line has no newline (yet) */
	EVLOG_WRONG	/* error says what */
};

struct evlog_line {
	char file[32];		/* "evidence-00000001.jsonl" */
	uint64_t number;	/* in its file, from 1 */
	off_t at;		/* where it starts in its file */
	const char *text;	/* until the next call */
	size_t len;
};

struct evlog;

/* "evidence-NNNNNNNN.jsonl" */
void evlog_file_name(char out[32], unsigned number);

/* Where a line starts. */
struct evlog_place {
	unsigned file;		/* number of its file, from 1 */
	uint64_t offset;	/* in bytes */
	uint64_t line;		/* lines before it in its file */
};

/* NULL only without memory; a directory that cannot be read is EVLOG_WRONG. */
struct evlog *evlog_open(const char *dir);
void evlog_close(struct evlog *l);

/*
 * Number of the first file that is there, 0 if none is; highest, unless NULL,
 * is that of the last.
 */
unsigned evlog_lowest(const char *dir, unsigned *highest);

/* Goes on there.  False with errno if the file cannot be opened. */
PGW_MUSTCHECK bool evlog_seek(struct evlog *l,
	const struct evlog_place *place);

/*
 * After EVLOG_END or EVLOG_TORN it may be called again and goes on where it
 * was: lines that were added meanwhile are found.
 */
PGW_MUSTCHECK enum evlog_result evlog_next(struct evlog *l,
	struct evlog_line *line, char *error, size_t error_size);

/* Number of the file that was read last; 0 if there is none. */
unsigned evlog_file_number(const struct evlog *l);

#endif
