/*
 * evlog.c: reads an evidence log that may be hostile or still growing.
 *
 * Files are counted from 1 without a gap; a file ends only at a newline,
 * but for the last, which may be in the middle of being written.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "evlog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ioutil.h"

#define CHUNK 65536

struct evlog {
	char dir[PATH_MAX];
	unsigned file_number; /* open or last tried */
	int fd;               /* -1: none */
	uint64_t line_number;
	off_t line_at; /* start of the line being assembled */
	size_t used;   /* bytes of buffer[] already handed out */
	size_t filled;
	char buffer[EVLOG_MAX_LINE + 1 + CHUNK];
};

void
evlog_file_name(char out[32], unsigned number)
{
	snprintf(out, 32, "evidence-%08u.jsonl", number);
}

struct evlog *
evlog_open(const char *dir)
{
	struct evlog *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	io_path(l->dir, sizeof(l->dir), "%s", dir);
	l->fd = -1;
	return l;
}

void
evlog_close(struct evlog *l)
{
	if (l == NULL)
		return;
	if (l->fd >= 0)
		close(l->fd);
	free(l);
}

unsigned
evlog_file_number(const struct evlog *l)
{
	return l->file_number;
}

/* Opens file `number`: 1 if it is there, 0 if not, -1 with errno. */
static int
open_file(struct evlog *l, unsigned number)
{
	char path[PATH_MAX + 64];
	char name[32];
	int fd;

	evlog_file_name(name, number);
	io_path(path, sizeof(path), "%s/%s", l->dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = fd;
	l->file_number = number;
	l->line_number = 0;
	l->line_at = 0;
	l->used = l->filled = 0;
	return 1;
}

unsigned
evlog_lowest(const char *dir, unsigned *highest)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	unsigned lowest = 0, last = 0;

	while (d != NULL && (e = readdir(d)) != NULL) {
		char name[32];
		unsigned n;

		if (sscanf(e->d_name, "evidence-%8u.jsonl", &n) != 1)
			continue;
		evlog_file_name(name, n);
		if (strcmp(name, e->d_name) != 0 || n == 0)
			continue;
		if (lowest == 0 || n < lowest)
			lowest = n;
		if (n > last)
			last = n;
	}
	if (d != NULL)
		closedir(d);
	if (highest != NULL)
		*highest = last;
	return lowest;
}

bool
evlog_seek(struct evlog *l, const struct evlog_place *place)
{
	int r = open_file(l, place->file);

	if (r != 1) {
		if (r == 0)
			errno = ENOENT;
		return false;
	}
	l->line_at = (off_t)place->offset;
	l->line_number = place->line;
	return lseek(l->fd, l->line_at, SEEK_SET) == l->line_at;
}

/* Reads on: 1 if there were bytes, 0 at the end, -1 with errno. */
static int
fill(struct evlog *l)
{
	ssize_t n;

	if (l->used > 0) {
		memmove(l->buffer, l->buffer + l->used, l->filled - l->used);
		l->filled -= l->used;
		l->used = 0;
	}
	do
		n = read(l->fd, l->buffer + l->filled,
		    sizeof(l->buffer) - l->filled);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		l->filled += (size_t)n;
	return n > 0 ? 1 : (int)n;
}

/* A file is complete once there is a next one: look at its end again then. */
static int
fill_to_the_end(struct evlog *l)
{
	char path[PATH_MAX + 64];
	char name[32];
	int n = fill(l);

	if (n != 0)
		return n;
	evlog_file_name(name, l->file_number + 1);
	io_path(path, sizeof(path), "%s/%s", l->dir, name);
	return access(path, F_OK) == 0 ? fill(l) : 0;
}

static bool
take_line(struct evlog *l, struct evlog_line *line)
{
	char *start = l->buffer + l->used;
	size_t have = l->filled - l->used;
	char *end = have == 0 ? NULL : memchr(start, '\n', have);

	evlog_file_name(line->file, l->file_number);
	line->number = l->line_number + 1;
	line->at = l->line_at;
	line->text = start;
	line->len = end == NULL ? have : (size_t)(end - start);
	if (end == NULL)
		return false;
	l->used += line->len + 1;
	l->line_at += (off_t)line->len + 1;
	l->line_number++;
	return true;
}

static enum evlog_result
wrong(char *error, size_t error_size, const char *what, const char *why)
{
	snprintf(error, error_size, "%s: %s", what, why);
	return EVLOG_WRONG;
}

/* At the end of the open file: goes on with the next one if there is one. */
static enum evlog_result
next_file(struct evlog *l, const struct evlog_line *line, char *error,
    size_t error_size)
{
	bool torn = line->len > 0;
	char name[32];

	evlog_file_name(name, l->file_number + 1);
	switch (open_file(l, l->file_number + 1)) {
	case 1:
		return torn ? wrong(error, error_size, line->file,
				  "does not end at a newline")
			    : EVLOG_LINE;
	case 0:
		return torn ? EVLOG_TORN : EVLOG_END;
	default:
		return wrong(error, error_size, name, strerror(errno));
	}
}

enum evlog_result
evlog_next(
    struct evlog *l, struct evlog_line *line, char *error, size_t error_size)
{
	memset(line, 0, sizeof(*line));
	if (l->fd < 0) {
		enum evlog_result r = next_file(l, line, error, error_size);

		if (r != EVLOG_LINE)
			return r;
	}
	for (;;) {
		enum evlog_result r;
		int n;

		if (take_line(l, line))
			return line->len <= EVLOG_MAX_LINE
				   ? EVLOG_LINE
				   : wrong(error, error_size, line->file,
					 "a line is longer than 65,535 bytes");
		if (line->len > EVLOG_MAX_LINE)
			return wrong(error, error_size, line->file,
			    "a line is longer than 65,535 bytes");
		n = fill_to_the_end(l);
		if (n < 0)
			return wrong(
			    error, error_size, line->file, strerror(errno));
		line->text = l->buffer + l->used;
		if (n > 0)
			continue;
		r = next_file(l, line, error, error_size);
		if (r != EVLOG_LINE)
			return r;
	}
}
