/*
 * tilecheck.c: the tiles on the disk against those that the lines give.
 *
 * A tile is compared when its last hash is known; partial tiles of it that
 * are still there must be its beginning.  Tiles of lines that are not there
 * are extra.  The log may be growing: lines are written before their tiles,
 * so what is there is listed before the first line is read.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "tilecheck.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "ioutil.h"
#include "log.h"
#include "mem.h"
#include "tiles.h"

#define MAX_GROUPS 7 /* of three digits */
#define TILE_BYTES (TILES_WIDTH * MERKLE_HASH_BYTES)

/* The tile that grows at the right of a level. */
struct edge {
	struct merkle_hash hash[TILES_WIDTH];
	unsigned width;
	uint64_t n; /* its number */
};

/* The last tiles of a level among the files, as found at first. */
struct found {
	uint64_t full;  /* number of the last full one, plus 1 */
	uint64_t n;     /* of the last partial one, */
	unsigned width; /* 0: none */
};

struct tilecheck {
	char dir[PATH_MAX];
	uint64_t signed_size;
	uint64_t size;
	tilecheck_say *say;
	void *context;
	struct edge edge[TILES_LEVELS];
	struct found found[TILES_LEVELS];
};

static void say(const struct tilecheck *t, const char *fmt, ...)
    PGW_PRINTF(2, 3);

static void
say(const struct tilecheck *t, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	t->say(t->context, text);
}

void
tilecheck_free(struct tilecheck *t)
{
	free(t);
}

/* --- one tile --- */

/* The file must be the first `width` hashes. */
static void
compare(const struct tilecheck *t, const char *name, const struct edge *e,
    unsigned width, bool must)
{
	size_t want = width * sizeof(*e->hash);
	char path[PATH_MAX + TILES_NAME_BYTES];
	struct buf b = { 0 };

	io_path(path, sizeof(path), "%s/%s", t->dir, name);
	if (!io_read_file(path, &b, TILE_BYTES)) {
		if (errno != ENOENT)
			say(t, "%s: %s", name, strerror(errno));
		else if (must)
			say(t, "%s: the tile is missing", name);
	} else if (b.len != want)
		say(t, "%s: the tile has %zu bytes, not %zu", name, b.len,
		    want);
	else
		for (unsigned i = 0; i < width; i++)
			if (memcmp(b.data + i * sizeof(*e->hash), &e->hash[i],
				sizeof(*e->hash)) != 0) {
				say(t,
				    "%s: hash %u in the tile is not that "
				    "of the lines",
				    name, i);
				break;
			}
	buf_free(&b);
}

/* A whole number without sign or leading zero; false if it is none. */
static bool
parse_number(const char *s, unsigned max, unsigned *out)
{
	unsigned v = 0;

	if (*s == '\0' || (*s == '0' && s[1] != '\0'))
		return false;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9' || v > max)
			return false;
		v = v * 10 + (unsigned)(*s - '0');
	}
	*out = v;
	return v <= max;
}

/* The directory of a tile's partial ones; NULL if there is none. */
static DIR *
open_partials(const struct tilecheck *t, unsigned level, uint64_t n)
{
	char name[TILES_NAME_BYTES];
	char path[PATH_MAX + TILES_NAME_BYTES];

	io_path(
	    path, sizeof(path), "%s/%s", t->dir, tiles_name(name, level, n, 1));
	*strrchr(path, '/') = '\0';
	return opendir(path);
}

/* The next width in it, 0 at the end; what is no width is passed over. */
static unsigned
next_width(DIR *dir)
{
	const struct dirent *d;
	unsigned width;

	while ((d = readdir(dir)) != NULL)
		if (parse_number(d->d_name, TILES_WIDTH - 1, &width) &&
		    width > 0)
			return width;
	return 0;
}

static void
compare_partials(const struct tilecheck *t, unsigned level)
{
	const struct edge *e = &t->edge[level];
	DIR *dir = open_partials(t, level, e->n);
	char name[TILES_NAME_BYTES];
	unsigned width;

	if (dir == NULL)
		return;
	while ((width = next_width(dir)) > 0)
		if (width <= e->width)
			compare(t, tiles_name(name, level, e->n, width), e,
			    width, false);
	closedir(dir);
}

/* --- as lines come --- */

static void
finish_tile(struct tilecheck *t, unsigned level, struct merkle_hash *root)
{
	struct edge *e = &t->edge[level];
	uint64_t covers = (e->n + 1) << 8 << 8 * level;
	char name[TILES_NAME_BYTES];
	struct merkle_tree tree;

	compare(t, tiles_name(name, level, e->n, 0), e, TILES_WIDTH,
	    covers <= t->signed_size);
	compare_partials(t, level);
	merkle_tree_init(&tree, MERKLE_LOG);
	for (unsigned i = 0; i < TILES_WIDTH; i++)
		merkle_tree_append(&tree, &e->hash[i]);
	merkle_tree_root(&tree, root);
	e->width = 0;
	e->n++;
}

static bool
is_there(const struct tilecheck *t, unsigned level, uint64_t n, unsigned width)
{
	char name[TILES_NAME_BYTES];
	char path[PATH_MAX + TILES_NAME_BYTES];

	io_path(path, sizeof(path), "%s/%s", t->dir,
	    tiles_name(name, level, n, width));
	return access(path, F_OK) == 0;
}

/* A partial tile goes when its tile is full. */
static void
want_partials(const struct tilecheck *t)
{
	char name[TILES_NAME_BYTES];

	for (unsigned level = 0; level < TILES_LEVELS; level++) {
		const struct edge *e = &t->edge[level];

		if (e->width == 0)
			continue;
		tiles_name(name, level, e->n, e->width);
		if (is_there(t, level, e->n, e->width))
			compare(t, name, e, e->width, false);
		else if (!is_there(t, level, e->n, 0))
			say(t, "%s: the tile is missing", name);
	}
}

void
tilecheck_append(struct tilecheck *t, const struct merkle_hash *leaf)
{
	struct merkle_hash h = *leaf;

	for (unsigned level = 0; level < TILES_LEVELS; level++) {
		struct edge *e = &t->edge[level];

		e->hash[e->width++] = h;
		if (e->width < TILES_WIDTH)
			break;
		finish_tile(t, level, &h);
	}
	if (++t->size == t->signed_size)
		want_partials(t);
}

/* --- what else is there --- */

/* On the way to N of "x001/x234/067". */
struct place {
	unsigned level;
	unsigned groups; /* 0: above the levels */
	uint64_t n;
};

/* The three digits that a name begins with. */
static bool
parse_group(const char *name, unsigned *out)
{
	if (strspn(name, "0123456789") != 3)
		return false;
	*out = (unsigned)strtoul(name, NULL, 10);
	return true;
}

/* Left behind by a writer that died while it made a file. */
static bool
is_temporary(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && strcmp(name + len - 4, ".tmp") == 0;
}

static void
note_partials(struct tilecheck *t, unsigned level, uint64_t n)
{
	struct found *f = &t->found[level];
	DIR *dir = open_partials(t, level, n);
	unsigned width;

	if (dir == NULL)
		return;
	while ((width = next_width(dir)) > 0)
		if (f->width == 0 || n > f->n ||
		    (n == f->n && width > f->width)) {
			f->n = n;
			f->width = width;
		}
	closedir(dir);
}

/* A full tile's file, or the directory of its partial ones. */
static bool
note_tile(
    struct tilecheck *t, const char *name, const struct place *in, bool is_dir)
{
	struct found *f = &t->found[in->level];
	const char *end = is_dir ? ".p" : "";
	size_t len = strlen(name);
	unsigned group;
	uint64_t n;

	if (len != 3 + strlen(end) || strcmp(name + 3, end) != 0 ||
	    !parse_group(name, &group))
		return false;
	n = in->n * 1000 + group;
	if (is_dir)
		note_partials(t, in->level, n);
	else if (n + 1 > f->full)
		f->full = n + 1;
	return true;
}

static void walk(struct tilecheck *t, const char *rel, const struct place *in);

static void
note(struct tilecheck *t, const char *rel, const char *name,
    const struct place *in)
{
	char path[2 * PATH_MAX];
	struct place inner = { in->level, in->groups + 1, in->n };
	struct stat st;
	unsigned group;

	io_path(path, sizeof(path), "%s/%s", t->dir, rel);
	if (is_temporary(name) || lstat(path, &st) < 0)
		return;
	if (in->groups == 0) {
		if (S_ISDIR(st.st_mode) &&
		    parse_number(name, TILES_LEVELS - 1, &inner.level)) {
			walk(t, rel, &inner);
			return;
		}
	} else if (S_ISDIR(st.st_mode) && in->groups < MAX_GROUPS &&
		   name[0] == 'x' && strlen(name) == 4 &&
		   parse_group(name + 1, &group)) {
		inner.n = in->n * 1000 + group;
		walk(t, rel, &inner);
		return;
	} else if (note_tile(t, name, in, S_ISDIR(st.st_mode)))
		return;
	say(t, "%s: an extra file among the tiles", rel);
}

static void
walk(struct tilecheck *t, const char *rel, const struct place *in)
{
	char path[2 * PATH_MAX];
	char inner[PATH_MAX];
	const struct dirent *d;
	DIR *dir;

	io_path(path, sizeof(path), "%s/%s", t->dir, rel);
	dir = opendir(path);
	while (dir != NULL && (d = readdir(dir)) != NULL) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		io_path(inner, sizeof(inner), "%s/%s", rel, d->d_name);
		note(t, inner, d->d_name, in);
	}
	if (dir != NULL)
		closedir(dir);
}

struct tilecheck *
tilecheck_new(
    const char *log_dir, uint64_t signed_size, tilecheck_say *to, void *context)
{
	static const struct place top;
	struct tilecheck *t = mem_zalloc(1, sizeof(*t));

	io_path(t->dir, sizeof(t->dir), "%s", log_dir);
	t->signed_size = signed_size;
	t->say = to;
	t->context = context;
	walk(t, "tile", &top);
	return t;
}

void
tilecheck_end(struct tilecheck *t)
{
	char name[TILES_NAME_BYTES];

	for (unsigned level = 0; level < TILES_LEVELS; level++) {
		const struct edge *e = &t->edge[level];
		const struct found *f = &t->found[level];

		if (e->width > 0)
			compare_partials(t, level);
		*name = '\0';
		if (f->full > e->n)
			tiles_name(name, level, f->full - 1, 0);
		else if (f->width > 0 &&
			 (f->n > e->n || (f->n == e->n && f->width > e->width)))
			tiles_name(name, level, f->n, f->width);
		if (*name != '\0')
			say(t,
			    "%s: an extra tile, of lines that are not "
			    "there",
			    name);
	}
}
