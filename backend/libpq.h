/*
 * libpq.h: libpq, loaded where the proxy itself logs in.
 *
 * It brings two dozen libraries (LDAP, Kerberos, GnuTLS), which make each fork
 * and each end of a process three times as dear; children that relay the
 * server's authentication never need it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_LIBPQ_H
#define PGW_LIBPQ_H

#include <libpq-fe.h>

#define LIBPQ_FUNCTIONS(_)                                                   \
	_(PQconnectStartParams)                                              \
	_(PQconnectPoll)                                                     \
	_(PQsetErrorVerbosity)                                               \
	_(PQstatus)                                                          \
	_(PQsocket)                                                          \
	_(PQparameterStatus)                                                 \
	_(PQbackendPID)                                                      \
	_(PQerrorMessage)                                                    \
	_(PQsslStruct)                                                       \
	_(PQgetCancel)                                                       \
	_(PQcancel)                                                          \
	_(PQfinish)

#define LIBPQ_MEMBER(name) __typeof__(&(name)) name;
struct libpq {
	LIBPQ_FUNCTIONS(LIBPQ_MEMBER)
};

/* Ends the process if it cannot be loaded. */
const struct libpq *libpq(void);

#endif
