/*
 * block.c: a transaction block of the proxy's own around one statement.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "block.h"

#include <stdlib.h>
#include <string.h>

#include "txn.h"

void
block_put_begin(struct session *s, bool in_batch, int64_t timeout_ms)
{
	struct buf sql = { 0 };

	if (in_batch)
		exchange_put_sync(s);
	exchange_put(s, "BEGIN ISOLATION LEVEL REPEATABLE READ", NULL, 0);
	exchange_put(s, "SHOW default_transaction_isolation", NULL, 0);
	if (timeout_ms == 0)
		return;
	buf_printf(
	    &sql, "SET LOCAL statement_timeout = %lld", (long long)timeout_ms);
	buf_put_u8(&sql, 0);
	exchange_put(s, (const char *)sql.data, NULL, 0);
	buf_free(&sql);
}

/* What SHOW says. */
struct shown {
	char value[32];
};

static bool
take_shown(void *arg, const struct message *row)
{
	struct shown *shown = arg;
	struct exchange_value v;

	if (exchange_row_values(row, &v, 1) && v.data != NULL &&
	    v.len < sizeof(shown->value)) {
		memcpy(shown->value, v.data, v.len);
		shown->value[v.len] = '\0';
	}
	return true;
}

enum exchange_end
block_read_begin(struct session *s, bool in_batch, int64_t timeout_ms,
    bool *serializable, struct exchange_error *error, struct buf *raw_error)
{
	struct shown isolation = { "" };
	enum exchange_end end;

	if (in_batch && exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return EXCHANGE_LOST;
	end = exchange_read(s, NULL, NULL, error, raw_error);
	if (end == EXCHANGE_DONE)
		end = exchange_read(
		    s, take_shown, &isolation, error, raw_error);
	if (end == EXCHANGE_DONE && timeout_ms != 0)
		end = exchange_read(s, NULL, NULL, error, raw_error);
	*serializable = strcmp(isolation.value, "serializable") == 0;
	return end;
}

bool
block_is_serializable(struct session *s)
{
	struct shown isolation = { "" };

	if (s->txn->isolation == 0) {
		if (exchange_query(s, "SHOW transaction_isolation", NULL, 0,
			take_shown, &isolation, NULL) != EXCHANGE_DONE)
			return true;
		s->txn->isolation = isolation.value[0];
	}
	return s->txn->isolation == 's' || s->txn->isolation == '\0';
}

void
block_put_lock(struct session *s, const char *target, size_t len, bool only)
{
	struct buf sql = { 0 };

	buf_put_str(&sql, only ? "LOCK TABLE ONLY " : "LOCK TABLE ");
	buf_put(&sql, target, len);
	buf_put_cstr(&sql, " IN ROW EXCLUSIVE MODE");
	exchange_put(s, (const char *)sql.data, NULL, 0);
	buf_free(&sql);
}

/* "1500ms", "2s", "1min", "3h", "1d"; "0": none. */
static int64_t
milliseconds(const char *shown)
{
	static const struct {
		const char *unit;
		int64_t ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "min", 60000 },
		{ "h", 3600000 }, { "d", 86400000 } };
	char *unit;
	int64_t n = strtoll(shown, &unit, 10);

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (strcmp(unit, units[i].unit) == 0)
			return n * units[i].ms;
	return 0;
}

enum exchange_end
block_undo(struct session *s, int64_t *timeout_ms, struct buf *raw_error)
{
	struct shown timeout = { "" };
	enum exchange_end end, ready, all = EXCHANGE_DONE;

	exchange_put_sync(s);
	if (exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return EXCHANGE_LOST;
	/* A cancel can meet the ROLLBACK itself; each is answered once. */
	do {
		exchange_put(s, "ROLLBACK", NULL, 0);
		exchange_put(s, "SHOW statement_timeout", NULL, 0);
		exchange_put_sync(s);
		end = exchange_read(s, NULL, NULL, NULL, raw_error);
		if (end == EXCHANGE_DONE)
			end = exchange_read(
			    s, take_shown, &timeout, NULL, raw_error);
		ready = end == EXCHANGE_LOST
			    ? end
			    : exchange_read_ready(s, NULL, NULL);
		if (ready == EXCHANGE_LOST)
			return EXCHANGE_LOST;
		all = end == EXCHANGE_ERROR ? end : all;
	} while (s->status != PQ_IDLE);
	*timeout_ms = milliseconds(timeout.value);
	return all;
}

enum exchange_end
block_run(struct session *s, const char *sql, struct buf *raw_error)
{
	enum exchange_end end;

	exchange_put(s, sql, NULL, 0);
	exchange_put_sync(s);
	end = exchange_read(s, NULL, NULL, NULL, raw_error);
	if (end == EXCHANGE_LOST ||
	    exchange_read_ready(s, NULL, NULL) == EXCHANGE_LOST)
		return EXCHANGE_LOST;
	return end;
}

/* A cancel can meet the ROLLBACK itself; each is answered once. */
bool
block_roll_back(struct session *s)
{
	do {
		if (block_run(s, "ROLLBACK", NULL) == EXCHANGE_LOST)
			return false;
	} while (s->status != PQ_IDLE);
	return true;
}
