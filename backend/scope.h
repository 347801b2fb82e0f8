/*
 * scope.h: all the tables that one statement may write or read, and whether it
 * kept to them.
 *
 * They follow from its text and the catalog: what it names, partitions and
 * children of that, and where it writes, tables whose foreign keys act.  What
 * the statement locked shows what it really touched; what is not in the scope
 * then is remembered, and the statement is to run once more.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SCOPE_H
#define PGW_SCOPE_H

#include <stdbool.h>
#include <stddef.h>

#include "analyze.h"
#include "attr.h"
#include "catalog.h"
#include "counters.h"
#include "exchange.h"
#include "session.h"

struct scope_table {
	const struct catalog_table *table;
	bool write;
};

struct scope {
	struct scope_table *tables; /* in the transaction's arena */
	size_t n;
	bool catalogs;		/* system catalogs are read, too */
	/* By views or rules, whose functions and triggers may run. */
	bool rewritten;
	bool code;		/* or triggers of what is written */
	/* Rules that give rows to a simple Query, and to that alone. */
	bool speaks;
	const char *target;	/* under which more is remembered */
	uint32_t apart;		/* a table that is captured otherwise, or 0 */
	/* What else is written is known by them; or NULL. */
	const struct counters *before, *after;
};

/*
 * What statements on this target were seen to touch beyond what follows from
 * their text.
 */
enum scope_extra { SCOPE_NOTHING, SCOPE_READS, SCOPE_WRITES };
PGW_MUSTCHECK enum scope_extra scope_extras(struct session *s,
	const struct analyzed_statement *st);
/* Remembers such a table. */
void scope_note(struct session *s, const struct analyzed_statement *st,
	const char *schema, const char *name, bool write);
/* A table whose triggers were seen to touch nothing that is not known. */
void scope_trust(struct session *s, uint32_t oid);
PGW_MUSTCHECK bool scope_trusts(const struct session *s, uint32_t oid);
/* No tables yet: only to see what is locked beside the target. */
void scope_watch(struct session *s, const struct analyzed_statement *st,
	uint32_t target, struct scope *scope);
/* Tables whose counters grow between these two are known otherwise. */
void scope_count(struct scope *scope, const struct counters *before,
	const struct counters *after);

/*
 * Which tables; only_reads: but for those that it names as its target.  NULL,
 * or why they cannot be read as a whole: one of them is of a kind, or all
 * together are too large.
 */
PGW_MUSTCHECK const char *scope_find(struct session *s,
	const struct analyzed_statement *st, bool only_reads,
	struct scope *scope);

PGW_MUSTCHECK bool scope_has(const struct scope *scope, uint32_t oid);

/*
 * Queues their locks, which a block of ours takes before its first snapshot;
 * how many statements.
 */
size_t scope_put_locks(struct session *s, const struct scope *scope,
	enum stmt_kind kind);

/* Queues the question what is locked, and reads the answer. */
void scope_put_check(struct session *s);

struct scope_check {
	/* In the client's block: what was locked before; in its arena. */
	struct scope_lock {
		uint32_t oid;
		bool write;
	} *held;
	size_t n_held, cap_held;
	bool wider;		/* it went beyond: to be run again */
	bool sequences;		/* nextval() or setval(), maybe before */
};
/* Before the statement. */
PGW_MUSTCHECK enum exchange_end scope_read_held(struct session *s,
	struct scope_check *check, struct exchange_error *error,
	struct buf *raw_error);
/*
 * After it.  only_writes: its transaction is not verifiable anyway, and reads
 * do not count.
 */
PGW_MUSTCHECK enum exchange_end scope_read_check(struct session *s,
	const struct scope *scope, bool only_writes, struct scope_check *check,
	struct exchange_error *error, struct buf *raw_error);

#endif
