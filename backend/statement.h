/*
 * statement.h: what one statement means for the session and for the record of
 * its transaction.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_STATEMENT_H
#define PGW_STATEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyze.h"
#include "attr.h"
#include "publish.h"
#include "session.h"

/* What is to be done with the message that holds the statement. */
enum statement_step {
	STATEMENT_FORWARD,	/* as it is */
	STATEMENT_DONE,		/* the client has its answer, or will */
	STATEMENT_TAKEN,	/* the same, and the message was taken off */
	STATEMENT_STOP		/* the session must end */
};

/*
 * Why a statement may change rows in a way that is not captured; NULL: it
 * cannot.  INSERT, UPDATE and DELETE give "dml".  may_ask: catalog look-ups
 * are possible now.
 */
const char *statement_unsupported(struct session *s,
	const struct analyzed_statement *st, bool may_ask);

/* No function that it calls writes, or may, or changes settings. */
bool statement_calls_read(struct session *s,
	const struct analyzed_statement *st);

/* A SELECT, or what PREPARE keeps for later, that does nothing but read; an
 * EXECUTE whose arguments do. */
bool statement_only_reads(struct session *s,
	const struct analyzed_statement *st);

/*
 * 'now', 'today' ... may be in it, which are times as soon as it is parsed;
 * what is between the quotes is not looked at.
 */
bool statement_says_time(const char *text, size_t len);

/* It ends the transaction it is in. */
bool statement_ends_transaction(enum stmt_kind kind);

/* SAVEPOINT, RELEASE, ROLLBACK TO. */
bool statement_is_of_savepoint(enum stmt_kind kind);

/* What a statement that is forwarded means for caches and settings. */
void statement_note(struct session *s, const struct analyzed_statement *st);

/* Adds a statement's text to the record; returns its index there. */
uint32_t statement_add(struct session *s, const char *sql, size_t len,
	const char *type, enum stmt_kind kind);

/*
 * A statement may change rows and will not be captured, for this reason: by
 * features.on_capture_failure it is refused, before it is added.
 */
PGW_MUSTCHECK enum statement_step statement_refuse_unsupported(
	struct session *s, const char *reason);

/*
 * Such statements were added.  Inside a block the record is made at the
 * COMMIT; otherwise (now) it is durable before the commit can happen.
 */
PGW_MUSTCHECK enum statement_step statement_record_unsupported(
	struct session *s, const char *reason, bool now);

/* By features.on_unverifiable it is refused, if its transaction is already known
 * to be such. */
PGW_MUSTCHECK enum statement_step statement_refuse_unverifiable(
	struct session *s);

/* What is to be done with it when that has come of its announcement. */
PGW_MUSTCHECK enum statement_step statement_published(
	struct session *s, enum publish end);

#endif
