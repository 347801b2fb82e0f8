/*
 * test_verify.c: `witnessctl verify` finds what was done to a log.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../include/ioutil.h"
#include "../../replayd/evidence.h"
#include "../../replayd/jsonx.h"
#include "../../replayd/line.h"
#include "../../replayd/verify.h"

#define MAX_LINES 64

static char dir[64];
static char error[1024];
static struct key_signer key;
static char *report;

static int
set_up(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/pgw-verify-XXXXXX");
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
	free(report);
	report = NULL;
	return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *
path_of(const char *name)
{
	static char path[128];

	io_path(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static struct evidence *
open_log(void)
{
	struct evidence *e =
	    evidence_open(dir, &key, 1 << 20, error, sizeof(error));

	if (e == NULL)
		fail_msg("%s", error);
	return e;
}

/* --- lines --- */

static struct txn
put_record(struct evidence *e, uint64_t tx_id)
{
	static struct record_table table = { .schema = "public",
		.table = "t",
		.write = true,
		.fingerprint = "f" };
	static struct record_statement statement = { "UPDATE t SET a = 1", 18,
		"UPDATE", 0 };
	static const struct line_context context;
	struct record r = { .xid = 700 + tx_id,
		.capture_reason = "",
		.statements = &statement,
		.n_statements = 1,
		.has_images = true,
		.tables = &table,
		.n_tables = 1 };
	struct txn x = { .tx_id = tx_id, .has_roots = true };

	record_set_roots(&r);
	x.pre_root = r.pre_root;
	x.post_root = r.post_root;
	evidence_append(e, "StateCommitmentRecord",
	    line_record(tx_id, &r, &context));
	return x;
}

static void
put_outcome(struct evidence *e, uint64_t tx_id, enum record_outcome o)
{
	struct record_outcome_message m = { o, 0, "server", "" };

	evidence_append(e, "TransactionOutcome", line_outcome(tx_id, &m));
}

static void
put_verdict(struct evidence *e, const struct txn *x, enum verdict_kind kind)
{
	struct verdict v = { .tx_id = x->tx_id,
		.kind = kind,
		.reason = kind == VERDICT_VERIFIED ? "" : "order",
		.has_root = true,
		.post_root_calculated = x->post_root,
		.statement = -1 };

	evidence_append(e, "VerificationResult", line_verdict(x, &v, NULL));
}

/* Two transactions with all their lines, and one that was aborted. */
static struct evidence *
make_log(void)
{
	struct evidence *e = open_log();
	struct txn a = put_record(e, 1);
	struct txn b;

	put_outcome(e, 1, OUTCOME_COMMITTED);
	b = put_record(e, 2);
	put_verdict(e, &a, VERDICT_VERIFIED);
	put_outcome(e, 2, OUTCOME_PREPARED);
	put_outcome(e, 2, OUTCOME_COMMITTED);
	put_verdict(e, &b, VERDICT_UNVERIFIABLE);
	(void)put_record(e, 3);
	put_outcome(e, 3, OUTCOME_ABORTED);
	return e;
}

static void
sign(struct evidence *e)
{
	evidence_checkpoint(e);
	evidence_close(e);
}

/* --- verifying --- */

static bool
verify(const char *old, bool final, bool json)
{
	struct verify_options o = { .log_dir = dir,
		.keys = &key.public,
		.n_keys = 1,
		.old = &old,
		.n_old = old != NULL,
		.final = final,
		.json = json };
	size_t len;
	FILE *f;
	bool ok;

	free(report);
	report = NULL;
	f = open_memstream(&report, &len);
	assert_non_null(f);
	ok = verify_log(&o, f);
	fclose(f);
	return ok;
}

static void
assert_says(const char *text)
{
	if (strstr(report, text) == NULL)
		fail_msg("not \"%s\" in:\n%s", text, report);
}

static void
assert_wrong(const char *text)
{
	assert_false(verify(NULL, false, false));
	assert_says(text);
	assert_says("\nNOT OK\n");
}

/* --- changing the file --- */

struct lines {
	char *line[MAX_LINES];
	size_t n;
};

static const char first[] = "evidence-00000001.jsonl";

static void
read_lines(struct lines *l)
{
	FILE *f = fopen(path_of(first), "r");
	size_t cap = 0;

	assert_non_null(f);
	memset(l, 0, sizeof(*l));
	while (l->n < MAX_LINES &&
	    getline(&l->line[l->n], &cap, f) > 0) {
		l->n++;
		cap = 0;
	}
	free(l->line[l->n]);
	fclose(f);
}

/* Writes them back and frees them. */
static void
write_lines(struct lines *l)
{
	FILE *f = fopen(path_of(first), "w");

	assert_non_null(f);
	for (size_t i = 0; i < l->n; i++) {
		fputs(l->line[i], f);
		free(l->line[i]);
	}
	fclose(f);
}

/* --- tests --- */

static void
a_whole_log_is_ok(void **state)
{
	(void)state;
	sign(make_log());
	if (!verify(NULL, true, false))
		fail_msg("%s", report);
	assert_says("\nOK\n");
	assert_says("pending: 0\n");
	assert_says("0 lines not yet signed\n");
	assert_says("verified");
	assert_true(verify(NULL, true, true));
	assert_says("\"ok\":true");
}

static void
pending_and_unsigned_are_counted(void **state)
{
	struct evidence *e = make_log();

	(void)state;
	evidence_checkpoint(e);
	(void)put_record(e, 4);
	put_outcome(e, 4, OUTCOME_COMMITTED);
	(void)put_record(e, 5);
	evidence_close(e);
	assert_true(verify(NULL, false, false));
	assert_says("pending: 2\n");
	assert_says("3 lines not yet signed\n");
	assert_false(verify(NULL, true, false));
}

static void
every_changed_byte_is_found(void **state)
{
	struct lines l;

	(void)state;
	sign(make_log());
	for (size_t line = 0; line < 9; line++) {
		read_lines(&l);
		/* inside a value, so that it stays JSON */
		*strstr(l.line[line], "\"time\":\"2") = '\'';
		write_lines(&l);
		assert_false(verify(NULL, false, false));
		read_lines(&l);
		*strstr(l.line[line], "'time\":\"2") = '"';
		l.line[line][strlen(l.line[line]) / 2] ^= 1;
		write_lines(&l);
		assert_false(verify(NULL, false, false));
		read_lines(&l);
		l.line[line][strlen(l.line[line]) / 2] ^= 1;
		write_lines(&l);
	}
	assert_true(verify(NULL, true, false));
}

static void
a_removed_line_is_found(void **state)
{
	struct lines l;

	(void)state;
	sign(make_log());
	read_lines(&l);
	free(l.line[3]);
	memmove(&l.line[3], &l.line[4], (l.n - 4) * sizeof(*l.line));
	l.n--;
	write_lines(&l);
	assert_wrong("evidence-00000001.jsonl:4: seq 4: seq is 5");
}

static void
removed_lines_at_the_end_are_found(void **state)
{
	struct lines l;

	(void)state;
	sign(make_log());
	read_lines(&l);
	free(l.line[--l.n]);
	write_lines(&l);
	assert_wrong("9 lines are signed");
}

static void
moved_lines_are_found(void **state)
{
	struct lines l;
	char *was;

	(void)state;
	sign(make_log());
	read_lines(&l);
	was = l.line[2];
	l.line[2] = l.line[3];
	l.line[3] = was;
	write_lines(&l);
	assert_wrong("evidence-00000001.jsonl:3");
}

/* Chain and seq are made right again; only the signature can tell. */
static void
a_log_written_anew_is_found(void **state)
{
	struct evidence *e;
	struct buf signature = { 0 };
	struct txn a;

	(void)state;
	sign(make_log());
	assert_true(io_read_file(path_of("checkpoint"), &signature, 4096));
	assert_int_equal(unlink(path_of("checkpoint")), 0);
	assert_int_equal(unlink(path_of(first)), 0);
	e = make_log();
	a = put_record(e, 4);
	put_outcome(e, 4, OUTCOME_COMMITTED);
	put_verdict(e, &a, VERDICT_VERIFIED);
	evidence_close(e);
	assert_true(io_replace_file(path_of("checkpoint"), signature.data,
	    signature.len, 0644));
	buf_free(&signature);
	assert_wrong("signed was");
}

static void
a_missing_or_foreign_signature_is_found(void **state)
{
	struct key_signer was = key;

	(void)state;
	sign(make_log());
	assert_true(key_generate("test/log", &key));
	assert_wrong("no signature by a key");
	key = was;
	assert_int_equal(unlink(path_of("checkpoint")), 0);
	assert_wrong("checkpoint");
}

static void
an_older_checkpoint_must_be_on_the_way(void **state)
{
	struct evidence *e = make_log();
	char old[128];
	struct lines l;

	(void)state;
	evidence_checkpoint(e);
	io_path(old, sizeof(old), "%s/old", dir);
	assert_int_equal(link(path_of("checkpoint"), old), 0);
	(void)put_record(e, 4);
	put_outcome(e, 4, OUTCOME_ABORTED);
	sign(e);
	if (!verify(old, true, false))
		fail_msg("%s", report);
	/* The whole log is made again with other times, and signed. */
	read_lines(&l);
	write_lines(&l);
	assert_int_equal(unlink(path_of(first)), 0);
	assert_int_equal(unlink(path_of("checkpoint")), 0);
	sign(make_log());
	assert_true(verify(NULL, true, false));
	assert_false(verify(old, true, false));
	assert_says("/old: the first 9 lines have root");
}

static void
nothing_without_a_record(void **state)
{
	struct evidence *e = make_log();

	(void)state;
	put_outcome(e, 9, OUTCOME_COMMITTED);
	sign(e);
	assert_wrong("an outcome for tx_id 9, which has no open record");
}

static void
a_second_outcome_is_found(void **state)
{
	struct evidence *e = open_log();

	(void)state;
	(void)put_record(e, 1);
	put_outcome(e, 1, OUTCOME_COMMITTED);
	put_outcome(e, 1, OUTCOME_ABORTED);
	sign(e);
	assert_wrong("a second final outcome for tx_id 1");
}

static void
a_second_record_is_found(void **state)
{
	struct evidence *e = make_log();

	(void)state;
	(void)put_record(e, 2);
	sign(e);
	assert_wrong("a second record for tx_id 2");
}

static void
a_second_verdict_is_found(void **state)
{
	struct evidence *e = open_log();
	struct txn x = put_record(e, 1);

	(void)state;
	put_outcome(e, 1, OUTCOME_COMMITTED);
	put_verdict(e, &x, VERDICT_VERIFIED);
	put_verdict(e, &x, VERDICT_VERIFIED);
	sign(e);
	assert_wrong("a verdict for tx_id 1, which has no open record");
}

static void
a_verdict_before_the_commit_is_found(void **state)
{
	struct evidence *e = open_log();
	struct txn x = put_record(e, 1);

	(void)state;
	put_verdict(e, &x, VERDICT_VERIFIED);
	sign(e);
	assert_wrong("before its commit");
}

static void
verified_needs_the_records_roots(void **state)
{
	struct evidence *e = open_log();
	struct txn x = put_record(e, 1);

	(void)state;
	put_outcome(e, 1, OUTCOME_COMMITTED);
	x.post_root.b[0] ^= 1;
	put_verdict(e, &x, VERDICT_VERIFIED);
	sign(e);
	assert_wrong("verified, but the roots are not the record's");
}

static void
a_changed_blob_is_found(void **state)
{
	struct evidence *e = make_log();
	char *long_text = malloc(70001);
	json_t *body = jsonx_object();
	char command[256];

	(void)state;
	assert_non_null(long_text);
	memset(long_text, 'y', 70000);
	long_text[70000] = '\0';
	jsonx_set(body, "text", jsonx_text(long_text));
	free(long_text);
	evidence_append(e, "Test", body);
	sign(e);
	assert_true(verify(NULL, true, false));
	io_path(command, sizeof(command),
	    "for f in %s/blob/*/*; do echo x >>$f; done", dir);
	assert_int_equal(system(command), 0);
	assert_wrong("its bytes are not those of its name");
	io_path(command, sizeof(command), "rm -r %s/blob", dir);
	assert_int_equal(system(command), 0);
	assert_wrong("No such file");
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_whole_log_is_ok),
		test(pending_and_unsigned_are_counted),
		test(every_changed_byte_is_found),
		test(a_removed_line_is_found),
		test(removed_lines_at_the_end_are_found),
		test(moved_lines_are_found),
		test(a_log_written_anew_is_found),
		test(a_missing_or_foreign_signature_is_found),
		test(an_older_checkpoint_must_be_on_the_way),
		test(nothing_without_a_record),
		test(a_second_outcome_is_found),
		test(a_second_record_is_found),
		test(a_second_verdict_is_found),
		test(a_verdict_before_the_commit_is_found),
		test(verified_needs_the_records_roots),
		test(a_changed_blob_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
