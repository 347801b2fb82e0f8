/*
 * joined.c: an INSERT of one row, or an UPDATE or DELETE by key, in one
 * statement with all that is asked about it.
 *
 *	WITH pgwitness AS MATERIALIZED (SELECT CAST(t.* AS text) AS image
 *	  FROM t WHERE id = $2 FOR NO KEY UPDATE)
 *	UPDATE t SET v = $1 WHERE (id = $2)
 *	  AND CASE WHEN to_regclass('t') = 16384
 *	      THEN (SELECT true FROM pgwitness) ELSE an error END
 *	RETURNING (SELECT image FROM pgwitness), CAST(t.* AS text), xid ...
 *
 * Why the images are exact.  READ COMMITTED: the sub-select that guards the
 * UPDATE is run before any row of it is looked for.  It waits for the row's
 * lock and gives the latest version of it, if that still has the key
 * (EvalPlanQual), and from then on nobody else can change it.  The UPDATE looks
 * with the same snapshot: it finds the version that the sub-select found first,
 * follows it to the one that is locked, and looks at its predicate again, as it
 * would have by itself.  What no version visible to the snapshot has (a key
 * changed into ours, a row inserted since) neither of them finds, nor would the
 * client's own.  In REPEATABLE READ and above the lock meets the 40001 that the
 * UPDATE would have met.  One primary key, one row: it is checked at once, or a
 * second one makes the sub-select fail.
 *
 * What stays prepared must be what the client's text would be now:
 *
 *	its relation	may be hidden by a new one: to_regclass(), first of all
 *	definitions	every change makes the server parse it again, and it
 *			holds a lock by then that keeps others away.  A literal
 *			'now' is a time that was put in when it was parsed last:
 *			while that is the same nothing was changed, and the
 *			catalogs need not be asked
 *	operators	likewise
 *	functions, types, collations	analyze_keep.c lets none in
 *
 * Settings are asked for only if a message of the client may have changed them
 * since they were told (quiet.h).  Such a statement cannot: no code of users runs
 * in it.  analyze_keep.c lets no function in, and may_join() no table with
 * triggers, or whose checks, indexes or defaults call users' functions, nor one
 * with columns of users' types, or where operators or casts may call what users
 * made (CATALOG_PLAIN; if that was not so any more when the server parsed the
 * statement, the fingerprint is not the same, and nothing counts as told), nor
 * parameters of users' types.  What is left is the server's configuration: it
 * says when it was read.
 *
 * In a block of the client's its facts come with the COMMIT, or with the last
 * statement, if COMMIT came behind that the last time; and whether the
 * definition is the same is looked at at the COMMIT, by what the statements said
 * of when they were parsed (watch.h).  An error is the client's, at the place in
 * the client's text.  So it is run only if that has run before in steps; behind
 * a name that means another table now it finds no row (an INSERT asks as SELECT
 * for VALUES), and where it finds none, the statement is captured in steps.
 *
 * In autocommit any error but those that belong to the row or to the moment may
 * be one of our form, or say where in our text it was: then it was all in vain,
 * and the statement is captured step by step.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "joined.h"

#include <stdlib.h>
#include <string.h>

#include "capture_int.h"
#include "exchange.h"
#include "quiet.h"
#include "rowtext.h"
#include "textmap.h"
#include "txn.h"

/* pg_type.oid */
#define INT8_OID 20
#define INT4_OID 23
#define NUMERIC_OID 1700

/* SQL: the row before, and whether there is one.  In a block of the client's a
 * deferred primary key lets two have the same: one of them. */
#define IMAGE(limit) "(SELECT image FROM pgwitness" limit ")"
#define FOUND(limit) "(SELECT true FROM pgwitness" limit ")"
#define ONE " LIMIT 1"
/* How often facts are asked for where an error means nothing. */
#define MAX_ASKED 3

/* A literal of this type reads its columns' modifiers, a parameter does not. */
static bool
has_interval_fields(const struct catalog_table *t)
{
	static const char interval[] = "interval";
	const size_t n = sizeof(interval) - 1;

	for (unsigned i = 0; i < t->shape.n_columns; i++)
		if (strncmp(t->shape.columns[i].type, interval, n) == 0 &&
		    t->shape.columns[i].type[n] != '\0')
			return true;
	return false;
}

/* Code of users, or what may run some: query_to_xml(), say. */
static bool
defaults_call(const struct catalog_table *t)
{
	for (unsigned i = 0; i < t->shape.n_columns; i++)
		if (t->columns[i].default_class >= FUNCTION_VOLATILE &&
		    t->columns[i].default_call == NULL)
			return true;
	return false;
}

/* Reading a domain's value runs its checks, and a composite one its columns'. */
static bool
params_call(const struct capture *c)
{
	for (size_t i = 0; i < c->n_given; i++)
		if (c->values.params[i].type >= QUIET_TYPES)
			return true;
	return false;
}

/* A function of its row: code of users. */
static bool
calls_of_row(const struct capture *c)
{
	const struct analyzed_statement *st = c->stmt;

	for (size_t i = 0; i < st->n_qualified; i++)
		if (rowenc_column_named(&c->table->shape, st->qualified[i]) ==
		    NULL)
			return true;
	return false;
}

/* An exponent may be too large, and where it stands is in the error. */
bool
joined_is_parameter(const struct capture *c, const struct analyzed_literal *l)
{
	const char *text = c->text + l->text.at;

	if (l->kind == LITERAL_NUMBER)
		return memchr(text, 'e', l->text.len) == NULL &&
		       memchr(text, 'E', l->text.len) == NULL;
	return l->kind == LITERAL_STRING && l->text.len >= 2 && text[0] == '\'';
}

/* Where the list behind VALUES begins; 0: a comment may be between. */
static size_t
only_row_list(const struct capture *c)
{
	size_t at = c->stmt->only_row.at + strlen("VALUES");

	if (c->stmt->only_row.len == 0)
		return 0;
	at += c->text[at] != '(';
	return c->text[at] == '(' ? at + 1 : 0;
}

/*
 * In the client's block nothing can be undone: only what cannot fail where the
 * client's text would not, or otherwise.  A string's error names its place, and
 * its parameter would be text for good, whatever others make of the column; what
 * RETURNING gives could not become another type, either.
 */
static bool
may_join_block(const struct capture *c)
{
	const struct analyzed_statement *st = c->stmt;

	if (c->autocommit || c->in_utc || st->returning.len > 0 ||
	    (st->kind == STMT_INSERT &&
		(only_row_list(c) == 0 || st->default_keyword)))
		return false;
	for (size_t i = 0; i < st->n_literals; i++)
		if (st->literals[i].kind == LITERAL_STRING)
			return false;
	return true;
}

static bool
may_join(const struct capture *c)
{
	const struct capture_bind *b = c->bind;
	const struct catalog_table *t = c->table;

	if (!c->stmt->keepable || c->stmt->shape == 0 || t == NULL ||
	    c->values.prepared != NULL || c->whole || c->scoped || c->own_block)
		return false;
	if (!c->alone && !may_join_block(c))
		return false;
	if (t->quick == NULL || t->triggers || t->user_code ||
	    defaults_call(t) || has_interval_fields(t) || calls_of_row(c) ||
	    params_call(c))
		return false;
	if (b != NULL &&
	    (b->check || b->max_rows > 0 || (c->alone && !b->first)))
		return false;
	return c->stmt->kind == STMT_INSERT || c->key_equality;
}

/* Digits, maybe with a sign: below 2^63 as the grammar takes them. */
static uint32_t
type_of_number(const char *text, size_t len)
{
	bool negative = len > 0 && text[0] == '-';
	uint64_t n = 0, max = (uint64_t)INT64_MAX + negative;

	for (size_t i = negative; i < len; i++) {
		uint64_t digit = (uint64_t)(text[i] - '0');

		if (text[i] < '0' || text[i] > '9' || n > (max - digit) / 10)
			return NUMERIC_OID;
		n = n * 10 + digit;
	}
	return n <= (uint64_t)INT32_MAX + negative ? INT4_OID : INT8_OID;
}

/* What is between the quotes. */
static bool
string_value(
    struct session *s, const char *text, size_t len, struct record_param *p)
{
	const char *end = text + len - 1;
	const char *from = text + 1;
	char *value, *to;

	p->value = (const uint8_t *)from;
	p->len = len - 2;
	if (memchr(from, '\'', p->len) == NULL)
		return true;
	value = to = arena_alloc(s->txn->arena, len);
	if (value == NULL)
		return false;
	for (const char *p1 = from; p1 < end; p1++) {
		*to++ = *p1;
		if (*p1 == '\'')
			p1++;
	}
	p->value = (const uint8_t *)value;
	p->len = (size_t)(to - value);
	return true;
}

/* The client's parameters, and its literals behind them. */
static bool
make_params(struct session *s, const struct capture *c,
    struct record_param **out, size_t *n_out)
{
	const struct analyzed_statement *st = c->stmt;
	size_t n = c->n_given;
	struct record_param *params = arena_zalloc(
	    s->txn->arena, (n + st->n_literals + 1) * sizeof(*params));

	if (params == NULL || n + st->n_literals > UINT16_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		params[i] = c->values.params[i];
	for (size_t i = 0; i < st->n_literals; i++) {
		const struct analyzed_literal *l = &st->literals[i];
		const char *text = c->text + l->text.at;

		/* E'now' would be read once for all runs; of a Parse of the
		 * client's each string is. */
		if (l->kind == LITERAL_STRING &&
		    (c->bind != NULL || !joined_is_parameter(c, l)))
			return false;
		if (!joined_is_parameter(c, l))
			continue;
		if (l->kind == LITERAL_NUMBER) {
			params[n].type = type_of_number(text, l->text.len);
			params[n].value = (const uint8_t *)text;
			params[n++].len = l->text.len;
		} else if (!string_value(s, text, l->text.len, &params[n++])) {
			return false;
		}
	}
	*out = params;
	*n_out = n;
	return true;
}

/* The text follows from its shape, and from this. */
static int
place_of(struct session *s, const struct capture *c,
    const struct record_param *params, size_t n)
{
	const struct analyzed_statement *st = c->stmt;
	struct buf key = { 0 };
	int which;

	buf_put_u16(&key, (uint16_t)n);
	buf_put_u32(&key, c->table->oid);
	buf_put_cstr(&key, c->table->quick);
	buf_put_u8(&key, c->in_utc);
	buf_put_u8(&key, c->alone);
	buf_put_u8(&key, c->tells);
	buf_put_u8(&key, c->asks);
	for (size_t i = 0; i < st->n_literals; i++) {
		const struct analyzed_literal *l = &st->literals[i];

		if (!joined_is_parameter(c, l))
			buf_put_lp(&key, c->text + l->text.at, l->text.len);
	}
	which = kept_place(s, (uint64_t)1 << 63 | st->shape,
	    (const char *)key.data, key.len, params, n);
	buf_free(&key);
	return which;
}

/* Columns of facts that its row does not have. */
static unsigned
facts_left_out(const struct capture *c)
{
	if (c->asks)
		return 0;
	return c->tells ? FACTS_COLUMNS - FACTS_MOMENT : FACTS_COLUMNS;
}

/*
 * With settings, if they are not known, and nothing is to be asked for behind it
 * anyway.
 */
static void
place_alone(struct session *s, struct capture *c,
    const struct record_param *params, size_t n)
{
	c->told = facts_remembered(s, capture_messages(c));
	if (c->told || kept_mark(s, c->kept_run)[0] == '\0')
		return;
	c->asks = true;
	c->kept_run = place_of(s, c, params, n);
}

/*
 * In the client's block its text must have run before: then ours can be parsed.
 * With facts, if COMMIT came behind it.
 */
static void
place_in_block(struct session *s, struct capture *c,
    const struct record_param *params, size_t n)
{
	c->plain_run = c->kept_run;
	if (kept_mark(s, c->plain_run)[0] == '\0') {
		c->learns = c->plain_run;
		c->kept_run = KEPT_NONE;
		return;
	}
	if (kept_is_last(s, c->plain_run) && !s->one_answer) {
		c->tells = true;
		c->told = facts_remembered(s, capture_messages(c));
		c->asks = !c->told;
	} else {
		c->tells = c->asks = !facts_known(s, capture_messages(c));
	}
	if (c->tells)
		c->kept_run = place_of(s, c, params, n);
}

void
joined_prepare(struct session *s, struct capture *c)
{
	struct record_param *params;
	size_t n;

	if (!may_join(c) || !make_params(s, c, &params, &n))
		return;
	c->tells = c->alone;
	c->kept_run = place_of(s, c, params, n);
	if (c->kept_run != KEPT_NONE && c->alone)
		place_alone(s, c, params, n);
	else if (c->kept_run != KEPT_NONE)
		place_in_block(s, c, params, n);
	if (c->kept_run == KEPT_NONE)
		return;
	c->joined = true;
	c->savepoint = false;
	c->values.params = params;
	c->values.n = n;
	c->n_own = JOINED_COLUMNS - (c->stmt->kind == STMT_INSERT) -
		   facts_left_out(c);
}

static void
put_copied(struct buf *sql, const struct capture *c, size_t at, size_t end)
{
	if (c->map != NULL)
		textmap_add(c->map,
		    (struct textmap_piece){ sql->len, end - at, at, true });
	buf_put(sql, c->text + at, end - at);
}

static void
put_parameter(struct buf *sql, const struct capture *c, size_t n, size_t at)
{
	size_t from = sql->len;

	/* Names may end in '$', too. */
	buf_printf(sql, " $%zu ", n);
	if (c->map != NULL)
		textmap_add(c->map,
		    (struct textmap_piece){ from, sql->len - from, at, false });
}

void
joined_put_text(struct buf *sql, const struct capture *c, struct span span)
{
	const struct analyzed_statement *st = c->stmt;
	size_t n = c->n_given;
	size_t at = span.at, end = span.at + span.len;

	for (size_t i = 0; c->joined && i < st->n_literals; i++) {
		const struct analyzed_literal *l = &st->literals[i];

		if (!joined_is_parameter(c, l))
			continue;
		n++;
		if (l->text.at < at || l->text.at >= end)
			continue;
		put_copied(sql, c, at, l->text.at);
		put_parameter(sql, c, n, l->text.at);
		at = l->text.at + l->text.len;
	}
	put_copied(sql, c, at, end);
}

/* value, if the name still means the table; else an error, or in the client's
 * block NULL, and so no row. */
static void
put_if_same(struct buf *sql, const struct capture *c, const char *type,
    const char *value)
{
	buf_put_str(sql, "CASE WHEN pg_catalog.to_regclass('");
	for (const char *p = c->table->written; *p != '\0'; p++) {
		if (*p == '\'')
			buf_put_u8(sql, '\'');
		buf_put_u8(sql, (uint8_t)*p);
	}
	buf_printf(sql,
	    "') OPERATOR(pg_catalog.=) CAST(%u AS pg_catalog.oid) THEN %s",
	    c->table->oid, value);
	/* No constant, or the planner would meet it. */
	if (c->alone)
		buf_printf(sql,
		    " ELSE CAST(pg_catalog.concat('hidden since ',"
		    " pg_catalog.now()) AS pg_catalog.%s)",
		    type);
	buf_put_str(sql, " END");
}

/* Behind the client's own RETURNING list. */
static void
put_returning(struct buf *sql, const struct capture *c)
{
	bool inserts = c->stmt->kind == STMT_INSERT;

	buf_put_str(sql, c->stmt->returning.len > 0 ? "\n, " : "\nRETURNING ");
	if (!inserts) {
		buf_put_str(sql, c->alone ? IMAGE("") : IMAGE(ONE));
		buf_put_str(sql, ", ");
	}
	rowtext_put_text(sql, c->table, c->stmt->target_ref, c->in_utc);
	buf_put_str(sql, ", ");
	if (c->tells) {
		facts_put_columns(sql, c->asks);
		buf_put_str(sql, ", ");
	}
	/* Nothing can be asked before VALUES are inserted. */
	if (inserts && c->alone)
		put_if_same(sql, c, "text", FACTS_PARSED);
	else
		buf_put_str(sql, FACTS_PARSED);
}

/* As SELECT, which asks first whether the name still means the table. */
static void
put_selected_row(struct buf *sql, const struct capture *c)
{
	const struct analyzed_statement *st = c->stmt;
	size_t at = st->text.at, row = st->only_row.at;
	size_t list = only_row_list(c), end = row + st->only_row.len;

	joined_put_text(sql, c, (struct span){ at, row - at });
	buf_put_str(sql, "SELECT ");
	joined_put_text(sql, c, (struct span){ list, end - 1 - list });
	buf_put_str(sql, "\nWHERE ");
	put_if_same(sql, c, "bool", "true");
	joined_put_text(sql, c, (struct span){ end, st->splice - end });
	put_returning(sql, c);
}

static void
put_sql(struct buf *sql, const struct capture *c)
{
	const struct analyzed_statement *st = c->stmt;
	size_t at = st->text.at, behind = st->where.at + st->where.len;

	if (st->kind == STMT_INSERT && !c->alone) {
		put_selected_row(sql, c);
		return;
	}
	if (st->kind == STMT_INSERT) {
		joined_put_text(sql, c, (struct span){ at, st->splice - at });
		put_returning(sql, c);
		return;
	}
	buf_put_str(sql, "WITH pgwitness AS MATERIALIZED (");
	capture_put_select(sql, c, true, true);
	buf_put_str(sql, ")\n");
	joined_put_text(sql, c, (struct span){ at, st->where.at - at });
	buf_put_u8(sql, '(');
	joined_put_text(sql, c, st->where);
	buf_put_str(sql, "\n) AND ");
	put_if_same(sql, c, "bool", c->alone ? FOUND("") : FOUND(ONE));
	joined_put_text(sql, c, (struct span){ behind, st->splice - behind });
	put_returning(sql, c);
}

const char *
joined_put_parse(
    struct session *s, struct capture *c, char name[KEPT_NAME_BYTES])
{
	struct buf sql = { 0 };

	(void)kept_name(c->kept_run, name);
	if (kept_begin(s, c->kept_run))
		return name;
	c->parses = true;
	exchange_put_close_one(&s->server, 'S', name);
	put_sql(&sql, c);
	exchange_put_parse(&s->server, name, (const char *)sql.data, sql.len,
	    c->values.params, c->values.n);
	buf_free(&sql);
	return name;
}

void
joined_take_columns(
    struct session *s, struct capture *c, const struct exchange_value *own)
{
	const struct exchange_value *parsed = own;

	if (c->tells)
		facts_take_columns(s->txn, &c->facts, own, c->asks);
	if (c->asks)
		facts_remember(s, &c->facts, capture_messages(c));
	else if (c->told)
		c->told = facts_recall(s, &c->facts);
	parsed += FACTS_COLUMNS - facts_left_out(c);
	if (parsed->data != NULL)
		c->parsed = arena_memdup(
		    s->txn->arena, parsed->data, parsed->len);
}

void
joined_mend_error(struct session *s, struct capture *c)
{
	struct textmap map = { 0 };
	struct buf sql = { 0 };

	if (!c->joined || c->alone)
		return;
	c->map = &map;
	put_sql(&sql, c);
	c->map = NULL;
	textmap_mend(&map, &c->error, (const char *)sql.data, sql.len, c->text,
	    strcmp(session_parameter(s, PARAMETER_CLIENT_ENCODING), "UTF8") ==
		0);
	textmap_free(&map);
	buf_free(&sql);
}

bool
joined_found_nothing(const struct capture *c)
{
	return c->joined && !c->alone && capture_tag_rows(c) == 0;
}

void
joined_end(struct session *s, const struct capture *c)
{
	if (!c->joined)
		return;
	quiet_note(s, capture_messages(c));
	if (!c->alone)
		facts_note_last(
		    s, c->plain_run, c->asks || c->told ? &c->facts : NULL);
}

void
joined_learn(struct session *s, const struct capture *c)
{
	if (c->learns != KEPT_NONE)
		kept_set_mark(s, c->learns, "can be parsed");
}

static enum exchange_end
ask(struct session *s, struct capture *c, struct facts *f, bool ended)
{
	enum exchange_end end, ready;

	facts_put(s, s->txn, &c->table, 1);
	if (ended)
		exchange_put_sync(s);
	else
		wire_put_empty(&s->server, PqMsg_Flush);
	end = facts_read(s, s->txn, f, &c->why, ended ? NULL : &c->error);
	if (!ended || end == EXCHANGE_LOST)
		return end;
	ready = exchange_read_ready(s, NULL, NULL);
	return ready == EXCHANGE_LOST ? ready : end;
}

/* Behind its end an error, a cancel say, is of no one's statement. */
static enum exchange_end
ask_until_told(struct session *s, struct capture *c, struct facts *f)
{
	enum exchange_end end = EXCHANGE_ERROR;

	for (int i = 0; i < MAX_ASKED && end == EXCHANGE_ERROR; i++)
		end = ask(s, c, f, true);
	return end;
}

static void
note(struct session *s, struct capture *c)
{
	c->facts.same = facts_are_of(s->txn, &c->facts, c->table);
	if (!c->facts.same)
		s->settings.valid = false;
	else if (c->parsed != NULL)
		kept_set_mark(s, c->kept_run, c->parsed);
}

/* What its row did not tell. */
static void
complete(struct session *s, struct capture *c, const struct facts *behind)
{
	bool nothing = c->facts.now == NULL;

	if (nothing)
		c->facts = *behind;
	c->facts.tables = behind->tables;
	/* What they are now they may not have been when the images were
	 * printed. */
	if (!nothing && !c->asks && !facts_tell_settings(&c->facts, behind))
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "settings");
	facts_remember(s, &c->facts, capture_messages(c));
	note(s, c);
}

enum exchange_end
joined_read_facts(struct session *s, struct capture *c)
{
	struct facts f;
	enum exchange_end end = facts_read(
	    s, s->txn, &f, &c->why, &c->error);

	if (end == EXCHANGE_DONE)
		complete(s, c, &f);
	return end;
}

enum exchange_end
joined_look(struct session *s, struct capture *c, bool ended)
{
	struct facts f;
	enum exchange_end end;

	s->txn->quick = true;
	/* A tag without a row. */
	if (c->facts.now == NULL && capture_tag_rows(c) != 0)
		return EXCHANGE_LOST;
	c->facts.same = c->parsed != NULL && (c->asks || c->told) &&
			strcmp(kept_mark(s, c->kept_run), c->parsed) == 0;
	if (c->facts.same)
		return EXCHANGE_DONE;
	end = ended ? ask_until_told(s, c, &f) : ask(s, c, &f, false);
	if (ended && end == EXCHANGE_ERROR) {
		/* A very short statement_timeout, say; the client's has run. */
		facts_give_up(&c->facts);
		s->settings.valid = false;
		return EXCHANGE_DONE;
	}
	if (end == EXCHANGE_DONE)
		complete(s, c, &f);
	return end;
}
