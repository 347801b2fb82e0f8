/*
 * record.c: the bytes of a transaction's record, and of its outcome.
 *
 * Numbers are big-endian, strings end with NUL, lists begin with a u32 count:
 *
 *	u8 format  u8 flags  u8 capture  u64 xid  u64 time
 *	now database user application_name client_addr isolation
 *	capture_reason unverifiable doubt
 *	statements  {lp(sql) NUL type  params}
 *	params      {u32 type  u8 format  u8 is NULL  lp(value)}
 *	warnings    {code function message}
 *	settings    {name value}
 *	inputs      {u32 statement  what  u8 origin  schema table column
 *	            values {u8 is NULL  lp(value)}}
 *	tables      {schema table fingerprint definition  u8 flags  u32 oid  columns
 *	            and with images: pre_root post_root before after}
 *	columns     {name type  u32 key  u8 identity  u8 generated}
 *	rows        {lp(id) lp(bytes)  u32 statement}
 *	with images: pre_root post_root
 *
 * A statement of type "COPY" is a COPY FROM STDIN; it has one param: all that
 * the client sent in CopyData messages, one behind the other, format as in the
 * server's CopyInResponse.  Its text says the rest; replay runs both as they
 * are.
 *
 * The decoder believes nothing: it reads what crossed shared memory, which a
 * hostile client's child may have written.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "record.h"

#include <stdlib.h>
#include <string.h>

#define FLAG_INTENT 1u
#define FLAG_IMAGES 2u
/* of a table */
#define FLAG_WRITE 1u
#define FLAG_WHOLE 2u

/* PostgreSQL's limit for a table, MaxHeapAttributeNumber. */
#define MAX_COLUMNS 1600u

/* Least bytes of one element: a count that cannot fit is refused early. */
#define STATEMENT_MIN 10u
#define PARAM_MIN 10u
#define WARNING_MIN 3u
#define SETTING_MIN 2u
#define INPUT_MIN 13u
#define VALUE_MIN 5u
#define TABLE_MIN 13u
#define COLUMN_MIN 8u
#define ROW_MIN 12u

static const char *const capture_names[] = {
	[CAPTURE_EXACT] = "exact",
	[CAPTURE_INCOMPLETE] = "incomplete",
	[CAPTURE_RACE] = "race",
	[CAPTURE_UNSUPPORTED] = "unsupported",
	[CAPTURE_LOST] = "capture_lost",
};

static const char *const outcome_names[] = {
	[OUTCOME_COMMITTED] = "committed",
	[OUTCOME_ABORTED] = "aborted",
	[OUTCOME_UNKNOWN] = "unknown",
	[OUTCOME_PREPARED] = "prepared",
};

const char *
capture_class_name(enum capture_class c)
{
	return capture_names[c];
}

const char *
record_outcome_name(enum record_outcome o)
{
	return outcome_names[o];
}

/* --- roots --- */

/* Equal rows of a keyless table are told apart by their statement. */
static int
compare_rows(const void *a, const void *b)
{
	const struct record_row *x = a;
	const struct record_row *y = b;
	int c = rowenc_compare(&x->row, &y->row);

	if (c != 0)
		return c;
	return (x->statement > y->statement) - (x->statement < y->statement);
}

static int
compare_tables(const void *a, const void *b)
{
	const struct record_table *x = a;
	const struct record_table *y = b;
	int c = strcmp(x->schema, y->schema);

	return c != 0 ? c : strcmp(x->table, y->table);
}

static void
sort_and_hash(struct record_row *rows, size_t n, struct merkle_hash *root)
{
	struct merkle_tree tree;
	struct merkle_hash leaf;

	if (n > 1)
		qsort(rows, n, sizeof(*rows), compare_rows);
	merkle_tree_init(&tree, MERKLE_STATE);
	for (size_t i = 0; i < n; i++) {
		merkle_leaf(MERKLE_STATE, rows[i].row.bytes,
		    rows[i].row.bytes_len, &leaf);
		merkle_tree_append(&tree, &leaf);
	}
	merkle_tree_root(&tree, root);
}

static void
append_table(struct merkle_tree *tree, const struct record_table *t,
    const struct merkle_hash *root)
{
	struct merkle_hash leaf;

	rowenc_table_leaf(t->schema, t->table, root, &leaf);
	merkle_tree_append(tree, &leaf);
}

void
record_set_roots(struct record *r)
{
	struct merkle_tree pre;
	struct merkle_tree post;

	if (r->n_tables > 1)
		qsort(
		    r->tables, r->n_tables, sizeof(*r->tables), compare_tables);
	merkle_tree_init(&pre, MERKLE_STATE);
	merkle_tree_init(&post, MERKLE_STATE);
	for (size_t i = 0; i < r->n_tables; i++) {
		struct record_table *t = &r->tables[i];

		sort_and_hash(t->before, t->n_before, &t->pre_root);
		sort_and_hash(t->after, t->n_after, &t->post_root);
		append_table(&pre, t, &t->pre_root);
		append_table(&post, t, &t->post_root);
	}
	merkle_tree_root(&pre, &r->pre_root);
	merkle_tree_root(&post, &r->post_root);
}

/* --- encoding --- */

static void
put_string(struct buf *out, const char *s)
{
	buf_put_cstr(out, s == NULL ? "" : s);
}

static void
put_hash(struct buf *out, const struct merkle_hash *h)
{
	buf_put(out, h->b, sizeof(h->b));
}

static void
put_rows(struct buf *out, const struct record_row *rows, size_t n)
{
	buf_put_u32(out, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		buf_put_lp(out, rows[i].row.id, rows[i].row.id_len);
		buf_put_lp(out, rows[i].row.bytes, rows[i].row.bytes_len);
		buf_put_u32(out, rows[i].statement);
	}
}

static void
put_shape(struct buf *out, const struct rowenc_shape *s)
{
	buf_put_u32(out, s->n_columns);
	for (unsigned i = 0; i < s->n_columns; i++) {
		const struct rowenc_column *c = &s->columns[i];

		put_string(out, c->name);
		put_string(out, c->type);
		buf_put_u32(out, c->key);
		buf_put_u8(out, (uint8_t)c->identity);
		buf_put_u8(out, (uint8_t)c->generated);
	}
}

static void
put_table(struct buf *out, const struct record_table *t, bool has_images)
{
	put_string(out, t->schema);
	put_string(out, t->table);
	put_string(out, t->fingerprint);
	put_string(out, t->definition);
	buf_put_u8(out, (uint8_t)((t->write ? FLAG_WRITE : 0) |
				  (t->whole ? FLAG_WHOLE : 0)));
	buf_put_u32(out, t->oid);
	put_shape(out, &t->shape);
	if (!has_images)
		return;
	put_hash(out, &t->pre_root);
	put_hash(out, &t->post_root);
	put_rows(out, t->before, t->n_before);
	put_rows(out, t->after, t->n_after);
}

static void
put_header(struct buf *out, const struct record *r)
{
	unsigned flags = 0;

	if (r->intent)
		flags |= FLAG_INTENT;
	if (r->has_images)
		flags |= FLAG_IMAGES;
	buf_put_u8(out, RECORD_FORMAT);
	buf_put_u8(out, (uint8_t)flags);
	buf_put_u8(out, (uint8_t)r->capture);
	buf_put_u64(out, r->xid);
	buf_put_u64(out, (uint64_t)r->time_us);
	put_string(out, r->now);
	put_string(out, r->database);
	put_string(out, r->user);
	put_string(out, r->application_name);
	put_string(out, r->client_addr);
	put_string(out, r->isolation);
	put_string(out, r->capture_reason);
	put_string(out, r->unverifiable);
	put_string(out, r->doubt);
}

static void
put_params(struct buf *out, const struct record_statement *s)
{
	buf_put_u32(out, (uint32_t)s->n_params);
	for (size_t i = 0; i < s->n_params; i++) {
		const struct record_param *p = &s->params[i];

		buf_put_u32(out, p->type);
		buf_put_u8(out, p->format);
		buf_put_u8(out, p->value == NULL);
		buf_put_lp(out, p->value, p->value == NULL ? 0 : p->len);
	}
}

static void
put_statements(struct buf *out, const struct record *r)
{
	buf_put_u32(out, (uint32_t)r->n_statements);
	for (size_t i = 0; i < r->n_statements; i++) {
		const struct record_statement *s = &r->statements[i];

		buf_put_lp(out, s->sql, s->sql_len);
		buf_put_u8(out, 0);
		put_string(out, s->type);
		put_params(out, s);
	}
}

static void
put_warnings(struct buf *out, const struct record *r)
{
	buf_put_u32(out, (uint32_t)r->n_warnings);
	for (size_t i = 0; i < r->n_warnings; i++) {
		put_string(out, r->warnings[i].code);
		put_string(out, r->warnings[i].function);
		put_string(out, r->warnings[i].message);
	}
}

static void
put_settings(struct buf *out, const struct record *r)
{
	buf_put_u32(out, (uint32_t)r->n_settings);
	for (size_t i = 0; i < r->n_settings; i++) {
		put_string(out, r->settings[i].name);
		put_string(out, r->settings[i].value);
	}
}

static void
put_inputs(struct buf *out, const struct record *r)
{
	buf_put_u32(out, (uint32_t)r->n_inputs);
	for (size_t i = 0; i < r->n_inputs; i++) {
		const struct record_input *in = &r->inputs[i];

		buf_put_u32(out, in->statement);
		put_string(out, in->what);
		buf_put_u8(out, (uint8_t)in->origin);
		put_string(out, in->schema);
		put_string(out, in->table);
		put_string(out, in->column);
		buf_put_u32(out, (uint32_t)in->n_values);
		for (size_t k = 0; k < in->n_values; k++) {
			const struct record_value *v = &in->values[k];

			buf_put_u8(out, v->value == NULL);
			buf_put_lp(
			    out, v->value, v->value == NULL ? 0 : v->len);
		}
	}
}

void
record_encode(const struct record *r, struct buf *out)
{
	put_header(out, r);
	put_statements(out, r);
	put_warnings(out, r);
	put_settings(out, r);
	put_inputs(out, r);
	buf_put_u32(out, (uint32_t)r->n_tables);
	for (size_t i = 0; i < r->n_tables; i++)
		put_table(out, &r->tables[i], r->has_images);
	if (r->has_images) {
		put_hash(out, &r->pre_root);
		put_hash(out, &r->post_root);
	}
}

/* --- decoding --- */

/* What every take_*() needs; `bad` in r is the one error flag. */
struct decoder {
	struct rd r;
	struct arena *arena;
};

static const char *
take_string(struct decoder *d)
{
	const char *s = rd_cstr(&d->r);

	return s == NULL ? "" : s;
}

static bool
take_bool(struct decoder *d)
{
	uint8_t v = rd_u8(&d->r);

	if (v > 1)
		d->r.bad = true;
	return v == 1;
}

static void
take_hash(struct decoder *d, struct merkle_hash *h)
{
	const uint8_t *p = rd_bytes(&d->r, sizeof(h->b));

	if (p != NULL)
		memcpy(h->b, p, sizeof(h->b));
}

/* A zeroed array for the list that follows; NULL and *n 0 if there is none. */
static void *
take_list(struct decoder *d, size_t element_min, size_t element_size, size_t *n)
{
	void *list;

	*n = rd_u32(&d->r);
	if (d->r.bad || *n > rd_left(&d->r) / element_min) {
		d->r.bad = true;
		*n = 0;
	}
	if (*n == 0)
		return NULL;
	list = arena_zalloc(d->arena, *n * element_size);
	if (list == NULL) {
		d->r.bad = true;
		*n = 0;
	}
	return list;
}

/* A value that may be NULL. */
static const uint8_t *
take_value(struct decoder *d, size_t *len)
{
	bool null = take_bool(d);
	const uint8_t *value = rd_lp(&d->r, len);

	if (null && *len > 0)
		d->r.bad = true;
	return null ? NULL : value;
}

static void
take_params(struct decoder *d, struct record_statement *s)
{
	struct record_param *list = take_list(
	    d, PARAM_MIN, sizeof(*list), &s->n_params);

	s->params = list;
	for (size_t i = 0; i < s->n_params && !d->r.bad; i++) {
		list[i].type = rd_u32(&d->r);
		list[i].format = rd_u8(&d->r);
		list[i].value = take_value(d, &list[i].len);
		if (list[i].format > 1)
			d->r.bad = true;
	}
}

static void
take_statements(struct decoder *d, struct record *r)
{
	r->statements = take_list(
	    d, STATEMENT_MIN, sizeof(*r->statements), &r->n_statements);
	for (size_t i = 0; i < r->n_statements && !d->r.bad; i++) {
		struct record_statement *s = &r->statements[i];

		s->sql = (const char *)rd_lp(&d->r, &s->sql_len);
		if (rd_u8(&d->r) != 0)
			d->r.bad = true;
		s->type = take_string(d);
		take_params(d, s);
	}
}

static void
take_warnings(struct decoder *d, struct record *r)
{
	r->warnings = take_list(
	    d, WARNING_MIN, sizeof(*r->warnings), &r->n_warnings);
	for (size_t i = 0; i < r->n_warnings && !d->r.bad; i++) {
		r->warnings[i].code = take_string(d);
		r->warnings[i].function = take_string(d);
		r->warnings[i].message = take_string(d);
	}
}

static void
take_settings(struct decoder *d, struct record *r)
{
	r->settings = take_list(
	    d, SETTING_MIN, sizeof(*r->settings), &r->n_settings);
	for (size_t i = 0; i < r->n_settings && !d->r.bad; i++) {
		r->settings[i].name = take_string(d);
		r->settings[i].value = take_string(d);
	}
}

static void
take_input(struct decoder *d, struct record_input *in)
{
	struct record_value *values;
	uint8_t origin;

	in->statement = rd_u32(&d->r);
	in->what = take_string(d);
	origin = rd_u8(&d->r);
	in->schema = take_string(d);
	in->table = take_string(d);
	in->column = take_string(d);
	if (origin > INPUT_CLAIM)
		d->r.bad = true;
	in->origin = origin == INPUT_CLAIM ? INPUT_CLAIM : INPUT_SERVER;
	values = take_list(d, VALUE_MIN, sizeof(*values), &in->n_values);
	in->values = values;
	for (size_t i = 0; i < in->n_values && !d->r.bad; i++)
		values[i].value = take_value(d, &values[i].len);
}

static void
take_inputs(struct decoder *d, struct record *r)
{
	r->inputs = take_list(
	    d, INPUT_MIN, sizeof(*r->inputs), &r->n_inputs);
	for (size_t i = 0; i < r->n_inputs && !d->r.bad; i++)
		take_input(d, &r->inputs[i]);
}

static void
take_shape(struct decoder *d, struct rowenc_shape *s)
{
	size_t n;

	s->columns = take_list(d, COLUMN_MIN, sizeof(*s->columns), &n);
	if (n > MAX_COLUMNS)
		d->r.bad = true;
	s->n_columns = d->r.bad ? 0 : (unsigned)n;
	for (unsigned i = 0; i < s->n_columns && !d->r.bad; i++) {
		struct rowenc_column *c = &s->columns[i];

		c->name = take_string(d);
		c->type = take_string(d);
		c->key = rd_u32(&d->r);
		c->identity = (char)rd_u8(&d->r);
		c->generated = (char)rd_u8(&d->r);
	}
	if (!d->r.bad && !rowenc_shape_init(s, d->arena))
		d->r.bad = true;
}

static struct record_row *
take_rows(struct decoder *d, size_t *n)
{
	struct record_row *rows = take_list(d, ROW_MIN, sizeof(*rows), n);

	for (size_t i = 0; i < *n && !d->r.bad; i++) {
		struct rowenc_row *row = &rows[i].row;

		row->id = rd_lp(&d->r, &row->id_len);
		row->bytes = rd_lp(&d->r, &row->bytes_len);
		rows[i].statement = rd_u32(&d->r);
	}
	return rows;
}

static void
take_table(struct decoder *d, struct record_table *t, bool has_images)
{
	uint8_t flags;

	t->schema = take_string(d);
	t->table = take_string(d);
	t->fingerprint = take_string(d);
	t->definition = take_string(d);
	flags = rd_u8(&d->r);
	if ((flags & ~(FLAG_WRITE | FLAG_WHOLE)) != 0)
		d->r.bad = true;
	t->write = (flags & FLAG_WRITE) != 0;
	t->whole = (flags & FLAG_WHOLE) != 0;
	t->oid = rd_u32(&d->r);
	take_shape(d, &t->shape);
	if (!has_images || d->r.bad)
		return;
	take_hash(d, &t->pre_root);
	take_hash(d, &t->post_root);
	t->before = take_rows(d, &t->n_before);
	t->after = take_rows(d, &t->n_after);
}

static void
take_header(struct decoder *d, struct record *r)
{
	uint8_t format = rd_u8(&d->r);
	uint8_t flags = rd_u8(&d->r);
	uint8_t capture = rd_u8(&d->r);

	if (format != RECORD_FORMAT ||
	    (flags & ~(FLAG_INTENT | FLAG_IMAGES)) != 0 ||
	    capture > CAPTURE_LOST) {
		d->r.bad = true;
		return;
	}
	r->intent = (flags & FLAG_INTENT) != 0;
	r->has_images = (flags & FLAG_IMAGES) != 0;
	r->capture = (enum capture_class)capture;
	r->xid = rd_u64(&d->r);
	r->time_us = (int64_t)rd_u64(&d->r);
	r->now = take_string(d);
	r->database = take_string(d);
	r->user = take_string(d);
	r->application_name = take_string(d);
	r->client_addr = take_string(d);
	r->isolation = take_string(d);
	r->capture_reason = take_string(d);
	r->unverifiable = take_string(d);
	r->doubt = take_string(d);
}

static void
take_tables(struct decoder *d, struct record *r)
{
	r->tables = take_list(d, TABLE_MIN, sizeof(*r->tables), &r->n_tables);
	for (size_t i = 0; i < r->n_tables && !d->r.bad; i++)
		take_table(d, &r->tables[i], r->has_images);
	if (r->has_images) {
		take_hash(d, &r->pre_root);
		take_hash(d, &r->post_root);
	}
}

bool
record_decode(const void *bytes, size_t n, struct arena *a, struct record *r)
{
	struct decoder d = { rd_init(bytes, n), a };

	memset(r, 0, sizeof(*r));
	take_header(&d, r);
	if (d.r.bad)
		return false;
	take_statements(&d, r);
	take_warnings(&d, r);
	take_settings(&d, r);
	take_inputs(&d, r);
	take_tables(&d, r);
	return !d.r.bad && rd_left(&d.r) == 0;
}

/* --- outcome:  u8 format  u8 outcome  u64 xid  resolved_by  reason --- */

void
record_outcome_encode(const struct record_outcome_message *m, struct buf *out)
{
	buf_put_u8(out, RECORD_FORMAT);
	buf_put_u8(out, (uint8_t)m->outcome);
	buf_put_u64(out, m->xid);
	put_string(out, m->resolved_by);
	put_string(out, m->reason);
}

bool
record_outcome_decode(
    const void *bytes, size_t n, struct record_outcome_message *m)
{
	struct decoder d = { rd_init(bytes, n), NULL };
	uint8_t format = rd_u8(&d.r);
	uint8_t outcome = rd_u8(&d.r);

	if (format != RECORD_FORMAT || outcome > OUTCOME_PREPARED)
		return false;
	m->outcome = (enum record_outcome)outcome;
	m->xid = rd_u64(&d.r);
	m->resolved_by = take_string(&d);
	m->reason = take_string(&d);
	return !d.r.bad && rd_left(&d.r) == 0;
}
