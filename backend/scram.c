/*
 * scram.c: the server's side of SCRAM-SHA-256.
 *
 * The steps, checks and words of PostgreSQL's auth-scram.c.  Messages are
 * parsed in a copy, one attribute after the other; what a client can make long
 * is bounded by SCRAM_MAX_MESSAGE.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "scram.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "log.h"
#include "mem.h"
#include "merkle.h"

#define MAX_ITERATIONS 10000000
#define NONCE_BYTES 18
#define CBIND_TYPE "tls-server-end-point"

enum state { WANT_FIRST, WANT_FINAL, FINISHED };

/* --- base64, HMAC --- */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz0123456789+/";

/* Decodes n padded digits; -1 if they are none or hold more than size. */
static int
base64_decode(const char *p, size_t n, uint8_t *out, size_t size)
{
	uint8_t block[SCRAM_MAX_MESSAGE];
	size_t pad = 0, len;

	if (n == 0 || n % 4 != 0 || n / 4 * 3 > sizeof(block))
		return -1;
	while (pad < 2 && p[n - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < n - pad; i++)
		if (p[i] == '\0' || strchr(base64_digits, p[i]) == NULL)
			return -1;
	if (EVP_DecodeBlock(block, (const unsigned char *)p, (int)n) < 0)
		return -1;
	len = n / 4 * 3 - pad;
	if (len > size)
		return -1;
	memcpy(out, block, len);
	return (int)len;
}

static void
put_base64(struct buf *b, const uint8_t *p, size_t n)
{
	uint8_t *to = buf_reserve(b, (n + 2) / 3 * 4 + 1);

	b->len += (size_t)EVP_EncodeBlock(to, p, (int)n);
}

static void
hmac(const uint8_t key[SCRAM_KEY_BYTES], const void *p, size_t n,
    uint8_t out[SCRAM_KEY_BYTES])
{
	if (HMAC(EVP_sha256(), key, SCRAM_KEY_BYTES, p, n, out, NULL) == NULL)
		log_fatal("scram", "HMAC failed");
}

static void
sha256(const uint8_t p[SCRAM_KEY_BYTES], uint8_t out[SCRAM_KEY_BYTES])
{
	struct merkle_hash h;

	merkle_sha256(&(struct merkle_part){ p, SCRAM_KEY_BYTES }, 1, &h);
	memcpy(out, h.b, SCRAM_KEY_BYTES);
}

/* --- secrets --- */

static bool
parse_key(const char *p, size_t n, uint8_t out[SCRAM_KEY_BYTES])
{
	return base64_decode(p, n, out, SCRAM_KEY_BYTES) == SCRAM_KEY_BYTES;
}

bool
scram_parse(const char *text, struct scram_secret *out)
{
	const char *salt, *stored, *server;
	char *end;
	long iterations;
	int n;

	if (strncmp(text, SCRAM_SECRET_PREFIX, strlen(SCRAM_SECRET_PREFIX)) !=
	    0)
		return false;
	text += strlen(SCRAM_SECRET_PREFIX);
	if (*text < '0' || *text > '9')
		return false;
	iterations = strtol(text, &end, 10);
	if (*end != ':' || iterations < 1 || iterations > MAX_ITERATIONS)
		return false;
	salt = end + 1;
	stored = strchr(salt, '$');
	server = stored != NULL ? strchr(stored, ':') : NULL;
	if (server == NULL)
		return false;
	n = base64_decode(
	    salt, (size_t)(stored - salt), out->salt, sizeof(out->salt));
	if (n < 1)
		return false;
	out->iterations = (int)iterations;
	out->salt_len = (size_t)n;
	return parse_key(stored + 1, (size_t)(server - stored - 1),
		   out->stored_key) &&
	       parse_key(server + 1, strlen(server + 1), out->server_key);
}

/* RFC 5802: StoredKey = H(HMAC(Hi(password, salt, i), "Client Key")). */
bool
scram_check_password(const struct scram_secret *secret, const char *password)
{
	uint8_t salted[SCRAM_KEY_BYTES], key[SCRAM_KEY_BYTES];
	uint8_t stored[SCRAM_KEY_BYTES];

	if (PKCS5_PBKDF2_HMAC(password, (int)strlen(password), secret->salt,
		(int)secret->salt_len, secret->iterations, EVP_sha256(),
		sizeof(salted), salted) != 1)
		return false;
	hmac(salted, "Client Key", 10, key);
	sha256(key, stored);
	OPENSSL_cleanse(salted, sizeof(salted));
	OPENSSL_cleanse(key, sizeof(key));
	return CRYPTO_memcmp(stored, secret->stored_key, sizeof(stored)) == 0;
}

void
scram_mock(struct scram_secret *out, const uint8_t key[SCRAM_KEY_BYTES],
    const char *user, const struct scram_secret *like)
{
	uint8_t block[SCRAM_KEY_BYTES];

	memset(out, 0, sizeof(*out));
	out->iterations = like->iterations;
	out->salt_len = like->salt_len;
	hmac(key, user, strlen(user), block);
	for (size_t at = 0; at < out->salt_len; at += sizeof(block)) {
		size_t left = out->salt_len - at;

		memcpy(out->salt + at, block,
		    left < sizeof(block) ? left : sizeof(block));
		hmac(key, block, sizeof(block), block);
	}
}

/* --- messages --- */

static enum scram_result
bad(struct scram *s, const char *sqlstate, const char *error)
{
	s->sqlstate = sqlstate;
	s->error = error;
	return SCRAM_BAD;
}

static enum scram_result
malformed(struct scram *s)
{
	return bad(s, "08P01", "malformed SCRAM message");
}

/*
 * Takes one attribute "x=value" off, cuts the value at its comma; NULL if there
 * is none.  want 0: any letter; what it was is in *name.
 */
static char *
attribute(char **at, char want, char *name)
{
	char *p = *at, *value;

	*name = p[0];
	if ((want != 0 && p[0] != want) ||
	    !((p[0] >= 'a' && p[0] <= 'z') || (p[0] >= 'A' && p[0] <= 'Z')) ||
	    p[1] != '=')
		return NULL;
	value = p + 2;
	p = value + strcspn(value, ",");
	*at = *p == ',' ? p + 1 : p;
	*p = '\0';
	return value;
}

/* "n,", "y," or "p=type,"; moves *at behind it.  SCRAM_CONTINUE: right. */
static enum scram_result
channel_binding(struct scram *s, char **at)
{
	char *p = *at, *type;
	char name;

	s->cbind_flag = *p;
	if (s->plus != (*p == 'p') || (*p == 'p' && s->end_point_len == 0))
		return malformed(s);
	/* It thinks that we do not, and we do: somebody is between. */
	if (*p == 'y' && s->end_point_len > 0)
		return bad(
		    s, "28000", "SCRAM channel binding negotiation error");
	switch (*p) {
	case 'y':
	case 'n':
		if (p[1] != ',')
			return malformed(s);
		*at = p + 2;
		return SCRAM_CONTINUE;
	case 'p':
		type = attribute(at, 'p', &name);
		if (type == NULL)
			return malformed(s);
		if (strcmp(type, CBIND_TYPE) != 0)
			return bad(s, "08P01",
			    "unsupported SCRAM channel-binding type");
		return SCRAM_CONTINUE;
	default:
		return malformed(s);
	}
}

static bool
is_printable(const char *p)
{
	for (; *p != '\0'; p++)
		if (*p < 0x21 || *p > 0x7e || *p == ',')
			return false;
	return true;
}

static void
put_server_nonce(struct scram *s)
{
	uint8_t raw[NONCE_BYTES];

	if (s->nonce != NULL) {
		buf_put_str(&s->full_nonce, s->nonce);
		return;
	}
	if (getrandom(raw, sizeof(raw), 0) != sizeof(raw))
		log_fatal("getrandom", "no random numbers");
	put_base64(&s->full_nonce, raw, sizeof(raw));
}

static void
answer_first(struct scram *s, const char *client_nonce, struct buf *output)
{
	buf_put_str(&s->full_nonce, client_nonce);
	put_server_nonce(s);
	buf_put_str(&s->server_first, "r=");
	buf_put(&s->server_first, s->full_nonce.data, s->full_nonce.len);
	buf_put_str(&s->server_first, ",s=");
	put_base64(&s->server_first, s->secret->salt, s->secret->salt_len);
	buf_printf(&s->server_first, ",i=%d", s->secret->iterations);
	buf_put(output, s->server_first.data, s->server_first.len);
	s->state = WANT_FINAL;
}

/* client-first-message = gs2-header [m=...,] n=user, r=nonce [, extensions] */
static enum scram_result
client_first(struct scram *s, char *p, struct buf *output)
{
	enum scram_result r = channel_binding(s, &p);
	char *nonce;
	char name;

	if (r != SCRAM_CONTINUE)
		return r;
	if (*p == 'a')
		return bad(s, "0A000",
		    "client uses authorization identity, but it is not "
		    "supported");
	if (*p != ',')
		return malformed(s);
	p++;
	buf_put_str(&s->client_first_bare, p);
	if (*p == 'm')
		return bad(s, "0A000",
		    "client requires an unsupported SCRAM extension");
	/* The name in the startup packet counts. */
	if (attribute(&p, 'n', &name) == NULL ||
	    (nonce = attribute(&p, 'r', &name)) == NULL || *nonce == '\0')
		return malformed(s);
	if (!is_printable(nonce))
		return bad(
		    s, "08P01", "non-printable characters in SCRAM nonce");
	while (*p != '\0')
		if (attribute(&p, 0, &name) == NULL)
			return malformed(s);
	answer_first(s, nonce, output);
	return SCRAM_CONTINUE;
}

/* c= must be the header that the client began with, and our certificate. */
static enum scram_result
check_binding(struct scram *s, const char *value)
{
	struct buf header = { 0 }, want = { 0 };
	bool same;

	if (s->cbind_flag == 'p')
		buf_put_str(&header, "p=" CBIND_TYPE ",,");
	else
		buf_printf(&header, "%c,,", s->cbind_flag);
	if (s->cbind_flag == 'p')
		buf_put(&header, s->end_point, s->end_point_len);
	put_base64(&want, header.data, header.len);
	same = strlen(value) == want.len &&
	       CRYPTO_memcmp(value, want.data, want.len) == 0;
	buf_free(&header);
	buf_free(&want);
	if (same)
		return SCRAM_CONTINUE;
	if (s->cbind_flag == 'p')
		return bad(s, "28000", "SCRAM channel binding check failed");
	return bad(s, "08P01",
	    "unexpected SCRAM channel-binding attribute in "
	    "client-final-message");
}

/* client-first-bare , server-first , client-final-without-proof */
static void
auth_message(const struct scram *s, const char *final, size_t n, struct buf *b)
{
	buf_put(b, s->client_first_bare.data, s->client_first_bare.len);
	buf_put_u8(b, ',');
	buf_put(b, s->server_first.data, s->server_first.len);
	buf_put_u8(b, ',');
	buf_put(b, final, n);
}

/* ClientKey = ClientProof ^ HMAC(StoredKey, AuthMessage); is it StoredKey's? */
static bool
proof_right(const struct scram *s, const struct buf *message,
    const uint8_t proof[SCRAM_KEY_BYTES])
{
	uint8_t key[SCRAM_KEY_BYTES], stored[SCRAM_KEY_BYTES];

	hmac(s->secret->stored_key, message->data, message->len, key);
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] ^= proof[i];
	sha256(key, stored);
	OPENSSL_cleanse(key, sizeof(key));
	return CRYPTO_memcmp(stored, s->secret->stored_key, sizeof(stored)) ==
	       0;
}

static enum scram_result
finish(struct scram *s, const char *final, size_t n,
    const uint8_t proof[SCRAM_KEY_BYTES], struct buf *output)
{
	uint8_t signature[SCRAM_KEY_BYTES];
	struct buf message = { 0 };
	bool right;

	auth_message(s, final, n, &message);
	right = proof_right(s, &message, proof);
	hmac(s->secret->server_key, message.data, message.len, signature);
	buf_free(&message);
	s->state = FINISHED;
	if (!right || s->doomed)
		return SCRAM_WRONG;
	buf_put_str(output, "v=");
	put_base64(output, signature, sizeof(signature));
	return SCRAM_DONE;
}

/*
 * client-final-message = c=binding, r=nonce [, extensions], p=proof; original:
 * the same text with its commas.
 */
static enum scram_result
client_final(
    struct scram *s, char *text, const char *original, struct buf *output)
{
	uint8_t proof[SCRAM_KEY_BYTES];
	enum scram_result r;
	char *p = text, *value, *nonce;
	size_t without_proof;
	char name;

	value = attribute(&p, 'c', &name);
	if (value == NULL)
		return malformed(s);
	r = check_binding(s, value);
	if (r != SCRAM_CONTINUE)
		return r;
	nonce = attribute(&p, 'r', &name);
	if (nonce == NULL)
		return malformed(s);
	do {
		without_proof = (size_t)(p - text) - 1;
		value = attribute(&p, 0, &name);
		if (value == NULL)
			return malformed(s);
	} while (name != 'p');
	if (*p != '\0' || !parse_key(value, strlen(value), proof))
		return malformed(s);
	if (strlen(nonce) != s->full_nonce.len ||
	    CRYPTO_memcmp(nonce, s->full_nonce.data, s->full_nonce.len) != 0)
		return bad(s, "08P01", "invalid SCRAM response");
	return finish(s, original, without_proof, proof, output);
}

enum scram_result
scram_step(struct scram *s, const char *input, size_t len, struct buf *output)
{
	enum scram_result r;
	char *copy, *original;

	if (input == NULL)
		return s->state == WANT_FIRST ? SCRAM_CONTINUE : malformed(s);
	if (len == 0 || len > SCRAM_MAX_MESSAGE ||
	    memchr(input, '\0', len) != NULL || s->state == FINISHED)
		return malformed(s);
	copy = mem_strndup(input, len);
	original = mem_strndup(input, len);
	r = s->state == WANT_FIRST ? client_first(s, copy, output)
				   : client_final(s, copy, original, output);
	free(copy);
	free(original);
	return r;
}

void
scram_free(struct scram *s)
{
	buf_free(&s->client_first_bare);
	buf_free(&s->server_first);
	buf_free(&s->full_nonce);
}
