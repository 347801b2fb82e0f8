/*
 * witnessctl.c: the program for people who read and check evidence.
 *
 * main() and the table of subcommands; each is a function in
 * witnessctl_*.c.  Writes only what it is asked to make: keys, proofs, an
 * export; and, for replay, a database that it removes.
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
	OPT_OUT,
	OPT_TLOG,
	OPT_CONNINFO,
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
	{ "out", required_argument, NULL, OPT_OUT },
	{ "tlog", required_argument, NULL, OPT_TLOG },
	{ "conninfo", required_argument, NULL, OPT_CONNINFO },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ NULL, 0, NULL, 0 },
};

static const struct command {
	const char *name;
	int (*run)(const struct witnessctl_args *a);
	size_t max_words;
	const char *usage;
	const char *help;
} commands[] = {
	{ "status", witnessctl_status, 0, "-D DIR [--json]",
	    "processes, backlog, lag, coverage per verdict and reason" },
	{ "tail", witnessctl_tail, 0,
	    "-D DIR [-f] [--verdict V] [--table T] [--json]",
	    "the last evidence lines, readable; -f: and those that come" },
	{ "show", witnessctl_show, 1, "-D DIR TXID [--json]",
	    "one transaction: statements, rows while kept, outcome, verdict" },
	{ "verify", witnessctl_verify, 0,
	    "--log DIR/log --key FILE.pub... [--checkpoint OLD]... [--final] "
	    "[--json]",
	    "checks an evidence log offline: lines, tree, tiles, signatures" },
	{ "prove", witnessctl_prove, 1, "-D DIR TXID [--out DIR] [--json]",
	    "writes a proof for each line of a transaction (C2SP tlog-proof)" },
	{ "check", witnessctl_check, 256, "PROOF... --key FILE.pub... [--json]",
	    "checks proofs of one transaction offline and prints its lines" },
	{ "replay", witnessctl_replay, 1, "BUNDLE [-d CONNINFO] [--json]",
	    "runs a bundle again, on a PostgreSQL of its own or the one given" },
	{ "export", witnessctl_export, 0, "-D DIR --tlog OUTDIR [--json]",
	    "the signed log as C2SP tlog-tiles: checkpoint, hash tiles, "
	    "entries" },
	{ "keygen", witnessctl_keygen, 0, "-D DIR [--origin NAME] [--json]",
	    "makes DIR/evidence.key and DIR/evidence.pub" },
	{ "rotate-key", witnessctl_rotate_key, 0, "-D DIR [--json]",
	    "makes the next key; the log and the next checkpoint name both" },
};

static void
print_command(FILE *out, const struct command *c)
{
	fprintf(out, "  %s %s\n        %s\n", c->name, c->usage, c->help);
}

static void
print_usage(FILE *out)
{
	fprintf(out, "usage: witnessctl COMMAND [OPTION]...\n\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		print_command(out, &commands[i]);
	fprintf(out,
	    "\n-c FILE names another configuration than DIR/pgwitness.conf; "
	    "--log DIR\nstands for the log of -D where only that is read.\n"
	    "\nExit code: 0 good, 1 bad news, 2 usage or configuration, "
	    "3 could not run.\n");
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
	case OPT_OUT:
		a->out_dir = optarg;
		break;
	case 'd':
	case OPT_CONNINFO:
		a->conninfo = optarg;
		break;
	case OPT_TLOG:
		a->tlog_dir = optarg;
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
	while ((opt = getopt_long(argc, argv, "D:c:d:f", options, NULL)) != -1)
		take_option(&a, opt);
	c = command_named(optind < argc ? argv[optind] : NULL);
	if (c == NULL) {
		if (optind < argc)
			fprintf(stderr,
			    "witnessctl: there is no command "
			    "'%s'\n",
			    argv[optind]);
		print_usage(stderr);
		return EXIT_USAGE;
	}
	for (int i = optind + 1; i < argc; i++)
		add(a.words, &a.n_words, sizeof(a.words) / sizeof(*a.words),
		    argv[i]);
	if (a.n_words > c->max_words) {
		fprintf(stderr, "usage: witnessctl\n");
		print_command(stderr, c);
		return EXIT_USAGE;
	}
	return c->run(&a);
}
