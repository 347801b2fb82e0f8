/*
 * jscan.c: one pass over the JSON of an evidence line.
 *
 * Strict where jansson is strict: UTF-8, no control character in a string, no
 * \u0000, no lone surrogate, no member twice in any object, integers of 64
 * bits, reals that a double can hold, nothing behind the object.  Lines are
 * hostile: depth is bounded, and member names go through one hash table for
 * the whole line.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "jscan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define MAX_DEPTH 2048  /* jansson's JSON_PARSER_MAX_DEPTH */
#define FIRST_NAMES 256 /* slots; a power of two */

/* A member name seen in an object of this line. */
struct name {
	uint64_t line; /* stamp; another line's is free */
	uint64_t object;
	const char *text;
	size_t len;
};

struct jscan {
	const char *start;
	const char *p;
	const char *end;
	const char *wrong; /* what, once something is */
	unsigned depth;

	char *scratch; /* decoded strings */
	size_t scratch_size;
	size_t scratch_used;

	struct name *names;
	size_t n_slots;
	size_t n_names;
	uint64_t line;
	uint64_t objects; /* in this line so far */

	struct jscan_table *tables;
	size_t n_tables;
	size_t max_tables;
	struct blob_ref *blobs;
	size_t n_blobs;
	size_t max_blobs;
	struct jscan_fields *out;
};

/* What an object is to its members. */
enum role { ROLE_OTHER, ROLE_LINE, ROLE_TABLES, ROLE_TABLE };

/* A string as it stands in the line, without its quotes. */
struct raw {
	const char *p;
	size_t len;
	bool escaped;
};

static const struct member_name {
	const char *name;
	size_t len;
} member_names[JSCAN_MEMBERS] = {
#define MEMBER(name) \
	{ \
		name, sizeof(name) - 1 \
	}
	[JSCAN_TYPE] = MEMBER("type"),
	[JSCAN_SEQ] = MEMBER("seq"),
	[JSCAN_TIME] = MEMBER("time"),
	[JSCAN_PREV] = MEMBER("prev"),
	[JSCAN_TX_ID] = MEMBER("tx_id"),
	[JSCAN_XID] = MEMBER("xid"),
	[JSCAN_SYSTEM_IDENTIFIER] = MEMBER("system_identifier"),
	[JSCAN_ORIGIN] = MEMBER("origin"),
	[JSCAN_PRE_ROOT_CAPTURED] = MEMBER("pre_root_captured"),
	[JSCAN_POST_ROOT_CLAIMED] = MEMBER("post_root_claimed"),
	[JSCAN_POST_ROOT_CALCULATED] = MEMBER("post_root_calculated"),
	[JSCAN_OUTCOME] = MEMBER("outcome"),
	[JSCAN_VERDICT] = MEMBER("verdict"),
	[JSCAN_REASON] = MEMBER("reason"),
	[JSCAN_SUCCESS] = MEMBER("success"),
	[JSCAN_OLD] = MEMBER("old"),
	[JSCAN_NEW] = MEMBER("new"),
	[JSCAN_TABLES] = MEMBER("tables"),
	[JSCAN_WITNESSED] = MEMBER("witnessed"),
};

struct jscan *
jscan_new(void)
{
	return mem_zalloc(1, sizeof(struct jscan));
}

void
jscan_free(struct jscan *s)
{
	if (s == NULL)
		return;
	free(s->scratch);
	free(s->names);
	free(s->tables);
	free(s->blobs);
	free(s);
}

static bool
wrong(struct jscan *s, const char *what)
{
	if (s->wrong == NULL)
		s->wrong = what;
	return false;
}

static void
skip_space(struct jscan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' ||
				    *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

/* The next byte that is no white space; 0 at the end. */
static char
peek(struct jscan *s)
{
	skip_space(s);
	return s->p < s->end ? *s->p : '\0';
}

/* --- strings --- */

/* Bytes of the UTF-8 character at p, 0 if it is none (RFC 3629). */
static size_t
utf8_length(const unsigned char *p, size_t left)
{
	size_t n = p[0] < 0xc2   ? 0
		   : p[0] < 0xe0 ? 2
		   : p[0] < 0xf0 ? 3
		   : p[0] < 0xf5 ? 4
				 : 0;

	if (n == 0 || left < n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* Four hex digits at p, or -1. */
static int
hex4(const char *p, const char *end)
{
	int v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = p[i];

		if (c >= '0' && c <= '9')
			v = v * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v * 16 + (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			v = v * 16 + (c - 'A' + 10);
		else
			return -1;
	}
	return v;
}

/* Behind a backslash and 'u'. */
static bool
skip_unicode_escape(struct jscan *s)
{
	int high = hex4(s->p, s->end);
	int low;

	if (high < 0)
		return wrong(s, "an escape without four hex digits");
	if (high == 0)
		return wrong(s, "a NUL character");
	s->p += 4;
	if (high >= 0xdc00 && high <= 0xdfff)
		return wrong(s, "a lone surrogate");
	if (high < 0xd800 || high > 0xdbff)
		return true;
	low = s->end - s->p >= 2 && s->p[0] == '\\' && s->p[1] == 'u'
		  ? hex4(s->p + 2, s->end)
		  : -1;
	if (low < 0xdc00 || low > 0xdfff)
		return wrong(s, "a lone surrogate");
	s->p += 6;
	return true;
}

static bool
skip_escape(struct jscan *s)
{
	char c;

	if (++s->p == s->end)
		return wrong(s, "a string without an end");
	c = *s->p++;
	if (c == 'u')
		return skip_unicode_escape(s);
	if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
		return wrong(s, "an unknown escape");
	return true;
}

/* s->p stands on the first quote, and goes behind the last. */
static bool
scan_string(struct jscan *s, struct raw *raw)
{
	raw->p = ++s->p;
	raw->escaped = false;
	for (;;) {
		unsigned char c;
		size_t n;

		while (s->p < s->end && (unsigned char)*s->p >= ' ' &&
		       (unsigned char)*s->p < 0x80 && *s->p != '"' &&
		       *s->p != '\\')
			s->p++;
		if (s->p == s->end)
			return wrong(s, "a string without an end");
		c = (unsigned char)*s->p;
		if (c == '"')
			break;
		if (c < ' ')
			return wrong(s, "a control character in a string");
		if (c == '\\') {
			raw->escaped = true;
			if (!skip_escape(s))
				return false;
			continue;
		}
		n = utf8_length(
		    (const unsigned char *)s->p, (size_t)(s->end - s->p));
		if (n == 0)
			return wrong(s, "not UTF-8");
		s->p += n;
	}
	raw->len = (size_t)(s->p++ - raw->p);
	return true;
}

static char *
put_utf8(char *to, unsigned c)
{
	if (c < 0x80)
		*to++ = (char)c;
	else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*to++ = (char)(0xe0 | c >> 12);
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		*to++ = (char)(0xf0 | c >> 18);
		*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

/* An escape that scan_string() found good; gives what is behind it. */
static const char *
put_escape(const char *p, char **to)
{
	static const char from[] = "bfnrt";
	static const char into[] = "\b\f\n\r\t";
	const char *plain;
	unsigned c;

	if (p[1] != 'u') {
		plain = strchr(from, p[1]);
		*(*to)++ = plain == NULL ? p[1] : into[plain - from];
		return p + 2;
	}
	c = (unsigned)hex4(p + 2, p + 6);
	p += 6;
	if (c >= 0xd800 && c <= 0xdbff) {
		c = 0x10000 + ((c & 0x3ff) << 10) +
		    ((unsigned)hex4(p + 2, p + 6) & 0x3ff);
		p += 6;
	}
	*to = put_utf8(*to, c);
	return p;
}

/* A decoded string is never longer than it was with its two quotes. */
static const char *
decode(struct jscan *s, const struct raw *raw, size_t *len)
{
	char *start = s->scratch + s->scratch_used;
	const char *end = raw->p + raw->len;
	char *to = start;

	if (raw->escaped)
		for (const char *p = raw->p; p < end;)
			if (*p == '\\')
				p = put_escape(p, &to);
			else
				*to++ = *p++;
	else {
		memcpy(to, raw->p, raw->len);
		to += raw->len;
	}
	*to = '\0';
	*len = (size_t)(to - start);
	s->scratch_used += *len + 1;
	return start;
}

/* --- numbers and words --- */

static bool
is_digit(const struct jscan *s)
{
	return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static size_t
skip_digits(struct jscan *s)
{
	const char *from = s->p;

	while (is_digit(s))
		s->p++;
	return (size_t)(s->p - from);
}

static bool
scan_integer(struct jscan *s, const char *from, struct jscan_value *v)
{
	bool negative = *from == '-';
	uint64_t limit = (uint64_t)INT64_MAX + negative;
	uint64_t n = 0;

	for (const char *p = from + negative; p < s->p; p++) {
		unsigned digit = (unsigned)(*p - '0');

		if (n > (limit - digit) / 10)
			return wrong(s, "an integer of more than 64 bits");
		n = n * 10 + digit;
	}
	v->kind = JSCAN_INTEGER;
	v->integer = negative ? (int64_t)(0 - n) : (int64_t)n;
	return true;
}

static bool
scan_real(struct jscan *s, const char *from, struct jscan_value *v)
{
	char *copy = s->scratch + s->scratch_used;
	size_t len = (size_t)(s->p - from);

	v->kind = JSCAN_REAL;
	memcpy(copy, from, len);
	copy[len] = '\0';
	if (isinf(strtod(copy, NULL)))
		return wrong(s, "a number beyond a double");
	return true;
}

static bool
scan_number(struct jscan *s, struct jscan_value *v)
{
	const char *from = s->p;
	bool real = false;

	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0') {
		s->p++;
		if (is_digit(s))
			return wrong(s, "a number with a leading zero");
	} else if (skip_digits(s) == 0)
		return wrong(s, "a sign without a number");
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		real = true;
		if (skip_digits(s) == 0)
			return wrong(s, "a point without digits");
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		real = true;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (skip_digits(s) == 0)
			return wrong(s, "an exponent without digits");
	}
	return real ? scan_real(s, from, v) : scan_integer(s, from, v);
}

static bool
scan_word(struct jscan *s, struct jscan_value *v)
{
	static const struct {
		const char *word;
		size_t len;
		enum jscan_kind kind;
	} words[] = { { "null", 4, JSCAN_NULL }, { "true", 4, JSCAN_TRUE },
		{ "false", 5, JSCAN_FALSE } };

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if ((size_t)(s->end - s->p) >= words[i].len &&
		    memcmp(s->p, words[i].word, words[i].len) == 0) {
			s->p += words[i].len;
			v->kind = words[i].kind;
			return true;
		}
	return wrong(s, "no value where one must stand");
}

/* --- member names: none twice --- */

static size_t
hash_of(const struct jscan *s, const struct name *n)
{
	uint64_t h = 0xcbf29ce484222325u ^ (n->object * 0x9e3779b97f4a7c15u);

	for (size_t i = 0; i < n->len; i++)
		h = (h ^ (unsigned char)n->text[i]) * 0x100000001b3u;
	return (size_t)(h ^ h >> 32) & (s->n_slots - 1);
}

/* The slot of the same name, or the free one where it belongs. */
static struct name *
slot_of(const struct jscan *s, const struct name *n)
{
	size_t i = hash_of(s, n);

	for (;; i = (i + 1) & (s->n_slots - 1)) {
		struct name *t = &s->names[i];

		if (t->line != s->line ||
		    (t->object == n->object && t->len == n->len &&
			memcmp(t->text, n->text, n->len) == 0))
			return t;
	}
}

static void
grow_names(struct jscan *s)
{
	struct name *old = s->names;
	size_t n_old = s->n_slots;

	s->n_slots = n_old == 0 ? FIRST_NAMES : n_old * 2;
	s->names = mem_zalloc(s->n_slots, sizeof(*s->names));
	for (size_t i = 0; i < n_old; i++)
		if (old[i].line == s->line)
			*slot_of(s, &old[i]) = old[i];
	free(old);
}

static bool
take_name(struct jscan *s, const struct name *n)
{
	struct name *slot;

	if ((s->n_names + 1) * 2 > s->n_slots)
		grow_names(s);
	slot = slot_of(s, n);
	if (slot->line == s->line)
		return wrong(s, "the same member twice");
	*slot = *n;
	s->n_names++;
	return true;
}

static bool
is_name(const struct name *n, const char *text)
{
	return strlen(text) == n->len && memcmp(text, n->text, n->len) == 0;
}

/* --- where values go --- */

static struct jscan_value *
place_in_line(struct jscan *s, const struct name *n)
{
	for (size_t i = 0; i < JSCAN_MEMBERS; i++)
		if (member_names[i].len == n->len &&
		    memcmp(member_names[i].name, n->text, n->len) == 0)
			return &s->out->member[i];
	return NULL;
}

static struct jscan_value *
place_in_table(struct jscan *s, const struct name *n)
{
	struct jscan_table *t = &s->tables[s->n_tables - 1];

	if (is_name(n, "schema"))
		return &t->schema;
	if (is_name(n, "table"))
		return &t->table;
	if (is_name(n, "pre_root"))
		return &t->pre_root;
	if (is_name(n, "post_root"))
		return &t->post_root;
	return NULL;
}

static void
add_table(struct jscan *s)
{
	if (s->n_tables == s->max_tables) {
		s->max_tables = s->max_tables * 2 + 8;
		s->tables = mem_realloc(
		    s->tables, s->max_tables, sizeof(*s->tables));
	}
	memset(&s->tables[s->n_tables++], 0, sizeof(*s->tables));
}

/* The two members that make an object stand for a blob. */
struct blob_members {
	struct jscan_value hash;
	struct jscan_value bytes;
};

static void
add_blob(struct jscan *s, const struct blob_members *m)
{
	struct blob_ref ref;

	if (m->bytes.kind != JSCAN_INTEGER || !jscan_hash(&m->hash, &ref.hash))
		return;
	ref.bytes = jscan_count(&m->bytes);
	if (s->n_blobs == s->max_blobs) {
		s->max_blobs = s->max_blobs * 2 + 8;
		s->blobs = mem_realloc(
		    s->blobs, s->max_blobs, sizeof(*s->blobs));
	}
	s->blobs[s->n_blobs++] = ref;
}

/* --- values --- */

static bool scan_value(struct jscan *s, enum role role, struct jscan_value *v);

static bool
scan_name(struct jscan *s, uint64_t object, struct name *n)
{
	struct raw raw;

	if (peek(s) != '"')
		return wrong(s, "no member name where one must stand");
	if (!scan_string(s, &raw))
		return false;
	*n = (struct name){ s->line, object, raw.p, raw.len };
	if (raw.escaped)
		n->text = decode(s, &raw, &n->len);
	if (!take_name(s, n))
		return false;
	if (peek(s) != ':')
		return wrong(s, "no ':' behind a member name");
	s->p++;
	return true;
}

static bool
scan_member(
    struct jscan *s, enum role role, uint64_t object, struct blob_members *blob)
{
	struct jscan_value other = { 0 };
	struct jscan_value *to = NULL;
	enum role inner = ROLE_OTHER;
	struct name n;

	if (!scan_name(s, object, &n))
		return false;
	if (role == ROLE_LINE)
		to = place_in_line(s, &n);
	else if (is_name(&n, "sha256"))
		to = &blob->hash;
	else if (is_name(&n, "bytes"))
		to = &blob->bytes;
	else if (role == ROLE_TABLE)
		to = place_in_table(s, &n);
	if (to == &s->out->member[JSCAN_TABLES])
		inner = ROLE_TABLES;
	return scan_value(s, inner, to == NULL ? &other : to);
}

static bool
scan_object(struct jscan *s, enum role role)
{
	struct blob_members blob = { 0 };
	uint64_t object = s->objects++;
	size_t n = 0;

	s->p++;
	if (peek(s) == '}') {
		s->p++;
		return true;
	}
	for (;; s->p++) {
		char c;

		if (!scan_member(s, role, object, &blob))
			return false;
		n++;
		c = peek(s);
		if (c == '}')
			break;
		if (c != ',')
			return wrong(s, "no ',' or '}' behind a member");
	}
	s->p++;
	if (n == 2)
		add_blob(s, &blob);
	return true;
}

static bool
scan_array(struct jscan *s, enum role role)
{
	struct jscan_value v;

	s->p++;
	if (peek(s) == ']') {
		s->p++;
		return true;
	}
	for (;; s->p++) {
		char c;

		if (role == ROLE_TABLES)
			add_table(s);
		if (!scan_value(
			s, role == ROLE_TABLES ? ROLE_TABLE : ROLE_OTHER, &v))
			return false;
		c = peek(s);
		if (c == ']')
			break;
		if (c != ',')
			return wrong(s, "no ',' or ']' behind an element");
	}
	s->p++;
	return true;
}

static bool
scan_text(struct jscan *s, struct jscan_value *v)
{
	struct raw raw;

	if (!scan_string(s, &raw))
		return false;
	v->kind = JSCAN_STRING;
	v->text = decode(s, &raw, &v->len);
	return true;
}

static bool
scan_value(struct jscan *s, enum role role, struct jscan_value *v)
{
	char c = peek(s);
	bool ok;

	if (++s->depth > MAX_DEPTH)
		return wrong(s, "nested too deep");
	if (c == '"')
		ok = scan_text(s, v);
	else if (c == '{') {
		v->kind = JSCAN_OBJECT;
		/* `tables` may itself be an object: a blob */
		ok = scan_object(s, role == ROLE_TABLES ? ROLE_OTHER : role);
	} else if (c == '[') {
		v->kind = JSCAN_ARRAY;
		ok = scan_array(s, role);
	} else if (c == '-' || (c >= '0' && c <= '9'))
		ok = scan_number(s, v);
	else
		ok = scan_word(s, v);
	s->depth--;
	return ok;
}

/* --- public --- */

static void
begin(struct jscan *s, const char *text, size_t len, struct jscan_fields *out)
{
	memset(out, 0, sizeof(*out));
	s->start = s->p = text;
	s->end = text + len;
	s->wrong = NULL;
	s->depth = 0;
	s->scratch_used = 0;
	s->n_names = 0;
	s->line++;
	s->objects = 0;
	s->n_tables = s->n_blobs = 0;
	s->out = out;
	if (s->scratch_size < len + 2) {
		s->scratch_size = len + 2;
		s->scratch = mem_realloc(s->scratch, s->scratch_size, 1);
	}
}

bool
jscan_line(struct jscan *s, const char *text, size_t len,
    struct jscan_fields *out, char *error, size_t error_size)
{
	struct jscan_value top;
	bool ok;

	begin(s, text, len, out);
	if (peek(s) != '{')
		ok = wrong(s, "no object");
	else
		ok = scan_value(s, ROLE_LINE, &top);
	if (ok) {
		skip_space(s);
		if (s->p < s->end)
			ok = wrong(s, "bytes behind the object");
	}
	if (!ok)
		snprintf(error, error_size, "not JSON: byte %zu: %s",
		    (size_t)(s->p - s->start) + 1, s->wrong);
	out->tables = s->tables;
	out->n_tables = s->n_tables;
	out->blobs = s->blobs;
	out->n_blobs = s->n_blobs;
	return ok;
}

const char *
jscan_text(const struct jscan_value *v)
{
	return v->kind == JSCAN_STRING ? v->text : NULL;
}

uint64_t
jscan_count(const struct jscan_value *v)
{
	return v->kind == JSCAN_INTEGER && v->integer > 0 ? (uint64_t)v->integer
							  : 0;
}

bool
jscan_hash(const struct jscan_value *v, struct merkle_hash *h)
{
	return v->kind == JSCAN_STRING && merkle_unhex(v->text, v->len, h);
}
