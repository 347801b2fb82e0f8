/*
 * wire.h: one end of a connection: a non-blocking socket, maybe with TLS on it,
 * a buffer of bytes read, a queue of bytes to write, and the framing of
 * messages in them.
 *
 * Owns the descriptor and the TLS.  Never blocks: session.c waits, for what
 * wire_events() says.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_WIRE_H
#define PGW_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"
#include "pqproto.h"

/* No message of the protocol is longer (PQ_LARGE_MESSAGE_LIMIT). */
#define WIRE_MAX_MESSAGE 0x3fffffffu
/* Queue beyond which the other side is not read any more. */
#define WIRE_HIGH_WATER ((size_t)256 * 1024)

struct tls;

struct wire {
	int fd;			/* -1: none */
	struct tls *tls;	/* NULL: in clear */
	struct buf in;
	size_t in_at;		/* first unread byte of in */
	struct buf out;
	size_t out_at;		/* first unwritten byte of out */
	size_t pass_left;	/* of a message that is forwarded as it comes */
	bool eof;		/* nothing more will be read */
	bool broken;		/* a write failed: what is queued is dropped */
	bool more;		/* TLS holds more: poll() would not tell */
	bool quiet;		/* in clear: what was there has been read */
	bool ends;		/* an edge said so: there will be no other */
};

struct message {
	char type;
	const uint8_t *body;	/* behind the length word */
	size_t len;		/* of body */
	const uint8_t *raw;	/* type, length, body */
	size_t raw_len;
};

enum wire_status {
	WIRE_MESSAGE,
	WIRE_INCOMPLETE,	/* the normal answer: read more */
	WIRE_BAD		/* a length that cannot be */
};

void wire_open(struct wire *w, int fd);
/* Nothing of what was read before may be left (CVE-2021-23214). */
void wire_set_tls(struct wire *w, struct tls *tls);
void wire_close(struct wire *w);

static inline size_t
wire_unread(const struct wire *w)
{
	return w->in.len - w->in_at;
}
static inline const uint8_t *
wire_data(const struct wire *w)
{
	return w->in.data + w->in_at;
}
static inline size_t
wire_queued(const struct wire *w)
{
	return w->out.len - w->out_at;
}

/*
 * What poll() is to wait for: read: bytes are wanted, if there will be any.
 * Then wire_serve() with what poll() said; also if `more` is set.
 */
short wire_events(const struct wire *w, bool read);
void wire_serve(struct wire *w, bool read, short revents);

/* Reads once what is there.  Sets eof at the end or on an error. */
void wire_fill(struct wire *w);
/* Writes what the socket takes.  Sets broken on an error. */
void wire_flush(struct wire *w);
/* Takes n bytes off the front of what was read. */
void wire_skip(struct wire *w, size_t n);
/* Queues for the other side what was read of the message under way. */
void wire_pass(struct wire *from, struct wire *to);

/*
 * Type and whole length of the next message (*raw_len with type and length
 * word), of which maybe only the head is there.
 */
PGW_MUSTCHECK enum wire_status wire_head(const struct wire *w, char *type,
	size_t *raw_len);
/* The next message if all of it is there; it stays until wire_skip(). */
PGW_MUSTCHECK enum wire_status wire_message(const struct wire *w,
	struct message *m);

/* Queues bytes. */
void wire_put(struct wire *w, const void *p, size_t n);

/*
 * Queues a message: begin returns an offset that end needs to set the length.
 *	size_t at = wire_begin(w, PqMsg_Parse);
 *	buf_put_cstr(&w->out, name); ...
 *	wire_end(w, at);
 */
size_t wire_begin(struct wire *w, char type);
void wire_end(struct wire *w, size_t at);
/* A message without a body. */
void wire_put_empty(struct wire *w, char type);

/*
 * Queues an ErrorResponse; severity "ERROR" or "FATAL"; hint may be NULL.
 */
void wire_put_error(struct wire *w, const char *severity, const char *sqlstate,
	const char *message, const char *hint);

/*
 * A field of an ErrorResponse or NoticeResponse ('C' SQLSTATE, 'M' message
 * ...); "" if it is not there.
 */
const char *wire_error_field(const struct message *m, char field);

#endif
