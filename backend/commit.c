/*
 * commit.c: how a transaction with statements to record ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "commit.h"

#include <string.h>

#include "block.h"
#include "catalog.h"
#include "commitment.h"
#include "ddl.h"
#include "exchange.h"
#include "killpoint.h"
#include "pipeline.h"
#include "portal.h"
#include "refusal.h"
#include "txn.h"

enum publish
commit_intent(struct session *s)
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
commit_must_publish(struct session *s)
{
	enum publish done = commit_intent(s);

	if (done == PUBLISH_REFUSED) {
		session_fatal(s, "53100", REFUSAL_DISK, NULL);
		s->fatal_seen = true;
	}
	return done == PUBLISH_DONE;
}

enum publish
commit_announce(struct session *s)
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

enum settled
commit_settle(struct session *s, struct facts *f)
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

static enum commit_step
unsettled(struct session *s, enum settled why)
{
	return refusal_commit(s, why) ? COMMIT_REFUSED : COMMIT_STOP;
}

/* Within a batch an error is the client's, and what follows is skipped. */
static enum exchange_end
read_facts_in_batch(struct session *s, struct facts *f)
{
	struct buf error = { 0 };
	enum exchange_end end = facts_read(s, s->txn, f, NULL, &error);

	if (end == EXCHANGE_ERROR) {
		pipeline_fail(s);
		wire_put(&s->client, error.data, error.len);
	}
	buf_free(&error);
	return end;
}

/* Behind an error the server skips a COMMIT that was sent: once more. */
static enum exchange_end
read_facts(struct session *s, struct facts *f, const struct message *sent)
{
	enum exchange_end end = facts_read(s, s->txn, f, NULL, NULL);

	if (end == EXCHANGE_LOST || (end == EXCHANGE_DONE && sent != NULL))
		return end;
	if (sent != NULL)
		exchange_put_sync(s);
	if (exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return EXCHANGE_LOST;
	if (sent != NULL)
		wire_put(&s->server, sent->raw, sent->raw_len);
	return end;
}

/*
 * Queues the question, and if nothing waits for its answer what commits.  The
 * answers to a Bind and a Describe of that come first: the pipeline knows of
 * the rest when they are there.
 */
static bool
put_end(struct session *s, const struct message *m, bool sent, bool sync)
{
	facts_put(s, s->txn, NULL, 0);
	if (sent)
		wire_put(&s->server, m->raw, m->raw_len);
	if (sync || (!sent && !s->batch_open))
		exchange_put_sync(s);
	else if (s->batch_open)
		wire_put_empty(&s->server, PqMsg_Flush);
	return pipeline_catch_up(s);
}

/* The server has skipped all of it: a Bind that failed, say. */
static enum commit_step
skipped(struct session *s, bool sync)
{
	if (s->txn->intent && !commit_must_publish(s))
		return COMMIT_STOP;
	if (sync)
		pipeline_push(s, PqMsg_Sync);
	return COMMIT_SKIPPED;
}

/* Of the COMMIT nothing has run yet: its Bind may have failed. */
static enum commit_step
refused(struct session *s, enum settled why)
{
	if (!pipeline_catch_up(s))
		return COMMIT_STOP;
	return s->skipping ? skipped(s, false) : unsettled(s, why);
}

/* Nothing is to be asked: it waits for nothing but the record. */
static enum commit_step
settle_told(struct session *s, struct facts *f)
{
	enum settled settled = commit_settle(s, f);

	if (settled != SETTLED_RECORDED && settled != SETTLED_NOTHING)
		return refused(s, settled);
	KILLPOINT("block_recorded");
	return COMMIT_GO;
}

enum commit_step
commit_hold(struct session *s, const struct message *m,
    const struct pipeline_entry *entry, bool *sync)
{
	bool sent = s->config->commit != COMMIT_BEFORE_COMMIT && m != NULL;
	enum exchange_end end;
	enum settled settled;
	struct facts f;

	*sync = *sync && sent;
	if (m != NULL && facts_told(s, &f)) {
		*sync = false;
		return settle_told(s, &f);
	}
	if (sent)
		switch (commit_announce(s)) {
		case PUBLISH_STOP:
			return COMMIT_STOP;
		case PUBLISH_REFUSED:
			*sync = false;
			return refused(s, SETTLED_DISK);
		case PUBLISH_DONE:
			break;
		}
	if (!put_end(s, m, sent, *sync))
		return COMMIT_STOP;
	if (s->skipping)
		return skipped(s, *sync);
	if (sent)
		*pipeline_push(s, entry->type) = *entry;
	if (*sync)
		pipeline_push(s, PqMsg_Sync);
	end = s->batch_open ? read_facts_in_batch(s, &f)
			    : read_facts(s, &f, sent ? m : NULL);
	switch (end) {
	case EXCHANGE_LOST:
		return COMMIT_STOP;
	case EXCHANGE_ERROR:
		/* Cancelled: the COMMIT will roll back, and say so. */
		if (s->txn->intent && !commit_must_publish(s))
			return COMMIT_STOP;
		break;
	case EXCHANGE_DONE:
		settled = commit_settle(s, &f);
		if (settled != SETTLED_RECORDED && settled != SETTLED_NOTHING)
			return unsettled(s, settled);
		/* Then its tables are what they were taken for, too. */
		if (s->txn->capture == CAPTURE_EXACT)
			facts_remember(s, &f, 0);
		break;
	}
	KILLPOINT("block_recorded");
	return sent ? COMMIT_SENT : COMMIT_GO;
}

/* OWN_COMMITTED: it may be. */
static enum own_end
settle_own_block(struct session *s, struct buf *error)
{
	enum settled settled;
	enum exchange_end end;
	struct facts f;

	facts_put(s, s->txn, NULL, 0);
	/* Without Sync the server is not idle while the record is written. */
	wire_put_empty(&s->server, PqMsg_Flush);
	end = facts_read(s, s->txn, &f, NULL, error);
	if (end == EXCHANGE_ERROR) {
		exchange_put_sync(s);
		if (exchange_read_ready(s, NULL, NULL) != EXCHANGE_LOST)
			return OWN_ERROR;
	}
	if (end != EXCHANGE_DONE)
		return OWN_LOST;
	settled = commit_settle(s, &f);
	if (settled != SETTLED_RECORDED && settled != SETTLED_NOTHING)
		return refusal_commit(s, settled) ? OWN_REFUSED : OWN_LOST;
	KILLPOINT("recorded");
	return OWN_COMMITTED;
}

enum own_end
commit_own_block(struct session *s, struct buf *error)
{
	enum own_end settled = OWN_COMMITTED;
	enum exchange_end end;

	if (s->txn->dirty)
		settled = settle_own_block(s, error);
	if (settled != OWN_COMMITTED)
		return settled;
	s->committing = s->txn->published;
	end = block_run(s, "COMMIT", error);
	s->committing = false;
	if (end == EXCHANGE_LOST)
		return OWN_LOST;
	/* A deferred constraint: the server sends that alone. */
	return end == EXCHANGE_ERROR ? OWN_ERROR : OWN_COMMITTED;
}

/* --- outcomes --- */

static enum record_outcome
outcome_at_end(const struct session *s)
{
	const struct txn *t = s->txn;

	/* One record stands for several transactions of one message. */
	if (t->mixed && (s->status != PQ_IDLE || !t->saw_commit ||
			    t->saw_rollback || t->saw_error))
		return OUTCOME_UNKNOWN;
	/* So it may where a procedure committed and failed then. */
	if (t->may_commit && t->saw_error)
		return OUTCOME_UNKNOWN;
	if (t->saw_prepare)
		return OUTCOME_PREPARED;
	if (t->saw_commit)
		return OUTCOME_COMMITTED;
	return t->saw_rollback || t->saw_error ? OUTCOME_ABORTED
					       : OUTCOME_COMMITTED;
}

void
commit_end(struct session *s)
{
	struct txn *t = s->txn;
	enum record_outcome o = outcome_at_end(s);

	ddl_publish(s, o);
	if (t->published) {
		publish_outcome(s, o, t->xid,
		    o == OUTCOME_UNKNOWN ? "several_transactions" : "");
	}
	s->styles += t->restyled;
	txn_reset(t);
	catalog_start(s);
}

void
commit_ready(struct session *s)
{
	const struct txn *t = s->txn;

	/* In a block: COMMIT AND CHAIN, or "COMMIT; BEGIN" in one message. */
	if (s->status == PQ_IDLE || (s->status == PQ_IN_BLOCK && t->ends &&
					(t->saw_commit || t->saw_rollback)))
		commit_end(s);
}

void
commit_answer_ready(struct session *s)
{
	if (s->one_answer)
		return;
	session_end_aside(s);
	session_put_ready(s, s->status);
	commit_ready(s);
}

void
commit_command_complete(struct session *s, const struct message *m)
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
