/*
 * test_analyze.c: what the analysis of query strings says.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "analyze_fixture.h"

/* Which literals parameters may stand for: <number>, [string]. */
static const struct example kept[] = {
	{ "UPDATE t SET a = 5 WHERE id = 7",
	    "UPDATE t SET a = <5> WHERE id = <7>" },
	{ "UPDATE t SET a = -5, b = 'x' WHERE id = -7",
	    "UPDATE t SET a = <-5>, b = [x] WHERE id = <-7>" },
	{ "UPDATE t SET a = a -5 - -6 WHERE id = 1",
	    "UPDATE t SET a = a -<5> - <-6> WHERE id = <1>" },
	/* the sign is part of the constant, but stands apart */
	{ "UPDATE t SET a = - 5, b = -(6), c = - -7 WHERE id = 1",
	    "UPDATE t SET a = - 5, b = -(6), c = - -7 WHERE id = <1>" },
	{ "UPDATE t SET a = -5::bigint, b = -5 ^ 2 WHERE id = 1",
	    "UPDATE t SET a = -<5>::bigint, b = <-5> ^ <2> WHERE id = <1>" },
	{ "UPDATE t SET a = 1.5e3, b = .5, c = 99999999999 WHERE id = 1",
	    "UPDATE t SET a = <1.5e3>, b = <.5>, c = <99999999999> "
	    "WHERE id = <1>" },
	{ "UPDATE t SET a = b || 'x' || c WHERE id = 'k'",
	    "UPDATE t SET a = b || [x] || c WHERE id = [k]" },
	{ "UPDATE t SET a = 'x'::int WHERE id = 1", "not kept" },
	{ "UPDATE t SET b = 5::numeric(9,2) WHERE id = 1",
	    "UPDATE t SET b = <5>::numeric(9,2) WHERE id = <1>" },
	{ "UPDATE t SET a = 'x'::text WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = interval '1' hour WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = timestamp 'now' WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = date '2020-01-01' WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = 'x' COLLATE \"C\" WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = coalesce(7, 5), b = CASE 3 WHEN 4 THEN 8 END "
	  "WHERE id = 1",
	    "UPDATE t SET a = coalesce(<7>, <5>), b = CASE <3> WHEN <4> THEN "
	    "<8> END WHERE id = <1>" },
	{ "UPDATE t SET a = b IN (1, 2), e = NULL, f = true WHERE id = 1",
	    "UPDATE t SET a = b IN (<1>, <2>), e = NULL, f = true "
	    "WHERE id = <1>" },
	/* 'now' would be read once for all runs */
	{ "UPDATE t SET a = coalesce(a, 'now') WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = CASE WHEN b THEN 'now' END WHERE id = 1",
	    "not kept" },
	{ "UPDATE t SET a = b IN ('now', 'today') WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = b BETWEEN 'today' AND 'tomorrow' WHERE id = 1",
	    "not kept" },
	{ "UPDATE t SET c = d LIKE 'z%' WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = B'1', b = X'1f' WHERE id = 1",
	    "UPDATE t SET a = B'1', b = X'1f' WHERE id = <1>" },
	{ "UPDATE t SET a = (b = NULL) WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = f(1) WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = now() WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = current_timestamp WHERE id = 1",
	    "UPDATE t SET a = current_timestamp WHERE id = <1>" },
	{ "UPDATE t SET a[1] = 5 WHERE id = 1", "not kept" },
	{ "UPDATE t SET (a, b) = (1, 2) WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = ARRAY[1] WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = ROW(1) WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = (SELECT 1) WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = 1 FROM u WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = 1 WHERE id > 1", "not kept" },
	{ "UPDATE t SET a = 1", "not kept" },
	{ "UPDATE t SET a = pgwitness WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = 1 WHERE id = 1 RETURNING pgwitness.image",
	    "not kept" },
	{ "UPDATE pgwitness SET a = 1 WHERE id = 1", "not kept" },
	{ "UPDATE t AS \"PGWITNESS\" SET a = 1 WHERE id = 1", "not kept" },
	{ "UPDATE t SET a = $1, b = 5 WHERE id = $2",
	    "UPDATE t SET a = $1, b = <5> WHERE id = $2" },
	{ "UPDATE t SET a = 1 WHERE id = 1 RETURNING a + 2, *",
	    "UPDATE t SET a = <1> WHERE id = <1> RETURNING a + <2>, *" },
	{ "DELETE FROM t WHERE id = 1 AND k = 'x'",
	    "DELETE FROM t WHERE id = <1> AND k = [x]" },
	{ "INSERT INTO t VALUES (1, 'x', -2.5, DEFAULT, NULL)",
	    "INSERT INTO t VALUES (<1>, [x], <-2.5>, DEFAULT, NULL)" },
	{ "INSERT INTO t (a[1]) VALUES (1)", "not kept" },
	{ "INSERT INTO t VALUES (1), (2)", "not kept" },
	{ "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "not kept" },
	{ "INSERT INTO t (VALUES (1) LIMIT 1)", "not kept" },
	{ "INSERT INTO t SELECT 1", "not kept" },
	{ "INSERT INTO t DEFAULT VALUES", "INSERT INTO t DEFAULT VALUES" },
	{ "SELECT 1", "not kept" },
};

static void
show_literals(
    struct buf *b, const char *sql, const struct analyzed_statement *st)
{
	size_t at = 0;

	buf_reset(b);
	for (size_t i = 0; i < st->n_literals; i++) {
		struct span s = st->literals[i].text;
		const char *text = sql + s.at;

		buf_put(b, sql + at, s.at - at);
		at = s.at + s.len;
		if (st->literals[i].kind == LITERAL_NUMBER)
			buf_printf(b, "<%.*s>", (int)s.len, text);
		else if (st->literals[i].kind == LITERAL_STRING)
			buf_printf(b, "[%.*s]", (int)s.len - 2, text + 1);
		else
			buf_put(b, text, s.len);
	}
	buf_put_str(b, st->keepable ? sql + at : "not kept");
	buf_put_u8(b, 0);
}

static void
literals_that_may_be_parameters(void **state)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	struct buf b = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		for (int again = 0; again < 2; again++) {
			const char *sql = kept[i].sql;
			const struct analysis *an = analyze(
			    a, sql, strlen(sql), true);

			assert_true(an->parsed && an->n_statements == 1);
			show_literals(&b, sql, &an->statements[0]);
			assert_string_equal((char *)b.data, kept[i].want);
			assert_true(an->statements[0].shape != 0);
		}
	buf_free(&b);
	analyzer_free(a);
}

/* Another text of the same shape: its own literals, the same number. */
static void
literals_of_a_hit(void **state)
{
	static const char *const sql[] = {
		"UPDATE t SET a = -5, b = 'it''s' /* c */ WHERE id = 1",
		"UPDATE t SET a = 777, b = '' /* other */ WHERE id = -2"
	};
	static const char *const want[] = {
		"UPDATE t SET a = <-5>, b = [it''s] /* c */ WHERE id = <1>",
		"UPDATE t SET a = <777>, b = [] /* other */ WHERE id = <-2>"
	};
	struct analyzer *a = analyzer_new(MAX_BYTES);
	struct buf b = { 0 };
	uint64_t shape[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		const struct analysis *an = analyze(
		    a, sql[i], strlen(sql[i]), true);

		show_literals(&b, sql[i], &an->statements[0]);
		assert_string_equal((char *)b.data, want[i]);
		shape[i] = an->statements[0].shape;
	}
	assert_true(shape[0] == shape[1]);
	buf_free(&b);
	analyzer_free(a);
}

static void
every_example_is_analyzed_as_written(void **state)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	struct buf b = { 0 };
	unsigned wrong = 0;

	(void)state;
	for (size_t i = 0; i < N_EXAMPLES; i++) {
		const char *sql = examples[i].sql;
		const char *got = show(
		    &b, sql, strlen(sql), analyze(a, sql, strlen(sql), true));

		if (strcmp(got, examples[i].want) == 0)
			continue;
		print_message(
		    "%s\n  got  %s\n  want %s\n", sql, got, examples[i].want);
		wrong++;
	}
	buf_free(&b);
	analyzer_free(a);
	assert_int_equal(wrong, 0);
}

static void
normalizing_replaces_literals(void **state)
{
	static const char sql[] = "/* 'b' */ SELECT 'secret'\n"
				  "FROM/**/t --x\nWHERE a = 5 ;";
	char *got = analyze_normalize(sql, sizeof(sql) - 1);

	(void)state;
	assert_string_equal(got, "SELECT $1 FROM t WHERE a = $2 ;");
	free(got);
	assert_null(analyze_normalize("SELECT (", 8));
	assert_null(analyze_normalize("SELECT '\xFF'", 10));
}

/* Columns that are nothing but a call, and which functions are more. */
static void
columns_that_are_a_call(void **state)
{
	static const struct {
		const char *sql;
		const char
		    *calls; /* position:name ..., then nested functions */
	} cases[] = {
		{ "INSERT INTO t VALUES (1, nextval('s'), DEFAULT)",
		    " 1:nextval 2:-" },
		{ "INSERT INTO t (a, b) VALUES (f()::text, 2), (f(), g(1))",
		    " a:f | g" },
		{ "INSERT INTO t (a) VALUES (f()), (g())", " | f g" },
		{ "INSERT INTO t (a) VALUES (f()), (f() + 1)", " | f" },
		{ "INSERT INTO t (a) VALUES (DEFAULT), (1)", " | DEFAULT" },
		{ "INSERT INTO t (a, b[1]) VALUES (s.f(g()), h())",
		    " a:f | g h" },
		{ "INSERT INTO t SELECT f()", " | f" },
		{ "INSERT INTO t DEFAULT VALUES", "" },
		{ "UPDATE t SET a = f(), b = current_user, c = DEFAULT, d = 1"
		  " WHERE e < g(f())",
		    " a:f b:current_user c:- | f g" },
		{ "UPDATE t SET (a, b) = (f(), DEFAULT), c = now()",
		    " c:now | DEFAULT f" },
		{ "WITH w AS (SELECT f()) UPDATE t SET a = f()", " a:f | f" },
		{ "SELECT f()", " | f" },
	};
	struct analyzer *an = analyzer_new(1 << 20);

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(*cases); i++) {
		size_t k = i / 2; /* twice: from the cache, too */
		const struct analysis *a = analyze(
		    an, cases[k].sql, strlen(cases[k].sql), true);
		const struct analyzed_statement *st = &a->statements[0];
		const char *separator = " |";
		struct buf b = { 0 };

		assert_true(a->parsed);
		for (size_t c = 0; c < st->n_calls; c++) {
			buf_put_u8(&b, ' ');
			if (st->calls[c].column != NULL)
				buf_put_str(&b, st->calls[c].column);
			else
				buf_printf(&b, "%zu", st->calls[c].position);
			buf_printf(&b, ":%s",
			    st->calls[c].name != NULL ? st->calls[c].name
						      : "-");
		}
		if (st->default_mixed) {
			buf_printf(&b, "%s DEFAULT", separator);
			separator = "";
		}
		for (size_t f = 0; f < st->n_functions; f++) {
			if (!st->functions[f].nested)
				continue;
			buf_printf(
			    &b, "%s %s", separator, st->functions[f].name);
			separator = "";
		}
		buf_put_u8(&b, 0);
		assert_string_equal((const char *)b.data, cases[k].calls);
		buf_free(&b);
	}
	analyzer_free(an);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_example_is_analyzed_as_written),
		cmocka_unit_test(literals_that_may_be_parameters),
		cmocka_unit_test(literals_of_a_hit),
		cmocka_unit_test(normalizing_replaces_literals),
		cmocka_unit_test(columns_that_are_a_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
