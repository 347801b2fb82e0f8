/*
 * copy.c: COPY FROM STDIN, captured.
 *
 * Outside a block a simple Query runs in one that the proxy opens:
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
 * and the client has its CommandComplete when that is done.  In the extended
 * protocol what is behind its data may still be of the same transaction, so
 * that the client's Sync commits, as ever; nothing is asked there that could
 * fail (copy_rows.h).
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
#include "copyin.h"
#include "counters.h"
#include "exchange.h"
#include "facts.h"
#include "pipeline.h"
#include "rowtext.h"
#include "txn.h"
#include "weigh.h"

/* A record_param's length is 32 bits. */
#define MAX_DATA ((size_t)1024 * 1024 * 1024)

struct copy {
	struct session *s;
	const struct analyzed_statement *stmt;
	const struct catalog_table *table;
	uint32_t statement; /* index in the record */
	bool own_block;     /* around it */

	/* what its triggers did elsewhere */
	struct counters before, after;
	struct asides asides;

	struct copyin talk;
	struct buf error; /* that a statement of ours met */
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
unsupported(struct session *s, const char *text,
    const struct analyzed_statement *st, const char *reason)
{
	enum statement_step step = statement_refuse_unsupported(s, reason);

	if (step != STATEMENT_FORWARD)
		return step;
	(void)statement_add(
	    s, text + st->text.at, st->text.len, st->type, st->kind);
	return statement_record_unsupported(s, reason, s->status == PQ_IDLE);
}

/* --- its transaction --- */

/* What was asked is sent; the batch it is in goes on. */
static void
put_end(struct copy *c)
{
	if (c->talk.extended)
		wire_put_empty(&c->s->server, PqMsg_Flush);
	else
		exchange_put_sync(c->s);
}

/* False: the connection is lost. */
static bool
read_end(struct copy *c)
{
	return c->talk.extended ||
	       exchange_read_ready(c->s, NULL, NULL) != EXCHANGE_LOST;
}

/* The answer is whole. */
static enum statement_step
answered(struct copy *c)
{
	if (c->talk.extended)
		return STATEMENT_TAKEN;
	session_put_ready(c->s, c->s->status);
	commit_ready(c->s);
	return STATEMENT_TAKEN;
}

/*
 * A block of ours ends, unclaimed.  Nothing can be sent amid a message of the
 * client's: then it is told first.
 */
static enum statement_step
roll_back(struct copy *c)
{
	struct session *s = c->s;
	bool amid = s->client.pass_left > 0;
	unsigned ready = amid ? 0 : 1, syncs = 0;

	if (amid) {
		session_put_ready(s, PQ_IDLE);
		if (!copyin_finish_message(&c->talk))
			return STATEMENT_STOP;
	}
	if (c->talk.syncs > 0 && !copyin_count_syncs(s, &syncs))
		return STATEMENT_STOP;
	if (!block_roll_back(s))
		return STATEMENT_STOP;
	for (ready += syncs; ready > 0; ready--)
		session_put_ready(s, s->status);
	commit_ready(s);
	return STATEMENT_TAKEN;
}

/* The client has an ErrorResponse. */
static enum statement_step
end_failed(struct copy *c)
{
	struct session *s = c->s;

	s->txn->saw_error = true;
	if (c->own_block && s->status != PQ_IDLE)
		return roll_back(c);
	if (c->talk.extended)
		pipeline_fail(s);
	s->copy_syncs = c->talk.syncs;
	return answered(c);
}

/* A statement of ours met an error, which is the COPY's then. */
static enum statement_step
answer_error(struct copy *c)
{
	wire_put(&c->s->client, c->error.data, c->error.len);
	/* Those among the data were ignored. */
	c->talk.syncs = 0;
	return end_failed(c);
}

/* The number of a "COPY 3". */
static size_t
tag_rows(const struct copy *c)
{
	const struct buf *complete = &c->talk.complete;
	const char *tag = (const char *)complete->data + 5;

	return complete->len > 10 && strncmp(tag, "COPY ", 5) == 0
		   ? (size_t)strtoull(tag + 5, NULL, 10)
		   : 0;
}

/* What the client sent is the statement's one parameter. */
static void
keep_data(struct copy *c)
{
	const struct copyin *talk = &c->talk;
	const struct record_param data = { 0, talk->format,
		talk->data.data != NULL ? talk->data.data : (const uint8_t *)"",
		talk->data.len };

	if (talk->dropped)
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
		.in_batch = c->talk.extended,
		.data = c->talk.data.data,
		.len = c->talk.data.len,
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
	wire_put(&c->s->client, c->talk.complete.data, c->talk.complete.len);
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
	put_end(c);
	end = counters_read(s, counters, NULL, &c->error);
	return read_end(c) ? end : EXCHANGE_LOST;
}

/* The settings that it runs under. */
static enum exchange_end
settle(struct copy *c)
{
	struct session *s = c->s;
	uint64_t n = c->talk.extended ? 0 : 1; /* how many is not known */
	enum exchange_end end;
	struct facts f;

	if (c->own_block)
		return EXCHANGE_DONE;
	if (facts_known(s, n)) {
		facts_settle(s, NULL, n);
		return EXCHANGE_DONE;
	}
	facts_put_settings(s, false);
	put_end(c);
	end = facts_read(s, s->txn, &f, NULL, &c->error);
	if (!read_end(c))
		return EXCHANGE_LOST;
	if (end == EXCHANGE_DONE)
		facts_settle(s, &f, n);
	return end;
}

static enum exchange_end
ask_before(struct copy *c)
{
	enum exchange_end end = settle(c);

	return end == EXCHANGE_DONE ? count(c, &c->before) : end;
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
	put_end(c);
	if (!read_end(c))
		return EXCHANGE_LOST;
	if (end == EXCHANGE_ERROR)
		return end;
	if (c->asides.reason != NULL ||
	    !counters_are_own(
		&c->before, &c->after, c->table->oid, STMT_INSERT, tag_rows(c)))
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

	if (c->talk.failed)
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
	if (c->own_block)
		return finish_own_block(c);
	if (rows == COPY_ROWS_FOUND && !c->talk.extended &&
	    block_run(s, COPY_ROWS_RELEASE, &c->error) == EXCHANGE_LOST)
		return STATEMENT_STOP;
	wire_put(&s->client, c->talk.complete.data, c->talk.complete.len);
	return answered(c);
}

static enum statement_step
run(struct copy *c, const struct message *m)
{
	struct session *s = c->s;

	c->own_block = !c->talk.extended && s->status == PQ_IDLE;
	/* The rows that it becomes are no smaller. */
	c->talk.limit = ((size_t)s->config->max_capture_bytes -
			    arena_used(s->txn->arena)) /
			2;
	if (c->talk.limit > MAX_DATA)
		c->talk.limit = MAX_DATA;
	if (c->own_block)
		switch (block_run(s, "BEGIN", &c->error)) {
		case EXCHANGE_LOST:
			return STATEMENT_STOP;
		case EXCHANGE_ERROR: /* a cancel, say */
			wire_skip(&s->client, m->raw_len);
			return answer_error(c);
		case EXCHANGE_DONE:
			break;
		}
	switch (ask_before(c)) {
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
	return copyin_run(&c->talk) ? finish(c) : STATEMENT_STOP;
}

enum statement_step
copy_run(struct session *s, const struct message *m, const char *text,
    const struct analyzed_statement *st)
{
	struct copy c = { .s = s,
		.stmt = st,
		.talk = { .s = s, .extended = m->type == PqMsg_Execute } };
	struct capture weighed = { .stmt = st };
	const char *reason = refusal(s, st, &c.table);
	enum statement_step step;

	if (s->lost)
		return STATEMENT_STOP;
	/* In a batch the error of a look-up is the batch's. */
	if (s->skipping)
		return STATEMENT_FORWARD;
	if (reason != NULL)
		return unsupported(s, text, st, reason);
	weighed.table = c.table;
	weigh_statement(s, &weighed);
	if (s->lost)
		return STATEMENT_STOP;
	if (s->skipping)
		return STATEMENT_FORWARD;
	step = statement_refuse_unverifiable(s);
	if (step != STATEMENT_FORWARD)
		return step;
	c.statement = statement_add(
	    s, text + st->text.at, st->text.len, st->type, st->kind);
	step = run(&c, m);
	buf_free(&c.talk.data);
	buf_free(&c.talk.complete);
	buf_free(&c.error);
	return step;
}
