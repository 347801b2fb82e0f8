/*
 * fuzz_analyze.c: hostile SQL: every span lies in the text, the scanner of
 * shapes sees the literals that PostgreSQL's own lexer sees, and another text
 * of the same shape gets from the cache what it would get fresh.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>
#include <string.h>

#include "../../backend/analyze.h"
#include "../../backend/shape.h"
#include "buf.h"
#include "fuzz.h"

#define MAX_TEXT 4096
#define TOKEN(name) PG_QUERY__TOKEN__##name

/* --- what an analysis says --- */

static void
check_span(struct span s, size_t len)
{
	must(s.at <= len && s.len <= len - s.at);
}

static void
check_inside(struct span s, struct span outer)
{
	must(s.len == 0 ||
	     (s.at >= outer.at && s.at + s.len <= outer.at + outer.len));
}

static void
check_statement(const struct analyzed_statement *st, size_t len)
{
	check_span(st->text, len);
	check_inside(st->target, st->text);
	check_inside(st->where, st->text);
	check_inside(st->returning, st->text);
	must(st->splice == 0 || (st->splice >= st->text.at &&
				    st->splice <= st->text.at + st->text.len));
	for (size_t i = 0;
	     st->values != NULL && i < st->n_rows * st->n_values; i++) {
		check_span(st->values[i].text, len);
		check_inside(st->values[i].text, st->text);
	}
	must(st->type != NULL);
	for (size_t i = 0; i < st->n_relations; i++)
		must(st->relations[i].name != NULL);
	for (size_t i = 0; i < st->n_functions; i++)
		must(st->functions[i].name != NULL);
	for (size_t i = 0; i < st->n_columns; i++)
		must(st->columns[i] != NULL);
	for (size_t i = 0; i < st->n_equal_columns; i++)
		must(st->equal_columns[i] != NULL);
}

static void
check_analysis(const struct analysis *an, size_t len)
{
	fuzz_accepted = an->parsed;
	must(an->parsed || an->error != NULL);
	for (size_t i = 0; an->parsed && i < an->n_statements; i++) {
		check_statement(&an->statements[i], len);
		must(i == 0 || an->statements[i].text.at >=
				   an->statements[i - 1].text.at +
				       an->statements[i - 1].text.len);
	}
}

/* --- the lexer's literals --- */

static bool
is_literal(int token)
{
	return token == TOKEN(SCONST) || token == TOKEN(BCONST) ||
	       token == TOKEN(XCONST) || token == TOKEN(FCONST) ||
	       token == TOKEN(ICONST) || token == TOKEN(SQL_COMMENT) ||
	       token == TOKEN(C_COMMENT);
}

static void
check_shape(const struct shape *s, const char *text)
{
	PgQueryScanResult r = pg_query_scan(text);
	PgQuery__ScanResult *scan;
	size_t n = 0;

	/* Then no text of the shape is parsed: check_hit(). */
	if (r.error != NULL) {
		pg_query_free_scan_result(r);
		return;
	}
	scan = pg_query__scan_result__unpack(
	    NULL, r.pbuf.len, (const uint8_t *)r.pbuf.data);
	must(scan != NULL);
	for (size_t i = 0; i < scan->n_tokens; i++)
		if (is_literal((int)scan->tokens[i]->token)) {
			must(n < s->n_literals);
			must(s->end[n] == (size_t)scan->tokens[i]->end);
			n++;
		}
	must(n == s->n_literals);
	pg_query__scan_result__free_unpacked(scan, NULL);
	pg_query_free_scan_result(r);
}

/* --- another text of the shape --- */

static const char *
other_literal(char class)
{
	switch (class) {
	case 's':
		return "'zq'";
	case 'e':
		return "E'\\'z'";
	case 'n':
		return "n''";
	case 'b':
		return "B'101'";
	case 'x':
		return "x'AF'";
	case 'i':
		return "70";
	case 'f':
		return "7.25";
	case '-':
		return "-- other;";
	case '*':
		return "/* other; /**/ */";
	default:
		return "$$z'q$$";
	}
}

/* The key with other values for its marks. */
static void
put_other(const struct shape *s, struct buf *out)
{
	for (size_t i = 0; i < s->key.len; i++) {
		if (s->key.data[i] == 1 && i + 1 < s->key.len)
			buf_put_str(out, other_literal((char)s->key.data[++i]));
		else
			buf_put_u8(out, s->key.data[i]);
	}
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
same_span(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || a.at == b.at);
}

static void
check_same(
    const struct analyzed_statement *a, const struct analyzed_statement *b)
{
	must(a->kind == b->kind && same_text(a->type, b->type));
	must(same_span(a->text, b->text) && same_span(a->target, b->target));
	must(same_span(a->where, b->where));
	must(same_span(a->returning, b->returning));
	must(a->splice == b->splice);
	must(a->writes == b->writes && a->modifying_cte == b->modifying_cte);
	must(a->reads_relations == b->reads_relations);
	must(a->has_params == b->has_params);
	must(a->chain == b->chain && a->begin_options == b->begin_options);
	must(a->n_relations == b->n_relations);
	for (size_t i = 0; i < a->n_relations; i++)
		must(same_text(a->relations[i].name, b->relations[i].name));
	must(a->n_functions == b->n_functions);
	for (size_t i = 0; i < a->n_functions; i++)
		must(same_text(a->functions[i].name, b->functions[i].name));
	must(a->n_columns == b->n_columns);
	must(a->n_equal_columns == b->n_equal_columns);
	must(same_text(a->set_name, b->set_name));
}

/* Whatever either of the two knows, they say the same of the text. */
static void
check_both(struct analyzer *a, struct analyzer *b, const char *text, size_t len)
{
	const struct analysis *x = analyze(a, text, len, true);
	const struct analysis *y = analyze(b, text, len, true);

	must(x->parsed == y->parsed && x->n_statements == y->n_statements);
	for (size_t i = 0; i < x->n_statements; i++)
		check_same(&x->statements[i], &y->statements[i]);
}

/* a knows the text. */
static void
check_hit(
    struct analyzer *a, const struct shape *s, const char *text, size_t len)
{
	struct analyzer *b = analyzer_new(MAX_TEXT * 4);
	struct shape again;
	struct buf other = { 0 };

	put_other(s, &other);
	shape_init(&again);
	if (shape_scan(&again, (const char *)other.data, other.len) &&
	    again.key.len == s->key.len &&
	    memcmp(again.key.data, s->key.data, s->key.len) == 0) {
		check_both(a, b, (const char *)other.data, other.len);
		check_both(a, b, text, len);
	}
	shape_free(&again);
	buf_free(&other);
	analyzer_free(b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t len = size < MAX_TEXT ? size : MAX_TEXT, hits, misses;
	struct analyzer *a = analyzer_new(MAX_TEXT * 4);
	struct shape s;
	char *text = malloc(len + 1);

	if (text == NULL)
		abort();
	if (len > 0)
		memcpy(text, data, len);
	text[len] = '\0';
	check_analysis(analyze(a, text, len, true), len);
	analyzer_counts(a, &hits, &misses);
	shape_init(&s);
	/* Refused before it is looked at: a zero byte, not UTF-8. */
	if (misses > 0 && len > 0 && shape_scan(&s, text, len)) {
		check_shape(&s, text);
		check_hit(a, &s, text, len);
	}
	free(analyze_normalize(text, len));
	shape_free(&s);
	free(text);
	analyzer_free(a);
	return 0;
}
