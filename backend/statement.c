/*
 * statement.c: what one statement means for the session and the record.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "statement.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalog.h"
#include "commit.h"
#include "refusal.h"
#include "txn.h"

static enum function_class
worst_function(
    struct session *s, const struct analyzed_statement *st, bool may_ask)
{
	enum function_class worst = FUNCTION_PURE;

	for (size_t i = 0; i < st->n_functions; i++) {
		enum function_class class = catalog_function(
		    s, st->functions[i].schema, st->functions[i].name, may_ask);

		/* FUNCTION_USER reads only; the classes above it write. */
		if (class > worst && class != FUNCTION_USER)
			worst = class;
	}
	return worst;
}

static bool may_write(enum function_class class)
{
	return class == FUNCTION_WRITES || class == FUNCTION_USER_VOLATILE ||
	       class == FUNCTION_UNKNOWN;
}

const char *
statement_unsupported(
    struct session *s, const struct analyzed_statement *st, bool may_ask)
{
	switch ((int)st->kind) {
	case STMT_INSERT:
	case STMT_UPDATE:
	case STMT_DELETE:
		return "dml";
	case STMT_MERGE:
		return "merge";
	case STMT_SELECT_INTO:
		return "select_into";
	case STMT_COPY_FROM:
		return "copy_from";
	case STMT_TRUNCATE:
		return "truncate";
	case STMT_CALL:
		return "call";
	case STMT_DO:
		return "do";
	case STMT_EXECUTE:
		return "execute";
	case STMT_PREPARE:
	case STMT_DDL:
		return NULL;
	default:
		break;
	}
	if (st->kind == STMT_EXPLAIN && !st->explain_analyze)
		return NULL;
	if (st->writes)
		return st->kind == STMT_EXPLAIN ? "explain_analyze"
						: "modifying_cte";
	return may_write(worst_function(s, st, may_ask)) ? "function" : NULL;
}

bool
statement_calls_read(struct session *s, const struct analyzed_statement *st)
{
	enum function_class class = worst_function(s, st, true);

	return class != FUNCTION_SETTINGS && !may_write(class);
}

bool
statement_only_reads(struct session *s, const struct analyzed_statement *st)
{
	return !st->writes &&
	       (st->kind == STMT_SELECT || st->kind == STMT_PREPARE ||
		   st->kind == STMT_EXECUTE) &&
	       statement_calls_read(s, st);
}

bool
statement_says_time(const char *text, size_t len)
{
	static const char *const words[] = { "now", "today", "tomorrow",
		"yesterday" };

	for (size_t i = 0; i < len; i++)
		for (size_t k = 0; k < sizeof(words) / sizeof(*words); k++) {
			size_t n = strlen(words[k]);

			if (n <= len - i &&
			    strncasecmp(text + i, words[k], n) == 0 &&
			    (n == len - i || text[i + n] != '('))
				return true;
		}
	return false;
}

bool
statement_ends_transaction(enum stmt_kind kind)
{
	return kind == STMT_COMMIT || kind == STMT_ROLLBACK ||
	       kind == STMT_PREPARE_TRANSACTION;
}

bool
statement_is_of_savepoint(enum stmt_kind kind)
{
	return kind == STMT_SAVEPOINT || kind == STMT_RELEASE ||
	       kind == STMT_ROLLBACK_TO;
}

static bool
is_one_of(const char *name, const char *const *list)
{
	for (; *list != NULL; list++)
		if (strcmp(name, *list) == 0)
			return true;
	return false;
}

/* SET may change what names mean, and what the captured texts look like. */
static void
note_set(struct session *s, const struct analyzed_statement *st)
{
	static const char *const names[] = { "", "search_path", "role",
		"session_authorization", NULL };
	static const char *const harmless[] = { "application_name",
		"constraints", "statement_timeout", "lock_timeout", NULL };
	static const char *const styles[] = { "", "timezone", "datestyle",
		"intervalstyle", "standard_conforming_strings", NULL };
	/* Likewise, but the server does not report when it goes back. */
	static const char *const unreported[] = { "array_nulls", "xmloption",
		"lc_monetary", "timezone_abbreviations", NULL };
	const char *name = st->set_name != NULL ? st->set_name : "";

	if (is_one_of(name, names))
		catalog_flush(s->catalog);
	if (is_one_of(name, harmless))
		return;
	/* It is reported when the client's batch ends. */
	s->txn->restyled |= is_one_of(name, unreported);
	s->styles += is_one_of(name, styles) || s->txn->restyled;
	s->txn->plain_begin = false;
	if (s->txn->dirty)
		txn_degrade(s->txn, CAPTURE_INCOMPLETE, "settings");
}

static void
note_set_config(struct session *s, const struct analyzed_statement *st)
{
	struct txn *t = s->txn;

	for (size_t i = 0; i < st->n_functions; i++)
		if (strcmp(st->functions[i].name, "set_config") == 0) {
			catalog_flush(s->catalog);
			s->styles++;
			t->plain_begin = false;
			if (t->dirty)
				txn_degrade(t, CAPTURE_INCOMPLETE, "settings");
		}
}

void
statement_note(struct session *s, const struct analyzed_statement *st)
{
	struct txn *t = s->txn;

	if (statement_ends_transaction(st->kind))
		t->ends = true;
	switch ((int)st->kind) {
	case STMT_BEGIN:
		t->plain_begin = s->status == PQ_IDLE && !st->begin_options;
		break;
	case STMT_SET:
		note_set(s, st);
		break;
	case STMT_ROLLBACK_TO:
		s->styles += t->restyled;
		break;
	case STMT_PREPARE:
	case STMT_DEALLOCATE:
	case STMT_CURSOR:
		session_doubt(s);
		break;
	case STMT_DISCARD:
		session_doubt(s);
		catalog_flush(s->catalog);
		break;
	case STMT_DDL:
	case STMT_DO:
	case STMT_CALL:
	case STMT_SELECT_INTO:
	case STMT_OTHER:
		catalog_doubt(s);
		break;
	default:
		break;
	}
	note_set_config(s, st);
}

/* A body that says none of this cannot commit, whatever its language. */
static bool
may_commit(const char *sql, size_t len, enum stmt_kind kind)
{
	static const char *const words[] = { "commit", "call", "execute" };

	if (kind == STMT_CALL)
		return true;
	for (size_t i = 0; kind == STMT_DO && i < len; i++)
		for (size_t k = 0; k < sizeof(words) / sizeof(*words); k++)
			if (strlen(words[k]) <= len - i &&
			    strncasecmp(sql + i, words[k], strlen(words[k])) ==
				0)
				return true;
	return false;
}

uint32_t
statement_add(struct session *s, const char *sql, size_t len, const char *type,
    enum stmt_kind kind)
{
	char *normal = NULL;
	uint32_t index;

	if (s->status == PQ_IDLE && may_commit(sql, len, kind))
		s->txn->may_commit = true;
	if (s->config->log_statements == STATEMENTS_NORMALIZED) {
		normal = analyze_normalize(sql, len);
		/* Replay needs the literals. */
		txn_unverifiable(s->txn, REASON_NORMALIZED);
		sql = normal != NULL ? normal : "";
		len = strlen(sql);
	}
	index = txn_add_statement(s->txn, sql, len, type);
	free(normal);
	return index;
}

enum statement_step
statement_refuse_unsupported(struct session *s, const char *reason)
{
	/* What runs uncaptured may do anything, to prepared statements too. */
	session_doubt(s);
	if (s->config->on_capture_failure != POLICY_REJECT)
		return STATEMENT_FORWARD;
	return refusal_feature(
		   s, "the rows it changes cannot be captured", reason)
		   ? STATEMENT_DONE
		   : STATEMENT_STOP;
}

enum statement_step
statement_record_unsupported(struct session *s, const char *reason, bool now)
{
	/* Nothing will run it. */
	if (s->lost)
		return STATEMENT_STOP;
	txn_degrade(s->txn, CAPTURE_UNSUPPORTED, reason);
	if (!now)
		return STATEMENT_FORWARD;
	return statement_published(s, commit_intent(s));
}

enum statement_step
statement_refuse_unverifiable(struct session *s)
{
	if (s->config->on_unverifiable != POLICY_REJECT ||
	    s->txn->unverifiable[0] == '\0')
		return STATEMENT_FORWARD;
	return refusal_feature(
		   s, "it could not be verified", s->txn->unverifiable)
		   ? STATEMENT_DONE
		   : STATEMENT_STOP;
}

enum statement_step
statement_published(struct session *s, enum publish end)
{
	switch (end) {
	case PUBLISH_STOP:
		return STATEMENT_STOP;
	case PUBLISH_REFUSED:
		return refusal_disk(s) ? STATEMENT_DONE : STATEMENT_STOP;
	case PUBLISH_DONE:
		break;
	}
	return STATEMENT_FORWARD;
}
