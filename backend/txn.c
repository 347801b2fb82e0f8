/*
 * txn.c: the client's current transaction.
 *
 * A row that shows another state than the one that this transaction left it in
 * was changed by someone else: `race`.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "txn.h"

#include <string.h>

#include "mem.h"

struct txn *
txn_new(size_t max_bytes)
{
	struct txn *t = mem_zalloc(1, sizeof(*t));

	t->arena = arena_new(max_bytes);
	txn_reset(t);
	return t;
}

void
txn_reset(struct txn *t)
{
	struct arena *a = t->arena;

	arena_reset(a);
	memset(t, 0, sizeof(*t));
	t->arena = a;
	t->images = true;
	t->capture = CAPTURE_EXACT;
	t->reason = "";
	t->unverifiable = "";
	t->doubt = "";
	t->ddl_reason = "";
}

static void
over_limit(struct txn *t)
{
	txn_degrade(t, CAPTURE_INCOMPLETE, "max_capture_bytes");
}

uint32_t
txn_add_statement(struct txn *t, const char *sql, size_t len, const char *type)
{
	struct record_statement *list = arena_grow(t->arena, t->statements,
	    t->n_statements, &t->cap_statements, sizeof(*list));
	struct record_statement *st;

	t->dirty = true;
	if (list == NULL) {
		over_limit(t);
		return 0;
	}
	t->statements = list;
	st = &list[t->n_statements];
	st->sql = arena_memdup(t->arena, sql, len);
	st->sql_len = len;
	st->type = type;
	st->params = NULL;
	st->n_params = 0;
	if (st->sql == NULL) {
		over_limit(t);
		st->sql = "";
		st->sql_len = 0;
	}
	return (uint32_t)t->n_statements++;
}

bool
txn_add_ddl(struct txn *t, const char *sql, size_t len, const char *type)
{
	struct record_statement *list = arena_grow(
	    t->arena, t->ddl, t->n_ddl, &t->cap_ddl, sizeof(*list));
	const char *own = arena_memdup(t->arena, sql, len);
	const char *own_type = arena_strdup(t->arena, type);

	if (list == NULL || own == NULL || own_type == NULL)
		return false;
	t->ddl = list;
	list[t->n_ddl++] = (struct record_statement){
		.sql = own, .sql_len = len, .type = own_type
	};
	return true;
}

void
txn_ddl_reason(struct txn *t, const char *reason)
{
	if (t->ddl_reason[0] == '\0')
		t->ddl_reason = reason;
}

void
txn_set_params(struct txn *t, uint32_t statement,
    const struct record_param *params, size_t n, bool values)
{
	struct record_param *own = arena_alloc(
	    t->arena, (n + 1) * sizeof(*own));

	for (size_t i = 0; own != NULL && i < n; i++) {
		own[i] = params[i];
		if (!values)
			own[i].value = NULL;
		if (own[i].value == NULL)
			continue;
		own[i].value = (const uint8_t *)arena_memdup(
		    t->arena, params[i].value, params[i].len);
		if (own[i].value == NULL)
			own = NULL;
	}
	if (own == NULL || statement >= t->n_statements) {
		over_limit(t);
		return;
	}
	t->statements[statement].params = own;
	t->statements[statement].n_params = n;
}

void
txn_add_warning(
    struct txn *t, const char *code, const char *function, const char *message)
{
	struct record_warning *list;

	for (size_t i = 0; i < t->n_warnings; i++)
		if (strcmp(t->warnings[i].function, function) == 0 &&
		    strcmp(t->warnings[i].code, code) == 0)
			return;
	list = arena_grow(t->arena, t->warnings, t->n_warnings,
	    &t->cap_warnings, sizeof(*list));
	if (list == NULL) {
		over_limit(t);
		return;
	}
	t->warnings = list;
	list[t->n_warnings].code = code;
	list[t->n_warnings].message = message;
	list[t->n_warnings].function = arena_strdup(t->arena, function);
	if (list[t->n_warnings].function == NULL)
		over_limit(t);
	else
		t->n_warnings++;
}

void
txn_degrade(struct txn *t, enum capture_class class, const char *reason)
{
	if (class > t->capture) {
		t->capture = class;
		t->reason = reason;
	}
	if (class == CAPTURE_UNSUPPORTED || class == CAPTURE_LOST ||
	    (class == CAPTURE_INCOMPLETE && strcmp(reason, "read_set") != 0))
		t->images = false;
}

void
txn_unverifiable(struct txn *t, enum reason reason)
{
	if (t->unverifiable[0] == '\0')
		t->unverifiable = reason_name(reason);
}

void
txn_doubt(struct txn *t, enum reason reason)
{
	/* The one that replay may find to be none gives way. */
	if (t->doubt[0] == '\0' ||
	    strcmp(t->doubt, reason_name(REASON_TRIGGER_INPUT)) == 0)
		t->doubt = reason_name(reason);
}

bool
txn_add_input(struct txn *t, const struct record_input *in)
{
	struct record_input *list = arena_grow(
	    t->arena, t->inputs, t->n_inputs, &t->cap_inputs, sizeof(*list));

	if (list == NULL)
		return false;
	t->inputs = list;
	list[t->n_inputs++] = *in;
	return true;
}

static uint64_t
hash_id(const uint8_t *p, size_t n)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a */

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 1099511628211u;
	return h ^ (h >> 29);
}

/* The index slot that holds id's row, or the free one where it belongs. */
static uint32_t *
slot_of(struct txn_table *tt, const uint8_t *id, size_t len)
{
	size_t mask = tt->n_index - 1;
	size_t i = (size_t)hash_id(id, len) & mask;

	for (;; i = (i + 1) & mask) {
		const struct txn_row *r;

		if (tt->index[i] == 0)
			return &tt->index[i];
		r = &tt->rows[tt->index[i] - 1];
		if (r->id_len == len && memcmp(r->id, id, len) == 0)
			return &tt->index[i];
	}
}

/* Keeps the index at most half full. */
static bool
grow_index(struct txn *t, struct txn_table *tt)
{
	if (tt->catalog->shape.n_key == 0 ||
	    (tt->n_rows + 1) * 2 <= tt->n_index)
		return true;
	tt->n_index = tt->n_index == 0 ? 16 : tt->n_index * 2;
	tt->index = arena_zalloc(t->arena, tt->n_index * sizeof(*tt->index));
	if (tt->index == NULL)
		return false;
	for (size_t i = 0; i < tt->n_rows; i++)
		*slot_of(tt, tt->rows[i].id, tt->rows[i].id_len) = (uint32_t)i +
								   1;
	return true;
}

/* What ROLLBACK TO brings back of the row that is about to change. */
static bool
note_undo(struct txn *t, const struct txn_table *tt, size_t row, bool is_new)
{
	struct txn_undo *list;

	if (t->n_marks == 0)
		return true;
	list = arena_grow(
	    t->arena, t->undo, t->n_undo, &t->cap_undo, sizeof(*list));
	if (list == NULL) {
		txn_lose_savepoints(t);
		return false;
	}
	t->undo = list;
	list[t->n_undo++] = (struct txn_undo){ (uint32_t)(tt - t->tables),
		(uint32_t)row, is_new, tt->rows[row] };
	return true;
}

/* The row of this id, added if it is new (*is_new); NULL: arena limit. */
static struct txn_row *
row_of(struct txn *t, struct txn_table *tt, const struct rowenc_row *r,
    uint32_t statement, bool *is_new)
{
	struct txn_row *rows, *row;
	uint32_t *slot = NULL;

	if (!grow_index(t, tt))
		return NULL;
	*is_new = true;
	if (tt->index != NULL) {
		slot = slot_of(tt, r->id, r->id_len);
		if (*slot != 0) {
			*is_new = false;
			return note_undo(t, tt, *slot - 1, false)
				   ? &tt->rows[*slot - 1]
				   : NULL;
		}
	}
	rows = arena_grow(
	    t->arena, tt->rows, tt->n_rows, &tt->cap_rows, sizeof(*rows));
	if (rows == NULL)
		return NULL;
	tt->rows = rows;
	row = &rows[tt->n_rows++];
	memset(row, 0, sizeof(*row));
	row->id = r->id;
	row->id_len = r->id_len;
	row->statement = statement;
	if (slot != NULL)
		*slot = (uint32_t)tt->n_rows;
	return note_undo(t, tt, tt->n_rows - 1, true) ? row : NULL;
}

static struct txn_table *
table_of(struct txn *t, const struct catalog_table *table)
{
	struct txn_table *list;

	for (size_t i = 0; i < t->n_tables; i++)
		if (t->tables[i].catalog->oid == table->oid) {
			/* Looked up again with another answer. */
			if (strcmp(t->tables[i].catalog->fingerprint,
				table->fingerprint) != 0)
				txn_degrade(
				    t, CAPTURE_INCOMPLETE, "schema_changed");
			return &t->tables[i];
		}
	list = arena_grow(
	    t->arena, t->tables, t->n_tables, &t->cap_tables, sizeof(*list));
	if (list == NULL)
		return NULL;
	t->tables = list;
	memset(&list[t->n_tables], 0, sizeof(*list));
	list[t->n_tables].catalog = table;
	return &list[t->n_tables++];
}

static bool
equal_bytes(const struct rowenc_row *a, const struct rowenc_row *b)
{
	if (a->bytes == NULL || b->bytes == NULL)
		return a->bytes == b->bytes;
	return a->bytes_len == b->bytes_len &&
	       memcmp(a->bytes, b->bytes, a->bytes_len) == 0;
}

/* A row that the statement found. */
static bool
found_row(struct txn *t, struct txn_table *tt, const struct rowenc_row *r,
    uint32_t statement)
{
	bool is_new;
	struct txn_row *row = row_of(t, tt, r, statement, &is_new);

	if (row == NULL)
		return false;
	if (is_new)
		row->before = *r;
	else if (!equal_bytes(&row->after, r))
		txn_degrade(t, CAPTURE_RACE, "row_changed");
	row->after.bytes = NULL; /* unless the statement left it */
	return true;
}

/* A row that the statement left. */
static bool
left_row(struct txn *t, struct txn_table *tt, const struct rowenc_row *r,
    uint32_t statement, bool may_be_new)
{
	bool is_new;
	struct txn_row *row = row_of(t, tt, r, statement, &is_new);

	if (row == NULL)
		return false;
	/* Left, but not among those found: it came in between. */
	if ((is_new && !may_be_new) || row->after.bytes != NULL)
		txn_degrade(t, CAPTURE_RACE, "row_appeared");
	row->after = *r;
	return true;
}

static void
apply(struct txn *t, struct txn_table *tt, uint32_t statement,
    const struct rowenc_row *pre, size_t n_pre, const struct rowenc_row *post,
    size_t n_post, bool key_changes)
{
	bool ok = tt != NULL;

	for (size_t i = 0; ok && i < n_pre; i++)
		ok = found_row(t, tt, &pre[i], statement);
	for (size_t i = 0; ok && i < n_post; i++)
		ok = left_row(t, tt, &post[i], statement, key_changes);
	if (!ok)
		over_limit(t);
}

void
txn_apply(struct txn *t, const struct catalog_table *table, uint32_t statement,
    const struct rowenc_row *pre, size_t n_pre, const struct rowenc_row *post,
    size_t n_post, bool key_changes)
{
	struct txn_table *tt = table_of(t, table);

	if (tt != NULL)
		tt->write = true;
	apply(t, tt, statement, pre, n_pre, post, n_post, key_changes);
}

bool
txn_left_row(const struct txn *t, const struct catalog_table *table,
    const struct rowenc_row *row)
{
	for (size_t i = 0; i < t->n_tables; i++) {
		struct txn_table *tt = &t->tables[i];
		const uint32_t *slot;

		if (tt->catalog->oid != table->oid || tt->n_rows == 0)
			continue;
		if (tt->index == NULL)
			return true;
		slot = slot_of(tt, row->id, row->id_len);
		return *slot != 0 && tt->rows[*slot - 1].after.bytes != NULL;
	}
	return false;
}

/* Rows that the transaction left there are still there. */
static bool
are_all_found(const struct txn *t, const struct txn_table *tt,
    const struct rowenc_row *rows, size_t n)
{
	size_t left = 0, found = 0;

	for (size_t i = 0; i < tt->n_rows; i++)
		left += tt->rows[i].after.bytes != NULL;
	for (size_t i = 0; left > 0 && i < n; i++)
		found += txn_left_row(t, tt->catalog, &rows[i]);
	return left == found;
}

void
txn_apply_whole(struct txn *t, const struct catalog_table *table,
    uint32_t statement, bool write, const struct rowenc_row *pre, size_t n_pre,
    const struct rowenc_row *post, size_t n_post)
{
	struct txn_table *tt = table_of(t, table);

	if (tt != NULL) {
		tt->write = tt->write || write;
		/* Which of them are those from before cannot be told. */
		if (table->shape.n_key == 0 && tt->n_rows > 0)
			txn_degrade(t, CAPTURE_INCOMPLETE, "no_primary_key");
		else if (!are_all_found(t, tt, pre, n_pre))
			txn_degrade(t, CAPTURE_RACE, "row_gone");
	}
	apply(t, tt, statement, pre, n_pre, post, n_post, true);
}

void
txn_note_code(
    struct txn *t, const struct catalog_table *const *whole, size_t n)
{
	t->code_runs++;
	for (size_t i = 0; i < n; i++) {
		struct txn_table *tt = table_of(t, whole[i]);

		if (tt != NULL)
			tt->whole_runs++;
	}
}

bool
txn_has_rows(const struct txn *t)
{
	for (size_t i = 0; i < t->n_tables; i++)
		for (size_t j = 0; j < t->tables[i].n_rows; j++)
			if (t->tables[i].rows[j].before.bytes != NULL ||
			    t->tables[i].rows[j].after.bytes != NULL)
				return true;
	return false;
}

/* --- savepoints --- */

void
txn_lose_savepoints(struct txn *t)
{
	t->n_marks = 0;
	t->n_undo = 0;
}

/* The latest of this name; NULL: not known. */
static struct txn_mark *
mark_of(struct txn *t, const char *name)
{
	for (size_t i = t->n_marks; name[0] != '\0' && i > 0; i--)
		if (strcmp(t->marks[i - 1].name, name) == 0)
			return &t->marks[i - 1];
	return NULL;
}

/* Which tables are written. */
static const bool *
copy_write(struct txn *t)
{
	bool *write = arena_alloc(t->arena, t->n_tables + 1);

	for (size_t i = 0; write != NULL && i < t->n_tables; i++)
		write[i] = t->tables[i].write;
	return write;
}

void
txn_savepoint(struct txn *t, const char *name)
{
	struct txn_mark *list = arena_grow(
	    t->arena, t->marks, t->n_marks, &t->cap_marks, sizeof(*list));
	const char *own = arena_strdup(t->arena, name);
	const bool *write = copy_write(t);

	if (list == NULL || own == NULL || write == NULL) {
		txn_lose_savepoints(t);
		return;
	}
	t->marks = list;
	list[t->n_marks++] = (struct txn_mark){ own, t->dirty, t->images,
		t->capture, t->reason, t->unverifiable, t->doubt, t->settings,
		t->n_statements, t->n_warnings, t->n_inputs, t->n_tables,
		t->n_undo, write, t->n_ddl, t->ddl_reason };
}

void
txn_release(struct txn *t, const char *name)
{
	const struct txn_mark *m = mark_of(t, name);

	if (m == NULL)
		txn_lose_savepoints(t);
	else
		t->n_marks = (size_t)(m - t->marks);
	if (t->n_marks == 0)
		t->n_undo = 0;
}

/* The latest first, so that a new row is the last of its table, and the last
 * that came into its index. */
static void
put_back(struct txn *t, const struct txn_undo *u)
{
	struct txn_table *tt = &t->tables[u->table];

	if (!u->is_new) {
		tt->rows[u->row] = u->old;
		return;
	}
	if (tt->index != NULL)
		*slot_of(tt, u->old.id, u->old.id_len) = 0;
	tt->n_rows = u->row;
}

void
txn_rollback_to(struct txn *t, const char *name)
{
	const struct txn_mark *m = mark_of(t, name);

	if (m == NULL) {
		txn_lose_savepoints(t);
		if (t->n_ddl > 0)
			txn_ddl_reason(t, "savepoint");
		if (t->dirty)
			txn_degrade(t, CAPTURE_UNSUPPORTED, "savepoint");
		return;
	}
	while (t->n_undo > m->n_undo)
		put_back(t, &t->undo[--t->n_undo]);
	/* Which of them were undone is not known: no table is whole any more. */
	t->code_runs += t->n_statements > m->n_statements;
	t->n_marks = (size_t)(m - t->marks) + 1;
	t->dirty = m->dirty;
	t->images = m->images;
	t->capture = m->capture;
	t->reason = m->reason;
	t->unverifiable = m->unverifiable;
	t->doubt = m->doubt;
	t->settings = m->settings;
	t->n_statements = m->n_statements;
	t->n_warnings = m->n_warnings;
	t->n_inputs = m->n_inputs;
	t->n_tables = m->n_tables;
	t->n_ddl = m->n_ddl;
	t->ddl_reason = m->ddl_reason;
	for (size_t i = 0; i < t->n_tables; i++)
		t->tables[i].write = m->write[i];
}
