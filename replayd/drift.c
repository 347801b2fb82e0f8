/*
 * drift.c: finds changes of definitions that no DDL explains.
 *
 * Owns copy->drift.  Definitions are compared as texts of lines
 * (include/definition_sql.h).  A table has changed only if it is another than
 * in the old copy both on the server and in the copy that was made of it:
 * PostgreSQL prints some expressions otherwise once they were dumped and
 * restored.  Called by copy.c and schema.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "drift.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "definition.h"
#include "mem.h"
#include "schemachange.h"

/* More tables than that are no attack but another database. */
#define MAX_TABLES 200
#define MAX_DDL_BYTES ((size_t)1 << 20)

struct drift_table {
	char *schema;
	char *table;
	char *old; /* NULL: it was not there */
	char *new; /* NULL: it is not there any more */
};

/* DDL that was not run in the copy. */
struct drift_ddl {
	struct buf texts; /* each with its NUL */
	bool unknown;     /* some without a text, or too much of it */
};

struct drift {
	struct drift_table tables[MAX_TABLES];
	size_t n;
	int64_t dump_us; /* 0: no dump yet that it is about */
	struct drift_ddl ddl;
	struct drift_ddl later; /* behind the dump */
};

static struct drift *
drift_of(struct schema_copy *copy)
{
	if (copy->drift == NULL)
		copy->drift = mem_zalloc(1, sizeof(*copy->drift));
	return copy->drift;
}

static void
free_table(struct drift_table *t)
{
	free(t->schema);
	free(t->table);
	free(t->old);
	free(t->new);
}

void
drift_forget(struct schema_copy *copy)
{
	struct drift *d = copy->drift;

	if (d == NULL)
		return;
	for (size_t i = 0; i < d->n; i++)
		free_table(&d->tables[i]);
	buf_free(&d->ddl.texts);
	buf_free(&d->later.texts);
	free(d);
	copy->drift = NULL;
}

/* --- what differs --- */

static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* False: it is defined as it was. */
static bool
compare(const struct config *c, struct schema_copy *copy, PGconn *conn,
    const struct schema_table *t, bool is_there, struct drift_table *out)
{
	memset(out, 0, sizeof(*out));
	out->old = definition_text(copy_catalog(c, copy), t->schema, t->table);
	out->new = is_there ? definition_text(conn, t->schema, t->table) : NULL;
	if (same(out->old, out->new)) {
		free_table(out);
		return false;
	}
	out->schema = mem_strdup(t->schema);
	out->table = mem_strdup(t->table);
	return true;
}

static bool
has_name(const struct schema_copy *copy, const struct schema_table *t)
{
	for (size_t i = 0; i < copy->n_tables; i++)
		if (strcmp(copy->tables[i].table, t->table) == 0 &&
		    strcmp(copy->tables[i].schema, t->schema) == 0)
			return true;
	return false;
}

/* On the server nothing that a fingerprint covers was changed. */
static bool
is_unchanged(const struct schema_copy *copy, const struct schema_table *t)
{
	const struct schema_table *before = copy_find(copy, t->oid);

	return before != NULL &&
	       strcmp(before->fingerprint, t->fingerprint) == 0 &&
	       strcmp(before->schema, t->schema) == 0 &&
	       strcmp(before->table, t->table) == 0;
}

/* At most so many of those that differ; how many. */
static size_t
find(const struct config *c, struct schema_copy *copy,
    const struct schema_copy *fresh, PGconn *conn, struct drift_table *out,
    size_t max)
{
	size_t n = 0;

	if (!definition_settings(conn))
		return 0;
	for (size_t i = 0; i < fresh->n_tables && n < max; i++)
		if (fresh->tables[i].fingerprint[0] != '\0' &&
		    !is_unchanged(copy, &fresh->tables[i]))
			n += compare(
			    c, copy, conn, &fresh->tables[i], true, &out[n]);
	for (size_t i = 0; i < copy->n_tables && n < max; i++)
		if (!has_name(fresh, &copy->tables[i]))
			n += compare(
			    c, copy, conn, &copy->tables[i], false, &out[n]);
	return n;
}

void
drift_begin(const struct config *c, struct schema_copy *copy,
    const struct schema_copy *fresh, PGconn *conn)
{
	struct drift *d = drift_of(copy);

	/* What is not said yet waits on. */
	d->dump_us = fresh->dump_us;
	d->n += find(c, copy, fresh, conn, &d->tables[d->n], MAX_TABLES - d->n);
}

bool
drift_looks_so(const struct config *c, struct schema_copy *copy,
    const struct schema_copy *fresh, PGconn *conn)
{
	struct drift_table first;

	if (find(c, copy, fresh, conn, &first, 1) == 0)
		return false;
	free_table(&first);
	return true;
}

void
drift_restored(const struct config *c, struct schema_copy *copy)
{
	struct drift *d = copy->drift;
	size_t kept = 0;

	for (size_t i = 0; d != NULL && i < d->n; i++) {
		struct drift_table *t = &d->tables[i];
		char *now = definition_text(
		    copy_catalog(c, copy), t->schema, t->table);

		if (same(now, t->old))
			free_table(t);
		else
			d->tables[kept++] = *t;
		free(now);
	}
	if (d != NULL)
		d->n = kept;
}

/* --- what explains it --- */

void
drift_note_ddl(struct schema_copy *copy, const struct record *r)
{
	struct drift *d = drift_of(copy);
	bool later = d->dump_us != 0 && r->time_us >= d->dump_us;
	struct drift_ddl *to = later ? &d->later : &d->ddl;

	/* The dump has it, and there is no copy of before to compare with. */
	if (d->dump_us == 0 && r->time_us < copy->dump_us)
		return;
	if (r->n_statements == 0)
		to->unknown = true;
	for (size_t i = 0; i < r->n_statements; i++) {
		const struct record_statement *st = &r->statements[i];

		if (to->texts.len + st->sql_len > MAX_DDL_BYTES) {
			to->unknown = true;
			return;
		}
		buf_put(&to->texts, st->sql, st->sql_len);
		buf_put_u8(&to->texts, 0);
	}
}

static bool
mentions(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (; *text != '\0'; text++)
		if (strncasecmp(text, word, n) == 0)
			return true;
	return false;
}

/* DDL of other objects, or with CASCADE, may change any table. */
static bool
may_explain(const char *ddl, const struct drift_table *t)
{
	static const char *const others[] = { "cascade", "type", "domain",
		"function", "schema", "routine", "operator", "collation" };

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		if (mentions(ddl, others[i]))
			return true;
	return mentions(ddl, t->table);
}

static bool
is_explained(const struct drift *d, const struct drift_table *t)
{
	const char *p = (const char *)d->ddl.texts.data;
	const char *end = p == NULL ? NULL : p + d->ddl.texts.len;

	for (; p < end; p += strlen(p) + 1)
		if (may_explain(p, t))
			return true;
	return false;
}

/* --- what is said --- */

bool
drift_waits(const struct schema_copy *copy)
{
	return copy->drift != NULL && copy->drift->n > 0;
}

void
drift_settle(struct schema_copy *copy, int64_t made_us, struct buf *messages)
{
	struct drift *d = copy->drift;

	if (d == NULL || d->dump_us == 0 || made_us < d->dump_us + DRIFT_US)
		return;
	for (size_t i = 0; i < d->n; i++) {
		struct drift_table *t = &d->tables[i];
		struct schemachange change = { .database = copy->database,
			.schema = t->schema,
			.table = t->table,
			.old = t->old,
			.new = t->new,
			.reason = d->ddl.unknown ? "opaque" : "" };

		if (!is_explained(d, t))
			schemachange_encode(&change, messages);
		free_table(t);
	}
	d->n = 0;
	d->dump_us = 0;
	buf_free(&d->ddl.texts);
	d->ddl = d->later;
	memset(&d->later, 0, sizeof(d->later));
}
