/*
 * Storing chunks, and saving their index.
 *
 * Happy path of a put: hash compared (a worker when it is long) -> appended to
 * the bulk head -> durable -> its row waits for the loop's index writer, which
 * takes all that wait -> row written (worker) -> answered.
 *
 * Failure modes: wrong hash, or other bytes under that name: BAD_DIGEST; the
 * index cannot be written: the process aborts, as with every head.
 */
#include "storaged/chunk_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

/* --- the index writer --- */

/* What is there already under the name: in the index, or in this batch. */
static int chunk_index_known(struct chunk_batch *b, struct chunk_put *p,
			     struct chunk_put *first, struct wire_u128 *ret)
{
	struct chunk_row row;
	int rv;

	if (chunk_batch_has(b, &p->id)) {
		while (!chunk_id_eq(&first->id, &p->id))
			first = first->next;
		*ret = first->hash;
		return 0;
	}
	rv = chunk_index_get(b->cs, &p->id, &row);
	*ret = row.hash;
	return rv;
}

static int chunk_index_one(struct chunk_batch *b, struct chunk_put *p,
			   struct chunk_put *first)
{
	struct chunk_row row = {
		.gen = p->append.pos.gen,
		.off = p->append.body_off,
		.len = p->body->len,
		.hash = p->hash,
	};
	struct wire_u128 hash;
	int rv = chunk_index_known(b, p, first, &hash);

	p->status = RPC_STATUS_OK;
	if (rv == -ENOENT)
		return chunk_batch_put(b, &p->id, &row);
	/* stored before: what was appended now is garbage */
	if (rv == 0 && !wire_u128_eq(hash, p->hash))
		p->status = RPC_STATUS_BAD_DIGEST;
	return rv;
}

static void chunk_index_run(struct env_work *work)
{
	struct chunk_loop *cl = CONTAINER_OF(work, struct chunk_loop,
					     index_work);
	struct chunk_put *first = cl->batch;
	struct chunk_batch b;
	int rv = chunk_batch_init(&b, cl->cs);

	pthread_mutex_lock(&cl->cs->lock);
	for (struct chunk_put *p = first; p != NULL && rv == 0; p = p->next) {
		rv = chunk_index_one(&b, p, first);
		if (rv == 0 && chunk_batch_full(&b)) {
			rv = chunk_batch_write(&b);
			first = p->next;
		}
	}
	if (rv == 0)
		rv = chunk_batch_write(&b);
	pthread_mutex_unlock(&cl->cs->lock);
	chunk_batch_fini(&b);
	cl->index_rv = rv;
}

static void chunk_put_free(struct chunk_put *p)
{
	struct chunk_loop *cl = p->cl;

	if (p->all_prev != NULL)
		p->all_prev->all_next = p->all_next;
	else
		cl->puts = p->all_next;
	if (p->all_next != NULL)
		p->all_next->all_prev = p->all_prev;
	cl->n_puts--;
	body_unref(p->body);
	mem_free(p);
}

static void chunk_put_finish(struct chunk_put *p)
{
	p->done(p->arg, p->status, NULL);
	chunk_put_free(p);
}

static void chunk_index_start(struct chunk_loop *cl)
{
	if (cl->batch != NULL || cl->waiting == NULL)
		return;
	cl->batch = cl->waiting;
	cl->waiting = NULL;
	cl->waiting_tail = &cl->waiting;
	env_work(cl->env, &cl->index_work);
}

static void chunk_index_done(struct env_work *work)
{
	struct chunk_loop *cl = CONTAINER_OF(work, struct chunk_loop,
					     index_work);
	struct chunk_put *p, *next;

	if (cl->index_rv != 0)
		fatal_abort("index of chunks cannot be written: %s",
			    strerror(-cl->index_rv));
	p = cl->batch;
	cl->batch = NULL;
	chunk_index_start(cl);
	for (; p != NULL; p = next) {
		next = p->next;
		atomic_fetch_sub(&cl->cs->under_way[p->epoch & 1], 1);
		chunk_put_finish(p);
	}
}

/* --- put --- */

static void chunk_put_durable(struct seg_append *a)
{
	struct chunk_put *p = CONTAINER_OF(a, struct chunk_put, append);
	struct chunk_loop *cl = p->cl;

	p->next = NULL;
	*cl->waiting_tail = p;
	cl->waiting_tail = &p->next;
	chunk_index_start(cl);
}

static void chunk_put_append(struct chunk_put *p)
{
	struct chunk_store *cs = p->cl->cs;

	p->append = (struct seg_append){
		.type = SEG_CHUNK,
		.a = p->id.index,
		.id = p->id.slice,
		.iov = { { p->body->data, p->body->len } },
		.niov = 1,
		.has_hash = true,
		.hash = p->hash,
		.done = chunk_put_durable,
	};
	/* counted before it can get a sequence, see chunk_save_tick() */
	p->epoch = atomic_load(&cs->epoch);
	atomic_fetch_add(&cs->under_way[p->epoch & 1], 1);
	while (atomic_load(&cs->epoch) != p->epoch) {
		/* flipped between the two: it counts for the new one */
		unsigned now = atomic_load(&cs->epoch);

		atomic_fetch_add(&cs->under_way[now & 1], 1);
		atomic_fetch_sub(&cs->under_way[p->epoch & 1], 1);
		p->epoch = now;
	}
	cs->stats.puts++;
	cs->stats.put_bytes += p->body->len;
	seg_append(p->cl->port, &p->append);
}

static void chunk_put_hash_run(struct env_work *work)
{
	struct chunk_put *p = CONTAINER_OF(work, struct chunk_put, work);

	p->status = chunk_hash_ok(p->body, p->hash) ? RPC_STATUS_OK
						    : RPC_STATUS_BAD_DIGEST;
}

static void chunk_put_hash_done(struct env_work *work)
{
	struct chunk_put *p = CONTAINER_OF(work, struct chunk_put, work);

	if (p->status == RPC_STATUS_OK)
		chunk_put_append(p);
	else
		chunk_put_finish(p);
}

static void chunk_put_task(struct env_task *task)
{
	chunk_put_finish(CONTAINER_OF(task, struct chunk_put, task));
}

static void chunk_put_refuse(struct chunk_put *p, uint32_t status)
{
	p->status = status;
	env_post(p->cl->env, &p->task);
}

int chunk_put(struct chunk_loop *cl, struct wire_u128 slice, uint32_t index,
	      struct wire_u128 hash, struct body *body, chunk_done_fn done,
	      void *arg)
{
	struct chunk_put *p = mem_zalloc(sizeof *p);

	if (p == NULL)
		return -ENOMEM;
	p->cl = cl;
	p->id = (struct chunk_id){ slice, index };
	p->hash = hash;
	p->body = body == NULL ? NULL : body_ref(body);
	p->done = done;
	p->arg = arg;
	p->task.run = chunk_put_task;
	p->all_next = cl->puts;
	if (cl->puts != NULL)
		cl->puts->all_prev = p;
	cl->puts = p;
	cl->n_puts++;
	if (body == NULL || body->len == 0 || body->len > WIRE_CHUNK) {
		chunk_put_refuse(p, RPC_STATUS_INVAL);
	} else if (cl->n_puts > CHUNK_PUTS_MAX) {
		chunk_put_refuse(p, RPC_STATUS_BUSY);
	} else if (body->len > CHUNK_HASH_INLINE && !body->hashed) {
		p->work.run = chunk_put_hash_run;
		p->work.done = chunk_put_hash_done;
		env_work(cl->env, &p->work);
	} else if (!chunk_hash_ok(body, hash)) {
		chunk_put_refuse(p, RPC_STATUS_BAD_DIGEST);
	} else {
		chunk_put_append(p);
	}
	return 0;
}

/* --- saving the index --- */

static void chunk_save_run(struct env_work *work)
{
	struct chunk_loop *cl = CONTAINER_OF(work, struct chunk_loop,
					     save_work);

	cl->save_rv = chunk_index_save(cl->cs, cl->save_seq);
}

static void chunk_save_done(struct env_work *work)
{
	struct chunk_loop *cl = CONTAINER_OF(work, struct chunk_loop,
					     save_work);
	void (*done)(void *arg) = cl->save_done;

	if (cl->save_rv != 0 && cl->save_rv != -ENOMEM)
		fatal_abort("index of chunks cannot be saved: %s",
			    strerror(-cl->save_rv));
	cl->flipped = cl->saving = false;
	if (done == NULL) {
		env_timer_set(cl->env, &cl->save_timer, CHUNK_SAVE_NS);
	} else if (cl->save_waits || cl->save_rv != 0) {
		/* that one began before it was asked for, or came to nothing */
		env_timer_set(cl->env, &cl->save_timer,
			      cl->save_rv != 0 ? CHUNK_SAVE_RETRY_NS : 0);
		cl->save_waits = true;
	} else {
		cl->save_done = NULL;
		env_timer_set(cl->env, &cl->save_timer, CHUNK_SAVE_NS);
		done(cl->save_arg);
	}
}

/*
 * Every record with a sequence up to save_seq was counted before the flip, as
 * the sequence is read first. When that count is zero, all have their rows.
 */
static void chunk_save_tick(struct env_timer *timer)
{
	struct chunk_loop *cl = CONTAINER_OF(timer, struct chunk_loop,
					     save_timer);
	struct chunk_store *cs = cl->cs;
	unsigned old;

	if (!cl->flipped && !cl->save_waits &&
	    cs->changes == cl->saved_changes) {
		env_timer_set(cl->env, timer, CHUNK_SAVE_NS);
		return;
	}
	if (!cl->flipped) {
		cl->save_waits = false;
		cl->saved_changes = cs->changes;
		cl->save_seq = seg_head_last_seq(cs->bulk);
		atomic_fetch_add(&cs->epoch, 1);
		cl->flipped = true;
	}
	old = (atomic_load(&cs->epoch) - 1) & 1;
	if (atomic_load(&cs->under_way[old]) > 0) {
		env_timer_set(cl->env, timer,
			      cl->save_done != NULL ? CHUNK_SAVE_SOON_NS
						    : CHUNK_SAVE_RETRY_NS);
		return;
	}
	cl->saving = true;
	env_work(cl->env, &cl->save_work);
}

void chunk_save_soon(struct chunk_loop *cl, void (*done)(void *arg), void *arg)
{
	assert(cl->save_done == NULL);
	cl->save_done = done;
	cl->save_arg = arg;
	cl->save_waits = true;
	if (!cl->saving) /* else its end begins the next */
		env_timer_set(cl->env, &cl->save_timer, 0);
}

void chunk_loop_start_saving(struct chunk_loop *cl)
{
	env_timer_set(cl->env, &cl->save_timer, CHUNK_SAVE_NS);
}

/* --- life --- */

int chunk_loop_new(struct chunk_store *cs, struct env *env,
		   struct seg_port *port, struct chunk_loop **ret_loop)
{
	struct chunk_loop *cl = mem_zalloc(sizeof *cl);

	if (cl == NULL)
		return -ENOMEM;
	cl->cs = cs;
	cl->env = env;
	cl->port = port;
	cl->waiting_tail = &cl->waiting;
	cl->index_work.run = chunk_index_run;
	cl->index_work.done = chunk_index_done;
	cl->save_work.run = chunk_save_run;
	cl->save_work.done = chunk_save_done;
	cl->save_timer.cb = chunk_save_tick;
	chunk_get_init(cl);
	*ret_loop = cl;
	return 0;
}

void chunk_loop_free(struct chunk_loop *cl)
{
	if (cl == NULL)
		return;
	env_timer_cancel(cl->env, &cl->save_timer);
	chunk_clean_free(cl);
	chunk_get_fini(cl);
	chunk_check_fini(cl);
	chunk_drop_fini(cl);
	while (cl->puts != NULL) {
		struct chunk_put *p = cl->puts;

		p->status = RPC_STATUS_UNKNOWN_OUTCOME;
		chunk_put_finish(p);
	}
	mem_free(cl);
}
