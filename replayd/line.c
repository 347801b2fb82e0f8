/*
 * line.c: from struct record and struct verdict to the evidence log's fields.
 *
 * pre_state_data.sha256 is SHA-256 over lp(row_bytes) of every row before,
 * tables in (schema, table) order, rows in (row_id, row_bytes) order; `bytes`
 * counts the row_bytes without their lengths.  schema_version is SHA-256 over
 * lp(schema) lp(table) lp(fingerprint) of each table in that order.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "ioutil.h"
#include "jsonw.h"
#include "jsonx.h"
#include "log.h"
#include "mem.h"
#include "scrub.h"
#include "version.h"

#define EVIDENCE_FORMAT 1
#define MAX_CONFIG_FILE (16u << 20)
/* The buffer of a longer line is given back. */
#define KEEP_TEXT ((size_t)1 << 20)

/* --- Start, Stop, Gap --- */

static json_t *
config_hash(const char *path)
{
	struct buf b = { 0 };
	struct merkle_hash h;
	json_t *v = json_null();

	if (io_read_file(path, &b, MAX_CONFIG_FILE)) {
		const struct merkle_part part = { b.data, b.len };

		merkle_sha256(&part, 1, &h);
		v = jsonx_hash(&h);
	}
	buf_free(&b);
	return v;
}

static json_t *
continued(const struct line_start *s)
{
	json_t *v;

	if (s->size == 0)
		return json_null();
	v = jsonx_object();
	jsonx_set(v, "size", jsonx_int(s->size));
	jsonx_set(v, "root", jsonx_hash(&s->root));
	if (s->continued_origin != NULL)
		jsonx_set(v, "origin", jsonx_text(s->continued_origin));
	return v;
}

json_t *
line_start(const struct line_start *s)
{
	json_t *v = jsonx_object();

	jsonx_set(v, "format", jsonx_int(EVIDENCE_FORMAT));
	jsonx_set(v, "version", json_string(PGW_VERSION));
	jsonx_set(v, "origin", jsonx_text(s->origin));
	jsonx_set(v, "system_identifier", jsonx_decimal(s->system_identifier));
	jsonx_set(v, "timeline",
	    s->timeline == 0 ? json_null() : jsonx_int(s->timeline));
	jsonx_set(v, "config_sha256", config_hash(s->config_file));
	jsonx_set(v, "continued", continued(s));
	jsonx_set(v, "open_records", jsonx_int(s->open_records));
	jsonx_set(v, "next_tx_id", jsonx_int(s->next_tx_id));
	return v;
}

json_t *
line_stop(uint64_t open_records, uint64_t open_verdicts)
{
	json_t *v = jsonx_object();

	jsonx_set(v, "open_records", jsonx_int(open_records));
	jsonx_set(v, "open_verdicts", jsonx_int(open_verdicts));
	return v;
}

json_t *
line_gap(const char *from_time, const char *reason, uint64_t count)
{
	json_t *v = jsonx_object();
	char now[IO_TIME_BYTES];

	jsonx_set(v, "from_time", jsonx_text_or_null(from_time));
	jsonx_set(v, "to_time", json_string(io_format_time(io_now_us(), now)));
	jsonx_set(v, "reason", json_string(reason));
	jsonx_set(v, "database", json_null());
	jsonx_set(v, "count", count == 0 ? json_null() : jsonx_int(count));
	return v;
}

json_t *
line_spool_gap(const struct spool_frame *f)
{
	json_t *at = jsonx_object();
	json_t *v = f->payload_len == 0
			? NULL
			: json_loadb((const char *)f->payload, f->payload_len,
			      JSON_REJECT_DUPLICATES, NULL);

	if (!json_is_object(v)) {
		json_decref(v);
		v = line_gap("", "gap_unreadable", 0);
	}
	jsonx_set(at, "segment", jsonx_int(f->at.segment));
	jsonx_set(at, "offset", jsonx_int(f->at.offset));
	jsonx_set(v, "spool", at);
	return v;
}

/* --- lines of transactions, as text --- */

static struct buf *
begin(struct line *l, const char *type, enum state_event event, uint64_t tx_id)
{
	memset(&l->change, 0, sizeof(l->change));
	l->type = type;
	l->change.event = event;
	l->change.tx_id = tx_id;
	if (l->text.cap > KEEP_TEXT)
		buf_free(&l->text);
	if (l->hashed.cap > KEEP_TEXT)
		buf_free(&l->hashed);
	buf_reset(&l->text);
	jsonw_name(&l->text, "tx_id");
	jsonw_int(&l->text, tx_id);
	return &l->text;
}

json_t *
line_json(const struct line *l)
{
	struct buf b = { 0 };
	json_t *v;

	buf_put_u8(&b, '{');
	buf_put(&b, l->text.data, l->text.len);
	buf_put_u8(&b, '}');
	v = json_loadb(
	    (const char *)b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
	buf_free(&b);
	if (v == NULL)
		log_fatal("json_failed", "a line of evidence is no JSON");
	return v;
}

void
line_free(struct line *l)
{
	buf_free(&l->text);
	buf_free(&l->hashed);
	buf_free(&l->schemas);
}

/* What the contract calls the value `name` of an object. */
static inline void
put_text(struct buf *b, const char *name, const char *text)
{
	jsonw_name(b, name);
	jsonw_text(b, text);
}

static inline void
put_text_or_null(struct buf *b, const char *name, const char *text)
{
	jsonw_name(b, name);
	jsonw_text_or_null(b, text);
}

static inline void
put_int(struct buf *b, const char *name, uint64_t v)
{
	jsonw_name(b, name);
	jsonw_int(b, v);
}

static inline void
put_decimal(struct buf *b, const char *name, uint64_t v)
{
	jsonw_name(b, name);
	jsonw_decimal(b, v);
}

static inline void
put_hash(struct buf *b, const char *name, const struct merkle_hash *h)
{
	jsonw_name(b, name);
	jsonw_hash(b, h);
}

static inline void
open_list(struct buf *b, const char *name)
{
	jsonw_name(b, name);
	jsonw_open(b, '[');
}

/* --- StateCommitmentRecord --- */

static void
put_statement_text(
    struct buf *b, const struct record_statement *s, bool normalized)
{
	struct buf scrubbed = { 0 };

	jsonw_name(b, "sql");
	if (!normalized) {
		jsonw_textn(b, s->sql, s->sql_len);
		return;
	}
	scrub_literals(s->sql, s->sql_len, &scrubbed);
	jsonw_textn(b, scrubbed.data, scrubbed.len);
	buf_free(&scrubbed);
}

static void
put_query_sequence(struct buf *b, const struct record *r, bool normalized)
{
	open_list(b, "query_sequence");
	for (size_t i = 0; i < r->n_statements; i++) {
		jsonw_open(b, '{');
		put_statement_text(b, &r->statements[i], normalized);
		put_int(b, "params", r->statements[i].n_params);
		put_text(b, "type", r->statements[i].type);
		jsonw_close(b, '}');
	}
	jsonw_close(b, ']');
}

static void
put_key(struct buf *b, const struct rowenc_shape *s)
{
	open_list(b, "key");
	for (unsigned i = 0; i < s->n_key; i++)
		jsonw_text(b, s->columns[s->key[i]].name);
	jsonw_close(b, ']');
}

static void
put_table(struct buf *b, const struct record *r, const struct record_table *t)
{
	const char *const name[] = { t->schema, t->table };

	jsonw_open(b, '{');
	put_text(b, "schema", t->schema);
	put_text(b, "table", t->table);
	/* For reading: not quoted, so not unambiguous. */
	jsonw_name(b, "name");
	jsonw_dotted(b, name, 2);
	put_key(b, &t->shape);
	put_text(b, "access", t->write ? "write" : "read");
	if (r->has_images) {
		put_int(b, "pre_rows", t->n_before);
		put_int(b, "post_rows", t->n_after);
		put_hash(b, "pre_root", &t->pre_root);
		put_hash(b, "post_root", &t->post_root);
	}
	jsonw_close(b, '}');
}

static void
put_tables(struct buf *b, const struct record *r)
{
	open_list(b, "tables");
	for (size_t i = 0; i < r->n_tables; i++)
		put_table(b, r, &r->tables[i]);
	jsonw_close(b, ']');
}

/* All rows before as one byte string: lp(row_bytes) each. */
static uint64_t
pre_state(const struct record *r, struct buf *out)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < r->n_tables; i++)
		for (size_t k = 0; k < r->tables[i].n_before; k++) {
			const struct rowenc_row *row =
			    &r->tables[i].before[k].row;

			buf_put_lp(out, row->bytes, row->bytes_len);
			bytes += row->bytes_len;
		}
	return bytes;
}

static void
sha256(const struct buf *of, struct merkle_hash *h)
{
	const struct merkle_part part = {
		of->len == 0 ? (const void *)"" : of->data, of->len
	};

	merkle_sha256(&part, 1, h);
}

static void
put_pre_state_data(struct line *l, const struct record *r)
{
	struct buf *b = &l->text;
	uint64_t bytes, rows = 0;
	struct merkle_hash h;

	buf_reset(&l->hashed);
	bytes = pre_state(r, &l->hashed);
	sha256(&l->hashed, &h);
	for (size_t i = 0; i < r->n_tables; i++)
		rows += r->tables[i].n_before;
	jsonw_name(b, "pre_state_data");
	jsonw_open(b, '{');
	put_int(b, "rows", rows);
	put_int(b, "bytes", bytes);
	put_hash(b, "sha256", &h);
	jsonw_close(b, '}');
}

static json_t *
one_row(const struct rowenc_shape *s, const struct rowenc_row *row,
    struct rowenc_value *values)
{
	json_t *v = jsonx_object();

	if (!rowenc_decode(s, row, values))
		return v;
	for (unsigned i = 0; i < s->n_columns; i++) {
		json_t *cell = jsonx_array();

		jsonx_append(cell, jsonx_text(s->columns[i].type));
		jsonx_append(
		    cell, values[i].data == NULL
			      ? json_null()
			      : jsonx_textn(values[i].data, values[i].len));
		jsonx_set(v, s->columns[i].name, cell);
	}
	return v;
}

static json_t *
rows_of(const struct rowenc_shape *s, const struct record_row *rows, size_t n)
{
	struct rowenc_value *values = mem_zalloc(
	    s->n_columns + 1u, sizeof(*values));
	json_t *list = jsonx_array();

	for (size_t i = 0; i < n; i++)
		jsonx_append(list, one_row(s, &rows[i].row, values));
	free(values);
	return list;
}

json_t *
line_rows(const struct record *r)
{
	json_t *list = jsonx_array();

	for (size_t i = 0; i < r->n_tables; i++) {
		const struct record_table *t = &r->tables[i];
		json_t *v = jsonx_object();

		jsonx_set(
		    v, "before", rows_of(&t->shape, t->before, t->n_before));
		jsonx_set(v, "after", rows_of(&t->shape, t->after, t->n_after));
		jsonx_append(list, v);
	}
	return list;
}

/* Mostly that of the record before. */
static void
hash_schemas(struct line *l)
{
	const struct buf *all = &l->hashed;

	if (all->len == l->schemas.len &&
	    memcmp(all->data, l->schemas.data, all->len) == 0)
		return;
	sha256(all, &l->schema_version);
	buf_free(&l->schemas);
	buf_put(&l->schemas, all->data, all->len);
}

static void
put_schema_version(struct line *l, const struct record *r)
{
	struct buf *all = &l->hashed;

	if (r->n_tables == 0) {
		jsonw_name(&l->text, "schema_version");
		jsonw_null(&l->text);
		return;
	}
	buf_reset(all);
	for (size_t i = 0; i < r->n_tables; i++) {
		const struct record_table *t = &r->tables[i];

		buf_put_lp(all, t->schema, strlen(t->schema));
		buf_put_lp(all, t->table, strlen(t->table));
		buf_put_lp(all, t->fingerprint, strlen(t->fingerprint));
	}
	hash_schemas(l);
	put_hash(&l->text, "schema_version", &l->schema_version);
}

/* Of its values only how many there are. */
static void
put_input(struct buf *b, const struct record_input *in)
{
	const char *const object[] = { in->schema, in->table, in->column };

	jsonw_open(b, '{');
	put_text(b, "what", in->what);
	put_text(b, "origin", in->origin == INPUT_CLAIM ? "claim" : "server");
	if (in->column[0] != '\0') {
		jsonw_name(b, "object");
		jsonw_dotted(b, object, 3);
	}
	put_int(b, "statement", in->statement);
	put_int(b, "values", in->n_values);
	jsonw_close(b, '}');
}

static void
put_inputs(struct buf *b, const struct record *r)
{
	open_list(b, "inputs");
	if (r->now != NULL && r->now[0] != '\0') {
		jsonw_open(b, '{');
		put_text(b, "what", "now");
		put_text(b, "origin", "server");
		jsonw_close(b, '}');
	}
	for (size_t i = 0; i < r->n_inputs; i++)
		put_input(b, &r->inputs[i]);
	jsonw_close(b, ']');
}

static void
put_warnings(struct buf *b, const struct record *r)
{
	open_list(b, "warnings");
	for (size_t i = 0; i < r->n_warnings; i++) {
		jsonw_open(b, '{');
		put_text(b, "code", r->warnings[i].code);
		put_text(b, "function", r->warnings[i].function);
		put_text(b, "message", r->warnings[i].message);
		jsonw_close(b, '}');
	}
	jsonw_close(b, ']');
}

static void
put_session(struct buf *b, const struct record *r)
{
	put_text_or_null(b, "database", r->database);
	put_text_or_null(b, "user", r->user);
	put_text_or_null(b, "application_name", r->application_name);
	put_text_or_null(b, "client_addr", r->client_addr);
	put_text_or_null(b, "isolation", r->isolation);
	jsonw_name(b, "intent");
	jsonw_bool(b, r->intent);
}

/* Roots are left out, not empty, where there are no images. */
static void
put_images(struct line *l, const struct record *r, const struct line_context *c)
{
	struct buf *b = &l->text;

	if (!r->has_images)
		return;
	put_hash(b, "pre_root_captured", &r->pre_root);
	put_hash(b, "post_root_claimed", &r->post_root);
	put_pre_state_data(l, r);
	if (!c->row_data)
		return;
	jsonw_name(b, "rows");
	jsonw_value(b, line_rows(r));
}

void
line_record(struct line *l, uint64_t tx_id, const struct record *r,
    const struct line_context *c)
{
	struct buf *b = begin(l, "StateCommitmentRecord", STATE_RECORD, tx_id);

	l->change.xid = r->xid;
	l->change.system_identifier = c->system_identifier;
	l->change.has_roots = r->has_images;
	l->change.pre_root = r->pre_root;
	l->change.post_root = r->post_root;
	put_decimal(b, "xid", r->xid);
	put_decimal(b, "system_identifier", c->system_identifier);
	put_session(b, r);
	put_query_sequence(b, r, c->normalized);
	put_tables(b, r);
	put_images(l, r, c);
	put_schema_version(l, r);
	put_text(b, "capture", capture_class_name(r->capture));
	put_text_or_null(b, "capture_reason", r->capture_reason);
	put_inputs(b, r);
	put_warnings(b, r);
}

/* --- TransactionOutcome, VerificationResult --- */

void
line_outcome(
    struct line *l, uint64_t tx_id, const struct record_outcome_message *m)
{
	struct buf *b = begin(l, "TransactionOutcome", STATE_OUTCOME, tx_id);

	l->change.outcome = m->outcome;
	put_text(b, "outcome", record_outcome_name(m->outcome));
	put_text_or_null(b, "resolved_by", m->resolved_by);
	put_text_or_null(b, "reason", m->reason);
}

static json_t *
text_or_sql_null(const char *s)
{
	return s == NULL ? json_null() : jsonx_text(s);
}

static json_t *
mismatch_row(const struct verdict_mismatch *m)
{
	json_t *v = jsonx_object();

	for (size_t i = 0; i < m->n_row; i++)
		jsonx_set(
		    v, m->row[i].column, text_or_sql_null(m->row[i].value));
	return v;
}

static json_t *
mismatches(const struct verdict *v)
{
	json_t *list = jsonx_array();

	for (size_t i = 0; i < v->n_mismatches; i++) {
		const struct verdict_mismatch *m = &v->mismatches[i];
		json_t *one = jsonx_object();

		jsonx_set(one, "table", text_or_sql_null(m->table));
		jsonx_set(one, "row", mismatch_row(m));
		jsonx_set(one, "column", text_or_sql_null(m->column));
		jsonx_set(one, "claimed", text_or_sql_null(m->claimed));
		jsonx_set(one, "calculated", text_or_sql_null(m->calculated));
		jsonx_append(list, one);
	}
	return list;
}

static void
put_root_or_null(
    struct buf *b, const char *name, bool there, const struct merkle_hash *h)
{
	jsonw_name(b, name);
	if (there)
		jsonw_hash(b, h);
	else
		jsonw_null(b);
}

static void
put_compared(struct buf *b, const struct verdict *v)
{
	jsonw_name(b, "mismatches");
	if (v->n_mismatches > 0)
		jsonw_value(b, mismatches(v));
	else
		jsonw_null(b);
	jsonw_name(b, "statement");
	if (v->statement < 0)
		jsonw_null(b);
	else
		jsonw_int(b, (uint64_t)v->statement);
	jsonw_name(b, "replay_ms");
	jsonw_real(b, v->replay_ms);
}

void
line_verdict(struct line *l, const struct txn *x, const struct verdict *v,
    const char *bundle)
{
	struct buf *b = begin(l, "VerificationResult", STATE_VERDICT, x->tx_id);

	jsonw_name(b, "success");
	jsonw_bool(b, v->kind == VERDICT_VERIFIED);
	put_text(b, "verdict", verdict_kind_name(v->kind));
	put_text_or_null(b, "reason", v->reason);
	put_root_or_null(b, "pre_root_captured", x->has_roots, &x->pre_root);
	put_root_or_null(b, "post_root_claimed", x->has_roots, &x->post_root);
	put_root_or_null(
	    b, "post_root_calculated", v->has_root, &v->post_root_calculated);
	put_compared(b, v);
	jsonw_name(b, "bundle");
	if (bundle == NULL)
		jsonw_null(b);
	else
		jsonw_text(b, bundle);
}
