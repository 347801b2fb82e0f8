/*
 * fuzz_lane.c: a hostile child writes what it likes into its lane and into the
 * page that all share; the consumer must neither fall over nor give out
 * anything wrong of another lane.
 *
 * Input: a script of one-byte commands with their operands.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "buf.h"
#include "fuzz.h"
#include "ioutil.h"
#include "log.h"
#include "shmq.h"

/* The layout of common/shmq_int.h, as a hostile child would know it. */
#define PAGE ((size_t)4096)
#define RING ((size_t)128 * 1024)
#define LANE_AT PAGE
#define RING_AT (2 * PAGE)
#define GENERATION_AT 8
#define HEAD_AT 64
#define HEADER_FROM 32
#define DOORBELL_AT 72
#define WAKE_AT 192
#define LANE_WORDS 256
#define CHUNK_BYTES 48
#define CHUNK_MAGIC 0x70677763u
#define HOSTILE 0u
#define HONEST 1u
#define MAX_STEPS 400

struct world {
	struct shmq *queue;
	uint8_t *map; /* the hostile child's own mapping */
	size_t size;
	uint64_t head; /* where the hostile child writes */
	struct shmq_producer *honest;
	uint64_t sent, got;    /* of the honest lane */
	volatile uint8_t seen; /* so that all bytes are read */
};

static bool
never_wait(void *arg)
{
	(void)arg;
	return true;
}

static uint64_t
word(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void
ring_write(struct world *w, const void *p, size_t n)
{
	const uint8_t *from = p;

	for (size_t i = 0; i < n; i++)
		w->map[RING_AT + ((w->head + i) & (RING - 1))] = from[i];
	w->head += (n + 7) & ~(uint64_t)7;
}

static void
publish(struct world *w)
{
	memcpy(w->map + LANE_AT + HEAD_AT, &w->head, sizeof(w->head));
}

/* A chunk whose CRC holds, whatever it says. */
static void
put_chunk(struct world *w, struct take *in, bool plausible)
{
	uint8_t c[CHUNK_BYTES + 4096] = { 0 };
	uint32_t magic = CHUNK_MAGIC, crc, length = take_u8(in) * 16u;
	uint64_t sequence = take_u8(in), total, offset;
	size_t n;
	const uint8_t *data;

	total = plausible ? length + take_u8(in) * 16u : take_u32(in);
	offset = plausible ? take_u8(in) * 16u : take_u32(in);
	if (plausible && take_u8(in) < 128)
		offset = 0;
	data = take_bytes(in, length, &n);
	memcpy(c + CHUNK_BYTES, data, n);
	if (!plausible)
		length = take_u32(in);
	memcpy(c, &magic, 4);
	memcpy(c + 8, w->map + LANE_AT + GENERATION_AT, 8);
	memcpy(c + 16, &sequence, 8);
	memcpy(c + 24, &total, 8);
	memcpy(c + 32, &offset, 8);
	memcpy(c + 40, &length, 4);
	c[44] = take_u8(in);
	if (length > 4096)
		n = 4096;
	else
		n = length;
	crc = io_crc32c(0, c + 8, CHUNK_BYTES - 8);
	crc = io_crc32c(crc, c + CHUNK_BYTES, n);
	memcpy(c + 4, &crc, 4);
	ring_write(w, c, CHUNK_BYTES + n);
	publish(w);
}

/*
 * Behind a semaphore's count stand the flags by which glibc calls futex(); with
 * others it ends the process that posts.  That stops the witness, which a child
 * could do by kill() as well, and falsifies nothing.
 */
static bool
is_futex_flags(size_t at, size_t semaphore)
{
	return at / 8 == semaphore / 8 + 1;
}

static void
poke(struct world *w, struct take *in)
{
	uint8_t at = take_u8(in);
	uint64_t v = take_u32(in);

	if (at & 1)
		v |= (uint64_t)take_u32(in) << 32;
	if (is_futex_flags(at, WAKE_AT))
		return;
	memcpy(w->map + LANE_AT + (at & ~7u), &v, sizeof(v));
	if ((at & ~7u) == HEAD_AT)
		w->head = v;
}

static void
poke_header(struct world *w, struct take *in)
{
	size_t at = HEADER_FROM + take_u8(in) % 96;
	uint8_t v = take_u8(in);

	if (!is_futex_flags(at, DOORBELL_AT))
		w->map[at] = v;
}

static void
honest_message(struct world *w)
{
	uint8_t text[64];

	memset(text, (int)(w->sent % 251), sizeof(text));
	if (shmq_send(w->honest, 1, text, sizeof(text), never_wait, NULL) != 0)
		w->sent++;
}

static void
check_honest(struct world *w, const struct shmq_message *m)
{
	const uint8_t *p = m->data;

	must(m->len == 64 && m->kind == 1);
	must(m->sequence > w->got && m->sequence <= w->sent);
	must(p[0] == (m->sequence - 1) % 251 && p[63] == p[0]);
	w->got = m->sequence;
}

static void
consume(struct world *w, unsigned n, bool ack)
{
	struct shmq_message m;

	(void)shmq_wait(w->queue, 0);
	while (n-- > 0 && shmq_next(w->queue, &m)) {
		uint8_t sum = 0;

		must(m.len <= SHMQ_MAX_MESSAGE && m.lane <= HONEST);
		for (size_t i = 0; i < m.len; i++)
			sum ^= ((const uint8_t *)m.data)[i];
		w->seen ^= sum;
		fuzz_accepted |= m.lane == HOSTILE;
		if (m.lane == HONEST)
			check_honest(w, &m);
		if (ack)
			shmq_ack(w->queue, m.lane, m.sequence);
	}
}

static void
consumer_again(struct world *w)
{
	shmq_begin_again(w->queue);
	/* What was not acknowledged comes again. */
	w->got = 0;
}

/* Its process is gone: drained, wiped, given to the next child. */
static void
bury(struct world *w)
{
	uint64_t generation;
	unsigned lane;

	shmq_lane_retire(w->queue, HOSTILE);
	consume(w, 100, true);
	lane = shmq_dead_lane(w->queue, &generation);
	if (lane == HOSTILE)
		shmq_lane_free(w->queue, lane);
	if (shmq_lane_take(w->queue) == HOSTILE && lane == HOSTILE) {
		must(word(w->map + LANE_AT + HEAD_AT) == 0);
		w->head = 0;
	}
}

static void
step(struct world *w, struct take *in)
{
	uint8_t command = take_u8(in);

	switch (command % 12) {
	case 0:
	case 1:
		put_chunk(w, in, true);
		break;
	case 2:
		put_chunk(w, in, false);
		break;
	case 3:
		poke(w, in);
		break;
	case 4:
		w->map[RING_AT + take_u32(in) % RING] ^= command;
		break;
	case 5:
		poke_header(w, in);
		break;
	case 6:
		honest_message(w);
		break;
	case 7:
		consumer_again(w);
		break;
	case 8:
		(void)shmq_set_gate(w->queue, take_u8(in) % 3);
		shmq_refuse_offers(w->queue);
		break;
	case 9:
		bury(w);
		break;
	default:
		consume(w, command / 12, command % 12 == 10);
		break;
	}
}

static bool
open_world(struct world *w)
{
	w->queue = shmq_create(2, RING);
	if (w->queue == NULL)
		return false;
	w->size = PAGE + 2 * (PAGE + RING);
	w->map = mmap(NULL, w->size, PROT_READ | PROT_WRITE, MAP_SHARED,
	    shmq_fd(w->queue), 0);
	if (w->map == MAP_FAILED || shmq_lane_take(w->queue) != HOSTILE ||
	    shmq_lane_take(w->queue) != HONEST)
		return false;
	w->honest = shmq_producer_join(w->queue, HONEST);
	return w->honest != NULL && shmq_consume(w->queue);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct take in = { data, size };
	struct world w = { .sent = 0 };

	log_set_level(LOG_FATAL_);
	if (!open_world(&w))
		abort();
	for (int i = 0; i < MAX_STEPS && in.left > 0; i++)
		step(&w, &in);
	/* Whatever was done to the one, the other is served. */
	honest_message(&w);
	consumer_again(&w);
	consume(&w, 10000, true);
	must(w.got == w.sent || w.sent == 0);
	shmq_producer_close(w.honest);
	munmap(w.map, w.size);
	shmq_detach(w.queue);
	return 0;
}
