/*
 * facts.h: what is asked of the server once per captured transaction, at its
 * end and inside it: xid, now(), settings, and whether the tables are still
 * what the captures took them for.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_FACTS_H
#define PGW_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "exchange.h"
#include "txn.h"

#define FACTS_SETTINGS 13

struct facts {
	uint64_t xid;		/* 0: none assigned, so nothing was written */
	const char *now;	/* in the transaction's arena, as the rest */
	const char *isolation;
	struct record_setting settings[FACTS_SETTINGS];
	const char *tables;	/* "oid=fingerprint,..." */
};

/* Queues the question; tables are those that the transaction will hold, too. */
void facts_put(struct session *s, const struct txn *t,
	const struct catalog_table *const *tables, size_t n);
PGW_MUSTCHECK enum exchange_end facts_read(struct session *s, struct txn *t,
	struct facts *f, struct exchange_error *error,
	struct buf *raw_error);

/*
 * Degrades the capture where a table is not what it was taken for, or where a
 * setting made the captured texts other than canonical.  Call it after the
 * last txn_apply().
 */
void facts_judge(struct session *s, struct txn *t, const struct facts *f);

#endif
