/*
 * auth.c: admitting a client by the proxy itself.
 *
 * auth_file holds lines  "user" "secret"  (doubled quotes inside); '#' starts
 * a comment line.  It is read at each login, so that a change acts at once.
 * Secrets and passwords are wiped after use and never logged.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ioutil.h"
#include "log.h"
#include "merkle.h"

#define MAX_AUTH_FILE ((size_t)4 * 1024 * 1024)
#define MAX_PASSWORD 1024
#define SCRAM_PREFIX "SCRAM-SHA-256$"
#define MAX_ITERATIONS 10000000
/* Compared when the user is unknown, so that this takes as long. */
#define NO_SECRET \
	"SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$" \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:" \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

/* Decodes padded base64; -1 if it is none or longer than size. */
static int
base64(const char *p, size_t n, uint8_t *out, size_t size)
{
	uint8_t block[256];
	int len;

	if (n == 0 || n % 4 != 0 || n / 4 * 3 > sizeof(block))
		return -1;
	len = EVP_DecodeBlock(block, (const unsigned char *)p, (int)n);
	if (len < 0)
		return -1;
	while (n > 0 && p[n - 1] == '=' && len > 0) {
		len--;
		n--;
	}
	if ((size_t)len > size)
		return -1;
	memcpy(out, block, (size_t)len);
	return len;
}

/* RFC 5802: StoredKey = H(HMAC(Hi(password, salt, i), "Client Key")). */
static bool
check_scram(const char *password, const char *verifier)
{
	const char *colon, *dollar, *end;
	uint8_t salt[128], stored[32], salted[32], key[32];
	struct merkle_hash calculated;
	long iterations;
	char *rest;
	int salt_len;

	iterations = strtol(verifier, &rest, 10);
	colon = rest;
	dollar = *colon == ':' ? strchr(colon, '$') : NULL;
	end = dollar != NULL ? strchr(dollar, ':') : NULL;
	if (end == NULL || iterations < 1 || iterations > MAX_ITERATIONS)
		return false;
	salt_len = base64(
	    colon + 1, (size_t)(dollar - colon - 1), salt, sizeof(salt));
	if (salt_len < 0 || base64(dollar + 1, (size_t)(end - dollar - 1),
				stored, sizeof(stored)) != sizeof(stored))
		return false;
	if (PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, salt_len,
		(int)iterations, EVP_sha256(), sizeof(salted), salted) != 1 ||
	    HMAC(EVP_sha256(), salted, sizeof(salted),
		(const unsigned char *)"Client Key", 10, key, NULL) == NULL)
		return false;
	merkle_sha256(
	    &(struct merkle_part){ key, sizeof(key) }, 1, &calculated);
	OPENSSL_cleanse(salted, sizeof(salted));
	OPENSSL_cleanse(key, sizeof(key));
	return CRYPTO_memcmp(calculated.b, stored, sizeof(stored)) == 0;
}

/* Hashes first, so that the time tells nothing about the lengths. */
static bool
check_plain(const char *password, const char *secret)
{
	struct merkle_hash a, b;

	merkle_sha256(
	    &(struct merkle_part){ password, strlen(password) }, 1, &a);
	merkle_sha256(&(struct merkle_part){ secret, strlen(secret) }, 1, &b);
	return CRYPTO_memcmp(a.b, b.b, sizeof(a.b)) == 0;
}

bool
auth_check_secret(const char *password, const char *secret)
{
	size_t n = strlen(SCRAM_PREFIX);

	if (strncmp(secret, SCRAM_PREFIX, n) == 0)
		return check_scram(password, secret + n);
	/* As in PostgreSQL, an empty password admits nobody. */
	return secret[0] != '\0' && check_plain(password, secret);
}

/* A quoted string at *p into out; moves *p behind it. */
static bool
quoted(const char **p, char *out, size_t size)
{
	size_t n = 0;

	*p += strspn(*p, " \t");
	if (**p != '"')
		return false;
	for (++*p; **p != '\0'; ++*p) {
		if (**p == '"' && *++*p != '"') {
			out[n] = '\0';
			return true;
		}
		if (n + 1 >= size)
			return false;
		out[n++] = **p;
	}
	return false;
}

/* The user's secret from the text of auth_file; false if there is none. */
static bool
find_secret(char *text, const char *user, char *secret, size_t size)
{
	char *save = NULL, *line;
	char name[256];

	for (line = strtok_r(text, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		const char *p = line;

		if (quoted(&p, name, sizeof(name)) && strcmp(name, user) == 0)
			return quoted(&p, secret, size);
	}
	return false;
}

static bool
password_right(const struct session *s, const char *password)
{
	char secret[512] = NO_SECRET;
	struct buf text = { 0 };
	bool known, right;

	if (!io_read_file(s->config->auth_file, &text, MAX_AUTH_FILE)) {
		log_error("auth_file", "cannot read auth_file \"%s\": %m",
		    s->config->auth_file);
		return false;
	}
	buf_put_u8(&text, 0);
	known = find_secret((char *)text.data, s->user, secret, sizeof(secret));
	right = auth_check_secret(password, known ? secret : NO_SECRET);
	OPENSSL_cleanse(text.data, text.len);
	OPENSSL_cleanse(secret, sizeof(secret));
	buf_free(&text);
	return known && right;
}

/* Waits for the PasswordMessage; false if something else came. */
static bool
read_password(struct session *s, char *out, size_t size)
{
	struct message m;
	enum wire_status st;

	while ((st = wire_message(&s->client, &m)) == WIRE_INCOMPLETE) {
		char type;
		size_t raw_len;

		if (wire_head(&s->client, &type, &raw_len) == WIRE_MESSAGE &&
		    raw_len > size)
			return false;
		if (s->client.eof || !session_wait(s, WANT_CLIENT))
			return false;
	}
	if (st != WIRE_MESSAGE || m.type != PqMsg_PasswordMessage ||
	    m.len == 0 || m.len > size || m.body[m.len - 1] != 0)
		return false;
	memcpy(out, m.body, m.len);
	OPENSSL_cleanse(s->client.in.data + s->client.in_at, m.raw_len);
	wire_skip(&s->client, m.raw_len);
	return true;
}

static bool
ask_password(struct session *s)
{
	size_t at = wire_begin(&s->client, PqMsg_AuthenticationRequest);
	char password[MAX_PASSWORD], text[400];
	bool right;

	buf_put_u32(&s->client.out, AUTH_REQ_PASSWORD);
	wire_end(&s->client, at);
	wire_flush(&s->client);
	if (!read_password(s, password, sizeof(password)))
		return false;
	right = password_right(s, password);
	OPENSSL_cleanse(password, sizeof(password));
	if (right)
		return true;
	snprintf(text, sizeof(text),
	    "password authentication failed for user \"%.200s\"", s->user);
	log_warning("auth_failed", "%s", text);
	session_fatal(s, "28P01", text, NULL);
	return false;
}

bool
auth_client(struct session *s)
{
	if (s->user[0] == '\0') {
		session_fatal(s, "28000",
		    "no PostgreSQL user name specified "
		    "in startup packet",
		    NULL);
		return false;
	}
	return s->config->auth_method == AUTH_TRUST || ask_password(s);
}
