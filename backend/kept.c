/*
 * kept.c: statements of ours that stay prepared on the server.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "exchange.h"
#include "ioutil.h"
#include "pipeline.h"

static const char *const names[KEPT_NAMES] = { "pgwitness_facts",
	"pgwitness_quick_facts", "pgwitness_tables", "pgwitness_quick_tables" };

/*
 * The server keeps a plan that was good when it was made, also when a table of
 * ten rows has a million since; the client's own text it would plan anew.  So a
 * statement is parsed again when its runs have taken many times as long as that
 * takes: a plan that has become a bad one is soon made anew.
 */
#define PLAN_GOOD_US 1000000

_Static_assert(KEPT_ALL <= 100, "two digits");

const char *
kept_name(int which, char name[KEPT_NAME_BYTES])
{
	char *to;

	if (which < KEPT_NAMES)
		return names[which];
	/* Each run of one asks for it: printf() takes its time. */
	to = stpcpy(name, "pgwitness_");
	if (which >= 10)
		*to++ = (char)('0' + which / 10);
	*to++ = (char)('0' + which % 10);
	*to = '\0';
	return name;
}

static void
put_key(struct buf *key, uint64_t owner, const char *sql, size_t len,
    const struct record_param *params, size_t n)
{
	buf_reset(key);
	buf_put(key, &owner, sizeof(owner));
	for (size_t i = 0; i < n; i++)
		buf_put_u32(key, params[i].type);
	buf_put(key, sql, len);
}

static bool
is_of(const struct kept *all, int which, const struct buf *key, uint32_t hash)
{
	const struct kept_statement *k = &all->statements[which];

	return all->hashes[which] == hash && k->key_len == key->len &&
	       memcmp(k->key, key->data, key->len) == 0;
}

/* The one of this key, or the one that was used the longest time ago. */
static int
find(const struct kept *all, const struct buf *key, uint32_t hash)
{
	int oldest = KEPT_NAMES;

	for (int i = KEPT_NAMES; i < KEPT_ALL; i++) {
		if (is_of(all, i, key, hash))
			return i;
		if (all->last[i] < all->last[oldest])
			oldest = i;
	}
	return oldest;
}

static int
place(struct session *s, uint64_t owner, const char *sql, size_t len,
    const struct record_param *params, size_t n, bool *is_new)
{
	struct kept_statement *k;
	struct buf *key = &s->kept.key;
	uint32_t hash;
	int which;

	*is_new = true;
	if (s->kept.shy)
		return KEPT_NONE;
	put_key(key, owner, sql, len, params, n);
	hash = io_crc32c(0, key->data, key->len);
	which = find(&s->kept, key, hash);
	s->kept.last[which] = ++s->kept.clock;
	k = &s->kept.statements[which];
	*is_new = !is_of(&s->kept, which, key, hash);
	if (!*is_new)
		return which;
	free(k->key);
	k->key = key->data;
	k->key_len = key->len;
	*key = (struct buf){ 0 };
	k->there = k->asked = false;
	k->mark[0] = '\0';
	k->last = false;
	k->placed = s->kept.clock;
	s->kept.hashes[which] = hash;
	return which;
}

int
kept_place(struct session *s, uint64_t owner, const char *sql, size_t len,
    const struct record_param *params, size_t n)
{
	bool is_new;

	return place(s, owner, sql, len, params, n, &is_new);
}

int
kept_find(struct session *s, uint64_t owner, const char *sql, size_t len,
    const struct record_param *params, size_t n)
{
	bool is_new;
	int which = place(s, owner, sql, len, params, n, &is_new);

	return is_new ? KEPT_NONE : which;
}

bool
kept_begin(struct session *s, int which)
{
	struct kept_statement *k = &s->kept.statements[which];
	bool there = k->there && k->doubts == s->doubts &&
		     k->ran_us < PLAN_GOOD_US;

	if (!there)
		k->ran_us = 0;
	k->began_us = io_monotonic_us();
	k->used = true;
	k->asked = true;
	k->there = false;
	k->doubts = s->doubts;
	return there;
}

void
kept_put(struct session *s, int which, const char *sql,
    const struct record_param *params, size_t n)
{
	char name[KEPT_NAME_BYTES];

	if (which == KEPT_NONE || s->kept.shy)
		exchange_put_bound(s, sql, params, n);
	else
		exchange_put_kept(s, kept_name(which, name),
		    kept_begin(s, which) ? NULL : sql, params, n);
}

void
kept_answered(struct session *s, int which, bool done)
{
	struct kept_statement *k;

	if (which == KEPT_NONE || !s->kept.statements[which].asked)
		return;
	k = &s->kept.statements[which];
	k->asked = false;
	k->ran_us += io_monotonic_us() - k->began_us;
	k->there = done && !s->kept.shy;
	if (!done)
		k->mark[0] = '\0';
}

uint64_t
kept_placed(const struct session *s, int which)
{
	return s->kept.statements[which].placed;
}

const char *
kept_mark(const struct session *s, int which)
{
	return s->kept.statements[which].mark;
}

void
kept_set_mark(struct session *s, int which, const char *mark)
{
	snprintf(s->kept.statements[which].mark, KEPT_MARK_BYTES, "%s", mark);
}

bool
kept_is_last(const struct session *s, int which)
{
	return s->kept.statements[which].last;
}

void
kept_set_last(struct session *s, int which, uint64_t placed, bool last)
{
	if (kept_placed(s, which) == placed)
		s->kept.statements[which].last = last;
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
		if ((size_t)(p - text) >= n && (p[1] | 0x20) == *after &&
		    strncasecmp(p + 1, after, left) == 0 &&
		    strncasecmp(p - n, before, n) == 0)
			return true;
	}
	return false;
}

bool
kept_hide(struct session *s, const char *text, size_t len)
{
	char name[KEPT_NAME_BYTES];
	bool any = false;

	if (s->bare || !looks_at_prepared(text, len))
		return true;
	s->kept.shy = true;
	for (int i = 0; i < KEPT_ALL; i++) {
		if (!s->kept.statements[i].used)
			continue;
		exchange_put_close_one(&s->server, 'S', kept_name(i, name));
		pipeline_push(s, PqMsg_Close)->own = true;
		any = true;
	}
	return !any || pipeline_catch_up(s);
}
