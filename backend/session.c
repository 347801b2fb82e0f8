/*
 * session.c: waiting on both connections of a session.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ioutil.h"
#include "libpq.h"
#include "log.h"
#include "mem.h"
#include "procsig.h"
#include "tls.h"

#define FATAL_DELIVERY_US 1000000
#define MAX_PARAMETERS 256
#define ENDS (EPOLLRDHUP | EPOLLHUP | EPOLLERR)

/* Is w to be read?  Not while the other side does not take what is queued. */
static bool
reads(const struct wire *w, const struct wire *other, bool want)
{
	return want && w->fd >= 0 && wire_queued(other) < WIRE_HIGH_WATER;
}

static void
take_signals(struct session *s)
{
	procsig_drain();
	if (procsig_take(SIGTERM))
		s->terminate = true;
	if (procsig_take(SIGINT))
		s->smart = true;
	/* No file can be opened any more: the log stays the old one. */
	(void)procsig_take(SIGHUP);
	if (procsig_take(SIGUSR1) && s->cancel != NULL) {
		char why[256];

		if (!libpq()->PQcancel(s->cancel, why, sizeof(why)))
			log_warning("cancel_failed",
			    "could not send the cancel request: %s", why);
	}
}

static int
time_left_ms(const struct session *s)
{
	int64_t left;

	if (s->deadline_us == 0)
		return -1;
	left = s->deadline_us - io_monotonic_us();
	return left <= 0 ? 0 : (int)(left / 1000) + 1;
}

/*
 * In clear, read to its end, nothing queued: what comes now is an edge.  Epoll
 * looks at nothing but what changed, where poll() looks at each descriptor
 * before it sleeps and after.  A client that sends urgent data or descriptors
 * can make a read short before the end: it has to say more to be heard.
 */
static bool
is_quiet(const struct wire *w)
{
	return w->quiet && !w->ends && !w->broken && wire_queued(w) == 0;
}

/* What a side says that is not to be read now poll() will say again. */
static int
wait_for_edge(
    struct session *s, struct wire *const *w, struct pollfd *p, int timeout)
{
	struct epoll_event e[3];
	int n = epoll_wait(s->edges, e, 3, timeout);

	for (int i = 0; i < n; i++) {
		uint32_t which = e[i].data.u32;

		if (which < 2) {
			w[which]->quiet = false;
			/* A short read does not tell that the end is behind. */
			w[which]->ends = w[which]->ends ||
					 (e[i].events & ENDS) != 0;
		}
		if (p[which].fd >= 0)
			p[which].revents = (short)(e[i].events & 0xff);
	}
	return n;
}

void
session_use_edges(struct session *s)
{
	const int fd[3] = { s->client.fd, s->server.fd, procsig_fd() };
	int edges;

	if (s->client.tls != NULL || s->server.tls != NULL)
		return;
	edges = epoll_create1(EPOLL_CLOEXEC);
	if (edges <= 0)
		return;
	s->edges = edges;
	s->client.quiet = s->server.quiet = false;
	for (uint32_t i = 0; i < 3; i++) {
		struct epoll_event e = {
			.events = EPOLLIN | (i < 2 ? EPOLLRDHUP | EPOLLET : 0),
			.data.u32 = i
		};

		if (epoll_ctl(edges, EPOLL_CTL_ADD, fd[i], &e) == 0)
			continue;
		close(edges);
		s->edges = 0;
		return;
	}
}

bool
session_wait(struct session *s, int want)
{
	struct wire *w[2] = { &s->client, &s->server };
	bool read[2] = { reads(w[0], w[1], want & WANT_CLIENT),
		reads(w[1], w[0], want & WANT_SERVER) };
	struct pollfd p[3] = { [2] = { procsig_fd(), POLLIN, 0 } };
	int timeout = time_left_ms(s);
	bool more = false;
	int n;

	for (int i = 0; i < 2; i++) {
		p[i].events = wire_events(w[i], read[i]);
		/* Without events poll() would report a hang-up for ever. */
		p[i].fd = p[i].events == 0 ? -1 : w[i]->fd;
		more = more || (read[i] && w[i]->more);
	}
	if (s->edges != 0 && want != 0 && is_quiet(w[0]) && is_quiet(w[1]))
		n = wait_for_edge(s, w, p, timeout);
	else
		n = poll(p, 3, more ? 0 : timeout);
	if (n < 0 && errno != EINTR)
		log_fatal("poll", "poll failed: %s", strerror(errno));
	if (n == 0 && timeout >= 0 && !more)
		return false;
	for (int i = 0; i < 2 && n >= 0; i++)
		wire_serve(w[i], read[i], p[i].revents);
	/* A signal makes its descriptor readable, or interrupts. */
	if (n < 0 || p[2].revents != 0)
		take_signals(s);
	return !s->terminate || s->committing;
}

bool
session_peek(struct session *s, uint8_t *first)
{
	while (!s->terminate && !s->smart) {
		struct pollfd p[2] = { { s->client.fd, POLLIN, 0 },
			{ procsig_fd(), POLLIN, 0 } };
		ssize_t n = recv(s->client.fd, first, 1, MSG_PEEK);

		if (n >= 0)
			return n == 1;
		if (errno != EAGAIN && errno != EINTR)
			return false;
		if (poll(p, 2, time_left_ms(s)) == 0)
			return false;
		take_signals(s);
	}
	return false;
}

bool
session_handshake(struct session *s, struct wire *w)
{
	wire_fill(w);
	while (!tls_established(w->tls)) {
		if (w->eof || w->broken ||
		    !session_wait(
			s, w == &s->client ? WANT_CLIENT : WANT_SERVER))
			return false;
	}
	return true;
}

bool
session_is_late(const struct session *s)
{
	return s->deadline_us != 0 && io_monotonic_us() >= s->deadline_us;
}

bool
session_is_fatal(const struct message *m)
{
	const char *severity;

	if (m->type != PqMsg_ErrorResponse)
		return false;
	severity = wire_error_field(m, 'V');
	return strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0;
}

static bool
wait_for_server(struct session *s)
{
	if (s->server.eof || s->server.broken)
		return false;
	wire_flush(&s->server);
	wire_flush(&s->client);
	return session_wait(s, WANT_SERVER);
}

bool
session_end_message(struct session *s)
{
	wire_pass(&s->server, &s->client);
	while (s->server.pass_left > 0) {
		if (!wait_for_server(s))
			return false;
		wire_pass(&s->server, &s->client);
	}
	return true;
}

bool
session_server_message(struct session *s, struct message *m)
{
	if (!session_end_message(s))
		return false;
	for (;;) {
		enum wire_status st = wire_message(&s->server, m);

		if (st == WIRE_BAD)
			return false;
		if (st == WIRE_MESSAGE) {
			if (session_is_fatal(m)) {
				/* Its session is over: the client's too. */
				wire_put(&s->client, m->raw, m->raw_len);
				s->fatal_seen = true;
				session_take(s, m);
				return false;
			}
			if (m->type == PqMsg_ParameterStatus)
				session_note_parameter(s, m);
			else if (m->type != PqMsg_NotificationResponse)
				return true;
			session_relay_aside(s, m);
			session_take(s, m);
			continue;
		}
		if (!wait_for_server(s))
			return false;
	}
}

void
session_doubt(struct session *s)
{
	s->doubts++;
	s->portals_unknown = true;
}

void
session_relay_aside(struct session *s, const struct message *m)
{
	if (s->setting_aside)
		buf_put(&s->aside, m->raw, m->raw_len);
	else
		wire_put(&s->client, m->raw, m->raw_len);
}

void
session_end_aside(struct session *s)
{
	if (s->one_answer)
		return;
	wire_put(&s->client, s->aside.data, s->aside.len);
	buf_reset(&s->aside);
	s->setting_aside = false;
}

void
session_take(struct session *s, const struct message *m)
{
	wire_skip(&s->server, m->raw_len);
}

void
session_put_ready(struct session *s, char status)
{
	size_t at = wire_begin(&s->client, PqMsg_ReadyForQuery);

	buf_put_u8(&s->client.out, (uint8_t)status);
	wire_end(&s->client, at);
}

const char *
session_parameter(const struct session *s, enum known_parameter which)
{
	size_t at = s->known[which];

	return at > 0 ? s->parameters[at - 1].value : "";
}

/* The last one of the list is new. */
static void
note_known(struct session *s)
{
	static const char *const names[KNOWN_PARAMETERS] = {
		[PARAMETER_APPLICATION_NAME] = "application_name",
		[PARAMETER_CLIENT_ENCODING] = "client_encoding",
		[PARAMETER_HOT_STANDBY] = "in_hot_standby",
		[PARAMETER_READ_ONLY] = "default_transaction_read_only",
		[PARAMETER_SERVER_ENCODING] = "server_encoding",
		[PARAMETER_STRINGS] = "standard_conforming_strings",
		[PARAMETER_TIMEZONE] = "TimeZone",
	};
	const char *name = s->parameters[s->n_parameters - 1].name;

	for (size_t i = 0; i < KNOWN_PARAMETERS; i++)
		if (strcmp(name, names[i]) == 0)
			s->known[i] = s->n_parameters;
}

/* What a literal that was read before may not mean any more. */
static bool
is_style(const char *name)
{
	static const char *const names[] = { "TimeZone", "DateStyle",
		"IntervalStyle", "standard_conforming_strings",
		"client_encoding" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

void
session_note_parameter(struct session *s, const struct message *m)
{
	struct rd r = rd_init(m->body, m->len);
	const char *name = rd_cstr(&r), *value = rd_cstr(&r);

	if (r.bad)
		return;
	for (size_t i = 0; i < s->n_parameters; i++)
		if (strcmp(s->parameters[i].name, name) == 0) {
			s->styles += is_style(name);
			free(s->parameters[i].value);
			s->parameters[i].value = mem_strdup(value);
			return;
		}
	if (s->n_parameters == MAX_PARAMETERS)
		return;
	s->parameters = mem_realloc(s->parameters, s->n_parameters + 1,
	    sizeof(*s->parameters));
	s->parameters[s->n_parameters].name = mem_strdup(name);
	s->parameters[s->n_parameters].value = mem_strdup(value);
	s->n_parameters++;
	note_known(s);
}

void
session_fatal(struct session *s, const char *sqlstate, const char *message,
    const char *hint)
{
	int64_t end = io_monotonic_us() + FATAL_DELIVERY_US;

	s->fatal_seen = true;
	/* As the server does: no words in the middle of a message. */
	if (s->server.pass_left > 0)
		return;
	wire_put_error(&s->client, "FATAL", sqlstate, message, hint);
	wire_flush(&s->client);
	while (wire_queued(&s->client) > 0 && !s->client.broken &&
	       io_monotonic_us() < end) {
		struct pollfd p = { s->client.fd, POLLOUT, 0 };

		(void)poll(&p, 1, 100);
		wire_flush(&s->client);
	}
}

bool
session_let_client_read(struct session *s)
{
	while (wire_queued(&s->client) > WIRE_HIGH_WATER && !s->client.broken)
		if (!session_wait(s, 0))
			return false;
	return true;
}
