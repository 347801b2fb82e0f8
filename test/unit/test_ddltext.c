/*
 * test_ddltext.c: what DDL means for a copy, by its text.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ddltext.h"

static void
check(enum ddl_kind want, const char *const *texts)
{
	for (; *texts != NULL; texts++) {
		enum ddl_kind kind = ddl_kind_of(*texts, strlen(*texts));

		if (kind != want)
			fail_msg(
			    "%s: %d, not %d", *texts, (int)kind, (int)want);
	}
}

static void
test_what_a_copy_has_is_replayed(void **state)
{
	static const char *const texts[] = { "create table t (id int)",
		"/* a */ CREATE -- b\n UNLOGGED table t (a int)",
		"CREATE TABLE t (a int GENERATED ALWAYS AS (b + 1) STORED)",
		"CREATE TABLE \"AS\" (a int)",
		"create table t (a text default 'as')",
		"create or replace function f() returns int language sql as 'x'",
		"CREATE UNIQUE INDEX ON t (a)",
		"alter table t add column b int",
		"alter table t owner to bob, add column c int",
		"drop table t cascade",
		"create constraint trigger x after insert",
		"drop materialized view v",
		"create recursive view v (a) as select 1", NULL };

	(void)state;
	check(DDL_REPLAYED, texts);
}

static void
test_rows_of_a_query_are_left_out(void **state)
{
	static const char *const texts[] = { "create table t as select 1",
		"create unlogged table t (a, b) with (fillfactor = 10) as table u",
		"CREATE MATERIALIZED VIEW v AS SELECT 1", NULL };

	(void)state;
	check(DDL_OF_QUERY, texts);
}

static void
test_what_a_copy_does_not_have_is_ignored(void **state)
{
	static const char *const texts[] = { "grant select on t to bob",
		"revoke all on t from bob", "comment on table t is 'x'",
		"create role bob", "alter user current_user password 'x'",
		"ALTER ROLE pgwitness_replay SUPERUSER", "create database d",
		"alter database d set work_mem = 1",
		"alter system set port = 1", "create temp table t (a int)",
		"create local temporary table t (a int)",
		"alter table t owner to bob",
		"create user mapping for bob server s", "create publication p",
		"create statistics s on a, b from t",
		"alter default privileges grant select on tables to bob",
		"refresh materialized view v", NULL };

	(void)state;
	check(DDL_IGNORED, texts);
}

/* Whatever else may come: it is not run. */
static void
test_the_rest_is_refused(void **state)
{
	static const char *const texts[] = { "create extension dblink",
		"create language plperlu", "create event trigger e on x",
		"create index concurrently i on t (a)",
		"alter table t detach partition p concurrently",
		"drop owned by bob", "create access method a",
		"select 1 into t", "commit", "do 'begin end'",
		"import foreign schema s", "", "/* create table */",
		"(create table t (a int))", "copy t to program 'x'", NULL };
	static const char *const secret[] = {
		"create server s foreign data wrapper w options (password 'x')",
		"create foreign table f (a int) server s", NULL
	};

	(void)state;
	check(DDL_REFUSED, texts);
	check(DDL_SECRET, secret);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_a_copy_has_is_replayed),
		cmocka_unit_test(test_rows_of_a_query_are_left_out),
		cmocka_unit_test(test_what_a_copy_does_not_have_is_ignored),
		cmocka_unit_test(test_the_rest_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
