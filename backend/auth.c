/*
 * auth.c: admitting a client by the proxy itself.
 *
 * Says what PostgreSQL says, and no more: an unknown user, one without a
 * fitting secret and a wrong password differ neither in messages nor in the
 * work done.  The operator log has the reason.  Secrets and passwords are wiped
 * after use and never logged.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "merkle.h"
#include "tls.h"
#include "userlist.h"

#define MAX_PASSWORD 1024
#define MD5_BYTES 16
#define MD5_TEXT (3 + 2 * MD5_BYTES)

/* --- secrets --- */

/* Hashes first, so that the time tells nothing about the lengths. */
static bool
same_text(const char *one, const char *other)
{
	struct merkle_hash a, b;

	merkle_sha256(&(struct merkle_part){ one, strlen(one) }, 1, &a);
	merkle_sha256(&(struct merkle_part){ other, strlen(other) }, 1, &b);
	return CRYPTO_memcmp(a.b, b.b, sizeof(a.b)) == 0;
}

static bool
is_md5(const char *secret)
{
	return strlen(secret) == MD5_TEXT && strncmp(secret, "md5", 3) == 0 &&
	       strspn(secret + 3, "0123456789abcdef") == 2 * MD5_BYTES;
}

/* "md5" and the digest of password and user. */
static bool
check_md5(const char *user, const char *password, const char *secret)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t digest[EVP_MAX_MD_SIZE];
	char text[MD5_TEXT + 1] = "md5";
	bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1 &&
		  EVP_DigestUpdate(ctx, password, strlen(password)) == 1 &&
		  EVP_DigestUpdate(ctx, user, strlen(user)) == 1 &&
		  EVP_DigestFinal_ex(ctx, digest, NULL) == 1;

	EVP_MD_CTX_free(ctx);
	if (!ok)
		return false;
	for (size_t i = 0; i < MD5_BYTES; i++)
		snprintf(text + 3 + 2 * i, 3, "%02x", digest[i]);
	return same_text(text, secret);
}

bool
auth_check_secret(const char *user, const char *password, const char *secret,
    const struct scram_secret *like)
{
	struct scram_secret own;
	bool waste;

	if (scram_parse(secret, &own))
		return scram_check_password(&own, password);
	/* The others take no time: it would tell who is unknown. */
	waste = scram_check_password(like, password);
	(void)waste;
	if (is_md5(secret))
		return check_md5(user, password, secret);
	/* A damaged one is no password; nor is an empty one, as there. */
	return secret[0] != '\0' && password[0] != '\0' &&
	       strncmp(secret, SCRAM_SECRET_PREFIX,
		   strlen(SCRAM_SECRET_PREFIX)) != 0 &&
	       same_text(password, secret);
}

/* --- messages --- */

static void
put_request(
    struct session *s, uint32_t code, const struct buf *data, bool flush)
{
	size_t at = wire_begin(&s->client, PqMsg_AuthenticationRequest);

	buf_put_u32(&s->client.out, code);
	if (data != NULL)
		buf_put(&s->client.out, data->data, data->len);
	wire_end(&s->client, at);
	if (flush)
		wire_flush(&s->client);
}

static bool
protocol_violation(struct session *s, const char *why)
{
	log_warning("auth_failed", "%s", why);
	session_fatal(s, "08P01", why, NULL);
	return false;
}

/*
 * Waits for the client's answer of at most max bytes; what: "password" or
 * "SASL".  It stays until wipe_answer().
 */
static bool
read_answer(struct session *s, const char *what, size_t max, struct message *m)
{
	enum wire_status st;
	char type, why[80];
	size_t raw_len;

	for (;;) {
		st = wire_head(&s->client, &type, &raw_len);
		if (st == WIRE_BAD || (st == WIRE_MESSAGE && raw_len > max + 5))
			return protocol_violation(s, "invalid message length");
		if (st == WIRE_MESSAGE && type != PqMsg_PasswordMessage) {
			snprintf(why, sizeof(why),
			    "expected %s response, got message type %d", what,
			    (unsigned char)type);
			return protocol_violation(s, why);
		}
		if (wire_message(&s->client, m) == WIRE_MESSAGE)
			return true;
		if (s->client.eof)
			return false;
		if (!session_wait(s, WANT_CLIENT)) {
			if (session_is_late(s))
				session_fatal(s, "57014",
				    "canceling authentication due to timeout",
				    NULL);
			return false;
		}
	}
}

static void
wipe_answer(struct session *s, const struct message *m)
{
	OPENSSL_cleanse(s->client.in.data + s->client.in_at, m->raw_len);
	wire_skip(&s->client, m->raw_len);
}

/* why: for the operator alone. */
static bool
refuse(struct session *s, const char *why)
{
	char text[400];

	snprintf(text, sizeof(text),
	    "password authentication failed for user \"%.200s\"", s->user);
	log_warning("auth_failed", "%s: %s", text, why);
	session_fatal(s, "28P01", text, NULL);
	return false;
}

/* --- password --- */

static bool
password_right(const struct session *s, const char *password, const char **why)
{
	struct userlist_entry e;
	bool readable = userlist_find(s->config->auth_file, s->user, &e);
	bool right = auth_check_secret(s->user, password, e.secret, &e.like);

	*why = !readable ? "auth_file cannot be read"
	       : e.known ? "wrong password"
			 : "no such user in auth_file";
	OPENSSL_cleanse(&e, sizeof(e));
	return right;
}

static bool
ask_password(struct session *s)
{
	char password[MAX_PASSWORD];
	const char *why;
	struct message m;
	bool right;

	put_request(s, AUTH_REQ_PASSWORD, NULL, true);
	if (!read_answer(s, "password", sizeof(password), &m))
		return false;
	if (m.len == 0 || memchr(m.body, 0, m.len) != m.body + m.len - 1)
		return protocol_violation(s, "invalid password packet size");
	memcpy(password, m.body, m.len);
	wipe_answer(s, &m);
	right = password_right(s, password, &why);
	OPENSSL_cleanse(password, sizeof(password));
	return right || refuse(s, why);
}

/* --- scram-sha-256 --- */

/* The user's secret, or one that cannot be told from it; *why: doomed. */
static void
find_scram_secret(
    const struct session *s, struct scram_secret *out, const char **why)
{
	struct userlist_entry e;
	struct scram_secret mock, own = { 0 };
	bool readable = userlist_find(s->config->auth_file, s->user, &e);
	bool usable = scram_parse(e.secret, &own);

	scram_mock(&mock, s->heritage->auth_secret, s->user, &e.like);
	*out = usable ? own : mock;
	*why = usable      ? NULL
	       : !readable ? "auth_file cannot be read"
	       : e.known   ? "no valid SCRAM secret in auth_file"
			   : "no such user in auth_file";
	OPENSSL_cleanse(&e, sizeof(e));
	OPENSSL_cleanse(&own, sizeof(own));
}

static void
offer_mechanisms(struct session *s, const struct scram *scram)
{
	struct buf list = { 0 };

	if (scram->end_point_len > 0)
		buf_put_cstr(&list, SCRAM_MECHANISM_PLUS);
	buf_put_cstr(&list, SCRAM_MECHANISM);
	buf_put_u8(&list, 0);
	put_request(s, AUTH_REQ_SASL, &list, true);
	buf_free(&list);
}

/*
 * SASLInitialResponse: the mechanism's name, a length, maybe -1, and so many
 * bytes.  False: the client was told what is wrong.
 */
static bool
initial_response(struct session *s, struct scram *scram,
    const struct message *m, const char **input, size_t *len)
{
	struct rd r = rd_init(m->body, m->len);
	const char *mechanism = rd_cstr(&r);
	uint32_t n = rd_u32(&r);

	*len = n == UINT32_MAX ? 0 : n;
	*input = (const char *)rd_bytes(&r, *len);
	if (r.bad || rd_left(&r) != 0)
		return protocol_violation(s, "invalid message format");
	if (n == UINT32_MAX)
		*input = NULL;
	scram->plus = strcmp(mechanism, SCRAM_MECHANISM_PLUS) == 0;
	if (scram->plus ? scram->end_point_len == 0
			: strcmp(mechanism, SCRAM_MECHANISM) != 0)
		return protocol_violation(s,
		    "client selected an invalid SASL authentication "
		    "mechanism");
	return true;
}

/* One message of the client and our answer.  SCRAM_BAD: it was told why. */
static enum scram_result
scram_round(struct session *s, struct scram *scram, bool first)
{
	struct buf output = { 0 };
	enum scram_result r;
	const char *input;
	struct message m;
	size_t len;

	if (!read_answer(s, "SASL", SCRAM_MAX_MESSAGE, &m))
		return SCRAM_BAD;
	input = (const char *)m.body;
	len = m.len;
	if (first && !initial_response(s, scram, &m, &input, &len))
		return SCRAM_BAD;
	r = scram_step(scram, input, len, &output);
	wipe_answer(s, &m);
	if (r == SCRAM_CONTINUE)
		put_request(s, AUTH_REQ_SASL_CONT, &output, true);
	else if (r == SCRAM_DONE)
		put_request(s, AUTH_REQ_SASL_FIN, &output, false);
	buf_free(&output);
	if (r == SCRAM_BAD) {
		log_warning(
		    "auth_failed", "user \"%s\": %s", s->user, scram->error);
		session_fatal(s, scram->sqlstate, scram->error, NULL);
	}
	return r;
}

static bool
ask_scram(struct session *s)
{
	struct scram_secret secret;
	struct scram scram = { .secret = &secret };
	const char *doomed;
	enum scram_result r;

	if (s->client.tls != NULL)
		scram.end_point_len = tls_end_point(
		    s->heritage->tls, &scram.end_point);
	find_scram_secret(s, &secret, &doomed);
	scram.doomed = doomed != NULL;
	offer_mechanisms(s, &scram);
	r = scram_round(s, &scram, true);
	while (r == SCRAM_CONTINUE)
		r = scram_round(s, &scram, false);
	scram_free(&scram);
	OPENSSL_cleanse(&secret, sizeof(secret));
	if (r == SCRAM_WRONG)
		return refuse(s, doomed != NULL ? doomed : "wrong password");
	return r == SCRAM_DONE;
}

bool
auth_client(struct session *s)
{
	if (s->user[0] == '\0') {
		session_fatal(s, "28000",
		    "no PostgreSQL user name specified in startup packet",
		    NULL);
		return false;
	}
	switch (s->config->auth_method) {
	case AUTH_TRUST:
		return true;
	case AUTH_SCRAM:
		return ask_scram(s);
	default:
		return ask_password(s);
	}
}
