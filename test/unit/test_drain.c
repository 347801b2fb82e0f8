/*
 * test_drain.c: the drain between real lanes and a real spool, and killed at
 * any moment.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

#include "../support/faultdisk.c"

#include "../../replayd/drain.h"
#include "../../replayd/spool.h"
#include "ioutil.h"
#include "record.h"
#include "shmq.h"

#define LANE_BYTES ((size_t)128 * 1024)
#define NEVER_MS 600000

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

/* As a backend under before_commit. */
static void *
offer_a3(void *producer)
{
	return shmq_offer(producer, RECORD_TRANSACTION, "a3", 2, NULL, NULL) ==
		       SHMQ_OK
		   ? producer
		   : NULL;
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
	pthread_t offering;
	void *done = NULL;
	uint64_t s;
	int wake[2];
	char c;

	(void)state;
	assert_int_equal(0, pipe2(wake, O_NONBLOCK));
	drain_set_wake(d, wake[1]);
	shared->listens = true;
	s = send(pa, RECORD_TRANSACTION, "a1");
	assert_false(shmq_wait_acked(pa, s, always, NULL));
	drain_all(d);
	assert_true(shmq_wait_acked(pa, s, always, NULL));
	assert_int_equal(1, read(wake[0], &c, 1));
	assert_false(shared->listens);
	send(pb, RECORD_TRANSACTION, "b2");
	drain_all(d);
	assert_int_equal(-1, read(wake[0], &c, 1));
	send(pa, RECORD_OUTCOME, "a1 done");
	s = send(pb, RECORD_OUTCOME, "b2 done");
	/* nobody waits: at most 10 ms later, or with what one waits for */
	assert_true(drain_step(d, 0));
	assert_false(shmq_wait_acked(pb, s, always, NULL));
	assert_int_equal(
	    0, pthread_create(&offering, NULL, offer_a3, pa));
	while (!shmq_wait_acked(pb, s, always, NULL))
		assert_true(drain_step(d, 1000));
	while (pthread_tryjoin_np(offering, &done) != 0)
		(void)drain_step(d, 1);
	assert_ptr_equal(done, pa);
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
	assert_true(drain_counts(d).syncs <= 5);
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
	uint64_t s;

	(void)state;
	send(p, RECORD_TRANSACTION, "x");
	drain_all(d);
	s = send(p, RECORD_OUTCOME, "y");
	/* with nothing more to come, not at the end of a step's wait */
	while (!shmq_wait_acked(p, s, always, NULL))
		assert_true(drain_step(d, NEVER_MS));
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

/* --- intents --- */

static void
retire(struct shmq *q, struct shmq_producer *p, unsigned lane)
{
	shmq_producer_close(p);
	shmq_lane_retire(q, lane);
}

static void
record_replaces_its_intent(void **state)
{
	struct shmq *q = shmq_create(2, LANE_BYTES);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	unsigned a = shmq_lane_take(q), b = shmq_lane_take(q);
	struct shmq_producer *pa = shmq_producer_join(q, a);
	struct shmq_producer *pb = shmq_producer_join(q, b);
	struct spool_reader *r = spool_reader_open(dir);

	(void)state;
	send(pa, RECORD_INTENT, "a");
	drain_all(d);
	drain_close(d);
	send(pb, RECORD_INTENT, "b");
	send(pb, RECORD_TRANSACTION, "b images");
	d = drain_open(dir, shmq_fd(q), shared);
	drain_all(d);
	send(pa, RECORD_TRANSACTION, "a images");
	send(pa, RECORD_OUTCOME, "a done");
	send(pa, RECORD_INTENT, "a again");
	send(pa, RECORD_INTENT, "a instead");
	send(pa, RECORD_OUTCOME, "a rolled back");
	send(pa, RECORD_INTENT, "a dies");
	drain_all(d);
	retire(q, pa, a);
	retire(q, pb, b);
	drain_all(d);
	expect(r, SPOOL_INTENT, 1, "a");
	expect(r, SPOOL_INTENT, 2, "b");
	expect(r, SPOOL_RECORD, 2, "b images");
	expect(r, SPOOL_RECORD, 1, "a images");
	expect(r, SPOOL_OUTCOME, 1, "a done");
	expect(r, SPOOL_INTENT, 3, "a again");
	expect(r, SPOOL_IN_DOUBT, 3, "");
	expect(r, SPOOL_INTENT, 4, "a instead");
	expect(r, SPOOL_OUTCOME, 4, "a rolled back");
	expect(r, SPOOL_INTENT, 5, "a dies");
	expect(r, SPOOL_IN_DOUBT, 5, "");
	expect(r, SPOOL_IN_DOUBT, 2, "");
	expect_end(r);
	spool_reader_close(r);
	drain_close(d);
	shmq_detach(q);
}

static void
boot_is_over_for_an_intent(void **state)
{
	struct shmq *q = shmq_create(1, LANE_BYTES);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	unsigned a = shmq_lane_take(q);
	struct shmq_producer *p = shmq_producer_join(q, a);
	struct spool_reader *r = spool_reader_open(dir);

	(void)state;
	send(p, RECORD_INTENT, "a");
	drain_all(d);
	drain_close(d);
	shmq_producer_close(p);
	shmq_detach(q);
	q = shmq_create(1, LANE_BYTES);
	d = drain_open(dir, shmq_fd(q), shared);
	expect(r, SPOOL_INTENT, 1, "a");
	expect(r, SPOOL_IN_DOUBT, 1, "");
	expect_end(r);
	spool_reader_close(r);
	drain_close(d);
	shmq_detach(q);
}

/* --- runs --- */

static void
run_once(const char *boot, bool async, bool stop)
{
	struct shmq *q = shmq_create(1, LANE_BYTES);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	struct drain_policy policy = { .async = async, .boot_id = boot };

	drain_begin(d, &policy);
	if (stop)
		drain_stop(d);
	drain_close(d);
	shmq_detach(q);
}

static unsigned
gaps(void)
{
	struct spool_reader *r = spool_reader_open(dir);
	struct spool_frame f;
	unsigned n;

	for (n = 0; spool_next(r, published(), &f); n++) {
		assert_int_equal(f.kind, SPOOL_GAP);
		assert_memory_equal(f.payload, "{\"from_time\":\"20", 16);
	}
	spool_reader_close(r);
	return n;
}

static void
machine_crash_under_async_is_a_gap(void **state)
{
	(void)state;
	run_once("boot 1", false, false);
	run_once("boot 2", true, true);		/* nothing was async */
	run_once("boot 3", true, false);	/* it was stopped */
	run_once("boot 3", true, false);	/* no reboot */
	run_once("", true, false);		/* not known */
	assert_int_equal(gaps(), 0);
	run_once("boot 4", true, false);
	assert_int_equal(gaps(), 0);
	run_once("boot 5", false, false);
	assert_int_equal(gaps(), 1);
	run_once("boot 6", true, false);
	assert_int_equal(gaps(), 1);
}

/* --- a disk that fails --- */

static unsigned reap(struct shmq *q, pid_t *pids, unsigned n);

static void
break_disk(const char *text)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/faults", dir);
	assert_int_equal(0, setenv("FAULTDISK", path, 1));
	assert_non_null(f = fopen(path, "w"));
	fprintf(f, "%s", text);
	fclose(f);
}

static void
mend_disk(void)
{
	assert_int_equal(0, unlink(getenv("FAULTDISK")));
	unsetenv("FAULTDISK");
}

/* In bounded time, whatever the time of the next try is. */
static void
drain_until(struct drain *d, bool stuck)
{
	int64_t since = io_monotonic_us();

	while (drain_is_stuck(d) != stuck) {
		(void)drain_step(d, 50);
		assert_true(io_monotonic_us() - since < 180000000);
	}
}

static void
writer_waits_for_the_disk(const char *faults)
{
	struct shmq *q = shmq_create(2, LANE_BYTES);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	unsigned a = shmq_lane_take(q), b = shmq_lane_take(q);
	struct shmq_producer *pa = shmq_producer_join(q, a);
	struct shmq_producer *pb = shmq_producer_join(q, b);
	struct spool_reader *r = spool_reader_open(dir);
	uint64_t s;

	send(pa, RECORD_TRANSACTION, "a");
	drain_all(d);
	send(pa, RECORD_OUTCOME, "a done");
	s = send(pa, RECORD_TRANSACTION, "a2");
	send(pb, RECORD_TRANSACTION, "b");
	break_disk(faults);
	drain_until(d, true);
	assert_false(shmq_refused(pa));
	assert_int_equal(shmq_admit(pa, always, NULL), SHMQ_STOPPED);
	assert_false(shmq_wait_acked(pa, s, always, NULL));
	(void)drain_step(d, 300);
	(void)drain_step(d, 300);
	assert_false(shmq_wait_acked(pa, s, always, NULL));
	expect(r, SPOOL_RECORD, 1, "a");
	expect_end(r);
	retire(q, pb, b);
	mend_disk();
	drain_until(d, false);
	drain_all(d);
	assert_true(shmq_wait_acked(pa, s, always, NULL));
	assert_int_equal(shmq_admit(pa, always, NULL), SHMQ_OK);
	expect(r, SPOOL_RECORD, 2, "b");
	expect(r, SPOOL_OUTCOME, 1, "a done");
	expect(r, SPOOL_RECORD, 3, "a2");
	expect(r, SPOOL_IN_DOUBT, 2, "");
	expect_end(r);
	drain_close(d);
	d = drain_open(dir, shmq_fd(q), shared);
	expect_end(r);
	spool_reader_close(r);
	drain_close(d);
	shmq_producer_close(pa);
	shmq_detach(q);
}

static void
full_disk_makes_writers_wait(void **state)
{
	(void)state;
	writer_waits_for_the_disk("write 28 /spool/\n");
}

static void
failed_write_makes_writers_wait(void **state)
{
	(void)state;
	writer_waits_for_the_disk("write 5 /spool/\nftruncate 5 /spool/\n");
}

static void
failed_fsync_is_not_believed(void **state)
{
	struct spool_writer *w;
	uint64_t last;

	(void)state;
	writer_waits_for_the_disk("fdatasync 5 /spool/\n");
	w = spool_writer_open(dir, &last);
	assert_int_equal(last, 3);
	assert_true(spool_end(w).segment > 1);
	spool_writer_close(w);
}

static void
readonly_disk_makes_writers_wait(void **state)
{
	(void)state;
	writer_waits_for_the_disk("write 30 /spool/\nopen 30 /spool/\n"
	    "ftruncate 30 /spool/\nfdatasync 30 /spool/\n"
	    "fsync 30 /spool\n");
}

/* Offers until the disk is mended; says by its exit status how often. */
static void
offer_main(struct shmq *q, unsigned lane, size_t bytes, int report)
{
	struct shmq_producer *p = shmq_producer_open(q, lane);
	char *text = calloc(1, bytes);
	enum shmq_answer a;
	uint32_t i;

	for (i = 1; i <= 40; i++) {
		memcpy(text, &lane, 4);
		memcpy(text + 4, &i, 4);
		a = shmq_offer(p, RECORD_TRANSACTION, text, bytes, NULL, NULL);
		text[0] = a == SHMQ_OK ? 'y' : a == SHMQ_REFUSED ? 'n' : '?';
		text[1] = (char)lane;
		text[2] = (char)i;
		if (syscall(SYS_write, report, text, (size_t)3) != 3)
			_exit(1);
		if (a == SHMQ_REFUSED)
			usleep(2000);
		else if (shmq_send(p, RECORD_OUTCOME, "done", 4, NULL,
		    NULL) == 0)
			_exit(2);
	}
	_exit(0);
}

enum { OFFERERS = 4, OFFERS = 40 };

/* Each answer against what is in the spool: refused is never there. */
static void
check_answers(int report)
{
	bool there[OFFERERS][OFFERS + 1] = { { false } };
	struct spool_reader *r = spool_reader_open(dir);
	unsigned yes = 0, no = 0;
	struct spool_frame f;
	uint32_t key[2];
	char a[3];

	while (spool_next(r, published(), &f)) {
		if (f.kind != SPOOL_RECORD)
			continue;
		memcpy(key, f.payload, sizeof(key));
		assert_false(there[key[0]][key[1]]);
		there[key[0]][key[1]] = true;
	}
	while (read(report, a, 3) == 3) {
		assert_int_equal(there[(int)a[1]][(int)a[2]], a[0] == 'y');
		yes += a[0] == 'y';
		no += a[0] == 'n';
	}
	print_message("%u offers taken, %u refused\n", yes, no);
	assert_int_equal(yes + no, OFFERERS * OFFERS);
	assert_true(yes > 0 && no > 0);
	spool_reader_close(r);
}

static void
refused_offers_never_become_durable(void **state)
{
	struct shmq *q = shmq_create(OFFERERS, LANE_BYTES);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	struct drain_policy policy = { .refuse = true, .boot_id = "" };
	pid_t pids[OFFERERS];
	unsigned i, lane, n;
	int report[2];

	(void)state;
	drain_begin(d, &policy);
	assert_int_equal(0, pipe2(report, O_NONBLOCK));
	for (i = 0; i < OFFERERS; i++) {
		lane = shmq_lane_take(q);
		if ((pids[i] = fork()) == 0)
			offer_main(q, lane, i % 2 == 0 ? 300 : 200000,
			    report[1]);
	}
	for (n = 0; reap(q, pids, OFFERERS) > 0; n++) {
		if (n % 40 == 10)
			break_disk(n % 80 == 10 ? "fdatasync 5 /spool/\n"
						: "write 28 /spool/\n");
		else if (n % 40 == 20)
			mend_disk();
		(void)drain_step(d, 20);
		if (n % 7 == 3) {	/* a drain that dies at any point */
			drain_close(d);
			d = drain_open(dir, shmq_fd(q), shared);
			drain_begin(d, &policy);
		}
	}
	unsetenv("FAULTDISK");
	drain_until(d, false);
	drain_all(d);
	drain_all(d);
	check_answers(report[0]);
	close(report[0]);
	close(report[1]);
	drain_close(d);
	shmq_detach(q);
}

static void
full_spool_takes_outcomes_and_refuses_offers(void **state)
{
	struct shmq *q = shmq_create(1, LANE_BYTES);
	struct drain *d = drain_open(dir, shmq_fd(q), shared);
	struct drain_policy policy = { .refuse = true, .boot_id = "",
		.spool_max_bytes = 600 };
	unsigned lane = shmq_lane_take(q);
	struct shmq_producer *p = shmq_producer_join(q, lane);
	char text[600] = "";
	uint64_t s;

	(void)state;
	drain_begin(d, &policy);
	assert_false(shmq_refused(p));
	s = shmq_send(p, RECORD_TRANSACTION, text, sizeof(text), always, NULL);
	drain_all(d);
	assert_true(shmq_wait_acked(p, s, always, NULL));
	assert_true(shmq_refused(p));
	assert_int_equal(shmq_offer(p, RECORD_TRANSACTION, text, 1, NULL,
	    NULL), SHMQ_REFUSED);
	s = send(p, RECORD_OUTCOME, "done");
	while (!shmq_wait_acked(p, s, always, NULL))
		assert_true(drain_step(d, 100));
	policy.spool_max_bytes = 60000;
	drain_begin(d, &policy);
	while (shmq_refused(p))
		(void)drain_step(d, 50);
	s = send(p, RECORD_TRANSACTION, "more");
	drain_all(d);
	assert_true(shmq_wait_acked(p, s, always, NULL));
	shmq_producer_close(p);
	drain_close(d);
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
		if (i % 3 == 0 && shmq_send(p, RECORD_INTENT, data,
		    i % 60 == 0 ? max : 8, NULL, NULL) == 0)
			_exit(1);
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
	uint64_t tx[WRITERS] = { 0 }, intent[WRITERS] = { 0 };
	uint64_t last = 0, ignored;
	struct spool_writer *w = spool_writer_open(dir, &ignored);
	struct spool_reader *r = spool_reader_open(dir);
	struct spool_frame f;
	unsigned i;

	while (spool_next(r, spool_end(w), &f)) {
		assert_int_not_equal(f.kind, SPOOL_IN_DOUBT);
		memcpy(key, f.payload, sizeof(key));
		assert_true(key[0] < WRITERS);
		if (f.kind == SPOOL_INTENT) {
			assert_int_equal(f.tx_id, ++last);
			assert_int_equal(key[1], record[key[0]] + 1);
			intent[key[0]] = f.tx_id;
		} else if (f.kind == SPOOL_RECORD) {
			assert_int_equal(f.tx_id, key[1] % 3 == 0
			    ? intent[key[0]] : ++last);
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
		TEST(record_replaces_its_intent),
		TEST(boot_is_over_for_an_intent),
		TEST(machine_crash_under_async_is_a_gap),
		TEST(full_disk_makes_writers_wait),
		TEST(failed_write_makes_writers_wait),
		TEST(failed_fsync_is_not_believed),
		TEST(readonly_disk_makes_writers_wait),
		TEST(refused_offers_never_become_durable),
		TEST(full_spool_takes_outcomes_and_refuses_offers),
		TEST(killed_drain_loses_and_repeats_nothing),
		TEST(many_writers_share_a_sync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
