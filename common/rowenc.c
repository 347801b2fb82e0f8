/*
 * rowenc.c: canonical bytes of rows, and the roots over rows and tables.
 *
 * The same bytes must come out on the proxy, in a replay worker and in a
 * stranger's second implementation; test/vectors/state.json decides.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "rowenc.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define LP_BYTES 4 /* the length in front of lp() */

/* --- the shape of a table --- */

static void
sort_by_name(struct rowenc_shape *s)
{
	for (unsigned i = 0; i < s->n_columns; i++) {
		unsigned at = i;

		while (at > 0 && strcmp(s->columns[s->by_name[at - 1]].name,
				     s->columns[i].name) > 0) {
			s->by_name[at] = s->by_name[at - 1];
			at--;
		}
		s->by_name[at] = i;
	}
}

/* The key places must be 1..n_key, each once. */
static bool
fill_key(struct rowenc_shape *s)
{
	for (unsigned place = 0; place < s->n_key; place++)
		s->key[place] = s->n_columns;
	for (unsigned i = 0; i < s->n_columns; i++) {
		unsigned place = s->columns[i].key;

		if (place == 0)
			continue;
		if (place > s->n_key || s->key[place - 1] != s->n_columns)
			return false;
		s->key[place - 1] = i;
	}
	return true;
}

const struct rowenc_column *
rowenc_column_named(const struct rowenc_shape *s, const char *name)
{
	for (unsigned i = 0; i < s->n_columns; i++)
		if (strcmp(s->columns[i].name, name) == 0)
			return &s->columns[i];
	return NULL;
}

bool
rowenc_shape_init(struct rowenc_shape *s, struct arena *a)
{
	s->n_key = 0;
	for (unsigned i = 0; i < s->n_columns; i++)
		s->n_key += s->columns[i].key != 0;
	s->by_name = arena_alloc(a, s->n_columns * sizeof(*s->by_name) + 1);
	s->key = arena_alloc(a, s->n_key * sizeof(*s->key) + 1);
	if (s->by_name == NULL || s->key == NULL)
		return false;
	sort_by_name(s);
	return fill_key(s);
}

/* --- a row to bytes and back --- */

static uint8_t *
put_lp(uint8_t *to, const void *data, size_t len)
{
	to[0] = (uint8_t)(len >> 24);
	to[1] = (uint8_t)(len >> 16);
	to[2] = (uint8_t)(len >> 8);
	to[3] = (uint8_t)len;
	if (len > 0)
		memcpy(to + LP_BYTES, data, len);
	return to + LP_BYTES + len;
}

/* A value that a length of 32 bits cannot tell is never from a server. */
static bool
measure(const struct rowenc_shape *s, const struct rowenc_value *values,
    struct rowenc_row *out)
{
	out->id_len = 0;
	out->bytes_len = 0;
	for (unsigned i = 0; i < s->n_columns; i++) {
		const struct rowenc_column *c = &s->columns[i];

		if (values[i].data == NULL) {
			if (c->key != 0)
				return false;
			continue;
		}
		if (values[i].len > UINT32_MAX)
			return false;
		if (c->key != 0)
			out->id_len += LP_BYTES + values[i].len;
		out->bytes_len += 3 * LP_BYTES + strlen(c->name) +
				  strlen(c->type) + values[i].len;
	}
	return true;
}

bool
rowenc_encode(const struct rowenc_shape *s, const struct rowenc_value *values,
    struct arena *a, struct rowenc_row *out)
{
	uint8_t *p;

	if (!measure(s, values, out))
		return false;
	p = arena_alloc(a, out->id_len + out->bytes_len + 1);
	if (p == NULL)
		return false;
	out->id = p;
	out->bytes = p + out->id_len;
	for (unsigned i = 0; i < s->n_key; i++)
		p = put_lp(p, values[s->key[i]].data, values[s->key[i]].len);
	for (unsigned i = 0; i < s->n_columns; i++) {
		const struct rowenc_column *c = &s->columns[s->by_name[i]];
		const struct rowenc_value *v = &values[s->by_name[i]];

		if (v->data == NULL)
			continue;
		p = put_lp(p, c->name, strlen(c->name));
		p = put_lp(p, c->type, strlen(c->type));
		p = put_lp(p, v->data, v->len);
	}
	return true;
}

static bool
lp_is(struct rd *r, const char *s)
{
	size_t n;
	const uint8_t *p = rd_lp(r, &n);

	return p != NULL && n == strlen(s) && memcmp(p, s, n) == 0;
}

/* Takes the next column if it is c; else leaves r and says NULL. */
static bool
take_column(struct rd *r, const struct rowenc_column *c, struct rowenc_value *v)
{
	struct rd at = *r;

	v->data = NULL;
	v->len = 0;
	if (rd_left(r) == 0 || !lp_is(&at, c->name))
		return true;
	if (!lp_is(&at, c->type))
		return false;
	v->data = rd_lp(&at, &v->len);
	*r = at;
	return !r->bad;
}

static bool
id_matches(const struct rowenc_shape *s, const struct rowenc_row *row,
    const struct rowenc_value *values)
{
	struct rd r = rd_init(row->id, row->id_len);

	for (unsigned i = 0; i < s->n_key; i++) {
		const struct rowenc_value *v = &values[s->key[i]];
		size_t n;
		const uint8_t *p = rd_lp(&r, &n);

		if (p == NULL || v->data == NULL || n != v->len ||
		    memcmp(p, v->data, n) != 0)
			return false;
	}
	return rd_left(&r) == 0;
}

bool
rowenc_decode(const struct rowenc_shape *s, const struct rowenc_row *row,
    struct rowenc_value *values)
{
	struct rd r = rd_init(row->bytes, row->bytes_len);

	for (unsigned i = 0; i < s->n_columns; i++) {
		unsigned at = s->by_name[i];

		if (!take_column(&r, &s->columns[at], &values[at]))
			return false;
	}
	return rd_left(&r) == 0 && id_matches(s, row, values);
}

/* --- order and roots --- */

static int
compare_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	size_t n = a_len < b_len ? a_len : b_len;
	int c = n > 0 ? memcmp(a, b, n) : 0;

	if (c != 0)
		return c;
	return (a_len > b_len) - (a_len < b_len);
}

int
rowenc_compare_ids(const struct rowenc_row *a, const struct rowenc_row *b)
{
	return compare_bytes(a->id, a->id_len, b->id, b->id_len);
}

int
rowenc_compare(const struct rowenc_row *a, const struct rowenc_row *b)
{
	int c = rowenc_compare_ids(a, b);

	if (c != 0)
		return c;
	return compare_bytes(a->bytes, a->bytes_len, b->bytes, b->bytes_len);
}

static int
compare_rows(const void *a, const void *b)
{
	return rowenc_compare(a, b);
}

/* Rows mostly come by their key, and are sorted more than once. */
static bool
is_sorted(const struct rowenc_row *rows, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (rowenc_compare(&rows[i - 1], &rows[i]) > 0)
			return false;
	return true;
}

void
rowenc_sort(struct rowenc_row *rows, size_t n)
{
	if (!is_sorted(rows, n))
		qsort(rows, n, sizeof(*rows), compare_rows);
}

static int
compare_ids_of(const void *pa, const void *pb)
{
	return rowenc_compare_ids(*(const struct rowenc_row *const *)pa,
	    *(const struct rowenc_row *const *)pb);
}

struct rowenc_ids
rowenc_ids_of(const struct rowenc_row *rows, size_t n)
{
	struct rowenc_ids ids = {
		mem_zalloc(n + 1, sizeof(const struct rowenc_row *)), n
	};

	for (size_t i = 0; i < n; i++)
		ids.sorted[i] = &rows[i];
	qsort(ids.sorted, n, sizeof(*ids.sorted), compare_ids_of);
	return ids;
}

bool
rowenc_ids_have(const struct rowenc_ids *ids, const struct rowenc_row *row)
{
	return bsearch(&row, ids->sorted, ids->n, sizeof(*ids->sorted),
		   compare_ids_of) != NULL;
}

void
rowenc_ids_free(struct rowenc_ids *ids)
{
	free(ids->sorted);
	ids->sorted = NULL;
	ids->n = 0;
}

void
rowenc_table_root(struct rowenc_row *rows, size_t n, struct merkle_hash *out)
{
	struct merkle_tree tree;
	struct merkle_hash leaf;

	rowenc_sort(rows, n);
	merkle_tree_init(&tree, MERKLE_STATE);
	for (size_t i = 0; i < n; i++) {
		merkle_leaf(
		    MERKLE_STATE, rows[i].bytes, rows[i].bytes_len, &leaf);
		merkle_tree_append(&tree, &leaf);
	}
	merkle_tree_root(&tree, out);
}

void
rowenc_table_leaf(const char *schema, const char *table,
    const struct merkle_hash *root, struct merkle_hash *out)
{
	uint8_t schema_len[LP_BYTES];
	uint8_t table_len[LP_BYTES];
	const struct merkle_part parts[] = { { "TABLE:", 6 },
		{ schema_len, LP_BYTES }, { schema, strlen(schema) },
		{ table_len, LP_BYTES }, { table, strlen(table) },
		{ root->b, sizeof(root->b) } };

	for (int i = 0; i < LP_BYTES; i++) {
		schema_len[i] = (uint8_t)(parts[2].len >> (24 - 8 * i));
		table_len[i] = (uint8_t)(parts[4].len >> (24 - 8 * i));
	}
	merkle_sha256(parts, 6, out);
}

static int
compare_tables(const void *a, const void *b)
{
	const struct rowenc_table *x = a;
	const struct rowenc_table *y = b;
	int c = strcmp(x->schema, y->schema);

	return c != 0 ? c : strcmp(x->table, y->table);
}

void
rowenc_database_root(
    struct rowenc_table *tables, size_t n, struct merkle_hash *out)
{
	struct merkle_tree tree;
	struct merkle_hash leaf;

	if (n > 1)
		qsort(tables, n, sizeof(*tables), compare_tables);
	merkle_tree_init(&tree, MERKLE_STATE);
	for (size_t i = 0; i < n; i++) {
		rowenc_table_leaf(
		    tables[i].schema, tables[i].table, &tables[i].root, &leaf);
		merkle_tree_append(&tree, &leaf);
	}
	merkle_tree_root(&tree, out);
}

/* --- the text of a composite value --- */

struct splitter {
	const uint8_t *p;
	const uint8_t *end;
	uint8_t *to; /* where unescaped bytes go */
};

/* As many bytes as mean nothing but themselves are copied at once. */
static void
copy_plain(struct splitter *s, bool quoted)
{
	enum { OUTSIDE = 1, INSIDE = 2 };
	static const uint8_t means[256] = {
		['"'] = OUTSIDE | INSIDE,
		['\\'] = OUTSIDE | INSIDE,
		[','] = OUTSIDE,
		[')'] = OUTSIDE,
	};
	const uint8_t *p = s->p;
	size_t n;

	while (p < s->end && !(means[*p] & (quoted ? INSIDE : OUTSIDE)))
		p++;
	n = (size_t)(p - s->p);
	memcpy(s->to, s->p, n);
	s->p = p;
	s->to += n;
}

/*
 * One column, by the rules of record_in(): quotes may begin and end anywhere,
 * a doubled quote inside quotes is one, a backslash takes the next byte as it
 * is.  Nothing at all before the delimiter is NULL.  False: ends too early.
 */
static bool
split_column(struct splitter *s, struct rowenc_value *v)
{
	bool quoted = false;

	v->data = NULL;
	v->len = 0;
	if (s->p == s->end)
		return false;
	if (*s->p == ',' || *s->p == ')')
		return true;
	v->data = s->to;
	for (;;) {
		copy_plain(s, quoted);
		if (s->p == s->end || *s->p == ',' || *s->p == ')')
			break;
		if (*s->p == '"' &&
		    (!quoted || s->p + 1 == s->end || s->p[1] != '"')) {
			quoted = !quoted;
			s->p++;
			continue;
		}
		/* The byte behind it, whatever it is. */
		if (++s->p == s->end)
			return false;
		*s->to++ = *s->p++;
	}
	v->len = (size_t)(s->to - v->data);
	return s->p < s->end;
}

bool
rowenc_split_composite(const uint8_t *text, size_t len, struct arena *a,
    struct rowenc_value *values, size_t n)
{
	struct splitter s;

	if (len < 2 || text[0] != '(')
		return false;
	if (n == 0)
		return len == 2 && text[1] == ')';
	s.p = text + 1;
	s.end = text + len;
	s.to = arena_alloc(a, len);
	if (s.to == NULL)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!split_column(&s, &values[i]))
			return false;
		if (*s.p++ != (i + 1 < n ? ',' : ')'))
			return false;
	}
	return s.p == s.end;
}
