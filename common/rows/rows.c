/*
 * Resident rows of one loop: hash table, ordered index, cache, holds. The
 * writer is in rows_writer.c, transactions are in rows_txn.c and rows_load.c.
 */
#include "common/rows/rows_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/mem.h"

#define ROWS_CACHE_DEFAULT ROWS_CACHE_REST
#define ROWS_REST_NS 10000000000u    /* without a look: at rest */
#define ROWS_REST_STEP_NS 20000000u  /* between steps of giving back */
#define ROWS_REST_STEP 4096          /* rows of one */
#define ROWS_BUCKETS_FIRST 256
#define ROWS_EVICT_TRIES 64 /* per call: pinned rows must not make it long */

int rows_grow(void *p, size_t *cap, size_t n, size_t size)
{
	void **array = p, *grown;
	size_t want = *cap == 0 ? 8 : *cap * 2;

	if (n < *cap)
		return 0;
	grown = mem_realloc(*array, want * size);
	if (grown == NULL)
		return -ENOMEM;
	*array = grown;
	*cap = want;
	return 0;
}

static void rows_rest_init(struct rows *rows);

int rows_new(struct env *env, struct rows_back *back, size_t cache_bytes,
	     struct rows **ret_rows)
{
	struct rows *rows = mem_zalloc(sizeof *rows);

	if (rows == NULL)
		return -ENOMEM;
	rows->buckets = mem_calloc(ROWS_BUCKETS_FIRST, sizeof *rows->buckets);
	if (rows->buckets == NULL || rows_fresh_init(rows) != 0) {
		mem_free(rows->buckets);
		mem_free(rows);
		return -ENOMEM;
	}
	rows->n_buckets = ROWS_BUCKETS_FIRST;
	rows->env = env;
	rows->back = back;
	rows->cache_max = cache_bytes == 0 ? ROWS_CACHE_DEFAULT : cache_bytes;
	env_random(env, &rows->seed, sizeof rows->seed);
	rows_rest_init(rows);
	rows_writer_init(rows);
	rows_load_init(rows);
	*ret_rows = rows;
	return 0;
}

void rows_free(struct rows *rows)
{
	struct rows_waiter *w;
	struct row *r;

	if (rows == NULL)
		return;
	env_timer_cancel(rows->env, &rows->timer);
	env_timer_cancel(rows->env, &rows->rest);
	while (rows->loading != NULL) {
		struct rows_txn *t = rows->loading;

		rows->loading = t->load_next;
		assert(t->dead); /* its owner frees it before */
		rows_load_abandon(t);
	}
	while ((w = rows->waiters) != NULL) {
		rows->waiters = w->next;
		mem_free(w);
	}
	for (size_t i = 0; i < rows->n_buckets; i++)
		while ((r = rows->buckets[i]) != NULL) {
			rows->buckets[i] = r->chain;
			row_free(r);
		}
	mem_free(rows->buckets);
	mem_free(rows->fresh);
	mem_free(rows);
}

struct row *rows_lookup(struct rows *rows, struct wire_bytes key,
			uint64_t hash)
{
	struct row *r = rows->buckets[hash & (rows->n_buckets - 1)];

	while (r != NULL && (r->hash != hash || r->key_len != key.len ||
			     memcmp(r->key, key.p, key.len) != 0))
		r = r->chain;
	return r;
}

/* A failure to grow only makes chains longer. */
static void rows_rehash(struct rows *rows)
{
	size_t n = rows->n_buckets * 2;
	struct row **buckets = mem_calloc(n, sizeof *buckets), *r;

	if (buckets == NULL)
		return;
	for (size_t i = 0; i < rows->n_buckets; i++)
		while ((r = rows->buckets[i]) != NULL) {
			rows->buckets[i] = r->chain;
			r->chain = buckets[r->hash & (n - 1)];
			buckets[r->hash & (n - 1)] = r;
		}
	mem_free(rows->buckets);
	rows->buckets = buckets;
	rows->n_buckets = n;
}

static void rows_link(struct rows *rows, struct row *r)
{
	struct row **bucket;

	if (rows->n_rows >= rows->n_buckets)
		rows_rehash(rows);
	bucket = &rows->buckets[r->hash & (rows->n_buckets - 1)];
	r->chain = *bucket;
	*bucket = r;
	rows->n_rows++;
}

static void rows_unlink(struct rows *rows, struct row *r)
{
	struct row **p = &rows->buckets[r->hash & (rows->n_buckets - 1)];

	while (*p != r)
		p = &(*p)->chain;
	*p = r->chain;
	rows->n_rows--;
}

static void rows_set_clean(struct rows *rows, struct row *r)
{
	r->state = ROW_CLEAN;
	r->used = false;
	row_list_push(&rows->clean, r);
	rows->clean_bytes += row_bytes(r);
	if (rows->clean_bytes > ROWS_CACHE_REST && !rows->rest_armed) {
		rows->rest_armed = true;
		env_timer_set(rows->env, &rows->rest, ROWS_REST_NS);
	}
}

/* The oldest clean row goes, or the end of the list when it is pinned. */
static void rows_evict_one(struct rows *rows, bool used_stay)
{
	struct row *r = rows->clean.head;

	row_list_remove(&rows->clean, r);
	if (r->pins > 0 || (r->used && used_stay)) {
		r->used = false;
		row_list_push(&rows->clean, r);
		return;
	}
	rows->clean_bytes -= row_bytes(r);
	rows_unlink(rows, r);
	if (r->val != NULL)
		rows_fresh_lost(rows, row_key(r));
	row_free(r);
}

/* From the oldest on; a row that was used since gets a second round. */
void rows_evict(struct rows *rows)
{
	for (int i = 0; i < ROWS_EVICT_TRIES; i++) {
		if (rows->clean_bytes <= rows->cache_max ||
		    rows->clean.head == NULL)
			return;
		rows_evict_one(rows, true);
	}
}

/* --- at rest --- */

static void rows_rest_run(struct env_work *work)
{
	(void)work;
	body_trim(); /* what malloc has now goes back to the system */
}

static void rows_rest_done(struct env_work *work)
{
	struct rows *rows = CONTAINER_OF(work, struct rows, rest_work);

	rows->rest_armed = false;
}

/* One look, or one step of giving back; ends with a call of malloc's. */
static void rows_rest_tick(struct env_timer *timer)
{
	struct rows *rows = CONTAINER_OF(timer, struct rows, rest);

	if (rows->busy) {
		rows->busy = false;
		env_timer_set(rows->env, timer, ROWS_REST_NS);
		return;
	}
	for (int i = 0; i < ROWS_REST_STEP &&
			rows->clean_bytes > ROWS_CACHE_REST; i++)
		rows_evict_one(rows, false);
	if (rows->clean_bytes > ROWS_CACHE_REST)
		env_timer_set(rows->env, timer, ROWS_REST_STEP_NS);
	else
		env_work(rows->env, &rows->rest_work);
}

static void rows_rest_init(struct rows *rows)
{
	rows->rest.cb = rows_rest_tick;
	rows->rest_work.run = rows_rest_run;
	rows->rest_work.done = rows_rest_done;
}

struct row *rows_insert_loaded(struct rows *rows, struct row *r)
{
	struct row *resident = rows_lookup(rows, row_key(r), r->hash);

	if (resident != NULL) {
		row_free(r);
		return resident;
	}
	r->prev = NULL;
	r->next = NULL;
	rows_link(rows, r);
	rows_set_clean(rows, r);
	return r;
}

void rows_insert_written(struct rows *rows, struct row *w)
{
	struct row *r = rows_lookup(rows, row_key(w), w->hash);

	w->left = NULL;
	w->right = NULL;
	w->prev = NULL;
	w->next = NULL;
	if (r == NULL) {
		rows_link(rows, w);
		row_tree_insert(&rows->index, w);
		r = w;
	} else {
		switch (r->state) {
		case ROW_CLEAN:
			row_list_remove(&rows->clean, r);
			rows->clean_bytes -= row_bytes(r);
			row_tree_insert(&rows->index, r);
			break;
		case ROW_DIRTY:
			row_list_remove(&rows->dirty, r);
			rows->dirty_bytes -= row_bytes(r);
			break;
		case ROW_LINGER:
			row_list_remove(&rows->linger, r);
			break;
		default: /* ROW_WRITING is in no list */
			break;
		}
		rows_val_unref(r->val);
		r->val = w->val;
		w->val = NULL;
		row_free(w);
	}
	r->state = ROW_DIRTY;
	row_list_push(&rows->dirty, r);
	rows->dirty_bytes += row_bytes(r);
}

/* --- rows that others replaced --- */

static void rows_drop(struct rows *rows, struct row *r)
{
	assert(r->pins == 0);
	assert(r->state == ROW_CLEAN || r->state == ROW_LINGER);
	if (r->state == ROW_CLEAN) {
		row_list_remove(&rows->clean, r);
		rows->clean_bytes -= row_bytes(r);
	} else {
		row_list_remove(&rows->linger, r);
		row_tree_erase(&rows->index, r);
	}
	rows->n_rows--;
	row_free(r);
}

void rows_replaced(struct rows *rows, struct wire_bytes from,
		   struct wire_bytes to)
{
	for (struct rows_txn *t = rows->txns; t != NULL; t = t->all_next) {
		rows_txn_drop_pins(t);
		t->again = t->loading;
	}
	rows_fresh_clear(rows);
	for (size_t i = 0; i < rows->n_buckets; i++) {
		struct row **p = &rows->buckets[i], *r;

		while ((r = *p) != NULL) {
			if (wire_bytes_cmp(row_key(r), from) < 0 ||
			    wire_bytes_cmp(row_key(r), to) >= 0) {
				p = &r->chain;
				continue;
			}
			*p = r->chain;
			rows_drop(rows, r);
		}
	}
}

void rows_hold_begin(struct rows *rows, struct rows_hold *hold)
{
	if (hold->seq != 0)
		return;
	hold->seq = ++rows->hold_seq;
	hold->next = NULL;
	hold->prev = rows->hold_tail;
	if (rows->hold_tail != NULL)
		rows->hold_tail->next = hold;
	else
		rows->hold_head = hold;
	rows->hold_tail = hold;
}

void rows_linger(struct rows *rows, struct row *r)
{
	r->state = ROW_LINGER;
	r->stamp = rows->hold_seq;
	row_list_push(&rows->linger, r);
}

void rows_release(struct rows *rows)
{
	struct row *r;

	while ((r = rows->linger.head) != NULL) {
		if (rows->hold_head != NULL &&
		    rows->hold_head->seq <= r->stamp)
			return;
		row_list_remove(&rows->linger, r);
		row_tree_erase(&rows->index, r);
		rows_set_clean(rows, r);
	}
	rows_evict(rows);
}

void rows_hold_end(struct rows *rows, struct rows_hold *hold)
{
	if (hold->seq == 0)
		return;
	if (hold->prev != NULL)
		hold->prev->next = hold->next;
	else
		rows->hold_head = hold->next;
	if (hold->next != NULL)
		hold->next->prev = hold->prev;
	else
		rows->hold_tail = hold->prev;
	hold->seq = 0;
	rows_release(rows);
}

void rows_set_forget(struct rows *rows, unsigned every)
{
	rows->forget_every = every;
	rows->forget_count = 0;
}

size_t rows_dirty_bytes(const struct rows *rows)
{
	return rows->dirty_bytes;
}
