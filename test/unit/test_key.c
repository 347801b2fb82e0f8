/*
 * test_key.c: the evidence key's files and the checkpoint's form.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../include/ioutil.h"
#include "../../replayd/checkpoint.h"
#include "../../replayd/key.h"

static char dir[64];
static char key_path[96];
static char pub_path[96];
static char error[512];

static int
set_up(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/pgw-key-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	io_path(key_path, sizeof(key_path), "%s/evidence.key", dir);
	io_path(pub_path, sizeof(pub_path), "%s/evidence.pub", dir);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	(void)unlink(key_path);
	(void)unlink(pub_path);
	return rmdir(dir);
}

static void
a_key_comes_back_from_its_files(void **state)
{
	uint8_t signature[KEY_SIGNATURE_BYTES];
	struct key_signer made;
	struct key_signer loaded;
	struct key_public pub;

	(void)state;
	assert_true(key_generate("host/pgwitness/0123abcd", &made));
	assert_true(key_save(&made, dir, error, sizeof(error)));
	assert_true(key_load_signer(key_path, &loaded, error, sizeof(error)));
	assert_true(key_load_public(pub_path, &pub, error, sizeof(error)));
	assert_string_equal(pub.name, made.public.name);
	assert_memory_equal(pub.bytes, loaded.public.bytes, sizeof(pub.bytes));
	key_sign(&loaded, "text", 4, signature);
	assert_true(key_verify(&pub, "text", 4, signature));
	assert_false(key_verify(&pub, "texT", 4, signature));
	signature[0] ^= 1;
	assert_false(key_verify(&pub, "text", 4, signature));
}

static void
a_key_is_never_replaced(void **state)
{
	struct key_signer k;

	(void)state;
	assert_true(key_generate("a", &k));
	assert_true(key_save(&k, dir, error, sizeof(error)));
	assert_false(key_save(&k, dir, error, sizeof(error)));
}

static void
a_key_that_others_can_read_is_refused(void **state)
{
	struct key_signer k;
	struct stat st;

	(void)state;
	assert_true(key_generate("a", &k));
	assert_true(key_save(&k, dir, error, sizeof(error)));
	assert_int_equal(stat(key_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(chmod(key_path, 0640), 0);
	assert_false(key_load_signer(key_path, &k, error, sizeof(error)));
	assert_int_equal(chmod(key_path, 0604), 0);
	assert_false(key_load_signer(key_path, &k, error, sizeof(error)));
}

/* Each step may be repeated after a crash behind it. */
static void
a_key_is_rotated_in_steps(void **state)
{
	struct key_signer old;
	struct key_signer next;
	struct key_public public;
	char path[96];
	char id[96];

	(void)state;
	assert_true(key_generate("a", &old));
	assert_true(key_save(&old, dir, error, sizeof(error)));
	assert_int_equal(key_load_next(dir, &old.public, &next, error,
			     sizeof(error)),
	    0);
	assert_true(key_prepare_next(dir, &public, error, sizeof(error)));
	assert_false(key_prepare_next(dir, NULL, error, sizeof(error)));
	assert_int_equal(key_load_next(dir, &old.public, &next, error,
			     sizeof(error)),
	    1);
	assert_memory_equal(&public, &next.public, sizeof(public));
	assert_true(key_finish_change(dir, &old.public, &next.public, error,
	    sizeof(error)));
	assert_true(key_load_public(pub_path, &public, error, sizeof(error)));
	assert_memory_equal(&public, &next.public, sizeof(public));
	io_path(id, sizeof(id), "%s/evidence-%02x%02x%02x%02x.pub", dir,
	    old.public.id[0], old.public.id[1], old.public.id[2],
	    old.public.id[3]);
	assert_true(key_load_public(id, &public, error, sizeof(error)));
	assert_memory_equal(&public, &old.public, sizeof(public));
	assert_int_equal(unlink(id), 0);
	io_path(path, sizeof(path), "%s/evidence.key.new", dir);
	assert_int_not_equal(access(path, F_OK), 0);
	/* It died before evidence.pub was replaced. */
	assert_int_equal(unlink(pub_path), 0);
	assert_true(key_repair_public(dir, &next.public, error,
	    sizeof(error)));
	assert_true(key_load_public(pub_path, &public, error, sizeof(error)));
	assert_memory_equal(&public, &next.public, sizeof(public));
}

static void
a_new_key_of_another_name_is_refused(void **state)
{
	struct key_signer old;
	struct key_signer next;
	struct key_signer got;
	char path[96];

	(void)state;
	assert_true(key_generate("b", &next));
	assert_true(key_save(&next, dir, error, sizeof(error)));
	io_path(path, sizeof(path), "%s/evidence.key.new", dir);
	assert_int_equal(rename(key_path, path), 0);
	assert_true(key_generate("a", &old));
	assert_int_equal(key_load_next(dir, &old.public, &got, error,
			     sizeof(error)),
	    -1);
	assert_int_equal(unlink(path), 0);
}

#define SUMDB_KEY "Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

/* The verifier key of the Go checksum database, as it is published. */
static void
a_published_verifier_key_is_understood(void **state)
{
	static const char sumdb[] = "sum.golang.org+033de0ae+" SUMDB_KEY "\n";
	struct key_public pub;
	FILE *f = fopen(pub_path, "w");

	(void)state;
	assert_non_null(f);
	fputs(sumdb, f);
	fclose(f);
	assert_true(key_load_public(pub_path, &pub, error, sizeof(error)));
	assert_string_equal(pub.name, "sum.golang.org");
}

static void
what_is_no_key_is_refused(void **state)
{
	static const char other_name[] = "sum.golang.com+033de0ae+" SUMDB_KEY;
	static const char *const bad[] = { "", "x", "a+b",
		"a+033de0ae+", "a+033de0ae+!!!!",
		other_name };
	struct key_public pub;
	struct key_signer k;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		FILE *f = fopen(pub_path, "w");

		assert_non_null(f);
		fputs(bad[i], f);
		fclose(f);
		assert_int_equal(chmod(pub_path, 0600), 0);
		assert_false(
		    key_load_public(pub_path, &pub, error, sizeof(error)));
		assert_false(
		    key_load_signer(pub_path, &k, error, sizeof(error)));
	}
	assert_false(key_name_ok("a b"));
	assert_false(key_name_ok("a+b"));
	assert_false(key_name_ok(""));
}

static void
a_checkpoint_has_the_form_of_c2sp(void **state)
{
	struct checkpoint c = { .origin = "o/n", .size = 7 };
	struct checkpoint got;
	struct key_signer k;
	struct buf b = { 0 };

	(void)state;
	memset(c.root.b, 0xab, sizeof(c.root.b));
	assert_true(key_generate("o/n", &k));
	checkpoint_put(&c, &k, &b);
	assert_memory_equal(b.data,
	    "o/n\n7\nq6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n\n"
	    "\xe2\x80\x94 o/n ",
	    59);
	assert_true(checkpoint_parse(b.data, b.len, &k.public, 1, &got, error,
	    sizeof(error)));
	assert_int_equal(got.size, 7);
	assert_string_equal(got.origin, "o/n");
	assert_memory_equal(&got.root, &c.root, sizeof(got.root));
	buf_free(&b);
}

static void
no_changed_checkpoint_is_believed(void **state)
{
	struct checkpoint c = { .origin = "o/n", .size = 7 };
	struct checkpoint got;
	struct key_signer k;
	struct key_signer other;
	struct buf b = { 0 };

	(void)state;
	assert_true(key_generate("o/n", &k));
	assert_true(key_generate("o/n", &other));
	checkpoint_put(&c, &k, &b);
	assert_false(checkpoint_parse(b.data, b.len, &other.public, 1, &got,
	    error, sizeof(error)));
	for (size_t n = 0; n < b.len; n++)
		assert_false(checkpoint_parse(b.data, n, &k.public, 1, &got,
		    error, sizeof(error)));
	for (size_t i = 0; i < b.len; i++) {
		b.data[i] ^= 1;
		assert_false(checkpoint_parse(b.data, b.len, &k.public, 1,
		    &got, error, sizeof(error)));
		b.data[i] ^= 1;
	}
	buf_free(&b);
}

static void
base64_is_its_alphabet_and_nothing_else(void **state)
{
	char text[] = "AAAA";
	uint8_t out[3];

	(void)state;
	for (int c = 0; c < 256; c++) {
		bool letter = (c >= 'a' && c <= 'z') ||
		    (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    c == '+' || c == '/';

		text[1] = (char)c;
		assert_int_equal(key_unbase64(text, 4, out, 3), letter);
	}
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_key_comes_back_from_its_files),
		test(a_key_is_never_replaced),
		test(a_key_is_rotated_in_steps),
		test(a_new_key_of_another_name_is_refused),
		test(a_key_that_others_can_read_is_refused),
		test(a_published_verifier_key_is_understood),
		test(what_is_no_key_is_refused),
		test(base64_is_its_alphabet_and_nothing_else),
		test(a_checkpoint_has_the_form_of_c2sp),
		test(no_changed_checkpoint_is_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
