/*
 * schema.h: a worker's copies of the server's databases, without their rows.
 *
 * One copy per database: a database of the verification cluster, restored by
 * the replay role (which owns all in it) from a pg_dump --schema-only, with
 * the fingerprints that the server's tables had in the dump's snapshot.  A job
 * may run in a copy only if the fingerprints of its tables are those.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SCHEMA_H
#define PGW_SCHEMA_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "config.h"
#include "reason.h"
#include "record.h"

#define SCHEMA_FINGERPRINT_BYTES 33	/* md5 in hex and a NUL */

struct schema_table {
	uint32_t oid;			/* on the server */
	char *schema;
	char *table;
	char fingerprint[SCHEMA_FINGERPRINT_BYTES];
	char *parts;			/* SCHEMA_PARTS there; NULL: not known */
	bool incomplete;		/* the restore left something out */
	/* replay.c's: what the copy's connection has, and what to clean */
	bool load_prepared;
	bool read_prepared;
	bool touched;
};

struct schema_copy {
	char *database;			/* on the server */
	char name[64];			/* in the verification cluster */
	bool ready;
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
	char *user;			/* last one asked about */
	bool user_has_schema;
	unsigned jobs;			/* since the last clean-up */
	struct schema_copy *next;
};

struct schema;

/* index: the worker's. */
PGW_MUSTCHECK struct schema *schema_new(const struct config *c,
	unsigned index);
/* Closes connections; the copies stay until the next cluster_start(). */
void schema_free(struct schema *s);

/*
 * The copy on which the job can run, made or made anew where needed (then it
 * blocks for seconds).  NULL if there is none: *reason of the verdict, NONE if
 * SIGTERM is pending.
 */
PGW_MUSTCHECK struct schema_copy *schema_copy_for(struct schema *s,
	const struct record *r, enum reason *reason);

/*
 * Makes the copy of r's database from a bundle (blueprint.h); the server is
 * not asked then.  False: logged.
 */
PGW_MUSTCHECK bool schema_copy_from(struct schema *s, const struct record *r,
	const char *dir);

/* The same if it is there and fits already, else NULL; never blocks. */
PGW_MUSTCHECK struct schema_copy *schema_copy_ready(struct schema *s,
	const struct record *r);

/*
 * True if types or functions that r may have seen are not those of the dump, or
 * nobody can say; the copy is then made anew by the next schema_copy_for().
 * Asks the server, unless it did after r was made.
 */
PGW_MUSTCHECK bool schema_is_stale(struct schema *s, struct schema_copy *copy,
	const struct record *r);

/* NULL if the copy has no such table. */
PGW_MUSTCHECK struct schema_table *schema_find(const struct schema_copy *copy,
	uint32_t oid);

/* True if there is a schema of this name, with tables. */
PGW_MUSTCHECK bool schema_has_namespace(struct schema_copy *copy,
	const char *name);

#endif
