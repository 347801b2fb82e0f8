/*
 * drain.c: from the lanes into the spool, durable, acknowledged.
 *
 * Order of a group: read the lanes, one write and fdatasync, tell the recorder
 * how far, acknowledge (which frees the lanes' space).  A crash anywhere in
 * between repeats nothing and loses nothing: the spool's frames name lane,
 * generation and sequence, so that the next drain_open() knows what is
 * durable and acknowledges it before it reads the lanes again, and knows which
 * transaction an outcome that is still to come belongs to.
 *
 * tx_id is given here, in the order of the spool.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "drain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ioutil.h"
#include "log.h"
#include "record.h"
#include "shmq.h"
#include "spool.h"

#define GROUP_MESSAGES 256
#define GROUP_BYTES ((size_t)8 << 20)
#define OUTCOME_DELAY_US 10000
/* A sender of a message this long may wait in shmq_send() for the ack. */
#define LONG_MESSAGE ((size_t)32 << 10)
#define MAX_DEAD 64			/* lanes freed per step */

struct drain {
	struct shmq *q;
	struct spool_writer *spool;
	struct recorder_shared *shared;
	int wake_fd;
	uint64_t next_tx;
	uint64_t *taken;	/* by lane: last sequence of the group, or 0 */
	unsigned n_taken;
	bool urgent;		/* somebody waits for the group */
	int64_t since_us;	/* when the group got its first message */
	struct drain_counts counts;
};

struct dead_lanes {
	unsigned lane[MAX_DEAD];
	unsigned n;
};

static struct spool_lane
lane_state(const struct drain *d, unsigned lane)
{
	static const struct spool_lane none;
	const struct spool_lane *l;
	size_t n;

	l = spool_lanes(d->spool, &n);
	return lane < n ? l[lane] : none;
}

/* The transaction that the lane left open, if any, goes in doubt. */
static void
put_in_doubt(struct drain *d, unsigned lane)
{
	struct spool_lane l = lane_state(d, lane);
	struct spool_origin from = { l.generation, l.sequence, lane };

	if (l.open_tx != 0)
		spool_append_from(d->spool, SPOOL_IN_DOUBT, l.open_tx, &from,
		    NULL, 0);
}

/* A sequence lock of one writer; see recorder.h. */
static void
publish(struct drain *d)
{
	struct spool_position end = spool_end(d->spool);

	atomic_fetch_add(&d->shared->version, 1);
	atomic_store(&d->shared->segment, end.segment);
	atomic_store(&d->shared->offset, end.offset);
	atomic_fetch_add(&d->shared->version, 1);
	/* A full pipe has waked it already. */
	if (d->wake_fd != -1 && write(d->wake_fd, "", 1) == -1 &&
	    errno != EAGAIN && errno != EPIPE)
		log_error("recorder_wake", "cannot wake the recorder: %s",
		    strerror(errno));
}

static void
sync_spool(struct drain *d)
{
	if (spool_pending(d->spool) == 0)
		return;
	if (!spool_sync(d->spool))
		log_fatal("spool_write",
		    "cannot make the spool durable: %s; writers wait until "
		    "this is repaired (is the disk full?)", strerror(errno));
	d->counts.syncs++;
	publish(d);
}

static void
commit_group(struct drain *d)
{
	unsigned i, n = shmq_lanes(d->q);

	sync_spool(d);
	for (i = 0; i < n && d->n_taken > 0; i++) {
		if (d->taken[i] == 0)
			continue;
		shmq_ack(d->q, i, d->taken[i]);
		d->taken[i] = 0;
	}
	d->n_taken = 0;
	d->urgent = false;
}

static void
take_record(struct drain *d, const struct shmq_message *m,
    const struct spool_origin *from)
{
	put_in_doubt(d, m->lane);
	spool_append_from(d->spool, SPOOL_RECORD, d->next_tx++, from, m->data,
	    m->len);
	d->urgent = true;
	d->counts.records++;
}

static void
take_outcome(struct drain *d, const struct shmq_message *m,
    const struct spool_origin *from)
{
	struct spool_lane l = lane_state(d, m->lane);

	if (l.open_tx == 0 || l.generation != m->generation) {
		log_warning("outcome_without_record",
		    "lane %u sent an outcome but no record before it; the "
		    "outcome is dropped", m->lane);
		return;
	}
	spool_append_from(d->spool, SPOOL_OUTCOME, l.open_tx, from, m->data,
	    m->len);
}

static void
take_message(struct drain *d, const struct shmq_message *m)
{
	struct spool_origin from = { m->generation, m->sequence, m->lane };

	if (d->n_taken++ == 0)
		d->since_us = io_monotonic_us();
	d->counts.messages++;
	d->taken[m->lane] = m->sequence;
	d->urgent = d->urgent || m->len > LONG_MESSAGE;
	if (m->kind == RECORD_TRANSACTION)
		take_record(d, m, &from);
	else if (m->kind == RECORD_OUTCOME)
		take_outcome(d, m, &from);
	else
		log_error("queue_message_kind",
		    "lane %u sent a message of unknown kind %u; it is dropped",
		    m->lane, m->kind);
}

static unsigned
take_group(struct drain *d)
{
	struct shmq_message m;
	unsigned n;

	for (n = 0; n < GROUP_MESSAGES && spool_pending(d->spool) < GROUP_BYTES
	    && shmq_next(d->q, &m); n++)
		take_message(d, &m);
	return n;
}

static bool
contains(const struct dead_lanes *dead, unsigned lane)
{
	unsigned i;

	for (i = 0; i < dead->n; i++)
		if (dead->lane[i] == lane)
			return true;
	return false;
}

/* Lanes whose child is gone and that are read to their end. */
static void
take_dead(struct drain *d, struct dead_lanes *dead)
{
	uint64_t generation;
	unsigned lane;

	for (dead->n = 0; dead->n < MAX_DEAD; dead->n++) {
		lane = shmq_dead_lane(d->q, &generation);
		if (lane == SHMQ_NO_LANE || contains(dead, lane))
			return;
		put_in_doubt(d, lane);
		dead->lane[dead->n] = lane;
	}
}

/* How long the next wait may be: outcomes do not wait longer than they may. */
static int
wait_ms(const struct drain *d, int timeout_ms)
{
	int64_t left;

	if (d->n_taken == 0)
		return timeout_ms;
	left = d->since_us + OUTCOME_DELAY_US - io_monotonic_us();
	left = left <= 0 ? 0 : (left + 999) / 1000;
	return left < timeout_ms ? (int)left : timeout_ms;
}

/*
 * Outcomes alone are left to share the next record's sync.  If the wait ended
 * and yet nothing could be read, a long message waits behind them.
 */
static bool
group_is_due(const struct drain *d, unsigned n, bool woken)
{
	return d->urgent || n >= GROUP_MESSAGES || (woken && n == 0) ||
	    io_monotonic_us() - d->since_us >= OUTCOME_DELAY_US;
}

bool
drain_step(struct drain *d, int timeout_ms)
{
	bool woken = shmq_wait(d->q, wait_ms(d, timeout_ms));
	unsigned n = take_group(d), i;
	bool busy = woken || d->n_taken > 0;
	struct dead_lanes dead;

	take_dead(d, &dead);
	if (dead.n > 0 || (d->n_taken > 0 && group_is_due(d, n, woken)))
		commit_group(d);
	for (i = 0; i < dead.n; i++)
		shmq_lane_free(d->q, dead.lane[i]);
	return busy || dead.n > 0;
}

/* What the predecessor left: see the top of this file. */
static void
take_over(struct drain *d)
{
	struct spool_lane l;
	size_t i, n;

	(void)spool_lanes(d->spool, &n);
	for (i = 0; i < n; i++) {
		l = lane_state(d, (unsigned)i);
		if (l.generation == 0)
			continue;
		if (shmq_lane_generation(d->q, (unsigned)i) == l.generation)
			shmq_ack(d->q, (unsigned)i, l.sequence);
		else
			put_in_doubt(d, (unsigned)i);
	}
	sync_spool(d);
	publish(d);
}

struct drain *
drain_open(const char *data_dir, int queue_fd, struct recorder_shared *shared)
{
	struct drain *d = calloc(1, sizeof(*d));
	uint64_t last;

	if (d == NULL)
		log_fatal("out_of_memory", "no memory for the drain");
	d->shared = shared;
	d->wake_fd = -1;
	if ((d->spool = spool_writer_open(data_dir, &last)) == NULL)
		log_fatal("spool_open", "cannot open %s/spool: %s", data_dir,
		    strerror(errno));
	d->next_tx = last + 1;
	if ((d->q = shmq_attach(queue_fd)) == NULL)
		log_fatal("queue_attach",
		    "cannot use descriptor %d as the queue: %s", queue_fd,
		    strerror(errno));
	d->taken = calloc(shmq_lanes(d->q), sizeof(*d->taken));
	if (d->taken == NULL)
		log_fatal("out_of_memory", "no memory for the drain");
	take_over(d);
	return d;
}

void
drain_set_wake(struct drain *d, int wake_fd)
{
	d->wake_fd = wake_fd;
}

struct drain_counts
drain_counts(const struct drain *d)
{
	return d->counts;
}

void
drain_close(struct drain *d)
{
	shmq_detach(d->q);
	spool_writer_close(d->spool);
	free(d->taken);
	free(d);
}
