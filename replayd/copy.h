/*
 * copy.h: a copy of one server database, without its rows.
 *
 * A database of the verification cluster, restored by the replay role (which
 * owns all in it) from a pg_dump --schema-only, with the fingerprints that the
 * server's tables had in the dump's snapshot.  DDL that was seen is run in it
 * afterwards (barrier.h).  A dump shows the server as it is, which may be ahead
 * of the jobs: for those of before it the copy that it follows is kept, and
 * DDL up to the dump is run in that.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_COPY_H
#define PGW_COPY_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "config.h"
#include "dump.h"
#include "reason.h"
#include "record.h"

struct drift;

#define SCHEMA_FINGERPRINT_BYTES 33	/* md5 in hex and a NUL */

struct schema_table {
	uint32_t oid;			/* on the server */
	char *schema;
	char *table;
	char fingerprint[SCHEMA_FINGERPRINT_BYTES];
	char *parts;			/* SCHEMA_PARTS there; NULL: not known */
	bool incomplete;		/* the restore left something out */
	/* Of the copy's table when that had the fingerprint: definition.h; ""
	 * not asked yet. */
	char definition[SCHEMA_FINGERPRINT_BYTES];
	unsigned generation;		/* of the copy, when that was seen */
	/* replay.c's: what the copy's connection has, and what to clean */
	bool load_prepared;
	bool read_prepared;
	bool touched;
};

struct schema_copy {
	char *database;			/* on the server */
	char name[64];			/* in the verification cluster */
	bool ready;
	bool outdated;			/* the next job that it fits wants another */
	bool used;			/* since schema_look() */
	int64_t looked_us;		/* monotonic */
	unsigned generation;		/* how often DDL was run in it */
	bool triggers_due;		/* copy_set_triggers() */
	PGconn *catalog;		/* copy_catalog()'s, or NULL */
	bool asked;			/* definition.c's */
	struct drift *drift;		/* drift.h's, or NULL */
	PGconn *ddl;			/* the replay role's, for barrier.h; or NULL */
	struct schema_table *tables;	/* sorted by oid */
	size_t n_tables;
	int64_t dump_us;		/* when the dump's snapshot was taken */
	char stamp[SCHEMA_FINGERPRINT_BYTES]; /* of types and functions */
	int64_t stamp_us;		/* when the server still had it */
	bool pinned;			/* replayd/pin is there */
	bool same_locale;		/* as the server's database */
	char missed[SCHEMA_FINGERPRINT_BYTES]; /* wanted, not in the dump */
	int64_t missed_us;
	int64_t unreachable_us;		/* last failure to dump, monotonic */
	enum reason unreachable;	/* its reason */
	/* replay.c's: the replay role's connection, NULL if closed */
	PGconn *conn;
	char token[33];			/* this session's, for replayd/pin */
	char ddl_token[33];		/* the one's of `ddl` */
	char *user;			/* last one asked about */
	bool user_has_schema;
	unsigned jobs;			/* since the last clean-up */
	struct schema_copy *older;	/* for what is older than the dump; or NULL */
	struct schema_copy *next;
};

struct copy_maker {
	const struct config *config;
	struct dump dump;
};

/*
 * A dump of the server now, and the copy made of it.  What it was before stays
 * if there is no dump.  False with *reason; logged.
 */
PGW_MUSTCHECK bool copy_make(struct copy_maker *m, struct schema_copy *copy,
	enum reason *reason);
/* The same from an archive that lies there, which has r's tables. */
PGW_MUSTCHECK bool copy_make_from(struct copy_maker *m,
	struct schema_copy *copy, const struct record *r,
	const PGresult *server, const PGresult *extensions);

/* What the server's tables are now, and what the copy would be of a dump now is
 * another: drift.h. */
PGW_MUSTCHECK bool copy_is_outdated(const struct copy_maker *m,
	struct schema_copy *copy);

/* Closes what is open and forgets its tables; the database stays. */
void copy_forget(struct schema_copy *copy);
/* The same of copy->older. */
void copy_forget_older(struct schema_copy *copy);

/* After DDL: which triggers fire.  False: logged. */
PGW_MUSTCHECK bool copy_set_triggers(const struct copy_maker *m,
	struct schema_copy *copy);

/* NULL if the copy has no such table. */
PGW_MUSTCHECK struct schema_table *copy_find(const struct schema_copy *copy,
	uint32_t oid);
/* Its table of this name is the server's of this OID and fingerprint. */
void copy_adopt(struct schema_copy *copy, const struct record_table *t,
	const char *definition);

/* Connections; NULL: logged.  The witness role's has a read-only default. */
PGW_MUSTCHECK PGconn *copy_ask_server(const struct config *c,
	const char *database, enum reason *reason);
PGW_MUSTCHECK PGconn *copy_loader(const struct config *c,
	const char *database);
/* The loader's in the copy, which stays open: the caller's only for a moment. */
PGW_MUSTCHECK PGconn *copy_catalog(const struct config *c,
	struct schema_copy *copy);
PGW_MUSTCHECK PGconn *copy_replay_role(const struct config *c,
	const char *database);

#endif
