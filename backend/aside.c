/*
 * aside.c: rows inserted into tables that a statement does not name.
 *
 * Looked for at the end of the table, then among the greatest keys, then in
 * all of it up to SCAN_PAGES; each is believed only if it gives as many as the
 * counters say.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "aside.h"

#include <stdlib.h>
#include <string.h>

#include "catalog_sql.h"
#include "inputs.h"
#include "ownrows.h"
#include "rowtext.h"
#include "txn.h"
#include "weigh.h"

/* A table of more pages is not read as a whole. */
#define SCAN_PAGES 16384
/* The end of the table: so many more than rows. */
#define PAGES_MORE 8
/* The greatest keys: so many more than rows. */
#define KEYS_MORE 200

enum way { BY_END, BY_KEY, BY_SCAN, WAYS };

/* --- which tables --- */

static const char *
table_reason(
    struct session *s, const struct catalog_table *t, const struct counter *c)
{
	if (t == NULL)
		return "unknown_table";
	if (t->oid != c->oid)
		return "schema_changed";
	if (!rowtext_encoding_ok(s))
		return "client_encoding";
	/* What they do at the commit nobody sees. */
	return t->deferred ? "triggers" : t->unreadable;
}

/* NULL, or why its rows cannot be known. */
static const char *
add_table(struct session *s, struct asides *a, const struct counter *c)
{
	struct aside *list;
	const struct catalog_table *t;
	const char *reason;

	if (c->updated != 0 || c->deleted != 0 || c->inserted <= 0)
		return "triggers";
	t = catalog_table(s, c->schema, c->name);
	reason = table_reason(s, t, c);
	if (reason != NULL)
		return reason;
	list = arena_grow(s->txn->arena, a->list, a->n, &a->cap, sizeof(*list));
	if (list == NULL)
		return "max_capture_bytes";
	a->list = list;
	list[a->n++] = (struct aside){ .table = t,
		.in_utc = rowtext_needs_utc(s, t),
		.n = (size_t)c->inserted };
	return NULL;
}

/* --- asking --- */

/* False: it is no way for this table. */
static bool
put_way(struct session *s, const struct aside *a, enum way way)
{
	struct buf sql = { 0 };

	if (way == BY_KEY && a->table->shape.n_key == 0)
		return false;
	ownrows_put_select(&sql, a->table, a->in_utc);
	if (way == BY_END)
		ownrows_put_end(&sql, a->table, a->n + PAGES_MORE);
	else if (way == BY_KEY)
		ownrows_put_greatest(&sql, a->table, a->n + KEYS_MORE);
	else
		ownrows_put_limit(&sql, a->table, SCAN_PAGES);
	buf_put_u8(&sql, 0);
	exchange_put(s, (const char *)sql.data, NULL, 0);
	buf_free(&sql);
	return true;
}

/* --- reading --- */

struct own_row {
	struct rowenc_row row;
	uint64_t command; /* 0: not known */
	size_t at;        /* as it came */
};

struct reading {
	struct session *s;
	const struct aside *aside;
	const struct txn_table *known; /* what is known of it; NULL: nothing */
	bool *used;                    /* of its rows, in a table without key */
	struct own_row *rows;
	size_t n, cap;
	bool unknown; /* a row's command is */
	bool failed;
};

static const struct txn_table *
known_table(const struct txn *t, const struct catalog_table *table)
{
	for (size_t i = 0; i < t->n_tables; i++)
		if (t->tables[i].catalog->oid == table->oid)
			return &t->tables[i];
	return NULL;
}

/* An earlier statement left it there; each row without a key stands for one. */
static bool
was_left(struct reading *r, const struct rowenc_row *row)
{
	const struct txn_table *tt = r->known;

	if (tt == NULL)
		return false;
	if (tt->index != NULL)
		return txn_left_row(r->s->txn, r->aside->table, row);
	for (size_t i = 0; i < tt->n_rows; i++) {
		const struct rowenc_row *left = &tt->rows[i].after;

		if (!r->used[i] && left->bytes != NULL &&
		    rowenc_compare(left, row) == 0) {
			r->used[i] = true;
			return true;
		}
	}
	return false;
}

static bool
add_row(struct reading *r, const struct exchange_value v[2])
{
	struct arena *a = r->s->txn->arena;
	struct own_row *list = arena_grow(
	    a, r->rows, r->n, &r->cap, sizeof(*list));
	char command[16] = "";

	if (list == NULL || v[1].len >= sizeof(command) ||
	    !rowtext_decode(a, a, r->aside->table, r->aside->in_utc, &v[0],
		&list[r->n].row))
		return false;
	r->rows = list;
	if (v[1].data != NULL)
		memcpy(command, v[1].data, v[1].len);
	else
		r->unknown = true;
	list[r->n].command = strtoull(command, NULL, 10);
	list[r->n].at = r->n;
	r->n++;
	return true;
}

static bool
own_row(void *arg, const struct message *m)
{
	struct reading *r = arg;
	struct exchange_value v[2];

	r->failed = !exchange_row_values(m, v, 2) || !add_row(r, v);
	if (r->failed && rowtext_is_withheld(r->aside->table, &v[0]))
		txn_degrade(r->s->txn, CAPTURE_INCOMPLETE, "settings");
	return !r->failed;
}

static int
compare_rows(const void *pa, const void *pb)
{
	const struct own_row *a = pa;
	const struct own_row *b = pb;

	if (a->command != b->command)
		return a->command > b->command ? 1 : -1;
	return (a->at > b->at) - (a->at < b->at);
}

/* Without those that earlier statements left there; what stays is new. */
static void
drop_left(struct reading *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		if (!was_left(r, &r->rows[i].row))
			r->rows[n++] = r->rows[i];
	r->n = n;
}

/* In the order of the commands that inserted them. */
static void
take_rows(struct reading *r, struct aside *a)
{
	if (r->n > 1)
		qsort(r->rows, r->n, sizeof(*r->rows), compare_rows);
	drop_left(r);
	if (r->n != a->n)
		return;
	a->rows = arena_alloc(r->s->txn->arena, (r->n + 1) * sizeof(*a->rows));
	if (a->rows == NULL)
		return;
	a->complete = true;
	a->ordered = !r->unknown;
	for (size_t i = 0; i < r->n; i++) {
		a->rows[i] = r->rows[i].row;
		if (i > 0 && r->rows[i].command == r->rows[i - 1].command)
			a->ordered = false;
	}
}

static enum exchange_end
read_way(struct session *s, struct aside *a, struct exchange_error *error,
    struct buf *raw_error)
{
	struct reading r = {
		.s = s, .aside = a, .known = known_table(s->txn, a->table)
	};
	enum exchange_end end;

	if (r.known != NULL)
		r.used = arena_zalloc(s->txn->arena, r.known->n_rows + 1);
	r.failed = r.known != NULL && r.used == NULL;
	end = exchange_read(s, r.failed ? NULL : own_row, &r, error, raw_error);
	if (end == EXCHANGE_DONE && !r.failed)
		take_rows(&r, a);
	return end;
}

/* All that are not complete, in one write. */
static enum exchange_end
try_way(struct session *s, struct asides *a, enum way way,
    struct exchange_error *error, struct buf *raw_error)
{
	enum exchange_end end = EXCHANGE_DONE;
	bool *asked = arena_zalloc(s->txn->arena, a->n + 1);
	size_t n = 0;

	for (size_t i = 0; asked != NULL && i < a->n; i++) {
		asked[i] = !a->list[i].complete && put_way(s, &a->list[i], way);
		n += asked[i];
	}
	if (n == 0)
		return end;
	wire_put_empty(&s->server, PqMsg_Flush);
	for (size_t i = 0; i < a->n && end == EXCHANGE_DONE; i++)
		if (asked[i])
			end = read_way(s, &a->list[i], error, raw_error);
	return end;
}

/* A look-up's error, as one of a statement of ours. */
static enum exchange_end
take_lookup_error(
    struct session *s, struct exchange_error *error, struct buf *raw_error)
{
	struct buf *e = &s->lookup_error;

	if (s->lost)
		return EXCHANGE_LOST;
	if (e->len == 0)
		return EXCHANGE_DONE;
	exchange_keep_error(e, error, raw_error);
	buf_reset(e);
	return EXCHANGE_ERROR;
}

enum exchange_end
asides_read(struct session *s, const struct counters *before,
    const struct counters *after, uint32_t oid, struct asides *a,
    struct exchange_error *error, struct buf *raw_error)
{
	enum exchange_end end;
	struct counter c;
	size_t at = 0;

	s->holding = true;
	while (a->reason == NULL &&
	       counters_next_other(before, after, oid, &at, &c))
		a->reason = add_table(s, a, &c);
	s->holding = false;
	end = take_lookup_error(s, error, raw_error);
	for (int way = 0; way < WAYS && a->reason == NULL; way++)
		if (end == EXCHANGE_DONE)
			end = try_way(s, a, (enum way)way, error, raw_error);
	for (size_t i = 0; i < a->n && a->reason == NULL; i++)
		if (!a->list[i].complete)
			a->reason = "triggers";
	return end;
}

void
asides_apply(struct session *s, const struct asides *a, uint32_t statement,
    bool inputs, bool ordered)
{
	for (size_t i = 0; i < a->n; i++) {
		const struct aside *one = &a->list[i];

		weigh_user_code(s, one->table);
		if (inputs)
			inputs_take_aside(s, one->table, one->rows, one->n,
			    ordered && one->ordered, statement);
		txn_apply(s->txn, one->table, statement, NULL, 0, one->rows,
		    one->n, true);
	}
}
