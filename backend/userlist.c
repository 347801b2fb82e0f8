/*
 * userlist.c: the secrets of [proxy] auth_file.
 *
 * Lines  "user" "secret"  as PgBouncer's; a doubled quote inside is one quote,
 * what follows the secret is ignored, '#' or ';' begins a comment line.  Read
 * at each login, so that a change acts at once, and always to its end, so that
 * the time tells nothing about where a user stands.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "userlist.h"

#include <openssl/crypto.h>
#include <string.h>

#include "buf.h"
#include "ioutil.h"
#include "log.h"

#define MAX_FILE ((size_t)4 * 1024 * 1024)
#define MAX_NAME 256

/* A quoted string at *p into out; moves *p behind it. */
static bool
quoted(const char **p, char *out, size_t size)
{
	size_t n = 0;

	*p += strspn(*p, " \t");
	if (**p != '"')
		return false;
	for (++*p; **p != '\0'; ++*p) {
		if (**p == '"' && *++*p != '"') {
			out[n] = '\0';
			return true;
		}
		if (n + 1 >= size)
			return false;
		out[n++] = **p;
	}
	return false;
}

/* One line; the first entry of a user counts. */
static void
take_line(const char *line, const char *user, struct userlist_entry *out,
    bool *like_found)
{
	char name[MAX_NAME], secret[USERLIST_MAX_SECRET];

	if (!quoted(&line, name, sizeof(name)) ||
	    !quoted(&line, secret, sizeof(secret)))
		return;
	if (!*like_found)
		*like_found = scram_parse(secret, &out->like);
	if (strcmp(name, user) == 0 && !out->known) {
		out->known = true;
		memcpy(out->secret, secret, strlen(secret) + 1);
	}
	OPENSSL_cleanse(secret, sizeof(secret));
}

void
userlist_search(char *text, const char *user, struct userlist_entry *out)
{
	static const struct scram_secret usual = {
		.iterations = SCRAM_ITERATIONS, .salt_len = SCRAM_SALT_BYTES
	};
	bool like_found = false;
	char *line;

	memset(out, 0, sizeof(*out));
	while ((line = strsep(&text, "\r\n")) != NULL)
		take_line(line, user, out, &like_found);
	if (!like_found)
		out->like = usual;
}

bool
userlist_find(const char *path, const char *user, struct userlist_entry *out)
{
	struct buf text = { 0 };
	bool ok = io_read_file(path, &text, MAX_FILE);

	if (!ok)
		log_error(
		    "auth_file", "cannot read auth_file \"%s\": %m", path);
	buf_put_u8(&text, 0);
	userlist_search((char *)text.data, user, out);
	OPENSSL_cleanse(text.data, text.len);
	buf_free(&text);
	return ok;
}
