/*
 * hold.c: a queue of jobs behind the DDL that they have to wait for.
 *
 * Empty but for moments around DDL: then jobs pass through.  Called by track.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "hold.h"

#include <string.h>

#include "ioutil.h"
#include "mem.h"

struct held {
	uint64_t tx_id; /* 0: DDL */
	struct spool_position at;
	int64_t made_us;
	uint64_t own; /* of DDL */
	int64_t since_us;
};

struct hold {
	struct dispatch *dispatch;
	struct held *items; /* oldest first */
	size_t n;
	size_t cap;
};

struct hold *
hold_new(struct dispatch *d)
{
	struct hold *h = mem_zalloc(1, sizeof(*h));

	h->dispatch = d;
	return h;
}

static void
put(struct hold *h, const struct held *item)
{
	if (h->n == h->cap) {
		h->cap = h->cap == 0 ? 64 : 2 * h->cap;
		h->items = mem_realloc(
		    h->items, h->cap, sizeof(*h->items));
	}
	h->items[h->n++] = *item;
}

/* Of what is held the oldest is always DDL. */
static bool
must_wait(const struct hold *h, uint64_t tx_id, int64_t made_us)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->items[i].own == tx_id)
			return true;
	return h->n > 0 && made_us > h->items[0].made_us;
}

void
hold_job(
    struct hold *h, uint64_t tx_id, struct spool_position at, int64_t made_us)
{
	if (!must_wait(h, tx_id, made_us))
		dispatch_push(h->dispatch, tx_id, at);
	else
		put(h, &(struct held){ .tx_id = tx_id, .at = at });
}

void
hold_ddl(
    struct hold *h, struct spool_position at, int64_t made_us, uint64_t own)
{
	put(h, &(struct held){ .at = at,
		   .made_us = made_us,
		   .own = own,
		   .since_us = io_monotonic_us() });
}

bool
hold_is_empty(const struct hold *h)
{
	return h->n == 0;
}

static bool
may_go(const struct held *i, int64_t undecided_us)
{
	return i->tx_id != 0 || undecided_us > i->made_us ||
	       io_monotonic_us() - i->since_us >= HOLD_US;
}

void
hold_release(struct hold *h, int64_t undecided_us)
{
	size_t i;

	for (i = 0; i < h->n && may_go(&h->items[i], undecided_us); i++) {
		if (h->items[i].tx_id != 0)
			dispatch_push(
			    h->dispatch, h->items[i].tx_id, h->items[i].at);
		else
			dispatch_push_ddl(h->dispatch, h->items[i].at);
	}
	h->n -= i;
	if (i > 0 && h->n > 0)
		memmove(h->items, h->items + i, h->n * sizeof(*h->items));
}
