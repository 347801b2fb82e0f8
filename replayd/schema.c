/*
 * schema.c: a worker's copies: which one a job can run on, and when it is made
 * anew.
 *
 * Owns the databases pgwitness_w<index>_* of the verification cluster.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "schema.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "barrier.h"
#include "blueprint.h"
#include "definition.h"
#include "drift.h"
#include "ioutil.h"
#include "log.h"
#include "mem.h"
#include "merkle.h"
#include "procsig.h"
#include "query.h"
#include "schema_sql.h"

/* A dump this much younger than a record must have its definitions. */
#define MARGIN_US INT64_C(1000000)
#define SAME_MISS_US INT64_C(500000)
#define INCOMPLETE_US INT64_C(60000000)
#define UNREACHABLE_US INT64_C(2000000)
#define DUMP_TRIES 14
#define BACK_OFF_MS 900
/* Jobs older than that, where DDL goes on, get no dump more often than that. */
#define LAG_US INT64_C(2000000)
#define LAGGING_US INT64_C(10000000)
/* Behind a dump nothing comes any more that was made so long before it. */
#define OLDER_US INT64_C(5000000)
/* How often an idle worker compares a copy with the server. */
#define LOOK_US INT64_C(10000000)

struct schema {
	unsigned index;
	struct copy_maker maker;
	struct schema_copy *copies;
};

struct schema *
schema_new(const struct config *c, unsigned index)
{
	struct schema *s = mem_zalloc(1, sizeof(*s));

	s->index = index;
	s->maker.config = c;
	dump_init(&s->maker.dump, c, index);
	return s;
}

void
schema_free(struct schema *s)
{
	struct schema_copy *copy;

	while ((copy = s->copies) != NULL) {
		s->copies = copy->next;
		copy_forget_older(copy);
		copy_forget(copy);
		drift_forget(copy);
		free(copy->database);
		free(copy);
	}
	free(s);
}

/* Asked for each job, mostly for the same user: remembers the last answer. */
bool
schema_has_namespace(struct schema_copy *copy, const char *name)
{
	if (copy->user != NULL && strcmp(copy->user, name) == 0)
		return copy->user_has_schema;
	free(copy->user);
	copy->user = mem_strdup(name);
	copy->user_has_schema = false;
	for (size_t i = 0; i < copy->n_tables; i++) {
		if (strcmp(copy->tables[i].schema, name) == 0)
			copy->user_has_schema = true;
	}
	return copy->user_has_schema;
}

static struct schema_copy *
copy_of(struct schema *s, const char *database)
{
	struct merkle_part part = { database, strlen(database) };
	struct merkle_hash hash;
	char hex[MERKLE_HEX_BYTES];
	struct schema_copy *copy;

	for (copy = s->copies; copy != NULL; copy = copy->next) {
		if (strcmp(copy->database, database) == 0)
			return copy;
	}
	copy = mem_zalloc(1, sizeof(*copy));
	copy->database = mem_strdup(database);
	merkle_sha256(&part, 1, &hash);
	snprintf(copy->name, sizeof(copy->name), "pgwitness_w%u_%.16s",
	    s->index, merkle_hex(&hash, hex));
	copy->next = s->copies;
	s->copies = copy;
	return copy;
}

bool
schema_copy_from(struct schema *s, const struct record *r, const char *dir)
{
	struct schema_copy *copy = copy_of(s, r->database);
	PGresult *server = NULL;
	PGresult *extensions = NULL;
	bool ok = blueprint_read(
		      dir, s->maker.dump.archive, &server, &extensions) &&
		  copy_make_from(&s->maker, copy, r, server, extensions);

	PQclear(server);
	PQclear(extensions);
	return ok;
}

/* Waits, but not if we are asked to stop.  False then. */
static bool
back_off(int ms)
{
	struct pollfd pfd = { .events = POLLIN };

	pfd.fd = procsig_fd();
	if (!procsig_pending(SIGTERM))
		(void)poll(&pfd, 1, ms);
	if (pfd.revents != 0)
		procsig_drain();
	return !procsig_pending(SIGTERM);
}

/* Several tries; after that, fails at once for a while. */
static bool
make(struct schema *s, struct schema_copy *copy, enum reason *reason)
{
	if (copy->unreachable_us != 0 &&
	    io_monotonic_us() - copy->unreachable_us < UNREACHABLE_US) {
		*reason = copy->unreachable;
		return false;
	}
	for (int i = 0, ms = 100; i < DUMP_TRIES; i++) {
		if (i > 0 && !back_off(ms)) {
			*reason = REASON_NONE;
			return false;
		}
		if (i > 0)
			ms = 3 * ms < BACK_OFF_MS ? 3 * ms : BACK_OFF_MS;
		if (copy_make(&s->maker, copy, reason)) {
			copy->unreachable_us = 0;
			return true;
		}
		if (*reason == REASON_SERVER_VERSION)
			break;
	}
	if (procsig_pending(SIGTERM))
		*reason = REASON_NONE;
	copy->unreachable_us = io_monotonic_us();
	copy->unreachable = *reason;
	return false;
}

/* --- which copy, and does it fit --- */

enum fit {
	FIT,
	FIT_OTHER,     /* another definition of a table is wanted */
	FIT_INCOMPLETE /* this one, but the restore left something out */
};

static bool
has_fingerprint(const struct schema_table *own, const struct record_table *t)
{
	return own != NULL && strcmp(own->fingerprint, t->fingerprint) == 0 &&
	       strcmp(own->schema, t->schema) == 0 &&
	       strcmp(own->table, t->table) == 0;
}

/*
 * The fingerprint says which definition the server had; that the copy's table
 * has it is known if no DDL was run since, or it left the definition as it was.
 */
static enum fit
fits_fingerprint(const struct schema_copy *copy, const struct record_table *t)
{
	const struct schema_table *own = copy_find(copy, t->oid);

	if (!has_fingerprint(own, t) || own->generation != copy->generation)
		return FIT_OTHER;
	return own->incomplete ? FIT_INCOMPLETE : FIT;
}

/* The same, after a look at the copy's table as it is now; what is already
 * known to be left out may be there after all. */
static enum fit
fits_definition(struct schema *s, struct schema_copy *copy,
    const struct record_table *t, enum fit known)
{
	struct schema_table *own = copy_find(copy, t->oid);
	char now[SCHEMA_FINGERPRINT_BYTES];

	if (!definition_ask(s->maker.config, copy, t->schema, t->table, now))
		return known;
	if (strcmp(now, t->definition) == 0) {
		copy_adopt(copy, t, now);
		return FIT;
	}
	if (!has_fingerprint(own, t) || strcmp(own->definition, now) != 0)
		return known;
	own->generation = copy->generation;
	return own->incomplete ? FIT_INCOMPLETE : FIT;
}

/* *wanted: the first fingerprint of the job that the copy does not have. */
static enum fit
fits(struct schema *s, struct schema_copy *copy, const struct record *r,
    bool may_ask, const char **wanted)
{
	enum fit fit = FIT;

	for (size_t i = 0; i < r->n_tables; i++) {
		enum fit one = fits_fingerprint(copy, &r->tables[i]);

		*wanted = r->tables[i].fingerprint;
		if (one != FIT && may_ask)
			one = fits_definition(s, copy, &r->tables[i], one);
		if (one == FIT_OTHER)
			return one;
		if (one == FIT_INCOMPLETE)
			fit = one;
	}
	return fit;
}

/*
 * The copy that fits, or the newest one with *fit and *wanted.  That of before
 * the last dump is looked at last: there are two but for a moment.
 */
static struct schema_copy *
best_fit(struct schema *s, struct schema_copy *copy, const struct record *r,
    bool may_ask, enum fit *fit, const char **wanted)
{
	struct schema_copy *older = copy->older;
	const char *other;

	*fit = FIT_OTHER;
	*wanted = "";
	if (copy->ready)
		*fit = fits(s, copy, r, may_ask, wanted);
	if (*fit == FIT || older == NULL || !older->ready ||
	    fits(s, older, r, may_ask, &other) != FIT)
		return copy;
	*fit = FIT;
	return older;
}

struct schema_copy *
schema_copy_ready(struct schema *s, const struct record *r)
{
	struct schema_copy *copy = copy_of(s, r->database);
	const char *wanted;
	enum fit fit;

	copy->used = true;
	copy = best_fit(s, copy, r, false, &fit, &wanted);
	return fit == FIT ? copy : NULL;
}

/*
 * Could another dump have what this one has not?  Of what could not be
 * restored hardly: only now and then, someone may have mended the reason.
 */
static bool
worth_another_dump(const struct schema_copy *copy, const struct record *r,
    enum fit fit, const char *wanted)
{
	if (copy->dump_us >= r->time_us + MARGIN_US)
		return false;
	/* It would skip what the queue has between that job and now. */
	if (copy->generation > 0 && io_now_us() - r->time_us > LAG_US &&
	    io_now_us() - copy->dump_us < LAGGING_US)
		return false;
	if (fit == FIT_INCOMPLETE)
		return io_now_us() - copy->dump_us >= INCOMPLETE_US;
	return strcmp(copy->missed, wanted) != 0 ||
	       io_monotonic_us() - copy->missed_us >= SAME_MISS_US;
}

/* As best_fit(); the copy is made, or made anew, where it must be.  NULL: it
 * could not be. */
static struct schema_copy *
find_fit(struct schema *s, struct schema_copy *copy, const struct record *r,
    enum fit *fit, const char **wanted, enum reason *reason)
{
	struct schema_copy *best = best_fit(s, copy, r, true, fit, wanted);

	if (*fit == FIT && (best != copy || !copy->outdated))
		return best;
	if (*fit != FIT && copy->ready &&
	    !worth_another_dump(copy, r, *fit, *wanted))
		return best;
	return make(s, copy, reason) ? best_fit(s, copy, r, true, fit, wanted)
				     : NULL;
}

struct schema_copy *
schema_copy_for(struct schema *s, const struct record *r, enum reason *reason)
{
	struct schema_copy *copy;
	const char *wanted = NULL;
	enum fit fit;

	if (s->maker.config->backend_user[0] == '\0') {
		*reason = REASON_NO_WITNESS_ROLE;
		return NULL;
	}
	copy = copy_of(s, r->database);
	copy->used = true;
	copy = find_fit(s, copy, r, &fit, &wanted, reason);
	if (copy == NULL)
		return NULL;
	if (fit == FIT) {
		*reason = REASON_VERIFICATION_CLUSTER;
		return !copy->triggers_due || copy_set_triggers(&s->maker, copy)
			   ? copy
			   : NULL;
	}
	if (fit == FIT_INCOMPLETE) {
		*reason = REASON_SCHEMA_NOT_RESTORED;
		return NULL;
	}
	snprintf(copy->missed, sizeof(copy->missed), "%s", wanted);
	copy->missed_us = io_monotonic_us();
	*reason = REASON_SCHEMA_CHANGED;
	return NULL;
}

/* --- DDL --- */

/* Before its first DDL: what the dump had, by names. */
static bool
prepare_for_ddl(struct schema *s, struct schema_copy *copy)
{
	return copy->generation > 0 || definition_keep(s->maker.config, copy);
}

/* What came before the last dump, in the copy of before it. */
static bool
run_in_older(struct schema *s, struct schema_copy *copy, const struct record *r)
{
	struct schema_copy *older = copy->older;
	bool all;

	if (older != NULL && r->time_us > copy->dump_us + OLDER_US)
		copy_forget_older(copy);
	else if (older != NULL && older->ready && r->n_statements > 0 &&
		 r->time_us < copy->dump_us && r->time_us >= older->dump_us &&
		 prepare_for_ddl(s, older))
		return barrier_run(s->maker.config, older, r, &all);
	return true;
}

bool
schema_ddl(struct schema *s, const struct record *r)
{
	struct schema_copy *copy = copy_of(s, r->database);
	enum reason reason;
	bool all = true;

	copy->used = true;
	if (s->maker.config->backend_user[0] == '\0')
		return true;
	/* The sooner there is one, the less is lost. */
	if (!copy->ready && !make(s, copy, &reason))
		return reason != REASON_NONE;
	if (!run_in_older(s, copy, r))
		return false;
	if (r->time_us < copy->dump_us || r->n_statements == 0 ||
	    !prepare_for_ddl(s, copy)) {
		drift_note_ddl(copy, r);
		return true;
	}
	if (!barrier_run(s->maker.config, copy, r, &all))
		return false;
	if (!all || r->capture_reason[0] != '\0')
		drift_note_ddl(copy, r);
	return true;
}

void
schema_settle(struct schema *s, int64_t made_us, struct buf *messages)
{
	for (struct schema_copy *c = s->copies; c != NULL; c = c->next)
		drift_settle(c, made_us, messages);
}

bool
schema_waits(const struct schema *s)
{
	for (const struct schema_copy *c = s->copies; c != NULL; c = c->next)
		if (drift_waits(c) || (c->ready && c->used))
			return true;
	return false;
}

/* Tables that no job needs may have been changed, too. */
void
schema_look(struct schema *s)
{
	int64_t now = io_monotonic_us();
	enum reason reason;

	for (struct schema_copy *c = s->copies; c != NULL; c = c->next) {
		copy_forget_older(c);
		if (!c->ready || !c->used || now - c->looked_us < LOOK_US)
			continue;
		c->used = false;
		c->looked_us = now;
		if (copy_is_outdated(&s->maker, c) && !make(s, c, &reason))
			log_debug(
			    "schema_look", "no dump: %s", reason_name(reason));
	}
}

bool
schema_is_stale(struct schema *s, struct schema_copy *copy,
    const struct record *r, bool mismatch)
{
	char stamp[SCHEMA_FINGERPRINT_BYTES];
	struct schema_copy *newest = copy_of(s, r->database);
	int64_t now = io_now_us();
	enum reason reason;
	PGconn *conn;
	bool stale;

	/* A bundle has what the dump had. */
	if (copy->generation > 0 || copy != newest) {
		copy->ready = copy->ready && !mismatch;
		newest->ready = newest->ready && !mismatch;
		return mismatch;
	}
	if (copy->stamp_us > r->time_us)
		return false;
	conn = copy_ask_server(s->maker.config, copy->database, &reason);
	stale = conn == NULL ||
		!query_value(conn, SCHEMA_STAMP_SQL, stamp, sizeof(stamp)) ||
		strcmp(stamp, copy->stamp) != 0;
	PQfinish(conn);
	/* It may still be what older jobs need. */
	if (stale)
		copy->outdated = true;
	else
		copy->stamp_us = now;
	return stale;
}
