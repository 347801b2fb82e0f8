/*
 * extended.c: which prepared statements and portals may change rows.
 *
 * A transaction's first such Execute waits for a durable intent.  What is not
 * known here (a statement made by SQL PREPARE, a text that is not parsed)
 * counts as changing rows.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "extended.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "query.h"
#include "txn.h"

/* What executing it means. */
struct effect {
	char *sql; /* malloc()ed; only of statements that write */
	const char *type;
	const char *reason; /* NULL: changes no rows */
	enum stmt_kind kind;
};

struct entry {
	char *name;
	struct effect effect;
};

struct map {
	struct entry *list;
	size_t n, cap;
};

struct extended {
	struct map statements;
	struct map portals;
	bool ends;           /* COMMIT or ROLLBACK was executed and not yet
			      * answered, with an outcome owed */
	bool rolled_back_to; /* so the tag ROLLBACK may be either */
	bool skipping;       /* the server ignores all up to the Sync */
};

static void *
checked(void *p)
{
	if (p == NULL)
		log_fatal("out_of_memory", "out of memory");
	return p;
}

struct extended *
extended_new(void)
{
	return checked(calloc(1, sizeof(struct extended)));
}

static struct entry *
find(struct map *map, const char *name)
{
	for (size_t i = 0; i < map->n; i++)
		if (strcmp(map->list[i].name, name) == 0)
			return &map->list[i];
	return NULL;
}

static void
drop(struct map *map, struct entry *e)
{
	free(e->name);
	free(e->effect.sql);
	*e = map->list[--map->n];
}

static void
set(struct map *map, const char *name, const struct effect *effect)
{
	struct entry *e = find(map, name);

	if (e != NULL)
		drop(map, e);
	if (map->n == map->cap) {
		map->cap = map->cap == 0 ? 16 : map->cap * 2;
		map->list = checked(
		    realloc(map->list, map->cap * sizeof(*map->list)));
	}
	e = &map->list[map->n++];
	e->name = checked(strdup(name));
	e->effect = *effect;
	if (effect->sql != NULL)
		e->effect.sql = checked(strdup(effect->sql));
}

static void
clear(struct map *map)
{
	while (map->n > 0)
		drop(map, &map->list[0]);
}

void
extended_forget(struct extended *x)
{
	clear(&x->statements);
}

void
extended_command_complete(
    struct session *s, struct extended *x, const struct message *m)
{
	const char *tag = (const char *)m->body;

	if (!x->ends || x->rolled_back_to || m->len == 0 ||
	    m->body[m->len - 1] != 0 ||
	    (strcmp(tag, "COMMIT") != 0 && strcmp(tag, "ROLLBACK") != 0 &&
		strcmp(tag, "PREPARE TRANSACTION") != 0))
		return;
	/* The next transaction of the pipeline may follow without a Sync. */
	query_transaction_end(s);
	x->ends = false;
}

void
extended_error(struct extended *x)
{
	x->skipping = true;
}

void
extended_ready(struct extended *x, bool idle)
{
	x->skipping = false;
	x->ends = false;
	x->rolled_back_to = false;
	if (idle)
		clear(&x->portals);
}

static struct effect
effect_of(struct session *s, const char *sql)
{
	struct effect e = { NULL, "UNKNOWN", "not_parsed", STMT_OTHER };
	const struct analysis *a = analyze(s->analyzer, sql, strlen(sql),
	    strcmp(session_parameter(s, "standard_conforming_strings"), "on") ==
		0);

	if (a->parsed && a->n_statements == 0) {
		e.reason = NULL;
	} else if (a->parsed && a->n_statements == 1) {
		const struct analyzed_statement *st = &a->statements[0];
		bool may_ask = session_in_sync(s) && s->status != PQ_FAILED;

		e.kind = st->kind;
		e.type = st->type;
		e.reason = query_unsupported(s, st, may_ask);
		if (e.reason != NULL && strcmp(e.reason, "dml") == 0)
			e.reason = "extended_protocol";
		query_note(s, st);
	} else if (a->syntax_error) {
		e.reason = NULL;
	}
	if (e.reason != NULL)
		e.sql = (char *)(uintptr_t)sql;
	return e;
}

static void
parse(struct session *s, struct extended *x, const struct message *m)
{
	struct rd r = rd_init(m->body, m->len);
	const char *name = rd_cstr(&r), *sql = rd_cstr(&r);

	if (!r.bad) {
		struct effect e = effect_of(s, sql);

		set(&x->statements, name, &e);
	}
}

static void
bind(struct extended *x, const struct message *m)
{
	static const struct effect unknown = { NULL, "EXECUTE", "execute",
		STMT_EXECUTE };
	struct rd r = rd_init(m->body, m->len);
	const char *portal = rd_cstr(&r), *name = rd_cstr(&r);
	struct entry *e;

	if (r.bad)
		return;
	e = find(&x->statements, name);
	set(&x->portals, portal, e != NULL ? &e->effect : &unknown);
}

static void
close_object(struct extended *x, const struct message *m)
{
	struct rd r = rd_init(m->body, m->len);
	struct map *map = rd_u8(&r) == 'S' ? &x->statements : &x->portals;
	const char *name = rd_cstr(&r);
	struct entry *e = r.bad ? NULL : find(map, name);

	if (e != NULL)
		drop(map, e);
}

static enum extended_answer
execute(struct session *s, struct extended *x, const struct message *m)
{
	struct rd r = rd_init(m->body, m->len);
	const char *portal = rd_cstr(&r);
	struct entry *e = r.bad ? NULL : find(&x->portals, portal);
	struct txn *t = s->txn;
	bool hide = s->config->log_statements == STATEMENTS_NORMALIZED;

	if (e == NULL)
		return EXTENDED_FORWARD; /* the server knows no such */
	if (e->effect.kind == STMT_COMMIT || e->effect.kind == STMT_ROLLBACK ||
	    e->effect.kind == STMT_PREPARE_TRANSACTION) {
		x->ends = t->published || t->dirty;
		if (x->skipping)
			return EXTENDED_FORWARD;
		if (t->dirty && !t->published) {
			txn_degrade(
			    t, CAPTURE_UNSUPPORTED, "extended_protocol");
			if (!query_must_publish(s))
				return EXTENDED_STOP;
		}
		return EXTENDED_FORWARD;
	}
	if (e->effect.kind == STMT_ROLLBACK_TO)
		x->rolled_back_to = true;
	if (e->effect.reason == NULL)
		return EXTENDED_FORWARD;
	/* One record per transaction: the ones before must have ended. */
	if (s->pending_ready > 0)
		return EXTENDED_WAIT;
	if (x->ends && !x->skipping && !x->rolled_back_to)
		return EXTENDED_WAIT;
	if (t->published || x->skipping)
		return EXTENDED_FORWARD;
	(void)txn_add_statement(t,
	    e->effect.sql != NULL && !hide ? e->effect.sql : "",
	    e->effect.sql != NULL && !hide ? strlen(e->effect.sql) : 0,
	    e->effect.type, 0);
	txn_degrade(t, CAPTURE_UNSUPPORTED, e->effect.reason);
	return query_must_publish(s) ? EXTENDED_FORWARD : EXTENDED_STOP;
}

enum extended_answer
extended_message(struct session *s, struct extended *x, const struct message *m)
{
	switch (m->type) {
	case PqMsg_Parse:
		parse(s, x, m);
		break;
	case PqMsg_Bind:
		bind(x, m);
		break;
	case PqMsg_Close:
		close_object(x, m);
		break;
	case PqMsg_Execute:
		return execute(s, x, m);
	default:
		break;
	}
	return EXTENDED_FORWARD;
}
