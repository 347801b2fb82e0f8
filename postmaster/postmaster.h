/*
 * postmaster.h: the running postmaster, as main.c starts it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef POSTMASTER_POSTMASTER_H
#define POSTMASTER_POSTMASTER_H

#include "config.h"
#include "tlsfiles.h"

#define EXIT_CODE_USAGE 2
#define EXIT_CODE_FATAL 3

/*
 * Listens, forks and supervises until a signal ends it; returns the exit code.
 * Takes over *config and *tls.  port: of the command line, 0 for the file's.
 */
PGW_MUSTCHECK int postmaster_run(struct config *config, struct tls_files *tls,
	int port);

#endif
