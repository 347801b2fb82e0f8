/*
 * verify.c: reads an evidence log from its first line to its last and says
 * whether it is whole.
 *
 * Every line goes through audit.c; at the size of each given checkpoint the
 * tree so far must have that checkpoint's root, which shows that the log only
 * grew.  The tiles must be those of the lines.  Where the first files were
 * moved away their lines' hashes are taken from the tiles: the signed root
 * shows that these are right.  Memory is bounded by the open transactions.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "verify.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"
#include "buf.h"
#include "checkpoint.h"
#include "evlog.h"
#include "ioutil.h"
#include "jscan.h"
#include "jsonx.h"
#include "log.h"
#include "mem.h"
#include "proof.h"
#include "tilecheck.h"
#include "tiles.h"
#include "witnessctl.h"

#define MAX_FINDINGS 100
#define MAX_CHECKPOINT 65536
#define MAX_KEY_CHANGES 256
#define MAX_NAMED 20 /* open transactions */

/* One text per line of the report. */
static const char limits[] =
    "  that the log was not rolled back to an earlier signed state: give\n"
    "  checkpoints that were kept elsewhere (--checkpoint)\n"
    "  anything about lines after the last checkpoint, or never written\n"
    "  that rows were not changed past the proxy\n";

/* A checkpoint the tree must pass through. */
struct mark {
	struct checkpoint c;
	struct buf bytes;
	const char *path;
	bool passed;
};

struct key_change {
	uint64_t seq;
	struct key_public old;
	struct key_public new;
	bool by_both; /* a checkpoint with both signatures is here */
};

struct verify {
	const struct verify_options *o;
	struct audit audit;
	struct mark *marks;
	size_t n_marks;
	const struct mark *head; /* log/checkpoint, NULL if unusable */
	struct tilecheck *tiles;
	struct key_change *changes;
	size_t n_changes;
	json_t *findings; /* texts, the first MAX_FINDINGS */
	uint64_t n_findings;
	size_t torn_bytes;
	bool broken; /* the chain ends before the log */
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

static void
find_tile(void *context, const char *text)
{
	find(context, "%s", text);
}

/* --- checkpoints --- */

static bool
is_a_keys_name(const struct verify *v, const char *origin)
{
	for (size_t i = 0; i < v->o->n_keys; i++)
		if (strcmp(v->o->keys[i].name, origin) == 0)
			return true;
	return false;
}

static void
load_mark(struct verify *v, const char *path)
{
	struct mark *m = &v->marks[v->n_marks];
	char error[512];

	if (!io_read_file(path, &m->bytes, MAX_CHECKPOINT))
		find(v, "%s: %s", path, strerror(errno));
	else if (!checkpoint_parse(m->bytes.data, m->bytes.len, v->o->keys,
		     v->o->n_keys, &m->c, error, sizeof(error)))
		find(v, "%s: %s", path, error);
	else if (!proof_plain_signatures(m->bytes.data, m->bytes.len))
		find(v, "%s: a signature is not base64", path);
	else if (!is_a_keys_name(v, m->c.origin))
		find(v, "%s: is of another origin, %s", path, m->c.origin);
	else {
		m->path = path;
		v->n_marks++;
		return;
	}
	buf_free(&m->bytes);
}

static void
load_marks(struct verify *v)
{
	v->marks = mem_zalloc(v->o->n_old + 1, sizeof(*v->marks));
	io_path(v->log_checkpoint, sizeof(v->log_checkpoint), "%s/checkpoint",
	    v->o->log_dir);
	load_mark(v, v->log_checkpoint);
	if (v->n_marks > 0)
		v->head = &v->marks[0];
	for (size_t i = 0; i < v->o->n_old; i++)
		load_mark(v, v->o->old[i]);
}

static void
pass_marks(struct verify *v, const struct merkle_tree *tree)
{
	struct merkle_hash root;
	char got[MERKLE_HEX_BYTES];
	char want[MERKLE_HEX_BYTES];

	for (size_t i = 0; i < v->n_marks; i++) {
		struct mark *m = &v->marks[i];

		if (m->c.size != tree->size)
			continue;
		m->passed = true;
		merkle_tree_root(tree, &root);
		if (memcmp(&root, &m->c.root, sizeof(root)) != 0)
			find(v,
			    "%s: the first %" PRIu64
			    " lines have root %s, signed was %s",
			    m->path, m->c.size, merkle_hex(&root, got),
			    merkle_hex(&m->c.root, want));
	}
}

static void
marks_left(struct verify *v)
{
	for (size_t i = 0; i < v->n_marks; i++)
		if (!v->marks[i].passed)
			find(v,
			    "%s: %" PRIu64 " lines are signed, but the log "
			    "has only %" PRIu64 " that hold together",
			    v->marks[i].path, v->marks[i].c.size,
			    v->audit.tree.size);
}

/* --- keys that changed --- */

static bool
same_key(const struct key_public *a, const struct key_public *b)
{
	return strcmp(a->name, b->name) == 0 &&
	       memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static bool
parse_key(const struct jscan_value *text, struct key_public *k)
{
	return text->kind == JSCAN_STRING &&
	       key_public_parse(text->text, text->len, k);
}

static void
take_key_change(struct verify *v, const struct evlog_line *line,
    const struct jscan_fields *f)
{
	struct key_change c = { .seq = v->audit.tree.size };
	struct key_change *to;

	if (!parse_key(&f->member[JSCAN_OLD], &c.old) ||
	    !parse_key(&f->member[JSCAN_NEW], &c.new) ||
	    strcmp(c.old.name, c.new.name) != 0) {
		find(v,
		    "%s:%" PRIu64 ": seq %" PRIu64
		    ": a KeyChange without two keys of one name",
		    line->file, line->number, c.seq);
		return;
	}
	if (v->n_changes > 0 &&
	    !same_key(&v->changes[v->n_changes - 1].new, &c.old))
		find(v,
		    "%s:%" PRIu64 ": seq %" PRIu64
		    ": a KeyChange from a key that was not in use",
		    line->file, line->number, c.seq);
	to = v->n_changes == MAX_KEY_CHANGES
		 ? NULL
		 : reallocarray(v->changes, v->n_changes + 1, sizeof(*to));
	if (to == NULL) {
		find(v, "seq %" PRIu64 ": too many KeyChanges", c.seq);
		return;
	}
	v->changes = to;
	v->changes[v->n_changes++] = c;
}

static bool
is_signed_by(const struct mark *m, const struct key_public *k)
{
	struct checkpoint c;
	char error[256];

	return checkpoint_parse(
	    m->bytes.data, m->bytes.len, k, 1, &c, error, sizeof(error));
}

/* A checkpoint must have the signature of the key in use at its size. */
static void
check_mark_key(struct verify *v, const struct mark *m)
{
	struct key_change *last = NULL;

	for (size_t i = 0; i < v->n_changes; i++)
		if (v->changes[i].seq <= m->c.size)
			last = &v->changes[i];
	if (last == NULL) {
		if (!is_signed_by(m, &v->changes[0].old))
			find(v,
			    "%s: not signed by the key in use then, which "
			    "changed only at seq %" PRIu64,
			    m->path, v->changes[0].seq);
		return;
	}
	if (!is_signed_by(m, &last->new))
		find(v,
		    "%s: a KeyChange at seq %" PRIu64
		    ", but no signature by the new key",
		    m->path, last->seq);
	else if (is_signed_by(m, &last->old))
		last->by_both = true;
}

static void
check_keys(struct verify *v)
{
	for (size_t i = 0; i < v->n_marks && v->n_changes > 0; i++)
		check_mark_key(v, &v->marks[i]);
}

/* --- lines --- */

/* The line before may be the one that was changed: its tile knows. */
static void
name_changed_line(struct verify *v, uint64_t seq)
{
	struct merkle_hash leaf;
	struct tiles *t;

	if (v->head == NULL || seq < 2 || seq - 1 > v->head->c.size)
		return;
	t = tiles_open(v->o->log_dir, v->head->c.size);
	if (tiles_leaf(t, seq - 2, &leaf) &&
	    memcmp(&leaf, &v->audit.last, sizeof(leaf)) != 0)
		find(v,
		    "seq %" PRIu64 ": its tile has another hash: this "
		    "line was changed",
		    seq - 1);
	tiles_close(t);
}

static void
check_origin(struct verify *v, const struct evlog_line *line,
    const struct jscan_fields *f)
{
	const char *origin = jscan_text(&f->member[JSCAN_ORIGIN]);

	if (origin != NULL && v->head != NULL &&
	    strcmp(origin, v->head->c.origin) != 0)
		find(v,
		    "%s:%" PRIu64 ": seq %" PRIu64
		    ": Start of another origin, %s",
		    line->file, line->number, v->audit.tree.size, origin);
}

/* False: the chain is broken, nothing more can be said. */
static bool
check_line(struct verify *v, const struct evlog_line *line)
{
	uint64_t seq = v->audit.tree.size + 1;
	struct jscan_fields f;
	char why[1024];
	const char *type;
	enum audit_result r = audit_fields(
	    &v->audit, line->text, line->len, &f, why, sizeof(why));

	if (r != AUDIT_GOOD)
		find(v, "%s:%" PRIu64 ": seq %" PRIu64 ": %s", line->file,
		    line->number, seq, why);
	if (r == AUDIT_BROKEN) {
		name_changed_line(v, seq);
		return false;
	}
	type = jscan_text(&f.member[JSCAN_TYPE]);
	if (strcmp(type, "KeyChange") == 0)
		take_key_change(v, line, &f);
	else if (strcmp(type, "Start") == 0)
		check_origin(v, line, &f);
	tilecheck_append(v->tiles, &v->audit.last);
	pass_marks(v, &v->audit.tree);
	return true;
}

static void
check_lines(struct verify *v, struct evlog *l)
{
	struct evlog_line line;
	char error[512];
	enum evlog_result r = EVLOG_LINE;

	while (r == EVLOG_LINE) {
		r = evlog_next(l, &line, error, sizeof(error));
		if (r == EVLOG_WRONG) {
			find(v, "%s", error);
			v->broken = true;
		} else if (r == EVLOG_TORN)
			v->torn_bytes = line.len;
		else if (r == EVLOG_LINE && !check_line(v, &line)) {
			v->broken = true;
			break;
		}
	}
}

/* --- files --- */

static void
check_files(struct verify *v, unsigned first, unsigned last)
{
	char path[PATH_MAX + 32];
	char name[32];

	for (unsigned n = first; n <= last; n++) {
		evlog_file_name(name, n);
		io_path(path, sizeof(path), "%s/%s", v->o->log_dir, name);
		if (access(path, F_OK) == 0)
			continue;
		find(v, "%s: the file is missing, but there are later ones",
		    name);
		v->broken = true;
		return;
	}
}

/* The seq that the file's first line says; 0 if it says none. */
static uint64_t
first_seq(const struct verify *v, unsigned file)
{
	struct evlog *l = evlog_open(v->o->log_dir);
	const struct evlog_place place = { file, 0, 0 };
	struct jscan_fields f;
	struct evlog_line line;
	char error[512];
	uint64_t seq = 0;

	if (l == NULL)
		log_fatal("out_of_memory", "no memory to read the log");
	if (evlog_seek(l, &place) &&
	    evlog_next(l, &line, error, sizeof(error)) == EVLOG_LINE &&
	    jscan_line(
		v->audit.scan, line.text, line.len, &f, error, sizeof(error)))
		seq = jscan_count(&f.member[JSCAN_SEQ]);
	evlog_close(l);
	return seq;
}

/* Lines 1 to n by their hashes alone. */
static bool
take_tiles(struct verify *v, uint64_t n)
{
	struct tiles *t = tiles_open(v->o->log_dir, v->head->c.size);
	struct merkle_tree tree;
	struct merkle_hash leaf = { { 0 } };
	bool ok = true;

	merkle_tree_init(&tree, MERKLE_LOG);
	for (uint64_t i = 0; i < n && ok; i++) {
		ok = tiles_leaf(t, i, &leaf);
		if (!ok)
			break;
		merkle_tree_append(&tree, &leaf);
		tilecheck_append(v->tiles, &leaf);
		pass_marks(v, &tree);
	}
	if (ok)
		audit_start_behind(&v->audit, &tree, &leaf);
	else
		find(v,
		    "the files before are not there, and of the tiles in "
		    "their place: %s",
		    tiles_error(t));
	tiles_close(t);
	return ok;
}

/* False: the lines cannot be joined to the beginning. */
static bool
start_behind(struct verify *v, unsigned file)
{
	uint64_t seq = file <= 1 ? 1 : first_seq(v, file);
	char name[32];

	if (seq == 1)
		return true;
	evlog_file_name(name, file);
	if (seq == 0 || v->head == NULL || seq - 1 > v->head->c.size) {
		find(v,
		    "%s: the files before it are missing, and no signed "
		    "tiles stand for them",
		    name);
		return false;
	}
	return take_tiles(v, seq - 1);
}

static void
check_log(struct verify *v)
{
	unsigned last, first = evlog_lowest(v->o->log_dir, &last);
	const struct evlog_place place = { first, 0, 0 };
	struct evlog *l = evlog_open(v->o->log_dir);

	if (l == NULL)
		log_fatal("out_of_memory", "no memory to read the log");
	v->tiles = tilecheck_new(
	    v->o->log_dir, v->head == NULL ? 0 : v->head->c.size, find_tile, v);
	pass_marks(v, &v->audit.tree); /* an empty log can be signed */
	if (first > 0)
		check_files(v, first, last);
	if (!start_behind(v, first))
		v->broken = true;
	else if (first > 1 && !evlog_seek(l, &place))
		find(v, "the first file of evidence: %s", strerror(errno));
	else
		check_lines(v, l);
	if (!v->broken)
		tilecheck_end(v->tiles);
	tilecheck_free(v->tiles);
	evlog_close(l);
}

/* --- the report --- */

struct totals {
	uint64_t open_outcomes;
	uint64_t open_verdicts;
	uint64_t unsigned_lines;
};

/* Which, lowest first, and no more than MAX_NAMED. */
static void
name_open(struct verify *v)
{
	uint64_t after = 0;

	for (unsigned k = 0; k < MAX_NAMED; k++) {
		const struct txn *lowest = NULL;
		const struct txn *x;
		size_t i = 0;

		while ((x = txtable_next(&v->audit.open, &i)) != NULL)
			if (x->tx_id > after &&
			    (lowest == NULL || x->tx_id < lowest->tx_id))
				lowest = x;
		if (lowest == NULL)
			return;
		find(v, "tx_id %" PRIu64 ": %s", lowest->tx_id,
		    lowest->final ? "committed, but no verdict"
				  : "a record without final outcome");
		after = lowest->tx_id;
	}
}

static void
check_final(struct verify *v, const struct totals *t)
{
	if (!v->o->final)
		return;
	if (t->open_outcomes + t->open_verdicts > 0)
		find(v,
		    "%" PRIu64 " records have no final outcome, %" PRIu64
		    " committed ones no verdict",
		    t->open_outcomes, t->open_verdicts);
	name_open(v);
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
	{
		fprintf(out, "  ");
		witnessctl_print(out, name);
		fprintf(out, " %*" JSON_INTEGER_FORMAT "\n",
		    strlen(name) < 24 ? (int)(24 - strlen(name)) : 1,
		    json_integer_value(n));
	}
}

static void
print_head(const struct verify *v, FILE *out)
{
	char root[MERKLE_HEX_BYTES];

	if (v->head != NULL)
		fprintf(out, "origin: %s\nsigned: %" PRIu64 " lines, root %s\n",
		    v->head->c.origin, v->head->c.size,
		    merkle_hex(&v->head->c.root, root));
	if (v->audit.skipped > 0)
		fprintf(out,
		    "seen: lines %" PRIu64 " to %" PRIu64 "; the %" PRIu64
		    " before by their tiles only\n",
		    v->audit.skipped + 1, v->audit.tree.size, v->audit.skipped);
	fprintf(out, "lines: %" PRIu64 "\n", v->audit.tree.size);
}

static void
print_rest(const struct verify *v, const struct totals *t, FILE *out)
{
	if (v->audit.earlier > 0)
		fprintf(out,
		    "%" PRIu64 " outcomes and verdicts of records "
		    "before the lines seen: not judged\n",
		    v->audit.earlier);
	for (size_t i = 0; i < v->n_changes; i++)
		fprintf(out, "key change at seq %" PRIu64 "%s\n",
		    v->changes[i].seq,
		    v->changes[i].by_both
			? ", signed by both keys"
			: "; the checkpoint with both signatures is not here");
	fprintf(
	    out, "pending: %" PRIu64 "\n", t->open_outcomes + t->open_verdicts);
	fprintf(out, "%" PRIu64 " lines not yet signed\n", t->unsigned_lines);
	if (v->torn_bytes > 0)
		fprintf(out,
		    "the last line is not complete (%zu bytes): it "
		    "is being written, or was when the writer died\n",
		    v->torn_bytes);
	fprintf(out, "not shown by this check:\n%s", limits);
}

static void
print_text(struct verify *v, const struct totals *t, FILE *out)
{
	size_t i;
	json_t *text;

	print_head(v, out);
	print_counts(out, "types", v->audit.types);
	print_counts(out, "outcomes", v->audit.outcomes);
	print_counts(out, "verdicts", v->audit.verdicts);
	print_counts(out, "reasons", v->audit.reasons);
	print_rest(v, t, out);
	json_array_foreach(v->findings, i, text)
	{
		fprintf(out, "WRONG: ");
		witnessctl_print_json(out, text);
		fputc('\n', out);
	}
	if (v->n_findings > MAX_FINDINGS)
		fprintf(out, "and %" PRIu64 " more\n",
		    v->n_findings - MAX_FINDINGS);
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
	    v->head != NULL ? jsonx_text(v->head->c.origin) : json_null());
	jsonx_set(o, "lines", jsonx_int(v->audit.tree.size));
	jsonx_set(o, "signed",
	    v->head != NULL ? jsonx_int(v->head->c.size) : json_null());
	jsonx_set(o, "first", jsonx_int(v->audit.skipped + 1));
	jsonx_set(o, "earlier", jsonx_int(v->audit.earlier));
	jsonx_set(o, "key_changes", jsonx_int(v->n_changes));
	jsonx_set(o, "unsigned", jsonx_int(t->unsigned_lines));
	jsonx_set(o, "types", json_incref(v->audit.types));
	jsonx_set(o, "outcomes", json_incref(v->audit.outcomes));
	jsonx_set(o, "verdicts", json_incref(v->audit.verdicts));
	jsonx_set(o, "reasons", json_incref(v->audit.reasons));
	jsonx_set(o, "pending", jsonx_int(t->open_outcomes + t->open_verdicts));
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
	check_log(&v);
	marks_left(&v);
	check_keys(&v);
	audit_pending(&v.audit, &t.open_outcomes, &t.open_verdicts);
	t.unsigned_lines = v.audit.tree.size;
	if (v.head != NULL)
		t.unsigned_lines = v.audit.tree.size > v.head->c.size
				       ? v.audit.tree.size - v.head->c.size
				       : 0;
	check_final(&v, &t);
	if (o->json)
		print_json(&v, &t, out);
	else
		print_text(&v, &t, out);
	ok = v.n_findings == 0;
	json_decref(v.findings);
	audit_free(&v.audit);
	for (size_t i = 0; i < v.n_marks; i++)
		buf_free(&v.marks[i].bytes);
	free(v.marks);
	free(v.changes);
	return ok;
}
