/*
 * program.h: runs PostgreSQL's own programs (initdb, postgres, pg_dump ...).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_PROGRAM_H
#define PGW_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "attr.h"
#include "config.h"

/* The binaries of the supported server version. */
#ifndef PROGRAM_BINDIR
#define PROGRAM_BINDIR "/usr/lib/postgresql/15/bin"
#endif

struct program {
	const char *const *argv;	/* argv[0]: a name in PROGRAM_BINDIR */
	const char *password;		/* PGPASSWORD; NULL or "" for none */
	const char *passfile;		/* PGPASSFILE; NULL or "" for none */
	const struct config *server;	/* its [backend] ssl*; NULL for none */
	const char *out;		/* stdout: path, NULL for /dev/null */
	const char *err;		/* stderr: path, appended; NULL: none */
	int death_signal;		/* when its parent dies */
	size_t memory;			/* RLIMIT_AS, for each process; 0: none */
};

/*
 * Starts it in a session of its own, with no descriptor of ours and no PG*
 * variable but the password and what server has.  -1 with errno.
 */
PGW_MUSTCHECK pid_t program_start(const struct program *p);

/* True once the process is gone; waits up to timeout_ms for that. */
PGW_MUSTCHECK bool program_gone(pid_t pid, int timeout_ms);

/*
 * Runs it to its end.  Exit code; 128 + signal; -1 if it could not be started,
 * or was ended because SIGTERM is pending here.
 */
PGW_MUSTCHECK int program_run(const struct program *p);

#endif
