/*
 * fuzz_note.c: checkpoints, proofs and verifier keys of a stranger.
 *
 * Input: one byte says which.  What is accepted is written again as it was.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>

#include "../../replayd/checkpoint.h"
#include "../../replayd/proof.h"
#include "fuzz.h"

static struct key_signer signer;
static bool ready;

static void
make_key(void)
{
	if (!key_generate("test/log", &signer))
		abort();
	ready = true;
}

static void
checkpoint(const uint8_t *p, size_t n)
{
	struct checkpoint c, d;
	struct buf b = { 0 };
	char error[300];

	/* Nobody else has this key. */
	must(!checkpoint_parse(
	    p, n, &signer.public, 1, &c, error, sizeof(error)));
	if (!checkpoint_parse_text(p, n, &c))
		return;
	fuzz_accepted = 1;
	must(memchr(c.origin, 0, sizeof(c.origin)) != NULL);
	/* Signed by us it is good, and says the same. */
	if (strcmp(c.origin, signer.public.name) != 0)
		return;
	checkpoint_put(&c, &signer, &b);
	must(checkpoint_parse(
	    b.data, b.len, &signer.public, 1, &d, error, sizeof(error)));
	must(d.size == c.size && memcmp(&d.root, &c.root, 32) == 0);
	buf_free(&b);
}

static void
proof(const uint8_t *p, size_t n)
{
	struct proof proof;
	struct checkpoint head;
	struct buf b = { 0 };
	char error[300];

	if (proof_parse(p, n, &proof, error, sizeof(error))) {
		fuzz_accepted = 1;
		must(proof.n_path <= TILES_MAX_PATH);
		proof_put(&proof, &b);
		must(b.len == n && memcmp(b.data, p, n) == 0);
		must(!proof_check(
		    &proof, &signer.public, 1, &head, error, sizeof(error)));
		buf_free(&b);
	}
	proof_free(&proof);
}

static void
public_key(const uint8_t *p, size_t n)
{
	struct key_public k = { .name = "" }, again = { .name = "" };
	struct buf b = { 0 };

	if (!key_public_parse((const char *)p, n, &k))
		return;
	fuzz_accepted = 1;
	must(key_name_ok(k.name));
	key_public_text(&k, &b);
	must(key_public_parse((const char *)b.data, b.len, &again));
	must(memcmp(&again, &k, sizeof(k)) == 0);
	buf_free(&b);
}

/* The path of a proof against its tree. */
static void
path(const uint8_t *p, size_t n)
{
	struct take in = { p, n };
	uint64_t index = take_u32(&in), size = take_u32(&in);
	struct merkle_hash leaf = { { 1 } }, root, list[TILES_MAX_PATH];
	size_t count = take_u8(&in) % (TILES_MAX_PATH + 1);

	memset(list, 2, sizeof(list));
	if (proof_root(&leaf, index, size, list, count, &root)) {
		fuzz_accepted = 1;
		must(index < size);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct take in = { data, size };

	if (!ready)
		make_key();
	switch (take_u8(&in)) {
	case 'c':
		checkpoint(in.p, in.left);
		break;
	case 'p':
		proof(in.p, in.left);
		break;
	case 'k':
		public_key(in.p, in.left);
		break;
	default:
		path(in.p, in.left);
		break;
	}
	return 0;
}
