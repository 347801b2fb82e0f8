/*
 * spool.h: the durable queue between the lanes and everything else in replayd.
 *
 * Segment files DIR/spool/NNNNNNNNNNNNNNNN of frames, appended by one process
 * (the drain) and read by the recorder and the workers.  A frame is
 *
 *	u32 magic  u32 payload length  u64 tx_id
 *	u64 generation  u64 sequence  u32 lane		(where it came from)
 *	u8 kind  3 zero bytes
 *	u32 CRC-32C over all of the above and the payload
 *	payload
 *
 * A torn tail is cut at the first frame whose CRC does not hold.  The last
 * segment may end in zeros (spool_fill_ahead()).
 *
 * Each segment begins with a frame of kind SPOOL_STATE that readers never
 * see: the highest tx_id given so far, and per lane its generation, the last
 * sequence that is durable and the transaction whose outcome is not known.
 * So the last segment alone tells a restarted drain where it was, whatever was
 * recycled.  A segment gets its name only when that frame is durable.  Another
 * such frame is written where a run of the drain begins and where it ends.
 * Its payload:
 *
 *	u32 version (0x50475332)  u8 flags (1 async, 2 clean stop)
 *	u32 length and text of the machine's boot_id
 *	per lane: u32 lane  u64 generation  u64 sequence  u64 open_tx
 *	          u32 1 if open_tx is an intent only
 *
 * What cannot be written is taken back: see spool_sync().
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGW_SPOOL_H
#define PGW_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attr.h"
#include "buf.h"

enum spool_kind {
	SPOOL_RECORD = 1,	/* payload: record_encode(); tx_id is new */
	SPOOL_OUTCOME = 2,	/* payload: record_outcome_encode() */
	SPOOL_IN_DOUBT = 3,	/* no payload: no outcome will come */
	/*
	 * payload: record_encode(); tx_id is new.  The SPOOL_RECORD of the same
	 * tx_id replaces it; SPOOL_OUTCOME or SPOOL_IN_DOUBT instead of that
	 * says that no record will come.  Other tx_ids may lie in between.
	 */
	SPOOL_INTENT = 4,
	/* payload: JSON text of a Gap's own members; tx_id 0 */
	SPOOL_GAP = 5,
	SPOOL_STATE = 6,	/* inside spool.c only */
	/*
	 * payload: record_encode() of DDL that has been committed; tx_id of the
	 * record that is open in its lane, 0 if none is
	 */
	SPOOL_DDL = 7
};

#define SPOOL_MAX_PAYLOAD ((size_t)1 << 30)

/* The message in a lane that a frame was made of; all 0 if none was. */
struct spool_origin {
	uint64_t generation;
	uint64_t sequence;
	uint32_t lane;
};

/* What the frames say about a lane; index is the lane. */
struct spool_lane {
	uint64_t generation;	/* 0: never seen */
	uint64_t sequence;	/* the last in the spool */
	uint64_t open_tx;	/* without outcome yet, 0 if none */
	bool intent;		/* of open_tx there is only an intent */
};

/* One run of the drain, from its start to its stop. */
struct spool_run {
	char boot[40];		/* the machine's boot_id; "" not known */
	bool async;		/* evidence.commit=async was in force */
	bool clean;		/* it was stopped */
};

struct spool_position {
	uint64_t segment;	/* from 1 */
	uint64_t offset;
};

struct spool_frame {
	struct spool_position at;	/* of its header */
	struct spool_position next;	/* just behind it */
	uint64_t tx_id;
	enum spool_kind kind;
	struct spool_origin from;
	const uint8_t *payload;		/* valid until the next read */
	size_t payload_len;
};

/* --- writer: one process --- */
struct spool_writer;

/*
 * Opens for appending behind the last whole frame, cutting a torn tail.
 * *last_tx_id: the highest found, 0 if none.  NULL with errno.
 */
PGW_MUSTCHECK struct spool_writer *spool_writer_open(const char *dir,
	uint64_t *last_tx_id);
/* Adds to the group; nothing is durable yet. */
void spool_append(struct spool_writer *w, enum spool_kind kind,
	uint64_t tx_id, const void *payload, size_t len);
/* The same; and the lane's state follows: a record or an intent opens tx_id,
 * DDL leaves it open, others close it. */
void spool_append_from(struct spool_writer *w, enum spool_kind kind,
	uint64_t tx_id, const struct spool_origin *from, const void *payload,
	size_t len);
/* By lane, *n of them, with all that was appended; valid until the next
 * append. */
const struct spool_lane *spool_lanes(const struct spool_writer *w, size_t *n);
/* Bytes in the group that are not yet durable. */
size_t spool_pending(const struct spool_writer *w);
/* The highest tx_id, with all that was appended. */
uint64_t spool_last_tx_id(const struct spool_writer *w);
/*
 * Writes the group and fdatasyncs it.  False with errno: the group is gone,
 * and everything is as after the last good one; spool_repair() must come
 * first, then the group can be appended again.  After a failed fdatasync what
 * follows goes to another segment.
 */
PGW_MUSTCHECK bool spool_sync(struct spool_writer *w);
/*
 * Writes zeros where the next groups will be: an fdatasync of what overwrites
 * them has no new size of the file to write.  A matter of speed only; slow, so
 * for when nobody waits.
 */
void spool_fill_ahead(struct spool_writer *w);
/* Makes the spool writable again after spool_sync() failed.  False with errno:
 * not yet. */
PGW_MUSTCHECK bool spool_repair(struct spool_writer *w);
/* Nothing of a group that was given up is left in its file. */
bool spool_is_cut(const struct spool_writer *w);
/* Bytes of all segments have reached max. */
PGW_MUSTCHECK bool spool_is_full(struct spool_writer *w, uint64_t max);

/* The last run that spool_append_run() wrote, durable or not. */
const struct spool_run *spool_run(const struct spool_writer *w);
void spool_append_run(struct spool_writer *w, const struct spool_run *run);
/* When the spool was last written before it was opened, us since 1970. */
int64_t spool_written_us(const struct spool_writer *w);
/* Closes without a sync. */
void spool_writer_close(struct spool_writer *w);
/* A segment is finished when it is at least this long (64 MB; for tests). */
void spool_set_segment_bytes(struct spool_writer *w, uint64_t bytes);
/* Where the next frame goes: all before it is durable after spool_sync(). */
struct spool_position spool_end(const struct spool_writer *w);

/* --- reader: any process --- */
struct spool_reader;

/* Starts at the oldest frame there is.  NULL with errno. */
PGW_MUSTCHECK struct spool_reader *spool_reader_open(const char *dir);
void spool_reader_close(struct spool_reader *r);
/* Goes on at `at`, the `next` of a frame.  Where frames are missing before the
 * oldest there is, spool_next() says so. */
void spool_reader_seek(struct spool_reader *r, struct spool_position at);
/*
 * The next frame before `end`; false if there is none (yet).  Ends the process
 * if what lies before `end` is damaged or gone: it was durable.
 */
PGW_MUSTCHECK bool spool_next(struct spool_reader *r,
	struct spool_position end, struct spool_frame *f);
/* One frame by its position; false if it is not there or not whole. */
PGW_MUSTCHECK bool spool_read(struct spool_reader *r,
	struct spool_position at, struct spool_frame *f);

/* Deletes segments below `segment`, but never the last one. */
void spool_recycle(const char *dir, uint64_t segment);

#endif
