/*
 * scope.c: all the tables that one statement may write or read.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "scope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog_sql.h"
#include "log.h"
#include "mem.h"
#include "txn.h"

/* Tables that are read as a whole, before and after, take no more in all. */
#define MAX_BYTES 262144
#define MAX_TABLES 64

/* SQL, broken where it reads. */
/* clang-format off */
#define OID(e) "CAST(" e " AS pg_catalog.oid)"
#define TEXT(e) "CAST(" e " AS pg_catalog.text)"
#define CLASS(catalog)                                                       \
	"CAST('pg_catalog." catalog "' AS pg_catalog.regclass)"
#define NAMED(param, write)                                                  \
	"SELECT " OID("pg_catalog.to_regclass(w.name)") ", " write           \
	" FROM pg_catalog.unnest(CAST(" param " AS pg_catalog.text[]))"      \
	" AS w(name)"

/*
 * $1 written, $2 read, both as for to_regclass(), and what views and rules of
 * these name; $3 which foreign keys take part: n none, a those that act, t all,
 * as for TRUNCATE ... CASCADE.  A
 * partition that is being detached is none in READ COMMITTED, but would be in
 * a block of ours; the column is there since PostgreSQL 14.  The last one: a rule
 * has a SELECT among its actions.
 */
static const char tables_sql[] =
	"WITH RECURSIVE reach(oid, w) AS ("
	"(" NAMED("$1", "true") " UNION " NAMED("$2", "false") ")"
	" UNION "
	"SELECT x.oid, x.w FROM reach r, LATERAL ("
	"SELECT i.inhrelid, r.w FROM pg_catalog.pg_inherits i"
	" WHERE i.inhparent" CATALOG_EQ "r.oid"
	" UNION ALL "
	"SELECT d.refobjid, r.w FROM pg_catalog.pg_rewrite v"
	" JOIN pg_catalog.pg_depend d ON d.objid" CATALOG_EQ "v.oid"
	" AND d.classid" CATALOG_EQ CLASS("pg_rewrite")
	" AND d.refclassid" CATALOG_EQ CLASS("pg_class")
	" WHERE v.ev_class" CATALOG_EQ "r.oid"
	" UNION ALL "
	"SELECT k.conrelid, true FROM pg_catalog.pg_trigger g"
	" JOIN pg_catalog.pg_constraint k ON k.oid" CATALOG_EQ "g.tgconstraint"
	" WHERE r.w AND " TEXT("$3") " OPERATOR(pg_catalog.<>) 'n'"
	" AND g.tgrelid" CATALOG_EQ "r.oid AND k.confrelid" CATALOG_EQ "r.oid"
	" AND (" TEXT("$3") CATALOG_EQ "'t' OR k.confdeltype" CATALOG_EQ
	"ANY (CAST('{c,n,d}' AS pg_catalog.\"char\"[])) OR k.confupdtype"
	CATALOG_EQ "ANY (CAST('{c,n,d}' AS pg_catalog.\"char\"[])))"
	") AS x(oid, w))"
	" SELECT n.nspname, c.relname, c.relkind, pg_catalog.bool_or(r.w),"
	" CASE WHEN c.relkind" CATALOG_EQ "'r' THEN"
	" pg_catalog.pg_table_size(CAST(c.oid AS pg_catalog.regclass))"
	" ELSE 0 END,"
	" EXISTS (SELECT 1 FROM pg_catalog.pg_inherits d"
	" WHERE d.inhrelid" CATALOG_EQ "c.oid AND (pg_catalog.to_jsonb(d)"
	" OPERATOR(pg_catalog.->>) 'inhdetachpending')" CATALOG_EQ "'true'),"
	" pg_catalog.bool_or(r.w) AND EXISTS (SELECT 1 FROM"
	" pg_catalog.pg_rewrite v WHERE v.ev_class" CATALOG_EQ "c.oid"
	" AND v.ev_type OPERATOR(pg_catalog.<>) '1'"
	" AND pg_catalog.strpos(pg_catalog.replace(" TEXT("v.ev_action")
	", '({', '} {'), '} {QUERY :commandType 1 ') OPERATOR(pg_catalog.>) 0)"
	" FROM reach r JOIN pg_catalog.pg_class c ON c.oid" CATALOG_EQ "r.oid"
	" JOIN pg_catalog.pg_namespace n ON n.oid" CATALOG_EQ "c.relnamespace"
	" GROUP BY c.oid, n.nspname, c.relname, c.relkind ORDER BY c.oid";
enum {
	S_SCHEMA,
	S_NAME,
	S_KIND,
	S_WRITE,
	S_BYTES,
	S_DETACHING,
	S_SPEAKS,
	S_COLUMNS
};

/*
 * What this session's transaction has locked but indexes, TOAST and catalogs,
 * and partitioned tables: these have no rows, their partitions are locked, too.
 * (The parent is, where a row goes into a partition by its own name.)
 * A row that is only locked (ROW SHARE) is a foreign key's check, which replay
 * leaves out.  What is younger than the snapshot has no name.
 */
static const char check_sql[] =
	"SELECT l.relation, n.nspname, c.relname, c.relkind,"
	" pg_catalog.bool_or(l.mode OPERATOR(pg_catalog.<>) ALL (CAST("
	"'{AccessShareLock,RowShareLock}' AS pg_catalog.text[])))"
	" FROM pg_catalog.pg_locks l"
	" LEFT JOIN pg_catalog.pg_class c ON c.oid" CATALOG_EQ "l.relation"
	" LEFT JOIN pg_catalog.pg_namespace n"
	" ON n.oid" CATALOG_EQ "c.relnamespace"
	" WHERE l.locktype" CATALOG_EQ "'relation'"
	" AND l.pid" CATALOG_EQ "pg_catalog.pg_backend_pid()"
	" AND l.granted AND l.mode OPERATOR(pg_catalog.<>) 'RowShareLock'"
	" AND l.relation OPERATOR(pg_catalog.>=) " OID("16384")
	" AND (c.relkind IS NULL OR c.relkind" CATALOG_EQ
	"ANY (CAST('{r,m,f,S}' AS pg_catalog.\"char\"[])))"
	" AND (n.nspname IS NULL OR " TEXT("n.nspname")
	" OPERATOR(pg_catalog.<>) 'pg_toast')"
	" GROUP BY l.relation, n.nspname, c.relname, c.relkind";
enum { K_OID, K_SCHEMA, K_NAME, K_KIND, K_WRITE, K_COLUMNS };
/* clang-format on */

/* --- what was found beyond a scope --- */

struct extra {
	char *target; /* as written by scope_target() */
	char *name;   /* as for to_regclass() */
	bool write;
};

struct extras {
	struct extra list[MAX_TABLES];
	size_t n;
	uint32_t trusted[MAX_TABLES]; /* OIDs, 0: none */
	size_t n_trusted;
};

static struct extras *
extras_of(struct session *s)
{
	if (s->extras == NULL)
		s->extras = mem_zalloc(1, sizeof(*s->extras));
	return s->extras;
}

/* The oldest makes room. */
static void
remember(struct session *s, const char *target, const char *name, bool write)
{
	struct extras *x = extras_of(s);
	struct extra *e;

	for (size_t i = 0; i < MAX_TABLES; i++) {
		e = &x->list[i];
		if (e->target != NULL && strcmp(e->target, target) == 0 &&
		    strcmp(e->name, name) == 0) {
			e->write = e->write || write;
			return;
		}
	}
	e = &x->list[x->n++ % MAX_TABLES];
	free(e->target);
	free(e->name);
	e->target = mem_strdup(target);
	e->name = mem_strdup(name);
	e->write = write;
}

/* --- which tables --- */

struct found {
	const char *schema;
	const char *name;
	bool write;
};

struct finding {
	struct arena *arena;
	struct found tables[MAX_TABLES];
	size_t n;
	int64_t bytes;
	bool catalogs;
	bool speaks;
	bool views;
	const char *reason;
};

static void
add_name(struct buf *array, const char *schema, const char *name)
{
	struct buf written = { 0 };

	catalog_put_name(&written, schema, name);
	buf_put_u8(&written, 0);
	catalog_put_element(array, (const char *)written.data);
	buf_free(&written);
}

static const char *
kind_refused(char kind)
{
	if (kind == 'f')
		return "foreign_table";
	return kind == 'r' || kind == 'p' ? NULL : "not_a_table";
}

static char
letter(const struct exchange_value *v)
{
	return v->data != NULL && v->len > 0 ? (char)v->data[0] : '\0';
}

static void
add_found(struct finding *f, const struct exchange_value *v)
{
	struct found *t = &f->tables[f->n];

	if (f->n == MAX_TABLES) {
		f->reason = "scope";
		return;
	}
	t->schema = v[S_SCHEMA].data == NULL
			? NULL
			: arena_memdup(
			      f->arena, v[S_SCHEMA].data, v[S_SCHEMA].len);
	t->name = v[S_NAME].data == NULL
		      ? NULL
		      : arena_memdup(f->arena, v[S_NAME].data, v[S_NAME].len);
	t->write = letter(&v[S_WRITE]) == 't';
	if (t->schema == NULL || t->name == NULL) {
		f->reason = "max_capture_bytes";
		return;
	}
	if (!t->write && (strcmp(t->schema, "pg_catalog") == 0 ||
			     strcmp(t->schema, "information_schema") == 0)) {
		f->catalogs = true;
		return;
	}
	if (letter(&v[S_KIND]) == 'v') {
		f->views = true; /* its tables are found, too */
		return;
	}
	if (f->reason == NULL)
		f->reason = kind_refused(letter(&v[S_KIND]));
	if (f->reason == NULL && letter(&v[S_DETACHING]) == 't')
		f->reason = "partition_detach";
	f->speaks = f->speaks || letter(&v[S_SPEAKS]) == 't';
	f->n++;
}

static bool
found_table(void *arg, const struct message *row)
{
	struct finding *f = arg;
	struct exchange_value v[S_COLUMNS];
	char bytes[24] = "";

	if (!exchange_row_values(row, v, S_COLUMNS))
		return false;
	if (v[S_BYTES].data != NULL && v[S_BYTES].len < sizeof(bytes))
		memcpy(bytes, v[S_BYTES].data, v[S_BYTES].len);
	f->bytes += strtoll(bytes, NULL, 10);
	add_found(f, v);
	return f->reason == NULL;
}

/* TRUNCATE ... CASCADE takes what references the table, whatever acts. */
static const char *
keys_of(const struct analyzed_statement *st)
{
	if (st->kind == STMT_TRUNCATE)
		return "t";
	return st->kind == STMT_INSERT && !st->on_conflict && !st->modifying_cte
		   ? "n"
		   : "a";
}

/* Asks the server. */
static void
find_names(struct session *s, const struct analyzed_statement *st,
    bool only_reads, const char *target, struct finding *f)
{
	struct buf written = { 0 }, read = { 0 };
	const char *params[3];

	buf_put_u8(&written, '{');
	buf_put_u8(&read, '{');
	for (size_t i = 0; i < st->n_relations; i++)
		if (!st->relations[i].target)
			add_name(&read, st->relations[i].schema,
			    st->relations[i].name);
		else if (!only_reads)
			add_name(&written, st->relations[i].schema,
			    st->relations[i].name);
	for (size_t i = 0; s->extras != NULL && i < MAX_TABLES; i++) {
		const struct extra *e = &s->extras->list[i];

		if (e->target != NULL && strcmp(e->target, target) == 0)
			catalog_put_element(
			    e->write ? &written : &read, e->name);
	}
	buf_put_cstr(&written, "}");
	buf_put_cstr(&read, "}");
	params[0] = (const char *)written.data;
	params[1] = (const char *)read.data;
	params[2] = keys_of(st);
	if (exchange_query(s, tables_sql, params, 3, found_table, f, NULL) !=
	    EXCHANGE_DONE)
		f->reason = "scope";
	buf_free(&written);
	buf_free(&read);
}

/* What is remembered is remembered under this. */
static const char *
target_of(struct session *s, const struct analyzed_statement *st)
{
	struct buf b = { 0 };
	char *target;

	if (st->n_relations > 0)
		catalog_put_name(
		    &b, st->relations[0].schema, st->relations[0].name);
	target = arena_memdup(s->txn->arena,
	    b.data != NULL ? b.data : (const uint8_t *)"", b.len);
	buf_free(&b);
	return target;
}

const char *
scope_find(struct session *s, const struct analyzed_statement *st,
    bool only_reads, struct scope *scope)
{
	struct finding f = { .arena = s->txn->arena };

	memset(scope, 0, sizeof(*scope));
	scope->target = target_of(s, st);
	scope->tables = arena_zalloc(
	    s->txn->arena, MAX_TABLES * sizeof(*scope->tables));
	if (scope->target == NULL || scope->tables == NULL)
		return "max_capture_bytes";
	find_names(s, st, only_reads, scope->target, &f);
	if (f.reason != NULL)
		return f.reason;
	if (f.bytes > MAX_BYTES)
		return "scope";
	scope->catalogs = f.catalogs;
	scope->rewritten = f.views;
	scope->speaks = f.speaks;
	for (size_t i = 0; i < f.n; i++) {
		struct scope_table *t = &scope->tables[scope->n++];

		t->table = catalog_table(
		    s, f.tables[i].schema, f.tables[i].name);
		t->write = f.tables[i].write;
		if (t->table == NULL)
			return "unknown_table";
		if (t->table->unreadable != NULL)
			return t->table->unreadable;
		/* What they do at the commit nobody sees. */
		if (t->write && t->table->deferred)
			return "triggers";
		/* Like a trigger's, it may say or do what others see. */
		if (t->write && t->table->user_code)
			return "user_function";
		scope->rewritten = scope->rewritten ||
				   (t->write && t->table->rules);
		scope->code = scope->code || (t->write && t->table->triggers);
	}
	scope->code = scope->code || scope->rewritten;
	return NULL;
}

static const struct scope_table *
table_of(const struct scope *scope, uint32_t oid)
{
	for (size_t i = 0; i < scope->n; i++)
		if (scope->tables[i].table->oid == oid)
			return &scope->tables[i];
	return NULL;
}

bool
scope_has(const struct scope *scope, uint32_t oid)
{
	return table_of(scope, oid) != NULL;
}

/* --- locks --- */

static size_t
put_lock(
    struct session *s, const struct scope *scope, bool write, const char *mode)
{
	const char *sep = "LOCK TABLE ONLY ";
	struct buf sql = { 0 };

	for (size_t i = 0; i < scope->n; i++) {
		const struct scope_table *t = &scope->tables[i];

		if ((t->write && t->table->may_lock) != write)
			continue;
		buf_put_str(&sql, sep);
		catalog_put_name(&sql, t->table->schema, t->table->name);
		sep = ", ONLY ";
	}
	if (sql.len == 0)
		return 0;
	buf_put_cstr(&sql, mode);
	exchange_put(s, (const char *)sql.data, NULL, 0);
	buf_free(&sql);
	return 1;
}

size_t
scope_put_locks(
    struct session *s, const struct scope *scope, enum stmt_kind kind)
{
	return put_lock(s, scope, true,
		   kind == STMT_TRUNCATE ? " IN ACCESS EXCLUSIVE MODE"
					 : " IN ROW EXCLUSIVE MODE") +
	       put_lock(s, scope, false, " IN ACCESS SHARE MODE");
}

/* --- did it keep to them --- */

void
scope_put_check(struct session *s)
{
	exchange_put(s, check_sql, NULL, 0);
}

struct checking {
	struct session *s;
	const struct scope *scope;
	bool only_writes;
	struct scope_check *check;
};

static void
remember_table(struct session *s, const char *target, const char *schema,
    const char *table, bool write)
{
	struct buf name = { 0 };

	catalog_put_name(&name, schema, table);
	buf_put_u8(&name, 0);
	remember(s, target, (const char *)name.data, write);
	buf_free(&name);
}

static void
note_beyond(struct checking *c, const struct exchange_value *v)
{
	char *schema, *table;

	c->check->wider = true;
	if (v[K_SCHEMA].data == NULL || v[K_NAME].data == NULL)
		return; /* the next look at the catalog will find it */
	schema = mem_strndup((const char *)v[K_SCHEMA].data, v[K_SCHEMA].len);
	table = mem_strndup((const char *)v[K_NAME].data, v[K_NAME].len);
	remember_table(c->s, c->scope->target, schema, table,
	    letter(&v[K_WRITE]) == 't');
	free(schema);
	free(table);
}

/* One row of the answer.  False: it is none. */
static bool
take_lock(const struct message *row, struct exchange_value *v,
    struct scope_lock *lock)
{
	char oid[16] = "";

	if (!exchange_row_values(row, v, K_COLUMNS) || v[K_OID].data == NULL ||
	    v[K_OID].len >= sizeof(oid))
		return false;
	memcpy(oid, v[K_OID].data, v[K_OID].len);
	lock->oid = (uint32_t)strtoul(oid, NULL, 10);
	lock->write = letter(&v[K_WRITE]) == 't';
	return true;
}

static bool
held_table(void *arg, const struct message *row)
{
	struct checking *c = arg;
	struct scope_check *check = c->check;
	struct exchange_value v[K_COLUMNS];
	struct scope_lock *list = arena_grow(c->s->txn->arena, check->held,
	    check->n_held, &check->cap_held, sizeof(*list));

	if (list == NULL)
		return false;
	check->held = list;
	if (!take_lock(row, v, &list[check->n_held]))
		return false;
	check->n_held++;
	return true;
}

enum exchange_end
scope_read_held(struct session *s, struct scope_check *check,
    struct exchange_error *error, struct buf *raw_error)
{
	struct checking c = { s, NULL, false, check };

	return exchange_read(s, held_table, &c, error, raw_error);
}

static bool
was_held(const struct scope_check *check, const struct scope_lock *lock)
{
	for (size_t i = 0; i < check->n_held; i++)
		if (check->held[i].oid == lock->oid)
			return check->held[i].write || !lock->write;
	return false;
}

static bool
locked_table(void *arg, const struct message *row)
{
	struct checking *c = arg;
	struct exchange_value v[K_COLUMNS];
	const struct scope_table *t;
	struct scope_lock lock;

	if (!take_lock(row, v, &lock)) {
		c->check->wider = true;
		return false;
	}
	if (letter(&v[K_KIND]) == 'S') {
		c->check->sequences = true;
		return true;
	}
	/* What was written before may have been so once more. */
	if (lock.oid == c->scope->apart ||
	    (was_held(c->check, &lock) && !(c->scope->code && lock.write)))
		return true;
	if (lock.write && c->scope->after != NULL &&
	    counters_changed(c->scope->before, c->scope->after, lock.oid))
		return true;
	t = table_of(c->scope, lock.oid);
	if (t == NULL ? lock.write || !c->only_writes : lock.write && !t->write)
		note_beyond(c, v);
	return true;
}

enum exchange_end
scope_read_check(struct session *s, const struct scope *scope, bool only_writes,
    struct scope_check *check, struct exchange_error *error,
    struct buf *raw_error)
{
	struct checking c = { s, scope, only_writes, check };

	return exchange_read(s, locked_table, &c, error, raw_error);
}

/* --- what was seen --- */

enum scope_extra
scope_extras(struct session *s, const struct analyzed_statement *st)
{
	const char *target = s->extras != NULL ? target_of(s, st) : NULL;
	enum scope_extra what = SCOPE_NOTHING;

	for (size_t i = 0; target != NULL && i < MAX_TABLES; i++) {
		const struct extra *e = &s->extras->list[i];

		if (e->target == NULL || strcmp(e->target, target) != 0)
			continue;
		if (e->write)
			return SCOPE_WRITES;
		what = SCOPE_READS;
	}
	return what;
}

void
scope_note(struct session *s, const struct analyzed_statement *st,
    const char *schema, const char *name, bool write)
{
	const char *target = target_of(s, st);

	if (target != NULL)
		remember_table(s, target, schema, name, write);
}

void
scope_trust(struct session *s, uint32_t oid)
{
	struct extras *x = extras_of(s);

	if (!scope_trusts(s, oid))
		x->trusted[x->n_trusted++ % MAX_TABLES] = oid;
}

bool
scope_trusts(const struct session *s, uint32_t oid)
{
	for (size_t i = 0; s->extras != NULL && i < MAX_TABLES; i++)
		if (s->extras->trusted[i] == oid)
			return true;
	return false;
}

void
scope_watch(struct session *s, const struct analyzed_statement *st,
    uint32_t target, struct scope *scope)
{
	memset(scope, 0, sizeof(*scope));
	scope->target = target_of(s, st);
	scope->apart = target;
}

void
scope_count(struct scope *scope, const struct counters *before,
    const struct counters *after)
{
	scope->before = before;
	scope->after = after;
}
