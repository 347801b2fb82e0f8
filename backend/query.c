/*
 * query.c: what happens to a simple Query.
 *
 *	one INSERT, UPDATE or DELETE	captured (capture.c)
 *	COMMIT of a transaction with any	held until the record is durable
 *	anything else that may change rows	recorded as unsupported
 *	the rest, and what is not parsed	forwarded untouched
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "query.h"

#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "catalog.h"
#include "commitment.h"
#include "exchange.h"
#include "killpoint.h"
#include "log.h"
#include "publish.h"
#include "txn.h"
#include "weigh.h"

static void
forward(struct session *s, const struct message *m)
{
	wire_put(&s->server, m->raw, m->raw_len);
	s->pending_ready++;
}

static void
put_ready(struct session *s)
{
	size_t at = wire_begin(&s->client, PqMsg_ReadyForQuery);

	buf_put_u8(&s->client.out, (uint8_t)s->status);
	wire_end(&s->client, at);
}

#define DISK_TROUBLE \
	"pgwitness cannot record this transaction: its disk is full or " \
	"failing"

enum publish
query_publish_intent(struct session *s)
{
	struct record r;
	enum publish done;

	if (s->txn->published)
		return PUBLISH_DONE;
	commitment_make(s, s->txn, NULL, &r);
	done = publish_record(s, &r);
	if (done == PUBLISH_DONE) {
		s->txn->published = true;
		s->txn->intent = false;
	}
	return done;
}

bool
query_must_publish(struct session *s)
{
	enum publish done = query_publish_intent(s);

	if (done == PUBLISH_REFUSED) {
		session_fatal(s, "53100", DISK_TROUBLE, NULL);
		s->fatal_seen = true;
	}
	return done == PUBLISH_DONE;
}

/*
 * Below before_commit: what is about to be sent with its commit.  A child that
 * dies before its record leaves `capture_lost`.
 */
static enum publish
announce(struct session *s)
{
	struct record r;
	enum publish done;

	if (s->config->commit == COMMIT_BEFORE_COMMIT)
		return PUBLISH_DONE;
	commitment_make(s, s->txn, NULL, &r);
	done = publish_intent(s, &r);
	s->txn->intent = done == PUBLISH_DONE;
	return done;
}

/* --- how transactions end --- */

static enum record_outcome
outcome_at_end(const struct session *s)
{
	const struct txn *t = s->txn;

	/* One record stands for several transactions of one message. */
	if (t->mixed && (s->status != PQ_IDLE || !t->saw_commit ||
			    t->saw_rollback || t->saw_error))
		return OUTCOME_UNKNOWN;
	if (t->saw_prepare)
		return OUTCOME_PREPARED;
	if (t->saw_commit)
		return OUTCOME_COMMITTED;
	return t->saw_rollback || t->saw_error ? OUTCOME_ABORTED
					       : OUTCOME_COMMITTED;
}

void
query_transaction_end(struct session *s)
{
	struct txn *t = s->txn;

	if (t->published) {
		enum record_outcome o = outcome_at_end(s);

		publish_outcome(s, o, t->xid,
		    o == OUTCOME_UNKNOWN ? "several_transactions" : "");
	}
	txn_reset(t);
	catalog_start(s->catalog);
}

void
query_ready(struct session *s)
{
	const struct txn *t = s->txn;

	/* In a block: COMMIT AND CHAIN, or "COMMIT; BEGIN" in one message. */
	if (s->status == PQ_IDLE || (s->status == PQ_IN_BLOCK && t->ends &&
					(t->saw_commit || t->saw_rollback)))
		query_transaction_end(s);
}

void
query_command_complete(struct session *s, const struct message *m)
{
	const char *tag = (const char *)m->body;

	if (m->len == 0 || m->body[m->len - 1] != 0)
		return;
	if (strcmp(tag, "COMMIT") == 0)
		s->txn->saw_commit = true;
	else if (strcmp(tag, "ROLLBACK") == 0)
		s->txn->saw_rollback = true;
	else if (strcmp(tag, "PREPARE TRANSACTION") == 0)
		s->txn->saw_prepare = true;
}

void
query_error(struct session *s)
{
	s->txn->saw_error = true;
}

/* --- refusing --- */

static bool
answer_refusal(
    struct session *s, const char *sqlstate, const char *text, const char *hint)
{
	log_warning("rejected", "%s", text);
	wire_put_error(&s->client, "ERROR", sqlstate, text, hint);
	query_error(s);
	if (s->txn->intent && !query_must_publish(s))
		return false;
	put_ready(s);
	query_ready(s);
	return true;
}

/*
 * A statement that is not sent.  In a transaction block the server's
 * transaction is made to fail too, so that the status is what an error leaves.
 */
static bool
reject(
    struct session *s, const char *sqlstate, const char *text, const char *hint)
{
	if (s->status != PQ_IDLE &&
	    exchange_query(s, "pgwitness rejected it", NULL, 0, NULL, NULL,
		NULL) == EXCHANGE_LOST)
		return false;
	return answer_refusal(s, sqlstate, text, hint);
}

/* Takes back a transaction whose commit is still held. */
static bool
reject_commit(
    struct session *s, const char *sqlstate, const char *text, const char *hint)
{
	/* Without a block an error ends the implicit transaction. */
	exchange_put(s,
	    s->status == PQ_IDLE ? "pgwitness rejected it" : "ROLLBACK", NULL,
	    0);
	exchange_put_sync(s);
	if (exchange_read(s, NULL, NULL, NULL, NULL) == EXCHANGE_LOST ||
	    exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return false;
	return answer_refusal(s, sqlstate, text, hint);
}

/* By [features]: what could not be captured or verified does not pass. */
static bool
reject_feature(struct session *s, const char *what, const char *reason)
{
	char text[256];

	snprintf(text, sizeof(text),
	    "pgwitness does not let this statement "
	    "pass: %s (%s)",
	    what, reason);
	return reject(s, "0A000", text,
	    "See features.on_capture_failure and "
	    "features.on_unverifiable in pgwitness.conf.");
}

/* --- what statements do --- */

static enum function_class
worst_function(
    struct session *s, const struct analyzed_statement *st, bool may_ask)
{
	enum function_class worst = FUNCTION_PURE;

	for (size_t i = 0; i < st->n_functions; i++) {
		enum function_class class = catalog_function(
		    s, st->functions[i].schema, st->functions[i].name, may_ask);

		/* FUNCTION_USER reads only; the classes above it write. */
		if (class > worst && class != FUNCTION_USER)
			worst = class;
	}
	return worst;
}

static bool may_write(enum function_class class)
{
	return class == FUNCTION_WRITES || class == FUNCTION_USER_VOLATILE ||
	       class == FUNCTION_UNKNOWN;
}

const char *
query_unsupported(
    struct session *s, const struct analyzed_statement *st, bool may_ask)
{
	switch ((int)st->kind) {
	case STMT_INSERT:
	case STMT_UPDATE:
	case STMT_DELETE:
		return "dml";
	case STMT_MERGE:
		return "merge";
	case STMT_SELECT_INTO:
		return "select_into";
	case STMT_COPY_FROM:
		return "copy_from";
	case STMT_TRUNCATE:
		return "truncate";
	case STMT_CALL:
		return "call";
	case STMT_DO:
		return "do";
	case STMT_EXECUTE:
		return "execute";
	case STMT_PREPARE:
	case STMT_DDL:
		return NULL;
	default:
		break;
	}
	if (st->kind == STMT_EXPLAIN && !st->explain_analyze)
		return NULL;
	if (st->writes)
		return st->kind == STMT_EXPLAIN ? "explain_analyze"
						: "modifying_cte";
	return may_write(worst_function(s, st, may_ask)) ? "function" : NULL;
}

static bool
ends_transaction(const struct analyzed_statement *st)
{
	return st->kind == STMT_COMMIT || st->kind == STMT_ROLLBACK ||
	       st->kind == STMT_PREPARE_TRANSACTION;
}

static bool
is_one_of(const char *name, const char *const *list)
{
	for (; *list != NULL; list++)
		if (strcmp(name, *list) == 0)
			return true;
	return false;
}

/* SET may change what names mean, and what the captured texts look like. */
static void
note_set(struct session *s, const struct analyzed_statement *st)
{
	static const char *const names[] = { "", "search_path", "role",
		"session_authorization", NULL };
	static const char *const harmless[] = { "application_name",
		"constraints", "statement_timeout", "lock_timeout", NULL };
	const char *name = st->set_name != NULL ? st->set_name : "";

	if (is_one_of(name, names))
		catalog_flush(s->catalog);
	if (is_one_of(name, harmless))
		return;
	s->txn->plain_begin = false;
	if (s->txn->dirty)
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "settings");
}

void
query_note(struct session *s, const struct analyzed_statement *st)
{
	struct txn *t = s->txn;

	if (ends_transaction(st))
		t->ends = true;
	switch ((int)st->kind) {
	case STMT_BEGIN:
		t->plain_begin = s->status == PQ_IDLE && !st->begin_options;
		break;
	case STMT_SET:
		note_set(s, st);
		break;
	case STMT_ROLLBACK_TO:
		if (t->dirty)
			txn_degrade(t, CAPTURE_UNSUPPORTED, "savepoint");
		break;
	case STMT_DDL:
	case STMT_DISCARD:
	case STMT_DO:
	case STMT_CALL:
	case STMT_SELECT_INTO:
	case STMT_OTHER:
		catalog_flush(s->catalog);
		break;
	default:
		break;
	}
	for (size_t i = 0; i < st->n_functions; i++)
		if (strcmp(st->functions[i].name, "set_config") == 0) {
			catalog_flush(s->catalog);
			t->plain_begin = false;
			if (t->dirty)
				txn_degrade(t, CAPTURE_INCOMPLETE, "settings");
		}
}

/* --- recording --- */

static void
add_statement(struct session *s, const char *text,
    const struct analyzed_statement *st, uint32_t *index)
{
	const char *sql = text + st->text.at;
	size_t len = st->text.len;
	char *normal = NULL;
	uint32_t i;

	if (s->config->log_statements == STATEMENTS_NORMALIZED) {
		normal = analyze_normalize(sql, len);
		/* Replay needs the literals. */
		txn_unverifiable(s->txn, "normalized");
		sql = normal != NULL ? normal : "";
		len = strlen(sql);
	}
	i = txn_add_statement(s->txn, sql, len, st->type, 0);
	if (index != NULL)
		*index = i;
	free(normal);
}

/*
 * A statement or message that may change rows and is not captured.  Inside a
 * block the record is made at the COMMIT; otherwise now, before the commit can
 * happen.
 */
static bool
record_unsupported(struct session *s, const struct message *m,
    const struct analysis *a, const char *reason, bool now)
{
	const char *text = (const char *)m->body;

	if (s->config->on_capture_failure == POLICY_REJECT)
		return reject_feature(
		    s, "the rows it changes cannot be captured", reason);
	if (a->parsed) {
		for (size_t i = 0; i < a->n_statements; i++)
			if (a->n_statements == 1 ||
			    query_unsupported(s, &a->statements[i], true))
				add_statement(s, text, &a->statements[i], NULL);
	} else {
		bool hide = s->config->log_statements == STATEMENTS_NORMALIZED;

		(void)txn_add_statement(s->txn, hide ? "" : text,
		    hide ? 0 : m->len - 1, "UNKNOWN", 0);
	}
	txn_degrade(s->txn, CAPTURE_UNSUPPORTED, reason);
	if (now)
		switch (query_publish_intent(s)) {
		case PUBLISH_STOP:
			return false;
		case PUBLISH_REFUSED:
			return reject(s, "53100", DISK_TROUBLE, NULL);
		case PUBLISH_DONE:
			break;
		}
	forward(s, m);
	return true;
}

enum settled {
	SETTLED_RECORDED,
	SETTLED_NOTHING,
	SETTLED_REJECT,
	SETTLED_DISK,
	SETTLED_STOP
};

/* Makes the record durable; the commit is held, or has been announced. */
static enum settled
settle(struct session *s, struct facts *f)
{
	struct txn *t = s->txn;
	struct record r;

	facts_judge(s, t, f);
	if (f->xid == 0 && t->images && !txn_has_rows(t) && !t->intent)
		return SETTLED_NOTHING;
	if (t->capture != CAPTURE_EXACT && !t->intent &&
	    s->config->on_capture_failure == POLICY_REJECT)
		return SETTLED_REJECT;
	commitment_make(s, t, f, &r);
	switch (publish_record(s, &r)) {
	case PUBLISH_STOP:
		return SETTLED_STOP;
	case PUBLISH_REFUSED:
		return SETTLED_DISK;
	case PUBLISH_DONE:
		break;
	}
	t->published = true;
	t->intent = false;
	t->xid = f->xid;
	return SETTLED_RECORDED;
}

/* What settle() could not do: the transaction is taken back. */
static bool
unsettled(struct session *s, enum settled why)
{
	char text[256];

	if (why == SETTLED_STOP)
		return false;
	if (why == SETTLED_DISK)
		return reject_commit(s, "53100", DISK_TROUBLE, NULL);
	snprintf(text, sizeof(text),
	    "pgwitness rolled the transaction back: "
	    "its rows could not be captured exactly (%s)",
	    s->txn->reason);
	return reject_commit(s, "0A000", text,
	    "See features.on_capture_failure in pgwitness.conf.");
}

/* COMMIT or PREPARE TRANSACTION of a block with statements to record. */
static bool
commit_block(struct session *s, const struct message *m)
{
	bool hold = s->config->commit == COMMIT_BEFORE_COMMIT, left;
	struct facts f;
	enum exchange_end end;
	enum settled settled;

	switch (announce(s)) {
	case PUBLISH_STOP:
		return false;
	case PUBLISH_REFUSED:
		return unsettled(s, SETTLED_DISK);
	case PUBLISH_DONE:
		break;
	}
	facts_put(s, s->txn, NULL);
	exchange_put_sync(s);
	if (!hold)
		forward(s, m);
	end = facts_read(s, s->txn, &f, NULL);
	if (end == EXCHANGE_LOST)
		return false;
	/* Behind a COMMIT that is under way nothing can be cleaned up. */
	left = s->left_behind && !hold;
	s->left_behind = s->left_behind && hold;
	if (exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return false;
	s->left_behind = left;
	if (end == EXCHANGE_ERROR) {
		/* Cancelled: the COMMIT will roll back, and say so. */
		if (s->txn->intent && !query_must_publish(s))
			return false;
	} else {
		settled = settle(s, &f);
		if (settled != SETTLED_RECORDED && settled != SETTLED_NOTHING)
			return unsettled(s, settled);
	}
	KILLPOINT("block_recorded");
	if (hold)
		forward(s, m);
	return true;
}

/* The captured statement's transaction: commit it, tell the client. */
static bool
finish_autocommit(struct session *s, struct capture *c)
{
	enum exchange_end end;
	enum settled settled = settle(s, &c->facts);

	if (settled != SETTLED_RECORDED && settled != SETTLED_NOTHING)
		return unsettled(s, settled);
	KILLPOINT("recorded");
	if (c->hold) {
		s->committing = settled == SETTLED_RECORDED;
		exchange_put_sync(s);
		end = exchange_read_ready(s, NULL, &c->error);
		s->committing = false;
		if (end == EXCHANGE_LOST)
			return false;
	}
	if (c->error.len > 0) {
		query_error(s);
		wire_put(&s->client, c->error.data, c->error.len);
	} else {
		wire_put(&s->client, c->held.data, c->held.len);
	}
	put_ready(s);
	query_ready(s);
	return true;
}

static bool
finish_captured(struct session *s, struct capture *c, uint32_t statement)
{
	capture_apply(s, c, statement);
	if (c->autocommit)
		return finish_autocommit(s, c);
	wire_put(&s->client, c->held.data, c->held.len);
	put_ready(s);
	return true;
}

static bool
run_capture(struct session *s, const struct message *m,
    const struct analysis *a, struct capture *c)
{
	uint32_t statement;

	add_statement(s, c->text, c->stmt, &statement);
	if (c->autocommit)
		switch (announce(s)) {
		case PUBLISH_STOP:
			return false;
		case PUBLISH_REFUSED:
			return reject(s, "53100", DISK_TROUBLE, NULL);
		case PUBLISH_DONE:
			break;
		}
	switch (capture_run(s, c)) {
	case CAPTURED:
		return finish_captured(s, c, statement);
	case CAPTURE_STATEMENT_ERROR:
		query_error(s);
		/* An intent's record follows, whatever happened. */
		if (s->txn->intent && !query_must_publish(s))
			return false;
		wire_put(&s->client, c->error.data, c->error.len);
		put_ready(s);
		query_ready(s);
		return true;
	case CAPTURE_UNDONE:
		s->txn->n_statements = statement;
		return record_unsupported(
		    s, m, a, "capture_failed", c->autocommit);
	case CAPTURE_CONNECTION_LOST:
		break;
	}
	return false;
}

static bool
data_statement(
    struct session *s, const struct message *m, const struct analysis *a)
{
	const struct analyzed_statement *st = &a->statements[0];
	struct capture c;
	const char *reason = capture_prepare(
	    s, &c, st, (const char *)m->body, m->len - 1);
	bool ok;

	if (reason == NULL && weigh_runs_twice_badly(s, &c))
		reason = "volatile_predicate";
	/* An intent for this transaction is durable already: it says so. */
	if (reason == NULL && s->txn->published)
		reason = "after_intent";
	if (reason != NULL)
		return record_unsupported(
		    s, m, a, reason, s->status == PQ_IDLE);
	/* Look-ups end here: the captured transaction has no Sync of ours. */
	weigh_statement(s, &c);
	if (s->config->on_unverifiable == POLICY_REJECT &&
	    s->txn->unverifiable[0] != '\0')
		return reject_feature(
		    s, "it could not be verified", s->txn->unverifiable);
	ok = run_capture(s, m, a, &c);
	capture_free(&c);
	return ok;
}

/* --- deciding --- */

static bool
single(struct session *s, const struct message *m, const struct analysis *a)
{
	const struct analyzed_statement *st = &a->statements[0];
	const char *reason;

	if (s->status == PQ_FAILED) {
		query_note(s, st); /* ROLLBACK TO brings it back */
		forward(s, m);
		return true;
	}
	if ((st->kind == STMT_COMMIT || st->kind == STMT_PREPARE_TRANSACTION) &&
	    s->status == PQ_IN_BLOCK && s->txn->dirty && !s->txn->published) {
		query_note(s, st);
		return commit_block(s, m);
	}
	if (st->kind == STMT_INSERT || st->kind == STMT_UPDATE ||
	    st->kind == STMT_DELETE)
		return data_statement(s, m, a);
	reason = query_unsupported(s, st, true);
	query_note(s, st);
	if (reason != NULL)
		return record_unsupported(
		    s, m, a, reason, s->status == PQ_IDLE);
	forward(s, m);
	return true;
}

/* Never split: positions and implicit transactions would change. */
static bool
several(struct session *s, const struct message *m, const struct analysis *a)
{
	bool writes = false, ends = false;

	for (size_t i = 0; i < a->n_statements; i++) {
		const struct analyzed_statement *st = &a->statements[i];

		if (query_unsupported(s, st, s->status != PQ_FAILED) != NULL) {
			writes = true;
			s->txn->mixed = s->txn->mixed || ends;
		}
		ends = ends || ends_transaction(st);
	}
	s->txn->ends = ends;
	if (writes || (ends && s->txn->dirty && !s->txn->published))
		return record_unsupported(s, m, a, "multiple_statements",
		    s->status != PQ_IN_BLOCK || ends);
	for (size_t i = 0; i < a->n_statements; i++)
		query_note(s, &a->statements[i]);
	/* What a BEGIN in here means is only known afterwards. */
	s->txn->plain_begin = false;
	forward(s, m);
	return true;
}

bool
query_simple(struct session *s, const struct message *m)
{
	const struct analysis *a;

	/* Without its NUL it is the server's to refuse. */
	if (s->replication || m->len == 0 || m->body[m->len - 1] != 0) {
		forward(s, m);
		return true;
	}
	a = analyze(s->analyzer, (const char *)m->body, m->len - 1,
	    strcmp(session_parameter(s, "standard_conforming_strings"), "on") ==
		0);
	if (!a->parsed) {
		log_debug("not_parsed", "%s", a->error);
		catalog_flush(s->catalog);
		if (a->syntax_error || s->status == PQ_FAILED) {
			forward(s, m);
			return true;
		}
		return record_unsupported(s, m, a, "not_parsed", true);
	}
	if (a->n_statements == 1)
		return single(s, m, a);
	if (a->n_statements > 1)
		return several(s, m, a);
	forward(s, m);
	return true;
}
