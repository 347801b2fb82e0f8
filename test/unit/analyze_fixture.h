/*
 * analyze_fixture.h: an analysis of a query string as one line, and examples.
 *
 * A field that is not set is left out.  Relations: schema.name(alias), '!' for a
 * target.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_ANALYZE_FIXTURE_H
#define PGW_ANALYZE_FIXTURE_H

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

/* Each of the programs uses what it needs. */
#pragma GCC diagnostic ignored "-Wunused-function"

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

#endif
