/*
 * witnessctl.c: the program for people who read and check evidence.
 *
 * main() and the table of subcommands; each is a function in
 * witnessctl_*.c.  Reads only, but for keygen.
 *
 * Exit: 0 good, 1 bad news, 2 usage or configuration, 3 could not run.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "witnessctl.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "version.h"

enum {
	OPT_LOG = 256,
	OPT_KEY,
	OPT_CHECKPOINT,
	OPT_FINAL,
	OPT_JSON,
	OPT_VERDICT,
	OPT_TABLE,
	OPT_ORIGIN,
	OPT_HELP,
	OPT_VERSION
};

static const struct option options[] = {
	{ "log", required_argument, NULL, OPT_LOG },
	{ "key", required_argument, NULL, OPT_KEY },
	{ "checkpoint", required_argument, NULL, OPT_CHECKPOINT },
	{ "final", no_argument, NULL, OPT_FINAL },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "verdict", required_argument, NULL, OPT_VERDICT },
	{ "table", required_argument, NULL, OPT_TABLE },
	{ "origin", required_argument, NULL, OPT_ORIGIN },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static const struct command {
	const char *name;
	int (*run)(const struct witnessctl_args *a);
	const char *usage;
	const char *help;
} commands[] = {
	{ "status", witnessctl_status, "-D DIR [--json]",
	    "processes, backlog, coverage per verdict and reason" },
	{ "tail", witnessctl_tail,
	    "-D DIR [-f] [--verdict V] [--table T] [--json]",
	    "readable evidence lines" },
	{ "show", witnessctl_show, "-D DIR TXID [--json]",
	    "one transaction: statements, tables, outcome, verdict" },
	{ "verify", witnessctl_verify,
	    "--log DIR/log --key FILE.pub [--checkpoint OLD]... [--final] "
	    "[--json]",
	    "checks an evidence log offline" },
	{ "keygen", witnessctl_keygen, "-D DIR [--origin NAME]",
	    "makes DIR/evidence.key and DIR/evidence.pub" },
};

static void
print_usage(FILE *out)
{
	fprintf(out, "usage: witnessctl COMMAND [OPTION]...\n\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		fprintf(out, "  %s %s\n        %s\n", commands[i].name,
		    commands[i].usage, commands[i].help);
	fprintf(out, "\nExit code: 0 good, 1 bad news, 2 usage or "
		     "configuration, 3 could not run.\n");
}

static void
add(const char **list, size_t *n, size_t max, const char *value)
{
	if (*n == max)
		log_usage("too many times the same option: %s", value);
	list[(*n)++] = value;
}

static void
take_option(struct witnessctl_args *a, int opt)
{
	switch (opt) {
	case 'D':
		a->data_dir = optarg;
		break;
	case 'c':
		a->config_file = optarg;
		break;
	case 'f':
		a->follow = true;
		break;
	case OPT_LOG:
		a->log_dir = optarg;
		break;
	case OPT_KEY:
		add(a->keys, &a->n_keys, sizeof(a->keys) / sizeof(*a->keys),
		    optarg);
		break;
	case OPT_CHECKPOINT:
		add(a->old, &a->n_old, sizeof(a->old) / sizeof(*a->old),
		    optarg);
		break;
	case OPT_FINAL:
		a->final = true;
		break;
	case OPT_JSON:
		a->json = true;
		break;
	case OPT_VERDICT:
		a->verdict = optarg;
		break;
	case OPT_TABLE:
		a->table = optarg;
		break;
	case OPT_ORIGIN:
		a->origin = optarg;
		break;
	case OPT_HELP:
		print_usage(stdout);
		exit(EXIT_GOOD);
	case OPT_VERSION:
		printf("witnessctl %s\n", PGW_VERSION);
		exit(EXIT_GOOD);
	default:
		print_usage(stderr);
		exit(EXIT_USAGE);
	}
}

static const struct command *
command_named(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (name != NULL && strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

int
main(int argc, char **argv)
{
	struct witnessctl_args a = { 0 };
	const struct command *c;
	int opt;

	log_set_process("witnessctl");
	/* Words may stand anywhere: the first is the command. */
	while ((opt = getopt_long(argc, argv, "D:c:f", options, NULL)) != -1)
		take_option(&a, opt);
	c = command_named(optind < argc ? argv[optind] : NULL);
	if (c == NULL || argc - optind > 2) {
		print_usage(stderr);
		return EXIT_USAGE;
	}
	if (optind + 1 < argc)
		a.word = argv[optind + 1];
	return c->run(&a);
}
