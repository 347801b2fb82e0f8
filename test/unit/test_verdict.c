/*
 * test_verdict.c: a verdict survives the socket; bad bytes do not pass.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../replayd/verdict.h"

static struct arena *arena;

static int
make_arena(void **state)
{
	(void)state;
	arena = arena_new(0);
	return 0;
}

static int
free_arena(void **state)
{
	(void)state;
	arena_free(arena);
	return 0;
}

static struct verdict_key key[] = { { "id", "7" }, { "part", NULL } };
static struct verdict_mismatch mismatches[] = {
	{ "public.account", key, 2, "balance", "100", "" },
	{ "public.account", key, 1, NULL, NULL, "present" },
};

static struct verdict
sample(void)
{
	struct verdict v = { .tx_id = UINT64_C(1) << 40,
		.kind = VERDICT_MISMATCH,
		.reason = "rows_differ",
		.detail = "",
		.has_root = true,
		.mismatches = mismatches,
		.n_mismatches = 2,
		.more = true,
		.statement = -1,
		.replay_ms = 1.25 };

	memset(v.post_root_calculated.b, 0xa5, MERKLE_HASH_BYTES);
	return v;
}

static void
assert_same_mismatch(
    const struct verdict_mismatch *a, const struct verdict_mismatch *b)
{
	assert_string_equal(a->table, b->table);
	assert_int_equal(a->n_row, b->n_row);
	assert_string_equal(a->row[0].value, "7");
	if (b->column == NULL)
		assert_null(a->column);
	else
		assert_string_equal(a->column, b->column);
	if (b->claimed == NULL)
		assert_null(a->claimed);
	else
		assert_string_equal(a->claimed, b->claimed);
	assert_string_equal(a->calculated, b->calculated);
}

static void
test_decodes_what_was_encoded(void **state)
{
	struct verdict v = sample();
	struct verdict got;
	struct buf b = { 0 };

	(void)state;
	verdict_encode(&v, &b);
	assert_true(verdict_decode(b.data, b.len, arena, &got));
	memset(b.data, 0, b.len); /* nothing points into the bytes */
	assert_true(got.tx_id == v.tx_id);
	assert_int_equal(got.kind, VERDICT_MISMATCH);
	assert_string_equal(got.reason, "rows_differ");
	assert_true(got.has_root && got.more && got.replay_ms == 1.25);
	assert_int_equal(got.statement, -1);
	assert_int_equal(got.post_root_calculated.b[31], 0xa5);
	assert_int_equal(got.n_mismatches, 2);
	assert_same_mismatch(&got.mismatches[0], &mismatches[0]);
	assert_same_mismatch(&got.mismatches[1], &mismatches[1]);
	assert_null(got.mismatches[0].row[1].value);
	buf_free(&b);
}

static void
test_refuses_every_truncation(void **state)
{
	struct verdict v = sample();
	struct verdict got;
	struct buf b = { 0 };

	(void)state;
	verdict_encode(&v, &b);
	for (size_t n = 0; n < b.len; n++)
		assert_false(verdict_decode(b.data, n, arena, &got));
	buf_put_u8(&b, 0);
	assert_false(verdict_decode(b.data, b.len, arena, &got));
	buf_free(&b);
}

static void
test_survives_every_flipped_byte(void **state)
{
	struct verdict v = sample();
	struct verdict got;
	struct buf b = { 0 };

	(void)state;
	verdict_encode(&v, &b);
	for (size_t i = 0; i < b.len; i++) {
		b.data[i] ^= 0xff;
		if (verdict_decode(b.data, b.len, arena, &got))
			assert_true(got.n_mismatches <= VERDICT_MAX_MISMATCHES);
		b.data[i] ^= 0xff;
	}
	buf_free(&b);
}

static void
test_refuses_at_the_arena_limit(void **state)
{
	struct arena *small = arena_new(64);
	struct verdict v = sample();
	struct verdict got;
	struct buf b = { 0 };

	(void)state;
	verdict_encode(&v, &b);
	assert_false(verdict_decode(b.data, b.len, small, &got));
	arena_free(small);
	buf_free(&b);
}

static void
test_names_are_those_of_the_contract(void **state)
{
	(void)state;
	assert_string_equal(verdict_kind_name(VERDICT_VERIFIED), "verified");
	assert_string_equal(verdict_kind_name(VERDICT_MISMATCH), "mismatch");
	assert_string_equal(
	    verdict_kind_name(VERDICT_UNVERIFIABLE), "unverifiable");
	assert_string_equal(verdict_kind_name(VERDICT_ERROR), "error");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decodes_what_was_encoded),
		cmocka_unit_test(test_refuses_every_truncation),
		cmocka_unit_test(test_survives_every_flipped_byte),
		cmocka_unit_test(test_refuses_at_the_arena_limit),
		cmocka_unit_test(test_names_are_those_of_the_contract),
	};

	return cmocka_run_group_tests(tests, make_arena, free_arena);
}
