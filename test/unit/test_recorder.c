/*
 * test_recorder.c: what the recorder process makes of records, outcomes and
 * verdicts, and of its own end.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "recorder_fixture.h"

static void
record_outcome_verdict_are_one_line_each(void **state)
{
	struct merkle_hash root;

	(void)state;
	start();
	root = put_record(1, CAPTURE_EXACT, 700);
	publish();
	wait_for("State 1");
	put_outcome(1, OUTCOME_COMMITTED);
	publish();
	assert_int_equal(take_job().tx_id, 1);
	give_verdict(1, VERDICT_VERIFIED, root);
	wait_for("Verif 1 verified");
	stop();
	assert_string_equal(summary(), "Start 0  |State 1  |"
	    "Trans 1 committed |Verif 1 verified |Stop 0  |");
	assert_log_is_good();
}

static void
aborted_and_inexact_ones_need_no_worker(void **state)
{
	(void)state;
	start();
	(void)put_record(1, CAPTURE_EXACT, 700);
	(void)put_record(2, CAPTURE_RACE, 701);
	put_outcome(1, OUTCOME_ABORTED);
	put_outcome(2, OUTCOME_COMMITTED);
	publish();
	wait_for("Verif 2 unverifiable capture_race");
	stop();
	assert_null(strstr(summary(), "Verif 1"));
	assert_log_is_good();
}

static void
verification_can_be_off(void **state)
{
	(void)state;
	config.enable_verification = false;
	start();
	(void)put_record(1, CAPTURE_EXACT, 700);
	put_outcome(1, OUTCOME_COMMITTED);
	publish();
	wait_for("Verif 1 unverifiable verification_disabled");
	stop();
	assert_log_is_good();
}

static void
a_mismatch_leaves_a_bundle(void **state)
{
	struct merkle_hash root;
	char path[128];
	struct stat st;

	(void)state;
	start();
	root = put_record(1, CAPTURE_EXACT, 700);
	put_outcome(1, OUTCOME_COMMITTED);
	publish();
	(void)take_job();
	root.b[0] ^= 1;
	give_verdict(1, VERDICT_MISMATCH, root);
	wait_for("Verif 1 mismatch");
	stop();
	io_path(path, sizeof(path), "%s/bundles/1/record.bin", dir);
	assert_int_equal(stat(path, &st), 0);
	io_path(path, sizeof(path), "%s/bundles/1/transaction.json", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 077, 0);
	assert_log_is_good();
}

static void
verified_with_another_root_is_not_believed(void **state)
{
	struct merkle_hash root;

	(void)state;
	start();
	root = put_record(1, CAPTURE_EXACT, 700);
	put_outcome(1, OUTCOME_COMMITTED);
	publish();
	(void)take_job();
	root.b[0] ^= 1;
	give_verdict(1, VERDICT_VERIFIED, root);
	wait_for("Verif 1 error root_disagrees");
	stop();
	assert_log_is_good();
}

static void
a_killed_recorder_is_repeated_without_duplicates(void **state)
{
	struct merkle_hash one;
	struct merkle_hash two;

	(void)state;
	start();
	one = put_record(1, CAPTURE_EXACT, 700);
	put_outcome(1, OUTCOME_COMMITTED);
	publish();
	(void)take_job();
	give_verdict(1, VERDICT_VERIFIED, one);
	two = put_record(2, CAPTURE_EXACT, 701);
	put_outcome(2, OUTCOME_COMMITTED);
	publish();
	(void)take_job();
	wait_for("Verif 1");
	wait_for("Trans 2");
	kill_it();
	(void)put_record(3, CAPTURE_EXACT, 702);
	put_outcome(3, OUTCOME_ABORTED);
	start();
	assert_int_equal(take_job().tx_id, 2);
	give_verdict(2, VERDICT_VERIFIED, two);
	wait_for("Verif 2");
	stop();
	assert_string_equal(summary(),
	    "Start 0  |State 1  |Trans 1 committed |"
	    "Verif 1 verified |State 2  |Trans 2 committed |"
	    "Start 0  |State 3  |Trans 3 aborted |Verif 2 verified |"
	    "Stop 0  |");
	assert_log_is_good();
}

static void
an_intent_of_a_dead_child_is_unknown(void **state)
{
	(void)state;
	start();
	(void)put_record(1, CAPTURE_UNSUPPORTED, 0);
	spool_append(spool, SPOOL_IN_DOUBT, 1, NULL, 0);
	publish();
	wait_for("Trans 1 unknown no_xid");
	stop();
	assert_log_is_good();
}

static void
a_server_that_is_away_leaves_it_in_doubt(void **state)
{
	(void)state;
	start();
	(void)put_record(1, CAPTURE_EXACT, 700);
	spool_append(spool, SPOOL_IN_DOUBT, 1, NULL, 0);
	(void)put_record(2, CAPTURE_EXACT, 701);
	put_outcome(2, OUTCOME_ABORTED);
	publish();
	wait_for("Trans 2 aborted");
	stop();
	assert_null(strstr(summary(), "Trans 1"));
}

#define EARLY "2026-01-02 03:04:05.000006+00"
#define LATE "2026-01-02 03:04:05.000007+00"

static void
an_xid_given_again_ends_the_older_one(void **state)
{
	(void)state;
	start();
	now = EARLY;
	(void)put_record(1, CAPTURE_RACE, 700);
	spool_append(spool, SPOOL_IN_DOUBT, 1, NULL, 0);
	(void)put_record(2, CAPTURE_RACE, 701);
	now = LATE;
	(void)put_record(3, CAPTURE_RACE, 700);
	put_outcome(3, OUTCOME_COMMITTED);
	/* its child says so only after the other's record */
	(void)put_record(4, CAPTURE_RACE, 701);
	spool_append(spool, SPOOL_IN_DOUBT, 2, NULL, 0);
	put_outcome(4, OUTCOME_COMMITTED);
	publish();
	wait_for("Verif 4");
	stop();
	assert_non_null(strstr(summary(), "Trans 1 aborted"));
	assert_non_null(strstr(summary(), "Trans 2 aborted"));
	assert_non_null(strstr(summary(), "Trans 3 committed"));
	now = "";
	assert_log_is_good();
}

static void
an_xid_given_again_is_older_by_the_servers_clock(void **state)
{
	(void)state;
	start();
	now = LATE;
	(void)put_record(1, CAPTURE_RACE, 700);
	spool_append(spool, SPOOL_IN_DOUBT, 1, NULL, 0);
	publish();
	wait_for("State 1");
	stop();
	start();
	now = EARLY;
	(void)put_record(2, CAPTURE_RACE, 700);
	spool_append(spool, SPOOL_IN_DOUBT, 2, NULL, 0);
	now = "";
	(void)put_record(3, CAPTURE_RACE, 700);
	spool_append(spool, SPOOL_IN_DOUBT, 3, NULL, 0);
	put_outcome(3, OUTCOME_ABORTED);
	publish();
	wait_for("Trans 3");
	stop();
	assert_null(strstr(summary(), "Trans 1"));
	assert_non_null(strstr(summary(), "Trans 2 aborted"));
}

/* The server's word may be about a record that the recorder has yet to read. */
static void
an_answer_waits_for_the_end_of_the_spool(void **state)
{
	(void)state;
	start();
	now = EARLY;
	(void)put_record(1, CAPTURE_RACE, 700);
	spool_append(spool, SPOOL_IN_DOUBT, 1, NULL, 0);
	publish();
	assert_int_equal(take_request().xid, 700);
	wait_for("State 1");
	now = LATE;
	/* More than it reads at once; they make no line. */
	for (uint64_t i = 2; i <= 3000; i++)
		spool_append(spool, SPOOL_INTENT, i, "", 1);
	(void)put_record(3001, CAPTURE_RACE, 700);
	publish_quietly();
	give_answer(1, OUTCOME_COMMITTED);
	wait_for("Trans 1");
	assert_non_null(strstr(summary(), "Trans 1 aborted"));
	stop();
	now = "";
}

static void
an_answer_is_the_outcome(void **state)
{
	struct resolver_request q;

	(void)state;
	start();
	now = EARLY;
	(void)put_record(1, CAPTURE_RACE, 700);
	spool_append(spool, SPOOL_IN_DOUBT, 1, NULL, 0);
	now = "";
	publish();
	q = take_request();
	assert_int_equal(q.tx_id, 1);
	assert_int_equal(q.began, INT64_C(1767323045000006));
	assert_false(q.prepared);
	give_answer(1, OUTCOME_COMMITTED);
	wait_for("Trans 1 committed");
	give_answer(1, OUTCOME_ABORTED);
	stop();
	assert_null(strstr(summary(), "aborted"));
	assert_log_is_good();
}

static void
bytes_that_are_no_record_are_recorded_as_lost(void **state)
{
	(void)state;
	start();
	spool_append(spool, SPOOL_RECORD, 1, "junk", 4);
	put_outcome(1, OUTCOME_COMMITTED);
	publish();
	wait_for("Verif 1 unverifiable capture_lost");
	stop();
	assert_log_is_good();
}

static void
a_lost_worker_does_not_stop_the_recorder(void **state)
{
	(void)state;
	start();
	(void)put_record(1, CAPTURE_EXACT, 700);
	put_outcome(1, OUTCOME_COMMITTED);
	publish();
	(void)take_job();
	assert_int_equal(shutdown(worker, SHUT_RDWR), 0);
	(void)put_record(2, CAPTURE_RACE, 701);
	put_outcome(2, OUTCOME_COMMITTED);
	publish();
	wait_for("Verif 2");
	stop();
	assert_null(strstr(summary(), "Verif 1"));
}

static void
finished_segments_are_recycled(void **state)
{
	char path[128];
	int64_t until = io_monotonic_us() + (int64_t)WAIT_MS * 1000;

	(void)state;
	spool_set_segment_bytes(spool, 1);
	start();
	for (uint64_t i = 1; i <= 5; i++) {
		(void)put_record(i, CAPTURE_RACE, 700 + i);
		publish();
		put_outcome(i, OUTCOME_COMMITTED);
		publish();
	}
	io_path(path, sizeof(path), "%s/spool/%016d", dir, 1);
	while (access(path, F_OK) == 0 && io_monotonic_us() < until)
		(void)poll(NULL, 0, 5);
	assert_int_not_equal(access(path, F_OK), 0);
	stop();
	start();
	stop();
	assert_log_is_good();
}

static void
another_spool_is_refused(void **state)
{
	char command[256];
	uint64_t last;
	int status;

	(void)state;
	start();
	(void)put_record(1, CAPTURE_RACE, 700);
	put_outcome(1, OUTCOME_ABORTED);
	(void)put_record(2, CAPTURE_RACE, 701);
	put_outcome(2, OUTCOME_ABORTED);
	publish();
	wait_for("Trans 2 aborted");
	stop();
	spool_writer_close(spool);
	io_path(command, sizeof(command), "rm -r %s/spool", dir);
	assert_int_equal(system(command), 0);
	spool = spool_writer_open(dir, &last);
	assert_non_null(spool);
	(void)put_record(1, CAPTURE_RACE, 702);
	start();
	assert_int_equal(waitpid(recorder, &status, 0), recorder);
	recorder = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 3);
	close(wake);
	close(worker);
}

static void
a_gap_of_the_drain_is_logged_once(void **state)
{
	static const char gap[] = "{\"from_time\":\"2026-01-01T00:00:00Z\","
	    "\"reason\":\"machine_down\",\"count\":null}";
	json_t *line;

	(void)state;
	start();
	spool_append(spool, SPOOL_GAP, 0, gap, sizeof(gap) - 1);
	publish();
	wait_for("Gap 0  machine_down");
	kill_it();
	start();
	stop();
	assert_string_equal(summary(), "Start 0  |Gap 0  machine_down|"
	    "Start 0  |Stop 0  |");
	line = line_of("Gap", 0);
	assert_string_equal(jsonx_get(line, "from_time"),
	    "2026-01-01T00:00:00Z");
	json_decref(line);
}

static void
an_outcome_says_who_and_why(void **state)
{
	struct record_outcome_message m = { OUTCOME_ABORTED, 0, "drain",
		"spool_full" };
	struct buf b = { 0 };
	json_t *line;

	(void)state;
	start();
	(void)put_record(1, CAPTURE_EXACT, 700);
	record_outcome_encode(&m, &b);
	spool_append(spool, SPOOL_OUTCOME, 1, b.data, b.len);
	buf_free(&b);
	publish();
	wait_for("Trans 1 aborted spool_full");
	stop();
	line = line_of("TransactionOutcome", 1);
	assert_string_equal(jsonx_get(line, "resolved_by"), "drain");
	json_decref(line);
}

/* --- the saved state --- */

/* What was queued, in doubt or done before is so again, from the state. */
static void
a_stopped_recorder_goes_on_where_it_was(void **state)
{
	struct merkle_hash one;

	(void)state;
	start();
	one = put_record(1, CAPTURE_EXACT, 700);
	put_outcome(1, OUTCOME_COMMITTED);
	(void)put_record(2, CAPTURE_EXACT, 701);
	publish();
	(void)take_job();
	wait_for("State 2");
	assert_int_equal(shutdown(worker, SHUT_RDWR), 0);
	stop();
	start();
	assert_int_equal(take_job().tx_id, 1);
	give_verdict(1, VERDICT_VERIFIED, one);
	put_outcome(2, OUTCOME_ABORTED);
	publish();
	wait_for("Verif 1 verified");
	wait_for("Trans 2 aborted");
	stop();
	assert_log_is_good();
}

/* --- key, command, the log before --- */

static bool
has_file(const char *name)
{
	char path[160];

	io_path(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static void
wait_for_file(const char *name, bool there)
{
	int64_t until = io_monotonic_us() + (int64_t)WAIT_MS * 1000;

	while (has_file(name) != there) {
		if (io_monotonic_us() > until)
			fail_msg("%s: %s", name, there ? "missing" : "there");
		(void)poll(NULL, 0, 5);
	}
}

static void
assert_key_is(const struct key_public *want)
{
	struct key_signer signer;
	struct key_public public;
	char path[160];
	char error[256];

	io_path(path, sizeof(path), "%s/evidence.key", dir);
	assert_true(key_load_signer(path, &signer, error, sizeof(error)));
	assert_memory_equal(signer.public.bytes, want->bytes,
	    sizeof(want->bytes));
	io_path(path, sizeof(path), "%s/evidence.pub", dir);
	assert_true(key_load_public(path, &public, error, sizeof(error)));
	assert_memory_equal(public.bytes, want->bytes, sizeof(want->bytes));
}

static void
a_new_key_is_taken_at_reload(void **state)
{
	struct key_public next;
	char error[256];
	char name[32];

	(void)state;
	start();
	wait_for("Start");
	assert_true(key_prepare_next(dir, &next, error, sizeof(error)));
	assert_false(key_prepare_next(dir, NULL, error, sizeof(error)));
	assert_int_equal(kill(recorder, SIGHUP), 0);
	wait_for("KeyCh");
	wait_for_file("evidence.key.new", false);
	stop();
	assert_key_is(&next);
	snprintf(name, sizeof(name), "evidence-%02x%02x%02x%02x.pub",
	    key.public.id[0], key.public.id[1], key.public.id[2],
	    key.public.id[3]);
	assert_true(has_file(name));
	start();
	stop();
	key.public = next;
	assert_log_is_good();
}

static void
a_new_key_is_taken_at_start(void **state)
{
	struct key_public next;
	char error[256];
	char path[160];

	(void)state;
	start();
	stop();
	assert_true(key_prepare_next(dir, &next, error, sizeof(error)));
	start();
	stop();
	assert_key_is(&next);
	/* It died between the two renames of the last step. */
	io_path(path, sizeof(path), "%s/evidence.pub", dir);
	assert_int_equal(unlink(path), 0);
	start();
	stop();
	assert_key_is(&next);
	key.public = next;
	assert_log_is_good();
}

static void
checkpoints_leave_the_host(void **state)
{
	char command[256];

	(void)state;
	snprintf(command, sizeof(command),
	    "test -e %s/fail && rm %s/fail && exit 1; cp %%p %s/sent-%%s", dir,
	    dir, dir);
	free(config.checkpoint_command);
	config.checkpoint_command = strdup(command);
	assert_int_equal(mkdir(log_dir, 0700), 0);
	assert_false(has_file("sent-1"));
	snprintf(command, sizeof(command), "%s/fail", dir);
	close(open(command, O_CREAT | O_WRONLY, 0600));
	start();
	/* The first try fails and is made again. */
	wait_for_file("sent-1", true);
	assert_false(has_file("fail"));
	stop();
	/* Stop is the second line. */
	assert_true(has_file("sent-2"));
}

static void
the_log_before_is_named_in_the_first_line(void **state)
{
	static const char old[] = "other/log\n12\n"
	    "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n"
	    "\xe2\x80\x94 other/log AAAA\n";
	const json_t *continued;
	char path[160];
	json_t *line;

	(void)state;
	assert_int_equal(mkdir(log_dir, 0700), 0);
	io_path(path, sizeof(path), "%s/after", log_dir);
	assert_true(io_replace_file(path, old, sizeof(old) - 1, 0600));
	start();
	stop();
	line = line_of("Start", 0);
	continued = json_object_get(line, "continued");
	assert_string_equal(jsonx_get(continued, "origin"), "other/log");
	assert_int_equal(jsonx_get_int(continued, "size"), 12);
	assert_string_equal(jsonx_get(continued, "root"),
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	json_decref(line);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(record_outcome_verdict_are_one_line_each),
		test(aborted_and_inexact_ones_need_no_worker),
		test(verification_can_be_off),
		test(a_mismatch_leaves_a_bundle),
		test(verified_with_another_root_is_not_believed),
		test(a_killed_recorder_is_repeated_without_duplicates),
		test(an_intent_of_a_dead_child_is_unknown),
		test(a_server_that_is_away_leaves_it_in_doubt),
		test(an_xid_given_again_ends_the_older_one),
		test(an_xid_given_again_is_older_by_the_servers_clock),
		test(an_answer_waits_for_the_end_of_the_spool),
		test(an_answer_is_the_outcome),
		test(bytes_that_are_no_record_are_recorded_as_lost),
		test(a_lost_worker_does_not_stop_the_recorder),
		test(finished_segments_are_recycled),
		test(another_spool_is_refused),
		test(a_gap_of_the_drain_is_logged_once),
		test(an_outcome_says_who_and_why),
		test(a_stopped_recorder_goes_on_where_it_was),
		test(a_new_key_is_taken_at_reload),
		test(a_new_key_is_taken_at_start),
		test(checkpoints_leave_the_host),
		test(the_log_before_is_named_in_the_first_line),
	};

	log_set_level(LOG_FATAL_);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
