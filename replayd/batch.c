/*
 * batch.c: a ring of jobs, of which many are in the verification cluster at
 * once.
 *
 * Owns the ring, the groups on their way, a spool reader and the arenas: a
 * small one for each place in the ring, and one that is as large as a job may
 * need, for what is run alone.  Called by worker.c.
 *
 *	WAITING -> SENT -> DONE		verified
 *	   ^         |--> ALONE -> DONE	anything else
 *	   '---------'			skipped behind another one's error
 *	DDL -> DONE			once all before it are done
 *
 * Answers come in the order of groups.  The session that a group was sent to
 * is left alone (no clean-up, nothing run alone) until it has answered.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "compare.h"
#include "dispatch.h"
#include "ioutil.h"
#include "job.h"
#include "killpoint.h"
#include "log.h"
#include "mem.h"
#include "record.h"
#include "schema.h"
#include "session.h"

/* A record and what its replay makes of it, in captures of the largest. */
#define ARENA_PER_CAPTURE 8
#define SLOTS DISPATCH_MAX_OUTSTANDING
#define GROUPS 4
#define SMALL_RECORD ((size_t)64 << 10)
#define SMALL_ARENA ((size_t)4 << 20)
/* A group that does not answer for so long is given up. */
#define QUIET_US INT64_C(2000000)

enum slot_state { SLOT_WAITING, SLOT_SENT, SLOT_ALONE, SLOT_DDL, SLOT_DONE };

struct slot {
	enum slot_state state;
	struct worker_job wanted;
	struct arena *arena;
	struct record record; /* not of SLOT_ALONE */
	struct job job;
	struct verdict verdict;
};

struct group {
	struct schema_copy *copy;
	struct slot *slots[BATCH_GROUP];
	unsigned n;
	int64_t since_us; /* sent, or the one before has answered */
};

struct batch {
	const struct config *config;
	struct replay *replay;
	struct spool_reader *spool;
	struct arena *large;
	struct slot slots[SLOTS]; /* a ring */
	unsigned head;            /* the oldest */
	unsigned n;
	struct group groups[GROUPS]; /* a ring, oldest first */
	unsigned first;
	unsigned n_groups;
	int64_t made_us; /* of what was read last */
};

struct batch *
batch_new(const struct config *c, struct replay *p)
{
	size_t limit = c->max_capture_bytes > 0
			   ? (size_t)c->max_capture_bytes * ARENA_PER_CAPTURE
			   : 0;
	struct batch *b = mem_zalloc(1, sizeof(*b));

	b->config = c;
	b->replay = p;
	b->large = arena_new(limit);
	for (unsigned i = 0; i < SLOTS; i++)
		b->slots[i].arena = arena_new(SMALL_ARENA);
	return b;
}

void
batch_free(struct batch *b)
{
	for (unsigned i = 0; i < SLOTS; i++)
		arena_free(b->slots[i].arena);
	arena_free(b->large);
	if (b->spool != NULL)
		spool_reader_close(b->spool);
	free(b);
}

/* --- the ring --- */

static struct slot *
slot_at(struct batch *b, unsigned i)
{
	return &b->slots[(b->head + i) % SLOTS];
}

bool
batch_has_room(const struct batch *b)
{
	return b->n < SLOTS;
}

bool
batch_is_empty(const struct batch *b)
{
	return b->n == 0;
}

/* The frame of a job's record; valid until the next read. */
static bool
read_frame(struct batch *b, const struct worker_job *job, enum spool_kind kind,
    struct spool_frame *f)
{
	if (b->spool == NULL)
		b->spool = spool_reader_open(b->config->data_dir);
	return b->spool != NULL && spool_read(b->spool, job->at, f) &&
	       f->kind == kind &&
	       (kind == SPOOL_DDL || f->tx_id == job->tx_id);
}

static bool
read_record(struct batch *b, const struct worker_job *job, struct arena *a,
    size_t max_bytes, struct record *r)
{
	struct spool_frame f;
	const char *bytes;

	if (!read_frame(b, job, SPOOL_RECORD, &f) || f.payload_len > max_bytes)
		return false;
	bytes = arena_memdup(a, f.payload, f.payload_len);
	if (bytes == NULL || !record_decode(bytes, f.payload_len, a, r))
		return false;
	b->made_us = r->time_us;
	return true;
}

void
batch_push(struct batch *b, const struct worker_job *job)
{
	struct slot *s = slot_at(b, b->n++);

	KILLPOINT("worker_job");
	s->wanted = *job;
	arena_reset(s->arena);
	if (job->tx_id == 0) {
		s->state = SLOT_DDL;
		return;
	}
	s->state = read_record(b, job, s->arena, SMALL_RECORD, &s->record) &&
			   replay_is_wanted(
			       b->replay, &s->record, s->arena, &s->verdict)
		       ? SLOT_WAITING
		       : SLOT_ALONE;
}

int64_t
batch_made_us(const struct batch *b)
{
	return b->made_us;
}

bool
batch_is_done(const struct batch *b)
{
	return b->n > 0 && b->slots[b->head].state == SLOT_DONE;
}

const struct verdict *
batch_verdict(const struct batch *b)
{
	const struct slot *s = &b->slots[b->head];

	return s->wanted.tx_id != 0 ? &s->verdict : NULL;
}

void
batch_pop(struct batch *b)
{
	b->head = (b->head + 1) % SLOTS;
	b->n--;
}

/* --- alone --- */

static void
unreadable(const struct worker_job *job, struct verdict *v)
{
	log_error("job_unreadable",
	    "the record of transaction %llu cannot be"
	    " read from the spool",
	    (unsigned long long)job->tx_id);
	v->kind = VERDICT_ERROR;
	v->reason = reason_name(REASON_RECORD_UNREADABLE);
	v->detail = "";
}

/* False: no verdict, we are to stop. */
static bool
run_alone(struct batch *b, struct slot *s)
{
	struct record r;
	struct spool_frame f;

	memset(&s->verdict, 0, sizeof(s->verdict));
	s->verdict.tx_id = s->wanted.tx_id;
	s->verdict.statement = -1;
	s->state = SLOT_DONE;
	arena_reset(b->large);
	if (read_frame(b, &s->wanted, SPOOL_RECORD, &f) &&
	    record_decode(f.payload, f.payload_len, b->large, &r))
		return replay_run(b->replay, &r, b->large, &s->verdict);
	unreadable(&s->wanted, &s->verdict);
	return true;
}

/* The same. */
static bool
run_ddl(struct batch *b, struct slot *s)
{
	struct record r;
	struct spool_frame f;

	s->state = SLOT_DONE;
	arena_reset(b->large);
	if (read_frame(b, &s->wanted, SPOOL_DDL, &f) &&
	    record_decode(f.payload, f.payload_len, b->large, &r)) {
		b->made_us = r.time_us;
		return schema_ddl(replay_schema(b->replay), &r);
	}
	log_warning("ddl_unreadable",
	    "a message of DDL cannot be read from the spool");
	return true;
}

/* --- sending --- */

/* The copy, if the job can go there at once, with others. */
static struct schema_copy *
ready_copy(struct batch *b, const struct slot *s)
{
	struct schema_copy *copy = schema_copy_ready(
	    replay_schema(b->replay), &s->record);

	return copy != NULL && copy->conn != NULL &&
		       job_fits_batch(&s->record, copy)
		   ? copy
		   : NULL;
}

/* The next jobs that wait, for one copy; none behind one that goes alone. */
static void
collect(struct batch *b, struct group *g)
{
	memset(g, 0, sizeof(*g));
	for (unsigned i = 0; i < b->n && g->n < BATCH_GROUP; i++) {
		struct slot *s = slot_at(b, i);
		struct schema_copy *copy;

		if (s->state == SLOT_ALONE || s->state == SLOT_DDL)
			return;
		if (s->state != SLOT_WAITING)
			continue;
		copy = ready_copy(b, s);
		if (copy == NULL)
			s->state = SLOT_ALONE;
		if (copy == NULL || (g->n > 0 && copy != g->copy))
			return;
		g->copy = copy;
		g->slots[g->n++] = s;
	}
}

/*
 * The session cannot go on: what it has not answered waits again, but for the
 * culprit.  It has to be opened by a job alone.
 */
static void
lose_session(struct batch *b, struct schema_copy *copy, struct slot *culprit)
{
	session_kill(b->config, copy);
	for (unsigned i = 0; i < b->n_groups; i++) {
		struct group *g = &b->groups[(b->first + i) % GROUPS];

		for (unsigned k = 0; g->copy == copy && k < g->n; k++)
			if (g->slots[k]->state == SLOT_SENT)
				g->slots[k]->state = SLOT_WAITING;
		if (g->copy == copy)
			g->n = 0;
	}
	culprit->state = SLOT_ALONE;
}

static void
send_group(struct batch *b, struct group *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		struct slot *s = g->slots[i];

		s->state = SLOT_SENT;
		s->job = (struct job){ .record = &s->record,
			.copy = g->copy,
			.arena = s->arena,
			.message = "" };
		if (!job_send_in_batch(&s->job, i == 0, i + 1 == g->n)) {
			lose_session(b, g->copy, s);
			return;
		}
	}
}

/* True if something was sent. */
static bool
send_more(struct batch *b)
{
	struct group *g = &b->groups[(b->first + b->n_groups) % GROUPS];

	if (b->n_groups == GROUPS)
		return false;
	collect(b, g);
	if (g->n == 0)
		return false;
	if (session_is_due(g->copy)) {
		if (b->n_groups > 0)
			return false;
		session_clean(g->copy);
		if (g->copy->conn == NULL)
			return false;
	}
	g->since_us = io_monotonic_us();
	b->n_groups++;
	send_group(b, g);
	return true;
}

/* --- receiving --- */

static void
settle(struct slot *s, int64_t since_us)
{
	struct verdict *v = &s->verdict;

	s->state = SLOT_ALONE;
	if (s->job.skipped) {
		s->state = SLOT_WAITING;
		return;
	}
	replay_verdict_init(v, s->wanted.tx_id);
	if (s->job.failure == JOB_FINE &&
	    compare_tables(&s->record, s->job.calculated, s->arena, v) &&
	    v->kind == VERDICT_VERIFIED) {
		v->replay_ms = (double)(io_monotonic_us() - since_us) / 1000.0;
		s->state = SLOT_DONE;
	}
	s->job.copy->jobs++;
}

/* False: SIGTERM is pending. */
static bool
receive_group(struct batch *b)
{
	struct group *g = &b->groups[b->first];
	int64_t since_us = g->since_us;

	for (unsigned i = 0; i < g->n; i++) {
		struct slot *s = g->slots[i];
		enum session_wait w;

		s->job.deadline = io_monotonic_us() + QUIET_US;
		w = job_receive_in_batch(&s->job);
		if (w == SESSION_STOPPED)
			return false;
		if (w != SESSION_READY) {
			lose_session(b, g->copy, s);
			break;
		}
		settle(s, since_us);
		since_us = io_monotonic_us();
	}
	b->first = (b->first + 1) % GROUPS;
	b->n_groups--;
	return true;
}

static struct slot *
oldest_open(struct batch *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct slot *s = slot_at(b, i);

		if (s->state != SLOT_DONE)
			return s;
	}
	return NULL;
}

bool
batch_step(struct batch *b)
{
	struct slot *s;

	while (send_more(b))
		continue;
	if (b->n_groups > 0)
		return receive_group(b);
	s = oldest_open(b);
	if (s != NULL && s->state == SLOT_DDL)
		return run_ddl(b, s);
	return s == NULL || s->state != SLOT_ALONE || run_alone(b, s);
}
