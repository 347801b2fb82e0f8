/*
 * test_evidence.c: the evidence log as its writer keeps it over restarts.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../include/ioutil.h"
#include "../../replayd/audit.h"
#include "../../replayd/evidence.h"
#include "../../replayd/evlog.h"
#include "../../replayd/jsonx.h"

#define BIG (1 << 20)

static char dir[64];
static char error[1024];
static struct key_signer key;

static int
set_up(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/pgw-evidence-XXXXXX");
	if (mkdtemp(dir) == NULL || !key_generate("test/log", &key))
		return -1;
	return 0;
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(path);
}

static int
tear_down(void **state)
{
	(void)state;
	return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct evidence *
open_log(int64_t rotate_size)
{
	struct evidence *e =
	    evidence_open(dir, &key, rotate_size, error, sizeof(error));

	if (e == NULL)
		fail_msg("%s", error);
	return e;
}

static void
append(struct evidence *e, uint64_t tx_id, const char *type)
{
	json_t *body = jsonx_object();

	jsonx_set(body, "tx_id", jsonx_int(tx_id));
	if (strcmp(type, "TransactionOutcome") == 0)
		jsonx_set(body, "outcome", json_string("committed"));
	evidence_append(e, type, body);
}

static const char *
path_of(const char *name)
{
	static char path[128];

	io_path(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* Three signed lines. */
static void
make_log(void)
{
	struct evidence *e = open_log(BIG);

	append(e, 1, "StateCommitmentRecord");
	append(e, 1, "TransactionOutcome");
	append(e, 2, "StateCommitmentRecord");
	evidence_checkpoint(e);
	evidence_close(e);
}

static void
change_byte(const char *name, off_t at)
{
	int fd = open(path_of(name), O_RDWR);
	char c;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 1;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

static bool
can_open(void)
{
	struct evidence *e =
	    evidence_open(dir, &key, BIG, error, sizeof(error));

	evidence_close(e);
	return e != NULL;
}

static off_t
size_of(const char *name)
{
	struct stat st;

	assert_int_equal(stat(path_of(name), &st), 0);
	return st.st_size;
}

static const char first[] = "evidence-00000001.jsonl";

static void
a_log_goes_on_where_it_was(void **state)
{
	struct evidence *e;
	struct txtable *open;
	struct txn *x;

	(void)state;
	make_log();
	e = open_log(BIG);
	assert_int_equal(evidence_size(e), 3);
	assert_int_equal(evidence_unsigned(e), 0);
	assert_int_equal(evidence_highest_tx_id(e), 2);
	open = evidence_open_transactions(e);
	assert_int_equal(open->n, 2);
	x = txtable_find(open, 1);
	assert_non_null(x);
	assert_true(x->final);
	x = txtable_find(open, 2);
	assert_non_null(x);
	assert_false(x->final);
	append(e, 2, "TransactionOutcome");
	evidence_checkpoint(e);
	evidence_close(e);
	e = open_log(BIG);
	assert_int_equal(evidence_size(e), 4);
	evidence_close(e);
}

static void
a_torn_line_is_cut(void **state)
{
	struct evidence *e;
	off_t whole;
	FILE *f;

	(void)state;
	make_log();
	whole = size_of(first);
	f = fopen(path_of(first), "a");
	assert_non_null(f);
	fputs("{\"type\":\"Sto", f);
	fclose(f);
	e = open_log(BIG);
	assert_int_equal(evidence_size(e), 3);
	assert_int_equal(size_of(first), whole);
	append(e, 2, "TransactionOutcome");
	evidence_close(e);
	assert_true(can_open());
}

static void
every_changed_byte_is_found(void **state)
{
	off_t n;

	(void)state;
	make_log();
	n = size_of(first);
	for (off_t i = 0; i < n; i++) {
		change_byte(first, i);
		if (can_open())
			fail_msg("byte %lld may be changed", (long long)i);
		/* A newline that was changed must not have been cut off. */
		assert_int_equal(size_of(first), n);
		change_byte(first, i);
	}
	assert_true(can_open());
}

static void
a_log_below_its_checkpoint_is_refused(void **state)
{
	off_t n;

	(void)state;
	make_log();
	n = size_of(first);
	assert_int_equal(truncate(path_of(first), n - 1), 0);
	assert_false(can_open());
	assert_int_equal(size_of(first), n - 1);
	assert_int_equal(truncate(path_of(first), 0), 0);
	assert_false(can_open());
	assert_int_equal(unlink(path_of(first)), 0);
	assert_false(can_open());
}

static void
another_key_or_a_changed_checkpoint_is_refused(void **state)
{
	struct key_signer was = key;

	(void)state;
	make_log();
	assert_true(key_generate("test/log", &key));
	assert_false(can_open());
	key = was;
	change_byte("checkpoint", 12);
	assert_false(can_open());
}

static void
unsigned_lines_are_kept_and_signed_later(void **state)
{
	struct evidence *e;

	(void)state;
	make_log();
	e = open_log(BIG);
	append(e, 3, "StateCommitmentRecord");
	assert_int_equal(evidence_unsigned(e), 1);
	evidence_close(e);
	e = open_log(BIG);
	assert_int_equal(evidence_size(e), 4);
	assert_int_equal(evidence_unsigned(e), 1);
	evidence_checkpoint(e);
	assert_int_equal(evidence_unsigned(e), 0);
	evidence_close(e);
}

static void
files_are_rotated_at_line_ends(void **state)
{
	struct evidence *e = open_log(500);

	(void)state;
	for (uint64_t i = 1; i <= 10; i++)
		append(e, i, "StateCommitmentRecord");
	evidence_checkpoint(e);
	evidence_close(e);
	assert_true(size_of(first) <= 500);
	assert_true(size_of("evidence-00000003.jsonl") > 0);
	e = open_log(500);
	assert_int_equal(evidence_size(e), 10);
	evidence_close(e);
	assert_int_equal(unlink(path_of("evidence-00000002.jsonl")), 0);
	assert_false(can_open());
}

/* The last line as JSON. */
static json_t *
last_line(void)
{
	struct evlog *l = evlog_open(dir);
	struct evlog_line line;
	json_t *last = NULL;

	assert_non_null(l);
	while (evlog_next(l, &line, error, sizeof(error)) == EVLOG_LINE) {
		json_decref(last);
		assert_true(line.len <= EVLOG_MAX_LINE);
		last = json_loadb(line.text, line.len, 0, NULL);
	}
	evlog_close(l);
	assert_non_null(last);
	return last;
}

static void
a_long_part_becomes_a_blob(void **state)
{
	struct evidence *e = open_log(BIG);
	char *sql = malloc(100001);
	json_t *body = jsonx_object();
	json_t *many = jsonx_array();
	json_t *line;
	json_t *ref;
	char blob[128];
	const char *hash;

	(void)state;
	assert_non_null(sql);
	memset(sql, 'x', 100000);
	sql[100000] = '\0';
	for (int i = 0; i < 20000; i++)
		jsonx_append(many, jsonx_int(12345678));
	jsonx_set(body, "sql", jsonx_text(sql));
	jsonx_set(body, "many", many);
	evidence_append(e, "Test", body);
	evidence_close(e);
	line = last_line();
	ref = json_object_get(line, "sql");
	assert_int_equal(jsonx_get_int(ref, "bytes"), 100000);
	hash = jsonx_get(ref, "sha256");
	assert_non_null(hash);
	io_path(blob, sizeof(blob), "blob/%.2s/%s", hash, hash);
	assert_int_equal(size_of(blob), 100000);
	assert_int_equal(
	    jsonx_get_int(json_object_get(line, "many"), "bytes"), 180001);
	json_decref(line);
	free(sql);
}

static void
text_that_is_not_utf8_becomes_hex(void **state)
{
	struct evidence *e = open_log(BIG);
	json_t *body = jsonx_object();
	json_t *line;

	(void)state;
	jsonx_set(body, "latin1", jsonx_text("caf\xe9"));
	jsonx_set(body, "nul", jsonx_textn("a\0b", 3));
	jsonx_set(body, "utf8", jsonx_text("caf\xc3\xa9\n\"\x1b"));
	jsonx_set(body, "k\xe9", json_true());
	evidence_append(e, "Test", body);
	evidence_close(e);
	line = last_line();
	assert_string_equal(
	    jsonx_get(json_object_get(line, "latin1"), "hex"), "636166e9");
	assert_string_equal(jsonx_get(json_object_get(line, "nul"), "hex"),
	    "610062");
	assert_string_equal(jsonx_get(line, "utf8"), "caf\xc3\xa9\n\"\x1b");
	assert_non_null(json_object_get(line, "\\x6be9"));
	json_decref(line);
	assert_true(can_open());
}

static void
lines_begin_with_type_seq_time_prev(void **state)
{
	static const char *const want[] = { "type", "seq", "time", "prev",
		"tx_id" };
	const char *name;
	json_t *line;
	json_t *v;
	size_t i = 0;

	(void)state;
	make_log();
	line = last_line();
	json_object_foreach(line, name, v)
		assert_string_equal(name, want[i++]);
	assert_int_equal(i, 5);
	assert_int_equal(jsonx_get_int(line, "seq"), 3);
	json_decref(line);
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_log_goes_on_where_it_was),
		test(a_torn_line_is_cut),
		test(every_changed_byte_is_found),
		test(a_log_below_its_checkpoint_is_refused),
		test(another_key_or_a_changed_checkpoint_is_refused),
		test(unsigned_lines_are_kept_and_signed_later),
		test(files_are_rotated_at_line_ends),
		test(a_long_part_becomes_a_blob),
		test(text_that_is_not_utf8_becomes_hex),
		test(lines_begin_with_type_seq_time_prev),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
