/*
 * job_sql.c: the text of a job's own statements and of its array literals.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "job_sql.h"

#include <string.h>

/* Appends the name quoted; false if it is not text of the encoding. */
static bool
put_identifier(struct buf *b, PGconn *conn, const char *name)
{
	char *q = PQescapeIdentifier(conn, name, strlen(name));

	if (q == NULL)
		return false;
	buf_put_str(b, q);
	PQfreemem(q);
	return true;
}

bool
job_put_table(struct buf *b, PGconn *conn, const struct record_table *t)
{
	if (!put_identifier(b, conn, t->schema))
		return false;
	buf_put_u8(b, '.');
	return put_identifier(b, conn, t->table);
}

/* The columns that are given values: all but the generated ones. */
static bool
put_columns(
    struct buf *b, PGconn *conn, const struct rowenc_shape *s, unsigned *n)
{
	*n = 0;
	for (unsigned i = 0; i < s->n_columns; i++) {
		if (s->columns[i].generated != 0)
			continue;
		buf_put_str(b, (*n)++ == 0 ? " (" : ", ");
		if (!put_identifier(b, conn, s->columns[i].name))
			return false;
	}
	return true;
}

bool
job_load_sql(struct buf *b, PGconn *conn, const char *token,
    const struct record_table *t)
{
	unsigned n;

	buf_printf(b, "/*%s*/ INSERT INTO ", token);
	if (!job_put_table(b, conn, t))
		return false;
	buf_put_str(b, " AS t");
	if (!put_columns(b, conn, &t->shape, &n))
		return false;
	buf_put_str(b,
	    n == 0 ? " DEFAULT VALUES" : ") OVERRIDING SYSTEM VALUE VALUES (");
	for (unsigned i = 1; i <= n; i++)
		buf_printf(b, i == 1 ? "$%u" : ", $%u", i);
	buf_put_cstr(
	    b, n == 0 ? " RETURNING ROW(t.*)" : ") RETURNING ROW(t.*)");
	return true;
}

bool
job_read_sql(struct buf *b, PGconn *conn, const char *token,
    const struct record_table *t)
{
	buf_printf(b, "/*%s*/ SELECT ROW(t.*) FROM ONLY ", token);
	if (!job_put_table(b, conn, t))
		return false;
	buf_put_cstr(b, " AS t");
	return true;
}

void
job_put_element(struct buf *b, const void *text, size_t len)
{
	const char *p = text;

	buf_put_u8(b, b->len == 0 ? '{' : ',');
	if (text == NULL) {
		buf_put_str(b, "NULL");
		return;
	}
	buf_put_u8(b, '"');
	for (size_t i = 0; i < len; i++) {
		if (p[i] == '"' || p[i] == '\\')
			buf_put_u8(b, '\\');
		buf_put_u8(b, (uint8_t)p[i]);
	}
	buf_put_u8(b, '"');
}

const char *
job_end_array(struct buf *b)
{
	if (b->len == 0)
		buf_put_u8(b, '{');
	buf_put_cstr(b, "}");
	return (const char *)b->data;
}
