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

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(the_first_state_and_the_last_are_kept),
		T(inserted_and_deleted_again_leaves_nothing),
		T(a_row_changed_by_someone_else_is_a_race),
		T(a_row_left_that_was_not_found_is_a_race),
		T(keys_may_be_swapped),
		T(rows_without_a_key_are_a_multiset),
		T(many_rows_are_found_again),
		T(a_row_that_was_left_is_known_by_its_key),
		T(the_worst_class_stays_with_its_reason),
		T(a_table_looked_up_with_another_answer_voids_the_images),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
