/*
 * analyze_copy.c: what COPY FROM reads: where from, and in what form.
 *
 * What is wrong or unknown in the options is the server's to refuse; here it
 * only means that the data cannot be taken apart.  Owns nothing.  Called by
 * analyze_stmt.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>
#include <strings.h>

#include "analyze_int.h"

/* A COPY while its options are read. */
struct options {
	struct arena *arena;
	struct analyzed_copy *copy;
	bool failed; /* a limit */
	/* as given, NULL if not */
	const char *delimiter, *null, *quote, *escape;
};

/* An option's value as text; NULL if it has none, or a list. */
static const char *
value_text(const PgQuery__DefElem *d)
{
	if (d->arg == NULL)
		return NULL;
	if (d->arg->node_case == NODE(STRING))
		return d->arg->string->sval;
	if (d->arg->node_case == NODE(BOOLEAN))
		return d->arg->boolean->boolval ? "true" : "false";
	if (d->arg->node_case == NODE(INTEGER))
		return d->arg->integer->ival != 0 ? "1" : "0";
	return NULL;
}

/* No value at all is true. */
static bool
value_is_on(const PgQuery__DefElem *d)
{
	static const char *const off[] = { "false", "off", "0" };
	const char *text = value_text(d);

	for (size_t i = 0; text != NULL && i < sizeof(off) / sizeof(*off); i++)
		if (strcasecmp(text, off[i]) == 0)
			return false;
	return true;
}

static void
value_names(struct options *o, const PgQuery__DefElem *d, const char ***names,
    size_t *n)
{
	size_t cap = 0;

	if (d->arg == NULL || d->arg->node_case != NODE(LIST)) {
		o->copy->known = false;
		return;
	}
	for (size_t i = 0; i < d->arg->list->n_items && !o->failed; i++) {
		const PgQuery__Node *item = d->arg->list->items[i];

		if (item->node_case == NODE(STRING))
			o->failed = !analyze_add_name(
			    o->arena, names, n, &cap, item->string->sval);
	}
}

static void
set_format(struct options *o, const PgQuery__DefElem *d)
{
	const char *text = value_text(d);
	struct copydata_options *to = &o->copy->options;

	if (text != NULL && strcmp(text, "csv") == 0)
		to->format = COPYDATA_CSV;
	else if (text != NULL && strcmp(text, "binary") == 0)
		to->format = COPYDATA_BINARY;
	else if (text == NULL || strcmp(text, "text") != 0)
		o->copy->known = false;
}

static void
set_option(struct options *o, const PgQuery__DefElem *d)
{
	const struct {
		const char *name;
		const char **to;
	} texts[] = { { "delimiter", &o->delimiter }, { "null", &o->null },
		{ "quote", &o->quote }, { "escape", &o->escape },
		{ "encoding", &o->copy->encoding } };
	struct analyzed_copy *c = o->copy;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (strcmp(d->defname, texts[i].name) == 0) {
			*texts[i].to = value_text(d);
			c->known = c->known && *texts[i].to != NULL;
			return;
		}
	if (strcmp(d->defname, "format") == 0)
		set_format(o, d);
	else if (strcmp(d->defname, "header") == 0)
		c->options.header = value_is_on(d);
	else if (strcmp(d->defname, "freeze") == 0)
		c->freeze = value_is_on(d);
	else if (strcmp(d->defname, "force_null") == 0)
		value_names(o, d, &c->force_null, &c->n_force_null);
	else if (strcmp(d->defname, "force_not_null") == 0)
		value_names(o, d, &c->force_not_null, &c->n_force_not_null);
	else
		c->known = false;
}

/* One byte, or the default. */
static void
set_byte(struct options *o, const char *given, char *to)
{
	if (given == NULL)
		return;
	if (strlen(given) != 1)
		o->copy->known = false;
	*to = given[0];
}

/* Defaults depend on the format, which may be given last. */
static void
finish_options(struct options *o)
{
	struct copydata_options *to = &o->copy->options;
	bool header = to->header;

	copydata_defaults(to, to->format);
	to->header = header;
	set_byte(o, o->delimiter, &to->delimiter);
	set_byte(o, o->quote, &to->quote);
	to->escape = to->quote;
	set_byte(o, o->escape, &to->escape);
	if (o->null != NULL)
		to->null = o->null;
}

static bool
add_columns(
    struct arena *a, const PgQuery__CopyStmt *s, struct analyzed_statement *st)
{
	size_t cap = 0;

	for (size_t i = 0; i < s->n_attlist; i++)
		if (s->attlist[i]->node_case == NODE(STRING) &&
		    !analyze_add_name(a, &st->columns, &st->n_columns, &cap,
			s->attlist[i]->string->sval))
			return false;
	return true;
}

bool
copy_statement(
    struct arena *a, const PgQuery__CopyStmt *s, struct analyzed_statement *st)
{
	struct options o = { .arena = a };

	o.copy = arena_zalloc(a, sizeof(*o.copy));
	if (o.copy == NULL)
		return false;
	o.copy->from_stdin = !s->is_program &&
			     (s->filename == NULL || s->filename[0] == '\0');
	o.copy->known = true;
	for (size_t i = 0; i < s->n_options && !o.failed; i++)
		if (s->options[i]->node_case == NODE(DEF_ELEM))
			set_option(&o, s->options[i]->def_elem);
	finish_options(&o);
	st->copy = o.copy;
	return !o.failed && add_columns(a, s, st);
}
