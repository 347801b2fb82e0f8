/*
 * dml.c: one INSERT, UPDATE or DELETE of the client's.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "dml.h"

#include "block.h"
#include "commit.h"
#include "exchange.h"
#include "facts.h"
#include "ioutil.h"
#include "joined.h"
#include "killpoint.h"
#include "log.h"
#include "pipeline.h"
#include "refusal.h"
#include "several.h"
#include "txn.h"
#include "watch.h"
#include "weigh.h"

/* How often what a statement touched beyond its scope is added to that. */
#define MAX_WIDENED 4

/* The transaction of this statement alone ends with it. */
static bool
is_alone(const struct dml *d, const struct capture *c)
{
	return c->autocommit && (d->bind == NULL || d->bind->sync_follows);
}

static void
set_params(struct session *s, const struct dml *d, uint32_t statement)
{
	if (d->bind != NULL || d->values.n > 0)
		txn_set_params(s->txn, statement, d->values.params, d->values.n,
		    s->config->log_statements != STATEMENTS_NORMALIZED);
}

static enum statement_step
unsupported(struct session *s, struct dml *d, const char *reason)
{
	enum statement_step step;

	/* A Bind that failed runs nothing. */
	if (!pipeline_catch_up(s))
		return STATEMENT_STOP;
	if (s->skipping)
		return STATEMENT_FORWARD;
	step = statement_refuse_unsupported(s, reason);
	if (step != STATEMENT_FORWARD)
		return step;
	set_params(s, d,
	    statement_add(s, d->text + d->stmt->text.at, d->stmt->text.len,
		d->stmt->type, d->stmt->kind));
	return statement_record_unsupported(s, reason, s->status == PQ_IDLE);
}

/* False: the connection is lost. */
static bool
commit_held(struct session *s, struct capture *c)
{
	enum exchange_end end;

	if (c->own_block) {
		end = block_run(s, "COMMIT", &c->error);
	} else {
		exchange_put_sync(s);
		end = exchange_read_ready(s, NULL, &c->error);
	}
	return end != EXCHANGE_LOST;
}

/* The captured statement's transaction: commit it, tell the client. */
static enum statement_step
finish_alone(struct session *s, struct dml *d, struct capture *c)
{
	enum settled settled = commit_settle(s, &c->facts);
	bool there = true;

	if (settled != SETTLED_RECORDED && settled != SETTLED_NOTHING)
		return refusal_commit(s, settled) ? STATEMENT_DONE
						  : STATEMENT_STOP;
	KILLPOINT("recorded");
	if (c->hold) {
		s->committing = settled == SETTLED_RECORDED;
		there = commit_held(s, c);
		s->committing = false;
		if (!there)
			return STATEMENT_STOP;
	}
	s->batch_open = false;
	d->sync_used = true;
	/* The server sends both if a deferred constraint fails at the commit
	 * of a batch; of a Query only the error. */
	if (c->error.len == 0 || d->bind != NULL)
		wire_put(&s->client, c->held.data, c->held.len);
	if (c->error.len > 0) {
		s->txn->saw_error = true;
		wire_put(&s->client, c->error.data, c->error.len);
	}
	commit_answer_ready(s);
	return STATEMENT_DONE;
}

static enum statement_step
finish(struct session *s, struct dml *d, struct capture *c, uint32_t statement)
{
	capture_apply(s, c, statement);
	watch_note(s, c);
	if (!c->alone)
		facts_settle(s, c->asks || c->settles ? &c->facts : NULL,
		    capture_messages(c));
	joined_end(s, c);
	d->done = !c->suspended;
	d->plain = capture_is_plain(c);
	d->n_own = c->n_own;
	d->suspended = c->suspended;
	if (is_alone(d, c))
		return finish_alone(s, d, c);
	several_put_complete(s, c->held.data, c->held.len);
	d->sync_used = c->sync_sent;
	if (d->sync_used)
		s->batch_open = false;
	if (d->bind == NULL || d->sync_used)
		commit_answer_ready(s);
	return STATEMENT_DONE;
}

static enum statement_step
statement_error(struct session *s, struct dml *d, struct capture *c)
{
	s->txn->saw_error = true;
	/* An intent's record follows, whatever happened. */
	if (s->txn->intent && !commit_must_publish(s))
		return STATEMENT_STOP;
	several_put_error(s, &c->error);
	d->sync_used = d->bind != NULL && (c->sync_sent || c->own_block);
	if (d->sync_used)
		s->batch_open = false;
	if (d->bind == NULL || d->sync_used)
		commit_answer_ready(s);
	else
		pipeline_fail(s);
	return STATEMENT_DONE;
}

/* With its commit in the same write it must be announced. */
static enum statement_step
announce(struct session *s, const struct capture *c)
{
	if (c->hold || !c->autocommit || s->txn->intent)
		return STATEMENT_FORWARD;
	return statement_published(s, commit_announce(s));
}

/* The client's own Bind, say, has failed: the server ran nothing of ours. */
static enum statement_step
skipped(struct session *s, struct dml *d, struct capture *c)
{
	if (s->txn->intent && !commit_must_publish(s))
		return STATEMENT_STOP;
	if (!c->sync_sent)
		return STATEMENT_FORWARD;
	s->skipping = false;
	if (exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return STATEMENT_STOP;
	s->batch_open = false;
	d->sync_used = true;
	commit_answer_ready(s);
	return STATEMENT_DONE;
}

/* What is left of statement_timeout, at least the least there is. */
static int64_t
time_left(const struct dml *d)
{
	int64_t left;

	if (d->timeout_ms == 0)
		return 0;
	left = d->timeout_ms - (io_monotonic_us() - d->started_us) / 1000;
	return left > 1 ? left : 1;
}

/* Nobody was told of anything, and nothing is left on the server. */
static enum statement_step
again(struct session *s, struct dml *d, bool less)
{
	d->rebind = d->bind != NULL;
	if (less && d->effort > CAPTURE_PLAIN)
		d->effort--;
	if (++d->attempts >= BLOCK_MAX_ATTEMPTS)
		d->effort = CAPTURE_PLAIN;
	d->again = true;
	txn_reset(s->txn);
	return STATEMENT_DONE;
}

static enum statement_step
capture(struct session *s, struct dml *d, struct capture *c)
{
	int64_t timeout_ms = time_left(d);
	enum statement_step step;
	uint32_t statement;

	/* A block of ours begins with a Sync. */
	if (c->own_block && !pipeline_catch_up(s))
		return STATEMENT_STOP;
	if (s->skipping)
		return STATEMENT_FORWARD;
	statement = statement_add(s, d->text + d->stmt->text.at,
	    d->stmt->text.len, d->stmt->type, d->stmt->kind);
	step = announce(s, c);
	if (step != STATEMENT_FORWARD)
		return step;
	set_params(s, d, statement);
	s->setting_aside = true;
	capture_put(s, c, timeout_ms);
	/* Answers to the client's Parse, Bind and Describe come first. */
	if (!pipeline_catch_up(s))
		return STATEMENT_STOP;
	if (s->skipping)
		return skipped(s, d, c);
	switch (capture_take(s, c, &timeout_ms)) {
	case CAPTURED:
		return finish(s, d, c, statement);
	case CAPTURE_STATEMENT_ERROR:
		return statement_error(s, d, c);
	case CAPTURE_SERIALIZATION:
		if (d->attempts >= BLOCK_MAX_ATTEMPTS)
			return statement_error(s, d, c);
		d->timeout_ms = d->attempts == 0 ? timeout_ms : d->timeout_ms;
		return again(s, d, false);
	case CAPTURE_WIDER:
		return again(s, d, ++d->widened > MAX_WIDENED);
	case CAPTURE_LESS:
		/* Without the scope's tables it was the last such try. */
		if (!c->scoped || c->serializable)
			d->effort = CAPTURE_BLOCK;
		return again(s, d, true);
	case CAPTURE_UNDONE:
		s->txn->n_statements = statement;
		if (c->joined) {
			d->rebind = d->bind != NULL;
			d->effort = CAPTURE_WHOLE;
			d->again = true;
			return STATEMENT_DONE;
		}
		/* The scope's tables could not be read, say. */
		if (c->visiting) {
			d->effort = CAPTURE_BLOCK;
			d->again = true;
			return STATEMENT_DONE;
		}
		d->rebind = d->rebind ||
			    (d->bind != NULL && c->autocommit);
		return unsupported(s, d, "capture_failed");
	case CAPTURE_CONNECTION_LOST:
		break;
	}
	return STATEMENT_STOP;
}

static enum statement_step
run_once(struct session *s, struct dml *d)
{
	struct capture c;
	enum statement_step step;
	uint64_t doubts = s->doubts;
	const char *reason = capture_prepare(
	    s, &c, d->stmt, d->text, d->len, d->bind, &d->values, d->effort);

	if (reason == NULL && weigh_runs_twice_badly(s, &c))
		reason = "volatile_predicate";
	/* An intent for this transaction is durable already: it says so. */
	if (reason == NULL && s->txn->published)
		reason = "after_intent";
	if (s->lost)
		return STATEMENT_STOP;
	if (s->skipping)
		return STATEMENT_FORWARD;
	if (reason != NULL)
		return unsupported(s, d, reason);
	/* Look-ups end here: the captured transaction has no Sync of ours. */
	weigh_statement(s, &c);
	c.sure = s->doubts == doubts;
	if (c.sure && d->effort == CAPTURE_JOINED)
		joined_prepare(s, &c);
	if (!c.joined && d->effort == CAPTURE_JOINED)
		d->effort = CAPTURE_WHOLE;
	watch_prepare(s, &c);
	if (s->lost)
		return STATEMENT_STOP;
	if (s->skipping || s->lookup_error.len > 0)
		return STATEMENT_FORWARD;
	step = statement_refuse_unverifiable(s);
	if (step != STATEMENT_FORWARD)
		return step;
	step = capture(s, d, &c);
	session_end_aside(s);
	capture_free(&c);
	return step;
}

bool
dml_takes(const struct analyzed_statement *st)
{
	switch ((int)st->kind) {
	case STMT_INSERT:
	case STMT_UPDATE:
	case STMT_DELETE:
	case STMT_MERGE:
	case STMT_TRUNCATE:
		return true;
	case STMT_SELECT:
		return st->writes;
	case STMT_EXPLAIN:
		/* Not EXECUTE: what that would run cannot be seen. */
		return st->explain_analyze && st->writes && st->n_relations > 0;
	default:
		return false;
	}
}

enum statement_step
dml_run(struct session *s, struct dml *d)
{
	enum statement_step step;

	d->started_us = io_monotonic_us();
	d->effort = CAPTURE_JOINED;
	do {
		d->again = false;
		step = run_once(s, d);
	} while (d->again);
	return step;
}
