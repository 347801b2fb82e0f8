/*
 * counters.c: the server's counters of a transaction's changes.
 *
 * Differences are looked at: they still hold what earlier transactions did, to
 * tables that are not locked yet, too: those that were written are remembered.
 * One that is not counts as more than was done, never as less.
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
#define COUNT(what)                                                          \
	"pg_catalog.pg_stat_get_xact_tuples_" what "(c.oid)"
#define TARGET "CAST($1 AS pg_catalog.oid)"

static const char counters_sql[] =
	"SELECT pg_catalog.current_setting('track_counts'), o.oid, n.nspname,"
	" o.relname, o.i, o.u, o.d FROM (SELECT c.oid, c.relname,"
	" c.relnamespace, " COUNT("inserted") " AS i, " COUNT("updated")
	" AS u, " COUNT("deleted") " AS d FROM pg_catalog.pg_class c"
	" WHERE c.oid" CATALOG_EQ TARGET " OR (c.relkind" CATALOG_EQ
	"ANY (CAST('{r,m,f}' AS pg_catalog.\"char\"[])) AND c.oid" CATALOG_EQ
	"ANY (CAST($2 AS pg_catalog.oid[]) OPERATOR(pg_catalog.||)"
	" ARRAY(SELECT k.relation FROM pg_catalog.pg_locks k"
	" WHERE k.locktype" CATALOG_EQ "'relation'"
	" AND k.pid" CATALOG_EQ "pg_catalog.pg_backend_pid() AND k.granted"
	" AND k.mode OPERATOR(pg_catalog.<>) ALL (CAST("
	"'{AccessShareLock,RowShareLock}' AS pg_catalog.text[]))"
	" AND k.relation OPERATOR(pg_catalog.>=) CAST('16384' AS"
	" pg_catalog.oid))))) o JOIN pg_catalog.pg_namespace n"
	" ON n.oid" CATALOG_EQ "o.relnamespace"
	" WHERE o.oid" CATALOG_EQ TARGET " OR o.i OPERATOR(pg_catalog.<>) 0"
	" OR o.u OPERATOR(pg_catalog.<>) 0 OR o.d OPERATOR(pg_catalog.<>) 0";
/* clang-format on */
enum {
	N_TRACK,
	N_OID,
	N_SCHEMA,
	N_NAME,
	N_INSERTED,
	N_UPDATED,
	N_DELETED,
	N_COLUMNS
};

void
counters_put(struct session *s, uint32_t oid)
{
	char text[16];
	const char *params[2] = { text, NULL };
	struct buf written = { 0 };

	buf_put_u8(&written, '{');
	for (unsigned i = 0; i < COUNTERS_REMEMBERED; i++)
		if (s->written[i] != 0)
			buf_printf(&written, "%s%u", written.len > 1 ? "," : "",
			    s->written[i]);
	buf_put_cstr(&written, "}");
	snprintf(text, sizeof(text), "%u", oid);
	params[1] = (const char *)written.data;
	exchange_put(s, counters_sql, params, 2);
	buf_free(&written);
}

void
counters_note(struct session *s, uint32_t oid)
{
	for (unsigned i = 0; i < COUNTERS_REMEMBERED; i++)
		if (s->written[i] == oid)
			return;
	s->written[s->next_written++ % COUNTERS_REMEMBERED] = oid;
}

struct reading {
	struct session *s;
	struct counters *c;
};

/* NULL: arena limit. */
static const char *
text_of(struct session *s, const struct exchange_value *v)
{
	return v->data == NULL ? ""
			       : arena_memdup(s->txn->arena, v->data, v->len);
}

static int64_t
number_of(struct session *s, const struct exchange_value *v)
{
	const char *text = text_of(s, v);

	return text != NULL ? strtoll(text, NULL, 10) : 0;
}

static bool
counters_row(void *arg, const struct message *row)
{
	struct reading *r = arg;
	struct exchange_value v[N_COLUMNS];
	struct counters *c = r->c;
	struct counter *list = arena_grow(
	    r->s->txn->arena, c->tables, c->n, &c->cap, sizeof(*list));
	const char *track;

	c->known = false;
	if (list == NULL || !exchange_row_values(row, v, N_COLUMNS))
		return false;
	c->tables = list;
	track = text_of(r->s, &v[N_TRACK]);
	list[c->n] = (struct counter){
		(uint32_t)number_of(r->s, &v[N_OID]),
		text_of(r->s, &v[N_SCHEMA]),
		text_of(r->s, &v[N_NAME]),
		number_of(r->s, &v[N_INSERTED]),
		number_of(r->s, &v[N_UPDATED]),
		number_of(r->s, &v[N_DELETED]),
	};
	c->known = track != NULL && strcmp(track, "on") == 0 &&
		   list[c->n].schema != NULL && list[c->n].name != NULL;
	counters_note(r->s, list[c->n].oid);
	c->n++;
	return c->known;
}

enum exchange_end
counters_read(struct session *s, struct counters *c,
    struct exchange_error *error, struct buf *raw_error)
{
	struct reading r = { s, c };

	memset(c, 0, sizeof(*c));
	return exchange_read(s, counters_row, &r, error, raw_error);
}

static const struct counter *
counter_of(const struct counters *c, uint32_t oid)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->tables[i].oid == oid)
			return &c->tables[i];
	return NULL;
}

/* How much it has grown from one of the two, or none, to the other. */
static struct counter
change_of(const struct counter *before, const struct counter *after)
{
	static const struct counter zero;
	const struct counter *from = before != NULL ? before : &zero;
	const struct counter *to = after != NULL ? after : &zero;
	struct counter c = after != NULL ? *after : *from;

	c.inserted = to->inserted - from->inserted;
	c.updated = to->updated - from->updated;
	c.deleted = to->deleted - from->deleted;
	return c;
}

static bool
is_change(const struct counter *c)
{
	return c->inserted != 0 || c->updated != 0 || c->deleted != 0;
}

bool
counters_are_own(const struct counters *before, const struct counters *after,
    uint32_t oid, enum stmt_kind kind, size_t n)
{
	int64_t own = (int64_t)n;
	struct counter c = change_of(
	    counter_of(before, oid), counter_of(after, oid));

	return before->known && after->known &&
	       c.inserted == (kind == STMT_INSERT ? own : 0) &&
	       c.updated == (kind == STMT_UPDATE ? own : 0) &&
	       c.deleted == (kind == STMT_DELETE ? own : 0);
}

bool
counters_upserted(const struct counters *before, const struct counters *after,
    uint32_t oid, size_t *inserted, size_t *updated)
{
	struct counter c = change_of(
	    counter_of(before, oid), counter_of(after, oid));

	if (!before->known || !after->known || c.deleted < 0 ||
	    c.inserted < c.deleted || c.updated < 0)
		return false;
	*inserted = (size_t)(c.inserted - c.deleted);
	*updated = (size_t)c.updated;
	return true;
}

bool
counters_changed(const struct counters *before, const struct counters *after,
    uint32_t oid)
{
	struct counter c = change_of(
	    counter_of(before, oid), counter_of(after, oid));

	return is_change(&c);
}

bool
counters_next_other(const struct counters *before, const struct counters *after,
    uint32_t oid, size_t *at, struct counter *change)
{
	for (; *at < after->n + before->n; ++*at) {
		bool behind = *at >= after->n;
		const struct counter *one =
		    behind ? &before->tables[*at - after->n]
			   : &after->tables[*at];

		/* What both have was looked at among those after. */
		if (one->oid == oid ||
		    (behind && counter_of(after, one->oid) != NULL))
			continue;
		*change = behind ? change_of(one, NULL)
				 : change_of(counter_of(before, one->oid), one);
		if (is_change(change)) {
			++*at;
			return true;
		}
	}
	return false;
}
