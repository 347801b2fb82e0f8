/*
 * test_auth.c: passwords against secrets of auth_file.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../backend/auth.h"
#include "../../backend/userlist.h"

/* RFC 7677, 3: user "user", password "pencil"; the keys as in pg_authid. */
#define VERIFIER                                                             \
	"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"                       \
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                      \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

/* With few iterations: what is wasted on other secrets. */
static const struct scram_secret like = { .iterations = 2, .salt_len = 16 };

static bool
check(const char *password, const char *secret)
{
	return auth_check_secret("joe", password, secret, &like);
}

static void
the_right_password_matches_its_verifier(void **state)
{
	(void)state;
	assert_true(check("pencil", VERIFIER));
	assert_false(check("pencil ", VERIFIER));
	assert_false(check("", VERIFIER));
	/* The verifier itself is no password. */
	assert_false(check(VERIFIER, VERIFIER));
}

static void
a_plain_secret_matches_itself_alone(void **state)
{
	(void)state;
	assert_true(check("s3cret", "s3cret"));
	assert_false(check("s3cre", "s3cret"));
	assert_false(check("s3cret1", "s3cret"));
	assert_false(check("", "s3cret"));
	assert_false(check("", ""));
}

static void
an_md5_secret_is_of_password_and_user(void **state)
{
	/* md5('pencil' || 'joe') */
	const char *secret = "md54571bc2e04d92926b0cb2bdc83773286";

	(void)state;
	assert_true(check("pencil", secret));
	assert_false(check("pencil1", secret));
	assert_false(check(secret, secret));
	assert_false(
	    auth_check_secret("jane", "pencil", secret, &like));
}

static void
find(const char *text, const char *user, struct userlist_entry *e)
{
	char copy[2048];

	assert_true(strlen(text) < sizeof(copy));
	strcpy(copy, text);
	userlist_search(copy, user, e);
}

static void
auth_file_lines(void **state)
{
	static const char text[] = "# users\n\n\"ann\" \"secret\"\r\n"
				   "  \"b\"\"ob\"\t\"pass\"\"word\" rest\n"
				   "carol \"unquoted\"\n\"dave\"\n"
				   "\"ann\" \"second\"\n"
				   "\"joe\" \"" VERIFIER "\"\n\"eve\" \"e";
	struct userlist_entry e;

	(void)state;
	find(text, "ann", &e);
	assert_true(e.known);
	assert_string_equal(e.secret, "secret");
	find(text, "b\"ob", &e);
	assert_string_equal(e.secret, "pass\"word");
	find(text, "joe", &e);
	assert_string_equal(e.secret, VERIFIER);
	assert_int_equal(e.like.iterations, 4096);
	assert_int_equal(e.like.salt_len, 16);
	find(text, "carol", &e);
	assert_false(e.known);
	find(text, "dave", &e);
	assert_false(e.known);
	find(text, "eve", &e);
	assert_false(e.known);
	assert_string_equal(e.secret, "");
	find("", "ann", &e);
	assert_false(e.known);
	assert_int_equal(e.like.iterations, SCRAM_ITERATIONS);
	assert_int_equal(e.like.salt_len, SCRAM_SALT_BYTES);
}

static void
a_damaged_verifier_admits_nobody(void **state)
{
	static const char *const bad[] = { "SCRAM-SHA-256$", "SCRAM-SHA-256$0:",
		"SCRAM-SHA-256$4096:!!!!$AAAA:AAAA",
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$:",
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3Ot",
		("SCRAM-SHA-256$999999999999:W22ZaJ0SNY7soEsUEjb6gQ==$"
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:A") };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(check("pencil", bad[i]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_right_password_matches_its_verifier),
		cmocka_unit_test(a_plain_secret_matches_itself_alone),
		cmocka_unit_test(an_md5_secret_is_of_password_and_user),
		cmocka_unit_test(auth_file_lines),
		cmocka_unit_test(a_damaged_verifier_admits_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
