/*
 * evidence.c: writes the evidence log and signs its head.
 *
 * Order at each checkpoint: lines durable, tiles durable, the tiles read again
 * and compared with the last checkpoint, the new one renamed into place, the
 * state saved.  Before replacing log/checkpoint the file is compared with what
 * this process left there: a second writer, or a data directory restored
 * underneath, must not be signed over.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "evidence.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blob.h"
#include "buf.h"
#include "checkpoint.h"
#include "evlog.h"
#include "ioutil.h"
#include "jsonw.h"
#include "jsonx.h"
#include "killpoint.h"
#include "log.h"
#include "mem.h"
#include "reopen.h"
#include "tiles.h"

#define MAX_CHECKPOINT 65536
/* type, seq, time and prev with their quotes, at their longest */
#define HEAD_BYTES 256
#define FLUSH_BYTES 65536
/* The buffer of a longer line, before it is shortened, is given back. */
#define KEEP_LINE ((size_t)1 << 20)
#define STATE_SHARE 20 /* of the time, one part for saving the state */

struct evidence {
	char dir[PATH_MAX];
	int dir_fd; /* holds the lock */
	const struct key_signer *signer;
	int64_t rotate_size;
	struct tiles_writer *tiles;
	struct state state;     /* of now, but for size and root */
	char last_time[40];     /* of the last line before the start */
	struct buf key_change;  /* `new` of the last KeyChange seen */
	int fd;                 /* the file appended to, -1 before */
	struct evlog_place end; /* where the next line goes */
	struct buf line;        /* the one being made */
	char line_time[IO_TIME_BYTES];
	struct buf pending;     /* lines not yet written */
	struct checkpoint head; /* the last signed; size 0: none */
	struct buf checkpoint;  /* bytes of log/checkpoint, if any */
	int64_t next_save_us;
};

/* --- opening --- */

struct complaint {
	char *text;
	size_t size;
};

/* The checkpoint there is; false if it cannot be used, true if none. */
static bool
load_checkpoint(struct evidence *e, struct checkpoint *c, struct complaint *w)
{
	char path[PATH_MAX];
	char why[256];

	io_path(path, sizeof(path), "%s/checkpoint", e->dir);
	memset(c, 0, sizeof(*c));
	snprintf(c->origin, sizeof(c->origin), "%s", e->signer->public.name);
	if (!io_read_file(path, &e->checkpoint, MAX_CHECKPOINT)) {
		buf_reset(&e->checkpoint);
		if (errno == ENOENT)
			return true;
		snprintf(w->text, w->size, "%s: %s", path, strerror(errno));
		return false;
	}
	if (!checkpoint_parse(e->checkpoint.data, e->checkpoint.len,
		&e->signer->public, 1, c, why, sizeof(why))) {
		snprintf(w->text, w->size, "%s: %s; nothing is signed over it",
		    path, why);
		return false;
	}
	if (strcmp(c->origin, e->signer->public.name) != 0) {
		snprintf(w->text, w->size,
		    "%s: origin %s is not the key's, %s; start a new log", path,
		    c->origin, e->signer->public.name);
		return false;
	}
	return true;
}

/* Takes over what the self-check found. */
static bool
reopen(struct evidence *e, struct complaint *w)
{
	struct reopen r = { .dir = e->dir, .signed_head = &e->head };

	if (!reopen_log(&r, w->text, w->size)) {
		reopen_free(&r);
		return false;
	}
	e->tiles = r.tiles;
	e->state = r.state;
	e->key_change = r.key_change;
	e->end = r.end;
	return true;
}

static void
open_file(struct evidence *e)
{
	char path[PATH_MAX];
	char name[32];

	evlog_file_name(name, e->end.file);
	io_path(path, sizeof(path), "%s/%s", e->dir, name);
	e->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (e->fd < 0 || !io_fsync_dir(e->dir))
		log_fatal("evidence_failed", "%s: %s", path, strerror(errno));
}

static bool
take_lock(struct evidence *e, struct complaint *w)
{
	if ((mkdir(e->dir, 0700) < 0 && errno != EEXIST) ||
	    (e->dir_fd = open(e->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) <
		0) {
		snprintf(w->text, w->size, "%s: %s", e->dir, strerror(errno));
		return false;
	}
	while (flock(e->dir_fd, LOCK_EX) < 0)
		if (errno != EINTR) {
			snprintf(w->text, w->size, "%s: flock: %s", e->dir,
			    strerror(errno));
			return false;
		}
	return true;
}

struct evidence *
evidence_open(const char *log_dir, const struct key_signer *signer,
    int64_t rotate_size, char *error, size_t error_size)
{
	struct complaint w = { error, error_size };
	struct evidence *e = mem_zalloc(1, sizeof(*e));

	io_path(e->dir, sizeof(e->dir), "%s", log_dir);
	e->signer = signer;
	e->rotate_size = rotate_size;
	e->fd = e->dir_fd = -1;
	if (!take_lock(e, &w) || !load_checkpoint(e, &e->head, &w) ||
	    !reopen(e, &w)) {
		evidence_close(e);
		return NULL;
	}
	memcpy(e->last_time, e->state.last_time, sizeof(e->last_time));
	if (e->end.file == 0)
		e->end.file = 1;
	open_file(e);
	/* What a former process appended may not be durable yet. */
	evidence_sync(e);
	return e;
}

void
evidence_close(struct evidence *e)
{
	if (e == NULL)
		return;
	if (e->fd >= 0) {
		evidence_flush(e);
		close(e->fd);
	}
	if (e->dir_fd >= 0)
		close(e->dir_fd);
	tiles_writer_close(e->tiles);
	state_free(&e->state);
	buf_free(&e->key_change);
	buf_free(&e->line);
	buf_free(&e->pending);
	buf_free(&e->checkpoint);
	free(e);
}

/* --- asking --- */

struct txtable *
evidence_open_transactions(struct evidence *e)
{
	return &e->state.open;
}

struct state_spool *
evidence_spool(struct evidence *e)
{
	return &e->state.spool;
}

void
evidence_set_timeline(struct evidence *e, uint64_t timeline)
{
	e->state.timeline = timeline;
}

struct spool_position
evidence_last_aside(const struct evidence *e)
{
	return e->state.aside;
}

uint64_t
evidence_highest_tx_id(const struct evidence *e)
{
	return e->state.open.highest;
}

uint64_t
evidence_size(const struct evidence *e)
{
	return tiles_writer_tree(e->tiles)->size;
}

void
evidence_root(const struct evidence *e, struct merkle_hash *out)
{
	merkle_tree_root(tiles_writer_tree(e->tiles), out);
}

const char *
evidence_last_time(const struct evidence *e)
{
	return e->last_time;
}

uint64_t
evidence_unsigned(const struct evidence *e)
{
	return evidence_size(e) - e->head.size;
}

/* --- appending --- */

void
evidence_flush(struct evidence *e)
{
	if (e->pending.len == 0)
		return;
	if (!io_write_all(e->fd, e->pending.data, e->pending.len))
		log_fatal("evidence_failed", "%s/evidence-%08u.jsonl: %s",
		    e->dir, e->end.file, strerror(errno));
	buf_reset(&e->pending);
}

void
evidence_sync(struct evidence *e)
{
	evidence_flush(e);
	KILLPOINT("evidence_written");
	if (fdatasync(e->fd) < 0)
		log_fatal("evidence_failed",
		    "%s/evidence-%08u.jsonl: fdatasync: %s", e->dir,
		    e->end.file, strerror(errno));
}

static void
rotate(struct evidence *e)
{
	evidence_sync(e);
	close(e->fd);
	e->end.file++;
	e->end.offset = e->end.line = 0;
	open_file(e);
}

/* A line is `len` bytes long, without its newline. */
static void
add_line(struct evidence *e, const char *text, size_t len)
{
	if (e->end.offset > 0 &&
	    e->end.offset + len + 1 > (uint64_t)e->rotate_size)
		rotate(e);
	if (evidence_size(e) % TILES_WIDTH == 0) {
		e->state.tail = e->end;
		e->state.tail_seq = evidence_size(e) + 1;
	}
	buf_put(&e->pending, text, len);
	buf_put_u8(&e->pending, '\n');
	e->end.offset += len + 1;
	e->end.line++;
	merkle_leaf(MERKLE_LOG, text, len, &e->state.last);
	tiles_append(e->tiles, &e->state.last);
	if (e->pending.len >= FLUSH_BYTES)
		evidence_flush(e);
}

/* The whole line: type, seq, time and prev, then the members. */
static void
put_line(struct evidence *e, const char *type, const void *members, size_t len)
{
	struct buf *b = &e->line;

	io_format_time(io_now_us(), e->line_time);
	buf_reset(b);
	jsonw_open(b, '{');
	jsonw_name(b, "type");
	jsonw_text(b, type);
	jsonw_name(b, "seq");
	jsonw_int(b, evidence_size(e) + 1);
	jsonw_name(b, "time");
	jsonw_text(b, e->line_time);
	jsonw_name(b, "prev");
	jsonw_hash(b, &e->state.last);
	if (len > 0)
		buf_put_u8(b, ',');
	buf_put(b, members, len);
	jsonw_close(b, '}');
}

static void
put_body(struct evidence *e, const char *type, const json_t *body)
{
	size_t len;
	char *text = jsonx_dump(body, &len);

	/* Without its braces. */
	put_line(e, type, text + 1, len - 2);
	free(text);
}

static void
end_line(struct evidence *e, const struct state_change *c)
{
	add_line(e, (const char *)e->line.data, e->line.len);
	state_apply(&e->state, c, e->line_time);
	if (e->line.cap > KEEP_LINE)
		buf_free(&e->line);
}

void
evidence_append(struct evidence *e, const char *type, json_t *body)
{
	struct state_change c;

	put_body(e, type, body);
	if (e->line.len > EVLOG_MAX_LINE) {
		blob_shorten(e->dir, body, EVLOG_MAX_LINE - HEAD_BYTES);
		put_body(e, type, body);
	}
	state_read(&c, type, body);
	end_line(e, &c);
	json_decref(body);
}

void
evidence_append_line(struct evidence *e, const struct line *l)
{
	put_line(e, l->type, l->text.data, l->text.len);
	if (e->line.len > EVLOG_MAX_LINE)
		evidence_append(e, l->type, line_json(l));
	else
		end_line(e, &l->change);
}

/* --- signing --- */

/* log/checkpoint must be what this process found or left there. */
static void
check_nobody_else_signed(const struct evidence *e, const char *path)
{
	struct buf now = { 0 };
	bool same;

	if (!io_read_file(path, &now, MAX_CHECKPOINT)) {
		if (errno != ENOENT)
			log_fatal("checkpoint_failed", "%s: %s", path,
			    strerror(errno));
		buf_reset(&now);
	}
	same = now.len == e->checkpoint.len &&
	       (now.len == 0 ||
		   memcmp(now.data, e->checkpoint.data, now.len) == 0);
	buf_free(&now);
	if (!same)
		log_fatal("checkpoint_inconsistent",
		    "%s was changed by another process; nothing is signed "
		    "over it",
		    path);
}

/* The tiles as they lie on the disk: the last head's tree, and this one. */
static void
check_follows(const struct evidence *e, const struct checkpoint *c)
{
	struct tiles *t = tiles_open(e->dir, c->size);
	struct merkle_hash before;
	struct merkle_hash now;
	char is[MERKLE_HEX_BYTES];
	char was[MERKLE_HEX_BYTES];

	if (!tiles_root(t, e->head.size, &before) ||
	    !tiles_root(t, c->size, &now))
		log_fatal("checkpoint_inconsistent",
		    "%s/%s; nothing is signed "
		    "over it",
		    e->dir, tiles_error(t));
	tiles_close(t);
	if (e->head.size > 0 &&
	    memcmp(&before, &e->head.root, sizeof(before)) != 0)
		log_fatal("checkpoint_inconsistent",
		    "the first %" PRIu64
		    " lines in %s have root %s by their tiles, signed was %s; "
		    "nothing is signed over it",
		    e->head.size, e->dir, merkle_hex(&before, is),
		    merkle_hex(&e->head.root, was));
	if (memcmp(&now, &c->root, sizeof(now)) != 0)
		log_fatal("checkpoint_inconsistent",
		    "%" PRIu64
		    " lines have root %s, by their tiles in %s %s; nothing is "
		    "signed over it",
		    c->size, merkle_hex(&c->root, was), e->dir,
		    merkle_hex(&now, is));
}

void
evidence_save_state(struct evidence *e)
{
	int64_t start = io_monotonic_us();
	char path[PATH_MAX];

	if (e->head.size == 0 || evidence_unsigned(e) > 0)
		return;
	e->state.size = e->head.size;
	e->state.root = e->head.root;
	io_path(path, sizeof(path), "%s/state", e->dir);
	if (!state_save(path, &e->state))
		log_fatal("evidence_failed", "%s: %s", path, strerror(errno));
	e->next_save_us = io_monotonic_us() +
			  STATE_SHARE * (io_monotonic_us() - start);
}

static void
sign(struct evidence *e, const struct key_signer *next)
{
	struct checkpoint c;
	char path[PATH_MAX];

	evidence_sync(e);
	tiles_sync(e->tiles);
	io_path(path, sizeof(path), "%s/checkpoint", e->dir);
	check_nobody_else_signed(e, path);
	memset(&c, 0, sizeof(c));
	snprintf(c.origin, sizeof(c.origin), "%s", e->signer->public.name);
	c.size = evidence_size(e);
	evidence_root(e, &c.root);
	check_follows(e, &c);
	buf_reset(&e->checkpoint);
	checkpoint_put_both(&c, e->signer, next, &e->checkpoint);
	KILLPOINT("before_checkpoint");
	if (!io_replace_file(path, e->checkpoint.data, e->checkpoint.len, 0644))
		log_fatal("checkpoint_failed", "%s: %s", path, strerror(errno));
	KILLPOINT("after_checkpoint");
	e->head = c;
}

void
evidence_checkpoint(struct evidence *e)
{
	if (evidence_unsigned(e) == 0)
		return;
	sign(e, NULL);
	if (io_monotonic_us() >= e->next_save_us)
		evidence_save_state(e);
}

/* --- another key --- */

static json_t *
key_text(const struct key_public *k)
{
	struct buf b = { 0 };
	json_t *v;

	key_public_text(k, &b);
	v = jsonx_textn(b.data, b.len);
	buf_free(&b);
	return v;
}

static bool
is_signed_by(const struct evidence *e, const struct key_public *k)
{
	struct checkpoint c;
	char why[256];

	return e->checkpoint.len > 0 &&
	       checkpoint_parse(e->checkpoint.data, e->checkpoint.len, k, 1, &c,
		   why, sizeof(why));
}

static bool
is_logged(const struct evidence *e, const struct key_public *k)
{
	struct buf b = { 0 };
	bool same;

	key_public_text(k, &b);
	same = b.len == e->key_change.len &&
	       memcmp(b.data, e->key_change.data, b.len) == 0;
	buf_free(&b);
	return same;
}

void
evidence_change_key(struct evidence *e, const struct key_signer *next)
{
	json_t *body;

	if (!is_signed_by(e, &next->public)) {
		if (!is_logged(e, &next->public)) {
			body = jsonx_object();
			jsonx_set(body, "old", key_text(&e->signer->public));
			jsonx_set(body, "new", key_text(&next->public));
			evidence_append(e, "KeyChange", body);
		}
		sign(e, next);
		evidence_save_state(e);
	}
	e->signer = next;
}
