/*
 * test_auth.c: passwords against secrets of auth_file.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../backend/auth.h"

/* RFC 7677, 3: user "user", password "pencil"; the keys as in pg_authid. */
#define VERIFIER                                                             \
	"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"                       \
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                      \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static void
the_right_password_matches_its_verifier(void **state)
{
	(void)state;
	assert_true(auth_check_secret("pencil", VERIFIER));
	assert_false(auth_check_secret("pencil ", VERIFIER));
	assert_false(auth_check_secret("", VERIFIER));
	/* The verifier itself is no password. */
	assert_false(auth_check_secret(VERIFIER, VERIFIER));
}

static void
a_plain_secret_matches_itself_alone(void **state)
{
	(void)state;
	assert_true(auth_check_secret("s3cret", "s3cret"));
	assert_false(auth_check_secret("s3cre", "s3cret"));
	assert_false(auth_check_secret("s3cret1", "s3cret"));
	assert_false(auth_check_secret("", "s3cret"));
	assert_false(auth_check_secret("", ""));
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
		assert_false(auth_check_secret("pencil", bad[i]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_right_password_matches_its_verifier),
		cmocka_unit_test(a_plain_secret_matches_itself_alone),
		cmocka_unit_test(a_damaged_verifier_admits_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
