/*
 * copy_rows.c: reads back the rows that a COPY FROM has just inserted.
 *
 * COPY has no RETURNING.  A row is this COPY's if its xmin is an xid that this
 * session holds now and no other of them was inserted by a later command (of
 * those that this transaction wrote before, cmin is less).  The search is:
 *
 *	the end of the table, where there is no free space before it
 *	by the primary keys in the data, where they are given there
 *	all of the table, up to SCAN_PAGES
 *
 * and each is believed only if it gives as many rows as the command tag says
 * and, but for the last, none that the transaction left there before.  In
 * SERIALIZABLE nothing is read: it would make other transactions fail.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "copy_rows.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "copydata.h"
#include "exchange.h"
#include "log.h"
#include "ownrows.h"
#include "rowtext.h"
#include "txn.h"

/* A table of more pages is not read as a whole for the rows of one COPY. */
#define SCAN_PAGES 16384
/* Keys that are asked for in one statement. */
#define KEYS_AT_ONCE 10000
/* The end of the table: bytes for a row beside its text, and for a column. */
#define ROW_BYTES 64
#define COLUMN_BYTES 16
/* A page's worth of rows; fillfactor and other sessions take the rest. */
#define PAGE_BYTES 4096
#define PAGES_MORE 8

#define EQ " OPERATOR(pg_catalog.=) "

static void
put_statement(struct session *s, struct buf *sql)
{
	buf_put_u8(sql, 0);
	exchange_put(s, (const char *)sql->data, NULL, 0);
	buf_free(sql);
}

/* As many pages as the rows can have filled. */
static void
put_end(struct session *s, const struct copy_rows *r)
{
	size_t row = ROW_BYTES +
		     COLUMN_BYTES * (size_t)r->table->shape.n_columns;
	size_t pages = (r->len + row * r->count) / PAGE_BYTES + PAGES_MORE;
	struct buf sql = { 0 };

	ownrows_put_select(&sql, r->table, r->in_utc);
	ownrows_put_end(&sql, r->table, pages);
	put_statement(s, &sql);
}

static void
put_whole(struct session *s, const struct copy_rows *r)
{
	struct buf sql = { 0 };

	ownrows_put_select(&sql, r->table, r->in_utc);
	ownrows_put_limit(&sql, r->table, SCAN_PAGES);
	put_statement(s, &sql);
}

/* --- by key --- */

/* Where the primary key is in the data, and its values for one statement. */
struct keys {
	const struct copy_rows *r;
	struct copydata_options options;
	size_t n_fields;    /* of each row of the data */
	size_t *field;      /* of each key column */
	struct buf *values; /* of each key column: an array as text */
	size_t n;           /* keys that these have */
	size_t n_statements;
};

/* The place of a column in the data; n_fields if it is not there. */
static size_t
field_of(const struct copy_rows *r, const char *name, size_t *n_fields)
{
	const struct rowenc_shape *sh = &r->table->shape;
	size_t at = SIZE_MAX, n = 0;

	if (r->stmt->n_columns > 0) {
		for (n = 0; n < r->stmt->n_columns; n++)
			if (strcmp(r->stmt->columns[n], name) == 0)
				at = n;
	} else {
		for (unsigned i = 0; i < sh->n_columns; i++) {
			if (sh->columns[i].generated != 0)
				continue;
			if (strcmp(sh->columns[i].name, name) == 0)
				at = n;
			n++;
		}
	}
	*n_fields = n;
	return at == SIZE_MAX ? n : at;
}

/* Of these the bytes on the wire are understood. */
static bool
binary_is_known(const char *type)
{
	return strcmp(type, "integer") == 0 || strcmp(type, "bigint") == 0 ||
	       strcmp(type, "smallint") == 0 || strcmp(type, "text") == 0 ||
	       strcmp(type, "uuid") == 0 ||
	       strncmp(type, "character varying", 17) == 0;
}

/* An array of arrays is not what is meant by one. */
static bool
type_is_array(const char *type)
{
	size_t n = strlen(type);

	return n > 0 && type[n - 1] == ']';
}

static bool
keys_find(struct keys *k)
{
	const struct rowenc_shape *sh = &k->r->table->shape;
	const struct analyzed_copy *copy = k->r->stmt->copy;

	if (sh->n_key == 0 || !copy->known || k->r->len == 0 ||
	    (copy->encoding != NULL && strcasecmp(copy->encoding, "UTF8") != 0))
		return false;
	for (unsigned i = 0; i < sh->n_key; i++) {
		const struct rowenc_column *col = &sh->columns[sh->key[i]];

		k->field[i] = field_of(k->r, col->name, &k->n_fields);
		if (k->field[i] == k->n_fields || type_is_array(col->type) ||
		    ((copy->options.format == COPYDATA_BINARY ||
			 k->r->in_batch) &&
			!binary_is_known(col->type)))
			return false;
	}
	return true;
}

/* FORCE_NULL makes no key, but FORCE_NOT_NULL may. */
static const bool *
forced(const struct keys *k, const char **names, size_t n)
{
	bool *force = arena_zalloc(k->r->session->txn->arena, k->n_fields + 1);
	size_t n_fields;

	for (size_t i = 0; force != NULL && i < n; i++)
		force[field_of(k->r, names[i], &n_fields)] = true;
	return force;
}

/* A number of that many bits, written plainly. */
static bool
is_integer(const struct rowenc_value *v, int bits)
{
	size_t sign = v->len > 0 && v->data[0] == '-' ? 1 : 0;
	int64_t n = 0, max = INT64_MAX >> (64 - bits);

	for (size_t i = sign; i < v->len; i++) {
		if (v->data[i] < '0' || v->data[i] > '9' ||
		    n > (max - (v->data[i] - '0')) / 10)
			return false;
		n = n * 10 + (v->data[i] - '0');
	}
	return v->len > sign;
}

static bool
is_uuid(const struct rowenc_value *v)
{
	for (size_t i = 0; i < v->len; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23
			? v->data[i] != '-'
			: !isxdigit(v->data[i]))
			return false;
	return v->len == 36;
}

/*
 * Its type takes it for sure: of those whose bytes are understood, and of
 * text, which was valid in the data.
 */
static bool
is_sure(const struct keys *k, const char *type, const struct rowenc_value *v)
{
	bool binary = k->options.format == COPYDATA_BINARY;

	if (strcmp(type, "uuid") == 0)
		return binary ? v->len == 16 : is_uuid(v);
	if (binary || strcmp(type, "text") == 0 || type[0] == 'c')
		return true;
	return is_integer(v, strcmp(type, "smallint") == 0  ? 16
			     : strcmp(type, "integer") == 0 ? 32
							    : 64);
}

/* A binary integer or uuid as text; others are text already. */
static void
put_binary(struct buf *b, const char *type, const struct rowenc_value *v)
{
	struct rd r = rd_init(v->data, v->len);

	if (strcmp(type, "smallint") == 0)
		buf_printf(b, "%d", (int16_t)rd_u16(&r));
	else if (strcmp(type, "integer") == 0)
		buf_printf(b, "%d", (int32_t)rd_u32(&r));
	else if (strcmp(type, "bigint") == 0)
		buf_printf(b, "%lld", (long long)(int64_t)rd_u64(&r));
	else
		for (size_t i = 0; i < v->len; i++)
			buf_printf(b, "%02x", v->data[i]);
}

static void
put_quoted(struct buf *b, const struct rowenc_value *v)
{
	for (size_t i = 0; i < v->len; i++) {
		if (v->data[i] == '"' || v->data[i] == '\\')
			buf_put_u8(b, '\\');
		buf_put_u8(b, v->data[i]);
	}
}

static void
keys_add(struct keys *k, const struct rowenc_value *fields)
{
	const struct rowenc_shape *sh = &k->r->table->shape;

	/*
	 * COPY's WHERE did not let it pass, or it would have failed; in a
	 * batch an error could not be undone.
	 */
	for (unsigned i = 0; i < sh->n_key; i++)
		if (fields[k->field[i]].data == NULL ||
		    (k->r->in_batch && !is_sure(k, sh->columns[sh->key[i]].type,
					   &fields[k->field[i]])))
			return;
	for (unsigned i = 0; i < sh->n_key; i++) {
		const char *type = sh->columns[sh->key[i]].type;
		const struct rowenc_value *v = &fields[k->field[i]];
		struct buf *b = &k->values[i];

		buf_put_str(b, k->n == 0 ? "{\"" : ",\"");
		if (k->options.format != COPYDATA_BINARY ||
		    strcmp(type, "text") == 0 || type[0] == 'c')
			put_quoted(b, v);
		else
			put_binary(b, type, v);
		buf_put_u8(b, '"');
	}
	k->n++;
}

/* (t.a, t.b) = ANY (SELECT the keys), as one more condition. */
static void
keys_put_condition(const struct keys *k, struct buf *sql)
{
	const struct rowenc_shape *sh = &k->r->table->shape;

	buf_put_str(sql, " AND ");
	for (unsigned i = 0; i < sh->n_key; i++) {
		buf_put_str(sql, i == 0 ? "(t." : ", t.");
		catalog_quote(sql, sh->columns[sh->key[i]].name);
	}
	buf_put_str(sql, ")" EQ "ANY (SELECT");
	for (unsigned i = 0; i < sh->n_key; i++)
		buf_printf(sql, "%s k.c%u", i == 0 ? "" : ",", i);
	buf_put_str(sql, " FROM ROWS FROM (");
	for (unsigned i = 0; i < sh->n_key; i++)
		buf_printf(sql, "%spg_catalog.unnest(CAST($%u AS %s[]))",
		    i == 0 ? "" : ", ", i + 1, sh->columns[sh->key[i]].type);
	buf_put_str(sql, ") AS k");
	for (unsigned i = 0; i < sh->n_key; i++)
		buf_printf(sql, "%sc%u", i == 0 ? "(" : ", ", i);
	buf_put_str(sql, "))");
}

static void
keys_put(struct session *s, struct keys *k)
{
	unsigned n = k->r->table->shape.n_key;
	struct record_param *params = arena_zalloc(
	    s->txn->arena, n * sizeof(*params));
	struct buf sql = { 0 };

	if (k->n == 0)
		return;
	ownrows_put_select(&sql, k->r->table, k->r->in_utc);
	keys_put_condition(k, &sql);
	buf_put_u8(&sql, 0);
	for (unsigned i = 0; i < n && params != NULL; i++) {
		buf_put_u8(&k->values[i], '}');
		params[i].value = k->values[i].data;
		params[i].len = k->values[i].len;
	}
	if (params != NULL) {
		exchange_put_bound(s, (const char *)sql.data, params, n);
		k->n_statements++;
	}
	for (unsigned i = 0; i < n; i++)
		buf_reset(&k->values[i]);
	buf_free(&sql);
	k->n = 0;
}

/* False: the data was not what it seemed; what was put still has answers. */
static bool
keys_put_all(struct session *s, struct keys *k)
{
	struct rowenc_value *fields = arena_alloc(
	    s->txn->arena, (k->n_fields + 1) * sizeof(*fields));
	enum copydata_answer a;
	struct copydata c;
	size_t n;

	if (fields == NULL)
		return false;
	copydata_open(&c, &k->options, k->r->data, k->r->len);
	while (
	    (a = copydata_row(&c, fields, k->n_fields, &n)) == COPYDATA_ROW &&
	    n == k->n_fields) {
		keys_add(k, fields);
		if (k->n == KEYS_AT_ONCE)
			keys_put(s, k);
	}
	keys_put(s, k);
	copydata_close(&c);
	return a == COPYDATA_END;
}

/* Queues the question; 0: keys are not in the data. */
static size_t
put_by_keys(struct session *s, const struct copy_rows *r)
{
	unsigned n = r->table->shape.n_key;
	const struct analyzed_copy *copy = r->stmt->copy;
	struct keys k = { .r = r };

	k.field = arena_zalloc(s->txn->arena, (n + 1) * sizeof(*k.field));
	k.values = arena_zalloc(s->txn->arena, (n + 1) * sizeof(*k.values));
	if (k.field == NULL || k.values == NULL || !keys_find(&k))
		return 0;
	k.options = copy->options;
	k.options.force_null = forced(&k, copy->force_null, copy->n_force_null);
	k.options.force_not_null = forced(
	    &k, copy->force_not_null, copy->n_force_not_null);
	if (!keys_put_all(s, &k))
		log_debug("copy_rows", "the data was not understood");
	for (unsigned i = 0; i < n; i++)
		buf_free(&k.values[i]);
	return k.n_statements;
}

/* --- reading --- */

static uint64_t
number(const struct exchange_value *v)
{
	uint64_t n = 0;

	for (size_t i = 0; v->data != NULL && i < v->len; i++)
		n = n * 10 + (uint64_t)(v->data[i] - '0');
	return n;
}

static bool
add_row(struct copy_rows *r, const struct exchange_value *text)
{
	struct arena *a = r->session->txn->arena;
	struct rowenc_row *list = arena_grow(
	    a, r->rows, r->n - 1, &r->cap, sizeof(*list));
	size_t limit = (size_t)r->session->config->max_capture_bytes;

	arena_reset(r->scratch);
	if (list != NULL)
		r->rows = list;
	if (list != NULL && rowtext_decode(a, r->scratch, r->table, r->in_utc,
				text, &list[r->n - 1]))
		return true;
	r->reason = rowtext_is_withheld(r->table, text) ? "settings"
		    : list == NULL || arena_used(a) + text->len > limit / 2
			? "max_capture_bytes"
			: "undecodable_row";
	return false;
}

/* Rows of earlier commands go when one of a later is seen. */
static bool
take_row(void *arg, const struct message *m)
{
	struct copy_rows *r = arg;
	struct exchange_value v[2];
	uint64_t command;

	if (r->reason != NULL)
		return false;
	if (!exchange_row_values(m, v, 2)) {
		r->reason = "undecodable_row";
		return false;
	}
	command = number(&v[1]);
	if (command < r->command)
		return true;
	if (command > r->command)
		r->n = 0;
	r->command = command;
	/* More than there can be are counted, no more. */
	return r->n++ >= r->count || add_row(r, &v[0]);
}

static bool
is_complete(const struct copy_rows *r)
{
	if (r->reason != NULL || r->n != r->count)
		return false;
	for (size_t i = 0; i < r->n; i++)
		if (txn_left_row(r->session->txn, r->table, &r->rows[i]))
			return false;
	return true;
}

/* The answers to so many statements, and their Sync. */
static enum exchange_end
read_answers(struct session *s, struct copy_rows *r, size_t statements)
{
	enum exchange_end end = EXCHANGE_DONE;
	struct exchange_error why = { "", "" };

	r->n = 0;
	r->command = 0;
	if (r->in_batch)
		wire_put_empty(&s->server, PqMsg_Flush);
	else
		exchange_put_sync(s);
	for (size_t i = 0; i < statements && end == EXCHANGE_DONE; i++)
		end = exchange_read(s, take_row, r, &why, &r->error);
	if (end == EXCHANGE_LOST ||
	    (!r->in_batch &&
		exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST))
		return EXCHANGE_LOST;
	if (end == EXCHANGE_ERROR)
		log_debug("copy_rows", "%s: %s", why.sqlstate, why.message);
	return end;
}

/* It fails if the savepoint was not even made. */
static enum copy_rows_end
undo(struct session *s)
{
	enum exchange_end end = EXCHANGE_DONE;

	exchange_put(s, "ROLLBACK TO SAVEPOINT pgwitness", NULL, 0);
	exchange_put(s, COPY_ROWS_RELEASE, NULL, 0);
	exchange_put_sync(s);
	for (int i = 0; i < 2 && end == EXCHANGE_DONE; i++)
		end = exchange_read(s, NULL, NULL, NULL, NULL);
	if (end == EXCHANGE_LOST ||
	    exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return COPY_ROWS_LOST;
	return end == EXCHANGE_DONE ? COPY_ROWS_INCOMPLETE : COPY_ROWS_ERROR;
}

/* One way after the other; EXCHANGE_DONE: found, or r->reason. */
static enum exchange_end
search(struct session *s, struct copy_rows *r)
{
	enum exchange_end end;
	size_t statements;

	if (!r->in_batch)
		exchange_put(s, "SAVEPOINT pgwitness", NULL, 0);
	put_end(s, r);
	end = read_answers(s, r, r->in_batch ? 1 : 2);
	if (end != EXCHANGE_DONE || r->reason != NULL || is_complete(r))
		return end;
	statements = put_by_keys(s, r);
	if (statements > 0) {
		end = read_answers(s, r, statements);
		if (end != EXCHANGE_DONE || r->reason != NULL || is_complete(r))
			return end;
	}
	put_whole(s, r);
	end = read_answers(s, r, 1);
	if (r->reason == NULL && r->n != r->count)
		r->reason = "copy_rows";
	return end;
}

enum copy_rows_end
copy_rows_read(struct session *s, struct copy_rows *r)
{
	enum exchange_end end;

	r->session = s;
	r->in_utc = rowtext_needs_utc(s, r->table);
	r->scratch = arena_new(0);
	end = search(s, r);
	arena_free(r->scratch);
	if (end == EXCHANGE_LOST)
		return COPY_ROWS_LOST;
	if (end == EXCHANGE_DONE && r->reason == NULL)
		return COPY_ROWS_FOUND;
	if (r->in_batch)
		return end == EXCHANGE_DONE ? COPY_ROWS_INCOMPLETE
					    : COPY_ROWS_ERROR;
	if (r->reason == NULL)
		r->reason = "copy_rows";
	return undo(s);
}
