/*
 * datadir.h: the data directory: making one, and its pid file.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef POSTMASTER_DATADIR_H
#define POSTMASTER_DATADIR_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"

/*
 * --init.  after: NULL, or the data directory or checkpoint file of the log
 * that the new one continues; its checkpoint goes to DIR/log/after, from where
 * the recorder names it in the first line.  Returns the exit code; removes
 * what it made if it fails.
 */
PGW_MUSTCHECK int datadir_init(const char *dir, const char *after);

#define DATADIR_SECRET_BYTES 32
/*
 * DIR/auth.secret, made if it is not there: nobody outside knows it, and it
 * stays.  Ends the process if it cannot be made.
 */
void datadir_secret(const char *dir, uint8_t out[DATADIR_SECRET_BYTES]);

/* Ends the process if dir is not ours alone, as PostgreSQL does. */
void datadir_check(const char *dir);

/*
 * Takes DIR/pgwitness.pid: writes our pid and holds an flock() that all
 * children inherit with the descriptor.  If another postmaster has it, ends
 * the process; if only leftovers of a dead one have it, first waits for them.
 * exit() removes the file.
 */
PGW_MUSTCHECK int datadir_lock(const char *dir, int port);
/* Path of a program that lies beside the running one. */
void datadir_sibling(const char *name, char *out, size_t size);

#endif
