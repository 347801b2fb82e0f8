/*
 * shmq.h: the shared-memory lanes between backends and replayd.
 *
 * One shm_open() segment, unlinked once mapped, its descriptor inherited by
 * replayd.  Each backend child has one lane: a single-producer single-consumer
 * byte ring.  There is no critical section to die in: semaphores only wake,
 * the truth is in the atomics, every wait is timed and looks again.
 * common/shmq_int.h documents each shared field: who writes, who reads, why no
 * lock.  The only user of semaphores and mmap.
 *
 * Messages of any size travel in chunks of at most 64 kB.  No message is lost,
 * halved or given out twice by a consumer that dies: what is not acknowledged
 * stays in the ring, or, if it is larger than that allows, in shmq_send().
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SHMQ_H
#define PGW_SHMQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "attr.h"

struct shmq;
struct shmq_producer;

#define SHMQ_NO_LANE (~0u)
#define SHMQ_MAX_MESSAGE ((size_t)1 << 30)

/* --- postmaster --- */

/* lane_bytes is rounded up to a power of two of at least 128 kB.  Children do
 * not inherit the lanes.  NULL with errno. */
PGW_MUSTCHECK struct shmq *shmq_create(unsigned n_lanes, size_t lane_bytes);
/* Close-on-exec; the postmaster clears that in the child that execs replayd. */
int shmq_fd(const struct shmq *q);
unsigned shmq_lanes(const struct shmq *q);
/* A free lane for a new child, now owned; SHMQ_NO_LANE if there is none. */
PGW_MUSTCHECK unsigned shmq_lane_take(struct shmq *q);
/* The lane's child is gone: replayd drains and frees it (or frees at once, if
 * the child never sent anything). */
void shmq_lane_retire(struct shmq *q, unsigned lane);
void shmq_detach(struct shmq *q);

/* --- backend child: producer of one lane --- */

/* Maps its own lane, no other, and closes shmq_fd().  NULL with errno. */
PGW_MUSTCHECK struct shmq_producer *shmq_producer_open(struct shmq *q,
	unsigned lane);

/*
 * Asked at least every 100 ms while waiting; true ends the wait.  May be NULL.
 */
typedef bool (*shmq_stop_fn)(void *arg);

/*
 * Copies the message into the lane, waiting for room as needed.  Returns its
 * sequence (from 1); 0 if stop() ended it (EINTR), it is longer than
 * SHMQ_MAX_MESSAGE (EMSGSIZE), or the lane is broken (EBADMSG): then nothing
 * more can be handed over and the session must end.  kind: enum record_kind.
 * Never refused: for what has happened already.  A message of less than half
 * a lane that finds room is there at once; nobody waits for a disk.
 *
 * A message that takes more than half the lane is durable when this returns
 * its sequence: its data must stay at hand until then, because a new consumer
 * needs it again.  If stop() ended the wait for such a one, it may become
 * durable or not; a smaller one was not sent at all.
 */
PGW_MUSTCHECK uint64_t shmq_send(struct shmq_producer *p, uint8_t kind,
	const void *data, size_t len, shmq_stop_fn stop, void *arg);

/*
 * Waits until replayd has made the message durable.  False: stop() ended it
 * (EINTR), or the lane is broken (EBADMSG).
 */
PGW_MUSTCHECK bool shmq_wait_acked(struct shmq_producer *p, uint64_t sequence,
	shmq_stop_fn stop, void *arg);

/*
 * While the spool cannot take more (its disk, or evidence.spool_max_bytes),
 * replayd closes the gate: those who have not yet done what they want recorded
 * wait, or are refused (evidence.on_spool_full).
 */
enum shmq_gate { SHMQ_OPEN, SHMQ_CLOSED_WAIT, SHMQ_CLOSED_REFUSE };

enum shmq_answer {
	SHMQ_OK,
	SHMQ_STOPPED,	/* by stop() */
	SHMQ_REFUSED,	/* the disk: 53100 */
	SHMQ_TOO_LONG,	/* than SHMQ_MAX_MESSAGE */
	SHMQ_BROKEN	/* the lane: the session must end */
};

/* Before something is done whose record will come by shmq_send(): waits while
 * the gate is closed.  SHMQ_OK, SHMQ_STOPPED, SHMQ_REFUSED or SHMQ_BROKEN. */
PGW_MUSTCHECK enum shmq_answer shmq_admit(struct shmq_producer *p,
	shmq_stop_fn stop, void *arg);

/*
 * Sends what can still be undone, and waits until it is durable: SHMQ_OK.
 * SHMQ_REFUSED: it is not in the spool and will not come there; the consumer,
 * who alone knows what it has written, said so (or nothing was sent).  After
 * SHMQ_STOPPED and SHMQ_BROKEN it may become durable or not.
 */
PGW_MUSTCHECK enum shmq_answer shmq_offer(struct shmq_producer *p,
	uint8_t kind, const void *data, size_t len, shmq_stop_fn stop,
	void *arg);

/* The gate refuses now; only to say so before any work is done. */
PGW_MUSTCHECK bool shmq_refused(const struct shmq_producer *p);

/* --- replayd: consumer of all lanes --- */

PGW_MUSTCHECK struct shmq *shmq_attach(int fd);

struct shmq_message {
	unsigned lane;
	uint64_t generation;	/* of the lane: one child is one generation */
	uint64_t sequence;
	uint8_t kind;
	const void *data;	/* valid until the next shmq_next() */
	size_t len;
};

/*
 * Waits up to timeout_ms for the doorbell; true if there may be something.
 * Also returns on a signal.
 */
bool shmq_wait(struct shmq *q, int timeout_ms);

/*
 * The next whole message of any lane, round robin; false if there is none
 * now.  Its space in the ring stays taken until it is acknowledged, so that
 * the next consumer finds it if this one dies.  Also false while a message
 * larger than half a lane waits for those before it in its lane to be
 * acknowledged: acknowledge what was given out before shmq_wait().
 *
 * A lane whose content makes no sense is logged once and ignored until its
 * process is dead; its producer's waits end.
 */
PGW_MUSTCHECK bool shmq_next(struct shmq *q, struct shmq_message *m);

/*
 * The message and all before it in its lane are durable; wakes the child, and
 * frees their space if it is the last that shmq_next() gave out of that lane.
 * Right after shmq_attach(): what the predecessor made durable but did not
 * acknowledge; shmq_next() then skips it.
 */
void shmq_ack(struct shmq *q, unsigned lane, uint64_t sequence);

/*
 * The consumer could not make durable what shmq_next() gave out since the last
 * acknowledgements: forgets it and becomes a new consumer, to which all of it
 * is given again.  Ends the process without memory.
 */
void shmq_begin_again(struct shmq *q);

/*
 * Stays as it is when the consumer dies.  SHMQ_OPEN is put off (false) while a
 * refused message is still in a ring.
 */
bool shmq_set_gate(struct shmq *q, enum shmq_gate gate);

/*
 * With SHMQ_CLOSED_REFUSE, after shmq_begin_again() and before any
 * shmq_next(): answers SHMQ_REFUSED to all offers whose producers ask.
 */
void shmq_refuse_offers(struct shmq *q);

/* Sleeps until a producer rings, whatever the lanes hold, or timeout_ms. */
void shmq_nap(struct shmq *q, int timeout_ms);

/* The same until one rings who waits, for an acknowledgement or for room. */
void shmq_doze(struct shmq *q, int timeout_ms);
/* One waits. */
bool shmq_is_awaited(struct shmq *q);

/* Nothing is in the lanes that is not acknowledged. */
bool shmq_is_empty(struct shmq *q);

/*
 * The generation of the lane's child, 0 if it never sent anything.  Unique
 * over all lanes and boots.
 */
uint64_t shmq_lane_generation(struct shmq *q, unsigned lane);

/*
 * A lane whose child is gone and that shmq_next() has emptied; SHMQ_NO_LANE if
 * there is none.  After dealing with it the consumer calls shmq_lane_free(),
 * which wipes it and lets the postmaster use it again.
 */
PGW_MUSTCHECK unsigned shmq_dead_lane(struct shmq *q, uint64_t *generation);
void shmq_lane_free(struct shmq *q, unsigned lane);

/*
 * Zeroed memory that processes forked later share; never freed.  NULL with
 * errno.
 */
PGW_MUSTCHECK void *shmq_anonymous(size_t n);

/* --- threads of one process (tests) --- */

/* As shmq_attach(), in the mapping of q; again: a new consumer. */
PGW_MUSTCHECK bool shmq_consume(struct shmq *q);
/* As shmq_producer_open(), but leaves the mapping as it is. */
PGW_MUSTCHECK struct shmq_producer *shmq_producer_join(struct shmq *q,
	unsigned lane);
void shmq_producer_close(struct shmq_producer *p);

#endif
