/*
 * copyin.c: the conversation of a COPY FROM STDIN, in either protocol.
 *
 * The data passes at full speed; beyond features.max_capture_bytes no copy is
 * kept.  The session does nothing else meanwhile: only copy data can come from
 * the client, and after its end nothing is read from there.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "copyin.h"

#include "commit.h"
#include "exchange.h"
#include "log.h"
#include "pipeline.h"

/* What is not copy data may be this long: PQ_SMALL_MESSAGE_LIMIT. */
#define MAX_SMALL 10000

/* --- from the server --- */

static void
take_answer(struct copyin *c, const struct message *m)
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
		c->ready = c->extended;
		break;
	case PqMsg_ErrorResponse:
		c->failed = true;
		wire_put(&s->client, m->raw, m->raw_len);
		c->ready = c->extended;
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

/* To CopyInResponse, or to the end. */
static bool
read_answers(struct copyin *c, bool to_end)
{
	struct message m;

	while (!c->ready && (to_end || !c->in)) {
		if (!session_server_message(c->s, &m))
			return false;
		take_answer(c, &m);
		session_take(c->s, &m);
	}
	return true;
}

/* What is there while data is on its way; false: the session must end. */
static bool
poll_answers(struct copyin *c)
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
keep(struct copyin *c, const uint8_t *p, size_t n)
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
pass_data(struct copyin *c)
{
	struct wire *client = &c->s->client;
	size_t n = wire_unread(client);

	if (n > client->pass_left)
		n = client->pass_left;
	keep(c, wire_data(client), n);
	wire_pass(client, &c->s->server);
}

/* A message's head: of copy data it passes, and the rest will. */
static enum wire_status
pass_head(struct copyin *c)
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
	if (type != PqMsg_CopyDone && type != PqMsg_CopyFail &&
	    type != PqMsg_Flush && type != PqMsg_Sync) {
		copyin_put_foreign(s, type);
		c->ended = c->foreign = true;
		return WIRE_MESSAGE;
	}
	if (raw_len > MAX_SMALL) {
		/* The server ends the session before it has read all of it. */
		wire_put(&s->server, wire_data(&s->client), 5);
		c->ended = c->foreign = true;
		return WIRE_MESSAGE;
	}
	status = wire_message(&s->client, &m);
	if (status != WIRE_MESSAGE)
		return status;
	c->ended = type == PqMsg_CopyDone || type == PqMsg_CopyFail;
	c->syncs += type == PqMsg_Sync;
	wire_put(&s->server, m.raw, m.raw_len);
	wire_skip(&s->client, m.raw_len);
	return WIRE_MESSAGE;
}

/* What was read of the client; false: the session must end. */
static bool
pass_client(struct copyin *c)
{
	struct session *s = c->s;
	enum wire_status status = WIRE_MESSAGE;

	while (!c->ended && status == WIRE_MESSAGE &&
	       wire_queued(&s->server) < WIRE_HIGH_WATER) {
		if (s->client.pass_left == 0)
			status = c->ready || c->failed ? WIRE_INCOMPLETE
						       : pass_head(c);
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
 * the end of the message that is under way.
 */
static bool
pass_all(struct copyin *c)
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

/* --- what is no copy data --- */

void
copyin_put_foreign(struct session *s, char type)
{
	wire_put_empty(&s->server, type);
	exchange_put_sync(s);
}

void
copyin_violation(struct session *s)
{
	log_info("bad_message", "closed a session: what it sent behind an "
				"error of COPY is no copy data");
	session_fatal(
	    s, "08P01", "unexpected message during COPY from stdin", NULL);
}

/* The server's last words, or, behind an error of the COPY, ours. */
static void
end_session(struct copyin *c)
{
	struct session *s = c->s;
	struct message m;

	while (session_server_message(s, &m)) {
		bool over = m.type == PqMsg_ReadyForQuery;

		if (!over)
			wire_put(&s->client, m.raw, m.raw_len);
		session_take(s, &m);
		if (over) {
			copyin_violation(s);
			return;
		}
	}
}

bool
copyin_run(struct copyin *c)
{
	if (!read_answers(c, false))
		return false;
	if (!c->ready && !pass_all(c))
		return false;
	if (c->foreign) {
		end_session(c);
		return false;
	}
	if (c->extended && !c->ready)
		wire_put_empty(&c->s->server, PqMsg_Flush);
	return read_answers(c, true);
}

bool
copyin_finish_message(struct copyin *c)
{
	c->ended = false;
	return pass_all(c);
}

/* --- Syncs among the data of one that failed --- */

/* Close tells those that were answered before it, and one of ours, from ours.
 */
bool
copyin_count_syncs(struct session *s, unsigned *n)
{
	bool marked = false;
	unsigned strip;
	struct message m;

	*n = 0;
	exchange_put_sync(s);
	exchange_put_close_one(&s->server, 'S', EXCHANGE_NAME);
	exchange_put_sync(s);
	while (session_server_message(s, &m)) {
		bool ready = m.type == PqMsg_ReadyForQuery && m.len == 1;

		marked = marked || m.type == PqMsg_CloseComplete;
		if (ready)
			(void)pipeline_answer(s, &m, &strip);
		session_take(s, &m);
		if (ready && marked)
			return *n > 0 && (*n)-- > 0;
		*n += ready;
	}
	return false;
}

bool
copyin_settle_syncs(struct session *s)
{
	bool in_batch = s->skipping;
	unsigned n;

	s->copy_syncs = 0;
	if (!copyin_count_syncs(s, &n))
		return false;
	if (n == 0) {
		/* The client's own is still to come. */
		s->dropping = in_batch;
		return true;
	}
	if (in_batch)
		pipeline_end_batch(s);
	for (; n > 0; n--)
		session_put_ready(s, s->status);
	commit_ready(s);
	return true;
}
