/*
 * fuzz_wire.c: framing: whatever the pieces, the messages are those that the
 * bytes hold, and reading never leaves them.
 *
 * Input: one byte for the size of the pieces, then the stream.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../backend/wire.h"
#include "fuzz.h"

/* What is left of the stream, framed by another reading of the manual. */
struct expected {
	const uint8_t *p;
	size_t left;
};

static int64_t
expected_length(const struct expected *e)
{
	int64_t n;

	if (e->left < 5)
		return 0;
	n = (int64_t)e->p[1] << 24 | e->p[2] << 16 | e->p[3] << 8 | e->p[4];
	return n < 4 || n > WIRE_MAX_MESSAGE ? -1 : n + 1;
}

static void
look_inside(const struct message *m)
{
	const char fields[] = { 'S', 'V', 'C', 'M', 'H', 'P', 0 };

	for (size_t i = 0; i < sizeof(fields); i++) {
		const char *v = wire_error_field(m, fields[i]);
		size_t n = strlen(v);

		must(n == 0 || ((const uint8_t *)v >= m->body && n < m->len));
	}
}

/* Takes all whole messages; false once the stream is no protocol. */
static bool
take_messages(struct wire *w, struct expected *e)
{
	for (;;) {
		struct message m;
		enum wire_status st = wire_message(w, &m);
		int64_t want = expected_length(e);

		if (st == WIRE_BAD) {
			must(want == -1);
			return false;
		}
		if (st == WIRE_INCOMPLETE)
			return true;
		must(want == (int64_t)m.raw_len && m.raw_len <= e->left);
		must(m.len == m.raw_len - 5 && m.body == m.raw + 5);
		must(m.type == (char)e->p[0]);
		must(memcmp(m.raw, e->p, m.raw_len) == 0);
		look_inside(&m);
		wire_skip(w, m.raw_len);
		e->p += m.raw_len;
		e->left -= m.raw_len;
	}
}

static void
write_message(struct wire *w, const uint8_t *p, size_t n)
{
	size_t at = wire_begin(w, 'x');

	buf_put(&w->out, p, n);
	wire_end(w, at);
	must(get_u32(w->out.data + at) == n + 4);
	must(wire_queued(w) == n + 5);
	wire_flush(w);
	must(wire_queued(w) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct take in = { data, size < 60000 ? size : 60000 };
	size_t piece = (size_t)take_u8(&in) * 8 + 1;
	struct expected e = { in.p, in.left };
	struct wire w;
	int fd[2];
	bool good = true;

	/* Each packet is what one recv() gives. */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fd) != 0)
		abort();
	wire_open(&w, fd[0]);
	while (in.left > 0 && good) {
		size_t n;
		const uint8_t *p = take_bytes(&in, piece, &n);

		if (send(fd[1], p, n, MSG_NOSIGNAL) != (ssize_t)n)
			abort();
		wire_fill(&w);
		good = take_messages(&w, &e);
	}
	fuzz_accepted = good;
	if (good) {
		int64_t want = expected_length(&e);

		must(wire_unread(&w) == e.left);
		must(want == 0 || want > (int64_t)e.left);
		write_message(&w, e.p, e.left);
	}
	wire_close(&w);
	close(fd[1]);
	return 0;
}
