/*
 * listen.c: the sockets that clients connect to.
 *
 * Owns the listening sockets, the unix socket's path and its lock file.  Never
 * accepts: children do.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ioutil.h"
#include "listen.h"
#include "log.h"
#include "mem.h"

static void
listen_add(struct listen_set *set, int fd)
{
	if (set->n == LISTEN_MAX)
		log_usage(
		    "more than %d addresses in listen_addresses", LISTEN_MAX);
	set->fds[set->n++] = fd;
}

/* -1 with errno. */
static int
listen_socket(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family,
	    ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
	int on = 1;
	int saved;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 &&
	    listen(fd, SOMAXCONN) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static void
listen_fail(const char *host, int port)
{
	if (errno == EADDRINUSE)
		log_usage("port %d on %s is in use; stop what listens there or "
			  "choose another port with -p",
		    port, host);
	log_usage("cannot listen on %s port %d: %m", host, port);
}

/* One entry of listen_addresses; host NULL: all. */
static void
listen_host(struct listen_set *set, const char *host, int port)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE,
		.ai_socktype = SOCK_STREAM };
	struct addrinfo *list, *ai;
	const char *name = host == NULL ? "*" : host;
	unsigned before = set->n;
	char service[16];
	int fd, rc;

	snprintf(service, sizeof(service), "%d", port);
	rc = getaddrinfo(host, service, &hints, &list);
	if (rc != 0)
		log_usage("cannot find address \"%s\" of listen_addresses: %s",
		    name, gai_strerror(rc));
	for (ai = list; ai != NULL; ai = ai->ai_next) {
		fd = listen_socket(ai);
		if (fd >= 0)
			listen_add(set, fd);
		else if (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL)
			listen_fail(name, port);
	}
	freeaddrinfo(list);
	/* A machine without IPv6 still has the other half of localhost. */
	if (set->n == before)
		listen_fail(name, port);
}

static void
listen_tcp(struct listen_set *set, const char *addresses, int port)
{
	char *copy = mem_strdup(addresses);
	char *rest = NULL;

	for (char *host = strtok_r(copy, ", \t", &rest); host != NULL;
	     host = strtok_r(NULL, ", \t", &rest))
		listen_host(set, strcmp(host, "*") == 0 ? NULL : host, port);
	free(copy);
}

/* As long as the lock is held, the socket beside it is not stale. */
static void
listen_lock_unix(struct listen_set *set)
{
	char pid[32];

	io_path(
	    set->lock_path, sizeof(set->lock_path), "%s.lock", set->unix_path);
	set->lock_fd = open(
	    set->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (set->lock_fd < 0)
		log_usage("cannot open \"%s\": %m", set->lock_path);
	if (flock(set->lock_fd, LOCK_EX | LOCK_NB) != 0)
		log_usage("\"%s\" is in use; choose another port or "
			  "unix_socket_directory",
		    set->unix_path);
	snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (ftruncate(set->lock_fd, 0) != 0 ||
	    !io_write_all(set->lock_fd, pid, strlen(pid)))
		log_usage("cannot write \"%s\": %m", set->lock_path);
}

static void
listen_unix(struct listen_set *set, const char *directory, int port)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct addrinfo ai = { .ai_family = AF_UNIX,
		.ai_socktype = SOCK_STREAM,
		.ai_addr = (struct sockaddr *)&addr,
		.ai_addrlen = sizeof(addr) };
	int fd;

	io_path(set->unix_path, sizeof(set->unix_path), "%s/.s.PGSQL.%d",
	    directory, port);
	if (strlen(set->unix_path) >= sizeof(addr.sun_path))
		log_usage("path \"%s\" is too long for a unix socket (%zu "
			  "bytes); choose a shorter unix_socket_directory",
		    set->unix_path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, set->unix_path, strlen(set->unix_path) + 1);
	listen_lock_unix(set);
	unlink(set->unix_path);
	fd = listen_socket(&ai);
	if (fd < 0 || chmod(set->unix_path, 0777) != 0)
		log_usage("cannot listen on \"%s\": %m", set->unix_path);
	listen_add(set, fd);
}

void
listen_open(const struct config *c, struct listen_set *set)
{
	memset(set, 0, sizeof(*set));
	set->lock_fd = -1;
	listen_tcp(set, c->listen_addresses, c->port);
	if (c->unix_socket_directory[0] != '\0')
		listen_unix(set, c->unix_socket_directory, c->port);
	if (set->n == 0)
		log_usage("nothing to listen on; see listen_addresses");
}

void
listen_close(struct listen_set *set)
{
	for (unsigned i = 0; i < set->n; i++)
		close(set->fds[i]);
	set->n = 0;
	if (set->lock_fd < 0)
		return;
	unlink(set->unix_path);
	unlink(set->lock_path);
	close(set->lock_fd);
	set->lock_fd = -1;
}
