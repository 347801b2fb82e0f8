/*
 * test_share.c: a table's definition comes out of the shared cache as it went
 * in; bytes that are none do not.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../backend/share.h"
#include "shcache.h"

#define N_COLUMNS 3

static struct heritage heritage;

/* Its length counts itself. */
#define PACKET(length, parameters) \
	{ \
		.data = (uint8_t[]){ "\0\0\0" length "\0\3\0\0" parameters }, \
		.len = sizeof("\0\0\0" length "\0\3\0\0" parameters) \
	}
static struct session session = { .heritage = &heritage,
	.startup = PACKET("\53", "user\0ann\0application_name\0x 1\0a\0b\0") };

static struct rowenc_column columns[N_COLUMNS] = {
	{ "id", "integer", 2, 'a', 0 },
	{ "\"odd\" name", "numeric(12,2)", 0, 0, 's' },
	{ "caf\xe9", "text", 1, 0, 0 },
};
static struct catalog_column more[N_COLUMNS] = {
	{ 0, true, true, FUNCTION_SEQUENCE, "nextval", "nextval" },
	{ SENSITIVE_FLOAT, false, false, FUNCTION_PURE, NULL, NULL },
	{ SENSITIVE_MONEY, true, false, FUNCTION_UNKNOWN, "f", NULL },
};
static const struct catalog_table table = { .oid = 4294967295,
	.schema = "s",
	.name = "t",
	.written = "\"s\".\"t\"",
	.fingerprint = "0123456789abcdef",
	.definition = "fedcba",
	.quick = "",
	.shape = { .columns = columns, .n_columns = N_COLUMNS },
	.columns = more,
	.sensitive = SENSITIVE_FLOAT | SENSITIVE_MONEY,
	.unsupported = "cascade",
	.rules = true,
	.triggers = true,
	.deferred = true,
	.may_lock = true };

static int
setup(void **state)
{
	(void)state;
	heritage.shared = shcache_new();
	return 0;
}

static void
put(const struct catalog_table *t)
{
	share_put(&session, shcache_generation(heritage.shared), t);
}

static void
same_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		assert_ptr_equal(a, b);
	else
		assert_string_equal(a, b);
}

static void
same_column(const struct catalog_table *t, unsigned i)
{
	const struct rowenc_column *c = &t->shape.columns[i];
	const struct catalog_column *m = &t->columns[i];

	assert_string_equal(c->name, columns[i].name);
	assert_string_equal(c->type, columns[i].type);
	assert_int_equal(c->key, columns[i].key);
	assert_int_equal(c->identity, columns[i].identity);
	assert_int_equal(c->generated, columns[i].generated);
	assert_int_equal(m->sensitive, more[i].sensitive);
	assert_int_equal(m->has_default, more[i].has_default);
	assert_int_equal(m->cascades, more[i].cascades);
	assert_int_equal(m->default_class, more[i].default_class);
	same_text(m->default_function, more[i].default_function);
	same_text(m->default_call, more[i].default_call);
}

static void
it_comes_out_as_it_went_in(void **state)
{
	struct arena *a = arena_new(0);
	const struct catalog_table *t;

	(void)state;
	put(&table);
	t = share_read(&session, table.written, a);
	assert_non_null(t);
	assert_int_equal(t->oid, table.oid);
	assert_string_equal(t->schema, "s");
	assert_string_equal(t->name, "t");
	assert_string_equal(t->written, table.written);
	assert_string_equal(t->fingerprint, table.fingerprint);
	same_text(t->definition, table.definition);
	same_text(t->quick, table.quick);
	same_text(t->unsupported, table.unsupported);
	same_text(t->unreadable, NULL);
	assert_int_equal(t->sensitive, table.sensitive);
	assert_true(t->rules && t->triggers && t->deferred && t->may_lock);
	assert_false(t->cascades || t->user_code);
	assert_int_equal(t->shape.n_columns, N_COLUMNS);
	assert_int_equal(t->shape.n_key, 2);
	assert_int_equal(t->shape.key[0], 2);
	for (unsigned i = 0; i < N_COLUMNS; i++)
		same_column(t, i);
	arena_free(a);
}

/* Another startup packet, but for application_name; another name. */
static void
others_do_not_find_it(void **state)
{
	struct arena *a = arena_new(0);
	struct session other = session, same = session;

	(void)state;
	put(&table);
	other.startup = (struct buf)PACKET(
	    "\53", "user\0ben\0application_name\0x 1\0a\0b\0");
	same.startup = (struct buf)PACKET(
	    "\55", "user\0ann\0application_name\0no. 2\0a\0b\0");
	assert_null(share_read(&other, table.written, a));
	other.startup = (struct buf)PACKET(
	    "\53", "user\0ann\0application_name\0x 1\0a\0c\0");
	assert_null(share_read(&other, table.written, a));
	assert_non_null(share_read(&same, table.written, a));
	assert_null(share_read(&session, "\"t\"", a));
	assert_non_null(share_read(&session, table.written, a));
	arena_free(a);
}

/* Cut anywhere, each byte another, more behind: nothing worse than NULL. */
static void
other_bytes_are_no_table(void **state)
{
	struct arena *a = arena_new(0);
	struct buf good = { 0 }, bad = { 0 };
	struct merkle_hash key;

	(void)state;
	put(&table);
	share_key(&session, table.written, &key);
	assert_true(shcache_get(heritage.shared, &key, &good));
	for (size_t n = 1; n <= good.len + 1; n++) {
		buf_reset(&bad);
		buf_put(&bad, good.data, n < good.len ? n : good.len);
		if (n > good.len)
			buf_put_u8(&bad, 0);
		shcache_put(heritage.shared, 0,
		    shcache_generation(heritage.shared), INT64_MAX, &key, &bad);
		if (n != good.len)
			assert_null(share_read(&session, table.written, a));
	}
	for (size_t i = 0; i < 8 * good.len; i++) {
		buf_reset(&bad);
		buf_put(&bad, good.data, good.len);
		bad.data[i / 8] ^= (uint8_t)(1u << i % 8);
		shcache_put(heritage.shared, 0,
		    shcache_generation(heritage.shared), INT64_MAX, &key, &bad);
		(void)!share_read(&session, table.written, a);
		arena_reset(a);
	}
	buf_free(&good);
	buf_free(&bad);
	arena_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_comes_out_as_it_went_in),
		cmocka_unit_test(others_do_not_find_it),
		cmocka_unit_test(other_bytes_are_no_table),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
