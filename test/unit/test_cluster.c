/*
 * test_cluster.c: verification clusters that start, end, and are not our own.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "replay_fixture.h"

static const char *
external_lines(void)
{
	/* Under another name than [backend]'s: there is one server here. */
	return sql_of("[verification]\nmode = external\nhost = %s/.\n"
		      "port = 5432\nuser = boss\ndbname = postgres\n",
	    base);
}

static struct config *
other_config(const char *dir, const char *more)
{
	char error[512];
	char *path = sql_of("%s/pgwitness.conf", dir);
	char *text = sql_of("[backend]\nhost = %s\nport = 5432\n"
			    "user = witness\n%s",
	    base, more);
	struct config *c;

	assert_int_equal(system(sql_of("mkdir -p '%s/log'", dir)), 0);
	assert_true(io_replace_file(path, text, strlen(text), 0600));
	c = config_load(dir, NULL, error, sizeof(error));
	if (c == NULL)
		fail_msg("%s", error);
	return c;
}

/* In a child, so that this process's cluster is not forgotten. */
static int
in_child(
    void (*run)(const struct config *, int), const struct config *c, int fd)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		procsig_init();
		run(c, fd);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void
start_and_die(const struct config *c, int fd)
{
	char error[512];
	pid_t pid;

	if (!cluster_start(c, &pid, error, sizeof(error)) ||
	    !io_write_all(fd, &pid, sizeof(pid)))
		_exit(1);
	raise(SIGKILL);
}

static void
start_and_stop(const struct config *c, int fd)
{
	char error[512];
	pid_t pid;

	(void)fd;
	if (!cluster_start(c, &pid, error, sizeof(error)))
		_exit(1);
	cluster_stop(pid);
}

/* The path is too long for a socket, too. */
static void
test_cluster_dies_with_its_parent(void **state)
{
	struct config *c;
	int fds[2];
	int status;
	pid_t pid;

	(void)state;
	arena_reset(arena);
	c = other_config(sql_of("%s/%0100d", base, 0), "");
	assert_int_equal(pipe(fds), 0);
	status = in_child(start_and_die, c, fds[1]);
	assert_true(WIFSIGNALED(status));
	read_all(fds[0], &pid, sizeof(pid));
	assert_true(program_gone(pid, 10000));
	status = in_child(start_and_stop, c, -1);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(fds[0]);
	close(fds[1]);
	config_free(c);
}

static struct record external_record;

static void
replay_externally(const struct config *c, int fd)
{
	struct replay *p;
	struct verdict v = { 0 };
	char error[512];
	pid_t pid;

	(void)fd;
	if (!cluster_start(c, &pid, error, sizeof(error)) || pid != 0)
		_exit(2);
	p = replay_new(c, 0);
	if (!replay_run(p, &external_record, arena, &v) ||
	    v.kind != VERDICT_VERIFIED)
		_exit(3);
	replay_free(p);
}

static void
test_an_external_cluster_serves_as_well(void **state)
{
	struct config *c;
	int status;

	(void)state;
	record_change("id = 1", "UPDATE t SET note = now()::text WHERE id = 1");
	tell("COMMIT");
	record_set_roots(&rec);
	rec.time_us = io_now_us();
	external_record = rec;
	c = other_config(sql_of("%s/ext", base), external_lines());
	/* the pgwitness_pin.so of a copied test is readable for the server */
	status = in_child(replay_externally, c, -1);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	config_free(c);
}

static void
assert_one_is_verified(void)
{
	record_change(
	    "id < 4", "UPDATE t SET balance = balance + 1.25 WHERE id < 4");
	assert_verified();
}

static void
test_cluster_survives_a_killed_postmaster(void **state)
{
	char error[512];
	int status;

	(void)state;
	replay_free(replay);
	kill(cluster_pid, SIGKILL);
	assert_int_equal(waitpid(cluster_pid, &status, 0), cluster_pid);
	if (!cluster_start(config, &cluster_pid, error, sizeof(error)))
		fail_msg("%s", error);
	replay = replay_new(config, 0);
	assert_one_is_verified();

	/* and a clean shutdown keeps it */
	replay_free(replay);
	cluster_stop(cluster_pid);
	if (!cluster_start(config, &cluster_pid, error, sizeof(error)))
		fail_msg("%s", error);
	replay = replay_new(config, 0);
	assert_one_is_verified();
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cluster_dies_with_its_parent),
		cmocka_unit_test(test_an_external_cluster_serves_as_well),
		cmocka_unit_test(test_cluster_survives_a_killed_postmaster),
	};

	return fixture_main(
	    argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
