/*
 * execute.h: what SQL EXECUTE of a prepared statement would run.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_EXECUTE_H
#define PGW_EXECUTE_H

#include <stdbool.h>

#include "analyze.h"
#include "attr.h"
#include "buf.h"
#include "capture.h"
#include "session.h"

enum execute_what {
	EXECUTE_READS,		/* nothing but reading, or an error */
	EXECUTE_DML,		/* what dml_takes(): stmt, text and values */
	EXECUTE_UNKNOWN		/* it may write, and cannot be said in full */
};

struct execute {
	const struct analyzed_statement *stmt;	/* in text */
	/* As prepared, with blanks before it: positions are what they were. */
	struct buf text;
	struct capture_values values;
	/* execute.c's */
	struct record_param *params;
	struct buf held;
};

/*
 * Looks the statement of the EXECUTE st up; stmt lives until the next
 * analyze(), st no longer than up to this one.  Afterwards look at s->lost and
 * s->skipping.
 */
PGW_MUSTCHECK enum execute_what execute_look_up(struct session *s,
	const struct analyzed_statement *st, struct execute *e);

void execute_free(struct execute *e);

#endif
