/*
 * relay.c: the session's main loop: messages of both sides, by a table from
 * message type to handler.
 *
 * What has no handler is forwarded as it comes, without waiting for its end.
 * Both sides are always read, unless the other does not take what is queued.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "relay.h"

#include <string.h>

#include "binding.h"
#include "commit.h"
#include "copyin.h"
#include "extended.h"
#include "ioutil.h"
#include "log.h"
#include "pipeline.h"
#include "portal.h"
#include "query.h"
#include "quiet.h"
#include "statement.h"
#include "strip.h"
#include "txn.h"

/* Messages that are looked at whole may be this long. */
#define MAX_WHOLE ((size_t)64 * 1024 * 1024)
/* PG_MAX_AUTH_TOKEN_LENGTH: nobody who is not admitted takes more memory. */
#define MAX_AUTH_MESSAGE ((size_t)65535 + 5)
/* For what is queued when the session is over. */
#define LAST_WORDS_US 1000000

enum next {
	NEXT,        /* handled: go on with the next message */
	TAKEN,       /* likewise, and it is off the queue */
	AGAIN_LATER, /* not before the server has answered more */
	NEED_MORE,   /* not all of the message is there */
	STOP         /* the session ends */
};

struct relay {
	struct session *s;
	bool flushed;     /* a Flush of ours is on its way */
	bool client_done; /* Terminate, or its connection ended */
	bool terminated;  /* by Terminate: it may still read */
	bool foreign;     /* amid copy data it sent what is none */
};

typedef enum next (*message_fn)(struct relay *r, const struct message *m);

static void
forward(struct wire *to, const struct message *m)
{
	wire_put(to, m->raw, m->raw_len);
}

/* --- from the client --- */

/* It has an answer of its own, and ends with ReadyForQuery. */
static enum next
forward_to_ready(struct session *s, const struct message *m)
{
	struct pipeline_entry e = { .type = m->type, .number = s->ran };

	s->executions++;
	pipeline_forward(s, m, &e);
	return NEXT;
}

/*
 * It ends what the batch began.  What the batch changed is recorded before
 * its commit, without images.
 */
static bool
end_batch(struct session *s, const char *type, const char *reason)
{
	s->batch_open = false;
	s->batch_executions = 0;
	if (s->bare)
		return true;
	(void)txn_add_statement(s->txn, "", 0, type);
	txn_degrade(s->txn, CAPTURE_UNSUPPORTED, reason);
	session_doubt(s);
	return commit_must_publish(s);
}

/* Inside a batch the server answers when it is asked to. */
static enum next
wait_for_answers(struct relay *r)
{
	if (r->s->batch_open && !r->flushed)
		wire_put_empty(&r->s->server, PqMsg_Flush);
	r->flushed = true;
	return AGAIN_LATER;
}

static enum next
run_query(struct session *s, const struct message *m)
{
	/* A Query drops the unnamed statement. */
	if (portals_has_prepared(s->portals))
		portals_confirm(
		    s->portals, portals_put_prepared(s->portals, "", NULL));
	switch (query_simple(s, m)) {
	case STATEMENT_FORWARD:
		return forward_to_ready(s, m);
	case STATEMENT_DONE:
		s->executions++;
		return NEXT;
	case STATEMENT_TAKEN:
		s->executions++;
		return TAKEN;
	case STATEMENT_STOP:
		break;
	}
	return STOP;
}

/* Nothing ran since the last Sync: another one of ours changes nothing. */
static enum next
on_query_in_idle_batch(struct relay *r, const struct message *m)
{
	struct session *s = r->s;

	if (!pipeline_catch_up(s))
		return STOP;
	if (s->skipping) {
		forward(&s->server, m);
		return NEXT;
	}
	s->batch_open = false;
	return run_query(s, m);
}

/* After an error in a batch only the server can say what it is. */
static bool
forward_unseen(struct session *s, const struct message *m)
{
	if (!s->skipping)
		return false;
	if (!s->dropping)
		forward(&s->server, m);
	return true;
}

/* No copy data, amid that: nothing more is read of the client. */
static enum next
foreign(struct relay *r, char type)
{
	copyin_put_foreign(r->s, type);
	(void)pipeline_push(r->s, PqMsg_Sync);
	r->foreign = true;
	return AGAIN_LATER;
}

static enum next
on_query(struct relay *r, const struct message *m)
{
	struct session *s = r->s;

	if (s->copy_in)
		return foreign(r, m->type);
	if (!s->skipping && pipeline_is_light(s) &&
	    !kept_hide(s, (const char *)m->body, m->len))
		return STOP;
	if (forward_unseen(s, m))
		return NEXT;
	if (!pipeline_is_light(s))
		return wait_for_answers(r);
	r->flushed = false;
	if (s->batch_open && s->batch_executions == 0)
		return on_query_in_idle_batch(r, m);
	if (s->batch_open) {
		if (!end_batch(s, "UNKNOWN", "mixed_protocols"))
			return STOP;
		return forward_to_ready(s, m);
	}
	return run_query(s, m);
}

static bool
sync_follows(const struct session *s, const struct message *m)
{
	size_t left = wire_unread(&s->client) - m->raw_len;
	const uint8_t *next = m->raw + m->raw_len;

	return left >= 5 && next[0] == PqMsg_Sync && get_u32(next + 1) == 4;
}

static enum next
on_extended(struct relay *r, const struct message *m)
{
	struct session *s = r->s;

	if (s->copy_in && m->type != PqMsg_Sync)
		return foreign(r, m->type);
	switch (extended_message(s, m, sync_follows(s, m))) {
	case EXTENDED_STOP:
		return STOP;
	case EXTENDED_WAIT:
		return wait_for_answers(r);
	case EXTENDED_TAKEN_SYNC:
		wire_skip(&s->client, 5);
		break;
	case EXTENDED_TAKEN_ITSELF:
		r->flushed = false;
		return TAKEN;
	case EXTENDED_TAKEN:
		break;
	}
	r->flushed = false;
	return NEXT;
}

static enum next
on_function_call(struct relay *r, const struct message *m)
{
	struct session *s = r->s;

	if (s->copy_in)
		return foreign(r, m->type);
	if (forward_unseen(s, m))
		return NEXT;
	if (!pipeline_is_light(s))
		return wait_for_answers(r);
	r->flushed = false;
	if (s->status != PQ_FAILED &&
	    !end_batch(s, "FUNCTION CALL", "function_call"))
		return STOP;
	s->batch_open = false;
	return forward_to_ready(s, m);
}

/* The end of copy data; where no COPY is under way it is ignored. */
static enum next
on_copy_end(struct relay *r, const struct message *m)
{
	struct session *s = r->s;

	if (!s->copy_in && !pipeline_is_light(s))
		(void)pipeline_push(s, PqMsg_CopyDone);
	s->copy_in = false;
	forward(&s->server, m);
	return NEXT;
}

static enum next
on_terminate(struct relay *r, const struct message *m)
{
	forward(&r->s->server, m);
	r->client_done = true;
	r->terminated = true;
	return NEXT;
}

static enum next
on_password(struct relay *r, const struct message *m)
{
	if (r->s->status == 0 && !binding_allows_answer(r->s, m))
		return STOP;
	forward(&r->s->server, m);
	return NEXT;
}

static const message_fn client_handlers[256] = {
	[PqMsg_PasswordMessage] = on_password,
	[PqMsg_Query] = on_query,
	[PqMsg_Parse] = on_extended,
	[PqMsg_Bind] = on_extended,
	[PqMsg_Describe] = on_extended,
	[PqMsg_Execute] = on_extended,
	[PqMsg_Close] = on_extended,
	[PqMsg_Sync] = on_extended,
	[PqMsg_FunctionCall] = on_function_call,
	[PqMsg_CopyDone] = on_copy_end,
	[PqMsg_CopyFail] = on_copy_end,
	[PqMsg_Terminate] = on_terminate,
};

/* Before the first ReadyForQuery a client may only answer or leave. */
static bool
allowed_now(const struct relay *r, char type)
{
	return r->s->status != 0 || type == PqMsg_PasswordMessage ||
	       type == PqMsg_Terminate;
}

/*
 * Too long to be looked at whole: forwarded as it comes, with what must be
 * assumed of it.
 */
static enum next
oversized(struct relay *r, char type)
{
	struct session *s = r->s;
	struct pipeline_entry *e;

	if (s->copy_in && type != PqMsg_CopyDone && type != PqMsg_CopyFail &&
	    type != PqMsg_Sync)
		return foreign(r, type);
	if (s->copy_in || s->skipping)
		return NEXT;
	if (type != PqMsg_Query)
		return extended_oversized(s, type) == EXTENDED_STOP ? STOP
								    : NEXT;
	if (!pipeline_is_light(s))
		return wait_for_answers(r);
	r->flushed = false;
	if (!end_batch(s, "UNKNOWN", "not_parsed"))
		return STOP;
	e = pipeline_push(s, type);
	e->kind = STMT_OTHER;
	return NEXT;
}

static enum next
stream(struct wire *from, size_t raw_len)
{
	from->pass_left = raw_len;
	return NEXT;
}

/* One line for the operator, and the server's words for the client. */
static enum next
violation(struct session *s, const char *what)
{
	log_info("bad_message", "closed a session: %s", what);
	session_fatal(s, "08P01", what, NULL);
	return STOP;
}

/* Nothing is parsed, planned or run for it. */
static bool
runs_nothing(const struct message *m)
{
	return m->type == PqMsg_Sync || m->type == PqMsg_Flush ||
	       m->type == PqMsg_Close ||
	       (m->type == PqMsg_Describe && m->len > 0 && m->body[0] == 'P');
}

static enum next
client_message(struct relay *r)
{
	struct session *s = r->s;
	struct message m;
	char type;
	size_t raw_len;
	enum next next;
	message_fn fn;

	if (s->copy_foreign && !r->foreign)
		return foreign(r, PqMsg_Sync);
	if (r->foreign)
		return AGAIN_LATER;
	/* How a COPY with Syncs among its data ended, and what they were. */
	if (s->copy_syncs > 0 && !s->copy_in) {
		if (!pipeline_is_light(s))
			return wait_for_answers(r);
		if (!pipeline_catch_up(s) || !copyin_settle_syncs(s))
			return STOP;
		r->flushed = false;
	}
	switch (wire_head(&s->client, &type, &raw_len)) {
	case WIRE_BAD:
		return violation(s, "invalid message length");
	case WIRE_INCOMPLETE:
		return NEED_MORE;
	case WIRE_MESSAGE:
		break;
	}
	if (!allowed_now(r, type))
		return violation(s,
		    "unexpected message before authentication was complete");
	if (s->status == 0 && raw_len > MAX_AUTH_MESSAGE) {
		session_fatal(s, "08P01", "invalid message length", NULL);
		return STOP;
	}
	fn = client_handlers[(uint8_t)type];
	if (!s->batch_open)
		s->quiet.batch = s->ran;
	if (fn == NULL || raw_len > MAX_WHOLE)
		s->ran++;
	if (fn == NULL)
		return stream(&s->client, raw_len);
	if (raw_len > MAX_WHOLE) {
		next = oversized(r, type);
		return next == NEXT ? stream(&s->client, raw_len) : next;
	}
	if (wire_message(&s->client, &m) != WIRE_MESSAGE)
		return NEED_MORE;
	s->ran += !runs_nothing(&m);
	next = fn(r, &m);
	if (s->lost)
		return STOP;
	if (next == NEXT)
		wire_skip(&s->client, m.raw_len);
	return next == TAKEN ? NEXT : next;
}

/* --- from the server --- */

/* What the client sees of an answer. */
static enum next
on_answer(struct relay *r, const struct message *m)
{
	struct session *s = r->s;
	unsigned strip;

	if (!pipeline_answer(s, m, &strip))
		return NEXT;
	if (strip > 0)
		strip_description(&s->client, m, strip, true);
	else
		forward(&s->client, m);
	return NEXT;
}

static enum next
on_description(struct relay *r, const struct message *m)
{
	quiet_described(r->s, m);
	return on_answer(r, m);
}

static enum next
on_ready(struct relay *r, const struct message *m)
{
	struct session *s = r->s;
	unsigned strip;

	if (m->len != 1)
		return STOP;
	if (s->status == 0)
		s->deadline_us = 0; /* authenticated */
	if (!pipeline_answer(s, m, &strip))
		return NEXT;
	/*
	 * The outcome first, so that who reads the log after the answer finds
	 * it on its way; it waits for nothing but room.
	 */
	commit_ready(s);
	if (r->foreign) {
		copyin_violation(s);
		return STOP;
	}
	forward(&s->client, m);
	return NEXT;
}

/* The next transaction of a batch may follow without a Sync. */
static enum next
on_command_complete(struct relay *r, const struct message *m)
{
	struct session *s = r->s;
	const struct pipeline_entry *e = pipeline_front(s);
	bool ends = e != NULL && e->type == PqMsg_Execute &&
		    statement_ends_transaction(e->kind);
	/* Its tag is ROLLBACK, too. */
	bool of_savepoint = e != NULL && statement_is_of_savepoint(e->kind);

	if (e == NULL || (e->type != PqMsg_Execute && !of_savepoint) || ends)
		commit_command_complete(s, m);
	(void)on_answer(r, m);
	if (ends)
		commit_end(s);
	return NEXT;
}

static enum next
on_error(struct relay *r, const struct message *m)
{
	if (session_is_fatal(m))
		r->s->fatal_seen = true;
	return on_answer(r, m);
}

static enum next
on_parameter_status(struct relay *r, const struct message *m)
{
	session_note_parameter(r->s, m);
	forward(&r->s->client, m);
	return NEXT;
}

static enum next
on_authentication(struct relay *r, const struct message *m)
{
	binding_relay_request(r->s, m);
	return NEXT;
}

static const message_fn server_handlers[256] = {
	[PqMsg_ParseComplete] = on_answer,
	[PqMsg_BindComplete] = on_answer,
	[PqMsg_CloseComplete] = on_answer,
	[PqMsg_NoData] = on_answer,
	[PqMsg_RowDescription] = on_description,
	[PqMsg_EmptyQueryResponse] = on_answer,
	[PqMsg_PortalSuspended] = on_answer,
	[PqMsg_ReadyForQuery] = on_ready,
	[PqMsg_CommandComplete] = on_command_complete,
	[PqMsg_ErrorResponse] = on_error,
	[PqMsg_ParameterStatus] = on_parameter_status,
	[PqMsg_AuthenticationRequest] = on_authentication,
	[PqMsg_CopyInResponse] = on_answer,
	[PqMsg_CopyBothResponse] = on_answer,
};

/*
 * The message of raw_len bytes and what was read behind it, as far as nobody
 * looks at that either: the rows of a result are forwarded as one.
 */
static size_t
run_length(const struct wire *w, size_t raw_len)
{
	const uint8_t *p = wire_data(w);
	size_t unread = wire_unread(w);

	while (raw_len < unread && unread - raw_len >= 5 &&
	       server_handlers[p[raw_len]] == NULL) {
		uint32_t len = get_u32(p + raw_len + 1);

		if (len < 4 || len > WIRE_MAX_MESSAGE)
			break;
		raw_len += (size_t)len + 1;
	}
	return raw_len;
}

static enum next
server_message(struct relay *r)
{
	struct session *s = r->s;
	struct message m;
	char type;
	size_t raw_len;
	message_fn fn;
	enum next next;

	switch (wire_head(&s->server, &type, &raw_len)) {
	case WIRE_BAD:
		log_error("server_protocol",
		    "the server sent a message with "
		    "an impossible length; closing the session");
		return STOP;
	case WIRE_INCOMPLETE:
		return NEED_MORE;
	case WIRE_MESSAGE:
		break;
	}
	fn = server_handlers[(uint8_t)type];
	if (fn == NULL)
		return stream(&s->server, run_length(&s->server, raw_len));
	if (raw_len > MAX_WHOLE)
		return STOP;
	if (wire_message(&s->server, &m) != WIRE_MESSAGE)
		return NEED_MORE;
	next = fn(r, &m);
	if (next == NEXT)
		session_take(s, &m);
	return next;
}

/* --- both --- */

/* Handles what was read from one side; STOP, or why it cannot go on. */
static enum next
drain(struct relay *r, struct wire *from, struct wire *to,
    enum next (*message)(struct relay *r))
{
	enum next next = NEXT;

	while (next == NEXT && wire_queued(to) < WIRE_HIGH_WATER) {
		if (from->pass_left > 0) {
			if (wire_unread(from) == 0)
				return NEED_MORE;
			wire_pass(from, to);
			continue;
		}
		if (from == &r->s->client && r->client_done) {
			wire_skip(from, wire_unread(from));
			return NEED_MORE;
		}
		next = message(r);
	}
	return next;
}

/*
 * The client left in the middle of COPY: the server would wait for ever, and
 * behind it whoever wants the table.  Not between the halves of a message.
 */
static void
fail_copy(struct session *s)
{
	size_t at;

	if (!s->copy_in || s->client.pass_left > 0)
		return;
	at = wire_begin(&s->server, PqMsg_CopyFail);
	buf_put_cstr(&s->server.out, "client is gone");
	wire_end(&s->server, at);
	s->copy_in = false;
	if (pipeline_owed_ready(s) > 0)
		return;
	wire_put_empty(&s->server, PqMsg_Sync);
	(void)pipeline_push(s, PqMsg_Sync);
}

/*
 * The client says nothing more.  What it asked is still answered, as long as it
 * may read; a transaction whose record is durable is followed to its outcome.
 * Anything else ends with the server's connection.
 */
static bool
finished(struct relay *r, enum next client, enum next server)
{
	struct session *s = r->s;

	if (s->server.eof && server == NEED_MORE)
		return true;
	if (s->client.eof && client == NEED_MORE)
		r->client_done = true;
	if (s->client.broken)
		r->client_done = true;
	if (!r->client_done)
		return false;
	if (s->txn->published)
		fail_copy(s);
	if ((s->txn->published || !s->client.broken) &&
	    pipeline_owed_ready(s) > 0 && !s->server.broken && !s->copy_in)
		return false;
	/* It said so itself, and may still read. */
	if (r->terminated && !s->client.eof && !s->client.broken &&
	    !s->server.broken)
		return false;
	return wire_queued(&s->server) == 0 || s->server.broken;
}

static void
idle_deadline(struct session *s)
{
	if (s->config->client_idle_timeout > 0 && s->status != 0)
		s->deadline_us = pipeline_in_sync(s)
				     ? io_monotonic_us() +
					   s->config->client_idle_timeout * 1000
				     : 0;
}

/* What a client is told that the session ends without its doing. */
static void
say_why(const struct relay *r)
{
	struct session *s = r->s;

	if (r->client_done || s->fatal_seen)
		return;
	if (s->server.eof)
		session_fatal(s, "08006",
		    "server closed the connection "
		    "unexpectedly",
		    NULL);
	else if (s->terminate)
		session_fatal(s, "57P01",
		    "terminating connection due to "
		    "administrator command",
		    NULL);
	else if (session_is_late(s) && s->status == 0)
		session_fatal(s, "57014",
		    "canceling authentication due to timeout", NULL);
	else if (session_is_late(s))
		session_fatal(s, "57P05",
		    "terminating connection due to "
		    "idle-session timeout",
		    NULL);
}

/* One round; false: the session is over. */
static bool
run_once(struct relay *r)
{
	struct session *s = r->s;
	enum next server = drain(r, &s->server, &s->client, server_message);
	size_t unread = wire_unread(&s->server);
	enum next client = server == STOP ? STOP
					  : drain(r, &s->client, &s->server,
						client_message);

	wire_flush(&s->server);
	wire_flush(&s->client);
	if (client == STOP || server == STOP)
		return false;
	/* What had stopped at high water may go on; poll() would not tell. */
	if ((server == NEXT && wire_queued(&s->client) < WIRE_HIGH_WATER) ||
	    (client == NEXT && wire_queued(&s->server) < WIRE_HIGH_WATER))
		return true;
	/* An exchange of ours read the server's next answers along. */
	if (wire_unread(&s->server) != unread)
		return true;
	/* A message that waited for answers that have come. */
	if (client == AGAIN_LATER && pipeline_is_light(s))
		return true;
	if (finished(r, client, server))
		return false;
	idle_deadline(s);
	return session_wait(
	    s, (client == AGAIN_LATER ? 0 : WANT_CLIENT) | WANT_SERVER);
}

void
relay_run(struct session *s)
{
	struct relay r = { .s = s };
	int64_t end;

	while (run_once(&r))
		;
	say_why(&r);
	/* What was said last still goes to the client, and to the server. */
	s->committing = true; /* a second SIGTERM changes nothing */
	end = io_monotonic_us() + LAST_WORDS_US;
	while (wire_queued(&s->client) > 0 && !s->client.broken &&
	       io_monotonic_us() < end) {
		s->deadline_us = end;
		if (!session_wait(s, 0))
			break;
	}
}
