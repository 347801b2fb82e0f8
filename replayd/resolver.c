/*
 * resolver.c: pg_xact_status() for transactions whose end nobody saw.
 *
 * One connection of the witness role, made when there is something to ask and
 * again when it breaks, with backoff.  A transaction that is in progress (or
 * prepared) is asked for again, for as long as it takes; `unknown` is only
 * what the server cannot know: forgotten, of the future, or of another server.
 * A server on another timeline (restored, failed over) gives the same xids to
 * other transactions, so its answer about an older one means nothing.  One in
 * recovery is as good as unreachable.
 *
 * A server that crashed may give xids again whose WAL was never flushed, also
 * to transactions that no proxy sees (autovacuum's, subtransactions).  So
 * `committed` is believed only of one that began after the server's last
 * crash recovery, or was prepared; of others it is unknown.  `aborted` is
 * always right: lost, or aborted.  A crash recovery resets all statistics; a
 * clean restart, which loses nothing, does not.  If somebody resets them by
 * hand, more is unknown than need be.  The time is read on the connection that
 * is asked, which a crash ends.
 *
 * Who the server is, is asked on every connection and every CHECK_MS, so that
 * a change is said also when nothing is in doubt.
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

#include "alarm.h"
#include "ioutil.h"
#include "killpoint.h"
#include "log.h"
#include "mem.h"
#include "procsig.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 10000
#define CHECK_MS 30000
#define FUTURE_XID_STATE "22023" /* invalid_parameter_value */
#define FORBIDDEN_STATE "42501"  /* insufficient_privilege */

struct resolver {
	const struct config *config;
	int fd;
	PGconn *conn; /* NULL: not connected */
	struct resolver_pace pace;
	uint64_t system_identifier; /* 0: not known */
	uint64_t timeline;
	int64_t recovered;   /* its last crash's end at most, us */
	bool asked_identity; /* once, with or without success */
	bool told_unreachable;
	int alarm_fd;
	struct resolver_request *asked; /* not yet answered */
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
		r->asked = mem_realloc(
		    r->asked, r->cap, sizeof(*r->asked));
	}
	if (q.timeline == 0)
		q.timeline = r->timeline;
	r->asked[r->n++] = q;
	r->backoff_ms = r->pace.backoff_min;
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
		"options", "client_encoding", CONFIG_SSL_NAMES, NULL };
	const char *const values[] = { c->backend_host, port, c->backend_dbname,
		c->backend_user, c->backend_password, c->backend_passfile, "5",
		"pgwitness recorder", "-c statement_timeout=5s", "UTF8",
		CONFIG_SSL_VALUES(c), NULL };

	snprintf(port, sizeof(port), "%d", c->backend_port);
	return PQconnectdbParams(names, values, 0);
}

static uint64_t
number_at(const PGresult *res, int column)
{
	return strtoull(PQgetvalue(res, 0, column), NULL, 10);
}

/* A change is said once, to the operator and to the recorder. */
static void
take_identity(struct resolver *r, uint64_t system, uint64_t timeline)
{
	const struct resolver_answer a = { .kind = RESOLVER_IDENTITY,
		.system_identifier = system,
		.timeline = timeline };

	if (r->asked_identity && system == r->system_identifier &&
	    timeline == r->timeline)
		return;
	if (r->system_identifier != 0 && system != 0)
		log_error("server_changed",
		    "the server is another one now: "
		    "system %" PRIu64 " timeline %" PRIu64
		    ", before system %" PRIu64 " timeline %" PRIu64
		    " (restored from a backup, or "
		    "failed over); what was in doubt there stays unknown",
		    system, timeline, r->system_identifier, r->timeline);
	r->asked_identity = true;
	if (system != 0) {
		r->system_identifier = system;
		r->timeline = timeline;
	}
	tell(r, &a);
}

enum identity {
	IDENTITY_KNOWN,
	IDENTITY_LATER,    /* the connection ends, or it is in recovery */
	IDENTITY_NOT_KNOWN /* the witness role may not know it */
};

static enum identity
read_identity(struct resolver *r, const PGresult *res, uint64_t *system,
    uint64_t *timeline)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	r->recovered = INT64_MAX;
	if (PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) != 1)
		return state != NULL && strcmp(state, FORBIDDEN_STATE) == 0
			   ? IDENTITY_NOT_KNOWN
			   : IDENTITY_LATER;
	if (PQgetisnull(res, 0, 1))
		return IDENTITY_LATER;
	*system = number_at(res, 0);
	*timeline = strtoull(PQgetvalue(res, 0, 1), NULL, 16);
	r->recovered = (int64_t)number_at(res, 2);
	return IDENTITY_KNOWN;
}

/*
 * The timeline that is written now: pg_control_checkpoint() still has the old
 * one for a while after a promotion.
 */
static bool
ask_identity(struct resolver *r)
{
	PGresult *res = PQexec(r->conn,
	    "SELECT s.system_identifier,"
	    " CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN"
	    " pg_catalog.substr(pg_catalog.pg_walfile_name("
	    "pg_catalog.pg_current_wal_lsn()), 1, 8) END,"
	    " (EXTRACT(epoch FROM COALESCE(b.stats_reset,"
	    " pg_catalog.pg_postmaster_start_time()))"
	    " * 1000000)::pg_catalog.int8"
	    " FROM pg_catalog.pg_control_system() s,"
	    " pg_catalog.pg_stat_bgwriter b");
	uint64_t system = 0, timeline = 0;
	enum identity identity = read_identity(r, res, &system, &timeline);

	PQclear(res);
	if (identity == IDENTITY_LATER || PQstatus(r->conn) != CONNECTION_OK)
		return false;
	if (identity == IDENTITY_NOT_KNOWN && !r->asked_identity)
		log_warning("server_identity",
		    "the witness role cannot read the system identifier: %s",
		    PQerrorMessage(r->conn));
	take_identity(r, system, timeline);
	return true;
}

static bool
connected(struct resolver *r)
{
	if (r->conn != NULL && PQstatus(r->conn) == CONNECTION_OK)
		return true;
	disconnect(r);
	r->conn = open_connection(r->config);
	if (PQstatus(r->conn) == CONNECTION_OK && ask_identity(r)) {
		alarm_set(r->alarm_fd, false);
		if (r->told_unreachable)
			log_info("server_reachable",
			    "the witness role is "
			    "connected to the server again");
		r->told_unreachable = false;
		return true;
	}
	alarm_set(r->alarm_fd, true);
	if (!r->told_unreachable)
		log_warning("server_unreachable",
		    "the witness role cannot "
		    "connect to the server, or it is in recovery: %s",
		    PQerrorMessage(r->conn));
	r->told_unreachable = true;
	disconnect(r);
	return false;
}

enum answer { ANSWER_FINAL, ANSWER_LATER, ANSWER_BROKEN };

static void
set_outcome(
    struct resolver_answer *a, enum record_outcome o, const char *reason)
{
	a->outcome = o;
	snprintf(a->reason, sizeof(a->reason), "%s", reason);
}

static bool
may_be_another(const struct resolver *r, const struct resolver_request *q)
{
	return !q->prepared && q->began <= r->recovered;
}

static enum answer
judge_status(const struct resolver *r, const PGresult *res,
    const struct resolver_request *q, struct resolver_answer *a)
{
	const char *status = PQgetvalue(res, 0, 0);

	if (PQgetisnull(res, 0, 0))
		set_outcome(a, OUTCOME_UNKNOWN, "too_old");
	else if (strcmp(status, "committed") == 0 && may_be_another(r, q))
		set_outcome(a, OUTCOME_UNKNOWN, "server_restarted");
	else if (strcmp(status, "committed") == 0)
		set_outcome(a, OUTCOME_COMMITTED, "");
	else if (strcmp(status, "aborted") == 0)
		set_outcome(a, OUTCOME_ABORTED,
		    q->synchronous_commit_off ? "synchronous_commit_off" : "");
	else
		return ANSWER_LATER;
	return ANSWER_FINAL;
}

static enum answer
judge(const struct resolver *r, const PGresult *res,
    const struct resolver_request *q, struct resolver_answer *a)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1)
		return judge_status(r, res, q, a);
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
	else if (q->timeline != 0 && r->timeline != 0 &&
		 q->timeline != r->timeline)
		set_outcome(&a, OUTCOME_UNKNOWN, "other_timeline");
	else {
		PGresult *res = PQexecParams(r->conn,
		    "SELECT pg_catalog.pg_xact_status($1::pg_catalog.xid8)", 1,
		    NULL, values, NULL, NULL, 0);

		answer = judge(r, res, q, &a);
		PQclear(res);
	}
	KILLPOINT("resolver_answer");
	if (answer == ANSWER_FINAL)
		tell(r, &a);
	return answer;
}

static void
back_off(struct resolver *r)
{
	r->backoff_ms = r->backoff_ms * 2 < r->pace.backoff_max
			    ? r->backoff_ms * 2
			    : r->pace.backoff_max;
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
			    "transaction: %s",
			    PQerrorMessage(r->conn));
			disconnect(r);
			broken = true;
		}
		if (a != ANSWER_FINAL)
			r->asked[kept++] = r->asked[i];
	}
	r->n = kept;
	back_off(r);
}

/*
 * When to come again.  With something to ask backoff decides; without it the
 * server's identity is looked at, which also finds that it went away.
 */
static int
next_ms(struct resolver *r)
{
	int was = r->backoff_ms;

	if (r->n > 0) {
		ask_all(r);
		return was;
	}
	if (r->conn != NULL && !ask_identity(r))
		disconnect(r);
	if (connected(r))
		return r->pace.check;
	back_off(r);
	return was;
}

static PGW_NORETURN void
resolver_main(struct resolver *r)
{
	struct pollfd p = { .fd = r->fd, .events = POLLIN };
	int64_t due = 0, left;

	r->backoff_ms = r->pace.backoff_min;
	for (;;) {
		left = (due - io_monotonic_us()) / 1000;
		if (left <= 0)
			due = io_monotonic_us() + (int64_t)next_ms(r) * 1000;
		else if (poll(&p, 1, (int)left + 1) > 0) {
			take_request(r);
			due = 0;
		}
	}
}

int
resolver_start(const struct config *config)
{
	static const struct resolver_pace pace = { BACKOFF_MIN_MS,
		BACKOFF_MAX_MS, CHECK_MS };

	return resolver_start_paced(config, &pace);
}

int
resolver_start_paced(
    const struct config *config, const struct resolver_pace *pace)
{
	struct resolver r = { .config = config, .pace = *pace };
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
		r.alarm_fd = alarm_open(config->data_dir, ALARM_SERVER);
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
