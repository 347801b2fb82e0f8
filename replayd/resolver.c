/*
 * resolver.c: pg_xact_status() for transactions whose end nobody saw.
 *
 * One connection of the witness role, made when there is something to ask and
 * again when it breaks, with backoff.  A transaction that is in progress (or
 * prepared) is asked for again; `unknown` is only what the server cannot know:
 * forgotten, of the future, or of another server.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "resolver.h"

#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ioutil.h"
#include "log.h"
#include "procsig.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 10000
#define FUTURE_XID_STATE "22023"	/* invalid_parameter_value */

struct resolver {
	const struct config *config;
	int fd;
	PGconn *conn;			/* NULL: not connected */
	uint64_t system_identifier;
	bool identity_sent;
	struct resolver_request *asked;	/* not yet answered */
	size_t n;
	size_t cap;
	int backoff_ms;
};

/* --- the recorder's socket --- */

/* The recorder is gone if it cannot be told. */
static void
tell(const struct resolver *r, const struct resolver_answer *a)
{
	ssize_t n;

	do
		n = send(r->fd, a, sizeof(*a), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		_exit(0);
}

static void
take_request(struct resolver *r)
{
	struct resolver_request q;
	ssize_t n = recv(r->fd, &q, sizeof(q), 0);

	if (n < 0 && errno == EINTR)
		return;
	if (n != (ssize_t)sizeof(q))
		_exit(0);
	if (r->n == r->cap) {
		r->cap = r->cap == 0 ? 64 : r->cap * 2;
		r->asked = realloc(r->asked, r->cap * sizeof(*r->asked));
		if (r->asked == NULL)
			log_fatal("out_of_memory",
			    "no memory for transactions in doubt");
	}
	r->asked[r->n++] = q;
	r->backoff_ms = BACKOFF_MIN_MS;
}

/* --- the server --- */

static void
disconnect(struct resolver *r)
{
	PQfinish(r->conn);
	r->conn = NULL;
}

static PGconn *
open_connection(const struct config *c)
{
	char port[16];
	const char *const names[] = { "host", "port", "dbname", "user",
		"password", "passfile", "connect_timeout", "application_name",
		"options", "client_encoding", NULL };
	const char *const values[] = { c->backend_host, port,
		c->backend_dbname, c->backend_user, c->backend_password,
		c->backend_passfile, "5", "pgwitness recorder",
		"-c statement_timeout=5s", "UTF8", NULL };

	snprintf(port, sizeof(port), "%d", c->backend_port);
	return PQconnectdbParams(names, values, 0);
}

static uint64_t
number_at(const PGresult *res, int column)
{
	return strtoull(PQgetvalue(res, 0, column), NULL, 10);
}

static bool
ask_identity(struct resolver *r)
{
	struct resolver_answer a = { .kind = RESOLVER_IDENTITY };
	PGresult *res = PQexec(r->conn,
	    "SELECT s.system_identifier, c.timeline_id"
	    " FROM pg_catalog.pg_control_system() s,"
	    " pg_catalog.pg_control_checkpoint() c");

	if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1) {
		a.system_identifier = number_at(res, 0);
		a.timeline = number_at(res, 1);
	} else
		log_warning("server_identity",
		    "the witness role cannot read the system identifier: %s",
		    PQerrorMessage(r->conn));
	PQclear(res);
	r->system_identifier = a.system_identifier;
	r->identity_sent = true;
	tell(r, &a);
	return PQstatus(r->conn) == CONNECTION_OK;
}

static bool
connected(struct resolver *r)
{
	if (r->conn != NULL && PQstatus(r->conn) == CONNECTION_OK)
		return true;
	disconnect(r);
	r->conn = open_connection(r->config);
	if (PQstatus(r->conn) == CONNECTION_OK && ask_identity(r))
		return true;
	log_info("server_unreachable",
	    "the witness role cannot connect to the server: %s",
	    PQerrorMessage(r->conn));
	disconnect(r);
	return false;
}

enum answer { ANSWER_FINAL, ANSWER_LATER, ANSWER_BROKEN };

static void
set_outcome(struct resolver_answer *a, enum record_outcome o,
	const char *reason)
{
	a->outcome = o;
	snprintf(a->reason, sizeof(a->reason), "%s", reason);
}

static enum answer
judge_status(const PGresult *res, struct resolver_answer *a)
{
	const char *status = PQgetvalue(res, 0, 0);

	if (PQgetisnull(res, 0, 0))
		set_outcome(a, OUTCOME_UNKNOWN, "too_old");
	else if (strcmp(status, "committed") == 0)
		set_outcome(a, OUTCOME_COMMITTED, "");
	else if (strcmp(status, "aborted") == 0)
		set_outcome(a, OUTCOME_ABORTED, "");
	else
		return ANSWER_LATER;
	return ANSWER_FINAL;
}

static enum answer
judge(const PGresult *res, struct resolver_answer *a)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1)
		return judge_status(res, a);
	if (state == NULL || strcmp(state, FUTURE_XID_STATE) != 0)
		return ANSWER_BROKEN;
	set_outcome(a, OUTCOME_UNKNOWN, "future_xid");
	return ANSWER_FINAL;
}

static enum answer
ask(struct resolver *r, const struct resolver_request *q)
{
	struct resolver_answer a = { .kind = RESOLVER_OUTCOME,
		.tx_id = q->tx_id };
	char xid[24];
	const char *const values[] = { xid };
	enum answer answer = ANSWER_FINAL;

	snprintf(xid, sizeof(xid), "%" PRIu64, q->xid);
	if (q->system_identifier != 0 && r->system_identifier != 0 &&
	    q->system_identifier != r->system_identifier)
		set_outcome(&a, OUTCOME_UNKNOWN, "other_system");
	else {
		PGresult *res = PQexecParams(r->conn,
		    "SELECT pg_catalog.pg_xact_status($1::pg_catalog.xid8)",
		    1, NULL, values, NULL, NULL, 0);

		answer = judge(res, &a);
		PQclear(res);
	}
	if (answer == ANSWER_FINAL)
		tell(r, &a);
	return answer;
}

/* One round over all that are not answered; in doubt again in a while. */
static void
ask_all(struct resolver *r)
{
	size_t kept = 0;
	bool broken = !connected(r);

	for (size_t i = 0; i < r->n; i++) {
		enum answer a = broken ? ANSWER_LATER : ask(r, &r->asked[i]);

		if (a == ANSWER_BROKEN) {
			log_warning("in_doubt",
			    "the server does not say what became of a "
			    "transaction: %s", PQerrorMessage(r->conn));
			disconnect(r);
			broken = true;
		}
		if (a != ANSWER_FINAL)
			r->asked[kept++] = r->asked[i];
	}
	r->n = kept;
	r->backoff_ms = r->backoff_ms * 2 < BACKOFF_MAX_MS
	    ? r->backoff_ms * 2
	    : BACKOFF_MAX_MS;
}

static PGW_NORETURN void
resolver_main(struct resolver *r)
{
	struct pollfd p = { .fd = r->fd, .events = POLLIN };
	int64_t due = 0;

	r->backoff_ms = BACKOFF_MIN_MS;
	for (;;) {
		bool work = r->n > 0 || !r->identity_sent;
		int64_t left = (due - io_monotonic_us()) / 1000;
		int was = r->backoff_ms;

		if (work && left <= 0) {
			ask_all(r);
			due = io_monotonic_us() + (int64_t)was * 1000;
			continue;
		}
		if (poll(&p, 1, work ? (int)left + 1 : -1) > 0) {
			take_request(r);
			due = 0;
		}
	}
}

int
resolver_start(const struct config *config)
{
	struct resolver r = { .config = config };
	pid_t parent = getpid();
	pid_t pid;
	sigset_t saved;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	procsig_block(&saved);
	pid = fork();
	if (pid == 0) {
		procsig_init();
		procsig_follow_parent(parent, SIGKILL);
		procsig_restore(&saved);
		(void)signal(SIGINT, SIG_IGN);
		log_set_process("resolver");
		close(pair[0]);
		r.fd = pair[1];
		resolver_main(&r);
	}
	procsig_restore(&saved);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return -1;
	}
	return pair[0];
}
