/*
 * test_analyze_hostile.c: query strings that are refused, and those made to hurt.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "analyze_fixture.h"

static void
assert_error(const char *text, size_t len, const char *want)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	const struct analysis *an = analyze(a, text, len, true);

	assert_false(an->parsed);
	assert_false(an->syntax_error);
	assert_int_equal(an->n_statements, 0);
	assert_string_equal(an->error, want);
	analyzer_free(a);
}

static void
texts_that_are_refused(void **state)
{
	static const char *const bad[] = { "SELECT '\xC3'", "SELECT '\x80'",
		"SELECT '\xC0\xAF'", "SELECT '\xED\xA0\x80'",
		"SELECT '\xF4\x90\x80\x80'", "SELECT 1 \xE4" };
	struct analyzer *a = analyzer_new(10);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_error(
		    bad[i], strlen(bad[i]), "query is not valid UTF-8");
	assert_error("SELECT 1\0 2", 11, "query contains a zero byte");
	assert_string_equal(
	    analyze(a, "SELECT 1234", 11, true)->error, "query is too long");
	assert_string_equal(analyze(a, "SELECT 1", 8, false)->error,
	    "standard_conforming_strings is off");
	assert_true(analyze(a, "SELECT 1", 8, true)->parsed);
	assert_false(analyze(a, "SELECT 1", 8, true)->syntax_error);
	assert_true(analyze(a, "SELECT (", 8, true)->syntax_error);
	assert_true(analyze(a, "SELECT '", 8, true)->syntax_error);
	analyzer_free(a);
}

struct hostile {
	const char *before;
	const char *open;
	const char *middle;
	const char *close;
};

static const struct hostile hostiles[] = { { "SELECT ", "(", "1", ")" },
	{ "SELECT ", "(", "", "" }, { "SELECT ", "1+", "1", "" },
	{ "SELECT ", "- ", "a", "" }, { "SELECT ", "NOT ", "a", "" },
	{ "SELECT ", "CASE WHEN a THEN ", "1", " END" },
	{ "SELECT ", "CASE WHEN x.end AND ", "1", " THEN 1 END" },
	{ "SELECT ", "a BETWEEN 1 AND NOT ", "a", "" },
	{ "SELECT ", "(SELECT ", "1", ")" },
	{ "SELECT ", "(SELECT a,", "1", ")" }, { "SELECT ", "f(", "1", ")" },
	{ "SELECT ", "f(a,", "1", ")" }, { "SELECT ", "ARRAY[", "1", "]" },
	{ "SELECT ARRAY", "[", "1", "]" }, { "SELECT a", "[a", "", "]" },
	{ "SELECT 1", " UNION SELECT 1, 2", "", "" },
	{ "SELECT 1", " INTERSECT SELECT 1 WHERE a AND b", "", "" },
	{ "SELECT * FROM t", " JOIN t ON a AND b", "", "" },
	{ "SELECT * FROM t", " NATURAL JOIN t", "", "" },
	{ "SELECT * FROM ", "(SELECT * FROM ", "t", ") x" },
	{ "", "WITH a AS (", "SELECT 1", ") SELECT 1" },
	{ "SELECT a", "::x", "", "" }, { "SELECT a", " IS NULL", "", "" },
	{ "SELECT a", " COLLATE b", "", "" }, { "SELECT a", ".b", "", "" },
	{ "SELECT 1 WHERE ", "a AND NOT (b OR ", "c", ")" },
	{ "SELECT 1 WHERE ", "a = 1 AND ", "a", "" },
	{ "SELECT 1 WHERE ", "a = 1 OR ", "a", "" },
	{ "", "SELECT 1;", "", "" }, { "", ";", "", "" },
	{ "INSERT INTO t VALUES (1)", ",(1)", "", "" },
	{ "", "(", "SELECT 1", ")" }, { "SELECT '", "''", "'", "" },
	{ "", "/*", "", "*/" }, { "SELECT ", "$a", "$", "" },
	{ "SELECT ", "$", "", "" }, { "SELECT ", "\"", "", "" },
	{ "", "EXPLAIN ", "SELECT 1", "" }, { "", "\\", "", "" },
	{ "SELECT ", "+", "1", "" }, { "SELECT ", "+-", "1", "" },
	{ "SELECT ", "/*", "1", "" }, { "SELECT ", "*/", "1", "" },
	{ "SELECT ", "@+", "1", "" }, { "SELECT ", "'a'\n", "", "" },
	{ "SELECT ", "+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ ", "1", "" },
	{ "SELECT ", "/*/*/*/*/*/*/*/*/*/*/*/*/*/* ", "1", "" },
	{ "SELECT ", "f() OVER (ORDER BY ", "1", ")" } };

static void
hostile_text(struct buf *b, const struct hostile *h, size_t bytes)
{
	size_t n = bytes / (strlen(h->open) + strlen(h->close));

	buf_reset(b);
	buf_put_str(b, h->before);
	for (size_t i = 0; i < n; i++)
		buf_put_str(b, h->open);
	buf_put_str(b, h->middle);
	for (size_t i = 0; i < n; i++)
		buf_put_str(b, h->close);
}

static void
survive(const char *text, size_t len)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	const struct analysis *an = analyze(a, text, len, true);

	assert_true(an->parsed || an->error != NULL);
	analyzer_free(a);
	if (len < 100000)
		free(analyze_normalize(text, len));
}

/* Nor does it take long. */
static void
a_hostile_text_does_not_crash(void **state)
{
	static const size_t sizes[] = { 1000, 15000, 60000, 1048576 };
	struct buf sql = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(hostiles) / sizeof(hostiles[0]); i++)
		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
			double start = seconds();

			hostile_text(&sql, &hostiles[i], sizes[k]);
			survive((const char *)sql.data, sql.len);
			if (seconds() - start > 60)
				fail_msg("%.1f s for %zu bytes of %s",
				    seconds() - start, sizes[k],
				    hostiles[i].open);
		}
	buf_free(&sql);
}

static void
a_deep_text_is_refused_and_a_wide_one_is_not(void **state)
{
	struct analyzer *a = analyzer_new(MAX_BYTES);
	struct buf sql = { 0 };

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		hostile_text(&sql, &hostiles[i], 1048576);
		assert_error(
		    (const char *)sql.data, sql.len, "too deeply nested");
	}
	for (size_t i = 0; i < sizeof(hostiles) / sizeof(hostiles[0]); i++)
		if (strncmp(hostiles[i].before, "INSERT", 6) == 0 ||
		    strstr(hostiles[i].open, "a = 1") != NULL) {
			hostile_text(&sql, &hostiles[i], 1048576);
			assert_true(
			    analyze(a, (const char *)sql.data, sql.len, true)
				->parsed);
		}
	buf_free(&sql);
	analyzer_free(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_that_are_refused),
		cmocka_unit_test(a_hostile_text_does_not_crash),
		cmocka_unit_test(a_deep_text_is_refused_and_a_wide_one_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
