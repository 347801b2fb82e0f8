/*
 * recorder_fixture.h: the recorder process between a spool that the test
 * writes, and a worker and a resolver that the test plays.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_RECORDER_FIXTURE_H
#define PGW_RECORDER_FIXTURE_H

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

/* Each of the programs uses what it needs. */
#pragma GCC diagnostic ignored "-Wunused-function"

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

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
