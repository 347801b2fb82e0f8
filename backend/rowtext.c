/*
 * rowtext.c: a table's row as one column of a query, and back.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "rowtext.h"

#include <string.h>

bool
rowtext_encoding_ok(const struct session *s)
{
	const char *client = session_parameter(s, PARAMETER_CLIENT_ENCODING);
	const char *server = session_parameter(s, PARAMETER_SERVER_ENCODING);

	return strcmp(client, "UTF8") == 0 ||
	       (strcmp(client, "SQL_ASCII") == 0 &&
		   strcmp(server, client) == 0);
}

bool
rowtext_needs_utc(const struct session *s, const struct catalog_table *t)
{
	const char *tz = session_parameter(s, PARAMETER_TIMEZONE);

	return (t->sensitive & SENSITIVE_TIMEZONE) != 0 &&
	       strcmp(tz, "UTC") != 0 && strcmp(tz, "Etc/UTC") != 0;
}

void
rowtext_put(
    struct buf *b, const struct catalog_table *t, const char *ref, bool in_utc)
{
	const struct rowenc_shape *sh = &t->shape;
	const char *sep = "";

	buf_put_str(b, "ROW(");
	for (unsigned i = 0; in_utc && i < sh->n_columns; i++) {
		bool convert = t->columns[i].sensitive & SENSITIVE_TIMEZONE;

		buf_put_str(b, sep);
		if (convert)
			buf_put_str(b, "pg_catalog.timezone('UTC', ");
		catalog_quote(b, ref);
		buf_put_u8(b, '.');
		catalog_quote(b, sh->columns[i].name);
		if (convert)
			buf_put_u8(b, ')');
		sep = ", ";
	}
	if (!in_utc) {
		catalog_quote(b, ref);
		buf_put_str(b, ".*");
	}
	buf_put_u8(b, ')');
}

void
rowtext_put_text(
    struct buf *b, const struct catalog_table *t, const char *ref, bool in_utc)
{
	buf_put_str(b, "CAST(");
	if (in_utc) {
		rowtext_put(b, t, ref, in_utc);
	} else {
		catalog_quote(b, ref);
		buf_put_str(b, ".*");
	}
	buf_put_str(b, " AS pg_catalog.text)");
}

/* timezone('UTC', x) printed: say that it is UTC, before " BC". */
static bool
mark_utc(struct arena *a, struct rowenc_value *v)
{
	size_t keep = v->len;
	char *text;

	if (v->data == NULL || v->len == 0 || v->data[v->len - 1] == 'y')
		return true; /* infinity */
	if (v->len > 3 && memcmp(v->data + v->len - 3, " BC", 3) == 0)
		keep -= 3;
	text = arena_alloc(a, v->len + 3);
	if (text == NULL)
		return false;
	memcpy(text, v->data, keep);
	memcpy(text + keep, "+00", 3);
	memcpy(text + keep + 3, v->data + keep, v->len - keep);
	v->data = (const uint8_t *)text;
	v->len += 3;
	return true;
}

bool
rowtext_decode(struct arena *a, struct arena *scratch,
    const struct catalog_table *t, bool in_utc,
    const struct exchange_value *text, struct rowenc_row *out)
{
	const struct rowenc_shape *sh = &t->shape;
	struct rowenc_value *v = arena_alloc(
	    scratch, (sh->n_columns + 1) * sizeof(*v));

	if (v == NULL || text->data == NULL ||
	    !rowenc_split_composite(
		text->data, text->len, scratch, v, sh->n_columns))
		return false;
	for (unsigned i = 0; in_utc && i < sh->n_columns; i++)
		if ((t->columns[i].sensitive & SENSITIVE_TIMEZONE) &&
		    !mark_utc(scratch, &v[i]))
			return false;
	return rowenc_encode(sh, v, a, out);
}
