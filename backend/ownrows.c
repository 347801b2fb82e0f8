/*
 * ownrows.c: SQL for the rows of this session's open transaction.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "ownrows.h"

#include "rowtext.h"

#define EQ " OPERATOR(pg_catalog.=) "

void
ownrows_put_select(struct buf *b, const struct catalog_table *t, bool in_utc)
{
	buf_put_str(b, "SELECT ");
	rowtext_put(b, t, "t", in_utc);
	buf_put_str(b, ", CASE WHEN t.xmax" EQ "CAST('0' AS pg_catalog.xid)"
		       " THEN t.cmin END FROM ONLY ");
	catalog_put_name(b, t->schema, t->name);
	buf_put_str(b,
	    " AS t WHERE t.xmin" EQ "ANY (ARRAY("
	    "SELECT l.transactionid FROM pg_catalog.pg_locks AS l"
	    " WHERE l.locktype" EQ "'transactionid'"
	    " AND l.pid" EQ "pg_catalog.pg_backend_pid()"
	    " AND l.mode" EQ "'ExclusiveLock' AND l.granted))"
	    " AND pg_catalog.current_setting('transaction_isolation')"
	    " OPERATOR(pg_catalog.<>) 'serializable'");
}

/* A subquery, so that it is asked once: the table's size in pages. */
static void
put_pages(struct buf *b, const struct catalog_table *t)
{
	buf_printf(b,
	    "pg_catalog.pg_relation_size(CAST(CAST(%u AS pg_catalog.oid)"
	    " AS pg_catalog.regclass)) OPERATOR(pg_catalog./) CAST("
	    "pg_catalog.current_setting('block_size') AS pg_catalog.int8)",
	    t->oid);
}

void
ownrows_put_end(struct buf *b, const struct catalog_table *t, size_t pages)
{
	buf_put_str(b, " AND t.ctid OPERATOR(pg_catalog.>=) (SELECT CAST("
		       "pg_catalog.concat('(', GREATEST(");
	put_pages(b, t);
	buf_printf(b,
	    " OPERATOR(pg_catalog.-) CAST(%zu AS pg_catalog.int8),"
	    " CAST(0 AS pg_catalog.int8)), ',0)') AS pg_catalog.tid))",
	    pages);
}

void
ownrows_put_limit(struct buf *b, const struct catalog_table *t, size_t pages)
{
	buf_put_str(b, " AND (SELECT ");
	put_pages(b, t);
	buf_printf(
	    b, ") OPERATOR(pg_catalog.<=) CAST(%zu AS pg_catalog.int8)", pages);
}

void
ownrows_put_greatest(struct buf *b, const struct catalog_table *t, size_t n)
{
	const struct rowenc_shape *sh = &t->shape;

	buf_put_str(b, " AND t.ctid" EQ "ANY (ARRAY(SELECT k.ctid FROM ONLY ");
	catalog_put_name(b, t->schema, t->name);
	for (unsigned i = 0; i < sh->n_key; i++) {
		buf_put_str(b, i == 0 ? " AS k ORDER BY k." : ", k.");
		catalog_quote(b, sh->columns[sh->key[i]].name);
		buf_put_str(b, " DESC");
	}
	buf_printf(b, " LIMIT %zu))", n);
}
