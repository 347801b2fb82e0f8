/*
 * quiet.h: messages of the client's that surely changed no setting, so that
 * what was told before them still holds.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_QUIET_H
#define PGW_QUIET_H

#include <stdbool.h>
#include <stdint.h>

#include "attr.h"

struct analyzed_statement;
struct message;
struct session;

/* By number, as session.ran counts them. */
struct quiet {
	uint64_t from, to; /* all behind `from`, up to `to` */
	uint64_t reads;    /* a SELECT, if it reads ... */
	uint32_t table;    /* ... this one */
};

/* The last n, which belong to one statement, are such. */
void quiet_note(struct session *s, uint64_t n);
/* A BEGIN without options outside of a block. */
void quiet_begin(struct session *s);
/* A SELECT that goes to the server, and the description of a result. */
void quiet_select(struct session *s, const struct analyzed_statement *st);
void quiet_described(struct session *s, const struct message *m);

/* All since `message`, that one too, but for the last n. */
PGW_MUSTCHECK bool quiet_since(
    const struct session *s, uint64_t message, uint64_t n);
/* All of this transaction, but for the last n. */
PGW_MUSTCHECK bool quiet_in_block(const struct session *s, uint64_t n);

#endif
