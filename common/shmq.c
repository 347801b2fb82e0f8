/*
 * shmq.c: the shared-memory lanes between backends and replayd.
 *
 * Owns the segment, its layout and every wait on it; the only user of
 * semaphores and mmap.  Never takes a lock: each shared word has one writer at
 * a time, and semaphores only wake.  Knows nothing of what messages mean.
 *
 *	page 0       struct header
 *	then, per lane:
 *	  one page   struct lane
 *	  ring       a power of two of bytes, page-aligned
 *
 * Positions in a ring are 64-bit byte counts that never wrap; the place of
 * position p is p modulo the ring's size.  Everything from `tail` to `head` is
 * chunks, each a struct chunk and its data, aligned to 8 bytes and split at
 * the ring's end where it happens to lie there.
 *
 * A message that needs at most half the ring is SMALL: `head` moves over it at
 * once when all of it is there, so no half of it is ever seen, and its space
 * is kept until it is acknowledged, so a new consumer reads it again.
 *
 * Anything longer is LARGE and flows through: the consumer frees each chunk as
 * it reads it, into memory of its own.  If that consumer dies, the read part
 * is gone; therefore shmq_send() itself waits for the acknowledgement of a
 * large message, still holding its data, and when the consumer's `epoch`
 * changes meanwhile it sends the message again under the same sequence.  The
 * consumer begins a large message only when nothing else of its lane is
 * unacknowledged, drops chunks that do not continue what it has, and skips
 * sequences that it gave out or acknowledged before.
 *
 * An OFFER (shmq_offer()) is a message that may be refused.  Only the consumer
 * knows what is durable, so only it refuses: the producer, finding the gate
 * closed, writes the sequence it wants back to `withdraw` and waits on; the
 * consumer answers with `acked` or with `refused`.  It refuses only when all
 * that it had read is forgotten and begun again, so that no unfinished write
 * of it can still succeed; whoever reads the ring later skips the sequence in
 * `refused`.  That word holds one sequence.  A later one takes its place only
 * after the gate was open, and the gate is opened only when no ring holds a
 * refused message any more.
 *
 * The consumer trusts nothing in a lane: each header is copied before it is
 * looked at, each chunk before its CRC is checked, and the words that the
 * consumer alone writes are read back only once, when it attaches.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "ioutil.h"
#include "killpoint.h"
#include "log.h"
#include "shmq.h"

#define MAGIC 0x70677771u       /* "pgwq" */
#define CHUNK_MAGIC 0x70677763u /* "pgwc" */
#define VERSION 2u
#define PAGE 4096u
#define LINE 64
#define MIN_RING ((size_t)128 * 1024)
#define MAX_RING ((size_t)1 << 32)
#define MAX_LANES 65536u
#define CHUNK_MAX (64u * 1024)
#define WAIT_MS 100
/* A lane's assembly buffer above this is given back after its message. */
#define KEEP_BUFFER ((size_t)1 << 20)

enum lane_state { LANE_FREE, LANE_OWNED, LANE_DEAD };

/*
 * magic ... ring_size: written once by shmq_create(), before anybody else has
 * the segment; read by shmq_attach(), which checks them against the file's
 * size.
 *
 * epoch: written by the consumer when it begins; there is one consumer at a
 * time, because the postmaster waits for the old one to be gone.  Read by
 * producers of large messages.  A producer that reads the new value knows that
 * the new consumer will see all it writes from then on; one that reads the old
 * value meets the new one while it waits for the acknowledgement.
 *
 * sleeping: set by the consumer before it looks at all lanes a last time and
 * sleeps on `doorbell`; cleared by whoever takes the duty to post (a producer
 * or the postmaster), or by the consumer.  Stores and loads of it, of `head`
 * and of `state` around it are sequentially consistent: either the consumer's
 * last look sees the new head, or the producer's look at `sleeping` sees 1.
 *
 * gate: enum shmq_gate, by the consumer; read by producers before they send
 * what can wait or be refused.  A producer that misses a change finds it on
 * its next look, at most WAIT_MS later.
 */
struct header {
	uint32_t magic;
	uint32_t version;
	uint64_t map_size;
	uint64_t ring_size;
	uint32_t n_lanes;
	_Atomic uint64_t epoch;
	_Atomic uint32_t gate;
	alignas(LINE) _Atomic uint32_t sleeping;
	sem_t doorbell;
};

/*
 * state: FREE -> OWNED and OWNED -> DEAD by the postmaster, DEAD -> FREE by
 * the consumer (by the postmaster, if the lane was never used).  Who may write
 * is decided by the value itself.  Release when it becomes OWNED or FREE, so
 * that whoever finds it so also finds the lane as the writer left it.
 *
 * generation: by the postmaster while it takes the lane; constant while it is
 * owned.
 *
 * used: set by the producer before its first byte; read by the postmaster when
 * the child is gone, to know whether there is anything to wipe.
 *
 * head: bytes ever published.  Written by the producer after the bytes
 * (release); read by the consumer (acquire) before them.  Back to 0 only when
 * the lane is freed; 0 means that nothing was ever published.
 *
 * waiting: set by the producer before it looks at `tail`, `acked` and `epoch`
 * a last time and sleeps on `wake`; cleared by the consumer when it takes the
 * duty to post.  Sequentially consistent with those three, as `sleeping` is
 * with `head`.
 *
 * tail: bytes whose space is free again.  Written by the consumer after it
 * copied them out (release); read by the producer (acquire) before it writes
 * over them.  Never beyond what is acknowledged, but for large messages.
 *
 * acked: highest durable sequence.  Written by the consumer, read by the
 * producer; a single word that says all, so no order with other words is
 * needed to believe it.
 *
 * withdraw: sequence of the offer that the producer wants back; written by the
 * producer, read by the consumer while the gate refuses.  The producer waits
 * for the answer, so the word means one message.
 *
 * refused: the last sequence that will never be durable.  Written by the
 * consumer, read by the producer and by the next consumer.
 *
 * broken: set by the consumer when it can make no sense of the lane; read by
 * the producer wherever it waits.
 *
 * wake: posted by the consumer, waited for by the producer.  A count too many
 * costs one more look.
 */
struct lane {
	alignas(LINE) _Atomic uint32_t state;
	_Atomic uint64_t generation;
	alignas(LINE) _Atomic uint64_t head;
	_Atomic uint32_t used;
	_Atomic uint32_t waiting;
	_Atomic uint64_t withdraw;
	alignas(LINE) _Atomic uint64_t tail;
	_Atomic uint64_t acked;
	_Atomic uint64_t refused;
	_Atomic uint32_t broken;
	alignas(LINE) sem_t wake;
};

_Static_assert(sizeof(struct header) <= PAGE, "header fits its page");
_Static_assert(sizeof(struct lane) <= PAGE, "lane fits its page");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
    "atomics work between processes");

/* crc covers all behind it, and the data. */
struct chunk {
	uint32_t magic;
	uint32_t crc;
	uint64_t generation;
	uint64_t sequence;
	uint64_t total;  /* of the message */
	uint64_t offset; /* of this chunk's data in it */
	uint32_t length; /* of this chunk's data */
	uint8_t kind;
	uint8_t zero[3];
};
#define CHUNK_HEADER sizeof(struct chunk)
#define CHUNK_DATA (CHUNK_MAX - CHUNK_HEADER)
#define CRC_FROM offsetof(struct chunk, generation)

_Static_assert(CHUNK_HEADER == 48, "no padding under the CRC");

/* The consumer's own view of a lane: private memory, nobody can spoil it. */
struct reader {
	bool ready;   /* the rest holds for this generation */
	bool broken;  /* what the lane holds is ignored */
	bool unacked; /* gave out a message not yet acknowledged */
	bool assembling;
	uint8_t kind;
	uint64_t generation;
	uint64_t read;      /* position behind the last chunk read */
	uint64_t keep;      /* all before it may go once acknowledged */
	uint64_t tail;      /* what the shared tail was set to */
	uint64_t acked;     /* likewise */
	uint64_t delivered; /* highest sequence given out or acknowledged */
	uint64_t refused;   /* never to be given out */
	uint64_t sequence;  /* of the message being assembled */
	uint64_t total;
	struct buf data;
};

struct shmq {
	struct header *header;
	size_t map_size;
	size_t ring_size;
	unsigned n_lanes;
	int fd;
	/* postmaster */
	bool *owned;         /* its own truth: a child could spoil `state` */
	uint64_t generation; /* last given */
	unsigned take_from;
	/* consumer */
	struct reader *readers;
	unsigned read_from;
	unsigned dead_from;
	unsigned last; /* lane of the last message given out */
};

struct shmq_producer {
	struct header *header;
	struct lane *lane;
	uint8_t *ring;
	size_t ring_size;
	uint64_t generation;
	uint64_t sequence; /* last given */
	uint64_t head;
};

/* --- layout --- */

static size_t
stride(const struct shmq *q)
{
	return PAGE + q->ring_size;
}

static struct lane *
lane_at(const struct shmq *q, unsigned lane)
{
	uint8_t *base = (void *)q->header;

	return (void *)(base + PAGE + (size_t)lane * stride(q));
}

static uint8_t *
ring_of(struct lane *l)
{
	return (uint8_t *)(void *)l + PAGE;
}

static uint64_t
chunk_size(size_t data)
{
	return (CHUNK_HEADER + data + 7) & ~(uint64_t)7;
}

/* What a message takes in a ring when it is there as a whole. */
static uint64_t
message_size(uint64_t total)
{
	uint64_t full = total / CHUNK_DATA;
	size_t rest = (size_t)(total % CHUNK_DATA);

	if (rest > 0 || full == 0)
		return full * CHUNK_MAX + chunk_size(rest);
	return full * CHUNK_MAX;
}

static bool
is_large(uint64_t total, size_t ring_size)
{
	return message_size(total) > ring_size / 2;
}

static void
ring_put(uint8_t *ring, size_t size, uint64_t at, const void *p, size_t n)
{
	size_t from = (size_t)(at & (size - 1));
	size_t first = n < size - from ? n : size - from;

	if (n == 0)
		return;
	memcpy(ring + from, p, first);
	memcpy(ring, (const uint8_t *)p + first, n - first);
}

static void
ring_get(const uint8_t *ring, size_t size, uint64_t at, void *p, size_t n)
{
	size_t from = (size_t)(at & (size - 1));
	size_t first = n < size - from ? n : size - from;

	if (n == 0)
		return;
	memcpy(p, ring + from, first);
	memcpy((uint8_t *)p + first, ring, n - first);
}

static uint32_t
chunk_crc(const struct chunk *c, const void *data)
{
	uint32_t crc;

	crc = io_crc32c(
	    0, (const uint8_t *)c + CRC_FROM, CHUNK_HEADER - CRC_FROM);
	return io_crc32c(crc, data, c->length);
}

/* --- waiting --- */

static void
wait_for(sem_t *s, int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += (long)ms % 1000 * 1000000;
	t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	(void)sem_clockwait(s, CLOCK_MONOTONIC, &t);
}

/* The two sides of `sleeping` and of `waiting`. */
static void
wake_if(_Atomic uint32_t *flag, sem_t *s)
{
	if (atomic_load(flag) != 0 && atomic_exchange(flag, 0) != 0)
		(void)sem_post(s);
}

/* --- postmaster --- */

static int
open_segment(size_t size)
{
	char name[64];
	int fd, error;

	io_path(name, sizeof(name), "/pgwitness.%ld.%lld", (long)getpid(),
	    (long long)io_monotonic_us());
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd == -1)
		return -1;
	(void)shm_unlink(name);
	do
		error = posix_fallocate(fd, 0, (off_t)size);
	while (error == EINTR);
	if (error != 0) {
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static size_t
round_up_ring(size_t bytes)
{
	size_t size = MIN_RING;

	while (size < bytes && size < MAX_RING)
		size *= 2;
	return size;
}

/* Takes over fd, also when it fails. */
static struct shmq *
map_segment(int fd, size_t size)
{
	struct shmq *q = calloc(1, sizeof(*q));
	void *p = MAP_FAILED;
	int saved;

	if (q != NULL)
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		saved = errno;
		free(q);
		close(fd);
		errno = saved;
		return NULL;
	}
	q->header = p;
	q->map_size = size;
	q->fd = fd;
	q->last = SHMQ_NO_LANE;
	return q;
}

static void
write_header(struct shmq *q)
{
	struct header *h = q->header;
	unsigned i;

	h->version = VERSION;
	h->map_size = q->map_size;
	h->ring_size = q->ring_size;
	h->n_lanes = q->n_lanes;
	atomic_init(&h->epoch, 1); /* 0 stands for any */
	(void)sem_init(&h->doorbell, 1, 0);
	for (i = 0; i < q->n_lanes; i++)
		(void)sem_init(&lane_at(q, i)->wake, 1, 0);
	h->magic = MAGIC;
}

/*
 * Where generations start: the spool keeps them over restarts, so another boot
 * must not give the same ones again.
 */
static bool
first_generation(uint64_t *generation)
{
	if (getrandom(generation, sizeof(*generation), 0) !=
	    (ssize_t)sizeof(*generation))
		return false;
	*generation >>= 1;
	return true;
}

struct shmq *
shmq_create(unsigned n_lanes, size_t lane_bytes)
{
	size_t ring = round_up_ring(lane_bytes);
	size_t size = PAGE + n_lanes * (PAGE + ring);
	struct shmq *q;
	int fd;

	if (n_lanes == 0 || n_lanes > MAX_LANES || lane_bytes > MAX_RING) {
		errno = EINVAL;
		return NULL;
	}
	if ((fd = open_segment(size)) == -1)
		return NULL;
	if ((q = map_segment(fd, size)) == NULL)
		return NULL;
	q->ring_size = ring;
	q->n_lanes = n_lanes;
	q->owned = calloc(n_lanes, sizeof(*q->owned));
	if (q->owned == NULL || !first_generation(&q->generation)) {
		shmq_detach(q);
		return NULL;
	}
	write_header(q);
	return q;
}

int
shmq_fd(const struct shmq *q)
{
	return q->fd;
}

unsigned
shmq_lanes(const struct shmq *q)
{
	return q->n_lanes;
}

unsigned
shmq_lane_take(struct shmq *q)
{
	struct lane *l;
	unsigned i, n;

	for (i = 0; i < q->n_lanes; i++) {
		n = (q->take_from + i) % q->n_lanes;
		l = lane_at(q, n);
		if (q->owned[n] || atomic_load_explicit(&l->state,
				       memory_order_acquire) != LANE_FREE)
			continue;
		q->owned[n] = true;
		q->take_from = n + 1;
		atomic_store_explicit(
		    &l->generation, ++q->generation, memory_order_relaxed);
		atomic_store_explicit(
		    &l->state, LANE_OWNED, memory_order_release);
		return n;
	}
	return SHMQ_NO_LANE;
}

void
shmq_lane_retire(struct shmq *q, unsigned lane)
{
	struct lane *l = lane_at(q, lane);

	q->owned[lane] = false;
	if (atomic_load(&l->used) == 0 && atomic_load(&l->head) == 0) {
		atomic_store_explicit(
		    &l->state, LANE_FREE, memory_order_release);
		return;
	}
	atomic_store(&l->state, LANE_DEAD);
	wake_if(&q->header->sleeping, &q->header->doorbell);
}

static void
free_readers(struct shmq *q)
{
	unsigned i;

	for (i = 0; q->readers != NULL && i < q->n_lanes; i++)
		buf_free(&q->readers[i].data);
	free(q->readers);
	q->readers = NULL;
	q->last = SHMQ_NO_LANE;
}

void
shmq_detach(struct shmq *q)
{
	int saved = errno;

	if (q == NULL)
		return;
	free_readers(q);
	(void)munmap(q->header, q->map_size);
	if (q->fd != -1)
		close(q->fd);
	free(q->owned);
	free(q);
	errno = saved;
}

void *
shmq_anonymous(size_t n)
{
	void *p = mmap(
	    NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* --- producer --- */

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

static bool
unmap_range(uint8_t *from, uint8_t *to)
{
	return from == to || munmap(from, (size_t)(to - from)) == 0;
}

struct shmq_producer *
shmq_producer_open(struct shmq *q, unsigned lane)
{
	uint8_t *first = (void *)lane_at(q, 0);
	uint8_t *mine = (void *)lane_at(q, lane);
	uint8_t *end = (void *)lane_at(q, q->n_lanes);

	if (!unmap_range(first, mine) || !unmap_range(mine + stride(q), end))
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
	wake_if(&p->header->sleeping, &p->header->doorbell);
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
		if (!wait_over(p, w, &r))
			wait_for(&p->lane->wake, WAIT_MS);
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
	r = send_message(p, kind, data, len, &w);
	if (r == WAIT_ROOM) {
		w.acked = w.offer;
		r = wait_until(p, &w);
	}
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

/* --- consumer --- */

bool
shmq_consume(struct shmq *q)
{
	struct lane *l;
	unsigned i;

	free_readers(q);
	q->readers = calloc(q->n_lanes, sizeof(*q->readers));
	if (q->readers == NULL)
		return false;
	(void)atomic_fetch_add(&q->header->epoch, 1);
	for (i = 0; i < q->n_lanes; i++) {
		l = lane_at(q, i);
		wake_if(&l->waiting, &l->wake);
	}
	return true;
}

static bool
header_is_sane(const struct header *h, size_t size)
{
	if (size < PAGE + PAGE + MIN_RING || h->magic != MAGIC ||
	    h->version != VERSION || h->map_size != size)
		return false;
	if (h->ring_size < MIN_RING || h->ring_size > MAX_RING ||
	    (h->ring_size & (h->ring_size - 1)) != 0)
		return false;
	return h->n_lanes > 0 && h->n_lanes <= MAX_LANES &&
	       size == PAGE + h->n_lanes * (PAGE + (size_t)h->ring_size);
}

struct shmq *
shmq_attach(int fd)
{
	struct shmq *q;
	struct stat st;
	int own;

	if (fstat(fd, &st) == -1)
		return NULL;
	if (st.st_size < (off_t)(PAGE + PAGE + MIN_RING)) {
		errno = EINVAL;
		return NULL;
	}
	if ((own = fcntl(fd, F_DUPFD_CLOEXEC, 0)) == -1)
		return NULL;
	if ((q = map_segment(own, (size_t)st.st_size)) == NULL)
		return NULL;
	if (!header_is_sane(q->header, q->map_size)) {
		errno = EINVAL;
		shmq_detach(q);
		return NULL;
	}
	q->ring_size = (size_t)q->header->ring_size;
	q->n_lanes = (unsigned)((q->map_size - PAGE) / stride(q));
	if (!shmq_consume(q)) {
		shmq_detach(q);
		return NULL;
	}
	return q;
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
	unsigned i;

	for (i = 0; i < q->n_lanes; i++)
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
	atomic_store(&h->sleeping, 1);
	pending = any_pending(q);
	if (!pending) {
		wait_for(&h->doorbell, timeout_ms);
		pending = any_pending(q);
	}
	atomic_store(&h->sleeping, 0);
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
	unsigned i, lane;

	drop_last(q);
	for (i = 0; i < q->n_lanes; i++) {
		lane = (q->read_from + i) % q->n_lanes;
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
	unsigned i;

	if (atomic_load(&q->header->gate) == (uint32_t)gate)
		return true;
	for (i = 0; gate == SHMQ_OPEN && i < q->n_lanes; i++)
		if (holds_refused(q, i))
			return false;
	atomic_store(&q->header->gate, (uint32_t)gate);
	for (i = 0; i < q->n_lanes; i++)
		wake_if(&lane_at(q, i)->waiting, &lane_at(q, i)->wake);
	return true;
}

void
shmq_refuse_offers(struct shmq *q)
{
	struct reader *r;
	struct lane *l;
	uint64_t head, wanted;
	unsigned i;

	for (i = 0; i < q->n_lanes; i++) {
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
	atomic_store(&q->header->sleeping, 1);
	wait_for(&q->header->doorbell, timeout_ms);
	atomic_store(&q->header->sleeping, 0);
}

bool
shmq_is_empty(struct shmq *q)
{
	const struct lane *l;
	unsigned i;

	for (i = 0; i < q->n_lanes; i++) {
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
	unsigned i, lane;
	uint64_t head;

	for (i = 0; i < q->n_lanes; i++) {
		lane = (q->dead_from + i) % q->n_lanes;
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
