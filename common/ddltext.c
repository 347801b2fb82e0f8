/*
 * ddltext.c: a text of DDL by its first words.
 *
 * Knows words, strings, quoted names and comments, not the grammar: it reads
 * what the server has parsed.  Owns nothing, blocks never.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "ddltext.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define WORD_BYTES 32

struct words {
	const char *p;
	const char *end;
	char word[WORD_BYTES]; /* upper case; "" at anything but a word */
};

const char *
ddl_first_word(const char *p, const char *end)
{
	unsigned depth = 0;

	while (p < end) {
		if (depth == 0 && isspace((unsigned char)*p)) {
			p++;
		} else if (end - p > 1 && p[0] == '/' && p[1] == '*') {
			depth++;
			p += 2;
		} else if (depth > 0) {
			bool closes = end - p > 1 && p[0] == '*' && p[1] == '/';

			depth -= closes;
			p += closes ? 2 : 1;
		} else if (end - p > 1 && p[0] == '-' && p[1] == '-') {
			while (p < end && *p != '\n' && *p != '\r')
				p++;
		} else {
			break;
		}
	}
	return p;
}

/* The next word; of a quoted name, or another character, "". */
static const char *
next(struct words *w)
{
	size_t n = 0;

	w->p = ddl_first_word(w->p, w->end);
	while (
	    w->p < w->end && (isalnum((unsigned char)*w->p) || *w->p == '_')) {
		if (n < WORD_BYTES - 1)
			w->word[n++] = (char)toupper((unsigned char)*w->p);
		w->p++;
	}
	w->word[n] = '\0';
	return w->word;
}

static bool
is_one_of(const char *word, const char *const *list)
{
	for (; *list != NULL; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}

/* Past what is no word: a name in quotes, a string, a sign. */
static void
skip_one(struct words *w)
{
	char c = *w->p++;

	if (c != '"' && c != '\'')
		return;
	while (w->p < w->end && *w->p != c)
		w->p++;
	if (w->p < w->end)
		w->p++;
}

/* One of these words follows somewhere, or this sign (0: none). */
static bool
has(struct words w, const char *const *list, char sign)
{
	while (w.p < w.end) {
		if (is_one_of(next(&w), list))
			return true;
		if (w.word[0] != '\0' || w.p == w.end)
			continue;
		if (sign != '\0' && *w.p == sign)
			return true;
		skip_one(&w);
	}
	return false;
}

/* ALTER ... OWNER TO alone. */
static bool
only_owner(struct words w)
{
	static const char *const owner[] = { "OWNER", NULL };
	static const char *const none[] = { NULL };

	return has(w, owner, '\0') && !has(w, none, ',');
}

/* CREATE TABLE x [(columns)] [...] AS query: AS outside of parentheses. */
static bool
is_of_query(struct words w)
{
	int depth = 0;

	while (w.p < w.end) {
		if (strcmp(next(&w), "AS") == 0 && depth == 0)
			return true;
		if (w.word[0] != '\0' || w.p == w.end)
			continue;
		depth += (*w.p == '(') - (*w.p == ')');
		skip_one(&w);
	}
	return false;
}

static enum ddl_kind
kind_of_object(struct words *w, bool create)
{
	static const char *const replayed[] = { "INDEX", "VIEW", "SEQUENCE",
		"FUNCTION", "PROCEDURE", "ROUTINE", "TRIGGER", "RULE", "TYPE",
		"DOMAIN", "SCHEMA", "AGGREGATE", "OPERATOR", "CAST",
		"COLLATION", "CONVERSION", "POLICY", "TEXT", NULL };
	static const char *const ignored[] = { "TEMP", "TEMPORARY", "LOCAL",
		"GLOBAL", "ROLE", "USER", "GROUP", "DATABASE", "TABLESPACE",
		"PUBLICATION", "SUBSCRIPTION", "STATISTICS", "DEFAULT",
		"SYSTEM", NULL };
	static const char *const modifiers[] = { "OR", "REPLACE", "UNLOGGED",
		"UNIQUE", "CONSTRAINT", "RECURSIVE", NULL };
	static const char *const secret[] = { "SERVER", "FOREIGN", NULL };
	static const char *const concurrently[] = { "CONCURRENTLY", NULL };

	while (is_one_of(next(w), modifiers))
		continue;
	if (is_one_of(w->word, secret))
		return DDL_SECRET;
	if (is_one_of(w->word, ignored))
		return DDL_IGNORED;
	if (strcmp(w->word, "MATERIALIZED") == 0)
		return create ? DDL_OF_QUERY : DDL_REPLAYED;
	if (strcmp(w->word, "TABLE") == 0) {
		if (create)
			return is_of_query(*w) ? DDL_OF_QUERY : DDL_REPLAYED;
		return has(*w, concurrently, '\0') ? DDL_REFUSED : DDL_REPLAYED;
	}
	if (strcmp(w->word, "INDEX") == 0 && has(*w, concurrently, '\0'))
		return DDL_REFUSED;
	return is_one_of(w->word, replayed) ? DDL_REPLAYED : DDL_REFUSED;
}

enum ddl_kind
ddl_kind_of(const char *sql, size_t len)
{
	static const char *const ignored[] = { "GRANT", "REVOKE", "COMMENT",
		"SECURITY", "REASSIGN", "REFRESH", NULL };
	struct words w = { .p = sql, .end = sql + len };

	next(&w);
	if (is_one_of(w.word, ignored))
		return DDL_IGNORED;
	if (strcmp(w.word, "ALTER") == 0 && only_owner(w))
		return DDL_IGNORED;
	if (strcmp(w.word, "CREATE") != 0 && strcmp(w.word, "ALTER") != 0 &&
	    strcmp(w.word, "DROP") != 0)
		return DDL_REFUSED;
	return kind_of_object(&w, w.word[0] == 'C');
}
