/*
 * test_txn.c: what a transaction's statements did to its rows.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../backend/txn.h"

static struct rowenc_column columns[] = { { "id", "integer", 1, 0, 0 },
	{ "v", "text", 0, 0, 0 } };

static struct catalog_table keyed = { .oid = 1, .schema = "public",
	.name = "t", .fingerprint = "f", .shape = { .columns = columns,
	.n_columns = 2 } };
static struct catalog_table keyless;

static struct txn *t;

/* Without a value: NULL. */
static struct rowenc_row
row(const struct catalog_table *table, const char *id, const char *v)
{
	struct rowenc_value values[] = {
		{ (const uint8_t *)id, strlen(id) },
		{ (const uint8_t *)v, v != NULL ? strlen(v) : 0 } };
	struct rowenc_row r;

	assert_true(rowenc_encode(&table->shape, values, t->arena, &r));
	return r;
}

static int
set_up(void **state)
{
	static struct arena *a;

	(void)state;
	if (a == NULL) {
		a = arena_new(0);
		assert_true(rowenc_shape_init(&keyed.shape, a));
		keyless = keyed;
		keyless.oid = 2;
		keyless.shape.n_key = 0;
	}
	t = txn_new(0);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	arena_free(t->arena);
	free(t);
	return 0;
}

static void
the_first_state_and_the_last_are_kept(void **state)
{
	struct rowenc_row a = row(&keyed, "1", "a"), b = row(&keyed, "1", "b"),
		c = row(&keyed, "1", NULL);

	(void)state;
	txn_apply(t, &keyed, 0, &a, 1, &b, 1, false);
	txn_apply(t, &keyed, 1, &b, 1, &c, 1, false);
	assert_int_equal(t->capture, CAPTURE_EXACT);
	assert_int_equal(t->tables[0].n_rows, 1);
	assert_ptr_equal(t->tables[0].rows[0].before.bytes, a.bytes);
	assert_ptr_equal(t->tables[0].rows[0].after.bytes, c.bytes);
	assert_int_equal(t->tables[0].rows[0].statement, 0);
}

static void
inserted_and_deleted_again_leaves_nothing(void **state)
{
	struct rowenc_row a = row(&keyed, "1", "a");

	(void)state;
	txn_apply(t, &keyed, 0, NULL, 0, &a, 1, true);
	assert_true(txn_has_rows(t));
	txn_apply(t, &keyed, 1, &a, 1, NULL, 0, false);
	assert_int_equal(t->capture, CAPTURE_EXACT);
	assert_false(txn_has_rows(t));
}

static void
all_of_a_table_is_found_and_left(void **state)
{
	struct rowenc_row pre[] = { row(&keyed, "1", "a"),
		row(&keyed, "2", "b") };
	struct rowenc_row post[] = { row(&keyed, "2", "b"),
		row(&keyed, "3", "c") };

	(void)state;
	txn_apply_whole(t, &keyed, 0, true, pre, 2, post, 2);
	assert_int_equal(t->capture, CAPTURE_EXACT);
	assert_true(t->tables[0].write);
	assert_int_equal(t->tables[0].n_rows, 3);
	assert_null(t->tables[0].rows[0].after.bytes);
	assert_null(t->tables[0].rows[2].before.bytes);
	/* the second look finds what the first left */
	txn_apply_whole(t, &keyed, 1, false, post, 2, post, 2);
	assert_int_equal(t->capture, CAPTURE_EXACT);
}

static void
a_row_that_is_not_found_again_is_a_race(void **state)
{
	struct rowenc_row rows[] = { row(&keyed, "1", "a"),
		row(&keyed, "2", "b") };

	(void)state;
	txn_apply_whole(t, &keyed, 0, false, rows, 2, rows, 2);
	assert_false(t->tables[0].write);
	txn_apply_whole(t, &keyed, 1, true, rows, 1, rows, 1);
	assert_int_equal(t->capture, CAPTURE_RACE);
	assert_string_equal(t->reason, "row_gone");
}

static void
a_table_without_key_is_looked_at_once(void **state)
{
	struct rowenc_row rows[] = { row(&keyless, "1", "a"),
		row(&keyless, "1", "a") };

	(void)state;
	txn_apply_whole(t, &keyless, 0, true, rows, 2, rows, 1);
	assert_int_equal(t->capture, CAPTURE_EXACT);
	txn_apply_whole(t, &keyless, 1, true, rows, 1, rows, 1);
	assert_int_equal(t->capture, CAPTURE_INCOMPLETE);
	assert_string_equal(t->reason, "no_primary_key");
}

static void
a_row_changed_by_someone_else_is_a_race(void **state)
{
	struct rowenc_row a = row(&keyed, "1", "a"), b = row(&keyed, "1", "b"),
		x = row(&keyed, "1", "x");

	(void)state;
	txn_apply(t, &keyed, 0, &a, 1, &b, 1, false);
	txn_apply(t, &keyed, 1, &x, 1, &b, 1, false);
	assert_int_equal(t->capture, CAPTURE_RACE);
	assert_true(t->images);
}

static void
a_row_left_that_was_not_found_is_a_race(void **state)
{
	struct rowenc_row a = row(&keyed, "1", "a"), b = row(&keyed, "1", "b"),
		c = row(&keyed, "2", "c");
	struct rowenc_row post[2] = { b, c };

	(void)state;
	txn_apply(t, &keyed, 0, &a, 1, post, 2, false);
	assert_int_equal(t->capture, CAPTURE_RACE);
}

static void
keys_may_be_swapped(void **state)
{
	struct rowenc_row pre[2] = { row(&keyed, "1", "a"),
		row(&keyed, "2", "b") };
	struct rowenc_row post[2] = { row(&keyed, "2", "a"),
		row(&keyed, "1", "b") };

	(void)state;
	txn_apply(t, &keyed, 0, pre, 2, post, 2, true);
	assert_int_equal(t->capture, CAPTURE_EXACT);
	assert_int_equal(t->tables[0].n_rows, 2);
	assert_ptr_equal(t->tables[0].rows[0].after.bytes, post[1].bytes);
}

static void
rows_without_a_key_are_a_multiset(void **state)
{
	struct rowenc_row a = row(&keyless, "1", "a");
	struct rowenc_row post[2] = { a, a };

	(void)state;
	txn_apply(t, &keyless, 0, NULL, 0, post, 2, true);
	assert_int_equal(t->capture, CAPTURE_EXACT);
	assert_int_equal(t->tables[0].n_rows, 2);
}

static void
many_rows_are_found_again(void **state)
{
	enum { N = 20000 };
	struct rowenc_row *a = arena_alloc(t->arena, N * sizeof(*a));

	(void)state;
	assert_non_null(a);
	for (int i = 0; i < N; i++) {
		char id[16];

		snprintf(id, sizeof(id), "%d", i);
		a[i] = row(&keyed, id, "v");
	}
	txn_apply(t, &keyed, 0, NULL, 0, a, N, true);
	txn_apply(t, &keyed, 1, a, N, NULL, 0, false);
	assert_int_equal(t->capture, CAPTURE_EXACT);
	assert_int_equal(t->tables[0].n_rows, N);
	assert_false(txn_has_rows(t));
}

static void
the_worst_class_stays_with_its_reason(void **state)
{
	(void)state;
	txn_degrade(t, CAPTURE_RACE, "row_count");
	txn_degrade(t, CAPTURE_INCOMPLETE, "read_set");
	assert_int_equal(t->capture, CAPTURE_RACE);
	assert_string_equal(t->reason, "row_count");
	assert_true(t->images);
	txn_degrade(t, CAPTURE_UNSUPPORTED, "merge");
	txn_degrade(t, CAPTURE_UNSUPPORTED, "copy_from");
	assert_string_equal(t->reason, "merge");
	assert_false(t->images);
}

static void
a_table_looked_up_with_another_answer_voids_the_images(void **state)
{
	struct catalog_table other = keyed;
	struct rowenc_row a = row(&keyed, "1", "a");

	(void)state;
	other.fingerprint = "g";
	txn_apply(t, &keyed, 0, NULL, 0, &a, 1, true);
	txn_apply(t, &other, 1, &a, 1, NULL, 0, false);
	assert_int_equal(t->capture, CAPTURE_INCOMPLETE);
	assert_string_equal(t->reason, "schema_changed");
	assert_false(t->images);
}

static void
a_row_that_was_left_is_known_by_its_key(void **state)
{
	struct rowenc_row a = row(&keyed, "1", "a"), b = row(&keyed, "1", "b"),
		c = row(&keyed, "2", "a");

	(void)state;
	assert_false(txn_left_row(t, &keyed, &a));
	txn_apply(t, &keyed, 0, NULL, 0, &a, 1, true);
	assert_true(txn_left_row(t, &keyed, &b));
	assert_false(txn_left_row(t, &keyed, &c));
	assert_false(txn_left_row(t, &keyless, &a));
	txn_apply(t, &keyed, 1, &a, 1, NULL, 0, false);
	assert_false(txn_left_row(t, &keyed, &b));
	/* Without a key any row may be one that was left. */
	txn_apply(t, &keyless, 2, NULL, 0, &a, 1, true);
	assert_true(txn_left_row(t, &keyless, &c));
}

/* --- savepoints --- */

static void
what_is_undone_leaves_nothing(void **state)
{
	struct rowenc_row a = row(&keyed, "1", "a"), b = row(&keyed, "1", "b"),
		c = row(&keyed, "2", "c");

	(void)state;
	assert_int_equal(txn_add_statement(t, "x", 1, "UPDATE"), 0);
	txn_apply(t, &keyed, 0, &a, 1, &b, 1, false);
	txn_savepoint(t, "s");
	assert_int_equal(txn_add_statement(t, "y", 1, "DELETE"), 1);
	txn_apply(t, &keyed, 1, &b, 1, NULL, 0, false);
	txn_apply(t, &keyed, 1, NULL, 0, &c, 1, true);
	txn_apply(t, &keyless, 1, NULL, 0, &c, 1, true);
	txn_unverifiable(t, REASON_SEQUENCE);
	txn_degrade(t, CAPTURE_UNSUPPORTED, "merge");
	txn_rollback_to(t, "s");
	assert_int_equal(t->capture, CAPTURE_EXACT);
	assert_string_equal(t->reason, "");
	assert_string_equal(t->unverifiable, "");
	assert_true(t->images);
	assert_int_equal(t->n_statements, 1);
	assert_int_equal(t->n_tables, 1);
	assert_int_equal(t->tables[0].n_rows, 1);
	assert_ptr_equal(t->tables[0].rows[0].after.bytes, b.bytes);
	assert_false(txn_left_row(t, &keyed, &c));
	assert_true(txn_left_row(t, &keyed, &a));
}

static void
all_undone_is_nothing_to_record(void **state)
{
	struct rowenc_row a = row(&keyed, "1", "a");

	(void)state;
	txn_savepoint(t, "s");
	(void)txn_add_statement(t, "x", 1, "INSERT");
	txn_apply(t, &keyed, 0, NULL, 0, &a, 1, true);
	assert_true(t->dirty);
	txn_rollback_to(t, "s");
	assert_false(t->dirty);
	assert_false(txn_has_rows(t));
}

static void
a_name_stands_for_its_latest_savepoint(void **state)
{
	struct rowenc_row a = row(&keyed, "1", "a"), b = row(&keyed, "1", "b"),
		c = row(&keyed, "1", "c");

	(void)state;
	txn_savepoint(t, "s");
	txn_apply(t, &keyed, 0, &a, 1, &b, 1, false);
	txn_savepoint(t, "s");
	txn_apply(t, &keyed, 1, &b, 1, &c, 1, false);
	txn_rollback_to(t, "s");
	assert_ptr_equal(t->tables[0].rows[0].after.bytes, b.bytes);
	txn_rollback_to(t, "s"); /* it is still there */
	assert_ptr_equal(t->tables[0].rows[0].after.bytes, b.bytes);
	txn_release(t, "s");
	txn_rollback_to(t, "s");
	assert_int_equal(t->n_tables, 0);
	assert_int_equal(t->capture, CAPTURE_EXACT);
}

static void
an_unknown_savepoint_undoes_what_is_not_known(void **state)
{
	(void)state;
	txn_savepoint(t, "s");
	txn_rollback_to(t, "other"); /* of nothing */
	assert_int_equal(t->capture, CAPTURE_EXACT);
	(void)txn_add_statement(t, "x", 1, "INSERT");
	txn_rollback_to(t, "s"); /* it may be gone */
	assert_int_equal(t->capture, CAPTURE_UNSUPPORTED);
	assert_string_equal(t->reason, "savepoint");
}

static void
a_release_of_an_unknown_one_loses_the_others(void **state)
{
	(void)state;
	txn_savepoint(t, "s");
	(void)txn_add_statement(t, "x", 1, "INSERT");
	txn_release(t, "other");
	txn_rollback_to(t, "s");
	assert_int_equal(t->capture, CAPTURE_UNSUPPORTED);
}

/* What the rows were at each savepoint, copied: as simple as can be. */
enum { KEYS = 60, DEEP = 5 };

struct model {
	int first[KEYS], now[KEYS]; /* version + 1; 0: not there */
	bool touched[KEYS];
};

static int
number(const uint8_t *digits, size_t len)
{
	char text[16] = { 0 };

	assert_true(len < sizeof(text));
	memcpy(text, digits, len);
	return atoi(text);
}

static int
version_of(const struct rowenc_row *r)
{
	struct rowenc_value v[2];

	if (r->bytes == NULL)
		return 0;
	assert_true(rowenc_decode(&keyed.shape, r, v));
	return number(v[1].data, v[1].len) + 1;
}

static void
is_as_modelled(const struct model *m)
{
	size_t n = 0, found = 0;

	for (int k = 0; k < KEYS; k++)
		n += m->touched[k];
	for (size_t i = 0; t->n_tables > 0 && i < t->tables[0].n_rows; i++) {
		const struct txn_row *r = &t->tables[0].rows[i];
		int k = number(r->id + 4, r->id_len - 4);

		assert_true(m->touched[k]);
		assert_int_equal(version_of(&r->before), m->first[k]);
		assert_int_equal(version_of(&r->after), m->now[k]);
		found++;
	}
	assert_int_equal(found, n);
}

/* The next version of a row, or its end. */
static void
change(struct model *m, int k, int version)
{
	struct rowenc_row pre, post;
	char id[8], v[16];

	if (m->now[k] == 0 && version == 0)
		return; /* nothing is deleted */
	snprintf(id, sizeof(id), "%d", k);
	snprintf(v, sizeof(v), "%d", m->now[k] - 1);
	if (m->now[k] > 0)
		pre = row(&keyed, id, v);
	snprintf(v, sizeof(v), "%d", version);
	post = row(&keyed, id, v);
	txn_apply(t, &keyed, 0, &pre, m->now[k] > 0, &post, version > 0, true);
	if (!m->touched[k])
		m->first[k] = m->now[k];
	m->touched[k] = true;
	m->now[k] = version > 0 ? version + 1 : 0;
}

static void
savepoints_in_any_order(void **state)
{
	struct model stack[DEEP + 1];
	int depth = 0;
	unsigned seed = 4711;

	(void)state;
	memset(stack, 0, sizeof(stack));
	for (int k = 0; k < KEYS; k += 2)
		stack[0].now[k] = 1 + k;
	for (int step = 1; step < 20000; step++) {
		unsigned what = (seed = seed * 1103515245u + 12345u) >> 16;
		unsigned arg = (seed = seed * 1103515245u + 12345u) >> 16;
		char name[2] = { (char)('a' + (int)arg % (depth + 1) - 1), 0 };
		int to = name[0] - 'a' + 1;

		if (what % 8 == 0 && depth < DEEP) {
			name[0] = (char)('a' + depth);
			txn_savepoint(t, name);
			stack[depth + 1] = stack[depth];
			depth++;
		} else if (what % 8 == 1 && to > 0) {
			txn_rollback_to(t, name);
			/* The state at the SAVEPOINT is the one below. */
			stack[to] = stack[to - 1];
			depth = to;
		} else if (what % 8 == 2 && to > 0) {
			txn_release(t, name);
			stack[to - 1] = stack[depth];
			depth = to - 1;
		} else {
			change(&stack[depth], (int)(arg % KEYS),
			    arg % 3 == 0 ? 0 : step);
		}
		is_as_modelled(&stack[depth]);
		assert_int_equal(t->capture, CAPTURE_EXACT);
	}
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(the_first_state_and_the_last_are_kept),
		T(inserted_and_deleted_again_leaves_nothing),
		T(all_of_a_table_is_found_and_left),
		T(a_row_that_is_not_found_again_is_a_race),
		T(a_table_without_key_is_looked_at_once),
		T(a_row_changed_by_someone_else_is_a_race),
		T(a_row_left_that_was_not_found_is_a_race),
		T(keys_may_be_swapped),
		T(rows_without_a_key_are_a_multiset),
		T(many_rows_are_found_again),
		T(a_row_that_was_left_is_known_by_its_key),
		T(the_worst_class_stays_with_its_reason),
		T(a_table_looked_up_with_another_answer_voids_the_images),
		T(what_is_undone_leaves_nothing),
		T(all_undone_is_nothing_to_record),
		T(a_name_stands_for_its_latest_savepoint),
		T(an_unknown_savepoint_undoes_what_is_not_known),
		T(a_release_of_an_unknown_one_loses_the_others),
		T(savepoints_in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
