/*
 * copy.c: COPY FROM STDIN as a simple Query, captured.
 *
 * Outside a block the proxy opens one of its own:
 *
 *	client		proxy		server
 *	Query		BEGIN
 *			Query		CopyInResponse
 *	CopyData ...	a copy is kept
 *	CopyDone			CommandComplete
 *			the rows, facts
 *			record
 *			COMMIT
 *
 * and the client has its CommandComplete when that is done.  The data passes
 * at full speed; beyond features.max_capture_bytes no copy is kept.
 *
 * The session does nothing else meanwhile: only copy data can come from the
 * client, and after its end nothing is read from there.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "copy.h"

#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "capture.h"
#include "commit.h"
#include "copy_rows.h"
#include "counters.h"
#include "exchange.h"
#include "refusal.h"
#include "rowtext.h"
#include "txn.h"
#include "weigh.h"

/* What is not copy data may be this long: PQ_SMALL_MESSAGE_LIMIT. */
#define MAX_SMALL 10000

/* A record_param's length is 32 bits. */
#define MAX_DATA ((size_t)1024 * 1024 * 1024)

struct copy {
	struct session *s;
	const struct analyzed_statement *stmt;
	const struct catalog_table *table;
	uint32_t statement; /* index in the record */
	bool autocommit;    /* the block is ours */

	/* what its triggers did elsewhere */
	struct counters before, after;
	struct asides asides;

	/* what the client sends */
	struct buf data; /* without the messages around it */
	size_t limit;    /* bytes that may be kept */
	bool dropped;    /* there was more */
	bool ended;      /* CopyDone, CopyFail, or no copy data */
	bool stopped;    /* more is there than may be queued */

	/* what the server answers */
	uint8_t format;
	bool in;             /* it takes copy data */
	bool ready;          /* ReadyForQuery: all is said */
	struct buf complete; /* CommandComplete */
	bool failed;         /* the client has its ErrorResponse */
	struct buf error;    /* that a statement of ours met */
};

/* --- may it be captured --- */

static const char *
refusal(struct session *s, const struct analyzed_statement *st,
    const struct catalog_table **table)
{
	const struct analyzed_relation *rel = st->relations;

	if (st->copy == NULL || !st->copy->from_stdin || st->n_relations == 0)
		return "copy_from";
	if (st->copy->freeze)
		return "copy_freeze";
	if (!rowtext_encoding_ok(s))
		return "client_encoding";
	/* An intent for this transaction is durable already: it says so. */
	if (s->txn->published)
		return "after_intent";
	*table = catalog_table(s, rel->schema, rel->name);
	return *table == NULL ? "unknown_table" : (*table)->unsupported;
}

static enum statement_step
unsupported(struct session *s, const struct message *m,
    const struct analyzed_statement *st, const char *reason)
{
	const char *text = (const char *)m->body;
	enum statement_step step = statement_refuse_unsupported(s, reason);

	if (step != STATEMENT_FORWARD)
		return step;
	(void)statement_add(
	    s, text + st->text.at, st->text.len, st->type, st->kind);
	return statement_record_unsupported(s, reason, s->status == PQ_IDLE);
}

/* --- from the server --- */

static void
take_answer(struct copy *c, const struct message *m)
{
	struct session *s = c->s;

	switch (m->type) {
	case PqMsg_CopyInResponse:
		c->in = true;
		c->format = m->len > 0 ? m->body[0] : 0;
		wire_put(&s->client, m->raw, m->raw_len);
		break;
	case PqMsg_CommandComplete:
		buf_put(&c->complete, m->raw, m->raw_len);
		break;
	case PqMsg_ErrorResponse:
		c->failed = true;
		wire_put(&s->client, m->raw, m->raw_len);
		break;
	case PqMsg_ReadyForQuery:
		if (m->len == 1)
			s->status = (char)m->body[0];
		c->ready = true;
		break;
	default:
		wire_put(&s->client, m->raw, m->raw_len);
		break;
	}
}

/* To CopyInResponse, or to ReadyForQuery. */
static bool
read_answers(struct copy *c, bool to_ready)
{
	struct message m;

	while (!c->ready && (to_ready || !c->in)) {
		if (!session_server_message(c->s, &m))
			return false;
		take_answer(c, &m);
		session_take(c->s, &m);
	}
	return true;
}

/* What is there while data is on its way; false: the session must end. */
static bool
poll_answers(struct copy *c)
{
	struct session *s = c->s;
	struct message m;

	while (!c->ready) {
		switch (wire_message(&s->server, &m)) {
		case WIRE_BAD:
			return false;
		case WIRE_INCOMPLETE:
			return !s->server.eof;
		case WIRE_MESSAGE:
			break;
		}
		if (m.type == PqMsg_ParameterStatus)
			session_note_parameter(s, &m);
		if (session_is_fatal(&m)) {
			s->fatal_seen = true;
			wire_put(&s->client, m.raw, m.raw_len);
			session_take(s, &m);
			return false;
		}
		take_answer(c, &m);
		session_take(s, &m);
	}
	return true;
}

/* --- from the client --- */

static void
keep(struct copy *c, const uint8_t *p, size_t n)
{
	if (c->dropped)
		return;
	if (n > c->limit - c->data.len) {
		c->dropped = true;
		buf_free(&c->data);
		return;
	}
	buf_put(&c->data, p, n);
}

/* What is there of the CopyData that is under way. */
static void
pass_data(struct copy *c)
{
	struct wire *client = &c->s->client;
	size_t n = wire_unread(client);

	if (n > client->pass_left)
		n = client->pass_left;
	keep(c, wire_data(client), n);
	wire_put(&c->s->server, wire_data(client), n);
	wire_skip(client, n);
	client->pass_left -= n;
}

/* A message's head: of copy data it passes, and the rest will. */
static enum wire_status
pass_head(struct copy *c)
{
	struct session *s = c->s;
	struct message m;
	size_t raw_len;
	char type;
	enum wire_status status = wire_head(&s->client, &type, &raw_len);

	if (status != WIRE_MESSAGE)
		return status;
	if (type == PqMsg_CopyData) {
		wire_put(&s->server, wire_data(&s->client), 5);
		wire_skip(&s->client, 5);
		s->client.pass_left = raw_len - 5;
		return WIRE_MESSAGE;
	}
	if (raw_len > MAX_SMALL ||
	    (type != PqMsg_CopyDone && type != PqMsg_CopyFail &&
		type != PqMsg_Flush && type != PqMsg_Sync)) {
		/* The server refuses it before it has read all of it. */
		wire_put(&s->server, wire_data(&s->client), 5);
		wire_skip(&s->client, 5);
		s->client.pass_left = raw_len - 5;
		c->ended = true;
		return WIRE_MESSAGE;
	}
	status = wire_message(&s->client, &m);
	if (status != WIRE_MESSAGE)
		return status;
	c->ended = type == PqMsg_CopyDone || type == PqMsg_CopyFail;
	wire_put(&s->server, m.raw, m.raw_len);
	wire_skip(&s->client, m.raw_len);
	return WIRE_MESSAGE;
}

/* What was read of the client; false: the session must end. */
static bool
pass_client(struct copy *c)
{
	struct session *s = c->s;
	enum wire_status status = WIRE_MESSAGE;

	while (!c->ended && status == WIRE_MESSAGE &&
	       wire_queued(&s->server) < WIRE_HIGH_WATER) {
		if (s->client.pass_left == 0)
			status = c->ready ? WIRE_INCOMPLETE : pass_head(c);
		else if (wire_unread(&s->client) > 0)
			pass_data(c);
		else
			status = WIRE_INCOMPLETE;
	}
	c->stopped = !c->ended && status == WIRE_MESSAGE;
	if (status == WIRE_BAD)
		session_fatal(s, "08P01", "invalid message length", NULL);
	return status != WIRE_BAD;
}

/*
 * The data, up to its end or to an error of the server; behind an error, to
 * the end of the message that is under way.  False: the session must end; a
 * client that left before the end of its data is rolled back by that.
 */
static bool
pass_all(struct copy *c)
{
	struct session *s = c->s;
	bool behind = c->ready;

	s->deadline_us = 0;
	for (;;) {
		if (!poll_answers(c) || !pass_client(c))
			return false;
		wire_flush(&s->server);
		wire_flush(&s->client);
		if (behind ? s->client.pass_left == 0 : c->ended || c->ready)
			return true;
		/* poll() would not tell. */
		if (c->stopped && wire_queued(&s->server) < WIRE_HIGH_WATER)
			continue;
		if (s->client.broken ||
		    (s->client.eof && wire_queued(&s->server) == 0))
			return false;
		if (!session_wait(s, WANT_CLIENT | WANT_SERVER))
			return false;
	}
}

/* --- its transaction --- */

static void
put_ready(struct session *s, char status)
{
	size_t at = wire_begin(&s->client, PqMsg_ReadyForQuery);

	buf_put_u8(&s->client.out, (uint8_t)status);
	wire_end(&s->client, at);
}

/* The answer is whole. */
static enum statement_step
answered(struct copy *c)
{
	put_ready(c->s, c->s->status);
	commit_ready(c->s);
	return STATEMENT_TAKEN;
}

/*
 * The client has an ErrorResponse; a block of ours ends, unclaimed.  Nothing
 * can be sent amid a message of the client's: then it is told first.
 */
static enum statement_step
end_failed(struct copy *c)
{
	struct session *s = c->s;
	bool amid = s->client.pass_left > 0;

	s->txn->saw_error = true;
	if (!c->autocommit || s->status == PQ_IDLE)
		return answered(c);
	if (amid) {
		put_ready(s, PQ_IDLE);
		c->ended = false;
		if (!pass_all(c))
			return STATEMENT_STOP;
	}
	if (block_run(s, "ROLLBACK", &c->error) != EXCHANGE_DONE)
		return STATEMENT_STOP;
	if (!amid)
		return answered(c);
	commit_ready(s);
	return STATEMENT_TAKEN;
}

/* A statement of ours met an error, which is the COPY's then. */
static enum statement_step
answer_error(struct copy *c)
{
	wire_put(&c->s->client, c->error.data, c->error.len);
	return end_failed(c);
}

/* The number of a "COPY 3". */
static size_t
tag_rows(const struct copy *c)
{
	const char *tag = (const char *)c->complete.data + 5;

	return c->complete.len > 10 && strncmp(tag, "COPY ", 5) == 0
		   ? (size_t)strtoull(tag + 5, NULL, 10)
		   : 0;
}

/* What the client sent is the statement's one parameter. */
static void
keep_data(struct copy *c)
{
	const struct record_param data = { 0, c->format,
		c->data.data != NULL ? c->data.data : (const uint8_t *)"",
		c->data.len };

	if (c->dropped)
		txn_degrade(c->s->txn, CAPTURE_INCOMPLETE, "max_capture_bytes");
	else if (c->s->config->log_statements != STATEMENTS_NORMALIZED)
		txn_set_params(c->s->txn, c->statement, &data, 1, true);
}

/* The rows into the transaction. */
static enum copy_rows_end
take_rows(struct copy *c)
{
	struct session *s = c->s;
	struct copy_rows r = { .stmt = c->stmt,
		.table = c->table,
		.data = c->data.data,
		.len = c->data.len,
		.count = tag_rows(c) };
	enum copy_rows_end found;

	counters_note(s, c->table->oid);
	if (!s->txn->images || r.count == 0)
		return COPY_ROWS_INCOMPLETE;
	found = copy_rows_read(s, &r);
	if (found == COPY_ROWS_FOUND)
		txn_apply(
		    s->txn, c->table, c->statement, NULL, 0, r.rows, r.n, true);
	else if (found == COPY_ROWS_INCOMPLETE)
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, r.reason);
	else if (found == COPY_ROWS_ERROR)
		buf_put(&c->error, r.error.data, r.error.len);
	buf_free(&r.error);
	return found;
}

/* The block is ours: record, COMMIT, and the client's answer. */
static enum statement_step
finish_own_block(struct copy *c)
{
	switch (commit_own_block(c->s, &c->error)) {
	case OWN_COMMITTED:
		break;
	case OWN_ERROR:
		return answer_error(c);
	case OWN_REFUSED:
		return STATEMENT_TAKEN;
	case OWN_LOST:
		return STATEMENT_STOP;
	}
	wire_put(&c->s->client, c->complete.data, c->complete.len);
	return answered(c);
}

/* Counters of tables, if there are triggers. */
static enum exchange_end
count(struct copy *c, struct counters *counters)
{
	struct session *s = c->s;
	enum exchange_end end;

	if (!c->table->triggers)
		return EXCHANGE_DONE;
	counters_put(s, c->table->oid);
	exchange_put_sync(s);
	end = counters_read(s, counters, NULL, &c->error);
	return exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST
		   ? EXCHANGE_LOST
		   : end;
}

/* What they say of triggers: rows elsewhere, or that more was done. */
static enum exchange_end
take_asides(struct copy *c)
{
	struct session *s = c->s;
	enum exchange_end end = count(c, &c->after);

	if (end != EXCHANGE_DONE || !c->table->triggers)
		return end;
	txn_note_code(s->txn, NULL, 0);
	end = asides_read(s, &c->before, &c->after, c->table->oid, &c->asides,
	    NULL, &c->error);
	if (end == EXCHANGE_LOST)
		return end;
	exchange_put_sync(s);
	if (exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return EXCHANGE_LOST;
	if (end == EXCHANGE_ERROR)
		return end;
	if (c->asides.reason != NULL ||
	    !counters_are_own(&c->before, &c->after, c->table->oid, STMT_INSERT,
		tag_rows(c)))
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "triggers");
	else
		asides_apply(s, &c->asides, c->statement, true, true);
	return end;
}

static enum statement_step
finish(struct copy *c)
{
	struct session *s = c->s;
	enum copy_rows_end rows;

	if (c->failed)
		return end_failed(c);
	keep_data(c);
	switch (take_asides(c)) {
	case EXCHANGE_LOST:
		return STATEMENT_STOP;
	case EXCHANGE_ERROR:
		return answer_error(c);
	case EXCHANGE_DONE:
		break;
	}
	rows = take_rows(c);
	if (rows == COPY_ROWS_LOST)
		return STATEMENT_STOP;
	if (rows == COPY_ROWS_ERROR)
		return answer_error(c);
	if (c->autocommit)
		return finish_own_block(c);
	if (rows == COPY_ROWS_FOUND &&
	    block_run(s, COPY_ROWS_RELEASE, &c->error) == EXCHANGE_LOST)
		return STATEMENT_STOP;
	wire_put(&s->client, c->complete.data, c->complete.len);
	return answered(c);
}

static enum statement_step
run(struct copy *c, const struct message *m)
{
	struct session *s = c->s;

	c->autocommit = s->status == PQ_IDLE;
	/* The rows that it becomes are no smaller. */
	c->limit = ((size_t)s->config->max_capture_bytes -
		       arena_used(s->txn->arena)) /
		   2;
	if (c->limit > MAX_DATA)
		c->limit = MAX_DATA;
	if (c->autocommit)
		switch (block_run(s, "BEGIN", &c->error)) {
		case EXCHANGE_LOST:
			return STATEMENT_STOP;
		case EXCHANGE_ERROR: /* a cancel, say */
			wire_skip(&s->client, m->raw_len);
			return answer_error(c);
		case EXCHANGE_DONE:
			break;
		}
	switch (count(c, &c->before)) {
	case EXCHANGE_LOST:
		return STATEMENT_STOP;
	case EXCHANGE_ERROR:
		wire_skip(&s->client, m->raw_len);
		return answer_error(c);
	case EXCHANGE_DONE:
		break;
	}
	wire_put(&s->server, m->raw, m->raw_len);
	wire_skip(&s->client, m->raw_len);
	if (!read_answers(c, false))
		return STATEMENT_STOP;
	if (!c->ready && !pass_all(c))
		return STATEMENT_STOP;
	if (!read_answers(c, true))
		return STATEMENT_STOP;
	return finish(c);
}

enum statement_step
copy_run(struct session *s, const struct message *m,
    const struct analyzed_statement *st)
{
	struct copy c = { .s = s, .stmt = st };
	struct capture weighed = { .stmt = st };
	const char *reason = refusal(s, st, &c.table);
	enum statement_step step;

	if (reason != NULL)
		return unsupported(s, m, st, reason);
	weighed.table = c.table;
	weigh_statement(s, &weighed);
	if (s->lost)
		return STATEMENT_STOP;
	if (s->config->on_unverifiable == POLICY_REJECT &&
	    s->txn->unverifiable[0] != '\0')
		return refusal_feature(
			   s, "it could not be verified", s->txn->unverifiable)
			   ? STATEMENT_DONE
			   : STATEMENT_STOP;
	c.statement = statement_add(s, (const char *)m->body + st->text.at,
	    st->text.len, st->type, st->kind);
	step = run(&c, m);
	buf_free(&c.data);
	buf_free(&c.complete);
	buf_free(&c.error);
	return step;
}
