/*
 * test_recorder.c: the recorder process between a spool that the test writes,
 * and a worker and a resolver that the test plays.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../include/ioutil.h"
#include "../../include/log.h"
#include "../../include/procsig.h"
#include "../../include/record.h"
#include "../../replayd/evlog.h"
#include "../../replayd/jsonx.h"
#include "../../replayd/key.h"
#include "../../replayd/recorder.h"
#include "../../replayd/resolver.h"
#include "../../replayd/spool.h"
#include "../../replayd/verdict.h"
#include "../../replayd/verify.h"
#include "../../replayd/worker.h"
#include "scratch.h"

#define WAIT_MS 180000

static char dir[SCRATCH_BYTES];
static char log_dir[96];
static struct key_signer key;
static struct config config;
static struct spool_writer *spool;
static struct recorder_shared *shared;
static pid_t recorder;
static int wake;
static int worker;
static int resolver;		/* the test's end */
static int resolver_end;	/* the recorder's */
static struct arena *arena;

/* --- the recorder's surroundings --- */

/* In place of resolver.c's; called in the recorder's process. */
int
resolver_start(const struct config *c)
{
	(void)c;
	close(resolver);
	return resolver_end;
}

static int
set_up(void **state)
{
	char error[256];
	uint64_t last;

	(void)state;
	if (!scratch_make(dir, "recorder") || !key_generate("test/log", &key) ||
	    !key_save(&key, dir, error, sizeof(error)))
		return -1;
	io_path(log_dir, sizeof(log_dir), "%s/log", dir);
	config = (struct config){ .data_dir = dir,
		.file = strdup("/nonexistent"),
		.log_directory = strdup("log"),
		.origin = strdup(""),
		.checkpoint_command = strdup(""),
		.backend_user = strdup("witness"),
		.backend_host = strdup("/nonexistent"),
		.backend_dbname = strdup("postgres"),
		.backend_password = strdup(""),
		.backend_passfile = strdup(""),
		.backend_port = 1,
		.checkpoint_interval = 20,
		.log_rotate_size = 1 << 20,
		.enable_capture = true, .enable_verification = true };
	spool = spool_writer_open(dir, &last);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	arena = arena_new(0);
	return spool == NULL || shared == MAP_FAILED ? -1 : 0;
}

static int
tear_down(void **state)
{
	(void)state;
	spool_writer_close(spool);
	arena_free(arena);
	munmap(shared, sizeof(*shared));
	free(config.file);
	free(config.log_directory);
	free(config.origin);
	free(config.checkpoint_command);
	free(config.backend_user);
	free(config.backend_host);
	free(config.backend_dbname);
	free(config.backend_password);
	free(config.backend_passfile);
	return scratch_remove(dir);
}

/* Durable, and the recorder is not told. */
static void
publish_quietly(void)
{
	struct spool_position end;

	assert_true(spool_sync(spool));
	end = spool_end(spool);
	atomic_fetch_add(&shared->version, 1);
	atomic_store(&shared->segment, end.segment);
	atomic_store(&shared->offset, end.offset);
	atomic_fetch_add(&shared->version, 1);
}

static void
publish(void)
{
	publish_quietly();
	if (recorder != 0)
		assert_int_equal(write(wake, "", 1), 1);
}

static void
start(void)
{
	int pipe_fds[2];
	int pair[2], asked[2];

	publish();
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, asked), 0);
	resolver = asked[0];
	resolver_end = asked[1];
	recorder = fork();
	assert_true(recorder >= 0);
	if (recorder == 0) {
		close(pipe_fds[1]);
		close(pair[1]);
		procsig_init();
		log_set_level(LOG_FATAL_);
		recorder_main(&config, shared, pipe_fds[0], &pair[0], 1);
	}
	close(pipe_fds[0]);
	close(pair[0]);
	close(resolver_end);
	wake = pipe_fds[1];
	worker = pair[1];
}

static void
stop(void)
{
	int status;

	close(wake);
	assert_int_equal(waitpid(recorder, &status, 0), recorder);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	recorder = 0;
	close(worker);
	close(resolver);
}

static void
kill_it(void)
{
	int status;

	kill(recorder, SIGKILL);
	assert_int_equal(waitpid(recorder, &status, 0), recorder);
	recorder = 0;
	close(wake);
	close(worker);
	close(resolver);
}

/* --- the spool --- */

static const char *now = "";	/* of the records that follow */

static struct merkle_hash
put_record(uint64_t tx_id, enum capture_class capture, uint64_t xid)
{
	static struct record_table table = { .schema = "public",
		.table = "t",
		.write = true,
		.fingerprint = "f" };
	static struct record_statement statement = { "UPDATE t SET a = 1", 18,
		"UPDATE", NULL, 0 };
	struct record r = { .xid = xid,
		.now = now,
		.capture = capture,
		.statements = &statement,
		.n_statements = 1,
		.has_images = true,
		.tables = &table,
		.n_tables = 1 };
	struct buf b = { 0 };

	record_set_roots(&r);
	record_encode(&r, &b);
	spool_append(spool, SPOOL_RECORD, tx_id, b.data, b.len);
	buf_free(&b);
	return r.post_root;
}

static void
put_outcome(uint64_t tx_id, enum record_outcome o)
{
	struct record_outcome_message m = { o, 0, "server", "" };
	struct buf b = { 0 };

	record_outcome_encode(&m, &b);
	spool_append(spool, SPOOL_OUTCOME, tx_id, b.data, b.len);
	buf_free(&b);
}

/* --- the resolver --- */

static struct resolver_request
take_request(void)
{
	struct pollfd p = { .fd = resolver, .events = POLLIN };
	struct resolver_request q;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(recv(resolver, &q, sizeof(q), 0), sizeof(q));
	return q;
}

static void
give_answer(uint64_t tx_id, enum record_outcome outcome)
{
	struct resolver_answer a = { .kind = RESOLVER_OUTCOME,
		.tx_id = tx_id,
		.outcome = outcome };

	assert_int_equal(send(resolver, &a, sizeof(a), 0), sizeof(a));
}

/* --- the worker --- */

static struct worker_job
take_job(void)
{
	struct pollfd p = { .fd = worker, .events = POLLIN };
	struct worker_job job;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(read(worker, &job, sizeof(job)), sizeof(job));
	return job;
}

static void
give_verdict(uint64_t tx_id, enum verdict_kind kind, struct merkle_hash root)
{
	struct verdict_key at = { "id", "1" };
	struct verdict_mismatch m = { .table = "public.t",
		.row = &at,
		.n_row = 1,
		.column = "a",
		.claimed = "1",
		.calculated = "2" };
	struct verdict v = { .tx_id = tx_id,
		.kind = kind,
		.reason = "",
		.detail = "",
		.has_root = true,
		.post_root_calculated = root,
		.statement = -1 };
	struct buf b = { 0 };

	if (kind == VERDICT_MISMATCH) {
		v.mismatches = &m;
		v.n_mismatches = 1;
	}
	buf_put_u32(&b, 0);
	verdict_encode(&v, &b);
	buf_set_u32(&b, 0, (uint32_t)b.len - 4);
	assert_int_equal(write(worker, b.data, b.len), b.len);
	buf_free(&b);
}

/* --- the log --- */

/* "StateCommitmentRecord 1|TransactionOutcome 1 committed|..." */
static char *
summary(void)
{
	static char text[4096];
	struct evlog *l = evlog_open(log_dir);
	struct evlog_line line;
	char error[256];

	text[0] = '\0';
	while (evlog_next(l, &line, error, sizeof(error)) == EVLOG_LINE) {
		json_t *v = json_loadb(line.text, line.len, 0, NULL);
		const char *type = jsonx_get(v, "type");
		const char *what = jsonx_get(v, "outcome");
		const char *reason = jsonx_get(v, "reason");
		size_t n = strlen(text);

		if (what == NULL)
			what = jsonx_get(v, "verdict");
		snprintf(text + n, sizeof(text) - n, "%.5s %d %s %s|", type,
		    (int)jsonx_get_int(v, "tx_id"), what == NULL ? "" : what,
		    reason == NULL ? "" : reason);
		json_decref(v);
	}
	evlog_close(l);
	return text;
}

static void
assert_log_is_good(void)
{
	struct verify_options o = { .log_dir = log_dir,
		.keys = &key.public,
		.n_keys = 1,
		.final = true };
	char *report = NULL;
	size_t len;
	FILE *f = open_memstream(&report, &len);
	bool ok;

	assert_non_null(f);
	ok = verify_log(&o, f);
	fclose(f);
	if (!ok)
		fail_msg("%s", report);
	free(report);
}

/* Until the log says it; bounded. */
static void
wait_for(const char *text)
{
	int64_t until = io_monotonic_us() + (int64_t)WAIT_MS * 1000;

	while (strstr(summary(), text) == NULL) {
		if (io_monotonic_us() > until)
			fail_msg("not \"%s\" in %s", text, summary());
		(void)poll(NULL, 0, 5);
	}
}

/* --- tests --- */

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

/* --- intents --- */

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

static json_t *
line_of(const char *type, uint64_t tx_id)
{
	struct evlog *l = evlog_open(log_dir);
	struct evlog_line line;
	char error[256];
	json_t *found = NULL;

	while (evlog_next(l, &line, error, sizeof(error)) == EVLOG_LINE) {
		json_t *v = json_loadb(line.text, line.len, 0, NULL);

		if (found == NULL && strcmp(jsonx_get(v, "type"), type) == 0 &&
		    jsonx_get_int(v, "tx_id") == tx_id)
			found = json_incref(v);
		json_decref(v);
	}
	evlog_close(l);
	assert_non_null(found);
	return found;
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

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

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
		test(a_record_replaces_its_intent),
		test(only_an_intent_is_a_lost_capture),
		test(an_intent_outlives_the_recorder),
		test(a_record_is_replayed_not_the_intent_that_the_state_knows),
		test(an_intent_alone_is_a_lost_capture_after_a_restart_too),
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
