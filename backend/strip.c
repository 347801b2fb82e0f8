/*
 * strip.c: the answers to a statement with a column too many.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "strip.h"

/* Of a field in a RowDescription, behind its name. */
#define FIELD_BYTES 18

void
strip_description(struct wire *client, const struct message *m, bool no_data)
{
	struct rd r = rd_init(m->body, m->len);
	uint16_t n = rd_u16(&r);
	const uint8_t *from = r.p;
	size_t at;

	if (n <= 1) {
		if (no_data)
			wire_put_empty(client, PqMsg_NoData);
		return;
	}
	for (uint16_t i = 1; i < n; i++) {
		(void)rd_cstr(&r);
		(void)rd_bytes(&r, FIELD_BYTES);
	}
	if (r.bad)
		return;
	at = wire_begin(client, PqMsg_RowDescription);
	buf_put_u16(&client->out, (uint16_t)(n - 1));
	buf_put(&client->out, from, (size_t)(r.p - from));
	wire_end(client, at);
}

bool
strip_row(struct wire *client, const struct message *m,
    struct exchange_value *last, bool *queued)
{
	struct rd r = rd_init(m->body, m->len);
	uint16_t n = rd_u16(&r);
	const uint8_t *from = r.p, *to;
	uint32_t len;
	size_t at;

	for (uint16_t i = 1; i < n; i++) {
		len = rd_u32(&r);
		if (len != UINT32_MAX)
			(void)rd_bytes(&r, len);
	}
	to = r.p;
	len = rd_u32(&r);
	last->data = len == UINT32_MAX ? NULL : rd_bytes(&r, len);
	last->len = len == UINT32_MAX ? 0 : len;
	*queued = n > 1;
	if (r.bad || n == 0)
		return false;
	if (n == 1)
		return true;
	at = wire_begin(client, PqMsg_DataRow);
	buf_put_u16(&client->out, (uint16_t)(n - 1));
	buf_put(&client->out, from, (size_t)(to - from));
	wire_end(client, at);
	return true;
}
