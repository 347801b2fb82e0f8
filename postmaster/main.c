/*
 * main.c: the program pgwitness: its command line, --init and -n.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <sys/stat.h>

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "advice.h"
#include "datadir.h"
#include "log.h"
#include "postmaster.h"
#include "procsig.h"
#include "tlsfiles.h"
#include "version.h"

struct options {
	const char *data_dir;
	const char *file;
	int port;
	bool check; /* -n */
	bool init;
	const char *after;
};

static const char usage[] =
    "pgwitness is a PostgreSQL proxy that proves what the database did.\n"
    "\n"
    "Usage:\n"
    "  pgwitness -D DIR [-c FILE] [-p PORT] [-n]\n"
    "  pgwitness --init [--after OLD] -D DIR\n"
    "\n"
    "  -D DIR    data directory\n"
    "  -c FILE   configuration, instead of DIR/pgwitness.conf\n"
    "  -p PORT   port to listen on, instead of the configured one\n"
    "  -n        check the configuration, print it, and exit\n"
    "  --init    make a data directory: configuration, evidence key, logs\n"
    "  --after OLD  with --init: the new evidence log names the one before;\n"
    "            OLD is its data directory or a checkpoint of it\n"
    "  --help    this text\n"
    "  --version the version\n"
    "\n"
    "It stays in the foreground.  SIGTERM: when all clients have left;\n"
    "SIGINT: now, in order; SIGQUIT: at once; SIGHUP: read the\n"
    "configuration again.  Exit codes: 0 good, 1 ended at once and not\n"
    "drained, 2 usage or configuration, 3 could not run.\n";

enum { OPT_INIT = 256, OPT_AFTER, OPT_HELP, OPT_VERSION };

static const struct option long_options[] = {
	{ "init", no_argument, NULL, OPT_INIT },
	{ "after", required_argument, NULL, OPT_AFTER },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static int
parse_port(const char *text)
{
	char *end;
	long port = strtol(text, &end, 10);

	if (end == text || *end != '\0' || port < 1 || port > 65535)
		log_usage("\"%s\" is not a port; give 1 to 65535", text);
	return (int)port;
}

PGW_NORETURN
static void
print_and_exit(const char *text)
{
	fputs(text, stdout);
	exit(0);
}

static void
parse_options(int argc, char **argv, struct options *o)
{
	int opt;

	while ((opt = getopt_long(
		    argc, argv, "D:c:p:nh", long_options, NULL)) != -1) {
		switch (opt) {
		case 'D':
			o->data_dir = optarg;
			break;
		case 'c':
			o->file = optarg;
			break;
		case 'p':
			o->port = parse_port(optarg);
			break;
		case 'n':
			o->check = true;
			break;
		case OPT_INIT:
			o->init = true;
			break;
		case OPT_AFTER:
			o->after = optarg;
			break;
		case 'h':
		case OPT_HELP:
			print_and_exit(usage);
		case OPT_VERSION:
			print_and_exit("pgwitness " PGW_VERSION "\n");
		default:
			log_usage("see pgwitness --help");
		}
	}
	if (optind < argc)
		log_usage("unexpected argument \"%s\"; see pgwitness --help",
		    argv[optind]);
	if (o->after != NULL && !o->init)
		log_usage("--after goes with --init");
	if (o->data_dir == NULL)
		log_usage("no data directory; give -D DIR, see pgwitness "
			  "--help");
}

static struct config *
load_config(const struct options *o)
{
	char error[1024], path[PATH_MAX];
	const char *file = o->file;
	struct config *c;

	/* replayd and later loads shall not depend on a directory. */
	if (file != NULL && realpath(file, path) != NULL)
		file = path;
	c = config_load(o->data_dir, file, error, sizeof(error));
	if (c == NULL)
		log_usage("%s", error);
	return c;
}

static struct tls_files *
load_tls(const struct config *c)
{
	char error[1024];
	struct tls_files *tls = tls_files_load(c, error, sizeof(error));

	if (tls == NULL)
		log_usage("%s", error);
	return tls;
}

static int
check_config(struct config *c, struct tls_files *tls, int port)
{
	if (port != 0)
		c->port = port;
	config_print(c, stdout);
	advice_give(c, tls);
	config_free(c);
	tls_files_free(tls);
	return 0;
}

int
main(int argc, char **argv)
{
	struct options o = { 0 };
	struct config *c;
	struct tls_files *tls;

	/* Keys are read below. */
	procsig_no_dumps();
	parse_options(argc, argv, &o);
	if (geteuid() == 0)
		log_usage("must not run as root; use an ordinary user such as "
			  "pgwitness");
	if (o.init)
		return datadir_init(o.data_dir, o.after);
	c = load_config(&o);
	tls = load_tls(c);
	if (o.check)
		return check_config(c, tls, o.port);
	return postmaster_run(c, tls, o.port);
}
