/*
 * shmq_producer.c: a lane as its backend sees it: sending, and waiting for
 * room, for the disk, for the gate.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "killpoint.h"
#include "shmq_int.h"

struct shmq_producer *
shmq_producer_join(struct shmq *q, unsigned lane)
{
	struct shmq_producer *p = calloc(1, sizeof(*p));
	struct lane *l = lane_at(q, lane);

	if (p == NULL)
		return NULL;
	p->header = q->header;
	p->lane = l;
	p->ring = ring_of(l);
	p->ring_size = q->ring_size;
	p->generation = atomic_load_explicit(
	    &l->generation, memory_order_relaxed);
	return p;
}

struct shmq_producer *
shmq_producer_open(struct shmq *q, unsigned lane)
{
	if (!shmq_map_only(q, lane))
		return NULL;
	close(q->fd);
	q->fd = -1;
	return shmq_producer_join(q, lane);
}

void
shmq_producer_close(struct shmq_producer *p)
{
	free(p);
}

static void
put_chunk(struct shmq_producer *p, struct chunk *c, const void *data)
{
	c->crc = chunk_crc(c, data);
	ring_put(p->ring, p->ring_size, p->head, c, CHUNK_HEADER);
	ring_put(
	    p->ring, p->ring_size, p->head + CHUNK_HEADER, data, c->length);
	p->head += chunk_size(c->length);
}

static void
publish(struct shmq_producer *p)
{
	KILLPOINT("lane_written");
	atomic_store(&p->lane->head, p->head);
	KILLPOINT("lane_published");
	ring_bell(p->header, atomic_load(&p->lane->waiting) != 0);
}

/*
 * What a producer waits for: `room` bytes (0: any), `acked` (0: any), a
 * consumer other than `epoch` (0: any), the gate.  The first that holds ends
 * the wait.
 */
struct wait {
	uint64_t room;
	uint64_t acked;
	uint64_t epoch;
	bool gate;      /* for it to open */
	uint64_t offer; /* sequence of it, 0: not an offer */
	bool sent;      /* some of it was published */
	shmq_stop_fn stop;
	void *arg;
};

enum wait_result {
	WAIT_ROOM,
	WAIT_ACKED,
	WAIT_EPOCH,
	WAIT_OPEN,
	WAIT_REFUSED,
	WAIT_BROKEN,
	WAIT_STOPPED
};

/* As long as nothing of it was published nobody needs to be asked. */
static bool
is_refused(struct shmq_producer *p, const struct wait *w)
{
	struct lane *l = p->lane;

	if (!w->gate && w->offer == 0)
		return false;
	if (w->sent && atomic_load(&l->refused) == w->offer)
		return true;
	if (atomic_load(&p->header->gate) != SHMQ_CLOSED_REFUSE)
		return false;
	if (w->sent && atomic_load(&l->withdraw) != w->offer) {
		atomic_store(&l->withdraw, w->offer);
		wake_if(&p->header->sleeping, &p->header->doorbell);
	}
	return !w->sent;
}

static bool
wait_over(struct shmq_producer *p, const struct wait *w, enum wait_result *r)
{
	uint64_t in_use;

	if (is_refused(p, w)) {
		*r = WAIT_REFUSED;
		return true;
	}
	if (w->gate && atomic_load(&p->header->gate) == SHMQ_OPEN) {
		*r = WAIT_OPEN;
		return true;
	}
	if (w->acked != 0 && atomic_load(&p->lane->acked) >= w->acked) {
		*r = WAIT_ACKED;
		return true;
	}
	if (w->epoch != 0 && atomic_load(&p->header->epoch) != w->epoch) {
		*r = WAIT_EPOCH;
		return true;
	}
	if (atomic_load(&p->lane->broken) != 0) {
		*r = WAIT_BROKEN;
		return true;
	}
	in_use = p->head - atomic_load(&p->lane->tail);
	if (w->room != 0 && p->ring_size - in_use >= w->room) {
		*r = WAIT_ROOM;
		return true;
	}
	return false;
}

static enum wait_result
wait_until(struct shmq_producer *p, const struct wait *w)
{
	enum wait_result r = WAIT_STOPPED;

	while (!wait_over(p, w, &r)) {
		if (w->stop != NULL && w->stop(w->arg))
			return WAIT_STOPPED;
		atomic_store(&p->lane->waiting, 1);
		if (atomic_load(&p->header->sleeping) == DOZES)
			ring_bell(p->header, true);
		if (!wait_over(p, w, &r))
			shmq_wait_for(&p->lane->wake, WAIT_MS);
		atomic_store(&p->lane->waiting, 0);
	}
	return r;
}

/* Room for all of it first, published at once: never seen by halves. */
static enum wait_result
send_small(struct shmq_producer *p, struct chunk *c, const uint8_t *data,
    struct wait *w)
{
	enum wait_result r;

	w->room = message_size(c->total);
	if ((r = wait_until(p, w)) != WAIT_ROOM)
		return r;
	w->room = 0;
	do {
		uint64_t left = c->total - c->offset;

		c->length = left < CHUNK_DATA ? (uint32_t)left
					      : (uint32_t)CHUNK_DATA;
		put_chunk(p, c, data + c->offset);
		c->offset += c->length;
	} while (c->offset < c->total);
	publish(p);
	w->sent = true;
	return WAIT_ROOM;
}

/* One pass over the message, then the wait for its acknowledgement. */
static enum wait_result
send_pass(struct shmq_producer *p, struct chunk *c, const uint8_t *data,
    struct wait *w)
{
	enum wait_result r;

	for (c->offset = 0; c->offset < c->total; c->offset += c->length) {
		uint64_t left = c->total - c->offset;

		c->length = left < CHUNK_DATA ? (uint32_t)left
					      : (uint32_t)CHUNK_DATA;
		w->room = chunk_size(c->length);
		if ((r = wait_until(p, w)) != WAIT_ROOM)
			return r;
		put_chunk(p, c, data + c->offset);
		publish(p);
		w->sent = true;
	}
	w->room = 0;
	return wait_until(p, w);
}

static enum wait_result
send_large(struct shmq_producer *p, struct chunk *c, const uint8_t *data,
    struct wait *w)
{
	enum wait_result r;

	w->acked = c->sequence;
	do {
		w->epoch = atomic_load(&p->header->epoch);
		r = send_pass(p, c, data, w);
	} while (r == WAIT_EPOCH);
	w->epoch = 0;
	return r;
}

static enum wait_result
send_message(struct shmq_producer *p, uint8_t kind, const void *data,
    size_t len, struct wait *w)
{
	struct chunk c = { .magic = CHUNK_MAGIC,
		.generation = p->generation,
		.sequence = p->sequence,
		.total = len,
		.kind = kind };

	atomic_store_explicit(&p->lane->used, 1, memory_order_relaxed);
	return is_large(len, p->ring_size) ? send_large(p, &c, data, w)
					   : send_small(p, &c, data, w);
}

uint64_t
shmq_send(struct shmq_producer *p, uint8_t kind, const void *data, size_t len,
    shmq_stop_fn stop, void *arg)
{
	struct wait w = { .stop = stop, .arg = arg };
	enum wait_result r;

	if (len > SHMQ_MAX_MESSAGE) {
		errno = EMSGSIZE;
		return 0;
	}
	p->sequence++;
	r = send_message(p, kind, data, len, &w);
	if (r == WAIT_ROOM || r == WAIT_ACKED)
		return p->sequence;
	errno = r == WAIT_BROKEN ? EBADMSG : EINTR;
	return 0;
}

static enum shmq_answer
answer_of(enum wait_result r)
{
	if (r == WAIT_STOPPED)
		return SHMQ_STOPPED;
	if (r == WAIT_REFUSED)
		return SHMQ_REFUSED;
	return r == WAIT_BROKEN ? SHMQ_BROKEN : SHMQ_OK;
}

enum shmq_answer
shmq_admit(struct shmq_producer *p, shmq_stop_fn stop, void *arg)
{
	struct wait w = { .gate = true, .stop = stop, .arg = arg };

	return answer_of(wait_until(p, &w));
}

enum shmq_answer
shmq_offer(struct shmq_producer *p, uint8_t kind, const void *data, size_t len,
    shmq_stop_fn stop, void *arg)
{
	struct wait w = { .stop = stop, .arg = arg };
	enum shmq_answer a = shmq_admit(p, stop, arg);
	enum wait_result r;

	if (a != SHMQ_OK)
		return a;
	if (len > SHMQ_MAX_MESSAGE)
		return SHMQ_TOO_LONG;
	w.offer = ++p->sequence;
	/* It will: the consumer need not be woken twice. */
	atomic_store(&p->lane->waiting, 1);
	r = send_message(p, kind, data, len, &w);
	if (r == WAIT_ROOM) {
		w.acked = w.offer;
		r = wait_until(p, &w);
	}
	atomic_store(&p->lane->waiting, 0);
	return answer_of(r);
}

bool
shmq_refused(const struct shmq_producer *p)
{
	return atomic_load(&p->header->gate) == SHMQ_CLOSED_REFUSE;
}

bool
shmq_wait_acked(
    struct shmq_producer *p, uint64_t sequence, shmq_stop_fn stop, void *arg)
{
	struct wait w = { .acked = sequence, .stop = stop, .arg = arg };
	enum wait_result r;

	if (sequence == 0)
		return true;
	r = wait_until(p, &w);
	if (r != WAIT_ACKED)
		errno = r == WAIT_BROKEN ? EBADMSG : EINTR;
	return r == WAIT_ACKED;
}
