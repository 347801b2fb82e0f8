/*
 * portal.h: the session's prepared statements and portals by name, as the
 * server will have them once it has answered all that was sent.
 *
 * A message changes them when it is forwarded; what the server then skips
 * (after an error, up to the Sync) is taken back by the pipeline.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_PORTAL_H
#define PGW_PORTAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyze.h"
#include "attr.h"
#include "buf.h"

/* A prepared statement; names and portals share it. */
struct prepared {
	unsigned refs;
	char *sql;		/* as in its Parse */
	size_t len;
	uint32_t *types;	/* of its parameters, 0: left open */
	size_t n_types;
	enum stmt_kind kind;
	const char *type;	/* "INSERT", "UPDATE", ... */
	bool chain;		/* COMMIT AND CHAIN */
	/* query_unsupported(): why it may change rows; NULL: it cannot. */
	const char *reason;
	bool weighed;		/* reason was found with look-ups */
	bool parsed;		/* one statement that analysis understands */
	bool dml;		/* dml_takes() */
	bool noted;		/* running it means something: statement_note() */
	bool seen;		/* the server has it still (extended.c) */
	bool quiet;		/* quiet_parse() */
	bool simple_read;	/* analyzed_statement.simple_read, and of no
				 * type that calls */
	bool literals;		/* a string in it may have become a value */
	bool says_time;		/* ... that is not the same each time */
	uint64_t styles;	/* the session's, when it was parsed */
	uint32_t serial;	/* of those with a name, from 1; else 0 */
	uint64_t doubts;	/* the session's, when it was last sure */
};

struct portal {
	struct prepared *prepared;	/* NULL: its statement is not known */
	struct buf bind;		/* the Bind, of INSERT, UPDATE, DELETE */
	uint64_t message;		/* session.ran at its Bind */
	uint64_t bound_at;		/* the session's count of executions */
	uint64_t doubts;		/* and of doubts */
	/* On the server it is a portal of ours, with columns too many. */
	bool ours;
	unsigned n_own;
	bool done;			/* ours, and cannot run again */
	bool ran;			/* captured, as the client wrote it */
};

/* Something that has a name. */
struct named;

struct portals;
struct portals *portals_new(void);
/* With all that has a name there. */
void portals_free(struct portals *ps);

/*
 * Puts a statement or portal under a name, or (closed) nothing.  The handle is
 * for one of the other two calls; what had the name before is kept until then.
 */
struct named *portals_put_prepared(struct portals *ps, const char *name,
	struct prepared *p);
struct named *portals_put_portal(struct portals *ps, const char *name,
	struct portal *p);
/* The server has done it. */
void portals_confirm(struct portals *ps, struct named *n);
/* The server has skipped it; the later ones were taken back before. */
void portals_undo(struct portals *ps, struct named *n);

/* NULL: there is none, or it is not known.  Both live until the next put. */
struct prepared *portals_prepared(const struct portals *ps, const char *name);
struct portal *portals_portal(const struct portals *ps, const char *name);
size_t portals_count(const struct portals *ps);

/* Forgets the portals that are confirmed: their transaction has ended. */
void portals_clear(struct portals *ps);
/* Forgets statements that wanted() does not want; all are confirmed. */
void portals_filter_prepared(struct portals *ps,
	bool (*wanted)(void *arg, const char *name, struct prepared *p),
	void *arg);
bool portals_has_prepared(const struct portals *ps);

/* One reference each; keep is one more (p may be NULL, and is returned), and
 * release frees with the last. */
struct prepared *prepared_new(const char *sql, size_t len);
struct prepared *prepared_keep(struct prepared *p);
void prepared_release(struct prepared *p);
struct portal *portal_new(struct prepared *p);

#endif
