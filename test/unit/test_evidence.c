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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../include/ioutil.h"
#include "../../include/log.h"
#include "../../replayd/checkpoint.h"
#include "../../replayd/evidence.h"
#include "../../replayd/evlog.h"
#include "../../replayd/jsonx.h"
#include "../../replayd/tiles.h"
#include "scratch.h"

#define BIG (1 << 20)

static char dir[SCRATCH_BYTES];
static char error[1024];
static struct key_signer key;

static int
set_up(void **state)
{
	(void)state;
	if (!scratch_make(dir, "evidence") || !key_generate("test/log", &key))
		return -1;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	return scratch_remove(dir);
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

/* --- the short start --- */

/* A path on the same file system, outside of the log. */
static const char *
beside(const char *what)
{
	static char path[128];

	io_path(path, sizeof(path), "%s.%s", dir, what);
	return path;
}

#define MANY 700

/* 700 records in files of some 20 lines; each tenth is still open. */
static void
make_long_log(void)
{
	struct evidence *e = open_log(4000);

	for (uint64_t i = 1; i <= MANY / 2; i++) {
		append(e, i, "StateCommitmentRecord");
		append(e, i, "TransactionOutcome");
		if (i % 10 != 0)
			append(e, i, "VerificationResult");
		if (i % 100 == 0)
			evidence_checkpoint(e);
	}
	evidence_checkpoint(e);
	evidence_save_state(e);
	evidence_close(e);
}

static void
assert_goes_on(void)
{
	struct evidence *e = open_log(4000);
	struct merkle_hash root;
	struct merkle_hash tiled;
	struct tiles *t;

	assert_int_equal(evidence_unsigned(e), 0);
	assert_int_equal(evidence_open_transactions(e)->n, MANY / 2 / 10);
	assert_int_equal(evidence_highest_tx_id(e), MANY / 2);
	append(e, MANY, "StateCommitmentRecord");
	evidence_checkpoint(e);
	evidence_root(e, &root);
	t = tiles_open(dir, evidence_size(e));
	assert_true(tiles_root(t, evidence_size(e), &tiled));
	assert_memory_equal(&root, &tiled, sizeof(root));
	tiles_close(t);
	evidence_close(e);
}

static void
the_state_is_enough_if_leading_files_are_gone(void **state)
{
	(void)state;
	make_long_log();
	for (unsigned i = 1; i <= 5; i++) {
		char name[32];

		evlog_file_name(name, i);
		assert_int_equal(unlink(path_of(name)), 0);
	}
	assert_goes_on();
}

static void
without_state_the_lines_are_read(void **state)
{
	(void)state;
	make_long_log();
	assert_int_equal(unlink(path_of("state")), 0);
	assert_goes_on();
}

static void
a_damaged_state_is_not_believed(void **state)
{
	(void)state;
	make_long_log();
	change_byte("state", 100);
	assert_goes_on();
}

static void
an_older_state_is_caught_up(void **state)
{
	struct evidence *e;

	(void)state;
	make_long_log();
	assert_int_equal(link(path_of("state"), beside("state")),
	    0);
	e = open_log(4000);
	append(e, 10, "VerificationResult");
	append(e, MANY, "StateCommitmentRecord");
	evidence_checkpoint(e);
	evidence_save_state(e);
	evidence_close(e);
	assert_int_equal(rename(beside("state"), path_of("state")),
	    0);
	e = open_log(4000);
	assert_int_equal(evidence_unsigned(e), 0);
	assert_int_equal(evidence_open_transactions(e)->n, MANY / 2 / 10);
	assert_null(txtable_find(evidence_open_transactions(e), 10));
	assert_non_null(txtable_find(evidence_open_transactions(e), MANY));
	evidence_close(e);
}

static void
lost_tiles_are_made_from_the_lines(void **state)
{
	(void)state;
	make_long_log();
	assert_int_equal(unlink(path_of("tile/0/001")), 0);
	assert_int_equal(rename(path_of("tile"), beside("tile")),
	    0);
	assert_goes_on();
	assert_int_equal(access(path_of("tile/0/001"), F_OK), 0);
	assert_int_equal(scratch_remove(beside("tile")), 0);
}

static void
a_changed_tile_is_made_again(void **state)
{
	(void)state;
	make_long_log();
	change_byte("tile/1/000.p/3", 40);
	assert_goes_on();
}

/* The last file, and a byte in its first line. */
static void
a_changed_line_of_the_tail_is_named(void **state)
{
	char want[64];
	char name[32];
	unsigned n = 1;

	(void)state;
	make_long_log();
	do
		evlog_file_name(name, ++n);
	while (access(path_of(name), F_OK) == 0);
	evlog_file_name(name, n - 1);
	change_byte(name, 60);
	assert_false(can_open());
	snprintf(want, sizeof(want), "%s:1 (seq ", name);
	assert_non_null(strstr(error, want));
	assert_non_null(strstr(error, "the line was changed"));
}

/* Ends as the process would: true if it signed. */
static bool
signs(struct evidence *e)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		log_set_level(LOG_FATAL_);
		evidence_checkpoint(e);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void
what_does_not_follow_from_the_last_is_not_signed(void **state)
{
	struct evidence *e;
	struct stat before;
	struct stat after;

	(void)state;
	make_long_log();
	e = open_log(4000);
	append(e, MANY, "StateCommitmentRecord");
	evidence_flush(e);
	change_byte("tile/1/000.p/3", 40);
	assert_int_equal(stat(path_of("checkpoint"), &before), 0);
	assert_false(signs(e));
	assert_int_equal(stat(path_of("checkpoint"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	change_byte("tile/1/000.p/3", 40);
	assert_true(signs(e));
	evidence_close(e);
}

static void
every_signed_size_has_its_partial_tile(void **state)
{
	struct evidence *e = open_log(BIG);
	char name[64];

	(void)state;
	for (uint64_t i = 1; i <= 300; i++) {
		append(e, i, "StateCommitmentRecord");
		if (i % 7 != 0)
			continue;
		evidence_checkpoint(e);
		snprintf(name, sizeof(name), "tile/0/%03d.p/%d",
		    (int)(i / 256), (int)(i % 256));
		assert_int_equal(access(path_of(name), F_OK), 0);
	}
	assert_int_not_equal(access(path_of("tile/0/000.p"), F_OK), 0);
	evidence_close(e);
}

/* --- another key --- */

static json_t *
change_to(struct evidence *e, const struct key_signer *next)
{
	evidence_change_key(e, next);
	evidence_flush(e);
	return last_line();
}

static bool
is_signed_by(const struct key_signer *k)
{
	struct checkpoint c;

	return checkpoint_load(path_of("checkpoint"), &k->public, 1, &c,
	    error, sizeof(error));
}

static void
a_new_key_is_logged_once_and_signs_with_the_old(void **state)
{
	struct key_signer old = key;
	struct key_signer next;
	struct evidence *e;
	json_t *line;

	(void)state;
	assert_true(key_generate("test/log", &next));
	make_log();
	e = open_log(BIG);
	line = change_to(e, &next);
	assert_string_equal(jsonx_get(line, "type"), "KeyChange");
	json_decref(line);
	assert_true(is_signed_by(&old));
	assert_true(is_signed_by(&next));
	assert_int_equal(evidence_size(e), 4);
	evidence_close(e);
	/* It died before the files were renamed. */
	e = open_log(BIG);
	line = change_to(e, &next);
	assert_int_equal(jsonx_get_int(line, "seq"), 4);
	json_decref(line);
	append(e, 3, "StateCommitmentRecord");
	evidence_checkpoint(e);
	assert_false(is_signed_by(&old));
	assert_true(is_signed_by(&next));
	evidence_close(e);
	assert_false(can_open());
	key = next;
	assert_true(can_open());
}

/* It died behind KeyChange, before the checkpoint. */
static void
a_key_change_that_was_not_signed_is_not_repeated(void **state)
{
	struct key_signer next;
	struct evidence *e;
	struct buf old = { 0 };
	json_t *line;

	(void)state;
	assert_true(key_generate("test/log", &next));
	make_log();
	assert_true(io_read_file(path_of("checkpoint"), &old, 4096));
	e = open_log(BIG);
	json_decref(change_to(e, &next));
	evidence_close(e);
	assert_true(io_replace_file(path_of("checkpoint"), old.data, old.len,
	    0644));
	buf_free(&old);
	e = open_log(BIG);
	assert_int_equal(evidence_unsigned(e), 1);
	line = change_to(e, &next);
	assert_int_equal(jsonx_get_int(line, "seq"), 4);
	json_decref(line);
	assert_true(is_signed_by(&key));
	assert_true(is_signed_by(&next));
	evidence_close(e);
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
		test(the_state_is_enough_if_leading_files_are_gone),
		test(without_state_the_lines_are_read),
		test(a_damaged_state_is_not_believed),
		test(an_older_state_is_caught_up),
		test(lost_tiles_are_made_from_the_lines),
		test(a_changed_tile_is_made_again),
		test(a_changed_line_of_the_tail_is_named),
		test(what_does_not_follow_from_the_last_is_not_signed),
		test(every_signed_size_has_its_partial_tile),
		test(a_new_key_is_logged_once_and_signs_with_the_old),
		test(a_key_change_that_was_not_signed_is_not_repeated),
	};

	log_set_level(LOG_ERROR_);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
