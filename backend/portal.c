/*
 * portal.c: prepared statements and portals by name.
 *
 * A new bearer of a name stands before the old one in its bucket and hides
 * it; confirming drops the hidden one, undoing drops the new one.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "portal.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define BUCKETS 64

enum which { PREPARED, PORTAL };

struct named {
	struct named *next;
	char *name;
	enum which which;
	void *object; /* struct prepared or struct portal; NULL: closed */
	bool confirmed;
};

struct portals {
	struct named *buckets[2][BUCKETS];
	size_t n[2]; /* named structs, hidden ones too */
};

struct portals *
portals_new(void)
{
	return mem_zalloc(1, sizeof(struct portals));
}

struct prepared *
prepared_new(const char *sql, size_t len)
{
	struct prepared *p = mem_zalloc(1, sizeof(*p));

	p->refs = 1;
	p->sql = mem_zalloc(1, len + 1);
	memcpy(p->sql, sql, len);
	p->sql[len] = '\0';
	p->len = len;
	return p;
}

struct prepared *
prepared_keep(struct prepared *p)
{
	if (p != NULL)
		p->refs++;
	return p;
}

void
prepared_release(struct prepared *p)
{
	if (p == NULL || --p->refs > 0)
		return;
	free(p->sql);
	free(p->types);
	free(p);
}

struct portal *
portal_new(struct prepared *p)
{
	struct portal *portal = mem_zalloc(1, sizeof(*portal));

	portal->prepared = prepared_keep(p);
	return portal;
}

static void
portal_free(struct portal *p)
{
	if (p == NULL)
		return;
	prepared_release(p->prepared);
	buf_free(&p->bind);
	free(p);
}

static struct named **
bucket(struct portals *ps, enum which which, const char *name)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *name != '\0'; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return &ps->buckets[which][(h ^ (h >> 16)) % BUCKETS];
}

/* Drops the one that *at points to. */
static void
drop(struct portals *ps, struct named **at)
{
	struct named *n = *at;

	*at = n->next;
	ps->n[n->which]--;
	if (n->which == PREPARED)
		prepared_release(n->object);
	else
		portal_free(n->object);
	free(n->name);
	free(n);
}

void
portals_free(struct portals *ps)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (ps->buckets[PREPARED][i] != NULL)
			drop(ps, &ps->buckets[PREPARED][i]);
		while (ps->buckets[PORTAL][i] != NULL)
			drop(ps, &ps->buckets[PORTAL][i]);
	}
	free(ps);
}

static struct named *
put(struct portals *ps, enum which which, const char *name, void *object)
{
	struct named **head = bucket(ps, which, name);
	struct named *n = mem_zalloc(1, sizeof(*n));

	n->name = mem_strdup(name);
	n->which = which;
	n->object = object;
	n->next = *head;
	*head = n;
	ps->n[which]++;
	return n;
}

struct named *
portals_put_prepared(struct portals *ps, const char *name, struct prepared *p)
{
	return put(ps, PREPARED, name, p);
}

struct named *
portals_put_portal(struct portals *ps, const char *name, struct portal *p)
{
	return put(ps, PORTAL, name, p);
}

/* The first from *at on with this name. */
static struct named **
find(struct named **at, const char *name)
{
	while (*at != NULL && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static struct named **
place_of(struct portals *ps, const struct named *n)
{
	struct named **at = bucket(ps, n->which, n->name);

	while (*at != n)
		at = &(*at)->next;
	return at;
}

void
portals_confirm(struct portals *ps, struct named *n)
{
	struct named **hidden;

	if (n == NULL)
		return;
	n->confirmed = true;
	hidden = find(&n->next, n->name);
	if (*hidden != NULL)
		drop(ps, hidden);
	if (n->object == NULL)
		drop(ps, place_of(ps, n));
}

void
portals_undo(struct portals *ps, struct named *n)
{
	if (n != NULL)
		drop(ps, place_of(ps, n));
}

static void *
object_of(const struct portals *ps, enum which which, const char *name)
{
	/* Nothing is changed through it. */
	struct named **head = bucket(
	    (struct portals *)(uintptr_t)ps, which, name);
	const struct named *n = *find(head, name);

	return n != NULL ? n->object : NULL;
}

struct prepared *
portals_prepared(const struct portals *ps, const char *name)
{
	return object_of(ps, PREPARED, name);
}

struct portal *
portals_portal(const struct portals *ps, const char *name)
{
	return object_of(ps, PORTAL, name);
}

size_t
portals_count(const struct portals *ps)
{
	return ps->n[PORTAL];
}

bool
portals_has_prepared(const struct portals *ps)
{
	return ps->n[PREPARED] > 0;
}

void
portals_clear(struct portals *ps)
{
	for (size_t i = 0; ps->n[PORTAL] > 0 && i < BUCKETS; i++) {
		struct named **at = &ps->buckets[PORTAL][i];

		while (*at != NULL)
			if ((*at)->confirmed)
				drop(ps, at);
			else
				at = &(*at)->next;
	}
}

void
portals_filter_prepared(struct portals *ps,
    bool (*wanted)(void *arg, const char *name, struct prepared *p),
    void *arg)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		struct named **at = &ps->buckets[PREPARED][i];

		while (*at != NULL)
			if (wanted(arg, (*at)->name, (*at)->object))
				at = &(*at)->next;
			else
				drop(ps, at);
	}
}
