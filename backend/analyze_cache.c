/*
 * analyze_cache.c: analyses kept by the shape of their text.
 *
 * An entry is one block of memory: the key, a deep copy of the analysis, and
 * the places of its spans in the key.  A hit writes the spans for the text at
 * hand into that copy.  Knows nothing of SQL.  Called by analyze.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdlib.h>
#include <string.h>

#include "analyze_cache.h"
#include "mem.h"

#define WAYS 4
#define SETS (ANALYZE_CACHE_ENTRIES / WAYS)

/* Spans of every statement; its literals' and values' follow. */
#define SPANS 5

struct entry {
	uint64_t hash;
	uint64_t used; /* the cache's clock when it was last wanted */
	size_t bytes;  /* of the block, this struct included */
	const uint8_t *key;
	size_t key_len;
	struct analysis analysis;
	struct shape_place *places; /* n_places() for each statement */
};

struct analyze_cache {
	struct entry *sets[SETS][WAYS];
	uint64_t clock;
	uint64_t shapes; /* there were, in all */
	size_t bytes;
};

/*
 * Fills a block from the front.  base is NULL in a first round, which only
 * counts the bytes.
 */
struct pack {
	char *base;
	size_t used;
};

struct analyze_cache *
analyze_cache_new(void)
{
	return mem_zalloc(1, sizeof(struct analyze_cache));
}

static void
cache_clear(struct analyze_cache *c)
{
	for (size_t i = 0; i < SETS; i++)
		for (size_t j = 0; j < WAYS; j++) {
			free(c->sets[i][j]);
			c->sets[i][j] = NULL;
		}
	c->bytes = 0;
}

void
analyze_cache_free(struct analyze_cache *c)
{
	if (c == NULL)
		return;
	cache_clear(c);
	free(c);
}

/* A copy of n bytes; NULL when counting, and for NULL. */
static void *
pack_mem(struct pack *p, const void *src, size_t n)
{
	char *dst;

	if (src == NULL)
		return NULL;
	dst = p->base == NULL ? NULL : p->base + p->used;
	p->used += (n + 15) & ~(size_t)15;
	if (dst != NULL)
		memcpy(dst, src, n);
	return dst;
}

static const char *
pack_str(struct pack *p, const char *s)
{
	return s == NULL ? NULL : pack_mem(p, s, strlen(s) + 1);
}

static const char **
pack_names(struct pack *p, const char **names, size_t n)
{
	const char **out = pack_mem(p, names, n * sizeof(*names));

	for (size_t i = 0; i < n; i++) {
		const char *s = pack_str(p, names[i]);

		if (out != NULL)
			out[i] = s;
	}
	return out;
}

static struct analyzed_relation *
pack_relations(struct pack *p, const struct analyzed_relation *r, size_t n)
{
	struct analyzed_relation *out = pack_mem(p, r, n * sizeof(*r));

	for (size_t i = 0; i < n; i++) {
		struct analyzed_relation copy = { pack_str(p, r[i].schema),
			pack_str(p, r[i].name), pack_str(p, r[i].alias),
			r[i].target };

		if (out != NULL)
			out[i] = copy;
	}
	return out;
}

static struct analyzed_function *
pack_functions(struct pack *p, const struct analyzed_function *f, size_t n)
{
	struct analyzed_function *out = pack_mem(p, f, n * sizeof(*f));

	for (size_t i = 0; i < n; i++) {
		struct analyzed_function copy = { pack_str(p, f[i].schema),
			pack_str(p, f[i].name), f[i].nested };

		if (out != NULL)
			out[i] = copy;
	}
	return out;
}

static struct analyzed_call *
pack_calls(struct pack *p, const struct analyzed_call *c, size_t n)
{
	struct analyzed_call *out = pack_mem(p, c, n * sizeof(*c));

	for (size_t i = 0; i < n; i++) {
		struct analyzed_call copy = { pack_str(p, c[i].column),
			c[i].position, pack_str(p, c[i].schema),
			pack_str(p, c[i].name) };

		if (out != NULL)
			out[i] = copy;
	}
	return out;
}

/* Of all rows. */
static size_t
n_values(const struct analyzed_statement *st)
{
	return st->values != NULL ? st->n_rows * st->n_values : 0;
}

static struct analyzed_statement *
pack_statements(struct pack *p, const struct analysis *an)
{
	struct analyzed_statement *out = pack_mem(
	    p, an->statements, an->n_statements * sizeof(*out));

	for (size_t i = 0; i < an->n_statements; i++) {
		struct analyzed_statement st = an->statements[i];

		st.type = pack_str(p, st.type);
		st.relations = pack_relations(p, st.relations, st.n_relations);
		st.functions = pack_functions(p, st.functions, st.n_functions);
		st.calls = pack_calls(p, st.calls, st.n_calls);
		st.target_ref = pack_str(p, st.target_ref);
		st.columns = pack_names(p, st.columns, st.n_columns);
		st.equal_columns = pack_names(
		    p, st.equal_columns, st.n_equal_columns);
		st.qualified = pack_names(p, st.qualified, st.n_qualified);
		st.where_params = pack_mem(p, st.where_params,
		    st.n_where_params * sizeof(*st.where_params));
		st.literals = pack_mem(
		    p, st.literals, st.n_literals * sizeof(*st.literals));
		st.conflict_columns = pack_names(
		    p, st.conflict_columns, st.n_conflict_columns);
		st.conflict_sets = pack_names(
		    p, st.conflict_sets, st.n_conflict_sets);
		st.values = pack_mem(
		    p, st.values, n_values(&st) * sizeof(*st.values));
		st.set_name = pack_str(p, st.set_name);
		st.prepared = pack_str(p, st.prepared);
		st.savepoint = pack_str(p, st.savepoint);
		if (out != NULL)
			out[i] = st;
	}
	return out;
}

static size_t
n_spans(const struct analyzed_statement *st)
{
	return SPANS + st->n_literals + n_values(st);
}

/* Both ends of each span, and the splice. */
static size_t
n_places(const struct analyzed_statement *st)
{
	return 2 * n_spans(st) + 1;
}

/* The spans of a statement, one by one. */
static struct span *
statement_span(struct analyzed_statement *st, size_t i)
{
	struct span *spans[SPANS] = { &st->text, &st->target, &st->where,
		&st->returning, &st->only_row };

	if (i < SPANS)
		return spans[i];
	i -= SPANS;
	return i < st->n_literals ? &st->literals[i].text
				  : &st->values[i - st->n_literals].text;
}

static void
places_set(struct shape_place *places, struct analyzed_statement *st,
    const struct shape *s)
{
	size_t n = n_spans(st);

	for (size_t i = 0; i < n; i++) {
		const struct span *span = statement_span(st, i);

		places[2 * i] = shape_place(s, span->at);
		places[2 * i + 1] = shape_place(s, span->at + span->len);
	}
	places[2 * n] = shape_place(s, st->splice);
}

static void
places_apply(const struct shape_place *places, struct analyzed_statement *st,
    const struct shape *s)
{
	size_t n = n_spans(st);

	for (size_t i = 0; i < n; i++) {
		struct span *span = statement_span(st, i);

		span->at = shape_offset(s, places[2 * i]);
		span->len = shape_offset(s, places[2 * i + 1]) - span->at;
	}
	st->splice = shape_offset(s, places[2 * n]);
}

static struct entry *
entry_new(const struct shape *s, const struct analysis *an, uint64_t shape)
{
	struct pack p = { NULL, 0 };
	struct shape_place *places;
	size_t head, n = 0;
	struct entry *e;

	for (size_t i = 0; i < an->n_statements; i++)
		n += n_places(&an->statements[i]);
	head = (sizeof(*e) + n * sizeof(*e->places) + 15) & ~(size_t)15;
	(void)pack_mem(&p, s->key.data, s->key.len);
	(void)pack_statements(&p, an);
	e = calloc(1, head + p.used);
	if (e == NULL)
		return NULL;
	e->bytes = head + p.used;
	e->hash = s->hash;
	e->key_len = s->key.len;
	e->places = (struct shape_place *)(void *)(e + 1);
	p = (struct pack){ (char *)e + head, 0 };
	e->key = pack_mem(&p, s->key.data, s->key.len);
	e->analysis.parsed = true;
	e->analysis.long_names = an->long_names;
	e->analysis.n_statements = an->n_statements;
	e->analysis.statements = pack_statements(&p, an);
	places = e->places;
	for (size_t i = 0; i < an->n_statements; i++) {
		struct analyzed_statement *st = &e->analysis.statements[i];

		st->shape = shape;
		places_set(places, st, s);
		places += n_places(st);
	}
	return e;
}

static bool
entry_matches(const struct entry *e, const struct shape *s)
{
	return e != NULL && e->hash == s->hash && e->key_len == s->key.len &&
	       (e->key_len == 0 ||
		   memcmp(e->key, s->key.data, e->key_len) == 0);
}

const struct analysis *
analyze_cache_find(struct analyze_cache *c, const struct shape *s)
{
	struct entry **set = c->sets[s->hash % SETS];

	for (size_t i = 0; i < WAYS; i++) {
		struct entry *e = set[i];
		const struct shape_place *places;

		if (!entry_matches(e, s))
			continue;
		e->used = ++c->clock;
		places = e->places;
		for (size_t k = 0; k < e->analysis.n_statements; k++) {
			struct analyzed_statement *st =
			    &e->analysis.statements[k];

			places_apply(places, st, s);
			places += n_places(st);
		}
		return &e->analysis;
	}
	return NULL;
}

/* A free way of the set, or the one that was not wanted for longest. */
static struct entry **
set_victim(struct entry **set)
{
	struct entry **victim = &set[0];

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i] == NULL)
			return &set[i];
		if (set[i]->used < (*victim)->used)
			victim = &set[i];
	}
	return victim;
}

void
analyze_cache_add(
    struct analyze_cache *c, const struct shape *s, const struct analysis *an)
{
	struct entry *e = entry_new(s, an, ++c->shapes);
	struct entry **way;

	if (e == NULL)
		return;
	if (e->bytes > ANALYZE_CACHE_BYTES) {
		free(e);
		return;
	}
	if (c->bytes + e->bytes > ANALYZE_CACHE_BYTES)
		cache_clear(c);
	way = set_victim(c->sets[s->hash % SETS]);
	if (*way != NULL)
		c->bytes -= (*way)->bytes;
	free(*way);
	e->used = ++c->clock;
	c->bytes += e->bytes;
	*way = e;
}
