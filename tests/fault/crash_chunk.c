/*
 * Crash states of chunks and of the cleaner of the bulk head: the real head,
 * index, saves and compaction driver; recovery is that of a store.
 *
 *   crash_chunk [OPTIONS]: tests/fault/crash_main.h
 *
 * A history is several lives on one disk. Chunks are put, refused (other bytes
 * under a name that there is) and dropped while the cleaner runs nearly all the
 * time. Before calls that change the disk power cuts are drawn (crashfs), with
 * the index as it was saved last, as the database wrote it by itself since, or
 * gone. Each image is started: what was acknowledged and not dropped is there
 * with its bytes, nothing else is under its name, the counts of segments are
 * right. Of some the start is cut as well, or done twice: the second one must
 * find the same and change nothing; or the cleaner runs on it and all is read
 * once more.
 *
 * Mutations (made by the linker, --wrap) leave out one thing; each must be
 * noticed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "common/base/log.h"
#include "storaged/chunk_impl.h"
#include "storaged/compact.h"
#include "tests/fault/crash_main.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"
#include "tests/lib/slowwork.h"

#define SLICES 16u
#define CHUNKS 3u
#define SECOND 1000000000ull
#define OTHER 7u /* version of what is refused */

/* What is counted. */
enum { FREED, COPIED, REFUSED, REMADE, CUT, AGAIN };

static const char *const counts[] = {
	[FREED] = "segments freed", [COPIED] = "bytes copied",
	[REFUSED] = "puts refused", [REMADE] = "indexes made again",
	[CUT] = "starts cut", [AGAIN] = "starts done again", NULL,
};

struct slice {
	unsigned num;         /* another one when it was dropped */
	bool dropped;         /* may be gone, or come back */
	bool acked[CHUNKS];   /* it was said that it is there */
	bool pending[CHUNKS]; /* a put is under way */
	bool dropping;        /* and a drop */
};

struct model {
	struct slice slices[SLICES];
	unsigned nums;
};

struct proc;

struct op {
	struct proc *p;
	struct slice *s;
	unsigned index, version;
};

/* A process. */
struct proc {
	struct crash_run *run;
	struct model *m;
	struct crashfs *fs;
	struct minienv *mini;
	struct env *env;
	struct chunk_store *cs;
	struct seg_head *bulk;
	struct seg_port *port;
	struct chunk_loop *cl;
	struct compact *compact;
	struct op puts[SLICES][CHUNKS], drops[SLICES];
	struct slowwork slow; /* from work() on */
	char bad[CRASH_BAD];
};

static void proc_bad(struct proc *p, const char *what, uint64_t a, uint64_t b)
{
	crash_note(p->bad, what, a, b);
}

/* --- mutations --- */

enum mutation {
	NONE,
	UNSAVED,  /* freed before the index is saved */
	UNSYNCED, /* the index turns before the copy is durable */
	UNMARKED, /* a copy does not say that it is one */
	UNASKED,  /* what came late to a segment is not looked for */
	WRITES,   /* each start makes a file */
};

static enum mutation mutation;
static struct crashfs *lying; /* whose syncs do nothing for now */
static bool looking;          /* for segments that are worth it */

#define WRAP(ret, name, ...) \
	ret __real_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__)

static void lie(bool on)
{
	struct crashfs_faults f;

	if (lying == NULL)
		return;
	crashfs_get_faults(lying, &f);
	f.ignore_sync = on;
	crashfs_set_faults(lying, &f);
}

WRAP(void, chunk_save_soon, struct chunk_loop *cl, void (*done)(void *arg),
     void *arg)
{
	looking = false;
	if (mutation == UNSAVED)
		done(arg);
	else
		__real_chunk_save_soon(cl, done, arg);
}

WRAP(void, seg_append, struct seg_port *port, struct seg_append *a)
{
	bool copy = a->type == SEG_CHUNK && (a->flags & CHUNK_IS_COPY) != 0;

	if (copy && mutation == UNSYNCED)
		lie(true);
	if (copy && mutation == UNMARKED)
		a->flags = 0;
	__real_seg_append(port, a);
}

WRAP(int, chunk_batch_move, struct chunk_batch *b, const struct chunk_id *id,
     const struct chunk_row *from, const struct chunk_row *to)
{
	lie(false);
	return __real_chunk_batch_move(b, id, from, to);
}

WRAP(int, seg_segments, struct seg_head *h, struct seg_info **ret_infos,
     size_t *ret_n)
{
	looking = true;
	return __real_seg_segments(h, ret_infos, ret_n);
}

WRAP(uint64_t, chunk_segments_live, const struct chunk_segments *s,
     uint64_t gen)
{
	return mutation == UNASKED && !looking
		       ? 0
		       : __real_chunk_segments_live(s, gen);
}

/* --- life of a process, as store_open.c has it --- */

static int on_record(void *arg, const struct seg_rec *rec)
{
	struct proc *p = arg;

	return chunk_store_recover(p->cs, rec);
}

static void on_rot(void *arg, const struct seg_rot *rot)
{
	proc_bad(arg, "rot", rot->pos.gen, rot->seq);
}

/* Each start leaves a file, as none must. */
static void proc_litter(struct proc *p)
{
	struct vfs *vfs = crashfs_vfs(p->fs);
	static unsigned n;
	struct vfs_file *f;
	char name[20];

	(void)snprintf(name, sizeof name, "x%u", ++n);
	if (vfs->ops->open(vfs, name, O_RDWR | O_CREAT, 0644, &f) == 0)
		vfs->ops->close(f);
}

/* As far as what was on the disk goes: nothing is new yet; or bad is set. */
static struct proc *proc_new(struct crash_run *r, struct model *m,
			     struct crashfs *fs, struct rows_mem_image *image)
{
	struct proc *p = calloc(1, sizeof *p);
	struct seg_config config = {
		.dir = "bulk", .segment_size = 16384u << rng(r, 3),
		.first_size = 16384, .bulk = true, .on_record = on_record,
		.on_rot = on_rot, .arg = p,
	};
	struct errbuf e = { "" };
	struct rows_back *back;

	if (p == NULL)
		abort();
	p->run = r;
	p->m = m;
	p->fs = fs;
	p->mini = minienv_new(crashfs_vfs(fs), rng_next(r));
	p->env = minienv_env(p->mini);
	if (rows_back_mem(image, &back) != 0 ||
	    chunk_store_new(back, &p->cs) != 0)
		abort();
	config.from_seq = chunk_store_from(p->cs);
	if (seg_head_open(p->env, &config, &p->bulk, &e) != 0)
		(void)snprintf(p->bad, sizeof p->bad, "no start: %.200s",
			       e.text);
	else if (chunk_store_set_bulk(p->cs, p->bulk) != 0)
		abort();
	if (mutation == WRITES)
		proc_litter(p);
	return p;
}

static void proc_begin(struct proc *p)
{
	struct compact_config cc = { .env = p->env };
	struct compact_head head;

	if (p->bad[0] != '\0')
		return;
	if (seg_port_new(p->bulk, p->env, &p->port) != 0 ||
	    chunk_loop_new(p->cs, p->env, p->port, &p->cl) != 0)
		abort();
	chunk_loop_start_saving(p->cl);
	if (compact_new(&cc, &p->compact) != 0 ||
	    chunk_clean_new(p->cl, &head) != 0)
		abort();
	compact_add_head(p->compact, &head);
	minienv_run(p->mini);
}

static void proc_stop(struct proc *p)
{
	struct compact_info info;

	if (p->bulk != NULL)
		seg_head_abandon(p->bulk);
	if (p->compact != NULL) {
		compact_get_info(p->compact, &info);
		p->run->n[FREED] += info.out - info.kept;
		p->run->n[COPIED] += info.copied;
	}
	if (p->cl != NULL)
		chunk_loop_free(p->cl);
	compact_free(p->compact);
	chunk_store_close(p->cs, false);
	seg_port_free(p->port);
	minienv_free(p->mini);
	free(p);
}

/* --- chunks --- */

static struct wire_u128 slice_id(unsigned num)
{
	return slice_make(3, 1700000000, 7, num);
}

/* Bytes that no other chunk has. */
static struct body *bytes_of(unsigned num, unsigned index, unsigned version)
{
	uint32_t seed = num * 2654435761u ^ index * 40503u ^ version;
	size_t len = 1 + seed % 9000;
	struct body *b = body_new(len);

	if (b == NULL)
		abort();
	for (size_t i = 0; i < len; i++)
		b->data[i] = (uint8_t)(seed >> i % 4 * 8 ^ i / 4);
	b->len = (uint32_t)len;
	return b;
}

struct reply {
	unsigned n;
	uint32_t status;
	struct body *body;
};

static void on_got(void *arg, uint32_t status, struct body *body)
{
	struct reply *r = arg;

	r->n++;
	r->status = status;
	r->body = body;
}

static bool bytes_are(const struct body *got, unsigned num, unsigned index)
{
	struct body *want = bytes_of(num, index, 0);
	bool same = got != NULL && got->len == want->len &&
		    memcmp(got->data, want->data, want->len) == 0;

	body_unref(want);
	return same;
}

/*
 * The bytes, or nothing where that may be. What was dropped nobody asks for any
 * more: a crash may bring it back, or what was refused for it, until the sweep
 * finds that; but no row may lead to bytes that are gone.
 */
static void read_chunk(struct proc *p, const struct slice *s, unsigned index)
{
	struct reply r = { 0 };

	if (chunk_get(p->cl, slice_id(s->num), index, 0, 0, on_got, &r) != 0)
		abort();
	minienv_run(p->mini);
	if (r.n != 1)
		proc_bad(p, "no answer", s->num, index);
	if (s->dropped) {
		if (r.status != RPC_STATUS_OK && r.status != RPC_STATUS_NOENT)
			proc_bad(p, "a row without bytes", s->num, r.status);
		goto out;
	}
	if (r.status == RPC_STATUS_OK && !bytes_are(r.body, s->num, index))
		proc_bad(p, "other bytes", s->num, index);
	if (r.status != RPC_STATUS_OK &&
	    (s->acked[index] || r.status != RPC_STATUS_NOENT))
		proc_bad(p, "acknowledged, but gone", s->num, r.status);
out:
	body_unref(r.body);
}

static void on_finding(void *arg, const char *text)
{
	struct proc *p = arg;

	if (p->bad[0] == '\0')
		(void)snprintf(p->bad, sizeof p->bad, "%.200s", text);
}

static void read_all(struct proc *p)
{
	for (unsigned i = 0; i < SLICES && p->bad[0] == '\0'; i++)
		for (unsigned k = 0; k < CHUNKS && p->bad[0] == '\0'; k++)
			if (p->m->slices[i].num != 0)
				read_chunk(p, &p->m->slices[i], k);
	if (p->bad[0] == '\0' && chunk_store_check(p->cs, on_finding, p) != 0)
		abort();
}

/* --- images --- */

struct life {
	struct crash_run *run;
	struct model *m;
	struct crashfs *fs;
	struct proc *p;
	struct rows_mem_image *image;
	unsigned depth;
	bool starting;
};

static void life_draw(void *arg);

/* What a start found. */
struct found {
	uint64_t disk, rows, last, live, bytes;
};

static void proc_found(struct proc *p, struct found *ret)
{
	struct wire_bytes key, value;
	struct chunk_stats stats;
	struct rows_iter *it;

	memset(ret, 0, sizeof *ret);
	ret->disk = crashfs_hash(p->fs);
	if (p->bad[0] != '\0')
		return;
	ret->last = seg_head_last_seq(p->bulk);
	chunk_store_stats(p->cs, &stats);
	ret->live = stats.live;
	ret->bytes = stats.live_bytes;
	if (rows_iter_new(p->cs->index, wire_bytes(NULL, 0),
			  wire_bytes(NULL, 0), &it) != 0)
		abort();
	while (rows_iter_next(it, &key, &value) == 0) {
		ret->rows = XXH3_64bits_withSeed(key.p, key.len, ret->rows);
		ret->rows = XXH3_64bits_withSeed(value.p, value.len,
						 ret->rows);
	}
	rows_iter_free(it);
}

struct start {
	struct model *m;
	struct crashfs *fs;
	struct rows_mem_image *image;
};

static void start_found(struct crash_run *r, void *arg, void *ret_found)
{
	const struct start *s = arg;
	struct proc *p = proc_new(r, s->m, s->fs, s->image);

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

static void clean_all(struct proc *p)
{
	compact_start(p->compact, UINT64_MAX);
	for (unsigned i = 0; i < 50; i++) {
		minienv_run(p->mini);
		minienv_advance(p->mini, 10000000); /* saves are due */
	}
}

static void check_image(struct crash_run *r, struct model *m,
			struct crashfs *fs, struct rows_mem_image *image,
			unsigned depth)
{
	struct life cut = { r, m, fs, NULL, image, depth + 1, true };
	struct crashfs *was = lying;
	bool was_looking = looking;
	struct proc *p;

	r->states++;
	lying = NULL;
	if (rng(r, 4) == 0)
		check_again(r, m, fs, image);
	if (depth == 0 && rng(r, 4) == 0)
		crashfs_set_hook(fs, life_draw, &cut);
	p = proc_new(r, m, fs, image);
	proc_begin(p);
	crashfs_set_hook(fs, NULL, NULL);
	if (p->bad[0] == '\0')
		read_all(p);
	if (p->bad[0] == '\0' && rng(r, 8) == 0) {
		clean_all(p);
		read_all(p);
	}
	if (p->bad[0] != '\0')
		crash_run_bad(r, p->bad);
	proc_stop(p);
	lying = was;
	looking = was_looking;
}

/* Which calls: all of the cleaner's, few of the others. */
static bool draw_now(const struct life *life)
{
	struct compact_info info;

	if (life->starting)
		return rng(life->run, 6) == 0;
	compact_get_info(life->p->compact, &info);
	return rng(life->run, info.state == COMPACT_RUNNING ? 2 : 15) == 0;
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
	if (how == 6) /* the database writes by itself */
		(void)rows_back_checkpoint(life->p->cs->index);
	r->n[REMADE] += how < 2;
	rows = how < 2 ? rows_mem_image_new()
		       : rows_mem_image_copy(life->image);
	image = crashfs_image(life->fs, rng_next(r));
	check_image(r, life->m, image, rows, life->depth);
	crashfs_free(image);
	rows_mem_image_free(rows);
}

/* --- work --- */

static void on_put(void *arg, uint32_t status, struct body *body)
{
	struct op *op = arg;
	uint32_t want = op->version == 0 ? RPC_STATUS_OK
					 : RPC_STATUS_BAD_DIGEST;

	body_unref(body);
	op->s->pending[op->index] = false;
	if (op->s->dropped)
		return;
	if (status != want)
		proc_bad(op->p, "a put ended with", status, op->s->num);
	else if (op->version == 0)
		op->s->acked[op->index] = true;
}

static void on_dropped(void *arg, uint32_t status)
{
	struct op *op = arg;

	if (status != RPC_STATUS_OK)
		return; /* the process ends */
	op->s->dropping = false;
}

static void do_put(struct proc *p, unsigned i, unsigned k, unsigned version)
{
	struct slice *s = &p->m->slices[i];
	struct body *b = bytes_of(s->num, k, version);
	XXH128_hash_t h = XXH3_128bits(b->data, b->len);

	s->pending[k] = true;
	p->run->n[REFUSED] += version != 0;
	p->puts[i][k] = (struct op){ p, s, k, version };
	if (chunk_put(p->cl, slice_id(s->num), k,
		      (struct wire_u128){ h.high64, h.low64 }, b, on_put,
		      &p->puts[i][k]) != 0)
		abort();
	body_unref(b);
}

static void do_drop(struct proc *p, unsigned i)
{
	struct slice *s = &p->m->slices[i];
	struct wire_u128 id = slice_id(s->num);

	s->dropped = s->dropping = true;
	p->drops[i] = (struct op){ p, s, 0, 0 };
	if (chunk_drop(p->cl, &id, 1, on_dropped, &p->drops[i]) != 0)
		abort();
}

/* Nothing of it is under way any more. */
static bool slice_rests(const struct slice *s)
{
	for (unsigned k = 0; k < CHUNKS; k++)
		if (s->pending[k])
			return false;
	return !s->dropping;
}

/* The first slices stay: what stays is moved again and again. */
static void do_something(struct proc *p)
{
	struct crash_run *r = p->run;
	unsigned i = (unsigned)rng(r, SLICES), k = (unsigned)rng(r, CHUNKS);
	struct slice *s = &p->m->slices[i];

	if ((s->num == 0 || s->dropped) && slice_rests(s))
		*s = (struct slice){ .num = ++p->m->nums };
	if (s->dropped || s->pending[k])
		return;
	if (!s->acked[k])
		do_put(p, i, k, 0);
	else if (i >= 3 && rng(r, 3) == 0)
		do_drop(p, i);
	else if (rng(r, 3) == 0)
		do_put(p, i, k, OTHER);
}

static void work(struct life *life, unsigned ops)
{
	struct proc *p = life->p;
	struct crash_run *r = p->run;

	for (unsigned n = 0; n < ops && p->bad[0] == '\0' && r->bad == 0 &&
			     r->states < r->max_states; n++) {
		switch (rng(r, 16)) {
		case 0:
			compact_start(p->compact, UINT64_MAX);
			break;
		case 1:
			if (rng(r, 6) == 0)
				compact_suspend(p->compact);
			else
				compact_resume(p->compact);
			break;
		case 2:
			minienv_advance(p->mini, rng(r, 10000000));
			break;
		case 3:
			if (rng(r, 8) == 0) /* the time of a save */
				minienv_advance(p->mini, 31 * SECOND);
			break;
		case 4:
		case 5:
		case 6:
			if (p->slow.held != NULL)
				slowwork_go(&p->slow, &p->slow.held);
			break;
		case 7:
			while (p->slow.held != NULL)
				slowwork_go(&p->slow, &p->slow.held);
			minienv_run(p->mini);
			break;
		case 8:
		case 9:
		case 10:
			for (uint64_t k = rng(r, 12); k > 0; k--)
				(void)minienv_step(p->mini);
			break;
		default:
			do_something(p);
			break;
		}
	}
}

/* What was under way has happened or not; a put may be tried again. */
static void settle(struct model *m)
{
	for (unsigned i = 0; i < SLICES; i++) {
		m->slices[i].dropping = false;
		memset(m->slices[i].pending, 0, sizeof m->slices[i].pending);
	}
}

/* One life; false when the history cannot go on. */
static bool run_life(struct crash_run *r, struct model *m, struct crashfs *fs,
		     struct rows_mem_image **image)
{
	struct life life = { .run = r, .m = m, .fs = fs, .image = *image };
	struct proc *p = proc_new(r, m, fs, *image);
	bool good;

	life.p = p;
	proc_begin(p);
	if (p->bad[0] == '\0')
		read_all(p);
	if (p->bad[0] == '\0') {
		slowwork_start(&p->slow, p->env);
		lying = fs;
		crashfs_set_hook(fs, life_draw, &life);
		work(&life, 100 + (unsigned)rng(r, 500));
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
	settle(m);
	if (rng(r, 2) == 0)
		crashfs_crash(fs, rng_next(r));
	if (rng(r, 6) == 0) {
		rows_mem_image_free(*image);
		*image = rows_mem_image_new();
	}
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
}

static bool set_mutation(int what)
{
	mutation = (enum mutation)what;
	return true;
}

static const struct crash_mutation mutations[] = {
	{ "freed before the index is saved", set_mutation, UNSAVED },
	{ "the index turns before the copy is durable", set_mutation,
	  UNSYNCED },
	{ "a copy that does not say so", set_mutation, UNMARKED },
	{ "what came late is not looked for", set_mutation, UNASKED },
	{ "each start writes something", set_mutation, WRITES },
};

static const struct crash_test test = {
	.name = "chunks and their cleaner", .history = run_history,
	.counts = counts,
};

int main(int argc, char **argv)
{
	static const struct crash_program program = {
		.seed = 5, .states = 1000, .notice = 20000,
		.tests = &test, .n_tests = 1, .mutations = mutations,
		.n_mutations = sizeof mutations / sizeof mutations[0],
		.may_stop = true,
	};

	log_set_level(LOG_LEVEL_ERROR);
	return crash_main(&program, argc, argv);
}
