/*
 * Directories of a few names are split as huge ones are
 * (docs/decisions/0034-huge-directories.md): a client asks for a hidden segment
 * in any shard, then moves a few names into it, or from one segment into
 * another. Like every client it may never hear of the answer; then the number
 * is lost, or the segment is there and nobody knows. A segment may have gone
 * when it is named again: so it comes again.
 *
 * The model has no segments: that nobody sees them is what it checks.
 */
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "tests/sim/sim_tree.h"

/* Seams: what happens in one run of a command. One world at a time. */
static struct tree *world;
static const struct ns_cmd *running;
static unsigned drops; /* segments that were taken out */

static struct sim *sim_of(const struct tree *w)
{
	return sim_cluster_sim(w->c);
}

/* --- what is known of segments --- */

uint64_t tree_segment_dir(const struct tree *w, uint64_t at)
{
	for (unsigned i = 0; i < w->n_segments; i++)
		if (w->segments[i].ino == at)
			return w->segments[i].dir;
	return at;
}

static void segment_note(struct tree *w, uint64_t ino, uint64_t dir)
{
	if (tree_segment_dir(w, ino) != ino)
		return;
	w->segments = sim_grow(w->segments, w->n_segments, &w->cap_segments,
			       sizeof *w->segments);
	w->segments[w->n_segments++] = (struct segment){ ino, dir };
}

/* One that dir has, or had: the later ones are the likelier ones. */
static uint64_t segment_pick(struct tree *w, uint64_t dir)
{
	for (unsigned i = w->n_segments; i-- > 0;)
		if (w->segments[i].dir == dir && sim_chance(sim_of(w), 400))
			return w->segments[i].ino;
	return 0;
}

/* --- what rows say, when something is wrong --- */

static void dump_entries(struct rows_back *back, uint64_t dir)
{
	struct wire_bytes key, value;
	struct rows_iter *it;
	struct ns_key from, to;

	ns_key_id(&from, ino_shard(dir), NS_T_DENT, dir);
	to = from;
	ns_key_end(&to);
	if (rows_iter_new(back, ns_key_get(&from), ns_key_get(&to), &it) != 0)
		return;
	while (rows_iter_next(it, &key, &value) == 0)
		printf(" %.*s", (int)(key.len - NS_KEY_REST - 8),
		       (const char *)key.p + NS_KEY_REST + 8);
	printf("\n");
	rows_iter_free(it);
}

static void dump_dir(struct rows_back *back, uint64_t dir)
{
	struct ns_row_map map = { .v = 0 };
	struct wire_reader r;
	struct ns_range g;
	struct ns_key k;
	uint8_t *value;
	uint32_t n;
	size_t len;

	printf("# entries of %llx:", (unsigned long long)dir);
	dump_entries(back, dir);
	ns_key_id(&k, ino_shard(dir), NS_T_SEGMENT, dir);
	if (rows_back_get(back, ns_key_get(&k), &value, &len) != 0)
		return;
	(void)ns_row_map_load(&map, wire_bytes(value, len));
	r = wire_vec_reader(map.segments, &n);
	while (ns_map_next(&r, &n, &g) == 0) {
		printf("# segment %llx [%.*s, %.*s):",
		       (unsigned long long)g.ino, (int)g.first.len,
		       (const char *)g.first.p, (int)g.end.len,
		       (const char *)g.end.p);
		dump_entries(back, g.ino);
	}
	mem_free(value);
}

void tree_split_dump(const struct tree *w, uint64_t dir)
{
	for (unsigned i = 0; i < sim_cluster_size(w->c); i++) {
		struct proc *p = sim_cluster_proc(w->c, i);

		if (p == NULL)
			continue;
		printf("# rows of node %u\n", i);
		dump_dir(p->store.back, dir);
	}
}

/* --- the client --- */

static void split_send(struct tree *w, unsigned client, uint64_t dir,
		       uint64_t segment)
{
	struct sim *s = sim_of(w);
	struct rpc_dir_split q = { .dir = dir, .segment = segment,
				   .names = 1 + (uint32_t)sim_rand(s, 4) };
	uint64_t from = segment_pick(w, dir);
	struct buf b;

	if (from != 0 && from != segment && sim_chance(s, 400))
		q.dir = from;
	if (sim_chance(s, 20))
		q.names = 512;
	if (sim_chance(s, 400))
		q.from = wire_cstr(tree_name(w));
	buf_init(&b, 0);
	(void)rpc_dir_split_encode(&q, &b);
	tree_send(w, client, RPC_TAG_dir_split, &b, 0);
}

void tree_split(struct tree *w, unsigned client, uint64_t dir)
{
	struct rpc_dir_segment q = { .client = 0 };
	struct sim *s = sim_of(w);
	uint64_t segment = segment_pick(w, dir);
	struct buf b;

	if (segment != 0 && sim_chance(s, 500)) {
		split_send(w, client, dir, segment);
		return;
	}
	buf_init(&b, 0);
	(void)rpc_dir_segment_encode(&q, &b);
	tree_send(w, client, RPC_TAG_dir_segment, &b,
		  (uint16_t)(1 + sim_rand(s, w->groups)));
	w->ops->dir = dir;
}

void tree_split_go(struct tree *w, unsigned client, uint64_t dir,
		   struct wire_bytes payload)
{
	struct rpc_dir_segment_rsp rsp;

	if (rpc_dir_segment_rsp_decode(&rsp, payload.p, payload.len) != 0 ||
	    rsp.segment == 0)
		sim_fail(w->c, "DIR_SEGMENT gives no number");
	if (w->heal == HEAL_NOT)
		split_send(w, client, dir, rsp.segment);
}

/* --- effects --- */

static void split_done(struct tree *w, const struct ns_cmd *c,
		       const struct ns_answer *a)
{
	struct rpc_dir_split_rsp rsp = { 0 };
	struct rpc_dir_split q;
	uint64_t dir;

	(void)rpc_dir_split_decode(&q, c->payload, c->len);
	(void)rpc_dir_split_rsp_decode(&rsp, a->payload.data, a->payload.len);
	dir = tree_segment_dir(w, q.dir);
	if (names_dir(w->dir, dir) == NULL)
		sim_fail(w->c, "%llx was split, which is not there",
			 (unsigned long long)dir);
	if (rsp.moved == 0 || rsp.moved > q.names)
		sim_fail(w->c, "%u names moved, of at most %u", rsp.moved,
			 q.names);
	segment_note(w, q.segment, dir);
	sim_cluster_count(w->c, SIM_N_SPLITS, 1);
	sim_trace(sim_of(w), "split dir=%llx from=%llx to=%llx names=%u",
		  (unsigned long long)dir, (unsigned long long)q.dir,
		  (unsigned long long)q.segment, rsp.moved);
}

void tree_split_effect(struct tree *w, const struct ns_cmd *c,
		       const struct ns_answer *a)
{
	if (a->status != RPC_STATUS_OK)
		return;
	if (c->tag == RPC_TAG_dir_split)
		split_done(w, c, a);
	sim_cluster_count(w->c, SIM_N_SEGMENTS_GONE, drops);
}

void tree_split_begin(struct tree *w)
{
	world = w;
}

void tree_split_run(const struct ns_cmd *c)
{
	running = c;
	drops = 0;
}

void tree_split_ran(const struct ns_cmd *c, const struct ns_answer *a)
{
	bool locked = a->status == RPC_STATUS_LOCKED;

	running = NULL;
	if (locked && a->holder.hi == 0 && a->holder.lo == 0)
		sim_cluster_count(world->c, SIM_N_STALE_MAPS, 1);
	else if (locked && c->tag == RPC_TAG_dir_split)
		sim_cluster_count(world->c, SIM_N_SPLIT_WAITS, 1);
}

WRAP(int, ns_segment_drop, struct ns_ctx *x, struct ns_inode *sp,
     struct ns_inode **ret)
{
	int rv = __real_ns_segment_drop(x, sp, ret);

	drops += rv == 0;
	return rv;
}

/* --- pages --- */

/* Planted: a segment that went has no names any more. */
WRAP(int, ns_scan_readdir, struct rows_back *back, uint16_t shard,
     const struct rpc_readdir *m, struct ns_answer *a)
{
	int rv = __real_ns_scan_readdir(back, shard, m, a);
	struct rpc_readdir_rsp rsp;

	if (rv != 0 || m->at == 0 || m->at == m->dir ||
	    rpc_readdir_rsp_decode(&rsp, a->payload.data, a->payload.len) != 0)
		return rv;
	if (rsp.at != m->dir || wire_bytes_cmp(rsp.from, m->from) > 0)
		return 0;
	sim_cluster_count(world->c, SIM_N_LOST_PAGES, 1);
	if (sim_plant != PLANT_PAGE)
		return 0;
	rsp = (struct rpc_readdir_rsp){ .eof = 1 };
	buf_reset(&a->payload);
	return rpc_readdir_rsp_encode(&rsp, &a->payload);
}

/* Planted: the listing goes on behind the directory that lost it. */
WRAP(int, ns_scan_list, struct rows_back *back, uint16_t shard,
     const struct rpc_list *m, struct ns_answer *a)
{
	int rv = __real_ns_scan_list(back, shard, m, a);
	struct rpc_list_rsp rsp;
	struct buf out;

	if (rv != 0 ||
	    rpc_list_rsp_decode(&rsp, a->payload.data, a->payload.len) != 0 ||
	    rsp.below != 2)
		return rv;
	sim_cluster_count(world->c, SIM_N_LOST_PAGES, 1);
	if (sim_plant != PLANT_PAGE || m->path.len == 0)
		return 0;
	rsp.below = 1;
	buf_init(&out, 0);
	rv = rpc_list_rsp_encode(&rsp, &out);
	buf_fini(&a->payload);
	a->payload = out;
	return rv;
}

/* --- planted --- */

/* A range parts the two rows of a name. */
WRAP(bool, ns_range_closed, struct wire_bytes first, struct wire_bytes end)
{
	if (sim_plant == PLANT_RANGE && running != NULL)
		return wire_bytes_cmp(first, end) < 0;
	return __real_ns_range_closed(first, end);
}

/* A split does not wait for those who found that a name belongs here. */
bool tree_split_ignores(const struct ns_lock *lock)
{
	return sim_plant == PLANT_PIN && running != NULL &&
	       running->tag == RPC_TAG_dir_split &&
	       lock != NULL && lock->mode == RPC_LOCK_PIN;
}

/* The last name leaves a segment, which stays. */
WRAP(int, ns_dir_prune, struct ns_ctx *x, struct ns_inode *dp)
{
	if (sim_plant == PLANT_EMPTY && dp->r.flags & NS_INODE_SEGMENT)
		return 0;
	return __real_ns_dir_prune(x, dp);
}

WRAP(int, ns_dir_settle, struct ns_ctx *x, struct ns_inode *dp)
{
	if (sim_plant == PLANT_EMPTY && dp->r.flags & NS_INODE_SEGMENT)
		return 0;
	return __real_ns_dir_settle(x, dp);
}

/*
 * From another shard the map is changed by who only looked at it; or a name
 * that is in no range when it is looked at goes into the directory later.
 */
WRAP(int, ns_far_map, struct ns_ctx *x, struct wire_bytes key, uint8_t mode,
     struct ns_row_map *ret)
{
	if (sim_plant == (mode == RPC_LOCK_ALL ? PLANT_MAP : PLANT_LOOK))
		mode = RPC_LOCK_LOOK;
	return __real_ns_far_map(x, key, mode, ret);
}

/* Whoever says that its name is here is believed. */
WRAP(int, ns_segment_at, struct ns_ctx *x, uint64_t dir, uint64_t at,
     struct wire_bytes name, uint64_t *ret_dir)
{
	struct ns_inode *ip;

	if (sim_plant == PLANT_AT && at != 0 && !ns_is_far(x, at) &&
	    ns_inode_load(x, at, &ip) == 0 && ip->r.flags & NS_INODE_SEGMENT) {
		*ret_dir = at;
		return 0;
	}
	return __real_ns_segment_at(x, dir, at, name, ret_dir);
}
