/*
 * world.c: sockets, time and replayd around a backend child.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "log.h"
#include "procsig.h"
#include "tlsfiles.h"
#include "world.h"

/* No input makes a child wait so often unless it spins. */
#define MAX_WAITS 1000000
#define LANE_BYTES ((size_t)128 * 1024)

int __real_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __real_sem_clockwait(sem_t *s, clockid_t clock, const struct timespec *t);
int __wrap_sem_clockwait(sem_t *s, clockid_t clock, const struct timespec *t);

static char nowhere[] = "/nonexistent";
static char loopback[] = "127.0.0.1";

/* poll() has no argument for it. */
static struct world *world;

void
world_replayd(struct world *w)
{
	struct shmq_message m;

	while (w->queue != NULL && shmq_next(w->queue, &m)) {
		w->take(w->take_arg, &m);
		shmq_ack(w->queue, m.lane, m.sequence);
	}
}

void
world_hang_up(struct world *w)
{
	shutdown(w->server, SHUT_WR);
}

/* Nobody has anything to say; false: the child waits for nothing at all. */
static bool
wind_down(struct world *w)
{
	switch (w->idle++) {
	case 0:
		shutdown(w->client, SHUT_WR);
		return true;
	case 1:
		world_hang_up(w);
		return true;
	default:
		return false;
	}
}

int
__wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct world *w = world;

	if (w == NULL)
		return __real_poll(fds, n, timeout);
	for (;;) {
		int ready = __real_poll(fds, n, 0);

		must(w->waits++ < MAX_WAITS);
		if (ready != 0)
			return ready;
		world_listen(w);
		world_replayd(w);
		if (w->turn(w))
			continue;
		if (wind_down(w))
			continue;
		/* Time passes; then nothing is left to wait for. */
		must(timeout >= 0);
		return 0;
	}
}

int
__wrap_sem_clockwait(sem_t *s, clockid_t clock, const struct timespec *t)
{
	(void)clock;
	(void)t;
	if (world == NULL)
		return __real_sem_clockwait(s, clock, t);
	must(world->waits++ < MAX_WAITS);
	world_replayd(world);
	errno = ETIMEDOUT;
	return sem_trywait(s) == 0 ? 0 : -1;
}

/* TRACE=1 in the environment shows the conversation. */
static void
trace(const char *who, const void *p, size_t n)
{
	const uint8_t *b = p;

	if (getenv("TRACE") == NULL)
		return;
	fprintf(stderr, "%s", who);
	for (size_t i = 0; i < n; i++)
		fprintf(
		    stderr, b[i] >= ' ' && b[i] < 0x7f ? "%c" : "\\%02x", b[i]);
	fputc('\n', stderr);
}

bool
world_send(int fd, const void *p, size_t n)
{
	if (n > 0 && world != NULL)
		trace(fd == world->client ? "client> " : "server> ", p, n);
	/* An empty packet would look like the end. */
	return n > 0 && fd >= 0 &&
	       send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n;
}

static void
listen_to(int fd, struct buf *b)
{
	static uint8_t bytes[256 * 1024];

	while (fd >= 0) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (n <= 0)
			return;
		trace(fd == world->client ? "     to client: "
					  : "     to server: ",
		    bytes, (size_t)n);
		buf_put(b, bytes, (size_t)n);
	}
}

void
world_listen(struct world *w)
{
	listen_to(w->client, &w->to_client);
	listen_to(w->server, &w->to_server);
}

/* procsig_init() but for the handlers: libFuzzer has its own. */
static void
open_signals(void)
{
	struct sigaction saved[32];

	if (procsig_fd() >= 0)
		return;
	for (int i = 1; i < 32; i++)
		(void)sigaction(i, NULL, &saved[i]);
	procsig_init();
	for (int i = 1; i < 32; i++)
		(void)sigaction(i, &saved[i], NULL);
}

/* Nothing of TLS is configured. */
static const struct tls_files *
no_tls(const struct config *off)
{
	static struct tls_files *files;
	char error[200];

	if (files == NULL)
		files = tls_files_load(off, error, sizeof(error));
	must(files != NULL);
	return files;
}

static const uint8_t auth_secret[32] = "known to the world";

void
world_open(struct world *w, struct session *s)
{
	int fd[4];

	log_set_level(LOG_FATAL_);
	open_signals();
	/* Each packet is what one recv() gives. */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fd) != 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fd + 2) != 0)
		abort();
	wire_open(&s->client, fd[0]);
	wire_open(&s->server, fd[2]);
	w->client = fd[1];
	w->server = fd[3];
	w->config.backend_host = nowhere;
	w->heritage.config = &w->config;
	w->heritage.tls = no_tls(&w->config);
	w->heritage.auth_secret = auth_secret;
	w->heritage.sessions = &w->slot;
	w->heritage.n_sessions = 1;
	s->heritage = &w->heritage;
	s->config = &w->config;
	s->client_addr = loopback;
	world = w;
}

void
world_open_queue(struct world *w,
    void (*take)(void *arg, const struct shmq_message *m), void *arg)
{
	w->queue = shmq_create(1, LANE_BYTES);
	if (w->queue == NULL || shmq_lane_take(w->queue) != 0 ||
	    !shmq_consume(w->queue))
		abort();
	w->heritage.queue = w->queue;
	w->take = take;
	w->take_arg = arg;
}

void
world_close(struct world *w, struct session *s)
{
	world = NULL;
	wire_close(&s->client);
	wire_close(&s->server);
	close(w->client);
	close(w->server);
	buf_free(&w->to_client);
	buf_free(&w->to_server);
	if (w->queue != NULL)
		shmq_detach(w->queue);
}
