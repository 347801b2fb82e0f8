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
	struct record_table *t;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id < 4");
	execute("UPDATE t SET balance = balance + 1.25 WHERE id < 4");
	after(t, "id < 4");
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
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id IN (1, 2)");
	execute("UPDATE t SET note = CASE id WHEN 1 THEN '' END WHERE id < 3");
	after(t, "id IN (1, 2)");
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
copy_text(const char *sql, const char *data)
{
	execute_copy(sql, data, strlen(data));
}

static void
test_copy_is_run_as_it_was(void **state)
{
	static const char *const copies[][2] = {
		{ "COPY t (id, name, note, balance) FROM STDIN",
		    "10\tann  \t\\N\t1.005\n"
		    "11\tbob      \ta\\tb\\x41\\101\\\\\t2\n"
		    "12\t\\143at\t\t0\n\\.\nbehind the end" },
		{ "/* c */ copy public.t (note, id) from stdin (format csv,"
		  " header match, delimiter ';', null 'nil', quote '''',"
		  " escape '!', force_not_null (note))",
		    "note;id\n'a!'b;\n''';13\nnil;'14'\n;15\n" },
		{ "COPY t (id, name) FROM STDIN WITH DELIMITER '|' NULL 'x'"
		  " WHERE id % 2 = 0",
		    "16|a\n17|b\n18|c" },
		{ "COPY t FROM STDIN", "" },
	};
	static const uint8_t binary[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0"
					"\0\2\0\0\0\4\0\0\0\51\377\377\377\377"
					"\377\377";
	struct record_table *t;

	(void)state;
	for (size_t i = 0; i < sizeof(copies) / sizeof(*copies); i++) {
		fresh(accounts);
		begin_record();
		t = add_table("public", "t");
		copy_text(copies[i][0], copies[i][1]);
		after(t, "id >= 10");
		assert_verified();
	}
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	execute_copy("COPY t (id, note) FROM STDIN BINARY", binary,
	    sizeof(binary) - 1);
	after(t, "id = 41");
	assert_verified();
}

static void
test_copy_among_other_statements(void **state)
{
	struct record_table *t;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 2, "id = 1");
	execute("INSERT INTO t (id, note) VALUES (20, 'in')");
	copy_text("COPY t (id) FROM STDIN", "21\n22\n");
	execute("UPDATE t SET note = 'up' WHERE id IN (1, 20, 21)");
	copy_text("COPY t (id, note) FROM STDIN CSV", "23,\n24,\"\"\n");
	execute("DELETE FROM t WHERE id = 22");
	after(t, "id = 1 OR id >= 20");
	assert_verified();
}

static void
test_a_long_copy(void **state)
{
	struct record_table *t;
	struct buf b = { 0 };

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	for (int i = 1; i <= 20000; i++)
		buf_printf(&b, "%d\t%0200d\n", 1000 + i, i);
	execute_copy("COPY t (id, note) FROM STDIN", b.data, b.len);
	after(t, "id > 1000");
	assert_verified();
	buf_free(&b);
}

static void
test_a_lie_about_copied_rows_is_found(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	copy_text("COPY t (id, note) FROM STDIN", "30\ta\n31\tb\n");
	after(t, "id = 30");
	after_lie(t, "31, 'none', 'B', 1.50, 3.00");
	v = finish();
	assert_verdict(&v, VERDICT_MISMATCH, "rows_differ");
	assert_string_equal(v.mismatches[0].row[0].value, "31");
	assert_string_equal(v.mismatches[0].claimed, "B");
	assert_string_equal(v.mismatches[0].calculated, "b");
}

/* What the server cannot have accepted, and what is no COPY FROM STDIN. */
static void
test_copies_that_fail(void **state)
{
	static const struct {
		const char *sql;
		enum verdict_kind kind;
		const char *reason;
	} cases[] = {
		{ "COPY t (id, name) FROM STDIN", VERDICT_MISMATCH,
		    "replay_error:22P04" },
		{ "COPY t (id) FROM STDIN BINARY", VERDICT_MISMATCH,
		    "replay_error:22P04" },
		{ "COPY t (id) FROM STDIN; COMMIT", VERDICT_UNVERIFIABLE,
		    "replay_error" },
		{ "COPY t TO STDOUT", VERDICT_UNVERIFIABLE, "environment" },
		{ "COPY t FROM PROGRAM 'echo 1'", VERDICT_UNVERIFIABLE,
		    "environment" },
		{ "COPY nowhere FROM STDIN", VERDICT_UNVERIFIABLE,
		    "replay_error" },
		{ "INSERT INTO t (id) VALUES (1)", VERDICT_UNVERIFIABLE,
		    "unsupported" },
	};
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh(accounts);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		begin_record();
		t = add_table("public", "t");
		before(t, 0, "id = 3");
		note_copy(cases[i].sql, "51\n", 3);
		after(t, "id = 3");
		v = finish();
		assert_verdict(&v, cases[i].kind, cases[i].reason);
		/* the session serves the next job */
		begin_record();
		t = add_table("public", "t");
		copy_text("COPY t (id) FROM STDIN", "50\n");
		after(t, "id = 50");
		assert_verified();
		tell("DELETE FROM public.t WHERE id = 50");
	}
}

/* One step of a small generator; the same inputs in each run. */
static unsigned
draw(unsigned n)
{
	static uint64_t seed = 42;

	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

/* Bytes that mean something, or are beside what does. */
static size_t
draw_data(const struct copydata_options *o, char *data, size_t max)
{
	const char special[] = { o->delimiter, o->delimiter, o->delimiter,
		o->quote, o->escape, '\n', '\n', '\n', '\r', '\\', 'N', '.',
		'x', '4', '1', '7', 'a', 'z', '"', '\'', 't', ' ' };
	size_t n = draw((unsigned)max);

	for (size_t i = 0; i < n; i++)
		data[i] = special[draw(sizeof(special))];
	return n;
}

static PGresult *
copy_on_server(const char *sql, const char *data, size_t len)
{
	PGresult *res = PQexec(server, sql), *next;

	assert_int_equal(PQresultStatus(res), PGRES_COPY_IN);
	PQclear(res);
	assert_int_equal(PQputCopyData(server, data, (int)len), 1);
	assert_int_equal(PQputCopyEnd(server, NULL), 1);
	res = PQgetResult(server);
	while ((next = PQgetResult(server)) != NULL)
		PQclear(next);
	return res;
}

/* As PostgreSQL took it, so must copydata_row(). */
static void
same_rows(const struct copydata_options *o, const char *data, size_t len)
{
	PGresult *res = ask("SELECT * FROM public.t ORDER BY ctid");
	struct rowenc_value v[3];
	struct copydata c;
	size_t n;

	copydata_open(&c, o, data, len);
	for (int i = 0; i < PQntuples(res); i++) {
		assert_int_equal(copydata_row(&c, v, 3, &n), COPYDATA_ROW);
		assert_int_equal(n, PQnfields(res));
		for (int k = 0; k < 2; k++) {
			const char *want = PQgetvalue(res, i, k);

			assert_int_equal(
			    v[k].data == NULL, PQgetisnull(res, i, k));
			assert_int_equal(v[k].len, strlen(want));
			assert_true(v[k].data == NULL ||
				    memcmp(v[k].data, want, v[k].len) == 0);
		}
	}
	assert_int_equal(copydata_row(&c, v, 3, &n), COPYDATA_END);
	copydata_close(&c);
	PQclear(res);
}

static void
test_copy_data_is_read_as_the_server_does(void **state)
{
	static const bool not_null[] = { false, true }, null[] = { true, false };
	static const struct {
		const char *sql;
		enum copydata_format format;
		bool header;
		const char *options; /* delimiter, quote, escape */
		const char *null;
		const bool *force_null, *force_not_null;
	} cases[] = {
		{ "", COPYDATA_TEXT, false, "\t\"\"", "\\N", NULL, NULL },
		{ "DELIMITER '|', NULL 'a', HEADER", COPYDATA_TEXT, true,
		    "|\"\"", "a", NULL, NULL },
		{ "FORMAT csv", COPYDATA_CSV, false, ",\"\"", "", NULL, NULL },
		{ "FORMAT csv, QUOTE '''', ESCAPE '\\', DELIMITER ';',"
		  " NULL 'x', FORCE_NULL (a), FORCE_NOT_NULL (b)",
		    COPYDATA_CSV, false, ";'\\", "x", null, not_null },
		{ "FORMAT csv, HEADER, QUOTE 'a', ESCAPE 'z'", COPYDATA_CSV,
		    true, ",az", "", NULL, NULL },
	};
	char data[24], sql[256];
	unsigned taken = 0;

	(void)state;
	fresh("CREATE TABLE t (a text, b text)");
	for (int i = 0; i < 4000; i++) {
		size_t k = (size_t)i % (sizeof(cases) / sizeof(*cases));
		struct copydata_options o;
		PGresult *res;
		size_t n;

		copydata_defaults(&o, cases[k].format);
		o.header = cases[k].header;
		o.delimiter = cases[k].options[0];
		o.quote = cases[k].options[1];
		o.escape = cases[k].options[2];
		o.null = cases[k].null;
		o.force_null = cases[k].force_null;
		o.force_not_null = cases[k].force_not_null;
		n = draw_data(&o, data, sizeof(data));
		snprintf(sql, sizeof(sql), "COPY public.t FROM STDIN%s%s%s",
		    cases[k].sql[0] != '\0' ? " (" : "", cases[k].sql,
		    cases[k].sql[0] != '\0' ? ")" : "");
		tell("BEGIN");
		res = copy_on_server(sql, data, n);
		if (PQresultStatus(res) == PGRES_COMMAND_OK) {
			taken += strcmp(PQcmdStatus(res), "COPY 0") != 0;
			same_rows(&o, data, n);
		}
		PQclear(res);
		tell("ROLLBACK");
	}
	assert_true(taken > 200);
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
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	execute("UPDATE t SET note = 'a' WHERE id = 1");
	after(t, "id = 1");
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
	struct record_table *t;
	struct record copy;
	struct verdict v = { 0 };
	struct buf b = { 0 };

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	execute("UPDATE t SET note = 'a' WHERE id = 1");
	after(t, "id = 1");
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

/* --- the worker process --- */

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

static struct spool_position
spool_one(uint64_t tx_id)
{
	struct buf b = { 0 };
	static struct spool_writer *w;
	struct spool_position at;
	uint64_t last;

	if (w == NULL)
		w = spool_writer_open(config->data_dir, &last);
	assert_non_null(w);
	rec.time_us = io_now_us();
	record_set_roots(&rec);
	record_encode(&rec, &b);
	at = spool_end(w);
	spool_append(w, SPOOL_RECORD, tx_id, b.data, b.len);
	assert_true(spool_sync(w));
	buf_free(&b);
	return at;
}

static pid_t
start_worker(unsigned index, int *fd)
{
	int fds[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		procsig_follow_parent(getppid(), SIGTERM);
		worker_main(config, index, fds[1]);
	}
	close(fds[1]);
	*fd = fds[0];
	return pid;
}

static void
end_worker(pid_t pid, int fd)
{
	int status;

	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static struct verdict
next_verdict(int fd)
{
	static uint8_t bytes[65536];
	struct verdict v;
	uint8_t len[4];

	read_all(fd, len, 4);
	assert_true(get_u32(len) <= sizeof(bytes));
	read_all(fd, bytes, get_u32(len));
	assert_true(verdict_decode(bytes, get_u32(len), arena, &v));
	return v;
}

static void
test_worker_answers_in_order(void **state)
{
	struct record_table *t;
	struct worker_job jobs[3];
	struct verdict v;
	pid_t pid;
	int fd;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	execute("UPDATE t SET note = now()::text WHERE id = 1");
	after(t, "id = 1");
	tell("COMMIT");
	memset(jobs, 0, sizeof(jobs));
	jobs[0] = (struct worker_job){ .tx_id = 1, .at = spool_one(1) };
	jobs[1] = (struct worker_job){ .tx_id = 99, .at = jobs[0].at };
	jobs[2] = jobs[0];
	pid = start_worker(7, &fd);
	assert_true(io_write_all(fd, jobs, sizeof(jobs)));
	for (int i = 0; i < 3; i++) {
		v = next_verdict(fd);
		assert_int_equal(v.tx_id, jobs[i].tx_id);
		if (i == 1)
			assert_verdict(&v, VERDICT_ERROR, "record_unreadable");
		else
			assert_verdict(&v, VERDICT_VERIFIED, "");
	}
	end_worker(pid, fd);
}

/* One of a worker's jobs, and what it must say about it. */
struct expected {
	struct worker_job job;
	enum verdict_kind kind;
	const char *reason;
};

/* No claim about what became of row 1 unless there is one. */
static void
expect(struct expected *e, uint64_t tx_id, const char *sql, const char *row,
    enum verdict_kind kind, const char *reason)
{
	struct record_table *t;

	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	note(sql);
	if (row != NULL)
		after_lie(t, row);
	tell("COMMIT");
	e->job = (struct worker_job){ .tx_id = tx_id, .at = spool_one(tx_id) };
	e->kind = kind;
	e->reason = reason;
}

static void
expect_copy(struct expected *e, uint64_t tx_id)
{
	struct record_table *t;

	begin_record();
	t = add_table("public", "t");
	note_copy("COPY t (id, note) FROM STDIN", "9\tn\n", 4);
	after_lie(t, "9, 'none', 'n', 1.50, 3.00");
	tell("COMMIT");
	*e = (struct expected){ { .tx_id = tx_id, .at = spool_one(tx_id) },
		VERDICT_VERIFIED, "" };
}

static unsigned
expect_all(struct expected *e)
{
	static const char update[] = "UPDATE t SET note = 'n' WHERE id = 1",
			  updated[] = "1, 'ann', 'n', 10.00, 20.00";
	unsigned n = 0;

	fresh(accounts);
	tell("CREATE OR REPLACE FUNCTION evil() RETURNS int LANGUAGE plpgsql"
	     " AS 'BEGIN DEALLOCATE ALL; RETURN 1; END';"
	     " CREATE OR REPLACE FUNCTION spin() RETURNS int LANGUAGE plpgsql"
	     " AS 'BEGIN LOOP END LOOP; END'");
	expect(&e[n], n + 1, update, updated, VERDICT_VERIFIED, "");
	n++;
	expect(&e[n], n + 1, "INSERT INTO t (id, note) VALUES (2, 'o')", NULL,
	    VERDICT_MISMATCH, "rows_differ");
	n++;
	expect(&e[n], n + 1, "UPDATE t SET note = 'm' WHERE id = 1", updated,
	    VERDICT_MISMATCH, "rows_differ");
	n++;
	expect(&e[n], n + 1, "INSERT INTO t (id) VALUES (1)", updated,
	    VERDICT_MISMATCH, "replay_error:23505");
	n++;
	expect(&e[n], n + 1, "UPDATE nowhere SET note = 'n'", updated,
	    VERDICT_UNVERIFIABLE, "replay_error");
	n++;
	expect(&e[n], n + 1, "COMMIT", updated, VERDICT_UNVERIFIABLE,
	    "unsupported");
	n++;
	expect(&e[n], n + 1, "UPDATE t SET note = evil()::text WHERE id = 1",
	    "1, 'ann', '1', 10.00, 20.00", VERDICT_UNVERIFIABLE, "environment");
	n++;
	expect_copy(&e[n], n + 1);
	n++;
	e[n] = (struct expected){ { .tx_id = 1000, .at = e[0].job.at },
		VERDICT_ERROR, "record_unreadable" };
	n++;
	expect(&e[n], n + 1, "SELECT spin()", NULL, VERDICT_UNVERIFIABLE,
	    "timeout");
	return n + 1;
}

/* Each is judged as if it were alone, whatever is in its group. */
static void
test_jobs_sent_together_are_judged_apart(void **state)
{
	enum { JOBS = 400 };
	struct expected kinds[16];
	unsigned n = expect_all(kinds), of[JOBS];
	struct verdict v;
	pid_t pid;
	int fd;

	(void)state;
	pid = start_worker(8, &fd);
	for (int i = 0; i < JOBS; i++) {
		/* most are fine; the last kind takes seconds, so only one */
		of[i] = i == JOBS / 2	? n - 1
			: draw(4) == 0 ? draw(n - 1)
				       : 0;
		assert_true(io_write_all(fd, &kinds[of[i]].job,
		    sizeof(struct worker_job)));
	}
	for (int i = 0; i < JOBS; i++) {
		const struct expected *e = &kinds[of[i]];

		v = next_verdict(fd);
		assert_int_equal(v.tx_id, e->job.tx_id);
		assert_verdict(&v, e->kind, e->reason);
	}
	end_worker(pid, fd);
}

/* --- other clusters, each in a process of its own --- */

static const char *
external_lines(void)
{
	return sql_of("[verification]\nmode = external\nhost = %s\n"
		      "port = 5432\nuser = boss\ndbname = postgres\n",
	    base);
}

static struct config *
other_config(const char *dir, const char *more)
{
	char error[512];
	char *path = sql_of("%s/pgwitness.conf", dir);
	char *text = sql_of("[backend]\nhost = %s\nport = 5432\n"
			    "user = witness\n%s",
	    base, more);
	struct config *c;

	assert_int_equal(system(sql_of("mkdir -p '%s/log'", dir)), 0);
	assert_true(io_replace_file(path, text, strlen(text), 0600));
	c = config_load(dir, NULL, error, sizeof(error));
	if (c == NULL)
		fail_msg("%s", error);
	return c;
}

/* In a child, so that this process's cluster is not forgotten. */
static int
in_child(
    void (*run)(const struct config *, int), const struct config *c, int fd)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		procsig_init();
		run(c, fd);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void
start_and_die(const struct config *c, int fd)
{
	char error[512];
	pid_t pid;

	if (!cluster_start(c, &pid, error, sizeof(error)) ||
	    !io_write_all(fd, &pid, sizeof(pid)))
		_exit(1);
	raise(SIGKILL);
}

static void
start_and_stop(const struct config *c, int fd)
{
	char error[512];
	pid_t pid;

	(void)fd;
	if (!cluster_start(c, &pid, error, sizeof(error)))
		_exit(1);
	cluster_stop(pid);
}

/* The path is too long for a socket, too. */
static void
test_cluster_dies_with_its_parent(void **state)
{
	struct config *c;
	int fds[2];
	int status;
	pid_t pid;

	(void)state;
	arena_reset(arena);
	c = other_config(sql_of("%s/%0100d", base, 0), "");
	assert_int_equal(pipe(fds), 0);
	status = in_child(start_and_die, c, fds[1]);
	assert_true(WIFSIGNALED(status));
	read_all(fds[0], &pid, sizeof(pid));
	assert_true(program_gone(pid, 10000));
	status = in_child(start_and_stop, c, -1);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(fds[0]);
	close(fds[1]);
	config_free(c);
}

static struct record external_record;

static void
replay_externally(const struct config *c, int fd)
{
	struct replay *p;
	struct verdict v = { 0 };
	char error[512];
	pid_t pid;

	(void)fd;
	if (!cluster_start(c, &pid, error, sizeof(error)) || pid != 0)
		_exit(2);
	p = replay_new(c, 0);
	if (!replay_run(p, &external_record, arena, &v) ||
	    v.kind != VERDICT_VERIFIED)
		_exit(3);
	replay_free(p);
}

static void
test_an_external_cluster_serves_as_well(void **state)
{
	struct record_table *t;
	struct config *c;
	int status;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	execute("UPDATE t SET note = now()::text WHERE id = 1");
	after(t, "id = 1");
	tell("COMMIT");
	record_set_roots(&rec);
	rec.time_us = io_now_us();
	external_record = rec;
	c = other_config(sql_of("%s/ext", base), external_lines());
	/* the pgwitness_pin.so of a copied test is readable for the server */
	status = in_child(replay_externally, c, -1);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	config_free(c);
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

static void
test_cluster_survives_a_killed_postmaster(void **state)
{
	char error[512];
	int status;

	(void)state;
	replay_free(replay);
	kill(cluster_pid, SIGKILL);
	assert_int_equal(waitpid(cluster_pid, &status, 0), cluster_pid);
	if (!cluster_start(config, &cluster_pid, error, sizeof(error)))
		fail_msg("%s", error);
	replay = replay_new(config, 0);
	test_update_is_verified(state);

	/* and a clean shutdown keeps it */
	replay_free(replay);
	cluster_stop(cluster_pid);
	if (!cluster_start(config, &cluster_pid, error, sizeof(error)))
		fail_msg("%s", error);
	replay = replay_new(config, 0);
	test_update_is_verified(state);
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
		cmocka_unit_test(test_copy_is_run_as_it_was),
		cmocka_unit_test(test_copy_among_other_statements),
		cmocka_unit_test(test_a_long_copy),
		cmocka_unit_test(test_a_lie_about_copied_rows_is_found),
		cmocka_unit_test(test_copies_that_fail),
		cmocka_unit_test(test_copy_data_is_read_as_the_server_does),
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
		cmocka_unit_test(test_worker_answers_in_order),
		cmocka_unit_test(test_jobs_sent_together_are_judged_apart),
		cmocka_unit_test(test_cluster_dies_with_its_parent),
		cmocka_unit_test(test_an_external_cluster_serves_as_well),
		cmocka_unit_test(test_tpcb_jobs),
		cmocka_unit_test(test_cluster_survives_a_killed_postmaster),
	};

	return fixture_main(
	    argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
