/*
 * capture_put.c: the one write of a capture.
 *
 *	[our block begins; locks; all rows of the scope's tables]
 *	[SAVEPOINT]  [settings]  pre-capture with row locks  [RELEASE]
 *	[counters, if its target has triggers]
 *	the client's statement with RETURNING ROW(t.*), or, if its target is in
 *	the scope, as it is; joined.c: with pre-capture and facts
 *	[counters]
 *	DELETE: the same predicate once more, without locks
 *	[all rows of those that it may write; what it has locked]
 *	if the transaction goes on: whether its target is what it was (watch.c)
 *	if the transaction ends with it: facts
 *	Flush, if the commit is held for the record; else Sync
 *	(in the extended protocol Sync only if the client's follows)
 *
 * An error makes the server skip all up to the next Sync, so that nothing runs
 * on a wrong footing.  In a block of ours no row is locked before the statement
 * locks it, and nothing can come in between.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "capture.h"

#include <stdlib.h>

#include "block.h"
#include "capture_int.h"
#include "exchange.h"
#include "joined.h"
#include "log.h"
#include "mem.h"
#include "rowtext.h"
#include "txn.h"
#include "upsert.h"
#include "watch.h"

/* pg_type.oid of text. */
#define TEXT_OID 25

/* The client wants all its columns in binary form; ours is text all the same.
 */
static bool
all_binary(const struct capture *c)
{
	return c->bind != NULL && c->bind->n_formats == 1 &&
	       get_u16(c->bind->formats) != 0;
}

/* ROW(t.*) of the target. */
static void
put_returned_row(struct buf *b, const struct capture *c)
{
	if (all_binary(c))
		buf_put_str(b, "CAST(");
	rowtext_put(b, c->table, c->stmt->target_ref, c->in_utc);
	if (all_binary(c))
		buf_put_str(b, " AS pg_catalog.text)");
}

/* The numbers of the parameters that stand in the WHERE clause. */
static void
mark_where(const struct capture *c, bool *used)
{
	const struct analyzed_statement *st = c->stmt;
	size_t n = c->n_given;

	if (c->upsert)
		upsert_mark_params(c, used);
	for (size_t i = 0; i < st->n_where_params; i++)
		used[st->where_params[i] - 1] = true;
	for (size_t i = 0; c->joined && i < st->n_literals; i++)
		if (joined_is_parameter(c, &st->literals[i]))
			used[n++] = st->literals[i].text.at >= st->where.at &&
				    st->literals[i].text.at <
					st->where.at + st->where.len;
}

/*
 * The parameters of the WHERE clause keep their numbers; those that it does
 * not use get a type, which could not be inferred, and no value.
 */
static void
put_where_bound(
    struct session *s, struct capture *c, const char *sql, bool keep)
{
	struct record_param *params = mem_zalloc(
	    c->values.n + 1, sizeof(*params));
	bool *used = mem_zalloc(c->values.n + 1, sizeof(*used));

	mark_where(c, used);
	for (size_t i = 0; i < c->values.n; i++)
		if (used[i])
			params[i] = c->values.params[i];
		else
			params[i].type = TEXT_OID;
	if (keep)
		c->kept_pre = kept_find(
		    s, c->table->oid, sql, strlen(sql), params, c->values.n);
	kept_put(s, keep ? c->kept_pre : KEPT_NONE, sql, params, c->values.n);
	free(params);
	free(used);
}

void
capture_put_select(
    struct buf *sql, const struct capture *c, bool lock, bool image)
{
	const struct analyzed_statement *st = c->stmt;

	buf_put_str(sql, "SELECT ");
	if (image) {
		rowtext_put_text(sql, c->table, st->target_ref, c->in_utc);
		buf_put_str(sql, " AS image");
	} else {
		rowtext_put(sql, c->table, st->target_ref, c->in_utc);
	}
	buf_put_str(sql, st->only ? " FROM ONLY " : " FROM ");
	joined_put_text(sql, c, st->target);
	buf_put_str(sql, " AS ");
	catalog_quote(sql, st->target_ref);
	if (c->upsert) {
		buf_put_str(sql, " WHERE ");
		upsert_put_where(sql, c);
	} else if (st->where.len > 0) {
		buf_put_str(sql, " WHERE ");
		joined_put_text(sql, c, st->where);
	}
	/* DO NOTHING locks none. */
	if (!lock || (c->upsert && !st->conflict_update))
		return;
	/* Behind a newline: the predicate may end in a comment. */
	buf_put_str(
	    sql, st->kind == STMT_DELETE || (c->key_changes && !c->upsert)
		     ? "\nFOR UPDATE OF "
		     : "\nFOR NO KEY UPDATE OF ");
	catalog_quote(sql, st->target_ref);
}

static void
put_select(struct session *s, struct capture *c, bool lock)
{
	const struct analyzed_statement *st = c->stmt;
	struct buf sql = { 0 };

	capture_put_select(&sql, c, lock, false);
	buf_put_u8(&sql, 0);
	if (c->values.n > 0 &&
	    (c->joined || c->upsert || st->n_where_params > 0))
		put_where_bound(s, c, (const char *)sql.data,
		    c->joined || (lock && c->sure && c->key_equality));
	else
		exchange_put(s, (const char *)sql.data, NULL, 0);
	buf_free(&sql);
}

/* The client's statement, with our column if its target is read by that. */
static void
put_spliced(struct buf *sql, const struct capture *c)
{
	const struct analyzed_statement *st = c->stmt;
	size_t splice = capture_is_plain(c) ? c->len : st->splice;

	buf_put(sql, c->text, splice);
	if (!capture_is_plain(c)) {
		buf_put_str(
		    sql, st->returning.len > 0 ? "\n, " : "\nRETURNING ");
		put_returned_row(sql, c);
		if (capture_says_updated(c))
			upsert_put_updated(sql, c);
	}
	buf_put(sql, c->text + splice, c->len - splice);
}

static void
put_describe_portal(struct wire *w, const char *name)
{
	size_t at = wire_begin(w, PqMsg_Describe);

	buf_put_u8(&w->out, 'P');
	buf_put_cstr(&w->out, name);
	wire_end(w, at);
}

/*
 * SQL EXECUTE would plan what was prepared, which the server counts, and meet
 * its errors: that its result would be another one now, say.  So does a Bind.
 */
static void
put_prepared(struct wire *w, const struct capture *c)
{
	size_t at;

	if (c->values.prepared == NULL)
		return;
	at = wire_begin(w, PqMsg_Bind);
	buf_put_cstr(&w->out, EXCHANGE_NAME);
	buf_put_cstr(&w->out, c->values.prepared);
	exchange_put_params(w, c->values.params, c->values.n);
	buf_put_u16(&w->out, 0);
	wire_end(w, at);
	exchange_put_close_one(w, 'P', EXCHANGE_NAME);
}

/* The client's result formats, and text for our columns. */
static void
put_formats(struct buf *b, const struct capture *c)
{
	const struct capture_bind *bind = c->bind;

	if (capture_is_plain(c)) {
		buf_put_u16(b, bind->n_formats);
		buf_put(b, bind->formats, 2 * (size_t)bind->n_formats);
	} else if (c->stmt->returning.len == 0 || bind->n_formats == 0) {
		buf_put_u16(b, 0);
	} else if (bind->n_formats == 1) {
		buf_put_u16(b, 1);
		buf_put(b, bind->formats, 2);
	} else {
		buf_put_u16(b, (uint16_t)(bind->n_formats + c->n_own));
		buf_put(b, bind->formats, 2 * (size_t)bind->n_formats);
		for (unsigned i = 0; i < c->n_own; i++)
			buf_put_u16(b, 0);
	}
}

/*
 * The spliced statement, under a name of ours.  It stays prepared if the
 * client's own does; then it means what that means.
 */
static const char *
put_parse_bound(
    struct session *s, struct capture *c, char own_name[KEPT_NAME_BYTES])
{
	const struct capture_bind *b = c->bind;
	const struct capture_values *v = &c->values;
	const char *name = EXCHANGE_NAME;
	struct buf sql = { 0 };
	bool there = false;

	if (c->joined)
		return joined_put_parse(s, c, own_name);
	put_spliced(&sql, c);
	if (c->sure && !capture_is_plain(c) && b->statement != 0)
		c->kept_run = kept_find(s, (uint64_t)1 << 32 | b->statement,
		    (const char *)sql.data, sql.len, v->params, v->n);
	if (c->kept_run != KEPT_NONE) {
		name = kept_name(c->kept_run, own_name);
		there = kept_begin(s, c->kept_run);
		if (!there)
			exchange_put_close_one(&s->server, 'S', name);
	}
	if (!there)
		exchange_put_parse(&s->server, name, (const char *)sql.data,
		    sql.len, v->params, v->n);
	buf_free(&sql);
	return name;
}

/* The portal of the client's name, made anew from the spliced statement. */
static void
put_execute(struct session *s, struct capture *c)
{
	const struct capture_bind *bind = c->bind;
	struct wire *w = &s->server;
	char own_name[KEPT_NAME_BYTES];
	const char *name;
	size_t at;

	put_prepared(w, c);
	name = put_parse_bound(s, c, own_name);
	if (bind->check)
		put_describe_portal(w, bind->portal);
	if (bind->portal[0] != '\0')
		exchange_put_close_one(w, 'P', bind->portal);
	at = wire_begin(w, PqMsg_Bind);
	buf_put_cstr(&w->out, bind->portal);
	buf_put_cstr(&w->out, name);
	exchange_put_params(w, c->values.params, c->values.n);
	put_formats(&w->out, c);
	wire_end(w, at);
	if (c->kept_run == KEPT_NONE)
		exchange_put_close_one(w, 'S', EXCHANGE_NAME);
	/* Without RETURNING the server pays no heed to a limit. */
	exchange_put_execute(
	    w, bind->portal, c->stmt->returning.len > 0 ? bind->max_rows : 0);
}

static void
put_unnamed_portal(struct session *s, struct capture *c, const char *statement)
{
	struct wire *w = &s->server;
	size_t at = wire_begin(w, PqMsg_Bind);

	buf_put_cstr(&w->out, "");
	buf_put_cstr(&w->out, statement);
	exchange_put_params(w, c->values.params, c->values.n);
	buf_put_u16(&w->out, 0);
	wire_end(w, at);
	if (!c->joined || c->stmt->returning.len > 0)
		put_describe_portal(w, "");
	exchange_put_execute(w, "", 0);
}

/* The client's statement under the unnamed name, as its Query would be. */
static void
put_query(struct session *s, struct capture *c)
{
	struct buf sql = { 0 };

	put_prepared(&s->server, c);
	put_spliced(&sql, c);
	exchange_put_parse(&s->server, "", (const char *)sql.data, sql.len,
	    c->values.params, c->values.n);
	buf_free(&sql);
	put_unnamed_portal(s, c, "");
	/* A simple Query leaves neither an unnamed statement nor a portal. */
	exchange_put_close(s, "");
}

/* Its portal ends with the transaction, in a block at once. */
static void
put_joined_query(struct session *s, struct capture *c)
{
	char name[KEPT_NAME_BYTES];

	/* A Query would drop it. */
	if (s->unnamed)
		exchange_put_close_one(&s->server, 'S', "");
	s->unnamed = false;
	put_unnamed_portal(s, c, joined_put_parse(s, c, name));
	if (!c->alone)
		exchange_put_close_one(&s->server, 'P', "");
}

static void
put_block(struct session *s, struct capture *c, int64_t timeout_ms)
{
	const struct analyzed_statement *st = c->stmt;

	block_put_begin(s, c->bind != NULL, timeout_ms);
	if (!c->whole)
		block_put_lock(
		    s, c->text + st->target.at, st->target.len, st->only);
	if (c->scoped)
		c->n_locks = scope_put_locks(s, &c->scope, st->kind);
}

static void
put_image(struct session *s, const struct capture_image *m)
{
	struct buf sql = { 0 };

	buf_put_str(&sql, "SELECT ");
	rowtext_put(&sql, m->table, "t", m->in_utc);
	buf_put_str(&sql, " FROM ONLY ");
	catalog_put_name(&sql, m->table->schema, m->table->name);
	buf_put_cstr(&sql, " AS t");
	exchange_put(s, (const char *)sql.data, NULL, 0);
	buf_free(&sql);
}

/* The statement's tables as far as the transaction does not hold them yet. */
void
capture_put_facts(struct session *s, const struct capture *c)
{
	const struct catalog_table **tables = mem_zalloc(
	    c->n_images + c->asides.n + 1,
	    sizeof(const struct catalog_table *));
	size_t n = 0;

	for (size_t i = 0; i < c->n_images; i++)
		tables[n++] = c->images[i].table;
	for (size_t i = 0; i < c->asides.n; i++)
		tables[n++] = c->asides.list[i].table;
	if (!c->whole)
		tables[n++] = c->table;
	facts_put(s, s->txn, tables, n);
	free(tables);
}

static void
put_snapshot(struct session *s)
{
	exchange_put(s,
	    "SELECT CAST(pg_catalog.pg_current_snapshot() AS pg_catalog.text)",
	    NULL, 0);
}

static void
put_before(struct session *s, struct capture *c)
{
	if (c->savepoint)
		exchange_put(s, "SAVEPOINT pgwitness", NULL, 0);
	c->settles = !c->alone && !c->joined &&
		     !facts_known(s, capture_messages(c));
	if (c->settles)
		facts_put_settings(s, c->sure);
	/* Two that read a table first would wait for each other. */
	if (c->visiting && c->stmt->kind == STMT_TRUNCATE)
		c->n_locks = scope_put_locks(s, &c->scope, c->stmt->kind);
	if (c->visiting) {
		put_snapshot(s);
		scope_put_check(s);
	}
	for (size_t i = 0; i < c->n_images; i++)
		put_image(s, &c->images[i]);
	if (capture_finds_rows(c))
		put_select(s, c, !c->own_block);
	if (c->savepoint)
		exchange_put(s, "RELEASE SAVEPOINT pgwitness", NULL, 0);
	if (capture_asks_counters(c))
		counters_put(s, c->table->oid);
}

static void
put_after(struct session *s, struct capture *c)
{
	if (capture_asks_counters(c))
		counters_put(s, c->table->oid);
	if (c->stmt->kind == STMT_DELETE && !c->whole)
		put_select(s, c, false);
	for (size_t i = 0; i < c->n_images; i++)
		if (c->images[i].write)
			put_image(s, &c->images[i]);
	if (c->scoped || c->learning)
		scope_put_check(s);
	if (c->visiting)
		put_snapshot(s);
	if (c->watch != KEPT_NONE)
		watch_put(s, c);
}

void
capture_put(struct session *s, struct capture *c, int64_t timeout_ms)
{
	if (c->own_block)
		put_block(s, c, timeout_ms);
	put_before(s, c);
	if (c->bind != NULL)
		put_execute(s, c);
	else if (c->joined)
		put_joined_query(s, c);
	else
		put_query(s, c);
	put_after(s, c);
	if (c->alone && (!c->joined || c->parses))
		capture_put_facts(s, c);
	if (capture_syncs(c))
		exchange_put_sync(s);
	else
		wire_put_empty(&s->server, PqMsg_Flush);
}
