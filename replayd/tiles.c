/*
 * tiles.c: hash tiles of the evidence log, read and written.
 *
 * A tile is never changed.  It is written when the caller has made its lines
 * durable, so no tile is about lines that a crash may take.  The reader keeps
 * the last tile of each level, so that a proof reads each tile once.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "tiles.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "ioutil.h"
#include "log.h"
#include "mem.h"

#define TILE_HEIGHT 8
#define TILE_BYTES (TILES_WIDTH * MERKLE_HASH_BYTES)

struct tile {
	bool loaded;
	uint64_t n;
	struct merkle_hash hash[TILES_WIDTH];
};

struct tiles {
	char dir[PATH_MAX];
	uint64_t size;
	struct tile tile[TILES_LEVELS];
	char error[256];
};

struct full_tile {
	unsigned level;
	uint64_t n;
	struct merkle_hash hash[TILES_WIDTH];
};

struct tiles_writer {
	char dir[PATH_MAX];
	struct merkle_tree tree;
	/* The last tile of each level; (size >> 8 * level) & 255 hashes. */
	struct merkle_hash edge[TILES_LEVELS][TILES_WIDTH];
	unsigned durable[TILES_LEVELS]; /* width of edge[] that is on disk */
	struct buf full;                /* struct full_tile, not yet written */
};

/* --- names and numbers --- */

char *
tiles_name(
    char out[TILES_NAME_BYTES], unsigned level, uint64_t n, unsigned width)
{
	unsigned group[7];
	unsigned groups = 0;
	size_t at;

	do {
		group[groups++] = (unsigned)(n % 1000);
		n /= 1000;
	} while (n > 0);
	at = (size_t)snprintf(out, TILES_NAME_BYTES, "tile/%u/", level);
	while (groups-- > 0)
		at += (size_t)snprintf(out + at, TILES_NAME_BYTES - at,
		    groups > 0 ? "x%03u/" : "%03u", group[groups]);
	if (width > 0 && width < TILES_WIDTH)
		snprintf(out + at, TILES_NAME_BYTES - at, ".p/%u", width);
	return out;
}

/* Complete subtrees of 256^level lines in a tree of `size`. */
static uint64_t
hashes_at(uint64_t size, unsigned level)
{
	return size >> (level * TILE_HEIGHT);
}

/* Hashes in tile n of a tree of `size`; 256: it is full. */
static unsigned
width_of(uint64_t size, unsigned level, uint64_t n)
{
	uint64_t left = hashes_at(size, level) - n * TILES_WIDTH;

	return left < TILES_WIDTH ? (unsigned)left : TILES_WIDTH;
}

/* Root over n hashes, a power of two; destroys them. */
static struct merkle_hash
fold(struct merkle_hash *h, size_t n)
{
	for (; n > 1; n /= 2)
		for (size_t i = 0; i < n / 2; i++)
			merkle_node(
			    MERKLE_LOG, &h[2 * i], &h[2 * i + 1], &h[i]);
	return h[0];
}

static struct merkle_hash
root_of_run(const struct merkle_hash *h, size_t n)
{
	struct merkle_hash copy[TILES_WIDTH];

	memcpy(copy, h, n * sizeof(*h));
	return fold(copy, n);
}

/* --- reading --- */

struct tiles *
tiles_open(const char *log_dir, uint64_t size)
{
	struct tiles *t = mem_zalloc(1, sizeof(*t));

	io_path(t->dir, sizeof(t->dir), "%s", log_dir);
	t->size = size;
	return t;
}

void
tiles_close(struct tiles *t)
{
	free(t);
}

const char *
tiles_error(const struct tiles *t)
{
	return t->error;
}

/* At least `width` hashes are there: 1; no such file: 0; else -1, errno. */
static int
read_tile(
    const char *dir, const char *name, unsigned width, struct merkle_hash *out)
{
	char path[PATH_MAX + TILES_NAME_BYTES];
	int fd;
	bool ok;

	io_path(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	ok = io_pread_all(fd, out, width * sizeof(*out), 0);
	close(fd);
	return ok ? 1 : -1;
}

/* A partial tile may have given way to the full one: that begins with it. */
static bool
load_tile(const char *dir, unsigned level, uint64_t n, unsigned width,
    struct merkle_hash *out, char *error, size_t error_size)
{
	char name[TILES_NAME_BYTES];
	char full[TILES_NAME_BYTES];
	int r = read_tile(dir, tiles_name(name, level, n, width), width, out);

	if (r == 0 && width < TILES_WIDTH)
		r = read_tile(dir, tiles_name(full, level, n, 0), width, out);
	if (r == 1)
		return true;
	snprintf(error, error_size, "%s: %s", name,
	    r == 0             ? "it is not there"
	    : errno == ENODATA ? "it is too short"
			       : strerror(errno));
	return false;
}

/* Hash number i of a level. */
static const struct merkle_hash *
level_hash(struct tiles *t, unsigned level, uint64_t i)
{
	struct tile *tile = &t->tile[level];
	uint64_t n = i / TILES_WIDTH;

	if (!tile->loaded || tile->n != n) {
		tile->loaded = load_tile(t->dir, level, n,
		    width_of(t->size, level, n), tile->hash, t->error,
		    sizeof(t->error));
		tile->n = n;
	}
	return tile->loaded ? &tile->hash[i % TILES_WIDTH] : NULL;
}

bool
tiles_leaf(struct tiles *t, uint64_t index, struct merkle_hash *out)
{
	const struct merkle_hash *h = level_hash(t, 0, index);

	if (h != NULL)
		*out = *h;
	return h != NULL;
}

/* Root of the complete subtree of 2^height lines that begins at `begin`. */
static bool
subtree(
    struct tiles *t, unsigned height, uint64_t begin, struct merkle_hash *out)
{
	unsigned level = height / TILE_HEIGHT;
	unsigned rest = height % TILE_HEIGHT;
	const struct merkle_hash *h = level_hash(
	    t, level, hashes_at(begin, level));

	if (h != NULL)
		*out = root_of_run(h, (size_t)1 << rest);
	return h != NULL;
}

/* The largest power of two below n; n > 1. */
static uint64_t
split_of(uint64_t n)
{
	return (uint64_t)1 << (63 - __builtin_clzll(n - 1));
}

/* Root of lines [begin, end), as they stand in the tree; not empty. */
static bool
range_root(
    struct tiles *t, uint64_t begin, uint64_t end, struct merkle_hash *out)
{
	uint64_t n = end - begin;
	struct merkle_hash left;
	uint64_t k;

	if ((n & (n - 1)) == 0)
		return subtree(t, (unsigned)__builtin_ctzll(n), begin, out);
	k = split_of(n);
	if (!range_root(t, begin, begin + k, &left) ||
	    !range_root(t, begin + k, end, out))
		return false;
	merkle_node(MERKLE_LOG, &left, out, out);
	return true;
}

bool
tiles_root(struct tiles *t, uint64_t size, struct merkle_hash *out)
{
	if (size > 0)
		return range_root(t, 0, size, out);
	merkle_sha256(NULL, 0, out);
	return true;
}

bool
tiles_tree(struct tiles *t, struct merkle_tree *out)
{
	uint64_t begin = 0;

	merkle_tree_init(out, MERKLE_LOG);
	for (unsigned height = 64; height-- > 0;) {
		if ((t->size >> height & 1) == 0)
			continue;
		if (!subtree(t, height, begin, &out->node[out->depth++]))
			return false;
		begin += (uint64_t)1 << height;
	}
	out->size = t->size;
	return true;
}

bool
tiles_inclusion(struct tiles *t, uint64_t index,
    struct merkle_hash path[TILES_MAX_PATH], size_t *n)
{
	uint64_t begin = 0;
	uint64_t end = t->size;
	size_t depth = 0;

	/* From the root downwards, then turned round. */
	while (end - begin > 1) {
		uint64_t middle = begin + split_of(end - begin);
		bool left = index < middle;

		if (!range_root(t, left ? middle : begin, left ? end : middle,
			&path[depth++]))
			return false;
		*(left ? &end : &begin) = middle;
	}
	for (size_t i = 0; i < depth / 2; i++) {
		struct merkle_hash h = path[i];

		path[i] = path[depth - 1 - i];
		path[depth - 1 - i] = h;
	}
	*n = depth;
	return true;
}

/* RFC 6962's SUBPROOF over lines [begin, end); whole: begin is 0 so far. */
static bool
subproof(struct tiles *t, uint64_t from, uint64_t begin, uint64_t end,
    bool whole, struct merkle_hash *path, size_t *n)
{
	uint64_t middle;

	if (from == end)
		return whole || range_root(t, begin, end, &path[(*n)++]);
	middle = begin + split_of(end - begin);
	if (from <= middle)
		return subproof(t, from, begin, middle, whole, path, n) &&
		       range_root(t, middle, end, &path[(*n)++]);
	return subproof(t, from, middle, end, false, path, n) &&
	       range_root(t, begin, middle, &path[(*n)++]);
}

bool
tiles_consistency(struct tiles *t, uint64_t from,
    struct merkle_hash path[TILES_MAX_PATH], size_t *n)
{
	*n = 0;
	return subproof(t, from, 0, t->size, true, path, n);
}

/* --- writing --- */

PGW_NORETURN static void
fail(const struct tiles_writer *w, const char *name)
{
	log_fatal(
	    "evidence_failed", "%s/%s: %s", w->dir, name, strerror(errno));
}

/* The last tile of each level is what the tree was made of. */
static bool
take_edges(struct tiles_writer *w, struct tiles *t)
{
	if (!tiles_tree(t, &w->tree))
		return false;
	for (unsigned i = 0; i < TILES_LEVELS; i++) {
		w->durable[i] = hashes_at(t->size, i) % TILES_WIDTH;
		memcpy(w->edge[i], t->tile[i].hash,
		    w->durable[i] * sizeof(*w->edge[i]));
	}
	return true;
}

struct tiles_writer *
tiles_writer_open(
    const char *log_dir, uint64_t size, char *error, size_t error_size)
{
	struct tiles_writer *w = mem_zalloc(1, sizeof(*w));
	struct tiles *t = tiles_open(log_dir, size);
	bool ok = take_edges(w, t);

	io_path(w->dir, sizeof(w->dir), "%s", log_dir);
	if (!ok)
		snprintf(error, error_size, "%s", tiles_error(t));
	tiles_close(t);
	if (ok)
		return w;
	tiles_writer_close(w);
	return NULL;
}

void
tiles_writer_close(struct tiles_writer *w)
{
	if (w == NULL)
		return;
	buf_free(&w->full);
	free(w);
}

const struct merkle_tree *
tiles_writer_tree(const struct tiles_writer *w)
{
	return &w->tree;
}

/* Each directory of LOG_DIR/name is made, and durable in its parent. */
static bool
make_parents(const struct tiles_writer *w, const char *name)
{
	char path[PATH_MAX + TILES_NAME_BYTES];
	char parent[PATH_MAX + TILES_NAME_BYTES];

	io_path(parent, sizeof(parent), "%s", w->dir);
	for (const char *p = strchr(name, '/'); p != NULL;
	     p = strchr(p + 1, '/')) {
		io_path(path, sizeof(path), "%s/%.*s", w->dir, (int)(p - name),
		    name);
		if (mkdir(path, 0700) == 0) {
			if (!io_fsync_dir(parent))
				return false;
		} else if (errno != EEXIST)
			return false;
		io_path(parent, sizeof(parent), "%s", path);
	}
	return true;
}

static bool
has_content(const char *path, const void *data, size_t len)
{
	uint8_t there[TILE_BYTES];
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool same;

	if (fd < 0)
		return false;
	same = fstat(fd, &st) == 0 && st.st_size == (off_t)len &&
	       io_pread_all(fd, there, len, 0) && memcmp(there, data, len) == 0;
	close(fd);
	return same;
}

/* Whole or not at all, but not yet durable. */
static bool
put_file(const char *path, const void *data, size_t len)
{
	char temp[PATH_MAX + TILES_NAME_BYTES + 8];
	bool ok;
	int fd;

	io_path(temp, sizeof(temp), "%s.tmp", path);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	ok = io_write_all(fd, data, len);
	return close(fd) == 0 && ok && rename(temp, path) == 0;
}

/* A file that is there and right is left alone: it may be signed already. */
static void
write_tile(const struct tiles_writer *w, const char *name,
    const struct merkle_hash *hashes, unsigned width)
{
	char path[PATH_MAX + TILES_NAME_BYTES];
	size_t len = width * sizeof(*hashes);
	bool ok;

	io_path(path, sizeof(path), "%s/%s", w->dir, name);
	ok = has_content(path, hashes, len) || put_file(path, hashes, len);
	if (!ok && errno == ENOENT && make_parents(w, name))
		ok = put_file(path, hashes, len);
	if (!ok)
		fail(w, name);
}

static void
keep_full(struct tiles_writer *w, unsigned level, uint64_t n)
{
	struct full_tile full = { .level = level, .n = n };

	memcpy(full.hash, w->edge[level], sizeof(full.hash));
	buf_put(&w->full, &full, sizeof(full));
	w->durable[level] = 0;
}

/*
 * Before the tree has the leaf: a tile is full where the tree ends with eight
 * subtrees, each half of the one before, to which h is the last.
 */
static void
level_append(
    struct tiles_writer *w, unsigned level, const struct merkle_hash *h)
{
	uint64_t i = hashes_at(w->tree.size, level);
	const struct merkle_hash *node;
	struct merkle_hash root = *h;

	w->edge[level][i % TILES_WIDTH] = *h;
	if (i % TILES_WIDTH < TILES_WIDTH - 1)
		return;
	keep_full(w, level, i / TILES_WIDTH);
	node = w->tree.node + w->tree.depth - level * TILE_HEIGHT;
	for (unsigned k = 1; k <= TILE_HEIGHT; k++)
		merkle_node(MERKLE_LOG, node - k, &root, &root);
	if (level + 1 < TILES_LEVELS)
		level_append(w, level + 1, &root);
}

void
tiles_append(struct tiles_writer *w, const struct merkle_hash *leaf)
{
	level_append(w, 0, leaf);
	merkle_tree_append(&w->tree, leaf);
}

static void
sync_file(const struct tiles_writer *w, const char *name)
{
	char path[PATH_MAX + TILES_NAME_BYTES];
	int fd;

	io_path(path, sizeof(path), "%s/%s", w->dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0 || close(fd) < 0)
		fail(w, name);
}

/* `last` is the directory that was synced before; then not again. */
static void
sync_parent(const struct tiles_writer *w, const char *name, char *last)
{
	char path[PATH_MAX + TILES_NAME_BYTES];

	io_path(path, sizeof(path), "%s/%.*s", w->dir,
	    (int)(strrchr(name, '/') - name), name);
	if (strcmp(path, last) == 0)
		return;
	strcpy(last, path);
	if (!io_fsync_dir(path))
		fail(w, name);
}

/* Partial tiles may go once the full one is durable; a rest does no harm. */
static void
remove_partial(const struct tiles_writer *w, const char *name)
{
	char path[PATH_MAX + TILES_NAME_BYTES + 8];
	const struct dirent *e;
	DIR *d;

	io_path(path, sizeof(path), "%s/%s.p", w->dir, name);
	d = opendir(path);
	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			(void)unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	(void)rmdir(path);
}

static void
sync_full(struct tiles_writer *w)
{
	size_t n = w->full.len / sizeof(struct full_tile);
	char last[PATH_MAX + TILES_NAME_BYTES] = "";
	char name[TILES_NAME_BYTES];
	struct full_tile full;

	for (int round = 0; round < 4; round++)
		for (size_t i = 0; i < n; i++) {
			memcpy(&full, w->full.data + i * sizeof(full),
			    sizeof(full));
			(void)tiles_name(name, full.level, full.n, 0);
			if (round == 0)
				write_tile(w, name, full.hash, TILES_WIDTH);
			else if (round == 1)
				sync_file(w, name);
			else if (round == 2)
				sync_parent(w, name, last);
			else
				remove_partial(w, name);
		}
	buf_reset(&w->full);
}

void
tiles_sync(struct tiles_writer *w)
{
	char last[PATH_MAX + TILES_NAME_BYTES] = "";
	char name[TILES_NAME_BYTES];

	sync_full(w);
	for (unsigned i = 0; i < TILES_LEVELS; i++) {
		uint64_t n = hashes_at(w->tree.size, i) / TILES_WIDTH;
		unsigned width = width_of(w->tree.size, i, n);

		if (width == w->durable[i])
			continue;
		(void)tiles_name(name, i, n, width);
		write_tile(w, name, w->edge[i], width);
		sync_file(w, name);
		sync_parent(w, name, last);
		w->durable[i] = width;
	}
}
