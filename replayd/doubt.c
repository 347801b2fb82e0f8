/*
 * doubt.c: transactions whose end nobody saw: the resolver is asked.
 *
 * A server that crashed gives xids again that it lost.  If two transactions on
 * one timeline have one xid, the one that began earlier (now(), on the server's
 * clock) was lost: aborted, xid_reused.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "doubt.h"

#include <inttypes.h>
#include <sys/socket.h>

#include "log.h"

/* A record comes at most this long after its transaction's begin. */
#define LATE_US INT64_C(300000000)

static void
take_unknown(struct track *t, struct txn *x, const char *reason)
{
	const struct record_outcome_message m = { OUTCOME_UNKNOWN, 0,
		"recorder", reason };

	track_outcome(t, x, &m);
}

/* False: the socket is full; again later. */
static bool
ask(const struct track *t, struct txn *x)
{
	const struct resolver_request q = { .tx_id = x->tx_id,
		.xid = x->xid,
		.system_identifier = x->system_identifier,
		.timeline = x->timeline,
		.began = x->began != 0 ? x->began : x->made - LATE_US,
		.prepared = x->prepared,
		.synchronous_commit_off = x->may_be_lost };

	x->asked = send(t->resolver_fd, &q, sizeof(q),
		       MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(q);
	return x->asked;
}

void
doubt_ask(struct track *t)
{
	struct txn *x;
	size_t i = 0;

	if (!t->unasked || t->resolver_fd < 0)
		return;
	t->unasked = false;
	while (!t->unasked && (x = txtable_next(t->open, &i)) != NULL)
		if (x->in_doubt && !x->asked && !x->final && !ask(t, x))
			t->unasked = true;
}

void
doubt_ask_again(struct track *t)
{
	struct txn *x;
	size_t i = 0;

	while ((x = txtable_next(t->open, &i)) != NULL) {
		x->asked = false;
		t->unasked = t->unasked || (x->in_doubt && !x->final);
	}
}

static void
take_reused(struct track *t, struct txn *x)
{
	const struct record_outcome_message m = { OUTCOME_ABORTED, 0,
		"xid_reused", "" };

	track_outcome(t, x, &m);
}

/* The server lost it in a crash: b has its xid. */
static bool
is_lost(const struct txn *a, const struct txn *b)
{
	return a->xid != 0 && a->xid == b->xid && a->began != 0 &&
	       a->began < b->began && !a->prepared && !a->final &&
	       !a->intent_only && a->timeline == b->timeline &&
	       a->system_identifier == b->system_identifier;
}

static struct track_xid *
xid_slot(struct track *t, uint64_t xid)
{
	return &t->xids[xid % TRACK_XIDS];
}

void
doubt_resume(struct track *t, const struct txn *x)
{
	t->unasked = t->unasked || x->in_doubt;
	if (x->xid != 0 && !x->final)
		*xid_slot(t, x->xid) = (struct track_xid){ x->xid, x->tx_id };
}

void
doubt_find_reused(struct track *t, struct txn *x)
{
	struct track_xid *slot = xid_slot(t, x->xid);
	struct txn *other = slot->xid == x->xid && slot->tx_id != x->tx_id
				? txtable_find(t->open, slot->tx_id)
				: NULL;

	if (other != NULL && is_lost(x, other)) {
		x->reused = true;
		return;
	}
	slot->xid = x->xid;
	slot->tx_id = x->tx_id;
	if (other == NULL || !is_lost(other, x))
		return;
	other->reused = true;
	if (other->in_doubt)
		take_reused(t, other);
}

void
doubt_put(struct track *t, struct txn *x)
{
	if (x->final || x->in_doubt)
		return;
	if (x->reused)
		take_reused(t, x);
	else if (x->xid != 0) {
		x->in_doubt = true;
		t->unasked = true;
	} else
		take_unknown(t, x, "no_xid");
}

/* A restored backup, or a standby that was promoted: said in the log. */
static void
take_identity(struct track *t, const struct resolver_answer *a)
{
	bool known = t->context.system_identifier != 0;

	if (known && (a->system_identifier != t->context.system_identifier ||
			 a->timeline != t->timeline)) {
		log_warning("server_changed",
		    "the server was system %" PRIu64 " on timeline %" PRIu64
		    ", now %" PRIu64 " on timeline %" PRIu64,
		    t->context.system_identifier, t->timeline,
		    a->system_identifier, a->timeline);
		evidence_append(
		    t->evidence, "Gap", line_gap("", "server_changed", 0));
	}
	t->context.system_identifier = a->system_identifier;
	t->timeline = a->timeline;
	if (t->evidence != NULL)
		evidence_set_timeline(t->evidence, a->timeline);
}

void
doubt_answer(struct track *t, const struct resolver_answer *a)
{
	const struct record_outcome_message m = { a->outcome, 0,
		"pg_xact_status", a->reason };
	struct txn *x;

	if (a->kind == RESOLVER_IDENTITY) {
		take_identity(t, a);
		return;
	}
	x = txtable_find(t->open, a->tx_id);
	if (x != NULL && !x->final)
		track_outcome(t, x, &m);
}
