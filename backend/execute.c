/*
 * execute.c: what SQL EXECUTE of a prepared statement would run.
 *
 * PREPARE may have been seen long ago, or not at all, and Parse prepares for
 * EXECUTE, too: the server has the text.  It is run in the place of EXECUTE,
 * with the arguments bound to its parameters.  Called by query.c and
 * extended.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "execute.h"

#include <stdlib.h>
#include <string.h>

#include "argument.h"
#include "dml.h"
#include "exchange.h"
#include "mem.h"
#include "statement.h"

static const char look_up[] = "SELECT p.statement, p.from_sql,"
			      " CAST(p.parameter_types AS pg_catalog.oid[])"
			      " FROM pg_catalog.pg_prepared_statements p"
			      " WHERE p.name OPERATOR(pg_catalog.=) $1";
enum { P_TEXT, P_FROM_SQL, P_TYPES, P_COLUMNS };

/* What the server says of it. */
struct found {
	struct buf text;
	bool there;
	bool from_sql;
	struct buf types; /* "{23,25}" */
};

static bool
take_found(void *arg, const struct message *row)
{
	struct found *f = arg;
	struct exchange_value v[P_COLUMNS];

	if (!exchange_row_values(row, v, P_COLUMNS) || v[P_TEXT].data == NULL ||
	    v[P_FROM_SQL].len == 0 || v[P_TYPES].data == NULL)
		return false;
	f->there = true;
	f->from_sql = v[P_FROM_SQL].data[0] == 't';
	buf_put(&f->text, v[P_TEXT].data, v[P_TEXT].len);
	buf_put(&f->types, v[P_TYPES].data, v[P_TYPES].len);
	buf_put_u8(&f->types, 0);
	return true;
}

/* --- arguments --- */

/* The i-th argument for the next of the types; false: another way to say it. */
static bool
take_argument(
    struct execute *e, const struct analyzed_argument *arg, const char **types)
{
	struct record_param *p = &e->params[e->values.n];
	char *end;

	if (**types == '{' || **types == ',')
		++*types;
	p->type = (uint32_t)strtoul(*types, &end, 10);
	if (end == *types || !argument_fits(arg, p->type))
		return false;
	*types = end;
	if (arg->value != NULL) {
		p->len = strlen(arg->value);
		p->value = (const uint8_t *)arg->value;
	}
	e->values.n++;
	return true;
}

/* All of them, and no more nor less than there are parameters. */
static bool
take_arguments(
    struct execute *e, const struct analyzed_statement *st, const char *types)
{
	bool ok = true;

	e->params = mem_zalloc(st->n_arguments + 1, sizeof(*e->params));
	e->values.params = e->params;
	for (size_t i = 0; ok && i < st->n_arguments; i++)
		ok = take_argument(e, &st->arguments[i], &types);
	return ok && (strcmp(types, "}") == 0 || strcmp(types, "{}") == 0);
}

/* Name and values out of the analysis, which ends. */
static void
hold(struct execute *e, const char *name)
{
	size_t at = 0;

	buf_put_cstr(&e->held, name);
	for (size_t i = 0; i < e->values.n; i++)
		buf_put(&e->held, e->params[i].value, e->params[i].len);
	e->values.prepared = (const char *)e->held.data;
	at = strlen(name) + 1;
	for (size_t i = 0; i < e->values.n; i++) {
		if (e->params[i].value != NULL)
			e->params[i].value = e->held.data + at;
		at += e->params[i].len;
	}
}

/* --- its statement --- */

/* The one PREPARE of this name among those of a message; NULL: none, several */
static const struct analyzed_statement *
find_prepare(const struct analysis *a, const char *name)
{
	const struct analyzed_statement *found = NULL;

	for (size_t i = 0; i < a->n_statements; i++) {
		const struct analyzed_statement *st = &a->statements[i];

		if (st->kind != STMT_PREPARE || strcmp(st->prepared, name) != 0)
			continue;
		if (found != NULL)
			return NULL;
		found = st;
	}
	return found;
}

/* Characters are counted, not bytes. */
static void
put_blank(struct buf *b, const uint8_t *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((text[i] & 0xC0) != 0x80)
			buf_put_u8(b, ' ');
}

/* What was prepared, by itself.  False: it cannot be told. */
static bool
take_text(struct session *s, struct execute *e, const struct found *f)
{
	const char *text = (const char *)f->text.data;
	const struct analysis *a = analyze(
	    s->analyzer, text, f->text.len, true);
	const struct analyzed_statement *st;

	if (!a->parsed)
		return false;
	if (!f->from_sql) {
		buf_put(&e->text, text, f->text.len);
		return true;
	}
	st = find_prepare(a, e->values.prepared);
	if (st == NULL || st->inner.len == 0)
		return false;
	put_blank(&e->text, f->text.data, st->inner.at);
	buf_put(&e->text, text + st->inner.at, st->inner.len);
	return true;
}

/* Its literals became values when it was prepared: are they still the same? */
static bool
means_the_same(const struct session *s, const struct buf *text)
{
	const char *t = (const char *)text->data;

	return memchr(t, '\'', text->len) == NULL ||
	       (s->styles == 0 && !statement_says_time(t, text->len));
}

static enum execute_what
weigh(struct session *s, struct execute *e, bool reads, bool said)
{
	const struct analysis *a = analyze(
	    s->analyzer, (const char *)e->text.data, e->text.len, true);

	if (!a->parsed || a->n_statements != 1)
		return EXECUTE_UNKNOWN;
	e->stmt = &a->statements[0];
	if (reads && statement_only_reads(s, e->stmt))
		return EXECUTE_READS;
	return said && means_the_same(s, &e->text) && dml_takes(e->stmt)
		   ? EXECUTE_DML
		   : EXECUTE_UNKNOWN;
}

enum execute_what
execute_look_up(
    struct session *s, const struct analyzed_statement *st, struct execute *e)
{
	enum execute_what what = EXECUTE_UNKNOWN;
	struct found f = { 0 };
	bool reads, said;

	memset(e, 0, sizeof(*e));
	/* What its arguments call. */
	reads = statement_only_reads(s, st);
	if (exchange_query(s, look_up, &st->prepared, 1, take_found, &f,
		NULL) == EXCHANGE_DONE) {
		if (!f.there) {
			what = reads ? EXECUTE_READS : EXECUTE_UNKNOWN;
		} else if (memchr(f.text.data, '\\', f.text.len) == NULL) {
			/* Without \ standard_conforming_strings makes no
			 * difference. */
			said = take_arguments(
			    e, st, (const char *)f.types.data);
			hold(e, st->prepared);
			if (take_text(s, e, &f))
				what = weigh(s, e, reads, said);
		}
	}
	buf_free(&f.text);
	buf_free(&f.types);
	return what;
}

void
execute_free(struct execute *e)
{
	buf_free(&e->text);
	buf_free(&e->held);
	free(e->params);
}
