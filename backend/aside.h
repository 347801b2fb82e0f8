/*
 * aside.h: rows that a statement inserted aside, into tables that it does not
 * name: those that its target's triggers write to.
 *
 * Exact without reading such a table as a whole: by the server's counters the
 * statement inserted n rows there, and changed nothing else.  Inserted rows show
 * who made them: the visible ones with an xmin of this transaction, but for
 * those that it is known to have left there before, are all of them if they are
 * n.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ASIDE_H
#define PGW_ASIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "catalog.h"
#include "counters.h"
#include "exchange.h"
#include "session.h"

/* One such table. */
struct aside {
	const struct catalog_table *table;
	bool in_utc;
	size_t n;		/* rows that were inserted */
	struct rowenc_row *rows; /* in the order in which they were made */
	bool ordered;		/* that is known for each of them */
	bool complete;		/* they are there */
};

struct asides {
	struct aside *list;	/* in the transaction's arena */
	size_t n, cap;
	/* Why what the statement did elsewhere is not all known; or NULL. */
	const char *reason;
};

/*
 * Asks for the rows; oid: the statement's target.  The server is not to be in a
 * batch's error; the transaction stays as it is.
 */
PGW_MUSTCHECK enum exchange_end asides_read(struct session *s,
	const struct counters *before, const struct counters *after,
	uint32_t oid, struct asides *a, struct exchange_error *error,
	struct buf *raw_error);

/*
 * Puts them into the transaction; inputs: with what their tables' defaults gave;
 * ordered: replay comes to the statement's own rows in the server's order.
 */
void asides_apply(struct session *s, const struct asides *a,
	uint32_t statement, bool inputs, bool ordered);

#endif
