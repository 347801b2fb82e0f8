/*
 * fuzz_startup.c: what a client sends before its session, and its password.
 *
 * Input: one byte for the authentication method and one for the size of the
 * pieces, then the client's bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../backend/auth.h"
#include "../../backend/startup.h"
#include "fuzz.h"
#include "ioutil.h"
#include "world.h"

static char auth_file[64];

struct script {
	struct take in;
	size_t piece;
};

static bool
send_piece(struct world *w)
{
	struct script *s = w->arg;
	size_t n;
	const uint8_t *p = take_bytes(&s->in, s->piece, &n);

	return world_send(w->client, p, n);
}

static void
make_auth_file(void)
{
	static const char text[] =
	    "# users\n\"ann\" \"secret\"\n\"b\"\"b\" \"\"\n"
	    "\"cid\" \"unended\n\"dora\"\n"
	    "\"sam\" \"SCRAM-SHA-256$1:W22ZaJ0SNY7soEsUEjb6gQ==$"
	    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
	    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\"\n";
	int fd = memfd_create("users", MFD_CLOEXEC);

	if (fd < 0 || !io_write_all(fd, text, sizeof(text) - 1))
		abort();
	snprintf(auth_file, sizeof(auth_file), "/proc/self/fd/%d", fd);
}

/*
 * A byte for each encryption request, then messages, the last may be fatal; or
 * a TLS alert.
 */
static void
check_answers(const struct world *w)
{
	struct rd r = rd_init(w->to_client.data, w->to_client.len);
	unsigned encryption = 0;

	if (rd_left(&r) == 7 && *r.p == 21)
		return;
	while (rd_left(&r) > 0 && (*r.p == 'N' || *r.p == 'S')) {
		(void)rd_u8(&r);
		must(++encryption <= 2);
	}
	while (rd_left(&r) > 0) {
		uint8_t type = rd_u8(&r);
		uint32_t len = rd_u32(&r);

		must(type == 'R' || type == 'E' || type == 'S' || type == 'v');
		must(len >= 4 && len - 4 <= rd_left(&r));
		(void)rd_bytes(&r, len - 4);
		must(type != 'E' || rd_left(&r) == 0);
	}
	must(!r.bad);
}

static void
count(void *arg, const char *name, const char *value)
{
	*(size_t *)arg += strlen(name) + strlen(value) + 2;
}

static void
check_packet(const struct session *s, const struct buf *packet)
{
	size_t sum = 0;

	fuzz_accepted = 1;
	must(packet->len >= 8 && packet->len <= PG_MAX_STARTUP_BYTES);
	must(get_u32(packet->data) == packet->len);
	must(s->user != NULL && s->database != NULL);
	must(s->application_name != NULL);
	startup_each(packet, count, &sum);
	must(sum <= packet->len - 8);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script script = { .in = { data, size < 65536 ? size : 65536 } };
	struct world w = { .turn = send_piece, .arg = &script };
	struct session s = { .status = 0 };
	struct buf packet = { 0 };

	if (auth_file[0] == '\0')
		make_auth_file();
	world_open(&w, &s);
	w.config.auth_method = (int)(take_u8(&script.in) % 4u);
	w.config.auth_file = auth_file;
	w.config.backend_port = 1;
	script.piece = (size_t)take_u8(&script.in) + 1;
	s.deadline_us = io_monotonic_us() + 60000000;
	if (startup_read(&s, &packet)) {
		check_packet(&s, &packet);
		if (w.config.auth_method != AUTH_PASSTHROUGH)
			(void)!auth_client(&s);
	}
	wire_flush(&s.client);
	world_listen(&w);
	check_answers(&w);
	world_close(&w, &s);
	buf_free(&packet);
	free(s.user);
	free(s.database);
	free(s.application_name);
	return 0;
}
