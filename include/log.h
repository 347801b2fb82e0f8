/*
 * log.h: the operator log, one JSON object per line.
 *
 * Every process writes its own lines with one write(2) to a file opened
 * O_APPEND; there is no lock.  Never log row values or passwords.
 *
 *	{"time":"2026-11-23T20:00:00.000000Z","level":"info","process":"backend",
 *	 "pid":4711,"event":"client_connected","message":"...", ...}
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_LOG_H
#define PGW_LOG_H

#include <stdbool.h>

#include "attr.h"

enum log_level { LOG_DEBUG_, LOG_INFO_, LOG_WARNING_, LOG_ERROR_, LOG_FATAL_ };

/* Until log_open() lines go to stderr as plain text "pgwitness: message". */
void log_set_process(const char *process);
void log_set_level(enum log_level level);
/* False with errno if path cannot be opened; the old file stays in use. */
PGW_MUSTCHECK bool log_open(const char *path);
/* Opens the same path again (SIGHUP, after the file was moved away). */
void log_reopen(void);
/* Also write messages of level warning and up to stderr (postmaster only). */
void log_to_stderr(bool on);
/* Adds "client":"..." (or drops it, NULL) to every later line. */
void log_set_client(const char *client);

/*
 * event: a stable snake_case name to search for; message: for people, one
 * sentence that says what, where and what to do.
 */
void log_write(enum log_level level, const char *event, const char *fmt, ...)
	PGW_PRINTF(3, 4);
#define log_debug(...) log_write(LOG_DEBUG_, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO_, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING_, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR_, __VA_ARGS__)

/* The world is broken (fatal: exit code 3) or the usage is (exit code 2). */
PGW_NORETURN void log_fatal(const char *event, const char *fmt, ...)
	PGW_PRINTF(2, 3);
PGW_NORETURN void log_usage(const char *fmt, ...) PGW_PRINTF(1, 2);

#endif
