/*
 * analyze.c: what a query string would do, as far as its text shows.
 *
 * Looks the text's shape up in the cache; else lexes it, refuses what would
 * be too deep for libpg_query, parses it, and keeps the analysis if only
 * literals can differ.  Owns the arena that holds tree and analysis until the
 * next call.  Never blocks; libpg_query uses one pipe while it parses.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "analyze.h"

#include <stdlib.h>
#include <string.h>

#include "analyze_cache.h"
#include "analyze_int.h"
#include "mem.h"
#include "shape.h"

/*
 * Tree and analysis of one text.  A 1 MB INSERT of usual rows takes 84 MB with
 * libpg_query's own share; 1 MB of "a,a,a" would take 500 MB.
 */
#define ARENA_BYTES ((size_t)256 * 1024 * 1024)

struct analyzer {
	size_t max_parse_bytes;
	struct arena *arena;
	struct shape shape;
	struct analyze_cache *cache;
	struct analysis result; /* on a miss */
	size_t hits;
	size_t misses;
};

/* What one text becomes on a miss; all in the arena. */
struct parse {
	struct arena *arena;
	const char *text; /* with a NUL */
	size_t len;
	struct tokens tokens;
	PgQuery__ParseResult *tree;
	const char *error;
	bool syntax_error; /* the grammar refused it */
	bool long_names;
};

struct analyzer *
analyzer_new(size_t max_parse_bytes)
{
	struct analyzer *a = mem_zalloc(1, sizeof(*a));

	nest_raise_stack();
	a->max_parse_bytes = max_parse_bytes;
	a->arena = arena_new(ARENA_BYTES);
	a->cache = analyze_cache_new();
	shape_init(&a->shape);
	return a;
}

void
analyzer_free(struct analyzer *a)
{
	if (a == NULL)
		return;
	analyze_cache_free(a->cache);
	shape_free(&a->shape);
	arena_free(a->arena);
	free(a);
}

void
analyzer_counts(const struct analyzer *a, size_t *hits, size_t *misses)
{
	*hits = a->hits;
	*misses = a->misses;
}

/* Bytes of the valid UTF-8 character at p (RFC 3629), 0 if it is none. */
static size_t
utf8_char(const unsigned char *p, size_t n)
{
	unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
	unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
	size_t want = p[0] < 0x80 ? 1 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;

	if (want == 1)
		return 1;
	if (p[0] < 0xC2 || p[0] > 0xF4 || want > n)
		return 0;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < want; i++)
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	return want;
}

static bool
utf8_is_valid(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t i = 0;

	while (i < len) {
		uint64_t word = 0;
		size_t n;

		if (len - i >= sizeof(word)) {
			memcpy(&word, p + i, sizeof(word));
			if ((word & 0x8080808080808080u) == 0) {
				i += sizeof(word);
				continue;
			}
		}
		n = utf8_char(p + i, len - i);
		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

/* Why no text of these bytes is ever parsed; NULL if it may be. */
static const char *
text_refusal(const char *text, size_t len)
{
	if (len > 0 && memchr(text, '\0', len) != NULL)
		return "query contains a zero byte";
	if (!utf8_is_valid(text, len))
		return "query is not valid UTF-8";
	return NULL;
}

static bool
parse_failed(struct parse *p, const char *error)
{
	p->error = arena_strdup(p->arena, error);
	if (p->error == NULL)
		p->error = "out of memory";
	return false;
}

/* protobuf-c's allocator over our arena: nothing is freed singly. */
static void *
tree_alloc(void *arena, size_t n)
{
	return arena_alloc(arena, n);
}

static void
tree_free(void *arena, void *p)
{
	(void)arena;
	(void)p;
}

static bool
is_comment(const PgQuery__ScanToken *t)
{
	return t->token == TOKEN(SQL_COMMENT) || t->token == TOKEN(C_COMMENT);
}

/* NAMEDATALEN of them are kept. */
static bool
is_long_name(const PgQuery__ScanToken *t)
{
	return (t->token == TOKEN(IDENT) || t->token == TOKEN(UIDENT)) &&
	       t->end - t->start >= 64;
}

static bool
parse_unpack_tokens(struct parse *p, const PgQueryProtobuf *pb)
{
	ProtobufCAllocator alloc = { tree_alloc, tree_free, p->arena };
	PgQuery__ScanResult *scan;
	size_t n = 0;

	scan = pg_query__scan_result__unpack(
	    &alloc, pb->len, (const uint8_t *)pb->data);
	if (scan == NULL)
		return parse_failed(p, "too large");
	for (size_t i = 0; i < scan->n_tokens; i++)
		if (!is_comment(scan->tokens[i]))
			scan->tokens[n++] = scan->tokens[i];
	p->tokens.t = scan->tokens;
	p->tokens.n = n;
	for (size_t i = 0; i < n; i++)
		p->long_names = p->long_names || is_long_name(p->tokens.t[i]);
	return true;
}

/* The scanner's or the grammar's own refusal. */
static bool
parse_refused(struct parse *p, const char *error)
{
	/* libpg_query's limits are not PostgreSQL's. */
	p->syntax_error = strstr(error, "stack depth") == NULL &&
			  strstr(error, "memory") == NULL;
	return parse_failed(p, error);
}

static bool
parse_scan(struct parse *p)
{
	PgQueryScanResult r;
	bool ok;

	if (!nest_is_lexable(p->text, p->len))
		return parse_failed(p, "too long a run of operators");
	r = pg_query_scan(p->text);
	ok = r.error != NULL ? parse_refused(p, r.error->message)
			     : parse_unpack_tokens(p, &r.pbuf);
	pg_query_free_scan_result(r);
	if (ok && !nest_is_shallow(&p->tokens))
		return parse_failed(p, "too deeply nested");
	return ok;
}

static bool
parse_unpack_tree(struct parse *p, const PgQueryProtobuf *pb)
{
	ProtobufCAllocator alloc = { tree_alloc, tree_free, p->arena };

	p->tree = pg_query__parse_result__unpack(
	    &alloc, pb->len, (const uint8_t *)pb->data);
	return p->tree != NULL || parse_failed(p, "too large");
}

static bool
parse_tree(struct parse *p)
{
	PgQueryProtobufParseResult r = pg_query_parse_protobuf(p->text);
	bool ok = r.error != NULL ? parse_refused(p, r.error->message)
				  : parse_unpack_tree(p, &r.parse_tree);

	pg_query_free_protobuf_parse_result(r);
	return ok;
}

/* The tokens of a statement, without the ';' behind it; moves *next. */
static struct tokens
statement_tokens(
    const struct parse *p, const PgQuery__RawStmt *raw, size_t *next)
{
	size_t from = (size_t)raw->stmt_location;
	size_t to = raw->stmt_len > 0 ? from + (size_t)raw->stmt_len : p->len;
	struct tokens all = p->tokens;
	struct tokens mine;
	size_t i = *next;

	while (i < all.n && (size_t)all.t[i]->start < from)
		i++;
	/* Empty statements before the first one. */
	while (i < all.n && all.t[i]->token == TOKEN(ASCII_59))
		i++;
	mine.t = all.t + i;
	while (i < all.n && (size_t)all.t[i]->end <= to)
		i++;
	mine.n = (size_t)(all.t + i - mine.t);
	while (mine.n > 0 && mine.t[mine.n - 1]->token == TOKEN(ASCII_59))
		mine.n--;
	*next = i;
	return mine;
}

static bool
parse_statements(struct parse *p, struct analysis *out)
{
	size_t n = p->tree->n_stmts;
	size_t next = 0;

	out->statements = arena_zalloc(p->arena, n * sizeof(*out->statements));
	if (out->statements == NULL)
		return parse_failed(p, "out of memory");
	for (size_t i = 0; i < n; i++) {
		const PgQuery__RawStmt *raw = p->tree->stmts[i];
		struct tokens tokens = statement_tokens(p, raw, &next);

		if (raw->stmt == NULL)
			return parse_failed(p, "empty tree");
		if (!stmt_analyze(p->arena, raw->stmt, p->text, &tokens,
			&out->statements[i]))
			return parse_failed(p, "too large");
	}
	out->n_statements = n;
	return true;
}

/* Sets *out from the text, which is no hit. */
static void
analyze_miss(
    struct analyzer *a, const char *text, size_t len, struct analysis *out)
{
	struct parse p = { .arena = a->arena, .len = len };

	arena_reset(a->arena);
	p.text = arena_memdup(a->arena, text, len);
	out->parsed = p.text != NULL && parse_scan(&p) && parse_tree(&p) &&
		      parse_statements(&p, out);
	out->syntax_error = p.syntax_error;
	out->long_names = p.long_names;
	if (!out->parsed)
		out->error = p.error != NULL ? p.error : "out of memory";
}

/* True if another text of the shape differs in the values of literals only. */
static bool
is_cacheable(const struct analysis *an)
{
	for (size_t i = 0; i < an->n_statements; i++) {
		enum stmt_kind kind = an->statements[i].kind;

		if (kind != STMT_SELECT && kind != STMT_INSERT &&
		    kind != STMT_UPDATE && kind != STMT_DELETE &&
		    (kind < STMT_BEGIN || kind > STMT_ROLLBACK_PREPARED))
			return false;
	}
	return an->parsed;
}

static const struct analysis *
analyze_refuse(struct analyzer *a, const char *error)
{
	a->result = (struct analysis){ .error = error };
	return &a->result;
}

const struct analysis *
analyze(struct analyzer *a, const char *text, size_t len, bool standard_strings)
{
	const struct analysis *hit;
	const char *error = NULL;
	bool shaped;

	if (!standard_strings)
		error = "standard_conforming_strings is off";
	else if (len > a->max_parse_bytes)
		error = "query is too long";
	else
		error = text_refusal(text, len);
	if (error != NULL)
		return analyze_refuse(a, error);
	shaped = shape_scan(&a->shape, text, len);
	hit = shaped ? analyze_cache_find(a->cache, &a->shape) : NULL;
	if (hit != NULL) {
		a->hits++;
		return hit;
	}
	a->misses++;
	a->result = (struct analysis){ .parsed = false };
	analyze_miss(a, text, len, &a->result);
	if (shaped && is_cacheable(&a->result)) {
		analyze_cache_add(a->cache, &a->shape, &a->result);
		/* Only there it has the number of its shape. */
		hit = analyze_cache_find(a->cache, &a->shape);
	}
	return hit != NULL ? hit : &a->result;
}

/*
 * The text without comments, which pg_query_normalize() would keep; NULL at
 * the arena's limit.
 */
static const char *
parse_strip_comments(const struct parse *p)
{
	char *out = arena_memdup(p->arena, p->text, p->len);
	size_t n = 0;

	for (size_t i = 0; out != NULL && i < p->tokens.n; i++) {
		size_t at = (size_t)p->tokens.t[i]->start;
		size_t len = (size_t)p->tokens.t[i]->end - at;

		/* A gap is at least one byte wide. */
		if (i > 0 && at > (size_t)p->tokens.t[i - 1]->end)
			out[n++] = ' ';
		memcpy(out + n, p->text + at, len);
		n += len;
	}
	if (out != NULL)
		out[n] = '\0';
	return out;
}

char *
analyze_normalize(const char *text, size_t len)
{
	struct parse p = { .arena = arena_new(ARENA_BYTES), .len = len };
	const char *bare = NULL;
	char *out = NULL;

	if (text_refusal(text, len) == NULL)
		p.text = arena_memdup(p.arena, text, len);
	if (p.text != NULL && parse_scan(&p))
		bare = parse_strip_comments(&p);
	if (bare != NULL) {
		PgQueryNormalizeResult r = pg_query_normalize(bare);

		if (r.error == NULL)
			out = strdup(r.normalized_query);
		pg_query_free_normalize_result(r);
	}
	arena_free(p.arena);
	return out;
}
