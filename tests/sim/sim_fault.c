/*
 * What goes wrong, how often, and when. A profile is a table of weights; each
 * fault takes one kind by its weight, and some last for a while. No more than
 * the promise covers: a minority of the disks loses bytes for good (the one
 * disk of a single machine may, too: then it must say so; where members move,
 * their manager knows what is a minority, and replaces such a disk). And of the
 * log only bytes that later records prove to have been durable: what the very
 * last flush wrote cannot be told from what it did not write. Any byte of row
 * snapshots and of the super block may be lost, or read wrong.
 */
#include "tests/sim/sim_impl.h"
#include "tests/sim/sim_plant.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const struct sim_profile sim_profiles[] = {
	{ .name = "calm", .gap_lo = 1000, .gap_hi = 4000, .crash = 2,
	  .crash_leader = 2, .crash_all = 1, .split = 1, .heal = 3,
	  .slow_disk = 1, .flap = 2 },
	{ .name = "storm", .gap_lo = 20, .gap_hi = 900, .crash = 2,
	  .crash_leader = 4, .crash_all = 1, .split = 1, .isolate = 2,
	  .heal = 4, .slow_disk = 1, .lag = 1, .flap = 1,
	  .leader_kill = 600, .leader_stab = 100 },
	{ .name = "stab", .gap_lo = 20, .gap_hi = 900, .crash = 2,
	  .crash_leader = 4, .split = 1, .isolate = 2, .heal = 4,
	  .slow_disk = 1, .lag = 1, .leader_kill = 300, .leader_stab = 700 },
	{ .name = "disk", .gap_lo = 20, .gap_hi = 900, .crash = 4,
	  .crash_leader = 4, .crash_all = 3, .heal = 2, .slow_disk = 4,
	  .flap = 1 },
	{ .name = "mix", .gap_lo = 20, .gap_hi = 900, .crash = 3,
	  .crash_leader = 3, .crash_all = 1, .split = 3, .one_way = 2,
	  .isolate = 2, .heal = 4, .slow_disk = 2, .lag = 2, .flap = 2,
	  .wobble = 1, .fail_sync = 1, .loss = 20, .dup = 3 },
	{ .name = "rot", .gap_lo = 20, .gap_hi = 900, .crash = 3,
	  .crash_leader = 3, .crash_all = 1, .heal = 2, .slow_disk = 2,
	  .flap = 1, .fail_sync = 4, .full = 2, .flip = 3, .rot = 2 },
	{ .name = "slow", .gap_lo = 200, .gap_hi = 2000, .crash = 4,
	  .crash_leader = 1, .isolate = 1, .heal = 3, .slow_disk = 1,
	  .flap = 1 },
	{ .name = "snap", .gap_lo = 100, .gap_hi = 1200, .crash = 4,
	  .crash_leader = 2, .crash_all = 1, .split = 3, .isolate = 3,
	  .heal = 3, .slow_disk = 1, .lag = 1, .flap = 1 },
	{ .name = "member", .gap_lo = 100, .gap_hi = 2000, .crash = 3,
	  .crash_leader = 3, .crash_all = 1, .split = 1, .one_way = 1,
	  .isolate = 1, .heal = 5, .slow_disk = 1, .lag = 1, .flap = 1,
	  .leader_kill = 50, .moves = true },
	{ .name = "churn", .gap_lo = 100, .gap_hi = 1500, .crash = 3,
	  .crash_leader = 3, .crash_all = 1, .split = 2, .one_way = 2,
	  .isolate = 2, .heal = 5, .slow_disk = 2, .lag = 2, .flap = 2,
	  .wobble = 1, .fail_sync = 2, .leader_kill = 100, .loss = 20,
	  .dup = 3, .moves = true },
	{ .name = "all", .gap_lo = 50, .gap_hi = 1200, .crash = 3,
	  .crash_leader = 3, .crash_all = 1, .split = 2, .one_way = 2,
	  .isolate = 2, .heal = 5, .slow_disk = 2, .lag = 2, .flap = 2,
	  .wobble = 1, .fail_sync = 2, .full = 4, .flip = 8, .rot = 4,
	  .leader_kill = 100, .loss = 20, .dup = 3, .moves = true },
	{ .name = "lease", .gap_lo = 200, .gap_hi = 1500, .crash_leader = 1,
	  .one_way = 2, .isolate = 2, .heal = 1, .lag = 1, .flap = 1,
	  .bounce = 8 },
	/* one machine alone */
	{ .name = "store", .gap_lo = 20, .gap_hi = 1500, .crash = 6,
	  .heal = 3, .slow_disk = 3, .fail_sync = 2, .start_cut = 200 },
	{ .name = "glitch", .gap_lo = 100, .gap_hi = 1500, .crash = 6,
	  .heal = 1, .start_flip = 500 },
	{ .name = "tight", .gap_lo = 1000, .gap_hi = 8000, .crash = 2,
	  .heal = 2, .slow_disk = 1, .start_cut = 100, .disk = 400 },
};

const struct sim_profile *sim_profile_find(const char *name)
{
	for (size_t i = 0; i < sizeof sim_profiles / sizeof *sim_profiles; i++)
		if (strcmp(sim_profiles[i].name, name) == 0)
			return &sim_profiles[i];
	return NULL;
}

/* A weight, and what it must lead to where there are so many nodes. */
static const struct sim_mark {
	size_t weight; /* offset in the profile */
	enum sim_count what;
	unsigned nodes;
} sim_marks[] = {
#define SIM_MARK(name, what, nodes) \
	{ offsetof(struct sim_profile, name), SIM_N_##what, nodes }
	SIM_MARK(crash, KILLS, 1),	SIM_MARK(crash, POWER, 1),
	SIM_MARK(crash, TORN, 1),	SIM_MARK(crash, MIDWAY, 1),
	SIM_MARK(crash_leader, KILLS, 1), SIM_MARK(crash_all, POWER, 1),
	SIM_MARK(split, PARTED, 2),	SIM_MARK(isolate, PARTED, 2),
	SIM_MARK(one_way, ONE_WAY, 2),	SIM_MARK(wobble, WOBBLES, 2),
	SIM_MARK(flap, BREAKS, 2),	SIM_MARK(lag, LAGS, 2),
	SIM_MARK(bounce, BOUNCES, 2),	SIM_MARK(loss, LOST, 2),
	SIM_MARK(dup, DUPS, 2),		SIM_MARK(slow_disk, SLOW_DISKS, 1),
	SIM_MARK(fail_sync, BAD_SYNCS, 1), SIM_MARK(fail_sync, BAD_WRITES, 1),
	SIM_MARK(fail_sync, DEATHS, 1),	SIM_MARK(full, FULL, 1),
	SIM_MARK(flip, FLIPS, 1),	SIM_MARK(flip, BAD_READS, 1),
	SIM_MARK(flip, REFUSALS, 1),	SIM_MARK(rot, ROTTEN, 1),
	SIM_MARK(leader_kill, LEADER_KILLS, 2),
	SIM_MARK(leader_stab, LEADER_STABS, 2),
#undef SIM_MARK
};

static unsigned sim_profile_weight(const struct sim_profile *p, size_t offset)
{
	return *(const unsigned *)(const void *)((const char *)p + offset);
}

bool sim_profile_wants(const struct sim_profile *p, unsigned nodes,
		       enum sim_count what)
{
	for (size_t i = 0; i < sizeof sim_marks / sizeof *sim_marks; i++)
		if (sim_marks[i].what == what && nodes >= sim_marks[i].nodes &&
		    sim_profile_weight(p, sim_marks[i].weight) > 0)
			return true;
	/* in most profiles nobody else moves */
	return p->moves && (what == SIM_N_CHANGES || what == SIM_N_INSTALLS ||
			    what == SIM_N_WIPES ||
			    (what == SIM_N_REPLACED && p->rot > 0));
}

void sim_profile_names(FILE *out)
{
	for (size_t i = 0; i < sizeof sim_profiles / sizeof *sim_profiles; i++)
		fprintf(out, " %s", sim_profiles[i].name);
	fprintf(out, "\n");
}

static struct sim_node *sim_any(struct sim_cluster *c)
{
	return &c->nodes[sim_rand(c->s, c->config.nodes)];
}

static struct sim_node *sim_any_leader(struct sim_cluster *c)
{
	unsigned from = (unsigned)sim_rand(c->s, c->config.nodes);

	for (unsigned i = 0; i < c->config.nodes; i++) {
		struct sim_node *n = &c->nodes[(from + i) % c->config.nodes];

		if (n->proc != NULL && c->config.ops->leads(n->proc))
			return n;
	}
	return &c->nodes[from];
}

/* --- machines --- */

void sim_crash(struct sim_cluster *c, struct sim_node *n)
{
	/* now, or somewhere in the middle of what its disk does next */
	if (sim_chance(c->s, 500) && n->proc != NULL)
		n->cut_at = sim_range(c->s, 1, 12);
	else
		sim_node_down(n, sim_chance(c->s, 700));
}

static void fault_crash(struct sim_cluster *c)
{
	sim_crash(c, sim_any(c));
}

static void fault_crash_leader(struct sim_cluster *c)
{
	sim_crash(c, sim_any_leader(c));
}

static void fault_crash_all(struct sim_cluster *c)
{
	for (unsigned i = 0; i < c->config.nodes; i++)
		sim_node_down(&c->nodes[i], true);
}

/* --- the network --- */

static void sim_heal_net(struct sim_cluster *c)
{
	memset(c->cut, 0, sizeof c->cut);
	c->loss = 0;
	c->lag_ms = 10;
}

static void sim_split_by(struct sim_cluster *c, uint64_t side)
{
	for (unsigned i = 0; i < c->config.nodes; i++)
		for (unsigned j = 0; j < c->config.nodes; j++)
			c->cut[i][j] = (side >> i & 1) != (side >> j & 1);
}

static void fault_split(struct sim_cluster *c)
{
	sim_split_by(c, sim_rand(c->s, 1u << c->config.nodes));
}

static void fault_one_way(struct sim_cluster *c)
{
	unsigned a = sim_any(c)->id, b = sim_any(c)->id;

	c->cut[a][b] = a != b;
}

/* Of a leader: all it says, all it hears, or both. */
static void fault_isolate(struct sim_cluster *c)
{
	unsigned n = sim_any_leader(c)->id;
	uint64_t how = sim_rand(c->s, 3);

	for (unsigned i = 0; i < c->config.nodes; i++) {
		c->cut[n][i] = how != 1;
		c->cut[i][n] = how != 0;
	}
	c->cut[n][n] = false;
}

/* A partition that comes and goes. */
struct sim_wobble {
	struct sim_cluster *c;
	uint64_t side;
	unsigned left;
};

static void sim_wobble(void *arg)
{
	struct sim_wobble *w = arg, *next;
	struct sim_cluster *c = w->c;

	if (c->healing)
		return;
	c->counts[SIM_N_WOBBLES]++;
	sim_split_by(c, w->left % 2 == 0 ? 0 : w->side);
	if (w->left == 0)
		return;
	next = malloc(sizeof *next);
	if (next == NULL)
		abort();
	*next = (struct sim_wobble){ c, w->side, w->left - 1 };
	sim_after_owned(c->s, sim_range(c->s, 10, 300) * SIM_MS, sim_wobble,
			next);
}

static void fault_wobble(struct sim_cluster *c)
{
	struct sim_wobble w = { c, sim_rand(c->s, 1u << c->config.nodes),
				(unsigned)sim_range(c->s, 3, 20) };

	sim_wobble(&w);
}

/* Two machines of which something happens later. */
struct sim_two {
	struct sim_cluster *c;
	unsigned a, b;
};

static struct sim_two *sim_two_new(struct sim_cluster *c, unsigned a,
				   unsigned b)
{
	struct sim_two *p = malloc(sizeof *p);

	if (p == NULL)
		abort();
	*p = (struct sim_two){ c, a, b };
	return p;
}

/* The second half of fault_bounce(). */
static void sim_bounce_now(void *arg)
{
	struct sim_two *p = arg;
	struct sim_cluster *c = p->c;
	struct sim_node *n = &c->nodes[p->b];

	if (n->proc == NULL || c->healing)
		return;
	c->counts[SIM_N_BOUNCES]++;
	sim_node_stop(n, false);
	c->cut[p->a][n->id] = c->cut[n->id][p->a] = true;
	sim_after(c->s, sim_range(c->s, 1, 20) * SIM_MS, sim_node_restart, n);
}

/*
 * All but one node lose sight of a leader, and wait for that one. When they
 * have waited long enough it restarts, with no memory of what it told the
 * leader, and sees them but not the leader.
 */
static void fault_bounce(struct sim_cluster *c)
{
	unsigned node = sim_any(c)->id, leader = sim_any_leader(c)->id;

	if (leader == node)
		return;
	sim_heal_net(c);
	for (unsigned i = 0; i < c->config.nodes; i++)
		if (i != leader && i != node)
			c->cut[leader][i] = c->cut[i][leader] = true;
	sim_after_owned(c->s, sim_range(c->s, 300, 900) * SIM_MS,
			sim_bounce_now, sim_two_new(c, leader, node));
}

static void fault_lag(struct sim_cluster *c)
{
	c->counts[SIM_N_LAGS]++;
	c->lag_ms = sim_range(c->s, 1, 100);
	c->loss = (unsigned)sim_rand(c->s, c->config.profile->loss + 1) * 10;
}

static void fault_flap(struct sim_cluster *c)
{
	unsigned a = sim_any(c)->id, b = sim_any(c)->id;

	if (a != b)
		sim_conn_break(c, a, b, 100);
}

/* --- disks --- */

static void sim_set_disk(struct sim_node *n, bool slow)
{
	n->disk_lo = slow ? 50 * SIM_MS : 100 * SIM_US;
	n->disk_hi = slow ? 400 * SIM_MS : 4 * SIM_MS;
	if (n->env != NULL)
		simenv_set_disk(n->env, n->disk_lo, n->disk_hi);
}

static void fault_slow_disk(struct sim_cluster *c)
{
	struct sim_node *n = sim_any(c);

	c->counts[SIM_N_SLOW_DISKS] += n->env != NULL;
	sim_set_disk(n, true);
}

static void fault_heal(struct sim_cluster *c)
{
	sim_heal_net(c);
	for (unsigned i = 0; i < c->config.nodes; i++)
		sim_set_disk(&c->nodes[i], false);
}

/* One of the next syncs or writes fails. */
static void fault_fail_sync(struct sim_cluster *c)
{
	struct sim_node *n = sim_any(c);
	struct crashfs_faults f;

	crashfs_get_faults(n->fs, &f);
	if (sim_chance(c->s, 800))
		f.fail_sync_at = sim_range(c->s, 1, 10);
	else
		f.fail_write_at = sim_range(c->s, 1, 10);
	crashfs_set_faults(n->fs, &f);
}

static void sim_disk_good(void *arg)
{
	struct sim_node *n = arg;
	struct crashfs_faults f;

	crashfs_get_faults(n->fs, &f);
	f.capacity = n->c->config.profile->disk * UINT64_C(1024);
	f.flip_read_every = 0;
	f.fail_read_at = 0;
	crashfs_set_faults(n->fs, &f);
}

static void fault_full(struct sim_cluster *c)
{
	struct sim_node *n = sim_any(c);
	struct crashfs_faults f;
	struct crashfs_stats st;

	if (sim_tame)
		return;
	crashfs_get_faults(n->fs, &f);
	crashfs_get_stats(n->fs, &st);
	f.capacity = st.used + 1 + sim_rand(c->s, 200000);
	crashfs_set_faults(n->fs, &f);
	sim_trace(c->s, "full node=%u", n->id);
	sim_after(c->s, sim_range(c->s, 200, 3000) * SIM_MS, sim_disk_good, n);
}

/* Number of a segment, and the length of its directory part; 0: none. */
static uint64_t sim_segment(const char *path, size_t *ret_dir)
{
	const char *name = strrchr(path, '/');
	char *end;
	uint64_t gen;

	if (name == NULL)
		return 0;
	gen = strtoull(name + 1, &end, 16);
	*ret_dir = (size_t)(name - path);
	return strcmp(end, ".seg") == 0 ? gen : 0;
}

/* A segment that is followed by one whose START is durable: that says it. */
static bool sim_proven(const struct sim_node *n, const char *path)
{
	static const uint8_t start[] = { 'L', 'S', 'R', '1', 1, 2 };
	size_t dir, dir2;
	uint64_t gen = sim_segment(path, &dir), len;
	const char *other;
	uint8_t head[256];

	if (gen == 0)
		return false;
	for (size_t i = 0; (other = crashfs_file(n->fs, i, &len)) != NULL; i++)
		if (sim_segment(other, &dir2) > gen && dir2 == dir &&
		    memcmp(other, path, dir) == 0 &&
		    crashfs_settled(n->fs, other, head, sizeof head) &&
		    memcmp(head, start, sizeof start) == 0)
			return true;
	return false;
}

/* Files that are checked as a whole, whatever stands in them. */
static bool sim_is_snap(const char *path)
{
	return strncmp(path, "/snap/", 6) == 0;
}

static bool sim_is_super(const char *path)
{
	return strcmp(path, "/super") == 0;
}

static bool sim_may_flip(void *arg, const char *path, uint64_t off)
{
	struct sim_node *n = arg;

	(void)off;
	n->c->counts[SIM_N_SNAP_FLIPS] += sim_is_snap(path);
	n->c->counts[SIM_N_SUPER_FLIPS] += sim_is_super(path);
	return sim_is_snap(path) || sim_is_super(path) || sim_proven(n, path);
}

/* Reads give wrong bytes now and then, or fail; the disk is whole. */
static void fault_flip(struct sim_cluster *c)
{
	struct sim_node *n = sim_any(c);
	struct crashfs_faults f;

	crashfs_get_faults(n->fs, &f);
	f.flip_read_every = sim_range(c->s, 5, 300);
	f.may_flip = sim_may_flip;
	f.arg = n;
	if (sim_chance(c->s, 300))
		f.fail_read_at = sim_range(c->s, 1, 50);
	crashfs_set_faults(n->fs, &f);
	sim_after(c->s, sim_range(c->s, 500, 4000) * SIM_MS, sim_disk_good, n);
}

void sim_fault_starts(struct sim_node *n)
{
	unsigned permille = n->c->config.profile->start_flip;
	struct crashfs_faults f;

	if (permille == 0 || n->c->healing || !sim_chance(n->c->s, permille))
		return;
	crashfs_get_faults(n->fs, &f);
	f.flip_read_every = sim_range(n->c->s, 1, 12);
	f.flips_left = 1;
	f.may_flip = sim_may_flip;
	f.arg = n;
	crashfs_set_faults(n->fs, &f);
}

void sim_fault_started(struct sim_node *n)
{
	struct crashfs_faults f;

	if (n->c->config.profile->start_flip == 0)
		return;
	crashfs_get_faults(n->fs, &f);
	f.flip_read_every = 0;
	f.flips_left = 0;
	crashfs_set_faults(n->fs, &f);
	n->c->counts[SIM_N_START_FLIPS] += crashfs_n_faults(n->fs) != n->faults;
}

/* Some bytes of a file become others. */
static void sim_rot(struct sim_node *n, const char *path, uint64_t len)
{
	struct sim *s = n->c->s;
	uint64_t off = sim_rand(s, len), from = off % 512;
	size_t most = len - off < 8192 ? (size_t)(len - off) : 8192;
	size_t span = 1 + (size_t)sim_rand(s, most);

	switch (sim_rand(s, 3)) {
	case 0:
		(void)crashfs_flip(n->fs, path, off, (unsigned)sim_rand(s, 8));
		break;
	case 1: /* what was written here went elsewhere */
		(void)crashfs_misdirect(n->fs, path, off, NULL, 0, span);
		break;
	default: /* and what is here was meant for another place */
		from += sim_rand(s, len / 512 + 1) * 512;
		if (from + span <= len)
			(void)crashfs_misdirect(n->fs, path, off, path, from,
						span);
		break;
	}
	sim_trace(s, "rot node=%u %s %llu", n->id, path,
		  (unsigned long long)off);
}

/* Does the promise cover it? */
static bool sim_may_rot(struct sim_cluster *c, const struct sim_node *n)
{
	unsigned cover = c->config.nodes == 1 ? 1 : (c->config.nodes - 1) / 2;

	if (n->rotten)
		return true;
	return c->config.profile->moves ? sim_cluster_spares(c, 1u << n->id)
					: c->rotten < cover;
}

static void fault_rot(struct sim_cluster *c)
{
	struct sim_node *n = sim_any(c);
	uint64_t len;
	const char *path;

	if (!sim_may_rot(c, n))
		return;
	for (size_t i = sim_rand(c->s, 8);
	     (path = crashfs_file(n->fs, i, &len)) != NULL; i++) {
		if (len == 0 || !(sim_is_snap(path) || sim_is_super(path) ||
				  sim_proven(n, path)))
			continue;
		c->counts[SIM_N_ROTTEN]++;
		c->counts[SIM_N_SNAP_ROTTEN] += sim_is_snap(path);
		sim_rot(n, path, len);
		c->rotten += !n->rotten;
		n->rotten = true;
		return;
	}
}

/* --- which, when --- */

static const struct sim_fault {
	size_t weight; /* offset in the profile */
	void (*run)(struct sim_cluster *c);
} sim_faults[] = {
#define SIM_FAULT(name) { offsetof(struct sim_profile, name), fault_##name }
	SIM_FAULT(crash),	SIM_FAULT(crash_leader), SIM_FAULT(crash_all),
	SIM_FAULT(split),	SIM_FAULT(one_way),	 SIM_FAULT(isolate),
	SIM_FAULT(wobble),	SIM_FAULT(heal),	 SIM_FAULT(slow_disk),
	SIM_FAULT(lag),		SIM_FAULT(flap),	 SIM_FAULT(bounce),
	SIM_FAULT(fail_sync),	SIM_FAULT(full),	 SIM_FAULT(flip),
	SIM_FAULT(rot),
#undef SIM_FAULT
};
#define SIM_FAULTS (sizeof sim_faults / sizeof *sim_faults)

static void sim_fault_one(struct sim_cluster *c)
{
	const struct sim_profile *p = c->config.profile;
	unsigned total = 0, x;

	for (size_t i = 0; i < SIM_FAULTS; i++)
		total += sim_profile_weight(p, sim_faults[i].weight);
	x = (unsigned)sim_rand(c->s, total);
	for (size_t i = 0; i < SIM_FAULTS; i++) {
		unsigned weight = sim_profile_weight(p, sim_faults[i].weight);

		if (x < weight) {
			sim_faults[i].run(c);
			return;
		}
		x -= weight;
	}
}

static void sim_fault(void *arg)
{
	struct sim_cluster *c = arg;
	const struct sim_profile *p = c->config.profile;

	if (c->healing)
		return;
	c->faults++;
	sim_fault_one(c);
	if (sim_chance(c->s, 200))
		memset(c->cut, 0, sizeof c->cut);
	sim_after(c->s, sim_range(c->s, p->gap_lo, p->gap_hi) * SIM_MS,
		  sim_fault, c);
}

static void sim_clocks(struct sim_cluster *c, struct sim_node *n)
{
	c->counts[SIM_N_CLOCKS]++;
	if (c->config.frozen_clocks) {
		c->counts[SIM_N_FROZEN]++;
		n->clock.local = sim_clock_now(c->s, &n->clock);
		n->clock.real = n->paused_until;
	}
	n->clock.wall = ((int64_t)sim_rand(c->s, 120) - 60) * (int64_t)SIM_S;
}

static void sim_node_pause(struct sim_node *n, uint64_t ms)
{
	struct sim_cluster *c = n->c;

	if (n->env == NULL)
		return;
	c->faults++;
	n->paused_until = sim_now(c->s) + ms * SIM_MS;
	c->counts[SIM_N_PAUSES]++;
	sim_trace(c->s, "pause node=%u", n->id);
	simenv_pause(n->env, n->paused_until);
	sim_clocks(c, n);
}

/* SIGSTOP: mostly a leader, for longer than a lease may last. */
static void sim_pause(void *arg)
{
	struct sim_cluster *c = arg;
	struct sim_node *n = sim_chance(c->s, 700) ? sim_any_leader(c)
						   : sim_any(c);

	if (c->healing)
		return;
	sim_node_pause(n, sim_range(c->s, 50, 2000));
	sim_after(c->s, sim_range(c->s, 300, 4000) * SIM_MS, sim_pause, c);
}

static void sim_deaf(void *arg)
{
	struct sim_two *p = arg;
	struct sim_cluster *c = p->c;

	if (c->healing)
		return;
	for (unsigned i = 0; i < c->config.nodes; i++)
		c->cut[i][p->b] = i != p->b;
}

void sim_cluster_pause(struct sim_cluster *c, unsigned node, uint64_t ms,
		       unsigned peer)
{
	if (c->healing)
		return;
	sim_node_pause(&c->nodes[node], ms);
	sim_after_owned(c->s, (ms - 1) * SIM_MS, sim_deaf,
			sim_two_new(c, node, peer));
}

struct sim_kill {
	struct sim_node *n;
	unsigned life;
	bool heal; /* those it could not see come back */
};

static void sim_kill_leader(void *arg)
{
	struct sim_kill *k = arg;

	if (k->n->life != k->life || k->n->c->healing)
		return;
	if (k->heal)
		sim_heal_net(k->n->c);
	sim_crash(k->n->c, k->n);
}

/* Kills the node, unless it has gone, within so many ms. */
static void sim_kill_soon(struct sim_cluster *c, unsigned node, uint64_t ms,
			  bool heal)
{
	struct sim_kill *k = malloc(sizeof *k);

	if (k == NULL)
		abort();
	*k = (struct sim_kill){ &c->nodes[node], c->nodes[node].life,
				heal };
	sim_after_owned(c->s, sim_rand(c->s, ms * SIM_MS), sim_kill_leader, k);
}

void sim_cluster_elected(struct sim_cluster *c, unsigned node)
{
	if (c->healing || !sim_chance(c->s, c->config.profile->leader_stab))
		return;
	c->counts[SIM_N_LEADER_STABS]++;
	if (sim_chance(c->s, 500)) {
		/* with an entry that nobody else will see for a time */
		sim_trace(c->s, "mute node=%u", node);
		for (unsigned i = 0; i < c->config.nodes; i++)
			c->cut[node][i] = i != node;
	} else {
		/* with some of its entries sent */
		sim_kill_soon(c, node, 80, sim_chance(c->s, 500));
	}
}

void sim_cluster_new_leader(struct sim_cluster *c, unsigned node)
{
	if (c->healing || !sim_chance(c->s, c->config.profile->leader_kill))
		return;
	c->counts[SIM_N_LEADER_KILLS]++;
	sim_kill_soon(c, node, 120, false);
}

void sim_cluster_crash_soon(struct sim_cluster *c, unsigned node, uint64_t ms)
{
	if (!c->healing)
		sim_kill_soon(c, node, ms, false);
}

void sim_fault_start(struct sim_cluster *c)
{
	sim_fault_heal(c);
	sim_after(c->s, sim_range(c->s, 50, 900) * SIM_MS, sim_fault, c);
	if (c->config.pauses)
		sim_after(c->s, sim_range(c->s, 300, 4000) * SIM_MS,
			  sim_pause, c);
}

void sim_fault_heal(struct sim_cluster *c)
{
	const struct crashfs_faults none = {
		.capacity = c->config.profile->disk * UINT64_C(1024),
	};

	sim_heal_net(c);
	for (unsigned i = 0; i < c->config.nodes; i++) {
		struct sim_node *n = &c->nodes[i];

		n->cut_at = 0;
		crashfs_set_faults(n->fs, &none);
		sim_set_disk(n, false);
	}
}
