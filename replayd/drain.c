/*
 * drain.c: from the lanes into the spool, durable, acknowledged.
 *
 * Order of a group: read the lanes, one write and fdatasync, tell the recorder
 * how far, acknowledge (which frees the lanes' space), wake the recorder.  A
 * crash anywhere in between repeats nothing and loses nothing: the spool's
 * frames name lane, generation and sequence, so that the next drain_open()
 * knows what is durable and acknowledges it before it reads the lanes again,
 * and knows which transaction an outcome that is still to come belongs to.
 *
 * tx_id is given here, in the order of the spool; the record that replaces an
 * intent has the intent's.
 *
 * A group that the disk does not take is forgotten as if the drain had died,
 * and read again from the lanes, with the same care for what is repeated.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "drain.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alarm.h"
#include "ioutil.h"
#include "killpoint.h"
#include "log.h"
#include "mem.h"
#include "procsig.h"
#include "record.h"
#include "shmq.h"
#include "spool.h"

#define GROUP_MESSAGES 256
#define GROUP_BYTES ((size_t)8 << 20)
/* What nobody waits for shares the next sync, if one comes so soon. */
#define DELAY_US 10000
/* A sender of a message this long may wait in shmq_send() for the ack. */
#define LONG_MESSAGE ((size_t)32 << 10)
#define MAX_DEAD 64 /* lanes freed per step */
#define RETRY_US 200000
#define CALM_US 1000000 /* without failure: it is over */

/* Why the gate is closed, and what the operator was told of it. */
struct trouble {
	bool stuck; /* the last group was not taken */
	bool full;  /* spool_max_bytes */
	bool told;
	int64_t since_us;
	int64_t last_us;  /* of the last failure */
	int64_t retry_us; /* when to try, or to look, again */
};

struct drain {
	struct shmq *q;
	struct spool_writer *spool;
	struct recorder_shared *shared;
	int wake_fd;
	int alarm_fd;    /* ALARM_SPOOL */
	uint64_t *taken; /* by lane: last sequence of the group, or 0 */
	unsigned n_taken;
	bool urgent;      /* somebody will wait for the group */
	bool lively;      /* there was a group a moment ago */
	int64_t since_us; /* the group has no older message */
	struct drain_policy policy;
	bool run_due; /* the spool does not know of this run */
	struct trouble trouble;
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
		spool_append_from(
		    d->spool, SPOOL_IN_DOUBT, l.open_tx, &from, NULL, 0);
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
}

/* If it sleeps; a full pipe has waked it already. */
static void
wake_recorder(struct drain *d)
{
	if (d->wake_fd == -1 || !atomic_load(&d->shared->listens))
		return;
	atomic_store(&d->shared->listens, false);
	if (write(d->wake_fd, "", 1) == -1 && errno != EAGAIN && errno != EPIPE)
		log_error("recorder_wake", "cannot wake the recorder: %s",
		    strerror(errno));
}

/* --- when the disk does not take it --- */

static void
close_gate(struct drain *d, const char *why)
{
	struct trouble *t = &d->trouble;
	int64_t now = io_monotonic_us();

	t->last_us = now;
	t->retry_us = now + RETRY_US;
	alarm_set(d->alarm_fd, true);
	(void)shmq_set_gate(
	    d->q, d->policy.refuse ? SHMQ_CLOSED_REFUSE : SHMQ_CLOSED_WAIT);
	if (t->told)
		return;
	t->told = true;
	t->since_us = now;
	log_error("spool_stalled",
	    "the spool cannot take more records: %s; writers %s until it can; "
	    "it is tried again every %d ms",
	    why, d->policy.refuse ? "are refused" : "wait", RETRY_US / 1000);
}

/* Nothing of the group counts, and all of it is still in the lanes. */
static void
forget_group(struct drain *d)
{
	int error = errno;

	d->trouble.stuck = true;
	shmq_begin_again(d->q);
	memset(d->taken, 0, shmq_lanes(d->q) * sizeof(*d->taken));
	d->n_taken = 0;
	d->urgent = false;
	close_gate(d, strerror(error));
}

static void
look_for_room(struct drain *d)
{
	struct trouble *t = &d->trouble;
	int64_t now = io_monotonic_us();
	char why[96];

	if (d->policy.spool_max_bytes == 0 || (t->full && now < t->retry_us))
		return;
	t->full = spool_is_full(d->spool, d->policy.spool_max_bytes);
	if (!t->full)
		return;
	snprintf(why, sizeof(why), "evidence.spool_max_bytes (%llu) is reached",
	    (unsigned long long)d->policy.spool_max_bytes);
	close_gate(d, why);
}

/* After a group that went well, or without any. */
static void
open_gate(struct drain *d)
{
	struct trouble *t = &d->trouble;
	int64_t now = io_monotonic_us();

	look_for_room(d);
	if (t->full || !shmq_set_gate(d->q, SHMQ_OPEN) || !t->told ||
	    now - t->last_us < CALM_US)
		return;
	t->told = false;
	alarm_set(d->alarm_fd, false);
	log_info("spool_resumed",
	    "the spool takes records again, after %lld ms; writers go on",
	    (long long)((t->last_us - t->since_us) / 1000));
}

static bool
sync_spool(struct drain *d)
{
	if (spool_pending(d->spool) == 0)
		return true;
	if (!spool_sync(d->spool)) {
		forget_group(d);
		return false;
	}
	d->counts.syncs++;
	publish(d);
	return true;
}

static bool
commit_group(struct drain *d)
{
	unsigned i, n = shmq_lanes(d->q);

	KILLPOINT("taken");
	if (!sync_spool(d))
		return false;
	for (i = 0; i < n && d->n_taken > 0; i++) {
		if (d->taken[i] == 0)
			continue;
		shmq_ack(d->q, i, d->taken[i]);
		KILLPOINT("acked_one");
		d->taken[i] = 0;
	}
	d->n_taken = 0;
	d->urgent = false;
	d->lively = true;
	wake_recorder(d);
	if (!d->policy.async)
		spool_fill_ahead(d->spool);
	return true;
}

static void
take_intent(struct drain *d, const struct shmq_message *m,
    const struct spool_origin *from)
{
	put_in_doubt(d, m->lane);
	spool_append_from(d->spool, SPOOL_INTENT,
	    spool_last_tx_id(d->spool) + 1, from, m->data, m->len);
}

static void
take_record(struct drain *d, const struct shmq_message *m,
    const struct spool_origin *from)
{
	struct spool_lane l = lane_state(d, m->lane);
	uint64_t tx_id = spool_last_tx_id(d->spool) + 1;

	if (l.intent && l.open_tx != 0 && l.generation == m->generation)
		tx_id = l.open_tx;
	else
		put_in_doubt(d, m->lane);
	spool_append_from(d->spool, SPOOL_RECORD, tx_id, from, m->data, m->len);
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
		    "outcome is dropped",
		    m->lane);
		return;
	}
	spool_append_from(
	    d->spool, SPOOL_OUTCOME, l.open_tx, from, m->data, m->len);
}

static void
take_ddl(struct drain *d, const struct shmq_message *m,
    const struct spool_origin *from)
{
	struct spool_lane l = lane_state(d, m->lane);
	uint64_t tx_id = l.generation == m->generation ? l.open_tx : 0;

	spool_append_from(d->spool, SPOOL_DDL, tx_id, from, m->data, m->len);
}

static void
take_message(struct drain *d, const struct shmq_message *m)
{
	struct spool_origin from = { m->generation, m->sequence, m->lane };

	d->n_taken++;
	d->counts.messages++;
	d->taken[m->lane] = m->sequence;
	d->urgent = d->urgent || m->len > LONG_MESSAGE;
	if (m->kind == RECORD_TRANSACTION)
		take_record(d, m, &from);
	else if (m->kind == RECORD_OUTCOME)
		take_outcome(d, m, &from);
	else if (m->kind == RECORD_INTENT)
		take_intent(d, m, &from);
	else if (m->kind == RECORD_DDL)
		take_ddl(d, m, &from);
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

	for (n = 0;
	     n < GROUP_MESSAGES && spool_pending(d->spool) < GROUP_BYTES &&
	     shmq_next(d->q, &m);
	     n++)
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
		KILLPOINT("dead_lane");
		dead->lane[dead->n] = lane;
	}
}

/* How long the next wait may be: a group does not wait longer than it may. */
static int
wait_ms(const struct drain *d, int timeout_ms)
{
	int64_t left = d->since_us + DELAY_US - io_monotonic_us();

	left = left <= 0 ? 0 : (left + 999) / 1000;
	return left < timeout_ms ? (int)left : timeout_ms;
}

/*
 * If the wait ended and yet nothing could be read, a long message waits behind
 * those that were.
 */
static bool
group_is_due(const struct drain *d, unsigned n, bool woken)
{
	return d->urgent || n >= GROUP_MESSAGES || (woken && n == 0) ||
	       shmq_is_awaited(d->q) ||
	       io_monotonic_us() - d->since_us >= DELAY_US;
}

/*
 * True if there may be something to take.  What nobody waits for is no reason
 * to wake up while there is a group, or as soon after one as another may come:
 * the outcomes of the last.
 */
static bool
wait_for_messages(struct drain *d, int timeout_ms)
{
	bool pending;

	if (d->n_taken == 0 && !d->lively) {
		pending = shmq_wait(d->q, timeout_ms);
		d->since_us = io_monotonic_us();
		return pending;
	}
	if (d->n_taken == 0)
		d->since_us = io_monotonic_us();
	d->lively = false;
	shmq_doze(d->q, wait_ms(d, timeout_ms));
	return shmq_wait(d->q, 0);
}

static bool take_over(struct drain *d);

/*
 * Offers may be refused only while nothing that was read counts (the lanes
 * were begun again) and nothing of it can still be found in the file.
 */
static void
wait_for_retry(struct drain *d, int timeout_ms)
{
	struct trouble *t = &d->trouble;
	int64_t left = (t->retry_us - io_monotonic_us()) / 1000;

	if (d->policy.refuse && spool_is_cut(d->spool))
		shmq_refuse_offers(d->q);
	if (left > 0) {
		shmq_nap(d->q, left < timeout_ms ? (int)left : timeout_ms);
		return;
	}
	if (!spool_repair(d->spool)) {
		close_gate(d, strerror(errno));
		return;
	}
	t->stuck = false;
	(void)take_over(d);
}

bool
drain_is_stuck(const struct drain *d)
{
	return d->trouble.stuck;
}

static bool
step(struct drain *d, int timeout_ms)
{
	bool woken = wait_for_messages(d, timeout_ms);
	unsigned n = take_group(d), i;
	bool busy = woken || d->n_taken > 0;
	struct dead_lanes dead;

	take_dead(d, &dead);
	if (dead.n > 0 || (d->n_taken > 0 && group_is_due(d, n, woken)))
		if (!commit_group(d))
			return true;
	for (i = 0; i < dead.n; i++)
		shmq_lane_free(d->q, dead.lane[i]);
	return busy || dead.n > 0;
}

bool
drain_step(struct drain *d, int timeout_ms)
{
	bool busy;

	if (d->trouble.stuck) {
		wait_for_retry(d, timeout_ms);
		return true;
	}
	busy = step(d, timeout_ms);
	if (!d->trouble.stuck)
		open_gate(d);
	return busy;
}

/* --- runs --- */

static void
put_gap(struct drain *d)
{
	char from[IO_TIME_BYTES], to[IO_TIME_BYTES], text[256];
	int n;

	(void)io_format_time(spool_written_us(d->spool), from);
	(void)io_format_time(io_now_us(), to);
	n = snprintf(text, sizeof(text),
	    "{\"from_time\":\"%s\",\"to_time\":\"%s\","
	    "\"reason\":\"machine_crash\",\"database\":null,"
	    "\"count\":null}",
	    from, to);
	spool_append(d->spool, SPOOL_GAP, 0, text, (size_t)n);
	log_warning("machine_crash",
	    "the machine stopped under "
	    "evidence.commit=async: transactions of the moments after %s may "
	    "have no record",
	    from);
}

static void
append_run(struct drain *d, bool clean)
{
	struct spool_run run = { .async = d->policy.async, .clean = clean };

	snprintf(run.boot, sizeof(run.boot), "%s", d->policy.boot_id);
	spool_append_run(d->spool, &run);
}

static void
begin_run(struct drain *d)
{
	struct spool_run last = *spool_run(d->spool);
	const char *boot = d->policy.boot_id;

	if (last.async && !last.clean && *last.boot != '\0' && *boot != '\0' &&
	    strncmp(last.boot, boot, sizeof(last.boot) - 1) != 0)
		put_gap(d);
	append_run(d, false);
}

/* --- opening --- */

/* What the predecessor left: see the top of this file. */
static bool
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
	if (d->run_due)
		begin_run(d);
	KILLPOINT("start_drain");
	if (!sync_spool(d))
		return false;
	d->run_due = false;
	publish(d);
	wake_recorder(d);
	return true;
}

static bool
is_disk_trouble(int error)
{
	return error == ENOSPC || error == EDQUOT || error == EIO ||
	       error == EROFS || error == EACCES || error == EPERM;
}

/* Only a disk that may come back is waited for. */
static struct spool_writer *
open_spool(const char *data_dir, int alarm_fd)
{
	struct pollfd p = { .fd = procsig_fd(), .events = POLLIN };
	struct spool_writer *w;
	uint64_t last;
	bool told = false;

	while ((w = spool_writer_open(data_dir, &last)) == NULL) {
		if (!is_disk_trouble(errno) || procsig_pending(SIGTERM))
			log_fatal("spool_open", "cannot open %s/spool: %s",
			    data_dir, strerror(errno));
		if (!told)
			log_error("spool_stalled",
			    "cannot open %s/spool: %s; "
			    "writers wait until it can be opened",
			    data_dir, strerror(errno));
		told = true;
		alarm_set(alarm_fd, true);
		(void)poll(&p, 1, RETRY_US / 1000);
		procsig_drain();
	}
	alarm_set(alarm_fd, false);
	if (told)
		log_info("spool_resumed", "%s/spool is open", data_dir);
	return w;
}

struct drain *
drain_open(const char *data_dir, int queue_fd, struct recorder_shared *shared)
{
	struct drain *d = mem_zalloc(1, sizeof(*d));

	d->shared = shared;
	d->wake_fd = -1;
	d->policy.boot_id = "";
	d->alarm_fd = alarm_open(data_dir, ALARM_SPOOL);
	d->spool = open_spool(data_dir, d->alarm_fd);
	if ((d->q = shmq_attach(queue_fd)) == NULL)
		log_fatal("queue_attach",
		    "cannot use descriptor %d as the queue: %s", queue_fd,
		    strerror(errno));
	d->taken = mem_zalloc(shmq_lanes(d->q), sizeof(*d->taken));
	(void)take_over(d);
	return d;
}

void
drain_begin(struct drain *d, const struct drain_policy *policy)
{
	d->policy = *policy;
	d->run_due = true;
	if (!d->trouble.stuck)
		(void)take_over(d);
}

void
drain_stop(struct drain *d)
{
	if (d->trouble.stuck)
		return;
	append_run(d, true);
	(void)sync_spool(d);
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
	if (d->alarm_fd >= 0)
		close(d->alarm_fd);
	free(d->taken);
	free(d);
}
