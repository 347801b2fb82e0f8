/*
 * execute.c: what a statement that was prepared by name would do.
 *
 * PREPARE may have been seen long ago, or not at all: the server has its text.
 * Called by query.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "execute.h"

#include <string.h>

#include "analyze.h"
#include "buf.h"
#include "exchange.h"
#include "statement.h"

static const char look_up[] = "SELECT p.statement"
			      " FROM pg_catalog.pg_prepared_statements p"
			      " WHERE p.name OPERATOR(pg_catalog.=) $1";

static bool
take_text(void *arg, const struct message *row)
{
	struct buf *text = arg;
	struct exchange_value v;

	if (!exchange_row_values(row, &v, 1) || v.data == NULL)
		return false;
	buf_reset(text);
	buf_put(text, v.data, v.len);
	return true;
}

bool
execute_only_reads(struct session *s, const char *name)
{
	struct buf text = { 0 };
	const struct analysis *a;
	bool reads = false;

	if (exchange_query(s, look_up, &name, 1, take_text, &text, NULL) !=
	    EXCHANGE_DONE)
		return false;
	if (text.len == 0) {
		reads = true; /* there is none: an error */
	} else if (memchr(text.data, '\\', text.len) == NULL) {
		/* Without \ standard_conforming_strings makes no difference. */
		a = analyze(
		    s->analyzer, (const char *)text.data, text.len, true);
		reads = a->parsed && a->n_statements == 1 &&
			statement_only_reads(s, &a->statements[0]);
	}
	buf_free(&text);
	return reads;
}
