/*
 * counters.c: the server's counters of a transaction's changes.
 *
 * Differences are looked at: they still hold what earlier transactions did.
 * Which tables there are is known from the locks of this session: one that its
 * transaction may have written is locked in a mode of writers until it ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "counters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog_sql.h"
#include "txn.h"

/* SQL, broken where it reads. */
/* clang-format off */
#define COUNT(what, oid) "pg_catalog.pg_stat_get_xact_tuples_" what "(" oid ")"
#define TARGET "CAST($1 AS pg_catalog.oid)"

static const char counters_sql[] =
	"SELECT pg_catalog.current_setting('track_counts'), "
	COUNT("inserted", TARGET) ", " COUNT("updated", TARGET) ", "
	COUNT("deleted", TARGET) ", "
	"(SELECT pg_catalog.string_agg(pg_catalog.concat(o.relation, ':',"
	" o.i, ':', o.u, ':', o.d), ',' ORDER BY o.relation) FROM (SELECT"
	" l.relation, " COUNT("inserted", "l.relation") " AS i, "
	COUNT("updated", "l.relation") " AS u, "
	COUNT("deleted", "l.relation") " AS d FROM (SELECT DISTINCT"
	" k.relation FROM pg_catalog.pg_locks k"
	" WHERE k.locktype" CATALOG_EQ "'relation'"
	" AND k.pid" CATALOG_EQ "pg_catalog.pg_backend_pid() AND k.granted"
	" AND k.mode OPERATOR(pg_catalog.<>) ALL (CAST("
	"'{AccessShareLock,RowShareLock}' AS pg_catalog.text[]))"
	" AND k.relation OPERATOR(pg_catalog.>=) CAST('16384' AS"
	" pg_catalog.oid) AND k.relation OPERATOR(pg_catalog.<>) " TARGET
	") l JOIN pg_catalog.pg_class c ON c.oid" CATALOG_EQ "l.relation"
	" WHERE c.relkind" CATALOG_EQ "ANY (CAST('{r,m,f}' AS"
	" pg_catalog.\"char\"[]))) o WHERE o.i OPERATOR(pg_catalog.+) o.u"
	" OPERATOR(pg_catalog.+) o.d OPERATOR(pg_catalog.<>) 0)";
/* clang-format on */
enum { N_TRACK, N_INSERTED, N_UPDATED, N_DELETED, N_OTHERS, N_COLUMNS };

void
counters_put(struct session *s, uint32_t oid)
{
	char text[16];
	const char *params[1] = { text };

	snprintf(text, sizeof(text), "%u", oid);
	exchange_put(s, counters_sql, params, 1);
}

struct reading {
	struct session *s;
	struct counters *c;
};

static const char *
text_of(struct session *s, const struct exchange_value *v)
{
	const char *text = v->data == NULL ? ""
					   : arena_memdup(s->txn->arena,
						 v->data, v->len);

	return text != NULL ? text : "";
}

static bool
counters_row(void *arg, const struct message *row)
{
	struct reading *r = arg;
	struct exchange_value v[N_COLUMNS];
	struct counters *c = r->c;

	if (!exchange_row_values(row, v, N_COLUMNS))
		return false;
	c->inserted = strtoll(text_of(r->s, &v[N_INSERTED]), NULL, 10);
	c->updated = strtoll(text_of(r->s, &v[N_UPDATED]), NULL, 10);
	c->deleted = strtoll(text_of(r->s, &v[N_DELETED]), NULL, 10);
	c->others = v[N_OTHERS].data == NULL
			? ""
			: arena_memdup(r->s->txn->arena, v[N_OTHERS].data,
			      v[N_OTHERS].len);
	c->known = c->others != NULL &&
		   strcmp(text_of(r->s, &v[N_TRACK]), "on") == 0;
	return true;
}

enum exchange_end
counters_read(struct session *s, struct counters *c,
    struct exchange_error *error, struct buf *raw_error)
{
	struct reading r = { s, c };

	memset(c, 0, sizeof(*c));
	return exchange_read(s, counters_row, &r, error, raw_error);
}

bool
counters_are_own(const struct counters *before, const struct counters *after,
    enum stmt_kind kind, size_t n)
{
	int64_t own = (int64_t)n;

	return before->known && after->known &&
	       strcmp(before->others, after->others) == 0 &&
	       after->inserted - before->inserted ==
		   (kind == STMT_INSERT ? own : 0) &&
	       after->updated - before->updated ==
		   (kind == STMT_UPDATE ? own : 0) &&
	       after->deleted - before->deleted ==
		   (kind == STMT_DELETE ? own : 0);
}
