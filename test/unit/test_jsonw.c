/*
 * test_jsonw.c: JSON that is written as text is byte for byte what jansson
 * writes of the same values.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../replayd/jsonw.h"
#include "../../replayd/jsonx.h"

#define PIECE 4096 /* of jsonw.c */

static void
compare(const struct buf *is, json_t *wanted)
{
	size_t len;
	char *text = jsonx_dump(wanted, &len);

	if (is->len != len || memcmp(is->data, text, len) != 0)
		fail_msg("%.*s is not %s", (int)is->len, (const char *)is->data,
		    text);
	free(text);
	json_decref(wanted);
}

static void
text(const void *s, size_t n)
{
	static struct buf b;

	buf_reset(&b);
	jsonw_textn(&b, s, n);
	compare(&b, jsonx_textn(s, n));
}

static void
every_character(void **state)
{
	char s[4];

	(void)state;
	for (uint32_t c = 1; c < 0x110000; c++) {
		size_t n = 0;

		if (c >= 0x10000) {
			s[n++] = (char)(0xf0 | c >> 18);
			s[n++] = (char)(0x80 | (c >> 12 & 63));
		} else if (c >= 0x800)
			s[n++] = (char)(0xe0 | c >> 12);
		if (c >= 0x800)
			s[n++] = (char)(0x80 | (c >> 6 & 63));
		else if (c >= 0x80)
			s[n++] = (char)(0xc0 | c >> 6);
		s[n++] = (char)(c < 0x80 ? c : 0x80 | (c & 63));
		text(s, n);
	}
}

static void
every_two_bytes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 0x10000; i++) {
		const uint8_t s[] = { (uint8_t)(i >> 8), (uint8_t)i };

		text(s, 1);
		text(s, 2);
	}
}

/* Of each class of bytes those at its ends, up to five in a row. */
static void
bytes_at_the_ends_of_their_classes(void **state)
{
	static const uint8_t ends[] = { 0x00, 0x1f, 'a', '"', 0x7f, 0x80, 0x8f,
		0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1,
		0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff };
	const size_t n = sizeof(ends);
	uint8_t s[5] = { 0 };

	(void)state;
	for (size_t i = 0; i < n * n * n * n; i++) {
		s[0] = ends[i % n];
		s[1] = ends[i / n % n];
		s[2] = ends[i / n / n % n];
		s[3] = ends[i / n / n / n];
		s[4] = 'x';
		text(s, 3);
		text(s, 4);
		text(s, 5);
	}
}

/* Long text is made in pieces: nothing happens where they meet. */
static void
a_character_where_pieces_meet(void **state)
{
	static const char *const characters[] = { "\"", "\x01", "\xc3\xa9",
		"\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xff", "\xe2\x82" };
	char s[2 * PIECE + 16];

	(void)state;
	for (size_t i = 0; i < sizeof(characters) / sizeof(*characters); i++)
		for (size_t at = PIECE - 8; at < PIECE + 8; at++) {
			size_t n = strlen(characters[i]);

			memset(s, '\n', sizeof(s));
			memcpy(s + at, characters[i], n);
			text(s, at + n);
			text(s, sizeof(s));
		}
}

/* Eight bytes are looked at at once. */
static void
a_character_among_plain_ones(void **state)
{
	char s[17];

	(void)state;
	for (unsigned c = 0; c < 256; c++)
		for (size_t at = 0; at < sizeof(s); at++) {
			memset(s, 'a', sizeof(s));
			s[at] = (char)c;
			text(s, sizeof(s));
			s[(at + 3) % sizeof(s)] = '\n';
			text(s, sizeof(s));
		}
}

static void
parts_are_one_text(void **state)
{
	const char *const good[] = { "a\"b", "caf\xc3\xa9", "" };
	const char *const bad[] = { "a", "caf\xe9", "b" };
	struct buf b = { 0 };

	(void)state;
	jsonw_dotted(&b, good, 3);
	compare(&b, jsonx_text("a\"b.caf\xc3\xa9."));
	buf_reset(&b);
	jsonw_dotted(&b, bad, 3);
	compare(&b, jsonx_text("a.caf\xe9.b"));
	buf_free(&b);
}

static void
numbers(void **state)
{
	static const uint64_t v[] = { 0, 1, 9, 10, 4294967295, 4294967296,
		INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX };
	struct buf b = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++) {
		buf_reset(&b);
		jsonw_int(&b, v[i]);
		compare(&b, jsonx_int(v[i]));
		buf_reset(&b);
		jsonw_decimal(&b, v[i]);
		compare(&b, jsonx_decimal(v[i]));
	}
	buf_free(&b);
}

/* Commas, after each kind of value. */
static void
a_whole_value(void **state)
{
	struct merkle_hash h = { { 0xab } };
	json_t *all = jsonx_array(), *object = jsonx_object();
	struct buf b = { 0 };

	(void)state;
	jsonx_append(all, jsonx_array());
	jsonx_append(all, json_null());
	jsonx_append(all, json_true());
	jsonx_append(all, json_false());
	jsonx_append(all, jsonx_int(7));
	jsonx_append(all, jsonx_hash(&h));
	jsonx_set(object, "a", jsonx_object());
	jsonx_set(object, "b", jsonx_text("[{:"));
	jsonx_append(all, object);
	jsonx_append(all, json_real(0.1));
	jsonx_append(all, json_real(0));
	jsonx_append(all, json_real(-2.5));
	jsonx_append(all, json_null());

	jsonw_open(&b, '[');
	jsonw_open(&b, '[');
	jsonw_close(&b, ']');
	jsonw_text_or_null(&b, "");
	jsonw_bool(&b, true);
	jsonw_bool(&b, false);
	jsonw_int(&b, 7);
	jsonw_hash(&b, &h);
	jsonw_open(&b, '{');
	jsonw_name(&b, "a");
	jsonw_open(&b, '{');
	jsonw_close(&b, '}');
	jsonw_name(&b, "b");
	jsonw_text_or_null(&b, "[{:");
	jsonw_close(&b, '}');
	jsonw_value(&b, json_real(0.1));
	jsonw_real(&b, 0);
	jsonw_real(&b, -2.5);
	jsonw_null(&b);
	jsonw_close(&b, ']');
	compare(&b, all);
	buf_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_character),
		cmocka_unit_test(every_two_bytes),
		cmocka_unit_test(bytes_at_the_ends_of_their_classes),
		cmocka_unit_test(a_character_where_pieces_meet),
		cmocka_unit_test(a_character_among_plain_ones),
		cmocka_unit_test(parts_are_one_text),
		cmocka_unit_test(numbers),
		cmocka_unit_test(a_whole_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
