/*
 * audit.c: the rules of the evidence log.
 *
 * Chain: each line is a JSON object whose seq counts from 1 and whose prev is
 * the leaf hash of the line before.  Records: one for each tx_id; one final
 * outcome each; one verdict for each committed one; nothing without a record.
 * Roots: the database root follows from the tables' roots, and `verified` only
 * where claimed and calculated root are the record's.
 *
 * Where the first lines are not at hand, what belongs to their records is
 * counted and not judged.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "audit.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blob.h"
#include "ioutil.h"
#include "jscan.h"
#include "jsonx.h"
#include "log.h"
#include "mem.h"
#include "rowenc.h"

/* Names are the log's: one that makes up new ones must not fill memory. */
#define MAX_NAMES 200

/* Where a check puts what is wrong. */
struct complaint {
	char *text;
	size_t size;
};

static bool wrong(struct complaint *c, const char *fmt, ...) PGW_PRINTF(2, 3);

static bool
wrong(struct complaint *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->text, c->size, fmt, ap);
	va_end(ap);
	return false;
}

void
audit_init(struct audit *a, const char *log_dir)
{
	memset(a, 0, sizeof(*a));
	merkle_tree_init(&a->tree, MERKLE_LOG);
	a->types = jsonx_object();
	a->changes = jsonx_object();
	a->outcomes = jsonx_object();
	a->verdicts = jsonx_object();
	a->reasons = jsonx_object();
	a->scan = jscan_new();
	if (log_dir != NULL)
		a->blob_dir = mem_strdup(log_dir);
}

void
audit_free(struct audit *a)
{
	txtable_free(&a->open);
	json_decref(a->types);
	json_decref(a->changes);
	json_decref(a->outcomes);
	json_decref(a->verdicts);
	json_decref(a->reasons);
	jscan_free(a->scan);
	free(a->blob_dir);
}

void
audit_start_behind(struct audit *a, const struct merkle_tree *tree,
    const struct merkle_hash *last)
{
	a->tree = *tree;
	a->last = *last;
	a->skipped = tree->size;
}

void
audit_count(json_t *object, const char *name)
{
	json_t *n = json_object_get(object, name);

	if (n == NULL && json_object_size(object) >= MAX_NAMES) {
		name = "(other names)";
		n = json_object_get(object, name);
	}
	if (n == NULL)
		jsonx_set(object, name, jsonx_int(1));
	else
		(void)json_integer_set(n, json_integer_value(n) + 1);
}

void
audit_pending(const struct audit *a, uint64_t *outcomes, uint64_t *verdicts)
{
	size_t i = 0;
	struct txn *x;

	*outcomes = *verdicts = 0;
	while ((x = txtable_next(&a->open, &i)) != NULL)
		if (x->final)
			++*verdicts;
		else
			++*outcomes;
}

/* --- roots --- */

/* Of `tables`, the roots before or after; false if one has none. */
static bool
table_roots(const struct jscan_fields *f, struct rowenc_table *out, bool after)
{
	for (size_t i = 0; i < f->n_tables; i++) {
		const struct jscan_table *t = &f->tables[i];

		out[i].schema = jscan_text(&t->schema);
		out[i].table = jscan_text(&t->table);
		if (!jscan_hash(
			after ? &t->post_root : &t->pre_root, &out[i].root))
			return false;
	}
	return true;
}

/* Names that are not UTF-8 are {"hex"}; such a root is not calculated. */
static bool
has_odd_name(const struct jscan_fields *f)
{
	for (size_t i = 0; i < f->n_tables; i++)
		if (f->tables[i].schema.kind == JSCAN_OBJECT ||
		    f->tables[i].table.kind == JSCAN_OBJECT)
			return true;
	return false;
}

/* Also true where it cannot be said: no root, or tables in a blob. */
static bool
root_follows(const struct jscan_fields *f, bool after)
{
	struct rowenc_table few[8];
	struct rowenc_table *list = few;
	struct merkle_hash claimed;
	struct merkle_hash root;
	bool ok = false;

	if (f->member[JSCAN_TABLES].kind != JSCAN_ARRAY || has_odd_name(f) ||
	    !jscan_hash(&f->member[after ? JSCAN_POST_ROOT_CLAIMED
					 : JSCAN_PRE_ROOT_CAPTURED],
		&claimed))
		return true;
	if (f->n_tables > sizeof(few) / sizeof(*few))
		list = mem_zalloc(f->n_tables, sizeof(*list));
	if (table_roots(f, list, after)) {
		ok = true;
		for (size_t i = 0; i < f->n_tables && ok; i++)
			ok = list[i].schema != NULL && list[i].table != NULL;
		if (ok)
			rowenc_database_root(list, f->n_tables, &root);
		ok = ok && memcmp(&root, &claimed, sizeof(root)) == 0;
	}
	if (list != few)
		free(list);
	return ok;
}

static bool
same_root(const struct jscan_value *v, const struct merkle_hash *h)
{
	struct merkle_hash got;

	return jscan_hash(v, &got) && memcmp(&got, h, sizeof(got)) == 0;
}

static uint64_t
decimal(const struct jscan_value *v)
{
	const char *text = jscan_text(v);

	return text == NULL ? 0 : strtoull(text, NULL, 10);
}

/* --- one function per type of line --- */

/* Its record can only be in lines that are not at hand. */
static bool
is_earlier(struct audit *a, uint64_t tx_id)
{
	if (a->skipped == 0 || !txtable_is_new(&a->open, tx_id))
		return false;
	a->earlier++;
	return true;
}

static bool
audit_record(struct audit *a, const struct jscan_fields *f, struct complaint *c)
{
	uint64_t tx_id = jscan_count(&f->member[JSCAN_TX_ID]);
	struct txn *x;

	if (tx_id == 0)
		return wrong(c, "a record without tx_id");
	if (!txtable_take_id(&a->open, tx_id))
		return wrong(c, "a second record for tx_id %" PRIu64, tx_id);
	if (tx_id > a->highest_tx_id)
		a->highest_tx_id = tx_id;
	x = txtable_add(&a->open, tx_id);
	x->xid = decimal(&f->member[JSCAN_XID]);
	x->system_identifier = decimal(&f->member[JSCAN_SYSTEM_IDENTIFIER]);
	x->has_roots = jscan_hash(
			   &f->member[JSCAN_PRE_ROOT_CAPTURED], &x->pre_root) &&
		       jscan_hash(
			   &f->member[JSCAN_POST_ROOT_CLAIMED], &x->post_root);
	if (!root_follows(f, false) || !root_follows(f, true))
		return wrong(c,
		    "tx_id %" PRIu64
		    ": the database root is not that of its tables",
		    tx_id);
	return true;
}

static bool
audit_outcome(
    struct audit *a, const struct jscan_fields *f, struct complaint *c)
{
	uint64_t tx_id = jscan_count(&f->member[JSCAN_TX_ID]);
	const char *outcome = jscan_text(&f->member[JSCAN_OUTCOME]);
	struct txn *x = txtable_find(&a->open, tx_id);

	if (tx_id == 0 || outcome == NULL)
		return wrong(c, "an outcome without tx_id or outcome");
	if (x == NULL && is_earlier(a, tx_id))
		return true;
	if (x == NULL)
		return wrong(c,
		    "an outcome for tx_id %" PRIu64
		    ", which has no open record",
		    tx_id);
	if (x->final)
		return wrong(
		    c, "a second final outcome for tx_id %" PRIu64, tx_id);
	audit_count(a->outcomes, outcome);
	if (strcmp(outcome, "prepared") == 0)
		x->prepared = true;
	else if (strcmp(outcome, "committed") == 0) {
		x->final = true;
		x->outcome = OUTCOME_COMMITTED;
	} else if (strcmp(outcome, "aborted") == 0 ||
		   strcmp(outcome, "unknown") == 0)
		txtable_remove(&a->open, tx_id);
	else
		return wrong(c, "tx_id %" PRIu64 ": no such outcome", tx_id);
	return true;
}

static bool
verdict_agrees(
    const struct jscan_fields *f, const struct txn *x, struct complaint *c)
{
	bool verified = strcmp(f->member[JSCAN_VERDICT].text, "verified") == 0;

	if (f->member[JSCAN_SUCCESS].kind !=
	    (verified ? JSCAN_TRUE : JSCAN_FALSE))
		return wrong(c,
		    "tx_id %" PRIu64
		    ": success and verdict contradict each other",
		    x->tx_id);
	if (verified &&
	    (!x->has_roots ||
		!same_root(&f->member[JSCAN_PRE_ROOT_CAPTURED], &x->pre_root) ||
		!same_root(
		    &f->member[JSCAN_POST_ROOT_CLAIMED], &x->post_root) ||
		!same_root(
		    &f->member[JSCAN_POST_ROOT_CALCULATED], &x->post_root)))
		return wrong(c,
		    "tx_id %" PRIu64
		    ": verified, but the roots are not the record's",
		    x->tx_id);
	return true;
}

static bool
is_verdict(const char *text)
{
	static const char *const verdicts[] = { "verified", "mismatch",
		"unverifiable", "error" };

	for (size_t i = 0; i < sizeof(verdicts) / sizeof(*verdicts); i++)
		if (strcmp(verdicts[i], text) == 0)
			return true;
	return false;
}

static bool
audit_verdict(
    struct audit *a, const struct jscan_fields *f, struct complaint *c)
{
	uint64_t tx_id = jscan_count(&f->member[JSCAN_TX_ID]);
	const char *verdict = jscan_text(&f->member[JSCAN_VERDICT]);
	const char *reason = jscan_text(&f->member[JSCAN_REASON]);
	struct txn *x = txtable_find(&a->open, tx_id);
	bool ok;

	if (tx_id == 0 || verdict == NULL)
		return wrong(c, "a verdict without tx_id or verdict");
	if (x == NULL && is_earlier(a, tx_id))
		return true;
	if (x == NULL)
		return wrong(c,
		    "a verdict for tx_id %" PRIu64 ", which has no open record",
		    tx_id);
	if (!x->final)
		return wrong(c,
		    "a verdict for tx_id %" PRIu64 " before its commit", tx_id);
	if (!is_verdict(verdict))
		return wrong(c, "tx_id %" PRIu64 ": no such verdict", tx_id);
	audit_count(a->verdicts, verdict);
	if (reason != NULL && *reason != '\0')
		audit_count(a->reasons, reason);
	ok = verdict_agrees(f, x, c);
	txtable_remove(&a->open, tx_id);
	return ok;
}

static bool
audit_change(
    struct audit *a, const struct jscan_fields *f, struct complaint *c)
{
	(void)c;
	audit_count(a->changes, f->member[JSCAN_WITNESSED].kind == JSCAN_TRUE
				    ? "witnessed"
				    : "unwitnessed");
	return true;
}

static const struct line_type {
	const char *name;
	bool (*audit)(
	    struct audit *a, const struct jscan_fields *f, struct complaint *c);
} line_types[] = {
	{ "StateCommitmentRecord", audit_record },
	{ "TransactionOutcome", audit_outcome },
	{ "VerificationResult", audit_verdict },
	{ "SchemaChange", audit_change },
};

/* --- the chain --- */

static bool
check_chain(
    const struct audit *a, const struct jscan_fields *f, struct complaint *c)
{
	uint64_t seq = jscan_count(&f->member[JSCAN_SEQ]);
	struct merkle_hash prev;

	if (jscan_text(&f->member[JSCAN_TYPE]) == NULL)
		return wrong(c, "not a JSON object with a type");
	if (seq != a->tree.size + 1)
		return wrong(c, "seq is %" PRIu64 ", expected %" PRIu64, seq,
		    a->tree.size + 1);
	if (!jscan_hash(&f->member[JSCAN_PREV], &prev))
		return wrong(c, "no prev");
	if (memcmp(&prev, &a->last, sizeof(prev)) != 0)
		return wrong(c,
		    "prev is not the hash of the line before: one of the two "
		    "was changed");
	return true;
}

static bool
audit_content(
    struct audit *a, const struct jscan_fields *f, struct complaint *c)
{
	const char *type = jscan_text(&f->member[JSCAN_TYPE]);
	const char *time = jscan_text(&f->member[JSCAN_TIME]);

	audit_count(a->types, type);
	a->stopped = strcmp(type, "Stop") == 0;
	snprintf(
	    a->last_time, sizeof(a->last_time), "%s", time == NULL ? "" : time);
	for (size_t i = 0; a->blob_dir != NULL && i < f->n_blobs; i++)
		if (!blob_check(a->blob_dir, &f->blobs[i], c->text, c->size))
			return false;
	for (size_t i = 0; i < sizeof(line_types) / sizeof(*line_types); i++)
		if (strcmp(line_types[i].name, type) == 0)
			return line_types[i].audit(a, f, c);
	return true;
}

enum audit_result
audit_fields(struct audit *a, const char *text, size_t len,
    struct jscan_fields *f, char *error, size_t error_size)
{
	struct complaint c = { error, error_size };

	if (!jscan_line(a->scan, text, len, f, error, error_size) ||
	    !check_chain(a, f, &c))
		return AUDIT_BROKEN;
	merkle_leaf(MERKLE_LOG, text, len, &a->last);
	merkle_tree_append(&a->tree, &a->last);
	return audit_content(a, f, &c) ? AUDIT_GOOD : AUDIT_WRONG;
}

enum audit_result
audit_line(struct audit *a, const char *text, size_t len, char *error,
    size_t error_size)
{
	struct jscan_fields f;

	return audit_fields(a, text, len, &f, error, error_size);
}
