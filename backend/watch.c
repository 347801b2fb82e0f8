/*
 * watch.c: whether a table is still what it was taken for, for less than by
 * asking the catalogs.
 *
 *	SELECT CASE WHEN to_regclass('t') = '16384'::regclass
 *	  THEN CAST('now' AS timestamptz) END
 *
 * The server parses it again after every change to the table that the constant
 * names, or to what names mean, and 'now' is then another time.  While it is
 * the one at which the catalogs were asked, in the transaction that it was
 * parsed in or behind it, nothing was changed since.  It names no table that it
 * reads, and so cannot fail where the client's statement did not.
 *
 * What joined.c runs in its place says the same of itself.
 *
 * The transaction holds the table from then on: until its end only its own
 * session can change it, by DDL, which is seen, or by code of users, which is a
 * doubt.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "watch.h"

#include <stdio.h>
#include <string.h>

#include "exchange.h"
#include "facts.h"
#include "txn.h"

/* Whose statement it is, for kept.c: bits that are nobody else's. */
#define OWNER ((uint64_t)1 << 62)

/* Its place; KEPT_NONE: the table was not seen before. */
static int
place_of(struct session *s, const struct catalog_table *t)
{
	struct buf key = { 0 };
	int which;

	buf_put_cstr(&key, t->written);
	buf_put_cstr(&key, t->quick);
	/* Made anew after each doubt it would cost more than it saves. */
	buf_put(&key, &s->doubts, sizeof(s->doubts));
	which = kept_find(s, OWNER | t->oid, (const char *)key.data, key.len,
	    NULL, 0);
	buf_free(&key);
	return which;
}

void
watch_prepare(struct session *s, struct capture *c)
{
	const struct catalog_table *t = c->table;

	if (c->joined || c->alone || c->own_block || c->whole || c->scoped ||
	    c->routed || c->counted || !c->sure || t->quick == NULL)
		return;
	c->watch = place_of(s, t);
}

void
watch_put(struct session *s, const struct capture *c)
{
	const struct record_param name = {
		.value = (const uint8_t *)c->table->written,
		.len = strlen(c->table->written)
	};
	char sql[256];

	snprintf(sql, sizeof(sql),
	    "SELECT CASE WHEN pg_catalog.to_regclass($1)"
	    " OPERATOR(pg_catalog.=) CAST('%u' AS pg_catalog.regclass)"
	    " THEN " FACTS_PARSED " END",
	    c->table->oid);
	kept_put(s, c->watch, sql, &name, 1);
}

struct reading {
	struct session *s;
	struct capture *c;
};

/* A copy in the transaction's arena. */
static bool
take_parsed(void *arg, const struct message *row)
{
	struct reading *r = arg;
	struct exchange_value v;

	if (exchange_row_values(row, &v, 1) && v.data != NULL)
		r->c->parsed = arena_memdup(r->s->txn->arena, v.data, v.len);
	return false;
}

enum exchange_end
watch_read(struct session *s, struct capture *c)
{
	struct reading r = { s, c };
	enum exchange_end end = exchange_read(
	    s, take_parsed, &r, &c->why, &c->error);

	kept_answered(s, c->watch, end == EXCHANGE_DONE);
	return end;
}

static void
note_parsed(
    struct session *s, struct txn_table *tt, int kept, const char *parsed)
{
	tt->parsed = parsed;
	tt->kept = kept;
	tt->placed = kept_placed(s, kept);
	tt->same = strcmp(kept_mark(s, kept), parsed) == 0;
}

/* Of a table that is held already: for a new operator, say. */
static bool
is_parsed_again(const struct session *s, const struct capture *c, int kept)
{
	return c->joined && c->parsed != NULL &&
	       strcmp(kept_mark(s, kept), c->parsed) != 0;
}

void
watch_note(struct session *s, const struct capture *c)
{
	if (c->alone || c->table == NULL)
		return;
	for (size_t i = 0; i < s->txn->n_tables; i++) {
		struct txn_table *tt = &s->txn->tables[i];
		int kept = c->joined ? c->kept_run : c->watch;

		if (tt->catalog->oid != c->table->oid)
			continue;
		if (tt->watched) {
			if (is_parsed_again(s, c, kept))
				note_parsed(s, tt, kept, c->parsed);
			return;
		}
		tt->watched = true;
		tt->doubts = s->doubts;
		if (kept == KEPT_NONE || c->parsed == NULL)
			return;
		note_parsed(s, tt, kept, c->parsed);
	}
}

bool
watch_knows_all(const struct session *s)
{
	const struct txn *t = s->txn;

	if (catalog_is_changed(s))
		return false;
	for (size_t i = 0; i < t->n_tables; i++)
		if (!t->tables[i].same || t->tables[i].doubts != s->doubts)
			return false;
	return true;
}

void
watch_learn(struct session *s, const struct txn_table *tt)
{
	if (tt->parsed != NULL && !tt->same &&
	    kept_placed(s, tt->kept) == tt->placed)
		kept_set_mark(s, tt->kept, tt->parsed);
}
