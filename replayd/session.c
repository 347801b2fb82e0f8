/*
 * session.c: opens, waits on and cleans the replay role's connections.
 *
 * Owns copy->conn.  A session serves many jobs, one after the other; each is
 * rolled back.  Called by replay.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "session.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "buf.h"
#include "cluster.h"
#include "ioutil.h"
#include "log.h"
#include "procsig.h"

#define JOBS_BETWEEN_CLEANINGS 300
#define TERMINATE_MS "5000"

static bool
prepare(PGconn *conn, const char *name, const char *sql)
{
	PGresult *res = PQprepare(conn, name, sql, 0, NULL);
	bool ok = PQresultStatus(res) == PGRES_COMMAND_OK;

	PQclear(res);
	return ok;
}

/* Without it foreign keys would refuse rows whose parents are not loaded. */
static bool
checks_are_off(PGconn *conn)
{
	PGresult *res = PQexec(conn, "SHOW session_replication_role");
	bool ok = PQresultStatus(res) == PGRES_TUPLES_OK &&
		  strcmp(PQgetvalue(res, 0, 0), "replica") == 0;

	PQclear(res);
	return ok;
}

bool
session_arm(PGconn *conn, char *token, size_t size)
{
	uint8_t raw[16];
	const char *values[1] = { token };
	PGresult *res;
	bool ok;

	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		log_fatal("no_random", "getrandom() failed: %m");
	for (size_t i = 0; i < sizeof(raw) && 2 * i + 2 < size; i++)
		snprintf(token + 2 * i, 3, "%02x", raw[i]);
	res = PQexecParams(conn, "SELECT pgwitness_pin.arm($1)", 1, NULL,
	    values, NULL, NULL, 0);
	ok = PQresultStatus(res) == PGRES_TUPLES_OK;
	PQclear(res);
	return ok;
}

static bool
set_up(PGconn *conn, struct schema_copy *copy)
{
	return checks_are_off(conn) &&
	       session_arm(conn, copy->token, sizeof(copy->token)) &&
	       prepare(conn, SESSION_BEGIN, "BEGIN") &&
	       prepare(conn, SESSION_ROLLBACK, "ROLLBACK") &&
	       prepare(conn, SESSION_CLEAN,
		   "SELECT pg_catalog.pg_advisory_unlock_all()") &&
	       prepare(conn, SESSION_JOB,
		   "SELECT pgwitness_pin.begin_job($1, $2, $3, $4)") &&
	       prepare(conn, SESSION_SURE,
		   "SELECT pgwitness_pin.sure($1)") &&
	       prepare(conn, SESSION_CAUGHT,
		   "SELECT pgwitness_pin.caught($1)") &&
	       prepare(conn, SESSION_INPUT,
		   "SELECT pgwitness_pin.input($1, $2, $3, $4)");
}

static void
forget_prepared(struct schema_copy *copy)
{
	for (size_t i = 0; i < copy->n_tables; i++) {
		copy->tables[i].load_prepared = false;
		copy->tables[i].read_prepared = false;
	}
}

bool
session_open(const struct config *c, struct schema_copy *copy)
{
	char conninfo[2 * PATH_MAX];
	PGconn *conn;

	if (copy->conn != NULL)
		return true;
	forget_prepared(copy);
	cluster_conninfo(c, false, copy->name, conninfo, sizeof(conninfo));
	conn = PQconnectdb(conninfo);
	explicit_bzero(conninfo, sizeof(conninfo));
	if (PQstatus(conn) != CONNECTION_OK || !set_up(conn, copy) ||
	    PQsetnonblocking(conn, 1) != 0 || !PQenterPipelineMode(conn)) {
		log_error("replay_session",
		    "cannot use the verification"
		    " cluster: %s",
		    PQerrorMessage(conn));
		PQfinish(conn);
		return false;
	}
	copy->conn = conn;
	return true;
}

static void
end(PGconn **conn)
{
	PGcancel *cancel;
	char error[256];

	if (*conn == NULL)
		return;
	cancel = PQgetCancel(*conn);
	if (cancel != NULL)
		(void)PQcancel(cancel, error, sizeof(error));
	PQfreeCancel(cancel);
	PQfinish(*conn);
	*conn = NULL;
}

void
session_close(struct schema_copy *copy)
{
	end(&copy->conn);
}

/* The server waits for the end itself, and says if there was none. */
static bool
terminate(PGconn *loader, int pid)
{
	char text[16];
	const char *values[1] = { text };
	PGresult *res;
	bool ok;

	snprintf(text, sizeof(text), "%d", pid);
	res = PQexecParams(loader,
	    "SELECT pg_catalog.pg_terminate_backend($1::pg_catalog.int4,"
	    " " TERMINATE_MS ") FROM pg_catalog.pg_stat_activity"
	    " WHERE pid OPERATOR(pg_catalog.=) $1::pg_catalog.int4"
	    " AND datname OPERATOR(pg_catalog.=) pg_catalog.current_database()",
	    1, NULL, values, NULL, NULL, 0);
	ok = PQresultStatus(res) == PGRES_TUPLES_OK &&
	     (PQntuples(res) == 0 || PQgetvalue(res, 0, 0)[0] == 't');
	PQclear(res);
	return ok;
}

void
session_end(const struct config *c, const char *copy, PGconn **conn)
{
	char conninfo[2 * PATH_MAX];
	PGconn *loader;
	int pid;

	if (*conn == NULL)
		return;
	pid = PQbackendPID(*conn);
	end(conn);
	cluster_conninfo(c, true, copy, conninfo, sizeof(conninfo));
	loader = PQconnectdb(conninfo);
	explicit_bzero(conninfo, sizeof(conninfo));
	if (PQstatus(loader) != CONNECTION_OK || !terminate(loader, pid))
		log_error("replay_stuck",
		    "process %d of the verification cluster does not end", pid);
	PQfinish(loader);
}

void
session_kill(const struct config *c, struct schema_copy *copy)
{
	session_end(c, copy->name, &copy->conn);
}

/* TRUNCATE of all touched tables as one statement; false: none is touched. */
static bool
truncate_sql(struct schema_copy *copy, struct buf *sql)
{
	const char *separator = "TRUNCATE ";

	for (size_t i = 0; i < copy->n_tables; i++) {
		struct schema_table *t = &copy->tables[i];
		char *schema;
		char *table;

		if (!t->touched)
			continue;
		t->touched = false;
		schema = PQescapeIdentifier(
		    copy->conn, t->schema, strlen(t->schema));
		table = PQescapeIdentifier(
		    copy->conn, t->table, strlen(t->table));
		if (schema != NULL && table != NULL)
			buf_printf(sql, "%s%s.%s", separator, schema, table);
		PQfreemem(schema);
		PQfreemem(table);
		separator = ", ";
	}
	if (sql->len == 0)
		return false;
	buf_put_cstr(sql, " CASCADE");
	return true;
}

bool
session_is_due(const struct schema_copy *copy)
{
	return copy->jobs >= JOBS_BETWEEN_CLEANINGS && copy->conn != NULL;
}

void
session_clean(struct schema_copy *copy)
{
	struct buf sql = { 0 };
	PGresult *res;
	bool ok;

	copy->jobs = 0;
	ok = PQexitPipelineMode(copy->conn) &&
	     PQsetnonblocking(copy->conn, 0) == 0;
	if (ok && truncate_sql(copy, &sql)) {
		res = PQexec(copy->conn, (const char *)sql.data);
		if (PQresultStatus(res) != PGRES_COMMAND_OK)
			log_debug(
			    "replay_clean", "%s", PQresultErrorMessage(res));
		PQclear(res);
		PQclear(PQexec(copy->conn, "DISCARD SEQUENCES"));
	}
	buf_free(&sql);
	if (!ok || PQsetnonblocking(copy->conn, 1) != 0 ||
	    !PQenterPipelineMode(copy->conn))
		session_close(copy);
}

/* Milliseconds to the deadline, rounded up; 0 if it has passed. */
static int
left_ms(int64_t deadline)
{
	int64_t left = deadline - io_monotonic_us();

	if (left <= 0)
		return 0;
	return left / 1000 >= INT_MAX ? INT_MAX : (int)((left + 999) / 1000);
}

/* False: *w says why not to go on. */
static bool
wait_for_socket(
    PGconn *conn, short events, int64_t deadline, enum session_wait *w)
{
	struct pollfd pfd[2] = { { .events = events }, { .events = POLLIN } };
	int n;

	pfd[0].fd = PQsocket(conn);
	pfd[1].fd = procsig_fd();
	n = poll(pfd, 2, left_ms(deadline));
	*w = n == 0 ? SESSION_TIMEOUT : SESSION_LOST;
	if (n == 0 || (n < 0 && errno != EINTR))
		return false;
	if (n > 0 && pfd[1].revents != 0)
		procsig_drain();
	if (procsig_pending(SIGTERM)) {
		*w = SESSION_STOPPED;
		return false;
	}
	return n < 0 || pfd[0].revents == 0 || PQconsumeInput(conn);
}

enum session_wait
session_wait(PGconn *conn, int64_t deadline)
{
	enum session_wait w;
	int flushed;

	for (;;) {
		flushed = PQflush(conn);
		if (flushed < 0)
			return SESSION_LOST;
		if (!PQisBusy(conn))
			return SESSION_READY;
		if (!wait_for_socket(conn,
			flushed > 0 ? POLLIN | POLLOUT : POLLIN, deadline, &w))
			return w;
	}
}

enum session_wait
session_flush(PGconn *conn, int64_t deadline)
{
	enum session_wait w;
	int flushed;

	while ((flushed = PQflush(conn)) > 0)
		if (!wait_for_socket(conn, POLLIN | POLLOUT, deadline, &w))
			return w;
	return flushed < 0 ? SESSION_LOST : SESSION_READY;
}
