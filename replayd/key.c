/*
 * key.c: makes, keeps, and uses the evidence key.
 *
 * The only user of libsodium.  The secret is read by the recorder, which
 * signs; nobody else opens evidence.key.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "key.h"

#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ioutil.h"
#include "log.h"
#include "merkle.h"

#define ALGORITHM_ED25519 0x01
#define SIGNER_PREFIX "PRIVATE+KEY+"
#define MATERIAL_BYTES 33 /* algorithm and 32 bytes of seed or key */
#define ID_HEX (2 * KEY_ID_BYTES)
#define MAX_KEY_FILE 4096

static void
prepare(void)
{
	if (sodium_init() < 0)
		log_fatal(
		    "sodium_unavailable", "libsodium cannot be initialised");
}

bool
key_name_ok(const char *name)
{
	if (*name == '\0' || strlen(name) >= KEY_NAME_BYTES)
		return false;
	for (const char *p = name; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || *p == '+' || *p == 0x7f)
			return false;
	return true;
}

void
key_default_name(char out[KEY_NAME_BYTES])
{
	char host[128];

	prepare();
	if (gethostname(host, sizeof(host)) < 0)
		strcpy(host, "localhost");
	host[sizeof(host) - 1] = '\0';
	if (!key_name_ok(host))
		strcpy(host, "localhost");
	snprintf(out, KEY_NAME_BYTES, "%s/pgwitness/%08x", host,
	    (unsigned)randombytes_random());
}

static void
set_id(struct key_public *k)
{
	static const uint8_t middle[] = { '\n', ALGORITHM_ED25519 };
	const struct merkle_part parts[] = { { k->name, strlen(k->name) },
		{ middle, sizeof(middle) }, { k->bytes, sizeof(k->bytes) } };
	struct merkle_hash h;

	merkle_sha256(parts, 3, &h);
	memcpy(k->id, h.b, KEY_ID_BYTES);
}

static bool
from_seed(const char *name, const uint8_t *seed, struct key_signer *k)
{
	if (!key_name_ok(name))
		return false;
	memset(k, 0, sizeof(*k));
	memcpy(k->public.name, name, strlen(name) + 1);
	crypto_sign_seed_keypair(k->public.bytes, k->secret, seed);
	set_id(&k->public);
	return true;
}

bool
key_generate(const char *name, struct key_signer *k)
{
	uint8_t seed[crypto_sign_SEEDBYTES];
	bool ok;

	prepare();
	randombytes_buf(seed, sizeof(seed));
	ok = from_seed(name, seed, k);
	sodium_memzero(seed, sizeof(seed));
	return ok;
}

void
key_forget(struct key_signer *k)
{
	sodium_memzero(k->secret, sizeof(k->secret));
}

/* --- text forms --- */

void
key_base64(const void *data, size_t len, struct buf *out)
{
	size_t need = sodium_base64_ENCODED_LEN(
	    len, sodium_base64_VARIANT_ORIGINAL);
	uint8_t *to = buf_reserve(out, need);

	sodium_bin2base64(
	    (char *)to, need, data, len, sodium_base64_VARIANT_ORIGINAL);
	out->len += need - 1; /* without the NUL */
}

/* libsodium takes some bytes above 0x7f for letters. */
static bool
is_base64(const char *text, size_t len)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz0123456789+/=";

	for (size_t i = 0; i < len; i++)
		if (text[i] == '\0' || strchr(alphabet, text[i]) == NULL)
			return false;
	return true;
}

bool
key_unbase64(const char *text, size_t len, uint8_t *out, size_t n)
{
	size_t got;
	const char *end;

	return is_base64(text, len) &&
	       sodium_base642bin(out, n, text, len, NULL, &got, &end,
		   sodium_base64_VARIANT_ORIGINAL) == 0 &&
	       got == n && end == text + len;
}

/* NAME+HEX(key ID)+BASE64(0x01 || bytes) */
static void
put_key(struct buf *out, const struct key_public *k, const uint8_t *bytes)
{
	uint8_t material[MATERIAL_BYTES] = { ALGORITHM_ED25519 };

	memcpy(material + 1, bytes, sizeof(material) - 1);
	buf_printf(out, "%s+%02x%02x%02x%02x+", k->name, k->id[0], k->id[1],
	    k->id[2], k->id[3]);
	key_base64(material, sizeof(material), out);
	sodium_memzero(material, sizeof(material));
}

void
key_public_text(const struct key_public *k, struct buf *out)
{
	put_key(out, k, k->bytes);
}

/* Splits NAME+HEX+BASE64; false if it is not of that form. */
static bool
parse_key(const char *text, size_t len, char name[KEY_NAME_BYTES],
    uint8_t id[KEY_ID_BYTES], uint8_t bytes[KEY_PUBLIC_BYTES])
{
	const char *end = text + len;
	const char *plus = memchr(text, '+', len);
	uint8_t material[MATERIAL_BYTES];
	size_t got;
	bool ok;

	while (end > text && (end[-1] == '\n' || end[-1] == '\r'))
		end--;
	if (plus == NULL || plus - text >= KEY_NAME_BYTES ||
	    end - plus < ID_HEX + 2 || plus[1 + ID_HEX] != '+')
		return false;
	memcpy(name, text, (size_t)(plus - text));
	name[plus - text] = '\0';
	if (sodium_hex2bin(
		id, KEY_ID_BYTES, plus + 1, ID_HEX, NULL, &got, NULL) != 0 ||
	    got != KEY_ID_BYTES)
		return false;
	ok = key_unbase64(plus + ID_HEX + 2,
		 (size_t)(end - (plus + ID_HEX + 2)), material,
		 sizeof(material)) &&
	     material[0] == ALGORITHM_ED25519 &&
	     strlen(name) == (size_t)(plus - text) && key_name_ok(name);
	memcpy(bytes, material + 1, KEY_PUBLIC_BYTES);
	sodium_memzero(material, sizeof(material));
	return ok;
}

/* --- files --- */

static bool
save_public(const char *path, const struct key_public *k)
{
	struct buf b = { 0 };
	bool ok;

	put_key(&b, k, k->bytes);
	buf_put_u8(&b, '\n');
	ok = io_replace_file(path, b.data, b.len, 0644);
	buf_free(&b);
	return ok;
}

static bool
save_signer(const char *path, const struct key_signer *k)
{
	struct buf b = { 0 };
	bool ok;

	buf_put_str(&b, SIGNER_PREFIX);
	put_key(&b, &k->public, k->secret); /* its first half is the seed */
	buf_put_u8(&b, '\n');
	ok = io_replace_file(path, b.data, b.len, 0600);
	sodium_memzero(b.data, b.len);
	buf_free(&b);
	return ok;
}

static bool
failed(const char *path, char *error, size_t error_size)
{
	snprintf(error, error_size, "%s: %s", path, strerror(errno));
	return false;
}

bool
key_save(
    const struct key_signer *k, const char *dir, char *error, size_t error_size)
{
	char path[PATH_MAX];

	io_path(path, sizeof(path), "%s/evidence.key", dir);
	if (access(path, F_OK) == 0) {
		snprintf(error, error_size,
		    "%s: there is a key already; it is never replaced", path);
		return false;
	}
	if (!save_signer(path, k))
		return failed(path, error, error_size);
	io_path(path, sizeof(path), "%s/evidence.pub", dir);
	return save_public(path, &k->public) || failed(path, error, error_size);
}

static bool
is_private(const char *path, char *error, size_t error_size)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		return false;
	}
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
		snprintf(error, error_size,
		    "%s: group or others have access to it; chmod 0600 it",
		    path);
		return false;
	}
	return true;
}

static bool
read_key_file(const char *path, struct buf *b, char *error, size_t error_size)
{
	if (io_read_file(path, b, MAX_KEY_FILE))
		return true;
	snprintf(error, error_size, "%s: %s", path, strerror(errno));
	buf_free(b);
	return false;
}

bool
key_load_signer(
    const char *path, struct key_signer *k, char *error, size_t error_size)
{
	static const size_t prefix = sizeof(SIGNER_PREFIX) - 1;
	struct buf b = { 0 };
	char name[KEY_NAME_BYTES];
	uint8_t id[KEY_ID_BYTES];
	uint8_t seed[KEY_PUBLIC_BYTES];
	bool ok;

	prepare();
	if (!is_private(path, error, error_size) ||
	    !read_key_file(path, &b, error, error_size))
		return false;
	ok = b.len > prefix && memcmp(b.data, SIGNER_PREFIX, prefix) == 0 &&
	     parse_key((const char *)b.data + prefix, b.len - prefix, name, id,
		 seed) &&
	     from_seed(name, seed, k) &&
	     memcmp(id, k->public.id, KEY_ID_BYTES) == 0;
	sodium_memzero(seed, sizeof(seed));
	sodium_memzero(b.data, b.len);
	buf_free(&b);
	if (!ok)
		snprintf(error, error_size,
		    "%s: not a signer key (PRIVATE+KEY+NAME+ID+SEED)", path);
	return ok;
}

bool
key_public_parse(const char *text, size_t len, struct key_public *k)
{
	uint8_t id[KEY_ID_BYTES];

	prepare();
	memset(k, 0, sizeof(*k));
	if (!parse_key(text, len, k->name, id, k->bytes))
		return false;
	set_id(k);
	return memcmp(id, k->id, KEY_ID_BYTES) == 0;
}

bool
key_load_public(
    const char *path, struct key_public *k, char *error, size_t error_size)
{
	struct buf b = { 0 };
	bool ok;

	if (!read_key_file(path, &b, error, error_size))
		return false;
	ok = b.len > 0 && key_public_parse((const char *)b.data, b.len, k);
	buf_free(&b);
	if (!ok)
		snprintf(error, error_size,
		    "%s: not a verifier key (NAME+ID+KEY)", path);
	return ok;
}

/* --- rotation --- */

bool
key_prepare_next(
    const char *dir, struct key_public *next, char *error, size_t error_size)
{
	struct key_signer old;
	struct key_signer k;
	char path[PATH_MAX];
	bool ok;

	io_path(path, sizeof(path), "%s/evidence.key", dir);
	if (!key_load_signer(path, &old, error, error_size))
		return false;
	key_forget(&old);
	io_path(path, sizeof(path), "%s/evidence.key.new", dir);
	if (access(path, F_OK) == 0) {
		snprintf(error, error_size,
		    "%s: a new key waits already; reload pgwitness", path);
		return false;
	}
	ok = key_generate(old.public.name, &k) && save_signer(path, &k);
	key_forget(&k);
	if (next != NULL)
		*next = k.public;
	return ok || failed(path, error, error_size);
}

int
key_load_next(const char *dir, const struct key_public *old,
    struct key_signer *k, char *error, size_t error_size)
{
	char path[PATH_MAX];

	io_path(path, sizeof(path), "%s/evidence.key.new", dir);
	if (access(path, F_OK) != 0 && errno == ENOENT)
		return 0;
	if (!key_load_signer(path, k, error, error_size))
		return -1;
	if (strcmp(k->public.name, old->name) == 0)
		return 1;
	snprintf(error, error_size,
	    "%s is of %s, not of %s; a log keeps its "
	    "origin",
	    path, k->public.name, old->name);
	key_forget(k);
	return -1;
}

bool
key_finish_change(const char *dir, const struct key_public *old,
    const struct key_public *next, char *error, size_t error_size)
{
	char path[PATH_MAX];
	char from[PATH_MAX];

	io_path(path, sizeof(path), "%s/evidence-%02x%02x%02x%02x.pub", dir,
	    old->id[0], old->id[1], old->id[2], old->id[3]);
	if (!save_public(path, old))
		return failed(path, error, error_size);
	io_path(from, sizeof(from), "%s/evidence.key.new", dir);
	io_path(path, sizeof(path), "%s/evidence.key", dir);
	if (rename(from, path) < 0 || !io_fsync_dir(dir))
		return failed(path, error, error_size);
	return key_repair_public(dir, next, error, error_size);
}

bool
key_repair_public(
    const char *dir, const struct key_public *k, char *error, size_t error_size)
{
	char path[PATH_MAX];
	struct key_public there;
	char why[512];

	io_path(path, sizeof(path), "%s/evidence.pub", dir);
	if (key_load_public(path, &there, why, sizeof(why)) &&
	    strcmp(there.name, k->name) == 0 &&
	    memcmp(there.bytes, k->bytes, sizeof(k->bytes)) == 0)
		return true;
	return save_public(path, k) || failed(path, error, error_size);
}

/* --- signatures --- */

void
key_sign(const struct key_signer *k, const void *data, size_t len,
    uint8_t signature[KEY_SIGNATURE_BYTES])
{
	crypto_sign_detached(signature, NULL, data, len, k->secret);
}

bool
key_verify(const struct key_public *k, const void *data, size_t len,
    const uint8_t signature[KEY_SIGNATURE_BYTES])
{
	return crypto_sign_verify_detached(signature, data, len, k->bytes) == 0;
}
