/*
 * Life of a store: open (store_open.c), assign, start, close.
 *
 * Failure modes after the start: a group that cannot be opened, rows or heads
 * that cannot be written end the process with one sentence.
 */
#include "storaged/store_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/client/client.h"

#define STORE_DRAIN_NS 200000

static void store_ready_run(struct env_task *task);
static void store_loop_start(struct env_task *task);
static void store_loop_tidy(struct env_task *task);

int store_open(const struct store_config *config, struct store **ret_store,
	       struct errbuf *e)
{
	struct store *s = mem_zalloc(sizeof *s);
	unsigned n = loop_set_size(config->loops);
	int rv;

	if (s == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	s->loops_set = config->loops;
	s->server = config->server;
	s->spread_names = config->spread_names;
	s->dir_split_names = config->dir_split_names;
	s->rows_cache = config->rows_cache;
	s->db_cache = config->db_cache;
	s->log_segment = config->log_segment;
	s->bulk_segment = config->bulk_segment;
	s->snap_bytes = config->snap_bytes;
	s->reader_lease_ns = config->reader_lease_ns;
	s->opens_grace_ns = config->opens_grace_ns;
	s->is_check = config->is_check;
	s->read_barrier = config->read_barrier;
	s->ready_task.run = store_ready_run;
	space_init(&s->space);
	s->dir = mem_strdup(config->dir);
	s->loops = mem_calloc(n, sizeof *s->loops);
	rv = s->dir == NULL || s->loops == NULL
		? errbuf_set(e, -ENOMEM, "out of memory")
		: 0;
	for (unsigned i = 0; rv == 0 && i < n; i++) {
		s->loops[i].store = s;
		s->loops[i].index = i;
		s->loops[i].env = loop_env(loop_set_get(config->loops, i));
		s->loops[i].start.run = store_loop_start;
		s->loops[i].tidy.run = store_loop_tidy;
		s->n_loops = i + 1;
	}
	if (rv == 0)
		rv = store_calls_new(s, config, e);
	if (rv == 0)
		rv = store_open_parts(s, e);
	if (rv == 0)
		rv = store_compact_open(s, config, e);
	if (rv != 0) {
		store_close(s);
		return rv;
	}
	space_look(&s->space);
	if (s->server != NULL)
		store_rpc_register(s);
	*ret_store = s;
	return 0;
}

struct wire_u128 store_id(const struct store *s)
{
	return s->super.store;
}

uint64_t store_raft_id(const struct store *s)
{
	return s->super.raft_id;
}

/* --- assign and start --- */

static int store_take_id(struct store *s, uint64_t raft_id, struct errbuf *e)
{
	struct super super = s->super;
	int rv;

	if (raft_id == 0)
		return errbuf_set(e, -EINVAL, "the managers gave no raft id");
	if (s->super.raft_id == raft_id)
		return 0;
	if (s->super.raft_id != 0)
		return errbuf_set(e, -EINVAL,
				  "the managers know this store as %llu, its "
				  "super block says %llu",
				  (unsigned long long)raft_id,
				  (unsigned long long)s->super.raft_id);
	super.raft_id = raft_id;
	rv = super_write(s->loops[0].env->vfs, s->dir, &super);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot write %s/super: %s", s->dir,
				  strerror(-rv));
	s->super = super;
	return store_make_sets(s, e);
}

int store_assign(struct store *s, uint64_t raft_id, const uint16_t *shards,
		 unsigned n, struct errbuf *e)
{
	int rv;

	assert(!s->started);
	rv = store_take_id(s, raft_id, e);
	if (rv != 0)
		return rv;
	mem_free(s->shards);
	s->shards = mem_calloc((size_t)n + 1, sizeof *s->shards);
	if (s->shards == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < n; i++)
		s->shards[i].id = shards[i];
	s->n_shards = n;
	return 0;
}

static void store_ready_run(struct env_task *task)
{
	struct store *s = CONTAINER_OF(task, struct store, ready_task);
	int rv = 0;

	/* all lead, so each has written records */
	if (s->n_shards > 0)
		rv = super_begin(s->loops[0].env->vfs, s->dir, &s->super);
	if (rv != 0)
		fatal("cannot write %s/super: %s", s->dir, strerror(-rv));
	s->ready(s->ready_arg);
}

void store_on_role(void *arg, uint16_t group, bool leader)
{
	struct store_loop *l = arg;
	struct store *s = l->store;

	if (!leader)
		return;
	for (unsigned i = 0; i < s->n_shards; i++) {
		if (s->shards[i].id != group || s->shards[i].led)
			continue;
		s->shards[i].led = true;
		if (atomic_fetch_add(&s->leading, 1) + 1 == s->n_shards)
			env_post(s->loops[0].env, &s->ready_task);
		return;
	}
}

/* On its own loop: opens this loop's shards and starts them. */
static void store_loop_start(struct env_task *task)
{
	struct store_loop *l = CONTAINER_OF(task, struct store_loop, start);
	struct store *s = l->store;
	struct errbuf e = { "" };
	int rv = 0;

	for (unsigned i = 0; i < s->n_shards && rv == 0; i++)
		if (s->shards[i].id % s->n_loops == l->index)
			rv = shard_open(l->set, s->shards[i].id,
					&s->super.raft_id, 1, &e);
	if (rv == 0) {
		rv = shard_set_start(l->set);
		if (rv != 0)
			errbuf_set(&e, rv, "%s", strerror(-rv));
	}
	if (rv != 0)
		fatal("cannot start the store's shards: %s", e.text);
	l->serving = true;
	if (l->index == 0) {
		chunk_loop_start_saving(l->chunks);
		space_start(&s->space);
		if (!s->is_check)
			compact_start_watching(s->compact);
		if (!s->is_check && s->orphans != NULL)
			orphans_start(s->orphans);
		store_place_start(s);
	}
}

int store_start(struct store *s, void (*ready)(void *arg), void *arg,
		struct errbuf *e)
{
	int rv;

	if (s->started || s->loops[0].set == NULL)
		return errbuf_set(e, -EINVAL, "the store has no raft id yet");
	rv = store_compact_start(s, e);
	if (rv != 0)
		return rv;
	s->started = true;
	s->ready = ready;
	s->ready_arg = arg;
	for (unsigned i = 0; i < s->n_loops; i++)
		env_post(s->loops[i].env, &s->loops[i].start);
	if (s->n_shards == 0)
		env_post(s->loops[0].env, &s->ready_task);
	return 0;
}

/* --- checkpoints and row snapshots --- */

void store_on_tidied(void *arg)
{
	struct store_loop *l = arg;
	struct raft_snaps *snaps = shard_set_snaps(l->set);
	struct raft_snaps_stats files = { 0 };
	struct shard_stats shards;

	shard_set_stats(l->set, &shards);
	if (snaps != NULL)
		raft_snaps_stats(snaps, &files);
	l->checkpoints = shards.checkpoints;
	l->snapshots = files.files;
}

static void store_tidy_snaps(void *arg, int status)
{
	struct store_loop *l = arg;

	(void)status;
	raft_snaps_now(shard_set_snaps(l->set), NULL);
}

static void store_loop_tidy(struct env_task *task)
{
	struct store_loop *l = CONTAINER_OF(task, struct store_loop, tidy);

	l->tidying = false;
	if (l->serving) /* without memory the usual ones come */
		(void)shard_set_checkpoint(l->set, store_tidy_snaps, l);
}

void store_checkpoint(struct store *s)
{
	for (unsigned i = 0; i < s->n_loops; i++)
		if (!atomic_exchange(&s->loops[i].tidying, true))
			env_post(s->loops[i].env, &s->loops[i].tidy);
}

/* --- what shards ask for --- */

void store_on_hold(void *arg, bool on)
{
	struct store_loop *l = arg;

	if (on)
		log_clean_hold(l->store->log_clean);
	else
		log_clean_release(l->store->log_clean);
}

/* This store is the only one: the managers refuse a second. */
int store_on_drop(void *arg, const struct wire_u128 *slices, unsigned n,
		  void (*done)(void *done_arg, uint32_t status),
		  void *done_arg)
{
	struct store_loop *l = arg;

	return chunk_drop(l->chunks, slices, n, done, done_arg);
}

struct body *store_on_chunk(void *arg, struct wire_u128 slice, uint32_t index)
{
	struct store_loop *l = arg;
	const struct chunk_id id = { slice, index };
	struct body *body;

	return chunk_read(l->store->chunks, &id, &body) == RPC_STATUS_OK
		       ? body : NULL;
}

void store_on_rot(void *arg, uint16_t group, uint64_t gen, uint64_t off)
{
	struct store_loop *l = arg;

	(void)group;
	(void)gen;
	(void)off;
	l->store->rot++;
}

void store_stats(struct store *s, struct store_stats *ret)
{
	struct chunk_stats chunks;

	memset(ret, 0, sizeof *ret);
	chunk_store_stats(s->chunks, &chunks);
	ret->rot = s->rot + chunks.rot;
	ret->chunk_puts = chunks.puts;
	ret->chunk_gets = chunks.gets;
	ret->chunk_put_bytes = chunks.put_bytes;
	ret->chunk_get_bytes = chunks.get_bytes;
	ret->full = s->space.full;
	for (unsigned i = 0; i < s->n_loops; i++) {
		ret->checkpoints += s->loops[i].checkpoints;
		ret->snapshots += s->loops[i].snapshots;
	}
}

void store_counts(const struct store *s, struct store_counts *ret)
{
	memset(ret, 0, sizeof *ret);
	for (unsigned i = 0; i < s->n_loops; i++)
		if (s->loops[i].set != NULL)
			shard_set_counts(s->loops[i].set, ret);
}

/* --- close --- */

/*
 * Puts all rows into the database, so that the next start replays nothing. No
 * record in the log says so: the loops that would end its append have stopped,
 * and the applied indexes in the rows are what counts.
 */
static int store_save(struct store *s)
{
	int rv = 0;

	for (unsigned i = 0; i < s->n_loops && rv == 0; i++)
		rv = shard_set_flush(s->loops[i].set);
	return rv == 0 ? rows_back_checkpoint(s->rows) : rv;
}

static bool store_idle(const struct store *s)
{
	/* rows must not be saved before the log that made them */
	if (s->log != NULL && seg_head_is_loose(s->log))
		return false;
	for (unsigned i = 0; i < s->n_loops; i++) {
		const struct store_loop *l = &s->loops[i];

		if ((l->log_port != NULL && !seg_port_idle(l->log_port)) ||
		    (l->bulk_port != NULL && !seg_port_idle(l->bulk_port)))
			return false;
	}
	return true;
}

/*
 * The flushers still write what was appended before the loops stopped; their
 * bytes belong to those who are freed next. A flush ends or aborts.
 */
static void store_drain(struct store *s)
{
	struct timespec pause = { 0, STORE_DRAIN_NS };

	loop_set_drain(s->loops_set);
	while (!store_idle(s)) {
		(void)nanosleep(&pause, NULL);
		loop_set_drain(s->loops_set);
	}
}

void store_space(struct store *s, uint64_t *ret_total, uint64_t *ret_avail)
{
	*ret_total = s->space.total;
	*ret_avail = s->space.avail;
}

void store_on_space(void *arg, uint64_t *ret_total, uint64_t *ret_avail)
{
	struct store_loop *l = arg;

	store_space(l->store, ret_total, ret_avail);
}

uint64_t store_on_room(void *arg)
{
	const struct store_loop *l = arg;

	return space_room(&l->store->space);
}

void store_close(struct store *s)
{
	int rv;

	if (s == NULL)
		return;
	if (s->compact != NULL)
		compact_suspend(s->compact);
	if (s->orphans != NULL)
		orphans_stop(s->orphans);
	store_drain(s);
	space_stop(&s->space);
	store_place_stop(s);
	for (unsigned i = 0; i < s->n_loops; i++)
		if (s->loops[i].set != NULL)
			shard_set_stop(s->loops[i].set);
	if (s->clean && s->started) {
		rv = store_save(s);
		if (rv != 0)
			log_warn(rv, "last checkpoint failed; the next start "
				     "takes longer");
	}
	/* its flusher reads what the shards own, so it ends first */
	seg_head_close(s->log);
	log_clean_free(s->log_clean);
	for (unsigned i = 0; i < s->n_loops; i++) {
		chunk_loop_free(s->loops[i].chunks); /* tells the shards */
		shard_set_free(s->loops[i].set);
	}
	compact_free(s->compact);
	orphans_free(s->orphans);
	client_set_free(s->clients);
	chunk_store_close(s->chunks, s->clean);
	seg_head_close(s->bulk);
	for (unsigned i = 0; i < s->n_loops; i++) {
		seg_port_free(s->loops[i].log_port);
		seg_port_free(s->loops[i].bulk_port);
	}
	rows_back_close(s->rows);
	raft_start_free(s->snaps);
	space_fini(&s->space);
	mem_free(s->snap_dir);
	mem_free(s->loops);
	mem_free(s->shards);
	mem_free(s->dir);
	mem_free(s);
}
