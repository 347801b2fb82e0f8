/*
 * verify.c: reads an evidence log from its first line to its last and says
 * whether it is whole.
 *
 * Every line goes through audit.c; at the size of each given checkpoint the
 * tree so far must have that checkpoint's root, which shows that the log only
 * grew.  Memory is bounded by the open transactions.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "verify.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "checkpoint.h"
#include "evlog.h"
#include "ioutil.h"
#include "jsonx.h"
#include "log.h"

#define MAX_FINDINGS 100

/* One text per line of the report. */
static const char limits[] =
    "  that the log was not rolled back to an earlier signed state: give\n"
    "  checkpoints that were kept elsewhere (--checkpoint)\n"
    "  anything about lines after the last checkpoint, or never written\n"
    "  that rows were not changed past the proxy\n";

/* A checkpoint the tree must pass through. */
struct mark {
	struct checkpoint c;
	const char *path;
	bool passed;
};

struct verify {
	const struct verify_options *o;
	struct audit audit;
	struct mark *marks;		/* [0] is log/checkpoint */
	size_t n_marks;
	json_t *findings;		/* texts, the first MAX_FINDINGS */
	uint64_t n_findings;
	size_t torn_bytes;
	char log_checkpoint[PATH_MAX];
};

static void find(struct verify *v, const char *fmt, ...) PGW_PRINTF(2, 3);

static void
find(struct verify *v, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (v->n_findings++ < MAX_FINDINGS)
		jsonx_append(v->findings, jsonx_text(text));
}

/* --- checkpoints --- */

static void
load_mark(struct verify *v, const char *path)
{
	struct mark *m = &v->marks[v->n_marks];
	char error[512];

	if (!checkpoint_load(path, v->o->keys, v->o->n_keys, &m->c, error,
		sizeof(error))) {
		find(v, "%s", error);
		return;
	}
	if (v->n_marks > 0 &&
	    strcmp(m->c.origin, v->marks[0].c.origin) != 0) {
		find(v, "%s: is of another origin, %s", path, m->c.origin);
		return;
	}
	m->path = path;
	v->n_marks++;
}

static void
load_marks(struct verify *v)
{
	v->marks = calloc(v->o->n_old + 1, sizeof(*v->marks));
	if (v->marks == NULL)
		log_fatal("out_of_memory", "no memory for checkpoints");
	io_path(v->log_checkpoint, sizeof(v->log_checkpoint), "%s/checkpoint",
	    v->o->log_dir);
	load_mark(v, v->log_checkpoint);
	if (v->n_marks == 0)
		return;
	for (size_t i = 0; i < v->o->n_old; i++)
		load_mark(v, v->o->old[i]);
}

static void
pass_marks(struct verify *v)
{
	struct merkle_hash root;
	char got[MERKLE_HEX_BYTES];
	char want[MERKLE_HEX_BYTES];

	for (size_t i = 0; i < v->n_marks; i++) {
		struct mark *m = &v->marks[i];

		if (m->c.size != v->audit.tree.size)
			continue;
		m->passed = true;
		merkle_tree_root(&v->audit.tree, &root);
		if (memcmp(&root, &m->c.root, sizeof(root)) != 0)
			find(v, "%s: the first %" PRIu64
			    " lines have root %s, signed was %s", m->path,
			    m->c.size, merkle_hex(&root, got),
			    merkle_hex(&m->c.root, want));
	}
}

static void
marks_left(struct verify *v)
{
	for (size_t i = 0; i < v->n_marks; i++)
		if (!v->marks[i].passed)
			find(v, "%s: %" PRIu64 " lines are signed, but the log "
			    "has only %" PRIu64 " that hold together",
			    v->marks[i].path, v->marks[i].c.size,
			    v->audit.tree.size);
}

/* --- lines --- */

/* False: the chain is broken, nothing more can be said. */
static bool
check_line(struct verify *v, const struct evlog_line *line)
{
	uint64_t seq = v->audit.tree.size + 1;
	char why[1024];
	enum audit_result r =
	    audit_line(&v->audit, line->text, line->len, why, sizeof(why));

	if (r != AUDIT_GOOD)
		find(v, "%s:%" PRIu64 ": seq %" PRIu64 ": %s", line->file,
		    line->number, seq, why);
	if (r == AUDIT_BROKEN)
		return false;
	pass_marks(v);
	return true;
}

static void
check_lines(struct verify *v)
{
	struct evlog *l = evlog_open(v->o->log_dir);
	struct evlog_line line;
	char error[512];
	enum evlog_result r = EVLOG_LINE;

	if (l == NULL)
		log_fatal("out_of_memory", "no memory to read the log");
	pass_marks(v); /* an empty log can be signed */
	while (r == EVLOG_LINE) {
		r = evlog_next(l, &line, error, sizeof(error));
		if (r == EVLOG_WRONG)
			find(v, "%s", error);
		else if (r == EVLOG_TORN)
			v->torn_bytes = line.len;
		else if (r == EVLOG_LINE && !check_line(v, &line))
			break;
	}
	evlog_close(l);
}

/* --- the report --- */

struct totals {
	uint64_t open_outcomes;
	uint64_t open_verdicts;
	uint64_t unsigned_lines;
};

static void
check_final(struct verify *v, const struct totals *t)
{
	if (!v->o->final)
		return;
	if (t->open_outcomes + t->open_verdicts > 0)
		find(v, "%" PRIu64 " records have no final outcome, %" PRIu64
		    " committed ones no verdict", t->open_outcomes,
		    t->open_verdicts);
	if (t->unsigned_lines > 0)
		find(v, "%" PRIu64 " lines are not signed", t->unsigned_lines);
	if (v->torn_bytes > 0)
		find(v, "the last line is not complete");
}

static void
print_counts(FILE *out, const char *title, json_t *counts)
{
	const char *name;
	json_t *n;

	fprintf(out, "%s:\n", title);
	json_object_foreach(counts, name, n)
		fprintf(out, "  %-24s %" JSON_INTEGER_FORMAT "\n", name,
		    json_integer_value(n));
}

static void
print_text(struct verify *v, const struct totals *t, FILE *out)
{
	char root[MERKLE_HEX_BYTES];
	size_t i;
	json_t *text;

	if (v->n_marks > 0)
		fprintf(out, "origin: %s\nsigned: %" PRIu64 " lines, root %s\n",
		    v->marks[0].c.origin, v->marks[0].c.size,
		    merkle_hex(&v->marks[0].c.root, root));
	fprintf(out, "lines: %" PRIu64 "\n", v->audit.tree.size);
	print_counts(out, "types", v->audit.types);
	print_counts(out, "outcomes", v->audit.outcomes);
	print_counts(out, "verdicts", v->audit.verdicts);
	print_counts(out, "reasons", v->audit.reasons);
	fprintf(out, "pending: %" PRIu64 "\n",
	    t->open_outcomes + t->open_verdicts);
	fprintf(out, "%" PRIu64 " lines not yet signed\n", t->unsigned_lines);
	if (v->torn_bytes > 0)
		fprintf(out, "the last line is not complete (%zu bytes): it "
		    "is being written, or was when the writer died\n",
		    v->torn_bytes);
	fprintf(out, "not shown by this check:\n%s", limits);
	json_array_foreach(v->findings, i, text)
		fprintf(out, "WRONG: %s\n", json_string_value(text));
	fprintf(out, "%s\n", v->n_findings == 0 ? "OK" : "NOT OK");
}

static void
print_json(struct verify *v, const struct totals *t, FILE *out)
{
	json_t *o = jsonx_object();
	size_t len;
	char *text;

	jsonx_set(o, "ok", json_boolean(v->n_findings == 0));
	jsonx_set(o, "origin",
	    v->n_marks > 0 ? jsonx_text(v->marks[0].c.origin) : json_null());
	jsonx_set(o, "lines", jsonx_int(v->audit.tree.size));
	jsonx_set(o, "signed",
	    v->n_marks > 0 ? jsonx_int(v->marks[0].c.size) : json_null());
	jsonx_set(o, "unsigned", jsonx_int(t->unsigned_lines));
	jsonx_set(o, "types", json_incref(v->audit.types));
	jsonx_set(o, "outcomes", json_incref(v->audit.outcomes));
	jsonx_set(o, "verdicts", json_incref(v->audit.verdicts));
	jsonx_set(o, "reasons", json_incref(v->audit.reasons));
	jsonx_set(o, "pending",
	    jsonx_int(t->open_outcomes + t->open_verdicts));
	jsonx_set(o, "open_records", jsonx_int(t->open_outcomes));
	jsonx_set(o, "open_verdicts", jsonx_int(t->open_verdicts));
	jsonx_set(o, "wrong", json_incref(v->findings));
	text = jsonx_dump(o, &len);
	fprintf(out, "%s\n", text);
	free(text);
	json_decref(o);
}

bool
verify_log(const struct verify_options *o, FILE *out)
{
	struct verify v = { .o = o, .findings = jsonx_array() };
	struct totals t = { 0 };
	bool ok;

	audit_init(&v.audit, o->log_dir);
	load_marks(&v);
	check_lines(&v);
	marks_left(&v);
	audit_pending(&v.audit, &t.open_outcomes, &t.open_verdicts);
	t.unsigned_lines = v.audit.tree.size;
	if (v.n_marks > 0)
		t.unsigned_lines = v.audit.tree.size > v.marks[0].c.size
		    ? v.audit.tree.size - v.marks[0].c.size
		    : 0;
	check_final(&v, &t);
	if (o->json)
		print_json(&v, &t, out);
	else
		print_text(&v, &t, out);
	ok = v.n_findings == 0;
	json_decref(v.findings);
	audit_free(&v.audit);
	free(v.marks);
	return ok;
}
