/*
 * exchange.c: the proxy's own statements on the client's server connection.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "exchange.h"

#include <stdio.h>
#include <string.h>

#include "pipeline.h"
#include "txn.h"

void
exchange_put_close_one(struct wire *w, char what, const char *name)
{
	size_t at = wire_begin(w, PqMsg_Close);

	buf_put_u8(&w->out, (uint8_t)what);
	buf_put_cstr(&w->out, name);
	wire_end(w, at);
}

void
exchange_put_close(struct session *s, const char *name)
{
	exchange_put_close_one(&s->server, 'P', name);
	exchange_put_close_one(&s->server, 'S', name);
}

void
exchange_put_parse(struct wire *w, const char *name, const char *sql,
    size_t len, const struct record_param *params, size_t n)
{
	size_t at = wire_begin(w, PqMsg_Parse);

	buf_put_cstr(&w->out, name);
	buf_put(&w->out, sql, len);
	buf_put_u8(&w->out, 0);
	buf_put_u16(&w->out, (uint16_t)n);
	for (size_t i = 0; i < n; i++)
		buf_put_u32(&w->out, params[i].type);
	wire_end(w, at);
}

void
exchange_put_params(struct wire *w, const struct record_param *params, size_t n)
{
	struct buf *b = &w->out;

	buf_put_u16(b, (uint16_t)n);
	for (size_t i = 0; i < n; i++)
		buf_put_u16(b, params[i].format);
	buf_put_u16(b, (uint16_t)n);
	for (size_t i = 0; i < n; i++) {
		if (params[i].value == NULL)
			buf_put_u32(b, UINT32_MAX);
		else
			buf_put_lp(b, params[i].value, params[i].len);
	}
}

void
exchange_put_execute(struct wire *w, const char *portal, uint32_t max_rows)
{
	size_t at = wire_begin(w, PqMsg_Execute);

	buf_put_cstr(&w->out, portal);
	buf_put_u32(&w->out, max_rows);
	wire_end(w, at);
}

/* Runs the statement of that name in our portal. */
static void
put_run(struct wire *w, const char *name, const struct record_param *params,
    size_t n)
{
	size_t at = wire_begin(w, PqMsg_Bind);

	buf_put_cstr(&w->out, EXCHANGE_NAME);
	buf_put_cstr(&w->out, name);
	exchange_put_params(w, params, n);
	buf_put_u16(&w->out, 0);
	wire_end(w, at);
	exchange_put_execute(w, EXCHANGE_NAME, 0);
}

void
exchange_put_bound(struct session *s, const char *sql,
    const struct record_param *params, size_t n)
{
	struct wire *w = &s->server;

	exchange_put_parse(w, EXCHANGE_NAME, sql, strlen(sql), params, n);
	put_run(w, EXCHANGE_NAME, params, n);
	exchange_put_close(s, EXCHANGE_NAME);
}

void
exchange_put(struct session *s, const char *sql, const char *const *params,
    size_t n_params)
{
	struct record_param own[EXCHANGE_MAX_PARAMS] = { { 0 } };

	for (size_t i = 0; i < n_params && i < EXCHANGE_MAX_PARAMS; i++)
		if (params[i] != NULL) {
			own[i].value = (const uint8_t *)params[i];
			own[i].len = strlen(params[i]);
		}
	exchange_put_bound(s, sql, own, n_params);
}

/* Two Close messages like any exchange, and the last one is its end. */
void
exchange_put_kept(struct session *s, const char *name, const char *sql,
    const struct record_param *params, size_t n)
{
	struct wire *w = &s->server;

	/* Maybe it is there after all. */
	exchange_put_close_one(w, 'S', sql != NULL ? name : EXCHANGE_NAME);
	if (sql != NULL)
		exchange_put_parse(w, name, sql, strlen(sql), params, n);
	put_run(w, name, params, n);
	exchange_put_close_one(w, 'P', EXCHANGE_NAME);
}

void
exchange_put_sync(struct session *s)
{
	wire_put_empty(&s->server, PqMsg_Sync);
}

static void
keep_error(const struct message *m, struct exchange_error *error,
    struct buf *raw_error)
{
	if (error != NULL) {
		snprintf(error->sqlstate, sizeof(error->sqlstate), "%s",
		    wire_error_field(m, 'C'));
		snprintf(error->message, sizeof(error->message), "%s",
		    wire_error_field(m, 'M'));
	}
	if (raw_error != NULL) {
		buf_reset(raw_error);
		buf_put(raw_error, m->raw, m->raw_len);
	}
}

void
exchange_keep_error(const struct buf *raw, struct exchange_error *error,
    struct buf *raw_error)
{
	const struct message m = { .type = PqMsg_ErrorResponse,
		.raw = raw->data,
		.raw_len = raw->len,
		.body = raw->data + 5,
		.len = raw->len - 5 };

	keep_error(&m, error, raw_error);
}

enum exchange_end
exchange_read(struct session *s, exchange_row_fn row, void *arg,
    struct exchange_error *error, struct buf *raw_error)
{
	struct message m;
	bool wanted = row != NULL;
	int closed = 0;

	while (session_server_message(s, &m)) {
		char type = m.type;

		if (type == PqMsg_DataRow && wanted)
			wanted = row(arg, &m);
		if (type == PqMsg_ErrorResponse)
			keep_error(&m, error, raw_error);
		session_take(s, &m);
		if (type == PqMsg_ErrorResponse) {
			s->left_behind = true;
			return EXCHANGE_ERROR;
		}
		if (type == PqMsg_CloseComplete && ++closed == 2)
			return EXCHANGE_DONE;
		if (type == PqMsg_ReadyForQuery)
			return EXCHANGE_LOST; /* out of step: give up */
	}
	return EXCHANGE_LOST;
}

static enum exchange_end
read_ready(
    struct session *s, struct exchange_error *error, struct buf *raw_error)
{
	enum exchange_end end = EXCHANGE_DONE;
	struct message m;

	while (session_server_message(s, &m)) {
		char type = m.type;

		if (type == PqMsg_ErrorResponse) {
			keep_error(&m, error, raw_error);
			end = EXCHANGE_ERROR;
		}
		/* What a deferred trigger says at commit is the client's; of
		 * a batch, behind the statement's own answer. */
		if (type == PqMsg_NoticeResponse && s->batch_open)
			session_relay_aside(s, &m);
		else if (type == PqMsg_NoticeResponse)
			wire_put(&s->client, m.raw, m.raw_len);
		if (type == PqMsg_ReadyForQuery && m.len == 1)
			s->status = (char)m.body[0];
		session_take(s, &m);
		if (type == PqMsg_ReadyForQuery)
			return end;
	}
	return EXCHANGE_LOST;
}

enum exchange_end
exchange_read_ready(
    struct session *s, struct exchange_error *error, struct buf *raw_error)
{
	enum exchange_end end = read_ready(s, error, raw_error);

	if (end == EXCHANGE_LOST || !s->left_behind)
		return end;
	/* An error skipped the Close messages. */
	s->left_behind = false;
	exchange_put_close(s, EXCHANGE_NAME);
	/* In a batch the unnamed ones are the client's own. */
	if (!s->batch_open)
		exchange_put_close(s, "");
	exchange_put_sync(s);
	return read_ready(s, NULL, NULL) == EXCHANGE_LOST ? EXCHANGE_LOST : end;
}

static enum exchange_end
ask_in_batch(struct session *s, exchange_put_fn put, exchange_row_fn row,
    void *arg, struct exchange_error *error)
{
	struct buf raw = { 0 };
	enum exchange_end end;

	if (!pipeline_catch_up(s)) {
		s->lost = true;
		return EXCHANGE_LOST;
	}
	if (s->skipping)
		return EXCHANGE_ERROR;
	put(s, arg);
	wire_put_empty(&s->server, PqMsg_Flush);
	end = exchange_read(s, row, arg, error, &raw);
	s->lost = end == EXCHANGE_LOST;
	if (end == EXCHANGE_ERROR) {
		pipeline_fail(s);
		wire_put(&s->client, raw.data, raw.len);
	}
	buf_free(&raw);
	return end;
}

/* What is open goes on: an error of the last look-up ends them all. */
static enum exchange_end
ask_holding(struct session *s, exchange_put_fn put, exchange_row_fn row,
    void *arg, struct exchange_error *error)
{
	enum exchange_end end;

	if (s->lookup_error.len > 0)
		return EXCHANGE_ERROR;
	put(s, arg);
	wire_put_empty(&s->server, PqMsg_Flush);
	end = exchange_read(s, row, arg, error, &s->lookup_error);
	s->lost = end == EXCHANGE_LOST;
	return end;
}

enum exchange_end
exchange_ask(struct session *s, exchange_put_fn put, exchange_row_fn row,
    void *arg, struct exchange_error *error)
{
	struct exchange_error own = { "", "" };
	enum exchange_end end, ready;
	struct buf raw = { 0 };

	if (error == NULL)
		error = &own;
	if (s->holding)
		return ask_holding(s, put, row, arg, error);
	if (s->batch_open)
		return ask_in_batch(s, put, row, arg, error);
	put(s, arg);
	exchange_put_sync(s);
	end = exchange_read(s, row, arg, error, &raw);
	ready = end == EXCHANGE_LOST ? end : exchange_read_ready(s, NULL, NULL);
	if (ready == EXCHANGE_LOST)
		end = ready;
	s->lost = end == EXCHANGE_LOST;
	/* Operator intervention, as the manual calls class 57. */
	if (end == EXCHANGE_ERROR && s->lookup_error.len == 0 &&
	    (s->status == PQ_FAILED || strncmp(error->sqlstate, "57", 2) == 0))
		buf_put(&s->lookup_error, raw.data, raw.len);
	buf_free(&raw);
	return end;
}

struct query {
	const char *sql;
	const char *const *params;
	size_t n_params;
	exchange_row_fn row;
	void *arg;
};

static void
put_query(struct session *s, void *arg)
{
	const struct query *q = arg;

	exchange_put(s, q->sql, q->params, q->n_params);
}

static bool
take_row(void *arg, const struct message *row)
{
	const struct query *q = arg;

	return q->row != NULL && q->row(q->arg, row);
}

enum exchange_end
exchange_query(struct session *s, const char *sql, const char *const *params,
    size_t n_params, exchange_row_fn row, void *arg,
    struct exchange_error *error)
{
	struct query q = { sql, params, n_params, row, arg };

	return exchange_ask(s, put_query, take_row, &q, error);
}

bool
exchange_relay_lookup_error(struct session *s)
{
	struct buf *e = &s->lookup_error;

	if (e->len == 0)
		return false;
	wire_put(&s->client, e->data, e->len);
	buf_reset(e);
	s->txn->saw_error = true;
	return true;
}

struct exchange_value
exchange_value(struct rd *r)
{
	struct exchange_value v = { NULL, 0 };
	uint32_t len = rd_u32(r);

	if (len != UINT32_MAX) {
		v.data = rd_bytes(r, len);
		v.len = len;
	}
	return v;
}

bool
exchange_row_values(
    const struct message *row, struct exchange_value *values, size_t n)
{
	struct rd r = rd_init(row->body, row->len);

	if (rd_u16(&r) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		values[i] = exchange_value(&r);
	return !r.bad;
}
