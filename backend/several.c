/*
 * several.c: several statements in one simple Query, captured.
 *
 * The server runs them in one transaction, which ends with the message.  So
 * does the proxy, one by one, in a block that it opens unless the client has:
 *
 *	client		proxy		server
 *	Query a; b; c	BEGIN
 *			a as if alone	its rows, its answer
 *			b
 *			c
 *			facts
 *			record
 *			COMMIT
 *
 * where each is captured as in a client's block.  An implicit block of the
 * server's is one for all statements that are let in here but those of
 * savepoints.  The client sees their answers without what ends each: one
 * ReadyForQuery, and before it, but behind the COMMIT, the last statement's
 * tag, parameters that changed and notifications.
 *
 * The text is analysed, and so parsed, as a whole before the first one runs,
 * as it is by the server.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "several.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "catalog.h"
#include "commit.h"
#include "dml.h"
#include "exchange.h"
#include "log.h"
#include "mem.h"
#include "rowtext.h"
#include "txn.h"

/* --- which --- */

/* What is read of the text behind it would be read in another way. */
static bool
sets_meaning(const struct analyzed_statement *st)
{
	static const char *const names[] = { "", "standard_conforming_strings",
		"backslash_quote", "escape_string_warning", "client_encoding",
		"idle_in_transaction_session_timeout" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (st->set_name == NULL || strcmp(st->set_name, names[i]) == 0)
			return true;
	return false;
}

static bool
may_run_alone(const struct analyzed_statement *st)
{
	switch ((int)st->kind) {
	case STMT_SELECT:
	case STMT_INSERT:
	case STMT_UPDATE:
	case STMT_DELETE:
	case STMT_MERGE:
	case STMT_TRUNCATE:
	case STMT_EXECUTE:
	case STMT_EXPLAIN:
	case STMT_SHOW:
	case STMT_CURSOR:
	case STMT_LISTEN:
	case STMT_LOCK:
	case STMT_DEALLOCATE:
	case STMT_DDL:
		return true;
	case STMT_SET:
		return !sets_meaning(st);
	default:
		return false;
	}
}

/* The text of all of them is what it wants. */
static bool
asks_for_query(const struct analyzed_statement *st)
{
	for (size_t i = 0; i < st->n_functions; i++)
		if (strcmp(st->functions[i].name, "current_query") == 0)
			return true;
	return false;
}

bool
several_takes(const struct session *s, const struct analysis *a)
{
	bool any = false;

	if (s->txn->published || a->long_names || !rowtext_encoding_ok(s))
		return false;
	for (size_t i = 0; i < a->n_statements; i++) {
		const struct analyzed_statement *st = &a->statements[i];

		if (!may_run_alone(st) || asks_for_query(st))
			return false;
		any = any || dml_takes(st) || st->kind == STMT_EXECUTE;
	}
	return any;
}

/* --- answers of a part --- */

/* A copy of the message with `before` added to its position, if it has one. */
static void
put_moved(struct wire *w, const struct message *m, size_t before)
{
	struct rd r = rd_init(m->body, m->len);
	size_t at = wire_begin(w, m->type);
	uint8_t code;

	while ((code = rd_u8(&r)) != 0 && !r.bad) {
		const char *value = rd_cstr(&r);

		buf_put_u8(&w->out, code);
		if (code == 'P')
			buf_printf(&w->out, "%zu",
			    before + (size_t)strtoull(value, NULL, 10));
		else
			buf_put_str(&w->out, value);
		buf_put_u8(&w->out, 0);
	}
	buf_put_u8(&w->out, 0);
	wire_end(w, at);
}

static void
put_answer(struct session *s, const uint8_t *raw, size_t len)
{
	struct message m = { (char)raw[0], raw + 5, len - 5, raw, len };

	if (s->part == NULL || s->part->before == 0)
		wire_put(&s->client, raw, len);
	else
		put_moved(&s->client, &m, s->part->before);
}

void
several_put_error(struct session *s, const struct buf *raw)
{
	if (raw->len > 5)
		put_answer(s, raw->data, raw->len);
}

void
several_put_complete(struct session *s, const void *raw, size_t len)
{
	if (s->part != NULL && s->part->complete != NULL)
		buf_put(s->part->complete, raw, len);
	else
		wire_put(&s->client, raw, len);
}

/* --- one that is forwarded --- */

static void
relay(struct session *s, const struct message *m)
{
	switch (m->type) {
	case PqMsg_ReadyForQuery:
		if (m->len == 1)
			s->status = (char)m->body[0];
		break;
	case PqMsg_ErrorResponse:
	case PqMsg_NoticeResponse:
		put_answer(s, m->raw, m->raw_len);
		break;
	case PqMsg_CommandComplete:
		several_put_complete(s, m->raw, m->raw_len);
		break;
	default:
		wire_put(&s->client, m->raw, m->raw_len);
		break;
	}
}

static bool
forward(struct session *s, const struct message *part)
{
	struct message m;
	char type = 0;

	wire_put(&s->server, part->raw, part->raw_len);
	while (type != PqMsg_ReadyForQuery) {
		if (!session_server_message(s, &m))
			return false;
		type = m.type;
		if (type == PqMsg_ErrorResponse)
			s->txn->saw_error = true;
		relay(s, &m);
		session_take(s, &m);
		if (!session_let_client_read(s))
			return false;
	}
	return true;
}

/* --- parameters that changed --- */

/* What each was; in the order in which the server reports them. */
static char **
copy_parameters(const struct session *s)
{
	char **values = mem_zalloc(s->n_parameters + 1, sizeof(*values));

	for (size_t i = 0; i < s->n_parameters; i++)
		values[i] = mem_strdup(s->parameters[i].value);
	return values;
}

/* The messages but ParameterStatus. */
static void
drop_parameters(struct buf *messages)
{
	struct buf rest = { 0 };
	struct rd r = rd_init(messages->data, messages->len);

	while (rd_left(&r) >= 5) {
		const uint8_t *raw = r.p;
		size_t len = 1 + (size_t)get_u32(raw + 1);

		(void)rd_bytes(&r, len);
		if (!r.bad && raw[0] != PqMsg_ParameterStatus)
			buf_put(&rest, raw, len);
	}
	buf_free(messages);
	*messages = rest;
}

/*
 * The server would say once, and last, what became of them.  Frees `before`,
 * of the first n.
 */
static void
report_parameters(struct session *s, char **before, size_t n)
{
	drop_parameters(&s->aside);
	for (size_t i = 0; i < s->n_parameters; i++) {
		const char *name = s->parameters[i].name;
		const char *value = s->parameters[i].value;
		size_t at;

		if (i < n && strcmp(before[i], value) == 0)
			continue;
		buf_put_u8(&s->aside, PqMsg_ParameterStatus);
		at = s->aside.len;
		buf_put_u32(&s->aside, 0);
		buf_put_cstr(&s->aside, name);
		buf_put_cstr(&s->aside, value);
		buf_set_u32(&s->aside, at, (uint32_t)(s->aside.len - at));
	}
	for (size_t i = 0; i < n; i++)
		free(before[i]);
	free(before);
}

/* --- all of them --- */

struct run {
	struct session *s;
	several_fn single;
	bool own_block;
	struct span *texts;
	size_t n;
	struct buf complete; /* of the last one, while the COMMIT is not done */
	struct buf error;    /* that a statement of ours met */
};

/* The statement as a Query of its own. */
static struct message
make_query(struct buf *b, const uint8_t *text, size_t len)
{
	struct message m = { .type = PqMsg_Query };

	buf_reset(b);
	buf_put_u8(b, PqMsg_Query);
	buf_put_u32(b, (uint32_t)(len + 5));
	buf_put(b, text, len);
	buf_put_u8(b, 0);
	m.raw = b->data;
	m.raw_len = b->len;
	m.body = b->data + 5;
	m.len = b->len - 5;
	return m;
}

static bool
run_part(struct run *r, const struct message *query)
{
	struct session *s = r->s;
	const struct analysis *a = analyze(
	    s->analyzer, (const char *)query->body, query->len - 1, true);

	if (!a->parsed || a->n_statements != 1)
		return false; /* it was, a moment ago */
	switch (r->single(s, query, a)) {
	case STATEMENT_FORWARD:
		return exchange_relay_lookup_error(s) || forward(s, query);
	case STATEMENT_DONE:
		buf_reset(&s->lookup_error);
		return true;
	case STATEMENT_TAKEN:
	case STATEMENT_STOP:
		break;
	}
	return false;
}

static size_t
count_characters(const uint8_t *text, size_t from, size_t to)
{
	size_t n = 0;

	for (size_t i = from; i < to; i++)
		n += (text[i] & 0xC0) != 0x80;
	return n;
}

/* Up to the first that fails.  False: the session must end. */
static bool
run_parts(struct run *r, const uint8_t *text)
{
	struct session *s = r->s;
	struct part part = { 0 };
	struct buf b = { 0 };
	size_t counted = 0;
	bool ok = true;

	s->part = &part;
	for (size_t i = 0; ok && s->status == PQ_IN_BLOCK && i < r->n; i++) {
		struct message query = make_query(
		    &b, text + r->texts[i].at, r->texts[i].len);

		part.before += count_characters(text, counted, r->texts[i].at);
		counted = r->texts[i].at;
		if (r->own_block && i + 1 == r->n)
			part.complete = &r->complete;
		ok = run_part(r, &query);
	}
	s->part = NULL;
	buf_free(&b);
	return ok;
}

/* An error ends the block, unclaimed. */
static bool
undo(struct run *r)
{
	struct session *s = r->s;

	s->txn->saw_error = true;
	catalog_flush(s->catalog);
	wire_put(&s->client, r->error.data, r->error.len);
	return s->status == PQ_IDLE || block_roll_back(s);
}

static bool
run_in_own_block(struct run *r, const uint8_t *text)
{
	struct session *s = r->s;

	switch (block_run(s, "BEGIN", &r->error)) {
	case EXCHANGE_LOST:
		return false;
	case EXCHANGE_ERROR: /* a cancel, say */
		return undo(r);
	case EXCHANGE_DONE:
		break;
	}
	s->txn->plain_begin = true;
	if (!run_parts(r, text))
		return false;
	if (s->status != PQ_IN_BLOCK)
		return undo(r);
	switch (commit_own_block(s, &r->error)) {
	case OWN_COMMITTED:
		wire_put(&s->client, r->complete.data, r->complete.len);
		break;
	case OWN_REFUSED:
		break;
	case OWN_ERROR:
		return undo(r);
	case OWN_LOST:
		return false;
	}
	return true;
}

enum statement_step
several_run(struct session *s, const struct message *m,
    const struct analysis *a, several_fn single)
{
	struct run r = { .s = s,
		.single = single,
		.n = a->n_statements,
		.own_block = s->status == PQ_IDLE };
	size_t n_parameters = s->n_parameters;
	char **parameters = copy_parameters(s);
	bool ok;

	r.texts = mem_zalloc(r.n, sizeof(*r.texts));
	for (size_t i = 0; i < r.n; i++)
		r.texts[i] = a->statements[i].text;
	s->setting_aside = s->one_answer = true;
	ok = r.own_block ? run_in_own_block(&r, m->body)
			 : run_parts(&r, m->body);
	s->one_answer = false;
	report_parameters(s, parameters, n_parameters);
	free(r.texts);
	buf_free(&r.complete);
	buf_free(&r.error);
	if (!ok)
		return STATEMENT_STOP;
	commit_answer_ready(s);
	return STATEMENT_DONE;
}
