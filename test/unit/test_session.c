/*
 * test_session.c: waiting on both connections: nothing that came is
 * overlooked, whoever was read when, with poll() alone and with edges.
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
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../backend/session.h"
#include "ioutil.h"
#include "procsig.h"

/* What must come comes long before. */
#define LONG_US (60 * INT64_C(1000000))

struct both {
	struct session s;
	int client, server; /* the far ends */
};

static void
wire_pair(struct wire *w, int *far)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_true(io_set_nonblock(fd[0]));
	wire_open(w, fd[0]);
	*far = fd[1];
}

static void
both_open(struct both *b, bool edges)
{
	memset(b, 0, sizeof(*b));
	procsig_init();
	procsig_catch(SIGINT);
	wire_pair(&b->s.client, &b->client);
	wire_pair(&b->s.server, &b->server);
	b->s.deadline_us = io_monotonic_us() + LONG_US;
	if (!edges)
		return;
	session_use_edges(&b->s);
	assert_int_not_equal(b->s.edges, 0);
}

static void
both_close(struct both *b)
{
	wire_close(&b->s.client);
	wire_close(&b->s.server);
	close(b->client);
	close(b->server);
	if (b->s.edges != 0)
		close(b->s.edges);
}

static void
say(int fd, const char *bytes, size_t n)
{
	assert_true(io_write_all(fd, bytes, n));
}

/* Waits until n bytes of w were read, and takes them. */
static void
hear(struct both *b, struct wire *w, int want, size_t n)
{
	while (wire_unread(w) < n)
		assert_true(session_wait(&b->s, want));
	assert_int_equal(wire_unread(w), n);
	wire_skip(w, n);
}

/* After it both are read to their end. */
static void
hear_both(struct both *b)
{
	say(b->client, "hello", 5);
	hear(b, &b->s.client, WANT_CLIENT | WANT_SERVER, 5);
	say(b->server, "hello", 5);
	hear(b, &b->s.server, WANT_CLIENT | WANT_SERVER, 5);
}

static void
both_sides_are_heard(bool edges)
{
	struct both b;

	both_open(&b, edges);
	for (int i = 0; i < 3; i++)
		hear_both(&b);
	say(b.client, "abc", 3);
	say(b.server, "defg", 4);
	hear(&b, &b.s.client, WANT_CLIENT | WANT_SERVER, 3);
	hear(&b, &b.s.server, WANT_CLIENT | WANT_SERVER, 4);
	both_close(&b);
}

static void
who_was_not_wanted_is_heard_later(bool edges)
{
	struct both b;

	both_open(&b, edges);
	hear_both(&b);
	say(b.client, "early", 5);
	/* Its edge may come here, or the answer's. */
	say(b.server, "answer", 6);
	hear(&b, &b.s.server, WANT_SERVER, 6);
	assert_int_equal(wire_unread(&b.s.client), 0);
	hear(&b, &b.s.client, WANT_CLIENT | WANT_SERVER, 5);
	hear_both(&b);
	both_close(&b);
}

static void
long_messages_are_heard_to_their_end(bool edges)
{
	static char bytes[150000];
	struct both b;
	pid_t pid;

	both_open(&b, edges);
	hear_both(&b);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(!io_write_all(b.server, bytes, sizeof(bytes)));
	hear(&b, &b.s.server, WANT_CLIENT | WANT_SERVER, sizeof(bytes));
	hear_both(&b);
	both_close(&b);
}

static void
an_end_is_noticed(bool edges)
{
	struct both b;

	both_open(&b, edges);
	hear_both(&b);
	assert_int_equal(shutdown(b.client, SHUT_WR), 0);
	while (!b.s.client.eof)
		assert_true(session_wait(&b.s, WANT_CLIENT | WANT_SERVER));
	close(b.server);
	while (!b.s.server.eof)
		assert_true(session_wait(&b.s, WANT_SERVER));
	b.server = dup(b.client);
	both_close(&b);
}

/* Its last words and its end are one edge, seen when it is wanted or not. */
static void
an_end_behind_words_is_noticed(bool edges)
{
	for (int wanted = 0; wanted < 2; wanted++) {
		struct both b;

		both_open(&b, edges);
		hear_both(&b);
		say(b.server, "last words", 10);
		close(b.server);
		if (!wanted) {
			say(b.client, "more", 4);
			hear(&b, &b.s.client, WANT_CLIENT, 4);
			say(b.client, "more", 4);
			hear(&b, &b.s.client, WANT_CLIENT, 4);
		}
		hear(&b, &b.s.server, WANT_CLIENT | WANT_SERVER, 10);
		while (!b.s.server.eof)
			assert_true(
			    session_wait(&b.s, WANT_CLIENT | WANT_SERVER));
		b.server = dup(b.client);
		both_close(&b);
	}
}

static void
what_is_queued_goes_on(bool edges)
{
	static char bytes[1000000];
	struct both b;
	size_t got = 0;

	both_open(&b, edges);
	hear_both(&b);
	wire_put(&b.s.server, bytes, sizeof(bytes));
	wire_flush(&b.s.server);
	assert_int_not_equal(wire_queued(&b.s.server), 0);
	while (got < sizeof(bytes)) {
		ssize_t n = recv(b.server, bytes, 4096, MSG_DONTWAIT);

		if (n < 0)
			assert_true(session_wait(&b.s, WANT_SERVER));
		got += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(wire_queued(&b.s.server), 0);
	hear_both(&b);
	both_close(&b);
}

static void
a_signal_ends_the_wait(bool edges)
{
	struct both b;

	both_open(&b, edges);
	hear_both(&b);
	assert_int_equal(raise(SIGINT), 0);
	while (!b.s.smart)
		assert_true(session_wait(&b.s, WANT_CLIENT | WANT_SERVER));
	hear_both(&b);
	b.s.deadline_us = 1;
	assert_false(session_wait(&b.s, WANT_CLIENT | WANT_SERVER));
	both_close(&b);
}

static void
with_poll(void **state)
{
	void (*const *test)(bool) = *state;

	(*test)(false);
}

static void
with_edges(void **state)
{
	void (*const *test)(bool) = *state;

	(*test)(true);
}

int
main(void)
{
	static void (*fn[])(bool) = { both_sides_are_heard,
		who_was_not_wanted_is_heard_later,
		long_messages_are_heard_to_their_end, an_end_is_noticed,
		an_end_behind_words_is_noticed, what_is_queued_goes_on,
		a_signal_ends_the_wait };
	static const char *const name[] = { "both_sides_are_heard",
		"who_was_not_wanted_is_heard_later",
		"long_messages_are_heard_to_their_end", "an_end_is_noticed",
		"an_end_behind_words_is_noticed", "what_is_queued_goes_on",
		"a_signal_ends_the_wait" };
	struct CMUnitTest tests[2 * sizeof(fn) / sizeof(*fn)];
	size_t n = sizeof(fn) / sizeof(*fn);

	for (size_t i = 0; i < n; i++) {
		tests[i] = (struct CMUnitTest){ name[i], with_poll, NULL, NULL,
			&fn[i] };
		tests[n + i] = (struct CMUnitTest){ name[i], with_edges, NULL,
			NULL, &fn[i] };
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
