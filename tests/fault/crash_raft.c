/*
 * Crash states of a truncated log: the Raft host with its checkpoints over the
 * real log head, segments freed as soon as they may be.
 *
 *   crash_raft [OPTIONS]: tests/fault/crash_main.h
 *
 * A history is several lives on one disk. Three groups: one busy and one idle
 * with this store as the only voter, and one in which it follows scripted
 * leaders that send entries, commit them late or never, come with a higher
 * term and replace tails. Before calls that change the disk power cuts are
 * drawn (crashfs), with what the rows had at their last checkpoint; each image
 * is recovered and must hold what was promised: acknowledged commands applied
 * once and in order (of loose ones a beginning), entries that the leader was
 * told are stored, term and vote that a peer was told; and never rows of what
 * the log does not have. Segments are small, so need, copies and frees are
 * at work all the time. Of some images the rows are gone, or an old copy of
 * them is there: then the row snapshots of the groups with one voter must make
 * them again. Some starts are cut as well, and some are done twice: the second
 * one must find the same and change nothing.
 *
 * Mutations leave out one thing of truncation, or of a start; each must be
 * noticed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/rows/rows_applied.h"
#include "common/seg/seg_int.h"
#include "tests/fault/crash_raft.h"

/* What is counted. */
enum { FREES, COPIES, LATE, SNAPS, RESTORED, TAILS, CUT, AGAIN };

static const char *const counts[] = {
	[FREES] = "frees", [COPIES] = "copies", [LATE] = "late starts",
	[SNAPS] = "row snapshots", [RESTORED] = "groups made again",
	[TAILS] = "tails lost", [CUT] = "starts cut",
	[AGAIN] = "starts done again", NULL,
};

struct op {
	struct raft_submit submit;
};

void proc_bad(struct proc *p, const char *what, uint64_t a, uint64_t b)
{
	crash_note(p->bad, what, a, b);
}

/* --- the state machine: a chain over the commands of a group --- */

static void state_key(uint16_t group, uint8_t out[3])
{
	out[0] = 0;
	out[1] = (uint8_t)group;
	out[2] = 'c';
}

static int state_put(struct proc *p, uint16_t group, uint64_t index,
		     uint64_t term, struct wire_bytes conf)
{
	struct rows_applied a = { .index = index, .term = term };
	uint8_t key[3];
	int rv;

	state_key(group, key);
	rv = rows_put(p->txn, wire_bytes(key, 3),
		      wire_bytes(&p->chain[group], 8));
	if (rv == 0 && conf.len > 0)
		rv = rows_applied_put_conf(p->txn, group, index, conf);
	if (rv == 0)
		rv = rows_applied_put(p->txn, group, &a);
	p->applied[group] = index;
	return rv == 0 ? rows_txn_commit(p->txn) : rv;
}

static int on_apply(void *arg, struct raft_group *g, const struct raft_cmd *cmd)
{
	struct proc *p = arg;
	uint16_t group = raft_group_id(g);
	uint64_t chain = XXH3_64bits_withSeed(cmd->data, cmd->len,
					      p->chain[group]);
	struct model *m = p->m;

	if (cmd->index != p->applied[group] + 1)
		proc_bad(p, "applied out of order", group, cmd->index);
	if (cmd->index > m->index[group] && !p->dead) {
		m->chain[group][cmd->index] = chain;
		m->index[group] = cmd->index;
	}
	if (cmd->index <= m->index[group] &&
	    m->chain[group][cmd->index] != chain)
		proc_bad(p, "another state", group, cmd->index);
	p->chain[group] = chain;
	p->passed[group] = 0;
	if (state_put(p, group, cmd->index, cmd->term,
		      wire_bytes(NULL, 0)) != 0)
		abort();
	raft_check_note(p->check, cmd->len);
	if (cmd->submit != NULL) {
		m->told[group] = cmd->index;
		if (!cmd->submit->loose)
			m->acked[group] = cmd->index;
		free(CONTAINER_OF(cmd->submit, struct op, submit));
	}
	return 0;
}

static int on_passed(void *arg, struct raft_group *g,
		     const struct raft_passed *passed)
{
	struct proc *p = arg;
	uint16_t group = raft_group_id(g);
	struct model *m = p->m;

	/* the state is the one before; a barrier may be at this index */
	if (passed->index > m->index[group] && !p->dead) {
		m->chain[group][passed->index] = p->chain[group];
		m->index[group] = passed->index;
	}
	p->applied[group] = passed->index;
	p->passed[group] = passed->index;
	p->passed_term[group] = passed->term;
	if (passed->conf.len == 0)
		return 0;
	p->passed[group] = 0;
	return state_put(p, group, passed->index, passed->term, passed->conf);
}

static int on_begin(void *arg)
{
	struct proc *p = arg;
	int rv = 0;

	for (uint16_t i = 0; i < GROUPS && rv == 0; i++)
		if (p->passed[i] > 0) {
			rv = state_put(p, i, p->passed[i], p->passed_term[i],
				       wire_bytes(NULL, 0));
			p->passed[i] = 0;
		}
	return rv;
}

static void on_failed(struct raft_submit *s, uint32_t status)
{
	(void)status;
	free(CONTAINER_OF(s, struct op, submit));
}

/* --- life --- */

static int on_record(void *arg, const struct seg_rec *rec)
{
	struct proc *p = arg;

	return raft_host_recover(p->host, rec);
}

static void on_rot(void *arg, const struct seg_rot *rot)
{
	proc_bad(arg, "rot", rot->pos.gen, rot->seq);
}

static void on_start_body(void *arg, uint64_t gen, struct buf *buf)
{
	struct proc *p = arg;

	raft_host_start_body(p->host, gen, buf);
}

static int on_scan_from(void *arg, const struct seg_rec *start, uint64_t *ret)
{
	struct proc *p = arg;

	struct errbuf e = { "" };
	int rv = raft_start_from(p->start, start, ret, &e);

	if (rv != 0) {
		(void)snprintf(p->bad, sizeof p->bad, "%.200s", e.text);
		return rv;
	}
	p->run->n[LATE] += *ret > 1;
	p->run->n[RESTORED] += raft_start_n_doubts(p->start);
	return raft_start_recover(p->start, start, p->host);
}

static void proc_open_log(struct proc *p, uint64_t size)
{
	struct seg_config config = {
		.dir = "log", .segment_size = size, .first_size = size,
		.on_record = on_record, .on_rot = on_rot,
		.scan_from = on_scan_from, .start_body = on_start_body,
		.arg = p,
	};
	struct errbuf e = { "" };

	memcpy(config.store_id, "0123456789abcdef", 16);
	if (seg_head_open(p->env, &config, &p->log, &e) != 0) {
		if (p->bad[0] == '\0')
			(void)snprintf(p->bad, sizeof p->bad, "%.200s", e.text);
		return;
	}
	if (seg_port_new(p->log, p->env, &p->port) != 0)
		abort();
	raft_host_set_log(p->host, p->log, p->port);
}

static void proc_read_state(struct proc *p, uint16_t group)
{
	uint8_t key[3], *value;
	size_t len;

	state_key(group, key);
	p->chain[group] = 0;
	if (rows_back_get(p->back, wire_bytes(key, 3), &value, &len) != 0)
		return;
	if (len == 8)
		memcpy(&p->chain[group], value, 8);
	mem_free(value);
}

static void proc_open_group(struct proc *p, uint16_t group)
{
	static const uint64_t voters[] = { 1, 2, 3 };
	struct raft_group_config config = {
		.group = group, .voters = voters,
		.n_voters = group == FOLLOW ? 3 : 1, .user = p,
	};
	struct rows_applied a;
	struct errbuf e = { "" };

	if (rows_applied_read(p->back, group, &a) != 0)
		abort();
	config.applied = a.index;
	config.term = a.term;
	config.conf_index = a.conf_index;
	config.conf = wire_bytes(a.conf, a.conf_len);
	p->applied[group] = a.index;
	proc_read_state(p, group);
	if (a.index > 0 && p->m->chain[group][a.index] != p->chain[group])
		proc_bad(p, "rows of another state", group, a.index);
	if (raft_host_open_group(p->host, &config, &p->groups[group], &e) != 0)
		(void)snprintf(p->bad, sizeof p->bad, "%.200s", e.text);
	rows_applied_fini(&a);
}

/* bad is set when it cannot go on. */
static void proc_open_start(struct proc *p)
{
	struct errbuf e = { "" };

	if (raft_start_open(crashfs_vfs(p->fs), "snap",
			    (struct wire_u128){ 1, 2 }, p->back, &p->start,
			    &e) != 0)
		(void)snprintf(p->bad, sizeof p->bad, "%.200s", e.text);
}

static void proc_open_snaps(struct proc *p)
{
	struct raft_snaps_config config = {
		.env = p->env, .host = p->host, .rows = p->rows,
		.back = p->back, .dir = "snap", .store = { 1, 2 },
		.start = p->start, .min_bytes = 1 + rng(p->run, 2) * 20000,
		.begin = on_begin, .arg = p,
	};

	if (raft_snaps_new(&config, &p->snaps) != 0)
		abort();
}

static void on_check_ended(void *arg)
{
	struct proc *p = arg;

	raft_snaps_tick(p->snaps);
}

/* As far as what was on the disk goes: nothing is new yet. */
static struct proc *proc_recover(struct crash_run *r, struct model *m,
				 struct crashfs *fs,
				 struct rows_mem_image *image, bool dead,
				 bool partial)
{
	struct proc *p = calloc(1, sizeof *p);
	struct raft_host_config hc = {
		.id = ME, .apply = on_apply, .passed = on_passed,
		.send = lead_on_send, .forget_followers = true,
		.carry = 1 + (unsigned)rng(r, 3),
	};

	if (p == NULL)
		abort();
	p->run = r;
	p->m = m;
	p->fs = fs;
	p->dead = dead;
	p->partial = partial;
	p->mini = minienv_new(crashfs_vfs(fs), rng_next(r));
	p->env = minienv_env(p->mini);
	hc.env = p->env;
	hc.arg = p;
	hc.cache_bytes = 1 + rng(r, 2) * 8000;
	if (rows_back_mem(image, &p->back) != 0 ||
	    rows_new(p->env, p->back, 0, &p->rows) != 0 ||
	    raft_host_new(&hc, &p->host) != 0)
		abort();
	raft_gate_init(&p->gate, p->host, p->rows);
	p->txn = rows_txn_new(p->rows);
	proc_open_start(p);
	if (p->bad[0] == '\0')
		proc_open_log(p, 8192u << rng(r, 2));
	for (uint16_t i = 0; i < (partial ? FOLLOW : GROUPS) &&
			     p->bad[0] == '\0'; i++)
		proc_open_group(p, i);
	return p;
}

/* Goes on from there, if that went well. */
static void proc_start(struct proc *p)
{
	struct raft_check_config cc = {
		.env = p->env, .host = p->host, .rows = p->rows,
		.back = p->back, .arg = p, .begin = on_begin,
		.ended = on_check_ended,
	};

	if (p->bad[0] != '\0')
		return;
	if (raft_check_new(&cc, &p->check) != 0 ||
	    raft_host_start(p->host) != 0)
		abort();
	proc_open_snaps(p);
	p->m->f.session += 10;
	memset(p->m->f.number, 0, sizeof p->m->f.number);
}

static void proc_stop(struct proc *p)
{
	if (p->log != NULL)
		seg_head_abandon(p->log);
	raft_check_free(p->check);
	raft_snaps_free(p->snaps);
	raft_start_free(p->start);
	raft_host_free(p->host);
	rows_txn_free(p->txn);
	rows_free(p->rows);
	seg_port_free(p->port);
	rows_back_close(p->back);
	minienv_free(p->mini);
	free(p);
}

/* --- what an image must hold --- */

static void check_follow(struct proc *p)
{
	const struct follow *f = &p->m->f;
	struct raft_group *g = p->groups[FOLLOW];

	if (g->term < f->told_term)
		proc_bad(p, "term forgotten", g->term, f->told_term);
	if (g->term == f->told_term && f->told_vote != 0 &&
	    g->vote != f->told_vote)
		proc_bad(p, "vote forgotten", g->vote, f->told_vote);
	if (rlog_last(&g->log) < f->stored)
		proc_bad(p, "stored entries lost", rlog_last(&g->log),
			 f->stored);
	for (uint64_t i = g->log.first; i <= f->stored; i++) {
		struct rlog_ent *e = rlog_at(&g->log, i);
		struct wire_bytes data;

		if (e == NULL || e->term != f->term[i])
			proc_bad(p, "another entry stored", i, f->term[i]);
		else if (i > p->applied[FOLLOW] &&
			 raft_log_read(g, i, &data) != 0)
			proc_bad(p, "entry cannot be read", i, e->u.gen);
	}
	if (g->log.first > p->applied[FOLLOW] + 1)
		proc_bad(p, "a gap behind the rows", g->log.first,
			 p->applied[FOLLOW]);
}

/* What a start found. */
struct found {
	uint64_t disk;
	uint64_t applied[GROUPS], chain[GROUPS], term[GROUPS], vote[GROUPS];
	uint64_t first[GROUPS], last[GROUPS], entries[GROUPS];
};

static void proc_found(struct proc *p, struct found *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->disk = crashfs_hash(p->fs);
	for (unsigned i = 0; i < GROUPS && p->groups[i] != NULL; i++) {
		struct raft_group *g = p->groups[i];

		ret->applied[i] = p->applied[i];
		ret->chain[i] = p->chain[i];
		ret->term[i] = g->term;
		ret->vote[i] = g->vote;
		ret->first[i] = g->log.first;
		ret->last[i] = rlog_last(&g->log);
		for (uint64_t k = ret->first[i]; k <= ret->last[i]; k++)
			ret->entries[i] = ret->entries[i] * 31 +
					  rlog_at(&g->log, k)->term;
	}
}

struct start {
	struct model *m;
	struct crashfs *fs;
	struct rows_mem_image *image;
	bool partial;
};

static void start_found(struct crash_run *r, void *arg, void *ret_found)
{
	const struct start *s = arg;
	struct proc *p = proc_recover(r, s->m, s->fs, s->image, true, s->partial);

	proc_found(p, ret_found);
	if (p->bad[0] != '\0')
		crash_run_bad(r, p->bad);
	proc_stop(p);
}

static void check_again(struct crash_run *r, struct model *m,
			struct crashfs *fs, struct rows_mem_image *image,
			bool partial)
{
	struct start s = { m, fs, image, partial };

	r->n[AGAIN]++;
	crash_run_twice(r, sizeof(struct found), start_found, &s);
}

/* A start on an image, while it is cut. */
struct cut {
	struct crash_run *run;
	struct model *m;
	struct crashfs *fs;
	struct rows_mem_image *image;
	bool partial;
};

static struct cut *cutting; /* the one whose rows are made again now */

static void cut_draw(void *arg);

static void check_image(struct crash_run *r, struct model *m,
			struct crashfs *fs, struct rows_mem_image *image,
			bool partial, unsigned depth)
{
	struct model *own = malloc(sizeof *own);
	struct cut cut = { r, own, fs, image, partial };
	struct rows_mem_image *then;
	struct proc *p;

	if (own == NULL)
		abort();
	*own = *m; /* its commands are not ours to learn */
	r->states++;
	if (rng(r, 8) == 0)
		check_again(r, own, fs, image, partial);
	if (depth == 0 && rng(r, 16) == 0) {
		crashfs_set_hook(fs, cut_draw, &cut);
		cutting = &cut;
	}
	p = proc_recover(r, own, fs, image, true, partial);
	cutting = NULL;
	/* what it applies from now on the model does not know */
	then = rows_mem_image_copy(image);
	cut.image = then;
	proc_start(p);
	if (p->bad[0] == '\0' && !partial)
		check_follow(p);
	if (p->bad[0] == '\0')
		minienv_run(p->mini);
	crashfs_set_hook(fs, NULL, NULL);
	for (uint16_t i = BUSY; i <= IDLE && p->bad[0] == '\0'; i++)
		if (p->applied[i] < m->acked[i])
			proc_bad(p, "acknowledged, but gone", i, m->acked[i]);
	if (p->bad[0] != '\0')
		crash_run_bad(r, p->bad);
	proc_stop(p);
	rows_mem_image_free(then);
	free(own);
}

static void cut_draw(void *arg)
{
	struct cut *cut = arg, *was = cutting;
	struct crash_run *r = cut->run;
	struct rows_mem_image *rows;
	struct crashfs *image;

	if (r->bad > 0 || rng(r, 3) != 0)
		return;
	r->n[CUT]++;
	cutting = NULL;
	rows = rows_mem_image_copy(cut->image);
	image = crashfs_image(cut->fs, rng_next(r));
	check_image(r, cut->m, image, rows, cut->partial, 1);
	crashfs_free(image);
	rows_mem_image_free(rows);
	cutting = was;
}

/* --- what a start leaves out, and where it is cut, too --- */

static int start_writes;

#define WRAP(ret, name, ...) \
	ret __real_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__)

/* Rows that are made again: the database may have written some by itself. */
WRAP(int, rows_batch_write, struct rows_back *back, struct rows_batch *b)
{
	int rv = __real_rows_batch_write(back, b);

	if (rv != 0 || cutting == NULL)
		return rv;
	if (rng(cutting->run, 2) == 0)
		rv = rows_back_checkpoint(back);
	cut_draw(cutting);
	return rv;
}

WRAP(int, raft_start_open, struct vfs *vfs, const char *dir,
     struct wire_u128 store, struct rows_back *back,
     struct raft_start **ret_start, struct errbuf *e)
{
	static unsigned n;
	struct vfs_file *f;
	char name[20];

	(void)snprintf(name, sizeof name, "snap/x%u", ++n);
	if (start_writes &&
	    vfs->ops->open(vfs, name, O_RDWR | O_CREAT, 0644, &f) == 0)
		f->vfs->ops->close(f);
	return __real_raft_start_open(vfs, dir, store, back, ret_start, e);
}

struct life {
	struct crash_run *run;
	struct model *m;
	struct crashfs *fs;
	struct rows_mem_image *image, *old;
};

static void life_draw(void *arg)
{
	struct life *life = arg;
	struct crash_run *r = life->run;
	struct rows_mem_image *rows;
	struct crashfs *image;
	unsigned how;

	if (rng(r, 8) != 0)
		return;
	how = (unsigned)rng(r, 4);
	rows = how == 0   ? rows_mem_image_new()
	       : how == 1 ? rows_mem_image_copy(life->old)
			  : rows_mem_image_copy(life->image);
	image = crashfs_image(life->fs, rng_next(r));
	check_image(r, life->m, image, rows, how < 2, 0);
	crashfs_free(image);
	rows_mem_image_free(rows);
	if (how == 2 && rng(r, 8) == 0) {
		rows_mem_image_free(life->old);
		life->old = rows_mem_image_copy(life->image);
	}
}

/* --- work --- */

static void submit(struct proc *p, unsigned group)
{
	size_t len = 16 + rng(p->run, 1500);
	struct op *op = calloc(1, sizeof *op);

	if (op == NULL)
		abort();
	buf_init(&op->submit.data, 0);
	for (size_t i = 0; i < len; i++) {
		uint8_t b = (uint8_t)rng_next(p->run);

		buf_add(&op->submit.data, &b, 1);
	}
	op->submit.failed = on_failed;
	op->submit.loose = rng(p->run, 2) == 0;
	raft_submit(p->groups[group], &op->submit);
}

static void on_freed(struct seg_free *f, int status)
{
	if (status != 0)
		abort();
	f->gen = 0;
}

/* Frees what may go. */
static void free_some(struct proc *p)
{
	uint64_t below = raft_host_free_below(p->host);
	uint64_t snaps = raft_snaps_need(p->snaps);
	struct seg_info *infos;
	size_t n;

	if (snaps < below)
		below = snaps;
	if (seg_segments(p->log, &infos, &n) != 0)
		abort();
	for (size_t i = 0; i < n && infos[i].gen < below; i++) {
		struct seg_free *f = &p->frees[p->n_frees++ % 64];

		if (f->gen != 0)
			break;
		*f = (struct seg_free){ .gen = infos[i].gen, .done = on_freed };
		seg_free_segment(p->port, f);
		p->run->n[FREES]++;
	}
	mem_free(infos);
}

static void work(struct proc *p, unsigned ops)
{
	struct follow *f = &p->m->f;
	struct crash_run *r = p->run;

	for (unsigned i = 0; i < ops && p->bad[0] == '\0' && r->bad == 0; i++) {
		switch (rng(r, 16)) {
		case 0:
			submit(p, IDLE);
			break;
		case 1:
		case 2:
			if (f->stored == f->sent)
				lead_append(p, f->sent,
					    1 + (unsigned)rng(r, 3));
			break;
		case 3:
			if (rng(r, 4) == 0 && f->stored == f->sent) {
				f->commit += rng(r, f->stored - f->commit + 1);
				lead_append(p, f->sent, 0);
			}
			break;
		case 4:
			if (rng(r, 3) == 0 && f->stored == f->sent)
				lead_change(p);
			break;
		case 5:
			if (rng(r, 3) == 0)
				lead_ask_vote(p);
			break;
		case 6:
			if (raft_check_now(p->check, NULL, NULL) != 0)
				abort();
			break;
		case 7:
			free_some(p);
			break;
		case 8:
			minienv_run(p->mini);
			break;
		case 9:
			minienv_advance(p->mini, rng(r, 30000000));
			break;
		case 10:
			(void)minienv_step(p->mini);
			break;
		case 11:
			while (p->slow.held != NULL)
				slowwork_go(&p->slow, &p->slow.held);
			break;
		default:
			submit(p, BUSY);
			break;
		}
	}
	r->n[COPIES] += p->host->copied;
}

/* What a power cut took of the groups of one is not there any more. */
static void lose_tails(struct proc *p)
{
	struct model *m = p->m;

	for (uint16_t i = BUSY; i <= IDLE; i++) {
		uint64_t last = rlog_last(&p->groups[i]->log);

		if (last < m->acked[i])
			proc_bad(p, "acknowledged, but gone", i, m->acked[i]);
		p->run->n[TAILS] += last < m->index[i];
		if (m->index[i] > last)
			m->index[i] = last;
		if (m->told[i] > last)
			m->told[i] = last;
	}
}

/* One life; false when the history cannot go on. */
static bool run_life(struct crash_run *r, struct model *m, struct crashfs *fs,
		     struct rows_mem_image *image)
{
	struct life life = { r, m, fs, image, rows_mem_image_copy(image) };
	struct proc *p = proc_recover(r, m, fs, image, false, false);
	struct raft_snaps_stats stats;
	bool good;

	proc_start(p);
	if (p->bad[0] == '\0') {
		check_follow(p);
		lose_tails(p);
		/* what the follower has may be more than it told */
		m->f.sent = m->f.stored;
		minienv_run(p->mini);
		minienv_advance(p->mini, 3100000000u); /* quarantine */
		m->f.lead_term = m->f.told_term > p->groups[FOLLOW]->term
			? m->f.told_term : p->groups[FOLLOW]->term;
		lead_change(p);
		minienv_run(p->mini);
		slowwork_start(&p->slow, p->env);
		crashfs_set_hook(fs, life_draw, &life);
		work(p, 100 + (unsigned)rng(r, 200));
		crashfs_set_hook(fs, NULL, NULL);
	}
	rows_mem_image_free(life.old);
	if (p->snaps != NULL) {
		raft_snaps_stats(p->snaps, &stats);
		r->n[SNAPS] += stats.files;
	}
	good = p->bad[0] == '\0';
	if (!good)
		crash_run_bad(r, p->bad);
	crashfs_freeze(fs, true);
	proc_stop(p);
	crashfs_freeze(fs, false);
	if (rng(r, 2) == 0)
		crashfs_crash(fs, rng_next(r));
	else
		memcpy(m->acked, m->told, sizeof m->acked);
	return good && r->bad == 0;
}

static void run_history(struct crash_run *r)
{
	struct crashfs *fs = crashfs_new(rng_next(r));
	struct rows_mem_image *image = rows_mem_image_new();
	struct model *m = calloc(1, sizeof *m);
	unsigned lives = 2 + (unsigned)rng(r, 5);

	if (m == NULL || image == NULL)
		abort();
	m->f.leader = 2;
	m->f.lead_term = m->f.told_term = 1;
	m->f.stored = m->f.commit = m->f.sent = 1;
	m->f.term[1] = m->f.sent_term[1] = 1;
	for (unsigned i = 0; i < lives; i++)
		if (!run_life(r, m, fs, image))
			break;
	free(m);
	rows_mem_image_free(image);
	crashfs_free(fs);
}

static bool set_raft(int what)
{
	return raft_mutate((enum raft_mutation)what);
}

static bool set_seg(int what)
{
	return seg_mutate((enum seg_mutation)what);
}

static bool set_start(int what)
{
	start_writes = what;
	return true;
}

static const struct crash_mutation mutations[] = {
	{ "groups are not asked", set_raft, RAFT_MUTATE_NEED_NOTHING },
	{ "freed before a START says so", set_raft, RAFT_MUTATE_FREE_SOON },
	{ "truncated before the rows are durable", set_raft,
	  RAFT_MUTATE_ROWS_LATE },
	{ "a copy cuts the tail", set_raft, RAFT_MUTATE_COPY_CUTS },
	{ "hard state is not in START", set_raft, RAFT_MUTATE_NO_TABLE },
	{ "row snapshot renamed unsynced", set_raft, RAFT_MUTATE_SNAP_NO_SYNC },
	{ "row snapshot's name not synced", set_raft, RAFT_MUTATE_SNAP_NO_DIR },
	{ "log behind a row snapshot cut short", set_raft,
	  RAFT_MUTATE_SNAP_LATE },
	{ "rows do not wait for the log", set_seg, SEG_MUTATE_NO_HOLD },
	{ "nothing waits for a sync", set_seg, SEG_MUTATE_ALL_LOOSE },
	{ "each start writes something", set_start, 1 },
};

static const struct crash_test test = {
	.name = "truncated log", .history = run_history, .counts = counts,
};

int main(int argc, char **argv)
{
	static const struct crash_program program = {
		.seed = 1, .states = 5000, .notice = 20000,
		.tests = &test, .n_tests = 1, .mutations = mutations,
		.n_mutations = sizeof mutations / sizeof mutations[0],
		.may_stop = true,
	};

	log_set_level(LOG_LEVEL_ERROR); /* rows that are made again are many */
	return crash_main(&program, argc, argv);
}
