/*
 * watch.h: whether a table is still what it was taken for, said by a statement
 * of ours that stays prepared.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_WATCH_H
#define PGW_WATCH_H

#include "attr.h"
#include "capture.h"

/* Sets c->watch, if there is one for this capture, in a transaction that goes
 * on behind it. */
void watch_prepare(struct session *s, struct capture *c);

/* Behind the statement, which holds the table. */
void watch_put(struct session *s, const struct capture *c);
PGW_MUSTCHECK enum exchange_end watch_read(struct session *s,
	struct capture *c);

/* What it said, for the transaction's end; after capture_apply(). */
void watch_note(struct session *s, const struct capture *c);

/* All tables of the transaction are known to be what they were taken for. */
PGW_MUSTCHECK bool watch_knows_all(const struct session *s);

/* The catalogs, asked at its end, said so of this one. */
void watch_learn(struct session *s, const struct txn_table *tt);

#endif
