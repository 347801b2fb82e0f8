/*
 * test_config.c: what config_load() accepts, refuses and says.
 *
 * Also pins that etc/pgwitness.conf.sample and the table agree.  Run from the
 * top of the tree.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "buf.h"
#include "config.h"
#include "ioutil.h"

#define SAMPLE "etc/pgwitness.conf.sample"

static char dir[] = "/tmp/pgw-test-config-XXXXXX";
static char file[PATH_MAX];
static char error[512];

static int
setup(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	io_path(file, sizeof(file), "%s/pgwitness.conf", dir);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	unlink(file);
	return rmdir(dir);
}

static struct config *
load(const char *text)
{
	assert_true(io_replace_file(file, text, strlen(text), 0600));
	error[0] = '\0';
	return config_load(dir, NULL, error, sizeof(error));
}

/* text is refused in this line with this message. */
static void
refuses(const char *text, int line, const char *message)
{
	char want[PATH_MAX + sizeof(error)];

	assert_null(load(text));
	io_path(want, sizeof(want), "%s:%d: %s", file, line, message);
	assert_string_equal(error, want);
}

static char *
print(const struct config *c)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	config_print(c, out);
	fclose(out);
	return text;
}

static void
an_empty_file_gives_the_defaults(void **state)
{
	struct config *c = load("");

	(void)state;
	assert_non_null(c);
	assert_string_equal(c->data_dir, dir);
	assert_string_equal(c->listen_addresses, "127.0.0.1");
	assert_int_equal(c->port, 6432);
	assert_int_equal(c->backend_port, 5432);
	assert_int_equal(c->auth_method, AUTH_PASSTHROUGH);
	assert_int_equal(c->authentication_timeout, 60000);
	assert_int_equal(c->max_parse_bytes, 1024 * 1024);
	assert_int_equal(c->queue_bytes, 64 << 20);
	assert_int_equal(c->log_level, LOG_INFO_);
	assert_true(c->enable_verification);
	assert_false(c->log_row_data);
	assert_string_equal(c->backend_user, "");
	assert_int_equal(c->ssl, SSL_OFF);
	assert_string_equal(config_sslmode(c), "prefer");
	config_free(c);
}

static void
units_are_those_of_postgresql(void **state)
{
	struct config *c = load("[proxy]\nauthentication_timeout = 2 min\n"
				"client_idle_timeout=1h\nmax_parse_bytes=64kB\n"
				"[replay]\nqueue_bytes = 1GB\n"
				"statement_timeout = 1500ms\n");

	(void)state;
	assert_non_null(c);
	assert_int_equal(c->authentication_timeout, 120000);
	assert_int_equal(c->client_idle_timeout, 3600000);
	assert_int_equal(c->max_parse_bytes, 65536);
	assert_int_equal(c->queue_bytes, INT64_C(1) << 30);
	assert_int_equal(c->statement_timeout, 1500);
	config_free(c);
}

static void
comments_and_spaces_are_no_values(void **state)
{
	struct config *c = load("# top\n; old\n[proxy]\n  port = 7000  \n"
				"[log]\nrow_data = yes ; said the owner\n");

	(void)state;
	assert_non_null(c);
	assert_int_equal(c->port, 7000);
	assert_true(c->log_row_data);
	config_free(c);
}

static void
relative_paths_start_at_the_data_directory(void **state)
{
	struct config *c = load("[proxy]\nauth_method=password\n"
				"auth_file=users\n[backend]\npassfile=/a/b\n");
	char path[PATH_MAX];

	(void)state;
	assert_non_null(c);
	io_path(path, sizeof(path), "%s/users", dir);
	assert_string_equal(c->auth_file, path);
	assert_string_equal(c->backend_passfile, "/a/b");
	config_log_path(c, "pgwitness.log", path, sizeof(path));
	assert_string_equal(path + strlen(dir), "/log/pgwitness.log");
	config_free(c);
}

static void
an_unknown_key_names_the_nearest(void **state)
{
	(void)state;
	refuses("\n[proxy]\nprot = 1\n", 3,
	    "unknown key \"prot\" in [proxy]; did you mean \"port\"?");
}

static void
a_key_in_the_wrong_section_names_the_right_one(void **state)
{
	(void)state;
	refuses("[proxy]\nworkers = 1\n", 2,
	    "unknown key \"workers\" in [proxy]; it belongs to [replay]");
	refuses("workers = 1\n", 1,
	    "\"workers\" stands before any section; put a line like [replay] "
	    "before it");
}

static void
an_unknown_section_names_the_nearest(void **state)
{
	(void)state;
	refuses("[bakcend]\nhost = x\n", 2,
	    "unknown section [bakcend]; did you mean [backend]?");
}

static void
a_key_twice_is_an_error(void **state)
{
	(void)state;
	refuses("[proxy]\nport = 1\n[log]\n[proxy]\nport = 2\n", 5,
	    "\"port\" in [proxy] was set before, in line 2; remove one");
}

static void
wrong_values_say_what_is_right(void **state)
{
	(void)state;
	refuses("[proxy]\nport = http\n", 2,
	    "\"http\" is not a value for port; give a whole number");
	refuses("[proxy]\nport = 70000\n", 2,
	    "70000 is outside the range of port; give 1 to 65535");
	refuses("[replay]\nstatement_timeout = 30\n", 2,
	    "\"30\" is not a value for statement_timeout; give a whole number "
	    "with ms, s, min, h or d");
	refuses("[replay]\nqueue_bytes = 1kB\n", 2,
	    "1kB is outside the range of queue_bytes; give 1MB to 64GB");
	refuses("[replay]\nqueue_bytes = 99999999999TB\n", 2,
	    "\"99999999999TB\" is not a value for queue_bytes; give a whole "
	    "number with B, kB, MB, GB or TB");
	refuses("[log]\nrow_data = maybe\n", 2,
	    "\"maybe\" is not a value for row_data; give on or off");
	refuses("[proxy]\nauth_method = md5\n", 2,
	    "\"md5\" is not a value for auth_method; known: passthrough, "
	    "trust, password, scram-sha-256");
	refuses("[backend]\nsslmode = on\n", 2,
	    "\"on\" is not a value for sslmode; known: disable, allow, "
	    "prefer, require, verify-ca, verify-full");
	refuses("[evidence]\ncommit = never\n", 2,
	    "\"never\" is not a value for commit; known: before_commit, "
	    "before_ack, async");
}

static void
what_is_not_ini_is_an_error_with_its_line(void **state)
{
	(void)state;
	refuses("[proxy]\nport = 1\nrubbish\n", 3,
	    "not a [section], not \"key = value\", not a # comment");
	refuses("[proxy\nport = 1\n", 1,
	    "not a [section], not \"key = value\", not a # comment");
}

static void
a_long_line_is_whole_or_an_error(void **state)
{
	char text[16000];
	struct config *c;

	(void)state;
	snprintf(text, sizeof(text), "[backend]\nhost = %03000d\n", 0);
	c = load(text);
	assert_non_null(c);
	assert_int_equal(strlen(c->backend_host), 3000);
	config_free(c);

	snprintf(text, sizeof(text), "[backend]\nhost = %010000d\n", 0);
	refuses(text, 2, "line is longer than 8190 bytes");
}

static void
keys_that_need_each_other_are_checked(void **state)
{
	(void)state;
	refuses("[proxy]\nport=1\nauth_method = password\n", 3,
	    "auth_method = password needs auth_file in [proxy]");
	refuses("[proxy]\nauth_method = scram-sha-256\n", 2,
	    "auth_method = scram-sha-256 needs auth_file in [proxy]");
	refuses("[proxy]\nssl = on\nssl_cert_file = server.crt\n", 2,
	    "ssl needs ssl_cert_file and ssl_key_file in [proxy]");
	refuses("[verification]\nmode = external\n", 2,
	    "mode = external needs host in [verification]");
	refuses("[backend]\nhost = db\n[verification]\nmode = external\n"
		"user = u\nhost = db\n",
	    6,
	    "[verification] is the server of [backend]; replay needs one of "
	    "its own");
	refuses("[proxy]\nlisten_addresses =\n", 2,
	    "nothing to listen on; set listen_addresses or "
	    "unix_socket_directory in [proxy]");
}

static void
a_missing_file_says_how_to_make_one(void **state)
{
	(void)state;
	unlink(file);
	assert_null(config_load(dir, NULL, error, sizeof(error)));
	assert_non_null(strstr(error, "No such file"));
	assert_non_null(strstr(error, "pgwitness --init -D"));
	/* One that is there, but cannot be read. */
	assert_int_equal(symlink(file, file), 0);
	assert_null(config_load(dir, NULL, error, sizeof(error)));
	assert_non_null(strstr(error, "cannot read: Too many levels"));
	assert_null(strstr(error, "--init"));
	unlink(file);
}

static void
passwords_are_not_printed(void **state)
{
	struct config *c = load("[backend]\npassword = s3cret\n");
	char *text;

	(void)state;
	assert_non_null(c);
	text = print(c);
	assert_null(strstr(text, "s3cret"));
	assert_non_null(strstr(text, "password = ***\n"));
	assert_non_null(strstr(text, "statement_timeout = 30s\n"));
	assert_non_null(strstr(text, "max_capture_bytes = 256MB\n"));
	free(text);
	config_free(c);
}

/* Every "#key =" line of the sample without its #; NULs the rest. */
static size_t
uncomment(char *text, struct buf *out)
{
	size_t keys = 0;

	for (char *line = strtok(text, "\n"); line != NULL;
	     line = strtok(NULL, "\n")) {
		if (line[0] == '#' && line[1] >= 'a' && line[1] <= 'z') {
			keys++;
			buf_printf(out, "%s\n", line + 1);
		} else if (line[0] == '[') {
			buf_printf(out, "%s\n", line);
		}
	}
	buf_put_u8(out, 0);
	return keys;
}

static size_t
count(const char *text, const char *what)
{
	size_t n = 0;

	while ((text = strstr(text, what)) != NULL) {
		text += strlen(what);
		n++;
	}
	return n;
}

static void
the_sample_has_every_key_with_its_default(void **state)
{
	struct buf sample = { 0 }, active = { 0 };
	struct config *defaults = load("");
	struct config *c;
	char *want, *got;
	size_t keys;

	(void)state;
	assert_true(io_read_file(SAMPLE, &sample, 1 << 20));
	buf_put_u8(&sample, 0);
	keys = uncomment((char *)sample.data, &active);
	c = load((const char *)active.data);
	if (c == NULL)
		fail_msg("%s", error);
	want = print(defaults);
	got = print(c);
	assert_string_equal(got, want);
	assert_int_equal(keys, count(want, " = "));
	free(want);
	free(got);
	config_free(c);
	config_free(defaults);
	buf_free(&sample);
	buf_free(&active);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_file_gives_the_defaults),
		cmocka_unit_test(units_are_those_of_postgresql),
		cmocka_unit_test(comments_and_spaces_are_no_values),
		cmocka_unit_test(relative_paths_start_at_the_data_directory),
		cmocka_unit_test(an_unknown_key_names_the_nearest),
		cmocka_unit_test(
		    a_key_in_the_wrong_section_names_the_right_one),
		cmocka_unit_test(an_unknown_section_names_the_nearest),
		cmocka_unit_test(a_key_twice_is_an_error),
		cmocka_unit_test(wrong_values_say_what_is_right),
		cmocka_unit_test(what_is_not_ini_is_an_error_with_its_line),
		cmocka_unit_test(a_long_line_is_whole_or_an_error),
		cmocka_unit_test(keys_that_need_each_other_are_checked),
		cmocka_unit_test(a_missing_file_says_how_to_make_one),
		cmocka_unit_test(passwords_are_not_printed),
		cmocka_unit_test(the_sample_has_every_key_with_its_default),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
