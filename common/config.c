/*
 * config.c: the table that is the configuration, and what reads it.
 *
 * The only user of libinih.  A file is wrong as a whole or right as a whole:
 * config_load() gives an effective configuration or the first error, never
 * half of one.  Keeps no state between calls.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "config.h"
#include "ioutil.h"

#define LINE_MAX_BYTES 8192
#define WORD_MAX_BYTES 64 /* longer words have no nearest key */
#define NO_FIELD SIZE_MAX /* a key with only one value now */

enum setting_type {
	SETTING_STRING,
	SETTING_SECRET, /* a string that is not printed */
	SETTING_PATH,   /* relative to the data directory */
	SETTING_INT,
	SETTING_BOOL,
	SETTING_TIME, /* ms */
	SETTING_BYTES,
	SETTING_ENUM
};

struct setting {
	const char *section;
	const char *key;
	enum setting_type type;
	const char *initial;
	int64_t min;
	int64_t max;
	const char *values[7]; /* of an enum, in its order; NULL ends them */
	size_t offset;
};

struct unit {
	const char *name;
	int64_t factor;
};

/* Largest first, as config_print() chooses the first that divides. */
static const struct unit time_units[] = { { "d", 86400000 }, { "h", 3600000 },
	{ "min", 60000 }, { "s", 1000 }, { "ms", 1 }, { NULL, 0 } };
static const struct unit byte_units[] = { { "TB", INT64_C(1) << 40 },
	{ "GB", INT64_C(1) << 30 }, { "MB", INT64_C(1) << 20 },
	{ "kB", INT64_C(1) << 10 }, { "B", 1 }, { NULL, 0 } };

#define KB INT64_C(1024)
#define MB (KB * 1024)
#define GB (MB * 1024)
#define SECOND INT64_C(1000)
#define DAY (86400 * SECOND)

#define AT(field) offsetof(struct config, field)
#define TEXT(s, k, d, f) \
	{ \
		s, k, SETTING_STRING, d, 0, 0, { NULL }, AT(f) \
	}
#define SECRET(s, k, f) \
	{ \
		s, k, SETTING_SECRET, "", 0, 0, { NULL }, AT(f) \
	}
#define PATH(s, k, f) \
	{ \
		s, k, SETTING_PATH, "", 0, 0, { NULL }, AT(f) \
	}
#define INT(s, k, d, lo, hi, f) \
	{ \
		s, k, SETTING_INT, d, lo, hi, { NULL }, AT(f) \
	}
#define BOOL(s, k, d, f) \
	{ \
		s, k, SETTING_BOOL, d, 0, 0, { NULL }, AT(f) \
	}
#define TIME(s, k, d, lo, hi, f) \
	{ \
		s, k, SETTING_TIME, d, lo, hi, { NULL }, AT(f) \
	}
#define BYTES(s, k, d, lo, hi, f) \
	{ \
		s, k, SETTING_BYTES, d, lo, hi, { NULL }, AT(f) \
	}
#define ENUM(s, k, d, f, ...) \
	{ \
		s, k, SETTING_ENUM, d, 0, 0, { __VA_ARGS__, NULL }, f \
	}

/* In the order of enum sslmode. */
#define SSLMODE_WORDS \
	"disable", "allow", "prefer", "require", "verify-ca", "verify-full"

/* clang-format off: a table */
static const struct setting settings[] = {
	TEXT("proxy", "listen_addresses", "127.0.0.1", listen_addresses),
	INT("proxy", "port", "6432", 1, 65535, port),
	PATH("proxy", "unix_socket_directory", unix_socket_directory),
	INT("proxy", "max_connections", "100", 1, 10000, max_connections),
	INT("proxy", "spare_children", "4", 1, 100, spare_children),
	ENUM("proxy", "auth_method", "passthrough", AT(auth_method),
	    "passthrough", "trust", "password", "scram-sha-256"),
	PATH("proxy", "auth_file", auth_file),
	ENUM("proxy", "ssl", "off", AT(ssl), "off", "on", "require"),
	PATH("proxy", "ssl_cert_file", ssl_cert_file),
	PATH("proxy", "ssl_key_file", ssl_key_file),
	PATH("proxy", "ssl_ca_file", ssl_ca_file),
	TIME("proxy", "authentication_timeout", "60s", SECOND, 600 * SECOND,
	    authentication_timeout),
	TIME("proxy", "client_idle_timeout", "0", 0, 24 * DAY,
	    client_idle_timeout),
	BYTES("proxy", "max_parse_bytes", "1MB", KB, 64 * MB, max_parse_bytes),

	TEXT("backend", "host", "127.0.0.1", backend_host),
	INT("backend", "port", "5432", 1, 65535, backend_port),
	TEXT("backend", "dbname", "postgres", backend_dbname),
	TEXT("backend", "user", "", backend_user),
	SECRET("backend", "password", backend_password),
	PATH("backend", "passfile", backend_passfile),
	TEXT("backend", "client_user", "", backend_client_user),
	PATH("backend", "client_passfile", backend_client_passfile),
	ENUM("backend", "sslmode", "prefer", AT(backend_sslmode),
	    SSLMODE_WORDS),
	PATH("backend", "sslrootcert", backend_sslrootcert),
	PATH("backend", "sslcrl", backend_sslcrl),
	PATH("backend", "sslcert", backend_sslcert),
	PATH("backend", "sslkey", backend_sslkey),

	ENUM("verification", "mode", "embedded", AT(verification_mode),
	    "embedded", "external"),
	TEXT("verification", "host", "", verification_host),
	INT("verification", "port", "5432", 1, 65535, verification_port),
	TEXT("verification", "user", "", verification_user),
	SECRET("verification", "password", verification_password),
	PATH("verification", "passfile", verification_passfile),
	TEXT("verification", "dbname", "postgres", verification_dbname),

	INT("replay", "workers", "2", 1, 64, replay_workers),
	BYTES("replay", "queue_bytes", "64MB", MB, 64 * GB, queue_bytes),
	TIME("replay", "statement_timeout", "30s", 100, DAY, statement_timeout),

	ENUM("evidence", "commit", "before_commit", AT(commit), "before_commit",
	    "before_ack", "async"),
	TIME("evidence", "checkpoint_interval", "1s", 10, DAY,
	    checkpoint_interval),
	TEXT("evidence", "checkpoint_command", "", checkpoint_command),
	TEXT("evidence", "origin", "", origin),
	BYTES("evidence", "spool_max_bytes", "10GB", 128 * MB, 1024 * GB * KB,
	    spool_max_bytes),
	ENUM("evidence", "on_spool_full", "wait", AT(on_spool_full), "wait",
	    "reject"),
	ENUM("evidence", "keep_payload", "mismatches", AT(keep_payload),
	    "mismatches", "all", "none"),

	ENUM("log", "level", "info", AT(log_level), "debug", "info", "warning",
	    "error"),
	ENUM("log", "format", "json", NO_FIELD, "json"),
	TEXT("log", "directory", "log", log_directory),
	BYTES(
	    "log", "rotate_size", "100MB", 64 * KB, 1024 * GB, log_rotate_size),
	BOOL("log", "row_data", "off", log_row_data),
	ENUM("log", "statements", "text", AT(log_statements), "text",
	    "normalized"),

	BOOL("features", "enable_capture", "on", enable_capture),
	BOOL("features", "enable_verification", "on", enable_verification),
	BOOL("features", "log_non_deterministic_warnings", "on",
	    log_non_deterministic_warnings),
	ENUM("features", "on_capture_failure", "forward",
	    AT(on_capture_failure), "forward", "reject"),
	ENUM("features", "on_unverifiable", "forward", AT(on_unverifiable),
	    "forward", "reject"),
	BYTES("features", "max_capture_bytes", "256MB", 64 * KB, 64 * GB,
	    max_capture_bytes),
};
/* clang-format on */
#define N_SETTINGS (sizeof(settings) / sizeof(settings[0]))

/* One reading of one file. */
struct loader {
	struct config *config;
	FILE *file;
	int line;               /* of the line that was read last */
	int set_in[N_SETTINGS]; /* line in which each key was set, or 0 */
	int error_line;         /* of the first error, or 0 */
	char *error;
	size_t error_size;
};

static void *
config_field(const struct config *c, const struct setting *s)
{
	return (char *)(uintptr_t)c + s->offset;
}

PGW_PRINTF(3, 4)
static void
config_fail(struct loader *l, int line, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (l->error_line != 0 && l->error_line <= line)
		return;
	l->error_line = line;
	n = snprintf(l->error, l->error_size, "%s:%d: ", l->config->file, line);
	if (n < 0 || (size_t)n >= l->error_size)
		return;
	va_start(ap, fmt);
	vsnprintf(l->error + n, l->error_size - (size_t)n, fmt, ap);
	va_end(ap);
}

static size_t
min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Levenshtein's distance of two words, row by row. */
static size_t
edit_distance(const char *a, const char *b)
{
	size_t row[WORD_MAX_BYTES + 1];
	size_t n = strlen(b);

	if (strlen(a) > WORD_MAX_BYTES || n > WORD_MAX_BYTES)
		return SIZE_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 0; a[i] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < n; j++) {
			size_t change = diagonal + (a[i] != b[j]);

			diagonal = row[j + 1];
			row[j + 1] = min_size(
			    change, min_size(row[j], row[j + 1]) + 1);
		}
	}
	return row[n];
}

/* The nearest key in section, or the nearest section (section NULL). */
static const char *
nearest_word(const char *section, const char *word)
{
	const char *nearest = NULL;
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < N_SETTINGS; i++) {
		const struct setting *s = &settings[i];
		const char *known = section == NULL ? s->section : s->key;
		size_t distance = edit_distance(word, known);

		if (section != NULL && strcmp(section, s->section) != 0)
			continue;
		if (distance < best) {
			best = distance;
			nearest = known;
		}
	}
	return nearest == NULL ? settings[0].section : nearest;
}

/* NULL section: in any. */
static const struct setting *
find_setting(const char *section, const char *key)
{
	for (size_t i = 0; i < N_SETTINGS; i++)
		if ((section == NULL ||
			strcmp(section, settings[i].section) == 0) &&
		    strcmp(key, settings[i].key) == 0)
			return &settings[i];
	return NULL;
}

static bool
is_section(const char *section)
{
	for (size_t i = 0; i < N_SETTINGS; i++)
		if (strcmp(section, settings[i].section) == 0)
			return true;
	return false;
}

static void
fail_unknown(struct loader *l, const char *section, const char *key)
{
	const struct setting *other = find_setting(NULL, key);

	if (section[0] == '\0')
		config_fail(l, l->line,
		    "\"%s\" stands before any section; put a line like "
		    "[%s] before it",
		    key, other == NULL ? "proxy" : other->section);
	else if (!is_section(section))
		config_fail(l, l->line,
		    "unknown section [%s]; did you mean [%s]?", section,
		    nearest_word(NULL, section));
	else if (other != NULL)
		config_fail(l, l->line,
		    "unknown key \"%s\" in [%s]; it belongs to [%s]", key,
		    section, other->section);
	else
		config_fail(l, l->line,
		    "unknown key \"%s\" in [%s]; did you mean \"%s\"?", key,
		    section, nearest_word(section, key));
}

/* --- values --- */

static bool
set_string(char **field, const char *value)
{
	char *copy = strdup(value);

	if (copy == NULL)
		return false;
	free(*field);
	*field = copy;
	return true;
}

static bool
set_path(const struct config *c, char **field, const char *value)
{
	char path[PATH_MAX];

	if (value[0] == '\0' || value[0] == '/')
		return set_string(field, value);
	if (strlen(c->data_dir) + strlen(value) + 2 > sizeof(path))
		return false;
	io_path(path, sizeof(path), "%s/%s", c->data_dir, value);
	return set_string(field, path);
}

static bool
parse_bool(const char *value, bool *result)
{
	static const char *const on[] = { "on", "true", "yes" };
	static const char *const off[] = { "off", "false", "no" };

	for (size_t i = 0; i < 3; i++) {
		if (strcmp(value, on[i]) == 0 || strcmp(value, off[i]) == 0) {
			*result = strcmp(value, on[i]) == 0;
			return true;
		}
	}
	return false;
}

static bool
parse_enum(const struct setting *s, const char *value, int *result)
{
	for (int i = 0; s->values[i] != NULL; i++) {
		if (strcmp(value, s->values[i]) == 0) {
			*result = i;
			return true;
		}
	}
	return false;
}

static const struct unit *
setting_units(const struct setting *s)
{
	static const struct unit none[] = { { NULL, 0 } };

	if (s->type == SETTING_TIME)
		return time_units;
	return s->type == SETTING_BYTES ? byte_units : none;
}

/* 0 if name is no unit of the setting; a time must have one unless it is 0. */
static int64_t
unit_factor(const struct setting *s, int64_t number, const char *name)
{
	if (name[0] == '\0')
		return s->type == SETTING_TIME && number != 0 ? 0 : 1;
	for (const struct unit *u = setting_units(s); u->name != NULL; u++)
		if (strcmp(name, u->name) == 0)
			return u->factor;
	return 0;
}

static bool
parse_number(const struct setting *s, const char *value, int64_t *result)
{
	char *end;
	intmax_t number;
	int64_t factor;

	errno = 0;
	number = strtoimax(value, &end, 10);
	if (errno != 0 || end == value)
		return false;
	while (*end == ' ')
		end++;
	factor = unit_factor(s, number, end);
	return factor != 0 && !__builtin_mul_overflow(number, factor, result);
}

/* Writes a number with the largest unit that divides it. */
static void
format_number(const struct setting *s, int64_t number, char *out, size_t size)
{
	const struct unit *u = setting_units(s);

	while (number != 0 && u->name != NULL && number % u->factor != 0)
		u++;
	if (number == 0 || u->name == NULL)
		snprintf(out, size, "%" PRId64, number);
	else
		snprintf(
		    out, size, "%" PRId64 "%s", number / u->factor, u->name);
}

static bool
set_number(struct loader *l, const struct setting *s, const char *value)
{
	const char *units = s->type == SETTING_TIME ? " with ms, s, min, h or d"
			    : s->type == SETTING_BYTES
				? " with B, kB, MB, GB or TB"
				: "";
	void *field = config_field(l->config, s);
	char low[32], high[32];
	int64_t number;

	if (!parse_number(s, value, &number)) {
		config_fail(l, l->line,
		    "\"%s\" is not a value for %s; give a whole number%s",
		    value, s->key, units);
		return false;
	}
	if (number < s->min || number > s->max) {
		format_number(s, s->min, low, sizeof(low));
		format_number(s, s->max, high, sizeof(high));
		config_fail(l, l->line,
		    "%s is outside the range of %s; give %s to %s", value,
		    s->key, low, high);
		return false;
	}
	if (s->type == SETTING_INT)
		*(int *)field = (int)number;
	else
		*(int64_t *)field = number;
	return true;
}

static bool
set_enum(struct loader *l, const struct setting *s, const char *value)
{
	char known[128] = "";
	int result;

	if (parse_enum(s, value, &result)) {
		if (s->offset != NO_FIELD)
			*(int *)config_field(l->config, s) = result;
		return true;
	}
	for (int i = 0; s->values[i] != NULL; i++) {
		size_t n = strlen(known);

		snprintf(known + n, sizeof(known) - n, "%s%s",
		    i == 0 ? "" : ", ", s->values[i]);
	}
	config_fail(l, l->line, "\"%s\" is not a value for %s; known: %s",
	    value, s->key, known);
	return false;
}

static bool
set_text(struct loader *l, const struct setting *s, const char *value)
{
	char **field = config_field(l->config, s);
	bool ok = s->type == SETTING_PATH ? set_path(l->config, field, value)
					  : set_string(field, value);

	if (!ok)
		config_fail(l, l->line, "the value of %s is too long", s->key);
	return ok;
}

static bool
set_value(struct loader *l, const struct setting *s, const char *value)
{
	switch (s->type) {
	case SETTING_STRING:
	case SETTING_SECRET:
	case SETTING_PATH:
		return set_text(l, s, value);
	case SETTING_INT:
	case SETTING_TIME:
	case SETTING_BYTES:
		return set_number(l, s, value);
	case SETTING_ENUM:
		return set_enum(l, s, value);
	case SETTING_BOOL:
		break;
	}
	if (parse_bool(value, config_field(l->config, s)))
		return true;
	config_fail(l, l->line, "\"%s\" is not a value for %s; give on or off",
	    value, s->key);
	return false;
}

/* --- reading the file --- */

/* ini_reader: as fgets(), but counts lines and refuses what does not fit. */
static char *
read_line(char *str, int num, void *stream)
{
	struct loader *l = stream;
	size_t n;

	if (fgets(str, num, l->file) == NULL)
		return NULL;
	l->line++;
	n = strlen(str);
	if (n > 0 && str[n - 1] != '\n' && !feof(l->file)) {
		config_fail(l, l->line, "line is longer than %d bytes",
		    LINE_MAX_BYTES - 2);
		return NULL;
	}
	return str;
}

/* ini_handler: 1 to go on, 0 for an error. */
static int
take_line(void *user, const char *section, const char *key, const char *value)
{
	struct loader *l = user;
	const struct setting *s = find_setting(section, key);
	int *set_in;

	if (s == NULL) {
		fail_unknown(l, section, key);
		return 0;
	}
	set_in = &l->set_in[s - settings];
	if (*set_in != 0) {
		config_fail(l, l->line,
		    "\"%s\" in [%s] was set before, in line %d; remove one",
		    key, section, *set_in);
		return 0;
	}
	*set_in = l->line;
	return set_value(l, s, value);
}

static bool
read_lines(struct loader *l)
{
	int first_bad;

	ini_use_stack = false;
	ini_allow_realloc = false;
	ini_max_line = LINE_MAX_BYTES;
	ini_initial_alloc = LINE_MAX_BYTES;
	ini_allow_multiline = false;
	ini_stop_on_first_error = true;
	first_bad = ini_parse_stream(read_line, l, take_line, l);
	if (first_bad != 0)
		config_fail(l, first_bad > 0 ? first_bad : l->line,
		    "not a [section], not \"key = value\", not a # comment");
	return l->error_line == 0;
}

static bool
read_config_file(struct loader *l)
{
	bool ok;

	l->file = fopen(l->config->file, "re");
	if (l->file == NULL) {
		snprintf(l->error, l->error_size,
		    errno == ENOENT ? "%s: cannot read: %m; make it with "
				      "pgwitness --init -D %s"
				    : "%s: cannot read: %m",
		    l->config->file, l->config->data_dir);
		return false;
	}
	ok = read_lines(l);
	if (ok && ferror(l->file)) {
		snprintf(l->error, l->error_size, "%s: cannot read: %m",
		    l->config->file);
		ok = false;
	}
	fclose(l->file);
	return ok;
}

/* The line in which a key was set; 1 where the default stands. */
static int
line_of(const struct loader *l, const char *section, const char *key)
{
	int line = l->set_in[find_setting(section, key) - settings];

	return line == 0 ? 1 : line;
}

static bool
check_together(struct loader *l)
{
	const struct config *c = l->config;

	if (c->auth_method >= AUTH_PASSWORD && c->auth_file[0] == '\0')
		config_fail(l, line_of(l, "proxy", "auth_method"),
		    "auth_method = %s needs auth_file in [proxy]",
		    c->auth_method == AUTH_PASSWORD ? "password"
						    : "scram-sha-256");
	if (c->ssl != SSL_OFF &&
	    (c->ssl_cert_file[0] == '\0' || c->ssl_key_file[0] == '\0'))
		config_fail(l, line_of(l, "proxy", "ssl"),
		    "ssl needs ssl_cert_file and ssl_key_file in [proxy]");
	if (c->verification_mode == VERIFICATION_EXTERNAL &&
	    c->verification_host[0] == '\0')
		config_fail(l, line_of(l, "verification", "mode"),
		    "mode = external needs host in [verification]");
	if (c->verification_mode == VERIFICATION_EXTERNAL &&
	    c->verification_user[0] == '\0')
		config_fail(l, line_of(l, "verification", "mode"),
		    "mode = external needs user in [verification]");
	if (c->verification_mode == VERIFICATION_EXTERNAL &&
	    c->verification_port == c->backend_port &&
	    strcmp(c->verification_host, c->backend_host) == 0)
		config_fail(l, line_of(l, "verification", "host"),
		    "[verification] is the server of [backend]; replay needs "
		    "one of its own");
	if (c->listen_addresses[0] == '\0' &&
	    c->unix_socket_directory[0] == '\0')
		config_fail(l, line_of(l, "proxy", "listen_addresses"),
		    "nothing to listen on; set listen_addresses or "
		    "unix_socket_directory in [proxy]");
	if (strpbrk(c->origin, " +\t") != NULL)
		config_fail(l, line_of(l, "evidence", "origin"),
		    "origin must not contain spaces or \"+\"");
	if (c->log_directory[0] == '\0')
		config_fail(l, line_of(l, "log", "directory"),
		    "directory must not be empty; the default is log");
	return l->error_line == 0;
}

static bool
set_defaults(struct loader *l)
{
	for (size_t i = 0; i < N_SETTINGS; i++)
		if (!set_value(l, &settings[i], settings[i].initial))
			return false;
	return true;
}

static bool
set_places(struct config *c, const char *data_dir, const char *file)
{
	char path[PATH_MAX];

	c->data_dir = realpath(data_dir, NULL);
	if (c->data_dir == NULL)
		return false;
	if (file == NULL) {
		io_path(path, sizeof(path), "%s/pgwitness.conf", c->data_dir);
		file = path;
	}
	return set_string(&c->file, file);
}

struct config *
config_load(
    const char *data_dir, const char *file, char *error, size_t error_size)
{
	struct config *c = calloc(1, sizeof(*c));
	struct loader l = {
		.config = c, .error = error, .error_size = error_size
	};

	if (c == NULL || !set_places(c, data_dir, file)) {
		snprintf(error, error_size,
		    "%s: cannot use as data directory: %m; make it with "
		    "pgwitness --init -D %s",
		    data_dir, data_dir);
		config_free(c);
		return NULL;
	}
	if (set_defaults(&l) && read_config_file(&l) && check_together(&l))
		return c;
	config_free(c);
	return NULL;
}

static bool
is_text(const struct setting *s)
{
	return s->type == SETTING_STRING || s->type == SETTING_SECRET ||
	       s->type == SETTING_PATH;
}

void
config_free(struct config *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < N_SETTINGS; i++)
		if (is_text(&settings[i]))
			free(*(char **)config_field(c, &settings[i]));
	free(c->data_dir);
	free(c->file);
	free(c);
}

static const char *
format_text(const struct config *c, const struct setting *s)
{
	const char *value = *(char **)config_field(c, s);

	return s->type == SETTING_SECRET && value[0] != '\0' ? "***" : value;
}

static const char *
format_value(
    const struct config *c, const struct setting *s, char *out, size_t size)
{
	switch (s->type) {
	case SETTING_STRING:
	case SETTING_SECRET:
	case SETTING_PATH:
		return format_text(c, s);
	case SETTING_INT:
		format_number(s, *(int *)config_field(c, s), out, size);
		break;
	case SETTING_TIME:
	case SETTING_BYTES:
		format_number(s, *(int64_t *)config_field(c, s), out, size);
		break;
	case SETTING_BOOL:
		return *(bool *)config_field(c, s) ? "on" : "off";
	case SETTING_ENUM:
		return s->offset == NO_FIELD
			   ? s->initial
			   : s->values[*(int *)config_field(c, s)];
	}
	return out;
}

void
config_print(const struct config *c, FILE *out)
{
	const char *section = "";
	char number[32];

	for (size_t i = 0; i < N_SETTINGS; i++) {
		const struct setting *s = &settings[i];

		if (strcmp(section, s->section) != 0)
			fprintf(
			    out, "%s[%s]\n", i == 0 ? "" : "\n", s->section);
		section = s->section;
		fprintf(out, "%s = %s\n", s->key,
		    format_value(c, s, number, sizeof(number)));
	}
}

const char *
config_sslmode(const struct config *c)
{
	static const char *const words[] = { SSLMODE_WORDS };

	return words[c->backend_sslmode];
}

void
config_log_path(
    const struct config *c, const char *name, char *out, size_t size)
{
	if (c->log_directory[0] == '/')
		io_path(out, size, "%s/%s", c->log_directory, name);
	else
		io_path(
		    out, size, "%s/%s/%s", c->data_dir, c->log_directory, name);
}
