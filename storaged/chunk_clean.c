/*
 * The cleaner of the bulk head.
 *
 * Happy path of a segment: a worker walks its headers and keeps the records
 * whose chunk the index finds right there -> in groups: read and compared with
 * their hash (worker), appended as copies, durable, the index points at them
 * unless the chunk was dropped meanwhile (worker) -> the index is saved ->
 * nothing alive is left (else it is walked again) -> the segment is freed. Those
 * in which nothing was alive at the look need no walk, and one save is enough
 * for all of them.
 *
 * Failure modes: bytes that do not have their hash stay where they are, and
 * with them the segment. Stopped: behind the group; the next walk finds less.
 *
 * Why no chunk is lost:
 * - The segment is sealed: no record comes to it. The save ends when the rows
 *   of all records are written that had a place before it began. So when the
 *   index then has no chunk in the segment, it will have none; a put that is
 *   late (durable, its row not written) is seen and copied.
 * - What was saved is durable, and `last` is behind the segment's records: a
 *   start finds no row that points into it, and reads no record of it.
 * - The index turns to a copy only when the copy is durable, in one step that
 *   nobody else writes in (cs->lock), and only if it still has the chunk where
 *   the copy was made from. A drop that came between wins: the copy is garbage.
 * - A reader that has the old place gets the bytes, or -ENOENT when the segment
 *   is gone, and looks the chunk up again.
 * - Made again from the segments, the index finds a chunk once or more. Copies
 *   are marked, and count before others: what else bears the name is the same
 *   bytes, or what a put left that was refused for them, whose first bytes may
 *   be freed by now.
 */
#include "storaged/chunk_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

#define CLEAN_GROUP 64u
#define CLEAN_GROUP_BYTES (4u << 20)
#define CLEAN_WALKS 4u

struct clean_item {
	struct chunk_id id;
	struct chunk_row row; /* where it is */
};

struct clean_copy {
	struct chunk_clean *c;
	const struct clean_item *item;
	struct body *body;
	struct seg_append append;
};

struct chunk_clean {
	struct chunk_loop *cl;
	struct compact_run *run;
	struct env_work work;
	struct env_timer timer;
	struct env_task task;
	/* a look */
	struct compact_target *found;
	size_t n_found;
	/* the run */
	const struct compact_target *targets; /* borrowed */
	size_t n, at;
	struct clean_item *items; /* alive in the segment, as it was walked */
	size_t n_items, cap_items, next;
	struct clean_copy group[CLEAN_GROUP];
	unsigned n_group, waiting;
	unsigned walks;           /* of the segment, so far */
	bool rotten;              /* something in it cannot be read */
	bool saved;               /* the index, since the look */
	struct seg_free free;
	int rv;                   /* of a worker */
};

static void clean_segment(struct chunk_clean *c);
static void clean_walk(struct chunk_clean *c);
static void clean_group(struct chunk_clean *c);

static uint64_t clean_gen(const struct chunk_clean *c)
{
	return c->targets[c->at].gen;
}

/* --- looking --- */

static void look_run(struct env_work *work)
{
	struct chunk_clean *c = CONTAINER_OF(work, struct chunk_clean, work);
	struct chunk_store *cs = c->cl->cs;
	struct seg_info *infos;

	c->found = NULL;
	c->rv = seg_segments(cs->bulk, &infos, &c->n_found);
	if (c->rv != 0)
		return;
	c->found = mem_calloc(c->n_found + 1, sizeof *c->found);
	if (c->found == NULL)
		c->rv = -ENOMEM;
	pthread_mutex_lock(&cs->lock);
	for (size_t i = 0; i < c->n_found && c->rv == 0; i++)
		c->found[i] = (struct compact_target){
			.gen = infos[i].gen,
			.bytes = infos[i].bytes,
			.live = chunk_segments_live(&cs->segments,
						    infos[i].gen),
		};
	pthread_mutex_unlock(&cs->lock);
	mem_free(infos);
}

static void look_done(struct env_work *work)
{
	struct chunk_clean *c = CONTAINER_OF(work, struct chunk_clean, work);
	struct compact_target *found = c->found;

	c->found = NULL;
	if (c->rv != 0) {
		mem_free(found);
		found = NULL;
		c->n_found = 0;
	}
	compact_looked(c->run, c->rv, found, c->n_found);
}

static int clean_look(void *arg, struct compact_run *run)
{
	struct chunk_clean *c = arg;

	c->run = run;
	c->work.run = look_run;
	c->work.done = look_done;
	env_work(c->cl->env, &c->work);
	return 0;
}

static void clean_stat(void *arg, struct compact_stat *ret)
{
	struct chunk_clean *c = arg;
	struct chunk_store *cs = c->cl->cs;
	struct seg_stats s;

	seg_head_stats(cs->bulk, &s);
	ret->segments = s.segments;
	ret->bytes = s.bytes;
	ret->live = cs->stats.live_bytes;
}

/* --- the end of a segment --- */

static void clean_over(struct chunk_clean *c, int err)
{
	uint64_t gen = clean_gen(c);

	mem_free(c->items);
	c->items = NULL;
	c->n_items = c->cap_items = c->next = 0;
	c->at++;
	if (err == 0)
		compact_freed(c->run, gen);
	else
		compact_kept(c->run, gen, err);
	clean_segment(c);
}

static void clean_end(struct chunk_clean *c, int rv)
{
	mem_free(c->items);
	c->items = NULL;
	c->n_items = c->cap_items = c->next = 0;
	compact_done(c->run, rv);
}

static void clean_freed(struct seg_free *f, int status)
{
	struct chunk_clean *c = CONTAINER_OF(f, struct chunk_clean, free);

	/* what the unlink gave is the next start's trouble */
	clean_over(c, status == -ENOENT || status == -EBUSY ? status : 0);
}

/*
 * The index is durable, with the rows of all records that the segment has. Is
 * one of them still there? Then its put had not got to the index when the
 * segment was walked.
 */
static void clean_left_run(struct env_work *work)
{
	struct chunk_clean *c = CONTAINER_OF(work, struct chunk_clean, work);
	struct chunk_store *cs = c->cl->cs;

	pthread_mutex_lock(&cs->lock);
	c->rv = chunk_segments_live(&cs->segments, clean_gen(c)) > 0 ? -EBUSY
								     : 0;
	pthread_mutex_unlock(&cs->lock);
}

static void clean_left_done(struct env_work *work)
{
	struct chunk_clean *c = CONTAINER_OF(work, struct chunk_clean, work);

	if (c->rv == 0) {
		c->free = (struct seg_free){ .gen = clean_gen(c),
					     .done = clean_freed };
		seg_free_segment(c->cl->port, &c->free);
	} else if (++c->walks < CLEAN_WALKS) {
		clean_walk(c);
	} else {
		clean_over(c, c->rv);
	}
}

static void clean_left(struct chunk_clean *c)
{
	c->work.run = clean_left_run;
	c->work.done = clean_left_done;
	env_work(c->cl->env, &c->work);
}

static void clean_saved(void *arg)
{
	struct chunk_clean *c = arg;

	c->saved = true;
	clean_left(c);
}

/* --- copying --- */

static void group_drop(struct chunk_clean *c)
{
	while (c->n_group > 0)
		body_unref(c->group[--c->n_group].body);
}

/* The index turns to the copies of chunks that are where they were. */
static void group_move_run(struct env_work *work)
{
	struct chunk_clean *c = CONTAINER_OF(work, struct chunk_clean, work);
	struct chunk_store *cs = c->cl->cs;
	struct chunk_batch b;

	c->rv = chunk_batch_init(&b, cs);
	pthread_mutex_lock(&cs->lock);
	for (unsigned i = 0; i < c->n_group && c->rv == 0; i++) {
		const struct clean_copy *k = &c->group[i];
		struct chunk_row now, to = k->item->row;

		to.gen = k->append.pos.gen;
		to.off = k->append.body_off;
		c->rv = chunk_index_get(cs, &k->item->id, &now);
		if (c->rv == 0 && now.gen == k->item->row.gen &&
		    now.off == k->item->row.off)
			c->rv = chunk_batch_move(&b, &k->item->id, &now, &to);
		else if (c->rv == -ENOENT)
			c->rv = 0; /* dropped meanwhile */
	}
	if (c->rv == 0)
		c->rv = chunk_batch_write(&b);
	pthread_mutex_unlock(&cs->lock);
	chunk_batch_fini(&b);
}

static void group_move_done(struct env_work *work)
{
	struct chunk_clean *c = CONTAINER_OF(work, struct chunk_clean, work);

	if (c->rv != 0)
		fatal_abort("index of chunks cannot be written: %s",
			    strerror(-c->rv));
	group_drop(c);
	clean_group(c);
}

static void group_durable(struct seg_append *a)
{
	struct clean_copy *k = CONTAINER_OF(a, struct clean_copy, append);
	struct chunk_clean *c = k->c;

	if (--c->waiting > 0)
		return;
	c->work.run = group_move_run;
	c->work.done = group_move_done;
	env_work(c->cl->env, &c->work);
}

/* Reads the items of the group; those that rotted are taken out. */
static void group_read_run(struct env_work *work)
{
	struct chunk_clean *c = CONTAINER_OF(work, struct chunk_clean, work);
	struct chunk_store *cs = c->cl->cs;
	unsigned n = 0;

	c->rv = 0;
	for (unsigned i = 0; i < c->n_group && c->rv == 0; i++) {
		const struct clean_item *item = c->group[i].item;
		struct body *b = body_new(item->row.len);

		if (b == NULL) {
			c->rv = -ENOMEM;
			break;
		}
		b->len = item->row.len;
		if (seg_read_direct(cs->bulk, item->row.gen, item->row.off,
				    b->data, b->len) == 0 &&
		    chunk_hash_ok(b, item->row.hash)) {
			c->group[n].item = item;
			c->group[n++].body = b;
			continue;
		}
		body_unref(b);
		c->rotten = true;
		cs->stats.rot++;
		log_warnx("chunk cannot be copied slice=%016llx%016llx "
			  "index=%u segment=%llx offset=%llu",
			  (unsigned long long)item->id.slice.hi,
			  (unsigned long long)item->id.slice.lo,
			  item->id.index, (unsigned long long)item->row.gen,
			  (unsigned long long)item->row.off);
	}
	c->n_group = n;
}

static void group_read_done(struct env_work *work)
{
	struct chunk_clean *c = CONTAINER_OF(work, struct chunk_clean, work);

	if (c->rv != 0) {
		group_drop(c);
		clean_end(c, c->rv);
		return;
	}
	c->waiting = c->n_group;
	for (unsigned i = 0; i < c->n_group; i++) {
		struct clean_copy *k = &c->group[i];

		k->c = c;
		k->append = (struct seg_append){
			.type = SEG_CHUNK,
			.flags = CHUNK_IS_COPY,
			.a = k->item->id.index,
			.id = k->item->id.slice,
			.iov = { { k->body->data, k->body->len } },
			.niov = 1,
			.has_hash = true,
			.hash = k->item->row.hash,
			.done = group_durable,
		};
		seg_append(c->cl->port, &k->append);
	}
	if (c->n_group == 0)
		clean_group(c);
}

static void group_start(struct env_timer *timer)
{
	struct chunk_clean *c = CONTAINER_OF(timer, struct chunk_clean, timer);

	c->work.run = group_read_run;
	c->work.done = group_read_done;
	env_work(c->cl->env, &c->work);
}

/* The next items, or the end of the segment. */
static void clean_group(struct chunk_clean *c)
{
	uint64_t bytes = 0, wait;

	if (compact_stopped(c->run)) {
		clean_end(c, -ECANCELED);
		return;
	}
	while (c->next < c->n_items && c->n_group < CLEAN_GROUP &&
	       (c->n_group == 0 ||
		bytes + c->items[c->next].row.len <= CLEAN_GROUP_BYTES)) {
		bytes += c->items[c->next].row.len;
		c->group[c->n_group].body = NULL;
		c->group[c->n_group++].item = &c->items[c->next++];
	}
	if (c->n_group > 0) {
		wait = compact_wait_ns(c->run, bytes);
		c->timer.cb = group_start;
		env_timer_set(c->cl->env, &c->timer, wait);
	} else if (c->rotten) {
		clean_over(c, -EBADMSG);
	} else {
		chunk_save_soon(c->cl, clean_saved, c);
	}
}

/* --- a segment --- */

static int clean_keep(struct chunk_clean *c, const struct clean_item *item)
{
	if (c->n_items == c->cap_items) {
		size_t cap = 2 * c->cap_items + 64;
		struct clean_item *v = mem_realloc(c->items, cap * sizeof *v);

		if (v == NULL)
			return -ENOMEM;
		c->items = v;
		c->cap_items = cap;
	}
	c->items[c->n_items++] = *item;
	return 0;
}

/* Worker: a record of the segment; is it the chunk that the index has? */
static int walk_record(void *arg, const struct seg_rec *rec)
{
	struct chunk_clean *c = arg;
	struct clean_item item = { { rec->id, (uint32_t)rec->a }, { 0 } };
	int rv;

	if (rec->type != SEG_CHUNK || rec->a > UINT32_MAX)
		return 0;
	rv = chunk_index_get(c->cl->cs, &item.id, &item.row);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	if (item.row.gen != rec->pos.gen ||
	    item.row.off != rec->pos.off + SEG_HEADER_LEN)
		return 0;
	return clean_keep(c, &item);
}

static void walk_run(struct env_work *work)
{
	struct chunk_clean *c = CONTAINER_OF(work, struct chunk_clean, work);
	const struct seg_walk walk = { .on_record = walk_record, .arg = c };

	c->n_items = c->next = 0;
	c->rv = 0;
	if (c->walks > 0 || c->targets[c->at].live > 0)
		c->rv = seg_scan_segment(c->cl->cs->bulk, clean_gen(c), &walk);
}

static void walk_done(struct env_work *work)
{
	struct chunk_clean *c = CONTAINER_OF(work, struct chunk_clean, work);

	if (c->rv == 0)
		clean_group(c);
	else if (c->rv == -ENOENT || c->rv == -EBUSY || c->rv == -EIO)
		clean_over(c, c->rv);
	else
		clean_end(c, c->rv);
}

static void clean_walk(struct chunk_clean *c)
{
	c->work.run = walk_run;
	c->work.done = walk_done;
	env_work(c->cl->env, &c->work);
}

static void clean_segment(struct chunk_clean *c)
{
	if (c->at == c->n || compact_stopped(c->run)) {
		clean_end(c, c->at == c->n ? 0 : -ECANCELED);
		return;
	}
	c->rotten = false;
	c->walks = 0;
	if (c->saved && c->targets[c->at].live == 0)
		clean_left(c);
	else
		clean_walk(c);
}

static void clean_task(struct env_task *task)
{
	clean_segment(CONTAINER_OF(task, struct chunk_clean, task));
}

static int clean_start(void *arg, const struct compact_target *targets,
		       size_t n, struct compact_run *run)
{
	struct chunk_clean *c = arg;

	c->run = run;
	c->targets = targets;
	c->n = n;
	c->at = 0;
	c->saved = false;
	c->task.run = clean_task;
	env_post(c->cl->env, &c->task);
	return 0;
}

/* --- life --- */

int chunk_clean_new(struct chunk_loop *cl, struct compact_head *ret_head)
{
	struct chunk_clean *c = mem_zalloc(sizeof *c);

	assert(cl->clean == NULL);
	if (c == NULL)
		return -ENOMEM;
	c->cl = cl;
	cl->clean = c;
	*ret_head = (struct compact_head){
		.name = "bulk",
		.cheap = true,
		.look = clean_look,
		.clean = clean_start,
		.stat = clean_stat,
		.arg = c,
	};
	return 0;
}

void chunk_clean_free(struct chunk_loop *cl)
{
	struct chunk_clean *c = cl->clean;

	if (c == NULL)
		return;
	cl->clean = NULL;
	env_timer_cancel(cl->env, &c->timer);
	group_drop(c);
	mem_free(c->items);
	mem_free(c->found);
	mem_free(c);
}
