/*
 * track.c: record, outcome, verdict: one evidence line each, in that order.
 *
 * The table of open transactions says what the log has.  tx_ids of records
 * only grow, so one that is not in the table and not above the highest is
 * closed, and a frame about it is a repetition after a restart.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "track.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bundle.h"
#include "jsonx.h"
#include "log.h"

#define MAX_LOGGED_MISMATCHES 10

/* --- verdicts --- */

static void
log_mismatch(const struct verdict *v)
{
	size_t n = v->n_mismatches < MAX_LOGGED_MISMATCHES
	    ? v->n_mismatches
	    : MAX_LOGGED_MISMATCHES;

	if (n == 0)
		log_error("mismatch", "transaction %" PRIu64
		    " was not reproduced: %s", v->tx_id, v->reason);
	for (size_t i = 0; i < n; i++) {
		const struct verdict_mismatch *m = &v->mismatches[i];

		log_error("mismatch", "transaction %" PRIu64
		    " was not reproduced: table %s, column %s", v->tx_id,
		    m->table == NULL ? "?" : m->table,
		    m->column == NULL ? "(the whole row)" : m->column);
	}
}

static void
log_verdict(const struct verdict *v)
{
	switch (v->kind) {
	case VERDICT_VERIFIED:
		log_debug("verified", "transaction %" PRIu64, v->tx_id);
		break;
	case VERDICT_MISMATCH:
		log_mismatch(v);
		break;
	case VERDICT_UNVERIFIABLE:
		log_debug("unverifiable", "transaction %" PRIu64 ": %s %s",
		    v->tx_id, v->reason, v->detail);
		break;
	case VERDICT_ERROR:
		log_warning("verdict_error", "transaction %" PRIu64 ": %s %s",
		    v->tx_id, v->reason, v->detail);
		break;
	}
}

static void
end_with_verdict(struct track *t, const struct txn *x,
	const struct verdict *v, const char *bundle)
{
	evidence_append(t->evidence, "VerificationResult",
	    line_verdict(x, v, bundle));
	log_verdict(v);
	txtable_remove(t->open, x->tx_id);
}

static void
end_without_replay(struct track *t, const struct txn *x, const char *reason)
{
	struct verdict v = { .tx_id = x->tx_id,
		.kind = VERDICT_UNVERIFIABLE,
		.reason = reason,
		.detail = "",
		.statement = -1 };

	end_with_verdict(t, x, &v, NULL);
}

/* Committed: replay it, or say why not. */
static void
settle(struct track *t, struct txn *x)
{
	if (!x->final || x->queued || x->at.segment == 0)
		return;
	if (x->unverifiable != NULL) {
		end_without_replay(t, x, x->unverifiable);
		return;
	}
	x->queued = true;
	dispatch_push(t->dispatch, x->tx_id, x->at);
}

/* False: no bundle; the verdict is written without one. */
static bool
keep_bundle(struct track *t, const struct txn *x, const struct verdict *v,
	char name[BUNDLE_NAME_BYTES])
{
	struct spool_frame f;
	struct record r;
	json_t *verdict;
	bool ok = false;

	if (t->config->keep_payload == KEEP_NONE)
		return false;
	if (t->bundles == NULL)
		t->bundles = spool_reader_open(t->config->data_dir);
	if (t->bundles == NULL || !spool_read(t->bundles, x->at, &f) ||
	    !record_decode(f.payload, f.payload_len, t->arena, &r)) {
		log_error("bundle_failed", "the record of transaction %" PRIu64
		    " cannot be read from the spool", x->tx_id);
		return false;
	}
	verdict = line_verdict(x, v, NULL);
	ok = bundle_write(t->config->data_dir, x->tx_id, &r, f.payload,
	    f.payload_len, verdict, name);
	json_decref(verdict);
	return ok;
}

/* A worker may not call verified what the record does not say. */
static void
distrust(const struct txn *x, struct verdict *v)
{
	if (v->kind != VERDICT_VERIFIED ||
	    (x->has_roots && v->has_root &&
		memcmp(&x->post_root, &v->post_root_calculated,
		    sizeof(x->post_root)) == 0))
		return;
	v->kind = VERDICT_ERROR;
	v->reason = "root_disagrees";
	v->detail = "the worker verified, but not the claimed root";
}

void
track_verdict(void *arg, const uint8_t *bytes, size_t n)
{
	struct track *t = arg;
	char name[BUNDLE_NAME_BYTES];
	struct verdict v;
	struct txn *x;
	bool bundled;

	arena_reset(t->arena);
	if (!verdict_decode(bytes, n, t->arena, &v)) {
		log_error("verdict_unreadable",
		    "a worker sent %zu bytes that are no verdict", n);
		return;
	}
	x = txtable_find(t->open, v.tx_id);
	if (x == NULL || !x->queued) {
		log_error("verdict_unexpected", "a verdict for transaction %"
		    PRIu64 ", for which no job is open", v.tx_id);
		return;
	}
	distrust(x, &v);
	bundled = v.kind == VERDICT_MISMATCH && keep_bundle(t, x, &v, name);
	end_with_verdict(t, x, &v, bundled ? name : NULL);
}

/* --- outcomes --- */

static void
take_outcome(struct track *t, struct txn *x,
	const struct record_outcome_message *m)
{
	if (m->xid != 0 && x->xid == 0)
		x->xid = m->xid;
	if (m->outcome == OUTCOME_PREPARED && x->prepared)
		return;
	evidence_append(t->evidence, "TransactionOutcome",
	    line_outcome(x->tx_id, m));
	if (m->outcome == OUTCOME_PREPARED) {
		x->prepared = true;
		return;
	}
	if (m->outcome != OUTCOME_COMMITTED) {
		txtable_remove(t->open, x->tx_id);
		return;
	}
	x->final = true;
	x->outcome = OUTCOME_COMMITTED;
	settle(t, x);
}

static void
take_unknown(struct track *t, struct txn *x, const char *reason)
{
	const struct record_outcome_message m = { OUTCOME_UNKNOWN, 0,
		"recorder", reason };

	take_outcome(t, x, &m);
}

/* False: the socket is full; again later. */
static bool
ask(const struct track *t, struct txn *x)
{
	const struct resolver_request q = { x->tx_id, x->xid,
		x->system_identifier };

	x->asked = send(t->resolver_fd, &q, sizeof(q),
		       MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(q);
	return x->asked;
}

void
track_ask(struct track *t)
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

/* Without xid nobody can be asked; a prepared one may still be ended. */
static void
put_in_doubt(struct track *t, struct txn *x)
{
	if (x->final || x->in_doubt)
		return;
	if (x->xid != 0) {
		x->in_doubt = true;
		t->unasked = true;
	} else if (!x->prepared)
		take_unknown(t, x, "no_xid");
}

void
track_answer(struct track *t, const struct resolver_answer *a)
{
	const struct record_outcome_message m = { a->outcome, 0,
		"pg_xact_status", a->reason };
	struct txn *x;

	if (a->kind == RESOLVER_IDENTITY) {
		t->context.system_identifier = a->system_identifier;
		return;
	}
	x = txtable_find(t->open, a->tx_id);
	if (x != NULL && !x->final)
		take_outcome(t, x, &m);
}

/* --- frames --- */

/* NULL: it shall be replayed. */
static const char *
reason_not_to_replay(const struct track *t, const struct record *r)
{
	static const char *const captures[] = {
		[CAPTURE_EXACT] = NULL,
		[CAPTURE_INCOMPLETE] = "capture_incomplete",
		[CAPTURE_RACE] = "capture_race",
		[CAPTURE_UNSUPPORTED] = "capture_unsupported",
		[CAPTURE_LOST] = "capture_lost",
	};

	if (!t->config->enable_verification)
		return "verification_disabled";
	if (r->unverifiable != NULL && *r->unverifiable != '\0')
		return r->unverifiable;
	if (captures[r->capture] != NULL)
		return captures[r->capture];
	if (!r->has_images)
		return "capture_unsupported";
	if (*t->config->backend_user == '\0')
		return "no_witness_role";
	return t->n_workers == 0 ? "no_worker" : NULL;
}

static void
log_warnings(const struct track *t, uint64_t tx_id, const struct record *r)
{
	if (!t->config->log_non_deterministic_warnings)
		return;
	for (size_t i = 0; i < r->n_warnings; i++)
		log_warning("non_deterministic", "transaction %" PRIu64
		    ": %s: %s", tx_id, r->warnings[i].function,
		    r->warnings[i].message);
}

/* What the decoder refuses is recorded all the same, as lost. */
static void
decode_record(const struct track *t, const struct spool_frame *f,
	struct record *r)
{
	if (record_decode(f->payload, f->payload_len, t->arena, r))
		return;
	log_error("record_unreadable", "the record of transaction %" PRIu64
	    " cannot be decoded; its capture is lost", f->tx_id);
	memset(r, 0, sizeof(*r));
	r->capture = CAPTURE_LOST;
	r->capture_reason = "record_unreadable";
}

/* Remembers what outcome and verdict will need. */
static void
remember(const struct track *t, struct txn *x, const struct spool_frame *f,
	const struct record *r)
{
	const char *reason = reason_not_to_replay(t, r);

	x->at = f->at;
	if (r->xid != 0)
		x->xid = r->xid;
	x->has_roots = r->has_images;
	x->pre_root = r->pre_root;
	x->post_root = r->post_root;
	if (reason != NULL && x->unverifiable == NULL &&
	    (x->unverifiable = strdup(reason)) == NULL)
		log_fatal("out_of_memory", "no memory for a transaction");
}

static void
note_gap(struct track *t, uint64_t tx_id)
{
	uint64_t lost = tx_id - t->highest_tx_id - 1;

	if (lost == 0)
		return;
	log_error("records_lost", "%" PRIu64 " records between transaction %"
	    PRIu64 " and %" PRIu64 " are not in the spool", lost,
	    t->highest_tx_id, tx_id);
	evidence_append(t->evidence, "Gap",
	    line_gap(evidence_last_time(t->evidence), "spool_lost", lost));
}

/*
 * The spool numbers transactions.  One that begins anew, next to a log that
 * goes on, gives numbers that the log has: its records would be taken for
 * repetitions and lost.
 */
static PGW_NORETURN void
refuse_spool(const struct track *t)
{
	log_fatal("spool_lost",
	    "the spool in %s is not the one of the evidence log, which has "
	    "records up to transaction %" PRIu64 "; bring spool/ back or begin "
	    "a new data directory", t->config->data_dir, t->highest_tx_id);
}

static void
take_record(struct track *t, const struct spool_frame *f)
{
	struct txn *x = txtable_find(t->open, f->tx_id);
	struct record r;

	if (f->tx_id > t->seen_tx_id) {
		t->seen_tx_id = f->tx_id;
		t->record_segment = f->at.segment;
	}
	if (f->tx_id <= t->highest_tx_id && t->started)
		refuse_spool(t);
	if (x == NULL && f->tx_id <= t->highest_tx_id)
		return;
	decode_record(t, f, &r);
	if (x == NULL) {
		note_gap(t, f->tx_id);
		evidence_append(t->evidence, "StateCommitmentRecord",
		    line_record(f->tx_id, &r, &t->context));
		log_warnings(t, f->tx_id, &r);
		t->highest_tx_id = f->tx_id;
		x = txtable_add(t->open, f->tx_id);
		x->system_identifier = t->context.system_identifier;
	}
	remember(t, x, f, &r);
	settle(t, x);
}

static void
take_outcome_frame(struct track *t, struct txn *x, const struct spool_frame *f)
{
	struct record_outcome_message m;

	if (!record_outcome_decode(f->payload, f->payload_len, &m)) {
		log_error("outcome_unreadable", "the outcome of transaction %"
		    PRIu64 " cannot be decoded", x->tx_id);
		put_in_doubt(t, x);
		return;
	}
	take_outcome(t, x, &m);
	x = txtable_find(t->open, f->tx_id);
	if (x != NULL && x->prepared)
		put_in_doubt(t, x);
}

void
track_frame(struct track *t, const struct spool_frame *f)
{
	struct txn *x;

	arena_reset(t->arena);
	if (f->kind == SPOOL_RECORD) {
		take_record(t, f);
		return;
	}
	x = txtable_find(t->open, f->tx_id);
	if (x == NULL || x->final)
		return;
	if (f->kind == SPOOL_OUTCOME)
		take_outcome_frame(t, x, f);
	else if (f->kind == SPOOL_IN_DOUBT)
		put_in_doubt(t, x);
}

/* --- the start, and the end --- */

/*
 * False if x is gone after it.  The drain itself puts in doubt what a dead
 * child left; a transaction with xid may be asked for while its child lives,
 * one without must wait for its child's word unless the spool has lost it.
 */
static bool
start_one(struct track *t, struct txn *x)
{
	uint64_t tx_id = x->tx_id;

	if (x->at.segment == 0 && x->final)
		end_without_replay(t, x, "record_lost");
	else if (!x->final && (x->xid != 0 || x->at.segment == 0))
		put_in_doubt(t, x);
	return txtable_find(t->open, tx_id) != NULL;
}

void
track_started(struct track *t)
{
	struct txn *x;
	size_t i = 0;

	if (t->seen_tx_id < t->highest_tx_id)
		refuse_spool(t);
	t->started = true;
	/* Removing moves others back into the slot: look at it again. */
	while ((x = txtable_next(t->open, &i)) != NULL)
		if (!start_one(t, x))
			i--;
}

uint64_t
track_lowest_segment(const struct track *t)
{
	uint64_t segment = t->record_segment;
	struct txn *x;
	size_t i = 0;

	while ((x = txtable_next(t->open, &i)) != NULL)
		if (x->at.segment != 0 && x->at.segment < segment)
			segment = x->at.segment;
	return segment;
}

void
track_count(const struct track *t, uint64_t *records, uint64_t *verdicts)
{
	struct txn *x;
	size_t i = 0;

	*records = *verdicts = 0;
	while ((x = txtable_next(t->open, &i)) != NULL)
		if (x->final)
			++*verdicts;
		else
			++*records;
}
