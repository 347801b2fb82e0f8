/*
 * quiet.c: messages of the client's that surely changed no setting.
 *
 *	BEGIN without options	the block is as the ones before it
 *	kept statements		no code of users runs in them (joined.c)
 *	COMMIT			behind one of these, if the transaction's tables
 *				are what they were taken for: nothing waits for
 *				it that could run
 *	SELECT			of columns of one table, found by columns that
 *				equal integers, and are such: no cast is needed.
 *				What its name meant is in the description of the
 *				result; if that is a table that the transaction
 *				holds, and that is looked at by its end, then it
 *				is no view, has no policies, and no code of users
 *				in indexes or constraints.  Operators that hide
 *				others make the server parse the kept statement
 *				behind it again (watch.h).
 *
 * Everything else may have changed some: ROLLBACK, too, which takes SET back.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "quiet.h"

#include <string.h>

#include "analyze.h"
#include "pipeline.h"
#include "session.h"
#include "txn.h"

/* Of a RowDescription, behind the table: attribute, type, its length, its
 * modifier, format. */
#define REST_OF_FIELD 14

void
quiet_note(struct session *s, uint64_t n)
{
	struct quiet *q = &s->quiet;

	/* What else the message has is not counted. */
	if (s->one_answer || q->to == s->ran)
		return;
	if (q->to + n != s->ran)
		q->from = s->ran - n;
	q->to = s->ran;
}

void
quiet_begin(struct session *s)
{
	if (s->one_answer)
		return;
	quiet_note(s, 1);
	s->txn->began = s->ran;
}

bool
quiet_since(const struct session *s, uint64_t message, uint64_t n)
{
	const struct quiet *q = &s->quiet;

	return !s->one_answer && message > q->from && q->to + n == s->ran;
}

bool
quiet_in_block(const struct session *s, uint64_t n)
{
	return quiet_since(s, s->txn->began, n);
}

static bool
is_integer(const struct catalog_table *t, const char *column)
{
	static const char *const types[] = { "smallint", "integer", "bigint" };

	for (unsigned i = 0; i < t->shape.n_columns; i++)
		for (size_t k = 0;
		     strcmp(t->shape.columns[i].name, column) == 0 &&
		     k < sizeof(types) / sizeof(*types);
		     k++)
			if (strcmp(t->shape.columns[i].type, types[k]) == 0)
				return true;
	return false;
}

/* If its name means this table. */
static bool
may_read(const struct catalog_table *t, const struct analyzed_statement *st)
{
	if (strcmp(t->name, st->relations[0].name) != 0 || t->quick == NULL ||
	    t->user_code)
		return false;
	for (size_t i = 0; i < st->n_equal_columns; i++)
		if (!is_integer(t, st->equal_columns[i]))
			return false;
	return true;
}

void
quiet_select(struct session *s, const struct analyzed_statement *st)
{
	const struct txn *t = s->txn;

	if (s->one_answer || s->status != PQ_IN_BLOCK)
		return;
	for (size_t i = 0; i < t->n_tables; i++)
		if (may_read(t->tables[i].catalog, st)) {
			s->quiet.reads = s->ran;
			s->quiet.table = t->tables[i].catalog->oid;
		}
}

/* All its columns are that table's. */
static bool
describes(const struct message *m, uint32_t table)
{
	struct rd r = rd_init(m->body, m->len);
	uint16_t n = rd_u16(&r);
	bool all = n > 0;

	for (uint16_t i = 0; i < n && !r.bad; i++) {
		(void)rd_cstr(&r);
		all = rd_u32(&r) == table && all;
		(void)rd_bytes(&r, REST_OF_FIELD);
	}
	return all && !r.bad;
}

void
quiet_described(struct session *s, const struct message *m)
{
	if (s->quiet.reads == s->ran && pipeline_owed_ready(s) == 1 &&
	    describes(m, s->quiet.table))
		quiet_note(s, 1);
}
