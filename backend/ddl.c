/*
 * ddl.c: DDL on its way through the session.
 *
 * Owns nothing: the statements are in the transaction (txn.h), so that what is
 * rolled back, to a savepoint too, is forgotten.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "ddl.h"

#include <string.h>

#include "commitment.h"
#include "ddltext.h"
#include "exchange.h"
#include "publish.h"
#include "statement.h"
#include "txn.h"

/* What decides how the text of a definition is understood. */
static const char *const setting_names[DDL_SETTINGS] = { "search_path",
	"DateStyle", "IntervalStyle", "TimeZone", "array_nulls", "xmloption",
	"transform_null_equals", "client_encoding" };

/* clang-format off */
#define SETTING(name) " pg_catalog.current_setting('" name "'),"
static const char settings_sql[] = "SELECT"
	SETTING("search_path") SETTING("DateStyle") SETTING("IntervalStyle")
	SETTING("TimeZone") SETTING("array_nulls") SETTING("xmloption")
	SETTING("transform_null_equals") SETTING("client_encoding")
	" CAST(CURRENT_USER AS pg_catalog.text)";
/* clang-format on */

static const char *
keep(struct txn *t, const struct exchange_value *v)
{
	return v->data == NULL ? arena_strdup(t->arena, "")
			       : arena_memdup(t->arena, v->data, v->len);
}

static void
keep_settings(struct txn *t, const struct exchange_value *v)
{
	const char *user = keep(t, &v[DDL_SETTINGS]);
	struct record_setting *list = arena_alloc(
	    t->arena, DDL_SETTINGS * sizeof(*list));

	for (size_t i = 0; list != NULL && i < DDL_SETTINGS; i++) {
		list[i].name = setting_names[i];
		list[i].value = keep(t, &v[i]);
		if (list[i].value == NULL)
			list = NULL;
	}
	if (list == NULL || user == NULL) {
		txn_ddl_reason(t, "too_large");
		return;
	}
	t->ddl_settings = list;
	t->ddl_user = user;
}

static bool
equals(const struct exchange_value *v, const char *text)
{
	return v->data != NULL && v->len == strlen(text) &&
	       memcmp(v->data, text, v->len) == 0;
}

/* All of a transaction's DDL is replayed with one set of settings. */
static bool
settings_row(void *arg, const struct message *row)
{
	struct session *s = arg;
	struct txn *t = s->txn;
	struct exchange_value v[DDL_SETTINGS + 1];
	bool same = true;

	if (!exchange_row_values(row, v, DDL_SETTINGS + 1))
		return false;
	if (t->ddl_settings == NULL) {
		keep_settings(t, v);
		return true;
	}
	for (size_t i = 0; i < DDL_SETTINGS; i++)
		same = same && equals(&v[i], t->ddl_settings[i].value);
	if (!same || !equals(&v[DDL_SETTINGS], t->ddl_user))
		txn_ddl_reason(t, "settings");
	return true;
}

static void
ask_settings(struct session *s)
{
	if (exchange_query(s, settings_sql, NULL, 0, settings_row, s, NULL) !=
		EXCHANGE_DONE ||
	    s->txn->ddl_settings == NULL)
		txn_ddl_reason(s->txn, "settings");
}

static bool
is_ddl(const struct analyzed_statement *st)
{
	return st->kind == STMT_DDL || st->kind == STMT_SELECT_INTO;
}

void
ddl_note(
    struct session *s, const char *text, const struct analyzed_statement *st)
{
	struct txn *t = s->txn;
	const char *sql = text + st->text.at;
	size_t len = st->text.len;

	if (!is_ddl(st))
		return;
	switch (ddl_kind_of(sql, len)) {
	case DDL_IGNORED:
		return;
	case DDL_REFUSED:
		txn_ddl_reason(t, "unsupported");
		break;
	case DDL_SECRET:
		txn_ddl_reason(t, "unsupported");
		sql = "***";
		len = strlen(sql);
		break;
	case DDL_REPLAYED:
	case DDL_OF_QUERY:
		break;
	}
	if (s->config->log_statements == STATEMENTS_NORMALIZED) {
		txn_ddl_reason(t, "normalized");
		return;
	}
	ask_settings(s);
	if (!txn_add_ddl(t, sql, len, st->type))
		txn_ddl_reason(t, "too_large");
}

/* SET in between would not be seen, nor where a transaction ends. */
static const char *
obstacle(const struct analysis *a)
{
	for (size_t i = 0; i < a->n_statements; i++) {
		enum stmt_kind kind = a->statements[i].kind;

		if (kind == STMT_BEGIN || statement_ends_transaction(kind) ||
		    statement_is_of_savepoint(kind))
			return "several_transactions";
		if (kind == STMT_SET || kind == STMT_DISCARD)
			return "settings";
	}
	return NULL;
}

void
ddl_note_several(struct session *s, const char *text, const struct analysis *a)
{
	const char *reason = obstacle(a);
	size_t n = s->txn->n_ddl;

	for (size_t i = 0; i < a->n_statements; i++)
		ddl_note(s, text, &a->statements[i]);
	if (s->txn->n_ddl > n && reason != NULL)
		txn_ddl_reason(s->txn, reason);
}

/* What is not looked into may have run DDL of its own. */
static bool
is_opaque(const struct txn *t)
{
	static const char *const reasons[] = { "call", "do", "execute",
		"function", "function_call", "mixed_protocols", "not_parsed" };

	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (t->capture == CAPTURE_UNSUPPORTED &&
		    strcmp(t->reason, reasons[i]) == 0)
			return true;
	return false;
}

void
ddl_publish(struct session *s, enum record_outcome outcome)
{
	struct txn *t = s->txn;
	struct record r;

	if (t->published && is_opaque(t))
		txn_ddl_reason(t, "opaque");
	if (t->n_ddl == 0 && t->ddl_reason[0] == '\0')
		return;
	switch (outcome) {
	case OUTCOME_ABORTED:
		return;
	case OUTCOME_PREPARED:
		txn_ddl_reason(t, "two_phase");
		break;
	case OUTCOME_UNKNOWN:
		txn_ddl_reason(t, "several_transactions");
		break;
	case OUTCOME_COMMITTED:
		break;
	}
	commitment_ddl(s, t, &r);
	publish_ddl(s, &r);
}
