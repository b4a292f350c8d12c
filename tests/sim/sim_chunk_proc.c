/*
 * The process of the store: index, head, one or two loops on one event loop,
 * the cleaner with its driver. Some starts are done twice: the second one must
 * find what the first one left, and change nothing.
 */
#include "tests/sim/sim_chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define KEPT "/reserve"

static struct vfs *proc_vfs(const struct proc *p)
{
	return p->env->vfs;
}

/* --- space, as store_space.c has it --- */

static uint64_t proc_avail(struct proc *p)
{
	uint64_t total, avail;

	if (proc_vfs(p)->ops->space(proc_vfs(p), "/", &total, &avail) != 0)
		abort();
	return avail;
}

bool proc_is_full(struct proc *p)
{
	return proc_avail(p) + p->kept < p->w->reserve;
}

static void proc_on_space(void *arg, uint64_t *ret_avail,
			  uint64_t *ret_reserve)
{
	struct proc *p = arg;

	*ret_avail = proc_avail(p) + p->kept;
	*ret_reserve = p->w->reserve;
}

static bool proc_no_space(void *arg)
{
	struct proc *p = arg;

	if (p->kept == 0)
		return false;
	(void)proc_vfs(p)->ops->unlink(proc_vfs(p), KEPT);
	p->kept = 0;
	sim_cluster_count(p->w->c, SIM_N_GIVEN, 1);
	return true;
}

/* A file that nobody else can take; where there is room for it. */
static void proc_keep(struct proc *p)
{
	uint64_t want = p->w->reserve / 4;
	struct vfs_file *f;

	if (proc_vfs(p)->ops->open(proc_vfs(p), KEPT, O_RDWR, 0, &f) == 0) {
		(void)proc_vfs(p)->ops->size(f, &p->kept);
		proc_vfs(p)->ops->close(f);
	}
	if (p->kept > 0 || proc_avail(p) < p->w->reserve ||
	    proc_vfs(p)->ops->open(proc_vfs(p), KEPT, O_RDWR | O_CREAT, 0600,
				   &f) != 0)
		return;
	if (proc_vfs(p)->ops->allocate(f, want) == 0)
		p->kept = want;
	proc_vfs(p)->ops->close(f);
}

/* --- start --- */

static int proc_record(void *arg, const struct seg_rec *rec)
{
	struct proc *p = arg;

	return chunk_store_recover(p->cs, rec);
}

static void proc_rot(void *arg, const struct seg_rot *rot)
{
	struct proc *p = arg;

	if (!sim_cluster_disk_bad(p->w->c, 0))
		sim_fail(p->w->c, "rot at %llx:%llu seq %llu",
			 (unsigned long long)rot->pos.gen,
			 (unsigned long long)rot->pos.off,
			 (unsigned long long)rot->seq);
	p->rots += rot->n;
	chunk_store_recover_rot(p->cs, rot);
	sim_cluster_count(p->w->c, SIM_N_ROT, rot->n);
}

/* What recovers. 0 or -errno with e set. */
static int proc_recover(struct proc *p, struct errbuf *e)
{
	struct seg_config config = {
		.dir = "/bulk",
		.store_id = { 1 },
		.segment_size = p->w->segment,
		.first_size = p->w->first,
		.bulk = true,
		.on_record = proc_record,
		.on_rot = proc_rot,
		.no_space = proc_no_space,
		.arg = p,
	};
	int rv;

	p->rots = 0;
	if (rows_back_mem(p->w->image, &p->back) != 0 ||
	    chunk_store_new(p->back, &p->cs) != 0)
		abort();
	config.from_seq = chunk_store_from(p->cs);
	rv = seg_head_open(p->env, &config, &p->bulk, e);
	if (rv == 0 && chunk_store_set_bulk(p->cs, p->bulk) != 0)
		abort();
	return rv;
}

static void proc_unrecover(struct proc *p)
{
	seg_head_abandon(p->bulk);
	chunk_store_close(p->cs, false);
	p->bulk = NULL;
	p->cs = NULL;
}

/*
 * Once more: the same, and nothing is to be done. faults: of the disk when the
 * first one began. One bad read then changes nothing, two of them may.
 */
static int proc_recover_again(struct proc *p, uint64_t faults,
			      struct errbuf *e)
{
	struct crashfs *fs = sim_cluster_disk(p->w->c, 0);
	uint64_t disk = crashfs_hash(fs), rows = check_hash(p);
	uint64_t now = crashfs_n_faults(fs);
	int rv;

	if (sim_chance(sim_of(p->w), 500))
		(void)rows_back_checkpoint(p->back);
	proc_unrecover(p);
	rv = proc_recover(p, e);
	if (sim_cluster_cut(p->w->c, 0) || now - faults > 1 ||
	    crashfs_n_faults(fs) != now)
		return rv;
	if (rv != 0)
		sim_fail(p->w->c, "the second start fails: %s", e->text);
	if (crashfs_hash(fs) != disk)
		sim_fail(p->w->c, "the second start changes the disk");
	if (check_hash(p) != rows)
		sim_fail(p->w->c, "the second start finds another index");
	sim_cluster_count(p->w->c, SIM_N_STARTS_TWICE, 1);
	return 0;
}

static void proc_open_loops(struct proc *p)
{
	for (unsigned i = 0; i < p->w->loops; i++, p->n_loops++)
		if (seg_port_new(p->bulk, p->env, &p->ports[i]) != 0 ||
		    chunk_loop_new(p->cs, p->env, p->ports[i],
				   &p->loops[i]) != 0)
			abort();
	chunk_loop_start_saving(p->loops[0]);
}

static void proc_open_clean(struct proc *p)
{
	const struct compact_config config = {
		.env = p->env,
		.rate = p->w->rate,
		.threshold = 60,
		.min_dead = 4096,
		.space = proc_on_space,
		.arg = p,
	};
	struct compact_head head;

	if (compact_new(&config, &p->compact) != 0 ||
	    chunk_clean_new(p->loops[0], &head) != 0)
		abort();
	compact_add_head(p->compact, &head);
	if (p->w->watch)
		compact_start_watching(p->compact);
}

/* Past the page cache, or not: what the file system allows. */
static void proc_set_direct(struct proc *p)
{
	struct crashfs *fs = sim_cluster_disk(p->w->c, 0);
	struct crashfs_faults f;

	crashfs_get_faults(fs, &f);
	f.no_direct_open = sim_chance(sim_of(p->w), 200);
	f.no_direct_read = sim_chance(sim_of(p->w), 200);
	crashfs_set_faults(fs, &f);
}

static void proc_lose_index(struct world *w)
{
	if (!w->lose_index && (sim_cluster_healing(w->c) ||
			       !sim_chance(sim_of(w), w->lose)))
		return;
	w->lose_index = false;
	rows_mem_image_free(w->image);
	w->image = rows_mem_image_new();
	sim_trace(sim_of(w), "index lost");
	sim_cluster_count(w->c, SIM_N_REBUILDS, 1);
	model_looked_again(w);
}

/* faults: of the disk when it began. */
static void proc_started(struct proc *p, uint64_t faults)
{
	uint64_t now = crashfs_n_faults(sim_cluster_disk(p->w->c, 0));
	struct chunk_stats st;

	if (!sim_cluster_rotten(p->w->c, 0) && now - faults <= 1)
		p->rots = 0; /* one bad read loses nothing */
	chunk_store_stats(p->cs, &st);
	sim_cluster_count(p->w->c, SIM_N_RECOVERED, st.recovered);
	model_started(p, seg_head_last_seq(p->bulk));
	check_counts(p);
	proc_open_loops(p);
	proc_open_clean(p);
	sim_trace(sim_of(p->w), "started life=%u live=%llu recovered=%llu",
		  p->life, (unsigned long long)st.live,
		  (unsigned long long)st.recovered);
}

void *proc_start(struct sim_cluster *c, unsigned node, struct env *env)
{
	struct proc *p = sim_zalloc(sizeof *p);
	struct errbuf e = { "" };
	uint64_t faults;
	int rv;

	p->w = sim_cluster_arg(c);
	p->w->c = c;
	p->env = env;
	p->life = ++p->w->lives;
	simenv_set_work(env, 5 * SIM_US, p->w->work_hi);
	proc_set_direct(p);
	sim_chunk_proc = p;
	proc_lose_index(p->w);
	proc_keep(p);
	faults = crashfs_n_faults(sim_cluster_disk(c, node));
	rv = proc_recover(p, &e);
	if (rv == 0 && sim_chance(sim_of(p->w), 200))
		rv = proc_recover_again(p, faults, &e);
	if (rv == 0) {
		proc_started(p, faults);
		return p;
	}
	proc_unrecover(p);
	sim_chunk_proc = NULL;
	free(p);
	return sim_refuse(c, node, "%s", e.text);
}

/* --- end --- */

bool proc_is_quiet(const struct proc *p)
{
	for (unsigned i = 0; i < p->n_loops; i++)
		if (!seg_port_idle(p->ports[i]))
			return false;
	return true;
}

void proc_stop(struct sim_cluster *c, unsigned node, void *proc, bool crash)
{
	struct proc *p = proc;
	struct compact_info info;

	(void)node;
	compact_get_info(p->compact, &info);
	sim_cluster_count(c, SIM_N_CLEANED, info.freed);
	p->ending = true;
	if (crash)
		seg_head_abandon(p->bulk);
	for (unsigned i = 0; i < p->n_loops; i++)
		chunk_loop_free(p->loops[i]);
	client_lost(p);
	compact_free(p->compact);
	chunk_store_close(p->cs, !crash);
	if (!crash)
		seg_head_close(p->bulk);
	for (unsigned i = 0; i < p->n_loops; i++)
		seg_port_free(p->ports[i]);
	sim_chunk_proc = NULL;
	free(p);
}

void proc_died(struct sim_cluster *c, unsigned node, void *proc)
{
	struct proc *p = proc;

	(void)c;
	(void)node;
	client_lost(p);
	sim_chunk_proc = NULL;
}
