/*
 * witnessctl.h: what the subcommands of witnessctl share.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_WITNESSCTL_H
#define PGW_WITNESSCTL_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

#include "attr.h"

enum witnessctl_exit {
	EXIT_GOOD = 0,
	EXIT_BAD_NEWS = 1,	/* mismatch, broken log */
	EXIT_USAGE = 2,		/* or configuration */
	EXIT_CANNOT_RUN = 3
};

/* The words of the command line, sorted. */
struct witnessctl_args {
	const char *data_dir;
	const char *config_file;
	bool json;
	bool follow;
	bool final;
	const char *log_dir;
	const char *verdict;
	const char *table;
	const char *origin;
	const char *keys[16];
	size_t n_keys;
	const char *old[64];
	size_t n_old;
	const char *word;	/* what is no option: a tx_id */
};

int witnessctl_keygen(const struct witnessctl_args *a);
int witnessctl_verify(const struct witnessctl_args *a);
int witnessctl_tail(const struct witnessctl_args *a);
int witnessctl_show(const struct witnessctl_args *a);
int witnessctl_status(const struct witnessctl_args *a);

/*
 * The log directory: --log, or that of the configuration in -D.  False after
 * a message; then the exit code is EXIT_USAGE.
 */
PGW_MUSTCHECK bool witnessctl_log_dir(const struct witnessctl_args *a,
	char out[PATH_MAX]);

/* Prints text from outside with control characters as \xNN. */
void witnessctl_print(FILE *out, const char *s);
/* A JSON value on one line, escaped; strings without their quotes. */
void witnessctl_print_json(FILE *out, const json_t *v);

#endif
