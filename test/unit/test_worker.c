/*
 * test_worker.c: jobs given to a replay worker, one by one and many at once.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "replay_fixture.h"

static struct spool_position
spool_one(uint64_t tx_id)
{
	struct buf b = { 0 };
	static struct spool_writer *w;
	struct spool_position at;
	uint64_t last;

	if (w == NULL)
		w = spool_writer_open(config->data_dir, &last);
	assert_non_null(w);
	rec.time_us = io_now_us();
	record_set_roots(&rec);
	record_encode(&rec, &b);
	at = spool_end(w);
	spool_append(w, SPOOL_RECORD, tx_id, b.data, b.len);
	assert_true(spool_sync(w));
	buf_free(&b);
	return at;
}

static pid_t
start_worker(unsigned index, int *fd)
{
	int fds[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		procsig_follow_parent(getppid(), SIGTERM);
		worker_main(config, index, fds[1]);
	}
	close(fds[1]);
	*fd = fds[0];
	return pid;
}

static void
end_worker(pid_t pid, int fd)
{
	int status;

	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static struct verdict
next_verdict(int fd)
{
	static uint8_t bytes[65536];
	struct verdict v;
	uint8_t len[4];

	read_all(fd, len, 4);
	assert_true(get_u32(len) <= sizeof(bytes));
	read_all(fd, bytes, get_u32(len));
	assert_true(verdict_decode(bytes, get_u32(len), arena, &v));
	return v;
}

static void
test_worker_answers_in_order(void **state)
{
	struct worker_job jobs[3];
	struct verdict v;
	pid_t pid;
	int fd;

	(void)state;
	record_change("id = 1", "UPDATE t SET note = now()::text WHERE id = 1");
	tell("COMMIT");
	memset(jobs, 0, sizeof(jobs));
	jobs[0] = (struct worker_job){ .tx_id = 1, .at = spool_one(1) };
	jobs[1] = (struct worker_job){ .tx_id = 99, .at = jobs[0].at };
	jobs[2] = jobs[0];
	pid = start_worker(7, &fd);
	assert_true(io_write_all(fd, jobs, sizeof(jobs)));
	for (int i = 0; i < 3; i++) {
		v = next_verdict(fd);
		assert_int_equal(v.tx_id, jobs[i].tx_id);
		if (i == 1)
			assert_verdict(&v, VERDICT_ERROR, "record_unreadable");
		else
			assert_verdict(&v, VERDICT_VERIFIED, "");
	}
	end_worker(pid, fd);
}

/* One of a worker's jobs, and what it must say about it. */
struct expected {
	struct worker_job job;
	enum verdict_kind kind;
	const char *reason;
};

/* No claim about what became of row 1 unless there is one. */
static void
expect(struct expected *e, uint64_t tx_id, const char *sql, const char *row,
    enum verdict_kind kind, const char *reason)
{
	struct record_table *t;

	begin_record();
	t = add_table("public", "t");
	before(t, 0, "id = 1");
	note(sql);
	if (row != NULL)
		after_lie(t, row);
	tell("COMMIT");
	e->job = (struct worker_job){ .tx_id = tx_id, .at = spool_one(tx_id) };
	e->kind = kind;
	e->reason = reason;
}

static void
expect_copy(struct expected *e, uint64_t tx_id)
{
	struct record_table *t;

	begin_record();
	t = add_table("public", "t");
	note_copy("COPY t (id, note) FROM STDIN", "9\tn\n", 4);
	after_lie(t, "9, 'none', 'n', 1.50, 3.00");
	tell("COMMIT");
	*e = (struct expected){ { .tx_id = tx_id, .at = spool_one(tx_id) },
		VERDICT_VERIFIED, "" };
}

static unsigned
expect_all(struct expected *e)
{
	static const char update[] = "UPDATE t SET note = 'n' WHERE id = 1",
			  updated[] = "1, 'ann', 'n', 10.00, 20.00";
	unsigned n = 0;

	fresh(accounts);
	tell("CREATE OR REPLACE FUNCTION evil() RETURNS int LANGUAGE plpgsql"
	     " AS 'BEGIN DEALLOCATE ALL; RETURN 1; END';"
	     " CREATE OR REPLACE FUNCTION spin() RETURNS int LANGUAGE plpgsql"
	     " AS 'BEGIN LOOP END LOOP; END'");
	expect(&e[n], n + 1, update, updated, VERDICT_VERIFIED, "");
	n++;
	expect(&e[n], n + 1, "INSERT INTO t (id, note) VALUES (2, 'o')", NULL,
	    VERDICT_MISMATCH, "rows_differ");
	n++;
	expect(&e[n], n + 1, "UPDATE t SET note = 'm' WHERE id = 1", updated,
	    VERDICT_MISMATCH, "rows_differ");
	n++;
	expect(&e[n], n + 1, "INSERT INTO t (id) VALUES (1)", updated,
	    VERDICT_MISMATCH, "replay_error:23505");
	n++;
	expect(&e[n], n + 1, "UPDATE nowhere SET note = 'n'", updated,
	    VERDICT_UNVERIFIABLE, "replay_error");
	n++;
	expect(&e[n], n + 1, "COMMIT", updated, VERDICT_UNVERIFIABLE,
	    "unsupported");
	n++;
	expect(&e[n], n + 1, "UPDATE t SET note = evil()::text WHERE id = 1",
	    "1, 'ann', '1', 10.00, 20.00", VERDICT_UNVERIFIABLE, "environment");
	n++;
	expect_copy(&e[n], n + 1);
	n++;
	e[n] = (struct expected){ { .tx_id = 1000, .at = e[0].job.at },
		VERDICT_ERROR, "record_unreadable" };
	n++;
	expect(&e[n], n + 1, "SELECT spin()", NULL, VERDICT_UNVERIFIABLE,
	    "timeout");
	return n + 1;
}

/* Each is judged as if it were alone, whatever is in its group. */
static void
test_jobs_sent_together_are_judged_apart(void **state)
{
	enum { JOBS = 400 };
	struct expected kinds[16];
	unsigned n = expect_all(kinds), of[JOBS];
	struct verdict v;
	pid_t pid;
	int fd;

	(void)state;
	pid = start_worker(8, &fd);
	for (int i = 0; i < JOBS; i++) {
		/* most are fine; the last kind takes seconds, so only one */
		of[i] = i == JOBS / 2	? n - 1
			: draw(4) == 0 ? draw(n - 1)
				       : 0;
		assert_true(io_write_all(fd, &kinds[of[i]].job,
		    sizeof(struct worker_job)));
	}
	for (int i = 0; i < JOBS; i++) {
		const struct expected *e = &kinds[of[i]];

		v = next_verdict(fd);
		assert_int_equal(v.tx_id, e->job.tx_id);
		assert_verdict(&v, e->kind, e->reason);
	}
	end_worker(pid, fd);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_worker_answers_in_order),
		cmocka_unit_test(test_jobs_sent_together_are_judged_apart),
	};

	return fixture_main(
	    argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
