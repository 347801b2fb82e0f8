/*
 * capture_take.c: the answers to a capture's one write.
 *
 * The client's own are relayed as they come, or, where the statement may have
 * to run again, when it has ended.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "capture.h"

#include <string.h>

#include "block.h"
#include "capture_int.h"
#include "joined.h"
#include "log.h"
#include "rowtext.h"
#include "strip.h"
#include "txn.h"
#include "upsert.h"
#include "watch.h"

struct reading {
	struct session *s;
	struct capture *c;
	const struct catalog_table *table;
	bool in_utc;
	struct rowenc_row **rows;
	size_t *n, *cap;
};

/* Rows of the target. */
static struct reading
reading_target(struct session *s, struct capture *c, bool post)
{
	struct reading r = { s, c, c->table, c->in_utc, &c->pre, &c->n_pre,
		&c->cap_pre };

	if (post) {
		r.rows = &c->post;
		r.n = &c->n_post;
		r.cap = &c->cap_post;
	}
	return r;
}

static bool
add_row(struct reading *r, const struct exchange_value *text)
{
	struct arena *a = r->s->txn->arena;
	struct rowenc_row *list = arena_grow(
	    a, *r->rows, *r->n, r->cap, sizeof(*list));

	if (list != NULL) {
		*r->rows = list;
		if (rowtext_decode(
			a, a, r->table, r->in_utc, text, &list[*r->n])) {
			++*r->n;
			return true;
		}
	}
	r->c->withheld = rowtext_is_withheld(r->table, text);
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

/* Where what the client is to see goes. */
static struct wire *
client_of(struct reading *r)
{
	return r->c->own_block ? &r->c->answer : &r->s->client;
}

static void
answered(struct reading *r, bool queued)
{
	if (!r->c->own_block) {
		r->c->forwarded = r->c->forwarded || queued;
	} else if (r->c->answer.out.len > BLOCK_MAX_ANSWER) {
		r->c->too_long = true;
		buf_reset(&r->c->answer.out);
	}
}

static void
take_own(struct reading *r, const struct exchange_value *own)
{
	struct capture *c = r->c;

	if (c->joined && c->stmt->kind != STMT_INSERT) {
		struct reading pre = reading_target(r->s, c, false);

		/* With each row the same one. */
		if (c->n_pre == 0)
			(void)add_row(&pre, own);
		own++;
	}
	(void)add_row(r, own++);
	if (capture_says_updated(c))
		c->n_updated += upsert_is_updated(own);
	if (c->joined)
		joined_take_columns(r->s, c, own);
}

/* The last columns are ours; the ones before them are the client's. */
static void
returned_row(struct reading *r, const struct message *m)
{
	struct exchange_value own[JOINED_COLUMNS];
	bool queued = capture_is_plain(r->c);

	if (capture_is_plain(r->c))
		wire_put(client_of(r), m->raw, m->raw_len);
	else if (!strip_row(client_of(r), m, own, r->c->n_own, &queued))
		r->c->undecodable = true;
	else if (!r->c->undecodable)
		take_own(r, own);
	answered(r, queued);
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
	if (capture_is_plain(r->c))
		wire_put(client_of(r), m.raw, m.raw_len);
	else
		strip_description(client_of(r), &m, r->c->n_own, false);
	buf_reset(&r->c->description);
}

static void
statement_message(struct reading *r, const struct message *m)
{
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
		wire_put(client_of(r), m->raw, m->raw_len);
		answered(r, true);
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

/*
 * A Query ends with the Close of both names, behind that of the portal for what
 * SQL EXECUTE runs; an Execute with its own answer.
 */
static bool
statement_ended(const struct capture *c, char type, int *closed)
{
	if (c->joined && !c->alone && c->bind == NULL)
		return type == PqMsg_CloseComplete && c->held.len > 0;
	if (c->bind != NULL || c->joined)
		return type == PqMsg_CommandComplete ||
		       type == PqMsg_PortalSuspended;
	return type == PqMsg_CloseComplete &&
	       ++*closed == (c->values.prepared != NULL ? 3 : 2);
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
		if (type == PqMsg_ReadyForQuery || !session_let_client_read(s))
			return EXCHANGE_LOST;
	}
	return EXCHANGE_LOST;
}

/* serialization_failure, and deadlock_detected: ours holds nothing any more. */
static bool
may_go_on_again(const struct capture *c)
{
	return strcmp(c->why.sqlstate, "40001") == 0 ||
	       strcmp(c->why.sqlstate, "40P01") == 0;
}

/* Which step of capture_put() an answer belongs to. */
enum step { BLOCK, BEFORE, STATEMENT, AFTER };

/* All rows of each image, or after the statement of those it may write. */
static enum exchange_end
read_images(struct session *s, struct capture *c, bool post)
{
	enum exchange_end end = EXCHANGE_DONE;

	for (size_t i = 0; i < c->n_images && end == EXCHANGE_DONE; i++) {
		struct capture_image *m = &c->images[i];
		struct reading r = { s, c, m->table, m->in_utc, &m->pre,
			&m->n_pre, &m->cap_pre };

		if (post) {
			r.rows = &m->post;
			r.n = &m->n_post;
			r.cap = &m->cap_post;
		}
		if (!post || m->write)
			end = exchange_read(
			    s, select_row, &r, &c->why, &c->error);
	}
	return end;
}

static enum exchange_end
read_block(struct session *s, struct capture *c, int64_t timeout_ms)
{
	enum exchange_end end = EXCHANGE_DONE;
	size_t locks = c->n_locks + (c->whole ? 0 : 1);

	if (!c->own_block)
		return end;
	end = block_read_begin(s, c->bind != NULL, timeout_ms, &c->serializable,
	    &c->why, &c->error);
	for (size_t i = 0; i < locks && end == EXCHANGE_DONE; i++)
		end = exchange_read(s, NULL, NULL, &c->why, &c->error);
	return end;
}

/* A copy in the transaction's arena. */
static bool
take_snapshot(void *arg, const struct message *row)
{
	struct reading *r = arg;
	struct exchange_value v;
	const char **slot = &r->c->snapshot[r->c->snapshot[0] != NULL];

	if (exchange_row_values(row, &v, 1) && v.data != NULL)
		*slot = arena_memdup(r->s->txn->arena, v.data, v.len);
	return false;
}

static enum exchange_end
read_visit(struct session *s, struct capture *c)
{
	struct reading r = { .s = s, .c = c };
	enum exchange_end end = EXCHANGE_DONE;

	for (size_t i = 0; i < c->n_locks && end == EXCHANGE_DONE; i++)
		end = exchange_read(s, NULL, NULL, &c->why, &c->error);
	if (end == EXCHANGE_DONE)
		end = exchange_read(s, take_snapshot, &r, &c->why, &c->error);
	if (end == EXCHANGE_DONE)
		end = scope_read_held(s, &c->check, &c->why, &c->error);
	return end;
}

static enum exchange_end
read_before(struct session *s, struct capture *c)
{
	struct reading r = reading_target(s, c, false);
	enum exchange_end end = EXCHANGE_DONE;

	if (c->savepoint)
		end = exchange_read(s, NULL, NULL, &c->why, &c->error);
	if (end == EXCHANGE_DONE && c->settles)
		end = facts_read(s, s->txn, &c->facts, &c->why, &c->error);
	if (end == EXCHANGE_DONE && c->visiting)
		end = read_visit(s, c);
	if (end == EXCHANGE_DONE)
		end = read_images(s, c, false);
	if (end == EXCHANGE_DONE && capture_finds_rows(c))
		end = exchange_read(s, select_row, &r, &c->why, &c->error);
	kept_answered(s, c->kept_pre, end == EXCHANGE_DONE);
	if (end == EXCHANGE_DONE && c->savepoint)
		end = exchange_read(s, NULL, NULL, &c->why, &c->error);
	if (end == EXCHANGE_DONE && capture_asks_counters(c))
		end = counters_read(s, &c->before, &c->why, &c->error);
	return end;
}

/* What the triggers changed and is not captured: another try will. */
static void
note_triggers(struct session *s, struct capture *c)
{
	const struct catalog_table *t = c->table;
	struct counter change;
	size_t at = 0;

	scope_note(s, c->stmt, t->schema, t->name, true);
	while (counters_next_other(&c->before, &c->after, t->oid, &at, &change))
		scope_note(s, c->stmt, change.schema, change.name, true);
	c->check.wider = c->check.wider || c->learning;
}

/* Tables that only the counters name, and facts of these, too. */
static enum exchange_end
read_asides(struct session *s, struct capture *c)
{
	enum exchange_end end = asides_read(s, &c->before, &c->after,
	    c->table->oid, &c->asides, &c->why, &c->error);

	if (end == EXCHANGE_DONE && c->before.known && c->after.known &&
	    !capture_knows_triggers(c))
		note_triggers(s, c);
	if (end != EXCHANGE_DONE || c->asides.n == 0 || !c->alone)
		return end;
	capture_put_facts(s, c);
	wire_put_empty(&s->server, PqMsg_Flush);
	return facts_read(s, s->txn, &c->facts, &c->why, &c->error);
}

/* In a block of ours it can run again. */
static void
judge_upsert(struct session *s, struct capture *c)
{
	struct rowenc_ids returned = rowenc_ids_of(c->returned, c->n_returned);
	enum upsert_end end = upsert_judge(c, &returned);

	rowenc_ids_free(&returned);
	c->moved = end == UPSERT_MOVED;
	if (end != UPSERT_UNEXPLAINED || !c->explains)
		return;
	scope_note(s, c->stmt, c->table->schema, c->table->name, true);
	c->check.wider = true;
}

static enum exchange_end
read_after(struct session *s, struct capture *c)
{
	struct reading r = reading_target(s, c, true);
	enum exchange_end end = EXCHANGE_DONE;

	c->returned = c->post;
	c->n_returned = c->n_post;
	if (capture_asks_counters(c))
		end = counters_read(s, &c->after, &c->why, &c->error);
	if (end == EXCHANGE_DONE && c->stmt->kind == STMT_DELETE && !c->whole) {
		/* RETURNING gave what was deleted */
		c->post = NULL;
		c->n_post = c->cap_post = 0;
		end = exchange_read(s, select_row, &r, &c->why, &c->error);
		if (c->joined)
			kept_answered(s, c->kept_pre, end == EXCHANGE_DONE);
	}
	if (end == EXCHANGE_DONE)
		end = read_images(s, c, true);
	if (end == EXCHANGE_DONE && (c->scoped || c->learning))
		end = scope_read_check(s, &c->scope,
		    s->txn->unverifiable[0] != '\0', &c->check, &c->why,
		    &c->error);
	if (end == EXCHANGE_DONE && c->visiting)
		end = exchange_read(s, take_snapshot, &r, &c->why, &c->error);
	if (end == EXCHANGE_DONE && c->watch != KEPT_NONE)
		end = watch_read(s, c);
	if (end == EXCHANGE_DONE && c->alone && !c->joined)
		end = facts_read(s, s->txn, &c->facts, &c->why, &c->error);
	if (end == EXCHANGE_DONE && c->counted && !c->suspended)
		end = read_asides(s, c);
	if (end == EXCHANGE_DONE && c->upsert && c->own_block)
		judge_upsert(s, c);
	if (end == EXCHANGE_DONE && c->joined && c->alone && c->parses)
		end = joined_read_facts(s, c);
	else if (end == EXCHANGE_DONE && c->joined && c->alone && c->hold)
		end = joined_look(s, c, false);
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

/* A row that is gone since makes no INSERT fail. */
static bool
is_of_lock(const struct capture *c)
{
	return c->upsert && strcmp(c->why.sqlstate, "40001") == 0;
}

/* Nothing but what is the proxy's own would be undone. */
static bool
may_undo(const struct capture *c, enum step step)
{
	if (c->forwarded || (c->bind != NULL && !c->bind->first))
		return false;
	/* Its own rows' or columns' values are wrong, wherever that is found:
	 * no place in the text is named. */
	if (c->joined)
		return !meant_for_client(c) && !class_is(c, "23");
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
	bool again = c->alone && c->hold && !c->forwarded &&
		     (c->bind == NULL || c->bind->first) && may_go_on_again(c);
	bool back = !c->autocommit && step == BEFORE && c->savepoint &&
		    (!meant_for_client(c) || is_of_lock(c));
	bool own_sync = !capture_syncs(c) &&
			(c->bind == NULL || undo || back || again);

	if (step == STATEMENT)
		joined_mend_error(s, c);
	log_debug("capture_error", "%s while capturing (step %d)",
	    c->why.sqlstate, (int)step);
	if (own_sync)
		exchange_put_sync(s);
	/* In a batch only the client's Sync ends the skipping. */
	if (c->bind != NULL && !own_sync && !c->sync_sent)
		return CAPTURE_STATEMENT_ERROR;
	if (exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return CAPTURE_CONNECTION_LOST;
	if (again) {
		c->sync_sent = true;
		return CAPTURE_SERIALIZATION;
	}
	if (undo)
		return CAPTURE_UNDONE;
	if (back && s->status == PQ_FAILED)
		return undo_savepoint(s, c);
	return CAPTURE_STATEMENT_ERROR;
}

/* Our block is rolled back; what next? */
static enum capture_end
after_block(
    struct session *s, struct capture *c, enum step step, int64_t *timeout_ms)
{
	struct buf undo_error = { 0 };
	enum exchange_end end = block_undo(s, timeout_ms, &undo_error);
	enum capture_end what = CAPTURE_LESS;

	log_debug("capture_block", "rolled back: %s (step %d)", c->why.sqlstate,
	    (int)step);
	if (end == EXCHANGE_LOST) {
		what = CAPTURE_CONNECTION_LOST;
	} else if (end == EXCHANGE_ERROR) {
		buf_reset(&c->error);
		buf_put(&c->error, undo_error.data, undo_error.len);
		what = CAPTURE_STATEMENT_ERROR;
	} else if (c->error.len == 0) {
		/* we did not want it any more */
		what = c->moved && !c->serializable ? CAPTURE_SERIALIZATION
		       : c->check.wider             ? CAPTURE_WIDER
						    : CAPTURE_LESS;
	} else if (may_go_on_again(c)) {
		what = CAPTURE_SERIALIZATION;
	} else if (meant_for_client(c) ||
		   (step == STATEMENT && !class_is(c, "42"))) {
		what = CAPTURE_STATEMENT_ERROR;
	}
	if (what == CAPTURE_STATEMENT_ERROR)
		wire_put(&s->client, c->answer.out.data, c->answer.out.len);
	buf_free(&undo_error);
	return what;
}

/* All of it is answered. */
static enum capture_end
take_end(struct session *s, struct capture *c)
{
	if (c->own_block) {
		wire_put(&s->client, c->answer.out.data, c->answer.out.len);
		return CAPTURED;
	}
	if (c->bind == NULL && !c->hold && !capture_syncs(c))
		exchange_put_sync(s);
	if ((c->bind == NULL ? !c->hold : c->sync_sent) &&
	    exchange_read_ready(s, NULL, &c->error) == EXCHANGE_LOST)
		return CAPTURE_CONNECTION_LOST;
	if (joined_found_nothing(c))
		return CAPTURE_UNDONE;
	joined_learn(s, c);
	if (c->joined && c->alone && !c->parses && !c->hold &&
	    c->error.len == 0 && joined_look(s, c, true) == EXCHANGE_LOST)
		return CAPTURE_CONNECTION_LOST;
	return CAPTURED;
}

enum capture_end
capture_take(struct session *s, struct capture *c, int64_t *timeout_ms)
{
	struct reading r = reading_target(s, c, true);
	enum step step = BLOCK;
	enum exchange_end end;

	end = read_block(s, c, *timeout_ms);
	if (end == EXCHANGE_DONE) {
		step = BEFORE;
		end = read_before(s, c);
	}
	if (end == EXCHANGE_DONE) {
		step = STATEMENT;
		end = read_statement(s, &r);
		kept_answered(s, c->kept_run, end == EXCHANGE_DONE);
	}
	if (end == EXCHANGE_DONE) {
		step = AFTER;
		end = read_after(s, c);
	}
	if (end == EXCHANGE_LOST)
		return CAPTURE_CONNECTION_LOST;
	if (c->own_block && (end == EXCHANGE_ERROR || c->serializable ||
				c->too_long || c->check.wider || c->moved))
		return after_block(s, c, step, timeout_ms);
	if (end == EXCHANGE_ERROR)
		return after_error(s, c, step);
	return take_end(s, c);
}

enum capture_end
capture_fetch(struct session *s, const struct message *m, struct buf *error)
{
	struct capture c = { .undecodable = true, .n_own = 1 };
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
