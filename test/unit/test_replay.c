/*
 * test_replay.c: records replayed on a real verification cluster.
 *
 * Makes a server and a verification cluster in a directory under /tmp.  A test
 * captures rows from the server by plain SQL, as the backend would, runs the
 * statement there, and replays the record.  As root it copies itself to the
 * directory and goes on as user postgres.  TEST_REPLAY_JOBS=n measures n jobs.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "replay_fixture.h"

/* --- tests --- */

static void
test_update_is_verified(void **state)
{

	(void)state;
	record_change(
	    "id < 4", "UPDATE t SET balance = balance + 1.25 WHERE id < 4");
	assert_verified();
}

static void
test_wrong_value_names_row_and_column(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 2");
	execute("UPDATE t SET balance = balance + 1 WHERE id = 2");
	after_lie(t, "2, 'bob', '', 99.00, 42.00");
	v = finish();
	assert_verdict(&v, VERDICT_MISMATCH, "rows_differ");
	assert_int_equal(v.n_mismatches, 1);
	assert_int_equal(v.statement, 0);
	assert_string_equal(v.mismatches[0].table, "public.t");
	assert_string_equal(v.mismatches[0].row[0].column, "id");
	assert_string_equal(v.mismatches[0].row[0].value, "2");
	assert_string_equal(v.mismatches[0].column, "balance");
	assert_string_equal(v.mismatches[0].claimed, "99.00");
	assert_string_equal(v.mismatches[0].calculated, "21.00");
}

static void
test_null_is_not_an_empty_string(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	t = record_change("id IN (1, 2)",
	    "UPDATE t SET note = CASE id WHEN 1 THEN '' END WHERE id < 3");
	v = finish();
	assert_verdict(&v, VERDICT_VERIFIED, "");

	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	execute("UPDATE t SET note = NULL WHERE id = 1");
	after_lie(t, "1, 'ann', '', 10.00, 20.00");
	v = finish();
	assert_verdict(&v, VERDICT_MISMATCH, "rows_differ");
	assert_string_equal(v.mismatches[0].claimed, "");
	assert_null(v.mismatches[0].calculated);
}

static void
test_bind_values_are_replayed(void **state)
{
	static const struct record_param params[] = {
		{ 25, 0, (const uint8_t *)"it's", 4 },
		{ 23, 1, (const uint8_t *)"\0\0\0\2", 4 },
		{ 0, 0, NULL, 0 },
	};
	struct record_table *t;
	struct verdict v;

	(void)state;
	for (int lie = 0; lie < 2; lie++) {
		fresh(accounts);
		begin_record();
		t = add_table("public", "t");
		before(t, 0, "id = 2");
		tell("UPDATE public.t SET name = 'it''s', note = NULL"
		     " WHERE id = 2");
		note("UPDATE t SET name = $1, note = $3 WHERE id = $2");
		with_params(params, 3);
		if (lie)
			after_lie(t, "2, 'its', NULL, 20.00, 40.00");
		else
			after(t, "id = 2");
		v = finish();
		if (!lie)
			assert_verdict(&v, VERDICT_VERIFIED, "");
	}
	assert_verdict(&v, VERDICT_MISMATCH, "rows_differ");
	assert_string_equal(v.mismatches[0].column, "name");
}

static void
test_missing_and_extra_rows_are_named(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id IN (1, 2)");
	execute("DELETE FROM t WHERE id = 1");
	after(t, "false");
	after_lie(t, "7, 'new', NULL, 1.00, 2.00");
	v = finish();
	assert_verdict(&v, VERDICT_MISMATCH, "rows_differ");
	assert_int_equal(v.n_mismatches, 2);
	assert_null(v.mismatches[0].column);
	assert_string_equal(v.mismatches[0].row[0].value, "2");
	assert_null(v.mismatches[0].claimed);
	assert_string_equal(v.mismatches[0].calculated, "present");
	assert_string_equal(v.mismatches[1].row[0].value, "7");
	assert_string_equal(v.mismatches[1].claimed, "present");
	assert_null(v.mismatches[1].calculated);
}

static void
test_defaults_and_generated_columns_are_made_again(void **state)
{
	struct record_table *t;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO t (id, note) VALUES (10, 'd')");
	after(t, "id = 10");
	assert_verified();
}

static void
test_claims_beyond_constraints_are_mismatches(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	note("UPDATE t SET name = 'longer than five' WHERE id = 1");
	after_lie(t, "1, 'longer than five', NULL, 10.00, 20.00");
	v = finish();
	assert_verdict(&v, VERDICT_MISMATCH, "replay_error:22001");
	assert_int_equal(v.statement, 0);

	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	note("UPDATE t SET balance = -1 WHERE id = 1");
	after_lie(t, "1, 'ann', NULL, -1.00, -2.00");
	v = finish();
	assert_verdict(&v, VERDICT_MISMATCH, "replay_error:23514");
}

static void
test_duplicate_key_is_a_mismatch(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	note("INSERT INTO t (id) VALUES (1)");
	after(t, "id = 1");
	v = finish();
	assert_verdict(&v, VERDICT_MISMATCH, "replay_error:23505");
}

static void
test_time_is_the_transactions(void **state)
{
	struct record_table *t;

	(void)state;
	fresh("CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT"
	      " CURRENT_TIMESTAMP, l timestamp, d date, s text)");
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO t VALUES (1, DEFAULT, LOCALTIMESTAMP,"
		" CURRENT_DATE, 'now'::timestamptz::text || now())");
	after(t, "id = 1");
	assert_verified();

	/* a date far away: the pin is not the clock by chance */
	begin_record();
	t = add_table("public", "t");
	rec.now = "1999-12-31 23:59:59.123456+00";
	note("INSERT INTO t VALUES (2, DEFAULT, LOCALTIMESTAMP, 'today')");
	after_lie(t, "2, '1999-12-31 23:59:59.123456+00',"
		     " '1999-12-31 23:59:59.123456', '1999-12-31', NULL");
	assert_verified();
}

static void
test_client_settings_apply_to_statements_only(void **state)
{
	struct record_table *t;

	(void)state;
	fresh("CREATE SCHEMA IF NOT EXISTS other; DROP TABLE IF EXISTS other.t;"
	      " CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d date,"
	      " r regclass); CREATE TABLE other.t (LIKE t INCLUDING ALL);"
	      " INSERT INTO other.t VALUES (1, now(), now(), 'other.t')");
	begin_record();
	settings[0] = (struct record_setting){ "TimeZone", "Asia/Tokyo" };
	settings[1] = (struct record_setting){ "DateStyle", "SQL, DMY" };
	settings[2] = (struct record_setting){ "search_path", "other" };
	rec.n_settings = 3;
	t = add_table("other", "t");
	before(t, 0, "id = 1");
	tell("SET LOCAL TimeZone = 'Asia/Tokyo'; SET LOCAL DateStyle ="
	     " 'SQL, DMY'; SET LOCAL search_path = other");
	tell("UPDATE t SET at = '02/01/2020 03:04', d = '02/01/2020'");
	note("UPDATE t SET at = '02/01/2020 03:04', d = '02/01/2020'");
	tell("SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO';"
	     " SET LOCAL search_path = ''");
	after(t, "id = 1");
	assert_verified();

	/* and nothing of them is left for the next job */
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO t VALUES (5, '2020-01-02 03:04', '2020-01-02',"
		" 't')");
	after(t, "id = 5");
	assert_verified();
}

static void
test_the_clients_own_schema_comes_first(void **state)
{
	struct record_table *t;

	(void)state;
	fresh("CREATE SCHEMA IF NOT EXISTS boss; DROP TABLE IF EXISTS boss.t;"
	      " CREATE TABLE t (id int PRIMARY KEY);"
	      " CREATE TABLE boss.t (id int PRIMARY KEY)");
	begin_record();
	t = add_table("boss", "t");
	execute("INSERT INTO t VALUES (1)");
	after(t, "id = 1");
	assert_verified();
	tell("DROP SCHEMA boss CASCADE");
}

static void
test_child_row_needs_no_parent(void **state)
{
	struct record_table *t;

	(void)state;
	fresh("CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child"
	      " (id int PRIMARY KEY, parent int REFERENCES parent);"
	      " INSERT INTO parent VALUES (1)");
	begin_record();
	t = add_table("public", "child");
	execute("INSERT INTO child VALUES (1, 1)");
	after(t, "id = 1");
	assert_verified();
}

static void
test_several_statements_see_each_other(void **state)
{
	struct record_table *t;
	struct record_table *l;

	(void)state;
	fresh(accounts);
	tell("CREATE TABLE log (what text, n numeric)");
	begin_record();
	l = add_table("public", "log");
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	execute("UPDATE t SET balance = balance * 3 WHERE id = 1");
	before(t, 1, "id = 2");
	execute("UPDATE t SET balance = balance * 3 WHERE id IN (1, 2)");
	execute("INSERT INTO log SELECT name, balance FROM t WHERE id < 3");
	execute("INSERT INTO log SELECT name, balance FROM t WHERE id < 3");
	after(t, "id < 3");
	after(l, "true");
	assert_int_equal(l->n_after, 4);
	assert_verified();
}

static void
test_keyless_rows_are_a_multiset(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh("CREATE TABLE t (a int, b text)");
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO t VALUES (1, NULL), (1, NULL), (2, 'x')");
	after(t, "true");
	v = finish();
	assert_verdict(&v, VERDICT_VERIFIED, "");

	begin_record();
	t = add_table("public", "t");
	note("INSERT INTO t VALUES (1, NULL), (1, NULL)");
	after_lie(t, "1, NULL");
	v = finish();
	assert_verdict(&v, VERDICT_MISMATCH, "rows_differ");
	assert_int_equal(v.n_mismatches, 1);
	assert_int_equal(v.mismatches[0].n_row, 2);
	assert_string_equal(v.mismatches[0].calculated, "present");
}

static void
test_identity_rows_load_as_they_were(void **state)
{
	struct record_table *t;

	(void)state;
	fresh("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
	      " a char(4), b bytea, c float8, d text[], e interval, f bool,"
	      " g json); INSERT INTO t (a, b, c, d, e, f, g) VALUES ('x',"
	      " '\\x00ff', 0.1, '{a,NULL,\"b c\"}', '1 day -2 hours', true,"
	      " '{\"k\": [1]}')");
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	execute("UPDATE t SET c = c + 0.2, f = NOT f WHERE id = 1");
	after(t, "id = 1");
	assert_verified();
}

static void
test_a_changed_table_is_copied_again(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	t = record_change("id = 1", "UPDATE t SET note = 'a' WHERE id = 1");
	assert_verified();

	fresh("CREATE TABLE t (id int PRIMARY KEY, brand_new text)");
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO t VALUES (1, 'n')");
	after(t, "id = 1");
	assert_verified();

	/* a definition that nobody has any more */
	begin_record();
	t = add_table("public", "t");
	t->fingerprint = "0123456789abcdef0123456789abcdef";
	execute("INSERT INTO t VALUES (2, 'n')");
	after(t, "id = 2");
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "schema_changed");
}

static void
test_a_new_enum_value_is_no_mismatch(void **state)
{
	struct record_table *t;

	(void)state;
	fresh("DROP TYPE IF EXISTS mood; CREATE TYPE mood AS ENUM ('sad');"
	      " CREATE TABLE t (id int PRIMARY KEY, m mood)");
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO t VALUES (1, 'sad')");
	after(t, "id = 1");
	assert_verified();
	tell("ALTER TYPE public.mood ADD VALUE 'glad'");
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO t VALUES (2, 'glad')");
	after(t, "id = 2");
	assert_verified();
}

/* The role's own rights, past the worker's choice of statements. */
static void
test_the_replay_role_cannot_leave(void **state)
{
	static const char *const refused[] = {
		"COPY (SELECT 1) TO PROGRAM 'true'",
		"ALTER SYSTEM SET port = 1",
		"COPY (SELECT 1) TO '/tmp/pgwitness-test'",
		"SET ROLE"
		" pgwitness_loader",
		"CREATE ROLE x", "CREATE DATABASE x",
		"SET session_replication_role = origin",
		"CREATE FUNCTION"
		" x() RETURNS int LANGUAGE c AS 'libc', 'abs'",
		"ALTER ROLE pgwitness_replay SUPERUSER"
	};
	char conninfo[2 * PATH_MAX];
	PGresult *res = ask("SELECT 1");
	PGconn *loader;
	PGconn *conn;

	(void)state;
	PQclear(res);
	cluster_conninfo(config, true, "postgres", conninfo, sizeof(conninfo));
	loader = PQconnectdb(conninfo);
	res = PQexec(loader, "SELECT datname FROM pg_database WHERE"
			     " datname LIKE 'pgwitness_w%'");
	/* That of before the last dump may be there, too. */
	assert_in_range(PQntuples(res), 1, 2);
	cluster_conninfo(
	    config, false, PQgetvalue(res, 0, 0), conninfo, sizeof(conninfo));
	PQclear(res);
	conn = PQconnectdb(conninfo);
	assert_int_equal(PQstatus(conn), CONNECTION_OK);
	for (size_t i = 0; i < sizeof(refused) / sizeof(char *); i++) {
		res = PQexec(conn, refused[i]);
		if (PQresultStatus(res) != PGRES_FATAL_ERROR)
			fail_msg("allowed: %s", refused[i]);
		PQclear(res);
	}
	PQfinish(conn);
	cluster_conninfo(config, false, "postgres", conninfo, sizeof(conninfo));
	conn = PQconnectdb(conninfo);
	assert_int_equal(PQstatus(conn), CONNECTION_BAD);
	PQfinish(conn);
	PQfinish(loader);
}

static void
test_wrong_roots_are_an_inconsistent_record(void **state)
{
	struct record copy;
	struct verdict v = { 0 };
	struct buf b = { 0 };

	(void)state;
	record_change("id = 1", "UPDATE t SET note = 'a' WHERE id = 1");
	tell("COMMIT");
	record_set_roots(&rec);
	tables[0].post_root.b[0] ^= 1;
	record_encode(&rec, &b);
	assert_true(record_decode(b.data, b.len, arena, &copy));
	assert_true(replay_run(replay, &copy, arena, &v));
	assert_verdict(&v, VERDICT_ERROR, "record_inconsistent");
	buf_free(&b);
}

static void
test_what_is_known_is_not_tried(void **state)
{
	struct verdict v;

	(void)state;
	fresh(accounts);
	begin_record();
	rec.unverifiable = "volatile_function";
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "volatile_function");
	begin_record();
	rec.capture = CAPTURE_RACE;
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "capture_race");
	begin_record();
	rec.unverifiable = "a reason of another version";
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "record_unreadable");
	begin_record();
	note("UPDATE t SET note = $1");
	with_params(&(struct record_param){ 16384, 0, NULL, 0 }, 1);
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "parameter_type");
	begin_record();
	rec.database = "not_there";
	note("SELECT 1");
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "server_unreachable");
}

static void
test_what_cannot_be_copied_harms_nobody_else(void **state)
{
	struct record_table *t;

	(void)state;
	fresh(
	    "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;"
	    " CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA"
	    " WRAPPER postgres_fdw; CREATE FOREIGN TABLE distant (a int) SERVER"
	    " far; CREATE FUNCTION ev() RETURNS event_trigger LANGUAGE plpgsql"
	    " AS 'BEGIN END'; CREATE EVENT TRIGGER e ON ddl_command_start"
	    " EXECUTE FUNCTION ev(); CREATE PUBLICATION p; CREATE FUNCTION c()"
	    " RETURNS int LANGUAGE c AS '$libdir/citext', 'citext_hash';"
	    " CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TABLE"
	    " parent (id int, c ext.citext, p positive, PRIMARY KEY (id, c))"
	    " PARTITION BY RANGE (id); CREATE TABLE t PARTITION OF parent FOR"
	    " VALUES FROM (1) TO (10); ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
	    " CREATE POLICY own ON t TO witness USING (true);"
	    " CREATE TABLE child (LIKE parent)");
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO parent VALUES (3, 'AbC', 1)");
	before(t, 1, "false");
	execute("UPDATE parent SET p = 2 WHERE c OPERATOR(ext.=) 'aBc'");
	after(t, "id = 3");
	assert_verified();
	tell("DROP EVENT TRIGGER e; DROP PUBLICATION p; DROP FOREIGN TABLE"
	     " public.distant; DROP TABLE public.parent, public.child;"
	     " DROP SCHEMA ext CASCADE; DROP EXTENSION postgres_fdw CASCADE;"
	     " DROP FUNCTION public.ev, public.c; DROP DOMAIN public.positive");
}

static void
test_what_is_restored_in_part_is_named(void **state)
{
	static const char *const needs_c[] = {
		"CREATE TABLE t (id int PRIMARY KEY, h int DEFAULT c('x'))",
		("CREATE TABLE t (id int PRIMARY KEY, h text);"
		 " ALTER TABLE t ADD CHECK (c(h) <> 1) NOT VALID"),
		("CREATE TABLE t (id int PRIMARY KEY, h text);"
		 " CREATE INDEX ON t (c(h))"),
	};
	struct record_table *t;
	struct verdict v;

	(void)state;
	for (size_t i = 0; i < sizeof(needs_c) / sizeof(*needs_c); i++) {
		fresh("CREATE OR REPLACE FUNCTION c(text) RETURNS int IMMUTABLE"
		      " LANGUAGE c AS '$libdir/pgcrypto', 'pg_digest';"
		      " CREATE TABLE parent (id int PRIMARY KEY)");
		tell(needs_c[i]);
		for (int again = 0; again < 2; again++) {
			begin_record();
			t = add_table("public", "t");
			note("DELETE FROM t WHERE id = 1");
			after(t, "false");
			v = finish();
			assert_verdict(&v, VERDICT_UNVERIFIABLE,
			    "schema_not_restored");
		}
		/* no table beside it suffers */
		begin_record();
		t = add_table("public", "parent");
		execute("INSERT INTO parent VALUES (1)");
		after(t, "id = 1");
		assert_verified();
	}
	tell("DROP TABLE public.t; DROP FUNCTION public.c(text)");
}

/* --- figures --- */

static void
test_tpcb_jobs(void **state)
{
	const char *n_text = getenv("TEST_REPLAY_JOBS");
	int n = n_text != NULL ? atoi(n_text) : 700;
	struct record_table *t[4];
	struct arena *job_arena = arena_new(0);
	struct buf b = { 0 };
	struct record copy;
	struct verdict v = { 0 };
	int64_t start;

	(void)state;
	fresh(
	    "CREATE TABLE parent (bid int PRIMARY KEY, bbalance int,"
	    " filler char(88)); CREATE TABLE t (aid int PRIMARY KEY, bid int,"
	    " abalance int, filler char(84)); CREATE TABLE child (tid int"
	    " PRIMARY KEY, bid int, tbalance int, filler char(84)); CREATE"
	    " TABLE log (tid int, bid int, aid int, delta int, mtime timestamp,"
	    " filler char(22)); INSERT INTO parent VALUES (1, 0, ''); INSERT"
	    " INTO t VALUES (7, 1, 0, ''); INSERT INTO child VALUES"
	    " (3, 1, 0, '')");
	begin_record();
	t[0] = add_table("public", "child");
	t[1] = add_table("public", "log");
	t[2] = add_table("public", "parent");
	t[3] = add_table("public", "t");
	before(t[3], 0, "aid = 7");
	before(t[0], 1, "tid = 3");
	before(t[2], 2, "bid = 1");
	execute("UPDATE t SET abalance = abalance + 5 WHERE aid = 7");
	execute("UPDATE child SET tbalance = tbalance + 5 WHERE tid = 3");
	execute("UPDATE parent SET bbalance = bbalance + 5 WHERE bid = 1");
	execute("INSERT INTO log (tid, bid, aid, delta, mtime) VALUES"
		" (3, 1, 7, 5, CURRENT_TIMESTAMP)");
	for (int i = 0; i < 4; i++)
		after(t[i], "true");
	assert_verified();
	record_encode(&rec, &b);
	start = io_monotonic_us();
	for (int i = 0; i < n; i++) {
		arena_reset(job_arena);
		assert_true(record_decode(b.data, b.len, job_arena, &copy));
		assert_true(replay_run(replay, &copy, job_arena, &v));
		assert_verdict(&v, VERDICT_VERIFIED, "");
	}
	print_message("%.0f TPC-B jobs per second on one worker\n",
	    n * 1e6 / (double)(io_monotonic_us() - start));
	arena_free(job_arena);
	buf_free(&b);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_update_is_verified),
		cmocka_unit_test(test_wrong_value_names_row_and_column),
		cmocka_unit_test(test_null_is_not_an_empty_string),
		cmocka_unit_test(test_bind_values_are_replayed),
		cmocka_unit_test(test_missing_and_extra_rows_are_named),
		cmocka_unit_test(
		    test_defaults_and_generated_columns_are_made_again),
		cmocka_unit_test(test_claims_beyond_constraints_are_mismatches),
		cmocka_unit_test(test_duplicate_key_is_a_mismatch),
		cmocka_unit_test(test_time_is_the_transactions),
		cmocka_unit_test(test_client_settings_apply_to_statements_only),
		cmocka_unit_test(test_the_clients_own_schema_comes_first),
		cmocka_unit_test(test_child_row_needs_no_parent),
		cmocka_unit_test(test_several_statements_see_each_other),
		cmocka_unit_test(test_keyless_rows_are_a_multiset),
		cmocka_unit_test(test_identity_rows_load_as_they_were),
		cmocka_unit_test(test_a_changed_table_is_copied_again),
		cmocka_unit_test(test_a_new_enum_value_is_no_mismatch),
		cmocka_unit_test(test_the_replay_role_cannot_leave),
		cmocka_unit_test(test_wrong_roots_are_an_inconsistent_record),
		cmocka_unit_test(test_what_is_known_is_not_tried),
		cmocka_unit_test(test_what_cannot_be_copied_harms_nobody_else),
		cmocka_unit_test(test_what_is_restored_in_part_is_named),
		cmocka_unit_test(test_tpcb_jobs),
	};

	return fixture_main(
	    argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
