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

#include "analyze.h"
#include "attr.h"

struct message;
struct session;

/* FirstGenbkiObjectId: reading a value of a type below it runs no code of
 * users; domains and composite types are above. */
#define QUIET_TYPES 10000

/* By number, as session.ran counts them. */
struct quiet {
	uint64_t from, to;  /* all behind `from`, up to `to` */
	uint64_t batch;     /* the last one before this batch or Query */
	uint64_t reads;     /* a SELECT: its Query or Execute, */
	uint64_t described; /* its Query or Bind; if it reads ... */
	uint32_t table;     /* ... this one */
};

/* The last n, which belong to one statement, are such. */
void quiet_note(struct session *s, uint64_t n);
/* A BEGIN without options outside of a block; n: of how many messages. */
void quiet_begin(struct session *s, uint64_t n);
/* A SELECT that goes to the server, the last one of n; and the description of a
 * result. */
void quiet_select(
    struct session *s, const struct analyzed_statement *st, uint64_t n);
void quiet_described(struct session *s, const struct message *m);
/* A SAVEPOINT, or RELEASE. */
PGW_MUSTCHECK bool quiet_savepoint(enum stmt_kind kind);
/* Whether a Parse of it is such. */
PGW_MUSTCHECK bool quiet_parse(const struct analyzed_statement *st);

/* All behind `message`, but for the last n. */
PGW_MUSTCHECK bool quiet_since(
    const struct session *s, uint64_t message, uint64_t n);
/* All of this transaction, but for the last n. */
PGW_MUSTCHECK bool quiet_in_transaction(const struct session *s, uint64_t n);

#endif
