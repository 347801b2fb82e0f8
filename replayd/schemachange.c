/*
 * schemachange.c: the fields of the evidence line SchemaChange.
 *
 * Owns nothing, blocks never.  Called by track.c; drift.c in a worker encodes.
 *
 * Message of a worker: u8 WORKER_CHANGE, database schema table reason, each
 * with its NUL, and old and new: u8 whether there is one, text with its NUL.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "schemachange.h"

#include <string.h>

#include "jsonx.h"
#include "merkle.h"
#include "scrub.h"
#include "worker.h"

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

/* --- what a worker found --- */

void
schemachange_encode(const struct schemachange *c, struct buf *out)
{
	size_t at = out->len;

	buf_put_u32(out, 0);
	buf_put_u8(out, WORKER_CHANGE);
	buf_put_cstr(out, c->database);
	buf_put_cstr(out, c->schema);
	buf_put_cstr(out, c->table);
	buf_put_cstr(out, c->reason);
	buf_put_maybe(out, c->old);
	buf_put_maybe(out, c->new);
	buf_set_u32(out, at, (uint32_t)(out->len - at - 4));
}

static bool
decode(const uint8_t *bytes, size_t n, struct schemachange *c)
{
	struct rd r = rd_init(bytes, n);

	if (rd_u8(&r) != WORKER_CHANGE)
		return false;
	c->database = rd_cstr(&r);
	c->schema = rd_cstr(&r);
	c->table = rd_cstr(&r);
	c->reason = rd_cstr(&r);
	c->old = rd_maybe(&r);
	c->new = rd_maybe(&r);
	return !r.bad && rd_left(&r) == 0;
}

static json_t *
version(const char *text)
{
	struct merkle_part part = { text, text == NULL ? 0 : strlen(text) };
	struct merkle_hash hash;

	if (text == NULL)
		return json_null();
	merkle_sha256(&part, 1, &hash);
	return jsonx_hash(&hash);
}

/* text has this line. */
static bool
has_line(const char *text, const char *line, size_t len)
{
	while (text != NULL) {
		size_t n = strcspn(text, "\n");

		if (n == len && memcmp(text, line, len) == 0)
			return true;
		text = text[n] == '\n' ? text + n + 1 : NULL;
	}
	return false;
}

/* The lines of a that b has not. */
static json_t *
lines_without(const char *a, const char *b)
{
	json_t *list = jsonx_array();

	while (a != NULL) {
		size_t n = strcspn(a, "\n");

		if (!has_line(b, a, n))
			jsonx_append(list, jsonx_textn(a, n));
		a = a[n] == '\n' ? a + n + 1 : NULL;
	}
	return list;
}

static json_t *
difference(const struct schemachange *c)
{
	json_t *v = jsonx_object();

	jsonx_set(v, "schema", jsonx_text(c->schema));
	jsonx_set(v, "table", jsonx_text(c->table));
	jsonx_set(v, "change",
	    json_string(c->old == NULL   ? "added"
			: c->new == NULL ? "dropped"
					 : "changed"));
	jsonx_set(v, "added", lines_without(c->new, c->old));
	jsonx_set(v, "removed", lines_without(c->old, c->new));
	return v;
}

json_t *
schemachange_found(const uint8_t *bytes, size_t n)
{
	struct schemachange c;
	json_t *v;

	if (!decode(bytes, n, &c))
		return NULL;
	v = jsonx_object();
	jsonx_set(v, "database", jsonx_text(c.database));
	jsonx_set(v, "tx_id", json_null());
	jsonx_set(v, "witnessed", json_false());
	jsonx_set(v, "old_version", version(c.old));
	jsonx_set(v, "new_version", version(c.new));
	jsonx_set(v, "difference", difference(&c));
	jsonx_set(v, "reason", jsonx_text_or_null(c.reason));
	return v;
}
