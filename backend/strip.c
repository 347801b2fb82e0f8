/*
 * strip.c: the answers to a statement with columns too many.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "strip.h"

/* Of a field in a RowDescription, behind its name. */
#define FIELD_BYTES 18

void
strip_description(
    struct wire *client, const struct message *m, unsigned n, bool no_data)
{
	struct rd r = rd_init(m->body, m->len);
	uint16_t all = rd_u16(&r);
	const uint8_t *from = r.p;
	size_t at;

	if (all <= n) {
		if (no_data)
			wire_put_empty(client, PqMsg_NoData);
		return;
	}
	for (unsigned i = n; i < all; i++) {
		(void)rd_cstr(&r);
		(void)rd_bytes(&r, FIELD_BYTES);
	}
	if (r.bad)
		return;
	at = wire_begin(client, PqMsg_RowDescription);
	buf_put_u16(&client->out, (uint16_t)(all - n));
	buf_put(&client->out, from, (size_t)(r.p - from));
	wire_end(client, at);
}

bool
strip_row(struct wire *client, const struct message *m,
    struct exchange_value *own, unsigned n, bool *queued)
{
	struct rd r = rd_init(m->body, m->len);
	uint16_t all = rd_u16(&r);
	const uint8_t *from = r.p, *to;
	size_t at;

	for (unsigned i = n; i < all; i++) {
		uint32_t len = rd_u32(&r);

		if (len != UINT32_MAX)
			(void)rd_bytes(&r, len);
	}
	to = r.p;
	for (unsigned i = 0; i < n; i++)
		own[i] = exchange_value(&r);
	*queued = all > n;
	if (r.bad || all < n)
		return false;
	if (all == n)
		return true;
	at = wire_begin(client, PqMsg_DataRow);
	buf_put_u16(&client->out, (uint16_t)(all - n));
	buf_put(&client->out, from, (size_t)(to - from));
	wire_end(client, at);
	return true;
}
