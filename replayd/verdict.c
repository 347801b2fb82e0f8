/*
 * verdict.c: verdicts as bytes and names.
 *
 * Owns nothing, blocks never.  Encoded by the workers, decoded by the
 * recorder; both are of one build, yet the decoder checks every length.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "verdict.h"

#include <math.h>
#include <string.h>

#include "worker.h"

#define VERDICT_FORMAT WORKER_VERDICT
#define MAX_ROW_COLUMNS 1664 /* MaxTupleAttributeNumber */

const char *
verdict_kind_name(enum verdict_kind k)
{
	static const char *const names[] = {
		[VERDICT_VERIFIED] = "verified",
		[VERDICT_MISMATCH] = "mismatch",
		[VERDICT_UNVERIFIABLE] = "unverifiable",
		[VERDICT_ERROR] = "error",
	};

	return (unsigned)k <= VERDICT_ERROR ? names[k] : "error";
}

/* NULL and "" differ: a byte says whether there is a string. */
static void
put_text(struct buf *out, const char *s)
{
	buf_put_u8(out, s != NULL);
	if (s != NULL)
		buf_put_cstr(out, s);
}

static void
put_mismatch(struct buf *out, const struct verdict_mismatch *m)
{
	put_text(out, m->table);
	buf_put_u32(out, (uint32_t)m->n_row);
	for (size_t i = 0; i < m->n_row; i++) {
		put_text(out, m->row[i].column);
		put_text(out, m->row[i].value);
	}
	put_text(out, m->column);
	put_text(out, m->claimed);
	put_text(out, m->calculated);
}

void
verdict_encode(const struct verdict *v, struct buf *out)
{
	uint64_t ms;

	memcpy(&ms, &v->replay_ms, sizeof(ms));
	buf_put_u8(out, VERDICT_FORMAT);
	buf_put_u64(out, v->tx_id);
	buf_put_u8(out, (uint8_t)v->kind);
	put_text(out, v->reason != NULL ? v->reason : "");
	put_text(out, v->detail != NULL ? v->detail : "");
	buf_put_u8(out, v->has_root);
	buf_put(out, v->post_root_calculated.b, MERKLE_HASH_BYTES);
	buf_put_u32(out, (uint32_t)v->statement);
	buf_put_u64(out, ms);
	buf_put_u8(out, v->more);
	buf_put_u32(out, (uint32_t)v->n_mismatches);
	for (size_t i = 0; i < v->n_mismatches; i++)
		put_mismatch(out, &v->mismatches[i]);
}

/* The arena's limit counts as bad input, too. */
static const char *
get_text(struct rd *in, struct arena *a)
{
	const char *s;

	if (rd_u8(in) == 0)
		return NULL;
	s = rd_cstr(in);
	if (s != NULL)
		s = arena_strdup(a, s);
	if (s == NULL)
		in->bad = true;
	return s;
}

static void
get_mismatch(struct rd *in, struct arena *a, struct verdict_mismatch *m)
{
	m->table = get_text(in, a);
	m->n_row = rd_u32(in);
	if (in->bad || m->table == NULL || m->n_row > MAX_ROW_COLUMNS) {
		in->bad = true;
		return;
	}
	m->row = arena_zalloc(a, (m->n_row + 1) * sizeof(*m->row));
	if (m->row == NULL) {
		in->bad = true;
		return;
	}
	for (size_t i = 0; i < m->n_row; i++) {
		m->row[i].column = get_text(in, a);
		m->row[i].value = get_text(in, a);
		if (m->row[i].column == NULL)
			in->bad = true;
	}
	m->column = get_text(in, a);
	m->claimed = get_text(in, a);
	m->calculated = get_text(in, a);
}

static void
get_mismatches(struct rd *in, struct arena *a, struct verdict *v)
{
	v->n_mismatches = rd_u32(in);
	if (in->bad || v->n_mismatches > VERDICT_MAX_MISMATCHES) {
		in->bad = true;
		return;
	}
	v->mismatches = arena_zalloc(
	    a, (v->n_mismatches + 1) * sizeof(*v->mismatches));
	if (v->mismatches == NULL) {
		in->bad = true;
		return;
	}
	for (size_t i = 0; i < v->n_mismatches && !in->bad; i++)
		get_mismatch(in, a, &v->mismatches[i]);
}

static void
get_root(struct rd *in, struct verdict *v)
{
	const uint8_t *hash;

	v->has_root = rd_u8(in) != 0;
	hash = rd_bytes(in, MERKLE_HASH_BYTES);
	if (hash != NULL)
		memcpy(v->post_root_calculated.b, hash, MERKLE_HASH_BYTES);
}

bool
verdict_decode(const void *bytes, size_t n, struct arena *a, struct verdict *v)
{
	struct rd in = rd_init(bytes, n);
	uint64_t ms;
	unsigned kind;

	memset(v, 0, sizeof(*v));
	if (rd_u8(&in) != VERDICT_FORMAT)
		return false;
	v->tx_id = rd_u64(&in);
	kind = rd_u8(&in);
	v->kind = (enum verdict_kind)kind;
	v->reason = get_text(&in, a);
	v->detail = get_text(&in, a);
	get_root(&in, v);
	v->statement = (int32_t)rd_u32(&in);
	ms = rd_u64(&in);
	memcpy(&v->replay_ms, &ms, sizeof(ms));
	v->more = rd_u8(&in) != 0;
	get_mismatches(&in, a, v);
	return !in.bad && rd_left(&in) == 0 && kind <= VERDICT_ERROR &&
	       isfinite(v->replay_ms) && v->reason != NULL && v->detail != NULL;
}
