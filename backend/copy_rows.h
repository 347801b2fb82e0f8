/*
 * copy_rows.h: the rows that a COPY FROM has just put into a table, read back
 * inside its transaction.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_COPY_ROWS_H
#define PGW_COPY_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyze.h"
#include "attr.h"
#include "catalog.h"
#include "session.h"

/* The savepoint under which they are read. */
#define COPY_ROWS_RELEASE "RELEASE SAVEPOINT pgwitness"

struct copy_rows {
	/* in */
	const struct analyzed_statement *stmt;
	const struct catalog_table *table;
	bool in_batch;		/* of the extended protocol, maybe in no block */
	const uint8_t *data;	/* what the client sent */
	size_t len;
	size_t count;		/* rows, by the command tag; not 0 */
	/* out: all of them, in the transaction's arena */
	struct rowenc_row *rows;
	size_t n;
	const char *reason;	/* for `capture_reason` */
	struct buf error;	/* the last ErrorResponse; the caller frees it */
	/* copy_rows.c's */
	struct session *session;
	size_t cap;
	bool in_utc;
	struct arena *scratch;
	uint64_t command;	/* the latest that inserted a row seen so far */
};

enum copy_rows_end {
	/* rows[] are the rows.  COPY_ROWS_RELEASE is due, or COMMIT; not in a
	 * batch, where there is no savepoint, and nothing is asked that could
	 * fail but by a cancel, a timeout and their like. */
	COPY_ROWS_FOUND,
	/* They could not be found for sure: reason; the transaction is as
	 * before. */
	COPY_ROWS_INCOMPLETE,
	COPY_ROWS_ERROR,	/* error has it; the transaction has failed */
	COPY_ROWS_LOST		/* connection lost, or the session must end */
};

/* The session is in a transaction block, in sync; or in a batch. */
PGW_MUSTCHECK enum copy_rows_end copy_rows_read(struct session *s,
	struct copy_rows *r);

#endif
