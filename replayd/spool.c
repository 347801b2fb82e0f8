/*
 * spool.c: the durable queue between the lanes and everything else in replayd.
 *
 * Owns DIR/spool.  One writer, any number of readers in other processes; they
 * share nothing but the files, and readers are told by the writer how far the
 * files are durable.  Does not know what a payload says.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "spool_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ioutil.h"
#include "killpoint.h"
#include "log.h"
#include "mem.h"

#ifdef PGW_KILLPOINTS /* so that a run of some minutes begins many */
#define SEGMENT_BYTES ((uint64_t)256 << 10)
#else
#define SEGMENT_BYTES ((uint64_t)64 << 20)
#endif
#define FILL_BYTES ((uint64_t)1 << 20)
#define FILL_STEP ((size_t)64 << 10)
#define KEEP_GROUP ((size_t)16 << 20)
#define MAX_LANES 65536u
#define STATE_VERSION 0x50475332u /* "PGS2" */
#define STATE_LANE 32             /* bytes per lane in SPOOL_STATE */
#define STATE_ASYNC 1u
#define STATE_CLEAN 2u
#define SPARE_BYTES ((uint64_t)1 << 20) /* free, to try again */

/* What the frames say, up to some point. */
struct state {
	uint64_t last_tx_id;
	struct spool_run run;
	struct spool_lane *lanes;
	size_t n_lanes;
};

struct spool_writer {
	char dir[PATH_MAX]; /* DIR/spool */
	int fd;
	bool dirty;                /* there may be bytes behind end */
	bool spoiled;              /* an fdatasync of it failed */
	bool rotate;               /* the next segment is due */
	uint64_t wanted;           /* bytes of the group that failed */
	bool scarce;               /* no more room to fill it ahead */
	struct spool_position end; /* of what is durable */
	uint64_t filled;           /* with zeros from end to here */
	uint64_t total;            /* of all segments, at most */
	int64_t written_us;
	uint64_t segment_bytes;
	struct buf group;
	struct state now;     /* with the group */
	struct state durable; /* without it */
};

static uint64_t
segments_bytes(const char *dir)
{
	uint64_t total = 0;
	struct dirent *e;
	struct stat st;
	DIR *d;

	if ((d = opendir(dir)) == NULL)
		return 0;
	while ((e = readdir(d)) != NULL)
		if (spool_segment_of(e->d_name) != 0 &&
		    fstatat(dirfd(d), e->d_name, &st, 0) == 0)
			total += (uint64_t)st.st_size;
	closedir(d);
	return total;
}

/* --- frames --- */

static void
put_frame(struct buf *b, enum spool_kind kind, uint64_t tx_id,
    const struct spool_origin *from, const void *payload, size_t len)
{
	size_t at = b->len;
	uint32_t crc;

	buf_put_u32(b, SPOOL_MAGIC);
	buf_put_u32(b, (uint32_t)len);
	buf_put_u64(b, tx_id);
	buf_put_u64(b, from->generation);
	buf_put_u64(b, from->sequence);
	buf_put_u32(b, from->lane);
	buf_put_u32(b, (uint32_t)kind << 24);
	crc = io_crc32c(0, b->data + at, SPOOL_CRC_AT);
	buf_put_u32(b, io_crc32c(crc, payload, len));
	if (len > 0)
		buf_put(b, payload, len);
}

/* --- state of the lanes --- */

static void
make_lanes(struct state *s, size_t n)
{
	struct spool_lane *l;

	if (n <= s->n_lanes)
		return;
	l = mem_realloc(s->lanes, n, sizeof(*l));
	memset(l + s->n_lanes, 0, (n - s->n_lanes) * sizeof(*l));
	s->lanes = l;
	s->n_lanes = n;
}

static struct spool_lane *
lane_of(struct state *s, uint32_t lane)
{
	size_t n = s->n_lanes == 0 ? 64 : s->n_lanes;

	if (lane >= MAX_LANES)
		log_fatal(
		    "spool_lane", "lane %u in the spool is impossible", lane);
	while (n <= lane)
		n *= 2;
	make_lanes(s, n);
	return &s->lanes[lane];
}

static void
copy_state(struct state *to, const struct state *from)
{
	make_lanes(to, from->n_lanes);
	to->last_tx_id = from->last_tx_id;
	to->run = from->run;
	if (to->n_lanes > from->n_lanes)
		memset(to->lanes + from->n_lanes, 0,
		    (to->n_lanes - from->n_lanes) * sizeof(*to->lanes));
	if (from->n_lanes > 0)
		memcpy(
		    to->lanes, from->lanes, from->n_lanes * sizeof(*to->lanes));
}

static void
follow(struct state *s, enum spool_kind kind, uint64_t tx_id,
    const struct spool_origin *from)
{
	struct spool_lane *l;

	if (tx_id > s->last_tx_id)
		s->last_tx_id = tx_id;
	if (from->generation == 0)
		return;
	l = lane_of(s, from->lane);
	l->generation = from->generation;
	l->sequence = from->sequence;
	if (kind == SPOOL_DDL)
		return;
	l->intent = kind == SPOOL_INTENT;
	l->open_tx = kind == SPOOL_RECORD || l->intent ? tx_id : 0;
}

static void
put_state(const struct state *s, struct buf *b)
{
	static const struct spool_origin none;
	const struct spool_lane *l;
	struct buf payload = { 0 };
	size_t i;

	buf_put_u32(&payload, STATE_VERSION);
	buf_put_u8(&payload, (uint8_t)((s->run.async ? STATE_ASYNC : 0) |
				       (s->run.clean ? STATE_CLEAN : 0)));
	buf_put_u32(&payload, (uint32_t)strlen(s->run.boot));
	buf_put(&payload, s->run.boot, strlen(s->run.boot));
	for (i = 0; i < s->n_lanes; i++) {
		l = &s->lanes[i];
		if (l->generation == 0)
			continue;
		buf_put_u32(&payload, (uint32_t)i);
		buf_put_u64(&payload, l->generation);
		buf_put_u64(&payload, l->sequence);
		buf_put_u64(&payload, l->open_tx);
		buf_put_u32(&payload, l->intent ? 1 : 0);
	}
	put_frame(
	    b, SPOOL_STATE, s->last_tx_id, &none, payload.data, payload.len);
	buf_free(&payload);
}

static bool
get_run(struct rd *r, struct spool_run *run)
{
	uint32_t version = rd_u32(r), flags = rd_u8(r), n = rd_u32(r);
	const void *boot = n < sizeof(run->boot) ? rd_bytes(r, n) : NULL;

	if (version != STATE_VERSION || r->bad || boot == NULL)
		return false;
	memset(run, 0, sizeof(*run));
	memcpy(run->boot, boot, n);
	run->async = (flags & STATE_ASYNC) != 0;
	run->clean = (flags & STATE_CLEAN) != 0;
	return true;
}

static bool
get_state(struct state *s, const struct spool_frame *f)
{
	struct rd r = rd_init(f->payload, f->payload_len);
	struct spool_lane *l;
	uint32_t lane;

	if (!get_run(&r, &s->run))
		return false;
	s->last_tx_id = f->tx_id;
	while (rd_left(&r) >= STATE_LANE) {
		lane = rd_u32(&r);
		l = lane_of(s, lane);
		l->generation = rd_u64(&r);
		l->sequence = rd_u64(&r);
		l->open_tx = rd_u64(&r);
		l->intent = rd_u32(&r) == 1;
	}
	return true;
}

/* --- writing --- */

static bool
write_whole_file(const char *path, const struct buf *b)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool done;

	if (fd == -1)
		return false;
	done = io_write_all(fd, b->data, b->len) && fsync(fd) == 0;
	return close(fd) == 0 && done;
}

static bool
open_for_append(struct spool_writer *w, uint64_t segment, uint64_t offset)
{
	char path[PATH_MAX];
	int fd;

	spool_segment_path(w->dir, segment, "", path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		return false;
	if (lseek(fd, (off_t)offset, SEEK_SET) == -1) {
		close(fd);
		return false;
	}
	if (w->fd != -1)
		close(w->fd);
	w->fd = fd;
	w->end.segment = segment;
	w->end.offset = w->filled = offset;
	w->scarce = false;
	return true;
}

/* A segment that others follow ends with its last frame. */
static bool
trim(struct spool_writer *w)
{
	if (w->filled == w->end.offset)
		return true;
	if (ftruncate(w->fd, (off_t)w->end.offset) == -1 || fsync(w->fd) == -1)
		return false;
	w->filled = w->end.offset;
	return true;
}

/*
 * The new segment has its name only when its state is durable.  If this fails
 * the segment before it must not grow, for the new one may be there: it is
 * called again.
 */
static bool
begin_segment(struct spool_writer *w, uint64_t segment)
{
	char temp[PATH_MAX], path[PATH_MAX];
	struct buf b = { 0 };
	uint64_t size;
	bool done;

	if (!trim(w))
		return false;
	spool_segment_path(w->dir, segment, ".new", temp);
	spool_segment_path(w->dir, segment, "", path);
	put_state(&w->durable, &b);
	size = b.len;
	KILLPOINT("segment_begin");
	done = write_whole_file(temp, &b) && rename(temp, path) == 0 &&
	       io_fsync_dir(w->dir);
	buf_free(&b);
	if (!done || !open_for_append(w, segment, size))
		return false;
	KILLPOINT("segment_begun");
	w->total += size;
	w->rotate = false;
	return true;
}

/*
 * The frames found may have been written by a process that died before its
 * fdatasync: they count only after this one.
 */
static bool
cut_tail(struct spool_writer *w, uint64_t size, bool torn)
{
	uint64_t at = w->end.offset;

	if (torn)
		log_warning("spool_tail_cut",
		    "cut %llu bytes at byte %llu of %s/%016llu: the group "
		    "was being written when the machine or replayd stopped; "
		    "nothing in it had been acknowledged",
		    (unsigned long long)(size - at), (unsigned long long)at,
		    w->dir, (unsigned long long)w->end.segment);
	return ftruncate(w->fd, (off_t)at) == 0 && fsync(w->fd) == 0;
}

static int64_t
written_us(const struct spool_reader *r)
{
	struct stat st;

	if (fstat(r->fd, &st) == -1)
		return 0;
	return (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
}

/* Follows all whole frames of the last segment; *end is behind them. */
static bool
replay_segment(struct spool_writer *w, struct spool_reader *r, uint64_t segment,
    uint64_t *end)
{
	struct spool_position at = { segment, 0 };
	uint64_t size;
	struct spool_frame f;

	if (!spool_open_segment(r, segment))
		return false;
	size = spool_segment_size(r);
	if (!spool_get_frame(r, at, size, &f) || f.kind != SPOOL_STATE ||
	    !get_state(&w->now, &f)) {
		log_error("spool_damaged",
		    "%s/%016llu does not begin with its state; restore the "
		    "file, or move the whole data directory away",
		    w->dir, (unsigned long long)segment);
		errno = EBADMSG;
		return false;
	}
	for (at = f.next; spool_get_frame(r, at, size, &f); at = f.next)
		if (f.kind != SPOOL_STATE)
			follow(&w->now, f.kind, f.tx_id, &f.from);
		else if (!get_state(&w->now, &f))
			break;
	*end = at.offset;
	return true;
}

static bool
go_on(struct spool_writer *w, uint64_t segment)
{
	struct spool_reader *r = spool_reader_new(w->dir);
	uint64_t end = 0, size;
	bool done, torn;

	if (r == NULL)
		return false;
	done = replay_segment(w, r, segment, &end);
	size = done ? spool_segment_size(r) : 0;
	torn = done && !spool_is_zero(r, end, size);
	w->written_us = done ? written_us(r) : 0;
	copy_state(&w->durable, &w->now);
	spool_reader_close(r);
	return done && open_for_append(w, segment, end) &&
	       cut_tail(w, size, torn);
}

static bool
make_directory(const char *dir, const char *spool)
{
	if (mkdir(spool, 0700) == 0)
		return io_fsync_dir(dir);
	return errno == EEXIST;
}

static bool
open_last(struct spool_writer *w, const char *dir)
{
	uint64_t lowest, highest;

	if (!make_directory(dir, w->dir) ||
	    !spool_segment_range(w->dir, &lowest, &highest))
		return false;
	w->total = segments_bytes(w->dir);
	return highest == 0 ? begin_segment(w, 1) : go_on(w, highest);
}

struct spool_writer *
spool_writer_open(const char *dir, uint64_t *last_tx_id)
{
	struct spool_writer *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->fd = -1;
	w->segment_bytes = SEGMENT_BYTES;
	io_path(w->dir, sizeof(w->dir), "%s/spool", dir);
	if (!open_last(w, dir)) {
		spool_writer_close(w);
		return NULL;
	}
	*last_tx_id = w->now.last_tx_id;
	return w;
}

void
spool_writer_close(struct spool_writer *w)
{
	int saved = errno;

	if (w == NULL)
		return;
	if (w->fd != -1)
		close(w->fd);
	buf_free(&w->group);
	free(w->now.lanes);
	free(w->durable.lanes);
	free(w);
	errno = saved;
}

void
spool_set_segment_bytes(struct spool_writer *w, uint64_t bytes)
{
	w->segment_bytes = bytes;
}

void
spool_append_from(struct spool_writer *w, enum spool_kind kind, uint64_t tx_id,
    const struct spool_origin *from, const void *payload, size_t len)
{
	if (len > SPOOL_MAX_PAYLOAD)
		log_fatal("spool_payload",
		    "a payload of %zu bytes is longer "
		    "than the spool can hold",
		    len);
	put_frame(&w->group, kind, tx_id, from, payload, len);
	follow(&w->now, kind, tx_id, from);
}

void
spool_append(struct spool_writer *w, enum spool_kind kind, uint64_t tx_id,
    const void *payload, size_t len)
{
	static const struct spool_origin none;

	spool_append_from(w, kind, tx_id, &none, payload, len);
}

const struct spool_lane *
spool_lanes(const struct spool_writer *w, size_t *n)
{
	*n = w->now.n_lanes;
	return w->now.lanes;
}

uint64_t
spool_last_tx_id(const struct spool_writer *w)
{
	return w->now.last_tx_id;
}

const struct spool_run *
spool_run(const struct spool_writer *w)
{
	return &w->now.run;
}

void
spool_append_run(struct spool_writer *w, const struct spool_run *run)
{
	w->now.run = *run;
	put_state(&w->now, &w->group);
}

int64_t
spool_written_us(const struct spool_writer *w)
{
	return w->written_us;
}

size_t
spool_pending(const struct spool_writer *w)
{
	return w->group.len;
}

static void
reset_group(struct spool_writer *w)
{
	if (w->group.cap > KEEP_GROUP)
		buf_free(&w->group);
	buf_reset(&w->group);
}

/* Behind `end` again, and nothing there. */
static bool
cut(struct spool_writer *w)
{
	if (!w->dirty)
		return true;
	if (ftruncate(w->fd, (off_t)w->end.offset) == -1 ||
	    lseek(w->fd, (off_t)w->end.offset, SEEK_SET) == -1)
		return false;
	w->filled = w->end.offset;
	w->dirty = false;
	return true;
}

/*
 * After a failed fdatasync the kernel may call pages clean that never reached
 * the disk, so the next one of that file means nothing.  The group is cut off,
 * so that no reader finds it in the page cache and believes it.
 */
static bool
give_up(struct spool_writer *w)
{
	int saved = errno;

	w->wanted = w->group.len;
	copy_state(&w->now, &w->durable);
	reset_group(w);
	(void)cut(w);
	errno = saved;
	return false;
}

/* Else a full disk would be filled with segments that hold nothing. */
static bool
disk_has_room(const struct spool_writer *w)
{
	struct statvfs v;

	if (statvfs(w->dir, &v) == -1)
		return false;
	if ((uint64_t)v.f_bavail * v.f_frsize >= w->wanted + SPARE_BYTES)
		return true;
	errno = ENOSPC;
	return false;
}

bool
spool_repair(struct spool_writer *w)
{
	if (!cut(w))
		return false;
	if (!w->spoiled)
		return w->wanted == 0 || disk_has_room(w);
	/* The cut must hold before anything follows it elsewhere. */
	if (!disk_has_room(w) || fsync(w->fd) == -1 ||
	    !begin_segment(w, w->end.segment + 1))
		return false;
	w->spoiled = false;
	return true;
}

bool
spool_is_cut(const struct spool_writer *w)
{
	return !w->dirty;
}

bool
spool_is_full(struct spool_writer *w, uint64_t max)
{
	if (w->total >= max)
		w->total = segments_bytes(w->dir) - (w->filled - w->end.offset);
	return w->total >= max;
}

static bool
write_group(struct spool_writer *w)
{
	const struct buf *g = &w->group;

	w->dirty = true;
	if (!io_write_all(w->fd, g->data, g->len))
		return false;
	KILLPOINT("spool_written");
	if (fdatasync(w->fd) == 0)
		return true;
	w->spoiled = true;
	return false;
}

bool
spool_sync(struct spool_writer *w)
{
	if (w->group.len == 0)
		return true;
	if ((w->dirty || w->spoiled) && !spool_repair(w))
		return give_up(w);
	if (w->rotate && !begin_segment(w, w->end.segment + 1))
		return give_up(w);
	if (!write_group(w))
		return give_up(w);
	w->dirty = false;
	w->wanted = 0;
	w->end.offset += w->group.len;
	if (w->filled < w->end.offset)
		w->filled = w->end.offset;
	w->total += w->group.len;
	KILLPOINT("spool_durable");
	reset_group(w);
	copy_state(&w->durable, &w->now);
	/* If this fails the next group finds out. */
	w->rotate = w->end.offset >= w->segment_bytes;
	if (w->rotate)
		(void)begin_segment(w, w->end.segment + 1);
	return true;
}

static bool
write_zeros(int fd, uint64_t from, uint64_t to)
{
	static const uint8_t zeros[FILL_STEP];
	ssize_t n;

	for (; from < to; from += (uint64_t)n) {
		size_t want = to - from < FILL_STEP ? (size_t)(to - from)
						    : FILL_STEP;

		n = pwrite(fd, zeros, want, (off_t)from);
		if (n <= 0)
			return false;
	}
	return true;
}

void
spool_fill_ahead(struct spool_writer *w)
{
	uint64_t n = w->segment_bytes / 4 < FILL_BYTES ? w->segment_bytes / 4
						       : FILL_BYTES;

	if (w->dirty || w->spoiled || w->rotate || w->scarce ||
	    w->filled - w->end.offset >= n / 2)
		return;
	w->dirty = true;
	if (!write_zeros(w->fd, w->filled, w->end.offset + n)) {
		w->scarce = true;
		(void)cut(w);
		return;
	}
	KILLPOINT("spool_filled");
	if (fdatasync(w->fd) == -1) {
		w->spoiled = true;
		return;
	}
	w->filled = w->end.offset + n;
	w->dirty = false;
}

struct spool_position
spool_end(const struct spool_writer *w)
{
	return w->end;
}
