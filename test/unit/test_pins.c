/*
 * test_pins.c: what replayd/pin reads from the record, and what it refuses.
 *
 * Records are made on a server of the test's own, as the backend would make
 * them, or as no backend would: replay gets to see client code that capture
 * would keep from it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "replay_fixture.h"

/* An honest job, at once: nothing before it is in the way. */
static void
assert_all_is_well(void)
{
	struct record_table *t;

	tell("SET search_path TO public; UPDATE t SET note = 'is' WHERE id = 1");
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	execute("UPDATE t SET note = 'well' WHERE id = 1");
	after(t, "id = 1");
	assert_verified();
}

/* No statement gets further than a refusal; the replay role may do nothing. */
static void
test_hostile_statements_have_no_effect(void **state)
{
	static const char *const never_sent[] = { "COMMIT",
		"/* */ -- \n COMMIT", "COPY t TO PROGRAM 'touch /tmp/x'",
		"ALTER SYSTEM SET port = 1", "DO $$ BEGIN END $$",
		"PREPARE x AS SELECT 1", "SET a.b = 1" };
	static const struct {
		const char *sql;
		const char *reason;
	} refused[] = {
		{ "SELECT pg_read_file('/etc/passwd')", "volatile_function" },
		{ "SELECT pg_terminate_backend(pg_backend_pid())",
		    "volatile_function" },
		{ "SELECT set_config('role', 'pgwitness_loader', true)",
		    "volatile_function" },
		{ "SELECT lo_import('/etc/passwd')", "volatile_function" },
		{ "SELECT pgwitness_pin.set('', 'a.b', 'c')", "replay_error" },
		{ "SELECT pgwitness_pin.take(1)", "replay_error" },
		{ "SELECT current_setting('port')", "environment" },
		{ "SELECT * FROM pg_prepared_statements", "environment" },
		{ "SELECT ctid FROM t", "environment" },
		{ "SELECT 't'::regclass::oid", "environment" },
		{ "SELECT nextval('s')", "sequence" },
		{ "SELECT * FROM elsewhere", "read_set" },
		{ "SELECT 1; COMMIT", "replay_error" },
	};
	struct verdict v;

	(void)state;
	fresh(accounts);
	for (size_t i = 0; i < sizeof(never_sent) / sizeof(char *); i++) {
		begin_record();
		(void)add_table("public", "t");
		note(never_sent[i]);
		v = finish();
		assert_verdict(&v, VERDICT_UNVERIFIABLE, "unsupported");
	}
	tell("CREATE SEQUENCE public.s; CREATE TABLE public.elsewhere (a int)");
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		begin_record();
		(void)add_table("public", "t");
		note(refused[i].sql);
		v = finish();
		assert_verdict(&v, VERDICT_UNVERIFIABLE, refused[i].reason);
	}
	assert_all_is_well();
}

/* What a function's body asks of this server is not asked. */
static void
test_bodies_do_not_look_around(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh(
	    "CREATE TABLE t (id int PRIMARY KEY, who text, super bool);"
	    " CREATE OR REPLACE FUNCTION f() RETURNS bool LANGUAGE sql SECURITY"
	    " DEFINER AS 'SELECT rolsuper FROM pg_roles"
	    " WHERE rolname = current_user'");
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO t VALUES (1, 'x', f())");
	after(t, "id = 1");
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "environment");
}

static void
test_endless_statement_times_out(void **state)
{
	struct verdict v;

	(void)state;
	fresh(accounts);
	begin_record();
	(void)add_table("public", "t");
	tell("CREATE OR REPLACE FUNCTION public.spin() RETURNS int LANGUAGE plpgsql"
	     " AS 'BEGIN LOOP END LOOP; END'");
	note("SELECT spin()");
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "timeout");
	assert_all_is_well();
}

/* A handler in the client's code does not undo a refusal. */
static void
test_our_statements_stay(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh(accounts);
	tell("CREATE OR REPLACE FUNCTION our_evil() RETURNS int LANGUAGE plpgsql"
	     " AS 'BEGIN DEALLOCATE ALL; RETURN 1;"
	     " EXCEPTION WHEN OTHERS THEN RETURN 1; END'");
	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	note("UPDATE t SET note = our_evil()::text WHERE id = 1");
	after_lie(t, "1, 'ann', '1', 10.00, 20.00");
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "environment");
	assert_all_is_well();
}

/* --- the hostile corpus --- */

/* Bodies of evilN(), and what may become of a statement that calls it. */
static const struct {
	const char *name;
	const char *body;
	const char *reasons; /* of unverifiable */
} corpus[] = {
	{ "program", "COPY (SELECT 1) TO PROGRAM 'touch %BASE%/owned'",
	    "environment" },
	{ "file", "COPY t TO '%BASE%/owned'", "environment" },
	{ "read a file", "RETURN pg_read_file('/etc/passwd')",
	    "volatile_function" },
	{ "list files", "RETURN pg_ls_dir('/')", "volatile_function" },
	{ "large object", "PERFORM lo_import('/etc/passwd')",
	    "volatile_function" },
	{ "export", "PERFORM lo_export(1, '%BASE%/owned')",
	    "volatile_function" },
	{ "commit", "EXECUTE 'DO $x$ BEGIN COMMIT; END $x$'",
	    "replay_error environment" },
	{ "session user",
	    "EXECUTE 'DO $x$ BEGIN RESET SESSION AUTHORIZATION; CREATE ROLE"
	    " evil SUPERUSER; END $x$'",
	    "environment" },
	{ "role", "SET ROLE pgwitness_loader", "environment" },
	{ "role by a function",
	    "PERFORM set_config('role', 'pgwitness_loader', true)",
	    "volatile_function" },
	{ "system", "ALTER SYSTEM SET port = 1", "environment" },
	{ "own role", "ALTER ROLE pgwitness_replay SET work_mem = '1MB'",
	    "environment" },
	{ "database", "CREATE DATABASE evil", "environment" },
	{ "extension", "CREATE EXTENSION dblink", "environment" },
	{ "library", "LOAD 'plpgsql'", "environment" },
	{ "C code",
	    "CREATE FUNCTION x() RETURNS int LANGUAGE c AS 'libc', 'abs'",
	    "environment" },
	{ "endless", "LOOP END LOOP", "timeout" },
	{ "endless, and heeds no cancel",
	    "LOOP BEGIN LOOP END LOOP; EXCEPTION WHEN query_canceled THEN"
	    " NULL; END; END LOOP",
	    "timeout" },
	{ "endless without a timeout",
	    "BEGIN SET statement_timeout = 0; EXCEPTION WHEN OTHERS THEN NULL;"
	    " END; LOOP END LOOP",
	    "timeout environment" },
	{ "sort",
	    "PERFORM count(*) FROM (SELECT g FROM generate_series(1, 200000000)"
	    " g ORDER BY -g) x",
	    "timeout too_large" },
	{ "memory",
	    "PERFORM array_agg(repeat('x', 100000000)) FROM"
	    " generate_series(1, 100)",
	    "timeout too_large" },
	{ "session lock", "PERFORM pg_advisory_lock(42)", "volatile_function" },
	{ "sleep", "PERFORM pg_sleep(1000)", "volatile_function" },
	{ "terminate",
	    "PERFORM pg_terminate_backend(pid) FROM pg_stat_activity",
	    "environment volatile_function" },
	{ "elsewhere", "INSERT INTO elsewhere VALUES (1)", "read_set" },
	{ "look elsewhere", "RETURN (SELECT count(*) FROM elsewhere)",
	    "read_set" },
	{ "truncate elsewhere", "TRUNCATE elsewhere", "read_set" },
	{ "prepare", "PREPARE x AS SELECT 1", "environment" },
	{ "deallocate", "DEALLOCATE ALL", "environment" },
	{ "discard", "DISCARD PLANS", "environment" },
	{ "listen", "LISTEN evil", "environment" },
	{ "notify", "NOTIFY evil", "environment" },
	{ "temporary", "CREATE TEMP TABLE t (id int)", "environment" },
	{ "rename", "ALTER TABLE t RENAME TO t2", "environment" },
	{ "view", "DROP TABLE t; CREATE VIEW t AS SELECT 1", "environment" },
	{ "settings", "SET DateStyle = german", "environment" },
	{ "time zone", "SET LOCAL TimeZone = 'Asia/Tokyo'", "environment" },
	{ "pins", "PERFORM pgwitness_pin.set('', 'a.b', 'c')",
	    "replay_error" },
	{ "another job",
	    "PERFORM pgwitness_pin.begin_job('', now(), '{}', '{}')",
	    "replay_error" },
	{ "port", "RETURN current_setting('port')", "environment" },
	{ "process", "RETURN pg_backend_pid()", "environment" },
	{ "clock", "RETURN clock_timestamp()", "volatile_function" },
	{ "chance", "RETURN random()", "volatile_function" },
	{ "who", "RETURN current_user", "environment" },
	{ "catalog", "RETURN (SELECT count(*) FROM pg_class)", "environment" },
	{ "where rows lie", "RETURN (SELECT max(ctid::text) FROM t)",
	    "environment" },
	{ "OIDs", "RETURN 't'::regclass::oid", "environment" },
	{ "text in the log", "RETURN current_query()", "volatile_function" },
	{ "sequence", "RETURN nextval('s')", "sequence" },
};

/* %BASE% replaced; the text lives in the arena. */
static const char *
with_base(const char *body)
{
	const char *at = strstr(body, "%BASE%");

	return at == NULL ? body
			  : sql_of("%.*s%s%s", (int)(at - body), body, base,
				at + strlen("%BASE%"));
}

/*
 * evilN() as labelled; swallow: its own handler takes all errors, so that only
 * what cannot be undone tells of them.
 */
static void
make_evil(size_t i, const char *label, bool swallow)
{
	tell(sql_of("CREATE OR REPLACE FUNCTION public.evil%zu() RETURNS text"
		    " LANGUAGE plpgsql %s AS $f$BEGIN BEGIN %s;"
		    " RETURN 'evil'; %s END; RETURN 'evil'; END$f$",
	    i, label, with_base(corpus[i].body),
	    swallow ? "EXCEPTION WHEN OTHERS THEN RETURN 'evil';" : ""));
}

/* As if the server had run it, and evilN() returned 'evil'. */
static struct verdict
run_evil(size_t i)
{
	struct record_table *t;

	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	note(sql_of("UPDATE public.t SET note = public.evil%zu() WHERE id = 1",
	    i));
	after_lie(t, "1, 'ann', 'evil', 10.00, 20.00");
	return finish();
}

static void
assert_nothing_happened(void)
{
	char path[PATH_MAX + 16];
	char conninfo[2 * PATH_MAX];
	PGconn *loader;
	PGresult *res;

	io_path(path, sizeof(path), "%s/owned", base);
	assert_int_not_equal(access(path, F_OK), 0);
	cluster_conninfo(config, true, "postgres", conninfo, sizeof(conninfo));
	loader = PQconnectdb(conninfo);
	res = PQexec(loader,
	    "SELECT (SELECT count(*) FROM pg_roles WHERE rolsuper),"
	    " (SELECT count(*) FROM pg_roles WHERE rolname !~ '^pg_'),"
	    " (SELECT count(*) FROM pg_stat_activity WHERE usename ="
	    " 'pgwitness_replay' AND state <> 'idle'),"
	    " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),"
	    " (SELECT count(*) FROM pg_file_settings WHERE sourcefile ~"
	    " 'auto.conf$')");
	assert_int_equal(PQntuples(res), 1);
	assert_string_equal(PQgetvalue(res, 0, 0), "1");
	assert_string_equal(PQgetvalue(res, 0, 1), "2");
	assert_string_equal(PQgetvalue(res, 0, 2), "0");
	assert_string_equal(PQgetvalue(res, 0, 3), "0");
	assert_string_equal(PQgetvalue(res, 0, 4), "0");
	PQclear(res);
	PQfinish(loader);
}

static bool
is_one_of(const char *reason, const char *reasons)
{
	const char *at = strstr(reasons, reason);
	size_t n = strlen(reason);

	return n > 0 && at != NULL && (at == reasons || at[-1] == ' ') &&
	       (at[n] == '\0' || at[n] == ' ');
}

/*
 * Where a handler takes the error evil() comes to its end, and returns what is
 * claimed: of what the server itself refuses, too (commands where the label says
 * that there are none, COMMIT, what it does not have), and of a limit on memory
 * or files that is met before the one on time.
 */
static bool
may_be_verified(size_t i, const char *label, bool swallow)
{
	bool command = strncmp(corpus[i].body, "RETURN", 6) != 0 &&
		       strncmp(corpus[i].body, "PERFORM", 7) != 0;

	return swallow &&
	       (is_one_of("replay_error", corpus[i].reasons) ||
		   is_one_of("too_large", corpus[i].reasons) ||
		   (command && strcmp(label, "IMMUTABLE") == 0));
}

static void
run_corpus(const char *label, bool swallow)
{
	fresh(accounts);
	tell("DROP TABLE IF EXISTS elsewhere; CREATE TABLE elsewhere (a int);"
	     " DROP SEQUENCE IF EXISTS s; CREATE SEQUENCE s");
	for (size_t i = 0; i < sizeof(corpus) / sizeof(*corpus); i++)
		make_evil(i, label, swallow);
	for (size_t i = 0; i < sizeof(corpus) / sizeof(*corpus); i++) {
		struct verdict v = run_evil(i);

		if (!(v.kind == VERDICT_VERIFIED &&
			may_be_verified(i, label, swallow)) &&
		    (v.kind != VERDICT_UNVERIFIABLE ||
			!is_one_of(v.reason, corpus[i].reasons)))
			fail_msg("%s, %s%s: %s %s, %s", corpus[i].name, label,
			    swallow ? ", swallowed" : "",
			    verdict_kind_name(v.kind), v.reason, v.detail);
		assert_nothing_happened();
	}
	assert_all_is_well();
}

static void
test_hostile_functions(void **state)
{
	(void)state;
	run_corpus("VOLATILE", false);
}

static void
test_hostile_functions_that_catch_errors(void **state)
{
	(void)state;
	run_corpus("VOLATILE", true);
}

/* The label is the author's word. */
static void
test_hostile_functions_called_immutable(void **state)
{
	(void)state;
	run_corpus("IMMUTABLE", true);
}

/* --- what no statement says --- */

static void
test_expressions_of_tables(void **state)
{
	static const struct {
		const char *ddl;
		const char *sql;
	} cases[] = {
		{ "CREATE TABLE public.t (id int PRIMARY KEY, note text,"
		  " at timestamptz CHECK (at < clock_timestamp()))",
		    "INSERT INTO t VALUES (1, 'a', '2001-01-01')" },
		{ "CREATE TABLE public.t (id int PRIMARY KEY, note text CHECK"
		  " (note <> current_setting('port')))",
		    "INSERT INTO t VALUES (1, 'a')" },
		{ "CREATE DOMAIN public.d AS text CHECK (VALUE <>"
		  " pg_backend_pid()::text); CREATE TABLE public.t (id int"
		  " PRIMARY KEY, note public.d)",
		    "INSERT INTO t VALUES (1, 'a')" },
		{ "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql"
		  " AS 'BEGIN RETURN NEW; END'; CREATE TABLE public.t (id int"
		  " PRIMARY KEY, note text); CREATE TRIGGER w BEFORE INSERT ON"
		  " public.t FOR EACH ROW WHEN (random() < 2)"
		  " EXECUTE FUNCTION public.f()",
		    "INSERT INTO t VALUES (1, 'a')" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct record_table *t;
		struct verdict v;

		fresh("DROP DOMAIN IF EXISTS d; DROP FUNCTION IF EXISTS f");
		tell(cases[i].ddl);
		begin_record();
		t = add_table("public", "t");
		execute(cases[i].sql);
		after(t, "true");
		v = finish();
		assert_verdict(
		    &v, VERDICT_UNVERIFIABLE, "unpinned_expression");
	}
}

/* Names of configurations, classes and types are no numbers. */
static void
test_full_text_search(void **state)
{
	struct record_table *t;

	(void)state;
	fresh("CREATE TABLE public.t (id int PRIMARY KEY, note text, v tsvector"
	      " GENERATED ALWAYS AS (to_tsvector('english', note)) STORED,"
	      " w tsvector); CREATE INDEX ON public.t USING gin"
	      " (to_tsvector('simple', note)); CREATE TRIGGER w BEFORE INSERT"
	      " OR UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION"
	      " tsvector_update_trigger('w', 'pg_catalog.simple', 'note')");
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO t VALUES (1, 'the running dogs')");
	execute("UPDATE t SET note = note || ts_headline('english', note,"
		" to_tsquery('english', 'dog')) || pg_typeof(id) WHERE id = 1");
	after(t, "true");
	assert_verified();
}

/* A body behind an index is looked at when it runs. */
static void
test_functions_of_indexes(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh("CREATE OR REPLACE FUNCTION public.env(int) RETURNS text"
	      " LANGUAGE plpgsql IMMUTABLE AS"
	      " $f$BEGIN RETURN current_setting('port'); END$f$;"
	      " CREATE TABLE public.t (id int PRIMARY KEY, n int);"
	      " CREATE INDEX ON public.t (public.env(n))");
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO t VALUES (1, 2)");
	after(t, "true");
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "environment");
}

/* --- recorded inputs --- */

/* As the server's rows show them, in the order of n. */
static void
note_input(const char *what, const char *column)
{
	static struct record_input inputs[8];
	struct record_value *values;
	PGresult *res = ask(
	    sql_of("SELECT %s::text FROM public.t ORDER BY n", column));
	size_t n = (size_t)PQntuples(res);

	values = arena_zalloc(arena, (n + 1) * sizeof(*values));
	assert_non_null(values);
	for (size_t i = 0; i < n; i++) {
		values[i].value = (const uint8_t *)arena_strdup(
		    arena, PQgetvalue(res, (int)i, 0));
		values[i].len = strlen((const char *)values[i].value);
	}
	PQclear(res);
	inputs[rec.n_inputs] = (struct record_input){ .what = what,
		.origin = INPUT_CLAIM,
		.schema = "public",
		.table = "t",
		.column = column,
		.values = values,
		.n_values = n };
	rec.inputs = inputs;
	rec.n_inputs++;
}

/* Three rows with what defaults and VALUES call; the inputs but the last. */
static struct record_table *
insert_calls(void)
{
	struct record_table *t;

	fresh("CREATE TABLE t (id serial PRIMARY KEY,"
	      " u uuid DEFAULT gen_random_uuid(), r float8,"
	      " i smallint GENERATED ALWAYS AS IDENTITY, n int,"
	      " c timestamptz(3) DEFAULT clock_timestamp())");
	tell("SELECT nextval('t_id_seq'), setval('t_i_seq', 500)");
	begin_record();
	t = add_table("public", "t");
	execute("INSERT INTO t (n, r) VALUES (1, random()), (2, random()),"
		" (3, random())");
	after(t, "true");
	note_input("nextval", "id");
	note_input("gen_random_uuid", "u");
	note_input("random", "r");
	note_input("nextval", "i");
	return t;
}

static void
test_recorded_inputs(void **state)
{
	(void)state;
	(void)insert_calls();
	note_input("clock_timestamp", "c");
	assert_verified();
}

static void
test_an_input_that_is_missing(void **state)
{
	struct verdict v;

	(void)state;
	(void)insert_calls();
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "not_pinned");
}

/* Rows and values of the same false story. */
static void
test_a_row_that_was_not_claimed(void **state)
{
	struct record_table *t = insert_calls();
	struct verdict v;

	(void)state;
	note_input("clock_timestamp", "c");
	for (size_t i = 0; i < rec.n_inputs; i++)
		rec.inputs[i].n_values--;
	t->n_after--;
	v = finish();
	assert_verdict(&v, VERDICT_MISMATCH, "rows_differ");
	assert_int_equal(v.n_mismatches, 1);
	assert_string_equal(v.mismatches[0].calculated, "present");
}

static void
test_a_doubt_is_no_mismatch(void **state)
{
	struct verdict v;

	(void)state;
	fresh(accounts);
	begin_record();
	(void)add_table("public", "t");
	execute("UPDATE t SET note = 'a' WHERE id = 1");
	rec.doubt = "order";
	after_lie(&tables[0], "1, 'ann', 'b', 10.00, 20.00");
	v = finish();
	assert_verdict(&v, VERDICT_UNVERIFIABLE, "order");
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_statements_have_no_effect),
		cmocka_unit_test(test_bodies_do_not_look_around),
		cmocka_unit_test(test_endless_statement_times_out),
		cmocka_unit_test(test_our_statements_stay),
		cmocka_unit_test(test_hostile_functions),
		cmocka_unit_test(test_hostile_functions_that_catch_errors),
		cmocka_unit_test(test_hostile_functions_called_immutable),
		cmocka_unit_test(test_expressions_of_tables),
		cmocka_unit_test(test_full_text_search),
		cmocka_unit_test(test_functions_of_indexes),
		cmocka_unit_test(test_recorded_inputs),
		cmocka_unit_test(test_an_input_that_is_missing),
		cmocka_unit_test(test_a_row_that_was_not_claimed),
		cmocka_unit_test(test_a_doubt_is_no_mismatch),
	};

	return fixture_main(
	    argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
