/*
 * Opening a store: directory -> super block -> rows, row snapshots, index of
 * chunks -> log (its records go to the loops' Raft hosts) -> bulk (its records
 * go to the index) -> ports.
 *
 * Failure modes: a super block that is damaged, or missing beside a log: never
 * taken for a new store. Rows that are damaged are moved away; they, and rows
 * that are gone or old, are made again from row snapshots and the log
 * (common/raft/raft_snap.h), or the start is refused with one sentence. A
 * damaged index of chunks is made again from the bulk head.
 */
#include "storaged/store_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/vfs_dir.h"

#define STORE_DB_CACHE ((size_t)8 << 20)
#define STORE_INDEX_CACHE ((size_t)2 << 20)
#define STORE_BULK_FIRST ((uint64_t)16 << 20)
#define STORE_KEPT_SHARE 4 /* of the reserve is a file, at most */
#define STORE_KEPT_MAX ((uint64_t)64 << 20)

char *store_path(const struct store *s, const char *name, struct errbuf *e)
{
	char *path = mem_printf("%s/%s", s->dir, name);

	if (path == NULL)
		errbuf_set(e, -ENOMEM, "out of memory");
	return path;
}

static struct vfs *store_vfs(const struct store *s)
{
	return s->loops[0].env->vfs;
}

/* --- super block --- */

static int store_count(void *arg, const char *name)
{
	(void)name;
	*(unsigned *)arg += 1;
	return 1;
}

/* True when the directory is there and holds something. */
static bool store_has(struct store *s, const char *name)
{
	struct errbuf e;
	char *path = store_path(s, name, &e);
	unsigned n = 0;

	if (path == NULL)
		return true; /* the careful answer */
	(void)store_vfs(s)->ops->list(store_vfs(s), path, store_count, &n);
	mem_free(path);
	return n > 0;
}

static int store_new_super(struct store *s, struct errbuf *e)
{
	int rv;

	if (store_has(s, "log") || store_has(s, "bulk"))
		return errbuf_set(e, -EINVAL,
				  "%s/super is missing although there is data: "
				  "the store cannot prove who it is", s->dir);
	memset(&s->super, 0, sizeof s->super);
	s->super.role = SUPER_ROLE_STORE;
	env_random(s->loops[0].env, &s->super.store, sizeof s->super.store);
	rv = super_write(store_vfs(s), s->dir, &s->super);
	return rv == 0 ? 0
		       : errbuf_set(e, rv, "cannot write %s/super: %s", s->dir,
				    strerror(-rv));
}

static int store_open_super(struct store *s, struct errbuf *e)
{
	int rv = super_read(store_vfs(s), s->dir, &s->super, e);

	if (rv == -ENOENT)
		rv = store_new_super(s, e);
	if (rv == 0 && s->super.role != SUPER_ROLE_STORE)
		rv = errbuf_set(e, -EINVAL,
				"%s is not the directory of a store", s->dir);
	return rv;
}

/* --- databases --- */

static int store_open_rows(struct store *s, struct errbuf *e)
{
	char *path = store_path(s, "rows", e);
	bool damaged = false;
	int rv;

	if (path == NULL)
		return -ENOMEM;
	rv = rows_back_open_new(path, s->db_cache == 0 ? STORE_DB_CACHE
						       : s->db_cache,
				&s->rows, &damaged, e);
	if (rv == 0 && damaged)
		log_warnx("the row database is damaged and was moved to "
			  "%s.damaged: %s", path, e->text);
	mem_free(path);
	return rv;
}

static int store_open_snaps(struct store *s, struct errbuf *e)
{
	s->snap_dir = store_path(s, "snap", e);
	if (s->snap_dir == NULL)
		return -ENOMEM;
	return raft_start_open(store_vfs(s), s->snap_dir, s->super.store,
			       s->rows, &s->snaps, e);
}

static int store_open_chunks(struct store *s, struct errbuf *e)
{
	char *path = store_path(s, "chunks", e);
	int rv;

	if (path == NULL)
		return -ENOMEM;
	rv = chunk_store_open(path, STORE_INDEX_CACHE, &s->chunks, e);
	mem_free(path);
	return rv;
}

static bool store_on_owns(void *arg, uint16_t group)
{
	struct store_loop *l = arg;

	return group % l->store->n_loops == l->index;
}

int store_make_sets(struct store *s, struct errbuf *e)
{
	for (unsigned i = 0; i < s->n_loops; i++) {
		struct store_loop *l = &s->loops[i];
		struct shard_config config = {
			.env = l->env,
			.back = s->rows,
			.rows_cache = s->rows_cache,
			.id = s->super.raft_id,
			.read_barrier = s->read_barrier,
			.owns = store_on_owns,
			.snap_dir = s->snap_dir,
			.start = s->snaps,
			.store = s->super.store,
			.snap_bytes = s->snap_bytes,
			.tidied = store_on_tidied,
			.role = store_on_role,
			.rot = store_on_rot,
			.room = store_on_room,
			.space = store_on_space,
			.drop = store_on_drop,
			.hold = store_on_hold,
			.chunk = store_on_chunk,
			.reader_lease_ns = s->reader_lease_ns,
			.grace_ns = s->opens_grace_ns,
			.call = s->clients == NULL ? NULL : store_on_call,
			.call_cancel = store_on_call_cancel,
			.place = store_on_place,
			.dir_split_names = s->dir_split_names,
			.segment_place = store_on_segment_place,
			.arg = l,
		};
		int rv = shard_set_new(&config, &l->set);

		if (rv != 0)
			return errbuf_set(e, rv, "cannot host shards: %s",
					  strerror(-rv));
		if (s->log != NULL)
			shard_set_log(l->set, s->log, l->log_port);
	}
	return 0;
}

/* --- heads --- */

/* Its tables are for all loops. */
static int store_on_log_start(struct store *s, const struct seg_rec *rec)
{
	int rv = 0;

	for (unsigned i = 0; i < s->n_loops && rv == 0; i++)
		if (s->loops[i].set != NULL)
			rv = shard_set_recover(s->loops[i].set, rec);
	return rv;
}

static int store_on_log_record(void *arg, const struct seg_rec *rec)
{
	struct store *s = arg;
	struct store_loop *l = &s->loops[rec->group % s->n_loops];
	int rv = log_doubt_record(s->doubt, rec);

	if (rv != 0)
		return rv;
	if (rec->type == SEG_START)
		return store_on_log_start(s, rec);
	if (rec->type != SEG_ENTRY && rec->type != SEG_HARD &&
	    rec->type != SEG_RESET)
		return 0;
	if (l->set == NULL) /* entries, yet the super block has no raft id */
		return -EBADMSG;
	return shard_set_recover(l->set, rec);
}

static int store_on_log_from(void *arg, const struct seg_rec *start,
			     uint64_t *ret_gen)
{
	struct store *s = arg;
	int rv = raft_start_from(s->snaps, start, ret_gen, s->open_e);

	for (unsigned i = 0; i < s->n_loops && rv == 0; i++)
		if (s->loops[i].set != NULL)
			rv = raft_start_recover(
				s->snaps, start,
				shard_set_host(s->loops[i].set));
	return rv;
}

/* The log says something of the group. */
static bool store_knows_group(void *arg, uint16_t group)
{
	struct store *s = arg;
	struct store_loop *l = &s->loops[group % s->n_loops];

	return l->set != NULL &&
	       raft_host_has_group(shard_set_host(l->set), group);
}

static int store_on_bulk_record(void *arg, const struct seg_rec *rec)
{
	struct store *s = arg;

	return chunk_store_recover(s->chunks, rec);
}

static void store_log_rot(struct store *s, const struct seg_rot *rot,
			  const char *where)
{
	s->rot += rot->n;
	log_warnx("bit rot in %s segment=%llx offset=%llu sequence=%llu "
		  "records=%llu", where, (unsigned long long)rot->pos.gen,
		  (unsigned long long)rot->pos.off,
		  (unsigned long long)rot->seq, (unsigned long long)rot->n);
}

static void store_on_log_rot(void *arg, const struct seg_rot *rot)
{
	const struct seg_rec *rec = rot->rec;
	struct store *s = arg;

	store_log_rot(s, rot, "the log");
	log_doubt_rot(s->doubt, rot);
	for (unsigned i = 0; i < s->n_loops; i++)
		if (s->loops[i].set != NULL &&
		    (rec == NULL || rec->type != SEG_ENTRY ||
		     rec->group % s->n_loops == i))
			shard_set_recover_rot(s->loops[i].set, rot);
}

static void store_on_bulk_rot(void *arg, const struct seg_rot *rot)
{
	struct store *s = arg;

	store_log_rot(s, rot, "bulk");
	chunk_store_recover_rot(s->chunks, rot);
}

static void store_start_body(void *arg, uint64_t gen, struct buf *buf)
{
	struct store *s = arg;

	for (unsigned i = 0; i < s->n_loops; i++)
		if (s->loops[i].set != NULL)
			raft_host_start_body(shard_set_host(s->loops[i].set),
					     gen, buf);
}

/* A head has no space. The flusher of one of them. */
static bool store_on_no_space(void *arg)
{
	struct store *s = arg;

	return space_give(&s->space);
}

static int store_open_head(struct store *s, bool bulk, struct errbuf *e)
{
	char *path = store_path(s, bulk ? "bulk" : "log", e);
	struct seg_config config = {
		.dir = path,
		.bulk = bulk,
		.segment_size = bulk ? s->bulk_segment : s->log_segment,
		.first_size = bulk ? STORE_BULK_FIRST : 0,
		.from_seq = bulk ? chunk_store_from(s->chunks) : 0,
		.on_record = bulk ? store_on_bulk_record : store_on_log_record,
		.on_rot = bulk ? store_on_bulk_rot : store_on_log_rot,
		.scan_from = bulk ? NULL : store_on_log_from,
		.start_body = bulk ? NULL : store_start_body,
		.no_space = store_on_no_space,
		.arg = s,
	};
	int rv;

	if (path == NULL)
		return -ENOMEM;
	super_store_bytes(&s->super, config.store_id);
	s->open_e = e;
	rv = seg_head_open(s->loops[0].env, &config, bulk ? &s->bulk : &s->log,
			   e);
	s->open_e = NULL;
	mem_free(path);
	return rv;
}

static int store_open_log(struct store *s, struct errbuf *e)
{
	int rv = log_doubt_new(s->snaps, s->rows, &s->doubt);

	if (rv != 0)
		return errbuf_set(e, rv, "out of memory");
	rv = store_open_head(s, false, e);
	if (rv == 0)
		rv = raft_start_check(s->snaps, store_knows_group, s, e);
	if (rv == 0) {
		rv = log_doubt_settle(s->doubt, s->log);
		if (rv != 0)
			errbuf_set(e, rv, "rows cannot be made again: %s",
				   strerror(-rv));
	}
	log_doubt_free(s->doubt);
	s->doubt = NULL;
	return rv;
}

static int store_open_loop(struct store *s, struct store_loop *l,
			   struct errbuf *e)
{
	int rv = seg_port_new(s->log, l->env, &l->log_port);

	if (rv == 0)
		rv = seg_port_new(s->bulk, l->env, &l->bulk_port);
	if (rv == 0)
		rv = chunk_loop_new(s->chunks, l->env, l->bulk_port,
				    &l->chunks);
	if (rv != 0)
		return errbuf_set(e, rv, "cannot open the store's heads: %s",
				  strerror(-rv));
	if (l->set != NULL)
		shard_set_log(l->set, s->log, l->log_port);
	return 0;
}

int store_open_parts(struct store *s, struct errbuf *e)
{
	int rv = vfs_make_dir(store_vfs(s), s->dir);

	if (rv != 0)
		return errbuf_set(e, rv, "cannot make %s: %s", s->dir,
				  strerror(-rv));
	if (s->is_check)
		space_keep_nothing(&s->space);
	rv = space_open(&s->space, s->loops[0].env, s->dir, STORE_KEPT_SHARE,
			STORE_KEPT_MAX);
	if (rv != 0)
		return errbuf_set(e, rv, "out of memory");
	rv = store_open_super(s, e);
	if (rv == 0)
		rv = store_open_rows(s, e);
	if (rv == 0)
		rv = store_open_snaps(s, e);
	if (rv == 0)
		rv = store_open_chunks(s, e);
	if (rv == 0 && s->super.raft_id != 0)
		rv = store_make_sets(s, e);
	if (rv == 0)
		rv = store_open_log(s, e);
	if (rv == 0)
		rv = super_check_log(&s->super, s->dir,
				     seg_head_last_seq(s->log), e);
	if (rv == 0)
		rv = store_open_head(s, true, e);
	if (rv != 0)
		return rv;
	rv = chunk_store_set_bulk(s->chunks, s->bulk);
	if (rv != 0)
		return errbuf_set(e, rv, "%s/chunks cannot be written", s->dir);
	for (unsigned i = 0; i < s->n_loops && rv == 0; i++)
		rv = store_open_loop(s, &s->loops[i], e);
	s->clean = rv == 0;
	return rv;
}
