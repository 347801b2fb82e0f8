/*
 * quiet.c: messages of the client's that surely changed no setting.
 *
 *	BEGIN without options	the block is as the ones before it
 *	SAVEPOINT, RELEASE	SET goes on to hold behind them
 *	kept statements		no code of users runs in them (joined.c)
 *	COMMIT			behind one of these, if the transaction's tables
 *				are what they were taken for: nothing waits for
 *				it that could run
 *	SELECT			of columns of one table, found by columns that
 *				equal integers, and are such: no cast is needed,
 *				and a parameter is what its column is, or of the
 *				type that the client says.
 *				What its name meant is in the description of the
 *				result; if that is a table that the transaction
 *				holds, and that is looked at by its end, then it
 *				is no view, has no policies, and no code of users
 *				in indexes or constraints.  Operators that hide
 *				others make the server parse the kept statement
 *				behind it again (watch.h).
 *
 * In the extended protocol each is a Parse, a Bind and an Execute.
 *
 *	Parse			of one of these looks up names and rewrites.  What
 *				runs by then are input functions of literals (of a
 *				composite one checks of domains, too): none of its
 *				literals is a string.
 *	Bind			plans, folds constants and reads parameters.  It is
 *				as quiet as its Execute, and counts with that, so
 *				nothing else may run between.  The description of
 *				the portal says what this Bind has found: what was
 *				prepared before may have been planned anew.
 *
 * A BEGIN takes over what its batch did before, and what an implicit transaction
 * changed goes back at its Sync: all of the batch must have been quiet.
 *
 * Everything else may have changed some: ROLLBACK, too, which takes SET back.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "quiet.h"

#include <string.h>

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
	if (s->one_answer)
		return;
	if (q->to + n < s->ran)
		q->from = s->ran - n;
	q->to = s->ran;
}

void
quiet_begin(struct session *s, uint64_t n)
{
	/* What the batch did before is in its transaction, too. */
	if (quiet_since(s, s->quiet.batch, n))
		s->txn->began = s->ran;
	quiet_note(s, n);
}

bool
quiet_since(const struct session *s, uint64_t message, uint64_t n)
{
	const struct quiet *q = &s->quiet;

	return !s->one_answer &&
	       (message + n >= s->ran ||
		   (message >= q->from && q->to + n >= s->ran));
}

bool
quiet_in_transaction(const struct session *s, uint64_t n)
{
	uint64_t began = s->txn->began;

	if (s->status == PQ_IDLE)
		return quiet_since(s, s->quiet.batch, n);
	return began != 0 && quiet_since(s, began, n);
}

static bool
has_string(const struct analyzed_statement *st)
{
	for (size_t i = 0; i < st->n_literals; i++)
		if (st->literals[i].kind == LITERAL_STRING)
			return true;
	return false;
}

bool
quiet_savepoint(enum stmt_kind kind)
{
	return kind == STMT_SAVEPOINT || kind == STMT_RELEASE;
}

bool
quiet_parse(const struct analyzed_statement *st)
{
	return st->kind == STMT_BEGIN || st->kind == STMT_COMMIT ||
	       quiet_savepoint(st->kind) || st->simple_read ||
	       (st->keepable && !has_string(st));
}

static bool
is_integer(const struct catalog_table *t, const char *column)
{
	const struct rowenc_column *c = rowenc_column_named(&t->shape, column);

	return c != NULL && (strcmp(c->type, "integer") == 0 ||
				strcmp(c->type, "bigint") == 0 ||
				strcmp(c->type, "smallint") == 0);
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
quiet_select(struct session *s, const struct analyzed_statement *st, uint64_t n)
{
	const struct txn *t = s->txn;

	if (s->one_answer || s->status != PQ_IN_BLOCK)
		return;
	for (size_t i = 0; i < t->n_tables; i++)
		if (may_read(t->tables[i].catalog, st)) {
			s->quiet.reads = s->ran;
			s->quiet.described = s->ran + 1 - n;
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
	const struct quiet *q = &s->quiet;
	const struct pipeline_entry *e = pipeline_front(s);

	if (q->reads == s->ran && e != NULL && e->number == q->described &&
	    describes(m, q->table))
		quiet_note(s, q->reads + 1 - q->described);
}
