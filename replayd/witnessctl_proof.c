/*
 * witnessctl_proof.c: the subcommands prove and check: one transaction's
 * lines, each with the proof that it stands in the signed log.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "checkpoint.h"
#include "evlog.h"
#include "ioutil.h"
#include "jsonx.h"
#include "key.h"
#include "merkle.h"
#include "proof.h"
#include "tiles.h"
#include "witnessctl.h"

#define MAX_CHECKPOINT 65536
#define MAX_PROOF (1u << 20)
#define MAX_LINES 64 /* of one transaction */
#define TRIES 5      /* a new checkpoint replaces partial tiles */

/* --- prove --- */

struct prove {
	const struct witnessctl_args *a;
	uint64_t tx_id;
	char log_dir[PATH_MAX];
	struct proof proofs[MAX_LINES];
	size_t n;
	struct buf checkpoint;
	struct checkpoint head;
	char error[512];
};

static bool
take_line(void *context, const struct evlog_line *line, uint64_t seq)
{
	struct prove *p = context;

	if (p->n == MAX_LINES || seq == 0)
		return false;
	p->proofs[p->n].index = seq - 1;
	buf_put(&p->proofs[p->n].line, line->text, line->len);
	p->n++;
	return true;
}

static bool
load_head(struct prove *p)
{
	char path[PATH_MAX + 16];

	io_path(path, sizeof(path), "%s/checkpoint", p->log_dir);
	buf_reset(&p->checkpoint);
	if (!io_read_file(path, &p->checkpoint, MAX_CHECKPOINT))
		snprintf(p->error, sizeof(p->error), "%.400s: %s", path,
		    strerror(errno));
	else if (!checkpoint_parse_text(
		     p->checkpoint.data, p->checkpoint.len, &p->head))
		snprintf(
		    p->error, sizeof(p->error), "%.400s: no checkpoint", path);
	else
		return true;
	return false;
}

/* The tile must have the line's hash: nothing else could be proven. */
static bool
fill_path(struct prove *p, struct tiles *t, struct proof *one)
{
	struct merkle_hash leaf;
	struct merkle_hash want;

	if (one->index >= p->head.size) {
		snprintf(p->error, sizeof(p->error),
		    "seq %" PRIu64 " is not signed yet", one->index + 1);
		return false;
	}
	merkle_leaf(MERKLE_LOG, one->line.data, one->line.len, &leaf);
	if (!tiles_leaf(t, one->index, &want) ||
	    !tiles_inclusion(t, one->index, one->path, &one->n_path)) {
		snprintf(p->error, sizeof(p->error), "%s", tiles_error(t));
		return false;
	}
	if (memcmp(&leaf, &want, sizeof(leaf)) != 0) {
		snprintf(p->error, sizeof(p->error),
		    "seq %" PRIu64 " is not the line that was signed",
		    one->index + 1);
		return false;
	}
	if (!proof_root(&leaf, one->index, p->head.size, one->path, one->n_path,
		&want) ||
	    memcmp(&want, &p->head.root, sizeof(want)) != 0) {
		snprintf(p->error, sizeof(p->error),
		    "the tiles do not prove seq %" PRIu64
		    ": a hash in them was changed",
		    one->index + 1);
		return false;
	}
	buf_reset(&one->checkpoint);
	buf_put(&one->checkpoint, p->checkpoint.data, p->checkpoint.len);
	return true;
}

static bool
fill_paths(struct prove *p)
{
	struct tiles *t = tiles_open(p->log_dir, p->head.size);
	struct merkle_hash root;
	bool ok = tiles_root(t, p->head.size, &root);

	if (!ok)
		snprintf(p->error, sizeof(p->error), "%s", tiles_error(t));
	else if (memcmp(&root, &p->head.root, sizeof(root)) != 0) {
		snprintf(p->error, sizeof(p->error),
		    "the tiles have not the signed root");
		ok = false;
	}
	for (size_t i = 0; i < p->n && ok; i++)
		ok = fill_path(p, t, &p->proofs[i]);
	tiles_close(t);
	return ok;
}

static bool
prove_all(struct prove *p)
{
	for (int i = 0; i < TRIES; i++) {
		uint64_t was = p->head.size;

		if (!load_head(p))
			return false;
		if (i > 0 && p->head.size == was)
			return false; /* nobody signed meanwhile */
		if (fill_paths(p))
			return true;
	}
	return false;
}

/* "record", "verdict"; of an outcome that is not final, its name. */
static const char *
kind_of(const json_t *line)
{
	const char *type = jsonx_get(line, "type");
	const char *outcome = jsonx_get(line, "outcome");

	if (type != NULL && strcmp(type, "StateCommitmentRecord") == 0)
		return "record";
	if (type != NULL && strcmp(type, "VerificationResult") == 0)
		return "verdict";
	if (type != NULL && strcmp(type, "TransactionOutcome") == 0)
		return outcome != NULL && strcmp(outcome, "prepared") == 0
			   ? "prepared"
			   : "outcome";
	return "line";
}

static bool
write_proof(const struct prove *p, const struct proof *one, json_t *files)
{
	json_t *line = json_loadb(
	    (const char *)one->line.data, one->line.len, 0, NULL);
	char path[PATH_MAX];
	struct buf text = { 0 };
	bool ok;

	io_path(path, sizeof(path), "%s/%" PRIu64 "-%s.tlog-proof",
	    p->a->out_dir == NULL ? "." : p->a->out_dir, p->tx_id,
	    kind_of(line));
	json_decref(line);
	proof_put(one, &text);
	ok = io_replace_file(path, text.data, text.len, 0644);
	buf_free(&text);
	if (!ok)
		perror(path);
	else
		jsonx_append(files, jsonx_text(path));
	return ok;
}

static int
write_proofs(const struct prove *p)
{
	json_t *files = jsonx_array();
	bool ok = true;
	size_t i;
	json_t *f;

	for (i = 0; i < p->n && ok; i++)
		ok = write_proof(p, &p->proofs[i], files);
	if (p->a->json) {
		witnessctl_print_json(stdout, files);
		putchar('\n');
	} else
		json_array_foreach(files, i, f)
		{
			witnessctl_print_json(stdout, f);
			putchar('\n');
		}
	json_decref(files);
	return ok ? EXIT_GOOD : EXIT_CANNOT_RUN;
}

int
witnessctl_prove(const struct witnessctl_args *a)
{
	static struct prove p;
	int code = EXIT_BAD_NEWS;
	int found;

	p.a = a;
	p.tx_id = witnessctl_tx_id(a);
	if (p.tx_id == 0 || !witnessctl_log_dir(a, p.log_dir))
		return EXIT_USAGE;
	found = witnessctl_lines_of(p.log_dir, p.tx_id, take_line, &p);
	if (found < 0)
		return EXIT_CANNOT_RUN;
	if (found == 0)
		fprintf(stderr,
		    "witnessctl: no transaction %" PRIu64 " in %s\n", p.tx_id,
		    p.log_dir);
	else if (!prove_all(&p))
		fprintf(stderr, "witnessctl: %s\n", p.error);
	else
		code = write_proofs(&p);
	for (size_t i = 0; i < p.n; i++)
		proof_free(&p.proofs[i]);
	buf_free(&p.checkpoint);
	return code;
}

/* --- check --- */

struct check {
	const struct key_public *keys;
	size_t n_keys;
	uint64_t tx_id; /* of the proofs before; 0: none */
	json_t *done;   /* what was proven */
	char error[512];
};

static bool
check_content(
    struct check *c, const struct proof *p, const struct checkpoint *head)
{
	json_t *line = json_loadb((const char *)p->line.data, p->line.len,
	    JSON_REJECT_DUPLICATES, NULL);
	uint64_t tx_id = jsonx_get_int(line, "tx_id");
	json_t *o;
	bool ok = false;

	if (jsonx_get_int(line, "seq") != p->index + 1)
		snprintf(c->error, sizeof(c->error),
		    "the line's seq is not index + 1");
	else if (tx_id == 0)
		snprintf(c->error, sizeof(c->error), "the line has no tx_id");
	else if (c->tx_id != 0 && tx_id != c->tx_id)
		snprintf(c->error, sizeof(c->error),
		    "tx_id %" PRIu64 ", but the proof before has %" PRIu64,
		    tx_id, c->tx_id);
	else
		ok = true;
	if (ok) {
		c->tx_id = tx_id;
		o = jsonx_object();
		jsonx_set(o, "origin", jsonx_text(head->origin));
		jsonx_set(o, "size", jsonx_int(head->size));
		jsonx_set(o, "line", json_incref(line));
		jsonx_append(c->done, o);
	}
	json_decref(line);
	return ok;
}

static bool
check_file(struct check *c, const char *path)
{
	struct buf b = { 0 };
	struct proof p = { 0 };
	struct checkpoint head;
	bool ok = false;

	if (!io_read_file(path, &b, MAX_PROOF))
		snprintf(c->error, sizeof(c->error), "%s", strerror(errno));
	else
		ok = proof_parse(
			 b.data, b.len, &p, c->error, sizeof(c->error)) &&
		     proof_check(&p, c->keys, c->n_keys, &head, c->error,
			 sizeof(c->error)) &&
		     check_content(c, &p, &head);
	proof_free(&p);
	buf_free(&b);
	if (!ok) {
		fprintf(stderr, "witnessctl: ");
		witnessctl_print(stderr, path);
		fprintf(stderr, ": ");
		witnessctl_print(stderr, c->error);
		fputc('\n', stderr);
	}
	return ok;
}

static void
print_proven(const json_t *o)
{
	const json_t *line = json_object_get(o, "line");
	static const char *const said[] = { "outcome", "verdict", "reason" };

	printf("tx_id %" PRIu64 ": seq %" PRIu64 " of %" PRIu64 " signed by ",
	    jsonx_get_int(line, "tx_id"), jsonx_get_int(line, "seq"),
	    jsonx_get_int(o, "size"));
	witnessctl_print_json(stdout, json_object_get(o, "origin"));
	printf(": ");
	witnessctl_print_json(stdout, json_object_get(line, "type"));
	for (size_t i = 0; i < sizeof(said) / sizeof(*said); i++) {
		const json_t *v = json_object_get(line, said[i]);

		if (v == NULL || json_is_null(v))
			continue;
		putchar(' ');
		witnessctl_print_json(stdout, v);
	}
	putchar('\n');
}

static void
print_check(const struct check *c, bool ok, bool json)
{
	json_t *o;
	size_t i;

	if (!json) {
		json_array_foreach(c->done, i, o) print_proven(o);
		printf("%s\n", ok ? "OK" : "NOT OK");
		return;
	}
	o = jsonx_object();
	jsonx_set(o, "ok", json_boolean(ok));
	jsonx_set(
	    o, "tx_id", c->tx_id == 0 ? json_null() : jsonx_int(c->tx_id));
	jsonx_set(o, "proven", json_incref(c->done));
	witnessctl_print_json(stdout, o);
	putchar('\n');
	json_decref(o);
}

int
witnessctl_check(const struct witnessctl_args *a)
{
	struct key_public keys[sizeof(a->keys) / sizeof(*a->keys)];
	struct check c = { .keys = keys, .n_keys = a->n_keys };
	bool ok = true;

	if (a->n_words == 0) {
		fprintf(stderr, "witnessctl: check needs PROOF files\n");
		return EXIT_USAGE;
	}
	if (!witnessctl_load_keys(a, keys))
		return EXIT_USAGE;
	c.done = jsonx_array();
	for (size_t i = 0; i < a->n_words; i++)
		ok = check_file(&c, a->words[i]) && ok;
	print_check(&c, ok, a->json);
	json_decref(c.done);
	return ok ? EXIT_GOOD : EXIT_BAD_NEWS;
}
