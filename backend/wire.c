/*
 * wire.c: one end of a connection and the framing of messages on it.
 *
 * Lengths from the wire are compared by subtraction in size_t and are capped
 * before they size anything.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls.h"

#define READ_BYTES ((size_t)64 * 1024)
/* A buffer that grew beyond this for one message is given back. */
#define KEEP_BYTES ((size_t)1024 * 1024)

void
wire_open(struct wire *w, int fd)
{
	memset(w, 0, sizeof(*w));
	w->fd = fd;
}

void
wire_set_tls(struct wire *w, struct tls *tls)
{
	w->tls = tls;
	w->quiet = false;
	w->more = tls_has_pending(tls);
}

void
wire_close(struct wire *w)
{
	tls_free(w->tls);
	w->tls = NULL;
	w->more = false;
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	w->eof = true;
	w->broken = true;
	buf_free(&w->in);
	buf_free(&w->out);
	w->in_at = w->out_at = w->pass_left = 0;
}

/* Moves unread bytes to the front once the room behind them is short. */
static void
make_room(struct wire *w)
{
	if (w->in_at == w->in.len) {
		w->in_at = w->in.len = 0;
		if (w->in.cap > KEEP_BYTES)
			buf_free(&w->in);
	} else if (w->in.cap - w->in.len < READ_BYTES && w->in_at > 0) {
		buf_consume(&w->in, w->in_at);
		w->in_at = 0;
	}
}

short
wire_events(const struct wire *w, bool read)
{
	short events = 0;

	if (w->fd < 0)
		return 0;
	if (read && !w->eof)
		events |= w->tls != NULL && tls_recv_wants_write(w->tls)
			      ? POLLOUT
			      : POLLIN;
	if (wire_queued(w) > 0 && !w->broken)
		events |= w->tls != NULL && tls_send_wants_read(w->tls)
			      ? POLLIN
			      : POLLOUT;
	return events;
}

void
wire_serve(struct wire *w, bool read, short revents)
{
	bool gone = revents & (POLLHUP | POLLERR);

	read = read && !w->eof;
	/* With TLS either may have waited for the other way. */
	if (read && (revents & POLLIN || gone || w->more ||
			(w->tls != NULL && revents != 0)))
		wire_fill(w);
	else if (gone)
		w->broken = true;
	if (revents & POLLOUT || (w->tls != NULL && revents != 0))
		wire_flush(w);
}

/* As wire_fill(), for want bytes: whole records, as TLS gives them. */
static void
fill_tls(struct wire *w, size_t want)
{
	uint8_t *to = buf_reserve(&w->in, want);
	size_t got = 0;
	bool pending = true;

	while (got < want && pending) {
		ssize_t n = tls_recv(w->tls, to + got, want - got);

		if (n <= 0) {
			w->eof = n == 0 || errno != EAGAIN;
			pending = false;
			break;
		}
		got += (size_t)n;
		pending = tls_has_pending(w->tls);
	}
	w->in.len += got;
	w->more = pending;
}

void
wire_fill(struct wire *w)
{
	size_t want = READ_BYTES, raw_len;
	char type;

	make_room(w);
	/* A long message that is wanted whole: read it in long steps. */
	if (w->pass_left == 0 &&
	    wire_head(w, &type, &raw_len) == WIRE_MESSAGE &&
	    raw_len > wire_unread(w) + want)
		want = raw_len - wire_unread(w) < KEEP_BYTES
			   ? raw_len - wire_unread(w)
			   : KEEP_BYTES;
	if (w->tls != NULL) {
		fill_tls(w, want);
		return;
	}
	for (;;) {
		ssize_t n = recv(w->fd, buf_reserve(&w->in, want), want, 0);

		if (n > 0) {
			w->in.len += (size_t)n;
			w->quiet = (size_t)n < want;
			return;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			w->quiet = true;
			return;
		}
		w->eof = true;
		return;
	}
}

static ssize_t
send_some(struct wire *w)
{
	const uint8_t *p = w->out.data + w->out_at;
	size_t n = w->out.len - w->out_at;

	return w->tls != NULL ? tls_send(w->tls, p, n)
			      : send(w->fd, p, n, MSG_NOSIGNAL);
}

void
wire_flush(struct wire *w)
{
	while (w->out_at < w->out.len && !w->broken) {
		ssize_t n = send_some(w);

		if (n > 0) {
			w->out_at += (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		w->broken = true;
	}
	w->out_at = w->out.len = 0;
	if (w->out.cap > KEEP_BYTES)
		buf_free(&w->out);
}

void
wire_skip(struct wire *w, size_t n)
{
	w->in_at += n;
}

void
wire_pass(struct wire *from, struct wire *to)
{
	size_t n = wire_unread(from);

	if (n > from->pass_left)
		n = from->pass_left;
	wire_put(to, wire_data(from), n);
	wire_skip(from, n);
	from->pass_left -= n;
}

enum wire_status
wire_head(const struct wire *w, char *type, size_t *raw_len)
{
	uint32_t len;

	if (wire_unread(w) < 5)
		return WIRE_INCOMPLETE;
	len = get_u32(wire_data(w) + 1);
	if (len < 4 || len > WIRE_MAX_MESSAGE)
		return WIRE_BAD;
	*type = (char)wire_data(w)[0];
	*raw_len = (size_t)len + 1;
	return WIRE_MESSAGE;
}

enum wire_status
wire_message(const struct wire *w, struct message *m)
{
	enum wire_status st = wire_head(w, &m->type, &m->raw_len);

	if (st != WIRE_MESSAGE)
		return st;
	if (wire_unread(w) < m->raw_len)
		return WIRE_INCOMPLETE;
	m->raw = wire_data(w);
	m->body = m->raw + 5;
	m->len = m->raw_len - 5;
	return WIRE_MESSAGE;
}

void
wire_put(struct wire *w, const void *p, size_t n)
{
	if (!w->broken)
		buf_put(&w->out, p, n);
}

size_t
wire_begin(struct wire *w, char type)
{
	size_t at;

	buf_put_u8(&w->out, (uint8_t)type);
	at = w->out.len;
	buf_put_u32(&w->out, 0);
	return at;
}

void
wire_end(struct wire *w, size_t at)
{
	buf_set_u32(&w->out, at, (uint32_t)(w->out.len - at));
}

void
wire_put_empty(struct wire *w, char type)
{
	wire_end(w, wire_begin(w, type));
}

static void
put_field(struct wire *w, char field, const char *value)
{
	buf_put_u8(&w->out, (uint8_t)field);
	buf_put_cstr(&w->out, value);
}

void
wire_put_error(struct wire *w, const char *severity, const char *sqlstate,
    const char *message, const char *hint)
{
	size_t at = wire_begin(w, PqMsg_ErrorResponse);

	put_field(w, 'S', severity);
	put_field(w, 'V', severity);
	put_field(w, 'C', sqlstate);
	put_field(w, 'M', message);
	if (hint != NULL)
		put_field(w, 'H', hint);
	buf_put_u8(&w->out, 0);
	wire_end(w, at);
}

const char *
wire_error_field(const struct message *m, char field)
{
	struct rd r = rd_init(m->body, m->len);

	for (;;) {
		uint8_t code = rd_u8(&r);
		const char *value;

		if (code == 0)
			return "";
		value = rd_cstr(&r);
		if (r.bad)
			return "";
		if ((char)code == field)
			return value;
	}
}
