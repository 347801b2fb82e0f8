/*
 * test_copydata.c: the data of COPY FROM as rows and fields.
 *
 * test_replay.c compares it with what a server reads.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "copydata.h"

#define MAX_FIELDS 8

/* All rows as "a|b|~ c", NULL as ~, rows joined by "/", "!" if it is bad. */
static const char *
rows_of(const struct copydata_options *o, const void *data, size_t len)
{
	static char text[1024];
	struct rowenc_value v[MAX_FIELDS];
	struct copydata c;
	enum copydata_answer a;
	size_t n, at = 0;

	copydata_open(&c, o, data, len);
	while ((a = copydata_row(&c, v, MAX_FIELDS, &n)) == COPYDATA_ROW) {
		text[at++] = '/';
		for (size_t i = 0; i < n; i++) {
			if (i > 0)
				text[at++] = '|';
			if (v[i].data == NULL) {
				text[at++] = '~';
				continue;
			}
			memcpy(text + at, v[i].data, v[i].len);
			at += v[i].len;
		}
	}
	if (a == COPYDATA_BAD)
		text[at++] = '!';
	/* ended is ended */
	assert_int_equal(copydata_row(&c, v, MAX_FIELDS, &n), COPYDATA_END);
	copydata_close(&c);
	text[at] = '\0';
	return text;
}

struct example {
	const char *data;
	const char *rows;
};

static void
check(const struct copydata_options *o, const struct example *e, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_string_equal(
		    rows_of(o, e[i].data, strlen(e[i].data)), e[i].rows);
}

#define CHECK(o, e) check(o, e, sizeof(e) / sizeof(*e))

static void
test_text(void **state)
{
	static const struct example e[] = {
		{ "", "" },
		{ "a\tb\n", "/a|b" },
		{ "a\tb", "/a|b" },
		{ "\n\n", "//" },
		{ "\t\n", "/|" },
		{ "a\r\nb\r\n", "/a/b" },
		{ "a\rb\r", "/a/b" },
		{ "a\r\rb", "/a//b" },
		{ "a\nb\r\n", "/a!" },
		{ "a\r\nb\n", "/a!" },
		{ "\\N\t\\\\N\tN\n", "/~|\\N|N" },
		{ "\\N\\N\n", "/NN" },
		{ "\\b\\f\\n\\r\\t\\v\\q\n", "/\b\f\n\r\t\vq" },
		{ "\\101\\0601\\48\\x41\\x4a4\\xg\\x\n", "/A01\0048AJ4xgx" },
		{ "a\\\tb\\\nc\\\rd\n", "/a\tb\nc\rd" },
		{ "a\\", "/a" },
		{ "a\n\\.\nb\n", "/a" },
		{ "a\\.\nb\n", "/a" },
		{ "a\n\\.", "/a!" },
		{ "a\n\\.x\n", "/a!" },
		{ "a\n\\.\r\n", "/a!" },
		{ "a\r\n\\.\r\nb", "/a" },
		{ "\\\\.\n", "/\\." },
		{ "1\t2\t3\t4\t5\t6\t7\t8\n", "/1|2|3|4|5|6|7|8" },
		{ "1\t2\t3\t4\t5\t6\t7\t8\t9\n", "!" },
	};
	struct copydata_options o;

	(void)state;
	copydata_defaults(&o, COPYDATA_TEXT);
	CHECK(&o, e);
}

static void
test_text_options(void **state)
{
	static const struct example e[] = {
		{ "h|x\n", "" },
		{ "h|x", "" },
		{ "h\na|nil\n\\N\n\\nil|nil ", "/a|~/N/\nil|nil " },
	};
	struct copydata_options o;

	(void)state;
	copydata_defaults(&o, COPYDATA_TEXT);
	o.delimiter = '|';
	o.null = "nil";
	o.header = true;
	CHECK(&o, e);
}

static void
test_csv(void **state)
{
	static const struct example e[] = {
		{ "", "" },
		{ "a,b\n", "/a|b" },
		{ ",\"\"\n", "/~|" },
		{ "\"a,b\",\"c\"\"d\",x\"y\"z\n", "/a,b|c\"d|xyz" },
		{ "\"a\nb\r\"\n", "/a\nb\r" },
		{ "\"a\n", "!" },
		{ "\\.\nb\n", "" },
		{ "a\n\\.\nb\n", "/a" },
		{ "\\.x\n", "/\\.x" },
		{ "a\\.\n", "/a\\." },
		{ "\\.", "/\\." },
		{ "\\N,\\t\n", "/\\N|\\t" },
		{ "a\r\nb", "/a/b" },
	};
	struct copydata_options o;

	(void)state;
	copydata_defaults(&o, COPYDATA_CSV);
	CHECK(&o, e);
}

static void
test_csv_options(void **state)
{
	static const struct example e[] = {
		{ "a;'b\\'c';'d''e'\n", "/a|b'c|de" },
		{ "'x\\\\';'y\\z'\n", "/x\\|y\\z" },
		{ "nil;nil;nil\n", "/~|nil|~" },
		{ "'nil';'nil';'nil'\n", "/nil|nil|~" },
	};
	static const bool not_null[MAX_FIELDS] = { false, true, false };
	static const bool null[MAX_FIELDS] = { false, false, true };
	struct copydata_options o;

	(void)state;
	copydata_defaults(&o, COPYDATA_CSV);
	o.delimiter = ';';
	o.quote = '\'';
	o.escape = '\\';
	o.null = "nil";
	o.force_not_null = not_null;
	o.force_null = null;
	CHECK(&o, e);
}

#define HEAD "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0"

static void
test_binary(void **state)
{
#define DATA(s) s, sizeof(s) - 1
	static const struct {
		const char *data;
		size_t len;
		const char *rows;
	} e[] = {
		{ DATA(HEAD "\377\377"), "" },
		{ DATA(HEAD), "" },
		{ DATA(HEAD "\0"), "" },
		{ DATA(HEAD "\0\2\0\0\0\1a\377\377\377\377\377\377"), "/a|~" },
		{ DATA(HEAD "\0\1\0\0\0\0"), "/" },
		{ DATA(HEAD "\0\1\0\0\0\2a"), "!" },
		{ DATA(HEAD "\0\1\377\377\377\376a"), "!" },
		{ DATA(HEAD "\377\377x"), "!" },
		{ DATA(HEAD "\377\376"), "!" },
		{ DATA(HEAD "\0\11"), "!" },
		{ DATA("PGCOPY\n\377\r\n\0\0\0\0\1\0\0\0\2xy\377\377"), "" },
		{ DATA("PGCOPY\n\377\r\n\0\0\1\0\0\0\0\0\0\377\377"), "!" },
		{ DATA("PGCOPY\n\377\r\n\0\0\0\0\0\377\377\377\377"), "!" },
		{ DATA("PGCOPY\n\377\n\n\0\0\0\0\0\0\0\0\0"), "!" },
		{ DATA("PGCOPY"), "!" },
		{ DATA(""), "!" },
	};
	struct copydata_options o;

	(void)state;
	copydata_defaults(&o, COPYDATA_BINARY);
	for (size_t i = 0; i < sizeof(e) / sizeof(*e); i++)
		assert_string_equal(
		    rows_of(&o, e[i].data, e[i].len), e[i].rows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_text_options),
		cmocka_unit_test(test_csv),
		cmocka_unit_test(test_csv_options),
		cmocka_unit_test(test_binary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
