/*
 * test_drain.c: the drain between real lanes and a real spool, and killed at
 * any moment.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../replayd/drain.h"
#include "../../replayd/spool.h"
#include "ioutil.h"
#include "record.h"
#include "shmq.h"

#define LANE_BYTES ((size_t)128 * 1024)

static char dir[64];
static struct recorder_shared *shared;

static int
set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	snprintf(dir, sizeof(dir), "/tmp/test_drain.XXXXXX");
	shared = shmq_anonymous(sizeof(*shared));
	return shared == NULL || mkdtemp(dir) == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static bool
always(void *arg)
{
	(void)arg;
	return true;
}

static uint64_t
send(struct shmq_producer *p, enum record_kind kind, const char *text)
{
	uint64_t s = shmq_send(p, (uint8_t)kind, text, strlen(text), always,
	    NULL);

	assert_true(s != 0);
	return s;
}

static void
drain_all(struct drain *d)
{
	while (drain_step(d, 0))
		;
}

static struct spool_position
published(void)
{
	struct spool_position p = { shared->segment, shared->offset };

	assert_int_equal(0, shared->version % 2);
	return p;
}

static void
expect(struct spool_reader *r, enum spool_kind kind, uint64_t tx_id,
    const char *text)
{
	struct spool_frame f;

	assert_true(spool_next(r, published(), &f));
	assert_int_equal(f.kind, kind);
	assert_int_equal(f.tx_id, tx_id);
	assert_int_equal(f.payload_len, strlen(text));
	assert_memory_equal(f.payload, text, f.payload_len);
}

static void
expect_end(struct spool_reader *r)
{
	struct spool_frame f;

	assert_false(spool_next(r, published(), &f));
}

static void
outcome_follows_its_record(void **state)
{
	struct shmq *q = shmq_create(4, LANE_BYTES);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	unsigned a = shmq_lane_take(q), b = shmq_lane_take(q);
	struct shmq_producer *pa = shmq_producer_join(q, a);
	struct shmq_producer *pb = shmq_producer_join(q, b);
	struct spool_reader *r = spool_reader_open(dir);
	uint64_t s;
	int wake[2];
	char c;

	(void)state;
	assert_int_equal(0, pipe2(wake, O_NONBLOCK));
	drain_set_wake(d, wake[1]);
	s = send(pa, RECORD_TRANSACTION, "a1");
	assert_false(shmq_wait_acked(pa, s, always, NULL));
	assert_true(drain_step(d, 0));
	assert_true(shmq_wait_acked(pa, s, always, NULL));
	assert_int_equal(1, read(wake[0], &c, 1));
	send(pb, RECORD_TRANSACTION, "b2");
	assert_true(drain_step(d, 0));
	send(pa, RECORD_OUTCOME, "a1 done");
	s = send(pb, RECORD_OUTCOME, "b2 done");
	/* nobody waits: at most 10 ms later, or with the next record */
	assert_true(drain_step(d, 0));
	assert_false(shmq_wait_acked(pb, s, always, NULL));
	send(pa, RECORD_TRANSACTION, "a3");
	assert_true(drain_step(d, 0));
	assert_true(shmq_wait_acked(pb, s, always, NULL));
	send(pa, RECORD_TRANSACTION, "a4");	/* a3 never got an outcome */
	send(pb, RECORD_OUTCOME, "of nothing");
	drain_all(d);
	expect(r, SPOOL_RECORD, 1, "a1");
	expect(r, SPOOL_RECORD, 2, "b2");
	expect(r, SPOOL_OUTCOME, 1, "a1 done");
	expect(r, SPOOL_OUTCOME, 2, "b2 done");
	expect(r, SPOOL_RECORD, 3, "a3");
	expect(r, SPOOL_IN_DOUBT, 3, "");
	expect(r, SPOOL_RECORD, 4, "a4");
	expect_end(r);
	assert_int_equal(drain_counts(d).records, 4);
	assert_true(drain_counts(d).syncs <= 4);
	close(wake[0]);
	close(wake[1]);
	spool_reader_close(r);
	drain_close(d);
	shmq_producer_close(pa);
	shmq_producer_close(pb);
	shmq_detach(q);
}

static void
outcomes_alone_become_durable_soon(void **state)
{
	struct shmq *q = shmq_create(1, LANE_BYTES);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	unsigned lane = shmq_lane_take(q);
	struct shmq_producer *p = shmq_producer_join(q, lane);
	int64_t start;
	uint64_t s;

	(void)state;
	send(p, RECORD_TRANSACTION, "x");
	drain_all(d);
	s = send(p, RECORD_OUTCOME, "y");
	start = io_monotonic_us();
	while (!shmq_wait_acked(p, s, always, NULL))
		assert_true(drain_step(d, 1000));
	assert_true(io_monotonic_us() - start < 500000);
	assert_int_equal(drain_counts(d).syncs, 2);
	drain_close(d);
	shmq_producer_close(p);
	shmq_detach(q);
}

static void
dead_child_leaves_its_transaction_in_doubt(void **state)
{
	struct shmq *q = shmq_create(1, LANE_BYTES);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	unsigned lane = shmq_lane_take(q);
	struct shmq_producer *p = shmq_producer_join(q, lane);
	struct spool_reader *r = spool_reader_open(dir);

	(void)state;
	send(p, RECORD_TRANSACTION, "one");
	send(p, RECORD_OUTCOME, "done");
	send(p, RECORD_TRANSACTION, "two");
	shmq_producer_close(p);
	shmq_lane_retire(q, lane);
	drain_all(d);
	assert_int_equal(shmq_lane_take(q), lane);
	p = shmq_producer_join(q, lane);
	send(p, RECORD_OUTCOME, "of somebody else's");
	send(p, RECORD_TRANSACTION, "three");
	send(p, RECORD_OUTCOME, "done");
	shmq_lane_retire(q, lane);
	drain_all(d);
	expect(r, SPOOL_RECORD, 1, "one");
	expect(r, SPOOL_OUTCOME, 1, "done");
	expect(r, SPOOL_RECORD, 2, "two");
	expect(r, SPOOL_IN_DOUBT, 2, "");
	expect(r, SPOOL_RECORD, 3, "three");
	expect(r, SPOOL_OUTCOME, 3, "done");
	expect_end(r);
	spool_reader_close(r);
	drain_close(d);
	shmq_producer_close(p);
	shmq_detach(q);
}

static void
restart_knows_what_is_open(void **state)
{
	struct shmq *q = shmq_create(2, LANE_BYTES);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	unsigned a = shmq_lane_take(q), b = shmq_lane_take(q);
	struct shmq_producer *pa = shmq_producer_join(q, a);
	struct shmq_producer *pb = shmq_producer_join(q, b);
	struct spool_reader *r = spool_reader_open(dir);

	(void)state;
	send(pa, RECORD_TRANSACTION, "a");
	drain_all(d);
	send(pb, RECORD_TRANSACTION, "b");
	drain_all(d);
	drain_close(d);
	send(pa, RECORD_OUTCOME, "a done");
	d = drain_open(dir, shmq_fd(q), shared);
	drain_all(d);
	drain_close(d);
	shmq_producer_close(pa);
	shmq_producer_close(pb);
	shmq_detach(q);
	/* another boot: nobody is left to say how b ended */
	q = shmq_create(2, LANE_BYTES);
	d = drain_open(dir, shmq_fd(q), shared);
	a = shmq_lane_take(q);
	pa = shmq_producer_join(q, a);
	send(pa, RECORD_TRANSACTION, "c");
	drain_all(d);
	expect(r, SPOOL_RECORD, 1, "a");
	expect(r, SPOOL_RECORD, 2, "b");
	expect(r, SPOOL_OUTCOME, 1, "a done");
	expect(r, SPOOL_IN_DOUBT, 2, "");
	expect(r, SPOOL_RECORD, 3, "c");
	expect_end(r);
	spool_reader_close(r);
	drain_close(d);
	shmq_producer_close(pa);
	shmq_detach(q);
}

/* --- processes --- */

static void
writer_main(struct shmq *q, unsigned lane, unsigned count, size_t max)
{
	struct shmq_producer *p = shmq_producer_open(q, lane);
	uint8_t *data = calloc(1, max + 8);
	uint64_t s = 0;
	unsigned i;
	size_t n;

	for (i = 1; i <= count; i++) {
		n = 8 + (i % 50 == 0 ? max : i * 37 % 900);
		memcpy(data, &lane, 4);
		memcpy(data + 4, &i, 4);
		s = shmq_send(p, RECORD_TRANSACTION, data, n, NULL, NULL);
		if (s == 0 || !shmq_wait_acked(p, s, NULL, NULL))
			_exit(1);
		s = shmq_send(p, RECORD_OUTCOME, data, 8, NULL, NULL);
	}
	_exit(shmq_wait_acked(p, s, NULL, NULL) ? 0 : 1);
}

static unsigned
reap(struct shmq *q, pid_t *pids, unsigned n)
{
	unsigned i, running = 0;
	int status;

	for (i = 0; i < n; i++) {
		if (pids[i] == 0)
			continue;
		if (waitpid(pids[i], &status, WNOHANG) == 0) {
			running++;
			continue;
		}
		assert_int_equal(0, status);
		shmq_lane_retire(q, i);
		pids[i] = 0;
	}
	return running;
}

static pid_t
start_drain(struct shmq *q)
{
	struct drain *d;
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	d = drain_open(dir, shmq_fd(q), shared);
	for (;;)
		(void)drain_step(d, 100);
}

enum { WRITERS = 4, COUNT = 300 };

/* Each record once, in order, each outcome with its record's number. */
static void
check_spool(void)
{
	uint32_t record[WRITERS] = { 0 }, outcome[WRITERS] = { 0 }, key[2];
	uint64_t tx[WRITERS] = { 0 }, last = 0, ignored;
	struct spool_writer *w = spool_writer_open(dir, &ignored);
	struct spool_reader *r = spool_reader_open(dir);
	struct spool_frame f;
	unsigned i;

	while (spool_next(r, spool_end(w), &f)) {
		assert_int_not_equal(f.kind, SPOOL_IN_DOUBT);
		memcpy(key, f.payload, sizeof(key));
		assert_true(key[0] < WRITERS);
		if (f.kind == SPOOL_RECORD) {
			assert_int_equal(f.tx_id, ++last);
			assert_int_equal(key[1], ++record[key[0]]);
			tx[key[0]] = f.tx_id;
		} else {
			assert_int_equal(key[1], ++outcome[key[0]]);
			assert_int_equal(f.tx_id, tx[key[0]]);
		}
	}
	for (i = 0; i < WRITERS; i++) {
		assert_int_equal(record[i], COUNT);
		assert_int_equal(outcome[i], COUNT);
	}
	spool_reader_close(r);
	spool_writer_close(w);
}

static void
killed_drain_loses_and_repeats_nothing(void **state)
{
	struct shmq *q = shmq_create(WRITERS, LANE_BYTES);
	pid_t pids[WRITERS], drain;
	unsigned i, lane, kills = 0;
	uint64_t until;
	int status;

	(void)state;
	for (i = 0; i < WRITERS; i++) {
		lane = shmq_lane_take(q);
		if ((pids[i] = fork()) == 0)
			writer_main(q, lane, COUNT, 300000);
	}
	srand(3);
	for (; reap(q, pids, WRITERS) > 0; kills++) {
		drain = start_drain(q);
		until = shared->version + 2 + (uint64_t)rand() % 60;
		while (shared->version < until && reap(q, pids, WRITERS) > 0)
			usleep((useconds_t)(rand() % 300));
		kill(drain, SIGKILL);
		assert_int_equal(drain, waitpid(drain, &status, 0));
		assert_true(WIFSIGNALED(status));
		/* it may have died in the middle of publishing */
		shared->version &= ~UINT64_C(1);
	}
	print_message("drain killed %u times\n", kills);
	shmq_detach(q);
	check_spool();
}

static void
many_writers_share_a_sync(void **state)
{
	enum { N = 32, EACH = 200 };
	struct shmq *q = shmq_create(N, LANE_BYTES);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	struct drain_counts c;
	pid_t pids[N];
	unsigned i, lane;
	int64_t start;

	(void)state;
	for (i = 0; i < N; i++) {
		lane = shmq_lane_take(q);
		if ((pids[i] = fork()) == 0)
			writer_main(q, lane, EACH, 900);
	}
	start = io_monotonic_us();
	while (reap(q, pids, N) > 0)
		(void)drain_step(d, 20);
	drain_all(d);
	c = drain_counts(d);
	assert_int_equal(c.records, N * EACH);
	print_message("%d writers: %.1f records per sync, %.0f records/s\n", N,
	    (double)c.records / (double)c.syncs,
	    (double)c.records * 1e6 / (double)(io_monotonic_us() - start));
	drain_close(d);
	shmq_detach(q);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(outcome_follows_its_record),
		TEST(outcomes_alone_become_durable_soon),
		TEST(dead_child_leaves_its_transaction_in_doubt),
		TEST(restart_knows_what_is_open),
		TEST(killed_drain_loses_and_repeats_nothing),
		TEST(many_writers_share_a_sync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
