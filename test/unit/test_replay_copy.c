/*
 * test_replay_copy.c: COPY FROM STDIN replayed on a real verification cluster.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "replay_fixture.h"

static void
copy_text(const char *sql, const char *data)
{
	execute_copy(sql, data, strlen(data));
}

static void
test_copy_is_run_as_it_was(void **state)
{
	static const char *const copies[][2] = {
		{ "COPY t (id, name, note, balance) FROM STDIN",
		    "10\tann  \t\\N\t1.005\n"
		    "11\tbob      \ta\\tb\\x41\\101\\\\\t2\n"
		    "12\t\\143at\t\t0\n\\.\nbehind the end" },
		{ "/* c */ copy public.t (note, id) from stdin (format csv,"
		  " header match, delimiter ';', null 'nil', quote '''',"
		  " escape '!', force_not_null (note))",
		    "note;id\n'a!'b;\n''';13\nnil;'14'\n;15\n" },
		{ "COPY t (id, name) FROM STDIN WITH DELIMITER '|' NULL 'x'"
		  " WHERE id % 2 = 0",
		    "16|a\n17|b\n18|c" },
		{ "COPY t FROM STDIN", "" },
	};
	static const uint8_t binary[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0"
					"\0\2\0\0\0\4\0\0\0\51\377\377\377\377"
					"\377\377";
	struct record_table *t;

	(void)state;
	for (size_t i = 0; i < sizeof(copies) / sizeof(*copies); i++) {
		fresh(accounts);
		begin_record();
		t = add_table("public", "t");
		copy_text(copies[i][0], copies[i][1]);
		after(t, "id >= 10");
		assert_verified();
	}
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	execute_copy("COPY t (id, note) FROM STDIN BINARY", binary,
	    sizeof(binary) - 1);
	after(t, "id = 41");
	assert_verified();
}

static void
test_copy_among_other_statements(void **state)
{
	struct record_table *t;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	before(t, 2, "id = 1");
	execute("INSERT INTO t (id, note) VALUES (20, 'in')");
	copy_text("COPY t (id) FROM STDIN", "21\n22\n");
	execute("UPDATE t SET note = 'up' WHERE id IN (1, 20, 21)");
	copy_text("COPY t (id, note) FROM STDIN CSV", "23,\n24,\"\"\n");
	execute("DELETE FROM t WHERE id = 22");
	after(t, "id = 1 OR id >= 20");
	assert_verified();
}

static void
test_a_long_copy(void **state)
{
	struct record_table *t;
	struct buf b = { 0 };

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	for (int i = 1; i <= 20000; i++)
		buf_printf(&b, "%d\t%0200d\n", 1000 + i, i);
	execute_copy("COPY t (id, note) FROM STDIN", b.data, b.len);
	after(t, "id > 1000");
	assert_verified();
	buf_free(&b);
}

static void
test_a_lie_about_copied_rows_is_found(void **state)
{
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh(accounts);
	begin_record();
	t = add_table("public", "t");
	copy_text("COPY t (id, note) FROM STDIN", "30\ta\n31\tb\n");
	after(t, "id = 30");
	after_lie(t, "31, 'none', 'B', 1.50, 3.00");
	v = finish();
	assert_verdict(&v, VERDICT_MISMATCH, "rows_differ");
	assert_string_equal(v.mismatches[0].row[0].value, "31");
	assert_string_equal(v.mismatches[0].claimed, "B");
	assert_string_equal(v.mismatches[0].calculated, "b");
}

/* What the server cannot have accepted, and what is no COPY FROM STDIN. */
static void
test_copies_that_fail(void **state)
{
	static const struct {
		const char *sql;
		enum verdict_kind kind;
		const char *reason;
	} cases[] = {
		{ "COPY t (id, name) FROM STDIN", VERDICT_MISMATCH,
		    "replay_error:22P04" },
		{ "COPY t (id) FROM STDIN BINARY", VERDICT_MISMATCH,
		    "replay_error:22P04" },
		{ "COPY t (id) FROM STDIN; COMMIT", VERDICT_UNVERIFIABLE,
		    "replay_error" },
		{ "COPY t TO STDOUT", VERDICT_UNVERIFIABLE, "environment" },
		{ "COPY t FROM PROGRAM 'echo 1'", VERDICT_UNVERIFIABLE,
		    "environment" },
		{ "COPY nowhere FROM STDIN", VERDICT_UNVERIFIABLE,
		    "replay_error" },
		{ "INSERT INTO t (id) VALUES (1)", VERDICT_UNVERIFIABLE,
		    "unsupported" },
	};
	struct record_table *t;
	struct verdict v;

	(void)state;
	fresh(accounts);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		begin_record();
		t = add_table("public", "t");
		before(t, 0, "id = 3");
		note_copy(cases[i].sql, "51\n", 3);
		after(t, "id = 3");
		v = finish();
		assert_verdict(&v, cases[i].kind, cases[i].reason);
		/* the session serves the next job */
		begin_record();
		t = add_table("public", "t");
		copy_text("COPY t (id) FROM STDIN", "50\n");
		after(t, "id = 50");
		assert_verified();
		tell("DELETE FROM public.t WHERE id = 50");
	}
}

/* Bytes that mean something, or are beside what does. */
static size_t
draw_data(const struct copydata_options *o, char *data, size_t max)
{
	const char special[] = { o->delimiter, o->delimiter, o->delimiter,
		o->quote, o->escape, '\n', '\n', '\n', '\r', '\\', 'N', '.',
		'x', '4', '1', '7', 'a', 'z', '"', '\'', 't', ' ' };
	size_t n = draw((unsigned)max);

	for (size_t i = 0; i < n; i++)
		data[i] = special[draw(sizeof(special))];
	return n;
}

static PGresult *
copy_on_server(const char *sql, const char *data, size_t len)
{
	PGresult *res = PQexec(server, sql), *next;

	assert_int_equal(PQresultStatus(res), PGRES_COPY_IN);
	PQclear(res);
	assert_int_equal(PQputCopyData(server, data, (int)len), 1);
	assert_int_equal(PQputCopyEnd(server, NULL), 1);
	res = PQgetResult(server);
	while ((next = PQgetResult(server)) != NULL)
		PQclear(next);
	return res;
}

/* As PostgreSQL took it, so must copydata_row(). */
static void
same_rows(const struct copydata_options *o, const char *data, size_t len)
{
	PGresult *res = ask("SELECT * FROM public.t ORDER BY ctid");
	struct rowenc_value v[3];
	struct copydata c;
	size_t n;

	copydata_open(&c, o, data, len);
	for (int i = 0; i < PQntuples(res); i++) {
		assert_int_equal(copydata_row(&c, v, 3, &n), COPYDATA_ROW);
		assert_int_equal(n, PQnfields(res));
		for (int k = 0; k < 2; k++) {
			const char *want = PQgetvalue(res, i, k);

			assert_int_equal(
			    v[k].data == NULL, PQgetisnull(res, i, k));
			assert_int_equal(v[k].len, strlen(want));
			assert_true(v[k].data == NULL ||
				    memcmp(v[k].data, want, v[k].len) == 0);
		}
	}
	assert_int_equal(copydata_row(&c, v, 3, &n), COPYDATA_END);
	copydata_close(&c);
	PQclear(res);
}

static void
test_copy_data_is_read_as_the_server_does(void **state)
{
	static const bool not_null[] = { false, true }, null[] = { true, false };
	static const struct {
		const char *sql;
		enum copydata_format format;
		bool header;
		const char *options; /* delimiter, quote, escape */
		const char *null;
		const bool *force_null, *force_not_null;
	} cases[] = {
		{ "", COPYDATA_TEXT, false, "\t\"\"", "\\N", NULL, NULL },
		{ "DELIMITER '|', NULL 'a', HEADER", COPYDATA_TEXT, true,
		    "|\"\"", "a", NULL, NULL },
		{ "FORMAT csv", COPYDATA_CSV, false, ",\"\"", "", NULL, NULL },
		{ "FORMAT csv, QUOTE '''', ESCAPE '\\', DELIMITER ';',"
		  " NULL 'x', FORCE_NULL (a), FORCE_NOT_NULL (b)",
		    COPYDATA_CSV, false, ";'\\", "x", null, not_null },
		{ "FORMAT csv, HEADER, QUOTE 'a', ESCAPE 'z'", COPYDATA_CSV,
		    true, ",az", "", NULL, NULL },
	};
	char data[24], sql[256];
	unsigned taken = 0;

	(void)state;
	fresh("CREATE TABLE t (a text, b text)");
	for (int i = 0; i < 4000; i++) {
		size_t k = (size_t)i % (sizeof(cases) / sizeof(*cases));
		struct copydata_options o;
		PGresult *res;
		size_t n;

		copydata_defaults(&o, cases[k].format);
		o.header = cases[k].header;
		o.delimiter = cases[k].options[0];
		o.quote = cases[k].options[1];
		o.escape = cases[k].options[2];
		o.null = cases[k].null;
		o.force_null = cases[k].force_null;
		o.force_not_null = cases[k].force_not_null;
		n = draw_data(&o, data, sizeof(data));
		snprintf(sql, sizeof(sql), "COPY public.t FROM STDIN%s%s%s",
		    cases[k].sql[0] != '\0' ? " (" : "", cases[k].sql,
		    cases[k].sql[0] != '\0' ? ")" : "");
		tell("BEGIN");
		res = copy_on_server(sql, data, n);
		if (PQresultStatus(res) == PGRES_COMMAND_OK) {
			taken += strcmp(PQcmdStatus(res), "COPY 0") != 0;
			same_rows(&o, data, n);
		}
		PQclear(res);
		tell("ROLLBACK");
	}
	assert_true(taken > 200);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_is_run_as_it_was),
		cmocka_unit_test(test_copy_among_other_statements),
		cmocka_unit_test(test_a_long_copy),
		cmocka_unit_test(test_a_lie_about_copied_rows_is_found),
		cmocka_unit_test(test_copies_that_fail),
		cmocka_unit_test(test_copy_data_is_read_as_the_server_does),
	};

	return fixture_main(
	    argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
