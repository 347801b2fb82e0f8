/*
 * schemachange.c: the fields of the evidence line SchemaChange.
 *
 * Owns nothing, blocks never.  Called by track.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "schemachange.h"

#include "buf.h"
#include "jsonx.h"
#include "scrub.h"

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
statements(const struct record *r, bool normalized)
{
	json_t *list = jsonx_array();

	for (size_t i = 0; i < r->n_statements; i++) {
		json_t *s = jsonx_object();

		jsonx_set(
		    s, "sql", statement_text(&r->statements[i], normalized));
		jsonx_set(s, "type", jsonx_text(r->statements[i].type));
		jsonx_append(list, s);
	}
	return list;
}

static json_t *
place(const struct spool_frame *f)
{
	json_t *at = jsonx_object();

	jsonx_set(at, "segment", jsonx_int(f->at.segment));
	jsonx_set(at, "offset", jsonx_int(f->at.offset));
	return at;
}

json_t *
schemachange_witnessed(
    const struct spool_frame *f, const struct record *r, bool normalized)
{
	json_t *v = jsonx_object();

	jsonx_set(v, "database", jsonx_text(r->database));
	jsonx_set(
	    v, "tx_id", f->tx_id == 0 ? json_null() : jsonx_int(f->tx_id));
	jsonx_set(v, "witnessed", json_true());
	jsonx_set(v, "old_version", json_null());
	jsonx_set(v, "new_version", json_null());
	jsonx_set(v, "difference", json_null());
	jsonx_set(v, "user", jsonx_text_or_null(r->user));
	jsonx_set(v, "statements", statements(r, normalized));
	jsonx_set(v, "reason", jsonx_text_or_null(r->capture_reason));
	jsonx_set(v, "spool", place(f));
	return v;
}
