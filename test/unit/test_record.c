/*
 * test_record.c: a record survives its way as bytes, and no bytes make the
 * decoder believe what is not there.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

static struct arena *arena;

static int
set_up(void **state)
{
	(void)state;
	arena = arena_new(0);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	arena_free(arena);
	return 0;
}

static struct record_row
make_row(const struct rowenc_shape *s, const char *id, const char *text,
	uint32_t statement)
{
	struct rowenc_value values[] = {
		{ (const uint8_t *)id, strlen(id) },
		{ (const uint8_t *)text, text == NULL ? 0 : strlen(text) },
	};
	struct record_row r = { .statement = statement };

	assert_true(rowenc_encode(s, values, arena, &r.row));
	return r;
}

static void
make_table(struct record_table *t, const char *table, bool write)
{
	t->schema = "public";
	t->table = table;
	t->write = write;
	t->oid = 16384;
	t->fingerprint = "0123456789abcdef";
	t->definition = "fedcba9876543210";
	t->shape.n_columns = 2;
	t->shape.columns =
	    arena_zalloc(arena, 2 * sizeof(*t->shape.columns));
	assert_non_null(t->shape.columns);
	t->shape.columns[0].name = "id";
	t->shape.columns[0].type = "integer";
	t->shape.columns[0].key = 1;
	t->shape.columns[0].identity = 'a';
	t->shape.columns[1].name = "body";
	t->shape.columns[1].type = "text";
	assert_true(rowenc_shape_init(&t->shape, arena));
	t->n_before = 2;
	t->before = arena_zalloc(arena, 2 * sizeof(*t->before));
	t->n_after = 1;
	t->after = arena_zalloc(arena, sizeof(*t->after));
	assert_non_null(t->before);
	assert_non_null(t->after);
	t->before[0] = make_row(&t->shape, "2", "zwei", 1);
	t->before[1] = make_row(&t->shape, "1", NULL, 0);
	t->after[0] = make_row(&t->shape, "2", "", 0);
}

static void
make_record(struct record *r)
{
	static const struct record_param params[] = {
		{ 23, 1, (const uint8_t *)"\0\0\0\2", 4 },
		{ 0, 0, NULL, 0 },
		{ 0, 0, (const uint8_t *)"", 0 },
	};
	static struct record_statement statements[] = {
		{ "UPDATE t SET body = ''", 22, "UPDATE", NULL, 0 },
		{ "DELETE FROM t WHERE id = $1", 27, "DELETE", params, 3 },
	};
	static struct record_warning warnings[] = {
		{ "non_deterministic", "random", "random() is volatile" },
	};
	static const struct record_value values[] = {
		{ (const uint8_t *)"7", 1 }, { NULL, 0 },
		{ (const uint8_t *)"", 0 }
	};
	static struct record_input inputs[] = { { .statement = 1,
		.what = "nextval",
		.origin = INPUT_CLAIM,
		.schema = "public",
		.table = "z",
		.column = "id",
		.values = values,
		.n_values = 3 } };
	static struct record_setting settings[] = {
		{ "search_path", "public" },
		{ "TimeZone", "Europe/Berlin" },
	};

	memset(r, 0, sizeof(*r));
	r->xid = 0x1234567890abcdefu;
	r->time_us = 1732390000123456;
	r->now = "2026-11-23 20:00:00+00";
	r->database = "postgres";
	r->user = "alice";
	r->application_name = "psql";
	r->client_addr = "";
	r->isolation = "read committed";
	r->capture = CAPTURE_RACE;
	r->capture_reason = "row changed";
	r->unverifiable = "";
	r->doubt = "order";
	r->inputs = inputs;
	r->n_inputs = 1;
	r->statements = statements;
	r->n_statements = 2;
	r->warnings = warnings;
	r->n_warnings = 1;
	r->settings = settings;
	r->n_settings = 2;
	r->has_images = true;
	r->n_tables = 2;
	r->tables = arena_zalloc(arena, 2 * sizeof(*r->tables));
	assert_non_null(r->tables);
	make_table(&r->tables[0], "z", true);
	make_table(&r->tables[1], "a", false);
	record_set_roots(r);
}

static void
check_table(const struct record_table *t)
{
	struct rowenc_value values[2];

	assert_string_equal(t->schema, "public");
	assert_int_equal(t->oid, 16384);
	assert_string_equal(t->fingerprint, "0123456789abcdef");
	assert_string_equal(t->definition, "fedcba9876543210");
	assert_int_equal(t->shape.n_columns, 2);
	assert_int_equal(t->shape.n_key, 1);
	assert_int_equal(t->shape.columns[0].identity, 'a');
	assert_int_equal(t->shape.columns[1].generated, 0);
	assert_int_equal(t->n_before, 2);
	assert_int_equal(t->n_after, 1);
	assert_int_equal(t->before[0].statement, 0); /* row 1, sorted first */
	assert_int_equal(t->before[1].statement, 1);
	assert_true(rowenc_decode(&t->shape, &t->before[0].row, values));
	assert_memory_equal(values[0].data, "1", 1);
	assert_null(values[1].data);
	assert_true(rowenc_decode(&t->shape, &t->after[0].row, values));
	assert_non_null(values[1].data);
	assert_int_equal(values[1].len, 0);
}

/* NULL is not the empty value. */
static void
check_params(const struct record_statement *s)
{
	assert_int_equal(s->n_params, 3);
	assert_int_equal(s->params[0].type, 23);
	assert_int_equal(s->params[0].format, 1);
	assert_int_equal(s->params[0].len, 4);
	assert_memory_equal(s->params[0].value, "\0\0\0\2", 4);
	assert_null(s->params[1].value);
	assert_non_null(s->params[2].value);
	assert_int_equal(s->params[2].len, 0);
}

static void
a_record_comes_back_as_it_was(void **state)
{
	struct record r;
	struct record got;
	struct buf b = { 0 };
	struct buf again = { 0 };

	(void)state;
	make_record(&r);
	record_encode(&r, &b);
	assert_true(record_decode(b.data, b.len, arena, &got));
	assert_true(got.xid == r.xid);
	assert_true(got.time_us == r.time_us);
	assert_false(got.intent);
	assert_int_equal(got.capture, CAPTURE_RACE);
	assert_string_equal(got.now, r.now);
	assert_string_equal(got.statements[1].type, "DELETE");
	assert_string_equal(got.statements[1].sql, r.statements[1].sql);
	check_params(&got.statements[1]);
	assert_string_equal(got.warnings[0].function, "random");
	assert_string_equal(got.settings[1].value, "Europe/Berlin");
	assert_string_equal(got.doubt, "order");
	assert_int_equal(got.n_inputs, 1);
	assert_string_equal(got.inputs[0].what, "nextval");
	assert_string_equal(got.inputs[0].column, "id");
	assert_int_equal(got.inputs[0].statement, 1);
	assert_int_equal(got.inputs[0].origin, INPUT_CLAIM);
	assert_int_equal(got.inputs[0].n_values, 3);
	assert_memory_equal(got.inputs[0].values[0].value, "7", 1);
	assert_null(got.inputs[0].values[1].value);
	assert_non_null(got.inputs[0].values[2].value);
	assert_string_equal(got.tables[0].table, "a");
	assert_false(got.tables[0].write);
	assert_true(got.tables[1].write);
	check_table(&got.tables[0]);
	check_table(&got.tables[1]);
	assert_memory_equal(got.post_root.b, r.post_root.b, 32);
	record_encode(&got, &again);
	assert_int_equal(again.len, b.len);
	assert_memory_equal(again.data, b.data, b.len);
	buf_free(&b);
	buf_free(&again);
}

static void
an_intent_has_no_images(void **state)
{
	struct record r;
	struct record got;
	struct buf b = { 0 };

	(void)state;
	make_record(&r);
	r.intent = true;
	r.has_images = false;
	record_encode(&r, &b);
	assert_true(record_decode(b.data, b.len, arena, &got));
	assert_true(got.intent);
	assert_false(got.has_images);
	assert_int_equal(got.n_tables, 2);
	assert_int_equal(got.tables[0].n_before, 0);
	assert_int_equal(got.tables[0].shape.n_columns, 2);
	buf_free(&b);
}

static void
roots_are_those_of_the_row_encoding(void **state)
{
	struct record r;
	struct rowenc_row rows[2];
	struct rowenc_table tables[2];
	struct merkle_hash root;

	(void)state;
	make_record(&r);
	for (size_t i = 0; i < 2; i++) {
		rows[0] = r.tables[i].before[1].row;
		rows[1] = r.tables[i].before[0].row;
		rowenc_table_root(rows, 2, &tables[i].root);
		assert_memory_equal(tables[i].root.b, r.tables[i].pre_root.b,
		    32);
		tables[i].schema = r.tables[i].schema;
		tables[i].table = r.tables[i].table;
	}
	rowenc_database_root(tables, 2, &root);
	assert_memory_equal(root.b, r.pre_root.b, 32);
}

/* A copy of exactly n bytes, so that ASan sees one read too many. */
static bool
decodes(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n + (n == 0));
	struct arena *a = arena_new(0);
	struct record r;
	bool ok;

	assert_non_null(copy);
	memcpy(copy, p, n);
	ok = record_decode(copy, n, a, &r);
	arena_free(a);
	free(copy);
	return ok;
}

static void
every_truncation_is_refused(void **state)
{
	struct record r;
	struct buf b = { 0 };

	(void)state;
	make_record(&r);
	record_encode(&r, &b);
	for (size_t n = 0; n < b.len; n++)
		if (decodes(b.data, n))
			fail_msg("%zu of %zu bytes are a record", n, b.len);
	buf_put_u8(&b, 0);
	assert_false(decodes(b.data, b.len));
	buf_free(&b);
}

static void
changed_bytes_never_crash(void **state)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
	struct record r;
	struct buf b = { 0 };

	(void)state;
	make_record(&r);
	record_encode(&r, &b);
	for (size_t i = 0; i < b.len; i++) {
		uint8_t was = b.data[i];

		for (size_t k = 0; k < sizeof(values); k++) {
			b.data[i] = values[k];
			(void)decodes(b.data, b.len);
		}
		for (unsigned bit = 0; bit < 8; bit++) {
			b.data[i] = (uint8_t)(was ^ (1u << bit));
			(void)decodes(b.data, b.len);
		}
		b.data[i] = was;
	}
	assert_true(decodes(b.data, b.len));
	buf_free(&b);
}

static void
an_arena_that_is_too_small_is_an_answer(void **state)
{
	struct record r;
	struct record got;
	struct buf b = { 0 };
	struct arena *small = arena_new(64);

	(void)state;
	make_record(&r);
	record_encode(&r, &b);
	assert_false(record_decode(b.data, b.len, small, &got));
	arena_free(small);
	buf_free(&b);
}

static void
an_outcome_comes_back_as_it_was(void **state)
{
	struct record_outcome_message m = { OUTCOME_ABORTED, 77, "server",
		"40001" };
	struct record_outcome_message got;
	struct buf b = { 0 };

	(void)state;
	record_outcome_encode(&m, &b);
	for (size_t n = 0; n < b.len; n++)
		assert_false(record_outcome_decode(b.data, n, &got));
	assert_true(record_outcome_decode(b.data, b.len, &got));
	assert_int_equal(got.outcome, OUTCOME_ABORTED);
	assert_int_equal(got.xid, 77);
	assert_string_equal(got.resolved_by, "server");
	assert_string_equal(got.reason, "40001");
	b.data[1] = 9;
	assert_false(record_outcome_decode(b.data, b.len, &got));
	buf_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_comes_back_as_it_was),
		cmocka_unit_test(an_intent_has_no_images),
		cmocka_unit_test(roots_are_those_of_the_row_encoding),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(changed_bytes_never_crash),
		cmocka_unit_test(an_arena_that_is_too_small_is_an_answer),
		cmocka_unit_test(an_outcome_comes_back_as_it_was),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
