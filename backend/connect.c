/*
 * connect.c: a socket to the server, in TLS as [backend] sslmode says.
 *
 * The steps and fall-backs are libpq's: allow tries clear text first, prefer
 * TLS, and each tries the other once when the server refuses the first by its
 * pg_hba.conf; prefer also when the handshake fails.  Before TLS nothing of the
 * server is believed but one byte, S or N.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "connect.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "tls.h"

#define CONNECT_TIMEOUT_MS 10000

static bool
finish_connect(int fd, const struct sockaddr *a, socklen_t len)
{
	struct pollfd p = { fd, POLLOUT, 0 };
	int error = 0;
	socklen_t size = sizeof(error);

	if (connect(fd, a, len) == 0)
		return true;
	if (errno != EINPROGRESS)
		return false;
	if (poll(&p, 1, CONNECT_TIMEOUT_MS) != 1) {
		errno = ETIMEDOUT;
		return false;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		return false;
	errno = error;
	return error == 0;
}

static int
open_socket(int family, const struct sockaddr *a, socklen_t len)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, saved;

	if (fd < 0)
		return -1;
	if (finish_connect(fd, a, len)) {
		if (family != AF_UNIX) {
			setsockopt(
			    fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			setsockopt(
			    fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		}
		return fd;
	}
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int
open_unix(const char *dir, int port)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int n = snprintf(
	    a.sun_path, sizeof(a.sun_path), "%s/.s.PGSQL.%d", dir, port);

	if (n < 0 || (size_t)n >= sizeof(a.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return open_socket(AF_UNIX, (struct sockaddr *)&a, sizeof(a));
}

static int
open_tcp(const char *host, int port, const char **why)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list, *a;
	char service[16];
	int fd = -1, rc;

	snprintf(service, sizeof(service), "%d", port);
	rc = getaddrinfo(host, service, &hints, &list);
	if (rc != 0) {
		*why = gai_strerror(rc);
		return -1;
	}
	for (a = list; a != NULL && fd < 0; a = a->ai_next)
		fd = open_socket(a->ai_family, a->ai_addr, a->ai_addrlen);
	*why = strerror(errno);
	freeaddrinfo(list);
	return fd;
}

/* -1: *why says what went wrong. */
static int
open_server(const struct config *c, const char **why)
{
	int fd;

	if (c->backend_host[0] != '/')
		return open_tcp(c->backend_host, c->backend_port, why);
	fd = open_unix(c->backend_host, c->backend_port);
	if (fd < 0)
		*why = strerror(errno);
	return fd;
}

/* --- encryption --- */

enum step {
	STEP_DONE,
	STEP_OTHER, /* may be tried the other way */
	STEP_FAILED /* s->server is closed, why says it */
};

struct attempt {
	struct session *s;
	bool tls;   /* ask for TLS */
	bool other; /* the other way may be tried after this */
	char *why;
	size_t size;
};

static enum step fail(struct attempt *a, enum step step, const char *fmt, ...)
    PGW_PRINTF(3, 4);

static enum step
fail(struct attempt *a, enum step step, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(a->why, a->size, fmt, ap);
	va_end(ap);
	wire_close(&a->s->server);
	return step;
}

/* 'S', 'N', or 0 for anything else, which is not shown to anybody. */
static char
ask_for_tls(struct session *s)
{
	uint8_t request[8] = { 0, 0, 0, 8 };
	char answer;

	for (int i = 0; i < 4; i++)
		request[4 + i] = (uint8_t)(PG_SSL_REQUEST >> (24 - 8 * i));
	wire_put(&s->server, request, sizeof(request));
	wire_flush(&s->server);
	while (wire_unread(&s->server) == 0)
		if (s->server.eof || s->server.broken ||
		    !session_wait(s, WANT_SERVER))
			return 0;
	answer = (char)wire_data(&s->server)[0];
	/* More would be clear text read as if it were encrypted. */
	if (wire_unread(&s->server) > 1)
		return 0;
	wire_skip(&s->server, 1);
	return answer == 'S' || answer == 'N' ? answer : 0;
}

static enum step
handshake(struct attempt *a)
{
	struct session *s = a->s;
	const struct config *c = s->config;
	bool prefer = c->backend_sslmode == SSLMODE_PREFER;
	char described[100];

	wire_set_tls(&s->server,
	    tls_connect(s->heritage->tls, s->server.fd, c->backend_host));
	if (!session_handshake(s, &s->server))
		return fail(a, prefer ? STEP_OTHER : STEP_FAILED,
		    "SSL error: %s", tls_error(s->server.tls));
	if (c->backend_sslmode == SSLMODE_VERIFY_FULL &&
	    !tls_name_is(s->server.tls, c->backend_host))
		return fail(a, STEP_FAILED,
		    "server certificate does not match host name \"%s\"",
		    c->backend_host);
	tls_describe(s->server.tls, described, sizeof(described));
	log_debug("server_tls", "%s", described);
	return STEP_DONE;
}

static enum step
start_tls(struct attempt *a)
{
	switch (ask_for_tls(a->s)) {
	case 'S':
		return handshake(a);
	case 'N':
		if (a->s->config->backend_sslmode >= SSLMODE_REQUIRE)
			return fail(a, STEP_FAILED,
			    "server does not support SSL, but SSL was "
			    "required");
		a->other = false;
		return STEP_DONE;
	default:
		return fail(a, STEP_FAILED,
		    "server sent no valid response to SSL negotiation");
	}
}

static enum step
reach(struct attempt *a)
{
	const struct config *c = a->s->config;
	const char *why = "";
	int fd = open_server(c, &why);

	if (fd < 0)
		return fail(a, STEP_FAILED, "%s", why);
	wire_open(&a->s->server, fd);
	return a->tls ? start_tls(a) : STEP_DONE;
}

static void
first_attempt(struct attempt *a)
{
	int mode = a->s->config->backend_sslmode;
	bool tls = tls_connects(a->s->heritage->tls);

	a->tls = tls && mode >= SSLMODE_PREFER;
	a->other = tls && (mode == SSLMODE_ALLOW || mode == SSLMODE_PREFER);
}

/* Goes the other way, once. */
static bool
turn(struct attempt *a)
{
	if (!a->other)
		return false;
	if (a->tls)
		log_warning("server_tls",
		    "the server is spoken to in clear text, as sslmode = "
		    "prefer allows: %s",
		    a->why);
	wire_close(&a->s->server);
	a->tls = !a->tls;
	a->other = false;
	return true;
}

/*
 * Did the server refuse this way before it asked for anything?  Its answer
 * stays unread.
 */
static bool
refused_at_once(struct session *s)
{
	struct message m;
	enum wire_status st;
	char type;
	size_t raw_len;

	for (;;) {
		st = wire_head(&s->server, &type, &raw_len);
		if (st == WIRE_BAD ||
		    (st == WIRE_MESSAGE && type != PqMsg_ErrorResponse))
			return false;
		st = wire_message(&s->server, &m);
		if (st == WIRE_MESSAGE)
			return strcmp(wire_error_field(&m, 'C'), "28000") == 0;
		if (s->server.eof || s->server.broken ||
		    !session_wait(s, WANT_SERVER))
			return false;
	}
}

static bool
tell_client(struct session *s, const char *why)
{
	char text[512];

	snprintf(text, sizeof(text),
	    "could not connect to the server at \"%s\", port %d: %s",
	    s->config->backend_host, s->config->backend_port, why);
	log_error("server_unreachable", "%s", text);
	session_fatal(s, "08006", text, NULL);
	return false;
}

bool
connect_server(struct session *s, const struct buf *packet)
{
	char why[300];
	struct attempt a = { .s = s, .why = why, .size = sizeof(why) };

	first_attempt(&a);
	if (a.other)
		snprintf(why, sizeof(why), "its pg_hba.conf refuses TLS");
	for (;;) {
		switch (reach(&a)) {
		case STEP_FAILED:
			return tell_client(s, why);
		case STEP_OTHER:
			if (!turn(&a))
				return tell_client(s, why);
			continue;
		case STEP_DONE:
			break;
		}
		wire_put(&s->server, packet->data, packet->len);
		/* It takes its time: the child's own preparations run beside. */
		wire_flush(&s->server);
		if (!a.other)
			return true;
		if (!refused_at_once(s) || !turn(&a))
			return true;
	}
}

void
connect_cancel(struct session *s, const void *packet, size_t len)
{
	char why[300];
	struct attempt a = { .s = s, .why = why, .size = sizeof(why) };
	enum step step;

	first_attempt(&a);
	/* Here the server looks at no rules. */
	do
		step = reach(&a);
	while (step == STEP_OTHER && turn(&a));
	if (step != STEP_DONE) {
		log_error("cancel_failed",
		    "could not forward a cancel request: %s", why);
		return;
	}
	wire_put(&s->server, packet, len);
	wire_flush(&s->server);
	/* As libpq: the server closes once it has sent the signal. */
	while (!s->server.eof && !s->server.broken)
		if (!session_wait(s, WANT_SERVER))
			break;
	wire_close(&s->server);
}
