/*
 * witnessctl_show.c: the subcommand show: all that is known of one
 * transaction.
 *
 * Rows come from its line (log.row_data), its bundle, or the spool, which is
 * read as it is found: damage there ends the search, not the program.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "evlog.h"
#include "ioutil.h"
#include "jsonx.h"
#include "line.h"
#include "record.h"
#include "spool.h"
#include "witnessctl.h"

#define MAX_RECORD ((size_t)2 << 30)
#define SEGMENT_DIGITS 16
#define SEGMENT_BASE 10

static void
show_statements(const json_t *record)
{
	size_t i;
	json_t *s;

	json_array_foreach(json_object_get(record, "query_sequence"), i, s)
	{
		printf("  statement %zu: ", i);
		witnessctl_print_json(stdout, json_object_get(s, "sql"));
		putchar('\n');
	}
}

static void
show_rows(const char *title, const json_t *rows)
{
	size_t i;
	json_t *row;

	json_array_foreach(rows, i, row)
	{
		printf("    %s ", title);
		witnessctl_print_json(stdout, row);
		putchar('\n');
	}
}

static void
show_tables(const json_t *record, const json_t *rows)
{
	size_t i;
	json_t *t;

	json_array_foreach(json_object_get(record, "tables"), i, t)
	{
		const json_t *images = json_array_get(rows, i);

		witnessctl_put(t, "name", "  table ");
		witnessctl_put(t, "access", " ");
		witnessctl_put(t, "pre_rows", ", rows before: ");
		witnessctl_put(t, "post_rows", ", after: ");
		putchar('\n');
		show_rows("before", json_object_get(images, "before"));
		show_rows("after ", json_object_get(images, "after"));
	}
}

/* --- rows while kept --- */

struct rows {
	json_t *list; /* parallel to `tables`; NULL: not kept */
	const char *from;
};

static bool
rows_of_bundle(const char *data_dir, uint64_t tx_id, struct rows *out)
{
	char path[PATH_MAX];
	json_t *v;

	io_path(path, sizeof(path), "%s/bundles/%" PRIu64 "/transaction.json",
	    data_dir, tx_id);
	v = json_load_file(path, 0, NULL);
	out->list = json_incref(
	    json_object_get(json_object_get(v, "record"), "rows"));
	out->from = "bundle";
	json_decref(v);
	return out->list != NULL;
}

static bool
take_frame(const struct spool_frame *f, struct rows *out)
{
	struct arena *arena = arena_new(MAX_RECORD);
	struct record r;

	if (arena == NULL)
		return false;
	if (record_decode(f->payload, f->payload_len, arena, &r) &&
	    r.has_images) {
		out->list = line_rows(&r);
		out->from = "spool";
	}
	arena_free(arena);
	return out->list != NULL;
}

/* Frames up to the first that is not whole. */
static bool
rows_of_segment(
    struct spool_reader *r, uint64_t segment, uint64_t tx_id, struct rows *out)
{
	struct spool_frame f;

	f.next = (struct spool_position){ segment, 0 };
	for (;;) {
		struct spool_position at = f.next;
		bool whole;

		memset(&f, 0, sizeof(f));
		/* Frames that are not for readers have a next one, too. */
		whole = spool_read(r, at, &f);
		if (f.next.offset <= at.offset)
			return false;
		if (whole && f.tx_id == tx_id && f.kind == SPOOL_RECORD)
			return take_frame(&f, out);
	}
}

static bool
rows_of_spool(const char *data_dir, uint64_t tx_id, struct rows *out)
{
	struct spool_reader *r = spool_reader_open(data_dir);
	char path[PATH_MAX];
	const struct dirent *e;
	bool found = false;
	DIR *d;

	io_path(path, sizeof(path), "%s/spool", data_dir);
	d = r == NULL ? NULL : opendir(path);
	while (d != NULL && !found && (e = readdir(d)) != NULL)
		if (strlen(e->d_name) == SEGMENT_DIGITS &&
		    strspn(e->d_name, "0123456789") == SEGMENT_DIGITS)
			found = rows_of_segment(r,
			    strtoull(e->d_name, NULL, SEGMENT_BASE), tx_id,
			    out);
	if (d != NULL)
		closedir(d);
	if (r != NULL)
		spool_reader_close(r);
	return found;
}

/* The line's own, else those of a bundle, else of the spool. */
static struct rows
find_rows(const struct witnessctl_args *a, const json_t *line)
{
	uint64_t tx_id = jsonx_get_int(line, "tx_id");
	struct rows rows = { json_incref(json_object_get(line, "rows")),
		"line" };

	if (rows.list == NULL && a->data_dir != NULL &&
	    !rows_of_bundle(a->data_dir, tx_id, &rows))
		(void)rows_of_spool(a->data_dir, tx_id, &rows);
	return rows;
}

/* --- lines --- */

static void
show_record(json_t *line, const struct witnessctl_args *a)
{
	struct rows rows = find_rows(a, line);

	if (a->json && rows.list != NULL) {
		jsonx_set(line, "rows", json_incref(rows.list));
		jsonx_set(line, "rows_from", json_string(rows.from));
	}
	if (a->json) {
		witnessctl_print_json(stdout, line);
		putchar('\n');
	} else {
		witnessctl_put_line(line);
		show_statements(line);
		show_tables(line, rows.list);
		if (rows.list == NULL &&
		    json_object_get(line, "pre_root_captured") != NULL)
			printf("  rows are not kept any more\n");
		witnessctl_put(line, "pre_root_captured", "  root before ");
		witnessctl_put(line, "post_root_claimed", "\n  root claimed ");
		putchar('\n');
	}
	json_decref(rows.list);
}

static bool
show_line(void *context, const struct evlog_line *at, uint64_t seq)
{
	const struct witnessctl_args *a = context;
	json_t *line = json_loadb(at->text, at->len, 0, NULL);
	const char *type = jsonx_get(line, "type");

	(void)seq;
	if (type != NULL && strcmp(type, "StateCommitmentRecord") == 0)
		show_record(line, a);
	else if (a->json) {
		witnessctl_print_json(stdout, line);
		putchar('\n');
	} else
		witnessctl_put_line(line);
	json_decref(line);
	return true;
}

int
witnessctl_show(const struct witnessctl_args *a)
{
	uint64_t tx_id = witnessctl_tx_id(a);
	char dir[PATH_MAX];
	int found;

	if (tx_id == 0 || !witnessctl_log_dir(a, dir))
		return EXIT_USAGE;
	found = witnessctl_lines_of(
	    dir, tx_id, show_line, (void *)(uintptr_t)a);
	if (found < 0)
		return EXIT_CANNOT_RUN;
	if (found == 0)
		fprintf(stderr,
		    "witnessctl: no transaction %" PRIu64 " in %s\n", tx_id,
		    dir);
	return found > 0 ? EXIT_GOOD : EXIT_BAD_NEWS;
}
