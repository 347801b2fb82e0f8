/*
 * spool_read.c: segment files and frames of the spool, as whoever reads them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ioutil.h"
#include "log.h"
#include "spool_int.h"

#define WINDOW ((uint64_t)64 << 10)    /* bytes a reader reads at once */
#define WINDOW_ONE ((uint64_t)4 << 10) /* for one frame; most are shorter */
#define KEEP_WINDOW ((size_t)16 << 20)

void
spool_segment_path(
    const char *dir, uint64_t segment, const char *suffix, char *out)
{
	io_path(out, PATH_MAX, "%s/%016llu%s", dir, (unsigned long long)segment,
	    suffix);
}

uint64_t
spool_segment_of(const char *name)
{
	char *end;
	uint64_t n;

	if (strlen(name) != 16 || strspn(name, "0123456789") != 16)
		return 0;
	n = strtoull(name, &end, 10);
	return *end == '\0' ? n : 0;
}

bool
spool_segment_range(const char *dir, uint64_t *lowest, uint64_t *highest)
{
	struct dirent *e;
	uint64_t n;
	DIR *d;

	*lowest = *highest = 0;
	if ((d = opendir(dir)) == NULL)
		return false;
	while ((e = readdir(d)) != NULL) {
		if ((n = spool_segment_of(e->d_name)) == 0)
			continue;
		if (*lowest == 0 || n < *lowest)
			*lowest = n;
		if (n > *highest)
			*highest = n;
	}
	closedir(d);
	return true;
}

/* --- frames --- */

/* The header alone; at and payload are the caller's. */
static bool
get_header(const uint8_t *p, struct spool_frame *f)
{
	struct rd r = rd_init(p, SPOOL_HEADER);
	uint32_t kind, magic;

	magic = rd_u32(&r);
	f->payload_len = rd_u32(&r);
	f->tx_id = rd_u64(&r);
	f->from.generation = rd_u64(&r);
	f->from.sequence = rd_u64(&r);
	f->from.lane = rd_u32(&r);
	kind = rd_u32(&r) >> 24;
	f->kind = (enum spool_kind)kind;
	return !r.bad && magic == SPOOL_MAGIC && kind >= SPOOL_RECORD &&
	       kind <= SPOOL_DDL && f->payload_len <= SPOOL_MAX_PAYLOAD;
}

static bool
crc_holds(const uint8_t *header, const uint8_t *payload, size_t len)
{
	uint32_t crc = io_crc32c(0, header, SPOOL_CRC_AT);

	return io_crc32c(crc, payload, len) == get_u32(header + SPOOL_CRC_AT);
}

/* --- reading --- */

bool
spool_open_segment(struct spool_reader *r, uint64_t segment)
{
	char path[PATH_MAX];

	if (r->fd != -1 && r->segment == segment)
		return true;
	if (r->fd != -1)
		close(r->fd);
	buf_reset(&r->window);
	r->segment = segment;
	spool_segment_path(r->dir, segment, "", path);
	r->fd = open(path, O_RDONLY | O_CLOEXEC);
	return r->fd != -1;
}

uint64_t
spool_segment_size(const struct spool_reader *r)
{
	struct stat st;

	return fstat(r->fd, &st) == -1 ? 0 : (uint64_t)st.st_size;
}

/*
 * n bytes at offset of the open segment, none of them at or behind limit.
 * Reads ahead up to limit: what is before it no longer changes.
 */
static const uint8_t *
get_bytes(struct spool_reader *r, uint64_t offset, uint64_t n, uint64_t limit)
{
	struct buf *w = &r->window;
	uint64_t want;

	if (offset > limit || n > limit - offset)
		return NULL;
	if (w->len > 0 && offset >= r->offset &&
	    offset + n <= r->offset + w->len)
		return w->data + (offset - r->offset);
	want = n > r->ahead ? n : r->ahead;
	if (want > limit - offset)
		want = limit - offset;
	buf_reset(w);
	if (w->cap > KEEP_WINDOW && want <= WINDOW)
		buf_free(w);
	r->offset = offset;
	if (!io_pread_all(r->fd, buf_reserve(w, (size_t)want), (size_t)want,
		(off_t)offset))
		return NULL;
	w->len = (size_t)want;
	return w->data;
}

bool
spool_get_frame(struct spool_reader *r, struct spool_position at,
    uint64_t limit, struct spool_frame *f)
{
	const uint8_t *p = get_bytes(r, at.offset, SPOOL_HEADER, limit);

	if (p == NULL || !get_header(p, f))
		return false;
	p = get_bytes(r, at.offset, SPOOL_HEADER + f->payload_len, limit);
	if (p == NULL || !crc_holds(p, p + SPOOL_HEADER, f->payload_len))
		return false;
	f->at = f->next = at;
	f->next.offset += SPOOL_HEADER + f->payload_len;
	f->payload = p + SPOOL_HEADER;
	return true;
}

struct spool_reader *
spool_reader_new(const char *spool_dir)
{
	struct spool_reader *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	io_path(r->dir, sizeof(r->dir), "%s", spool_dir);
	r->fd = -1;
	r->ahead = WINDOW;
	return r;
}

bool
spool_is_zero(struct spool_reader *r, uint64_t offset, uint64_t limit)
{
	const uint8_t *p;
	uint64_t n, i;

	for (; offset < limit; offset += n) {
		n = limit - offset < WINDOW ? limit - offset : WINDOW;
		if ((p = get_bytes(r, offset, n, limit)) == NULL)
			return false;
		for (i = 0; i < n; i++)
			if (p[i] != 0)
				return false;
	}
	return true;
}

struct spool_reader *
spool_reader_open(const char *dir)
{
	char spool[PATH_MAX];
	struct spool_reader *r;
	uint64_t lowest, highest;

	io_path(spool, sizeof(spool), "%s/spool", dir);
	if (!spool_segment_range(spool, &lowest, &highest))
		return NULL;
	if (lowest == 0) {
		errno = ENOENT;
		return NULL;
	}
	if ((r = spool_reader_new(spool)) != NULL)
		r->at.segment = lowest;
	return r;
}

void
spool_reader_close(struct spool_reader *r)
{
	if (r == NULL)
		return;
	if (r->fd != -1)
		close(r->fd);
	buf_free(&r->window);
	free(r);
}

void
spool_reader_seek(struct spool_reader *r, struct spool_position at)
{
	r->at = at;
	buf_reset(&r->window);
}

static PGW_NORETURN void
damaged(const struct spool_reader *r, const char *what)
{
	log_fatal("spool_damaged",
	    "%s/%016llu at byte %llu: %s, though it was durable; check the "
	    "disk, and restore the file if you have a copy",
	    r->dir, (unsigned long long)r->at.segment,
	    (unsigned long long)r->at.offset, what);
}

bool
spool_next(
    struct spool_reader *r, struct spool_position end, struct spool_frame *f)
{
	uint64_t limit;

	while (r->at.segment < end.segment ||
	       (r->at.segment == end.segment && r->at.offset < end.offset)) {
		if (!spool_open_segment(r, r->at.segment))
			damaged(r, strerror(errno));
		limit = r->at.segment == end.segment ? end.offset
						     : spool_segment_size(r);
		if (r->at.segment < end.segment && r->at.offset >= limit) {
			r->at.segment++;
			r->at.offset = 0;
			continue;
		}
		if (!spool_get_frame(r, r->at, limit, f))
			damaged(r, "no whole frame");
		r->at = f->next;
		if (f->kind != SPOOL_STATE)
			return true;
	}
	return false;
}

bool
spool_read(
    struct spool_reader *r, struct spool_position at, struct spool_frame *f)
{
	uint64_t size;
	bool found;

	if (!spool_open_segment(r, at.segment))
		return false;
	size = spool_segment_size(r);
	r->ahead = WINDOW_ONE;
	found = spool_get_frame(r, at, size, f) && f->kind != SPOOL_STATE;
	r->ahead = WINDOW;
	/* It may have read what the writer is still writing: not for later. */
	r->window.len = 0;
	return found;
}

void
spool_recycle(const char *dir, uint64_t segment)
{
	char spool[PATH_MAX], path[PATH_MAX];
	uint64_t lowest, highest;

	io_path(spool, sizeof(spool), "%s/spool", dir);
	if (!spool_segment_range(spool, &lowest, &highest) || lowest == 0)
		return;
	for (; lowest < segment && lowest < highest; lowest++) {
		spool_segment_path(spool, lowest, "", path);
		if (unlink(path) == -1 && errno != ENOENT)
			log_error("spool_recycle", "cannot remove %s: %s", path,
			    strerror(errno));
	}
}
