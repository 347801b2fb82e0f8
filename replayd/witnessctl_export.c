/*
 * witnessctl_export.c: the subcommand export: the signed log as a C2SP
 * tlog-tiles directory that any file server can publish.
 *
 *	OUTDIR/checkpoint		written last
 *	OUTDIR/tile/L/N			hash tiles, made from the lines
 *	OUTDIR/tile/entries/N		256 lines, each with its length as u16
 *	OUTDIR/tile/entries/N.p/W	the last W
 *
 * Lines go out only as they were signed: each is compared with its hash in
 * the log's own tiles, and these with the signed root.  Bundles of which
 * lines were moved away are left out.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "buf.h"
#include "checkpoint.h"
#include "evlog.h"
#include "ioutil.h"
#include "jscan.h"
#include "jsonx.h"
#include "merkle.h"
#include "tiles.h"
#include "witnessctl.h"

#define MAX_CHECKPOINT 65536

struct export
{
	const char *out;
	char log_dir[PATH_MAX];
	struct buf checkpoint;
	struct checkpoint head;
	struct tiles *tiles;
	struct tiles_writer *writer;
	struct buf bundle;
	uint64_t first; /* lines before the first at hand */
	uint64_t size;  /* lines done */
	uint64_t bundles;
	char error[1024];
};

static bool
wrong(struct export *e, const char *what, const char *why)
{
	snprintf(e->error, sizeof(e->error), "%.500s: %.400s", what, why);
	return false;
}

/* Makes the directories above a file. */
static bool
make_parents(struct export *e, char *path)
{
	for (char *p = path + strlen(e->out) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return wrong(e, path, strerror(errno));
		*p = '/';
	}
	return true;
}

/* Of the lines up to `size`, those behind the last full bundle. */
static bool
write_bundle(struct export *e)
{
	uint64_t n = (e->size - 1) / TILES_WIDTH;
	char name[TILES_NAME_BYTES];
	char path[PATH_MAX];

	tiles_name(name, 0, n, (unsigned)(e->size % TILES_WIDTH));
	io_path(path, sizeof(path), "%s/tile/entries/%s", e->out,
	    name + strlen("tile/0/"));
	if (!make_parents(e, path))
		return false;
	if (!io_replace_file(path, e->bundle.data, e->bundle.len, 0644))
		return wrong(e, path, strerror(errno));
	e->bundles++;
	buf_reset(&e->bundle);
	return true;
}

static bool
add_leaf(struct export *e, const struct merkle_hash *leaf)
{
	tiles_append(e->writer, leaf);
	e->size++;
	return true;
}

static bool
add_line(struct export *e, const struct evlog_line *line)
{
	uint64_t bundle = e->size / TILES_WIDTH;
	struct merkle_hash leaf;
	struct merkle_hash want;

	merkle_leaf(MERKLE_LOG, line->text, line->len, &leaf);
	if (!tiles_leaf(e->tiles, e->size, &want))
		return wrong(e, e->log_dir, tiles_error(e->tiles));
	if (memcmp(&leaf, &want, sizeof(leaf)) != 0) {
		snprintf(e->error, sizeof(e->error),
		    "%s:%" PRIu64 ": not the line that was signed", line->file,
		    line->number);
		return false;
	}
	(void)add_leaf(e, &leaf);
	/* A bundle that began before the first line is left out. */
	if (bundle * TILES_WIDTH < e->first)
		return true;
	buf_put_u16(&e->bundle, (uint16_t)line->len);
	buf_put(&e->bundle, line->text, line->len);
	if (e->size % TILES_WIDTH == 0 || e->size == e->head.size)
		return write_bundle(e);
	return true;
}

static bool
skip_to_first(struct export *e, const struct evlog_line *line)
{
	struct jscan *s = jscan_new();
	struct jscan_fields f;
	uint64_t seq = 0;
	bool ok = true;

	if (jscan_line(
		s, line->text, line->len, &f, e->error, sizeof(e->error)))
		seq = jscan_count(&f.member[JSCAN_SEQ]);
	jscan_free(s);
	if (seq == 0 || seq > e->head.size)
		return wrong(e, line->file, "its first line is not signed");
	e->first = seq - 1;
	while (ok && e->size < e->first) {
		struct merkle_hash leaf;

		ok = tiles_leaf(e->tiles, e->size, &leaf) && add_leaf(e, &leaf);
	}
	return ok || wrong(e, e->log_dir, tiles_error(e->tiles));
}

static bool
copy_lines(struct export *e)
{
	const struct evlog_place first = { evlog_lowest(e->log_dir, NULL), 0,
		0 };
	struct evlog *l = evlog_open(e->log_dir);
	struct evlog_line line;
	bool ok = l != NULL;
	bool begun = false;

	if (ok && first.file > 0 && !evlog_seek(l, &first))
		ok = wrong(e, e->log_dir, strerror(errno));
	while (ok && e->size < e->head.size) {
		enum evlog_result r = evlog_next(
		    l, &line, e->error, sizeof(e->error));

		if (r == EVLOG_WRONG)
			ok = false;
		else if (r != EVLOG_LINE)
			ok = wrong(e, e->log_dir, "signed lines are missing");
		else
			ok = (begun || skip_to_first(e, &line)) &&
			     add_line(e, &line);
		begun = true;
	}
	evlog_close(l);
	return ok;
}

static bool
load_head(struct export *e)
{
	struct merkle_hash root;
	char path[PATH_MAX + 16];

	io_path(path, sizeof(path), "%s/checkpoint", e->log_dir);
	if (!io_read_file(path, &e->checkpoint, MAX_CHECKPOINT))
		return wrong(e, path, strerror(errno));
	if (!checkpoint_parse_text(
		e->checkpoint.data, e->checkpoint.len, &e->head))
		return wrong(e, path, "no checkpoint");
	e->tiles = tiles_open(e->log_dir, e->head.size);
	if (!tiles_root(e->tiles, e->head.size, &root))
		return wrong(e, e->log_dir, tiles_error(e->tiles));
	return memcmp(&root, &e->head.root, sizeof(root)) == 0 ||
	       wrong(e, e->log_dir, "the tiles have not the signed root");
}

static bool
write_all(struct export *e)
{
	char path[PATH_MAX];

	if (!load_head(e))
		return false;
	if (mkdir(e->out, 0755) < 0 && errno != EEXIST)
		return wrong(e, e->out, strerror(errno));
	io_path(path, sizeof(path), "%s/checkpoint", e->out);
	e->writer = tiles_writer_open(e->out, 0, e->error, sizeof(e->error));
	if (e->writer == NULL || !copy_lines(e))
		return false;
	tiles_sync(e->writer);
	return io_replace_file(
		   path, e->checkpoint.data, e->checkpoint.len, 0644) ||
	       wrong(e, path, strerror(errno));
}

static void
report(const struct export *e, bool json)
{
	json_t *o;

	if (!json) {
		printf("%" PRIu64 " lines in %" PRIu64 " bundles\n", e->size,
		    e->bundles);
		if (e->first > 0)
			printf("the first %" PRIu64 " lines are not there: "
			       "their hashes only\n",
			    e->first);
		return;
	}
	o = jsonx_object();
	jsonx_set(o, "lines", jsonx_int(e->size));
	jsonx_set(o, "bundles", jsonx_int(e->bundles));
	jsonx_set(o, "first", jsonx_int(e->first + 1));
	witnessctl_print_json(stdout, o);
	putchar('\n');
	json_decref(o);
}

int
witnessctl_export(const struct witnessctl_args *a)
{
	static struct export e;
	bool ok;

	e.out = a->tlog_dir;
	if (e.out == NULL) {
		fprintf(stderr, "witnessctl: export needs --tlog OUTDIR\n");
		return EXIT_USAGE;
	}
	if (!witnessctl_log_dir(a, e.log_dir))
		return EXIT_USAGE;
	ok = write_all(&e);
	if (ok)
		report(&e, a->json);
	else {
		fprintf(stderr, "witnessctl: ");
		witnessctl_print(stderr, e.error);
		fputc('\n', stderr);
	}
	if (e.tiles != NULL)
		tiles_close(e.tiles);
	if (e.writer != NULL)
		tiles_writer_close(e.writer);
	buf_free(&e.checkpoint);
	buf_free(&e.bundle);
	return ok ? EXIT_GOOD : EXIT_BAD_NEWS;
}
