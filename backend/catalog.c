/*
 * catalog.c: tables of the server's catalog, cached per child, and for the
 * others, too (share.c).
 *
 * Every name, type and operator in the SQL here is qualified: it runs under
 * the client's search_path (CVE-2025-12819).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "catalog.h"

#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "catalog_int.h"
#include "catalog_sql.h"
#include "definition_sql.h"
#include "exchange.h"
#include "fingerprint.h"
#include "log.h"
#include "mem.h"
#include "sensitivity.h"
#include "share.h"
#include "shcache.h"

/* Of the arena: what is dropped stays there until all is looked up anew. */
#define MAX_DOUBTED 262144

/* SQL, broken where it reads. */
/* clang-format off */
#define ACTS(col)                                                            \
	"k." col " OPERATOR(pg_catalog.=) ANY (CAST('{c,n,d}' AS "            \
	"pg_catalog.\"char\"[]))"

#define CLASS(catalog)                                                       \
	"CAST('pg_catalog." catalog "' AS pg_catalog.regclass)"

/*
 * Constraints, those of the columns' domains, indexes and generated columns
 * that call what users made: replay may meet another version of it.
 */
#define USER_CODE                                                            \
	"EXISTS (SELECT 1 FROM ("                                            \
	"SELECT " CLASS("pg_constraint") ", k.oid"                           \
	" FROM pg_catalog.pg_constraint k"                                   \
	" WHERE k.conrelid" CATALOG_EQ "c.oid"                               \
	" UNION ALL SELECT " CLASS("pg_constraint") ", k.oid"                \
	" FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_constraint k"    \
	" ON k.contypid" CATALOG_EQ "a.atttypid"                             \
	" WHERE a.attrelid" CATALOG_EQ "c.oid"                               \
	" AND a.atttypid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid"      \
	" UNION ALL SELECT " CLASS("pg_class") ", x.indexrelid"              \
	" FROM pg_catalog.pg_index x WHERE x.indrelid" CATALOG_EQ "c.oid"    \
	" UNION ALL SELECT " CLASS("pg_attrdef") ", e.oid"                   \
	" FROM pg_catalog.pg_attrdef e JOIN pg_catalog.pg_attribute a"       \
	" ON a.attrelid" CATALOG_EQ "e.adrelid"                              \
	" AND a.attnum" CATALOG_EQ "e.adnum"                                 \
	" WHERE e.adrelid" CATALOG_EQ "c.oid"                                \
	" AND a.attgenerated" CATALOG_EQ "'s') o(class, id)"                 \
	" JOIN pg_catalog.pg_depend d ON d.classid" CATALOG_EQ "o.class"     \
	" AND d.objid" CATALOG_EQ "o.id WHERE d.refclassid" CATALOG_EQ       \
	"ANY (ARRAY[" CLASS("pg_proc") ", " CLASS("pg_operator") "]))"

/*
 * Foreign keys that reference it.  By their triggers: confrelid has no index,
 * and where the client has enable_seqscan = off a scan counts for so much that
 * the server compiles the query first, for seconds.
 */
#define REFERENCES(table)                                                    \
	"pg_catalog.pg_trigger g JOIN pg_catalog.pg_constraint k"            \
	" ON k.oid" CATALOG_EQ "g.tgconstraint"                              \
	" WHERE g.tgrelid" CATALOG_EQ table                                  \
	" AND k.confrelid" CATALOG_EQ table

/*
 * Replay has met no other definition of a table that has been as it is for so
 * many transactions, or can still ask for it.
 */
#define YOUNG(xmin)                                                          \
	"pg_catalog.age(" xmin ") OPERATOR(pg_catalog.<) 10000"
#define YOUNG_ROWS(catalog, column)                                          \
	"EXISTS (SELECT 1 FROM pg_catalog." catalog " r WHERE r." column     \
	CATALOG_EQ "c.oid AND " YOUNG("r.xmin") ")"
#define IS_YOUNG                                                             \
	YOUNG("c.xmin") " OR "                                               \
	YOUNG_ROWS("pg_attribute", "attrelid") " OR "                        \
	YOUNG_ROWS("pg_constraint", "conrelid") " OR "                       \
	YOUNG_ROWS("pg_index", "indrelid")

static const char table_sql[] =
	"SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence,"
	" pg_catalog.has_table_privilege(c.oid, 'SELECT'),"
	" pg_catalog.has_table_privilege(c.oid, 'UPDATE'),"
	" c.relhasrules, c.relrowsecurity,"
	" EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t"
	"  WHERE t.tgrelid" CATALOG_EQ "c.oid AND NOT t.tgisinternal),"
	" EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t"
	"  WHERE t.tgrelid" CATALOG_EQ "c.oid AND NOT t.tgisinternal"
	"  AND t.tgdeferrable),"
	" EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i"
	"  WHERE i.inhrelid" CATALOG_EQ "c.oid)"
	" OR EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i"
	"  WHERE i.inhparent" CATALOG_EQ "c.oid),"
	" EXISTS (SELECT 1 FROM " REFERENCES("c.oid") " AND "
	ACTS("confdeltype") "),"
	" " CATALOG_FINGERPRINT ", " CATALOG_QUICK ", " CATALOG_PLAIN ","
	" " USER_CODE ", " IS_YOUNG
	" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
	" ON n.oid" CATALOG_EQ "c.relnamespace"
	" WHERE c.oid" CATALOG_EQ "pg_catalog.to_regclass($1)";
enum { T_OID, T_SCHEMA, T_NAME, T_KIND, T_PERSISTENCE, T_SELECT, T_UPDATE,
	T_RULES, T_RLS, T_TRIGGERS, T_DEFERRED, T_INHERITS, T_CASCADES,
	T_FINGERPRINT, T_QUICK, T_PLAIN, T_USER_CODE, T_YOUNG, T_COLUMNS };

/*
 * Types outside pg_catalog are printed with their schema, as under an empty
 * search_path.  The last column names the base type of what is not simple.
 */
static const char columns_sql[] =
	"SELECT a.attname,"
	" pg_catalog.concat(CASE WHEN " TEXT("en.nspname") " OPERATOR("
	"pg_catalog.<>) 'pg_catalog' AND pg_catalog.pg_type_is_visible(e.oid)"
	" THEN pg_catalog.concat(pg_catalog.quote_ident(" TEXT("en.nspname")
	"), '.') END, pg_catalog.format_type(a.atttypid, a.atttypmod)),"
	" (SELECT o.n FROM pg_catalog.pg_index x,"
	"  LATERAL pg_catalog.unnest(CAST(x.indkey AS pg_catalog.int2[]))"
	"  WITH ORDINALITY AS o(attnum, n)"
	"  WHERE x.indrelid" CATALOG_EQ "a.attrelid AND x.indisprimary"
	"  AND o.attnum" CATALOG_EQ "a.attnum"
	"  AND o.n OPERATOR(pg_catalog.<=) x.indnkeyatts),"
	" a.attidentity, a.attgenerated,"
	" pg_catalog.pg_get_expr(d.adbin, d.adrelid),"
	" CASE WHEN " TEXT("e.typtype") CATALOG_EQ "'e' THEN 'enum'"
	" WHEN " TEXT("e.typtype") CATALOG_EQ "'c' THEN 'composite'"
	" WHEN " TEXT("en.nspname") CATALOG_EQ "'pg_catalog'"
	" THEN " TEXT("t.typname")
	" WHEN " TEXT("t.typtype") CATALOG_EQ "'d' THEN"
	" (SELECT " TEXT("b.typname") " FROM pg_catalog.pg_type b"
	"  WHERE b.oid" CATALOG_EQ "t.typbasetype AND b.typnamespace"
	CATALOG_EQ "CAST('pg_catalog' AS pg_catalog.regnamespace)) END,"
	" EXISTS (SELECT 1 FROM " REFERENCES("a.attrelid") " AND "
	ACTS("confupdtype") " AND a.attnum" CATALOG_EQ "ANY (k.confkey))"
	" FROM pg_catalog.pg_attribute a"
	" JOIN pg_catalog.pg_type t ON t.oid" CATALOG_EQ "a.atttypid"
	" JOIN pg_catalog.pg_type e ON e.oid" CATALOG_EQ
	" CASE WHEN t.typelem OPERATOR(pg_catalog.<>) 0::pg_catalog.oid AND"
	" t.typlen OPERATOR(pg_catalog.=) (-1)::pg_catalog.int2"
	" THEN t.typelem ELSE t.oid END"
	" JOIN pg_catalog.pg_namespace en ON en.oid" CATALOG_EQ
	"e.typnamespace"
	" LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid" CATALOG_EQ
	"a.attrelid AND d.adnum" CATALOG_EQ "a.attnum"
	" WHERE a.attrelid" CATALOG_EQ "pg_catalog.to_regclass($1)"
	" AND a.attnum OPERATOR(pg_catalog.>) 0::pg_catalog.int2"
	" AND NOT a.attisdropped ORDER BY a.attnum";
enum { C_NAME, C_TYPE, C_KEY, C_IDENTITY, C_GENERATED, C_DEFAULT, C_BASE,
	C_CASCADES, C_COLUMNS };

static const char definition_sql[] = DEFINITION_QUERY(
	"pg_catalog.md5(" DEFINITION ")",
	"c.oid" CATALOG_EQ "CAST($1 AS pg_catalog.oid)");
/* clang-format on */

struct catalog *
catalog_new(size_t max_parse_bytes)
{
	struct catalog *c = mem_zalloc(1, sizeof(*c));

	c->arena = arena_new(0);
	c->max_parse_bytes = max_parse_bytes;
	/* Not cleared: a session that only reads touches none of it. */
	c->tables = mem_alloc(MAX_TABLES, sizeof(*c->tables));
	c->functions = mem_alloc(MAX_FUNCTIONS, sizeof(*c->functions));
	return c;
}

void
catalog_flush(struct catalog *c)
{
	c->n_tables = 0;
	c->n_functions = 0;
	c->stale = true;
	c->strange = true;
}

static struct shcache *
shared(const struct session *s)
{
	return s->heritage != NULL ? s->heritage->shared : NULL;
}

/* At its end, too: until then others see what was before. */
static void
note_change(struct session *s)
{
	s->catalog->changed = true;
	if (shared(s) != NULL)
		shcache_doubt(shared(s));
}

void
catalog_refuted(struct session *s)
{
	catalog_flush(s->catalog);
	note_change(s);
	if (shared(s) != NULL)
		shcache_forget(shared(s));
}

void
catalog_doubt(struct session *s)
{
	struct catalog *c = s->catalog;
	size_t n = 0;

	note_change(s);
	if (arena_used(c->arena) > MAX_DOUBTED) {
		catalog_flush(c);
		return;
	}
	for (size_t i = 0; i < c->n_tables; i++) {
		if (!fingerprint_tells_all(c->tables[i].table))
			continue;
		c->tables[n] = c->tables[i];
		c->tables[n++].doubted = true;
	}
	c->n_tables = n;
	c->n_functions = 0;
	c->strange = true;
}

bool
catalog_is_changed(const struct session *s)
{
	return s->catalog->changed;
}

void
catalog_start(struct session *s)
{
	struct catalog *c = s->catalog;

	if (c->changed && shared(s) != NULL)
		shcache_doubt(shared(s));
	c->changed = false;
	if (!c->stale)
		return;
	/* What was looked up since the flush lies in the same arena. */
	c->n_tables = 0;
	c->n_functions = 0;
	arena_reset(c->arena);
	c->stale = false;
}

void
catalog_quote(struct buf *b, const char *name)
{
	buf_put_u8(b, '"');
	for (; *name != '\0'; name++) {
		if (*name == '"')
			buf_put_u8(b, '"');
		buf_put_u8(b, (uint8_t)*name);
	}
	buf_put_u8(b, '"');
}

void
catalog_put_name(struct buf *b, const char *schema, const char *name)
{
	if (schema != NULL) {
		catalog_quote(b, schema);
		buf_put_u8(b, '.');
	}
	catalog_quote(b, name);
}

void
catalog_put_element(struct buf *b, const char *v)
{
	if (b->len > 1)
		buf_put_u8(b, ',');
	buf_put_u8(b, '"');
	for (; *v != '\0'; v++) {
		if (*v == '"' || *v == '\\')
			buf_put_u8(b, '\\');
		buf_put_u8(b, (uint8_t)*v);
	}
	buf_put_u8(b, '"');
}

/* The catalog's arena has no limit, so these cannot fail. */
static char *
keep(struct catalog *c, const struct exchange_value *v)
{
	return arena_memdup(
	    c->arena, v->data != NULL ? v->data : (const uint8_t *)"", v->len);
}

static char
first(const struct exchange_value *v)
{
	return v->data != NULL && v->len > 0 ? (char)v->data[0] : 0;
}

static unsigned
number(const struct exchange_value *v)
{
	unsigned n = 0;

	for (size_t i = 0; i < v->len && v->data != NULL; i++)
		n = n * 10 + (unsigned)(v->data[i] - '0');
	return n;
}

struct table_lookup {
	struct session *s;
	struct catalog_table *t;
	bool found;
	bool young;
	size_t cap;            /* columns allocated */
	const char **defaults; /* their text, NULL if none */
};

static const char *
unreadable_reason(const struct exchange_value *v)
{
	char kind = first(&v[T_KIND]);

	if (kind == 'v')
		return "view";
	if (kind == 'f')
		return "foreign_table";
	if (kind != 'r' && kind != 'p')
		return "not_a_table";
	if (first(&v[T_PERSISTENCE]) == 't')
		return "temporary_table";
	if (exchange_is_true(&v[T_RLS]))
		return "row_security";
	return exchange_is_true(&v[T_SELECT]) ? NULL : "privileges";
}

static const char *
unsupported_reason(const struct exchange_value *v, const char *unreadable)
{
	if (unreadable != NULL)
		return unreadable;
	if (first(&v[T_KIND]) == 'p')
		return "partitioned_table";
	if (exchange_is_true(&v[T_INHERITS]))
		return "inheritance";
	if (exchange_is_true(&v[T_RULES]))
		return "rules";
	/* What they do at the commit nobody sees. */
	if (exchange_is_true(&v[T_DEFERRED]))
		return "triggers";
	return exchange_is_true(&v[T_UPDATE]) ? NULL : "privileges";
}

static bool
table_row(void *arg, const struct message *row)
{
	struct table_lookup *l = arg;
	struct catalog *c = l->s->catalog;
	struct exchange_value v[T_COLUMNS];

	if (!exchange_row_values(row, v, T_COLUMNS))
		return false;
	l->t->oid = number(&v[T_OID]);
	l->t->schema = keep(c, &v[T_SCHEMA]);
	l->t->name = keep(c, &v[T_NAME]);
	l->t->fingerprint = keep(c, &v[T_FINGERPRINT]);
	l->t->quick = exchange_is_true(&v[T_PLAIN]) ? keep(c, &v[T_QUICK])
						   : NULL;
	l->t->cascades = exchange_is_true(&v[T_CASCADES]);
	l->t->user_code = exchange_is_true(&v[T_USER_CODE]);
	l->t->triggers = exchange_is_true(&v[T_TRIGGERS]);
	l->t->rules = exchange_is_true(&v[T_RULES]);
	l->t->deferred = exchange_is_true(&v[T_DEFERRED]);
	l->t->may_lock = exchange_is_true(&v[T_UPDATE]);
	l->t->unreadable = unreadable_reason(v);
	l->t->unsupported = unsupported_reason(v, l->t->unreadable);
	l->t->definition = "";
	/* What is not plain may depend on more than these rows. */
	l->young = exchange_is_true(&v[T_YOUNG]) ||
		   !exchange_is_true(&v[T_PLAIN]);
	l->found = true;
	return true;
}

static bool
definition_row(void *arg, const struct message *row)
{
	struct table_lookup *l = arg;
	struct exchange_value v;

	if (!exchange_row_values(row, &v, 1))
		return false;
	l->t->definition = keep(l->s->catalog, &v);
	return true;
}

/* Room for one more column in all three arrays. */
static void
grow_columns(struct table_lookup *l)
{
	struct rowenc_shape *sh = &l->t->shape;
	struct arena *a = l->s->catalog->arena;
	size_t n = sh->n_columns, c1 = l->cap, c2 = l->cap, c3 = l->cap;

	sh->columns = arena_grow(a, sh->columns, n, &c1, sizeof(*sh->columns));
	l->t->columns = arena_grow(
	    a, l->t->columns, n, &c2, sizeof(*l->t->columns));
	l->defaults = arena_grow(a, l->defaults, n, &c3, sizeof(*l->defaults));
	l->cap = c1;
}

static bool
column_row(void *arg, const struct message *row)
{
	struct table_lookup *l = arg;
	struct catalog *c = l->s->catalog;
	struct exchange_value v[C_COLUMNS];
	struct rowenc_column *col;
	struct catalog_column *more;
	unsigned i = l->t->shape.n_columns;

	if (!exchange_row_values(row, v, C_COLUMNS))
		return false;
	grow_columns(l);
	col = &l->t->shape.columns[i];
	col->name = keep(c, &v[C_NAME]);
	col->type = keep(c, &v[C_TYPE]);
	col->key = number(&v[C_KEY]);
	col->identity = first(&v[C_IDENTITY]);
	col->generated = first(&v[C_GENERATED]);
	more = &l->t->columns[i];
	memset(more, 0, sizeof(*more));
	more->sensitive = sensitivity_of_type(keep(c, &v[C_BASE]));
	l->t->sensitive |= more->sensitive;
	more->cascades = exchange_is_true(&v[C_CASCADES]);
	l->defaults[i] = v[C_DEFAULT].data != NULL ? keep(c, &v[C_DEFAULT])
						   : NULL;
	l->t->shape.n_columns++;
	return true;
}

/* Where the whole expression is a call: that. */
static const char *
recordable_call(struct session *s, const struct analyzed_statement *st)
{
	const struct analyzed_call *call = st->calls;

	if (st->n_calls != 1 || call->name == NULL ||
	    !catalog_recordable(call->name,
		catalog_function(s, call->schema, call->name, true)))
		return NULL;
	for (size_t i = 0; i < st->n_functions; i++)
		if (st->functions[i].nested)
			return NULL;
	return arena_strdup(s->catalog->arena, call->name);
}

/* The worst function that a default expression calls. */
static void
classify_default(
    struct session *s, struct catalog_column *col, const char *expression)
{
	struct catalog *c = s->catalog;
	const struct analysis *a;
	struct buf sql = { 0 };

	col->has_default = true;
	buf_printf(&sql, "INSERT INTO t VALUES (%s)", expression);
	if (c->analyzer == NULL)
		c->analyzer = analyzer_new(c->max_parse_bytes);
	a = analyze(c->analyzer, (const char *)sql.data, sql.len, true);
	if (!a->parsed || a->n_statements != 1)
		col->default_class = FUNCTION_UNKNOWN;
	for (size_t i = 0; a->parsed && a->n_statements == 1 &&
			   i < a->statements[0].n_functions;
	     i++) {
		const struct analyzed_function *f =
		    &a->statements[0].functions[i];
		enum function_class class = catalog_function(
		    s, f->schema, f->name, true);

		if (class > col->default_class) {
			col->default_class = class;
			col->default_function = arena_strdup(c->arena, f->name);
		}
	}
	if (a->parsed && a->n_statements == 1)
		col->default_call = recordable_call(s, &a->statements[0]);
	buf_free(&sql);
}

static void
classify_defaults(struct session *s, struct table_lookup *l)
{
	for (unsigned i = 0; i < l->t->shape.n_columns; i++) {
		const struct rowenc_column *col = &l->t->shape.columns[i];

		if (col->identity != 0) {
			l->t->columns[i].has_default = true;
			l->t->columns[i].default_class = FUNCTION_SEQUENCE;
			l->t->columns[i].default_function = "nextval";
			l->t->columns[i].default_call = "nextval";
		} else if (l->defaults[i] != NULL && col->generated == 0) {
			classify_default(s, &l->t->columns[i], l->defaults[i]);
		}
	}
}

/* By its OID: the question comes with a search_path of its own. */
static enum exchange_end
look_up_definition(
    struct session *s, struct table_lookup *l, struct exchange_error *error)
{
	char oid[16];
	const char *params[] = { oid };

	snprintf(oid, sizeof(oid), "%u", l->t->oid);
	return exchange_query(
	    s, definition_sql, params, 1, definition_row, l, error);
}

static struct catalog_table *
look_up_table(struct session *s, const char *written)
{
	struct catalog *c = s->catalog;
	struct table_lookup l = { .s = s };
	struct exchange_error error = { "", "" };
	const char *params[] = { written };
	enum exchange_end end;

	l.t = arena_zalloc(c->arena, sizeof(*l.t));
	l.t->written = arena_strdup(c->arena, written);
	/* Altered in between: the fingerprint, read first, will tell. */
	end = exchange_query(s, table_sql, params, 1, table_row, &l, &error);
	if (end == EXCHANGE_DONE && l.found)
		end = exchange_query(
		    s, columns_sql, params, 1, column_row, &l, &error);
	if (end == EXCHANGE_DONE && l.found && l.young)
		end = look_up_definition(s, &l, &error);
	if (end != EXCHANGE_DONE) {
		if (!s->skipping) /* else it is the client's own error */
			log_warning("catalog", "looking up a table failed: %s %s",
			    error.sqlstate, error.message);
		return NULL;
	}
	if (!l.found || !rowenc_shape_init(&l.t->shape, c->arena))
		return NULL;
	classify_defaults(s, &l);
	return l.t;
}

/* The session means by names what any other of the same packet does. */
static bool
is_ordinary(const struct session *s)
{
	return shared(s) != NULL && !s->catalog->strange && s->doubts == 0;
}

static struct catalog_table *
find_or_look_up(struct session *s, const char *written)
{
	uint64_t generation;
	struct catalog_table *t;

	if (!is_ordinary(s))
		return look_up_table(s, written);
	t = share_find(s, written, s->catalog->arena);
	if (t != NULL)
		return t;
	if (s->lost || s->skipping || s->lookup_error.len > 0)
		return NULL;
	generation = shcache_generation(shared(s));
	t = look_up_table(s, written);
	if (t != NULL && is_ordinary(s))
		share_put(s, generation, t);
	return t;
}

static bool
still_holds(struct session *s, struct cached_table *t)
{
	if (!t->doubted)
		return true;
	t->doubted = !fingerprint_holds(s, t->table);
	/* All that was looked up goes with the transaction. */
	s->catalog->stale |= t->doubted;
	return !t->doubted;
}

const struct catalog_table *
catalog_table(struct session *s, const char *schema, const char *name)
{
	struct catalog *c = s->catalog;
	struct catalog_table *t;
	struct buf written = { 0 };

	for (size_t i = 0; i < c->n_tables; i++)
		if (catalog_same(c->tables[i].schema, schema) &&
		    strcmp(c->tables[i].name, name) == 0) {
			if (still_holds(s, &c->tables[i]))
				return c->tables[i].table;
			c->tables[i] = c->tables[--c->n_tables];
			break;
		}
	if (s->lost || s->skipping || s->lookup_error.len > 0)
		return NULL;
	if (c->n_tables == MAX_TABLES)
		catalog_flush(c);
	catalog_put_name(&written, schema, name);
	buf_put_u8(&written, 0);
	t = find_or_look_up(s, (const char *)written.data);
	buf_free(&written);
	if (t == NULL)
		return NULL;
	c->tables[c->n_tables].schema = schema == NULL
					    ? NULL
					    : arena_strdup(c->arena, schema);
	c->tables[c->n_tables].name = arena_strdup(c->arena, name);
	c->tables[c->n_tables].doubted = false;
	c->tables[c->n_tables++].table = t;
	return t;
}
