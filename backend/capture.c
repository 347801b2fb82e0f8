/*
 * capture.c: one statement run with its rows read before and after.
 *
 * The order in the one write:
 *
 *	[SAVEPOINT]  pre-capture with row locks  [RELEASE]
 *	the client's statement with RETURNING ROW(t.*)
 *	DELETE: the same predicate once more, without locks
 *	if the transaction ends with it: facts
 *	Flush, if the commit is held for the record; else Sync
 *	(in the extended protocol Sync only if the client's follows)
 *
 * An error makes the server skip all up to the next Sync, so that nothing runs
 * on a wrong footing.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "capture.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "rowtext.h"
#include "strip.h"
#include "txn.h"

/* pg_type.oid of text. */
#define TEXT_OID 25

static bool
in_list(const char *const *list, size_t n, const char *name)
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
		if (!in_list(stmt->equal_columns, stmt->n_equal_columns,
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
	       in_list(stmt->columns, stmt->n_columns,
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
	       strcmp(session_parameter(s, "default_transaction_read_only"),
		   "off") == 0 &&
	       strcmp(session_parameter(s, "in_hot_standby"), "off") == 0;
}

/* Its WHERE names no parameter that was not bound. */
static bool
params_ok(const struct analyzed_statement *st, const struct capture_bind *bind)
{
	if (bind == NULL)
		return !st->has_params;
	for (size_t i = 0; i < st->n_where_params; i++)
		if (st->where_params[i] == 0 ||
		    st->where_params[i] > bind->n_params)
			return false;
	return true;
}

/* What the statement's own text rules out. */
static const char *
text_refusal(const struct analyzed_statement *st,
    const struct capture_bind *bind)
{
	if (st->with_clause)
		return st->modifying_cte ? "modifying_cte" : "with_clause";
	if (!params_ok(st, bind))
		return "parameters";
	if (st->on_conflict)
		return "on_conflict";
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
	c->sync_sent = c->alone && !c->hold;
}

/* The pre-capture can fail where the statement would not, or otherwise. */
static bool
pre_may_fail(const struct session *s, const struct capture *c)
{
	return c->stmt->kind != STMT_INSERT &&
	       (!c->key_equality || c->in_utc ||
		   (!c->autocommit && !read_write(s)));
}

const char *
capture_prepare(struct session *s, struct capture *c,
    const struct analyzed_statement *stmt, const char *text, size_t len,
    const struct capture_bind *bind)
{
	const char *reason = text_refusal(stmt, bind);
	const struct analyzed_relation *rel = stmt->relations;

	memset(c, 0, sizeof(*c));
	c->stmt = stmt;
	c->text = text;
	c->len = len;
	c->bind = bind;
	plan_end(s, c);
	if (reason != NULL)
		return reason;
	if (!rowtext_encoding_ok(s))
		return "client_encoding";
	c->table = catalog_table(s, rel->schema, rel->name);
	if (c->table == NULL)
		return "unknown_table";
	c->key_changes = stmt->kind == STMT_INSERT ||
			 (stmt->kind == STMT_UPDATE &&
			     changes_key(c->table, stmt));
	c->key_equality = stmt->kind != STMT_INSERT &&
			  is_key_equality(c->table, stmt);
	reason = table_refusal(c);
	if (reason != NULL)
		return reason;
	c->in_utc = rowtext_needs_utc(s, c->table);
	c->savepoint = !c->autocommit && pre_may_fail(s, c);
	/* An error could not be undone without undoing the client's. */
	if (c->autocommit && bind != NULL && !bind->first &&
	    pre_may_fail(s, c))
		return "pipeline";
	return NULL;
}

/* The client wants all its columns in binary form; ours is text all the same. */
static bool
all_binary(const struct capture *c)
{
	return c->bind != NULL && c->bind->n_formats == 1 &&
	       get_u16(c->bind->formats) != 0;
}

static void
put_returned_row(struct buf *b, const struct capture *c)
{
	if (all_binary(c))
		buf_put_str(b, "CAST(");
	rowtext_put(b, c->table, c->stmt->target_ref, c->in_utc);
	if (all_binary(c))
		buf_put_str(b, " AS pg_catalog.text)");
}

/*
 * The parameters of the WHERE clause keep their numbers; those that it does
 * not use get a type, which could not be inferred, and no value.
 */
static void
put_where_bound(struct session *s, const struct capture *c, const char *sql)
{
	const struct analyzed_statement *st = c->stmt;
	struct record_param *params;
	size_t n = 0;

	for (size_t i = 0; i < st->n_where_params; i++)
		if (st->where_params[i] > n)
			n = st->where_params[i];
	params = calloc(n + 1, sizeof(*params));
	if (params == NULL)
		log_fatal("out_of_memory", "out of memory");
	for (size_t i = 0; i < n; i++)
		params[i].type = TEXT_OID;
	for (size_t i = 0; i < st->n_where_params; i++)
		params[st->where_params[i] - 1] =
		    c->bind->params[st->where_params[i] - 1];
	exchange_put_bound(s, sql, params, n);
	free(params);
}

/* SELECT ROW(t.*) FROM the target as the client wrote it, WHERE as it did. */
static void
put_select(struct session *s, const struct capture *c, bool lock)
{
	const struct analyzed_statement *st = c->stmt;
	struct buf sql = { 0 };

	buf_put_str(&sql, "SELECT ");
	rowtext_put(&sql, c->table, st->target_ref, c->in_utc);
	buf_put_str(&sql, st->only ? " FROM ONLY " : " FROM ");
	buf_put(&sql, c->text + st->target.at, st->target.len);
	buf_put_str(&sql, " AS ");
	catalog_quote(&sql, st->target_ref);
	if (st->where.len > 0) {
		buf_put_str(&sql, " WHERE ");
		buf_put(&sql, c->text + st->where.at, st->where.len);
	}
	if (lock) {
		/* Behind a newline: the predicate may end in a comment. */
		buf_put_str(&sql, st->kind == STMT_DELETE || c->key_changes
				      ? "\nFOR UPDATE OF "
				      : "\nFOR NO KEY UPDATE OF ");
		catalog_quote(&sql, st->target_ref);
	}
	buf_put_u8(&sql, 0);
	if (c->bind != NULL && st->n_where_params > 0)
		put_where_bound(s, c, (const char *)sql.data);
	else
		exchange_put(s, (const char *)sql.data, NULL, 0);
	buf_free(&sql);
}

/* The client's statement with our column. */
static void
put_spliced(struct session *s, const struct capture *c, const char *name)
{
	const struct analyzed_statement *st = c->stmt;
	struct buf sql = { 0 };

	buf_put(&sql, c->text, st->splice);
	buf_put_str(&sql, st->returning.len > 0 ? "\n, " : "\nRETURNING ");
	put_returned_row(&sql, c);
	buf_put(&sql, c->text + st->splice, c->len - st->splice);
	exchange_put_parse(&s->server, name, (const char *)sql.data, sql.len,
	    c->bind != NULL ? c->bind->params : NULL,
	    c->bind != NULL ? c->bind->n_params : 0);
	buf_free(&sql);
}

static void
put_describe_portal(struct wire *w, const char *name)
{
	size_t at = wire_begin(w, PqMsg_Describe);

	buf_put_u8(&w->out, 'P');
	buf_put_cstr(&w->out, name);
	wire_end(w, at);
}

/* The client's result formats, and text for our column. */
static void
put_formats(struct buf *b, const struct capture *c)
{
	const struct capture_bind *bind = c->bind;

	if (c->stmt->returning.len == 0 || bind->n_formats == 0) {
		buf_put_u16(b, 0);
	} else if (bind->n_formats == 1) {
		buf_put_u16(b, 1);
		buf_put(b, bind->formats, 2);
	} else {
		buf_put_u16(b, (uint16_t)(bind->n_formats + 1));
		buf_put(b, bind->formats, 2 * (size_t)bind->n_formats);
		buf_put_u16(b, 0);
	}
}

/* The portal of the client's name, made anew from the spliced statement. */
static void
put_execute(struct session *s, struct capture *c)
{
	const struct capture_bind *bind = c->bind;
	struct wire *w = &s->server;
	size_t at;

	put_spliced(s, c, EXCHANGE_NAME);
	if (bind->check)
		put_describe_portal(w, bind->portal);
	if (bind->portal[0] != '\0')
		exchange_put_close_one(w, 'P', bind->portal);
	at = wire_begin(w, PqMsg_Bind);
	buf_put_cstr(&w->out, bind->portal);
	buf_put_cstr(&w->out, EXCHANGE_NAME);
	exchange_put_params(w, bind->params, bind->n_params);
	put_formats(&w->out, c);
	wire_end(w, at);
	exchange_put_close_one(w, 'S', EXCHANGE_NAME);
	/* Without RETURNING the server pays no heed to a limit. */
	exchange_put_execute(w, bind->portal,
	    c->stmt->returning.len > 0 ? bind->max_rows : 0);
}

/* The client's statement under the unnamed name, as its Query would be. */
static void
put_query(struct session *s, struct capture *c)
{
	struct wire *w = &s->server;
	size_t at;

	put_spliced(s, c, "");
	at = wire_begin(w, PqMsg_Bind);
	buf_put_cstr(&w->out, "");
	buf_put_cstr(&w->out, "");
	exchange_put_params(w, NULL, 0);
	buf_put_u16(&w->out, 0);
	wire_end(w, at);
	put_describe_portal(w, "");
	exchange_put_execute(w, "", 0);
	/* A simple Query leaves neither an unnamed statement nor a portal. */
	exchange_put_close(s, "");
}

void
capture_put(struct session *s, struct capture *c)
{
	bool pre = c->stmt->kind != STMT_INSERT;

	if (c->savepoint)
		exchange_put(s, "SAVEPOINT pgwitness", NULL, 0);
	if (pre)
		put_select(s, c, true);
	if (c->savepoint)
		exchange_put(s, "RELEASE SAVEPOINT pgwitness", NULL, 0);
	if (c->bind != NULL)
		put_execute(s, c);
	else
		put_query(s, c);
	if (c->stmt->kind == STMT_DELETE)
		put_select(s, c, false);
	if (c->alone)
		facts_put(s, s->txn, c->table);
	if (c->sync_sent || (c->bind == NULL && !c->hold))
		exchange_put_sync(s);
	else
		wire_put_empty(&s->server, PqMsg_Flush);
}

struct reading {
	struct session *s;
	struct capture *c;
	struct rowenc_row **rows;
	size_t *n, *cap;
};

static bool
add_row(struct reading *r, const struct exchange_value *text)
{
	struct arena *a = r->s->txn->arena;
	struct rowenc_row *list = arena_grow(
	    a, *r->rows, *r->n, r->cap, sizeof(*list));

	if (list != NULL) {
		*r->rows = list;
		if (rowtext_decode(a, a, r->c->table, r->c->in_utc, text,
			&list[*r->n])) {
			++*r->n;
			return true;
		}
	}
	r->c->undecodable = true;
	return false;
}

static bool
select_row(void *arg, const struct message *row)
{
	struct reading *r = arg;
	struct exchange_value v;

	if (!exchange_row_values(row, &v, 1)) {
		r->c->undecodable = true;
		return false;
	}
	return add_row(r, &v);
}

/* The last column is ours; the ones before it are the client's. */
static void
returned_row(struct reading *r, const struct message *m)
{
	struct exchange_value own = { NULL, 0 };
	bool queued = false;

	if (!strip_row(&r->s->client, m, &own, &queued))
		r->c->undecodable = true;
	else if (!r->c->undecodable)
		(void)add_row(r, &own);
	r->c->forwarded = r->c->forwarded || queued;
}

static void
relay_description(struct reading *r)
{
	const struct buf *b = &r->c->description;
	struct message m = { .type = PqMsg_RowDescription };

	if (b->len == 0)
		return;
	m.raw = b->data;
	m.raw_len = b->len;
	m.body = b->data + 5;
	m.len = b->len - 5;
	strip_description(&r->s->client, &m, false);
	buf_reset(&r->c->description);
}

static void
statement_message(struct reading *r, const struct message *m)
{
	struct session *s = r->s;

	switch (m->type) {
	case PqMsg_RowDescription:
		/* In the extended protocol the client asks for it itself. */
		if (r->c->bind == NULL)
			buf_put(&r->c->description, m->raw, m->raw_len);
		break;
	case PqMsg_DataRow:
		relay_description(r);
		returned_row(r, m);
		break;
	case PqMsg_NoticeResponse:
		wire_put(&s->client, m->raw, m->raw_len);
		r->c->forwarded = true;
		break;
	case PqMsg_PortalSuspended:
		r->c->suspended = true;
		buf_put(&r->c->held, m->raw, m->raw_len);
		break;
	case PqMsg_CommandComplete:
		relay_description(r);
		buf_put(&r->c->held, m->raw, m->raw_len);
		break;
	case PqMsg_ErrorResponse:
		buf_put(&r->c->error, m->raw, m->raw_len);
		strcpy(r->c->why.sqlstate, "");
		strncat(r->c->why.sqlstate, wire_error_field(m, 'C'), 5);
		break;
	default:
		break;
	}
}

/* A Query ends with the Close of both names, an Execute with its own answer. */
static bool
statement_ended(const struct capture *c, char type, int *closed)
{
	if (c->bind != NULL)
		return type == PqMsg_CommandComplete ||
		       type == PqMsg_PortalSuspended;
	return type == PqMsg_CloseComplete && ++*closed == 2;
}

/* A slow client holds its own statement back. */
static bool
let_client_read(struct session *s)
{
	while (wire_queued(&s->client) > WIRE_HIGH_WATER && !s->client.broken)
		if (!session_wait(s, 0))
			return false;
	return true;
}

static enum exchange_end
read_statement(struct session *s, struct reading *r)
{
	struct message m;
	int closed = 0;

	while (session_server_message(s, &m)) {
		char type = m.type;

		statement_message(r, &m);
		session_take(s, &m);
		if (type == PqMsg_ErrorResponse) {
			s->left_behind = true;
			return EXCHANGE_ERROR;
		}
		if (statement_ended(r->c, type, &closed))
			return EXCHANGE_DONE;
		if (type == PqMsg_ReadyForQuery || !let_client_read(s))
			return EXCHANGE_LOST;
	}
	return EXCHANGE_LOST;
}

/* Which step of put_all() an answer belongs to. */
enum step { BEFORE, STATEMENT, AFTER };

static enum exchange_end
read_before(struct session *s, struct capture *c)
{
	struct reading r = { s, c, &c->pre, &c->n_pre, &c->cap_pre };
	enum exchange_end end = EXCHANGE_DONE;

	if (c->savepoint)
		end = exchange_read(s, NULL, NULL, &c->why, &c->error);
	if (end == EXCHANGE_DONE && c->stmt->kind != STMT_INSERT)
		end = exchange_read(s, select_row, &r, &c->why, &c->error);
	if (end == EXCHANGE_DONE && c->savepoint)
		end = exchange_read(s, NULL, NULL, &c->why, &c->error);
	return end;
}

static enum exchange_end
read_after(struct session *s, struct capture *c)
{
	struct reading r = { s, c, &c->post, &c->n_post, &c->cap_post };
	enum exchange_end end = EXCHANGE_DONE;

	if (c->stmt->kind == STMT_DELETE) {
		c->n_post = 0; /* RETURNING gave what was deleted */
		end = exchange_read(s, select_row, &r, &c->why, &c->error);
	}
	if (end == EXCHANGE_DONE && c->alone)
		end = facts_read(s, s->txn, &c->facts, &c->why, &c->error);
	return end;
}

static bool
class_is(const struct capture *c, const char *class)
{
	return strncmp(c->why.sqlstate, class, 2) == 0;
}

/*
 * Errors that would have met the statement itself just as well: cancel, lock
 * timeout, deadlock, serialization failure, shutdown, resources.
 */
static bool
meant_for_client(const struct capture *c)
{
	return class_is(c, "57") || class_is(c, "55") || class_is(c, "40") ||
	       class_is(c, "53");
}

/* The transaction block goes on as if the pre-capture had not been. */
static enum capture_end
undo_savepoint(struct session *s, const struct capture *c)
{
	enum exchange_end end = EXCHANGE_DONE;

	exchange_put(s, "ROLLBACK TO SAVEPOINT pgwitness", NULL, 0);
	exchange_put(s, "RELEASE SAVEPOINT pgwitness", NULL, 0);
	exchange_put_sync(s);
	for (int i = 0; i < 2 && end == EXCHANGE_DONE; i++)
		end = exchange_read(s, NULL, NULL, NULL, NULL);
	if (end == EXCHANGE_LOST ||
	    exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return CAPTURE_CONNECTION_LOST;
	if (end == EXCHANGE_DONE)
		return CAPTURE_UNDONE;
	/* Cancelled, say: the block has failed, with what failed first. */
	s->dropping = c->bind != NULL;
	return CAPTURE_STATEMENT_ERROR;
}

/* Nothing but what is the proxy's own would be undone. */
static bool
may_undo(const struct capture *c, enum step step)
{
	if (c->forwarded || (c->bind != NULL && !c->bind->first))
		return false;
	/* Maybe what was spliced in is not allowed, or not understood: the
	 * text as it was gets its own answer. */
	if (step == STATEMENT)
		return class_is(c, "42");
	return !meant_for_client(c);
}

static enum capture_end
after_error(struct session *s, struct capture *c, enum step step)
{
	bool undo = c->autocommit && may_undo(c, step);
	bool back = !c->autocommit && step == BEFORE && c->savepoint &&
		    !meant_for_client(c);
	bool own_sync = !c->sync_sent && (c->bind == NULL ? c->hold : undo || back);

	log_debug("capture_error", "%s while capturing (step %d)",
	    c->why.sqlstate, (int)step);
	if (own_sync)
		exchange_put_sync(s);
	/* In a batch only the client's Sync ends the skipping. */
	if (c->bind != NULL && !own_sync && !c->sync_sent)
		return CAPTURE_STATEMENT_ERROR;
	if (exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return CAPTURE_CONNECTION_LOST;
	if (undo)
		return CAPTURE_UNDONE;
	if (back && s->status == PQ_FAILED)
		return undo_savepoint(s, c);
	return CAPTURE_STATEMENT_ERROR;
}

enum capture_end
capture_take(struct session *s, struct capture *c)
{
	struct reading r = { s, c, &c->post, &c->n_post, &c->cap_post };
	enum step step = BEFORE;
	enum exchange_end end;

	end = read_before(s, c);
	if (end == EXCHANGE_DONE) {
		step = STATEMENT;
		end = read_statement(s, &r);
	}
	if (end == EXCHANGE_DONE) {
		step = AFTER;
		end = read_after(s, c);
	}
	if (end == EXCHANGE_LOST)
		return CAPTURE_CONNECTION_LOST;
	if (end == EXCHANGE_ERROR)
		return after_error(s, c, step);
	if ((c->bind == NULL ? !c->hold : c->sync_sent) &&
	    exchange_read_ready(s, NULL, &c->error) == EXCHANGE_LOST)
		return CAPTURE_CONNECTION_LOST;
	return CAPTURED;
}

enum capture_end
capture_fetch(struct session *s, const struct message *m, struct buf *error)
{
	struct capture c = { .undecodable = true };
	struct capture_bind bind = { 0 };
	struct reading r = { .s = s, .c = &c };
	enum exchange_end end;

	c.bind = &bind;
	wire_put(&s->server, m->raw, m->raw_len);
	wire_put_empty(&s->server, PqMsg_Flush);
	end = read_statement(s, &r);
	wire_put(&s->client, c.held.data, c.held.len);
	buf_put(error, c.error.data, c.error.len);
	capture_free(&c);
	if (end == EXCHANGE_LOST)
		return CAPTURE_CONNECTION_LOST;
	return end == EXCHANGE_ERROR ? CAPTURE_STATEMENT_ERROR : CAPTURED;
}

/* Rows that the predicate finds after a DELETE, but not those it deleted
 * from: they came in between and are not this transaction's. */
static size_t
still_there(const struct capture *c, struct rowenc_row *out)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_post; i++)
		for (size_t j = 0; j < c->n_pre; j++)
			if (c->post[i].id_len == c->pre[j].id_len &&
			    memcmp(c->post[i].id, c->pre[j].id,
				c->pre[j].id_len) == 0) {
				out[n++] = c->post[i];
				break;
			}
	return n;
}

/* "UPDATE 3": what the server says it did. */
static size_t
tag_rows(const struct capture *c)
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

void
capture_apply(struct session *s, const struct capture *c, uint32_t statement)
{
	struct txn *t = s->txn;
	size_t n_post = c->n_post;
	size_t want = c->stmt->kind == STMT_INSERT ? c->n_post : c->n_pre;

	if (c->undecodable) {
		txn_degrade(t, CAPTURE_INCOMPLETE, "undecodable_row");
		catalog_flush(s->catalog);
	}
	if (c->suspended && !is_single_row(c))
		txn_degrade(t, CAPTURE_INCOMPLETE, "portal_suspended");
	else if ((!c->suspended && tag_rows(c) != want) ||
	    (c->stmt->kind == STMT_UPDATE && c->n_post != c->n_pre))
		txn_degrade(t, CAPTURE_RACE, "row_count");
	if (c->stmt->kind == STMT_DELETE)
		n_post = still_there(c, c->post);
	txn_apply(t, c->table, statement, c->pre, c->n_pre, c->post, n_post,
	    c->key_changes);
}

void
capture_free(struct capture *c)
{
	buf_free(&c->description);
	buf_free(&c->held);
	buf_free(&c->error);
}
