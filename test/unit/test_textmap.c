/*
 * test_textmap.c: the place of an error, from our text to the client's.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../backend/textmap.h"
#include "../../backend/wire.h"

static const char theirs[] = "UPDATE t SET \xC3\xA4 = 1234 WHERE id = 5";
static const char ours[] = "WITH \xC3\xB6 UPDATE t SET \xC3\xA4 =  $1  WHERE";

static void
fill(struct textmap *m)
{
	/* "UPDATE t SET ä = ", its number, " WHERE" */
	textmap_add(m, (struct textmap_piece){ 8, 18, 0, true });
	textmap_add(m, (struct textmap_piece){ 26, 4, 18, false });
	textmap_add(m, (struct textmap_piece){ 30, 6, 22, true });
}

static void
put_error(struct buf *b, const char *position)
{
	buf_put_u8(b, 'E');
	buf_put_u32(b, 0);
	buf_printf(b, "SERROR%cC42703%cMno%c", 0, 0, 0);
	if (position != NULL)
		buf_printf(b, "P%s%c", position, 0);
	buf_printf(b, "Fparse_relation.c%c", 0);
	buf_put_u8(b, 0);
	buf_set_u32(b, 1, (uint32_t)(b->len - 1));
}

/* The position that comes of it; the rest of the message stays. */
static void
becomes(const char *position, const char *want, bool utf8)
{
	struct textmap m = { 0 };
	struct buf b = { 0 }, expected = { 0 };

	fill(&m);
	put_error(&b, position);
	put_error(&expected, want);
	textmap_mend(&m, &b, ours, strlen(ours), theirs, utf8);
	assert_int_equal(b.len, expected.len);
	assert_memory_equal(b.data, expected.data, b.len);
	buf_free(&b);
	buf_free(&expected);
	textmap_free(&m);
}

static void
copied_text_keeps_its_place(void **state)
{
	(void)state;
	becomes("8", "1", true);
	becomes("15", "8", true);
	becomes("16", "9", true);
	/* bytes: ours has two characters of two, theirs one before it */
	becomes("9", "1", false);
	becomes("33", "25", false);
}

static void
a_parameter_is_its_literal(void **state)
{
	(void)state;
	for (int i = 25; i < 29; i++) {
		char position[8];

		snprintf(position, sizeof(position), "%d", i);
		becomes(position, "18", true);
	}
	becomes("29", "22", true);
}

static void
what_is_not_the_clients_stays(void **state)
{
	(void)state;
	becomes("1", "1", true);
	becomes("5", "5", true);
	becomes("4000", "4000", true);
	becomes("x", "x", true);
	becomes("0", "0", true);
	becomes(NULL, NULL, true);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copied_text_keeps_its_place),
		cmocka_unit_test(a_parameter_is_its_literal),
		cmocka_unit_test(what_is_not_the_clients_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
