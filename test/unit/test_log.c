/*
 * test_log.c: lines of the operator log.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sys/wait.h>

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "buf.h"
#include "ioutil.h"
#include "log.h"

static char dir[] = "/tmp/pgw-test-log-XXXXXX";
static char file[PATH_MAX];
static char moved[PATH_MAX];

static int
setup(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	io_path(file, sizeof(file), "%s/pgwitness.log", dir);
	io_path(moved, sizeof(moved), "%s/pgwitness.log.1", dir);
	log_set_process("test");
	return log_open(file) ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	unlink(file);
	unlink(moved);
	return rmdir(dir);
}

/* The last line of path as an object. */
static json_t *
last_line(const char *path)
{
	struct buf b = { 0 };
	json_t *line;
	char *start;

	assert_true(io_read_file(path, &b, 1 << 20));
	assert_true(b.len > 0);
	assert_int_equal(b.data[b.len - 1], '\n');
	b.data[b.len - 1] = '\0';
	start = strrchr((char *)b.data, '\n');
	line = json_loads(start == NULL ? (char *)b.data : start + 1, 0, NULL);
	assert_non_null(line);
	buf_free(&b);
	return line;
}

static const char *
text_of(const json_t *line, const char *key)
{
	return json_string_value(json_object_get(line, key));
}

static void
a_message_ends_without_a_newline(void **state)
{
	json_t *line;

	(void)state;
	log_info("x", "connection failed: %s", "no password\n\tfor it\n\n");
	line = last_line(file);
	assert_string_equal(text_of(line, "message"),
	    "connection failed: no password\n\tfor it");
	json_decref(line);
}

static void
a_line_is_one_json_object_with_the_documented_keys(void **state)
{
	json_t *line;

	(void)state;
	log_set_client("127.0.0.1:4711");
	log_info("client_connected", "user \"%s\" connected", "a\nb");
	log_set_client(NULL);
	line = last_line(file);
	assert_int_equal(strlen(text_of(line, "time")), IO_TIME_BYTES - 1);
	assert_string_equal(text_of(line, "level"), "info");
	assert_string_equal(text_of(line, "process"), "test");
	assert_string_equal(text_of(line, "event"), "client_connected");
	assert_string_equal(text_of(line, "client"), "127.0.0.1:4711");
	assert_string_equal(
	    text_of(line, "message"), "user \"a\nb\" connected");
	assert_int_equal(
	    json_integer_value(json_object_get(line, "pid")), getpid());
	json_decref(line);

	log_info("next", "no client now");
	line = last_line(file);
	assert_null(json_object_get(line, "client"));
	json_decref(line);
}

static void
bytes_that_are_not_utf8_do_not_lose_the_line(void **state)
{
	json_t *line;

	(void)state;
	log_warning("odd", "bytes \xff\xfe here");
	line = last_line(file);
	assert_string_equal(text_of(line, "message"), "bytes ?? here");
	json_decref(line);
}

static void
lines_below_the_level_are_not_written(void **state)
{
	json_t *line;

	(void)state;
	log_error("seen", "seen");
	log_debug("unseen", "unseen");
	line = last_line(file);
	assert_string_equal(text_of(line, "event"), "seen");
	json_decref(line);
}

static void
after_the_file_was_moved_reopen_makes_a_new_one(void **state)
{
	json_t *line;

	(void)state;
	assert_int_equal(rename(file, moved), 0);
	log_info("to_old", "still in the old file");
	log_reopen();
	log_info("to_new", "in the new file");
	line = last_line(moved);
	assert_string_equal(text_of(line, "event"), "to_old");
	json_decref(line);
	line = last_line(file);
	assert_string_equal(text_of(line, "event"), "to_new");
	json_decref(line);
}

/* Runs end() in a child; its exit status, its stderr in out. */
static int
run_child(void (*end)(void), char *out, size_t size)
{
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		end();
		_exit(99);
	}
	close(fds[1]);
	n = read(fds[0], out, size - 1);
	out[n < 0 ? 0 : n] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static void
end_fatal(void)
{
	log_fatal("disk_gone", "no %s", "disk");
}

static void
end_usage(void)
{
	log_usage("no such option; see %s", "--help");
}

static void
fatal_exits_3_and_usage_2_with_one_plain_line(void **state)
{
	char out[256];
	json_t *line;

	(void)state;
	assert_int_equal(run_child(end_fatal, out, sizeof(out)), 3);
	assert_string_equal(out, "pgwitness: no disk\n");
	line = last_line(file);
	assert_string_equal(text_of(line, "level"), "fatal");
	assert_string_equal(text_of(line, "event"), "disk_gone");
	json_decref(line);
	assert_int_equal(run_child(end_usage, out, sizeof(out)), 2);
	assert_string_equal(out, "pgwitness: no such option; see --help\n");
}

static void
a_path_that_cannot_be_opened_keeps_the_old_file(void **state)
{
	json_t *line;

	(void)state;
	assert_false(log_open("/nonexistent/pgwitness.log"));
	log_info("kept", "kept");
	line = last_line(file);
	assert_string_equal(text_of(line, "event"), "kept");
	json_decref(line);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_line_is_one_json_object_with_the_documented_keys),
		cmocka_unit_test(a_message_ends_without_a_newline),
		cmocka_unit_test(bytes_that_are_not_utf8_do_not_lose_the_line),
		cmocka_unit_test(lines_below_the_level_are_not_written),
		cmocka_unit_test(
		    after_the_file_was_moved_reopen_makes_a_new_one),
		cmocka_unit_test(fatal_exits_3_and_usage_2_with_one_plain_line),
		cmocka_unit_test(
		    a_path_that_cannot_be_opened_keeps_the_old_file),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
