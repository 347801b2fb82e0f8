/*
 * extended.c: the client's messages of the extended query protocol.
 *
 * What is not known here (a statement made by SQL PREPARE, a text that is not
 * parsed) counts as changing rows.  A statement that is captured or recorded
 * waits until all that ran before it is answered, so that the status is exact
 * and one record stands for one transaction.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "extended.h"

#include <stdlib.h>
#include <string.h>

#include "commit.h"
#include "copy.h"
#include "ddl.h"
#include "dml.h"
#include "exchange.h"
#include "execute.h"
#include "log.h"
#include "mem.h"
#include "pipeline.h"
#include "portal.h"
#include "prepared.h"
#include "quiet.h"
#include "statement.h"
#include "txn.h"

static void
forward(struct session *s, const struct message *m)
{
	wire_put(&s->server, m->raw, m->raw_len);
}

static bool
commits(const struct prepared *p)
{
	return p->kind == STMT_COMMIT || p->kind == STMT_PREPARE_TRANSACTION;
}

/* --- prepared statements --- */

static void
parse(struct session *s, const struct message *m)
{
	struct rd r = rd_init(m->body, m->len);
	const char *name = rd_cstr(&r), *sql = rd_cstr(&r);
	struct named *named = NULL;

	if (!r.bad) {
		struct prepared *p = prepared_parse(s, name, sql, &r);

		if (commits(p))
			facts_pass(s);
		if (p->quiet)
			quiet_note(s, 1);
		named = portals_put_prepared(s->portals, name, p);
	}
	pipeline_push(s, PqMsg_Parse)->named = named;
}

/* --- portals --- */

static void
bind(struct session *s, const struct message *m)
{
	struct rd r = rd_init(m->body, m->len);
	const char *name = rd_cstr(&r), *statement = rd_cstr(&r);
	struct named *named = NULL;

	if (!r.bad) {
		struct prepared *p = prepared_for_bind(s, statement);
		struct portal *portal = portal_new(p);

		portal->message = s->ran;
		portal->bound_at = s->executions;
		portal->doubts = s->doubts;
		if (p != NULL && (p->dml || p->kind == STMT_EXECUTE)) {
			buf_put(&portal->bind, m->body, m->len);
			prepared_warm(s, p);
		}
		if (p != NULL && commits(p))
			facts_pass(s);
		named = portals_put_portal(s->portals, name, portal);
	}
	pipeline_push(s, PqMsg_Bind)->named = named;
}

static void
describe(struct session *s, const struct message *m)
{
	struct rd r = rd_init(m->body, m->len);
	bool is_portal = rd_u8(&r) == 'P';
	const char *name = rd_cstr(&r);
	const struct portal *portal = is_portal && !r.bad
					  ? portals_portal(s->portals, name)
					  : NULL;

	struct pipeline_entry *e = pipeline_push(s, PqMsg_Describe);

	if (portal == NULL)
		return;
	e->number = portal->message;
	e->strip = portal->ours ? portal->n_own : 0;
}

static void
close_object(struct session *s, const struct message *m)
{
	struct rd r = rd_init(m->body, m->len);
	uint8_t what = rd_u8(&r);
	const char *name = rd_cstr(&r);
	struct named *named = NULL;

	if (!r.bad && what == 'S')
		named = portals_put_prepared(s->portals, name, NULL);
	else if (!r.bad && what == 'P')
		named = portals_put_portal(s->portals, name, NULL);
	pipeline_push(s, PqMsg_Close)->named = named;
}

/* --- Execute --- */

/* Bind and Execute, if nothing that runs was between; else 0. */
static uint64_t
messages(const struct session *s, const struct portal *portal)
{
	return portal->message + 1 == s->ran ? 2 : 0;
}

/* It is on its way. */
static void
note_quiet(struct session *s, const struct portal *portal)
{
	const struct prepared *p = portal->prepared;
	const struct analysis *a;

	if (p->kind == STMT_BEGIN && s->txn->plain_begin)
		quiet_begin(s, messages(s, portal));
	if (quiet_savepoint(p->kind))
		quiet_note(s, messages(s, portal));
	if (!p->simple_read || s->status != PQ_IN_BLOCK)
		return;
	a = analyze(s->analyzer, p->sql, p->len, true);
	if (a->parsed && a->n_statements == 1)
		quiet_select(s, &a->statements[0], messages(s, portal));
}

/* The portal runs on the server as the client asked. */
static void
run(struct session *s, const struct message *m, const struct prepared *p)
{
	struct pipeline_entry e = { .type = PqMsg_Execute };

	if (p != NULL && p->noted) {
		const struct analysis *a = analyze(
		    s->analyzer, p->sql, p->len, true);

		if (a->parsed && a->n_statements == 1) {
			statement_note(s, &a->statements[0]);
			pipeline_set_savepoint(&e, &a->statements[0]);
		}
		/* Whether a BEGIN begins is not known yet. */
		if (!pipeline_is_light(s))
			s->txn->plain_begin = false;
	}
	s->executions++;
	s->batch_executions++;
	if (s->skipping) {
		forward(s, m);
		return;
	}
	if (p != NULL) {
		e.kind = p->kind;
		e.chain = p->chain;
	} else {
		e.kind = STMT_OTHER;
	}
	/* It may be about a savepoint. */
	if (p == NULL || !p->parsed)
		txn_lose_savepoints(s->txn);
	pipeline_forward(s, m, &e);
}

static enum extended_answer
run_unsupported(struct session *s, const struct message *m,
    const struct prepared *p, const char *reason)
{
	bool hide = s->config->log_statements == STATEMENTS_NORMALIZED;
	enum statement_step step;

	/* A Bind that failed runs nothing. */
	if (!pipeline_catch_up(s))
		return EXTENDED_STOP;
	if (s->skipping) {
		forward(s, m);
		return EXTENDED_TAKEN;
	}
	step = statement_refuse_unsupported(s, reason);
	if (step == STATEMENT_FORWARD) {
		if (p != NULL && p->parsed)
			(void)statement_add(
			    s, p->sql, p->len, p->type, p->kind);
		else
			(void)txn_add_statement(s->txn,
			    p != NULL && !hide ? p->sql : "",
			    p != NULL && !hide ? p->len : 0,
			    p != NULL ? p->type : "EXECUTE");
		step = statement_record_unsupported(
		    s, reason, s->status == PQ_IDLE);
	}
	if (step == STATEMENT_STOP)
		return EXTENDED_STOP;
	if (step == STATEMENT_FORWARD)
		run(s, m, p);
	return EXTENDED_TAKEN;
}

/* An error of ours left statements open: behind the Sync they can be closed. */
static void
close_left_behind(struct session *s)
{
	static const char what[] = { 'P', 'S' };

	s->left_behind = false;
	for (size_t i = 0; i < sizeof(what); i++) {
		exchange_put_close_one(&s->server, what[i], EXCHANGE_NAME);
		pipeline_push(s, PqMsg_Close)->own = true;
	}
	exchange_put_sync(s);
	pipeline_push(s, PqMsg_Sync)->own = true;
}

/* Its Sync is on its way. */
static void
end_batch(struct session *s)
{
	pipeline_end_batch(s);
	if (s->left_behind)
		close_left_behind(s);
}

/* The rest of its batch may be on its way, too. */
static enum extended_answer
run_commit(struct session *s, const struct message *m, const struct prepared *p,
    bool sync)
{
	struct pipeline_entry e = {
		.type = PqMsg_Execute, .kind = p->kind, .chain = p->chain
	};

	switch (commit_hold(s, m, &e, &sync)) {
	case COMMIT_GO:
		run(s, m, p);
		break;
	case COMMIT_SENT:
		s->txn->ends = true;
		s->executions++;
		s->batch_executions++;
		break;
	case COMMIT_REFUSED:
	case COMMIT_SKIPPED:
		break;
	case COMMIT_STOP:
		return EXTENDED_STOP;
	}
	if (!sync)
		return EXTENDED_TAKEN;
	end_batch(s);
	return EXTENDED_TAKEN_SYNC;
}

/* The Bind's values, formats and types.  False: the server refused it. */
static bool
take_bind(const struct portal *portal, struct capture_bind *b,
    struct record_param *params, size_t max, struct capture_values *v)
{
	struct rd r = rd_init(portal->bind.data, portal->bind.len);
	const struct prepared *p = portal->prepared;
	const uint8_t *formats;
	size_t n_formats;

	b->portal = rd_cstr(&r);
	(void)rd_cstr(&r);
	n_formats = rd_u16(&r);
	formats = rd_bytes(&r, 2 * n_formats);
	v->params = params;
	v->n = rd_u16(&r);
	if (r.bad || v->n > max || (n_formats > 1 && n_formats != v->n))
		return false;
	for (size_t i = 0; i < v->n; i++) {
		uint32_t len = rd_u32(&r);

		params[i].type = i < p->n_types ? p->types[i] : 0;
		params[i].format = 0;
		if (n_formats > 0)
			params[i].format = (uint8_t)get_u16(
			    formats + 2 * (n_formats == 1 ? 0 : i));
		params[i].value = len == UINT32_MAX ? NULL : rd_bytes(&r, len);
		params[i].len = len == UINT32_MAX ? 0 : len;
		if (params[i].format > 1)
			return false;
	}
	b->n_formats = rd_u16(&r);
	b->formats = rd_bytes(&r, 2 * (size_t)b->n_formats);
	return !r.bad && rd_left(&r) == 0;
}

static void
bind_again(struct session *s, const char *name, const struct portal *portal)
{
	size_t at;

	/* In a block it may still be one of ours. */
	if (name[0] != '\0') {
		exchange_put_close_one(&s->server, 'P', name);
		pipeline_push(s, PqMsg_Close)->own = true;
	}
	pipeline_push(s, PqMsg_Bind)->own = true;
	at = wire_begin(&s->server, PqMsg_Bind);
	buf_put(&s->server.out, portal->bind.data, portal->bind.len);
	wire_end(&s->server, at);
}

/* The portal is gone if its own Bind has failed meanwhile. */
static enum extended_answer
run_dml(
    struct session *s, const struct message *m, const char *name, struct dml *d)
{
	struct portal *portal;

	switch (dml_run(s, d)) {
	case STATEMENT_STOP:
		return EXTENDED_STOP;
	case STATEMENT_FORWARD:
		portal = portals_portal(s->portals, name);
		if (s->skipping || portal == NULL) {
			forward(s, m);
			return EXTENDED_TAKEN;
		}
		if (d->rebind)
			bind_again(s, name, portal);
		run(s, m, portal->prepared);
		return EXTENDED_TAKEN;
	case STATEMENT_TAKEN: /* of a Query alone */
	case STATEMENT_DONE:
		break;
	}
	s->executions++;
	s->batch_executions++;
	portal = portals_portal(s->portals, name);
	if (portal != NULL) {
		portal->ours = !d->plain && (d->done || d->suspended);
		portal->n_own = d->n_own;
		portal->done = !d->plain && d->done &&
			       d->stmt->returning.len == 0;
		portal->ran = d->plain;
	}
	if (!d->sync_used)
		return EXTENDED_TAKEN;
	pipeline_end_batch(s);
	if (s->status == PQ_IDLE)
		portals_clear(s->portals);
	return EXTENDED_TAKEN_SYNC;
}

/* d says what runs; its values are the portal's, but for SQL EXECUTE. */
static enum extended_answer
capture_portal(struct session *s, const struct message *m, const char *name,
    uint32_t max_rows, bool sync_follows, struct dml *d)
{
	const struct portal *portal = portals_portal(s->portals, name);
	struct prepared *p = portal->prepared;
	size_t max = portal->bind.len / 4;
	struct record_param *params = mem_zalloc(max + 1, sizeof(*params));
	struct capture_bind b = { .max_rows = max_rows };
	struct capture_values v = { 0 };
	enum extended_answer answer;

	b.messages = messages(s, portal);
	b.check = portal->bound_at != s->executions;
	b.statement = d->values.prepared == NULL ? p->serial : 0;
	b.first = s->batch_executions == 0 && portals_count(s->portals) == 1;
	b.sync_follows = sync_follows;
	if (!take_bind(portal, &b, params, max, &v)) {
		run(s, m, p); /* its Bind is refused already */
		answer = EXTENDED_TAKEN;
	} else {
		if (d->values.prepared == NULL)
			d->values = v;
		d->bind = &b;
		answer = run_dml(s, m, name, d);
	}
	free(params);
	return answer;
}

static enum extended_answer
execute_dml(struct session *s, const struct message *m, const char *name,
    uint32_t max_rows, bool sync_follows)
{
	const struct portal *portal = portals_portal(s->portals, name);
	struct prepared *p = portal->prepared;
	struct dml d = { .text = p->sql, .len = p->len };
	const struct analysis *a;

	if (portal->doubts != s->doubts || !prepared_means_the_same(s, p))
		return run_unsupported(s, m, p, "execute");
	a = analyze(s->analyzer, p->sql, p->len, true);
	if (!a->parsed || a->n_statements != 1)
		return run_unsupported(s, m, p, "not_parsed");
	d.stmt = &a->statements[0];
	return capture_portal(s, m, name, max_rows, sync_follows, &d);
}

/* SQL EXECUTE: what it would run is captured in its place. */
static enum extended_answer
execute_sql(struct session *s, const struct message *m, const char *name,
    uint32_t max_rows, bool sync_follows)
{
	const struct portal *portal = portals_portal(s->portals, name);
	struct prepared *p = portal->prepared;
	const struct analysis *a = analyze(s->analyzer, p->sql, p->len, true);
	enum extended_answer answer = EXTENDED_STOP;
	enum execute_what what = EXECUTE_UNKNOWN;
	struct execute e = { 0 };
	struct dml d = { 0 };

	if (a->parsed && a->n_statements == 1 && portal->doubts == s->doubts)
		what = execute_look_up(s, a->statements, &e);
	portal = portals_portal(s->portals, name);
	if (s->skipping || portal == NULL) {
		forward(s, m); /* the look-up, or its own Bind, has failed */
		answer = EXTENDED_TAKEN;
	} else if (what == EXECUTE_READS) {
		run(s, m, portal->prepared);
		answer = EXTENDED_TAKEN;
	} else if (what == EXECUTE_DML) {
		d.stmt = e.stmt;
		d.text = (const char *)e.text.data;
		d.len = e.text.len;
		d.values = e.values;
		answer = capture_portal(s, m, name, max_rows, sync_follows, &d);
	} else if (!s->lost) {
		answer = run_unsupported(s, m, portal->prepared, "execute");
	}
	execute_free(&e);
	return answer;
}

/* COPY FROM STDIN: its data comes behind it. */
static enum extended_answer
execute_copy(
    struct session *s, const struct message *m, const struct portal *portal)
{
	struct prepared *p = portal->prepared;
	const struct analysis *a;

	if (portal->doubts != s->doubts || !prepared_means_the_same(s, p))
		return run_unsupported(s, m, p, "execute");
	if (!pipeline_catch_up(s))
		return EXTENDED_STOP;
	a = analyze(s->analyzer, p->sql, p->len, true);
	if (s->skipping || !a->parsed || a->n_statements != 1) {
		forward(s, m);
		return EXTENDED_TAKEN;
	}
	statement_note(s, a->statements);
	switch (copy_run(s, m, p->sql, a->statements)) {
	case STATEMENT_STOP:
		return EXTENDED_STOP;
	case STATEMENT_TAKEN:
		s->executions++;
		s->batch_executions++;
		return EXTENDED_TAKEN_ITSELF;
	case STATEMENT_FORWARD:
		if (s->skipping)
			forward(s, m);
		else
			run(s, m, p);
		return EXTENDED_TAKEN;
	case STATEMENT_DONE:
		break;
	}
	return EXTENDED_TAKEN;
}

/* More rows of a portal of ours. */
static enum extended_answer
fetch(struct session *s, const struct message *m)
{
	struct buf error = { 0 };
	enum capture_end end;

	if (!pipeline_catch_up(s))
		return EXTENDED_STOP;
	if (s->skipping) {
		forward(s, m);
		return EXTENDED_TAKEN;
	}
	end = capture_fetch(s, m, &error);
	if (end == CAPTURE_STATEMENT_ERROR)
		pipeline_fail(s);
	wire_put(&s->client, error.data, error.len);
	buf_free(&error);
	s->executions++;
	return end == CAPTURE_CONNECTION_LOST ? EXTENDED_STOP : EXTENDED_TAKEN;
}

/*
 * Without RETURNING a portal runs once; ours, with it, would run to an empty
 * result.  One that has run stands in, so that the error is the server's own.
 */
static enum extended_answer
run_again(struct session *s, const struct message *m, const char *name)
{
	static const char harmless[] = "DISCARD PLANS";
	struct wire *w = &s->server;
	size_t at;

	exchange_put_close_one(w, 'P', name);
	pipeline_push(s, PqMsg_Close)->own = true;
	exchange_put_parse(
	    w, EXCHANGE_NAME, harmless, strlen(harmless), NULL, 0);
	pipeline_push(s, PqMsg_Parse)->own = true;
	at = wire_begin(w, PqMsg_Bind);
	buf_put_cstr(&w->out, name);
	buf_put_cstr(&w->out, EXCHANGE_NAME);
	exchange_put_params(w, NULL, 0);
	buf_put_u16(&w->out, 0);
	wire_end(w, at);
	pipeline_push(s, PqMsg_Bind)->own = true;
	exchange_put_close_one(w, 'S', EXCHANGE_NAME);
	pipeline_push(s, PqMsg_Close)->own = true;
	exchange_put_execute(w, name, 0);
	pipeline_push(s, PqMsg_Execute)->own = true;
	run(s, m, NULL);
	return EXTENDED_TAKEN;
}

/* Its settings are asked for, now that nothing is under way. */
static bool
note_ddl(struct session *s, const struct prepared *p)
{
	const struct analysis *a;

	if (p->kind != STMT_DDL && p->kind != STMT_SELECT_INTO)
		return true;
	if (!pipeline_catch_up(s))
		return false;
	a = analyze(s->analyzer, p->sql, p->len, true);
	if (!s->skipping && a->parsed && a->n_statements == 1)
		ddl_note(s, p->sql, &a->statements[0]);
	return true;
}

/* Whether all that ran before must be answered first. */
static bool
must_wait(const struct session *s, const struct portal *portal)
{
	const struct prepared *p = portal != NULL ? portal->prepared : NULL;

	if (pipeline_is_light(s))
		return false;
	return p == NULL || p->reason != NULL || p->kind == STMT_DDL ||
	       !p->weighed || portal->ours || (commits(p) && s->txn->dirty);
}

static enum extended_answer
execute_portal(struct session *s, const struct message *m, const char *name,
    uint32_t max_rows, bool sync_follows)
{
	struct portal *portal = portals_portal(s->portals, name);
	struct prepared *p = portal != NULL ? portal->prepared : NULL;

	if (s->status == PQ_FAILED) {
		run(s, m, p);
		return EXTENDED_TAKEN;
	}
	if (p == NULL)
		return run_unsupported(s, m, NULL, "execute");
	if (!p->weighed) {
		/* Its own Parse may have failed, and then it is gone. */
		if (!pipeline_catch_up(s))
			return EXTENDED_STOP;
		if (!s->skipping)
			prepared_weigh(s, p, true);
		/* An error of a look-up in a batch is the batch's. */
		if (s->skipping) {
			forward(s, m);
			return EXTENDED_TAKEN;
		}
	}
	if (!note_ddl(s, p))
		return EXTENDED_STOP;
	if (s->skipping) {
		forward(s, m);
		return EXTENDED_TAKEN;
	}
	if (commits(p) && s->txn->dirty && !s->txn->published)
		return run_commit(s, m, p, sync_follows);
	if (portal->ran) {
		run(s, m, p); /* what the server says to that */
		return EXTENDED_TAKEN;
	}
	if (portal->done)
		return run_again(s, m, name);
	if (portal->ours)
		return fetch(s, m);
	if (p->dml)
		return execute_dml(s, m, name, max_rows, sync_follows);
	if (p->kind == STMT_EXECUTE && !s->txn->published)
		return execute_sql(s, m, name, max_rows, sync_follows);
	if (p->kind == STMT_COPY_FROM && !s->txn->published)
		return execute_copy(s, m, portal);
	if (p->reason != NULL && !s->txn->published)
		return run_unsupported(s, m, p, p->reason);
	run(s, m, p);
	note_quiet(s, portal);
	return EXTENDED_TAKEN;
}

static enum extended_answer
execute(struct session *s, const struct message *m, bool sync_follows)
{
	struct rd r = rd_init(m->body, m->len);
	const char *name = rd_cstr(&r);
	uint32_t max_rows = rd_u32(&r);
	const struct portal *portal = r.bad ? NULL
					    : portals_portal(s->portals, name);
	enum extended_answer answer;
	struct prepared *p;

	if (s->bare || r.bad || (portal == NULL && !s->portals_unknown)) {
		run(s, m, NULL); /* the server knows no such, or a cursor */
		return EXTENDED_TAKEN;
	}
	if (must_wait(s, portal))
		return EXTENDED_WAIT;
	/* It stays though its own Parse or Bind turns out to have failed. */
	p = portal != NULL ? prepared_keep(portal->prepared) : NULL;
	answer = execute_portal(s, m, name, max_rows, sync_follows);
	prepared_release(p);
	return answer;
}

/* --- Sync --- */

static bool
must_record(const struct session *s)
{
	return !s->skipping && s->txn->dirty && !s->txn->published;
}

/* A SELECT that is not answered yet ends no block. */
static bool
may_commit(const struct session *s)
{
	return s->status != PQ_IN_BLOCK || !pipeline_only_reads(s);
}

/* Outside a block the Sync commits. */
static enum extended_answer
sync_batch(struct session *s, const struct message *m)
{
	struct pipeline_entry e = { .type = PqMsg_Sync };
	bool sync = false;

	if (s->copy_in) {
		forward(s, m); /* which the server ignores, if it still is */
		s->copy_syncs++;
		return EXTENDED_TAKEN;
	}
	if (must_record(s) && may_commit(s)) {
		if (!pipeline_is_light(s))
			return EXTENDED_WAIT;
		if (!pipeline_catch_up(s))
			return EXTENDED_STOP;
	}
	if (must_record(s) && s->status == PQ_IDLE &&
	    commit_hold(s, NULL, NULL, &sync) == COMMIT_STOP)
		return EXTENDED_STOP;
	pipeline_forward(s, m, &e);
	end_batch(s);
	return EXTENDED_TAKEN;
}

/* --- all of them --- */

enum extended_answer
extended_message(struct session *s, const struct message *m, bool sync_follows)
{
	if (m->type == PqMsg_Sync)
		return sync_batch(s, m);
	if (m->type == PqMsg_Parse && !s->skipping &&
	    !kept_hide(s, (const char *)m->body, m->len))
		return EXTENDED_STOP;
	if (s->dropping)
		return EXTENDED_TAKEN;
	if (s->skipping) {
		forward(s, m);
		return EXTENDED_TAKEN;
	}
	switch (m->type) {
	case PqMsg_Execute:
		s->batch_open = true;
		return execute(s, m, sync_follows);
	case PqMsg_Parse:
		parse(s, m);
		break;
	case PqMsg_Bind:
		bind(s, m);
		break;
	case PqMsg_Close:
		close_object(s, m);
		break;
	case PqMsg_Describe:
	default:
		describe(s, m);
		break;
	}
	s->batch_open = true;
	if (exchange_relay_lookup_error(s)) {
		/* As if the message had met it: all is skipped to the Sync. */
		pipeline_fail(s);
		s->dropping = true;
		return EXTENDED_TAKEN;
	}
	/* A look-up met an error in the batch: the server skips this, too. */
	if (s->skipping)
		pipeline_fail(s);
	forward(s, m);
	return EXTENDED_TAKEN;
}

enum extended_answer
extended_oversized(struct session *s, char type)
{
	if (s->skipping)
		return EXTENDED_TAKEN;
	switch (type) {
	case PqMsg_Parse:
		/* Named ones are looked at again before they are believed. */
		s->doubts++;
		s->unnamed = true;
		pipeline_push(s, type)->named = portals_put_prepared(
		    s->portals, "", NULL);
		break;
	case PqMsg_Bind:
		s->portals_unknown = true;
		pipeline_push(s, type)->named = portals_put_portal(
		    s->portals, "", portal_new(NULL));
		break;
	default:
		session_fatal(s, "08P01", "invalid message length", NULL);
		return EXTENDED_STOP;
	}
	s->batch_open = true;
	return EXTENDED_TAKEN;
}
