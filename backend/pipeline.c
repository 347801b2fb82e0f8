/*
 * pipeline.c: what the server has not answered yet.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "catalog.h"
#include "log.h"
#include "mem.h"
#include "strip.h"
#include "txn.h"

struct pipeline {
	struct pipeline_entry *ring;
	size_t head; /* of the oldest */
	size_t n, cap;
	size_t n_ready; /* entries that end with ReadyForQuery */
	size_t n_heavy; /* entries that are not light */
};

struct pipeline *
pipeline_new(void)
{
	struct pipeline *p = mem_zalloc(1, sizeof(*p));

	return p;
}

void
pipeline_free(struct pipeline *p)
{
	free(p->ring);
	free(p);
}

static bool
ends_with_ready(char type)
{
	return type == PqMsg_Sync || type == PqMsg_Query ||
	       type == PqMsg_FunctionCall;
}

static bool
is_light(char type)
{
	return type == PqMsg_Parse || type == PqMsg_Bind ||
	       type == PqMsg_Describe || type == PqMsg_Close;
}

static struct pipeline_entry *
at(const struct pipeline *p, size_t i)
{
	return &p->ring[(p->head + i) & (p->cap - 1)];
}

static void
grow(struct pipeline *p)
{
	size_t cap = p->cap == 0 ? 32 : p->cap * 2;
	struct pipeline_entry *ring = mem_zalloc(cap, sizeof(*ring));

	for (size_t i = 0; i < p->n; i++)
		ring[i] = *at(p, i);
	free(p->ring);
	p->ring = ring;
	p->cap = cap;
	p->head = 0;
}

static void
count(struct pipeline *p, char type, size_t by)
{
	p->n_ready += ends_with_ready(type) ? by : 0;
	p->n_heavy += is_light(type) ? 0 : by;
}

struct pipeline_entry *
pipeline_push(struct session *s, char type)
{
	struct pipeline *p = s->pipeline;
	struct pipeline_entry *e;

	if (p->n == p->cap)
		grow(p);
	e = at(p, p->n++);
	memset(e, 0, sizeof(*e));
	e->type = type;
	count(p, type, 1);
	return e;
}

void
pipeline_forward(struct session *s, const struct message *m,
    const struct pipeline_entry *entry)
{
	*pipeline_push(s, entry->type) = *entry;
	wire_put(&s->server, m->raw, m->raw_len);
}

bool
pipeline_in_sync(const struct session *s)
{
	return s->status != 0 && s->pipeline->n == 0 && !s->batch_open;
}

bool
pipeline_is_empty(const struct session *s)
{
	return s->pipeline->n == 0;
}

bool
pipeline_only_reads(const struct session *s)
{
	const struct pipeline *p = s->pipeline;

	for (size_t i = 0; i < p->n; i++)
		if (!is_light(at(p, i)->type) &&
		    (at(p, i)->type != PqMsg_Execute ||
			at(p, i)->kind != STMT_SELECT))
			return false;
	return true;
}

bool
pipeline_is_light(const struct session *s)
{
	return s->pipeline->n_heavy == 0;
}

size_t
pipeline_owed_ready(const struct session *s)
{
	return s->pipeline->n_ready;
}

struct pipeline_entry *
pipeline_front(const struct session *s)
{
	return s->pipeline->n > 0 ? at(s->pipeline, 0) : NULL;
}

static void
pop_front(struct pipeline *p)
{
	count(p, at(p, 0)->type, (size_t)-1);
	p->head = (p->head + 1) & (p->cap - 1);
	p->n--;
}

/* The oldest is answered; the end of copy data has no answer. */
static void
take_front(struct session *s)
{
	struct pipeline *p = s->pipeline;

	portals_confirm(s->portals, at(p, 0)->named);
	pop_front(p);
	while (p->n > 0 && at(p, 0)->type == PqMsg_CopyDone)
		pop_front(p);
}

/* Takes the i-th out: the server read it and will not answer it. */
static void
remove_at(struct session *s, size_t i)
{
	struct pipeline *p = s->pipeline;

	count(p, at(p, i)->type, (size_t)-1);
	portals_undo(s->portals, at(p, i)->named);
	for (; i + 1 < p->n; i++)
		*at(p, i) = *at(p, i + 1);
	p->n--;
}

/*
 * After an error the server skips all up to the next Sync; what was sent is
 * taken back, the latest first.
 */
static void
skip(struct session *s)
{
	struct pipeline *p = s->pipeline;
	size_t end = 0;

	while (end < p->n && at(p, end)->type != PqMsg_Sync)
		end++;
	s->skipping = end == p->n;
	for (size_t i = end; i > 0; i--)
		portals_undo(s->portals, at(p, i - 1)->named);
	for (size_t i = 0; i < end; i++)
		pop_front(p);
}

/* No Sync is behind the last message of the extended protocol. */
static bool
is_open(const struct pipeline *p)
{
	bool open = false;

	for (size_t i = 0; i < p->n; i++)
		if (at(p, i)->type != PqMsg_CopyDone)
			open = !ends_with_ready(at(p, i)->type);
	return open;
}

/*
 * The server reads copy data now.  What was sent before is read as such: Sync
 * is ignored, and anything but copy data ends the session; unless the data is
 * refused before.
 */
static void
enter_copy(struct session *s)
{
	struct pipeline *p = s->pipeline;

	s->copy_syncs = 0;
	while (p->n > 1 && at(p, 1)->type == PqMsg_Sync) {
		remove_at(s, 1);
		s->copy_syncs++;
	}
	/* Those ended nothing. */
	if (s->copy_syncs > 0)
		s->batch_open = is_open(p);
	s->copy_in = p->n <= 1;
	s->copy_foreign = p->n > 1 && at(p, 1)->type != PqMsg_CopyDone;
	if (p->n > 1 && !ends_with_ready(at(p, 0)->type))
		return; /* an error takes all up to the Sync anyway */
	if (p->n > 1)
		remove_at(s, 1);
}

/* Up to the Sync that the server skips to something is no end of copy data. */
static bool
skips_messages(const struct pipeline *p)
{
	for (size_t i = 1; i < p->n && at(p, i)->type != PqMsg_Sync; i++)
		if (at(p, i)->type != PqMsg_CopyDone)
			return true;
	return false;
}

static void
note_error(struct session *s)
{
	s->copy_in = false;
	s->txn->saw_error = true;
	if (s->status == PQ_IN_BLOCK)
		s->status = PQ_FAILED;
}

void
pipeline_end_batch(struct session *s)
{
	s->skipping = s->dropping = false;
	s->batch_open = false;
	s->batch_executions = 0;
}

void
pipeline_fail(struct session *s)
{
	note_error(s);
	skip(s);
}

static void
on_error(struct session *s)
{
	const struct pipeline_entry *e = pipeline_front(s);

	note_error(s);
	if (e == NULL || ends_with_ready(e->type))
		return;
	/* A Sync among copy data may be where it ended: which is not known. */
	if (s->copy_syncs > 0 && skips_messages(s->pipeline))
		s->copy_foreign = true;
	skip(s);
}

void
pipeline_set_savepoint(
    struct pipeline_entry *e, const struct analyzed_statement *st)
{
	e->kind = st->kind;
	if (st->savepoint != NULL && strlen(st->savepoint) < PIPELINE_NAME)
		strcpy(e->savepoint, st->savepoint);
}

static void
note_savepoint(struct session *s, const struct pipeline_entry *e)
{
	switch ((int)e->kind) {
	case STMT_SAVEPOINT:
		txn_savepoint(s->txn, e->savepoint);
		break;
	case STMT_RELEASE:
		txn_release(s->txn, e->savepoint);
		break;
	case STMT_ROLLBACK_TO:
		txn_rollback_to(s->txn, e->savepoint);
		/* DDL and SET are undone, too. */
		catalog_flush(s->catalog);
		break;
	default:
		break;
	}
}

/* The status between two ReadyForQuery messages. */
static void
note_end_of_statement(struct session *s, const struct pipeline_entry *e)
{
	switch ((int)e->kind) {
	case STMT_BEGIN:
	case STMT_ROLLBACK_TO:
		s->status = PQ_IN_BLOCK;
		break;
	case STMT_COMMIT:
	case STMT_ROLLBACK:
	case STMT_PREPARE_TRANSACTION:
		s->status = e->chain ? PQ_IN_BLOCK : PQ_IDLE;
		break;
	default:
		break;
	}
}

static bool
on_end_of_statement(struct session *s)
{
	const struct pipeline_entry *e = pipeline_front(s);
	bool own;

	s->copy_in = false;
	s->copy_syncs = 0;
	if (e != NULL)
		note_savepoint(s, e);
	if (e == NULL || e->type != PqMsg_Execute)
		return true;
	own = e->own;
	note_end_of_statement(s, e);
	take_front(s);
	return !own;
}

/* One answer to a light message. */
static bool
on_light(struct session *s)
{
	const struct pipeline_entry *e = pipeline_front(s);
	bool own = e != NULL && e->own;

	if (e != NULL && is_light(e->type))
		take_front(s);
	return !own;
}

static bool
on_row_description(struct session *s, unsigned *strip)
{
	const struct pipeline_entry *e = pipeline_front(s);

	if (e == NULL || e->type != PqMsg_Describe)
		return true;
	*strip = e->strip;
	return on_light(s);
}

static bool
on_ready(struct session *s, const struct message *m)
{
	const struct pipeline_entry *e = pipeline_front(s);
	bool own = e != NULL && e->own;

	if (e != NULL && ends_with_ready(e->type))
		take_front(s);
	s->copy_in = false;
	s->status = (char)m->body[0];
	if (s->status == PQ_IDLE) {
		portals_clear(s->portals);
		s->portals_unknown = false;
	}
	return !own;
}

bool
pipeline_answer(struct session *s, const struct message *m, unsigned *strip)
{
	*strip = 0;
	switch (m->type) {
	case PqMsg_ParseComplete:
	case PqMsg_BindComplete:
	case PqMsg_CloseComplete:
	case PqMsg_NoData:
		return on_light(s);
	case PqMsg_RowDescription:
		return on_row_description(s, strip);
	case PqMsg_CommandComplete:
	case PqMsg_EmptyQueryResponse:
	case PqMsg_PortalSuspended:
		return on_end_of_statement(s);
	case PqMsg_CopyInResponse:
	case PqMsg_CopyBothResponse:
		enter_copy(s);
		return true;
	case PqMsg_ErrorResponse:
		on_error(s);
		return true;
	case PqMsg_ReadyForQuery:
		return on_ready(s, m);
	default:
		return true;
	}
}

static void
relay(struct session *s, const struct message *m)
{
	unsigned strip;

	if (!pipeline_answer(s, m, &strip))
		return;
	if (strip > 0)
		strip_description(&s->client, m, strip, true);
	else
		wire_put(&s->client, m->raw, m->raw_len);
}

bool
pipeline_catch_up(struct session *s)
{
	struct message m;

	if (pipeline_is_empty(s))
		return session_end_message(s);
	wire_put_empty(&s->server, PqMsg_Flush);
	while (!pipeline_is_empty(s)) {
		if (!session_server_message(s, &m))
			return false;
		relay(s, &m);
		session_take(s, &m);
	}
	return true;
}
