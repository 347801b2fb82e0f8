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
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "attr.h"

enum witnessctl_exit {
	EXIT_GOOD = 0,
	EXIT_BAD_NEWS = 1, /* mismatch, broken log */
	EXIT_USAGE = 2,    /* or configuration */
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
	const char *out_dir;    /* of prove */
	const char *tlog_dir;   /* of export */
	const char *conninfo;   /* of replay */
	const char *words[256]; /* behind the command: a tx_id, files */
	size_t n_words;
};

int witnessctl_keygen(const struct witnessctl_args *a);
int witnessctl_rotate_key(const struct witnessctl_args *a);
int witnessctl_prove(const struct witnessctl_args *a);
int witnessctl_check(const struct witnessctl_args *a);
int witnessctl_replay(const struct witnessctl_args *a);
int witnessctl_export(const struct witnessctl_args *a);
int witnessctl_verify(const struct witnessctl_args *a);
int witnessctl_tail(const struct witnessctl_args *a);
int witnessctl_show(const struct witnessctl_args *a);
int witnessctl_status(const struct witnessctl_args *a);

/*
 * The log directory: --log, or that of the configuration in -D.  False after
 * a message; then the exit code is EXIT_USAGE.
 */
PGW_MUSTCHECK bool witnessctl_log_dir(
    const struct witnessctl_args *a, char out[PATH_MAX]);

/* The data directory's postmaster; 0 if none runs. */
PGW_MUSTCHECK pid_t witnessctl_postmaster(const char *data_dir);

/* The TXID on the command line; 0 after a message. */
PGW_MUSTCHECK uint64_t witnessctl_tx_id(const struct witnessctl_args *a);

/* Keys of --key; false after a message. */
struct key_public;
PGW_MUSTCHECK bool witnessctl_load_keys(
    const struct witnessctl_args *a, struct key_public *keys);

/*
 * Gives each line of the transaction, in order, with its seq; stops when
 * `take` says false.  Reads the files there are.  -1 after a message if the
 * log cannot be read, else how many lines.
 */
struct evlog_line;
PGW_MUSTCHECK int witnessctl_lines_of(const char *log_dir, uint64_t tx_id,
    bool (*take)(void *context, const struct evlog_line *line, uint64_t seq),
    void *context);

/* Prints text from outside with control characters as \xNN. */
void witnessctl_print(FILE *out, const char *s);
/* A JSON value on one line, escaped; strings without their quotes. */
void witnessctl_print_json(FILE *out, const json_t *v);

/* `before` and the member, if it is there and not null. */
void witnessctl_put(const json_t *line, const char *key, const char *before);
/* An evidence line in short. */
void witnessctl_put_line(const json_t *line);

#endif
