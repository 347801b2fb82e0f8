/*
 * shcache.c: values by key in memory that all children share.
 *
 * Slots of one size; a key has two of them.  Each is a sequence lock: a writer
 * makes `version` odd by compare-and-swap, with its own number in the upper
 * half, so there is one writer at a time; a reader copies, and believes the
 * copy if the version before and after is the same even one, and its CRC
 * holds.  Whoever finds a slot busy goes without.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "shcache.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "ioutil.h"
#include "log.h"

#define SLOTS 256 /* a power of two */
#define WAYS 2
#define SLOT_BYTES 8192

/*
 * version: by the writer that holds the slot; by the parent if that is dead.
 * The rest: by the writer while version is odd; read by anybody, as copies
 * that count only if version did not change.
 */
struct head {
	_Atomic uint64_t version;
	uint64_t generation; /* 0: nothing was ever put */
	int64_t put_us;      /* monotonic */
	int64_t good_us;     /* from then on */
	struct merkle_hash key;
	uint32_t len;
	uint32_t crc;
};

#define VALUE_BYTES (SLOT_BYTES - sizeof(struct head))

struct slot {
	struct head head;
	uint8_t value[VALUE_BYTES];
};

_Static_assert(sizeof(struct slot) == SLOT_BYTES, "no padding in a slot");

/* Of generations: so many doubts are one more that all is forgotten. */
#define EPOCH (UINT64_C(1) << 32)

/* generation: counted up by anybody; from EPOCH. */
struct shcache {
	_Atomic uint64_t generation;
	uint64_t unused[SLOT_BYTES / sizeof(uint64_t) - 1];
	struct slot slots[SLOTS];
};

struct shcache *
shcache_new(void)
{
	struct shcache *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (c == MAP_FAILED)
		log_fatal("out_of_memory", "cannot map the shared cache: %m");
	atomic_store(&c->generation, EPOCH);
	return c;
}

uint64_t
shcache_generation(const struct shcache *c)
{
	return atomic_load(&c->generation);
}

void
shcache_forget(struct shcache *c)
{
	atomic_fetch_add(&c->generation, EPOCH);
}

void
shcache_doubt(struct shcache *c)
{
	atomic_fetch_add(&c->generation, 1);
}

static size_t
index_of(const struct merkle_hash *key, unsigned way)
{
	return (get_u32(key->b) + way) & (SLOTS - 1);
}

static bool
is_busy(uint64_t version)
{
	return (version & 1) != 0;
}

/* --- reading --- */

static bool
is_of_now(const struct head *h, uint64_t generation)
{
	return h->generation == generation ||
	       (h->good_us == SHCACHE_CHECKED &&
		   h->generation / EPOCH == generation / EPOCH);
}

static bool
holds(const struct shcache *c, const struct head *h,
    const struct merkle_hash *key)
{
	int64_t age = io_monotonic_us() - h->put_us;

	return is_of_now(h, shcache_generation(c)) && age >= 0 &&
	       age <= h->good_us && h->len <= VALUE_BYTES &&
	       memcmp(&h->key, key, sizeof(*key)) == 0;
}

static bool
copy_slot(const struct shcache *c, const struct slot *s,
    const struct merkle_hash *key, struct buf *out)
{
	uint64_t version = atomic_load(&s->head.version);
	struct head h;

	if (is_busy(version))
		return false;
	memcpy(&h.generation, &s->head.generation,
	    sizeof(h) - offsetof(struct head, generation));
	if (!holds(c, &h, key))
		return false;
	buf_reset(out);
	buf_put(out, s->value, h.len);
	atomic_thread_fence(memory_order_acquire);
	return atomic_load(&s->head.version) == version &&
	       io_crc32c(0, out->data, out->len) == h.crc;
}

bool
shcache_get(
    const struct shcache *c, const struct merkle_hash *key, struct buf *out)
{
	for (unsigned i = 0; i < WAYS; i++)
		if (copy_slot(c, &c->slots[index_of(key, i)], key, out))
			return true;
	return false;
}

/* --- writing --- */

/* The slot that has the key, or the one that is of least use. */
static struct slot *
slot_for(struct shcache *c, const struct merkle_hash *key)
{
	struct slot *best = NULL;

	for (unsigned i = 0; i < WAYS; i++) {
		struct slot *s = &c->slots[index_of(key, i)];

		if (memcmp(&s->head.key, key, sizeof(*key)) == 0)
			return s;
		if (best == NULL || s->head.put_us < best->head.put_us)
			best = s;
	}
	return best;
}

void
shcache_put(struct shcache *c, unsigned writer, uint64_t generation,
    int64_t good_us, const struct merkle_hash *key, const struct buf *value)
{
	struct slot *s = slot_for(c, key);
	uint64_t version = atomic_load(&s->head.version);
	uint64_t mine = ((uint64_t)writer + 1) << 32 | (uint32_t)(version + 1);

	if (value->len == 0 || value->len > VALUE_BYTES || is_busy(version) ||
	    !atomic_compare_exchange_strong(&s->head.version, &version, mine))
		return;
	s->head.generation = generation;
	s->head.put_us = io_monotonic_us();
	s->head.good_us = good_us;
	s->head.key = *key;
	s->head.len = (uint32_t)value->len;
	s->head.crc = io_crc32c(0, value->data, value->len);
	memcpy(s->value, value->data, value->len);
	atomic_store(&s->head.version, (uint32_t)(mine + 1));
}

void
shcache_writer_ended(struct shcache *c, unsigned writer)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *s = &c->slots[i];
		uint64_t version = atomic_load(&s->head.version);

		if (!is_busy(version) || version >> 32 != (uint64_t)writer + 1)
			continue;
		s->head.generation = 0;
		atomic_store(&s->head.version, (uint32_t)(version + 1));
	}
}
