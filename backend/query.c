/*
 * query.c: what happens to a simple Query.
 *
 *	INSERT, UPDATE, DELETE and kin	captured (dml.c)
 *	COPY FROM STDIN			captured (copy.c)
 *	COMMIT of a transaction with any	held until the record is durable
 *	anything else that may change rows	recorded as unsupported
 *	the rest, and what is not parsed	forwarded untouched
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "query.h"

#include <string.h>

#include "catalog.h"
#include "commit.h"
#include "copy.h"
#include "ddl.h"
#include "dml.h"
#include "exchange.h"
#include "execute.h"
#include "log.h"
#include "pipeline.h"
#include "quiet.h"
#include "several.h"
#include "txn.h"

static void
add(struct session *s, const char *text, const struct analyzed_statement *st)
{
	(void)statement_add(
	    s, text + st->text.at, st->text.len, st->type, st->kind);
}

/* Statements that may change rows and are not captured. */
static enum statement_step
record_unsupported(struct session *s, const struct message *m,
    const struct analysis *a, const char *reason, bool now)
{
	const char *text = (const char *)m->body;
	bool hide = s->config->log_statements == STATEMENTS_NORMALIZED;
	enum statement_step step = statement_refuse_unsupported(s, reason);

	if (step != STATEMENT_FORWARD)
		return step;
	for (size_t i = 0; a->parsed && i < a->n_statements; i++)
		if (a->n_statements == 1 ||
		    statement_unsupported(s, &a->statements[i], true))
			add(s, text, &a->statements[i]);
	if (!a->parsed)
		(void)txn_add_statement(
		    s->txn, hide ? "" : text, hide ? 0 : m->len - 1, "UNKNOWN");
	return statement_record_unsupported(s, reason, now);
}

/* COMMIT or PREPARE TRANSACTION of a block with statements to record. */
static enum statement_step
commit_block(struct session *s, const struct message *m)
{
	static const struct pipeline_entry query = { .type = PqMsg_Query };
	bool sync = false;

	switch (commit_hold(s, m, &query, &sync)) {
	case COMMIT_GO:
		return STATEMENT_FORWARD;
	case COMMIT_SENT:
	case COMMIT_REFUSED:
	case COMMIT_SKIPPED:
		return STATEMENT_DONE;
	case COMMIT_STOP:
		break;
	}
	return STATEMENT_STOP;
}

/* What it did is known when it is answered. */
static enum statement_step
savepoint(struct session *s, const struct message *m,
    const struct analyzed_statement *st)
{
	struct pipeline_entry e = { .type = PqMsg_Query };

	statement_note(s, st);
	if (quiet_savepoint(st->kind))
		quiet_note(s, 1);
	pipeline_set_savepoint(&e, st);
	pipeline_forward(s, m, &e);
	return STATEMENT_DONE;
}

static const struct analysis *
analysis_of(struct session *s, const struct message *m)
{
	return analyze(s->analyzer, (const char *)m->body, m->len - 1,
	    strcmp(session_parameter(s, PARAMETER_STRINGS), "on") == 0);
}

/* What it would run is captured in its place. */
static enum statement_step
execute(struct session *s, const struct message *m,
    const struct analyzed_statement *st)
{
	enum statement_step step = STATEMENT_FORWARD;
	const struct analysis *a;
	struct execute e;
	struct dml d = { 0 };

	switch (execute_look_up(s, st, &e)) {
	case EXECUTE_READS:
		break;
	case EXECUTE_DML:
		d.stmt = e.stmt;
		d.text = (const char *)e.text.data;
		d.len = e.text.len;
		d.values = e.values;
		step = dml_run(s, &d);
		break;
	case EXECUTE_UNKNOWN:
		a = analysis_of(s, m);
		statement_note(s, a->statements);
		step = record_unsupported(
		    s, m, a, "execute", s->status == PQ_IDLE);
		break;
	}
	execute_free(&e);
	return step;
}

static enum statement_step
single(struct session *s, const struct message *m, const struct analysis *a)
{
	const struct analyzed_statement *st = &a->statements[0];
	struct dml d = { .stmt = st,
		.text = (const char *)m->body,
		.len = m->len - 1 };
	const char *reason;

	if (statement_is_of_savepoint(st->kind))
		return savepoint(s, m, st);
	if (s->status == PQ_FAILED) {
		statement_note(s, st);
		return STATEMENT_FORWARD;
	}
	if ((st->kind == STMT_COMMIT || st->kind == STMT_PREPARE_TRANSACTION) &&
	    s->status == PQ_IN_BLOCK && s->txn->dirty && !s->txn->published) {
		statement_note(s, st);
		return commit_block(s, m);
	}
	if (st->kind == STMT_EXECUTE)
		return execute(s, m, st);
	if (dml_takes(st)) {
		statement_note(s, st);
		return dml_run(s, &d);
	}
	reason = statement_unsupported(s, st, true);
	ddl_note(s, d.text, st);
	statement_note(s, st);
	if (st->kind == STMT_BEGIN && s->txn->plain_begin)
		quiet_begin(s, 1);
	if (st->simple_read)
		quiet_select(s, st, 1);
	if (st->kind == STMT_COPY_FROM)
		return copy_run(s, m, d.text, st);
	if (reason == NULL)
		return STATEMENT_FORWARD;
	return record_unsupported(s, m, a, reason, s->status == PQ_IDLE);
}

/* One of several statements, or what may be one: not followed. */
static void
note_unseen(struct session *s, enum stmt_kind kind)
{
	if (kind == STMT_ROLLBACK_TO && s->txn->dirty)
		txn_degrade(s->txn, CAPTURE_UNSUPPORTED, "savepoint");
	if (statement_is_of_savepoint(kind))
		txn_lose_savepoints(s->txn);
}

/* One by one if that is the same; else nothing of it is followed. */
static enum statement_step
several(struct session *s, const struct message *m, const struct analysis *a)
{
	bool writes = false, ends = false;

	if (s->status != PQ_FAILED && several_takes(s, a))
		return several_run(s, m, a, single);
	for (size_t i = 0; i < a->n_statements; i++) {
		const struct analyzed_statement *st = &a->statements[i];

		if (statement_unsupported(s, st, s->status != PQ_FAILED) !=
		    NULL) {
			writes = true;
			s->txn->mixed = s->txn->mixed || ends;
		}
		ends = ends || statement_ends_transaction(st->kind);
		note_unseen(s, st->kind);
	}
	s->txn->ends = ends;
	if (s->status != PQ_FAILED)
		ddl_note_several(s, (const char *)m->body, a);
	if (writes || (ends && s->txn->dirty && !s->txn->published))
		return record_unsupported(s, m, a, "multiple_statements",
		    s->status != PQ_IN_BLOCK || ends);
	for (size_t i = 0; i < a->n_statements; i++)
		statement_note(s, &a->statements[i]);
	/* What a BEGIN in here means is only known afterwards. */
	s->txn->plain_begin = false;
	return STATEMENT_FORWARD;
}

static enum statement_step
decide(struct session *s, const struct message *m)
{
	const struct analysis *a;

	/* Without its NUL it is the server's to refuse. */
	if (s->bare || m->len == 0 || m->body[m->len - 1] != 0)
		return STATEMENT_FORWARD;
	a = analysis_of(s, m);
	if (!a->parsed) {
		log_debug("not_parsed", "%s", a->error);
		catalog_doubt(s);
		if (a->syntax_error)
			return STATEMENT_FORWARD;
		note_unseen(s, STMT_ROLLBACK_TO); /* maybe */
		if (s->status == PQ_FAILED)
			return STATEMENT_FORWARD;
		return record_unsupported(s, m, a, "not_parsed", true);
	}
	if (a->n_statements == 1)
		return single(s, m, a);
	if (a->n_statements > 1)
		return several(s, m, a);
	return STATEMENT_FORWARD;
}

enum statement_step
query_simple(struct session *s, const struct message *m)
{
	enum statement_step step = decide(s, m);

	if (step != STATEMENT_FORWARD)
		buf_reset(&s->lookup_error); /* it has another answer */
	else if (exchange_relay_lookup_error(s)) {
		commit_answer_ready(s);
		return STATEMENT_DONE;
	}
	return step;
}
