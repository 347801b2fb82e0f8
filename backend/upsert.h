/*
 * upsert.h: INSERT ... VALUES ... ON CONFLICT of one table, by the rows that it
 * can meet.
 *
 * These are found before by the values that the statement brings for the
 * columns that conflict.  Afterwards each row of VALUES is to be explained, by
 * a row that came back, or by one that was found and did not; and the server's
 * counters are to say that as many were inserted and updated.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_UPSERT_H
#define PGW_UPSERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"
#include "exchange.h"
#include "rowenc.h"
#include "session.h"

struct capture;

/* NULL: c->table and c->stmt are captured that way; else the reason. */
PGW_MUSTCHECK const char *upsert_refusal(
	struct session *s, const struct capture *c);

/* Rows can be found before it. */
PGW_MUSTCHECK bool upsert_finds_rows(const struct capture *c);
/* The predicate that finds them. */
void upsert_put_where(struct buf *sql, const struct capture *c);
/* Which parameters are in that. */
void upsert_mark_params(const struct capture *c, bool *used);

/* If capture_says_updated(), behind each row that RETURNING gives: by what ...
 */
void upsert_put_updated(struct buf *sql, const struct capture *c);
/* ... one that was updated is told from one that was inserted. */
PGW_MUSTCHECK bool upsert_is_updated(const struct exchange_value *xmax);

enum upsert_end {
	UPSERT_EXPLAINED,
	/* Others changed rows in between. */
	UPSERT_MOVED,
	/* It met rows that were not looked for. */
	UPSERT_UNEXPLAINED
};
/* All of it is answered; returned: the ids of what came back. */
PGW_MUSTCHECK enum upsert_end upsert_judge(
	const struct capture *c, const struct rowenc_ids *returned);

/*
 * The rows that it left: those that came back, and of those that were found
 * the others, as they were.  NULL: arena limit.
 */
PGW_MUSTCHECK struct rowenc_row *upsert_left(
	struct session *s, const struct capture *c,
	const struct rowenc_ids *returned, size_t *n);

#endif
