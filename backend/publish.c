/*
 * publish.c: handing records and outcomes to replayd.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "publish.h"

#include "killpoint.h"
#include "log.h"
#include "procsig.h"

#define KEEP_BYTES ((size_t)64 << 10)

/* While a record waits for the disk only a shutdown ends the wait. */
static bool
stop_waiting(void *arg)
{
	struct session *s = arg;

	if (procsig_take(SIGTERM))
		s->terminate = true;
	return s->terminate && !s->committing;
}

static enum publish
from_answer(enum shmq_answer answer)
{
	switch (answer) {
	case SHMQ_OK:
		return PUBLISH_DONE;
	case SHMQ_REFUSED:
		return PUBLISH_REFUSED;
	case SHMQ_TOO_LONG:
		log_error("record_too_long",
		    "a record is longer than a lane "
		    "takes; see features.max_capture_bytes");
		return PUBLISH_REFUSED;
	case SHMQ_BROKEN:
		log_error("lane_broken", "the lane to replayd is damaged; "
					 "ending the session");
		return PUBLISH_STOP;
	case SHMQ_STOPPED:
		break;
	}
	return PUBLISH_STOP;
}

/* The commit has been sent, or will be: this cannot be refused any more. */
static enum publish
send_committed(struct session *s, enum record_kind kind, const struct buf *b)
{
	uint64_t sequence = shmq_send(
	    s->producer, (uint8_t)kind, b->data, b->len, stop_waiting, s);

	if (sequence == 0)
		return PUBLISH_STOP;
	KILLPOINT("sent");
	if (kind == RECORD_TRANSACTION &&
	    s->config->commit == COMMIT_BEFORE_ACK &&
	    !shmq_wait_acked(s->producer, sequence, stop_waiting, s))
		return PUBLISH_STOP;
	return PUBLISH_DONE;
}

/* In memory that the next one uses again, if it is not much. */
static const struct buf *
encode(struct session *s, const struct record *r)
{
	buf_reset(&s->encoded);
	record_encode(r, &s->encoded);
	return &s->encoded;
}

static void
forget_long(struct session *s)
{
	if (s->encoded.cap > KEEP_BYTES)
		buf_free(&s->encoded);
}

enum publish
publish_record(struct session *s, const struct record *r)
{
	const struct buf *bytes = encode(s, r);
	enum publish done;

	KILLPOINT("before_send");
	if (s->config->commit == COMMIT_BEFORE_COMMIT)
		done = from_answer(shmq_offer(s->producer, RECORD_TRANSACTION,
		    bytes->data, bytes->len, stop_waiting, s));
	else
		done = send_committed(s, RECORD_TRANSACTION, bytes);
	forget_long(s);
	return done;
}

enum publish
publish_intent(struct session *s, const struct record *r)
{
	enum publish done = from_answer(
	    shmq_admit(s->producer, stop_waiting, s));

	if (done != PUBLISH_DONE)
		return done;
	done = send_committed(s, RECORD_INTENT, encode(s, r));
	forget_long(s);
	return done;
}

void
publish_ddl(struct session *s, const struct record *r)
{
	struct buf bytes = { 0 };

	record_encode(r, &bytes);
	if (shmq_send(s->producer, RECORD_DDL, bytes.data, bytes.len,
		stop_waiting, s) == 0)
		log_warning("ddl_not_sent",
		    "shutting down before DDL could be handed over; replayd "
		    "will look at the server's definitions");
	buf_free(&bytes);
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
	struct buf *bytes = &s->encoded;

	KILLPOINT("committed");
	buf_reset(bytes);
	record_outcome_encode(&m, bytes);
	if (shmq_send(s->producer, RECORD_OUTCOME, bytes->data, bytes->len,
		stop_waiting, s) == 0)
		log_warning("outcome_not_sent",
		    "shutting down before an "
		    "outcome could be handed over; replayd will ask the "
		    "server");
}
