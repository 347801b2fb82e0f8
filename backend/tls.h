/*
 * tls.h: TLS on one socket, under wire.c.
 *
 * Never blocks.  With tls_files.c the only user of OpenSSL's SSL in backend/.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_TLS_H
#define PGW_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "attr.h"
#include "tlsfiles.h"

struct tls;

/* Are clients, is the server, spoken to in TLS at all? */
bool tls_accepts(const struct tls_files *f);
bool tls_connects(const struct tls_files *f);

/* The handshake goes on with tls_recv().  host: the name we asked for. */
struct tls *tls_accept(const struct tls_files *f, int fd);
struct tls *tls_connect(const struct tls_files *f, int fd, const char *host);
/* libpq's, after its login: PQsslStruct(conn, "OpenSSL"); stays libpq's. */
struct tls *tls_adopt(void *ssl);
/* Says goodbye if the socket takes it at once. */
void tls_free(struct tls *t);

bool tls_established(const struct tls *t);

/*
 * As recv() and send() on a non-blocking socket.  EAGAIN: wait for what the
 * matching function below says.  EPROTO: see tls_error().
 */
ssize_t tls_recv(struct tls *t, void *p, size_t n);
ssize_t tls_send(struct tls *t, const void *p, size_t n);
bool tls_recv_wants_write(const struct tls *t);
bool tls_send_wants_read(const struct tls *t);
/* Something was read from the socket that tls_recv() has not given yet. */
bool tls_has_pending(const struct tls *t);
/* What ended it, "" if nothing did. */
const char *tls_error(const struct tls *t);

/* "TLSv1.3 TLS_AES_256_GCM_SHA384", for the log. */
void tls_describe(const struct tls *t, char *out, size_t size);

/* The client asked for PostgreSQL's protocol by its name (ALPN). */
bool tls_has_alpn(const struct tls *t);

/* The server's certificate is for host. */
bool tls_name_is(const struct tls *t, const char *host);
/* The server showed the certificate that we show to clients. */
bool tls_is_own_certificate(const struct tls_files *f, const struct tls *t);

/* tls-server-end-point data of our certificate (RFC 5929); 0: it has none. */
size_t tls_end_point(const struct tls_files *f, const unsigned char **data);

#endif
