/*
 * startup.c: what a client sends before its session.
 *
 * A strict sequence: at most one GSSENCRequest, answered 'N', and one
 * SSLRequest, answered 'S' or 'N', or TLS at once (as with sslnegotiation =
 * direct); then one StartupMessage or CancelRequest.  Bytes that arrive
 * together with an encryption request end the connection (CVE-2021-23214).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "startup.h"

#include <signal.h>
#include <string.h>

#include "connect.h"
#include "ioutil.h"
#include "log.h"
#include "mem.h"
#include "tls.h"

#define TLS_FIRST_BYTE 0x16

/* Waits until n bytes are there. */
static bool
need(struct session *s, size_t n)
{
	while (wire_unread(&s->client) < n) {
		if (s->client.eof || !session_wait(s, WANT_CLIENT))
			return false;
		if (s->smart)
			return false;
	}
	return true;
}

static bool
bad_packet(struct session *s, const char *why)
{
	log_info("bad_startup", "refused a connection: %s", why);
	session_fatal(s, "08P01", why, NULL);
	return false;
}

/* One packet without type byte into *p; false: connection is finished. */
static bool
read_packet(struct session *s, const uint8_t **p, size_t *len)
{
	uint32_t n;

	if (!need(s, 4))
		return false;
	n = get_u32(wire_data(&s->client));
	if (n < 8 || n > PG_MAX_STARTUP_BYTES)
		return bad_packet(s, "invalid length of startup packet");
	if (!need(s, n))
		return false;
	*p = wire_data(&s->client);
	*len = n;
	return true;
}

/* Our own key belongs to another child: have it cancel through libpq. */
static bool
cancel_own(const struct session *s, uint32_t pid, uint32_t key)
{
	const struct heritage *h = s->heritage;

	for (unsigned i = 0; i < h->n_sessions; i++) {
		struct session_slot *slot = &h->sessions[i];
		int32_t child = atomic_load(&slot->pid);

		if (key == 0 || atomic_load(&slot->cancel_key) != key ||
		    atomic_load(&slot->server_pid) != pid ||
		    atomic_load(&slot->state) != SESSION_BUSY || child <= 0)
			continue;
		kill(child, SIGUSR1);
		return true;
	}
	return false;
}

static void
cancel_request(struct session *s, const uint8_t *p, size_t len)
{
	if (len >= 16 && s->config->auth_method != AUTH_PASSTHROUGH) {
		if (!cancel_own(s, get_u32(p + 8), get_u32(p + 12)))
			log_info("cancel_unmatched",
			    "a cancel request matched no session");
		return;
	}
	connect_cancel(s, p, len);
}

static bool
names_ok(const uint8_t *p, size_t len)
{
	struct rd r = rd_init(p, len);

	for (;;) {
		const char *name = rd_cstr(&r);

		if (r.bad)
			return false;
		if (*name == '\0')
			return rd_left(&r) == 0;
		if (rd_cstr(&r) == NULL)
			return false;
	}
}

void
startup_each(const struct buf *packet,
    void (*fn)(void *arg, const char *name, const char *value), void *arg)
{
	struct rd r = rd_init(packet->data + 8, packet->len - 8);

	for (;;) {
		const char *name = rd_cstr(&r);
		const char *value;

		if (name == NULL || *name == '\0')
			return;
		value = rd_cstr(&r);
		if (value == NULL)
			return;
		fn(arg, name, value);
	}
}

struct find {
	const char *name;
	const char *value;
};

static void
find_one(void *arg, const char *name, const char *value)
{
	struct find *f = arg;

	if (strcmp(name, f->name) == 0)
		f->value = value; /* the last one counts */
}

const char *
startup_parameter(const struct buf *packet, const char *name)
{
	struct find f = { name, NULL };

	startup_each(packet, find_one, &f);
	return f.value;
}

struct options {
	struct wire *client;
	uint32_t n;
};

static void
put_option(void *arg, const char *name, const char *value)
{
	struct options *o = arg;

	(void)value;
	if (strncmp(name, "_pq_.", 5) != 0)
		return;
	buf_put_cstr(&o->client->out, name);
	o->n++;
}

void
startup_negotiate(struct session *s, const struct buf *packet)
{
	struct options o = { .client = &s->client };
	size_t start = s->client.out.len;
	size_t at = wire_begin(&s->client, PqMsg_NegotiateProtocolVersion);

	/* PostgreSQL 15 gives the whole version, whatever its manual says. */
	buf_put_u32(&s->client.out, PG_PROTOCOL_3_0);
	buf_put_u32(&s->client.out, 0);
	startup_each(packet, put_option, &o);
	buf_set_u32(&s->client.out, at + 8, o.n);
	wire_end(&s->client, at);
	if (o.n == 0 && get_u32(packet->data + 4) <= PG_PROTOCOL_3_0)
		s->client.out.len = start;
}

static char *
parameter_or(const struct buf *packet, const char *name, const char *other)
{
	const char *v = startup_parameter(packet, name);

	return mem_strdup(v != NULL ? v : other);
}

/* replication=true, on, yes, 1: a physical walsender, which takes no SQL. */
static bool
is_physical(const char *v)
{
	static const char *const yes[] = { "true", "on", "yes", "1", "t", "y" };

	for (size_t i = 0; v != NULL && i < sizeof(yes) / sizeof(*yes); i++)
		if (strcasecmp(v, yes[i]) == 0)
			return true;
	return false;
}

static bool
startup_message(
    struct session *s, const uint8_t *p, size_t len, struct buf *packet)
{
	buf_reset(packet);
	buf_put(packet, p, len);
	/*
	 * A list that does not end as it should is the server's to refuse
	 * (passthrough); nothing is read from it here.
	 */
	if (!names_ok(p + 8, len - 8)) {
		if (s->config->auth_method != AUTH_PASSTHROUGH)
			return bad_packet(s,
			    "invalid startup packet layout: "
			    "expected terminator as last byte");
		s->user = mem_strdup("");
		s->database = mem_strdup("");
		s->application_name = mem_strdup("");
		return true;
	}
	s->user = parameter_or(packet, "user", "");
	s->database = parameter_or(packet, "database", s->user);
	s->application_name = parameter_or(packet, "application_name", "");
	s->replication = is_physical(startup_parameter(packet, "replication"));
	return true;
}

static bool
unsupported_version(struct session *s, uint32_t code)
{
	char why[100];

	snprintf(why, sizeof(why),
	    "unsupported frontend protocol %u.%u: "
	    "server supports 3.0 to 3.0",
	    code >> 16, code & 0xffff);
	session_fatal(s, "0A000", why, NULL);
	return false;
}

/* --- encryption --- */

/* As PostgreSQL: over TCP alone. */
static bool
offers_tls(const struct session *s)
{
	return tls_accepts(s->heritage->tls) && !session_is_local(s);
}

static bool
accept_tls(struct session *s)
{
	char described[100];

	wire_set_tls(&s->client, tls_accept(s->heritage->tls, s->client.fd));
	if (!session_handshake(s, &s->client)) {
		log_info("tls_failed", "could not accept SSL connection: %s",
		    tls_error(s->client.tls));
		return false;
	}
	tls_describe(s->client.tls, described, sizeof(described));
	log_debug("client_tls", "%s", described);
	return true;
}

/* TLS without an SSLRequest; its first bytes stay in the socket until then. */
static bool
direct_tls(struct session *s)
{
	/* Alert, TLS 1.2, two bytes: fatal handshake_failure */
	static const uint8_t alert[] = { 21, 3, 3, 0, 2, 2, 40 };

	if (!offers_tls(s)) {
		log_info("bad_startup",
		    "refused a connection: TLS is not offered here");
		wire_put(&s->client, alert, sizeof(alert));
		wire_flush(&s->client);
		return false;
	}
	if (!accept_tls(s))
		return false;
	if (tls_has_alpn(s->client.tls))
		return true;
	log_info("bad_startup",
	    "received direct SSL connection request without ALPN protocol "
	    "negotiation extension");
	return false;
}

/* The first byte is looked at where it is: the handshake must find it. */
static bool
begins_with_tls(struct session *s)
{
	uint8_t first;

	return session_peek(s, &first) && first == TLS_FIRST_BYTE;
}

/* Answers an encryption request; false: the connection is finished. */
static bool
encryption_request(struct session *s, uint32_t code, size_t len, bool *seen)
{
	bool ssl = code == PG_SSL_REQUEST;
	bool yes = ssl && offers_tls(s);

	if (*seen || s->client.tls != NULL || len != 8)
		return bad_packet(s, "unexpected encryption request");
	*seen = true;
	wire_skip(&s->client, len);
	if (wire_unread(&s->client) > 0)
		return bad_packet(s,
		    ssl ? "received unencrypted data after SSL request"
			: "received unencrypted data after GSSAPI encryption "
			  "request");
	wire_put(&s->client, yes ? "S" : "N", 1);
	wire_flush(&s->client);
	return yes ? accept_tls(s) : !s->client.broken;
}

/* ssl = require; cancel requests hold no secret of the client's. */
static bool
encrypted_enough(struct session *s)
{
	char text[600];

	if (s->config->ssl != SSL_REQUIRE || s->client.tls != NULL ||
	    session_is_local(s))
		return true;
	snprintf(text, sizeof(text),
	    "connection requires SSL: host \"%s\", user \"%.200s\", database "
	    "\"%.200s\", no encryption",
	    s->client_addr, s->user, s->database);
	log_info("ssl_required", "refused a connection: %s", text);
	session_fatal(s, "28000", text, "Use sslmode=require in the client.");
	return false;
}

static bool
startup_packet(struct session *s, struct buf *packet)
{
	bool ssl = false, gss = false;

	for (;;) {
		const uint8_t *p;
		size_t len;
		uint32_t code;

		if (!read_packet(s, &p, &len))
			return false;
		code = get_u32(p + 4);
		if (code == PG_SSL_REQUEST || code == PG_GSSENC_REQUEST) {
			if (!encryption_request(s, code, len,
				code == PG_SSL_REQUEST ? &ssl : &gss))
				return false;
			continue;
		}
		if (code == PG_CANCEL_REQUEST) {
			cancel_request(s, p, len);
			return false;
		}
		if (code >> 16 != 3)
			return unsupported_version(s, code);
		if (!startup_message(s, p, len, packet))
			return false;
		wire_skip(&s->client, len);
		return true;
	}
}

bool
startup_read(struct session *s, struct buf *packet)
{
	if (begins_with_tls(s) && !direct_tls(s))
		return false;
	return startup_packet(s, packet) && encrypted_enough(s);
}
