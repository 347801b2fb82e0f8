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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <inttypes.h>
#include <jansson.h>

#include "../../include/ioutil.h"
#include "../../replayd/checkpoint.h"
#include "../../replayd/evidence.h"
#include "../../replayd/jscan.h"
#include "../../replayd/jsonx.h"
#include "../../replayd/line.h"
#include "../../replayd/verify.h"
#include "scratch.h"

#define MAX_LINES 64

static char dir[SCRATCH_BYTES];
static char error[1024];
static struct key_signer key;
static char *report;

static int
set_up(void **state)
{
	(void)state;
	if (!scratch_make(dir, "verify") || !key_generate("test/log", &key))
		return -1;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	free(report);
	report = NULL;
	return scratch_remove(dir);
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

static struct line made;

static struct txn
put_record(struct evidence *e, uint64_t tx_id)
{
	static struct record_table table = { .schema = "public",
		.table = "t",
		.write = true,
		.fingerprint = "f" };
	static struct record_statement statement = { "UPDATE t SET a = 1", 18,
		"UPDATE", NULL, 0 };
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
	line_record(&made, tx_id, &r, &context);
	evidence_append_line(e, &made);
	return x;
}

static void
put_outcome(struct evidence *e, uint64_t tx_id, enum record_outcome o)
{
	struct record_outcome_message m = { o, 0, "server", "" };

	line_outcome(&made, tx_id, &m);
	evidence_append_line(e, &made);
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

	line_verdict(&made, x, &v, NULL);
	evidence_append_line(e, &made);
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

/* A shell command in the log's directory. */
static void
shell(const char *command)
{
	char text[1024];

	io_path(text, sizeof(text), "cd %s && { %s; }", dir, command);
	assert_int_equal(system(text), 0);
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
	shell("rm -r evidence-* checkpoint tile; rm -f state");
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

/* --- every edit there is --- */

/* 900 lines in three files, tiles 0/000 to 0/003.p/132. */
static void
make_long_log(void)
{
	struct evidence *e =
	    evidence_open(dir, &key, 200000, error, sizeof(error));

	assert_non_null(e);
	for (uint64_t i = 1; i <= 300; i++) {
		struct txn x = put_record(e, i);

		put_outcome(e, i, OUTCOME_COMMITTED);
		put_verdict(e, &x, VERDICT_VERIFIED);
	}
	evidence_checkpoint(e);
	evidence_close(e);
}

#define FIRST "evidence-00000001.jsonl"
#define SECOND "evidence-00000002.jsonl"
#define PATCH "printf Q | dd conv=notrunc status=none seek=100 bs=1 of="

static const struct edit {
	const char *name;
	const char *command;
	const char *says;
} edits[] = {
	{ "nothing", "true", "\nOK\n" },
	{ "a changed line", "sed -i '5s/committed/comitted!/' " FIRST,
	    "seq 5: its tile has another hash: this line was changed" },
	{ "a changed last line", "sed -i '$s/verified/verifie_/' $(ls "
	    "evidence-*|tail -n 1)", "WRONG: " },
	{ "a line removed", "sed -i 5d " FIRST,
	    FIRST ":5: seq 5: seq is 6, expected 5" },
	{ "a line repeated", "sed -i 5p " FIRST,
	    FIRST ":6: seq 6: seq is 5, expected 6" },
	{ "a line moved", "sed -i -e '5{h;d}' -e '7G' " FIRST,
	    FIRST ":5: seq 5: seq is 6, expected 5" },
	{ "a line added", "sed -i '5i{\"type\":\"Test\"}' " FIRST,
	    FIRST ":5: seq 5: seq is 0, expected 5" },
	{ "a line that is no JSON", "sed -i '5s/\"type\"/type/' " FIRST,
	    FIRST ":5: seq 5: not JSON: byte 2" },
	{ "a member twice", "sed -i '5s/{/{\"seq\":5,/' " FIRST,
	    "the same member twice" },
	{ "an empty line", "sed -i '5i\\\\' " FIRST, "not JSON" },
	{ "a file cut within a line", "truncate -s -10 " SECOND,
	    SECOND ": does not end at a newline" },
	{ "the end cut within a line", "truncate -s -10 $(ls evidence-*|tail "
	    "-n 1)", "900 lines are signed, but the log has only 899" },
	{ "the end cut", "sed -i '$d' $(ls evidence-*|tail -n 1)",
	    "900 lines are signed, but the log has only 899" },
	{ "no evidence at all", "rm evidence-*",
	    "900 lines are signed, but the log has only 0" },
	{ "a missing tile", "rm tile/0/000",
	    "tile/0/000: the tile is missing" },
	{ "a missing partial tile", "rm -r tile/0/003.p",
	    "tile/0/003.p/132: the tile is missing" },
	{ "a missing tile above", "rm -r tile/1",
	    "tile/1/000.p/3: the tile is missing" },
	{ "no tiles", "rm -r tile", "tile/0/000: the tile is missing" },
	{ "a changed tile", PATCH "tile/0/001",
	    "tile/0/001: hash 3 in the tile is not that of the lines" },
	{ "a changed partial tile", PATCH "tile/0/003.p/132",
	    "tile/0/003.p/132: hash 3 in the tile" },
	{ "a shorter tile", "truncate -s 8160 tile/0/001",
	    "tile/0/001: the tile has 8160 bytes, not 8192" },
	{ "an extra tile", "cp tile/0/000 tile/0/009",
	    "tile/0/009: an extra tile" },
	{ "an extra partial tile", "cp tile/0/000 tile/0/003.p/200",
	    "tile/0/003.p/200: an extra tile" },
	{ "an extra tile far away", "mkdir tile/0/x001; cp tile/0/000 "
	    "tile/0/x001/000", "tile/0/x001/000: an extra tile" },
	{ "an extra file", "touch tile/0/junk", "an extra file" },
	{ "what a dead writer left", "touch tile/0/000.123.tmp", "\nOK\n" },
	{ "a file missing in the middle", "rm " SECOND,
	    SECOND ": the file is missing, but there are later ones" },
	{ "the first file moved away", "rm " FIRST,
	    "before by their tiles only" },
	{ "that and a missing tile", "rm " FIRST " tile/0/000",
	    "the files before are not there" },
	{ "that and a changed tile", "rm " FIRST "; " PATCH "tile/0/000",
	    "have root" },
	{ "that and no checkpoint", "rm " FIRST " checkpoint",
	    "no signed tiles stand for them" },
	{ "no checkpoint", "rm checkpoint", "checkpoint: No such file" },
	{ "a smaller checkpoint", "sed -i '2s/900/899/' checkpoint",
	    "checkpoint: the signature is wrong" },
	{ "a checkpoint of another origin", "sed -i '1s/log/lag/' checkpoint",
	    "checkpoint: the signature is wrong" },
	{ "no signature", "sed -i '$d' checkpoint",
	    "checkpoint: no signature by a key that was given" },
};

static bool
is_all_right(const struct edit *e)
{
	return strstr(e->says, "\nOK\n") != NULL ||
	    strcmp(e->says, "before by their tiles only") == 0;
}

static void
every_edit_is_found_and_named(void **state)
{
	(void)state;
	make_long_log();
	shell("mkdir keep && cp -a evidence-* checkpoint tile keep");
	for (size_t i = 0; i < sizeof(edits) / sizeof(*edits); i++) {
		bool ok;

		shell(edits[i].command);
		ok = verify(NULL, false, false);
		if (ok != is_all_right(&edits[i]) ||
		    strstr(report, edits[i].says) == NULL ||
		    strstr(report, "evidence-00000000") != NULL)
			fail_msg("%s: not \"%s\" in:\n%s", edits[i].name,
			    edits[i].says, report);
		shell("rm -rf evidence-* checkpoint tile && "
		      "cp -a keep/* .");
	}
}

static void
flip_each_byte(const char *name)
{
	struct buf b = { 0 };

	assert_true(io_read_file(path_of(name), &b, 1 << 20));
	for (size_t i = 0; i < b.len; i++) {
		uint8_t was = b.data[i];
		FILE *f = fopen(path_of(name), "w");

		assert_non_null(f);
		b.data[i] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(fwrite(b.data, 1, b.len, f), b.len);
		fclose(f);
		b.data[i] = was;
		if (verify(NULL, false, false))
			fail_msg("%s: byte %zu changed:\n%s", name, i, report);
	}
	assert_true(io_replace_file(path_of(name), b.data, b.len, 0600));
	buf_free(&b);
	assert_true(verify(NULL, true, false));
}

static void
every_flipped_byte_is_found(void **state)
{
	(void)state;
	sign(make_log());
	flip_each_byte(first);
	flip_each_byte("checkpoint");
	flip_each_byte("tile/0/000.p/9");
}

static void
what_is_open_is_named(void **state)
{
	struct evidence *e = make_log();

	(void)state;
	(void)put_record(e, 4);
	put_outcome(e, 4, OUTCOME_COMMITTED);
	(void)put_record(e, 5);
	put_outcome(e, 5, OUTCOME_PREPARED);
	sign(e);
	assert_true(verify(NULL, false, false));
	assert_false(verify(NULL, true, false));
	assert_says("tx_id 4: committed, but no verdict");
	assert_says("tx_id 5: a record without final outcome");
}

/* --- keys that change --- */

static void
put_key_change(struct evidence *e, const struct key_signer *old,
	const struct key_signer *next)
{
	json_t *body = jsonx_object();
	struct buf text = { 0 };

	key_public_text(&old->public, &text);
	jsonx_set(body, "old", jsonx_textn(text.data, text.len));
	buf_reset(&text);
	key_public_text(&next->public, &text);
	jsonx_set(body, "new", jsonx_textn(text.data, text.len));
	buf_free(&text);
	evidence_append(e, "KeyChange", body);
}

/* Signs what there is again, by one key or both. */
static void
sign_again(const struct key_signer *k, const struct key_signer *next)
{
	struct buf b = { 0 };
	struct checkpoint c;

	assert_true(io_read_file(path_of("checkpoint"), &b, 4096));
	assert_true(checkpoint_parse_text(b.data, b.len, &c));
	buf_reset(&b);
	checkpoint_put_both(&c, k, next, &b);
	assert_true(
	    io_replace_file(path_of("checkpoint"), b.data, b.len, 0644));
	buf_free(&b);
}

static void
a_key_change_needs_both_keys(void **state)
{
	struct evidence *e = make_log();
	struct key_signer next;
	struct key_signer other;

	(void)state;
	assert_true(key_generate("test/log", &next));
	assert_true(key_generate("test/log", &other));
	put_key_change(e, &key, &next);
	sign(e);
	assert_wrong("no signature by the new key");
	sign_again(&key, &next);
	assert_true(verify(NULL, true, false));
	assert_says("key change at seq 10, signed by both keys");
	sign_again(&key, &other);
	assert_wrong("no signature by the new key");
	sign_again(&next, NULL);
	assert_wrong("no signature by a key that was given");
}

static void
a_key_change_from_a_foreign_key_is_found(void **state)
{
	struct evidence *e = make_log();
	struct key_signer a;
	struct key_signer b;

	(void)state;
	assert_true(key_generate("test/log", &a));
	assert_true(key_generate("test/log", &b));
	put_key_change(e, &key, &a);
	put_key_change(e, &b, &key);
	sign(e);
	assert_wrong(":11: seq 11: a KeyChange from a key that was not in use");
}

/* --- jscan against jansson --- */

static const char *const texts[] = { "{}", "[]", "", " {} ", "{}x", "{} {}",
	"{\"a\":1,\"a\":2}", "{\"a\":{\"b\":1},\"b\":1}", "{\"a\":}",
	"{\"a\":1,}", "{,}", "{\"a\" 1}", "{a:1}", "{\"a\":[1,]}",
	"{\"a\":[1 2]}", "{\"\\u0061\":1,\"a\":2}", "{\"a\":\"\\u0000\"}",
	"{\"a\":\"\\ud800\"}", "{\"a\":\"\\ud800\\udc00\"}",
	"{\"a\":\"\\udc00\"}", "{\"a\":\"\\ud800\\u0061\"}",
	"{\"a\":\"\\uD83D\\uDE00\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\\"}",
	"{\"a\":\"\xc3\xa9\"}", "{\"a\":\"\xc0\x80\"}",
	"{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xf4\x90\x80\x80\"}",
	"{\"a\":\"\xf0\x9f\x98\x80\"}", "{\"a\":\"\xe0\x80\x80\"}",
	"{\"a\":\"\t\"}", "{\"a\":\"\x7f\"}", "{\"a\":0}", "{\"a\":-0}",
	"{\"a\":00}", "{\"a\":01}", "{\"a\":-}", "{\"a\":+1}", "{\"a\":1.}",
	"{\"a\":.5}", "{\"a\":1e5}", "{\"a\":1e}", "{\"a\":1e+}",
	"{\"a\":1e400}", "{\"a\":-1e400}", "{\"a\":1e-400}",
	"{\"a\":9223372036854775807}", "{\"a\":9223372036854775808}",
	"{\"a\":-9223372036854775808}", "{\"a\":-9223372036854775809}",
	"{\"a\":99999999999999999999}", "{\"a\":true}", "{\"a\":truex}",
	"{\"a\":nul}", "{\"a\":NaN}", "{\"a\":\v1}", "\xef\xbb\xbf{}",
	"{\"a\":1}\n\r\t ", "{\"a\":{\"sha256\":1,\"bytes\":2}}",
	"{\"tables\":[1,{\"schema\":\"s\"},[[]]]}", "{\"tables\":{\"a\":1}}",
	"{\"type\":\"T\",\"seq\":1.5}", "{\"a\":\"", "{\"a", "{\"a\"" };

static struct jscan *scanner;

static void
compare(const char *text, size_t len)
{
	json_t *v = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	struct jscan_fields f;
	const char *type;
	bool ok = jscan_line(scanner, text, len, &f, error, sizeof(error));

	/* jansson passes over some NUL bytes */
	if (memchr(text, '\0', len) != NULL)
		assert_false(ok);
	else if (ok != json_is_object(v))
		fail_msg("jscan %s: %.*s\n%s", ok ? "accepts" : "rejects",
		    (int)len, text, ok ? "" : error);
	if (ok) {
		type = jsonx_get(v, "type");
		assert_int_equal(jscan_count(&f.member[JSCAN_SEQ]),
		    jsonx_get_int(v, "seq"));
		assert_int_equal(type == NULL,
		    jscan_text(&f.member[JSCAN_TYPE]) == NULL);
		if (type != NULL)
			assert_string_equal(type,
			    jscan_text(&f.member[JSCAN_TYPE]));
	}
	json_decref(v);
}

static void
compare_nested(size_t depth)
{
	char *text = malloc(2 * depth + 16);
	size_t n = 5;

	assert_non_null(text);
	memcpy(text, "{\"a\":", n);
	memset(text + n, '[', depth);
	memset(text + n + depth, ']', depth);
	text[n + 2 * depth] = '}';
	compare(text, n + 2 * depth + 1);
	free(text);
}

/* One byte changed, put in, or taken out; by a generator with a seed. */
static void
compare_mutations(const char *line, size_t len, unsigned rounds)
{
	static const char bytes[] = "\"\\{}[]:,0123456789.eE+-tfnu \t\x01\x80"
				    "\xc3\xe2\xed\xf0\xff";
	uint64_t seed = 88172645463325252u;
	char *copy = malloc(len + 1);

	assert_non_null(copy);
	for (unsigned i = 0; i < rounds; i++) {
		size_t at;
		char c;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		at = (seed >> 8) % len;
		c = bytes[(seed >> 40) % sizeof(bytes)];
		memcpy(copy, line, at);
		memcpy(copy + at + 1, line + at, len - at);
		copy[at] = c;
		compare(copy, len + 1);
		memcpy(copy, line, len);
		copy[at] = c;
		compare(copy, len);
		memmove(copy + at, line + at + 1, len - at - 1);
		compare(copy, len - 1);
	}
	free(copy);
}

static void
jscan_accepts_what_jansson_accepts(void **state)
{
	static const char rich[] =
	    "{\"type\":\"T\\u0041\",\"seq\":12,\"tables\":[{\"schema\":\"a\","
	    "\"table\":\"\xc3\xa9\",\"pre_root\":null}],\"b\":{\"sha256\":"
	    "\"x\",\"bytes\":-1.5e3},\"t\":[true,false,{\"q\":\"\\ud83d"
	    "\\ude00\\n\"}]}";
	struct lines l;

	(void)state;
	scanner = jscan_new();
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		compare(texts[i], strlen(texts[i]));
	compare("{\"a\":\"b\0c\"}", 11);
	compare("{}\0", 3);
	for (size_t depth = 2040; depth < 2050; depth++)
		compare_nested(depth);
	compare_mutations(rich, sizeof(rich) - 1, 20000);
	sign(make_log());
	read_lines(&l);
	for (size_t i = 0; i < 4; i++)
		compare_mutations(l.line[i], strlen(l.line[i]) - 1, 2000);
	write_lines(&l);
	jscan_free(scanner);
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
		test(every_edit_is_found_and_named),
		test(every_flipped_byte_is_found),
		test(what_is_open_is_named),
		test(a_key_change_needs_both_keys),
		test(a_key_change_from_a_foreign_key_is_found),
		test(jscan_accepts_what_jansson_accepts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
