/*
 * backend.c: the life of a child: wait for a client, admit it, relay, exit.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth.h"
#include "catalog.h"
#include "connect.h"
#include "heritage.h"
#include "ioutil.h"
#include "libpq.h"
#include "log.h"
#include "mem.h"
#include "pipeline.h"
#include "portal.h"
#include "procsig.h"
#include "relay.h"
#include "sandbox.h"
#include "server.h"
#include "session.h"
#include "startup.h"
#include "txn.h"

static void
start_process(const struct heritage *h)
{
	struct session_slot *slot = &h->sessions[h->lane];

	procsig_catch(SIGTERM);
	procsig_catch(SIGINT);
	procsig_catch(SIGHUP);
	procsig_catch(SIGUSR1);
	atomic_store(&slot->server_pid, 0);
	atomic_store(&slot->cancel_key, 0);
	atomic_store(&slot->pid, (int32_t)getpid());
}

/* True: the child is to end without having served anyone. */
static bool
told_to_end(void)
{
	procsig_drain();
	return procsig_pending(SIGTERM) || procsig_pending(SIGINT);
}

static void
watch(int waiter, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };

	if (epoll_ctl(waiter, EPOLL_CTL_ADD, fd, &e) != 0)
		log_fatal("epoll", "epoll_ctl: %s", strerror(errno));
}

/*
 * Several children wait on the same sockets: a client wakes one of them, where
 * poll() would wake all.  If that one ends instead, the child that is forked in
 * its place finds the client.
 */
static int
open_waiter(const struct heritage *h)
{
	int waiter = epoll_create1(EPOLL_CLOEXEC);

	if (waiter < 0)
		log_fatal("epoll", "epoll_create1: %s", strerror(errno));
	for (unsigned i = 0; i < h->n_listen_fds; i++)
		watch(waiter, h->listen_fds[i], EPOLLIN | EPOLLEXCLUSIVE);
	watch(waiter, procsig_fd(), EPOLLIN);
	return waiter;
}

/* -1: told to end. */
static int
wait_for_client(const struct heritage *h)
{
	int waiter = open_waiter(h), fd = -1;

	while (fd < 0 && !told_to_end()) {
		struct epoll_event e;
		int n = epoll_wait(waiter, &e, 1, -1);

		if (n < 0 && errno != EINTR)
			log_fatal("epoll", "epoll_wait: %s", strerror(errno));
		/* Another child may have been faster. */
		if (n > 0 && e.data.fd != procsig_fd())
			fd = accept4(e.data.fd, NULL, NULL,
			    SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	close(waiter);
	return fd;
}

static void
report_accepted(const struct heritage *h)
{
	uint32_t lane = h->lane;

	atomic_store(&h->sessions[h->lane].state, SESSION_BUSY);
	if (!io_write_all(h->accepted_fd, &lane, sizeof(lane)))
		exit(1); /* the postmaster is gone */
	close(h->accepted_fd);
	for (unsigned i = 0; i < h->n_listen_fds; i++)
		close(h->listen_fds[i]);
}

static bool
too_many(const struct heritage *h)
{
	int busy = 0;

	for (unsigned i = 0; i < h->n_sessions; i++)
		if (atomic_load(&h->sessions[i].state) == SESSION_BUSY)
			busy++;
	return busy > h->config->max_connections;
}

static char *
peer_address(int fd)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	char host[NI_MAXHOST] = "local";
	int on = 1;
	char *copy;

	if (getpeername(fd, (struct sockaddr *)&a, &len) == 0 &&
	    a.ss_family != AF_UNIX) {
		(void)getnameinfo((struct sockaddr *)&a, len, host,
		    sizeof(host), NULL, 0, NI_NUMERICHOST);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	}
	copy = mem_strdup(host);
	return copy;
}

/* Reaches the server; false: the client has been told why not. */
static bool
reach_server(struct session *s)
{
	if (s->config->auth_method != AUTH_PASSTHROUGH) {
		startup_negotiate(s, &s->startup);
		if (!auth_client(s) || !server_login(s, &s->startup))
			return false;
		s->deadline_us = 0;
		return true;
	}
	return connect_server(s, &s->startup);
}

/* A server behind a unix socket has no name that must be looked up. */
static void
give_up_files(const struct session *s)
{
	sandbox_enter(s->config->backend_host[0] != '/');
}

/*
 * Before the first byte of a client: no other's lane, and no files.  Where the
 * proxy itself admits clients, files are needed until then (serve()).
 */
static void
give_up_rights(struct session *s)
{
	s->producer = shmq_producer_open(s->heritage->queue, s->heritage->lane);
	if (s->producer == NULL)
		log_fatal("lane", "cannot open the lane: %s", strerror(errno));
	if (s->config->auth_method == AUTH_PASSTHROUGH)
		give_up_files(s);
}

static void
prepare(struct session *s)
{
	s->client.fd = s->server.fd = -1;
	s->analyzer = analyzer_new((size_t)s->config->max_parse_bytes);
	s->catalog = catalog_new((size_t)s->config->max_parse_bytes);
	s->txn = txn_new((size_t)s->config->max_capture_bytes);
	s->pipeline = pipeline_new();
	s->portals = portals_new();
}

static void
serve(struct session *s)
{
	s->deadline_us = io_monotonic_us() +
			 s->config->authentication_timeout * 1000;
	if (!startup_read(s, &s->startup))
		return;
	log_debug(
	    "startup", "user \"%s\", database \"%s\"", s->user, s->database);
	if (too_many(s->heritage)) {
		session_fatal(
		    s, "53300", "sorry, too many clients already", NULL);
		return;
	}
	if (!reach_server(s))
		return;
	/* libpq has read its files. */
	if (s->config->auth_method != AUTH_PASSTHROUGH)
		give_up_files(s);
	s->bare = s->replication || !s->config->enable_capture;
	if (s->replication)
		log_warning("replication",
		    "a physical replication "
		    "connection passes through; it carries no SQL");
	session_use_edges(s);
	relay_run(s);
	portals_free(s->portals);
	pipeline_free(s->pipeline);
}

void
backend_main(const struct heritage *h)
{
	struct session s = { .heritage = h, .config = h->config };
	int fd;

	/* What can be done before there is a client does not delay it. */
	start_process(h);
	give_up_rights(&s);
	prepare(&s);
	fd = wait_for_client(h);
	if (fd < 0)
		_exit(0);
	report_accepted(h);
	wire_open(&s.client, fd);
	s.client_addr = peer_address(fd);
	log_set_client(s.client_addr);
	serve(&s);
	if (s.login != NULL) {
		s.server.fd = -1; /* libpq closes it */
		libpq()->PQfinish(s.login);
	}
	wire_close(&s.server);
	wire_close(&s.client);
	/* Nothing is left to flush, and tidying up after all libraries is dear. */
	_exit(0);
}
