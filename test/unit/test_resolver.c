/*
 * test_resolver.c: what becomes of transactions in doubt, with a server that
 * is away for long, comes back as another, or has forgotten.  libpq is
 * replaced by the functions below; hours are milliseconds.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <libpq-fe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../replayd/resolver.h"
#include "shmq.h"

enum status {
	IN_PROGRESS,
	COMMITTED,
	ABORTED,
	FORGOTTEN,
	FUTURE,
	N_STATUS
};

/* The server that the resolver's process finds; shared with it. */
struct server {
	_Atomic bool reachable;
	_Atomic bool in_recovery;
	_Atomic bool ending;		/* its connections, with 57P01 */
	_Atomic bool forbids;		/* that its identity be known */
	_Atomic unsigned connections;	/* tried */
	_Atomic unsigned answers;	/* given */
	_Atomic uint64_t system;
	_Atomic uint64_t timeline;
	_Atomic uint64_t recovered;
	_Atomic uint32_t status;
};
static struct server *server;

/* --- libpq --- */

struct pg_result {
	char text[4][24];
	bool null[4];
	bool failed;
	const char *state;
};

static int the_connection;

PGconn *
PQconnectdbParams(const char *const *names, const char *const *values,
    int expand)
{
	(void)names;
	(void)values;
	(void)expand;
	server->connections++;
	return (PGconn *)(void *)&the_connection;
}

ConnStatusType
PQstatus(const PGconn *conn)
{
	return conn != NULL && server->reachable ? CONNECTION_OK
						 : CONNECTION_BAD;
}

void
PQfinish(PGconn *conn)
{
	(void)conn;
}

char *
PQerrorMessage(const PGconn *conn)
{
	static char none[] = "";

	(void)conn;
	return none;
}

PGresult *
PQexec(PGconn *conn, const char *sql)
{
	PGresult *r = calloc(1, sizeof(*r));

	(void)conn;
	(void)sql;
	r->failed = !server->reachable || server->ending || server->forbids;
	r->state = server->ending ? "57P01" : server->forbids ? "42501" : NULL;
	snprintf(r->text[0], sizeof(r->text[0]), "%llu",
	    (unsigned long long)server->system);
	snprintf(r->text[1], sizeof(r->text[1]), "%08llX",
	    (unsigned long long)server->timeline);
	r->null[1] = server->in_recovery;
	snprintf(r->text[2], sizeof(r->text[2]), "%llu",
	    (unsigned long long)server->recovered);
	return r;
}

PGresult *
PQexecParams(PGconn *conn, const char *sql, int n, const Oid *types,
    const char *const *values, const int *lengths, const int *formats,
    int format)
{
	static const char *const names[N_STATUS] = { "in progress",
		"committed", "aborted", "", "" };
	PGresult *r = calloc(1, sizeof(*r));

	(void)conn;
	(void)sql;
	(void)n;
	(void)types;
	(void)values;
	(void)lengths;
	(void)formats;
	(void)format;
	r->failed = !server->reachable || server->status == FUTURE;
	r->state = server->status == FUTURE ? "22023" : NULL;
	r->null[0] = server->status == FORGOTTEN;
	snprintf(r->text[0], sizeof(r->text[0]), "%s", names[server->status]);
	server->answers++;
	return r;
}

ExecStatusType
PQresultStatus(const PGresult *r)
{
	return r->failed ? PGRES_FATAL_ERROR : PGRES_TUPLES_OK;
}

int
PQntuples(const PGresult *r)
{
	return r->failed ? 0 : 1;
}

char *
PQgetvalue(const PGresult *r, int row, int column)
{
	static char copy[24];

	(void)row;
	memcpy(copy, r->text[column], sizeof(copy));
	return copy;
}

int
PQgetisnull(const PGresult *r, int row, int column)
{
	(void)row;
	return r->null[column] ? 1 : 0;
}

char *
PQresultErrorField(const PGresult *r, int code)
{
	static char state[6];

	(void)code;
	if (r->state == NULL)
		return NULL;
	snprintf(state, sizeof(state), "%s", r->state);
	return state;
}

void
PQclear(PGresult *r)
{
	free(r);
}

/* --- tests --- */

static int
start(void)
{
	static const struct config config;
	static const struct resolver_pace pace = { 1, 4, 4 };
	const struct timeval limit = { .tv_sec = 20 };
	int fd = resolver_start_paced(&config, &pace);

	assert_true(fd >= 0);
	assert_int_equal(0, setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit,
	    sizeof(limit)));
	return fd;
}

static int
set_up(void **state)
{
	(void)state;
	server = shmq_anonymous(sizeof(*server));
	if (server == NULL)
		return -1;
	server->reachable = true;
	server->system = 77;
	server->timeline = 1;
	server->recovered = 1;
	return 0;
}

static struct resolver_answer
answer(int fd, enum resolver_kind kind)
{
	struct resolver_answer a;

	assert_int_equal(recv(fd, &a, sizeof(a), 0), sizeof(a));
	assert_int_equal(a.kind, kind);
	return a;
}

static void
ask(int fd, const struct resolver_request *q)
{
	assert_int_equal(send(fd, q, sizeof(*q), 0), sizeof(*q));
}

static void
expect(int fd, uint64_t tx_id, enum record_outcome outcome, const char *reason)
{
	struct resolver_answer a = answer(fd, RESOLVER_OUTCOME);

	assert_int_equal(a.tx_id, tx_id);
	assert_int_equal(a.outcome, outcome);
	assert_string_equal(a.reason, reason);
}

/* Returns when the resolver has tried so often more. */
static void
wait_for(_Atomic unsigned *count, unsigned more)
{
	unsigned until = *count + more, i;

	for (i = 0; *count < until; i++) {
		assert_true(i < 180000);
		usleep(1000);
	}
}

static void
each_status_has_its_outcome(void **state)
{
	static const struct {
		enum status status;
		bool off;
		enum record_outcome outcome;
		const char *reason;
	} cases[] = {
		{ COMMITTED, false, OUTCOME_COMMITTED, "" },
		{ ABORTED, false, OUTCOME_ABORTED, "" },
		{ ABORTED, true, OUTCOME_ABORTED, "synchronous_commit_off" },
		{ FORGOTTEN, false, OUTCOME_UNKNOWN, "too_old" },
		{ FUTURE, false, OUTCOME_UNKNOWN, "future_xid" },
	};
	int fd = start();
	uint64_t i;

	(void)state;
	assert_int_equal(answer(fd, RESOLVER_IDENTITY).system_identifier, 77);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct resolver_request q = { .tx_id = i, .xid = 1000 + i,
			.began = 2,
			.system_identifier = 77,
			.synchronous_commit_off = cases[i].off };

		server->status = cases[i].status;
		ask(fd, &q);
		expect(fd, i, cases[i].outcome, cases[i].reason);
	}
	close(fd);
}

static void
prepared_transaction_is_asked_for_until_it_ends(void **state)
{
	const struct resolver_request q = { .tx_id = 5, .began = 2, .xid = 1000 };
	int fd = start();

	(void)state;
	(void)answer(fd, RESOLVER_IDENTITY);
	server->status = IN_PROGRESS;
	ask(fd, &q);
	wait_for(&server->answers, 20);
	server->status = COMMITTED;
	expect(fd, 5, OUTCOME_COMMITTED, "");
	close(fd);
}

static void
server_that_is_away_is_waited_for(void **state)
{
	const struct resolver_request q = { .tx_id = 5, .began = 2, .xid = 1000,
		.system_identifier = 77 };
	int fd;

	(void)state;
	server->reachable = false;
	server->status = ABORTED;
	fd = start();
	ask(fd, &q);
	wait_for(&server->connections, 100);
	server->in_recovery = true;
	server->reachable = true;
	wait_for(&server->connections, 20);
	assert_int_equal(server->answers, 0);
	server->in_recovery = false;
	assert_int_equal(answer(fd, RESOLVER_IDENTITY).timeline, 1);
	expect(fd, 5, OUTCOME_ABORTED, "");
	close(fd);
}

static void
another_server_is_noticed_with_nothing_in_doubt(void **state)
{
	const struct resolver_request old = { .tx_id = 1, .xid = 9,
		.system_identifier = 77, .timeline = 1 };
	struct resolver_answer a;
	int fd = start();

	(void)state;
	(void)answer(fd, RESOLVER_IDENTITY);
	server->timeline = 0x1F;
	a = answer(fd, RESOLVER_IDENTITY);
	assert_int_equal(a.timeline, 0x1F);
	server->status = COMMITTED;
	ask(fd, &old);
	expect(fd, 1, OUTCOME_UNKNOWN, "other_timeline");
	server->system = 78;
	server->timeline = 1;
	a = answer(fd, RESOLVER_IDENTITY);
	assert_int_equal(a.system_identifier, 78);
	ask(fd, &old);
	expect(fd, 1, OUTCOME_UNKNOWN, "other_system");
	close(fd);
}

static void
failover_between_request_and_answer_is_noticed(void **state)
{
	const struct resolver_request q = { .tx_id = 3, .xid = 9,
		.system_identifier = 77 };
	int fd = start();

	(void)state;
	(void)answer(fd, RESOLVER_IDENTITY);
	server->reachable = false;
	ask(fd, &q);
	wait_for(&server->connections, 3);
	server->timeline = 2;
	server->status = COMMITTED;
	server->reachable = true;
	assert_int_equal(answer(fd, RESOLVER_IDENTITY).timeline, 2);
	expect(fd, 3, OUTCOME_UNKNOWN, "other_timeline");
	close(fd);
}

/* Its last words are not taken for those of another server. */
static void
server_that_ends_while_it_says_who_it_is_is_asked_again(void **state)
{
	const struct resolver_request q = { .tx_id = 8, .xid = 9, .began = 2,
		.system_identifier = 77 };
	int fd = start();

	(void)state;
	(void)answer(fd, RESOLVER_IDENTITY);
	server->ending = true;
	wait_for(&server->connections, 3);
	server->status = COMMITTED;
	ask(fd, &q);
	wait_for(&server->connections, 3);
	server->ending = false;
	expect(fd, 8, OUTCOME_COMMITTED, "");
	close(fd);
}

/* Crashes cannot be seen then, so that no commit is certain. */
static void
server_that_does_not_say_who_it_is_is_not_believed(void **state)
{
	const struct resolver_request q = { .tx_id = 8, .xid = 9, .began = 2 };
	int fd;

	(void)state;
	server->forbids = true;
	server->status = COMMITTED;
	fd = start();
	assert_int_equal(answer(fd, RESOLVER_IDENTITY).system_identifier, 0);
	ask(fd, &q);
	expect(fd, 8, OUTCOME_UNKNOWN, "server_restarted");
	close(fd);
}

static void
xid_given_again_after_a_crash_is_not_believed(void **state)
{
	const struct resolver_request before = { .tx_id = 1, .xid = 100,
		.began = 200 },
		after = { .tx_id = 2, .xid = 100, .began = 201 },
		not_known = { .tx_id = 3, .xid = 99 },
		prepared = { .tx_id = 4, .xid = 99, .prepared = true };
	int fd = start();

	(void)state;
	(void)answer(fd, RESOLVER_IDENTITY);
	server->status = COMMITTED;
	ask(fd, &before);
	expect(fd, 1, OUTCOME_COMMITTED, "");
	server->reachable = false;
	ask(fd, &before);
	wait_for(&server->connections, 5);
	server->recovered = 200;
	server->reachable = true;
	expect(fd, 1, OUTCOME_UNKNOWN, "server_restarted");
	ask(fd, &after);
	expect(fd, 2, OUTCOME_COMMITTED, "");
	ask(fd, &not_known);
	expect(fd, 3, OUTCOME_UNKNOWN, "server_restarted");
	ask(fd, &prepared);
	expect(fd, 4, OUTCOME_COMMITTED, "");
	server->status = ABORTED;
	ask(fd, &before);
	expect(fd, 1, OUTCOME_ABORTED, "");
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_status_has_its_outcome),
		TEST(prepared_transaction_is_asked_for_until_it_ends),
		TEST(server_that_is_away_is_waited_for),
		TEST(another_server_is_noticed_with_nothing_in_doubt),
		TEST(server_that_ends_while_it_says_who_it_is_is_asked_again),
		TEST(server_that_does_not_say_who_it_is_is_not_believed),
		TEST(xid_given_again_after_a_crash_is_not_believed),
		TEST(failover_between_request_and_answer_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
