/*
 * replay_fixture.h: a server, and records made on it by plain SQL.
 *
 * Included by those who replay.  Captures rows as the backend would.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_REPLAY_FIXTURE_H
#define PGW_REPLAY_FIXTURE_H

#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <limits.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../replayd/cluster.h"
#include "../../replayd/replay.h"
#include "../../replayd/worker.h"
#include "../support/server.h"
#include "catalog_sql.h"
#include "copydata.h"
#include "ioutil.h"
#include "log.h"
#include "procsig.h"

/* Each of the programs uses what it needs. */
#pragma GCC diagnostic ignored "-Wunused-function"

#define FIXTURE_TIMEOUT "3s"
#define MAX_TABLES 8
#define MAX_STATEMENTS 8

static char base[64];
static struct config *config;
static pid_t server_pid;
static pid_t cluster_pid;
static PGconn *server;
static struct replay *replay;
static struct arena *arena;

/* One step of a small generator; the same inputs in each run. */
static unsigned
draw(unsigned n)
{
	static uint64_t seed = 42;

	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

static void
read_all(int fd, void *p, size_t n)
{
	char *at = p;

	while (n > 0) {
		ssize_t got = read(fd, at, n);

		assert_true(got > 0);
		at += got;
		n -= (size_t)got;
	}
}

/* --- the server --- */

static PGresult *
ask(const char *sql)
{
	PGresult *res = PQexec(server, sql);
	ExecStatusType status = PQresultStatus(res);

	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(server));
	return res;
}

static void
tell(const char *sql)
{
	PQclear(ask(sql));
}

static char *
ask_value(const char *sql)
{
	PGresult *res = ask(sql);
	char *value = arena_strdup(arena, PQgetvalue(res, 0, 0));

	PQclear(res);
	return value;
}

static bool
start_server(void)
{
	server_pid = server_start(base);
	if (server_pid <= 0)
		return false;
	server = server_connect(base, server_pid, "");
	return PQstatus(server) == CONNECTION_OK;
}

/* --- building records --- */

static struct record rec;
static struct record_table tables[MAX_TABLES];
static struct record_statement statements[MAX_STATEMENTS];
static struct record_setting settings[4];

static void
begin_record(void)
{
	arena_reset(arena);
	memset(&rec, 0, sizeof(rec));
	memset(tables, 0, sizeof(tables));
	rec.now = rec.application_name = rec.client_addr = "";
	rec.capture_reason = rec.unverifiable = rec.doubt = "";
	rec.database = "postgres";
	rec.user = "boss";
	rec.isolation = "read committed";
	rec.capture = CAPTURE_EXACT;
	rec.has_images = true;
	rec.tables = tables;
	rec.statements = statements;
	rec.settings = settings;
	tell("SET TimeZone TO 'UTC'; SET search_path = ''");
	tell("BEGIN");
	rec.now = ask_value("SELECT now()");
}

static char *sql_of(const char *fmt, ...) PGW_PRINTF(1, 2);

static char *
sql_of(const char *fmt, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return arena_strdup(arena, text);
}

static void
read_shape(struct record_table *t)
{
	PGresult *res = ask(sql_of(
	    "SELECT a.attname, pg_catalog.format_type("
	    "a.atttypid, a.atttypmod), coalesce(array_position(i.indkey::int[],"
	    " a.attnum::int) + 1, 0), a.attidentity, a.attgenerated"
	    " FROM pg_attribute a LEFT JOIN pg_index i"
	    " ON i.indrelid = a.attrelid AND i.indisprimary"
	    " WHERE a.attrelid = %u AND a.attnum > 0 AND NOT a.attisdropped"
	    " ORDER BY a.attnum",
	    t->oid));
	struct rowenc_column *c;

	t->shape.n_columns = (unsigned)PQntuples(res);
	c = arena_zalloc(arena, (t->shape.n_columns + 1) * sizeof(*c));
	assert_non_null(c);
	t->shape.columns = c;
	for (int i = 0; i < PQntuples(res); i++, c++) {
		c->name = arena_strdup(arena, PQgetvalue(res, i, 0));
		c->type = arena_strdup(arena, PQgetvalue(res, i, 1));
		c->key = (unsigned)atoi(PQgetvalue(res, i, 2));
		c->identity = PQgetvalue(res, i, 3)[0];
		c->generated = PQgetvalue(res, i, 4)[0];
	}
	PQclear(res);
	assert_true(rowenc_shape_init(&t->shape, arena));
}

static struct record_table *
add_table(const char *schema, const char *table)
{
	struct record_table *t = &tables[rec.n_tables++];

	t->schema = schema;
	t->table = table;
	t->write = true;
	t->oid = (uint32_t)strtoul(
	    ask_value(sql_of("SELECT '%s.%s'::regclass::oid", schema, table)),
	    NULL, 10);
	t->fingerprint = ask_value(
	    sql_of("SELECT " CATALOG_FINGERPRINT
		   " FROM pg_catalog.pg_class c WHERE c.oid = %u",
		t->oid));
	t->definition = "";
	read_shape(t);
	return t;
}

/* select: gives one composite column. */
static void
add_rows(
    struct record_table *t, bool before, unsigned statement, const char *select)
{
	struct rowenc_value values[32];
	struct record_row **rows = before ? &t->before : &t->after;
	size_t *n = before ? &t->n_before : &t->n_after;
	PGresult *res = ask(select);
	size_t count = (size_t)PQntuples(res);
	struct record_row *all = arena_zalloc(
	    arena, (*n + count + 1) * sizeof(*all));

	assert_non_null(all);
	if (*n > 0)
		memcpy(all, *rows, *n * sizeof(*all));
	*rows = all;
	for (size_t i = 0; i < count; i++) {
		char *text = arena_strdup(arena, PQgetvalue(res, (int)i, 0));

		assert_true(rowenc_split_composite((uint8_t *)text,
		    strlen(text), arena, values, t->shape.n_columns));
		assert_true(
		    rowenc_encode(&t->shape, values, arena, &all[*n].row));
		all[(*n)++].statement = statement;
	}
	PQclear(res);
}

static void
before(struct record_table *t, unsigned statement, const char *where)
{
	add_rows(t, true, statement,
	    sql_of("SELECT ROW(t.*) FROM ONLY %s.%s t"
		   " WHERE %s",
		t->schema, t->table, where));
}

static void
after(struct record_table *t, const char *where)
{
	add_rows(t, false, 0,
	    sql_of("SELECT ROW(t.*) FROM ONLY %s.%s t"
		   " WHERE %s",
		t->schema, t->table, where));
}

/* A row that the server never had, columns as SQL text. */
static void
after_lie(struct record_table *t, const char *row)
{
	add_rows(t, false, 0, sql_of("SELECT ROW(%s)", row));
}

static void
note(const char *sql)
{
	struct record_statement *s = &statements[rec.n_statements++];

	s->sql = sql;
	s->sql_len = strlen(sql);
	s->type = "UPDATE";
	s->params = NULL;
	s->n_params = 0;
}

/* The last noted statement was sent with these. */
static void
with_params(const struct record_param *params, size_t n)
{
	struct record_statement *s = &statements[rec.n_statements - 1];

	s->params = params;
	s->n_params = n;
}

/* Runs on the server, under the default search_path, and is recorded. */
static void
execute(const char *sql)
{
	tell("SET search_path TO DEFAULT");
	tell(sql);
	tell("SET search_path TO ''");
	note(sql);
}

static void
note_copy(const char *sql, const void *data, size_t len)
{
	struct record_param *p = arena_zalloc(arena, sizeof(*p));

	assert_non_null(p);
	p->value = (const uint8_t *)arena_memdup(arena, data, len);
	p->len = len;
	note(sql);
	with_params(p, 1);
	statements[rec.n_statements - 1].type = "COPY";
}

/* Runs COPY FROM STDIN on the server, and is recorded. */
static void
execute_copy(const char *sql, const void *data, size_t len)
{
	PGresult *res;

	tell("SET search_path TO DEFAULT");
	res = PQexec(server, sql);
	if (PQresultStatus(res) != PGRES_COPY_IN)
		fail_msg("%s: %s", sql, PQerrorMessage(server));
	PQclear(res);
	assert_int_equal(PQputCopyData(server, data, (int)len), 1);
	assert_int_equal(PQputCopyEnd(server, NULL), 1);
	while ((res = PQgetResult(server)) != NULL) {
		if (PQresultStatus(res) != PGRES_COMMAND_OK)
			fail_msg("%s: %s", sql, PQerrorMessage(server));
		PQclear(res);
	}
	tell("SET search_path TO ''");
	note_copy(sql, data, len);
}

static struct verdict
run_record(void)
{
	struct buf b = { 0 };
	struct record copy;
	struct verdict v = { 0 };
	void *bytes;

	rec.time_us = io_now_us();
	record_set_roots(&rec);
	record_encode(&rec, &b);
	bytes = arena_memdup(arena, b.data, b.len);
	assert_true(record_decode(bytes, b.len, arena, &copy));
	buf_free(&b);
	assert_true(replay_run(replay, &copy, arena, &v));
	return v;
}

static struct verdict
finish(void)
{
	tell("COMMIT");
	return run_record();
}

static void
assert_verdict(
    const struct verdict *v, enum verdict_kind kind, const char *reason)
{
	if (v->kind != kind || strcmp(v->reason, reason) != 0)
		fail_msg(
		    "verdict %s, reason '%s', detail '%s', %zu"
		    " mismatches (first column %s: '%s' and '%s'); expected"
		    " %s, '%s'",
		    verdict_kind_name(v->kind), v->reason, v->detail,
		    v->n_mismatches,
		    v->n_mismatches > 0 && v->mismatches[0].column
			? v->mismatches[0].column
			: "-",
		    v->n_mismatches > 0 && v->mismatches[0].claimed
			? v->mismatches[0].claimed
			: "-",
		    v->n_mismatches > 0 && v->mismatches[0].calculated
			? v->mismatches[0].calculated
			: "-",
		    verdict_kind_name(kind), reason);
}

static void
assert_verified(void)
{
	struct verdict v = finish();

	assert_verdict(&v, VERDICT_VERIFIED, "");
	assert_true(v.has_root);
}

static void
fresh(const char *ddl)
{
	tell("SET search_path TO public; SET client_min_messages = error;"
	     " DROP TABLE IF EXISTS child, parent, t, log CASCADE");
	tell(ddl);
}

static const char accounts[] =
    "CREATE TABLE t (id int PRIMARY KEY,"
    " name varchar(5) NOT NULL DEFAULT 'none', note text,"
    " balance numeric(10,2) DEFAULT 1.5 CHECK (balance >= 0),"
    " twice numeric GENERATED ALWAYS AS (balance * 2) STORED);"
    " INSERT INTO t VALUES (1, 'ann', NULL, 10), (2, 'bob', '', 20),"
    " (3, 'eve', 'a \"quoted\", (text)\\', 30)";

/* A record of one statement, with the rows of t that it changes. */
static struct record_table *
record_change(const char *where, const char *sql)
{
	struct record_table *t;

	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 0, where);
	execute(sql);
	after(t, where);
	return t;
}

/* --- set-up --- */

static void
write_config(void)
{
	char path[PATH_MAX + 32];
	char text[PATH_MAX + 256];
	int n = snprintf(text, sizeof(text),
	    "[backend]\nhost = %s\n"
	    "port = 5432\ndbname = postgres\nuser = witness\n"
	    "[replay]\nstatement_timeout = " FIXTURE_TIMEOUT "\n[log]\nlevel = debug\n",
	    base);

	io_path(path, sizeof(path), "%s/data/pgwitness.conf", base);
	assert_true(io_replace_file(path, text, (size_t)n, 0600));
}

static int
set_up(void **state)
{
	char path[PATH_MAX + 32];
	char error[1024];

	(void)state;
	procsig_init();
	procsig_catch(SIGTERM);
	arena = arena_new(0);
	io_path(path, sizeof(path), "%s/data", base);
	if (mkdir(path, 0700) != 0)
		return -1;
	write_config();
	config = config_load(path, NULL, error, sizeof(error));
	if (config == NULL) {
		print_error("%s\n", error);
		return -1;
	}
	io_path(path, sizeof(path), "%s/data/log", base);
	(void)mkdir(path, 0700);
	io_path(path, sizeof(path), "%s/data/spool", base);
	(void)mkdir(path, 0700);
	config_log_path(config, "pgwitness.log", path, sizeof(path));
	if (!log_open(path) || !start_server())
		return -1;
	tell("CREATE ROLE witness LOGIN; GRANT pg_read_all_data TO witness");
	if (!cluster_start(config, &cluster_pid, error, sizeof(error))) {
		print_error("%s\n", error);
		return -1;
	}
	replay = replay_new(config, 0);
	return 0;
}

static int
tear_down(void **state)
{
	char command[PATH_MAX + 32];

	(void)state;
	if (replay != NULL)
		replay_free(replay);
	cluster_stop(cluster_pid);
	PQfinish(server);
	if (server_pid > 0) {
		kill(server_pid, SIGQUIT);
		waitpid(server_pid, NULL, 0);
	}
	if (arena != NULL)
		arena_free(arena);
	config_free(config);
	if (getenv("KEEP") == NULL) {
		snprintf(command, sizeof(command), "rm -rf '%s'", base);
		return system(command);
	}
	print_message("kept %s\n", base);
	return 0;
}

/* As root: a copy of this program and of the pins, run as user postgres. */
static int
run_unprivileged(char *self, const struct passwd *pw)
{
	char command[1024];
	char program[PATH_MAX + 32];
	int status;
	pid_t pid;

	io_path(command, sizeof(command),
	    "set -e; mkdir -p %s/test %s/pin;"
	    " cp /proc/%d/exe %s/test/program;"
	    " cp \"$(dirname \"$(readlink /proc/%d/exe)\")\"/../pin/*.so"
	    " %s/pin; chmod -R a+rX %s; chown -R %s %s",
	    base, base, (int)getpid(), base, (int)getpid(), base, base,
	    pw->pw_name, base);
	if (system(command) != 0)
		return 1;
	io_path(program, sizeof(program), "%s/test/program", base);
	pid = fork();
	if (pid == 0) {
		char *argv[] = { self, base, NULL };

		if (setgroups(0, NULL) != 0 || setgid(pw->pw_gid) != 0 ||
		    setuid(pw->pw_uid) != 0 || chdir(base) != 0)
			_exit(126);
		execv(program, argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int
fixture_main(
    int argc, char **argv, const struct CMUnitTest *tests, size_t n)
{
	const struct passwd *pw = getpwnam("postgres");

	if (access(PROGRAM_BINDIR "/initdb", X_OK) != 0 ||
	    (getuid() == 0 && pw == NULL)) {
		printf("SKIP: it needs the PostgreSQL 15 server programs in "
		       PROGRAM_BINDIR " and, as root, the user postgres\n");
		return 0;
	}
	if (argc > 1) {
		snprintf(base, sizeof(base), "%s", argv[1]);
	} else {
		strcpy(base, "/tmp/test_replay.XXXXXX");
		if (mkdtemp(base) == NULL)
			return 1;
	}
	if (getuid() == 0)
		return run_unprivileged(argv[0], pw);
	return _cmocka_run_group_tests("tests", tests, n, set_up, tear_down);
}

#endif
