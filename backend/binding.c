/*
 * binding.c: SCRAM's channel binding while the server authenticates the client
 * through us.
 *
 * SCRAM-SHA-256-PLUS proves that both ends know the same server certificate.
 * With TLS on both legs it works if ours is the server's; a client that chooses
 * it and sees another certificate is refused here, with a hint, instead of by a
 * failure that nobody understands.  It must stay in the list even then: libpq
 * says in its proof whether it was offered, and the server compares.  With TLS
 * to the server alone it must go: libpq takes it for an attack.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "binding.h"

#include <string.h>

#include "log.h"
#include "tls.h"

#define PLUS "SCRAM-SHA-256-PLUS"

/* The list of mechanisms without PLUS, as a server without TLS sends it. */
static void
put_without_plus(struct session *s, const struct message *m)
{
	struct rd r = rd_init(m->body + 4, m->len - 4);
	size_t at = wire_begin(&s->client, PqMsg_AuthenticationRequest);
	const char *name;

	buf_put_u32(&s->client.out, AUTH_REQ_SASL);
	while ((name = rd_cstr(&r)) != NULL && *name != '\0')
		if (strcmp(name, PLUS) != 0)
			buf_put_cstr(&s->client.out, name);
	buf_put_u8(&s->client.out, 0);
	wire_end(&s->client, at);
}

void
binding_relay_request(struct session *s, const struct message *m)
{
	s->sasl_asked = m->len > 4 && get_u32(m->body) == AUTH_REQ_SASL;
	if (s->sasl_asked && s->server.tls != NULL && s->client.tls == NULL)
		put_without_plus(s, m);
	else
		wire_put(&s->client, m->raw, m->raw_len);
}

bool
binding_allows_answer(struct session *s, const struct message *m)
{
	bool initial = s->sasl_asked;
	struct rd r = rd_init(m->body, m->len);
	const char *mechanism = rd_cstr(&r);

	s->sasl_asked = false;
	if (!initial || s->server.tls == NULL || s->client.tls == NULL ||
	    mechanism == NULL || strcmp(mechanism, PLUS) != 0 ||
	    tls_is_own_certificate(s->heritage->tls, s->server.tls))
		return true;
	log_warning("channel_binding",
	    "refused a client that binds SCRAM to our certificate, which is "
	    "not the server's");
	session_fatal(s, "08004",
	    "SCRAM channel binding is not possible through this proxy: its "
	    "certificate is not the server's",
	    "Connect with channel_binding=disable.  Or the proxy's "
	    "ssl_cert_file can be the server's own certificate, its "
	    "auth_method scram-sha-256, or TLS used on one side of it only.");
	return false;
}
