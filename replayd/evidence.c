/*
 * evidence.c: writes the evidence log and signs its head.
 *
 * On opening, everything is derived again from the files; the tree must have
 * the signed root at the signed size.  From then on the tree only grows, so
 * each new checkpoint follows from the last.  Before replacing log/checkpoint
 * the file is compared with what this process left there: a second writer, or
 * a data directory restored underneath, must not be signed over.
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

#include "audit.h"
#include "blob.h"
#include "buf.h"
#include "checkpoint.h"
#include "evlog.h"
#include "ioutil.h"
#include "jsonx.h"
#include "log.h"

#define MAX_CHECKPOINT 65536
/* type, seq, time and prev with their quotes, at their longest */
#define HEAD_BYTES 256
#define FLUSH_BYTES 65536

struct evidence {
	char dir[PATH_MAX];
	int dir_fd;			/* holds the lock */
	const struct key_signer *signer;
	int64_t rotate_size;
	struct audit audit;		/* tree, open transactions */
	char last_time[40];
	int fd;				/* the file appended to, -1 before */
	unsigned file_number;
	int64_t file_size;		/* with what is still in pending */
	struct buf pending;		/* lines not yet written */
	uint64_t signed_size;
	struct buf checkpoint;		/* bytes of log/checkpoint, if any */
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
	c->size = 0;
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
		    "%s: origin %s is not the key's, %s; start a new log",
		    path, c->origin, e->signer->public.name);
		return false;
	}
	e->signed_size = c->size;
	return true;
}

static bool
root_is_signed_one(const struct evidence *e, const struct checkpoint *c,
	struct complaint *w)
{
	struct merkle_hash root;
	char got[MERKLE_HEX_BYTES];
	char want[MERKLE_HEX_BYTES];

	merkle_tree_root(&e->audit.tree, &root);
	if (memcmp(&root, &c->root, sizeof(root)) == 0)
		return true;
	snprintf(w->text, w->size,
	    "the first %" PRIu64 " lines in %s have root %s, signed was %s: a "
	    "line was changed", c->size, e->dir, merkle_hex(&root, got),
	    merkle_hex(&c->root, want));
	return false;
}

static bool
cut_torn_line(const struct evidence *e, const struct evlog_line *line,
	struct complaint *w)
{
	char path[PATH_MAX];

	io_path(path, sizeof(path), "%s/%s", e->dir, line->file);
	if (truncate(path, line->at) < 0) {
		snprintf(w->text, w->size, "%s: %s", path, strerror(errno));
		return false;
	}
	log_warning("torn_line_cut",
	    "%s: the last line was not complete; its %zu bytes are cut",
	    path, line->len);
	return true;
}

static bool
take_line(struct evidence *e, const struct evlog_line *line,
	const struct checkpoint *c, struct complaint *w)
{
	char why[512];

	switch (audit_line(&e->audit, line->text, line->len, why,
	    sizeof(why))) {
	case AUDIT_BROKEN:
		snprintf(w->text, w->size, "%s:%" PRIu64 ": %s", line->file,
		    line->number, why);
		return false;
	case AUDIT_WRONG:
		log_warning("evidence_rule_broken", "%s:%" PRIu64 ": %s",
		    line->file, line->number, why);
		break;
	case AUDIT_GOOD:
		break;
	}
	return e->audit.tree.size != c->size || root_is_signed_one(e, c, w);
}

/* Reads every line; the torn one is cut only if nothing signed is missing. */
static bool
rescan(struct evidence *e, const struct checkpoint *c, struct complaint *w)
{
	struct evlog *l = evlog_open(e->dir);
	struct evlog_line line;
	enum evlog_result r;
	bool ok = l != NULL;

	while (ok && (r = evlog_next(l, &line, w->text, w->size)) != EVLOG_END)
		if (r == EVLOG_LINE)
			ok = take_line(e, &line, c, w);
		else if (r == EVLOG_TORN && e->audit.tree.size >= c->size) {
			ok = cut_torn_line(e, &line, w);
			break;
		} else if (r == EVLOG_TORN)
			break;
		else
			ok = false;
	if (ok && e->audit.tree.size < c->size) {
		snprintf(w->text, w->size,
		    "%s has %" PRIu64 " lines, but %" PRIu64 " are signed: "
		    "lines are missing at the end", e->dir,
		    e->audit.tree.size, c->size);
		ok = false;
	}
	if (l != NULL)
		e->file_number = evlog_file_number(l);
	evlog_close(l);
	return ok;
}

static void
open_file(struct evidence *e)
{
	char path[PATH_MAX];
	char name[32];
	struct stat st;

	evlog_file_name(name, e->file_number);
	io_path(path, sizeof(path), "%s/%s", e->dir, name);
	e->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (e->fd < 0 || fstat(e->fd, &st) < 0 || !io_fsync_dir(e->dir))
		log_fatal("evidence_failed", "%s: %s", path, strerror(errno));
	e->file_size = st.st_size;
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
	struct evidence *e = calloc(1, sizeof(*e));
	struct checkpoint c;

	if (e == NULL)
		log_fatal("out_of_memory", "no memory for the evidence log");
	io_path(e->dir, sizeof(e->dir), "%s", log_dir);
	e->signer = signer;
	e->rotate_size = rotate_size;
	e->fd = e->dir_fd = -1;
	audit_init(&e->audit, NULL);
	if (!take_lock(e, &w) || !load_checkpoint(e, &c, &w) ||
	    !rescan(e, &c, &w)) {
		evidence_close(e);
		return NULL;
	}
	snprintf(e->last_time, sizeof(e->last_time), "%s",
	    e->audit.last_time);
	if (e->file_number == 0)
		e->file_number = 1;
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
	audit_free(&e->audit);
	buf_free(&e->pending);
	buf_free(&e->checkpoint);
	free(e);
}

/* --- asking --- */

struct txtable *
evidence_open_transactions(struct evidence *e)
{
	return &e->audit.open;
}

uint64_t
evidence_highest_tx_id(const struct evidence *e)
{
	return e->audit.highest_tx_id;
}

uint64_t
evidence_size(const struct evidence *e)
{
	return e->audit.tree.size;
}

void
evidence_root(const struct evidence *e, struct merkle_hash *out)
{
	merkle_tree_root(&e->audit.tree, out);
}

const char *
evidence_last_time(const struct evidence *e)
{
	return e->last_time;
}

uint64_t
evidence_unsigned(const struct evidence *e)
{
	return e->audit.tree.size - e->signed_size;
}

/* --- appending --- */

void
evidence_flush(struct evidence *e)
{
	if (e->pending.len == 0)
		return;
	if (!io_write_all(e->fd, e->pending.data, e->pending.len))
		log_fatal("evidence_failed", "%s/evidence-%08u.jsonl: %s",
		    e->dir, e->file_number, strerror(errno));
	buf_reset(&e->pending);
}

void
evidence_sync(struct evidence *e)
{
	evidence_flush(e);
	if (fdatasync(e->fd) < 0)
		log_fatal("evidence_failed",
		    "%s/evidence-%08u.jsonl: fdatasync: %s", e->dir,
		    e->file_number, strerror(errno));
}

static void
rotate(struct evidence *e)
{
	evidence_sync(e);
	close(e->fd);
	e->file_number++;
	open_file(e);
}

/* The whole line: type, seq, time and prev, then the members of body. */
static json_t *
with_head(const struct evidence *e, const char *type, const json_t *body)
{
	json_t *line = jsonx_object();
	char time[IO_TIME_BYTES];

	jsonx_set(line, "type", json_string(type));
	jsonx_set(line, "seq", jsonx_int(e->audit.tree.size + 1));
	jsonx_set(line, "time",
	    json_string(io_format_time(io_now_us(), time)));
	jsonx_set(line, "prev", jsonx_hash(&e->audit.last));
	if (json_object_update(line, (json_t *)(uintptr_t)body) != 0)
		log_fatal("json_failed", "no memory for a line of evidence");
	return line;
}

void
evidence_append(struct evidence *e, const char *type, json_t *body)
{
	json_t *line;
	char *text;
	size_t len;

	line = with_head(e, type, body);
	text = jsonx_dump(line, &len);
	if (len > EVLOG_MAX_LINE) {
		free(text);
		json_decref(line);
		blob_shorten(e->dir, body, EVLOG_MAX_LINE - HEAD_BYTES);
		line = with_head(e, type, body);
		text = jsonx_dump(line, &len);
	}
	if (e->file_size > 0 &&
	    e->file_size + (int64_t)len + 1 > e->rotate_size)
		rotate(e);
	buf_put(&e->pending, text, len);
	buf_put_u8(&e->pending, '\n');
	e->file_size += (int64_t)len + 1;
	merkle_leaf(MERKLE_LOG, text, len, &e->audit.last);
	merkle_tree_append(&e->audit.tree, &e->audit.last);
	free(text);
	json_decref(line);
	json_decref(body);
	if (e->pending.len >= FLUSH_BYTES)
		evidence_flush(e);
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
		    "over it", path);
}

void
evidence_checkpoint(struct evidence *e)
{
	struct checkpoint c;
	char path[PATH_MAX];

	if (evidence_unsigned(e) == 0)
		return;
	evidence_sync(e);
	io_path(path, sizeof(path), "%s/checkpoint", e->dir);
	check_nobody_else_signed(e, path);
	snprintf(c.origin, sizeof(c.origin), "%s", e->signer->public.name);
	c.size = e->audit.tree.size;
	merkle_tree_root(&e->audit.tree, &c.root);
	buf_reset(&e->checkpoint);
	checkpoint_put(&c, e->signer, &e->checkpoint);
	if (!io_replace_file(path, e->checkpoint.data, e->checkpoint.len,
		0644))
		log_fatal("checkpoint_failed", "%s: %s", path,
		    strerror(errno));
	e->signed_size = c.size;
}
