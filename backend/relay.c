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
#include "extended.h"
#include "ioutil.h"
#include "log.h"
#include "query.h"
#include "txn.h"

/* Messages that are looked at whole may be this long. */
#define MAX_WHOLE ((size_t)64 * 1024 * 1024)
/* So many ends of COPY are told apart that come before their COPY began. */
#define MAX_EARLY_ENDS 16
/* For what is queued when the session is over. */
#define LAST_WORDS_US 1000000

enum next {
	NEXT,        /* handled: go on with the next message */
	AGAIN_LATER, /* not before the server has answered more */
	NEED_MORE,   /* not all of the message is there */
	STOP         /* the session ends */
};

struct relay {
	struct session *s;
	struct extended *extended;
	bool copy_in;     /* the server waits for CopyData, the client's end
			   * of it has not come */
	bool simple;      /* the next ReadyForQuery is that of a Query */
	bool flushed;     /* a Flush of ours is on its way */
	bool client_done; /* Terminate, or its connection ended */
	bool terminated;  /* by Terminate: it may still read */
	/* CopyDone and CopyFail sent before the server's CopyInResponse was
	 * seen: how many ReadyForQuery were pending at each. */
	unsigned early_ends[MAX_EARLY_ENDS];
	unsigned n_early_ends;
};

typedef enum next (*message_fn)(struct relay *r, const struct message *m);

static void
forward(struct wire *to, const struct message *m)
{
	wire_put(to, m->raw, m->raw_len);
}

/* --- from the client --- */

static enum next
on_query(struct relay *r, const struct message *m)
{
	struct session *s = r->s;

	/* In COPY mode, or behind messages without a Sync, only the server
	 * can say what it is. */
	if (r->copy_in) {
		forward(&s->server, m);
		s->pending_ready++;
		return NEXT;
	}
	if (s->pending_ready > 0)
		return AGAIN_LATER;
	r->simple = true;
	if (s->extended_open) {
		txn_degrade(s->txn, CAPTURE_UNSUPPORTED, "mixed_protocols");
		(void)txn_add_statement(s->txn, "", 0, "UNKNOWN", 0);
		if (!query_must_publish(s))
			return STOP;
		forward(&s->server, m);
		s->extended_open = false;
		s->pending_ready++;
		return NEXT;
	}
	return query_simple(s, m) ? NEXT : STOP;
}

static enum next
on_extended(struct relay *r, const struct message *m)
{
	switch (extended_message(r->s, r->extended, m)) {
	case EXTENDED_STOP:
		return STOP;
	case EXTENDED_WAIT:
		if (!r->flushed)
			wire_put_empty(&r->s->server, PqMsg_Flush);
		r->flushed = true;
		return AGAIN_LATER;
	case EXTENDED_FORWARD:
		break;
	}
	r->flushed = false;
	r->s->extended_open = true;
	forward(&r->s->server, m);
	return NEXT;
}

static enum next
on_sync(struct relay *r, const struct message *m)
{
	/* While the server is in COPY mode it ignores Sync. */
	if (!r->copy_in) {
		r->s->pending_ready++;
		r->s->extended_open = false;
	}
	forward(&r->s->server, m);
	return NEXT;
}

/* CopyDone and CopyFail: the server answers the next Sync again. */
static enum next
on_copy_end(struct relay *r, const struct message *m)
{
	struct session *s = r->s;

	if (!r->copy_in && !session_in_sync(s)) {
		if (r->n_early_ends == MAX_EARLY_ENDS)
			r->n_early_ends--;
		r->early_ends[r->n_early_ends++] = s->pending_ready;
	}
	r->copy_in = false;
	forward(&s->server, m);
	return NEXT;
}

/* One ReadyForQuery less is pending, and ends of COPY before it are past. */
static void
early_ends_ready(struct relay *r)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < r->n_early_ends; i++) {
		if (r->early_ends[i] > 0)
			r->early_ends[kept++] = r->early_ends[i] - 1;
	}
	r->n_early_ends = kept;
}

static enum next
on_function_call(struct relay *r, const struct message *m)
{
	struct session *s = r->s;

	if (s->pending_ready > 0)
		return AGAIN_LATER;
	if (s->status != PQ_FAILED) {
		(void)txn_add_statement(s->txn, "", 0, "FUNCTION CALL", 0);
		txn_degrade(s->txn, CAPTURE_UNSUPPORTED, "function_call");
		if (!query_must_publish(s))
			return STOP;
	}
	forward(&s->server, m);
	s->extended_open = false;
	s->pending_ready++;
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
	[PqMsg_Sync] = on_sync,
	[PqMsg_CopyDone] = on_copy_end,
	[PqMsg_CopyFail] = on_copy_end,
	[PqMsg_FunctionCall] = on_function_call,
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
 * assumed of it.  A Bind may be as long as it likes: only its names matter,
 * but a portal that is not known counts as writing.
 */
static enum next
oversized(struct relay *r, char type)
{
	struct session *s = r->s;

	if (type == PqMsg_Parse)
		extended_forget(r->extended);
	if (type != PqMsg_Query)
		return NEXT;
	if (s->pending_ready > 0 && !r->copy_in)
		return AGAIN_LATER;
	(void)txn_add_statement(s->txn, "", 0, "UNKNOWN", 0);
	txn_degrade(s->txn, CAPTURE_UNSUPPORTED, "not_parsed");
	if (!query_must_publish(s))
		return STOP;
	s->pending_ready++;
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

static enum next
client_message(struct relay *r)
{
	struct session *s = r->s;
	struct message m;
	char type;
	size_t raw_len;
	enum next next;
	message_fn fn;

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
	fn = client_handlers[(uint8_t)type];
	if (fn == NULL)
		return stream(&s->client, raw_len);
	if (raw_len > MAX_WHOLE) {
		next = oversized(r, type);
		return next == NEXT ? stream(&s->client, raw_len) : next;
	}
	if (wire_message(&s->client, &m) != WIRE_MESSAGE)
		return NEED_MORE;
	next = fn(r, &m);
	if (next == NEXT)
		wire_skip(&s->client, m.raw_len);
	return next;
}

/* --- from the server --- */

static enum next
on_ready(struct relay *r, const struct message *m)
{
	struct session *s = r->s;

	if (m->len != 1)
		return STOP;
	if (s->status == 0)
		s->deadline_us = 0; /* authenticated */
	s->status = (char)m->body[0];
	if (s->pending_ready > 0)
		s->pending_ready--;
	early_ends_ready(r);
	r->copy_in = false;
	r->simple = false;
	extended_ready(r->extended, s->status == PQ_IDLE);
	/*
	 * The outcome first, so that who reads the log after the answer finds
	 * it on its way; it waits for nothing but room.
	 */
	query_ready(s);
	forward(&s->client, m);
	return NEXT;
}

static enum next
on_command_complete(struct relay *r, const struct message *m)
{
	r->copy_in = false;
	query_command_complete(r->s, m);
	extended_command_complete(r->s, r->extended, m);
	forward(&r->s->client, m);
	return NEXT;
}

static enum next
on_error(struct relay *r, const struct message *m)
{
	r->copy_in = false;
	if (session_is_fatal(m))
		r->s->fatal_seen = true;
	query_error(r->s);
	extended_error(r->extended);
	forward(&r->s->client, m);
	return NEXT;
}

static enum next
on_parameter_status(struct relay *r, const struct message *m)
{
	session_note_parameter(r->s, m);
	forward(&r->s->client, m);
	return NEXT;
}

/*
 * All that is pending was sent behind the COPY, as the server answers in
 * order; so it takes a Sync up to the end of the data as data, and ignores it.
 */
static enum next
on_authentication(struct relay *r, const struct message *m)
{
	binding_relay_request(r->s, m);
	return NEXT;
}

static enum next
on_copy_in(struct relay *r, const struct message *m)
{
	struct session *s = r->s;
	bool ended = r->n_early_ends > 0;
	unsigned before = ended ? r->early_ends[0] : s->pending_ready;
	unsigned ignored = r->simple && before > 0 ? before - 1 : before;

	s->pending_ready -= ignored;
	if (ignored > 0 && !ended)
		s->extended_open = !r->simple;
	for (unsigned i = 1; i < r->n_early_ends; i++)
		r->early_ends[i - 1] = r->early_ends[i] - ignored;
	if (ended)
		r->n_early_ends--;
	r->copy_in = !ended;
	forward(&s->client, m);
	return NEXT;
}

static const message_fn server_handlers[256] = {
	[PqMsg_AuthenticationRequest] = on_authentication,
	[PqMsg_ReadyForQuery] = on_ready,
	[PqMsg_CommandComplete] = on_command_complete,
	[PqMsg_ErrorResponse] = on_error,
	[PqMsg_ParameterStatus] = on_parameter_status,
	[PqMsg_CopyInResponse] = on_copy_in,
	[PqMsg_CopyBothResponse] = on_copy_in,
};

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
		return stream(&s->server, raw_len);
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

/* What is there of a message that is forwarded as it comes. */
static void
pass(struct wire *from, struct wire *to)
{
	size_t n = wire_unread(from);

	if (n > from->pass_left)
		n = from->pass_left;
	wire_put(to, wire_data(from), n);
	wire_skip(from, n);
	from->pass_left -= n;
}

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
			pass(from, to);
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
fail_copy(struct relay *r)
{
	struct session *s = r->s;
	size_t at;

	if (!r->copy_in || s->client.pass_left > 0)
		return;
	at = wire_begin(&s->server, PqMsg_CopyFail);
	buf_put_cstr(&s->server.out, "client is gone");
	wire_end(&s->server, at);
	wire_put_empty(&s->server, PqMsg_Sync);
	if (s->pending_ready == 0)
		s->pending_ready = 1;
	r->copy_in = false;
}

/*
 * The client is gone.  A transaction whose record is durable is followed to
 * its outcome; anything else ends with the server's connection.
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
		fail_copy(r);
	if (s->txn->published && s->pending_ready > 0 && !s->server.broken &&
	    !r->copy_in)
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
		s->deadline_us = session_in_sync(s)
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
	/* An exchange of ours read the server's next answers along. */
	if (wire_unread(&s->server) != unread)
		return true;
	/* A message that waited for answers that have come. */
	if (client == AGAIN_LATER && session_in_sync(s))
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
	struct relay r = { .s = s, .extended = extended_new() };
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
