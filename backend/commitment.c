/*
 * commitment.c: a transaction's record.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "commitment.h"

#include <string.h>

#include "ioutil.h"

static bool
fill_rows(struct txn *t, const struct txn_table *tt, struct record_table *rt)
{
	rt->before = arena_alloc(
	    t->arena, (tt->n_rows + 1) * sizeof(*rt->before));
	rt->after = arena_alloc(
	    t->arena, (tt->n_rows + 1) * sizeof(*rt->after));
	if (rt->before == NULL || rt->after == NULL)
		return false;
	for (size_t i = 0; i < tt->n_rows; i++) {
		const struct txn_row *row = &tt->rows[i];

		if (row->before.bytes != NULL)
			rt->before[rt->n_before++] = (struct record_row){
				row->before, row->statement
			};
		if (row->after.bytes != NULL)
			rt->after[rt->n_after++] = (struct record_row){
				row->after, 0
			};
	}
	return true;
}

static bool
fill_tables(struct txn *t, struct record *r)
{
	r->tables = arena_zalloc(
	    t->arena, (t->n_tables + 1) * sizeof(*r->tables));
	if (r->tables == NULL)
		return false;
	for (size_t i = 0; i < t->n_tables; i++) {
		const struct catalog_table *c = t->tables[i].catalog;
		struct record_table *rt = &r->tables[i];

		rt->schema = c->schema;
		rt->table = c->name;
		rt->write = t->tables[i].write;
		rt->whole = t->code_runs > 0 &&
			    t->tables[i].whole_runs == t->code_runs;
		rt->oid = c->oid;
		rt->fingerprint = c->fingerprint;
		rt->definition = c->definition;
		rt->shape = c->shape;
		if (!fill_rows(t, &t->tables[i], rt))
			return false;
	}
	r->n_tables = t->n_tables;
	return true;
}

static void
fill_session(const struct session *s, struct record *r)
{
	const char *app = session_parameter(s, PARAMETER_APPLICATION_NAME);

	r->database = s->database;
	r->user = s->user;
	r->application_name = app[0] != '\0' ? app : s->application_name;
	r->client_addr = s->client_addr;
}

void
commitment_make(
    struct session *s, struct txn *t, struct facts *f, struct record *r)
{
	memset(r, 0, sizeof(*r));
	r->time_us = io_now_us();
	r->intent = f == NULL;
	fill_session(s, r);
	r->xid = f != NULL ? f->xid : 0;
	r->now = f != NULL ? f->now : "";
	r->isolation = f != NULL ? f->isolation : "";
	r->statements = t->statements;
	r->n_statements = t->n_statements;
	r->warnings = t->warnings;
	r->n_warnings = t->n_warnings;
	if (f != NULL && t->images) {
		r->settings = f->settings;
		r->n_settings = f->n_settings;
		r->inputs = t->inputs;
		r->n_inputs = t->n_inputs;
		if (fill_tables(t, r))
			r->has_images = true;
		else
			txn_degrade(t, CAPTURE_INCOMPLETE, "max_capture_bytes");
	}
	r->capture = t->capture;
	r->capture_reason = t->reason;
	r->unverifiable = t->unverifiable;
	r->doubt = t->doubt;
	if (r->has_images)
		record_set_roots(r);
	else
		r->n_tables = 0;
}

void
commitment_ddl(const struct session *s, const struct txn *t, struct record *r)
{
	memset(r, 0, sizeof(*r));
	r->time_us = io_now_us();
	fill_session(s, r);
	if (t->ddl_user != NULL)
		r->user = t->ddl_user;
	r->statements = t->ddl;
	r->n_statements = t->n_ddl;
	r->settings = t->ddl_settings;
	r->n_settings = t->ddl_settings != NULL ? DDL_SETTINGS : 0;
	r->capture_reason = t->ddl_reason;
}
