/*
 * test_argument.c: which constants of SQL EXECUTE are what they are bound as.
 *
 * The expected answers are from PostgreSQL 15: a constant fits if casting it in
 * an assignment and reading its text give the same.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../backend/argument.h"

enum {
	INT2 = 21,
	INT4 = 23,
	INT8 = 20,
	NUM = 1700,
	F8 = 701,
	TXT = 25,
	VARCHR = 1043,
	CHR = 1042,
	BOOLEAN = 16,
	DAY = 1082,
	TS = 1114,
	TSTZ = 1184,
	ID = 2950,
	BYTES = 17,
	JSON = 114
};

/* The first constant of EXECUTE p(text). */
static bool
fits(const char *text, uint32_t type)
{
	struct analyzer *an = analyzer_new(1024);
	char sql[128] = "EXECUTE p(";
	const struct analysis *a;
	bool ok;

	strcat(strcat(sql, text), ")");
	a = analyze(an, sql, strlen(sql), true);
	assert_true(a->parsed);
	assert_int_equal(a->statements[0].n_arguments, 1);
	assert_string_equal(a->statements[0].prepared, "p");
	ok = argument_fits(&a->statements[0].arguments[0], type);
	analyzer_free(an);
	return ok;
}

static void
test_fits(void **state)
{
	static const struct {
		const char *text;
		uint32_t type;
		bool fits;
	} cases[] = { { "1", INT4, true }, { "-1", INT4, true },
		{ "32767", INT2, true }, { "32768", INT2, false },
		{ "2147483648", INT4, false }, { "2147483648", INT8, true },
		{ "9999999999999999999", INT8, false }, { "1.0", INT4, false },
		{ "'7'", INT4, true }, { "' 7'", INT4, false },
		{ "'7x'", INT4, false }, { "''", INT4, false },
		{ "1 + 1", INT4, false }, { "true", INT4, false },
		{ "1::int", INT4, true }, { "1::int8", INT4, false },
		{ "1.50", NUM, true }, { "1", NUM, true },
		{ "1e5", NUM, false }, { ".5", NUM, false },
		{ "'NaN'", NUM, false }, { "1.5::numeric(2,1)", NUM, false },
		{ "1.5", F8, true }, { "'1.5'", F8, true },
		{ "'x'", TXT, true }, { "1", TXT, true }, { "1.5", TXT, false },
		{ "'x'::text", VARCHR, true },
		{ "'x'::varchar(1)", VARCHR, false },
		{ "'x '::text", CHR, false }, { "'x'::char", CHR, false },
		{ "'x'", CHR, true }, { "array['x']", TXT, false },
		{ "null", ID, true }, { "null::text", ID, false },
		{ "null", JSON, true }, { "'{}'", JSON, false },
		{ "true", BOOLEAN, true }, { "'t'", BOOLEAN, true },
		{ "'yes'", BOOLEAN, false }, { "1", BOOLEAN, false },
		{ "'2024-02-29'", DAY, true }, { "'2023-02-29'", DAY, false },
		{ "'0000-01-01'", DAY, false }, { "'2024-13-01'", DAY, false },
		{ "'today'", DAY, false }, { "'1/2/2024'", DAY, false },
		{ "date '2024-02-29'", DAY, true },
		{ "date '2024-02-29'", TS, false },
		{ "'2024-02-29 23:59'", TS, true },
		{ "'2024-02-29T23:59:59.123456'", TS, true },
		{ "'2024-02-29 24:00'", TS, false },
		{ "'2024-02-29 23:59+02'", TS, false },
		{ "'2024-02-29 23:59+02'", TSTZ, true },
		{ "'2024-02-29 23:59:00-03:30'", TSTZ, true },
		{ "'2024-02-29 23:59 CET'", TSTZ, false },
		{ "'2024-02-29 23:59:'", TS, false },
		{ "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", ID, true },
		{ "'a0eebc999c0b4ef8bb6d6bb9bd380a11'", ID, false },
		{ "'\\x00ff'", BYTES, true }, { "'\\x0'", BYTES, false },
		{ "'\\x'", BYTES, true }, { "'abc'", BYTES, false } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (fits(cases[i].text, cases[i].type) != cases[i].fits)
			fail_msg(
			    "%s for type %u", cases[i].text, cases[i].type);
}

static void
test_inner(void **state)
{
	static const char *const texts[][2] = { { "PREPARE a AS DELETE FROM t",
						    "DELETE FROM t" },
		{ "prepare \"as\" (int, numeric(3, 1)) as /* as */ select 1 as x ;",
		    "select 1 as x" },
		{ "SELECT 1; PREPARE U&\"!0061\" UESCAPE '!' AS VALUES (1)",
		    "VALUES (1)" } };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct analyzer *an = analyzer_new(1024);
		const struct analysis *a = analyze(
		    an, texts[i][0], strlen(texts[i][0]), true);
		const struct analyzed_statement *st;

		assert_true(a->parsed);
		st = &a->statements[a->n_statements - 1];
		assert_int_equal(st->inner.len, strlen(texts[i][1]));
		assert_memory_equal(
		    texts[i][0] + st->inner.at, texts[i][1], st->inner.len);
		analyzer_free(an);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_fits),
		cmocka_unit_test(test_inner) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
