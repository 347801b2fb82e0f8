/*
 * shmq_consumer.c: all lanes as replayd sees them: reading, acknowledging,
 * refusing, wiping those of the dead.
 *
 * The consumer trusts nothing in a lane: each header is copied before it is
 * looked at, each chunk before its CRC is checked, and the words that the
 * consumer alone writes are read back only once, when it attaches.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdlib.h>

#include "killpoint.h"
#include "log.h"
#include "shmq_int.h"

void
shmq_free_readers(struct shmq *q)
{
	unsigned i;

	for (i = 0; q->readers != NULL && i < q->n_lanes; i++)
		buf_free(&q->readers[i].data);
	free(q->readers);
	q->readers = NULL;
	q->last = SHMQ_NO_LANE;
}

bool
shmq_consume(struct shmq *q)
{
	struct lane *l;
	unsigned i;

	shmq_free_readers(q);
	q->readers = calloc(q->n_lanes, sizeof(*q->readers));
	if (q->readers == NULL)
		return false;
	(void)atomic_fetch_add(&q->header->epoch, 1);
	for (i = 0; i < q->n_lanes; i++) {
		l = lane_at(q, i);
		if (atomic_load(&l->state) != LANE_FREE ||
		    atomic_load(&l->head) != 0)
			q->in_use = i + 1;
		wake_if(&l->waiting, &l->wake);
	}
	return true;
}

/* How many of the lanes are to be looked at. */
static unsigned
in_use(struct shmq *q)
{
	unsigned n = atomic_load(&q->header->in_use);

	if (n > q->n_lanes)
		n = q->n_lanes;
	if (n > q->in_use)
		q->in_use = n;
	return q->in_use;
}

static void
set_broken(struct shmq *q, unsigned lane, const char *what)
{
	struct reader *r = &q->readers[lane];
	struct lane *l = lane_at(q, lane);

	log_error("queue_lane_broken",
	    "lane %u at byte %llu: %s; what it holds is ignored, its session "
	    "ends",
	    lane, (unsigned long long)r->read, what);
	r->broken = true;
	r->assembling = false;
	buf_free(&r->data);
	atomic_store(&l->broken, 1);
	wake_if(&l->waiting, &l->wake);
}

/*
 * The lane's reader, brought up to what the lane says once per generation and
 * consumer; NULL if nothing was ever published there.  *head: as of now.
 */
static struct reader *
reader_of(struct shmq *q, unsigned lane, uint64_t *head)
{
	struct reader *r = &q->readers[lane];
	struct lane *l = lane_at(q, lane);

	if ((*head = atomic_load(&l->head)) == 0 && !r->ready)
		return NULL;
	if (r->ready)
		return r;
	r->ready = true;
	r->generation = atomic_load(&l->generation);
	r->tail = atomic_load(&l->tail);
	r->acked = r->delivered = atomic_load(&l->acked);
	r->refused = atomic_load(&l->refused);
	r->broken = atomic_load(&l->broken) != 0;
	r->read = r->keep = r->tail;
	if (*head - r->tail > q->ring_size)
		set_broken(q, lane,
		    "tail and head are further apart than "
		    "the ring is long");
	return r;
}

static bool
is_pending(struct shmq *q, unsigned lane)
{
	uint64_t head;
	struct reader *r;

	if (atomic_load(&lane_at(q, lane)->state) == LANE_DEAD)
		return true;
	r = reader_of(q, lane, &head);
	return r != NULL && !r->broken && r->read != head;
}

static bool
any_pending(struct shmq *q)
{
	unsigned i, n = in_use(q);

	for (i = 0; i < n; i++)
		if (is_pending(q, i))
			return true;
	return false;
}

bool
shmq_wait(struct shmq *q, int timeout_ms)
{
	struct header *h = q->header;
	bool pending;

	if (any_pending(q))
		return true;
	if (timeout_ms <= 0)
		return false;
	atomic_store(&h->sleeping, SLEEPS);
	pending = any_pending(q);
	if (!pending) {
		shmq_wait_for(&h->doorbell, timeout_ms);
		pending = any_pending(q);
	}
	atomic_store(&h->sleeping, AWAKE);
	return pending;
}

/* Gives back what is read and needed no more, and wakes who waits for it. */
static void
free_space(struct shmq *q, unsigned lane)
{
	struct reader *r = &q->readers[lane];
	struct lane *l = lane_at(q, lane);

	if (r->unacked || r->tail == r->keep)
		return;
	r->tail = r->keep;
	atomic_store(&l->tail, r->tail);
	wake_if(&l->waiting, &l->wake);
}

static const char *
chunk_fault(const struct chunk *c, const struct reader *r, uint64_t available)
{
	if (c->magic != CHUNK_MAGIC)
		return "no chunk where one must begin";
	if (c->generation != r->generation)
		return "a chunk of another generation";
	if (c->total > SHMQ_MAX_MESSAGE || c->length > CHUNK_DATA ||
	    c->offset > c->total || c->length > c->total - c->offset ||
	    (c->length == 0 && c->total != 0) || c->sequence == 0)
		return "a chunk with impossible sizes";
	if (chunk_size(c->length) > available)
		return "a chunk that ends behind what is published";
	return NULL;
}

/* Puts a chunk whose bytes lie behind data.len in its place, or drops it. */
static bool
take_chunk(struct reader *r, const struct chunk *c)
{
	if (c->sequence <= r->delivered || c->sequence == r->refused)
		return false;
	if (c->offset == 0) {
		r->assembling = true;
		r->sequence = c->sequence;
		r->total = c->total;
		r->kind = c->kind;
	} else if (!r->assembling || c->sequence != r->sequence ||
		   c->total != r->total || c->offset != r->data.len) {
		return false;
	}
	r->data.len += c->length;
	if (r->data.len < r->total)
		return false;
	r->assembling = false;
	r->unacked = true;
	r->delivered = r->sequence;
	return true;
}

enum step { STEP_NOTHING, STEP_CHUNK, STEP_MESSAGE };

static enum step
read_chunk(struct shmq *q, unsigned lane, uint64_t head)
{
	struct reader *r = &q->readers[lane];
	const uint8_t *ring = ring_of(lane_at(q, lane));
	uint64_t available = head - r->read;
	const char *fault;
	struct chunk c;
	uint8_t *data;
	bool whole, large;

	if (available < CHUNK_HEADER || available > q->ring_size) {
		set_broken(q, lane, "an impossible head");
		return STEP_NOTHING;
	}
	ring_get(ring, q->ring_size, r->read, &c, CHUNK_HEADER);
	if ((fault = chunk_fault(&c, r, available)) != NULL) {
		set_broken(q, lane, fault);
		return STEP_NOTHING;
	}
	large = is_large(c.total, q->ring_size);
	if (large && r->unacked && c.sequence > r->delivered &&
	    c.sequence != r->refused)
		return STEP_NOTHING;
	if (c.offset == 0)
		buf_reset(&r->data);
	data = buf_reserve(&r->data, (size_t)c.length + 1);
	ring_get(ring, q->ring_size, r->read + CHUNK_HEADER, data, c.length);
	if (chunk_crc(&c, data) != c.crc) {
		set_broken(q, lane, "a chunk whose CRC does not hold");
		return STEP_NOTHING;
	}
	whole = take_chunk(r, &c);
	r->read += chunk_size(c.length);
	if (!r->assembling || large)
		r->keep = r->read;
	free_space(q, lane);
	return whole ? STEP_MESSAGE : STEP_CHUNK;
}

static bool
read_lane(struct shmq *q, unsigned lane, struct shmq_message *m)
{
	uint64_t head;
	struct reader *r = reader_of(q, lane, &head);
	enum step step = STEP_CHUNK;

	if (r == NULL)
		return false;
	while (step == STEP_CHUNK && !r->broken && r->read != head)
		step = read_chunk(q, lane, head);
	if (step != STEP_MESSAGE)
		return false;
	m->lane = lane;
	m->generation = r->generation;
	m->sequence = r->sequence;
	m->kind = r->kind;
	m->data = r->data.data;
	m->len = r->data.len;
	return true;
}

/* The last message's data is valid until now. */
static void
drop_last(struct shmq *q)
{
	struct buf *b;

	if (q->last == SHMQ_NO_LANE)
		return;
	b = &q->readers[q->last].data;
	if (b->cap > KEEP_BUFFER && !q->readers[q->last].assembling)
		buf_free(b);
	q->last = SHMQ_NO_LANE;
}

bool
shmq_next(struct shmq *q, struct shmq_message *m)
{
	unsigned i, lane, n = in_use(q);

	drop_last(q);
	for (i = 0; i < n; i++) {
		lane = (q->read_from + i) % n;
		if (!read_lane(q, lane, m))
			continue;
		q->read_from = lane + 1;
		q->last = lane;
		return true;
	}
	return false;
}

void
shmq_ack(struct shmq *q, unsigned lane, uint64_t sequence)
{
	struct lane *l = lane_at(q, lane);
	uint64_t head;
	struct reader *r = reader_of(q, lane, &head);

	if (r == NULL)
		return;
	if (sequence >= r->delivered) {
		r->delivered = sequence;
		r->unacked = false;
	}
	if (sequence > r->acked) {
		r->acked = sequence;
		atomic_store(&l->acked, sequence);
	}
	free_space(q, lane);
	wake_if(&l->waiting, &l->wake);
}

void
shmq_begin_again(struct shmq *q)
{
	if (!shmq_consume(q))
		log_fatal("out_of_memory", "no memory for the lanes");
}

/* A refused message may lie in the ring, to be read by another consumer. */
static bool
holds_refused(struct shmq *q, unsigned lane)
{
	struct lane *l = lane_at(q, lane);
	uint64_t refused = atomic_load(&l->refused), head;
	struct reader *r;

	if (refused == 0 || refused < atomic_load(&l->acked))
		return false;
	r = reader_of(q, lane, &head);
	return r != NULL && !r->broken && r->tail != head;
}

bool
shmq_set_gate(struct shmq *q, enum shmq_gate gate)
{
	unsigned i, n = in_use(q);

	if (atomic_load(&q->header->gate) == (uint32_t)gate)
		return true;
	for (i = 0; gate == SHMQ_OPEN && i < n; i++)
		if (holds_refused(q, i))
			return false;
	atomic_store(&q->header->gate, (uint32_t)gate);
	for (i = 0; i < n; i++)
		wake_if(&lane_at(q, i)->waiting, &lane_at(q, i)->wake);
	return true;
}

void
shmq_refuse_offers(struct shmq *q)
{
	struct reader *r;
	struct lane *l;
	uint64_t head, wanted;
	unsigned i, n = in_use(q);

	for (i = 0; i < n; i++) {
		l = lane_at(q, i);
		wanted = atomic_load(&l->withdraw);
		r = wanted == 0 ? NULL : reader_of(q, i, &head);
		if (r == NULL || wanted <= r->delivered || wanted == r->refused)
			continue;
		r->refused = wanted;
		atomic_store(&l->refused, wanted);
		wake_if(&l->waiting, &l->wake);
	}
}

void
shmq_nap(struct shmq *q, int timeout_ms)
{
	atomic_store(&q->header->sleeping, SLEEPS);
	shmq_wait_for(&q->header->doorbell, timeout_ms);
	atomic_store(&q->header->sleeping, AWAKE);
}

bool
shmq_is_awaited(struct shmq *q)
{
	unsigned n = in_use(q);

	for (unsigned i = 0; i < n; i++)
		if (atomic_load(&lane_at(q, i)->waiting) != 0)
			return true;
	return false;
}

void
shmq_doze(struct shmq *q, int timeout_ms)
{
	atomic_store(&q->header->sleeping, DOZES);
	if (!shmq_is_awaited(q))
		shmq_wait_for(&q->header->doorbell, timeout_ms);
	atomic_store(&q->header->sleeping, AWAKE);
}

bool
shmq_is_empty(struct shmq *q)
{
	const struct lane *l;
	unsigned i, n = in_use(q);

	for (i = 0; i < n; i++) {
		l = lane_at(q, i);
		if (atomic_load(&l->head) != atomic_load(&l->tail))
			return false;
	}
	return true;
}

uint64_t
shmq_lane_generation(struct shmq *q, unsigned lane)
{
	uint64_t head;
	struct reader *r;

	if (lane >= q->n_lanes)
		return 0;
	r = reader_of(q, lane, &head);
	return r == NULL ? 0 : r->generation;
}

unsigned
shmq_dead_lane(struct shmq *q, uint64_t *generation)
{
	struct reader *r;
	unsigned i, lane, n = in_use(q);
	uint64_t head;

	for (i = 0; i < n; i++) {
		lane = (q->dead_from + i) % n;
		if (atomic_load(&lane_at(q, lane)->state) != LANE_DEAD)
			continue;
		r = reader_of(q, lane, &head);
		if (r != NULL && !r->broken && r->read != head)
			continue;
		q->dead_from = lane + 1;
		*generation = shmq_lane_generation(q, lane);
		return lane;
	}
	return SHMQ_NO_LANE;
}

/*
 * head goes to 0 first: a consumer that dies here leaves a dead lane in which
 * nothing was published, and the next one wipes it again.
 */
void
shmq_lane_free(struct shmq *q, unsigned lane)
{
	struct lane *l = lane_at(q, lane);
	struct reader *r = &q->readers[lane];
	uint64_t dirty = atomic_load(&l->head);

	/* Its process may have died while it wrote ahead of head. */
	dirty = dirty < q->ring_size / 2 ? dirty + q->ring_size / 2
					 : q->ring_size;
	atomic_store(&l->head, 0);
	memset(ring_of(l), 0, (size_t)dirty);
	KILLPOINT("lane_free");
	atomic_store(&l->tail, 0);
	atomic_store(&l->acked, 0);
	atomic_store(&l->withdraw, 0);
	atomic_store(&l->refused, 0);
	atomic_store(&l->broken, 0);
	atomic_store(&l->waiting, 0);
	atomic_store(&l->used, 0);
	(void)sem_init(&l->wake, 1, 0);
	if (q->last == lane)
		q->last = SHMQ_NO_LANE;
	buf_free(&r->data);
	memset(r, 0, sizeof(*r));
	atomic_store_explicit(&l->state, LANE_FREE, memory_order_release);
}
