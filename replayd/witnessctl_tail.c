/*
 * witnessctl_tail.c: the subcommand tail: the last evidence lines, and new
 * ones.
 *
 * Begins near the end of the log; only a filter that matches little makes it
 * read farther back.  All text comes from clients and is printed with
 * control characters escaped.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "evlog.h"
#include "ioutil.h"
#include "jsonx.h"
#include "txtable.h"
#include "verdict.h"
#include "witnessctl.h"

#define LAST_LINES 20
#define FIRST_WINDOW 262144 /* bytes from the end */

/* --- tail --- */

struct tail {
	const struct witnessctl_args *a;
	struct txtable of_table; /* open transactions on --table */
	json_t *last;            /* at most LAST_LINES, until followed */
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
		witnessctl_put_line(line);
		return;
	}
	witnessctl_print_json(stdout, line);
	putchar('\n');
}

/* A cheap no for lines that cannot have the verdict. */
static bool
may_be_wanted(const struct tail *t, const struct evlog_line *l)
{
	const char *v = t->a->verdict;

	return v == NULL || t->a->table != NULL ||
	       memmem(l->text, l->len, v, strlen(v)) != NULL;
}

static void
take_line(struct tail *t, const struct evlog_line *l)
{
	json_error_t why;
	json_t *line;

	if (!may_be_wanted(t, l))
		return;
	line = json_loadb(l->text, l->len, 0, &why);
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

/* --- where to begin --- */

/* The first line that starts at or behind `offset`. */
static bool
next_start(const char *path, uint64_t offset, uint64_t *start)
{
	FILE *f = fopen(path, "re");
	int c = '\n';

	if (f == NULL)
		return false;
	/* From the byte before: it may be a newline already. */
	if (offset > 0 && fseeko(f, (off_t)offset - 1, SEEK_SET) == 0) {
		while ((c = getc(f)) != EOF && c != '\n')
			offset++;
		*start = offset;
	} else
		*start = 0;
	fclose(f);
	return true;
}

/*
 * About `window` bytes before the end of the log.  False if that is its
 * beginning.
 */
static bool
place_near_end(const char *dir, uint64_t window, struct evlog_place *place)
{
	unsigned lowest = evlog_lowest(dir, NULL);
	unsigned file = lowest;
	char path[PATH_MAX + 32];
	char name[32];
	struct stat st;

	*place = (struct evlog_place){ lowest, 0, 0 };
	for (;; file++) {
		evlog_file_name(name, file + 1);
		io_path(path, sizeof(path), "%s/%s", dir, name);
		if (lowest == 0 || stat(path, &st) < 0)
			break;
	}
	for (; file >= lowest && lowest > 0; file--) {
		evlog_file_name(name, file);
		io_path(path, sizeof(path), "%s/%s", dir, name);
		if (stat(path, &st) < 0)
			break;
		if ((uint64_t)st.st_size > window) {
			place->file = file;
			return next_start(path, (uint64_t)st.st_size - window,
			    &place->offset);
		}
		window -= (uint64_t)st.st_size;
	}
	return false;
}

/* Reads the last lines that are wanted, from farther back until enough. */
static bool
read_last(struct tail *t, struct evlog **l, const char *dir)
{
	uint64_t window = FIRST_WINDOW;
	struct evlog_place place;
	bool more;
	bool ok;

	do {
		more = place_near_end(dir, window, &place);
		json_array_clear(t->last);
		txtable_free(&t->of_table);
		evlog_close(*l);
		*l = evlog_open(dir);
		if (*l == NULL || (place.file > 0 && !evlog_seek(*l, &place))) {
			perror(dir);
			return false;
		}
		ok = read_on(t, *l);
		window *= 8;
	} while (ok && more && json_array_size(t->last) < LAST_LINES);
	return ok;
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
	struct evlog *l = NULL;
	int fd = inotify_init1(IN_CLOEXEC);
	size_t i;
	json_t *line;
	bool ok;

	if (fd < 0 || inotify_add_watch(fd, dir, IN_MODIFY | IN_CREATE) < 0) {
		perror(dir);
		return EXIT_CANNOT_RUN;
	}
	ok = read_last(t, &l, dir);
	json_array_foreach(t->last, i, line) print_one(t, line);
	json_array_clear(t->last);
	fflush(stdout);
	t->following = true;
	while (ok && t->a->follow && !ferror(stdout))
		ok = wait_for_change(fd) && read_on(t, l);
	close(fd);
	evlog_close(l);
	return ok ? EXIT_GOOD : EXIT_BAD_NEWS;
}

static bool
is_verdict(const char *name)
{
	enum verdict_kind k = VERDICT_VERIFIED;

	while (k < VERDICT_ERROR && strcmp(name, verdict_kind_name(k)) != 0)
		k++;
	if (strcmp(name, verdict_kind_name(k)) == 0)
		return true;
	fprintf(stderr,
	    "witnessctl: \"%s\" is no verdict; known: verified, mismatch, "
	    "unverifiable, error\n",
	    name);
	return false;
}

int
witnessctl_tail(const struct witnessctl_args *a)
{
	struct tail t = { .a = a };
	char dir[PATH_MAX];
	int code;

	if ((a->verdict != NULL && !is_verdict(a->verdict)) ||
	    !witnessctl_log_dir(a, dir))
		return EXIT_USAGE;
	t.last = jsonx_array();
	code = tail_log(&t, dir);
	json_decref(t.last);
	txtable_free(&t.of_table);
	return code;
}
