/*
 * server.h: a PostgreSQL server of a C program's own, for replay_fixture.h and
 * replay_bench.c: superuser boss, no TCP, port 5432 of a socket in its base.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_TEST_SERVER_H
#define PGW_TEST_SERVER_H

#include <libpq-fe.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/types.h>

#include "../../replayd/program.h"
#include "ioutil.h"

/* Makes BASE/server and starts it; what it says is in BASE/server.log.  0 or
 * less: it could not be. */
static pid_t
server_start(const char *base)
{
	char data[PATH_MAX], log_path[PATH_MAX], sockets[PATH_MAX];
	const char *initdb[] = { "initdb", "-D", data, "-U", "boss", "-E",
		"UTF8", "--locale=C", "--no-sync", "-A", "trust", NULL };
	const char *postgres[] = { "postgres", "-D", data, "-c", sockets, "-c",
		"listen_addresses=", "-c", "port=5432", "-c", "fsync=off",
		NULL };
	struct program p = {
		.argv = initdb, .err = log_path, .death_signal = SIGQUIT
	};

	io_path(data, sizeof(data), "%s/server", base);
	io_path(log_path, sizeof(log_path), "%s/server.log", base);
	io_path(sockets, sizeof(sockets), "unix_socket_directories=%s", base);
	if (program_run(&p) != 0)
		return 0;
	p.argv = postgres;
	return program_start(&p);
}

/*
 * A connection as soon as it takes one, to be ended with PQfinish(); one that
 * is not CONNECTION_OK if it has ended.  more: of the connection string.
 */
static PGconn *
server_connect(const char *base, pid_t pid, const char *more)
{
	char conninfo[PATH_MAX + 256];
	PGconn *conn = NULL;

	snprintf(conninfo, sizeof(conninfo),
	    "host=%s port=5432 user=boss dbname=postgres client_encoding=UTF8"
	    " %s",
	    base, more);
	do {
		PQfinish(conn);
		conn = PQconnectdb(conninfo);
	} while (PQstatus(conn) != CONNECTION_OK && !program_gone(pid, 20));
	return conn;
}

#endif
