/*
 * share.c: definitions of tables that one child looked up, for the others.
 *
 * The key is what decides what a name means in a session that has not changed
 * it: the name as written and the startup packet (user, database, options; not
 * application_name, which may be another one in each session).
 *
 * What comes from here is compared with the server before it is used, by oid,
 * fingerprint and rights.  Its bytes are checked like bytes from the wire.
 *
 *	u32 oid, strings schema, name, fingerprint, definition, quick
 *	u8 flags, strings unsupported, unreadable
 *	u32 n, n columns: strings name, type, u32 key, u8 identity, generated,
 *	    u32 sensitive, u8 flags, u8 class, strings function, call
 *
 * A string ends with a NUL; one that may be NULL has a byte before it: 1, or 0
 * and nothing more.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "share.h"

#include <string.h>

#include "fingerprint.h"
#include "shcache.h"
#include "startup.h"

#define MAX_COLUMNS 1664 /* MaxTupleAttributeNumber */
#define MINUTE_US INT64_C(60000000)

enum {
	TABLE_TRIGGERS = 1,
	TABLE_MAY_LOCK = 2,
	TABLE_CASCADES = 4,
	TABLE_USER_CODE = 8,
	TABLE_DEFERRED = 16,
	TABLE_RULES = 32
};
enum { COLUMN_HAS_DEFAULT = 1, COLUMN_CASCADES = 2 };

void
share_key(const struct session *s, const char *written, struct merkle_hash *key)
{
	const uint8_t *packet = s->startup.data + sizeof(uint32_t);
	const char *name = startup_parameter(&s->startup, "application_name");
	size_t left_out = name == NULL ? 0 : strlen(name);
	size_t before = name == NULL ? 0
				     : (size_t)((const uint8_t *)name - packet);
	const struct merkle_part parts[] = {
		{ written, strlen(written) + 1 },
		{ packet, before },
		{ packet + before + left_out,
		    s->startup.len - sizeof(uint32_t) - before - left_out },
	};

	merkle_sha256(parts, 3, key);
}

/* --- writing --- */

static void
put_column(struct buf *b, const struct rowenc_column *col,
    const struct catalog_column *more)
{
	buf_put_cstr(b, col->name);
	buf_put_cstr(b, col->type);
	buf_put_u32(b, col->key);
	buf_put_u8(b, (uint8_t)col->identity);
	buf_put_u8(b, (uint8_t)col->generated);
	buf_put_u32(b, more->sensitive);
	buf_put_u8(b, (more->has_default ? COLUMN_HAS_DEFAULT : 0) |
			  (more->cascades ? COLUMN_CASCADES : 0));
	buf_put_u8(b, (uint8_t)more->default_class);
	buf_put_maybe(b, more->default_function);
	buf_put_maybe(b, more->default_call);
}

static void
put_table(struct buf *b, const struct catalog_table *t)
{
	buf_put_u32(b, t->oid);
	buf_put_cstr(b, t->schema);
	buf_put_cstr(b, t->name);
	buf_put_cstr(b, t->fingerprint);
	buf_put_maybe(b, t->definition);
	buf_put_maybe(b, t->quick);
	buf_put_u8(b, (t->triggers ? TABLE_TRIGGERS : 0) |
			  (t->may_lock ? TABLE_MAY_LOCK : 0) |
			  (t->cascades ? TABLE_CASCADES : 0) |
			  (t->user_code ? TABLE_USER_CODE : 0) |
			  (t->deferred ? TABLE_DEFERRED : 0) |
			  (t->rules ? TABLE_RULES : 0));
	buf_put_maybe(b, t->unsupported);
	buf_put_maybe(b, t->unreadable);
	buf_put_u32(b, t->shape.n_columns);
	for (unsigned i = 0; i < t->shape.n_columns; i++)
		put_column(b, &t->shape.columns[i], &t->columns[i]);
}

void
share_put(struct session *s, uint64_t generation, const struct catalog_table *t)
{
	struct merkle_hash key;
	struct buf b = { 0 };

	share_key(s, t->written, &key);
	put_table(&b, t);
	shcache_put(s->heritage->shared, s->heritage->lane, generation,
	    fingerprint_tells_all(t) ? SHCACHE_CHECKED : MINUTE_US, &key, &b);
	buf_free(&b);
}

/* --- reading --- */

static const char *
take_string(struct rd *r, struct arena *a)
{
	const char *text = rd_cstr(r);

	return text == NULL ? "" : arena_strdup(a, text);
}

static const char *
take_maybe(struct rd *r, struct arena *a)
{
	const char *text = rd_maybe(r);

	return text == NULL ? NULL : arena_strdup(a, text);
}

static void
take_column(struct rd *r, struct arena *a, struct rowenc_column *col,
    struct catalog_column *more)
{
	unsigned flags, class;

	col->name = take_string(r, a);
	col->type = take_string(r, a);
	col->key = rd_u32(r);
	col->identity = (char)rd_u8(r);
	col->generated = (char)rd_u8(r);
	more->sensitive = rd_u32(r);
	flags = rd_u8(r);
	more->has_default = (flags & COLUMN_HAS_DEFAULT) != 0;
	more->cascades = (flags & COLUMN_CASCADES) != 0;
	class = rd_u8(r);
	if (class > FUNCTION_UNKNOWN)
		r->bad = true;
	else
		more->default_class = (enum function_class) class;
	more->default_function = take_maybe(r, a);
	more->default_call = take_maybe(r, a);
}

static void
take_columns(struct rd *r, struct arena *a, struct catalog_table *t)
{
	uint32_t n = rd_u32(r);

	if (n > MAX_COLUMNS) {
		r->bad = true;
		return;
	}
	t->shape.columns = arena_zalloc(a, (n + 1) * sizeof(*t->shape.columns));
	t->columns = arena_zalloc(a, (n + 1) * sizeof(*t->columns));
	for (uint32_t i = 0; i < n && !r->bad; i++) {
		take_column(r, a, &t->shape.columns[i], &t->columns[i]);
		t->sensitive |= t->columns[i].sensitive;
		if (t->shape.columns[i].key > n)
			r->bad = true;
	}
	t->shape.n_columns = n;
}

static void
take_table(struct rd *r, struct arena *a, struct catalog_table *t)
{
	unsigned flags;

	t->oid = rd_u32(r);
	t->schema = take_string(r, a);
	t->name = take_string(r, a);
	t->fingerprint = take_string(r, a);
	t->definition = take_maybe(r, a);
	t->quick = take_maybe(r, a);
	flags = rd_u8(r);
	t->triggers = (flags & TABLE_TRIGGERS) != 0;
	t->may_lock = (flags & TABLE_MAY_LOCK) != 0;
	t->cascades = (flags & TABLE_CASCADES) != 0;
	t->user_code = (flags & TABLE_USER_CODE) != 0;
	t->deferred = (flags & TABLE_DEFERRED) != 0;
	t->rules = (flags & TABLE_RULES) != 0;
	t->unsupported = take_maybe(r, a);
	t->unreadable = take_maybe(r, a);
	take_columns(r, a, t);
}

struct catalog_table *
share_read(const struct session *s, const char *written, struct arena *a)
{
	struct catalog_table *t = NULL;
	struct merkle_hash key;
	struct buf b = { 0 };

	share_key(s, written, &key);
	if (shcache_get(s->heritage->shared, &key, &b)) {
		struct rd r = rd_init(b.data, b.len);

		t = arena_zalloc(a, sizeof(*t));
		t->written = arena_strdup(a, written);
		take_table(&r, a, t);
		if (r.bad || rd_left(&r) != 0 ||
		    !rowenc_shape_init(&t->shape, a))
			t = NULL;
	}
	buf_free(&b);
	return t;
}

struct catalog_table *
share_find(struct session *s, const char *written, struct arena *a)
{
	struct catalog_table *t = share_read(s, written, a);

	return t != NULL && fingerprint_holds(s, t) ? t : NULL;
}
