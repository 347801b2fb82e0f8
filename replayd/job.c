/*
 * job.c: writes a job's messages, takes their answers.
 *
 * Owns the list of steps, one per queued command, in order; it lives in the
 * job's arena.  Never decides on a verdict.  Called by replay.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "job_sql.h"

/* Bytes of COPY data given to libpq at once. */
#define COPY_PIECE 65536

enum step_kind {
	STEP_OWN, /* BEGIN, pin, settings, ROLLBACK */
	STEP_PREPARE,
	STEP_LOAD,
	STEP_STATEMENT,
	STEP_READ,
	STEP_SURE,
	STEP_CAUGHT,
	STEP_SYNC
};

struct job_step {
	enum step_kind kind;
	unsigned statement;
	size_t table;
	const struct record_row *row; /* STEP_LOAD */
	bool *prepared;               /* STEP_PREPARE */
	bool middle;                  /* STEP_READ after `statement` */
};

static struct job_step *
step_add(struct job *j, enum step_kind kind)
{
	struct job_step *s = arena_grow(
	    j->arena, j->steps, j->n_steps, &j->cap_steps, sizeof(*j->steps));

	if (s == NULL)
		return NULL;
	j->steps = s;
	s = &j->steps[j->n_steps++];
	memset(s, 0, sizeof(*s));
	s->kind = kind;
	return s;
}

/* --- sending --- */

static bool
send_own(struct job *j, const char *name, const char *const *params, int n)
{
	return step_add(j, STEP_OWN) != NULL &&
	       PQsendQueryPrepared(
		   j->copy->conn, name, n, params, NULL, NULL, 0) == 1;
}

static bool
send_settings(struct job *j, const struct settings_call *call)
{
	if (call->sql == NULL)
		return true;
	return step_add(j, STEP_OWN) != NULL &&
	       PQsendQueryParams(j->copy->conn, call->sql, call->n_values, NULL,
		   call->values, NULL, NULL, 0) == 1;
}

static bool
send_sync(struct job *j)
{
	return step_add(j, STEP_SYNC) != NULL &&
	       PQpipelineSync(j->copy->conn) == 1;
}

static void
statement_name(char out[16], char kind, uint32_t oid)
{
	snprintf(out, 16, "%c%u", kind, oid);
}

/* kind 'l' loads, 'r' reads.  *prepared is set when the answer is there. */
static bool
send_prepare(struct job *j, size_t table, char kind, bool *prepared)
{
	const struct record_table *t = &j->record->tables[table];
	PGconn *conn = j->copy->conn;
	struct job_step *s;
	struct buf sql = { 0 };
	char name[16];
	bool ok;

	if (*prepared)
		return true;
	statement_name(name, kind, t->oid);
	s = step_add(j, STEP_PREPARE);
	ok = s != NULL &&
	     (kind == 'l' ? job_load_sql(&sql, conn, j->copy->token, t)
			  : job_read_sql(&sql, conn, j->copy->token, t)) &&
	     PQsendPrepare(conn, name, (const char *)sql.data, 0, NULL) == 1;
	if (s != NULL) {
		s->table = table;
		s->prepared = prepared;
	}
	buf_free(&sql);
	return ok;
}

/* Text parameters of a row; NULL: arena limit, or not of the shape. */
static const char **
row_params(struct job *j, const struct rowenc_shape *shape,
    const struct rowenc_row *row, int *n)
{
	size_t columns = (size_t)shape->n_columns + 1;
	struct rowenc_value *values = arena_alloc(
	    j->arena, columns * sizeof(*values));
	const char **params = arena_alloc(j->arena, columns * sizeof(*params));

	*n = 0;
	if (values == NULL || params == NULL ||
	    !rowenc_decode(shape, row, values))
		return NULL;
	for (unsigned i = 0; i < shape->n_columns; i++) {
		const char *text = NULL;

		if (shape->columns[i].generated != 0)
			continue;
		if (values[i].data != NULL) {
			text = arena_memdup(
			    j->arena, values[i].data, values[i].len);
			if (text == NULL)
				return NULL;
		}
		params[(*n)++] = text;
	}
	return params;
}

static bool
send_row(struct job *j, size_t table, const struct record_row *row)
{
	const struct record_table *t = &j->record->tables[table];
	struct job_step *s = step_add(j, STEP_LOAD);
	const char **params;
	char name[16];
	int n;

	if (s == NULL)
		return false;
	s->table = table;
	s->row = row;
	s->statement = row->statement;
	params = row_params(j, &t->shape, &row->row, &n);
	statement_name(name, 'l', t->oid);
	return params != NULL && PQsendQueryPrepared(j->copy->conn, name, n,
				     params, NULL, NULL, 0) == 1;
}

/* middle: after this statement, to be compared with what it was before. */
static bool
send_reads(struct job *j, bool middle, unsigned statement)
{
	for (size_t i = 0; i < j->record->n_tables; i++) {
		uint32_t oid = j->record->tables[i].oid;
		struct schema_table *own = copy_find(j->copy, oid);
		struct job_step *s;
		char name[16];

		own->touched = true;
		if (!send_prepare(j, i, 'r', &own->read_prepared))
			return false;
		s = step_add(j, STEP_READ);
		if (s == NULL)
			return false;
		s->table = i;
		s->middle = middle;
		s->statement = statement;
		statement_name(name, 'r', oid);
		if (PQsendQueryPrepared(
			j->copy->conn, name, 0, NULL, NULL, NULL, 0) != 1)
			return false;
	}
	return true;
}

/* Prepared once per session, even if the rows of several statements wait. */
static bool
send_loads(struct job *j, unsigned statement)
{
	bool any = j->trace && statement > 0;

	if (any && (!send_settings(j, &j->settings.canonical) ||
		       !send_reads(j, true, statement - 1)))
		return false;
	for (size_t i = 0; i < j->record->n_tables; i++) {
		const struct record_table *t = &j->record->tables[i];
		struct schema_table *own = copy_find(j->copy, t->oid);

		for (size_t k = 0; k < t->n_before; k++) {
			if (t->before[k].statement != statement)
				continue;
			if (!any && statement > 0 &&
			    !send_settings(j, &j->settings.canonical))
				return false;
			any = true;
			if (!j->loaded[i] &&
			    !send_prepare(j, i, 'l', &own->load_prepared))
				return false;
			j->loaded[i] = true;
			if (!send_row(j, i, &t->before[k]))
				return false;
		}
	}
	return !any && statement > 0 ? true
				     : send_settings(j, &j->settings.client);
}

/* Bind values as libpq takes them: four parallel arrays. */
struct bind {
	Oid *types;
	const char **values;
	int *lengths;
	int *formats;
};

static bool
bind_init(struct job *j, const struct record_statement *st, struct bind *b)
{
	size_t n = st->n_params + 1;

	b->types = arena_zalloc(j->arena, n * sizeof(*b->types));
	b->values = arena_zalloc(j->arena, n * sizeof(*b->values));
	b->lengths = arena_zalloc(j->arena, n * sizeof(*b->lengths));
	b->formats = arena_zalloc(j->arena, n * sizeof(*b->formats));
	if (b->types == NULL || b->values == NULL || b->lengths == NULL ||
	    b->formats == NULL)
		return false;
	for (size_t i = 0; i < st->n_params; i++) {
		const struct record_param *p = &st->params[i];

		b->types[i] = p->type;
		b->formats[i] = p->format;
		b->lengths[i] = (int)p->len;
		if (p->value == NULL)
			continue;
		b->values[i] = arena_memdup(j->arena, p->value, p->len);
		if (b->values[i] == NULL)
			return false;
	}
	return true;
}

static bool
send_statement(struct job *j, unsigned i)
{
	const struct record_statement *st = &j->record->statements[i];
	struct job_step *s = step_add(j, STEP_STATEMENT);
	const char *sql = arena_memdup(j->arena, st->sql, st->sql_len);
	struct bind b;

	if (s == NULL || sql == NULL || !bind_init(j, st, &b))
		return false;
	s->statement = i;
	return PQsendQueryParams(j->copy->conn, sql, (int)st->n_params, b.types,
		   b.values, b.lengths, b.formats, 0) == 1;
}

/* SESSION_SURE or SESSION_CAUGHT. */
static bool
send_question(struct job *j, enum step_kind kind, const char *name)
{
	const char *params[1] = { j->copy->token };

	return step_add(j, kind) != NULL &&
	       PQsendQueryPrepared(
		   j->copy->conn, name, 1, params, NULL, NULL, 0) == 1;
}

static bool
send_sure(struct job *j)
{
	return j->record->n_inputs == 0 ||
	       send_question(j, STEP_SURE, SESSION_SURE);
}

static bool
send_end(struct job *j)
{
	j->all_sent = true;
	return send_settings(j, &j->settings.canonical) &&
	       send_reads(j, false, 0) && send_sure(j) && send_sync(j) &&
	       send_own(j, SESSION_ROLLBACK, NULL, 0) &&
	       send_question(j, STEP_CAUGHT, SESSION_CAUGHT) &&
	       send_own(j, SESSION_CLEAN, NULL, 0) && send_sync(j);
}

/* Statements up to the next COPY, or to the end. */
static bool
send_part(struct job *j)
{
	const struct record *r = j->record;

	for (; j->next < r->n_statements; j->next++) {
		if (!send_loads(j, j->next))
			return false;
		if (job_is_copy(&r->statements[j->next]))
			return send_sync(j);
		if (!send_statement(j, j->next))
			return false;
	}
	return send_end(j);
}

/* From here on the session is in the hands of replayd/pin. */
static bool
send_begin_job(struct job *j)
{
	const struct record *r = j->record;
	const char *params[4] = { j->copy->token,
		r->now[0] != '\0' ? r->now : NULL, NULL, NULL };
	struct buf tables = { 0 };
	struct buf whole = { 0 };
	struct buf name = { 0 };
	bool ok = true;

	for (size_t i = 0; i < r->n_tables && ok; i++) {
		buf_reset(&name);
		ok = job_put_table(&name, j->copy->conn, &r->tables[i]);
		job_put_element(&tables, name.data, name.len);
		if (r->tables[i].whole)
			job_put_element(&whole, name.data, name.len);
	}
	params[2] = job_end_array(&tables);
	params[3] = job_end_array(&whole);
	ok = ok && send_own(j, SESSION_JOB, params, 4);
	buf_free(&tables);
	buf_free(&whole);
	buf_free(&name);
	return ok;
}

static bool
send_input(struct job *j, const struct record_input *in)
{
	const char *params[4] = { j->copy->token, NULL, in->column, NULL };
	const struct record_table table = { .schema = in->schema,
		.table = in->table };
	struct buf name = { 0 };
	struct buf values = { 0 };
	bool ok = job_put_table(&name, j->copy->conn, &table);

	buf_put_u8(&name, 0);
	params[1] = (const char *)name.data;
	for (size_t i = 0; i < in->n_values; i++)
		job_put_element(
		    &values, in->values[i].value, in->values[i].len);
	params[3] = job_end_array(&values);
	ok = ok && send_own(j, SESSION_INPUT, params, 4);
	buf_free(&name);
	buf_free(&values);
	return ok;
}

static bool
send_inputs(struct job *j)
{
	for (size_t i = 0; i < j->record->n_inputs; i++)
		if (!send_input(j, &j->record->inputs[i]))
			return false;
	return true;
}

static bool
plan(struct job *j)
{
	const struct record *r = j->record;

	j->calculated = arena_zalloc(
	    j->arena, (r->n_tables + 1) * sizeof(*j->calculated));
	j->loaded = arena_zalloc(j->arena, r->n_tables + 1);
	if (j->trace)
		j->states = arena_zalloc(j->arena,
		    (r->n_statements * r->n_tables + 1) * sizeof(*j->states));
	return j->calculated != NULL && j->loaded != NULL &&
	       (!j->trace || j->states != NULL) &&
	       settings_plan(r, schema_has_namespace(j->copy, r->user),
		   j->copy->token, j->arena, &j->settings);
}

static bool
send_begin(struct job *j)
{
	return send_own(j, SESSION_BEGIN, NULL, 0) && send_begin_job(j) &&
	       send_inputs(j) && send_settings(j, &j->settings.canonical);
}

/* What a batch left open, or another one's session state. */
static bool
send_clean(struct job *j)
{
	return send_own(j, SESSION_ROLLBACK, NULL, 0) &&
	       send_own(j, SESSION_CLEAN, NULL, 0);
}

bool
job_send(struct job *j)
{
	return plan(j) && send_clean(j) && send_begin(j) && send_part(j);
}

bool
job_fits_batch(const struct record *r, const struct schema_copy *copy)
{
	if (!copy->pinned)
		return false;
	for (size_t i = 0; i < r->n_statements; i++) {
		if (job_is_copy(&r->statements[i]))
			return false;
	}
	for (size_t i = 0; i < r->n_tables; i++) {
		const struct schema_table *t = copy_find(
		    copy, r->tables[i].oid);

		if (t == NULL || !t->read_prepared ||
		    (r->tables[i].n_before > 0 && !t->load_prepared))
			return false;
	}
	return true;
}

bool
job_send_in_batch(struct job *j, bool first, bool last)
{
	if (!plan(j) || (first && !send_clean(j)) || !send_begin(j))
		return false;
	for (unsigned i = 0; i < j->record->n_statements; i++) {
		if (!send_loads(j, i) || !send_statement(j, i))
			return false;
	}
	j->all_sent = true;
	return send_settings(j, &j->settings.canonical) &&
	       send_reads(j, false, 0) &&
	       send_own(j, SESSION_ROLLBACK, NULL, 0) &&
	       (!last || send_sync(j));
}

/* --- receiving --- */

static void
job_fail(struct job *j, enum job_failure failure, unsigned statement,
    const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (j->failure != JOB_FINE)
		return;
	j->failure = failure;
	j->statement = statement;
	snprintf(
	    j->sqlstate, sizeof(j->sqlstate), "%s", state != NULL ? state : "");
	j->message = message != NULL ? arena_strdup(j->arena, message) : "";
	if (j->message == NULL)
		j->message = "";
}

/* A composite of the table's columns as a canonical row. */
static bool
encode_result(struct job *j, const struct rowenc_shape *shape,
    const PGresult *res, int tuple, struct rowenc_row *out)
{
	struct rowenc_value *values = arena_alloc(
	    j->arena, ((size_t)shape->n_columns + 1) * sizeof(*values));
	const char *text = PQgetvalue(res, tuple, 0);

	return values != NULL &&
	       rowenc_split_composite((const uint8_t *)text,
		   (size_t)PQgetlength(res, tuple, 0), j->arena, values,
		   shape->n_columns) &&
	       rowenc_encode(shape, values, j->arena, out);
}

/* The row must have gone in as it was recorded. */
static void
take_load(struct job *j, const struct job_step *s, const PGresult *res)
{
	const struct record_table *t = &j->record->tables[s->table];
	struct rowenc_row row;

	if (PQntuples(res) != 1 || !encode_result(j, &t->shape, res, 0, &row) ||
	    rowenc_compare(&row, &s->row->row) != 0)
		job_fail(j, JOB_PRELOAD, s->statement, res);
}

static void
take_rows(struct job *j, const struct job_step *s, const PGresult *res)
{
	const struct record_table *t = &j->record->tables[s->table];
	struct compare_table *c =
	    s->middle
		? &j->states[s->statement * j->record->n_tables + s->table]
		: &j->calculated[s->table];
	int n = PQntuples(res);

	c->rows = arena_alloc(j->arena, ((size_t)n + 1) * sizeof(*c->rows));
	if (c->rows == NULL) {
		job_fail(j, JOB_READ, s->statement, res);
		return;
	}
	for (int i = 0; i < n; i++) {
		if (!encode_result(j, &t->shape, res, i, &c->rows[i])) {
			job_fail(j, JOB_READ, s->statement, res);
			return;
		}
	}
	c->n_rows = (size_t)n;
}

static void
take_error(struct job *j, const struct job_step *s, const PGresult *res)
{
	job_fail(j,
	    s->kind == STEP_STATEMENT ? JOB_STATEMENT
	    : s->kind == STEP_LOAD    ? JOB_PRELOAD
				      : JOB_OWN,
	    s->statement, res);
}

static bool
is_true(const PGresult *res)
{
	return PQntuples(res) == 1 && PQgetvalue(res, 0, 0)[0] == 't';
}

static void
take_result(struct job *j, const struct job_step *s, const PGresult *res)
{
	ExecStatusType status = PQresultStatus(res);

	if (status == PGRES_PIPELINE_ABORTED)
		j->skipped = j->failure == JOB_FINE;
	if (status == PGRES_PIPELINE_ABORTED || status == PGRES_SINGLE_TUPLE)
		return;
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK &&
	    status != PGRES_EMPTY_QUERY)
		take_error(j, s, res);
	else if (s->kind == STEP_PREPARE)
		*s->prepared = true;
	else if (s->kind == STEP_LOAD)
		take_load(j, s, res);
	else if (s->kind == STEP_READ)
		take_rows(j, s, res);
	else if (s->kind == STEP_SURE)
		j->inputs_sure = is_true(res);
	else if (s->kind == STEP_CAUGHT)
		j->caught_error = is_true(res);
}

/*
 * A step's results end with NULL, a Sync's with itself.  Two NULLs in a row
 * mean that libpq has nothing queued any more.
 */
static enum session_wait
receive_part(struct job *j)
{
	PGconn *conn = j->copy->conn;
	unsigned nulls = 0;

	while (j->at < j->n_steps) {
		const struct job_step *s = &j->steps[j->at];
		enum session_wait w = session_wait(conn, j->deadline);
		PGresult *res;

		if (w != SESSION_READY)
			return w;
		res = PQgetResult(conn);
		if (res == NULL) {
			if (++nulls > 1 || PQstatus(conn) != CONNECTION_OK)
				return SESSION_LOST;
			j->at += s->kind != STEP_SYNC;
			if (j->at < j->n_steps &&
			    j->steps[j->at].kind == STEP_STATEMENT)
				(void)PQsetSingleRowMode(conn);
			continue;
		}
		nulls = 0;
		if (s->kind == STEP_SYNC &&
		    PQresultStatus(res) == PGRES_PIPELINE_SYNC)
			j->at++;
		else
			take_result(j, s, res);
		PQclear(res);
		if (PQstatus(conn) != CONNECTION_OK)
			return SESSION_LOST;
	}
	return SESSION_READY;
}

enum session_wait
job_receive_in_batch(struct job *j)
{
	return receive_part(j);
}

/* --- COPY FROM STDIN --- */

bool
job_is_copy(const struct record_statement *st)
{
	return strcmp(st->type, "COPY") == 0;
}

/* Data in pieces, so that libpq does not hold all of it once more. */
static enum session_wait
put_copy_data(PGconn *conn, const struct record_param *data, int64_t deadline)
{
	const char *p = (const char *)data->value;
	enum session_wait w = SESSION_READY;
	size_t left = data->len;

	while (left > 0 && w == SESSION_READY) {
		int n = left < COPY_PIECE ? (int)left : COPY_PIECE;
		int done = PQputCopyData(conn, p, n);

		if (done < 0)
			return SESSION_LOST;
		if (done > 0) {
			p += n;
			left -= (size_t)n;
		}
		w = session_flush(conn, deadline);
	}
	while (w == SESSION_READY) {
		int done = PQputCopyEnd(conn, NULL);

		if (done != 0)
			return done < 0 ? SESSION_LOST : SESSION_READY;
		w = session_flush(conn, deadline);
	}
	return w;
}

/* One answer to a COPY; true: it asks for the data. */
static bool
take_copy_result(struct job *j, const PGresult *res)
{
	ExecStatusType status = PQresultStatus(res);

	if (status == PGRES_COPY_IN)
		return true;
	if (status == PGRES_COMMAND_OK)
		return false;
	/* What COPY TO or a server in error would say next is not read. */
	job_fail(j, JOB_STATEMENT, j->next, res);
	j->spent = true;
	return false;
}

/*
 * Runs statement j->next outside the pipeline, by the extended protocol: one
 * statement is all that a text can hold there.
 */
static enum session_wait
run_copy(struct job *j)
{
	const struct record_statement *st = &j->record->statements[j->next];
	const char *sql = arena_memdup(j->arena, st->sql, st->sql_len);
	PGconn *conn = j->copy->conn;
	enum session_wait w;
	PGresult *res;

	if (sql == NULL) {
		j->failure = JOB_TOO_LARGE;
		j->spent = true;
		return SESSION_READY;
	}
	if (!PQexitPipelineMode(conn) ||
	    !PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0))
		return SESSION_LOST;
	while ((w = session_wait(conn, j->deadline)) == SESSION_READY &&
	       (res = PQgetResult(conn)) != NULL) {
		bool wants_data = take_copy_result(j, res);

		PQclear(res);
		if (wants_data)
			w = put_copy_data(conn, &st->params[0], j->deadline);
		if (w != SESSION_READY || j->spent)
			return w;
	}
	if (w == SESSION_READY && !PQenterPipelineMode(conn))
		return SESSION_LOST;
	return w;
}

enum session_wait
job_receive(struct job *j)
{
	enum session_wait w = receive_part(j);

	while (w == SESSION_READY && !j->all_sent) {
		/* In a failed transaction only the ROLLBACK is wanted. */
		if (j->failure != JOB_FINE)
			j->next = (unsigned)j->record->n_statements;
		else
			w = run_copy(j);
		if (w != SESSION_READY || j->spent)
			return w;
		j->next += j->next < j->record->n_statements;
		if (!send_part(j)) {
			j->failure = JOB_TOO_LARGE;
			j->spent = true;
			return SESSION_READY;
		}
		w = receive_part(j);
	}
	return w;
}
