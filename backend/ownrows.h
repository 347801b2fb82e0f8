/*
 * ownrows.h: SQL that finds the rows which this session's open transaction
 * inserted into a table.
 *
 * A visible row is one of them if its xmin is an xid that the session holds now:
 * what a subtransaction inserted that has been released is not found.  In
 * SERIALIZABLE nothing is: reading would make other transactions fail.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_OWNROWS_H
#define PGW_OWNROWS_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"
#include "catalog.h"

/*
 * SELECT the row (rowtext.h), cmin ... AS t WHERE; AND may follow.  cmin is NULL
 * for a row that was locked, or deleted and brought back: what the server would
 * show may be another number.
 */
void ownrows_put_select(
	struct buf *b, const struct catalog_table *t, bool in_utc);
/* AND in the last pages of the table. */
void ownrows_put_end(
	struct buf *b, const struct catalog_table *t, size_t pages);
/* AND the table has no more pages. */
void ownrows_put_limit(
	struct buf *b, const struct catalog_table *t, size_t pages);
/* AND among the last n by primary key. */
void ownrows_put_greatest(
	struct buf *b, const struct catalog_table *t, size_t n);

#endif
