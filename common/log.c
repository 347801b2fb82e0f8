/*
 * log.c: the operator log, one JSON object per line.
 *
 * Owns this process's descriptor of the log file.  A line is one write(2) to
 * a file opened O_APPEND, so processes need no lock among each other.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "ioutil.h"
#include "log.h"

#define LOG_MESSAGE_BYTES 4096
#define LOG_CLIENT_BYTES 256
#define EXIT_USAGE 2
#define EXIT_FATAL 3

static const char *const log_level_names[] = { "debug", "info", "warning",
	"error", "fatal" };

static struct {
	int fd; /* -1 before log_open() */
	enum log_level level;
	bool to_stderr;
	const char *process;
	char path[PATH_MAX];
	char client[LOG_CLIENT_BYTES]; /* "" for none */
} logger = { .fd = -1, .level = LOG_INFO_, .process = "pgwitness" };

void
log_set_process(const char *process)
{
	logger.process = process;
}

void
log_set_level(enum log_level level)
{
	logger.level = level;
}

void
log_to_stderr(bool on)
{
	logger.to_stderr = on;
}

void
log_set_client(const char *client)
{
	size_t n = client == NULL ? 0
				  : strnlen(client, sizeof(logger.client) - 1);

	if (n > 0)
		memcpy(logger.client, client, n);
	logger.client[n] = '\0';
}

/* Puts the file at path in the place of the one in use. */
static bool
log_switch(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return false;
	if (logger.fd >= 0)
		close(logger.fd);
	logger.fd = fd;
	return true;
}

bool
log_open(const char *path)
{
	if (strlen(path) >= sizeof(logger.path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	if (!log_switch(path))
		return false;
	snprintf(logger.path, sizeof(logger.path), "%s", path);
	return true;
}

void
log_reopen(void)
{
	if (logger.fd >= 0 && !log_switch(logger.path))
		log_error("log_reopen_failed",
		    "cannot open \"%s\" again: %m; the old file stays in use",
		    logger.path);
}

/* json_string() refuses what is not UTF-8; such bytes become '?'. */
static json_t *
log_json_string(const char *s)
{
	json_t *string = json_string(s);
	char *copy;

	if (string != NULL || (copy = strdup(s)) == NULL)
		return string;
	for (char *c = copy; *c != '\0'; c++)
		if ((*c & 0x80) != 0)
			*c = '?';
	string = json_string(copy);
	free(copy);
	return string;
}

/* NULL when out of memory. */
static char *
log_line(enum log_level level, const char *event, const char *message)
{
	char now[IO_TIME_BYTES];
	json_t *line = json_object();
	char *text = NULL;
	int bad = 0;

	bad |= json_object_set_new(
	    line, "time", json_string(io_format_time(io_now_us(), now)));
	bad |= json_object_set_new(
	    line, "level", json_string(log_level_names[level]));
	bad |= json_object_set_new(
	    line, "process", log_json_string(logger.process));
	bad |= json_object_set_new(line, "pid", json_integer(getpid()));
	bad |= json_object_set_new(line, "event", log_json_string(event));
	if (logger.client[0] != '\0')
		bad |= json_object_set_new(
		    line, "client", log_json_string(logger.client));
	bad |= json_object_set_new(line, "message", log_json_string(message));
	if (bad == 0)
		text = json_dumps(line, JSON_COMPACT);
	json_decref(line);
	return text;
}

static void
log_plain(const char *message)
{
	char line[LOG_MESSAGE_BYTES + 32];
	int n = snprintf(line, sizeof(line), "pgwitness: %s\n", message);
	bool ignored = io_write_all(STDERR_FILENO, line, (size_t)n);

	(void)ignored;
}

static void
log_file_line(enum log_level level, const char *event, const char *message)
{
	char *text = log_line(level, event, message);
	size_t n;

	if (text == NULL) {
		log_plain(message);
		return;
	}
	n = strlen(text);
	text[n] = '\n'; /* in the place of the NUL: one write, no copy */
	if (!io_write_all(logger.fd, text, n + 1))
		log_plain(message);
	free(text);
}

PGW_PRINTF(4, 0)
static void
log_vwrite(enum log_level level, const char *event, bool to_stderr,
    const char *fmt, va_list ap)
{
	char message[LOG_MESSAGE_BYTES];
	size_t n;

	vsnprintf(message, sizeof(message), fmt, ap);
	/* libpq's end in a newline. */
	for (n = strlen(message); n > 0 && message[n - 1] == '\n'; n--)
		message[n - 1] = '\0';
	if (logger.fd >= 0)
		log_file_line(level, event, message);
	if (logger.fd < 0 || to_stderr)
		log_plain(message);
}

void
log_write(enum log_level level, const char *event, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (level < logger.level)
		return;
	va_start(ap, fmt);
	log_vwrite(
	    level, event, logger.to_stderr && level >= LOG_WARNING_, fmt, ap);
	va_end(ap);
	errno = saved;
}

void
log_fatal(const char *event, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vwrite(LOG_FATAL_, event, true, fmt, ap);
	va_end(ap);
	exit(EXIT_FATAL);
}

void
log_usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vwrite(LOG_FATAL_, "usage", true, fmt, ap);
	va_end(ap);
	exit(EXIT_USAGE);
}
