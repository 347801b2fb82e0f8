/*
 * audit.c: the rules of the evidence log.
 *
 * Chain: each line is a JSON object whose seq counts from 1 and whose prev is
 * the leaf hash of the line before.  Records: tx_ids of StateCommitmentRecord
 * grow; one final outcome each; one verdict for each committed one; nothing
 * without a record.  Roots: the database root follows from the tables' roots,
 * and `verified` only where claimed and calculated root are the record's.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "audit.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blob.h"
#include "ioutil.h"
#include "jsonx.h"
#include "log.h"
#include "rowenc.h"

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
	a->outcomes = jsonx_object();
	a->verdicts = jsonx_object();
	a->reasons = jsonx_object();
	if (log_dir != NULL && (a->blob_dir = strdup(log_dir)) == NULL)
		log_fatal("out_of_memory", "no memory for a path");
}

void
audit_free(struct audit *a)
{
	txtable_free(&a->open);
	json_decref(a->types);
	json_decref(a->outcomes);
	json_decref(a->verdicts);
	json_decref(a->reasons);
	free(a->blob_dir);
}

void
audit_count(json_t *object, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(object, name));

	jsonx_set(object, name, json_integer(n + 1));
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

static bool
table_roots(const json_t *tables, struct rowenc_table *out, const char *which)
{
	size_t i;
	json_t *t;

	json_array_foreach(tables, i, t)
	{
		out[i].schema = jsonx_get(t, "schema");
		out[i].table = jsonx_get(t, "table");
		if (out[i].schema == NULL || out[i].table == NULL ||
		    !jsonx_get_hash(t, which, &out[i].root))
			return false;
	}
	return true;
}

/* True where it cannot be said: tables in a blob, names that are not UTF-8. */
static bool
root_follows(const json_t *line, const char *root_name, const char *which)
{
	const json_t *tables = json_object_get(line, "tables");
	size_t n = json_array_size(tables);
	struct rowenc_table *list;
	struct merkle_hash claimed;
	struct merkle_hash root;
	bool ok = true;

	if (!json_is_array(tables) ||
	    !jsonx_get_hash(line, root_name, &claimed))
		return true;
	list = calloc(n + 1, sizeof(*list));
	if (list == NULL)
		log_fatal("out_of_memory", "no memory for %zu tables", n);
	if (table_roots(tables, list, which)) {
		rowenc_database_root(list, n, &root);
		ok = memcmp(&root, &claimed, sizeof(root)) == 0;
	}
	free(list);
	return ok;
}

static bool
same_root(const json_t *line, const char *name, const struct merkle_hash *h)
{
	struct merkle_hash got;

	return jsonx_get_hash(line, name, &got) &&
	    memcmp(&got, h, sizeof(got)) == 0;
}

/* --- one function per type of line --- */

static bool
audit_record(struct audit *a, const json_t *line, struct complaint *c)
{
	uint64_t tx_id = jsonx_get_int(line, "tx_id");
	const char *xid = jsonx_get(line, "xid");
	const char *system = jsonx_get(line, "system_identifier");
	struct txn *x;

	if (tx_id == 0)
		return wrong(c, "a record without tx_id");
	if (tx_id <= a->highest_tx_id)
		return wrong(c, "a second record for tx_id %" PRIu64
		    ", or out of order", tx_id);
	a->highest_tx_id = tx_id;
	x = txtable_add(&a->open, tx_id);
	x->xid = xid == NULL ? 0 : strtoull(xid, NULL, 10);
	x->system_identifier = system == NULL ? 0 : strtoull(system, NULL, 10);
	x->has_roots =
	    jsonx_get_hash(line, "pre_root_captured", &x->pre_root) &&
	    jsonx_get_hash(line, "post_root_claimed", &x->post_root);
	if (!root_follows(line, "pre_root_captured", "pre_root") ||
	    !root_follows(line, "post_root_claimed", "post_root"))
		return wrong(c, "tx_id %" PRIu64
		    ": the database root is not that of its tables", tx_id);
	return true;
}

static bool
audit_outcome(struct audit *a, const json_t *line, struct complaint *c)
{
	uint64_t tx_id = jsonx_get_int(line, "tx_id");
	const char *outcome = jsonx_get(line, "outcome");
	struct txn *x = txtable_find(&a->open, tx_id);

	if (tx_id == 0 || outcome == NULL)
		return wrong(c, "an outcome without tx_id or outcome");
	if (x == NULL)
		return wrong(c, "an outcome for tx_id %" PRIu64
		    ", which has no open record", tx_id);
	if (x->final)
		return wrong(c, "a second final outcome for tx_id %" PRIu64,
		    tx_id);
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
verdict_agrees(const json_t *line, const struct txn *x, struct complaint *c)
{
	bool verified = strcmp(jsonx_get(line, "verdict"), "verified") == 0;

	if (json_is_true(json_object_get(line, "success")) != verified)
		return wrong(c, "tx_id %" PRIu64
		    ": success and verdict contradict each other", x->tx_id);
	if (verified &&
	    (!x->has_roots ||
		!same_root(line, "pre_root_captured", &x->pre_root) ||
		!same_root(line, "post_root_claimed", &x->post_root) ||
		!same_root(line, "post_root_calculated", &x->post_root)))
		return wrong(c, "tx_id %" PRIu64
		    ": verified, but the roots are not the record's",
		    x->tx_id);
	return true;
}

static bool
audit_verdict(struct audit *a, const json_t *line, struct complaint *c)
{
	uint64_t tx_id = jsonx_get_int(line, "tx_id");
	const char *verdict = jsonx_get(line, "verdict");
	const char *reason = jsonx_get(line, "reason");
	struct txn *x = txtable_find(&a->open, tx_id);
	bool ok;

	if (tx_id == 0 || verdict == NULL)
		return wrong(c, "a verdict without tx_id or verdict");
	if (x == NULL)
		return wrong(c, "a verdict for tx_id %" PRIu64
		    ", which has no open record", tx_id);
	if (!x->final)
		return wrong(c, "a verdict for tx_id %" PRIu64
		    " before its commit", tx_id);
	audit_count(a->verdicts, verdict);
	if (reason != NULL && *reason != '\0')
		audit_count(a->reasons, reason);
	ok = verdict_agrees(line, x, c);
	txtable_remove(&a->open, tx_id);
	return ok;
}

static const struct line_type {
	const char *name;
	bool (*audit)(struct audit *a, const json_t *line,
		struct complaint *c);
} line_types[] = {
	{ "StateCommitmentRecord", audit_record },
	{ "TransactionOutcome", audit_outcome },
	{ "VerificationResult", audit_verdict },
};

/* --- blobs --- */

static bool
check_blobs(const char *log_dir, const json_t *v, struct complaint *c)
{
	struct blob_ref ref;
	const char *key;
	json_t *part;
	size_t i;

	if (blob_is_ref(v, &ref))
		return blob_check(log_dir, &ref, c->text, c->size);
	if (json_is_object(v)) {
		/* jansson's iteration takes a non-const object */
		json_object_foreach((json_t *)(uintptr_t)v, key, part)
			if (!check_blobs(log_dir, part, c))
				return false;
	}
	json_array_foreach(v, i, part)
		if (!check_blobs(log_dir, part, c))
			return false;
	return true;
}

/* --- the chain --- */

static bool
check_chain(const struct audit *a, const json_t *line, struct complaint *c)
{
	uint64_t seq = jsonx_get_int(line, "seq");
	struct merkle_hash prev;

	if (!json_is_object(line) || jsonx_get(line, "type") == NULL)
		return wrong(c, "not a JSON object with a type");
	if (seq != a->tree.size + 1)
		return wrong(c, "seq is %" PRIu64 ", expected %" PRIu64, seq,
		    a->tree.size + 1);
	if (!jsonx_get_hash(line, "prev", &prev))
		return wrong(c, "seq %" PRIu64 ": no prev", seq);
	if (memcmp(&prev, &a->last, sizeof(prev)) != 0)
		return wrong(c, "seq %" PRIu64 ": prev is not the hash of the "
		    "line before: one of the two was changed", seq);
	return true;
}

static bool
audit_content(struct audit *a, const json_t *line, struct complaint *c)
{
	const char *type = jsonx_get(line, "type");
	const char *time = jsonx_get(line, "time");

	audit_count(a->types, type);
	a->stopped = strcmp(type, "Stop") == 0;
	snprintf(a->last_time, sizeof(a->last_time), "%s",
	    time == NULL ? "" : time);
	if (a->blob_dir != NULL && !check_blobs(a->blob_dir, line, c))
		return false;
	for (size_t i = 0; i < sizeof(line_types) / sizeof(*line_types); i++)
		if (strcmp(line_types[i].name, type) == 0)
			return line_types[i].audit(a, line, c);
	return true;
}

enum audit_result
audit_line(struct audit *a, const char *text, size_t len, char *error,
	size_t error_size)
{
	struct complaint c = { error, error_size };
	enum audit_result result = AUDIT_GOOD;
	json_error_t why;
	json_t *line = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);

	if (line == NULL) {
		snprintf(error, error_size, "not JSON: %s", why.text);
		return AUDIT_BROKEN;
	}
	if (check_chain(a, line, &c)) {
		merkle_leaf(MERKLE_LOG, text, len, &a->last);
		merkle_tree_append(&a->tree, &a->last);
		if (!audit_content(a, line, &c))
			result = AUDIT_WRONG;
	} else
		result = AUDIT_BROKEN;
	json_decref(line);
	return result;
}
