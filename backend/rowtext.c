/*
 * rowtext.c: a table's row as one column of a query, and back.
 *
 * Texts depend on settings, which code of users may change in the middle of a
 * statement: a function in its WHERE clause, a trigger before RETURNING, which
 * another one takes back.  So a row is printed only if they are right at that
 * moment, and by the expression that looks at them: RETURNING's records would
 * be printed when all triggers have run.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "rowtext.h"

#include <string.h>

#define EQ " OPERATOR(pg_catalog.=) "

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

/* What prints as it shall; SENSITIVE_TIMEZONE: unless it is converted. */
static const struct {
	unsigned sensitive;
	const char *condition;
} conditions[] = {
	{ SENSITIVE_DATESTYLE, "pg_catalog.starts_with("
			       "pg_catalog.current_setting('DateStyle'), 'ISO')" },
	{ SENSITIVE_INTERVALSTYLE,
	    "pg_catalog.current_setting('IntervalStyle')" EQ "'postgres'" },
	/* 1 to 3 print the same since PostgreSQL 12. */
	{ SENSITIVE_FLOAT, "pg_catalog.current_setting('extra_float_digits')"
	    EQ "ANY (CAST('{1,2,3}' AS pg_catalog.text[]))" },
	{ SENSITIVE_BYTEA,
	    "pg_catalog.current_setting('bytea_output')" EQ "'hex'" },
	{ SENSITIVE_MONEY,
	    "pg_catalog.current_setting('lc_monetary')" EQ "'C'" },
	{ SENSITIVE_TIMEZONE | SENSITIVE_UTC,
	    "pg_catalog.current_setting('TimeZone')"
	    EQ "ANY (CAST('{UTC,Etc/UTC}' AS pg_catalog.text[]))" },
	{ SENSITIVE_NAMES, "false" },
};

static unsigned
depends_on(const struct catalog_table *t, bool in_utc)
{
	return in_utc ? t->sensitive & ~SENSITIVE_TIMEZONE : t->sensitive;
}

static void
put_conditions(struct buf *b, unsigned sensitive)
{
	const char *sep = "";

	for (size_t i = 0; i < sizeof(conditions) / sizeof(*conditions); i++) {
		if ((conditions[i].sensitive & sensitive) == 0)
			continue;
		buf_put_str(b, sep);
		buf_put_str(b, conditions[i].condition);
		sep = " AND ";
	}
}

static void
put_row(
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

/* Of ROW(t.*), or without that of t.* alone. */
static void
put_text(struct buf *b, const struct catalog_table *t, const char *ref,
    bool in_utc, bool row)
{
	buf_put_str(b, "CAST(");
	if (row) {
		put_row(b, t, ref, in_utc);
	} else {
		catalog_quote(b, ref);
		buf_put_str(b, ".*");
	}
	buf_put_str(b, " AS pg_catalog.text)");
}

/* NULL under other settings. */
static void
put_if_canonical(struct buf *b, const struct catalog_table *t, const char *ref,
    bool in_utc, bool row)
{
	unsigned sensitive = depends_on(t, in_utc);

	if (sensitive != 0) {
		buf_put_str(b, "CASE WHEN ");
		put_conditions(b, sensitive);
		buf_put_str(b, " THEN ");
	}
	put_text(b, t, ref, in_utc, row);
	if (sensitive != 0)
		buf_put_str(b, " END");
}

void
rowtext_put(
    struct buf *b, const struct catalog_table *t, const char *ref, bool in_utc)
{
	if (depends_on(t, in_utc) == 0)
		put_row(b, t, ref, in_utc);
	else
		put_if_canonical(b, t, ref, in_utc, true);
}

void
rowtext_put_text(
    struct buf *b, const struct catalog_table *t, const char *ref, bool in_utc)
{
	put_if_canonical(b, t, ref, in_utc, in_utc);
}

bool
rowtext_is_withheld(
    const struct catalog_table *t, const struct exchange_value *text)
{
	return text->data == NULL && t->sensitive != 0;
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
