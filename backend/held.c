/*
 * held.c: the client's Bind, while another may take its place.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "held.h"

#include <string.h>

#include "pipeline.h"
#include "portal.h"

/* Describe of a portal without a name, and its Execute without a limit. */
static const uint8_t describe[] = { PqMsg_Describe, 0, 0, 0, 6, 'P', 0 };
static const uint8_t execute[] = { PqMsg_Execute, 0, 0, 0, 9, 0, 0, 0, 0, 0 };

static bool
begins_with(const uint8_t *p, size_t left, const uint8_t *want, size_t n)
{
	return left >= n && memcmp(p, want, n) == 0;
}

static bool
execute_follows(const struct session *s, const struct message *m)
{
	const uint8_t *p = m->raw + m->raw_len;
	size_t left = wire_unread(&s->client) - m->raw_len;

	if (begins_with(p, left, describe, sizeof(describe))) {
		p += sizeof(describe);
		left -= sizeof(describe);
	}
	return begins_with(p, left, execute, sizeof(execute));
}

/* How many values it has; false: they are not the statement's. */
static bool
has_values(const struct message *m, size_t n)
{
	struct rd r = rd_init(m->body, m->len);
	const char *portal = rd_cstr(&r);

	(void)rd_cstr(&r);
	(void)rd_bytes(&r, 2 * (size_t)rd_u16(&r));
	return rd_u16(&r) == n && !r.bad && portal[0] == '\0';
}

bool
held_takes(const struct session *s, const struct message *m,
    const struct prepared *p)
{
	return p->joined && has_values(m, p->joined_values) &&
	       pipeline_is_empty(s) && !s->skipping &&
	       s->lookup_error.len == 0 && s->status != PQ_FAILED &&
	       execute_follows(s, m);
}

void
held_send(struct session *s)
{
	const struct portal *portal;
	struct held h = s->held;
	size_t at;

	if (!h.bind)
		return;
	memset(&s->held, 0, sizeof(s->held));
	portal = portals_portal(s->portals, "");
	at = wire_begin(&s->server, PqMsg_Bind);
	buf_put(&s->server.out, portal->bind.data, portal->bind.len);
	wire_end(&s->server, at);
	pipeline_push(s, PqMsg_Bind)->named = h.named;
	if (!h.described)
		return;
	buf_put(&s->server.out, describe, sizeof(describe));
	pipeline_push(s, PqMsg_Describe);
}

/* Without RETURNING there is nothing to describe. */
void
held_answer(struct session *s, struct held *h, const struct message *m)
{
	if (!h->bind)
		return;
	wire_put(&s->client, m->raw, m->raw_len);
	if (h->described)
		wire_put_empty(&s->client, PqMsg_NoData);
	portals_confirm(s->portals, h->named);
	memset(h, 0, sizeof(*h));
}

void
held_fail(struct session *s, struct held *h)
{
	if (h->bind)
		portals_undo(s->portals, h->named);
	memset(h, 0, sizeof(*h));
}
