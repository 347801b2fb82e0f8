/*
 * prepared.c: what is known of the client's prepared statements.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "prepared.h"

#include <stdlib.h>
#include <string.h>

#include "analyze.h"
#include "catalog.h"
#include "dml.h"
#include "exchange.h"
#include "log.h"
#include "mem.h"
#include "pipeline.h"
#include "quiet.h"
#include "statement.h"

/* Settings say what it means: strings, and bytes that are not ASCII. */
static bool
depends_on_settings(const char *sql, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (sql[i] == '\'' || ((uint8_t)sql[i] & 0x80) != 0)
			return true;
	return false;
}

/* Reading their values runs no code of users. */
static bool
has_plain_types(const struct prepared *p)
{
	for (size_t i = 0; i < p->n_types; i++)
		if (p->types[i] >= QUIET_TYPES)
			return false;
	return true;
}

void
prepared_weigh(struct session *s, struct prepared *p, bool standard_strings)
{
	bool may_ask = s->status != 0 && s->status != PQ_FAILED &&
		       pipeline_is_light(s) && !s->skipping;
	const struct analyzed_statement *st;
	const struct analysis *a;

	p->kind = STMT_OTHER;
	p->type = "UNKNOWN";
	p->weighed = true;
	p->reason = NULL;
	if (s->bare)
		return;
	a = analyze(s->analyzer, p->sql, p->len, standard_strings);
	st = a->statements;
	p->parsed = a->parsed && a->n_statements == 1;
	if (!p->parsed) {
		if (!a->parsed && !a->syntax_error)
			p->reason = "not_parsed";
		return;
	}
	p->kind = st->kind;
	p->type = st->type;
	p->chain = st->chain;
	p->dml = dml_takes(st);
	p->quiet = quiet_parse(st);
	p->simple_read = st->simple_read && has_plain_types(p);
	p->literals = depends_on_settings(p->sql, p->len);
	p->says_time = p->literals && statement_says_time(p->sql, p->len);
	p->noted = st->kind != STMT_INSERT && st->kind != STMT_UPDATE &&
		   st->kind != STMT_DELETE &&
		   (st->kind != STMT_SELECT || st->n_functions > 0);
	p->weighed = may_ask || st->n_functions == 0;
	p->reason = statement_unsupported(s, st, may_ask);
}

void
prepared_warm(struct session *s, const struct prepared *p)
{
	const struct analysis *a;

	if (!p->dml || !pipeline_in_sync(s) || s->status == PQ_FAILED)
		return;
	a = analyze(s->analyzer, p->sql, p->len, true);
	if (!a->parsed || a->n_statements != 1)
		return;
	for (size_t i = 0; i < a->statements->n_functions; i++)
		(void)catalog_function(s, a->statements->functions[i].schema,
		    a->statements->functions[i].name, true);
	if (a->statements->n_relations > 0 &&
	    catalog_table(s, a->statements->relations[0].schema,
		a->statements->relations[0].name) == NULL)
		log_debug(
		    "unknown_table", "%s", a->statements->relations[0].name);
}

static bool
take_types(struct prepared *p, struct rd *r)
{
	p->n_types = rd_u16(r);
	if (r->bad || p->n_types > rd_left(r) / 4)
		return false;
	p->types = mem_zalloc(p->n_types + 1, sizeof(*p->types));
	for (size_t i = 0; i < p->n_types; i++)
		p->types[i] = rd_u32(r);
	return true;
}

struct prepared *
prepared_parse(
    struct session *s, const char *name, const char *sql, struct rd *r)
{
	struct prepared *p = prepared_new(sql, strlen(sql));

	p->serial = name[0] == '\0' ? 0 : ++s->serial;
	s->unnamed = s->unnamed || p->serial == 0;
	p->doubts = s->doubts;
	p->styles = s->styles;
	if (take_types(p, r)) {
		prepared_weigh(s, p,
		    strcmp(session_parameter(s, PARAMETER_STRINGS), "on") == 0);
		prepared_warm(s, p);
	}
	return p;
}

/* Marks what the server still has under its name. */
static bool
see_prepared(void *arg, const struct message *row)
{
	struct session *s = arg;
	struct exchange_value v[2];
	struct prepared *p;
	char *name;

	if (!exchange_row_values(row, v, 2) || v[0].data == NULL ||
	    v[1].data == NULL)
		return false;
	name = mem_strndup((const char *)v[0].data, v[0].len);
	p = portals_prepared(s->portals, name);
	if (p != NULL && p->len == v[1].len &&
	    memcmp(p->sql, v[1].data, p->len) == 0) {
		p->seen = true;
		p->doubts = s->doubts;
	}
	free(name);
	return true;
}

static bool
was_seen(void *arg, const char *name, struct prepared *p)
{
	bool seen = p == NULL || name[0] == '\0' || p->seen;

	(void)arg;
	if (p != NULL)
		p->seen = false;
	return seen;
}

/*
 * SQL may have replaced prepared statements behind our back (PREPARE,
 * DEALLOCATE, or a function that does): forget those that are others now.
 */
static void
recheck(struct session *s)
{
	if (exchange_query(s,
		"SELECT name, statement FROM "
		"pg_catalog.pg_prepared_statements WHERE NOT from_sql",
		NULL, 0, see_prepared, s, NULL) != EXCHANGE_DONE)
		return;
	portals_filter_prepared(s->portals, was_seen, NULL);
}

struct prepared *
prepared_for_bind(struct session *s, const char *name)
{
	struct prepared *p = portals_prepared(s->portals, name);

	/* SQL cannot name the unnamed one. */
	if (p == NULL || name[0] == '\0' || p->doubts == s->doubts)
		return p;
	if (pipeline_in_sync(s) && s->status != PQ_FAILED)
		recheck(s);
	p = portals_prepared(s->portals, name);
	return p != NULL && p->doubts == s->doubts ? p : NULL;
}

bool
prepared_means_the_same(const struct session *s, const struct prepared *p)
{
	return !p->literals ||
	       (p->styles == s->styles && (p->serial == 0 || !p->says_time));
}
