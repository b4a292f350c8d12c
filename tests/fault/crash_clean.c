/*
 * Crash states of the log's cleaner: two loops of shards over the real log
 * head, rows, row snapshots and compaction driver; recovery is that of a store.
 *
 *   crash_clean [OPTIONS]: tests/fault/crash_main.h
 *
 * A history is several lives on one disk. Small objects are put, appended to
 * and deleted while the cleaner runs nearly all the time: copies, VALUE
 * records, rows that turn to the new places, checkpoints, frees. Before calls
 * that change the disk power cuts are drawn (crashfs), with what the rows had
 * by then: as the last checkpoint left them, or as the database wrote them by
 * itself since; of some images they are gone, or an old copy is there. Each
 * image is started and every object read; of some the start is cut as well, or
 * done twice: the second one must find the same and change nothing; or the
 * cleaner runs on it and all is read once more.
 *
 * Mutations (made by the linker, --wrap) leave out one thing; each must be
 * noticed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/raft/raft_check.h"
#include "common/raft/raft_impl.h"
#include "common/wire/msgs.h"
#include "common/wire/status.h"
#include "storaged/log_clean.h"
#include "storaged/log_doubt.h"
#include "storaged/shard_clean.h"
#include "storaged/shard_impl.h"
#include "tests/fault/crash_main.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"
#include "tests/lib/slowwork.h"

#define LOOPS 2u
#define KEYS 7u
#define PIECES 20u /* of an object: more than an inode holds itself */
#define VOTER 7
#define STORE { 1, 2 }

/* What is counted. */
enum { FREED, COPIED, MOVES, DOUBTS, CUT, LATE, AGAIN };

static const char *const counts[] = {
	[FREED] = "segments freed", [COPIED] = "bytes copied",
	[MOVES] = "moves", [DOUBTS] = "groups in doubt",
	[CUT] = "starts cut", [LATE] = "late starts",
	[AGAIN] = "starts done again", NULL,
};

/* --- what is stored --- */

struct content {
	bool there;
	unsigned n;
	struct {
		uint64_t num; /* its bytes follow from that */
		uint32_t len;
	} piece[PIECES];
};

struct key {
	struct content now;  /* acknowledged */
	struct content next; /* when the one under way has happened */
	bool pending;
	uint64_t ino, seq;
};

struct model {
	uint64_t root[LOOPS]; /* bucket of the shard; 0: not yet */
	struct key keys[LOOPS][KEYS];
	uint64_t nums;
};

struct proc;

struct op {
	struct proc *p;
	struct key *key;
};

/* A process. */
struct proc {
	struct crash_run *run;
	struct model *m;
	struct crashfs *fs;
	struct minienv *mini;
	struct env *env;
	struct seg_head *log;
	struct seg_port *port[LOOPS];
	struct rows_back *back;
	struct shard_set *set[LOOPS];
	struct raft_start *start;
	struct log_doubt *doubt;
	struct compact *compact;
	struct log_clean *clean;
	struct op ops[LOOPS][KEYS];
	unsigned leads;
	bool dead; /* it only looks at an image */
	struct slowwork slow; /* from work() on */
	bool few_snaps; /* row snapshots */
	bool quiet;     /* nobody writes to the second shard */
	char bad[CRASH_BAD];
};

static void proc_bad(struct proc *p, const char *what, uint64_t a, uint64_t b)
{
	crash_note(p->bad, what, a, b);
}

static void piece_fill(uint64_t num, uint8_t *out, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		out[i] = (uint8_t)((num + i / 7) * 2654435761u >> 13);
}

/* --- mutations --- */

enum mutation {
	NONE,
	UNSAVED,    /* freed before the rows are durable */
	UNSYNCED,   /* rows turn before the VALUE is durable */
	SILENT,     /* what is copied is no VALUE record */
	NEEDLESS,   /* frees what row snapshots want */
	DOUBTLESS,  /* old rows are taken as they are */
	UNSAID,     /* START does not say how often was moved */
	UNCOUNTED,  /* moves do not count */
	UNHELD,     /* row snapshots decide between copy and commit */
	ONCE,       /* one walk, whatever it found */
	WRITES,     /* each start makes a file */
};

static enum mutation mutation;
static struct crashfs *lying; /* whose syncs do nothing for now */
static uint64_t moves;        /* commits that changed positions */
static unsigned moving;       /* copies on their way that rows do not show */

#define WRAP(ret, name, ...) \
	ret __real_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__)

WRAP(int, raft_check_roll, struct raft_check *c,
     void (*done)(void *arg, int status), void *arg)
{
	if (mutation != UNSAVED)
		return __real_raft_check_roll(c, done, arg);
	done(arg, 0);
	return 0;
}

static void lie(bool on)
{
	struct crashfs_faults f;

	if (lying == NULL)
		return;
	crashfs_get_faults(lying, &f);
	f.ignore_sync = on;
	crashfs_set_faults(lying, &f);
}

WRAP(void, seg_append, struct seg_port *port, struct seg_append *a)
{
	if (a->type == SEG_VALUE && mutation == UNSYNCED)
		lie(true);
	if (a->type == SEG_VALUE && mutation == SILENT)
		a->type = SEG_CHECKPOINT;
	__real_seg_append(port, a);
}

WRAP(int, shard_commit_moved, struct shard_group *g, struct rows_txn *t)
{
	int rv = __real_shard_commit_moved(g, t);

	moves++;
	lie(false);
	return rv;
}

WRAP(uint64_t, raft_snaps_need, struct raft_snaps *s)
{
	return mutation == NEEDLESS ? UINT64_MAX : __real_raft_snaps_need(s);
}

WRAP(int, log_doubt_settle, struct log_doubt *d, struct seg_head *log)
{
	return mutation == DOUBTLESS ? 0 : __real_log_doubt_settle(d, log);
}

WRAP(void, raft_group_durable_moved, struct raft_group *g, uint64_t index,
     uint64_t moved)
{
	if (mutation != UNSAID)
		__real_raft_group_durable_moved(g, index, moved);
}

WRAP(uint64_t, raft_group_next_moved, const struct raft_group *g)
{
	return mutation == UNCOUNTED ? raft_group_moved(g)
				     : __real_raft_group_next_moved(g);
}

WRAP(void, raft_snaps_hold, struct raft_snaps *s)
{
	moving++;
	if (mutation != UNHELD)
		__real_raft_snaps_hold(s);
}

WRAP(void, raft_snaps_release, struct raft_snaps *s)
{
	moving--;
	if (mutation != UNHELD)
		__real_raft_snaps_release(s);
}

WRAP(const struct shard_clean_count *, shard_clean_count,
     const struct shard_clean *c)
{
	static struct shard_clean_count nothing;

	if (mutation != ONCE)
		return __real_shard_clean_count(c);
	nothing = *__real_shard_clean_count(c);
	nothing.found = 0;
	return &nothing;
}

/* --- slow workers --- */

/* Up to n go, in any order. */
static void slow_release(struct proc *p, unsigned n)
{
	while (p->slow.held != NULL && n-- > 0) {
		struct env_work **at = &p->slow.held;

		while ((*at)->next != NULL && rng(p->run, 2) == 0)
			at = &(*at)->next;
		slowwork_go(&p->slow, at);
	}
}

/* --- life of a process, as store_open.c has it --- */

static bool on_owns(void *arg, uint16_t group)
{
	const struct op *op = arg; /* of its loop */
	struct proc *p = op->p;

	return op == p->ops[group % LOOPS];
}

static void on_role(void *arg, uint16_t group, bool leader)
{
	struct op *op = arg;

	(void)group;
	op->p->leads += leader;
}

static void on_value_rot(void *arg, uint16_t group, uint64_t gen, uint64_t off)
{
	struct op *op = arg;

	(void)group;
	proc_bad(op->p, "a value is not there", gen, off);
}

static int on_record(void *arg, const struct seg_rec *rec)
{
	struct proc *p = arg;
	int rv = log_doubt_record(p->doubt, rec);

	if (rec->type != SEG_START)
		return rv != 0 ? rv
			       : shard_set_recover(p->set[rec->group % LOOPS],
						   rec);
	for (unsigned i = 0; i < LOOPS && rv == 0; i++)
		rv = shard_set_recover(p->set[i], rec);
	return rv;
}

static void on_rot(void *arg, const struct seg_rot *rot)
{
	proc_bad(arg, "rot", rot->pos.gen, rot->seq);
}

static int on_scan_from(void *arg, const struct seg_rec *start, uint64_t *ret)
{
	struct proc *p = arg;
	struct errbuf e = { "" };
	int rv = raft_start_from(p->start, start, ret, &e);

	if (rv != 0)
		(void)snprintf(p->bad, sizeof p->bad, "%.200s", e.text);
	for (unsigned i = 0; i < LOOPS && rv == 0; i++)
		rv = raft_start_recover(p->start, start,
					shard_set_host(p->set[i]));
	p->run->n[LATE] += rv == 0 && *ret > 1;
	p->run->n[DOUBTS] += raft_start_n_doubts(p->start);
	return rv;
}

static void on_start_body(void *arg, uint64_t gen, struct buf *buf)
{
	struct proc *p = arg;

	for (unsigned i = 0; i < LOOPS; i++)
		raft_host_start_body(shard_set_host(p->set[i]), gen, buf);
}

static bool on_knows(void *arg, uint16_t group)
{
	struct proc *p = arg;

	return raft_host_has_group(shard_set_host(p->set[group % LOOPS]),
				   group);
}

static void proc_make_sets(struct proc *p)
{
	struct crash_run *r = p->run;

	for (unsigned i = 0; i < LOOPS; i++) {
		struct shard_config config = {
			.env = p->env, .back = p->back, .id = VOTER,
			.rows_cache = rng(r, 2) == 0 ? 4000 : 0,
			.entry_cache = rng(r, 2) == 0 ? 4000 : 0,
			.owns = on_owns, .role = on_role, .rot = on_value_rot,
			.snap_dir = "snap", .start = p->start, .store = STORE,
			.snap_bytes = p->few_snaps ? 200000 : 1,
			.arg = p->ops[i],
		};

		if (shard_set_new(&config, &p->set[i]) != 0)
			abort();
		rows_set_forget(shard_set_rows(p->set[i]),
				rng(r, 2) == 0 ? 3 : 0);
	}
}

static int proc_open_log(struct proc *p, struct errbuf *e)
{
	struct seg_config config = {
		.dir = "log", .segment_size = 8192u << rng(p->run, 2),
		.first_size = 8192, .on_record = on_record, .on_rot = on_rot,
		.scan_from = on_scan_from, .start_body = on_start_body,
		.arg = p,
	};
	int rv = log_doubt_new(p->start, p->back, &p->doubt);

	if (rv == 0)
		rv = seg_head_open(p->env, &config, &p->log, e);
	if (rv == 0)
		rv = raft_start_check(p->start, on_knows, p, e);
	if (rv == 0)
		rv = log_doubt_settle(p->doubt, p->log);
	log_doubt_free(p->doubt);
	for (unsigned i = 0; i < LOOPS && rv == 0; i++) {
		if (seg_port_new(p->log, p->env, &p->port[i]) != 0)
			abort();
		shard_set_log(p->set[i], p->log, p->port[i]);
	}
	return rv;
}

static void proc_open_clean(struct proc *p)
{
	const struct log_clean_loop loops[LOOPS] = {
		{ p->env, p->set[0] }, { p->env, p->set[1] },
	};
	const struct log_clean_config lc = {
		.loops = loops, .n_loops = LOOPS, .log = p->log,
		.port = p->port[0],
		.pinned = p->few_snaps ? 1000000 : 1,
	};
	const struct compact_config cc = { .env = p->env };
	struct compact_head head;

	if (compact_new(&cc, &p->compact) != 0 ||
	    log_clean_new(&lc, &p->clean, &head) != 0)
		abort();
	compact_add_head(p->compact, &head);
}

/* Each one leaves a file, as nobody who starts must. */
static void proc_litter(struct proc *p)
{
	struct vfs *vfs = crashfs_vfs(p->fs);
	static unsigned n;
	struct vfs_file *f;
	char name[20];

	(void)snprintf(name, sizeof name, "snap/x%u", ++n);
	if (vfs->ops->open(vfs, name, O_RDWR | O_CREAT, 0644, &f) == 0)
		vfs->ops->close(f);
}

/* As far as what was on the disk goes: nothing is new yet; or bad is set. */
static void proc_recover(struct proc *p)
{
	const uint64_t voter = VOTER;
	struct errbuf e = { "" };
	int rv = raft_start_open(crashfs_vfs(p->fs), "snap",
				 (struct wire_u128)STORE, p->back, &p->start,
				 &e);

	if (rv == 0) {
		proc_make_sets(p);
		rv = proc_open_log(p, &e);
	}
	for (uint16_t i = 0; i < LOOPS && rv == 0; i++)
		rv = shard_open(p->set[i], (uint16_t)(i + LOOPS), &voter, 1,
				&e);
	if (rv != 0 && p->bad[0] == '\0')
		(void)snprintf(p->bad, sizeof p->bad, "no start: %.200s",
			       e.text);
	if (mutation == WRITES)
		proc_litter(p);
}

/* The shards lead, everything in the log is applied; or bad is set. */
static void proc_begin(struct proc *p)
{
	if (p->bad[0] != '\0')
		return;
	for (unsigned i = 0; i < LOOPS; i++)
		if (shard_set_start(p->set[i]) != 0)
			abort();
	proc_open_clean(p);
	minienv_run(p->mini);
	if (p->leads != LOOPS)
		proc_bad(p, "nobody leads", p->leads, 0);
}

static struct proc *proc_new(struct crash_run *r, struct model *m,
			     struct crashfs *fs, struct rows_mem_image *image,
			     bool dead)
{
	struct proc *p = calloc(1, sizeof *p);

	if (p == NULL)
		abort();
	p->run = r;
	p->m = m;
	p->fs = fs;
	p->dead = dead;
	p->few_snaps = rng(r, 2) == 0;
	p->quiet = rng(r, 2) == 0;
	p->mini = minienv_new(crashfs_vfs(fs), rng_next(r));
	p->env = minienv_env(p->mini);
	for (unsigned i = 0; i < LOOPS; i++)
		for (unsigned k = 0; k < KEYS; k++)
			p->ops[i][k] = (struct op){ p, &m->keys[i][k] };
	if (rows_back_mem(image, &p->back) != 0)
		abort();
	proc_recover(p);
	return p;
}

static struct proc *proc_start(struct crash_run *r, struct model *m,
			       struct crashfs *fs,
			       struct rows_mem_image *image, bool dead)
{
	struct proc *p = proc_new(r, m, fs, image, dead);

	proc_begin(p);
	return p;
}

static void proc_stop(struct proc *p)
{
	struct compact_info info;

	if (p->log != NULL)
		seg_head_abandon(p->log);
	if (p->compact != NULL) {
		compact_get_info(p->compact, &info);
		p->run->n[FREED] += info.out - info.kept;
		p->run->n[COPIED] += info.copied;
		log_clean_free(p->clean);
		compact_free(p->compact);
	}
	for (unsigned i = 0; i < LOOPS; i++)
		shard_set_free(p->set[i]);
	for (unsigned i = 0; i < LOOPS; i++)
		seg_port_free(p->port[i]);
	raft_start_free(p->start);
	rows_back_close(p->back);
	minienv_free(p->mini);
	free(p);
}

/* --- reading --- */

struct reply {
	unsigned n;
	uint32_t status;
	struct buf payload;
	struct body *body;
};

static void on_reply(void *arg, uint32_t status, struct buf *payload,
		     struct body *body)
{
	struct reply *r = arg;

	r->n++;
	r->status = status;
	r->payload = *payload;
	buf_init(payload, 0);
	r->body = body;
}

static void reply_fini(struct reply *r)
{
	buf_fini(&r->payload);
	body_unref(r->body);
}

static bool content_is(const struct content *c, const struct reply *r)
{
	uint8_t bytes[2048];
	uint32_t at = 0;

	if (r->status == RPC_STATUS_NOENT)
		return !c->there;
	if (r->status != RPC_STATUS_OK || !c->there || r->body == NULL)
		return false;
	for (unsigned i = 0; i < c->n; i++) {
		uint32_t len = c->piece[i].len;

		piece_fill(c->piece[i].num, bytes, len);
		if (len > r->body->len - at ||
		    memcmp(r->body->data + at, bytes, len) != 0)
			return false;
		at += len;
	}
	return at == r->body->len;
}

static uint64_t reply_ino(const struct reply *r)
{
	struct rpc_object_rsp rsp;

	return r->status == RPC_STATUS_OK &&
	       rpc_object_rsp_decode(&rsp, r->payload.data, r->payload.len) == 0
		       ? rsp.attr.ino : 0;
}

/* What it is now; the model takes it when it is not just an image. */
static void read_key(struct proc *p, unsigned i, unsigned k)
{
	struct key *key = &p->m->keys[i][k];
	char name[3] = { 'k', (char)('0' + k) };
	struct rpc_object req = { .root = p->m->root[i],
				  .key = wire_cstr(name), .len = 1 << 20 };
	struct reply r = { 0 };
	bool next;
	struct buf b;

	buf_init(&b, 0);
	if (rpc_object_encode(&req, &b) != 0 ||
	    shard_call(p->set[i], (uint16_t)(i + LOOPS), RPC_TAG_object, &b,
		       on_reply, &r) != 0)
		abort();
	minienv_run(p->mini);
	if (r.n != 1)
		proc_bad(p, "no answer", i, k);
	next = key->pending && content_is(&key->next, &r);
	if (!next && !content_is(&key->now, &r))
		proc_bad(p, "not what was stored", i * 100 + k, r.status);
	if (!p->dead) {
		if (next)
			key->now = key->next;
		key->pending = false;
		key->ino = reply_ino(&r);
	}
	reply_fini(&r);
}

static void read_all(struct proc *p)
{
	for (unsigned i = 0; i < LOOPS; i++)
		for (unsigned k = 0; k < KEYS && p->bad[0] == '\0'; k++)
			if (p->m->root[i] != 0)
				read_key(p, i, k);
}

/* --- images --- */

struct life {
	struct crash_run *run;
	struct model *m;
	struct crashfs *fs;
	struct proc *p;
	struct rows_mem_image *image, *old;
	unsigned depth;
	bool starting;
};

static void life_draw(void *arg);

/* What a start found; not how often rows in doubt were looked through. */
struct found {
	uint64_t disk;
	uint64_t term[LOOPS], vote[LOOPS], applied[LOOPS];
	uint64_t first[LOOPS], last[LOOPS];
};

static void proc_found(struct proc *p, struct found *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->disk = crashfs_hash(p->fs);
	for (unsigned i = 0; i < LOOPS && p->bad[0] == '\0'; i++) {
		struct raft_group *g = raft_host_find(
			shard_set_host(p->set[i]), (uint16_t)(i + LOOPS));

		ret->term[i] = g->term;
		ret->vote[i] = g->vote;
		ret->applied[i] = g->applied;
		ret->first[i] = g->log.first;
		ret->last[i] = rlog_last(&g->log);
	}
}

struct start {
	struct model *m;
	struct crashfs *fs;
	struct rows_mem_image *image;
};

static void start_found(struct crash_run *r, void *arg, void *ret_found)
{
	const struct start *s = arg;
	struct proc *p = proc_new(r, s->m, s->fs, s->image, true);

	proc_found(p, ret_found);
	if (p->bad[0] != '\0')
		crash_run_bad(r, p->bad);
	proc_stop(p);
}

static void check_again(struct crash_run *r, struct model *m,
			struct crashfs *fs, struct rows_mem_image *image)
{
	struct start s = { m, fs, image };

	r->n[AGAIN]++;
	crash_run_twice(r, sizeof(struct found), start_found, &s);
}

static void check_image(struct crash_run *r, struct model *m,
			struct crashfs *fs, struct rows_mem_image *image,
			unsigned depth)
{
	struct life cut = { r, m, fs, NULL, image, image, depth + 1, true };
	unsigned was_moving = moving;
	struct crashfs *was = lying;
	struct proc *p;

	r->states++;
	lying = NULL;
	if (depth == 0 && rng(r, 16) == 0)
		check_again(r, m, fs, image);
	if (depth == 0 && rng(r, 4) == 0)
		crashfs_set_hook(fs, life_draw, &cut);
	p = proc_start(r, m, fs, image, true);
	crashfs_set_hook(fs, NULL, NULL);
	read_all(p);
	if (p->bad[0] == '\0' && rng(r, 4) == 0) {
		compact_start(p->compact, UINT64_MAX);
		minienv_run(p->mini);
		read_all(p);
	}
	if (p->bad[0] != '\0')
		crash_run_bad(r, p->bad);
	proc_stop(p);
	lying = was;
	moving = was_moving;
}

/* Which calls: all of the cleaner's, few of the others. */
static bool draw_now(const struct life *life)
{
	struct compact_info info;

	if (life->starting)
		return rng(life->run, 6) == 0;
	compact_get_info(life->p->compact, &info);
	return rng(life->run, info.state == COMPACT_RUNNING ? 3 : 30) == 0;
}

static void life_draw(void *arg)
{
	struct life *life = arg;
	struct crash_run *r = life->run;
	struct rows_mem_image *rows;
	struct crashfs *image;
	unsigned how;

	if (r->bad > 0 || r->states >= r->max_states || !draw_now(life))
		return;
	r->n[CUT] += life->starting;
	how = life->starting ? 7 : (unsigned)rng(r, 8);
	if (how == 6 && rng(r, 2) == 0) /* the database writes by itself */
		(void)rows_back_checkpoint(life->p->back);
	rows = how < 2	 ? rows_mem_image_new()
	       : how < 4 ? rows_mem_image_copy(life->old)
			 : rows_mem_image_copy(life->image);
	image = crashfs_image(life->fs, rng_next(r));
	check_image(r, life->m, image, rows, life->depth);
	crashfs_free(image);
	rows_mem_image_free(rows);
	if (how == 7 && !life->starting && rng(r, 8) == 0) {
		rows_mem_image_free(life->old);
		life->old = rows_mem_image_copy(life->image);
	}
}

/* --- work --- */

static void on_done(void *arg, uint32_t status, struct buf *payload,
		    struct body *body)
{
	struct op *op = arg;
	struct key *key = op->key;
	struct rpc_put_rsp rsp;

	body_unref(body);
	if (status != RPC_STATUS_OK) {
		proc_bad(op->p, "refused", status, 0);
		return;
	}
	/* another inode with each PUT; other answers have one in front, too */
	if (key->next.n == 1 &&
	    rpc_put_rsp_decode(&rsp, payload->data, payload->len) == 0)
		key->ino = rsp.attr.ino;
	key->now = key->next;
	key->pending = false;
}

static void send(struct proc *p, unsigned i, unsigned k, uint16_t tag,
		 struct buf *b)
{
	p->m->keys[i][k].pending = true;
	if (b->err != 0 || shard_call(p->set[i], (uint16_t)(i + LOOPS), tag, b,
				      on_done, &p->ops[i][k]) != 0)
		abort();
}

/* One more piece, behind those of next. */
static void add_piece(struct proc *p, struct content *c, struct wire_vec *v,
		      uint8_t *bytes, struct wire_bytes *ret)
{
	uint32_t len = 300 + (uint32_t)rng(p->run, 1500);
	struct wire_extent e = { .len = len, .kind = WIRE_EXT_INLINE };

	c->there = true;
	c->piece[c->n].num = ++p->m->nums;
	c->piece[c->n++].len = len;
	piece_fill(p->m->nums, bytes, len);
	wire_vec_init(v);
	wire_vec_add_extent(v, &e);
	*ret = wire_bytes(bytes, len);
}

static void do_put(struct proc *p, unsigned i, unsigned k)
{
	struct key *key = &p->m->keys[i][k];
	char name[3] = { 'k', (char)('0' + k) };
	struct rpc_put req = {
		.client = 9, .slot = k + 1, .seq = ++key->seq,
		.root = p->m->root[i], .key = wire_cstr(name), .umask = 022,
		.etag = wire_cstr("d41d8cd9"),
	};
	uint8_t bytes[2048];
	struct wire_vec v;
	struct buf b;

	key->next = (struct content){ 0 };
	add_piece(p, &key->next, &v, bytes, &req.data);
	req.size = req.data.len;
	req.extents = wire_vec_bytes(&v);
	buf_init(&b, 0);
	(void)rpc_put_encode(&req, &b);
	send(p, i, k, RPC_TAG_put, &b);
	wire_vec_fini(&v);
}

static void do_append(struct proc *p, unsigned i, unsigned k)
{
	struct key *key = &p->m->keys[i][k];
	struct rpc_write req = {
		.client = 9, .slot = k + 1, .seq = ++key->seq,
		.ino = key->ino, .flags = RPC_WRITE_APPEND,
	};
	uint8_t bytes[2048];
	struct wire_vec v;
	struct buf b;

	key->next = key->now;
	add_piece(p, &key->next, &v, bytes, &req.data);
	req.extents = wire_vec_bytes(&v);
	buf_init(&b, 0);
	(void)rpc_write_encode(&req, &b);
	send(p, i, k, RPC_TAG_write, &b);
	wire_vec_fini(&v);
}

static void do_delete(struct proc *p, unsigned i, unsigned k)
{
	struct key *key = &p->m->keys[i][k];
	char name[3] = { 'k', (char)('0' + k) };
	struct rpc_delete req = {
		.client = 9, .slot = k + 1, .seq = ++key->seq,
		.root = p->m->root[i], .key = wire_cstr(name),
	};
	struct buf b;

	key->next = (struct content){ 0 };
	buf_init(&b, 0);
	(void)rpc_delete_encode(&req, &b);
	send(p, i, k, RPC_TAG_delete, &b);
}

/* Key 0 grows, key 1 is put once: what stays is moved again and again. */
static void do_something(struct proc *p)
{
	struct crash_run *r = p->run;
	unsigned i = (unsigned)rng(r, LOOPS), k = (unsigned)rng(r, KEYS);
	struct key *key = &p->m->keys[i][k];

	if (key->pending || (p->quiet && i > 0) || (k == 1 && key->now.there))
		return;
	if (!key->now.there || key->now.n == PIECES)
		do_put(p, i, k);
	else if (k == 0 || rng(r, 3) == 0)
		do_append(p, i, k);
	else if (rng(r, 3) == 0)
		do_delete(p, i, k);
	else
		do_put(p, i, k);
}

static void work(struct life *life, unsigned ops)
{
	struct proc *p = life->p;
	struct crash_run *r = p->run;

	for (unsigned n = 0; n < ops && p->bad[0] == '\0' && r->bad == 0 &&
			     r->states < r->max_states; n++) {
		unsigned what = (unsigned)rng(r, 20);

		/* the time between copy and commit is worth being long */
		if (moving > 0 && what >= 7 && what <= 10 && rng(r, 8) != 0)
			what = 20 + (unsigned)rng(r, 4);
		switch (what) {
		case 0:
		case 1:
			compact_start(p->compact, UINT64_MAX);
			break;
		case 2:
			if (rng(r, 4) == 0)
				compact_suspend(p->compact);
			break;
		case 3:
			compact_resume(p->compact);
			break;
		case 4:
		case 20:
			if (shard_set_checkpoint(p->set[rng(r, LOOPS)], NULL,
						 NULL) != 0)
				abort();
			break;
		case 5:
		case 21:
			if (!p->few_snaps || what > 20)
				raft_snaps_now(shard_set_snaps(p->set[rng(
						       r, LOOPS)]), NULL);
			break;
		case 6:
			minienv_advance(p->mini, rng(r, 30000000));
			break;
		case 7:
			slow_release(p, 64);
			minienv_run(p->mini);
			break;
		case 8:
		case 9:
		case 10:
			slow_release(p, 1 + (unsigned)rng(r, 3));
			break;
		case 11:
		case 12:
		case 13:
		case 14:
		case 15:
			for (uint64_t k = rng(r, 12); k > 0; k--)
				(void)minienv_step(p->mini);
			break;
		case 22: /* what was begun last, not the cleaner's */
			if (p->slow.held != NULL &&
			    p->slow.held->next != NULL)
				slowwork_go(&p->slow, &p->slow.held);
			break;
		default:
			do_something(p);
			break;
		}
	}
}

static void make_roots(struct proc *p)
{
	for (unsigned i = 0; i < LOOPS && p->bad[0] == '\0'; i++) {
		struct rpc_root_create req = { .client = 9, .slot = 60,
					       .seq = 1, .bucket = i + 1,
					       .mode = 0775 };
		struct rpc_root_create_rsp rsp;
		struct reply r = { 0 };
		struct buf b;

		buf_init(&b, 0);
		if (rpc_root_create_encode(&req, &b) != 0 ||
		    shard_call(p->set[i], (uint16_t)(i + LOOPS),
			       RPC_TAG_root_create, &b, on_reply, &r) != 0)
			abort();
		minienv_run(p->mini);
		if (r.status != RPC_STATUS_OK ||
		    rpc_root_create_rsp_decode(&rsp, r.payload.data,
					       r.payload.len) != 0)
			abort();
		p->m->root[i] = rsp.ino;
		reply_fini(&r);
	}
}

/* What the machine has when it starts again. */
static void lose_rows(struct crash_run *r, struct rows_mem_image **image,
		      struct rows_mem_image *old)
{
	unsigned how = (unsigned)rng(r, 6);

	if (how > 1)
		return;
	rows_mem_image_free(*image);
	*image = how == 0 ? rows_mem_image_new() : rows_mem_image_copy(old);
}

/* One life; false when the history cannot go on. */
static bool run_life(struct crash_run *r, struct model *m, struct crashfs *fs,
		     struct rows_mem_image **image)
{
	struct life life = {
		.run = r, .m = m, .fs = fs, .image = *image,
		.old = rows_mem_image_copy(*image),
	};
	struct proc *p = proc_start(r, m, fs, *image, false);
	bool good;

	life.p = p;
	if (m->root[0] == 0)
		make_roots(p);
	read_all(p);
	if (p->bad[0] == '\0') {
		slowwork_start(&p->slow, p->env);
		lying = fs;
		moving = 0;
		crashfs_set_hook(fs, life_draw, &life);
		work(&life, 200 + (unsigned)rng(r, 600));
		crashfs_set_hook(fs, NULL, NULL);
		lie(false);
		lying = NULL;
	}
	good = p->bad[0] == '\0';
	if (!good)
		crash_run_bad(r, p->bad);
	crashfs_freeze(fs, true);
	proc_stop(p);
	crashfs_freeze(fs, false);
	if (rng(r, 2) == 0)
		crashfs_crash(fs, rng_next(r));
	lose_rows(r, image, life.old);
	rows_mem_image_free(life.old);
	return good && r->bad == 0 && r->states < r->max_states;
}

static void run_history(struct crash_run *r)
{
	struct crashfs *fs = crashfs_new(rng_next(r));
	struct rows_mem_image *image = rows_mem_image_new();
	struct model *m = calloc(1, sizeof *m);
	unsigned lives = 2 + (unsigned)rng(r, 4);

	if (m == NULL || image == NULL)
		abort();
	for (unsigned i = 0; i < lives; i++)
		if (!run_life(r, m, fs, &image))
			break;
	free(m);
	rows_mem_image_free(image);
	crashfs_free(fs);
	r->n[MOVES] = moves;
}

static bool set_mutation(int what)
{
	mutation = (enum mutation)what;
	return true;
}

static const struct crash_mutation mutations[] = {
	{ "freed before the rows are durable", set_mutation, UNSAVED },
	{ "rows turn before the value is durable", set_mutation, UNSYNCED },
	{ "a copy that is no VALUE record", set_mutation, SILENT },
	{ "freed what a row snapshot needs", set_mutation, NEEDLESS },
	{ "old rows are taken as they are", set_mutation, DOUBTLESS },
	{ "START does not say what was moved", set_mutation, UNSAID },
	{ "moves are not counted", set_mutation, UNCOUNTED },
	{ "a row snapshot between copy and commit", set_mutation, UNHELD },
	{ "one walk is enough", set_mutation, ONCE },
	{ "each start writes something", set_mutation, WRITES },
};

static const struct crash_test test = {
	.name = "the log's cleaner", .history = run_history, .counts = counts,
};

int main(int argc, char **argv)
{
	static const struct crash_program program = {
		.seed = 4, .states = 1000, .notice = 40000,
		.tests = &test, .n_tests = 1, .mutations = mutations,
		.n_mutations = sizeof mutations / sizeof mutations[0],
		.may_stop = true,
	};

	log_set_level(LOG_LEVEL_ERROR); /* rows that are made again are many */
	return crash_main(&program, argc, argv);
}
