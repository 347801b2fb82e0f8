/*
 * fingerprint.c: whether tables are still what they were taken for, asked of
 * the server's catalogs.
 *
 * The answer is "oid=fingerprint su,...", s and u being t or f: whether the
 * user may SELECT from all of the table, and UPDATE it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "fingerprint.h"

#include <stdio.h>
#include <string.h>

#include "catalog_sql.h"
#include "kept.h"

/* SQL, broken where it reads. */
/* clang-format off */
#define ANSWER(fingerprint, tables)                                          \
	"SELECT pg_catalog.string_agg((SELECT pg_catalog.concat(c.oid, '=', "\
	fingerprint ", ' ',"                                                 \
	" pg_catalog.has_table_privilege(c.oid, 'SELECT'),"                  \
	" pg_catalog.has_table_privilege(c.oid, 'UPDATE'))"                  \
	" FROM pg_catalog.pg_class c WHERE c.oid" CATALOG_EQ "w.oid), ',')"  \
	" FROM " tables " AS w(oid)"
#define NAMED(n) "(pg_catalog.to_regclass($" n "))"

/*
 * Kept, so it must be planned once for good: with an array of unknown length,
 * or tables that the plan could read as a whole, it would not be.
 */
#define FEW                                                                  \
	"(VALUES " NAMED("1") ", " NAMED("2") ", " NAMED("3") ", " NAMED("4") ")"
static const char few_sql[] = ANSWER(CATALOG_FINGERPRINT, FEW);
static const char quick_sql[] = ANSWER(CATALOG_QUICK, FEW);
static const char many_sql[] = ANSWER(CATALOG_FINGERPRINT,
    "(SELECT pg_catalog.to_regclass(n.name) FROM pg_catalog.unnest("
    "CAST($1 AS pg_catalog.text[])) AS n(name))");
/* clang-format on */

static int
kept_of(bool quick)
{
	return quick ? KEPT_QUICK_FINGERPRINTS : KEPT_FINGERPRINTS;
}

static void
put_many(struct session *s, const struct catalog_table *const *tables, size_t n)
{
	struct buf names = { 0 };
	const char *params[1];

	buf_put_u8(&names, '{');
	for (size_t i = 0; i < n; i++)
		catalog_put_element(&names, tables[i]->written);
	buf_put_cstr(&names, "}");
	params[0] = (const char *)names.data;
	exchange_put(s, many_sql, params, 1);
	buf_free(&names);
}

void
fingerprint_put(struct session *s, const struct catalog_table *const *tables,
    size_t n, bool quick)
{
	struct record_param names[FINGERPRINT_FEW] = { { 0 } };

	if (n > FINGERPRINT_FEW) {
		put_many(s, tables, n);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		names[i].value = (const uint8_t *)tables[i]->written;
		names[i].len = strlen(tables[i]->written);
	}
	kept_put(s, kept_of(quick), quick ? quick_sql : few_sql, names,
	    FINGERPRINT_FEW);
}

enum exchange_end
fingerprint_read(struct session *s, bool quick, exchange_row_fn row, void *arg,
    struct exchange_error *error, struct buf *raw_error)
{
	enum exchange_end end = exchange_read(s, row, arg, error, raw_error);

	kept_answered(s, kept_of(quick), end == EXCHANGE_DONE);
	return end;
}

/* What is said of it, without the rights; room for any that was asked for. */
struct said {
	char text[80];
};

static struct said
what_is_said(const struct catalog_table *t, bool quick)
{
	struct said said;

	snprintf(said.text, sizeof(said.text), "%u=%s ", t->oid,
	    quick ? t->quick : t->fingerprint);
	return said;
}

bool
fingerprint_is_of(const char *answer, bool quick, const struct catalog_table *t)
{
	struct said said = what_is_said(t, quick);

	return strstr(answer, said.text) != NULL;
}

bool
fingerprint_tells_all(const struct catalog_table *t)
{
	if (t->quick == NULL || t->user_code ||
	    (t->definition != NULL && *t->definition != '\0'))
		return false;
	for (unsigned i = 0; i < t->shape.n_columns; i++)
		if (t->columns[i].default_class >= FUNCTION_USER)
			return false;
	return true;
}

struct asking {
	const struct catalog_table *table;
	bool quick, holds;
};

static void
put_one(struct session *s, void *arg)
{
	struct asking *a = arg;

	fingerprint_put(s, &a->table, 1, a->quick);
}

static bool
take_one(void *arg, const struct message *row)
{
	struct asking *a = arg;
	const struct catalog_table *t = a->table;
	struct said said = what_is_said(t, a->quick);
	size_t n = strlen(said.text);
	bool lacks_select = t->unreadable != NULL &&
			    strcmp(t->unreadable, "privileges") == 0;
	struct exchange_value v;

	if (!exchange_row_values(row, &v, 1) || v.data == NULL ||
	    v.len != n + 2 || memcmp(v.data, said.text, n) != 0)
		return false;
	/* Where it is unreadable anyhow, that one was not noted. */
	a->holds = v.data[n + 1] == (t->may_lock ? 't' : 'f') &&
		   ((t->unreadable != NULL && !lacks_select) ||
		       v.data[n] == (lacks_select ? 'f' : 't'));
	return true;
}

bool
fingerprint_holds(struct session *s, const struct catalog_table *t)
{
	struct asking a = { .table = t, .quick = t->quick != NULL };
	enum exchange_end end = exchange_ask(s, put_one, take_one, &a, NULL);

	kept_answered(s, kept_of(a.quick), end == EXCHANGE_DONE);
	return end == EXCHANGE_DONE && a.holds;
}
