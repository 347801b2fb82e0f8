/*
 * witnessctl_tail.c: the subcommands tail and show: evidence lines for people.
 *
 * All text comes from clients and is printed with control characters escaped.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "evlog.h"
#include "jsonx.h"
#include "txtable.h"
#include "witnessctl.h"

#define LAST_LINES 20

/* --- one line in short --- */

static void
put_text(const json_t *line, const char *key, const char *before)
{
	const json_t *v = json_object_get(line, key);

	if (v == NULL || json_is_null(v))
		return;
	fputs(before, stdout);
	witnessctl_print_json(stdout, v);
}

static void
put_record(const json_t *line)
{
	const json_t *statements = json_object_get(line, "query_sequence");
	const json_t *tables = json_object_get(line, "tables");
	size_t i;
	json_t *v;

	put_text(line, "user", " ");
	put_text(line, "database", "@");
	put_text(line, "capture", " ");
	json_array_foreach(tables, i, v)
	{
		put_text(v, "name", " ");
		put_text(v, "access", ":");
	}
	json_array_foreach(statements, i, v)
		put_text(v, "sql", " | ");
}

static void
put_outcome(const json_t *line)
{
	put_text(line, "outcome", " ");
	put_text(line, "resolved_by", " by ");
	put_text(line, "reason", " ");
}

static void
put_verdict(const json_t *line)
{
	size_t i;
	json_t *m;

	put_text(line, "verdict", " ");
	put_text(line, "reason", " ");
	json_array_foreach(json_object_get(line, "mismatches"), i, m)
	{
		put_text(m, "table", " ");
		put_text(m, "column", ".");
		put_text(m, "row", " at ");
		put_text(m, "claimed", " claimed ");
		put_text(m, "calculated", " calculated ");
	}
	put_text(line, "bundle", " ");
}

static void
put_rest(const json_t *line)
{
	static const char *const head[] = { "type", "seq", "time", "prev" };
	json_t *copy = json_copy((json_t *)(uintptr_t)line);

	for (size_t i = 0; i < sizeof(head) / sizeof(*head); i++)
		(void)json_object_del(copy, head[i]);
	putchar(' ');
	witnessctl_print_json(stdout, copy);
	json_decref(copy);
}

static const struct printer {
	const char *type;
	const char *shown;
	void (*put)(const json_t *line);
} printers[] = {
	{ "StateCommitmentRecord", "record", put_record },
	{ "TransactionOutcome", "outcome", put_outcome },
	{ "VerificationResult", "verdict", put_verdict },
};

static void
put_line(const json_t *line)
{
	const char *type = jsonx_get(line, "type");
	uint64_t tx_id = jsonx_get_int(line, "tx_id");

	put_text(line, "time", "");
	printf(" %" PRIu64 " ", jsonx_get_int(line, "seq"));
	for (size_t i = 0; i < sizeof(printers) / sizeof(*printers); i++)
		if (type != NULL && strcmp(type, printers[i].type) == 0) {
			printf("%s tx %" PRIu64, printers[i].shown, tx_id);
			printers[i].put(line);
			putchar('\n');
			return;
		}
	put_text(line, "type", "");
	put_rest(line);
	putchar('\n');
}

/* --- tail --- */

struct tail {
	const struct witnessctl_args *a;
	struct txtable of_table;	/* open transactions on --table */
	json_t *last;			/* at most LAST_LINES, until followed */
	bool following;
};

static bool
names_table(const json_t *line, const char *table)
{
	size_t i;
	json_t *t;

	json_array_foreach(json_object_get(line, "tables"), i, t)
	{
		const char *name = jsonx_get(t, "name");
		const char *bare = jsonx_get(t, "table");

		if ((name != NULL && strcmp(name, table) == 0) ||
		    (bare != NULL && strcmp(bare, table) == 0))
			return true;
	}
	return false;
}

/* Outcomes and verdicts belong to the table of their record. */
static bool
is_of_table(struct tail *t, const json_t *line)
{
	const char *type = jsonx_get(line, "type");
	uint64_t tx_id = jsonx_get_int(line, "tx_id");
	bool is;

	if (type == NULL || tx_id == 0)
		return false;
	if (names_table(line, t->a->table) &&
	    txtable_find(&t->of_table, tx_id) == NULL)
		(void)txtable_add(&t->of_table, tx_id);
	is = txtable_find(&t->of_table, tx_id) != NULL;
	if (is && strcmp(type, "VerificationResult") == 0)
		txtable_remove(&t->of_table, tx_id);
	return is;
}

static bool
is_wanted(struct tail *t, const json_t *line)
{
	const char *verdict = jsonx_get(line, "verdict");

	if (t->a->table != NULL && !is_of_table(t, line))
		return false;
	return t->a->verdict == NULL ||
	    (verdict != NULL && strcmp(verdict, t->a->verdict) == 0);
}

static void
print_one(const struct tail *t, const json_t *line)
{
	if (!t->a->json) {
		put_line(line);
		return;
	}
	witnessctl_print_json(stdout, line);
	putchar('\n');
}

static void
take_line(struct tail *t, const struct evlog_line *l)
{
	json_error_t why;
	json_t *line = json_loadb(l->text, l->len, 0, &why);

	if (line == NULL) {
		fprintf(stderr, "witnessctl: %s:%" PRIu64 ": not JSON: %s\n",
		    l->file, l->number, why.text);
		return;
	}
	if (is_wanted(t, line)) {
		if (t->following)
			print_one(t, line);
		else
			jsonx_append(t->last, json_incref(line));
		if (json_array_size(t->last) > LAST_LINES)
			(void)json_array_remove(t->last, 0);
	}
	json_decref(line);
}

/* Reads to the end; false if the log cannot be read. */
static bool
read_on(struct tail *t, struct evlog *l)
{
	struct evlog_line line;
	char error[512];

	for (;;)
		switch (evlog_next(l, &line, error, sizeof(error))) {
		case EVLOG_LINE:
			take_line(t, &line);
			break;
		case EVLOG_END:
		case EVLOG_TORN:
			fflush(stdout);
			return true;
		case EVLOG_WRONG:
			fprintf(stderr, "witnessctl: %s\n", error);
			return false;
		}
}

static bool
wait_for_change(int fd)
{
	char events[4096];
	ssize_t n;

	do
		n = read(fd, events, sizeof(events));
	while (n < 0 && errno == EINTR);
	return n > 0;
}

static int
tail_log(struct tail *t, const char *dir)
{
	struct evlog *l = evlog_open(dir);
	int fd = inotify_init1(IN_CLOEXEC);
	size_t i;
	json_t *line;
	bool ok;

	if (l == NULL || fd < 0 ||
	    inotify_add_watch(fd, dir, IN_MODIFY | IN_CREATE) < 0) {
		perror(dir);
		evlog_close(l);
		return EXIT_CANNOT_RUN;
	}
	ok = read_on(t, l);
	json_array_foreach(t->last, i, line)
		print_one(t, line);
	json_array_clear(t->last);
	fflush(stdout);
	t->following = true;
	while (ok && t->a->follow && !ferror(stdout))
		ok = wait_for_change(fd) && read_on(t, l);
	close(fd);
	evlog_close(l);
	return ok ? EXIT_GOOD : EXIT_BAD_NEWS;
}

int
witnessctl_tail(const struct witnessctl_args *a)
{
	struct tail t = { .a = a };
	char dir[PATH_MAX];
	int code;

	if (!witnessctl_log_dir(a, dir))
		return EXIT_USAGE;
	t.last = jsonx_array();
	code = tail_log(&t, dir);
	json_decref(t.last);
	txtable_free(&t.of_table);
	return code;
}

/* --- show --- */

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
show_tables(const json_t *record)
{
	const json_t *rows = json_object_get(record, "rows");
	size_t i;
	json_t *t;

	json_array_foreach(json_object_get(record, "tables"), i, t)
	{
		const json_t *images = json_array_get(rows, i);

		put_text(t, "name", "  table ");
		put_text(t, "access", " ");
		put_text(t, "pre_rows", ", rows before: ");
		put_text(t, "post_rows", ", after: ");
		putchar('\n');
		show_rows("before", json_object_get(images, "before"));
		show_rows("after ", json_object_get(images, "after"));
	}
}

static void
show_line(const json_t *line, bool json)
{
	const char *type = jsonx_get(line, "type");

	if (json) {
		witnessctl_print_json(stdout, line);
		putchar('\n');
		return;
	}
	put_line(line);
	if (type != NULL && strcmp(type, "StateCommitmentRecord") == 0) {
		show_statements(line);
		show_tables(line);
		put_text(line, "pre_root_captured", "  root before ");
		put_text(line, "post_root_claimed", "\n  root claimed ");
		putchar('\n');
	}
}

/* How many lines name tx_id; -1 if the log cannot be read. */
static int
show_lines_of(struct evlog *l, uint64_t tx_id, bool json)
{
	struct evlog_line line;
	enum evlog_result r;
	char error[512];
	int found = 0;

	while ((r = evlog_next(l, &line, error, sizeof(error))) ==
	    EVLOG_LINE) {
		json_t *v = json_loadb(line.text, line.len, 0, NULL);

		if (jsonx_get_int(v, "tx_id") == tx_id) {
			show_line(v, json);
			found++;
		}
		json_decref(v);
	}
	if (r == EVLOG_WRONG)
		fprintf(stderr, "witnessctl: %s\n", error);
	return r == EVLOG_WRONG ? -1 : found;
}

int
witnessctl_show(const struct witnessctl_args *a)
{
	char dir[PATH_MAX];
	char *end = NULL;
	uint64_t tx_id = a->word == NULL ? 0 : strtoull(a->word, &end, 10);
	struct evlog *l;
	int found;

	if (tx_id == 0 || *end != '\0') {
		fprintf(stderr, "witnessctl: show needs a TXID\n");
		return EXIT_USAGE;
	}
	if (!witnessctl_log_dir(a, dir))
		return EXIT_USAGE;
	l = evlog_open(dir);
	if (l == NULL)
		return EXIT_CANNOT_RUN;
	found = show_lines_of(l, tx_id, a->json);
	evlog_close(l);
	if (found == 0)
		fprintf(stderr, "witnessctl: no transaction %" PRIu64
		    " in %s\n", tx_id, dir);
	return found > 0 ? EXIT_GOOD : EXIT_BAD_NEWS;
}
