/*
 * server.c: a login at the server by libpq, for clients that the proxy itself
 * admitted.
 *
 * Afterwards the socket, or libpq's TLS on it, is spoken to directly: nothing
 * of libpq may read from it again.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "server.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "ioutil.h"
#include "libpq.h"
#include "log.h"
#include "startup.h"
#include "tls.h"

#define MAX_KEYWORDS 20
#define LOGIN_TIMEOUT_US 10000000

struct keywords {
	const char *name[MAX_KEYWORDS];
	const char *value[MAX_KEYWORDS];
	size_t n;
	struct buf options; /* all other startup parameters, as -c */
};

static void
add_keyword(struct keywords *k, const char *name, const char *value)
{
	if (value == NULL || *value == '\0' || k->n + 1 >= MAX_KEYWORDS)
		return;
	k->name[k->n] = name;
	k->value[k->n++] = value;
	k->name[k->n] = NULL;
	k->value[k->n] = NULL;
}

/* In `options` a space or backslash stands behind a backslash. */
static void
add_option(struct keywords *k, const char *name, const char *value)
{
	buf_put_str(&k->options, " -c ");
	buf_put_str(&k->options, name);
	buf_put_u8(&k->options, '=');
	for (; *value != '\0'; value++) {
		if (*value == ' ' || *value == '\\')
			buf_put_u8(&k->options, '\\');
		buf_put_u8(&k->options, (uint8_t)*value);
	}
}

static void
add_parameter(void *arg, const char *name, const char *value)
{
	struct keywords *k = arg;

	if (strcmp(name, "user") == 0 || strcmp(name, "database") == 0)
		return;
	if (strcmp(name, "options") == 0) {
		buf_put_u8(&k->options, ' ');
		buf_put_str(&k->options, value);
	} else if (strncmp(name, "_pq_.", 5) == 0) {
		return;
	} else if (strcmp(name, "replication") == 0) {
		add_keyword(k, "replication", value);
	} else {
		add_option(k, name, value);
	}
}

/* As PQconnectdb(), with a timeout; PQstatus() tells how it went. */
static void
finish_login(PGconn *conn)
{
	PostgresPollingStatusType st = PGRES_POLLING_WRITING;
	int64_t end = io_monotonic_us() + LOGIN_TIMEOUT_US;

	while (libpq()->PQstatus(conn) != CONNECTION_BAD &&
	       st != PGRES_POLLING_OK) {
		struct pollfd p = { libpq()->PQsocket(conn), POLLOUT, 0 };
		int64_t left = end - io_monotonic_us();

		if (st == PGRES_POLLING_READING)
			p.events = POLLIN;
		if (left <= 0)
			return;
		if (poll(&p, 1, (int)(left / 1000) + 1) > 0)
			st = libpq()->PQconnectPoll(conn);
	}
}

static PGconn *
log_in(struct session *s, const struct buf *packet)
{
	const struct config *c = s->config;
	static const char *const ssl_names[] = { CONFIG_SSL_NAMES };
	const char *const ssl_values[] = { CONFIG_SSL_VALUES(c) };
	bool client = c->backend_client_user[0] != '\0';
	struct keywords k = { .n = 0 };
	char port[16];
	PGconn *conn;

	snprintf(port, sizeof(port), "%d", c->backend_port);
	add_keyword(&k, "host", c->backend_host);
	add_keyword(&k, "port", port);
	add_keyword(
	    &k, "user", client ? c->backend_client_user : c->backend_user);
	add_keyword(&k, "passfile",
	    client ? c->backend_client_passfile : c->backend_passfile);
	if (!client)
		add_keyword(&k, "password", c->backend_password);
	add_keyword(&k, "dbname", s->database);
	for (size_t i = 0; i < sizeof(ssl_names) / sizeof(*ssl_names); i++)
		add_keyword(&k, ssl_names[i], ssl_values[i]);
	startup_each(packet, add_parameter, &k);
	buf_put_u8(&k.options, 0);
	add_keyword(&k, "options", (const char *)k.options.data);
	conn = libpq()->PQconnectStartParams(k.name, k.value, 0);
	buf_free(&k.options);
	if (conn == NULL)
		log_fatal("out_of_memory", "out of memory");
	/* With the SQLSTATE: see server_error(). */
	libpq()->PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
	finish_login(conn);
	return conn;
}

static void
put_parameter(struct session *s, const char *name, const char *value)
{
	size_t at = wire_begin(&s->client, PqMsg_ParameterStatus);
	struct message m;

	buf_put_cstr(&s->client.out, name);
	buf_put_cstr(&s->client.out, value);
	wire_end(&s->client, at);
	m.body = s->client.out.data + at + 4;
	m.len = s->client.out.len - at - 4;
	session_note_parameter(s, &m);
}

/* The parameters that PostgreSQL 15 reports (manual 55.2.7). */
static void
put_parameters(struct session *s, const PGconn *conn)
{
	static const char *const names[] = { "server_version",
		"server_encoding", "client_encoding", "application_name",
		"default_transaction_read_only", "in_hot_standby",
		"is_superuser", "session_authorization", "DateStyle",
		"IntervalStyle", "TimeZone", "integer_datetimes",
		"standard_conforming_strings" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const char *v = libpq()->PQparameterStatus(conn, names[i]);

		if (v != NULL)
			put_parameter(s, names[i], v);
	}
}

/* libpq does not give the secret away: the client gets one of ours. */
static void
put_key(struct session *s, const PGconn *conn)
{
	struct session_slot *slot = &s->heritage->sessions[s->heritage->lane];
	uint32_t key = 0, pid = (uint32_t)libpq()->PQbackendPID(conn);
	size_t at;

	while (key == 0)
		if (getrandom(&key, sizeof(key), 0) != sizeof(key))
			log_fatal("getrandom", "no random numbers");
	atomic_store(&slot->server_pid, pid);
	atomic_store(&slot->cancel_key, key);
	at = wire_begin(&s->client, PqMsg_BackendKeyData);
	buf_put_u32(&s->client.out, pid);
	buf_put_u32(&s->client.out, key);
	wire_end(&s->client, at);
}

static void
greet(struct session *s, const PGconn *conn)
{
	size_t at = wire_begin(&s->client, PqMsg_AuthenticationRequest);

	buf_put_u32(&s->client.out, AUTH_REQ_OK);
	wire_end(&s->client, at);
	put_parameters(s, conn);
	put_key(s, conn);
	at = wire_begin(&s->client, PqMsg_ReadyForQuery);
	buf_put_u8(&s->client.out, PQ_IDLE);
	wire_end(&s->client, at);
	s->status = PQ_IDLE;
}

/*
 * libpq says "connection to server ... failed: FATAL:  SQLSTATE: text" and
 * more lines.  The text, cut out of message, and the SQLSTATE if the client is
 * to have the server's: a login of ours that fails is no failure of its.
 */
static const char *
server_error(char *message, char sqlstate[6])
{
	static const char severity[] = "FATAL:  ";
	char *at = strstr(message, severity);

	message[strcspn(message, "\n")] = '\0';
	if (at == NULL || strlen(at) < strlen(severity) + 7)
		return message;
	at += strlen(severity);
	if (strspn(at, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 ||
	    at[5] != ':')
		return message;
	if (strncmp(at, "28", 2) != 0)
		memcpy(sqlstate, at, 5);
	at[strcspn(at, "\n")] = '\0';
	return at + 7;
}

static void
refuse(struct session *s, PGconn *conn)
{
	char message[512], text[600], sqlstate[6] = "08006";
	const char *why = libpq()->PQerrorMessage(conn);

	snprintf(message, sizeof(message), "%s",
	    why[0] != '\0' ? why : "timeout expired");
	snprintf(text, sizeof(text), "could not log in to the server: %s",
	    server_error(message, sqlstate));
	log_error("server_login_failed", "%s", text);
	session_fatal(s, sqlstate, text, NULL);
	libpq()->PQfinish(conn);
}

bool
server_login(struct session *s, const struct buf *packet)
{
	PGconn *conn = log_in(s, packet);
	void *ssl;
	int fd;

	if (libpq()->PQstatus(conn) != CONNECTION_OK) {
		refuse(s, conn);
		return false;
	}
	s->login = conn;
	s->cancel = libpq()->PQgetCancel(conn);
	fd = libpq()->PQsocket(conn);
	if (!io_set_nonblock(fd))
		log_fatal("fcntl", "fcntl: %s", strerror(errno));
	wire_open(&s->server, fd);
	ssl = libpq()->PQsslStruct(conn, "OpenSSL");
	if (ssl != NULL)
		wire_set_tls(&s->server, tls_adopt(ssl));
	greet(s, conn);
	return true;
}
