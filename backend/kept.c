/*
 * kept.c: statements of ours that stay prepared on the server.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "kept.h"

#include <string.h>
#include <strings.h>

#include "exchange.h"
#include "pipeline.h"

static const char *const names[KEPT_NAMES] = { "pgwitness_facts",
	"pgwitness_quick_facts" };

void
kept_put(struct session *s, enum kept_name name, const char *sql,
    const char *const *params, size_t n_params)
{
	struct kept *k = &s->kept;
	bool there = k->statements[name].there &&
		     k->statements[name].doubts == s->doubts;

	if (k->shy) {
		exchange_put(s, sql, params, n_params);
		return;
	}
	k->used = true;
	k->statements[name].asked = true;
	k->statements[name].there = false;
	k->statements[name].doubts = s->doubts;
	exchange_put_kept(s, names[name], there ? NULL : sql, params, n_params);
}

void
kept_answered(struct session *s, enum kept_name name, bool done)
{
	struct kept *k = &s->kept;

	if (!k->statements[name].asked)
		return;
	k->statements[name].asked = false;
	k->statements[name].there = done && !k->shy;
}

/* pg_prepared_statements, or the function under it. */
static bool
looks_at_prepared(const char *text, size_t len)
{
	static const char before[] = "pg_prepared", after[] = "statement";
	const size_t n = sizeof(before) - 1, left = sizeof(after) - 1;
	const char *end = text + len;

	for (const char *p = text; (size_t)(end - p) > left; p++) {
		p = memchr(p, '_', (size_t)(end - p));
		if (p == NULL || (size_t)(end - p) <= left)
			return false;
		if ((size_t)(p - text) >= n &&
		    strncasecmp(p + 1, after, left) == 0 &&
		    strncasecmp(p - n, before, n) == 0)
			return true;
	}
	return false;
}

bool
kept_hide(struct session *s, const char *text, size_t len)
{
	if (s->bare || !looks_at_prepared(text, len))
		return true;
	s->kept.shy = true;
	if (!s->kept.used)
		return true;
	for (int i = 0; i < KEPT_NAMES; i++) {
		exchange_put_close_one(&s->server, 'S', names[i]);
		pipeline_push(s, PqMsg_Close)->own = true;
	}
	return pipeline_catch_up(s);
}
