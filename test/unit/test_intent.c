/*
 * test_intent.c: what the recorder process makes of an intent, whether its record
 * comes or not.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "recorder_fixture.h"

static void
put_intent(uint64_t tx_id)
{
	static struct record_statement statement = { "UPDATE t SET a = 2", 18,
		"UPDATE", NULL, 0 };
	struct record r = { .intent = true,
		.capture = CAPTURE_EXACT,
		.statements = &statement,
		.n_statements = 1 };
	struct buf b = { 0 };

	record_encode(&r, &b);
	spool_append(spool, SPOOL_INTENT, tx_id, b.data, b.len);
	buf_free(&b);
}

static void
a_record_replaces_its_intent(void **state)
{
	(void)state;
	start();
	put_intent(1);
	(void)put_record(2, CAPTURE_RACE, 701);
	put_outcome(2, OUTCOME_ABORTED);
	(void)put_record(1, CAPTURE_RACE, 700);
	put_outcome(1, OUTCOME_COMMITTED);
	publish();
	wait_for("Verif 1");
	stop();
	assert_string_equal(summary(), "Start 0  |State 2  |"
	    "Trans 2 aborted |State 1  |Trans 1 committed |"
	    "Verif 1 unverifiable capture_race|Stop 0  |");
}

static void
only_an_intent_is_a_lost_capture(void **state)
{
	json_t *line;

	(void)state;
	start();
	put_intent(1);
	publish();
	spool_append(spool, SPOOL_IN_DOUBT, 1, NULL, 0);
	publish();
	wait_for("Trans 1 unknown no_xid");
	stop();
	line = line_of("StateCommitmentRecord", 1);
	assert_string_equal(jsonx_get(line, "capture"), "capture_lost");
	assert_true(json_is_true(json_object_get(line, "intent")));
	assert_null(json_object_get(line, "pre_root_captured"));
	assert_int_equal(
	    json_array_size(json_object_get(line, "query_sequence")), 1);
	json_decref(line);
	assert_log_is_good();
}

static void
an_intent_outlives_the_recorder(void **state)
{
	(void)state;
	start();
	put_intent(1);
	(void)put_record(2, CAPTURE_RACE, 701);
	put_outcome(2, OUTCOME_ABORTED);
	put_intent(3);
	publish();
	wait_for("Trans 2 aborted");
	stop();
	start();
	spool_append(spool, SPOOL_IN_DOUBT, 1, NULL, 0);
	(void)put_record(3, CAPTURE_RACE, 702);
	put_outcome(3, OUTCOME_COMMITTED);
	publish();
	wait_for("Trans 1 unknown no_xid");
	wait_for("Verif 3");
	kill_it();
	start();
	(void)put_record(4, CAPTURE_RACE, 703);
	put_outcome(4, OUTCOME_ABORTED);
	publish();
	wait_for("Trans 4 aborted");
	stop();
	assert_string_equal(summary(), "Start 0  |State 2  |Trans 2 aborted |"
	    "Stop 0  |Start 0  |State 1  |Trans 1 unknown no_xid|State 3  |"
	    "Trans 3 committed |Verif 3 unverifiable capture_race|Start 0  |"
	    "State 4  |Trans 4 aborted |Stop 0  |");
}

/* As if the recorder had died before it saved a state again. */
static void
stop_and_keep_state(struct buf *state)
{
	char path[160];

	stop();
	io_path(path, sizeof(path), "%s/state", log_dir);
	assert_true(io_read_file(path, state, 1 << 20));
}

static void
kill_and_put_back(struct buf *state)
{
	char path[160];

	kill_it();
	io_path(path, sizeof(path), "%s/state", log_dir);
	assert_true(io_replace_file(path, state->data, state->len, 0600));
	buf_free(state);
}

static void
a_record_is_replayed_not_the_intent_that_the_state_knows(void **state)
{
	struct buf saved = { 0 };
	struct worker_job job;
	struct spool_reader *r;
	struct spool_frame f;

	(void)state;
	start();
	put_intent(1);
	publish();
	stop_and_keep_state(&saved);
	start();
	(void)put_record(1, CAPTURE_EXACT, 700);
	put_outcome(1, OUTCOME_COMMITTED);
	publish();
	wait_for("Trans 1 committed");
	kill_and_put_back(&saved);
	start();
	job = take_job();
	assert_int_equal(job.tx_id, 1);
	r = spool_reader_open(dir);
	assert_true(spool_read(r, job.at, &f));
	assert_int_equal(f.kind, SPOOL_RECORD);
	spool_reader_close(r);
	kill_it();
}

static void
an_intent_alone_is_a_lost_capture_after_a_restart_too(void **state)
{
	const struct record_outcome_message prepared = { OUTCOME_PREPARED, 700,
		"server", "" };
	struct buf saved = { 0 }, b = { 0 };

	(void)state;
	start();
	put_intent(1);
	publish();
	stop_and_keep_state(&saved);
	start();
	record_outcome_encode(&prepared, &b);
	spool_append(spool, SPOOL_OUTCOME, 1, b.data, b.len);
	buf_free(&b);
	publish();
	wait_for("Trans 1 prepared");
	kill_and_put_back(&saved);
	start();
	assert_int_equal(take_request().xid, 700);
	give_answer(1, OUTCOME_COMMITTED);
	wait_for("Verif 1 unverifiable capture_lost");
	stop();
	assert_log_is_good();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_record_replaces_its_intent),
		test(only_an_intent_is_a_lost_capture),
		test(an_intent_outlives_the_recorder),
		test(a_record_is_replayed_not_the_intent_that_the_state_knows),
		test(an_intent_alone_is_a_lost_capture_after_a_restart_too),
	};

	log_set_level(LOG_FATAL_);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
