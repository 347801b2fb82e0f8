/*
 * test_shmq.c: lanes between threads (for ThreadSanitizer) and between
 * processes that are killed at any moment.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ioutil.h"
#include "shmq.h"

#define LANE_BYTES ((size_t)128 * 1024)
#define PAGE 4096

#if defined(__SANITIZE_THREAD__)
#define FACTOR 4
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FACTOR 4
#endif
#endif
#ifndef FACTOR
#define FACTOR 1
#endif

/* --- messages whose length and bytes follow from lane and sequence --- */

static uint32_t
mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ x >> 16;
}

static size_t
length_of(unsigned lane, uint64_t sequence)
{
	uint32_t x = mix((uint32_t)sequence * 64 + lane);

	if (x % 97 == 0)
		return 60000 + mix(x) % 400000;
	if (x % 11 == 0)
		return mix(x) % 60000;
	return mix(x) % 600;
}

static void
fill(uint8_t *p, size_t n, unsigned lane, uint64_t sequence)
{
	uint32_t x = mix((uint32_t)sequence * 64 + lane + 7);
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = (uint8_t)(x + i * 7 + (i >> 8));
}

static bool
is_right(const struct shmq_message *m, size_t n)
{
	uint8_t *want = malloc(n + 1);
	bool right;

	fill(want, n, m->lane, m->sequence);
	right = m->len == n && m->kind == (uint8_t)(m->sequence & 0x7f) &&
	    (n == 0 || memcmp(want, m->data, n) == 0);
	free(want);
	return right;
}

static bool
send_one(struct shmq_producer *p, unsigned lane, uint64_t sequence, size_t n,
    shmq_stop_fn stop, void *arg)
{
	uint8_t *data = malloc(n + 1);
	uint64_t got;

	fill(data, n, lane, sequence);
	got = shmq_send(p, (uint8_t)(sequence & 0x7f), data, n, stop, arg);
	free(data);
	return got == sequence;
}

static bool
always(void *arg)
{
	(void)arg;
	return true;
}

static bool
flag_is_set(void *arg)
{
	return atomic_load((atomic_bool *)arg);
}

/* --- threads --- */

struct sender {
	struct shmq *q;
	unsigned lane;
	uint64_t count;
	size_t fixed;		/* length of each message, 0: length_of() */
	atomic_bool stop;
	atomic_bool failed;
	pthread_t thread;
};

static void *
sender_main(void *arg)
{
	struct sender *s = arg;
	struct shmq_producer *p = shmq_producer_join(s->q, s->lane);
	uint64_t i;
	size_t n;

	for (i = 1; i <= s->count; i++) {
		n = s->fixed != 0 ? s->fixed : length_of(s->lane, i);
		if (!send_one(p, s->lane, i, n, flag_is_set, &s->stop) ||
		    (i % 3 == 0 && !shmq_wait_acked(p, i, flag_is_set,
		    &s->stop))) {
			s->failed = true;
			break;
		}
	}
	if (!s->failed && !shmq_wait_acked(p, s->count, flag_is_set, &s->stop))
		s->failed = true;
	shmq_producer_close(p);
	return NULL;
}

static void
sender_start(struct sender *s, struct shmq *q, uint64_t count, size_t fixed)
{
	memset(s, 0, sizeof(*s));
	s->q = q;
	s->lane = shmq_lane_take(q);
	s->count = count;
	s->fixed = fixed;
	assert_int_not_equal(s->lane, SHMQ_NO_LANE);
	assert_int_equal(0, pthread_create(&s->thread, NULL, sender_main, s));
}

static void
sender_end(struct sender *s)
{
	assert_int_equal(0, pthread_join(s->thread, NULL));
	assert_false(s->failed);
}

static struct shmq *
make(unsigned lanes)
{
	struct shmq *q = shmq_create(lanes, LANE_BYTES);

	assert_non_null(q);
	assert_true(shmq_consume(q));
	return q;
}

static bool
next_within(struct shmq *q, struct shmq_message *m)
{
	int64_t end = io_monotonic_us() + 180 * INT64_C(1000000);

	while (!shmq_next(q, m)) {
		if (io_monotonic_us() > end)
			return false;
		(void)shmq_wait(q, 100);
	}
	return true;
}

static void
ack_all(struct shmq *q, const uint64_t *last, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (last[i] != 0)
			shmq_ack(q, i, last[i]);
}

static void
many_lanes_deliver_all_in_order(void **state)
{
	enum { N = 12, COUNT = 1500 / FACTOR };
	struct sender s[N];
	uint64_t last[N] = { 0 }, total = 0;
	struct shmq *q = make(N);
	struct shmq_message m;
	unsigned i;

	(void)state;
	for (i = 0; i < N; i++)
		sender_start(&s[i], q, COUNT, 0);
	while (total < (uint64_t)N * COUNT) {
		if (!shmq_next(q, &m)) {
			ack_all(q, last, N);
			assert_true(next_within(q, &m));
		}
		assert_int_equal(m.sequence, last[m.lane] + 1);
		assert_true(is_right(&m, length_of(m.lane, m.sequence)));
		last[m.lane] = m.sequence;
		total++;
		if (total % 5 != 0)
			continue;
		ack_all(q, last, N);
		if (total % 1000 == 0)
			assert_true(shmq_consume(q));
	}
	ack_all(q, last, N);
	for (i = 0; i < N; i++)
		sender_end(&s[i]);
	shmq_detach(q);
}

static void
message_larger_than_its_lane_arrives(void **state)
{
	const size_t size = (size_t)16 << 20;
	struct shmq *q = make(1);
	struct shmq_message m;
	struct sender s;

	(void)state;
	sender_start(&s, q, 2, size);
	assert_true(next_within(q, &m));
	assert_true(is_right(&m, size));
	shmq_ack(q, 0, 1);
	assert_true(next_within(q, &m));
	assert_int_equal(m.sequence, 2);
	assert_true(is_right(&m, size));
	shmq_ack(q, 0, 2);
	sender_end(&s);
	shmq_detach(q);
}

static void
large_message_survives_new_consumers(void **state)
{
	const size_t size = (size_t)2 << 20;
	struct shmq *q = make(1);
	struct shmq_message m;
	struct sender s;
	unsigned i;

	(void)state;
	sender_start(&s, q, 1, size);
	for (i = 0; i < 40; i++) {
		(void)shmq_wait(q, 100);
		assert_false(shmq_next(q, &m) && i < 2);
		assert_true(shmq_consume(q));
	}
	/* whole, but its consumer dies before the acknowledgement */
	assert_true(next_within(q, &m));
	assert_true(is_right(&m, size));
	assert_true(shmq_consume(q));
	assert_true(next_within(q, &m));
	assert_int_equal(m.sequence, 1);
	assert_true(is_right(&m, size));
	shmq_ack(q, 0, 1);
	sender_end(&s);
	shmq_detach(q);
}

static void
new_consumer_goes_on_behind_what_is_acked(void **state)
{
	struct shmq *q = make(2);
	unsigned lane = shmq_lane_take(q);
	struct shmq_producer *p = shmq_producer_join(q, lane);
	struct shmq_message m;
	uint64_t i;

	(void)state;
	for (i = 1; i <= 10; i++)
		assert_true(send_one(p, lane, i, 100, always, NULL));
	for (i = 1; i <= 6; i++)
		assert_true(shmq_next(q, &m));
	shmq_ack(q, lane, 3);
	assert_true(shmq_consume(q));
	for (i = 4; i <= 10; i++) {
		assert_true(shmq_next(q, &m));
		assert_int_equal(m.sequence, i);
		assert_true(is_right(&m, 100));
	}
	assert_false(shmq_next(q, &m));
	/* durable before this consumer came, as the spool tells it */
	assert_true(shmq_consume(q));
	shmq_ack(q, lane, 9);
	assert_true(shmq_wait_acked(p, 9, always, NULL));
	assert_false(shmq_wait_acked(p, 10, always, NULL));
	assert_true(shmq_next(q, &m));
	assert_int_equal(m.sequence, 10);
	assert_false(shmq_next(q, &m));
	shmq_producer_close(p);
	shmq_detach(q);
}

static void
stopped_send_leaves_nothing(void **state)
{
	struct shmq *q = make(1);
	unsigned lane = shmq_lane_take(q);
	struct shmq_producer *p = shmq_producer_join(q, lane);
	struct shmq_message m;
	uint64_t i = 1;

	(void)state;
	while (send_one(p, lane, i, 50000, always, NULL))
		i++;
	assert_int_equal(i, 3);		/* two fit into 128 kB */
	assert_true(shmq_next(q, &m));
	assert_true(shmq_next(q, &m));
	assert_false(shmq_next(q, &m));
	shmq_ack(q, lane, 2);
	/* a large one is half there when it is stopped */
	assert_false(send_one(p, lane, 4, 300000, always, NULL));
	assert_false(shmq_next(q, &m));
	assert_true(send_one(p, lane, 5, 60000, always, NULL));
	assert_true(shmq_next(q, &m));
	assert_int_equal(m.sequence, 5);
	assert_true(is_right(&m, 60000));
	assert_int_equal(0, shmq_send(p, 1, NULL, SHMQ_MAX_MESSAGE + 1,
	    NULL, NULL));
	assert_int_equal(errno, EMSGSIZE);
	shmq_producer_close(p);
	shmq_detach(q);
}

static void
wraps_at_every_offset(void **state)
{
	struct shmq *q = make(1);
	unsigned lane = shmq_lane_take(q);
	struct shmq_producer *p = shmq_producer_join(q, lane);
	struct shmq_message m;
	uint64_t i;
	size_t n;

	(void)state;
	for (i = 1; i < 20000 / FACTOR; i++) {
		n = (size_t)(i % 129);
		assert_true(send_one(p, lane, i, n, always, NULL));
		assert_true(shmq_next(q, &m));
		assert_true(is_right(&m, n));
		shmq_ack(q, lane, i);
	}
	shmq_producer_close(p);
	shmq_detach(q);
}

static uint8_t *
map_again(struct shmq *q, size_t *size)
{
	struct stat st;
	uint8_t *p;

	assert_int_equal(0, fstat(shmq_fd(q), &st));
	*size = (size_t)st.st_size;
	p = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, shmq_fd(q),
	    0);
	assert_true(p != MAP_FAILED);
	return p;
}

static uint8_t *
ring_at(uint8_t *base, unsigned lane)
{
	return base + PAGE + lane * (PAGE + LANE_BYTES) + PAGE;
}

static void
corrupted_chunk_breaks_its_lane_alone(void **state)
{
	struct shmq *q = make(2);
	unsigned a = shmq_lane_take(q), b = shmq_lane_take(q), dead;
	struct shmq_producer *pa = shmq_producer_join(q, a);
	struct shmq_producer *pb = shmq_producer_join(q, b);
	uint64_t generation, mine = 0;
	struct shmq_message m;
	uint8_t *base;
	size_t size;

	(void)state;
	base = map_again(q, &size);
	assert_true(send_one(pa, a, 1, 5000, always, NULL));
	assert_true(send_one(pb, b, 1, 5000, always, NULL));
	mine = shmq_lane_generation(q, a);
	ring_at(base, a)[3000] ^= 1;
	assert_true(shmq_next(q, &m));
	assert_int_equal(m.lane, b);
	assert_false(shmq_next(q, &m));
	assert_false(send_one(pa, a, 2, 50, NULL, NULL));
	assert_int_equal(errno, EBADMSG);
	assert_false(shmq_wait_acked(pa, 1, NULL, NULL));
	assert_int_equal(errno, EBADMSG);
	assert_int_equal(shmq_offer(pa, 1, "", 0, NULL, NULL), SHMQ_BROKEN);
	assert_false(shmq_next(q, &m));
	assert_false(shmq_wait(q, 1));
	shmq_ack(q, b, 1);
	shmq_lane_retire(q, a);
	dead = shmq_dead_lane(q, &generation);
	assert_int_equal(dead, a);
	assert_true(generation == mine);
	shmq_lane_free(q, a);
	assert_int_equal(shmq_lane_take(q), a);
	shmq_producer_close(pa);
	pa = shmq_producer_join(q, a);
	assert_true(send_one(pa, a, 1, 70, always, NULL));
	assert_true(shmq_next(q, &m));
	assert_true(m.generation != mine);
	assert_true(is_right(&m, 70));
	shmq_producer_close(pa);
	shmq_producer_close(pb);
	munmap(base, size);
	shmq_detach(q);
}

static void
small_message_waits_for_nobody(void **state)
{
	struct shmq *q = make(1);
	unsigned lane = shmq_lane_take(q);
	struct shmq_producer *p = shmq_producer_join(q, lane);

	(void)state;
	/* no consumer ever looked: half of the lane goes in at once */
	assert_true(send_one(p, lane, 1, 60000, always, NULL));
	assert_true(send_one(p, lane, 2, 60000, always, NULL));
	assert_false(send_one(p, lane, 3, 60000, always, NULL));
	assert_int_equal(errno, EINTR);
	shmq_producer_close(p);
	shmq_detach(q);
}

static void
gate_decides_what_is_offered(void **state)
{
	struct shmq *q = make(1);
	unsigned lane = shmq_lane_take(q);
	struct shmq_producer *p = shmq_producer_join(q, lane);
	struct shmq_message m;

	(void)state;
	assert_int_equal(shmq_admit(p, NULL, NULL), SHMQ_OK);
	assert_true(shmq_set_gate(q, SHMQ_CLOSED_WAIT));
	assert_int_equal(shmq_admit(p, always, NULL), SHMQ_STOPPED);
	assert_int_equal(shmq_offer(p, 1, "a", 1, always, NULL),
	    SHMQ_STOPPED);
	assert_true(shmq_set_gate(q, SHMQ_CLOSED_REFUSE));
	assert_true(shmq_refused(p));
	assert_int_equal(shmq_admit(p, NULL, NULL), SHMQ_REFUSED);
	assert_int_equal(shmq_offer(p, 1, "a", 1, NULL, NULL), SHMQ_REFUSED);
	/* what has happened is never refused */
	assert_true(send_one(p, lane, 1, 100, NULL, NULL));
	assert_true(shmq_next(q, &m));
	assert_false(shmq_next(q, &m));
	assert_true(shmq_set_gate(q, SHMQ_OPEN));
	assert_false(shmq_refused(p));
	shmq_producer_close(p);
	shmq_detach(q);
}

struct offerer {
	struct shmq_producer *p;
	enum shmq_answer answer;
};

static void *
offer_one(void *arg)
{
	struct offerer *o = arg;

	o->answer = shmq_offer(o->p, 1, "offer", 5, NULL, NULL);
	return NULL;
}

static void
refused_offer_is_not_given_to_any_consumer(void **state)
{
	struct shmq *q = make(1);
	unsigned lane = shmq_lane_take(q);
	struct offerer o = { .p = shmq_producer_join(q, lane) };
	struct shmq_message m;
	pthread_t thread;

	(void)state;
	assert_true(send_one(o.p, lane, 1, 100, NULL, NULL));
	assert_int_equal(0, pthread_create(&thread, NULL, offer_one, &o));
	do
		assert_true(shmq_wait(q, 10000) && shmq_next(q, &m));
	while (m.sequence != 2);
	shmq_begin_again(q);
	assert_true(shmq_set_gate(q, SHMQ_CLOSED_REFUSE));
	for (o.answer = SHMQ_OK; pthread_tryjoin_np(thread, NULL) != 0;
	    shmq_nap(q, 1))
		shmq_refuse_offers(q);
	assert_int_equal(o.answer, SHMQ_REFUSED);
	assert_false(shmq_set_gate(q, SHMQ_OPEN));
	shmq_begin_again(q);
	assert_true(shmq_next(q, &m));
	assert_int_equal(m.sequence, 1);
	assert_false(shmq_next(q, &m));
	assert_false(shmq_set_gate(q, SHMQ_OPEN));
	shmq_ack(q, lane, 1);
	assert_true(shmq_set_gate(q, SHMQ_OPEN));
	assert_true(send_one(o.p, lane, 3, 100, NULL, NULL));
	assert_true(shmq_next(q, &m));
	assert_int_equal(m.sequence, 3);
	shmq_producer_close(o.p);
	shmq_detach(q);
}

/* The log lines of what a test provokes would drown its own. */
static int
mute(void)
{
	int saved = dup(STDERR_FILENO);

	assert_non_null(freopen("/dev/null", "w", stderr));
	return saved;
}

static void
unmute(int saved)
{
	fflush(stderr);
	assert_int_not_equal(-1, dup2(saved, STDERR_FILENO));
	close(saved);
}

/* Any bytes in a lane's page and ring: no crash, no endless loop. */
static void
hostile_lane_is_survived(void **state)
{
	struct shmq *q = make(1);
	struct shmq_message m;
	unsigned lane, round, i, n;
	uint64_t generation;
	uint8_t *base;
	size_t size, at;
	int saved = mute();

	(void)state;
	base = map_again(q, &size);
	srand(7);
	for (round = 0; round < 3000 / FACTOR; round++) {
		struct shmq_producer *p;

		lane = shmq_lane_take(q);
		assert_int_equal(lane, 0);
		p = shmq_producer_join(q, lane);
		for (i = 1; i < 4; i++)
			assert_true(send_one(p, lane, i, 200, always, NULL));
		n = 1 + (unsigned)rand() % 4;
		for (i = 0; i < n; i++) {
			/* head, tail, acked; or the chunks */
			at = rand() % 2 ? PAGE + 64 + (size_t)rand() % 80
					: 2 * PAGE + (size_t)rand() % 800;
			base[at] = (uint8_t)rand();
		}
		if (round % 3 == 0)
			assert_true(shmq_consume(q));
		for (i = 0; i < 10 && shmq_next(q, &m); i++)
			shmq_ack(q, m.lane, m.sequence);
		assert_true(i < 10);
		shmq_lane_retire(q, lane);
		(void)shmq_wait(q, 0);
		while (shmq_dead_lane(q, &generation) == SHMQ_NO_LANE)
			if (shmq_next(q, &m))
				shmq_ack(q, m.lane, m.sequence);
		shmq_lane_free(q, lane);
		shmq_producer_close(p);
	}
	unmute(saved);
	munmap(base, size);
	shmq_detach(q);
}

static void
dead_lane_with_half_a_message_is_wiped_and_reused(void **state)
{
	struct shmq *q = make(1);
	unsigned lane = shmq_lane_take(q);
	struct shmq_producer *p = shmq_producer_join(q, lane);
	uint64_t generation, first;
	struct shmq_message m;
	uint8_t *base;
	size_t size, i;

	(void)state;
	assert_int_equal(shmq_lane_take(q), SHMQ_NO_LANE);
	assert_true(send_one(p, lane, 1, 300, always, NULL));
	assert_false(send_one(p, lane, 2, 300000, always, NULL));
	shmq_lane_retire(q, lane);
	assert_true(shmq_wait(q, 0));
	assert_int_equal(shmq_dead_lane(q, &first), SHMQ_NO_LANE);
	assert_true(shmq_next(q, &m));
	assert_int_equal(m.sequence, 1);
	shmq_ack(q, lane, 1);
	assert_false(shmq_next(q, &m));
	assert_int_equal(shmq_dead_lane(q, &first), lane);
	shmq_lane_free(q, lane);
	assert_false(shmq_wait(q, 0));
	base = map_again(q, &size);
	for (i = 0; i < LANE_BYTES; i++)
		assert_int_equal(0, ring_at(base, lane)[i]);
	assert_int_equal(shmq_lane_take(q), lane);
	/* never used: free at once */
	shmq_lane_retire(q, lane);
	assert_int_equal(shmq_dead_lane(q, &generation), SHMQ_NO_LANE);
	assert_int_equal(shmq_lane_take(q), lane);
	munmap(base, size);
	shmq_producer_close(p);
	shmq_detach(q);
}

/* --- processes --- */

static void
child_sends_for_ever(struct shmq *q, unsigned lane)
{
	struct shmq_producer *p = shmq_producer_open(q, lane);
	uint64_t i;

	for (i = 1; p != NULL; i++)
		if (!send_one(p, lane, i, length_of(lane, i), NULL, NULL) ||
		    (i % 2 == 0 && !shmq_wait_acked(p, i, NULL, NULL)))
			break;
	_exit(1);
}

static void
killed_producer_leaves_whole_messages_only(void **state)
{
	struct shmq *q = make(1);
	struct shmq_message m;
	uint64_t generation, before = 0, last;
	unsigned round, lane, n;
	pid_t pid;

	(void)state;
	srand(1);
	for (round = 0; round < 200 / FACTOR; round++) {
		lane = shmq_lane_take(q);
		assert_int_equal(lane, 0);
		if ((pid = fork()) == 0)
			child_sends_for_ever(q, lane);
		assert_true(pid > 0);
		n = (unsigned)rand() % 150;
		for (last = 0; last < n; last++) {
			assert_true(next_within(q, &m));
			assert_int_equal(m.sequence, last + 1);
			assert_true(is_right(&m, length_of(lane, last + 1)));
			shmq_ack(q, lane, m.sequence);
		}
		kill(pid, SIGKILL);
		assert_int_equal(pid, waitpid(pid, NULL, 0));
		shmq_lane_retire(q, lane);
		while (shmq_next(q, &m)) {
			assert_int_equal(m.sequence, ++last);
			assert_true(is_right(&m, length_of(lane, last)));
			shmq_ack(q, lane, m.sequence);
		}
		if (shmq_dead_lane(q, &generation) != SHMQ_NO_LANE) {
			assert_true(generation != before || generation == 0);
			before = generation;
			shmq_lane_free(q, lane);
		}
	}
	shmq_detach(q);
}

enum { KILL_LANES = 3, KILL_COUNT = 400 };

/* "Makes durable" by one write(2) to a file that outlives the consumer. */
static void
consumer_main(int queue_fd, int log_fd)
{
	struct shmq *q = shmq_attach(queue_fd);
	uint64_t last[KILL_LANES] = { 0 }, e[2];
	struct shmq_message m;
	off_t at = 0;
	unsigned i;

	if (q == NULL)
		_exit(1);
	for (; pread(log_fd, e, sizeof(e), at) == sizeof(e); at += sizeof(e))
		last[e[0]] = e[1];
	for (i = 0; i < KILL_LANES; i++)
		if (last[i] != 0)
			shmq_ack(q, i, last[i]);
	for (;;) {
		if (!shmq_next(q, &m)) {
			(void)shmq_wait(q, 100);
			continue;
		}
		if (!is_right(&m, length_of(m.lane, m.sequence)))
			_exit(2);
		e[0] = m.lane;
		e[1] = m.sequence;
		if (write(log_fd, e, sizeof(e)) != sizeof(e))
			_exit(3);
		shmq_ack(q, m.lane, m.sequence);
	}
}

static void
producer_main(struct shmq *q, unsigned lane)
{
	struct shmq_producer *p = shmq_producer_open(q, lane);
	uint64_t i;

	for (i = 1; p != NULL && i <= KILL_COUNT; i++)
		if (!send_one(p, lane, i, length_of(lane, i), NULL, NULL))
			_exit(1);
	_exit(p != NULL && shmq_wait_acked(p, KILL_COUNT, NULL, NULL) ? 0 : 1);
}

static void
check_durable(int log_fd)
{
	uint64_t last[KILL_LANES] = { 0 }, e[2];
	off_t at = 0;
	unsigned i;

	for (; pread(log_fd, e, sizeof(e), at) == sizeof(e); at += sizeof(e)) {
		assert_int_equal(e[1], last[e[0]] + 1);
		last[e[0]] = e[1];
	}
	for (i = 0; i < KILL_LANES; i++)
		assert_int_equal(last[i], KILL_COUNT);
}

/* How many producers still run; those that ended must have ended well. */
static unsigned
reap_producers(pid_t *pids)
{
	unsigned i, running = 0;
	int status;

	for (i = 0; i < KILL_LANES; i++) {
		if (pids[i] == 0)
			continue;
		if (waitpid(pids[i], &status, WNOHANG) == 0) {
			running++;
			continue;
		}
		assert_int_equal(0, status);
		pids[i] = 0;
	}
	return running;
}

static void
killed_consumer_loses_and_repeats_nothing(void **state)
{
	struct shmq *q = shmq_create(KILL_LANES, LANE_BYTES);
	char path[] = "/tmp/test_shmq.XXXXXX";
	int log_fd = mkstemp(path), status;
	pid_t consumer, producers[KILL_LANES];
	unsigned i, lane, kills = 0;
	off_t until;

	(void)state;
	assert_non_null(q);
	assert_int_equal(0, unlink(path));
	assert_int_equal(0, fcntl(log_fd, F_SETFL, O_APPEND));
	for (i = 0; i < KILL_LANES; i++) {
		lane = shmq_lane_take(q);
		if ((producers[i] = fork()) == 0)
			producer_main(q, lane);
	}
	srand(2);
	for (; reap_producers(producers) > 0; kills++) {
		until = lseek(log_fd, 0, SEEK_END) + (rand() % 40) * 16;
		if ((consumer = fork()) == 0)
			consumer_main(shmq_fd(q), log_fd);
		while (lseek(log_fd, 0, SEEK_END) < until &&
		    reap_producers(producers) > 0)
			usleep((useconds_t)(rand() % 300));
		kill(consumer, SIGKILL);
		assert_int_equal(consumer, waitpid(consumer, &status, 0));
		assert_true(WIFSIGNALED(status));
	}
	print_message("consumer killed %u times\n", kills);
	check_durable(log_fd);
	close(log_fd);
	shmq_detach(q);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wraps_at_every_offset),
		cmocka_unit_test(new_consumer_goes_on_behind_what_is_acked),
		cmocka_unit_test(stopped_send_leaves_nothing),
		cmocka_unit_test(
		    dead_lane_with_half_a_message_is_wiped_and_reused),
		cmocka_unit_test(corrupted_chunk_breaks_its_lane_alone),
		cmocka_unit_test(small_message_waits_for_nobody),
		cmocka_unit_test(gate_decides_what_is_offered),
		cmocka_unit_test(refused_offer_is_not_given_to_any_consumer),
		cmocka_unit_test(message_larger_than_its_lane_arrives),
		cmocka_unit_test(large_message_survives_new_consumers),
		cmocka_unit_test(many_lanes_deliver_all_in_order),
		cmocka_unit_test(killed_producer_leaves_whole_messages_only),
		cmocka_unit_test(killed_consumer_loses_and_repeats_nothing),
		cmocka_unit_test(hostile_lane_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
