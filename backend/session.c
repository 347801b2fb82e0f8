/*
 * session.c: waiting on both connections of a session.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "session.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "ioutil.h"
#include "log.h"
#include "procsig.h"

#define FATAL_DELIVERY_US 1000000
#define MAX_PARAMETERS 256

static short
events_of(const struct wire *w, const struct wire *other, bool want)
{
	short events = 0;

	if (w->fd < 0)
		return 0;
	if (want && !w->eof && wire_queued(other) < WIRE_HIGH_WATER)
		events |= POLLIN;
	if (wire_queued(w) > 0 && !w->broken)
		events |= POLLOUT;
	return events;
}

static void
serve(struct wire *w, short revents, short asked)
{
	if ((revents & (POLLIN | POLLHUP | POLLERR)) && (asked & POLLIN))
		wire_fill(w);
	else if ((revents & (POLLHUP | POLLERR)) && !(asked & POLLIN))
		w->broken = true;
	if (revents & POLLOUT)
		wire_flush(w);
}

static void
take_signals(struct session *s)
{
	procsig_drain();
	if (procsig_take(SIGTERM))
		s->terminate = true;
	if (procsig_take(SIGINT))
		s->smart = true;
	if (procsig_take(SIGHUP))
		log_reopen();
	if (procsig_take(SIGUSR1) && s->cancel != NULL) {
		char why[256];

		if (!PQcancel(s->cancel, why, sizeof(why)))
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

bool
session_wait(struct session *s, int want)
{
	struct pollfd p[3];
	int timeout = time_left_ms(s);
	int n;

	p[0].fd = s->client.fd;
	p[0].events = events_of(&s->client, &s->server, want & WANT_CLIENT);
	p[1].fd = s->server.fd;
	p[1].events = events_of(&s->server, &s->client, want & WANT_SERVER);
	p[2].fd = procsig_fd();
	p[2].events = POLLIN;
	for (int i = 0; i < 2; i++) {
		p[i].revents = 0;
		/* Without events poll() would report a hang-up for ever. */
		if (p[i].events == 0)
			p[i].fd = -1;
	}
	n = poll(p, 3, timeout);
	if (n < 0 && errno != EINTR)
		log_fatal("poll", "poll failed: %s", strerror(errno));
	if (n == 0 && timeout >= 0)
		return false;
	if (n > 0) {
		serve(&s->client, p[0].revents, p[0].events);
		serve(&s->server, p[1].revents, p[1].events);
	}
	take_signals(s);
	return !s->terminate || s->committing;
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

bool
session_server_message(struct session *s, struct message *m)
{
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
			wire_put(&s->client, m->raw, m->raw_len);
			session_take(s, m);
			continue;
		}
		if (s->server.eof || s->server.broken)
			return false;
		wire_flush(&s->server);
		wire_flush(&s->client);
		if (!session_wait(s, WANT_SERVER))
			return false;
	}
}

void
session_take(struct session *s, const struct message *m)
{
	wire_skip(&s->server, m->raw_len);
}

const char *
session_parameter(const struct session *s, const char *name)
{
	for (size_t i = 0; i < s->n_parameters; i++)
		if (strcmp(s->parameters[i].name, name) == 0)
			return s->parameters[i].value;
	return "";
}

static char *
copy(const char *v)
{
	char *c = strdup(v);

	if (c == NULL)
		log_fatal("out_of_memory", "out of memory");
	return c;
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
			free(s->parameters[i].value);
			s->parameters[i].value = copy(value);
			return;
		}
	if (s->n_parameters == MAX_PARAMETERS)
		return;
	s->parameters = realloc(
	    s->parameters, (s->n_parameters + 1) * sizeof(*s->parameters));
	if (s->parameters == NULL)
		log_fatal("out_of_memory", "out of memory");
	s->parameters[s->n_parameters].name = copy(name);
	s->parameters[s->n_parameters].value = copy(value);
	s->n_parameters++;
}

void
session_fatal(struct session *s, const char *sqlstate, const char *message,
    const char *hint)
{
	int64_t end = io_monotonic_us() + FATAL_DELIVERY_US;

	wire_put_error(&s->client, "FATAL", sqlstate, message, hint);
	wire_flush(&s->client);
	while (wire_queued(&s->client) > 0 && !s->client.broken &&
	       io_monotonic_us() < end) {
		struct pollfd p = { s->client.fd, POLLOUT, 0 };

		(void)poll(&p, 1, 100);
		wire_flush(&s->client);
	}
}
