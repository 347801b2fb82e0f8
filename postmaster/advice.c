/*
 * advice.c: what a configuration allows, but is seldom meant.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "advice.h"

#include <sys/stat.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

static bool
is_loopback(const char *host)
{
	return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
	       strcmp(host, "localhost") == 0;
}

/* The first of listen_addresses that other machines reach. */
static bool
listens_outside(const struct config *c, char *out, size_t size)
{
	char *copy = strdup(c->listen_addresses);
	char *rest = NULL;
	char *host = copy == NULL ? NULL : strtok_r(copy, ", \t", &rest);

	while (host != NULL && is_loopback(host))
		host = strtok_r(NULL, ", \t", &rest);
	if (host != NULL)
		snprintf(out, size, "%s", host);
	free(copy);
	return host != NULL;
}

static void
warn_method(const struct config *c)
{
	char host[256];

	if (!listens_outside(c, host, sizeof(host)))
		return;
	if (c->auth_method == AUTH_TRUST)
		log_warning("trust_from_outside",
		    "auth_method = trust admits anybody who reaches %s; use "
		    "passthrough or scram-sha-256",
		    host);
	if (c->auth_method == AUTH_PASSWORD && c->ssl != SSL_REQUIRE)
		log_warning("password_in_clear",
		    "auth_method = password without ssl = require: passwords "
		    "reach %s as they are",
		    host);
}

static bool
others_may_read(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && (st.st_mode & 077) != 0;
}

static void
warn_password_readable(const struct config *c)
{
	if ((c->backend_password[0] != '\0' ||
		c->verification_password[0] != '\0') &&
	    others_may_read(c->file))
		log_warning("password_readable",
		    "\"%s\" holds a password and others may read it; "
		    "chmod 0600 it or use passfile",
		    c->file);
}

static void
warn_auth_file(const struct config *c)
{
	if (c->auth_method < AUTH_PASSWORD)
		return;
	if (access(c->auth_file, R_OK) != 0)
		log_warning("auth_file",
		    "cannot read auth_file \"%s\": %m; nobody can log in",
		    c->auth_file);
	else if (others_may_read(c->auth_file))
		log_warning("auth_file",
		    "others may read auth_file \"%s\"; chmod 0600 it",
		    c->auth_file);
}

/*
 * With TLS on both legs SCRAM binds itself to the server's certificate, and a
 * client that sees another one refuses (RFC 5929).
 */
static void
warn_channel_binding(const struct config *c, const struct tls_files *tls)
{
	if (c->ssl == SSL_OFF || c->auth_method != AUTH_PASSTHROUGH ||
	    c->backend_sslmode == SSLMODE_DISABLE || c->backend_host[0] == '/')
		return;
	log_warning("channel_binding",
	    "TLS to clients and to the server: SCRAM with channel binding "
	    "works only if ssl_cert_file is the server's own certificate%s; "
	    "else clients need channel_binding=disable, or set auth_method = "
	    "scram-sha-256 or [backend] sslmode = disable",
	    tls_files_may_be_servers(tls, c)
		? ""
		: ", which it is not by sslrootcert and host");
}

/* libpq passes over such a file without a word in the log. */
static void
warn_passfile(const char *key, const char *path)
{
	if (path[0] == '\0')
		return;
	if (access(path, R_OK) != 0)
		log_warning("passfile",
		    "cannot read %s \"%s\": %m; logins go without a password",
		    key, path);
	else if (others_may_read(path))
		log_warning("passfile",
		    "others may read %s \"%s\", so it is ignored; chmod 0600 it",
		    key, path);
}

static void
warn_log_directory(const struct config *c)
{
	char path[PATH_MAX];

	config_log_path(c, "", path, sizeof(path));
	if (access(path, W_OK | X_OK) != 0)
		log_warning("log_directory",
		    "cannot write to [log] directory \"%s\": %m",
		    c->log_directory);
}

void
advice_give(const struct config *c, const struct tls_files *tls)
{
	if (!c->enable_capture)
		log_warning("capture_off",
		    "enable_capture is off: nothing is recorded");
	if (c->enable_verification && c->backend_user[0] == '\0')
		log_warning("no_witness_role",
		    "no user in [backend]: records are kept, but there will "
		    "be no verdicts (unverifiable: no_witness_role)");
	warn_method(c);
	warn_auth_file(c);
	warn_channel_binding(c, tls);
	warn_password_readable(c);
	warn_passfile("[backend] passfile", c->backend_passfile);
	warn_passfile("[backend] client_passfile", c->backend_client_passfile);
	warn_passfile("[verification] passfile", c->verification_passfile);
	warn_log_directory(c);
}
