/*
 * track.c: record, outcome, verdict: one evidence line each, in that order.
 *
 * The table of open transactions says what the log has, and evidence_append()
 * changes it.  A tx_id that is not in the table and not new is closed, and a
 * frame about it is a repetition after a restart.  The drain numbers frames
 * as they come, so ids of which no frame was seen before a higher one are
 * lost; ids of intents come into the log late, or never.
 *
 * An intent gets no line until it is known that no record will replace it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "track.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bundle.h"
#include "doubt.h"
#include "hold.h"
#include "jsonx.h"
#include "killpoint.h"
#include "log.h"
#include "mem.h"
#include "reason.h"
#include "replay.h"
#include "schemachange.h"
#include "worker.h"

#define MAX_LOGGED_MISMATCHES 10

/* --- verdicts --- */

static void
log_mismatch(const struct verdict *v)
{
	size_t n = v->n_mismatches < MAX_LOGGED_MISMATCHES
		       ? v->n_mismatches
		       : MAX_LOGGED_MISMATCHES;

	if (n == 0)
		log_error("mismatch",
		    "transaction %" PRIu64 " was not reproduced: %s", v->tx_id,
		    v->reason);
	for (size_t i = 0; i < n; i++) {
		const struct verdict_mismatch *m = &v->mismatches[i];

		log_error("mismatch",
		    "transaction %" PRIu64
		    " was not reproduced: table %s, column %s",
		    v->tx_id, m->table == NULL ? "?" : m->table,
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
end_with_verdict(struct track *t, const struct txn *x, const struct verdict *v,
    const char *bundle)
{
	line_verdict(&t->line, x, v, bundle);
	evidence_append_line(t->evidence, &t->line);
	log_verdict(v);
}

static void
end_without_replay(struct track *t, const struct txn *x, enum reason reason)
{
	struct verdict v = { .tx_id = x->tx_id,
		.kind = VERDICT_UNVERIFIABLE,
		.reason = reason_name(reason),
		.detail = "",
		.statement = -1 };

	end_with_verdict(t, x, &v, NULL);
}

/* Committed: replay it, or say why not. */
static void
settle(struct track *t, struct txn *x)
{
	if (!x->final || x->queued || x->at.segment == 0 || x->of_intent)
		return;
	if (x->unverifiable != REASON_NONE) {
		end_without_replay(t, x, x->unverifiable);
		return;
	}
	x->queued = true;
	hold_job(t->hold, x->tx_id, x->at, x->made);
}

static bool
read_again(struct track *t, const struct txn *x, struct spool_frame *f)
{
	if (t->records == NULL)
		t->records = spool_reader_open(t->config->data_dir);
	return t->records != NULL && spool_read(t->records, x->at, f);
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
	if (!read_again(t, x, &f) ||
	    !record_decode(f.payload, f.payload_len, t->arena, &r)) {
		log_error("bundle_failed",
		    "the record of transaction %" PRIu64
		    " cannot be read from the spool",
		    x->tx_id);
		return false;
	}
	line_verdict(&t->line, x, v, NULL);
	verdict = line_json(&t->line);
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
	v->reason = reason_name(REASON_ROOT_DISAGREES);
	v->detail = "the worker verified, but not the claimed root";
}

static void
take_verdict(struct track *t, const uint8_t *bytes, size_t n)
{
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
		log_error("verdict_unexpected",
		    "a verdict for transaction %" PRIu64
		    ", for which no job is open",
		    v.tx_id);
		return;
	}
	distrust(x, &v);
	bundled = v.kind == VERDICT_MISMATCH && keep_bundle(t, x, &v, name);
	end_with_verdict(t, x, &v, bundled ? name : NULL);
}

/* Each worker finds what was changed behind the proxy's back. */
static bool
is_said(struct track *t, const json_t *line)
{
	struct merkle_part part = { NULL, 0 };
	struct merkle_hash hash;
	char *text;

	/* The reason may differ. */
	text = jsonx_dump(json_object_get(line, "difference"), &part.len);
	part.data = text;
	merkle_sha256(&part, 1, &hash);
	free(text);
	for (unsigned i = 0; i < t->n_changes && i < TRACK_CHANGES; i++)
		if (memcmp(&t->changes[i], &hash, sizeof(hash)) == 0)
			return true;
	t->changes[t->n_changes++ % TRACK_CHANGES] = hash;
	return false;
}

/* A name that is text; log_error() escapes what is in it. */
static const char *
name_in(const json_t *object, const char *member)
{
	const char *name = jsonx_get(object, member);

	return name != NULL ? name : "?";
}

static void
take_change(struct track *t, const uint8_t *bytes, size_t n)
{
	json_t *line = schemachange_found(bytes, n);
	json_t *what;

	if (line == NULL) {
		log_error("change_unreadable",
		    "a worker sent %zu bytes that are no change", n);
		return;
	}
	if (is_said(t, line)) {
		json_decref(line);
		return;
	}
	what = json_object_get(line, "difference");
	log_error("schema_changed_unwitnessed",
	    "table %s.%s of database %s is defined otherwise, and no DDL that "
	    "the proxy saw explains it",
	    name_in(what, "schema"), name_in(what, "table"),
	    name_in(line, "database"));
	evidence_append(t->evidence, "SchemaChange", line);
}

void
track_answer(void *arg, const uint8_t *bytes, size_t n)
{
	if (n > 0 && bytes[0] == WORKER_CHANGE)
		take_change(arg, bytes, n);
	else
		take_verdict(arg, bytes, n);
}

/* --- outcomes --- */

void
track_outcome(
    struct track *t, struct txn *x, const struct record_outcome_message *m)
{
	uint64_t tx_id = x->tx_id;

	if (m->xid != 0 && x->xid == 0)
		x->xid = m->xid;
	if (m->outcome == OUTCOME_PREPARED && x->prepared)
		return;
	line_outcome(&t->line, x->tx_id, m);
	evidence_append_line(t->evidence, &t->line);
	x = txtable_find(t->open, tx_id);
	if (x != NULL)
		settle(t, x);
}

/* --- frames --- */

/* NONE: it shall be replayed. */
static enum reason
reason_not_to_replay(const struct track *t, const struct record *r)
{
	enum reason refusal = replay_refusal(r);

	if (!t->config->enable_verification)
		return REASON_VERIFICATION_DISABLED;
	if (refusal != REASON_NONE)
		return refusal;
	if (*t->config->backend_user == '\0')
		return REASON_NO_WITNESS_ROLE;
	return t->n_workers == 0 ? REASON_NO_WORKER : REASON_NONE;
}

static void
log_warnings(const struct track *t, uint64_t tx_id, const struct record *r)
{
	if (!t->config->log_non_deterministic_warnings)
		return;
	for (size_t i = 0; i < r->n_warnings; i++)
		log_warning("non_deterministic",
		    "transaction %" PRIu64 ": %s: %s", tx_id,
		    r->warnings[i].function, r->warnings[i].message);
}

/* What the decoder refuses is recorded all the same, as lost. */
static void
decode_record(
    const struct track *t, const struct spool_frame *f, struct record *r)
{
	if (record_decode(f->payload, f->payload_len, t->arena, r))
		return;
	log_error("record_unreadable",
	    "the record of transaction %" PRIu64
	    " cannot be decoded; its capture is lost",
	    f->tx_id);
	memset(r, 0, sizeof(*r));
	r->capture = CAPTURE_LOST;
	r->capture_reason = "record_unreadable";
}

static bool
may_be_lost(const struct record *r)
{
	for (size_t i = 0; i < r->n_settings; i++)
		if (strcmp(r->settings[i].name, "synchronous_commit") == 0)
			return strcmp(r->settings[i].value, "off") == 0;
	return false;
}

/* Of the Gregorian calendar, from 1970-01-01; its years begin in March. */
static int64_t
days_since_epoch(int64_t year, int64_t month, int64_t day)
{
	if (month < 3) {
		year--;
		month += 12;
	}
	return 365 * year + year / 4 - year / 100 + year / 400 +
	       (153 * (month - 3) + 2) / 5 + day - 719469;
}

/*
 * "YYYY-MM-DD HH:MI:SS.UUUUUU+00"; 0 if it is not that.  By hand: each record
 * has one, and sscanf() and timegm() take their time.
 */
static int64_t
server_time(const char *text)
{
	static const char form[] = "dddd-dd-dd dd:dd:dd.dddddd+00";
	int64_t part[7] = { 0 };
	unsigned at = 0;

	if (text == NULL || strlen(text) != sizeof(form) - 1)
		return 0;
	for (size_t i = 0; form[i] != '\0'; i++)
		if (form[i] == 'd' && text[i] >= '0' && text[i] <= '9')
			part[at] = part[at] * 10 + (text[i] - '0');
		else if (form[i] != 'd' && text[i] == form[i])
			at++;
		else
			return 0;
	return (days_since_epoch(part[0], part[1], part[2]) * 86400 +
		   part[3] * 3600 + part[4] * 60 + part[5]) *
		   1000000 +
	       part[6];
}

/* Remembers what outcome and verdict will need. */
static void
remember(const struct track *t, struct txn *x, const struct spool_frame *f,
    const struct record *r)
{
	x->at = f->at;
	x->of_intent = false;
	x->may_be_lost = may_be_lost(r);
	x->began = server_time(r->now);
	x->made = r->time_us;
	if (r->xid != 0)
		x->xid = r->xid;
	x->has_roots = r->has_images;
	x->pre_root = r->pre_root;
	x->post_root = r->post_root;
	x->unverifiable = reason_not_to_replay(t, r);
}

/* Ids below it of which neither record nor intent was seen. */
static void
note_gap(struct track *t, uint64_t tx_id)
{
	uint64_t seen = t->spool->seen_tx_id > t->open->highest
			    ? t->spool->seen_tx_id
			    : t->open->highest;

	if (tx_id <= seen + 1)
		return;
	log_error("records_lost",
	    "%" PRIu64 " records between transaction %" PRIu64 " and %" PRIu64
	    " are not in the spool",
	    tx_id - seen - 1, seen, tx_id);
	evidence_append(t->evidence, "Gap",
	    line_gap(evidence_last_time(t->evidence), "spool_lost",
		tx_id - seen - 1));
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
	    "a new data directory",
	    t->config->data_dir, t->open->highest);
}

/* True if the log has nothing of it yet, and no intent of it was seen. */
static bool
is_unseen(struct track *t, const struct spool_frame *f)
{
	bool unseen = txtable_find(t->open, f->tx_id) == NULL;

	if (unseen && t->started && f->tx_id <= t->spool->seen_tx_id)
		refuse_spool(t);
	unseen = unseen && txtable_is_new(t->open, f->tx_id);
	if (unseen)
		note_gap(t, f->tx_id);
	if (f->tx_id > t->spool->seen_tx_id) {
		t->spool->seen_tx_id = f->tx_id;
		t->spool->last = f->at;
	}
	return unseen;
}

/* Writes the line of a record, of which at most an intent was there. */
static struct txn *
write_record(struct track *t, uint64_t tx_id, const struct record *r)
{
	struct txn *x;

	line_record(&t->line, tx_id, r, &t->context);
	evidence_append_line(t->evidence, &t->line);
	log_warnings(t, tx_id, r);
	x = txtable_find(t->open, tx_id);
	if (x == NULL)
		log_fatal("track",
		    "transaction %" PRIu64 " is not open after its record",
		    tx_id);
	return x;
}

static void
take_record(struct track *t, const struct spool_frame *f)
{
	bool unseen = is_unseen(t, f);
	struct txn *x = txtable_find(t->open, f->tx_id);
	struct record r;

	if (x == NULL && !unseen)
		return;
	KILLPOINT("recorder_record");
	decode_record(t, f, &r);
	if (x == NULL || x->intent_only)
		x = write_record(t, f->tx_id, &r);
	remember(t, x, f, &r);
	if (x->xid != 0)
		doubt_find_reused(t, x);
	x = txtable_find(t->open, f->tx_id);
	if (x != NULL)
		settle(t, x);
}

/* An intent's record, when no other will come; f is NULL if it is lost. */
static void
decode_intent(
    const struct track *t, const struct spool_frame *f, struct record *r)
{
	memset(r, 0, sizeof(*r));
	if (f != NULL)
		decode_record(t, f, r);
	else
		r->capture_reason = "record_unreadable";
	if (r->capture_reason == NULL || *r->capture_reason == '\0')
		r->capture_reason = "only the intent is known";
	r->capture = CAPTURE_LOST;
	r->intent = true;
	r->has_images = false;
	r->n_tables = 0;
}

/* Read again after a start; the log has its record, made of this or another. */
static void
take_intent_again(struct track *t, const struct spool_frame *f)
{
	struct txn *x = txtable_find(t->open, f->tx_id);

	if (x == NULL || x->intent_only || x->at.segment != 0)
		return;
	x->at = f->at;
	x->of_intent = true;
}

static void
take_intent(struct track *t, const struct spool_frame *f)
{
	struct txn *x;

	if (!is_unseen(t, f)) {
		take_intent_again(t, f);
		return;
	}
	x = txtable_add(t->open, f->tx_id);
	x->intent_only = true;
	x->at = f->at;
}

/* What was announced is all there is.  *f is where it was. */
static void
read_intent(struct track *t, const struct txn *x, struct spool_frame *f,
    struct record *r)
{
	bool found = read_again(t, x, f);

	if (!found) {
		log_error("record_unreadable",
		    "the intent of transaction %" PRIu64
		    " cannot be read from the spool",
		    x->tx_id);
		*f = (struct spool_frame){ .at = x->at, .tx_id = x->tx_id };
	}
	decode_intent(t, found ? f : NULL, r);
}

/* No record will come. */
static struct txn *
write_intent(struct track *t, struct txn *x)
{
	uint64_t tx_id = x->tx_id;
	struct spool_frame f;
	struct record r;

	read_intent(t, x, &f, &r);
	x = write_record(t, tx_id, &r);
	remember(t, x, &f, &r);
	if (x->xid != 0)
		doubt_find_reused(t, x);
	return txtable_find(t->open, tx_id);
}

/* A frame of no transaction, of which the log has no line yet. */
static bool
is_unseen_aside(const struct track *t, const struct spool_frame *f)
{
	struct spool_position last = evidence_last_aside(t->evidence);

	return f->at.segment > last.segment ||
	       (f->at.segment == last.segment && f->at.offset > last.offset);
}

static void
take_gap(struct track *t, const struct spool_frame *f)
{
	if (is_unseen_aside(t, f))
		evidence_append(t->evidence, "Gap", line_spool_gap(f));
}

/* Of statements that may have run DDL unseen the log says nothing. */
static void
take_ddl(struct track *t, const struct spool_frame *f)
{
	struct record r;

	if (!record_decode(f->payload, f->payload_len, t->arena, &r)) {
		log_error(
		    "ddl_unreadable", "a message of DDL cannot be decoded");
		return;
	}
	if (is_unseen_aside(t, f) && strcmp(r.capture_reason, "opaque") != 0)
		evidence_append(t->evidence, "SchemaChange",
		    schemachange_witnessed(f, &r, t->context.normalized));
	if (t->config->enable_verification && t->n_workers > 0)
		hold_ddl(t->hold, f->at, r.time_us, f->tx_id);
}

/* Of those whose end is surely near. */
static int64_t
oldest_undecided(const struct track *t)
{
	int64_t oldest = INT64_MAX;
	struct txn *x;
	size_t i = 0;

	while ((x = txtable_next(t->open, &i)) != NULL)
		if (!x->final && !x->prepared && !x->in_doubt && x->made != 0 &&
		    x->made < oldest)
			oldest = x->made;
	return oldest;
}

void
track_release(struct track *t)
{
	if (!hold_is_empty(t->hold))
		hold_release(t->hold, oldest_undecided(t));
}

static void
take_outcome_frame(struct track *t, struct txn *x, const struct spool_frame *f)
{
	struct record_outcome_message m;

	if (!record_outcome_decode(f->payload, f->payload_len, &m)) {
		log_error("outcome_unreadable",
		    "the outcome of transaction %" PRIu64 " cannot be decoded",
		    x->tx_id);
		doubt_put(t, x);
		return;
	}
	track_outcome(t, x, &m);
	x = txtable_find(t->open, f->tx_id);
	if (x != NULL && x->prepared)
		doubt_put(t, x);
}

/* The end of a transaction that is open. */
static void
take_end(struct track *t, const struct spool_frame *f)
{
	struct txn *x = txtable_find(t->open, f->tx_id);

	if (x == NULL || x->final)
		return;
	if (x->intent_only)
		x = write_intent(t, x);
	if (f->kind == SPOOL_OUTCOME)
		take_outcome_frame(t, x, f);
	else
		doubt_put(t, x);
}

void
track_frame(struct track *t, const struct spool_frame *f)
{
	arena_reset(t->arena);
	switch (f->kind) {
	case SPOOL_RECORD:
		take_record(t, f);
		break;
	case SPOOL_INTENT:
		take_intent(t, f);
		break;
	case SPOOL_GAP:
		take_gap(t, f);
		break;
	case SPOOL_OUTCOME:
	case SPOOL_IN_DOUBT:
		take_end(t, f);
		break;
	case SPOOL_DDL:
		take_ddl(t, f);
		break;
	case SPOOL_STATE:
		break;
	}
	t->spool->next = f->next;
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
	struct spool_frame f;
	struct record r;

	if (x->intent_only)
		return true;
	/* Its record would have been read by now. */
	if (x->of_intent) {
		arena_reset(t->arena);
		read_intent(t, x, &f, &r);
		remember(t, x, &f, &r);
	}
	if (x->at.segment == 0 && x->final)
		end_without_replay(t, x, REASON_RECORD_LOST);
	else if (x->final)
		settle(t, x);
	else if (x->xid != 0 || x->at.segment == 0)
		doubt_put(t, x);
	return txtable_find(t->open, tx_id) != NULL;
}

/* The frame of the highest tx_id must be where the state says. */
static bool
is_the_same_spool(struct track *t)
{
	const struct state_spool *s = t->spool;
	struct txn last = { .at = s->last };
	struct spool_frame f;

	return s->next.segment != 0 && s->seen_tx_id != 0 &&
	       read_again(t, &last, &f) && f.tx_id == s->seen_tx_id;
}

bool
track_resume(struct track *t)
{
	struct txn *x;
	size_t i = 0;

	if (!is_the_same_spool(t)) {
		memset(t->spool, 0, sizeof(*t->spool));
		return false;
	}
	/* Settling one that shall not be replayed removes it. */
	while ((x = txtable_next(t->open, &i)) != NULL) {
		uint64_t tx_id = x->tx_id;

		doubt_resume(t, x);
		settle(t, x);
		if (txtable_find(t->open, tx_id) == NULL)
			i--;
	}
	return true;
}

void
track_started(struct track *t)
{
	struct txn *x;
	size_t i = 0;

	if (t->spool->seen_tx_id < t->open->highest)
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
	uint64_t segment = t->spool->last.segment;
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
		else if (!x->intent_only)
			++*records;
}
