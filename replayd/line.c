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
#include "jsonx.h"
#include "log.h"
#include "scrub.h"
#include "version.h"

#define EVIDENCE_FORMAT 1
#define MAX_CONFIG_FILE (16u << 20)

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

/* --- StateCommitmentRecord --- */

static json_t *
statement_text(const struct record_statement *s, bool normalized)
{
	struct buf b = { 0 };
	json_t *v;

	if (!normalized)
		return jsonx_textn(s->sql, s->sql_len);
	scrub_literals(s->sql, s->sql_len, &b);
	v = jsonx_textn(b.data, b.len);
	buf_free(&b);
	return v;
}

static json_t *
query_sequence(const struct record *r, bool normalized)
{
	json_t *list = jsonx_array();

	for (size_t i = 0; i < r->n_statements; i++) {
		json_t *s = jsonx_object();

		jsonx_set(
		    s, "sql", statement_text(&r->statements[i], normalized));
		jsonx_set(s, "params", jsonx_int((json_int_t)r->statements[i].n_params));
		jsonx_set(s, "type", jsonx_text(r->statements[i].type));
		jsonx_append(list, s);
	}
	return list;
}

/* "schema.table" for reading: not quoted, so not unambiguous. */
static json_t *
table_name(const struct record_table *t)
{
	struct buf b = { 0 };
	json_t *v;

	buf_printf(&b, "%s.%s", t->schema, t->table);
	v = jsonx_textn(b.data, b.len);
	buf_free(&b);
	return v;
}

static json_t *
key_columns(const struct rowenc_shape *s)
{
	json_t *list = jsonx_array();

	for (unsigned i = 0; i < s->n_key; i++)
		jsonx_append(list, jsonx_text(s->columns[s->key[i]].name));
	return list;
}

static json_t *
tables(const struct record *r)
{
	json_t *list = jsonx_array();

	for (size_t i = 0; i < r->n_tables; i++) {
		const struct record_table *t = &r->tables[i];
		json_t *v = jsonx_object();

		jsonx_set(v, "schema", jsonx_text(t->schema));
		jsonx_set(v, "table", jsonx_text(t->table));
		jsonx_set(v, "name", table_name(t));
		jsonx_set(v, "key", key_columns(&t->shape));
		jsonx_set(
		    v, "access", json_string(t->write ? "write" : "read"));
		if (r->has_images) {
			jsonx_set(v, "pre_rows", jsonx_int(t->n_before));
			jsonx_set(v, "post_rows", jsonx_int(t->n_after));
			jsonx_set(v, "pre_root", jsonx_hash(&t->pre_root));
			jsonx_set(v, "post_root", jsonx_hash(&t->post_root));
		}
		jsonx_append(list, v);
	}
	return list;
}

/* All rows before as one byte string: lp(row_bytes) each. */
static uint64_t
put_pre_state(const struct record *r, struct buf *out)
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

static json_t *
pre_state_data(const struct record *r)
{
	json_t *v = jsonx_object();
	struct buf b = { 0 };
	uint64_t bytes = put_pre_state(r, &b);
	struct merkle_part part;
	struct merkle_hash h;
	uint64_t rows = 0;

	for (size_t i = 0; i < r->n_tables; i++)
		rows += r->tables[i].n_before;
	part.data = b.len == 0 ? (const void *)"" : b.data;
	part.len = b.len;
	merkle_sha256(&part, 1, &h);
	buf_free(&b);
	jsonx_set(v, "rows", jsonx_int(rows));
	jsonx_set(v, "bytes", jsonx_int(bytes));
	jsonx_set(v, "sha256", jsonx_hash(&h));
	return v;
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
	struct rowenc_value *values = calloc(
	    s->n_columns + 1u, sizeof(*values));
	json_t *list = jsonx_array();

	if (values == NULL)
		log_fatal("out_of_memory", "no memory for a row");
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

static json_t *
schema_version(const struct record *r)
{
	struct buf b = { 0 };
	struct merkle_part part;
	struct merkle_hash h;

	if (r->n_tables == 0)
		return json_null();
	for (size_t i = 0; i < r->n_tables; i++) {
		const struct record_table *t = &r->tables[i];

		buf_put_lp(&b, t->schema, strlen(t->schema));
		buf_put_lp(&b, t->table, strlen(t->table));
		buf_put_lp(&b, t->fingerprint, strlen(t->fingerprint));
	}
	part.data = b.data;
	part.len = b.len;
	merkle_sha256(&part, 1, &h);
	buf_free(&b);
	return jsonx_hash(&h);
}

/* "schema.table.column" for reading, as table_name(). */
static json_t *
input_object(const struct record_input *in)
{
	struct buf b = { 0 };
	json_t *v;

	buf_printf(&b, "%s.%s.%s", in->schema, in->table, in->column);
	v = jsonx_textn(b.data, b.len);
	buf_free(&b);
	return v;
}

/* Of its values only how many there are. */
static json_t *
input(const struct record_input *in)
{
	json_t *v = jsonx_object();

	jsonx_set(v, "what", jsonx_text(in->what));
	jsonx_set(v, "origin",
	    json_string(in->origin == INPUT_CLAIM ? "claim" : "server"));
	if (in->column[0] != '\0')
		jsonx_set(v, "object", input_object(in));
	jsonx_set(v, "statement", jsonx_int(in->statement));
	jsonx_set(v, "values", jsonx_int((json_int_t)in->n_values));
	return v;
}

static json_t *
inputs(const struct record *r)
{
	json_t *list = jsonx_array();

	if (r->now != NULL && r->now[0] != '\0') {
		json_t *now = jsonx_object();

		jsonx_set(now, "what", json_string("now"));
		jsonx_set(now, "origin", json_string("server"));
		jsonx_append(list, now);
	}
	for (size_t i = 0; i < r->n_inputs; i++)
		jsonx_append(list, input(&r->inputs[i]));
	return list;
}

static json_t *
warnings(const struct record *r)
{
	json_t *list = jsonx_array();

	for (size_t i = 0; i < r->n_warnings; i++) {
		json_t *w = jsonx_object();

		jsonx_set(w, "code", jsonx_text(r->warnings[i].code));
		jsonx_set(w, "function", jsonx_text(r->warnings[i].function));
		jsonx_set(w, "message", jsonx_text(r->warnings[i].message));
		jsonx_append(list, w);
	}
	return list;
}

static void
set_session(json_t *v, const struct record *r)
{
	jsonx_set(v, "database", jsonx_text_or_null(r->database));
	jsonx_set(v, "user", jsonx_text_or_null(r->user));
	jsonx_set(
	    v, "application_name", jsonx_text_or_null(r->application_name));
	jsonx_set(v, "client_addr", jsonx_text_or_null(r->client_addr));
	jsonx_set(v, "isolation", jsonx_text_or_null(r->isolation));
	jsonx_set(v, "intent", json_boolean(r->intent));
}

/* Roots are left out, not empty, where there are no images. */
static void
set_images(json_t *v, const struct record *r, const struct line_context *c)
{
	if (!r->has_images)
		return;
	jsonx_set(v, "pre_root_captured", jsonx_hash(&r->pre_root));
	jsonx_set(v, "post_root_claimed", jsonx_hash(&r->post_root));
	jsonx_set(v, "pre_state_data", pre_state_data(r));
	if (c->row_data)
		jsonx_set(v, "rows", line_rows(r));
}

json_t *
line_record(
    uint64_t tx_id, const struct record *r, const struct line_context *c)
{
	json_t *v = jsonx_object();

	jsonx_set(v, "tx_id", jsonx_int(tx_id));
	jsonx_set(v, "xid", jsonx_decimal(r->xid));
	jsonx_set(v, "system_identifier", jsonx_decimal(c->system_identifier));
	set_session(v, r);
	jsonx_set(v, "query_sequence", query_sequence(r, c->normalized));
	jsonx_set(v, "tables", tables(r));
	set_images(v, r, c);
	jsonx_set(v, "schema_version", schema_version(r));
	jsonx_set(v, "capture", json_string(capture_class_name(r->capture)));
	jsonx_set(v, "capture_reason", jsonx_text_or_null(r->capture_reason));
	jsonx_set(v, "inputs", inputs(r));
	jsonx_set(v, "warnings", warnings(r));
	return v;
}

/* --- TransactionOutcome, VerificationResult --- */

json_t *
line_outcome(uint64_t tx_id, const struct record_outcome_message *m)
{
	json_t *v = jsonx_object();

	jsonx_set(v, "tx_id", jsonx_int(tx_id));
	jsonx_set(v, "outcome", json_string(record_outcome_name(m->outcome)));
	jsonx_set(v, "resolved_by", jsonx_text_or_null(m->resolved_by));
	jsonx_set(v, "reason", jsonx_text_or_null(m->reason));
	return v;
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
	json_t *list;

	if (v->n_mismatches == 0)
		return json_null();
	list = jsonx_array();
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

static json_t *
root_or_null(bool there, const struct merkle_hash *h)
{
	return there ? jsonx_hash(h) : json_null();
}

json_t *
line_verdict(const struct txn *x, const struct verdict *v, const char *bundle)
{
	json_t *o = jsonx_object();

	jsonx_set(o, "tx_id", jsonx_int(x->tx_id));
	jsonx_set(o, "success", json_boolean(v->kind == VERDICT_VERIFIED));
	jsonx_set(o, "verdict", json_string(verdict_kind_name(v->kind)));
	jsonx_set(o, "reason", jsonx_text_or_null(v->reason));
	jsonx_set(
	    o, "pre_root_captured", root_or_null(x->has_roots, &x->pre_root));
	jsonx_set(
	    o, "post_root_claimed", root_or_null(x->has_roots, &x->post_root));
	jsonx_set(o, "post_root_calculated",
	    root_or_null(v->has_root, &v->post_root_calculated));
	jsonx_set(o, "mismatches", mismatches(v));
	jsonx_set(o, "statement",
	    v->statement < 0 ? json_null() : jsonx_int((uint64_t)v->statement));
	jsonx_set(o, "replay_ms", json_real(v->replay_ms));
	jsonx_set(o, "bundle", text_or_sql_null(bundle));
	return o;
}
