/*
 * txtable.c: a hash table with open addressing and linear probing; removing
 * moves later entries of the run back, so that there are no tombstones.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "txtable.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define FIRST_SLOTS 64

/* tx_ids are a counter: Fibonacci hashing spreads them. */
static size_t
home_of(const struct txtable *t, uint64_t tx_id)
{
	return (size_t)((tx_id * 0x9e3779b97f4a7c15u) >> 32) & (t->n_slots - 1);
}

void
txtable_free(struct txtable *t)
{
	free(t->slots);
	free(t->skipped);
	memset(t, 0, sizeof(*t));
}

struct txn *
txtable_find(const struct txtable *t, uint64_t tx_id)
{
	if (t->n_slots == 0 || tx_id == 0)
		return NULL;
	for (size_t i = home_of(t, tx_id);; i = (i + 1) & (t->n_slots - 1)) {
		if (t->slots[i].tx_id == tx_id)
			return &t->slots[i];
		if (t->slots[i].tx_id == 0)
			return NULL;
	}
}

static struct txn *
free_slot(const struct txtable *t, uint64_t tx_id)
{
	size_t i = home_of(t, tx_id);

	while (t->slots[i].tx_id != 0)
		i = (i + 1) & (t->n_slots - 1);
	return &t->slots[i];
}

static void
grow(struct txtable *t)
{
	struct txtable old = *t;

	t->n_slots = old.n_slots == 0 ? FIRST_SLOTS : old.n_slots * 2;
	t->slots = mem_zalloc(t->n_slots, sizeof(*t->slots));
	for (size_t i = 0; i < old.n_slots; i++)
		if (old.slots[i].tx_id != 0)
			*free_slot(t, old.slots[i].tx_id) = old.slots[i];
	free(old.slots);
}

struct txn *
txtable_add(struct txtable *t, uint64_t tx_id)
{
	struct txn *x;

	if ((t->n + 1) * 4 > t->n_slots * 3)
		grow(t);
	x = free_slot(t, tx_id);
	memset(x, 0, sizeof(*x));
	x->tx_id = tx_id;
	t->n++;
	return x;
}

void
txtable_remove(struct txtable *t, uint64_t tx_id)
{
	struct txn *x = txtable_find(t, tx_id);
	size_t mask = t->n_slots - 1;
	size_t hole;

	if (x == NULL)
		return;
	hole = (size_t)(x - t->slots);
	for (size_t i = (hole + 1) & mask; t->slots[i].tx_id != 0;
	     i = (i + 1) & mask) {
		size_t home = home_of(t, t->slots[i].tx_id);

		/* It may move only if its home is not behind the hole. */
		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		t->slots[hole] = t->slots[i];
		hole = i;
	}
	memset(&t->slots[hole], 0, sizeof(*t->slots));
	t->n--;
}

/* --- the ids that the log has --- */

/* The range that holds tx_id; n_skipped if none does. */
static size_t
range_of(const struct txtable *t, uint64_t tx_id)
{
	size_t i = t->n_skipped;

	/* What comes late is mostly recent. */
	while (i-- > 0)
		if (tx_id >= t->skipped[i].from)
			return tx_id <= t->skipped[i].to ? i : t->n_skipped;
	return t->n_skipped;
}

static void
insert_range(struct txtable *t, size_t at, struct txtable_range r)
{
	struct txtable_range *list = mem_realloc(
	    t->skipped, t->n_skipped + 1, sizeof(*list));

	memmove(list + at + 1, list + at, (t->n_skipped - at) * sizeof(*list));
	list[at] = r;
	t->skipped = list;
	t->n_skipped++;
}

static void
take_out(struct txtable *t, size_t i, uint64_t tx_id)
{
	struct txtable_range *r = &t->skipped[i];
	struct txtable_range rest = { tx_id + 1, r->to };

	r->to = tx_id - 1;
	if (r->from <= r->to) {
		if (rest.from <= rest.to)
			insert_range(t, i + 1, rest);
	} else if (rest.from <= rest.to)
		*r = rest;
	else {
		memmove(r, r + 1, (t->n_skipped - i - 1) * sizeof(*r));
		t->n_skipped--;
	}
}

bool
txtable_is_new(const struct txtable *t, uint64_t tx_id)
{
	return tx_id > t->highest || range_of(t, tx_id) < t->n_skipped;
}

bool
txtable_take_id(struct txtable *t, uint64_t tx_id)
{
	size_t i;

	if (tx_id > t->highest) {
		struct txtable_range gap = { t->highest + 1, tx_id - 1 };

		if (gap.from <= gap.to)
			insert_range(t, t->n_skipped, gap);
		t->highest = tx_id;
		return true;
	}
	i = range_of(t, tx_id);
	if (i == t->n_skipped)
		return false;
	take_out(t, i, tx_id);
	return true;
}

struct txn *
txtable_next(const struct txtable *t, size_t *i)
{
	while (*i < t->n_slots) {
		struct txn *x = &t->slots[(*i)++];

		if (x->tx_id != 0)
			return x;
	}
	return NULL;
}
