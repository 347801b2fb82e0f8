/*
 * facts.h: what is asked of the server once per captured transaction, at its
 * end and inside it: xid, now(), settings, and whether the tables are still
 * what the captures took them for.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_FACTS_H
#define PGW_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "attr.h"
#include "exchange.h"
#include "txn.h"

#define FACTS_SETTINGS 13
#define FACTS_RARE 7

struct facts {
	uint64_t xid;		/* 0: none assigned, so nothing was written */
	const char *now;	/* in the transaction's arena, as the rest */
	const char *loaded;     /* when the server read its configuration */
	bool reloaded;		/* in this transaction */
	const char *isolation;
	/* The rare ones only if any of them is not its default. */
	struct record_setting settings[FACTS_SETTINGS + FACTS_RARE];
	size_t n_settings;
	const char *tables;	/* "oid=fingerprint,..." */
	/* The tables are known to be what they were taken for. */
	bool same;
};

/* SQL: an SQL timestamptz as its 8 bytes (pg_type: microseconds since
 * 2000-01-01 UTC) in hex: the server formats no date. */
#define FACTS_TIME(sql) \
	"pg_catalog.encode(pg_catalog.timestamptz_send(" sql "), 'hex')"
#define FACTS_TIME_DIGITS 16
/* SQL: when the statement that it is in was parsed last. */
#define FACTS_PARSED FACTS_TIME("CAST('now' AS pg_catalog.timestamptz)")

/* Columns of another statement's row: xid, now, loaded; or isolation and
 * settings, too, behind them. */
#define FACTS_MOMENT 3
#define FACTS_COLUMNS (FACTS_MOMENT + 1 + FACTS_SETTINGS + 1)
void facts_put_columns(struct buf *sql, bool settings);
void facts_take_columns(struct txn *t, struct facts *f,
    const struct exchange_value *values, bool settings);

/*
 * Isolation and settings of a statement that can have changed none, nor its
 * transaction before it: the next ones need not ask.  n: the last messages, which
 * are not counted as quiet ones yet (quiet.h).
 */
void facts_remember(struct session *s, const struct facts *f, uint64_t n);
/* They are known; n: of how many messages the next one consists. */
PGW_MUSTCHECK bool facts_remembered(const struct session *s, uint64_t n);
/* Into f, of which the moment is known; false: the server has read its
 * configuration since. */
PGW_MUSTCHECK bool facts_recall(struct session *s, struct facts *f);
/* Later ones take the place of what f recalled, or should have; false: they
 * need not be those of then. */
PGW_MUSTCHECK bool facts_tell_settings(
    struct facts *f, const struct facts *later);

/*
 * All captured statements of a transaction ran under the settings that its record
 * has, or it says so.  Known: those of the next one are, which consists of the
 * last n messages; else it is asked, before it or in it, what they are: f.
 */
PGW_MUSTCHECK bool facts_known(const struct session *s, uint64_t n);
void facts_settle(struct session *s, const struct facts *f, uint64_t n);

/*
 * A statement in a client's block, kept under this number, which told them (f)
 * or could have (NULL): next time, if COMMIT comes behind it.
 */
void facts_note_last(struct session *s, int kept, const struct facts *f);
/* A message that can only belong to COMMIT: nothing of it runs before that. */
void facts_pass(struct session *s);
/* At COMMIT: what the last statement told.  False: it is to be asked. */
PGW_MUSTCHECK bool facts_told(struct session *s, struct facts *f);

/* Queues the question for the settings, without tables.  keep: what runs behind
 * it runs no code of users, which may deallocate it (kept_begin()). */
void facts_put_settings(struct session *s, bool keep);
/* Queues the question; tables are those that the transaction will hold, too. */
void facts_put(struct session *s, const struct txn *t,
	const struct catalog_table *const *tables, size_t n);
PGW_MUSTCHECK enum exchange_end facts_read(struct session *s, struct txn *t,
	struct facts *f, struct exchange_error *error,
	struct buf *raw_error);

/*
 * The server would not say: what was not told is "", and no table is what it
 * was taken for.
 */
void facts_give_up(struct facts *f);

/* The answer says of this table that it is what it was taken for. */
PGW_MUSTCHECK bool facts_are_of(const struct txn *t, const struct facts *f,
	const struct catalog_table *table);

/*
 * Degrades the capture where a table is not what it was taken for, or where its
 * statements ran under other settings than these.  Call it after the last
 * txn_apply().
 */
void facts_judge(struct session *s, struct txn *t, const struct facts *f);

#endif
