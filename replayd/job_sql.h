/*
 * job_sql.h: the text of a job's own statements and of its array literals.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_JOB_SQL_H
#define PGW_JOB_SQL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "attr.h"
#include "buf.h"
#include "record.h"

/* Its qualified name, quoted.  False here and below: a name is not text of the
 * encoding. */
PGW_MUSTCHECK bool job_put_table(
	struct buf *b, PGconn *conn, const struct record_table *t);

/*
 * INSERT of one row as it was recorded, SELECT of all rows; with the session's
 * secret (token), so that replayd/pin knows it as ours.
 */
PGW_MUSTCHECK bool job_load_sql(struct buf *b, PGconn *conn, const char *token,
	const struct record_table *t);
PGW_MUSTCHECK bool job_read_sql(struct buf *b, PGconn *conn, const char *token,
	const struct record_table *t);

/* One more element of an array literal, behind what is there; or NULL. */
void job_put_element(struct buf *b, const void *text, size_t len);
/* The literal, which may have no elements. */
const char *job_end_array(struct buf *b);

#endif
