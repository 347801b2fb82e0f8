/*
 * state.h: what the recorder would otherwise have to read the whole log and
 * the whole spool for, saved beside each checkpoint in LOG_DIR/state.
 *
 * It only saves time.  It is believed if its CRC holds and the tiles give its
 * root at its size; else the log itself is read.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_STATE_H
#define PGW_STATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "evlog.h"
#include "merkle.h"
#include "spool.h"
#include "txtable.h"

/* How far the spool is in the log. */
struct state_spool {
	struct spool_position next;	/* first frame that is not */
	struct spool_position last;	/* of the frame of seen_tx_id */
	uint64_t seen_tx_id;		/* the highest of all frames */
};

struct state {
	uint64_t size;			/* lines */
	struct merkle_hash root;
	struct merkle_hash last;	/* leaf hash of the last line */
	struct evlog_place tail;	/* where line tail_seq is */
	uint64_t tail_seq;		/* first line of the last level-0 tile */
	char last_time[40];		/* `time` of the last line */
	uint64_t timeline;		/* of the server now, 0 not known */
	struct spool_position aside;	/* of the last line from the spool
					 * that is of no transaction */
	struct state_spool spool;	/* next.segment 0: not known */
	struct txtable open;
};

void state_free(struct state *s);

/* Durably replaces the file.  False with errno. */
PGW_MUSTCHECK bool state_save(const char *path, const struct state *s);
/* False: there is none, or it is damaged; *s is then empty. */
PGW_MUSTCHECK bool state_load(const char *path, struct state *s);

/* What a line of the log changes in aside, timeline and open. */
enum state_event {
	STATE_OTHER,
	STATE_START,
	STATE_RECORD,
	STATE_OUTCOME,
	STATE_VERDICT,
	STATE_ASIDE
};

struct state_change {
	enum state_event event;
	uint64_t tx_id;			/* of record, outcome, verdict */
	uint64_t xid;			/* of a record, 0 if not known */
	uint64_t system_identifier;	/* likewise */
	bool has_roots;			/* likewise */
	struct merkle_hash pre_root;
	struct merkle_hash post_root;
	enum record_outcome outcome;
	uint64_t timeline;		/* of Start */
	struct spool_position aside;	/* segment 0: not from the spool */
};

/* What a line, or its members, say of it. */
void state_read(struct state_change *c, const char *type, const json_t *line);
/* time: the line's. */
void state_apply(struct state *s, const struct state_change *c,
	const char *time);

#endif
