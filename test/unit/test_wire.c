/*
 * test_wire.c: framing, whatever the pieces it comes in.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../backend/wire.h"
#include "ioutil.h"

struct pair {
	struct wire wire;
	int peer;
};

static void
pair_open(struct pair *p)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_true(io_set_nonblock(fd[0]));
	wire_open(&p->wire, fd[0]);
	p->peer = fd[1];
}

static void
pair_close(struct pair *p)
{
	wire_close(&p->wire);
	close(p->peer);
}

/* Three messages, one without a body, one of 1,000 bytes. */
static size_t
script(uint8_t *out)
{
	static const uint8_t head[] = { 'Q', 0, 0, 0, 9, 'a', ';', 'b', ';', 0,
		'S', 0, 0, 0, 4, 'd', 0, 0, 3, 0xec };

	memcpy(out, head, sizeof(head));
	memset(out + sizeof(head), 'x', 1000);
	return sizeof(head) + 1000;
}

static void
messages_fed_one_byte_at_a_time(void **state)
{
	uint8_t bytes[2048];
	size_t n = script(bytes), seen = 0;
	const char types[] = "QSd";
	const size_t lens[] = { 5, 0, 1000 };
	struct pair p;

	(void)state;
	pair_open(&p);
	for (size_t i = 0; i < n; i++) {
		struct message m;
		enum wire_status st;

		assert_int_equal(write(p.peer, &bytes[i], 1), 1);
		wire_fill(&p.wire);
		st = wire_message(&p.wire, &m);
		if (st == WIRE_INCOMPLETE)
			continue;
		assert_int_equal(st, WIRE_MESSAGE);
		assert_true(seen < 3);
		assert_int_equal(m.type, types[seen]);
		assert_int_equal(m.len, lens[seen]);
		assert_int_equal(m.raw_len, m.len + 5);
		wire_skip(&p.wire, m.raw_len);
		seen++;
	}
	assert_int_equal(seen, 3);
	assert_int_equal(wire_unread(&p.wire), 0);
	pair_close(&p);
}

static void
many_messages_in_one_read(void **state)
{
	uint8_t bytes[2048];
	size_t n = script(bytes), count = 0;
	struct pair p;
	struct message m;

	(void)state;
	pair_open(&p);
	for (int i = 0; i < 10; i++)
		assert_int_equal(write(p.peer, bytes, n), n);
	wire_fill(&p.wire);
	while (wire_message(&p.wire, &m) == WIRE_MESSAGE) {
		wire_skip(&p.wire, m.raw_len);
		count++;
	}
	assert_int_equal(count, 30);
	pair_close(&p);
}

static void
impossible_lengths_are_refused_from_the_head_alone(void **state)
{
	static const uint32_t lengths[] = { 0, 1, 3, 0x40000000, 0x7fffffff,
		0x80000000, 0xffffffff };

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		struct pair p;
		struct buf b = { 0 };
		struct message m;

		pair_open(&p);
		buf_put_u8(&b, 'Q');
		buf_put_u32(&b, lengths[i]);
		assert_int_equal(write(p.peer, b.data, b.len), 5);
		wire_fill(&p.wire);
		assert_int_equal(wire_message(&p.wire, &m), WIRE_BAD);
		/* and nothing was allocated for it */
		assert_true(p.wire.in.cap < 1024 * 1024);
		buf_free(&b);
		pair_close(&p);
	}
}

static void
a_long_message_announced_takes_no_memory_before_it_comes(void **state)
{
	struct pair p;
	struct message m;
	const uint8_t head[] = { 'd', 0x3f, 0xff, 0xff, 0xff };

	(void)state;
	pair_open(&p);
	assert_int_equal(write(p.peer, head, 5), 5);
	wire_fill(&p.wire);
	assert_int_equal(wire_message(&p.wire, &m), WIRE_INCOMPLETE);
	wire_fill(&p.wire);
	assert_true(p.wire.in.cap < (size_t)8 * 1024 * 1024);
	pair_close(&p);
}

static void
messages_are_built_with_their_length(void **state)
{
	struct pair p;
	uint8_t got[32];
	static const uint8_t want[] = { 'C', 0, 0, 0, 7, 'S', 'x', 0, 'S', 0,
		0, 0, 4 };
	size_t at;

	(void)state;
	pair_open(&p);
	at = wire_begin(&p.wire, PqMsg_Close);
	buf_put_u8(&p.wire.out, 'S');
	buf_put_cstr(&p.wire.out, "x");
	wire_end(&p.wire, at);
	wire_put_empty(&p.wire, PqMsg_Sync);
	wire_flush(&p.wire);
	assert_int_equal(read(p.peer, got, sizeof(got)), sizeof(want));
	assert_memory_equal(got, want, sizeof(want));
	pair_close(&p);
}

static void
error_fields_are_found_and_bounded(void **state)
{
	static const uint8_t good[] = "SERROR\0C42P01\0Mno such\0";
	static const uint8_t cut[] = { 'S', 'E', 'R' };
	struct message m = { .body = good, .len = sizeof(good) };

	(void)state;
	assert_string_equal(wire_error_field(&m, 'C'), "42P01");
	assert_string_equal(wire_error_field(&m, 'M'), "no such");
	assert_string_equal(wire_error_field(&m, 'H'), "");
	m.body = cut;
	m.len = sizeof(cut);
	assert_string_equal(wire_error_field(&m, 'S'), "");
}

static void
a_dead_peer_breaks_the_queue_and_frees_it(void **state)
{
	struct pair p;
	char block[4096] = { 0 };

	(void)state;
	pair_open(&p);
	close(p.peer);
	for (int i = 0; i < 100; i++)
		wire_put(&p.wire, block, sizeof(block));
	wire_flush(&p.wire);
	assert_true(p.wire.broken);
	assert_int_equal(wire_queued(&p.wire), 0);
	wire_put(&p.wire, block, sizeof(block));
	assert_int_equal(wire_queued(&p.wire), 0);
	wire_fill(&p.wire);
	assert_true(p.wire.eof);
	wire_close(&p.wire);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_fed_one_byte_at_a_time),
		cmocka_unit_test(many_messages_in_one_read),
		cmocka_unit_test(
		    impossible_lengths_are_refused_from_the_head_alone),
		cmocka_unit_test(
		    a_long_message_announced_takes_no_memory_before_it_comes),
		cmocka_unit_test(messages_are_built_with_their_length),
		cmocka_unit_test(error_fields_are_found_and_bounded),
		cmocka_unit_test(a_dead_peer_breaks_the_queue_and_frees_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
