/*
 * capture.c: how a statement is captured, and what its images mean.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "capture.h"

#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "capture_int.h"
#include "inputs.h"
#include "log.h"
#include "mem.h"
#include "rowtext.h"
#include "statement.h"
#include "txn.h"
#include "upsert.h"

bool
capture_names(const char *const *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], name) == 0)
			return true;
	return false;
}

static bool
is_key_equality(
    const struct catalog_table *t, const struct analyzed_statement *stmt)
{
	const struct rowenc_shape *sh = &t->shape;

	if (sh->n_key == 0 || stmt->n_equal_columns != sh->n_key)
		return false;
	for (unsigned i = 0; i < sh->n_key; i++)
		if (!capture_names(stmt->equal_columns, stmt->n_equal_columns,
			sh->columns[sh->key[i]].name))
			return false;
	return true;
}

/* An UPDATE may change it: assigned, or generated from what is. */
static bool
may_change(const struct catalog_table *t, const struct analyzed_statement *stmt,
    unsigned column)
{
	return t->shape.columns[column].generated != 0 ||
	       capture_names(stmt->columns, stmt->n_columns,
		   t->shape.columns[column].name);
}

static bool
changes_key(
    const struct catalog_table *t, const struct analyzed_statement *stmt)
{
	for (unsigned i = 0; i < t->shape.n_key; i++)
		if (may_change(t, stmt, t->shape.key[i]))
			return true;
	return false;
}

/* Foreign keys of other tables act on what the statement does. */
static bool
cascades(const struct capture *c)
{
	const struct catalog_table *t = c->table;

	if (c->stmt->kind == STMT_DELETE)
		return t->cascades;
	for (unsigned i = 0;
	     c->stmt->kind == STMT_UPDATE && i < t->shape.n_columns; i++)
		if (t->columns[i].cascades && may_change(t, c->stmt, i))
			return true;
	return false;
}

/* Surely not a read-only transaction, so that no lock of ours can fail. */
static bool
read_write(const struct session *s)
{
	return s->txn->plain_begin &&
	       strcmp(session_parameter(s, PARAMETER_READ_ONLY), "off") == 0 &&
	       strcmp(session_parameter(s, PARAMETER_HOT_STANDBY), "off") == 0;
}

/* Its WHERE names no parameter that was not bound. */
static bool
params_ok(const struct analyzed_statement *st, const struct capture_values *v)
{
	if (v->n == 0)
		return !st->has_params;
	for (size_t i = 0; i < st->n_where_params; i++)
		if (st->where_params[i] == 0 || st->where_params[i] > v->n)
			return false;
	return true;
}

/* What the statement's own text rules out. */
static const char *
text_refusal(
    const struct analyzed_statement *st, const struct capture_values *values)
{
	if (st->with_clause)
		return st->modifying_cte ? "modifying_cte" : "with_clause";
	if (!params_ok(st, values))
		return "parameters";
	if (st->from_or_using)
		return "from_or_using";
	if (st->where_current_of)
		return "where_current_of";
	if (st->n_relations == 0)
		return "target";
	return NULL;
}

static const char *
table_refusal(const struct capture *c)
{
	const struct catalog_table *t = c->table;
	enum stmt_kind kind = c->stmt->kind;

	if (t->unsupported != NULL)
		return t->unsupported;
	if (kind != STMT_INSERT && t->shape.n_key == 0)
		return "no_primary_key";
	if (cascades(c))
		return "cascade";
	return NULL;
}

/* How the statement's transaction ends, as far as it shows. */
static void
plan_end(const struct session *s, struct capture *c)
{
	const struct capture_bind *b = c->bind;

	c->autocommit = s->status == PQ_IDLE;
	c->alone = c->autocommit && (b == NULL || b->sync_follows);
	c->hold = c->autocommit &&
		  (!c->alone || s->config->commit == COMMIT_BEFORE_COMMIT);
	/* In a block of the client's its Sync ends nothing. */
	c->sync_sent = (c->alone && !c->hold) ||
		       (s->status == PQ_IN_BLOCK && b != NULL &&
			   b->sync_follows);
}

bool
capture_finds_rows(const struct capture *c)
{
	if (c->whole || c->joined)
		return false;
	return c->stmt->kind != STMT_INSERT ||
	       (c->upsert && upsert_finds_rows(c));
}

/* The pre-capture can fail where the statement would not, or otherwise. */
static bool
pre_may_fail(const struct session *s, const struct capture *c)
{
	return capture_finds_rows(c) &&
	       (!c->key_equality || c->in_utc ||
		   (!c->autocommit && !read_write(s)));
}

static bool
is_dml(enum stmt_kind kind)
{
	return kind == STMT_INSERT || kind == STMT_UPDATE ||
	       kind == STMT_DELETE;
}

/* Its portal may have rows left when it has given as many as were asked for. */
static bool
may_suspend(const struct capture *c)
{
	return c->bind != NULL && c->bind->max_rows > 0 &&
	       (!is_dml(c->stmt->kind) || c->stmt->returning.len > 0);
}

/*
 * The statement is all there is of its transaction, and its portal ends with
 * it, so that both may be ours.
 */
static bool
may_block(const struct capture *c)
{
	const struct capture_bind *b = c->bind;

	return c->alone && !may_suspend(c) &&
	       (b == NULL || (b->first && !b->check));
}

static void
take_block(struct capture *c)
{
	c->own_block = c->hold = true;
	c->savepoint = c->sync_sent = false;
}

/*
 * In a block of the client's: what was read before and after is as exact, if
 * no other transaction ended in between.  Reading more than the statement does
 * would make other SERIALIZABLE ones fail.
 */
static bool
may_visit(struct session *s, const struct capture *c)
{
	return s->status == PQ_IN_BLOCK && !s->txn->published &&
	       s->txn->images && !may_suspend(c) && !block_is_serializable(s);
}

/* What is to be asked then is known when it has run: its commit waits. */
static void
count(struct capture *c)
{
	c->counted = c->table->triggers || c->routed;
	if (!c->counted)
		return;
	c->hold = c->hold || c->autocommit;
	c->sync_sent = false;
}

/* Where its rows went the counters say. */
static bool
may_route(const struct capture *c, const char *reason)
{
	return c->stmt->kind == STMT_INSERT && !c->stmt->on_conflict &&
	       strcmp(reason, "partitioned_table") == 0 &&
	       !c->stmt->reads_relations && !c->stmt->has_sublinks &&
	       !c->table->rules && !c->table->deferred;
}

/*
 * In a block of ours, where others that come between make it run again, or in
 * the client's own.
 */
static const char *
plan_upsert(struct session *s, struct capture *c, enum capture_effort effort)
{
	const char *reason = upsert_refusal(s, c);
	bool block = effort != CAPTURE_PLAIN && may_block(c) &&
		     statement_calls_read(s, c->stmt);

	if (reason == NULL && !block &&
	    (s->status != PQ_IN_BLOCK || may_suspend(c)))
		reason = "on_conflict";
	c->upsert = reason == NULL;
	c->n_own = capture_says_updated(c) ? 2 : 1;
	return reason;
}

/* The target alone, by the statement itself. */
static const char *
prepare_narrow(
    struct session *s, struct capture *c, enum capture_effort effort)
{
	const struct analyzed_statement *stmt = c->stmt;
	const char *reason = text_refusal(stmt, &c->values);

	if (reason != NULL)
		return reason;
	if (!rowtext_encoding_ok(s))
		return "client_encoding";
	c->table = catalog_table(
	    s, stmt->relations[0].schema, stmt->relations[0].name);
	if (c->table == NULL)
		return "unknown_table";
	c->key_changes = stmt->kind == STMT_INSERT ||
			 (stmt->kind == STMT_UPDATE &&
			     changes_key(c->table, stmt));
	c->key_equality = stmt->kind != STMT_INSERT &&
			  is_key_equality(c->table, stmt);
	reason = table_refusal(c);
	c->routed = reason != NULL && may_route(c, reason);
	if (reason == NULL && stmt->on_conflict)
		reason = plan_upsert(s, c, effort);
	if (reason != NULL && !c->routed)
		return reason;
	count(c);
	c->in_utc = rowtext_needs_utc(s, c->table);
	c->savepoint = !c->autocommit && pre_may_fail(s, c);
	/* An error could not be undone without undoing the client's. */
	if (c->autocommit && c->bind != NULL && !c->bind->first &&
	    pre_may_fail(s, c))
		return "pipeline";
	return NULL;
}

/* Reading all tables that take part would show it. */
static bool
is_shown_by_whole(const char *reason)
{
	static const char *const reasons[] = { "merge", "truncate",
		"explain_analyze", "modifying_cte", "with_clause",
		"on_conflict", "from_or_using", "partitioned_table",
		"inheritance", "no_primary_key", "cascade", "privileges",
		"view", "rules" };

	return capture_names(
	    reasons, sizeof(reasons) / sizeof(*reasons), reason);
}

static bool
make_images(struct session *s, struct capture *c)
{
	c->n_images = c->scope.n;
	c->images = arena_zalloc(
	    s->txn->arena, (c->n_images + 1) * sizeof(*c->images));
	for (size_t i = 0; c->images != NULL && i < c->n_images; i++) {
		struct capture_image *m = &c->images[i];

		m->table = c->scope.tables[i].table;
		m->write = c->scope.tables[i].write;
		m->in_utc = rowtext_needs_utc(s, m->table);
	}
	return c->images != NULL;
}

/* The tables that it reads, beside its own target. */
static bool
plan_reads(struct session *s, struct capture *c)
{
	if (c->stmt->reads_target ||
	    scope_find(s, c->stmt, true, &c->scope) != NULL ||
	    scope_has(&c->scope, c->table->oid))
		return false;
	c->scope.apart = c->table->oid;
	if (c->counted)
		scope_count(&c->scope, &c->before, &c->after);
	return make_images(s, c);
}

static bool
plan_whole(struct session *s, struct capture *c)
{
	const char *why = scope_find(s, c->stmt, false, &c->scope);

	if (why == NULL && c->scope.speaks && c->bind == NULL)
		why = "rules";
	if (why != NULL)
		log_debug("capture_whole", "not read as a whole: %s", why);
	c->whole = why == NULL && c->scope.n > 0 && make_images(s, c);
	c->counted = c->counted && !c->whole;
	c->upsert = c->upsert && !c->whole;
	return c->whole;
}

/* With all tables that take part. */
static bool
plan_scope(struct session *s, struct capture *c, bool reads)
{
	bool block = may_block(c);

	/* It may run again: not if that cannot be undone. */
	if (!statement_calls_read(s, c->stmt) || (!block && !may_visit(s, c)) ||
	    !((reads && plan_reads(s, c)) || plan_whole(s, c)))
		return false;
	c->scoped = true;
	c->visiting = !block;
	if (block) {
		take_block(c);
	} else {
		c->savepoint = true;
		c->sync_sent = false;
	}
	return true;
}

static void
watch(struct session *s, struct capture *c)
{
	scope_watch(s, c->stmt, c->table->oid, &c->scope);
	scope_count(&c->scope, &c->before, &c->after);
}

/* Of the target alone; may_learn: what its triggers do is not known. */
static void
plan_block(struct session *s, struct capture *c, bool may_learn)
{
	c->learning = c->counted && !c->routed && may_learn &&
		      !scope_trusts(s, c->table->oid);
	if (c->learning)
		watch(s, c);
	c->explains = c->upsert && may_learn;
	if (c->learning || c->upsert ||
	    (c->stmt->kind != STMT_INSERT && !c->key_equality))
		take_block(c);
}

const char *
capture_prepare(struct session *s, struct capture *c,
    const struct analyzed_statement *stmt, const char *text, size_t len,
    const struct capture_bind *bind, const struct capture_values *values,
    enum capture_effort effort)
{
	const char *reason;
	enum scope_extra extra;
	bool reads;

	memset(c, 0, sizeof(*c));
	c->kept_pre = c->kept_run = c->plain_run = KEPT_NONE;
	c->learns = c->watch = KEPT_NONE;
	c->stmt = stmt;
	c->text = text;
	c->len = len;
	c->bind = bind;
	c->values = *values;
	c->n_given = values->n;
	c->n_own = 1;
	plan_end(s, c);
	reason = is_dml(stmt->kind) ? prepare_narrow(s, c, effort)
				    : statement_unsupported(s, stmt, true);
	extra = reason == NULL && !c->counted && !c->upsert
		    ? SCOPE_NOTHING
		    : scope_extras(s, stmt);
	reads = reason == NULL &&
		(stmt->reads_relations || stmt->has_sublinks ||
		    extra != SCOPE_NOTHING);
	if (effort >= CAPTURE_WHOLE && rowtext_encoding_ok(s) &&
	    (reads || (reason != NULL && is_shown_by_whole(reason))) &&
	    plan_scope(s, c, reads && extra != SCOPE_WRITES))
		return NULL;
	if (effort != CAPTURE_PLAIN && may_block(c) && reason == NULL &&
	    !c->table->user_code)
		plan_block(
		    s, c, effort >= CAPTURE_WHOLE && extra == SCOPE_NOTHING);
	return reason;
}

size_t
capture_tag_rows(const struct capture *c)
{
	const char *tag = (const char *)c->held.data + 5;
	const char *space = c->held.len > 5 ? strrchr(tag, ' ') : NULL;

	return space != NULL ? (size_t)strtoull(space + 1, NULL, 10) : 0;
}

/* After its first row a portal that is suspended has nothing more to give. */
static bool
is_single_row(const struct capture *c)
{
	return c->stmt->kind == STMT_INSERT ? c->stmt->one_row
					    : c->key_equality;
}

/* "xmin:xmax:xip,...": the first is ours once there is an xid. */
static bool
same_snapshot(const struct capture *c)
{
	const char *a = c->snapshot[0] != NULL ? strchr(c->snapshot[0], ':')
					       : NULL;
	const char *b = c->snapshot[1] != NULL ? strchr(c->snapshot[1], ':')
					       : NULL;

	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static void
apply_images(struct txn *t, const struct capture *c, uint32_t statement)
{
	for (size_t i = 0; i < c->n_images; i++) {
		const struct capture_image *m = &c->images[i];

		txn_apply_whole(t, m->table, statement, m->write, m->pre,
		    m->n_pre, m->write ? m->post : m->pre,
		    m->write ? m->n_post : m->n_pre);
	}
	if (c->visiting && !same_snapshot(c))
		txn_degrade(t, CAPTURE_RACE, "other_commits");
	if (c->visiting && c->check.wider)
		txn_degrade(t, CAPTURE_INCOMPLETE, "scope");
	if (c->whole && c->check.sequences)
		txn_unverifiable(t, REASON_SEQUENCE);
}

bool
capture_knows_triggers(const struct capture *c)
{
	return c->asides.reason == NULL &&
	       counters_are_own(&c->before, &c->after, c->table->oid,
		   c->stmt->kind, c->n_returned);
}

/*
 * Nobody can have come between the rows found and the statement: what it says
 * beyond them is its word against PostgreSQL's rules, and replay's to judge.
 */
static bool
is_alone_with_rows(const struct capture *c)
{
	return c->own_block || (c->key_equality && c->n_pre == 1);
}

/* A key that is deferred lets two rows have it: joined.c found one of them. */
static bool
shares_key(const struct capture *c)
{
	if (!c->joined || c->alone || c->n_returned < 2)
		return false;
	for (size_t i = 1; i < c->n_returned; i++)
		if (rowenc_compare_ids(&c->returned[i], c->returned) == 0)
			return true;
	return c->key_changes;
}

static const char *
narrow_race(const struct capture *c)
{
	enum stmt_kind kind = c->stmt->kind;

	if (c->suspended)
		return NULL;
	if (capture_tag_rows(c) != c->n_returned)
		return "row_count";
	if (shares_key(c))
		return "row_count";
	if (kind == STMT_INSERT || is_alone_with_rows(c))
		return NULL;
	/* Triggers may leave some out. */
	return (c->counted ? c->n_returned > c->n_pre
			   : c->n_returned != c->n_pre)
		   ? "row_count"
		   : NULL;
}

/*
 * Of a DELETE: rows that it says it deleted, and that were not found before.
 * How many of the rows that the predicate finds after it are still there, which
 * come first then: the others came in between and are not this transaction's.
 */
static size_t
apply_deleted(struct txn *t, const struct capture *c, uint32_t statement)
{
	struct rowenc_ids found = rowenc_ids_of(c->pre, c->n_pre);
	struct rowenc_row *more = arena_alloc(
	    t->arena, (c->n_returned + 1) * sizeof(*more));
	size_t n = 0, n_left = 0;

	for (size_t i = 0; more != NULL && i < c->n_returned; i++)
		if (!rowenc_ids_have(&found, &c->returned[i]))
			more[n++] = c->returned[i];
	for (size_t i = 0; i < c->n_post; i++)
		if (rowenc_ids_have(&found, &c->post[i]))
			c->post[n_left++] = c->post[i];
	rowenc_ids_free(&found);
	if (n > 0)
		txn_apply(t, c->table, statement, more, n, NULL, 0, false);
	if (more == NULL)
		txn_degrade(t, CAPTURE_INCOMPLETE, "max_capture_bytes");
	return n_left;
}

/*
 * With the rows of an UPDATE that were found, locked, and not returned: a trigger
 * left them out, and by the counters nothing else changed them.  NULL: which
 * ones cannot be told, as keys were changed.
 */
static struct rowenc_row *
with_left_out(struct txn *t, const struct capture *c)
{
	struct rowenc_row *all = arena_alloc(
	    t->arena, (c->n_pre + c->n_post + 1) * sizeof(*all));
	struct rowenc_ids returned;
	size_t n = c->n_post;

	if (all == NULL || c->key_changes)
		return NULL;
	if (n > 0)
		memcpy(all, c->post, n * sizeof(*all));
	returned = rowenc_ids_of(c->post, c->n_post);
	for (size_t i = 0; i < c->n_pre; i++)
		if (!rowenc_ids_have(&returned, &c->pre[i]))
			all[n++] = c->pre[i];
	rowenc_ids_free(&returned);
	return n == c->n_pre ? all : NULL;
}

/* Triggers fire for its rows in the same order, whoever runs it. */
static bool
is_ordered(const struct capture *c)
{
	return c->stmt->kind == STMT_INSERT ? c->stmt->insert_values
					    : c->n_returned <= 1;
}

static void
apply_upsert(struct session *s, const struct capture *c, uint32_t statement)
{
	struct rowenc_ids returned = rowenc_ids_of(c->returned, c->n_returned);
	size_t n = 0;
	struct rowenc_row *left = upsert_left(s, c, &returned, &n);

	switch (upsert_judge(c, &returned)) {
	case UPSERT_EXPLAINED:
		break;
	case UPSERT_MOVED:
		txn_degrade(s->txn, CAPTURE_RACE, "row_count");
		break;
	case UPSERT_UNEXPLAINED:
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "on_conflict");
		break;
	}
	rowenc_ids_free(&returned);
	if (left == NULL)
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "max_capture_bytes");
	txn_apply(
	    s->txn, c->table, statement, c->pre, c->n_pre, left, n, true);
}

/* The target's own rows, found and left. */
static void
apply_narrow(struct session *s, const struct capture *c, uint32_t statement)
{
	struct txn *t = s->txn;
	size_t n_post = c->n_post;
	struct rowenc_row *post = c->post;
	const char *race = narrow_race(c);

	if (c->suspended && (c->counted || !is_single_row(c)))
		txn_degrade(t, CAPTURE_INCOMPLETE, "portal_suspended");
	else if (c->counted && !capture_knows_triggers(c))
		txn_degrade(t, CAPTURE_INCOMPLETE, "triggers");
	else if (race != NULL)
		txn_degrade(t, CAPTURE_RACE, race);
	inputs_take(s, c, statement);
	if (c->stmt->kind == STMT_DELETE) {
		n_post = apply_deleted(t, c, statement);
	} else if (c->stmt->kind == STMT_UPDATE && c->counted &&
		   n_post < c->n_pre) {
		post = with_left_out(t, c);
		n_post = post != NULL ? c->n_pre : 0;
		if (post == NULL)
			txn_degrade(t, CAPTURE_INCOMPLETE, "triggers");
	}
	if (c->counted && c->asides.reason == NULL)
		asides_apply(
		    s, &c->asides, statement, true, is_ordered(c));
	txn_apply(t, c->table, statement, c->pre, c->n_pre, post, n_post,
	    c->key_changes || is_alone_with_rows(c));
}

/* Triggers, which saw the images' tables as they are. */
static void
note_code(struct session *s, const struct capture *c)
{
	const struct catalog_table **whole;
	bool code = c->counted || c->scope.rewritten;

	for (size_t i = 0; i < c->n_images && !code; i++)
		code = c->images[i].write && c->images[i].table->triggers;
	if (c->learning)
		scope_trust(s, c->table->oid);
	if (!code)
		return;
	whole = mem_zalloc(
	    c->n_images + 1, sizeof(const struct catalog_table *));
	for (size_t i = 0; i < c->n_images; i++)
		whole[i] = c->images[i].table;
	txn_note_code(s->txn, whole, c->n_images);
	free(whole);
}

/* No triggers insert others than these. */
static bool
are_partitions(const struct capture *c)
{
	for (size_t i = 0; i < c->asides.n; i++)
		if (c->asides.list[i].table->triggers)
			return false;
	return !c->table->triggers;
}

/* Rows of partitions. */
static void
apply_routed(struct session *s, const struct capture *c, uint32_t statement)
{
	if (c->suspended)
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "portal_suspended");
	else if (!capture_knows_triggers(c))
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "triggers");
	else
		asides_apply(s, &c->asides, statement, !are_partitions(c),
		    is_ordered(c));
	if (are_partitions(c) && c->asides.reason == NULL && !c->suspended)
		inputs_take_routed(s, c, statement);
	/* It has no rows, but what a row is by default. */
	txn_apply(s->txn, c->table, statement, NULL, 0, NULL, 0, false);
}

static void
note_undecodable(struct session *s, const struct capture *c)
{
	txn_degrade(s->txn, CAPTURE_INCOMPLETE,
	    c->withheld ? "settings" : "undecodable_row");
	if (!c->withheld)
		catalog_refuted(s);
	for (size_t i = 0; i < c->n_images; i++)
		if (c->images[i].write)
			counters_note(s, c->images[i].table->oid);
	if (c->table != NULL)
		counters_note(s, c->table->oid);
}

void
capture_apply(struct session *s, const struct capture *c, uint32_t statement)
{
	/* Then the others say nothing. */
	if (c->undecodable) {
		note_undecodable(s, c);
		return;
	}
	apply_images(s->txn, c, statement);
	note_code(s, c);
	for (size_t i = 0; i < c->n_images; i++)
		if (c->images[i].write)
			counters_note(s, c->images[i].table->oid);
	if (c->whole)
		return;
	counters_note(s, c->table->oid);
	if (c->routed)
		apply_routed(s, c, statement);
	else if (c->upsert)
		apply_upsert(s, c, statement);
	else
		apply_narrow(s, c, statement);
}

void
capture_free(struct capture *c)
{
	buf_free(&c->description);
	buf_free(&c->answer.out);
	buf_free(&c->held);
	buf_free(&c->error);
}
