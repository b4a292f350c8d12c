/*
 * Happy path of a step: [everything applied is in the back] -> a worker goes on
 * through the rows of the shard -> counting: done. Moving: it has read the
 * values that lie in victims, and compared them with their hashes -> VALUE
 * records -> durable -> in the loop the rows are looked at once more, and
 * positions that are still the old ones become the new ones (one commit, no
 * command: positions are no part of the state) -> done.
 *
 * Why nothing is lost:
 * - A row names the new place only when the bytes there are durable; the old
 *   place stays until log_clean.c has found no row that names it, and made that
 *   durable.
 * - The change compares: a row that was written, deleted or moved meanwhile
 *   stays as it is.
 * - A crash keeps a prefix of the commits: some rows say the new place, others
 *   the old one. Both are right.
 * - A row snapshot that has the old place and whose log behind it begins after
 *   the VALUE record could not be made whole again (raft_snap.h): so none
 *   decides where that is between the append and the commit.
 *
 * Failure modes: bytes that rotted, or cannot be read: the segment has an error
 * and stays. Rows that cannot be read or written stop the process, as always.
 */
#include "storaged/shard_clean.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <xxhash.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "storaged/ns_rows.h"
#include "storaged/ns_values.h"
#include "storaged/shard_impl.h"

#define CLEAN_ROWS 4096u          /* of a step */
#define CLEAN_VALUES 128u
#define CLEAN_BYTES ((uint64_t)1 << 20)

/* A value on its way. */
struct clean_value {
	struct seg_append append;
	struct shard_clean *c;
	struct ns_value_at old;
	uint8_t *bytes; /* owned */
};

/* A row that named some of them. */
struct clean_row {
	uint8_t *key; /* owned */
	size_t len;
};

struct shard_clean {
	struct shard_set *set;
	struct log_seg *segs; /* borrowed */
	size_t n_segs;
	bool move;
	uint16_t *groups;     /* owned; of the set when it began */
	unsigned n_groups, at;
	struct shard_clean_count count;
	/* the shard that is walked */
	struct rows_iter *it;
	struct wire_bytes key, row; /* borrowed from it */
	bool pending;         /* they were not done with */
	unsigned skip;        /* values of it that were */
	bool ended;           /* no more rows in it */
	/* a step */
	struct env_work work;
	struct env_task task;
	shard_clean_fn done;
	void *arg;
	int rv;
	struct clean_value values[CLEAN_VALUES];
	struct clean_row rows[CLEAN_VALUES];
	unsigned n_values, n_rows, under_way;
	unsigned seen;        /* values of the row so far */
	uint64_t bytes;
	bool held;
	struct rows_txn *txn;
	struct buf patched;
};

static struct log_seg *clean_seg(const struct shard_clean *c, uint64_t gen)
{
	size_t lo = 0, hi = c->n_segs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (c->segs[mid].gen < gen)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->n_segs && c->segs[lo].gen == gen ? &c->segs[lo] : NULL;
}

/* --- the worker: through the rows --- */

/* The same bytes as the value before, as parts of a value are. */
static bool clean_same(const struct ns_value_at *a, const struct ns_value_at *b)
{
	return a->gen == b->gen && a->off == b->off && a->len == b->len;
}

struct clean_counting {
	struct shard_clean *c;
	struct ns_value_at last;
};

static int clean_count_value(void *arg, const struct ns_value_at *v)
{
	struct clean_counting *k = arg;
	struct log_seg *s;

	if (clean_same(v, &k->last))
		return 0;
	k->last = *v;
	s = clean_seg(k->c, v->gen);
	if (s != NULL)
		s->live += SEG_HEADER_LEN + ((uint64_t)v->len + 7) / 8 * 8;
	return 0;
}

static bool clean_full(const struct shard_clean *c)
{
	return c->n_values == CLEAN_VALUES || c->bytes >= CLEAN_BYTES;
}

/* Reads the value to be copied; 0, -ENOMEM, or what is wrong with it. */
static int clean_read(struct shard_clean *c, const struct ns_value_at *v,
		      uint8_t **ret_bytes)
{
	uint8_t *bytes = mem_alloc((size_t)v->len + 1);
	XXH128_hash_t h;
	int rv;

	if (bytes == NULL)
		return -ENOMEM;
	rv = seg_read(c->set->log, v->gen, v->off, bytes, v->len, 0);
	if (rv == 0) {
		h = XXH3_128bits(bytes, v->len);
		if (h.high64 != v->hash.hi || h.low64 != v->hash.lo)
			rv = -EBADMSG;
	}
	if (rv != 0)
		mem_free(bytes);
	else
		*ret_bytes = bytes;
	return rv;
}

static bool clean_has(const struct shard_clean *c, const struct ns_value_at *v)
{
	for (unsigned i = 0; i < c->n_values; i++)
		if (clean_same(&c->values[i].old, v))
			return true;
	return false;
}

/* 1: the step has enough, the row is gone on with in the next one. */
static int clean_take_value(void *arg, const struct ns_value_at *v)
{
	struct shard_clean *c = arg;
	struct log_seg *s = clean_seg(c, v->gen);
	uint8_t *bytes = NULL;
	int rv;

	if (c->seen++ < c->skip)
		return 0;
	if (s == NULL || !s->victim || s->err != 0) {
		c->skip = c->seen;
		return 0;
	}
	if (clean_full(c))
		return 1;
	if (!clean_has(c, v)) {
		rv = v->len <= WIRE_CHUNK ? clean_read(c, v, &bytes) : -EBADMSG;
		if (rv == -ENOMEM)
			return rv;
		if (rv != 0)
			s->err = rv; /* it stays, with all that is in it */
		else
			c->values[c->n_values++] = (struct clean_value){
				.c = c, .old = *v, .bytes = bytes,
			};
		c->bytes += rv == 0 ? v->len : 0;
	}
	c->count.found++;
	c->skip = c->seen;
	return 0;
}

static int clean_take_row(struct shard_clean *c)
{
	uint64_t found = c->count.found;
	struct clean_row *r;
	int rv;

	c->seen = 0;
	rv = ns_values_each(c->key.p[2], c->row, clean_take_value, c);
	if (rv < 0 || c->count.found == found)
		return rv;
	r = &c->rows[c->n_rows];
	r->key = mem_dup(c->key.p, c->key.len);
	r->len = c->key.len;
	if (r->key == NULL)
		return -ENOMEM;
	c->n_rows++;
	return rv;
}

static int clean_one_row(struct shard_clean *c)
{
	struct clean_counting k = { .c = c };

	if (c->move)
		return clean_take_row(c);
	return ns_values_each(c->key.p[2], c->row, clean_count_value, &k);
}

static int clean_open(struct shard_clean *c)
{
	struct ns_key from, to;

	ns_key_start(&from, c->groups[c->at], NS_T_INODE);
	ns_key_start(&to, c->groups[c->at], NS_T_REGION + 1);
	return rows_iter_new(c->set->config.back, ns_key_get(&from),
			     ns_key_get(&to), &c->it);
}

/* The next row that names values. 0, -ENOENT, -EIO. */
static int clean_next_row(struct shard_clean *c)
{
	struct ns_key region;
	int rv;

	for (;;) {
		rv = rows_iter_next(c->it, &c->key, &c->row);
		if (rv != 0)
			return rv;
		c->count.rows++;
		if (c->key.len > 2 && ns_has_values(c->key.p[2]))
			return 0;
		/* types between the two: none of ours */
		ns_key_start(&region, c->groups[c->at], NS_T_REGION);
		rows_iter_seek(c->it, ns_key_get(&region));
	}
}

static int clean_scan(struct shard_clean *c)
{
	int rv = c->it == NULL ? clean_open(c) : 0;

	for (unsigned n = 0; n < CLEAN_ROWS && rv == 0; n++) {
		if (!c->pending) {
			rv = clean_next_row(c);
			if (rv != 0)
				break;
			c->skip = 0;
		}
		c->pending = true;
		/* a row more than values has no room for its key */
		if (c->n_rows == CLEAN_VALUES || clean_full(c))
			return 0;
		rv = clean_one_row(c);
		if (rv == 0)
			c->pending = false;
	}
	if (rv == -ENOENT) {
		c->ended = true;
		return 0;
	}
	return rv < 0 ? rv : 0;
}

static void clean_run(struct env_work *work)
{
	struct shard_clean *c = CONTAINER_OF(work, struct shard_clean, work);

	c->rv = clean_scan(c);
}

/* --- the end of a step --- */

static void clean_drop(struct shard_clean *c)
{
	for (unsigned i = 0; i < c->n_values; i++)
		mem_free(c->values[i].bytes);
	for (unsigned i = 0; i < c->n_rows; i++)
		mem_free(c->rows[i].key);
	c->n_values = c->n_rows = 0;
	c->bytes = 0;
}

static void clean_close(struct shard_clean *c)
{
	rows_iter_free(c->it);
	c->it = NULL;
	c->pending = c->ended = false;
}

static void clean_end(struct shard_clean *c, int rv)
{
	shard_clean_fn done = c->done;

	if (c->held)
		raft_snaps_release(c->set->snaps);
	c->held = false;
	clean_drop(c);
	if (rv == 0 && c->ended) {
		clean_close(c);
		c->at++;
	}
	if (rv == 0 && c->at < c->n_groups)
		rv = 1;
	c->done = NULL;
	done(c->arg, rv);
}

/* --- the loop: rows turn to the new places --- */

static const struct clean_value *clean_find(const struct shard_clean *c,
					    const struct ns_value_at *v)
{
	for (unsigned i = 0; i < c->n_values; i++) {
		const struct ns_value_at *old = &c->values[i].old;

		if (clean_same(old, v) && wire_u128_eq(old->hash, v->hash))
			return &c->values[i];
	}
	return NULL;
}

static int clean_patch_value(void *arg, const struct ns_value_at *v)
{
	struct shard_clean *c = arg;
	const struct clean_value *to = clean_find(c, v);

	if (to == NULL)
		return 0;
	ns_value_move(c->patched.data, v->at, to->append.pos.gen,
		      to->append.body_off);
	c->count.moved++;
	c->seen++;
	return 0;
}

/* 0, -EAGAIN: it has to be loaded. */
static int clean_patch_row(struct shard_clean *c, const struct clean_row *r)
{
	struct wire_bytes key = wire_bytes(r->key, r->len), row;
	int rv = rows_get(c->txn, key, &row);

	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	buf_reset(&c->patched);
	buf_add(&c->patched, row.p, row.len);
	if (c->patched.err != 0)
		return c->patched.err;
	c->seen = 0;
	rv = ns_values_each(r->key[2], row, clean_patch_value, c);
	if (rv != 0 || c->seen == 0)
		return rv;
	return rows_put(c->txn, key,
			wire_bytes(c->patched.data, c->patched.len));
}

static void clean_patch(struct shard_clean *c);

static void clean_loaded(void *arg, int status)
{
	struct shard_clean *c = arg;

	if (status == -EIO)
		fatal_abort("rows cannot be read: %s", strerror(-status));
	if (status != 0)
		clean_end(c, status); /* copied for nothing */
	else
		clean_patch(c);
}

static void clean_patch(struct shard_clean *c)
{
	uint64_t moved = c->count.moved;
	struct shard_group *g;
	bool load = false;
	int rv = 0;

	for (unsigned i = 0; i < c->n_rows && (rv == 0 || rv == -EAGAIN); i++) {
		rv = clean_patch_row(c, &c->rows[i]);
		load |= rv == -EAGAIN;
	}
	if (load && (rv == 0 || rv == -EAGAIN)) {
		c->count.moved = moved;
		rows_txn_load(c->txn, clean_loaded, c);
		return;
	}
	g = shard_find(c->set, c->groups[c->at]);
	if (rv == 0 && g != NULL && !g->installing && c->count.moved > moved)
		rv = shard_commit_moved(g, c->txn);
	else
		rows_txn_reset(c->txn);
	if (rv == -EIO)
		fatal_abort("rows cannot be written: %s", strerror(-rv));
	clean_end(c, rv);
}

static void clean_appended(struct seg_append *a)
{
	struct clean_value *v = CONTAINER_OF(a, struct clean_value, append);
	struct shard_clean *c = v->c;

	if (--c->under_way == 0)
		clean_patch(c);
}

/* The inode, and the region or 0: for people, nobody reads them. */
static void clean_label(const struct shard_clean *c, struct seg_append *a)
{
	const struct clean_row *r = &c->rows[0];

	a->group = c->groups[c->at];
	if (r->len >= NS_KEY_REST + 8)
		a->a = ns_be64(r->key + NS_KEY_REST);
	if (r->len >= NS_KEY_REST + 16)
		a->b = ns_be64(r->key + NS_KEY_REST + 8);
}

static void clean_append(struct shard_clean *c)
{
	if (c->set->snaps != NULL) {
		raft_snaps_hold(c->set->snaps);
		c->held = true;
	}
	c->under_way = c->n_values;
	for (unsigned i = 0; i < c->n_values; i++) {
		struct clean_value *v = &c->values[i];

		v->append = (struct seg_append){
			.type = SEG_VALUE,
			.iov = { { v->bytes, v->old.len } },
			.niov = 1,
			.has_hash = true,
			.hash = v->old.hash,
			.done = clean_appended,
		};
		clean_label(c, &v->append);
		c->count.bytes += v->old.len;
		seg_append(c->set->port, &v->append);
	}
}

static void clean_ran(struct env_work *work)
{
	struct shard_clean *c = CONTAINER_OF(work, struct shard_clean, work);

	if (c->rv == -EIO)
		fatal_abort("rows cannot be read: %s", strerror(-c->rv));
	if (c->rv == 0 && c->n_values > 0)
		clean_append(c);
	else
		clean_end(c, c->rv);
}

/* --- steps --- */

static void clean_synced(void *arg, int status)
{
	struct shard_clean *c = arg;

	if (status != 0)
		fatal_abort("rows cannot be written: %s", strerror(-status));
	env_work(c->set->env, &c->work);
}

static void clean_nothing(struct env_task *task)
{
	struct shard_clean *c = CONTAINER_OF(task, struct shard_clean, task);

	clean_end(c, c->rv);
}

void shard_clean_step(struct shard_clean *c, shard_clean_fn done, void *arg)
{
	assert(c->done == NULL);
	c->done = done;
	c->arg = arg;
	c->rv = 0;
	if (c->at == c->n_groups) {
		env_post(c->set->env, &c->task);
	} else if (c->it != NULL) {
		env_work(c->set->env, &c->work);
	} else {
		c->rv = rows_sync(c->set->rows, clean_synced, c);
		if (c->rv != 0)
			env_post(c->set->env, &c->task);
	}
}

const struct shard_clean_count *shard_clean_count(const struct shard_clean *c)
{
	return &c->count;
}

/* --- life --- */

int shard_clean_new(struct shard_set *set, struct log_seg *segs, size_t n,
		    bool move, struct shard_clean **ret_clean)
{
	struct shard_clean *c = mem_zalloc(sizeof *c);
	unsigned count = 0;

	if (c == NULL)
		return -ENOMEM;
	for (struct shard_group *g = set->groups; g != NULL; g = g->next)
		count++;
	c->set = set;
	c->segs = segs;
	c->n_segs = n;
	c->move = move;
	c->work.run = clean_run;
	c->work.done = clean_ran;
	c->task.run = clean_nothing;
	buf_init(&c->patched, 0);
	c->groups = mem_calloc((size_t)count + 1, sizeof *c->groups);
	c->txn = rows_txn_new(set->rows);
	if (c->groups == NULL || c->txn == NULL) {
		shard_clean_free(c);
		return -ENOMEM;
	}
	for (struct shard_group *g = set->groups; g != NULL; g = g->next)
		c->groups[c->n_groups++] = g->id;
	*ret_clean = c;
	return 0;
}

void shard_clean_free(struct shard_clean *c)
{
	if (c == NULL)
		return;
	clean_drop(c);
	clean_close(c);
	rows_txn_free(c->txn);
	buf_fini(&c->patched);
	mem_free(c->groups);
	mem_free(c);
}
