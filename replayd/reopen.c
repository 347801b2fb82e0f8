/*
 * reopen.c: what is signed must still be there, before more is signed.
 *
 * The checkpoint is the authority; tiles that give its root at its size are
 * as good as it is, so lines are compared with their hashes one by one, and a
 * state whose root the tiles give at its size is as good as the lines before
 * it.  What cannot be used is replaced: tiles from the lines, the state from
 * the lines.  Only lines that are not those that were signed, or are gone at
 * the end, stop it.  Leading files may have been moved away.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "reopen.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "evlog.h"
#include "ioutil.h"
#include "jsonx.h"
#include "log.h"

#define REBUILD_LINES 65536 /* whose tiles are written together */

struct scan {
	struct reopen *r;
	struct tiles *tiles;     /* NULL: they cannot be used */
	uint64_t seq;            /* of the next line; 0: not known */
	uint64_t known;          /* lines whose meaning is known */
	struct merkle_hash prev; /* leaf hash of the line before */
	char *error;
	size_t error_size;
};

static bool refuse(struct scan *s, const char *fmt, ...) PGW_PRINTF(2, 3);

static bool
refuse(struct scan *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->error, s->error_size, fmt, ap);
	va_end(ap);
	return false;
}

static bool
same(const struct merkle_hash *a, const struct merkle_hash *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* --- lines --- */

static bool
check_chain(struct scan *s, const struct evlog_line *at, const json_t *line)
{
	struct merkle_hash prev;

	if (!json_is_object(line) || jsonx_get_int(line, "seq") != s->seq)
		return refuse(s,
		    "%s:%" PRIu64 " is not the line with seq %" PRIu64,
		    at->file, at->number, s->seq);
	if (!jsonx_get_hash(line, "prev", &prev) || !same(&prev, &s->prev))
		return refuse(s,
		    "%s:%" PRIu64 " (seq %" PRIu64 "): prev is "
		    "not the hash of the line before; one of the two was "
		    "changed",
		    at->file, at->number, s->seq);
	return true;
}

static bool
check_signed(
    struct scan *s, const struct evlog_line *at, const struct merkle_hash *leaf)
{
	struct merkle_hash want;
	char was[MERKLE_HEX_BYTES];
	char is[MERKLE_HEX_BYTES];

	if (!tiles_leaf(s->tiles, s->seq - 1, &want))
		return refuse(s, "%s/%s", s->r->dir, tiles_error(s->tiles));
	return same(&want, leaf) ||
	       refuse(s,
		   "%s:%" PRIu64 " (seq %" PRIu64 ") has hash %s, signed "
		   "was %s: the line was changed",
		   at->file, at->number, s->seq, merkle_hex(leaf, is),
		   merkle_hex(&want, was));
}

/* Without tiles: the tree of the first `size` lines is the signed one. */
static bool
check_root(struct scan *s)
{
	const struct merkle_tree *tree = tiles_writer_tree(s->r->tiles);
	const struct checkpoint *c = s->r->signed_head;
	struct merkle_hash root;
	char is[MERKLE_HEX_BYTES];
	char was[MERKLE_HEX_BYTES];

	if (tree->size != c->size)
		return true;
	merkle_tree_root(tree, &root);
	if (!same(&root, &c->root))
		return refuse(s,
		    "the first %" PRIu64 " lines in %s have root "
		    "%s, signed was %s: a line was changed",
		    c->size, s->r->dir, merkle_hex(&root, is),
		    merkle_hex(&c->root, was));
	tiles_sync(s->r->tiles);
	return true;
}

/* What later lines depend on; only of lines that the state does not know. */
static bool
follow(struct scan *s, const struct evlog_line *at, const json_t *line)
{
	const char *type = jsonx_get(line, "type");
	const char *origin = jsonx_get(line, "origin");
	const char *new_key = jsonx_get(line, "new");
	const char *time = jsonx_get(line, "time");
	struct state_change change;

	if (type == NULL)
		return refuse(s, "%s:%" PRIu64 " (seq %" PRIu64 ") has no type",
		    at->file, at->number, s->seq);
	if (strcmp(type, "Start") == 0 && origin != NULL &&
	    strcmp(origin, s->r->signed_head->origin) != 0)
		return refuse(s,
		    "%s:%" PRIu64 " (seq %" PRIu64
		    ") is of origin %s, the key of %s; a log keeps its origin",
		    at->file, at->number, s->seq, origin,
		    s->r->signed_head->origin);
	if (strcmp(type, "KeyChange") == 0 && new_key != NULL) {
		buf_reset(&s->r->key_change);
		buf_put_str(&s->r->key_change, new_key);
	}
	state_read(&change, type, line);
	state_apply(&s->r->state, &change, time == NULL ? "" : time);
	return true;
}

static bool
check_line(struct scan *s, const struct evlog_line *at,
    const struct merkle_hash *leaf, const json_t *line)
{
	struct reopen *r = s->r;
	bool is_signed = s->seq <= r->signed_head->size;

	if (is_signed && s->tiles != NULL) {
		if (!check_signed(s, at, leaf))
			return false;
	} else if (!check_chain(s, at, line))
		return false;
	if (s->seq > s->known && !follow(s, at, line))
		return false;
	if (s->tiles != NULL && is_signed)
		return true;
	tiles_append(r->tiles, leaf);
	/* Signed lines are durable. */
	if (is_signed && s->seq % REBUILD_LINES == 0)
		tiles_sync(r->tiles);
	return check_root(s);
}

/* The first line of all that are there says where we are. */
static bool
find_seq(struct scan *s, const struct evlog_line *at, const json_t *line)
{
	uint64_t seq = jsonx_get_int(line, "seq");

	if (seq == 0 || s->tiles == NULL || seq > s->r->signed_head->size ||
	    (s->known > 0 && seq > s->known + 1))
		return refuse(s,
		    "%s:%" PRIu64 " has seq %" PRIu64
		    "; lines before it are missing",
		    at->file, at->number, seq);
	s->seq = seq;
	log_info("evidence_moved",
	    "the evidence log is there from seq %" PRIu64 " on, in %s", seq,
	    at->file);
	return seq == 1 || tiles_leaf(s->tiles, seq - 2, &s->prev) ||
	       refuse(s, "%s/%s", s->r->dir, tiles_error(s->tiles));
}

static bool
take_line(struct scan *s, const struct evlog_line *at)
{
	struct state *state = &s->r->state;
	struct merkle_hash leaf;
	json_t *line = NULL;
	bool ok = true;

	if (s->seq == 0 || s->seq > s->known)
		line = json_loadb(
		    at->text, at->len, JSON_REJECT_DUPLICATES, NULL);
	if (s->seq == 0)
		ok = find_seq(s, at, line);
	if (ok && (s->seq - 1) % TILES_WIDTH == 0) {
		(void)sscanf(at->file, "evidence-%8u", &state->tail.file);
		state->tail.offset = (uint64_t)at->at;
		state->tail.line = at->number - 1;
		state->tail_seq = s->seq;
	}
	merkle_leaf(MERKLE_LOG, at->text, at->len, &leaf);
	ok = ok && check_line(s, at, &leaf, line);
	json_decref(line);
	s->prev = state->last = leaf;
	s->seq++;
	return ok;
}

static bool
cut_torn_line(struct scan *s, const struct evlog_line *line)
{
	char path[PATH_MAX];

	io_path(path, sizeof(path), "%s/%s", s->r->dir, line->file);
	if (truncate(path, line->at) < 0)
		return refuse(s, "%s: %s", path, strerror(errno));
	log_warning("torn_line_cut",
	    "%s: the last line was not complete; its %zu bytes are cut", path,
	    line->len);
	return true;
}

/* Behind the last line: nothing that was signed may be missing. */
static bool
at_the_end(struct scan *s, const struct evlog_line *line, bool torn)
{
	uint64_t size = s->r->signed_head->size;
	uint64_t have = s->seq == 0 ? 0 : s->seq - 1;

	if (have < size)
		return refuse(s,
		    "%s has lines up to seq %" PRIu64 ", but %" PRIu64
		    " are signed: lines are missing at the end",
		    s->r->dir, have, size);
	s->r->torn = torn;
	return !torn || cut_torn_line(s, line);
}

static bool
read_lines(struct scan *s, struct evlog *l)
{
	struct reopen *r = s->r;
	struct evlog_line line;
	enum evlog_result result;

	while ((result = evlog_next(l, &line, s->error, s->error_size)) ==
	       EVLOG_LINE) {
		if (!take_line(s, &line))
			return false;
		r->end.file = evlog_file_number(l);
		r->end.offset = (uint64_t)line.at + line.len + 1;
		r->end.line = line.number;
	}
	if (result == EVLOG_WRONG)
		return false;
	if (evlog_file_number(l) != r->end.file) {
		r->end.file = evlog_file_number(l);
		r->end.offset = r->end.line = 0;
	}
	return at_the_end(s, &line, result == EVLOG_TORN);
}

/* --- where to begin --- */

/* NULL: not there, or not what was signed; why says which. */
static struct tiles *
usable_tiles(const struct reopen *r, char *why, size_t why_size)
{
	struct tiles *t = tiles_open(r->dir, r->signed_head->size);
	struct merkle_hash root;

	if (!tiles_root(t, r->signed_head->size, &root))
		snprintf(why, why_size, "%s", tiles_error(t));
	else if (same(&root, &r->signed_head->root) ||
		 r->signed_head->size == 0)
		return t;
	else
		snprintf(why, why_size,
		    "they have another root than the "
		    "checkpoint");
	tiles_close(t);
	return NULL;
}

static bool
state_is_signed(struct tiles *t, const struct state *s, uint64_t size)
{
	struct merkle_hash root;
	struct merkle_hash last;

	return s->size > 0 && s->size <= size && s->tail_seq > 0 &&
	       s->tail_seq <= s->size && tiles_root(t, s->size, &root) &&
	       same(&root, &s->root) && tiles_leaf(t, s->size - 1, &last) &&
	       same(&last, &s->last);
}

static bool
use_state(struct scan *s)
{
	struct state *state = &s->r->state;
	char path[PATH_MAX];

	io_path(path, sizeof(path), "%s/state", s->r->dir);
	if (s->tiles == NULL || !state_load(path, state))
		return false;
	if (state_is_signed(s->tiles, state, s->r->signed_head->size) &&
	    (state->tail_seq == 1 ||
		tiles_leaf(s->tiles, state->tail_seq - 2, &s->prev)))
		return true;
	log_warning("state_ignored",
	    "%s is not of the signed log; the whole "
	    "log is read",
	    path);
	state_free(state);
	return false;
}

static bool
begin(struct scan *s, struct evlog *l, bool saved)
{
	struct evlog_place place = { evlog_lowest(s->r->dir, NULL), 0, 0 };
	struct state *state = &s->r->state;

	if (saved && state->tail.file >= place.file) {
		place = state->tail;
		s->seq = state->tail_seq;
	} else
		s->seq = place.file <= 1 ? 1 : 0;
	s->known = saved ? state->size : 0;
	if (place.file == 0 || evlog_seek(l, &place)) {
		s->r->end = place;
		return true;
	}
	return refuse(s, "%s/evidence-%08u.jsonl: %s", s->r->dir, place.file,
	    strerror(errno));
}

static bool
scan(struct scan *s, bool with_state, bool *saved)
{
	struct reopen *r = s->r;
	struct evlog *l = evlog_open(r->dir);
	char why[256];
	bool ok;

	if (l == NULL)
		log_fatal("out_of_memory", "no memory for the evidence log");
	*saved = with_state && use_state(s);
	r->tiles = tiles_writer_open(r->dir,
	    s->tiles == NULL ? 0 : r->signed_head->size, why, sizeof(why));
	ok = r->tiles == NULL ? refuse(s, "%s/%s", r->dir, why)
			      : begin(s, l, *saved);
	if (ok)
		ok = s->r->end.file == 0 ? at_the_end(s, NULL, false)
					 : read_lines(s, l);
	evlog_close(l);
	return ok;
}

bool
reopen_log(struct reopen *r, char *error, size_t error_size)
{
	struct scan s = { .r = r, .error = error, .error_size = error_size };
	char why[256];
	bool saved;
	bool ok;

	s.tiles = usable_tiles(r, why, sizeof(why));
	if (s.tiles == NULL)
		log_warning("tiles_rebuilt",
		    "the tiles in %s cannot be used "
		    "(%s); they are made again from the lines",
		    r->dir, why);
	ok = scan(&s, true, &saved);
	if (!ok && saved) {
		log_warning(
		    "state_disagrees", "%s; the whole log is read", error);
		reopen_free(r);
		memset(&s.prev, 0, sizeof(s.prev));
		ok = scan(&s, false, &saved);
	}
	if (s.tiles != NULL)
		tiles_close(s.tiles);
	return ok;
}

void
reopen_free(struct reopen *r)
{
	tiles_writer_close(r->tiles);
	r->tiles = NULL;
	state_free(&r->state);
	buf_free(&r->key_change);
}
