/*
 * state.c: the saved state's bytes, and following a log line by line.
 *
 * Big-endian, as buf.h writes:
 *
 *	"PGWSTAT3"
 *	u64 size, root, leaf hash of the last line
 *	u64 tail_seq, u32 file, u64 offset, u64 lines before it in the file
 *	lp time of the last line, u64 timeline
 *	u64 u64 position of the last Gap that came from the spool
 *	u64 u64 next frame, u64 u64 last frame, u64 its tx_id
 *	u64 highest tx_id, u32 n, n * (u64 from, u64 to) skipped
 *	u32 n, n open transactions: u64 tx_id, u64 xid, u64 system identifier,
 *	    u64 timeline, u64 began, u64 made, u64 u64 position, u8 outcome,
 *	    u8 flags, lp reason (may be empty), both roots
 *	u32 CRC-32C over all of the above
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "state.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "ioutil.h"
#include "jsonx.h"
#include "mem.h"

#define MAGIC "PGWSTAT3"
#define MAGIC_BYTES 8
#define CRC_BYTES 4
#define MAX_STATE ((size_t)4 << 30)
#define MAX_REASON 64

enum {
	FLAG_INTENT_ONLY = 1,
	FLAG_FINAL = 2,
	FLAG_PREPARED = 4,
	FLAG_IN_DOUBT = 8,
	FLAG_ROOTS = 16,
	FLAG_OF_INTENT = 32,
	FLAG_MAY_BE_LOST = 64,
	FLAG_REUSED = 128
};

void
state_free(struct state *s)
{
	txtable_free(&s->open);
	memset(s, 0, sizeof(*s));
}

/* --- writing --- */

static void
put_position(struct buf *b, struct spool_position p)
{
	buf_put_u64(b, p.segment);
	buf_put_u64(b, p.offset);
}

static void
put_txn(struct buf *b, const struct txn *x)
{
	const char *reason = x->unverifiable == REASON_NONE
				 ? ""
				 : reason_name(x->unverifiable);
	unsigned flags = (x->intent_only ? FLAG_INTENT_ONLY : 0) |
			 (x->final ? FLAG_FINAL : 0) |
			 (x->prepared ? FLAG_PREPARED : 0) |
			 (x->in_doubt ? FLAG_IN_DOUBT : 0) |
			 (x->has_roots ? FLAG_ROOTS : 0) |
			 (x->of_intent ? FLAG_OF_INTENT : 0) |
			 (x->may_be_lost ? FLAG_MAY_BE_LOST : 0) |
			 (x->reused ? FLAG_REUSED : 0);

	buf_put_u64(b, x->tx_id);
	buf_put_u64(b, x->xid);
	buf_put_u64(b, x->system_identifier);
	buf_put_u64(b, x->timeline);
	buf_put_u64(b, (uint64_t)x->began);
	buf_put_u64(b, (uint64_t)x->made);
	put_position(b, x->at);
	buf_put_u8(b, (uint8_t)x->outcome);
	buf_put_u8(b, (uint8_t)flags);
	buf_put_lp(b, reason, strlen(reason));
	buf_put(b, x->pre_root.b, sizeof(x->pre_root.b));
	buf_put(b, x->post_root.b, sizeof(x->post_root.b));
}

static void
put_table(struct buf *b, const struct txtable *t)
{
	const struct txn *x;
	size_t i = 0;

	buf_put_u64(b, t->highest);
	buf_put_u32(b, (uint32_t)t->n_skipped);
	for (size_t k = 0; k < t->n_skipped; k++) {
		buf_put_u64(b, t->skipped[k].from);
		buf_put_u64(b, t->skipped[k].to);
	}
	buf_put_u32(b, (uint32_t)t->n);
	while ((x = txtable_next(t, &i)) != NULL)
		put_txn(b, x);
}

bool
state_save(const char *path, const struct state *s)
{
	struct buf b = { 0 };
	bool ok;

	buf_put(&b, MAGIC, MAGIC_BYTES);
	buf_put_u64(&b, s->size);
	buf_put(&b, s->root.b, sizeof(s->root.b));
	buf_put(&b, s->last.b, sizeof(s->last.b));
	buf_put_u64(&b, s->tail_seq);
	buf_put_u32(&b, s->tail.file);
	buf_put_u64(&b, s->tail.offset);
	buf_put_u64(&b, s->tail.line);
	buf_put_lp(&b, s->last_time, strlen(s->last_time));
	buf_put_u64(&b, s->timeline);
	put_position(&b, s->aside);
	put_position(&b, s->spool.next);
	put_position(&b, s->spool.last);
	buf_put_u64(&b, s->spool.seen_tx_id);
	put_table(&b, &s->open);
	buf_put_u32(&b, io_crc32c(0, b.data, b.len));
	ok = io_replace_file(path, b.data, b.len, 0600);
	buf_free(&b);
	return ok;
}

/* --- reading --- */

static void
get_hash(struct rd *r, struct merkle_hash *h)
{
	const uint8_t *p = rd_bytes(r, sizeof(h->b));

	if (p != NULL)
		memcpy(h->b, p, sizeof(h->b));
}

static struct spool_position
get_position(struct rd *r)
{
	struct spool_position p = { .segment = rd_u64(r) };

	p.offset = rd_u64(r);
	return p;
}

static enum reason
get_reason(struct rd *r)
{
	char name[MAX_REASON];
	const uint8_t *p;
	size_t n;

	p = rd_lp(r, &n);
	if (p == NULL || n == 0)
		return REASON_NONE;
	if (n >= sizeof(name))
		return REASON_RECORD_UNREADABLE;
	memcpy(name, p, n);
	name[n] = '\0';
	return reason_of(name);
}

static void
get_txn(struct rd *r, struct txtable *t)
{
	uint64_t tx_id = rd_u64(r);
	struct txn *x;
	unsigned flags;

	if (tx_id == 0 || txtable_find(t, tx_id) != NULL) {
		r->bad = true;
		return;
	}
	x = txtable_add(t, tx_id);
	x->xid = rd_u64(r);
	x->system_identifier = rd_u64(r);
	x->timeline = rd_u64(r);
	x->began = (int64_t)rd_u64(r);
	x->made = (int64_t)rd_u64(r);
	x->at = get_position(r);
	x->outcome = (enum record_outcome)rd_u8(r);
	flags = rd_u8(r);
	x->intent_only = (flags & FLAG_INTENT_ONLY) != 0;
	x->of_intent = (flags & FLAG_OF_INTENT) != 0;
	x->final = (flags & FLAG_FINAL) != 0;
	x->prepared = (flags & FLAG_PREPARED) != 0;
	x->in_doubt = (flags & FLAG_IN_DOUBT) != 0;
	x->has_roots = (flags & FLAG_ROOTS) != 0;
	x->may_be_lost = (flags & FLAG_MAY_BE_LOST) != 0;
	x->reused = (flags & FLAG_REUSED) != 0;
	x->unverifiable = get_reason(r);
	get_hash(r, &x->pre_root);
	get_hash(r, &x->post_root);
}

static void
get_table(struct rd *r, struct txtable *t)
{
	uint32_t n;

	t->highest = rd_u64(r);
	n = rd_u32(r);
	if (n > rd_left(r) / sizeof(*t->skipped)) {
		r->bad = true;
		return;
	}
	t->skipped = mem_zalloc((size_t)n + 1, sizeof(*t->skipped));
	t->n_skipped = n;
	for (uint32_t i = 0; i < n; i++) {
		t->skipped[i].from = rd_u64(r);
		t->skipped[i].to = rd_u64(r);
	}
	n = rd_u32(r);
	for (uint32_t i = 0; i < n && !r->bad; i++)
		get_txn(r, t);
}

static void
get_state(struct rd *r, struct state *s)
{
	const uint8_t *time;
	size_t n;

	s->size = rd_u64(r);
	get_hash(r, &s->root);
	get_hash(r, &s->last);
	s->tail_seq = rd_u64(r);
	s->tail.file = rd_u32(r);
	s->tail.offset = rd_u64(r);
	s->tail.line = rd_u64(r);
	time = rd_lp(r, &n);
	if (time != NULL && n < sizeof(s->last_time))
		memcpy(s->last_time, time, n);
	s->timeline = rd_u64(r);
	s->aside = get_position(r);
	s->spool.next = get_position(r);
	s->spool.last = get_position(r);
	s->spool.seen_tx_id = rd_u64(r);
	get_table(r, &s->open);
}

bool
state_load(const char *path, struct state *s)
{
	struct buf b = { 0 };
	struct rd r;
	bool ok;

	memset(s, 0, sizeof(*s));
	ok = io_read_file(path, &b, MAX_STATE) &&
	     b.len > MAGIC_BYTES + CRC_BYTES &&
	     memcmp(b.data, MAGIC, MAGIC_BYTES) == 0 &&
	     io_crc32c(0, b.data, b.len - CRC_BYTES) ==
		 get_u32(b.data + b.len - CRC_BYTES);
	if (ok) {
		r = rd_init(
		    b.data + MAGIC_BYTES, b.len - MAGIC_BYTES - CRC_BYTES);
		get_state(&r, s);
		ok = !r.bad && rd_left(&r) == 0;
	}
	buf_free(&b);
	if (!ok)
		state_free(s);
	return ok;
}

/* --- following the log --- */

static void
apply_record(struct state *s, const struct state_change *c)
{
	struct txn *x;

	if (c->tx_id == 0 || !txtable_take_id(&s->open, c->tx_id))
		return;
	x = txtable_find(&s->open, c->tx_id);
	if (x == NULL)
		x = txtable_add(&s->open, c->tx_id);
	x->of_intent = x->of_intent || x->intent_only;
	x->intent_only = false;
	x->xid = c->xid;
	x->system_identifier = c->system_identifier;
	x->timeline = s->timeline;
	x->has_roots = c->has_roots;
	x->pre_root = c->pre_root;
	x->post_root = c->post_root;
}

static void
apply_outcome(struct state *s, const struct state_change *c)
{
	struct txn *x = txtable_find(&s->open, c->tx_id);

	if (x == NULL)
		return;
	if (c->outcome == OUTCOME_PREPARED)
		x->prepared = true;
	else if (c->outcome == OUTCOME_COMMITTED) {
		x->final = true;
		x->outcome = OUTCOME_COMMITTED;
	} else
		txtable_remove(&s->open, x->tx_id);
}

void
state_apply(struct state *s, const struct state_change *c, const char *time)
{
	size_t n = strnlen(time, sizeof(s->last_time) - 1);

	memcpy(s->last_time, time, n);
	s->last_time[n] = '\0';
	switch (c->event) {
	case STATE_START:
		s->timeline = c->timeline;
		break;
	case STATE_RECORD:
		apply_record(s, c);
		break;
	case STATE_OUTCOME:
		apply_outcome(s, c);
		break;
	case STATE_VERDICT:
		txtable_remove(&s->open, c->tx_id);
		break;
	case STATE_ASIDE:
		if (c->aside.segment != 0)
			s->aside = c->aside;
		break;
	case STATE_OTHER:
		break;
	}
}

/* --- a line's own words --- */

static uint64_t
get_decimal(const json_t *line, const char *name)
{
	const char *text = jsonx_get(line, name);

	return text == NULL ? 0 : strtoull(text, NULL, 10);
}

static void
read_start(struct state_change *c, const json_t *line)
{
	c->timeline = jsonx_get_int(line, "timeline");
}

static void
read_record(struct state_change *c, const json_t *line)
{
	c->xid = get_decimal(line, "xid");
	c->system_identifier = get_decimal(line, "system_identifier");
	c->has_roots = jsonx_get_hash(
			   line, "pre_root_captured", &c->pre_root) &&
		       jsonx_get_hash(line, "post_root_claimed", &c->post_root);
}

/* All that ends it without a verdict counts the same here. */
static void
read_outcome(struct state_change *c, const json_t *line)
{
	const char *outcome = jsonx_get(line, "outcome");

	c->outcome = OUTCOME_ABORTED;
	if (outcome == NULL)
		c->event = STATE_OTHER;
	else if (strcmp(outcome, "prepared") == 0)
		c->outcome = OUTCOME_PREPARED;
	else if (strcmp(outcome, "committed") == 0)
		c->outcome = OUTCOME_COMMITTED;
}

static void
read_aside(struct state_change *c, const json_t *line)
{
	const json_t *at = json_object_get(line, "spool");

	c->aside.segment = jsonx_get_int(at, "segment");
	c->aside.offset = jsonx_get_int(at, "offset");
}

void
state_read(struct state_change *c, const char *type, const json_t *line)
{
	static const struct {
		const char *type;
		enum state_event event;
		void (*read)(struct state_change *, const json_t *);
	} types[] = {
		{ "Start", STATE_START, read_start },
		{ "StateCommitmentRecord", STATE_RECORD, read_record },
		{ "TransactionOutcome", STATE_OUTCOME, read_outcome },
		{ "VerificationResult", STATE_VERDICT, NULL },
		{ "Gap", STATE_ASIDE, read_aside },
		{ "SchemaChange", STATE_ASIDE, read_aside },
	};

	*c = (struct state_change){ .tx_id = jsonx_get_int(line, "tx_id") };
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (strcmp(types[i].type, type) == 0) {
			c->event = types[i].event;
			if (types[i].read != NULL)
				types[i].read(c, line);
		}
}
