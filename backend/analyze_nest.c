/*
 * analyze_nest.c: keeps libpg_query within the stack, and its lexer quick.
 *
 * libpg_query copies trees by recursion and has no depth check of its own.
 * Here the depth of a tree is bounded from above by its tokens, before it is
 * made.  Never looks at what a statement means.  Called by analyze.c.
 *
 * The bound: every level of a tree has at least one token of its own.  Within
 * one pair of brackets a comma, AND or OR separates siblings, so that only
 * the longest stretch between them counts; but what a CASE, BETWEEN, JOIN or
 * set operation opens goes on behind them, so each of those counts for the
 * whole pair.  What is inside brackets counts on top of its stretch.
 *
 * The lexer takes cubic time for a run of + and -, quadratic time for a run of
 * nested comment starts (as PostgreSQL's own does), so that one megabyte of
 * them would never end.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>
#include <sys/resource.h>

#include "analyze_int.h"

#define STACK_BYTES ((rlim_t)64 * 1024 * 1024)
/* Measured: at most 2.9 kB for each token of depth; the rest is reserve. */
#define STACK_BYTES_PER_TOKEN 4096
/* What others may have on the stack already. */
#define STACK_RESERVE ((rlim_t)1024 * 1024)
/* Packing a tree takes time that grows with the square of its depth. */
#define DEPTH_MAX 8000
#define BRACKETS_MAX 2000
/* Of '+' and comment starts in one run of operator characters. */
#define RUN_HAZARDS_MAX 32

struct level {
	unsigned sticky; /* counted for the whole pair of brackets */
	unsigned run;    /* tokens since the last separator */
	unsigned inner;  /* deepest pair of brackets in this stretch */
	unsigned best;   /* deepest stretch so far */
};

void
nest_raise_stack(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_STACK, &r) != 0 || r.rlim_cur == RLIM_INFINITY ||
	    r.rlim_cur >= STACK_BYTES)
		return;
	r.rlim_cur = STACK_BYTES;
	if (r.rlim_max != RLIM_INFINITY && r.rlim_max < STACK_BYTES)
		r.rlim_cur = r.rlim_max;
	(void)setrlimit(RLIMIT_STACK, &r);
}

static unsigned
nest_depth_max(void)
{
	struct rlimit r;
	rlim_t depth;

	if (getrlimit(RLIMIT_STACK, &r) != 0 || r.rlim_cur <= STACK_RESERVE)
		return 0;
	if (r.rlim_cur == RLIM_INFINITY)
		return DEPTH_MAX;
	depth = (r.rlim_cur - STACK_RESERVE) / STACK_BYTES_PER_TOKEN;
	return depth > DEPTH_MAX ? DEPTH_MAX : (unsigned)depth;
}

static void
level_separate(struct level *l)
{
	if (l->run + l->inner > l->best)
		l->best = l->run + l->inner;
	l->run = l->inner = 0;
}

static unsigned
level_depth(const struct level *l)
{
	unsigned now = l->run + l->inner;

	return l->sticky + (now > l->best ? now : l->best) + 1;
}

static void
level_count(struct level *l, PgQuery__Token token)
{
	if (token == TOKEN(ASCII_44) || token == TOKEN(ASCII_59) ||
	    token == TOKEN(AND) || token == TOKEN(OR))
		level_separate(l);
	else if (token == TOKEN(CASE) || token == TOKEN(BETWEEN) ||
		 token == TOKEN(JOIN) || token == TOKEN(UNION) ||
		 token == TOKEN(INTERSECT) || token == TOKEN(EXCEPT))
		l->sticky++;
	else
		l->run++;
}

static bool
is_open(PgQuery__Token token)
{
	return token == TOKEN(ASCII_40) || token == TOKEN(ASCII_91);
}

static bool
is_close(PgQuery__Token token)
{
	return token == TOKEN(ASCII_41) || token == TOKEN(ASCII_93);
}

bool
nest_is_shallow(const struct tokens *tokens)
{
	struct level levels[BRACKETS_MAX];
	unsigned depth_max = nest_depth_max();
	size_t top = 0;

	levels[0] = (struct level){ 0 };
	for (size_t i = 0; i < tokens->n; i++) {
		PgQuery__Token token = tokens->t[i]->token;

		if (is_open(token)) {
			if (++top == BRACKETS_MAX)
				return false;
			levels[top] = (struct level){ 0 };
		} else if (is_close(token) && top > 0) {
			unsigned depth = level_depth(&levels[top--]);

			if (depth > levels[top].inner)
				levels[top].inner = depth;
		} else if (token == TOKEN(ASCII_59) && top == 0) {
			levels[0] = (struct level){ 0 };
		} else {
			level_count(&levels[top], token);
		}
		if (level_depth(&levels[top]) > depth_max)
			return false;
	}
	return true;
}

bool
nest_is_lexable(const char *text, size_t len)
{
	unsigned hazards = 0;

	for (size_t i = 0; i < len; i++) {
		if (strchr("~!@#^&|`?+-*/%<>=", text[i]) == NULL)
			hazards = 0;
		else if (text[i] == '+' ||
			 (text[i] == '*' && i > 0 && text[i - 1] == '/'))
			hazards++;
		if (hazards > RUN_HAZARDS_MAX)
			return false;
	}
	return true;
}
