/*
 * refusal.c: what pgwitness does not let pass.
 *
 * The server is given a statement that it cannot parse, so that its
 * transaction, and in the extended protocol the rest of the batch, goes the
 * way of any other error.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "refusal.h"

#include <stdio.h>

#include "exchange.h"
#include "log.h"
#include "pipeline.h"
#include "txn.h"

#define UNPARSABLE "pgwitness rejected it"

/* In a batch the ReadyForQuery comes with the client's Sync. */
static bool
answer(
    struct session *s, const char *sqlstate, const char *text, const char *hint)
{
	log_warning("rejected", "%s", text);
	wire_put_error(&s->client, "ERROR", sqlstate, text, hint);
	s->txn->saw_error = true;
	if (s->txn->intent && !commit_must_publish(s))
		return false;
	if (s->batch_open)
		return true;
	commit_answer_ready(s);
	return true;
}

/* Makes the server skip the rest of the batch. */
static bool
fail_batch(struct session *s, bool end_block)
{
	if (end_block)
		exchange_put(s, "ROLLBACK", NULL, 0);
	exchange_put(s, UNPARSABLE, NULL, 0);
	wire_put_empty(&s->server, PqMsg_Flush);
	if (end_block &&
	    exchange_read(s, NULL, NULL, NULL, NULL) == EXCHANGE_LOST)
		return false;
	if (end_block)
		s->status = PQ_IDLE;
	if (exchange_read(s, NULL, NULL, NULL, NULL) != EXCHANGE_ERROR)
		return false;
	pipeline_fail(s);
	return true;
}

/* An error ends a block or the implicit transaction; or sql does. */
static bool
fail_transaction(struct session *s, const char *sql)
{
	exchange_put(s, sql, NULL, 0);
	exchange_put_sync(s);
	return exchange_read(s, NULL, NULL, NULL, NULL) != EXCHANGE_LOST &&
	       exchange_read_ready(s, NULL, NULL) != EXCHANGE_LOST;
}

static bool
statement(
    struct session *s, const char *sqlstate, const char *text, const char *hint)
{
	if (!pipeline_catch_up(s))
		return false;
	if (s->batch_open) {
		if (s->skipping)
			return true; /* it would not have run anyway */
		if (!fail_batch(s, false))
			return false;
	} else if (s->status != PQ_IDLE && !fail_transaction(s, UNPARSABLE)) {
		return false;
	}
	return answer(s, sqlstate, text, hint);
}

bool
refusal_disk(struct session *s)
{
	return statement(s, "53100", REFUSAL_DISK, NULL);
}

bool
refusal_feature(struct session *s, const char *what, const char *reason)
{
	char text[256];

	snprintf(text, sizeof(text),
	    "pgwitness does not let this statement pass: %s (%s)", what,
	    reason);
	return statement(s, "0A000", text,
	    "See features.on_capture_failure and "
	    "features.on_unverifiable in pgwitness.conf.");
}

static bool
take_back(
    struct session *s, const char *sqlstate, const char *text, const char *hint)
{
	if (s->batch_open) {
		if (!fail_batch(s, s->status != PQ_IDLE))
			return false;
		return answer(s, sqlstate, text, hint);
	}
	return fail_transaction(
		   s, s->status == PQ_IDLE ? UNPARSABLE : "ROLLBACK") &&
	       answer(s, sqlstate, text, hint);
}

bool
refusal_commit(struct session *s, enum settled why)
{
	char text[256];

	if (why == SETTLED_STOP)
		return false;
	if (why == SETTLED_DISK)
		return take_back(s, "53100", REFUSAL_DISK, NULL);
	snprintf(text, sizeof(text),
	    "pgwitness rolled the transaction back: "
	    "its rows could not be captured exactly (%s)",
	    s->txn->reason);
	return take_back(s, "0A000", text,
	    "See features.on_capture_failure in pgwitness.conf.");
}
