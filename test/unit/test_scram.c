/*
 * test_scram.c: the server's side of SCRAM-SHA-256: RFC 7677's exchange, and
 * what clients do wrong.
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

#include "../../backend/scram.h"

/* RFC 7677, 3: user "user", password "pencil". */
#define SECRET                                                               \
	"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"                       \
	"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"                      \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define NONCE CLIENT_NONCE SERVER_NONCE
#define FIRST "n,,n=user,r=" CLIENT_NONCE
#define PROOF "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define FINAL "c=biws,r=" NONCE ",p=" PROOF

struct fixture {
	struct scram_secret secret;
	struct scram scram;
	struct buf out;
};

static const uint8_t end_point[32] = "certificate";

static void
begin(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	assert_true(scram_parse(SECRET, &f->secret));
	f->scram.secret = &f->secret;
	f->scram.nonce = SERVER_NONCE;
}

static void
end(struct fixture *f)
{
	scram_free(&f->scram);
	buf_free(&f->out);
}

static enum scram_result
say(struct fixture *f, const char *text)
{
	buf_reset(&f->out);
	return scram_step(&f->scram, text, strlen(text), &f->out);
}

static void
answered(struct fixture *f, const char *want)
{
	assert_int_equal(f->out.len, strlen(want));
	assert_memory_equal(f->out.data, want, f->out.len);
}

/* What is said first is refused so. */
static void
refuses_first(const char *text, bool plus, bool tls, const char *sqlstate,
    const char *error)
{
	struct fixture f;

	begin(&f);
	f.scram.plus = plus;
	if (tls) {
		f.scram.end_point = end_point;
		f.scram.end_point_len = sizeof(end_point);
	}
	assert_int_equal(say(&f, text), SCRAM_BAD);
	assert_string_equal(f.scram.error, error);
	assert_string_equal(f.scram.sqlstate, sqlstate);
	assert_int_equal(f.out.len, 0);
	end(&f);
}

static void
refuses_final(const char *text, const char *sqlstate, const char *error)
{
	struct fixture f;

	begin(&f);
	assert_int_equal(say(&f, FIRST), SCRAM_CONTINUE);
	assert_int_equal(say(&f, text), SCRAM_BAD);
	assert_string_equal(f.scram.error, error);
	assert_string_equal(f.scram.sqlstate, sqlstate);
	assert_int_equal(f.out.len, 0);
	end(&f);
}

static void
the_exchange_of_rfc_7677(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	assert_int_equal(say(&f, FIRST), SCRAM_CONTINUE);
	answered(&f, "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
	assert_int_equal(say(&f, FINAL), SCRAM_DONE);
	answered(&f, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
	/* Nothing more is taken. */
	assert_int_equal(say(&f, FINAL), SCRAM_BAD);
	end(&f);
}

static void
an_absent_initial_response_is_asked_for(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	assert_int_equal(
	    scram_step(&f.scram, NULL, 0, &f.out), SCRAM_CONTINUE);
	assert_int_equal(f.out.len, 0);
	assert_int_equal(say(&f, FIRST), SCRAM_CONTINUE);
	assert_int_equal(say(&f, FINAL), SCRAM_DONE);
	end(&f);
}

static void
a_wrong_proof_and_a_doomed_user_end_alike(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	assert_int_equal(say(&f, FIRST), SCRAM_CONTINUE);
	assert_int_equal(say(&f, "c=biws,r=" NONCE ",p="
				 "AHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
	    SCRAM_WRONG);
	assert_int_equal(f.out.len, 0);
	end(&f);

	begin(&f);
	f.scram.doomed = true;
	assert_int_equal(say(&f, FIRST), SCRAM_CONTINUE);
	assert_int_equal(say(&f, FINAL), SCRAM_WRONG);
	assert_int_equal(f.out.len, 0);
	end(&f);
}

static void
nonces_are_drawn_each_time(void **state)
{
	struct fixture a, b;

	(void)state;
	begin(&a);
	begin(&b);
	a.scram.nonce = b.scram.nonce = NULL;
	assert_int_equal(say(&a, FIRST), SCRAM_CONTINUE);
	assert_int_equal(say(&b, FIRST), SCRAM_CONTINUE);
	assert_int_equal(a.out.len, b.out.len);
	assert_memory_not_equal(a.out.data, b.out.data, a.out.len);
	end(&a);
	end(&b);
}

static void
headers_of_channel_binding(void **state)
{
	struct fixture f;

	(void)state;
	/* y without TLS: true, and c= must repeat it ("eSws"). */
	begin(&f);
	assert_int_equal(say(&f, "y,,n=,r=abc"), SCRAM_CONTINUE);
	assert_int_equal(say(&f, "c=biws,r=abc" SERVER_NONCE ",p=" PROOF),
	    SCRAM_BAD);
	end(&f);
	begin(&f);
	assert_int_equal(say(&f, "y,,n=,r=abc"), SCRAM_CONTINUE);
	assert_int_equal(say(&f, "c=eSws,r=abc" SERVER_NONCE ",p=" PROOF),
	    SCRAM_WRONG);
	end(&f);
	/* y where PLUS was offered: somebody took it away. */
	refuses_first("y,,n=,r=abc", false, true, "28000",
	    "SCRAM channel binding negotiation error");
	/* n with TLS is a client that cannot, and may. */
	begin(&f);
	f.scram.end_point = end_point;
	f.scram.end_point_len = sizeof(end_point);
	assert_int_equal(say(&f, FIRST), SCRAM_CONTINUE);
	assert_int_equal(say(&f, FINAL), SCRAM_DONE);
	end(&f);
	/* The mechanism and the flag must agree. */
	refuses_first("p=tls-server-end-point,,n=,r=abc", false, true, "08P01",
	    "malformed SCRAM message");
	refuses_first("n,,n=,r=abc", true, true, "08P01",
	    "malformed SCRAM message");
	refuses_first("y,,n=,r=abc", true, true, "08P01",
	    "malformed SCRAM message");
	refuses_first("p=tls-server-end-point,,n=,r=abc", true, false, "08P01",
	    "malformed SCRAM message");
	refuses_first("p=tls-unique,,n=,r=abc", true, true, "08P01",
	    "unsupported SCRAM channel-binding type");
}

static void
plus_wants_our_certificate(void **state)
{
	/* base64("p=tls-server-end-point,," and 32 bytes) */
	static const char good[] =
	    "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsY2VydGlmaWNhdGUA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAA=,r=abc" SERVER_NONCE ",p=" PROOF;
	static const char other[] =
	    "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsY2VydGlmaWNhdGUA"
	    "AAAAAAAAAAAAAAAAAAAAAAAAAAE=,r=abc" SERVER_NONCE ",p=" PROOF;
	const char *const finals[] = { good, other };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct fixture f;

		begin(&f);
		f.scram.plus = true;
		f.scram.end_point = end_point;
		f.scram.end_point_len = sizeof(end_point);
		assert_int_equal(say(&f, "p=tls-server-end-point,,n=,r=abc"),
		    SCRAM_CONTINUE);
		assert_int_equal(
		    say(&f, finals[i]), i == 0 ? SCRAM_WRONG : SCRAM_BAD);
		if (i == 1)
			assert_string_equal(f.scram.error,
			    "SCRAM channel binding check failed");
		end(&f);
	}
}

static void
first_messages_that_are_wrong(void **state)
{
	static const char *const bad[] = { "", "x", "n", "n,", "n,,", "n,,n",
		"n,,n=", "n,,n=user", "n,,n=user,", "n,,n=user,r", "n,,n=user,r=",
		"n,,r=abc", "n,,r=abc,n=user", "n,n=user,r=abc", "nn,,n=,r=abc",
		"n,,n=,r=abc,1=x", "n,,n=,r=abc,x", "n,,n=,r=abc,,", "y", "p",
		"p=", ",,n=,r=abc", "\xff\xfe", "n,,n=,r=abc,x=1,y" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		refuses_first(
		    bad[i], false, false, "08P01", "malformed SCRAM message");
	refuses_first("n,a=admin,n=,r=abc", false, false, "0A000",
	    "client uses authorization identity, but it is not supported");
	refuses_first("n,,m=1,n=,r=abc", false, false, "0A000",
	    "client requires an unsupported SCRAM extension");
	refuses_first("n,,n=,r=a\tb", false, false, "08P01",
	    "non-printable characters in SCRAM nonce");
	refuses_first("n,,n=,r=\xc3\xa4", false, false, "08P01",
	    "non-printable characters in SCRAM nonce");
}

static void
final_messages_that_are_wrong(void **state)
{
	static const char *const bad[] = { "", "c", "c=", "c=biws", "c=biws,",
		"c=biws,r", "c=biws,r=" NONCE, "c=biws,r=" NONCE ",",
		"c=biws,r=" NONCE ",p", "c=biws,r=" NONCE ",p=",
		"c=biws,r=" NONCE ",p=AAAA", "c=biws,r=" NONCE ",p=!",
		"c=biws,r=" NONCE ",x=1", "c=biws,r=" NONCE ",p=" PROOF ",x=1",
		"c=biws,r=" NONCE ",p= " PROOF, "c=biws,r=" NONCE ",p=" PROOF "=",
		"c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7An==Q=",
		"r=" NONCE ",c=biws,p=" PROOF, FIRST };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct fixture f;

		begin(&f);
		assert_int_equal(say(&f, FIRST), SCRAM_CONTINUE);
		assert_int_equal(say(&f, bad[i]), SCRAM_BAD);
		assert_string_equal(f.scram.sqlstate, "08P01");
		assert_int_equal(f.out.len, 0);
		end(&f);
	}
	refuses_final("c=biws,r=" CLIENT_NONCE ",p=" PROOF, "08P01",
	    "invalid SCRAM response");
	refuses_final("c=biws,r=" NONCE "x,p=" PROOF, "08P01",
	    "invalid SCRAM response");
	refuses_final("c=eSws,r=" NONCE ",p=" PROOF, "08P01",
	    "unexpected SCRAM channel-binding attribute in "
	    "client-final-message");
}

static void
long_messages_and_bytes_of_zero(void **state)
{
	struct fixture f;
	char text[SCRAM_MAX_MESSAGE + 2];

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "n,,n=,r=", 8);
	begin(&f);
	assert_int_equal(
	    scram_step(&f.scram, text, sizeof(text) - 1, &f.out), SCRAM_BAD);
	end(&f);
	begin(&f);
	assert_int_equal(scram_step(&f.scram, text, SCRAM_MAX_MESSAGE, &f.out),
	    SCRAM_CONTINUE);
	end(&f);
	begin(&f);
	text[20] = '\0';
	assert_int_equal(
	    scram_step(&f.scram, text, 30, &f.out), SCRAM_BAD);
	end(&f);
}

/* Every cut and every change of one byte ends in an answer, not a crash. */
static void
mutilated_messages_are_never_accepted(void **state)
{
	const char *const texts[] = { FIRST, FINAL };
	char text[256];

	(void)state;
	for (int which = 0; which < 2; which++) {
		size_t n = strlen(texts[which]);

		for (size_t i = 0; i < n; i++)
			for (int c = 1; c < 256; c += 5) {
				struct fixture f;

				memcpy(text, texts[which], n + 1);
				if (text[i] == (char)c)
					continue;
				begin(&f);
				if (which == 1)
					assert_int_equal(say(&f, FIRST),
					    SCRAM_CONTINUE);
				text[i] = (char)c;
				assert_int_not_equal(say(&f, text), SCRAM_DONE);
				text[i] = '\0';
				assert_int_not_equal(say(&f, text), SCRAM_DONE);
				end(&f);
			}
	}
}

static void
secrets_that_are_none(void **state)
{
	static const char *const bad[] = { "", "SCRAM-SHA-256", "SCRAM-SHA-256$",
		"SCRAM-SHA-256$:", "SCRAM-SHA-256$4096:",
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$",
		"SCRAM-SHA-256$-1:W22ZaJ0SNY7soEsUEjb6gQ==$"
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
		"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"SCRAM-SHA-256$0:W22ZaJ0SNY7soEsUEjb6gQ==$"
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
		"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
		"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU",
		"scram-sha-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
		"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
		"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"pencil", "md5c4ca4238a0b923820dcc509a6f75849b" };
	struct scram_secret secret;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(scram_parse(bad[i], &secret));
}

static void
a_mock_is_stable_for_a_user_and_a_key(void **state)
{
	static const uint8_t one[SCRAM_KEY_BYTES] = "one",
			     two[SCRAM_KEY_BYTES] = "two";
	struct scram_secret like = { .iterations = 5000, .salt_len = 48 };
	struct scram_secret a, b;

	(void)state;
	scram_mock(&a, one, "ann", &like);
	scram_mock(&b, one, "ann", &like);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(a.iterations, 5000);
	assert_int_equal(a.salt_len, 48);
	assert_memory_not_equal(a.salt, a.salt + 32, 16);
	scram_mock(&b, one, "bob", &like);
	assert_memory_not_equal(a.salt, b.salt, 16);
	scram_mock(&b, two, "ann", &like);
	assert_memory_not_equal(a.salt, b.salt, 16);
	assert_false(scram_check_password(&a, ""));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_exchange_of_rfc_7677),
		cmocka_unit_test(an_absent_initial_response_is_asked_for),
		cmocka_unit_test(a_wrong_proof_and_a_doomed_user_end_alike),
		cmocka_unit_test(nonces_are_drawn_each_time),
		cmocka_unit_test(headers_of_channel_binding),
		cmocka_unit_test(plus_wants_our_certificate),
		cmocka_unit_test(first_messages_that_are_wrong),
		cmocka_unit_test(final_messages_that_are_wrong),
		cmocka_unit_test(long_messages_and_bytes_of_zero),
		cmocka_unit_test(mutilated_messages_are_never_accepted),
		cmocka_unit_test(secrets_that_are_none),
		cmocka_unit_test(a_mock_is_stable_for_a_user_and_a_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
