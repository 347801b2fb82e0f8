/*
 * test_buf.c: buffers, the reader, arenas and the CRC.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arena.h"
#include "buf.h"
#include "ioutil.h"

static void
numbers_are_big_endian_and_read_back(void **state)
{
	static const uint8_t want[] = { 1, 0x12, 0x34, 0x12, 0x34, 0x56, 0x78,
		1, 2, 3, 4, 5, 6, 7, 8 };
	struct buf b = { 0 };
	struct rd r;

	(void)state;
	buf_put_u8(&b, 1);
	buf_put_u16(&b, 0x1234);
	buf_put_u32(&b, 0x12345678);
	buf_put_u64(&b, UINT64_C(0x0102030405060708));
	assert_int_equal(b.len, sizeof(want));
	assert_memory_equal(b.data, want, sizeof(want));
	r = rd_init(b.data, b.len);
	assert_int_equal(rd_u8(&r), 1);
	assert_int_equal(rd_u16(&r), 0x1234);
	assert_int_equal(rd_u32(&r), 0x12345678);
	assert_true(rd_u64(&r) == UINT64_C(0x0102030405060708));
	assert_int_equal(rd_left(&r), 0);
	assert_false(r.bad);
	buf_free(&b);
}

static void
a_buffer_grows_and_is_consumed_from_the_front(void **state)
{
	struct buf b = { 0 };

	(void)state;
	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "%04d", i);
	assert_int_equal(b.len, 4000);
	buf_consume(&b, 3996);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "0999", 4);
	buf_consume(&b, 100);
	assert_int_equal(b.len, 0);
	buf_free(&b);
}

static void
strings_and_lengths_come_back(void **state)
{
	struct buf b = { 0 };
	struct rd r;
	size_t n;

	(void)state;
	buf_put_cstr(&b, "name");
	buf_put_lp(&b, "value", 5);
	buf_put_lp(&b, NULL, 0);
	buf_put_maybe(&b, "");
	buf_put_maybe(&b, NULL);
	r = rd_init(b.data, b.len);
	assert_string_equal(rd_cstr(&r), "name");
	assert_memory_equal(rd_lp(&r, &n), "value", 5);
	assert_int_equal(n, 5);
	assert_non_null(rd_lp(&r, &n));
	assert_int_equal(n, 0);
	assert_string_equal(rd_maybe(&r), "");
	assert_null(rd_maybe(&r));
	assert_false(r.bad);
	buf_set_u32(&b, 5, 4);
	assert_int_equal(get_u32(b.data + 5), 4);
	buf_free(&b);
}

static void
reading_past_the_end_is_bad_for_good(void **state)
{
	static const uint8_t bytes[] = { 0, 0, 0, 9, 'a' };
	struct rd r = rd_init(bytes, 3);
	size_t n = 1;

	(void)state;
	assert_int_equal(rd_u32(&r), 0);
	assert_true(r.bad);
	assert_int_equal(rd_u8(&r), 0);
	assert_null(rd_bytes(&r, 0));

	r = rd_init(bytes, sizeof(bytes));
	assert_null(rd_lp(&r, &n));
	assert_int_equal(n, 0);
	assert_true(r.bad);
}

static void
a_string_without_its_end_is_bad(void **state)
{
	struct rd r = rd_init("abc", 3);

	(void)state;
	assert_null(rd_cstr(&r));
	assert_true(r.bad);
	r = rd_init("", 0);
	assert_null(rd_cstr(&r));
	assert_true(r.bad);
	r = rd_init("\2abc", 5);
	assert_null(rd_maybe(&r));
	assert_true(r.bad);
}

static void
an_arena_gives_nothing_beyond_its_limit(void **state)
{
	struct arena *a = arena_new(100000);

	(void)state;
	assert_non_null(arena_alloc(a, 60000));
	assert_null(arena_alloc(a, 60000));
	assert_null(arena_alloc(a, SIZE_MAX));
	assert_non_null(arena_alloc(a, 100));
	assert_in_range(arena_used(a), 60100, 60200);
	arena_reset(a);
	assert_int_equal(arena_used(a), 0);
	assert_non_null(arena_alloc(a, 60000));
	arena_free(a);
}

static void
an_arena_keeps_what_it_gave(void **state)
{
	struct arena *a = arena_new(0);
	char *kept[1000];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		char text[32];

		snprintf(text, sizeof(text), "text %d", i);
		kept[i] = arena_strdup(a, text);
		assert_int_equal((uintptr_t)kept[i] % 16, 0);
	}
	assert_string_equal(kept[0], "text 0");
	assert_string_equal(kept[999], "text 999");
	arena_free(a);
}

static void
an_array_in_an_arena_grows(void **state)
{
	struct arena *a = arena_new(4096);
	size_t cap = 0, n = 0;
	int *array = NULL;

	(void)state;
	for (; n < 100; n++) {
		array = arena_grow(a, array, n, &cap, sizeof(*array));
		assert_non_null(array);
		array[n] = (int)n;
	}
	for (n = 0; n < 100; n++)
		assert_int_equal(array[n], n);
	cap = 4000;
	assert_null(arena_grow(a, array, 4000, &cap, sizeof(*array)));
	arena_free(a);
}

static void
crc32c_gives_the_known_vector(void **state)
{
	uint32_t crc = io_crc32c(0, "1234", 4);

	(void)state;
	assert_int_equal(io_crc32c(0, "123456789", 9), 0xE3069283);
	assert_int_equal(io_crc32c(crc, "56789", 5), 0xE3069283);
	assert_int_equal(io_crc32c(0, "", 0), 0);
}

static void
time_is_rfc_3339_with_microseconds(void **state)
{
	char out[IO_TIME_BYTES];

	(void)state;
	assert_string_equal(io_format_time(INT64_C(1795464000000001), out),
	    "2026-11-23T20:00:00.000001Z");
	assert_string_equal(
	    io_format_time(-1, out), "1969-12-31T23:59:59.999999Z");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_big_endian_and_read_back),
		cmocka_unit_test(a_buffer_grows_and_is_consumed_from_the_front),
		cmocka_unit_test(strings_and_lengths_come_back),
		cmocka_unit_test(reading_past_the_end_is_bad_for_good),
		cmocka_unit_test(a_string_without_its_end_is_bad),
		cmocka_unit_test(an_arena_gives_nothing_beyond_its_limit),
		cmocka_unit_test(an_arena_keeps_what_it_gave),
		cmocka_unit_test(an_array_in_an_arena_grows),
		cmocka_unit_test(crc32c_gives_the_known_vector),
		cmocka_unit_test(time_is_rfc_3339_with_microseconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
