/*
 * publish.c: handing records and outcomes to replayd.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "publish.h"

#include "killpoint.h"
#include "log.h"
#include "procsig.h"

/* While a record waits for the disk only a shutdown ends the wait. */
static bool
stop_waiting(void *arg)
{
	struct session *s = arg;

	if (procsig_take(SIGTERM))
		s->terminate = true;
	return s->terminate && !s->committing;
}

static uint64_t
send_record(struct session *s, enum record_kind kind, const struct record *r)
{
	struct buf bytes = { 0 };
	uint64_t sequence;

	record_encode(r, &bytes);
	KILLPOINT("before_send");
	sequence = shmq_send(s->producer, (uint8_t)kind, bytes.data,
	    bytes.len, stop_waiting, s);
	buf_free(&bytes);
	return sequence;
}

bool
publish_record(struct session *s, const struct record *r)
{
	uint64_t sequence = send_record(s, RECORD_TRANSACTION, r);

	if (sequence == 0)
		return false;
	KILLPOINT("sent");
	return s->config->commit == COMMIT_ASYNC ||
	    shmq_wait_acked(s->producer, sequence, stop_waiting, s);
}

bool
publish_intent(struct session *s, const struct record *r)
{
	return send_record(s, RECORD_INTENT, r) != 0;
}

void
publish_outcome(struct session *s, enum record_outcome outcome, uint64_t xid,
    const char *reason)
{
	struct record_outcome_message m = {
		.outcome = outcome,
		.xid = xid,
		.resolved_by = "server",
		.reason = reason,
	};
	struct buf bytes = { 0 };

	KILLPOINT("committed");
	record_outcome_encode(&m, &bytes);
	if (shmq_send(s->producer, RECORD_OUTCOME, bytes.data, bytes.len,
	    stop_waiting, s) == 0)
		log_warning("outcome_not_sent", "shutting down before an "
		    "outcome could be handed over; replayd will ask the "
		    "server");
	buf_free(&bytes);
}
