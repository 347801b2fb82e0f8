/*
 * catalog.h: what the child needs to know of the server's catalog: tables that
 * statements write, functions that they call.  Cached per child.
 *
 * Look-ups run on the client's connection, in its transaction if it has one;
 * the session must be in sync and not in a failed transaction.  A cached
 * answer can be out of date: the record's facts (capture.c) compare the
 * table's fingerprint under lock, and a difference voids the capture.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_CATALOG_H
#define PGW_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "rowenc.h"
#include "sensitivity.h"
#include "session.h"

/* What a function's result and effects depend on. */
enum function_class {
	FUNCTION_PURE,		/* its arguments, and settings that travel */
	FUNCTION_TIME,		/* transaction time: pinned in replay */
	FUNCTION_SEQUENCE,	/* nextval ... */
	FUNCTION_VOLATILE,	/* built in and volatile: random() */
	FUNCTION_ENVIRONMENT,	/* built in and stable, not on the list */
	FUNCTION_SETTINGS,	/* set_config() */
	FUNCTION_WRITES,	/* large objects */
	FUNCTION_USER,		/* not built in, not volatile */
	FUNCTION_USER_VOLATILE,	/* may do anything */
	FUNCTION_UNKNOWN	/* could not be looked up */
};

/* A new field of these two goes through share.c, and its test, too. */
struct catalog_column {
	unsigned sensitive;
	bool has_default;
	bool cascades;		/* a foreign key acts when it is updated */
	/* of the default expression; the worst function in it */
	enum function_class default_class;
	const char *default_function;
	/* It is nothing but a call whose results can be recorded: its name. */
	const char *default_call;
};

struct catalog_table {
	uint32_t oid;
	const char *schema;
	const char *name;
	const char *written;	/* as quoted for to_regclass() */
	const char *fingerprint;
	const char *definition;	/* record.h; "" if it was not asked for */
	const char *quick;	/* of a plain table: stands for it; or NULL */
	struct rowenc_shape shape;
	struct catalog_column *columns;	/* as shape.columns */
	unsigned sensitive;	/* of all columns */
	/*
	 * Why rows that a statement changes in it cannot be captured by that
	 * statement alone; NULL: they can.
	 */
	const char *unsupported;
	/* Why they cannot even where all of the table is read; or NULL. */
	const char *unreadable;
	bool rules;
	bool triggers;		/* that users made */
	bool deferred;		/* and that may fire at the commit */
	bool may_lock;		/* in ROW EXCLUSIVE MODE */
	bool cascades;		/* foreign keys act when a row is deleted */
	/* Constraints, domains, indexes or generated columns call functions
	 * that users made. */
	bool user_code;
};

struct catalog *catalog_new(size_t max_parse_bytes);

/* Forget everything (DDL, search_path, role); memory goes at the next
 * catalog_start(). */
void catalog_flush(struct catalog *c);
/* The same, for all sessions: what was known is not so. */
void catalog_refuted(struct session *s);
/*
 * Definitions or rights may be new, but most may still be as it was: tables of
 * which the fingerprint tells all are compared with the server when they are
 * used, others are looked up anew.
 */
void catalog_doubt(struct session *s);
/* No transaction holds a table of the catalog: memory may be given back. */
void catalog_start(struct session *s);

/*
 * The table that this name means in the session now; schema may be NULL.
 * NULL: there is none, or it could not be looked up.
 */
PGW_MUSTCHECK const struct catalog_table *catalog_table(struct session *s,
	const char *schema, const char *name);

/* Looks up what is not cached only if `may_ask`; else FUNCTION_UNKNOWN. */
enum function_class catalog_function(struct session *s, const char *schema,
	const char *name, bool may_ask);

/*
 * True if the function gives another result each time and does nothing else
 * that matters: in replay the result can be put in place of the call.
 */
PGW_MUSTCHECK bool catalog_recordable(
	const char *name, enum function_class class);

/* Definitions may have been changed by the session, in this transaction. */
PGW_MUSTCHECK bool catalog_is_changed(const struct session *s);

/* name as a quoted identifier into b. */
void catalog_quote(struct buf *b, const char *name);
/* The maybe qualified name, quoted; schema may be NULL. */
void catalog_put_name(struct buf *b, const char *schema, const char *name);
/* One more element of the text array literal that b is. */
void catalog_put_element(struct buf *b, const char *v);

#endif
