/*
 * session.h: the replay role's connection to one copy.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SESSION_H
#define PGW_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "config.h"
#include "copy.h"

/* Prepared statements that every session has. */
#define SESSION_BEGIN "pgw_begin"
#define SESSION_ROLLBACK "pgw_rollback"
#define SESSION_CLEAN "pgw_clean"	/* what ROLLBACK leaves behind */
/* Each with the session's token as $1: */
#define SESSION_JOB "pgw_job"		/* now(), tables as a text array */
#define SESSION_INPUT "pgw_input"	/* table, column, values as an array */
#define SESSION_SURE "pgw_sure"		/* no trigger can have changed inputs */
#define SESSION_CAUGHT "pgw_caught"	/* a function may have taken an error */

/*
 * Opens copy->conn in pipeline mode and non-blocking, if it is not open.
 * False: logged.
 */
PGW_MUSTCHECK bool session_open(const struct config *c,
	struct schema_copy *copy);

/*
 * Loads replayd/pin into a session before anything of a client's can run, with a
 * new secret that clients do not know.
 */
PGW_MUSTCHECK bool session_arm(PGconn *conn, char *token, size_t size);

/* Cancels what runs, closes; nothing of the session remains. */
void session_close(struct schema_copy *copy);

/*
 * As session_close(), and what runs is ended even if it heeds no cancel: a
 * client's code can catch that.
 */
void session_kill(const struct config *c, struct schema_copy *copy);

/* The same for another connection to the copy; *conn is NULL then. */
void session_end(const struct config *c, const char *copy, PGconn **conn);

/*
 * True once a few hundred jobs were run: rows of rolled back inserts are still
 * in the way of later ones.
 */
bool session_is_due(const struct schema_copy *copy);

/* Truncates the tables that were touched; nothing may be unanswered. */
void session_clean(struct schema_copy *copy);

enum session_wait {
	SESSION_READY,		/* PQgetResult() will not block */
	SESSION_TIMEOUT,
	SESSION_LOST,
	SESSION_STOPPED		/* SIGTERM is pending */
};

/* Sends and receives until a result is there.  deadline: monotonic us. */
PGW_MUSTCHECK enum session_wait session_wait(PGconn *conn, int64_t deadline);

/* Sends until nothing is queued; what comes in is kept. */
PGW_MUSTCHECK enum session_wait session_flush(PGconn *conn, int64_t deadline);

#endif
