/*
 * test_analyze.c: what the analysis of query strings says.
 *
 * Each analysis is written as one line; a field that is not set is left out.
 * Relations: schema.name(alias), '!' for a target.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../../backend/analyze.h"
#include "buf.h"

#define MAX_BYTES ((size_t)2 * 1024 * 1024)

struct example {
	const char *sql;
	const char *want;
};

static const struct example examples[] = {
#include "analyze_examples.inc"
};
#define N_EXAMPLES (sizeof(examples) / sizeof(examples[0]))

static const char *const kind_names[] = { "SELECT", "INSERT", "UPDATE",
	"DELETE", "MERGE", "SELECT_INTO", "COPY_FROM", "COPY_TO", "TRUNCATE",
	"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "ROLLBACK_TO",
	"PREPARE_TRANSACTION", "COMMIT_PREPARED", "ROLLBACK_PREPARED", "SET",
	"SHOW", "CALL", "DO", "PREPARE", "EXECUTE", "DEALLOCATE", "DISCARD",
	"EXPLAIN", "CURSOR", "LISTEN", "LOCK", "DDL", "OTHER" };

static void
show_flag(struct buf *b, bool on, const char *name)
{
	if (on)
		buf_printf(b, " %s", name);
}

static void
show_span(struct buf *b, const char *name, const char *text, size_t len,
    struct span s)
{
	if (s.len == 0) {
		assert_true(s.at == 0);
		return;
	}
	assert_true(s.at < len && s.len <= len - s.at);
	buf_printf(b, " %s[%.*s]", name, (int)s.len, text + s.at);
}

static void
show_names(struct buf *b, const char *label, const char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_printf(b, "%s%s", i == 0 ? label : ",", names[i]);
}

static void
show_relations(struct buf *b, const struct analyzed_statement *st)
{
	for (size_t i = 0; i < st->n_relations; i++) {
		const struct analyzed_relation *r = &st->relations[i];

		buf_printf(b, "%s%s%s%s", i == 0 ? " rel=" : ",",
		    r->schema != NULL ? r->schema : "",
		    r->schema != NULL ? "." : "", r->name);
		if (r->alias != NULL)
			buf_printf(b, "(%s)", r->alias);
		if (r->target)
			buf_put_str(b, "!");
	}
}

static void
show_functions(struct buf *b, const struct analyzed_statement *st)
{
	for (size_t i = 0; i < st->n_functions; i++) {
		const struct analyzed_function *f = &st->functions[i];

		buf_printf(b, "%s%s%s%s", i == 0 ? " fn=" : ",",
		    f->schema != NULL ? f->schema : "",
		    f->schema != NULL ? "." : "", f->name);
	}
}

static void
show_flags(struct buf *b, const struct analyzed_statement *st)
{
	show_flag(b, st->writes, "writes");
	show_flag(b, st->modifying_cte, "modifying_cte");
	show_flag(b, st->with_clause, "with");
	show_flag(b, st->reads_relations, "reads");
	show_flag(b, st->simple_read, "simple");
	show_flag(b, st->has_params, "params");
	show_flag(b, st->has_sublinks, "sublinks");
	show_flag(b, st->system_columns, "system_columns");
	show_flag(b, st->explain_analyze, "explain_analyze");
	show_flag(b, st->for_update, "for_update");
	show_flag(b, st->only, "only");
	show_flag(b, st->where_current_of, "current_of");
	show_flag(b, st->from_or_using, "from");
	show_flag(b, st->on_conflict, "on_conflict");
	show_flag(b, st->overriding, "overriding");
	show_flag(b, st->insert_values, "values");
	show_flag(b, st->default_keyword, "default");
	show_flag(b, st->begin_options, "options");
	show_flag(b, st->chain, "chain");
}

static void
show_copy(struct buf *b, const struct analyzed_copy *c)
{
	static const char *const formats[] = { "text", "csv", "binary" };
	const struct copydata_options *o = &c->options;

	buf_printf(b, " %s", formats[o->format]);
	show_flag(b, c->from_stdin, "stdin");
	show_flag(b, c->freeze, "freeze");
	show_flag(b, !c->known, "unknown");
	show_flag(b, o->header, "header");
	if (c->encoding != NULL)
		buf_printf(b, " encoding=%s", c->encoding);
	if (o->format != COPYDATA_BINARY)
		buf_printf(b, " delim=%c%c%c null=%s",
		    o->delimiter == '\t' ? 't' : o->delimiter, o->quote,
		    o->escape, o->null);
	show_names(b, " force_null=", c->force_null, c->n_force_null);
	show_names(
	    b, " force_not_null=", c->force_not_null, c->n_force_not_null);
}

/* A constant in square brackets, what is computed in round ones. */
static void
show_conflict(
    struct buf *b, const char *text, const struct analyzed_statement *st)
{
	show_names(
	    b, " conflict=", st->conflict_columns, st->n_conflict_columns);
	show_names(b, " sets=", st->conflict_sets, st->n_conflict_sets);
	for (size_t i = 0; st->values != NULL && i < st->n_rows * st->n_values;
	     i++) {
		const struct analyzed_value *v = &st->values[i];

		buf_put_str(b, i == 0		      ? " rows="
			       : i % st->n_values == 0 ? ";"
						       : "");
		buf_printf(b, "%c%.*s%c", v->constant ? '[' : '(',
		    (int)v->text.len, text + v->text.at,
		    v->constant ? ']' : ')');
		if (v->param != 0)
			buf_printf(b, "%u", v->param);
	}
	show_flag(b, st->conflict_update, "do_update");
	show_flag(b, st->conflict_plain, "plain");
}

static void
show_statement(struct buf *b, const char *text, size_t len,
    const struct analyzed_statement *st)
{
	assert_int_equal(st->splice, st->text.at + st->text.len);
	buf_put_str(b, st->type);
	if (strcmp(st->type, kind_names[st->kind]) != 0)
		buf_printf(b, " kind=%s", kind_names[st->kind]);
	if (st->text.len != len)
		show_span(b, "text", text, len, st->text);
	show_relations(b, st);
	show_span(b, "target", text, len, st->target);
	if (st->target_ref != NULL)
		buf_printf(b, " ref=%s", st->target_ref);
	show_names(b, " cols=", st->columns, st->n_columns);
	show_span(b, "where", text, len, st->where);
	show_names(b, " eq=", st->equal_columns, st->n_equal_columns);
	show_span(b, "returning", text, len, st->returning);
	show_functions(b, st);
	show_conflict(b, text, st);
	if (st->set_name != NULL)
		buf_printf(b, " set=%s", st->set_name);
	if (st->prepared != NULL)
		buf_printf(b, " prepared=%s", st->prepared);
	if (st->savepoint != NULL)
		buf_printf(b, " savepoint=%s", st->savepoint);
	show_flags(b, st);
	if (st->copy != NULL)
		show_copy(b, st->copy);
}

/* The line for an analysis; valid until b is reset. */
static const char *
show(struct buf *b, const char *text, size_t len, const struct analysis *an)
{
	buf_reset(b);
	if (!an->parsed) {
		assert_non_null(an->error);
		assert_int_equal(an->n_statements, 0);
		buf_printf(b, "error: %s", an->error);
	}
	for (size_t i = 0; i < an->n_statements; i++) {
		if (i > 0)
			buf_put_str(b, " | ");
		show_statement(b, text, len, &an->statements[i]);
	}
	buf_put_u8(b, 0);
	return (const char *)b->data;
}

/* Spans as numbers too, so that equal slices elsewhere are not taken for
 * equal. */
static void
show_offsets(struct buf *b, const struct analysis *an)
{
	for (size_t i = 0; i < an->n_statements; i++) {
		const struct analyzed_statement *st = &an->statements[i];

		buf_printf(b, " %zu+%zu %zu+%zu %zu+%zu %zu+%zu %zu",
		    st->text.at, st->text.len, st->target.at, st->target.len,
		    st->where.at, st->where.len, st->returning.at,
		    st->returning.len, st->splice);
		for (size_t k = 0;
		     st->values != NULL && k < st->n_rows * st->n_values; k++)
			buf_printf(b, " %zu+%zu", st->values[k].text.at,
			    st->values[k].text.len);
	}
	buf_put_u8(b, 0);
}

static void
show_all(struct buf *b, const char *text, size_t len, const struct analysis *an)
{
	(void)show(b, text, len, an);
	show_offsets(b, an);
}

static size_t
hits_of(const struct analyzer *a)
{
	size_t hits;
	size_t misses;

	analyzer_counts(a, &hits, &misses);
	return hits;
}

/* Of our own work, whatever else the machine does. */
static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

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

/*
 * Templates for the cache: %s string, %n integer, %f other number, %e
 * E'string', %d dollar-quoted string, %x bit string, %c comment.
 */
static const char *const templates[] = {
	"UPDATE pgbench_accounts SET abalance = abalance + -%n WHERE aid = %n;",
	"SELECT %n", "%c SELECT %s %c",
	"SELECT abalance FROM pgbench_accounts WHERE aid = %n;",
	"INSERT INTO pgbench_history (tid, bid) VALUES (%n, %n)",
	"INSERT INTO t VALUES (%n, %s, %f, %e, %d, %x)",
	"INSERT INTO t VALUES (%n, %s), (%n, %s), (%n, %s)",
	"INSERT INTO t (a, b) VALUES (%s, DEFAULT) RETURNING a, %s, b",
	"INSERT INTO t (a) VALUES (%n) ON CONFLICT (a) DO NOTHING",
	"INSERT INTO t (a) VALUES (%n) ON CONFLICT (a) DO UPDATE SET b = %s "
	"WHERE t.c = %f RETURNING *",
	"INSERT INTO t SELECT %n, a FROM u WHERE b = %s",
	"INSERT INTO t SELECT %s AS returning FROM u RETURNING %n",
	"INSERT INTO t OVERRIDING USER VALUE VALUES (%n)",
	"INSERT INTO t DEFAULT VALUES %c",
	"INSERT INTO t VALUES (nextval(%s), now(), f(%n))",
	"INSERT INTO t WITH x AS (SELECT %n) SELECT * FROM x",
	"INSERT INTO t VALUES ((SELECT max(a) FROM u WHERE b = %n))",
	"UPDATE t SET a = %s WHERE id = %n",
	"UPDATE t SET a = %s, b = %n WHERE id = %n AND k = %s",
	"UPDATE t SET a = %e WHERE id = %n RETURNING id, %s || a",
	"UPDATE t SET a = %d WHERE %n = id",
	"UPDATE ONLY s.t x SET a = %s WHERE x.id = %n",
	"UPDATE t SET a[%n] = %n WHERE id = %n",
	"UPDATE t SET (a, b) = (%n, %s) WHERE id = %n",
	"UPDATE t SET a = %n FROM u WHERE u.id = t.id AND u.b = %s",
	"UPDATE t SET a = %n WHERE id = %n::bigint",
	"UPDATE t SET a = %n WHERE id = CAST(%s AS uuid)",
	"UPDATE t SET a = %n WHERE d = date %s",
	"UPDATE t SET a = a + interval %s day WHERE id = %n",
	"UPDATE t SET a = %s::varchar(%n) WHERE id = %n",
	"UPDATE t SET a = %n WHERE id = $1 AND b = %s",
	"UPDATE t SET a = %n WHERE id = -%n",
	"UPDATE t SET a = %n WHERE id = %f",
	"UPDATE t SET a = %n WHERE id IN (%n, %n, %n)",
	"UPDATE t SET a = %n WHERE id = %n OR id = %n",
	"UPDATE t SET a = %n WHERE id > %n",
	"UPDATE t SET a = %n WHERE id = NULL AND b = %n",
	"UPDATE t SET a = %n WHERE b = %s %c RETURNING %c a %c",
	"UPDATE %c t %c SET %c a %c = %c %n %c WHERE %c id %c = %c %n %c ; %c",
	"UPDATE t SET a = %s WHERE CURRENT OF c",
	"UPDATE t SET a = DEFAULT WHERE id = %n",
	"UPDATE t SET a = CASE WHEN b = %n THEN %s ELSE %s END WHERE id = %n",
	"UPDATE t SET a = (SELECT b FROM u WHERE c = %s) WHERE id = %n",
	"UPDATE \"t %\" SET \"a '\" = %s WHERE \"i''d\" = %n",
	"UPDATE t\303\244 SET \303\266 = %s WHERE \303\274 = %s",
	"UPDATE t SET a = f(%s, %n) WHERE id = g(%n)",
	"UPDATE t SET a = %n WHERE s = %s AND n = N%s",
	"UPDATE t SET a = %x WHERE id = %n",
	"UPDATE t SET a = %n+%n-%n*%n/%n WHERE id=%n",
	"UPDATE t SET a=%s WHERE id=%n AND b=%s;",
	"UPDATE t SET a = %s::jsonb WHERE id = %n RETURNING t",
	"UPDATE t SET a = a || %s WHERE id = %n",
	"UPDATE t SET a = now() + %s WHERE id = %n",
	"WITH x AS (SELECT %n AS a) UPDATE t SET a = %n FROM x "
	"WHERE t.id = %n",
	"WITH x AS (DELETE FROM u WHERE id = %n RETURNING *) "
	"INSERT INTO t SELECT * FROM x WHERE a = %s",
	"DELETE FROM t", "DELETE FROM t WHERE id = %n",
	"DELETE FROM t WHERE id = %n AND k = %s RETURNING %s, id",
	"DELETE FROM t x WHERE x.id = %n", "DELETE FROM ONLY t WHERE id = %s",
	"DELETE FROM t USING u WHERE t.id = u.id AND u.a = %n",
	"DELETE FROM t WHERE id IN (SELECT a FROM u WHERE b = %n)",
	"DELETE FROM t WHERE a LIKE %s ESCAPE %s",
	"DELETE FROM t WHERE a BETWEEN %n AND %n",
	"DELETE FROM t WHERE a < now() - interval %s",
	"DELETE FROM t WHERE a = %e AND b = %d",
	"DELETE FROM t WHERE a = %f AND b = -%f",
	"SELECT * FROM t WHERE id = %n FOR UPDATE",
	"SELECT a, b FROM t WHERE c = %s ORDER BY %n LIMIT %n OFFSET %n",
	"SELECT count(*) FROM t WHERE a > %f", "SELECT f(%s), g(%n, %s) FROM t",
	"SELECT * FROM generate_series(%n, %n)",
	"SELECT extract(year FROM timestamp %s)",
	"SELECT a FROM t GROUP BY a HAVING sum(b) > %n",
	"SELECT a FROM t WHERE b = %s UNION SELECT c FROM u WHERE d = %s",
	"SELECT * FROM t JOIN u ON t.a = u.a AND u.b = %n WHERE t.c = %s",
	"SELECT * FROM t WHERE a = ANY (ARRAY[%n, %n])",
	"SELECT * FROM t WHERE a ~ %s AND b !~ %s",
	"SELECT * FROM t FETCH FIRST %n ROWS ONLY",
	"SELECT %s AS \"x\", %n AS y", "SELECT current_timestamp(%n), %s",
	"SELECT (%n, %s)", "SELECT %n;SELECT %s;", "SELECT %f::numeric(%n, %n)",
	"SELECT -%n, +%n, - %f", "SELECT a.%c b FROM a", "SELECT 'a' = %s",
	"SELECT $1, %s, $2",
	"SELECT coalesce(a, %s), nullif(b, %n), greatest(%n, %n) FROM t",
	"SELECT CASE a WHEN %n THEN %s WHEN %n THEN %s END FROM t",
	"SELECT * FROM t TABLESAMPLE system (%n) REPEATABLE (%n)",
	"SELECT * FROM (VALUES (%n, %s), (%n, %s)) v (a, b)",
	"SELECT * FROM t WHERE (a, b) = (%n, %s)",
	"SELECT * FROM t WHERE EXISTS (SELECT %n FROM u WHERE u.a = %s)",
	"SELECT pg_sleep(%f)",
	"WITH RECURSIVE r AS (SELECT %n AS n UNION ALL SELECT n + %n FROM r "
	"WHERE n < %n) SELECT * FROM r",
	"VALUES (%n, %s), (%n, %s)",
	"BEGIN; UPDATE t SET a = %s WHERE id = %n; COMMIT",
	"BEGIN; INSERT INTO t VALUES (%s); DELETE FROM t WHERE id = %n; END;",
	"UPDATE t SET a = %s; ; UPDATE u SET b = %n WHERE id = %n ;;",
	"BEGIN ISOLATION LEVEL SERIALIZABLE %c", "COMMIT AND CHAIN %c",
	"ROLLBACK TO a %c", "SAVEPOINT a %c ;", "PREPARE TRANSACTION %s",
	"COMMIT PREPARED %s", "%c", "%c ; %c", "SELECT/**/%n%c,%s\n,%f\t\r\n",
	"SELECT x'1f', b'01', %n",
	"UPDATE t SET a = a + %z, b = %z WHERE id = %z",
	"UPDATE t SET a = %z, b = %z * a WHERE id = %z AND k = %z",
	"INSERT INTO t VALUES (a, %z,%z) RETURNING a, %z",
	"DELETE FROM t WHERE id = %z AND k = %z RETURNING a > %z",
	"SELECT f(a, %z) + %z FROM t WHERE a < %z ORDER BY a, %z",
	"SELECT b -> %z, c = %z collate x, a IN (b, %z) FROM t",
	"SELECT numeric(9, %z) '1', a[b + %z], row(a, %z)",
	"UPDATE t SET a = %s WHERE id = %n\n-- the end\n"
};
#define N_TEMPLATES (sizeof(templates) / sizeof(templates[0]))
#define N_VALUES 3

static const struct {
	char letter;
	const char *values[N_VALUES];
} literals[] = {
	{ 's', { "'x'", "''", "'it''s \346\226\207 \"; -- /* a longer one'" } },
	{ 'n', { "1", "1234567890", "0042" } },
	{ 'z', { "1", "-20", "-300000" } },
	{ 'f', { "1.5", ".25e-10", "99999999999999999999" } },
	{ 'e', { "E'a'", "e'\\'\\\\ ''; \\n'", "E''" } },
	{ 'd', { "$$a$$", "$x$ ' $$ \" \n; $y$ $x$", "$\303\244$$\303\244$" } },
	{ 'x', { "B'0'", "b'010101'", "B''" } },
	{ 'c', { "/* a */", "/* /* ' */ \" ; */", "/**/" } }
};

static const char *
literal_value(char letter, size_t which)
{
	for (size_t i = 0; i < sizeof(literals) / sizeof(literals[0]); i++)
		if (literals[i].letter == letter)
			return literals[i].values[which % N_VALUES];
	return NULL;
}

/* Literals rotate, so that one text has short and long ones. */
static void
expand(struct buf *b, const char *template, size_t round)
{
	size_t k = 0;

	buf_reset(b);
	for (const char *p = template; *p != '\0'; p++) {
		const char *value = *p == '%' ? literal_value(p[1], round + k)
					      : NULL;

		if (value == NULL) {
			buf_put_u8(b, (uint8_t)*p);
			continue;
		}
		buf_put_str(b, value);
		k += round / N_VALUES;
		p++;
	}
}

static void
assert_same_as_fresh(const char *text, size_t len, const struct analysis *an)
{
	struct analyzer *fresh = analyzer_new(MAX_BYTES);
	struct buf got = { 0 };
	struct buf want = { 0 };

	show_all(&got, text, len, an);
	show_all(&want, text, len, analyze(fresh, text, len, true));
	if (got.len != want.len || memcmp(got.data, want.data, got.len) != 0)
		fail_msg("%.*s\n  hit   %s\n  fresh %s", (int)len, text,
		    (const char *)got.data, (const char *)want.data);
	buf_free(&got);
	buf_free(&want);
	analyzer_free(fresh);
}

static void
a_hit_equals_a_fresh_analysis(void **state)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	struct buf sql = { 0 };

	(void)state;
	for (size_t i = 0; i < N_TEMPLATES; i++) {
		size_t rounds = N_VALUES * N_VALUES;
		size_t hits = hits_of(a);

		for (size_t round = 0; round < rounds; round++) {
			const char *text;

			expand(&sql, templates[i], round);
			text = (const char *)sql.data;
			assert_same_as_fresh(
			    text, sql.len, analyze(a, text, sql.len, true));
		}
		/* An integer beyond 2^31 would be another shape. */
		if (hits_of(a) - hits < rounds - 1)
			fail_msg("no hit: %s", templates[i]);
	}
	buf_free(&sql);
	analyzer_free(a);
}

static size_t
hits_after(const char *first, const char *second)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	const struct analysis *an;
	size_t hits;

	(void)analyze(a, first, strlen(first), true);
	an = analyze(a, second, strlen(second), true);
	assert_same_as_fresh(second, strlen(second), an);
	hits = hits_of(a);
	analyzer_free(a);
	return hits;
}

static void
what_is_more_than_a_value_is_no_hit(void **state)
{
	(void)state;
	assert_int_equal(hits_after("SELECT 1", "SELECT 2"), 1);
	assert_int_equal(hits_after("SET x TO 'a'", "SET x TO 'b'"), 0);
	assert_int_equal(hits_after("COPY t FROM 'a'", "COPY t FROM 'b'"), 0);
	assert_int_equal(hits_after("SELECT 1", "SELECT 1.0"), 0);
	assert_int_equal(hits_after("SELECT a + 1", "SELECT a + -1"), 1);
	assert_int_equal(hits_after("SELECT f(a,1)", "SELECT f(a,-1)"), 1);
	assert_int_equal(hits_after("SELECT f(1)", "SELECT f(-1)"), 0);
	assert_int_equal(hits_after("SELECT a + 1", "SELECT a +-1"), 0);
	assert_int_equal(hits_after("SELECT a @+ 1", "SELECT a @+-1"), 0);
	assert_int_equal(hits_after("SELECT a 1", "SELECT a -1"), 0);
	assert_int_equal(
	    hits_after("SELECT a /* = */ 1", "SELECT a /* = */ -1"), 0);
	assert_int_equal(
	    hits_after("SELECT a --=\n 1", "SELECT a --=\n -1"), 0);
	assert_int_equal(hits_after("SELECT t.* 1", "SELECT t.* -1"), 0);
	assert_int_equal(
	    hits_after("SELECT a = 1::int", "SELECT a = -1::int"), 0);
	assert_int_equal(
	    hits_after("SELECT a = 1 :: int", "SELECT a = -1 :: int"), 0);
	assert_int_equal(hits_after("SELECT a = 1[1]", "SELECT a = -1[1]"), 0);
	assert_int_equal(hits_after("SELECT 1", "SELECT 2147483648"), 0);
	assert_int_equal(hits_after("SELECT 'a'", "SELECT E'a'"), 0);
	assert_int_equal(hits_after("SELECT $1", "SELECT $2"), 0);
	assert_int_equal(hits_after("SELECT \"a\"", "SELECT \"b\""), 0);
	assert_int_equal(
	    hits_after("SELECT E'a'\n'b'", "SELECT E'a'\n'\\''"), 0);
	assert_int_equal(hits_after("UPDATE U&\"!0061\" UESCAPE '!' SET a=1",
			     "UPDATE U&\"!0061\" UESCAPE '?' SET a=1"),
	    0);
	assert_int_equal(
	    hits_after("SELECT E'\\u0061'", "SELECT E'\\u006'"), 0);
	assert_int_equal(hits_after("SELECT B'1'", "SELECT B'1''0'"), 0);
	assert_int_equal(hits_after("SELECT 1", "SELECT 1a"), 0);
	assert_int_equal(hits_after("SELECT 'a'", "SELECT 'b"), 0);
	assert_int_equal(hits_after("SELECT /*a*/ 1", "SELECT /*/*a*/ 1"), 0);
}

static void
the_cache_is_bounded(void **state)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	struct buf sql = { 0 };

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		buf_reset(&sql);
		buf_printf(&sql, "UPDATE t%u SET a = 1 WHERE b%0*u = %u", i,
		    (int)(i % 4000), i, i);
		assert_same_as_fresh((const char *)sql.data, sql.len,
		    analyze(a, (const char *)sql.data, sql.len, true));
	}
	(void)analyze(a, (const char *)sql.data, sql.len, true);
	assert_int_equal(hits_of(a), 1);
	buf_free(&sql);
	analyzer_free(a);
}

static void
assert_error(const char *text, size_t len, const char *want)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	const struct analysis *an = analyze(a, text, len, true);

	assert_false(an->parsed);
	assert_false(an->syntax_error);
	assert_int_equal(an->n_statements, 0);
	assert_string_equal(an->error, want);
	analyzer_free(a);
}

static void
texts_that_are_refused(void **state)
{
	static const char *const bad[] = { "SELECT '\xC3'", "SELECT '\x80'",
		"SELECT '\xC0\xAF'", "SELECT '\xED\xA0\x80'",
		"SELECT '\xF4\x90\x80\x80'", "SELECT 1 \xE4" };
	struct analyzer *a = analyzer_new(10);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_error(
		    bad[i], strlen(bad[i]), "query is not valid UTF-8");
	assert_error("SELECT 1\0 2", 11, "query contains a zero byte");
	assert_string_equal(
	    analyze(a, "SELECT 1234", 11, true)->error, "query is too long");
	assert_string_equal(analyze(a, "SELECT 1", 8, false)->error,
	    "standard_conforming_strings is off");
	assert_true(analyze(a, "SELECT 1", 8, true)->parsed);
	assert_false(analyze(a, "SELECT 1", 8, true)->syntax_error);
	assert_true(analyze(a, "SELECT (", 8, true)->syntax_error);
	assert_true(analyze(a, "SELECT '", 8, true)->syntax_error);
	analyzer_free(a);
}

struct hostile {
	const char *before;
	const char *open;
	const char *middle;
	const char *close;
};

static const struct hostile hostiles[] = { { "SELECT ", "(", "1", ")" },
	{ "SELECT ", "(", "", "" }, { "SELECT ", "1+", "1", "" },
	{ "SELECT ", "- ", "a", "" }, { "SELECT ", "NOT ", "a", "" },
	{ "SELECT ", "CASE WHEN a THEN ", "1", " END" },
	{ "SELECT ", "CASE WHEN x.end AND ", "1", " THEN 1 END" },
	{ "SELECT ", "a BETWEEN 1 AND NOT ", "a", "" },
	{ "SELECT ", "(SELECT ", "1", ")" },
	{ "SELECT ", "(SELECT a,", "1", ")" }, { "SELECT ", "f(", "1", ")" },
	{ "SELECT ", "f(a,", "1", ")" }, { "SELECT ", "ARRAY[", "1", "]" },
	{ "SELECT ARRAY", "[", "1", "]" }, { "SELECT a", "[a", "", "]" },
	{ "SELECT 1", " UNION SELECT 1, 2", "", "" },
	{ "SELECT 1", " INTERSECT SELECT 1 WHERE a AND b", "", "" },
	{ "SELECT * FROM t", " JOIN t ON a AND b", "", "" },
	{ "SELECT * FROM t", " NATURAL JOIN t", "", "" },
	{ "SELECT * FROM ", "(SELECT * FROM ", "t", ") x" },
	{ "", "WITH a AS (", "SELECT 1", ") SELECT 1" },
	{ "SELECT a", "::x", "", "" }, { "SELECT a", " IS NULL", "", "" },
	{ "SELECT a", " COLLATE b", "", "" }, { "SELECT a", ".b", "", "" },
	{ "SELECT 1 WHERE ", "a AND NOT (b OR ", "c", ")" },
	{ "SELECT 1 WHERE ", "a = 1 AND ", "a", "" },
	{ "SELECT 1 WHERE ", "a = 1 OR ", "a", "" },
	{ "", "SELECT 1;", "", "" }, { "", ";", "", "" },
	{ "INSERT INTO t VALUES (1)", ",(1)", "", "" },
	{ "", "(", "SELECT 1", ")" }, { "SELECT '", "''", "'", "" },
	{ "", "/*", "", "*/" }, { "SELECT ", "$a", "$", "" },
	{ "SELECT ", "$", "", "" }, { "SELECT ", "\"", "", "" },
	{ "", "EXPLAIN ", "SELECT 1", "" }, { "", "\\", "", "" },
	{ "SELECT ", "+", "1", "" }, { "SELECT ", "+-", "1", "" },
	{ "SELECT ", "/*", "1", "" }, { "SELECT ", "*/", "1", "" },
	{ "SELECT ", "@+", "1", "" }, { "SELECT ", "'a'\n", "", "" },
	{ "SELECT ", "+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ ", "1", "" },
	{ "SELECT ", "/*/*/*/*/*/*/*/*/*/*/*/*/*/* ", "1", "" },
	{ "SELECT ", "f() OVER (ORDER BY ", "1", ")" } };

static void
hostile_text(struct buf *b, const struct hostile *h, size_t bytes)
{
	size_t n = bytes / (strlen(h->open) + strlen(h->close));

	buf_reset(b);
	buf_put_str(b, h->before);
	for (size_t i = 0; i < n; i++)
		buf_put_str(b, h->open);
	buf_put_str(b, h->middle);
	for (size_t i = 0; i < n; i++)
		buf_put_str(b, h->close);
}

static void
survive(const char *text, size_t len)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	const struct analysis *an = analyze(a, text, len, true);

	assert_true(an->parsed || an->error != NULL);
	analyzer_free(a);
	if (len < 100000)
		free(analyze_normalize(text, len));
}

/* Nor does it take long. */
static void
a_hostile_text_does_not_crash(void **state)
{
	static const size_t sizes[] = { 1000, 15000, 60000, 1048576 };
	struct buf sql = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(hostiles) / sizeof(hostiles[0]); i++)
		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
			double start = seconds();

			hostile_text(&sql, &hostiles[i], sizes[k]);
			survive((const char *)sql.data, sql.len);
			if (seconds() - start > 60)
				fail_msg("%.1f s for %zu bytes of %s",
				    seconds() - start, sizes[k],
				    hostiles[i].open);
		}
	buf_free(&sql);
}

static void
a_deep_text_is_refused_and_a_wide_one_is_not(void **state)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	struct buf sql = { 0 };

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		hostile_text(&sql, &hostiles[i], 1048576);
		assert_error(
		    (const char *)sql.data, sql.len, "too deeply nested");
	}
	for (size_t i = 0; i < sizeof(hostiles) / sizeof(hostiles[0]); i++)
		if (strncmp(hostiles[i].before, "INSERT", 6) == 0 ||
		    strstr(hostiles[i].open, "a = 1") != NULL) {
			hostile_text(&sql, &hostiles[i], 1048576);
			assert_true(
			    analyze(a, (const char *)sql.data, sql.len, true)
				->parsed);
		}
	buf_free(&sql);
	analyzer_free(a);
}

static uint64_t
next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Replaces, drops or inserts a few bytes. */
static void
mutate(struct buf *b, uint64_t *seed)
{
	static const char alphabet[] =
	    "'\"$;()-/*.,=1ae E\\\n[]:&Ux\303\244\200%";
	size_t n = 1 + next_random(seed) % 3;

	while (n-- > 0 && b->len > 0) {
		size_t at = next_random(seed) % b->len;
		uint64_t how = next_random(seed) % 3;
		char c = alphabet[next_random(seed) % (sizeof(alphabet) - 1)];

		if (how == 0) {
			b->data[at] = (uint8_t)c;
			continue;
		}
		if (how == 1)
			(void)buf_reserve(b, 1);
		memmove(b->data + at + (how == 1), b->data + at + (how == 2),
		    b->len - at - (how == 2));
		if (how == 1)
			b->data[at] = (uint8_t)c;
		b->len = how == 1 ? b->len + 1 : b->len - 1;
	}
}

/* PGW_TEST_SECONDS: how long at most; 200,000 texts are enough. */
static void
mutated_texts_are_harmless(void **state)
{
	const char *limit = getenv("PGW_TEST_SECONDS");
	double end = seconds() + (limit != NULL ? atof(limit) : 3);
	struct analyzer *a = analyzer_new(MAX_BYTES);
	uint64_t seed = 0x243F6A8885A308D3u;
	struct buf sql = { 0 };
	unsigned i;

	(void)state;
	for (i = 0; i < 200000 && seconds() < end; i++) {
		size_t hits = hits_of(a);
		const struct analysis *an;
		const char *text;

		if (i % 2 == 0)
			expand(&sql, templates[i / 2 % N_TEMPLATES], i % 9);
		else {
			buf_reset(&sql);
			buf_put_str(&sql, examples[i / 2 % N_EXAMPLES].sql);
		}
		(void)buf_reserve(&sql, 1);
		mutate(&sql, &seed);
		text = (const char *)sql.data;
		an = analyze(a, text, sql.len, true);
		if (hits_of(a) > hits)
			assert_same_as_fresh(text, sql.len, an);
	}
	print_message("%u texts, %zu hits\n", i, hits_of(a));
	buf_free(&sql);
	analyzer_free(a);
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

/* Says what a hit and a miss cost; pins nothing. */
static void
cost_of_hit_and_miss(void **state)
{
	static const char sql[] = "UPDATE pgbench_accounts SET abalance = "
				  "abalance + -1234 WHERE aid = 98765;";
	struct analyzer *a = analyzer_new(MAX_BYTES);
	struct buf other = { 0 };
	double start = seconds();
	double hit;

	(void)state;
	for (int i = 0; i < 20000; i++)
		(void)analyze(a, sql, sizeof(sql) - 1, true);
	hit = (seconds() - start) / 20000;
	start = seconds();
	for (unsigned i = 0; i < 2000; i++) {
		buf_reset(&other);
		buf_printf(&other,
		    "UPDATE pgbench_accounts SET abalance = "
		    "abalance + -1234 WHERE aid%04u = 98765;",
		    i);
		(void)analyze(a, (const char *)other.data, other.len, true);
	}
	print_message("hit %.0f ns, miss %.1f us\n", hit * 1e9,
	    (seconds() - start) / 2000 * 1e6);
	assert_int_equal(hits_of(a), 19999);
	buf_free(&other);
	analyzer_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_example_is_analyzed_as_written),
		cmocka_unit_test(literals_that_may_be_parameters),
		cmocka_unit_test(literals_of_a_hit),
		cmocka_unit_test(a_hit_equals_a_fresh_analysis),
		cmocka_unit_test(what_is_more_than_a_value_is_no_hit),
		cmocka_unit_test(the_cache_is_bounded),
		cmocka_unit_test(texts_that_are_refused),
		cmocka_unit_test(a_hostile_text_does_not_crash),
		cmocka_unit_test(a_deep_text_is_refused_and_a_wide_one_is_not),
		cmocka_unit_test(mutated_texts_are_harmless),
		cmocka_unit_test(normalizing_replaces_literals),
		cmocka_unit_test(columns_that_are_a_call),
		cmocka_unit_test(cost_of_hit_and_miss)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
