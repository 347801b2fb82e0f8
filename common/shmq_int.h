/*
 * shmq_int.h: how the segment of the lanes is laid out, for common/shmq*.c.
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
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SHMQ_INT_H
#define PGW_SHMQ_INT_H

#include <semaphore.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "buf.h"
#include "ioutil.h"
#include "shmq.h"

#define MAGIC 0x70677771u       /* "pgwq" */
#define CHUNK_MAGIC 0x70677763u /* "pgwc" */
#define VERSION 3u
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
 * sleeping: enum sleep, set by the consumer before it looks at all lanes a last
 * time and sleeps on `doorbell`; cleared by whoever takes the duty to post (a
 * producer or the postmaster), or by the consumer.  Stores and loads of it, of
 * `head`, `state` and `waiting` around it are sequentially consistent: either
 * the consumer's last look sees the new head, or the producer's look at
 * `sleeping` sees that it sleeps.
 *
 * in_use: no lane from there on was ever taken.  Only grows; by the postmaster,
 * before the lane's child exists, so that who is told of a message by
 * `sleeping` also finds its lane.  Read by the consumer, which forgets no lane
 * that it knows, whatever a child wrote here.
 *
 * gate: enum shmq_gate, by the consumer; read by producers before they send
 * what can wait or be refused.  A producer that misses a change finds it on
 * its next look, at most WAIT_MS later.
 */
enum sleep {
	AWAKE,
	SLEEPS, /* until there is anything */
	DOZES   /* until somebody waits */
};

struct header {
	uint32_t magic;
	uint32_t version;
	uint64_t map_size;
	uint64_t ring_size;
	uint32_t n_lanes;
	_Atomic uint64_t epoch;
	_Atomic uint32_t in_use;
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
	/* consumer */
	struct reader *readers;
	unsigned in_use; /* of all lanes the first so many */
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
static inline size_t
stride(const struct shmq *q)
{
	return PAGE + q->ring_size;
}

static inline struct lane *
lane_at(const struct shmq *q, unsigned lane)
{
	uint8_t *base = (void *)q->header;

	return (void *)(base + PAGE + (size_t)lane * stride(q));
}

static inline uint8_t *
ring_of(struct lane *l)
{
	return (uint8_t *)(void *)l + PAGE;
}

static inline uint64_t
chunk_size(size_t data)
{
	return (CHUNK_HEADER + data + 7) & ~(uint64_t)7;
}

/* What a message takes in a ring when it is there as a whole. */
static inline uint64_t
message_size(uint64_t total)
{
	uint64_t full = total / CHUNK_DATA;
	size_t rest = (size_t)(total % CHUNK_DATA);

	if (rest > 0 || full == 0)
		return full * CHUNK_MAX + chunk_size(rest);
	return full * CHUNK_MAX;
}

static inline bool
is_large(uint64_t total, size_t ring_size)
{
	return message_size(total) > ring_size / 2;
}

static inline void
ring_put(uint8_t *ring, size_t size, uint64_t at, const void *p, size_t n)
{
	size_t from = (size_t)(at & (size - 1));
	size_t first = n < size - from ? n : size - from;

	if (n == 0)
		return;
	memcpy(ring + from, p, first);
	memcpy(ring, (const uint8_t *)p + first, n - first);
}

static inline void
ring_get(const uint8_t *ring, size_t size, uint64_t at, void *p, size_t n)
{
	size_t from = (size_t)(at & (size - 1));
	size_t first = n < size - from ? n : size - from;

	if (n == 0)
		return;
	memcpy(p, ring + from, first);
	memcpy((uint8_t *)p + first, ring, n - first);
}

static inline uint32_t
chunk_crc(const struct chunk *c, const void *data)
{
	uint32_t crc;

	crc = io_crc32c(
	    0, (const uint8_t *)c + CRC_FROM, CHUNK_HEADER - CRC_FROM);
	return io_crc32c(crc, data, c->length);
}
/* The two sides of `sleeping` and of `waiting`. */
static inline void
wake_if(_Atomic uint32_t *flag, sem_t *s)
{
	if (atomic_load(flag) != 0 && atomic_exchange(flag, 0) != 0)
		(void)sem_post(s);
}

/* The consumer's bell: for a message, or (urgent) by one who waits. */
static inline void
ring_bell(struct header *h, bool urgent)
{
	if (urgent || atomic_load(&h->sleeping) == SLEEPS)
		wake_if(&h->sleeping, &h->doorbell);
}

/* Sleeps until s is posted, or for ms. */
void shmq_wait_for(sem_t *s, int ms);

/* Of all lanes that one alone is mapped from here on.  False with errno. */
PGW_MUSTCHECK bool shmq_map_only(struct shmq *q, unsigned lane);

/* The consumer's memory. */
void shmq_free_readers(struct shmq *q);

#endif
