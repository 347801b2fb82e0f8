/*
 * test_pipeline.c: which message an answer belongs to, and what the names of
 * statements and portals mean meanwhile.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../backend/pipeline.h"
#include "../../backend/txn.h"
#include "arena.h"

static struct session s;

static bool
not_wanted(void *arg, const char *name, struct prepared *p)
{
	(void)arg;
	(void)name;
	(void)p;
	return false;
}

/* Every test ends with nothing unanswered. */
static int
set_up(void **state)
{
	(void)state;
	if (s.pipeline == NULL) {
		s.txn = txn_new(0);
		s.pipeline = pipeline_new();
		s.portals = portals_new();
	}
	assert_true(pipeline_is_empty(&s));
	portals_clear(s.portals);
	portals_filter_prepared(s.portals, not_wanted, NULL);
	s.status = PQ_IDLE;
	s.skipping = s.copy_in = s.batch_open = false;
	return 0;
}

/* The server says this; true: the client sees it. */
static bool
answer(char type, const char *body)
{
	struct message m = {
		.type = type, .body = (const uint8_t *)body, .len = strlen(body)
	};
	unsigned strip;

	return pipeline_answer(&s, &m, &strip);
}

static void
send_parse(const char *name, const char *sql)
{
	pipeline_push(&s, PqMsg_Parse)->named = portals_put_prepared(
	    s.portals, name, prepared_new(sql, strlen(sql)));
}

static void
send_bind(const char *portal, const char *name)
{
	pipeline_push(&s, PqMsg_Bind)->named = portals_put_portal(
	    s.portals, portal, portal_new(portals_prepared(s.portals, name)));
}

static void
send_close_statement(const char *name)
{
	pipeline_push(&s, PqMsg_Close)->named = portals_put_prepared(
	    s.portals, name, NULL);
}

static void
send_execute(enum stmt_kind kind)
{
	pipeline_push(&s, PqMsg_Execute)->kind = kind;
}

static void
assert_statement(const char *name, const char *sql)
{
	const struct prepared *p = portals_prepared(s.portals, name);

	if (sql == NULL) {
		assert_null(p);
		return;
	}
	assert_non_null(p);
	assert_string_equal(p->sql, sql);
}

static void
each_answer_takes_one_message(void **state)
{
	(void)state;
	send_parse("", "select 1");
	send_bind("", "");
	assert_true(pipeline_is_light(&s));
	send_execute(STMT_SELECT);
	assert_false(pipeline_is_light(&s));
	pipeline_push(&s, PqMsg_Sync);
	assert_int_equal(pipeline_owed_ready(&s), 1);
	assert_true(answer(PqMsg_ParseComplete, ""));
	assert_true(answer(PqMsg_BindComplete, ""));
	assert_true(answer(PqMsg_DataRow, "x"));
	assert_int_equal(pipeline_front(&s)->type, PqMsg_Execute);
	assert_true(answer(PqMsg_CommandComplete, "SELECT 1"));
	assert_int_equal(pipeline_front(&s)->type, PqMsg_Sync);
	assert_true(answer(PqMsg_ReadyForQuery, "I"));
	assert_true(pipeline_is_empty(&s));
}

static void
names_are_what_was_sent_last(void **state)
{
	(void)state;
	send_parse("s", "one");
	assert_true(answer(PqMsg_ParseComplete, ""));
	send_close_statement("s");
	assert_statement("s", NULL);
	send_parse("s", "two");
	assert_statement("s", "two");
	assert_true(answer(PqMsg_CloseComplete, ""));
	assert_true(answer(PqMsg_ParseComplete, ""));
	assert_statement("s", "two");
}

static void
what_is_skipped_is_taken_back(void **state)
{
	(void)state;
	send_parse("s", "kept");
	assert_true(answer(PqMsg_ParseComplete, ""));
	send_parse("", "wrong");
	send_close_statement("s");
	send_parse("s", "skipped");
	send_bind("p", "s");
	assert_non_null(portals_portal(s.portals, "p"));
	assert_true(answer(PqMsg_ErrorResponse, ""));
	assert_statement("s", "kept");
	assert_statement("", NULL);
	assert_null(portals_portal(s.portals, "p"));
	assert_true(s.skipping);
	assert_true(pipeline_is_empty(&s));
}

static void
skipping_ends_at_a_sync_that_is_under_way(void **state)
{
	(void)state;
	s.status = PQ_IN_BLOCK;
	send_parse("a", "wrong");
	send_execute(STMT_SELECT);
	pipeline_push(&s, PqMsg_Sync);
	send_parse("b", "right");
	assert_true(answer(PqMsg_ErrorResponse, ""));
	assert_false(s.skipping);
	assert_int_equal(s.status, PQ_FAILED);
	assert_statement("a", NULL);
	assert_statement("b", "right");
	assert_true(answer(PqMsg_ReadyForQuery, "E"));
	assert_true(answer(PqMsg_ParseComplete, ""));
	assert_true(pipeline_is_empty(&s));
}

static void
portals_end_with_their_transaction_and_not_the_next(void **state)
{
	(void)state;
	send_bind("old", "");
	pipeline_push(&s, PqMsg_Sync);
	send_bind("new", "");
	assert_true(answer(PqMsg_BindComplete, ""));
	assert_true(answer(PqMsg_ReadyForQuery, "I"));
	assert_null(portals_portal(s.portals, "old"));
	assert_non_null(portals_portal(s.portals, "new"));
	assert_true(answer(PqMsg_BindComplete, ""));
	assert_non_null(portals_portal(s.portals, "new"));
}

static void
the_status_follows_the_statements_of_a_batch(void **state)
{
	static const struct {
		enum stmt_kind kind;
		bool chain;
		char status;
	} steps[] = { { STMT_BEGIN, false, PQ_IN_BLOCK },
		{ STMT_UPDATE, false, PQ_IN_BLOCK },
		{ STMT_COMMIT, true, PQ_IN_BLOCK },
		{ STMT_ROLLBACK, false, PQ_IDLE },
		{ STMT_BEGIN, false, PQ_IN_BLOCK },
		{ STMT_PREPARE_TRANSACTION, false, PQ_IDLE } };

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		send_execute(steps[i].kind);
		pipeline_front(&s)->chain = steps[i].chain;
		assert_true(answer(PqMsg_CommandComplete, ""));
		assert_int_equal(s.status, steps[i].status);
	}
}

static void
a_sync_read_as_copy_data_owes_nothing(void **state)
{
	(void)state;
	s.batch_open = false;
	send_execute(STMT_COPY_FROM);
	pipeline_push(&s, PqMsg_Sync);
	assert_true(answer(PqMsg_CopyInResponse, ""));
	assert_true(s.copy_in);
	assert_true(s.batch_open);
	assert_int_equal(pipeline_owed_ready(&s), 0);
	assert_true(answer(PqMsg_CommandComplete, "COPY 1"));
	assert_false(s.copy_in);
	assert_true(pipeline_is_empty(&s));
}

static void
a_sync_behind_the_copy_data_counts(void **state)
{
	(void)state;
	send_execute(STMT_COPY_FROM);
	pipeline_push(&s, PqMsg_Sync);     /* ignored */
	pipeline_push(&s, PqMsg_CopyDone); /* before the CopyInResponse came */
	pipeline_push(&s, PqMsg_Sync);
	assert_true(answer(PqMsg_CopyInResponse, ""));
	assert_false(s.copy_in);
	assert_int_equal(pipeline_owed_ready(&s), 1);
	assert_true(answer(PqMsg_CommandComplete, "COPY 1"));
	assert_true(answer(PqMsg_ReadyForQuery, "I"));
	assert_true(pipeline_is_empty(&s));
}

static void
copy_data_that_no_copy_takes_is_forgotten(void **state)
{
	(void)state;
	send_execute(STMT_SELECT);
	pipeline_push(&s, PqMsg_CopyDone);
	assert_true(answer(PqMsg_CommandComplete, "SELECT 1"));
	assert_true(pipeline_is_empty(&s));
	assert_true(pipeline_is_light(&s));
}

static void
what_is_ours_is_not_seen(void **state)
{
	(void)state;
	pipeline_push(&s, PqMsg_Close)->own = true;
	pipeline_push(&s, PqMsg_Sync)->own = true;
	send_parse("", "x");
	assert_false(answer(PqMsg_CloseComplete, ""));
	assert_false(answer(PqMsg_ReadyForQuery, "T"));
	assert_int_equal(s.status, PQ_IN_BLOCK);
	assert_true(answer(PqMsg_ParseComplete, ""));
}

static void
thousands_may_be_under_way(void **state)
{
	char name[16];

	(void)state;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3000; i++) {
			snprintf(name, sizeof(name), "s%d", i);
			send_parse(name, "select");
		}
		for (int i = 0; i < 3000; i++)
			assert_true(answer(PqMsg_ParseComplete, ""));
		assert_true(pipeline_is_empty(&s));
	}
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		send_close_statement(name);
		assert_true(answer(PqMsg_CloseComplete, ""));
	}
	assert_false(portals_has_prepared(s.portals));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(each_answer_takes_one_message, set_up),
		cmocka_unit_test_setup(names_are_what_was_sent_last, set_up),
		cmocka_unit_test_setup(what_is_skipped_is_taken_back, set_up),
		cmocka_unit_test_setup(
		    skipping_ends_at_a_sync_that_is_under_way, set_up),
		cmocka_unit_test_setup(
		    portals_end_with_their_transaction_and_not_the_next,
		    set_up),
		cmocka_unit_test_setup(
		    the_status_follows_the_statements_of_a_batch, set_up),
		cmocka_unit_test_setup(
		    a_sync_read_as_copy_data_owes_nothing, set_up),
		cmocka_unit_test_setup(
		    a_sync_behind_the_copy_data_counts, set_up),
		cmocka_unit_test_setup(
		    copy_data_that_no_copy_takes_is_forgotten, set_up),
		cmocka_unit_test_setup(what_is_ours_is_not_seen, set_up),
		cmocka_unit_test_setup(thousands_may_be_under_way, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
