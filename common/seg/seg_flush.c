/*
 * The flusher: the only one that assigns positions, writes and syncs. A loop
 * that nobody waits for does a quick flush in its place (decision 0035).
 *
 * Happy path: take all pending appends of all ports; for each: hash, header,
 * gather; pwritev of what is gathered; one fdatasync; completions to each
 * port. While that goes on new appends queue up: group commit without a timer.
 * When nothing came for 10 ms, one MARK.
 *
 * A batch of loose appends alone is written and completed without the sync,
 * until SEG_LOOSE_NS later one is due. Its records carry the durable mark of
 * the last sync, so recovery looks at all that came behind that.
 *
 * Failure modes: on a full disk writes go on in what was written in advance (the
 * rest of the segment, the pool), then the owner is asked for what it keeps
 * (no_space). Anything else that fails (write, sync, a new segment, memory)
 * goes to seg_fatal_hook, which aborts; what the page cache holds afterwards
 * is not trusted by the next process either (seg_recover.c writes it again).
 */
#include "common/seg/seg_int.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/mem.h"

static void seg_fatal_abort(const char *what, int err)
{
	fatal_abort("segments: %s: %s", what, strerror(-err));
}

void (*seg_fatal_hook)(const char *what, int err) = seg_fatal_abort;

/* Notes the first failure; returns err. */
static int seg_fail(struct seg_head *head, const char *what, int err)
{
	if (!head->failed) {
		head->failed = true;
		seg_fatal_hook(what, err);
	}
	return err;
}

/*
 * True: err is a full disk, and it is worth to try again. The owner gave
 * something; or it has nothing to give, once: then it gave meanwhile, to
 * another head, or by itself, since this one failed.
 */
static bool seg_got_space(struct seg_head *head, int err, bool *last)
{
	if (err != -ENOSPC || head->config.no_space == NULL || *last)
		return false;
	*last = !head->config.no_space(head->config.arg);
	return true;
}

/* --- gathering one contiguous run of bytes --- */

static int seg_run_write(struct seg_head *head)
{
	bool last = false;
	int rv;

	if (head->n_run == 0)
		return 0;
	do
		rv = seg_write(head);
	while (seg_got_space(head, rv, &last));
	if (rv != 0)
		return seg_fail(head, "write to segment", rv);
	head->run_off += head->run_bytes;
	head->run_bytes = 0;
	head->n_run = 0;
	head->stage_len = 0;
	return 0;
}

static bool seg_run_full(const struct seg_head *head)
{
	return head->n_run == SEG_RUN_IOV || head->run_bytes > SEG_RUN_BYTES;
}

/* Adds borrowed bytes. */
static int seg_run_ref(struct seg_head *head, const void *p, size_t len)
{
	int rv;

	if (len == 0)
		return 0;
	if (seg_run_full(head)) {
		rv = seg_run_write(head);
		if (rv != 0)
			return rv;
	}
	head->run[head->n_run].iov_base = (void *)(uintptr_t)p;
	head->run[head->n_run++].iov_len = len;
	head->run_bytes += len;
	return 0;
}

/* Room for len bytes that the caller fills at once; NULL: failed. */
static uint8_t *seg_run_stage(struct seg_head *head, size_t len)
{
	struct iovec *last;
	uint8_t *p;

	assert(len <= SEG_STAGE);
	if ((seg_run_full(head) || head->stage_len + len > SEG_STAGE) &&
	    seg_run_write(head) != 0)
		return NULL;
	p = head->stage + head->stage_len;
	head->stage_len += len;
	last = head->n_run > 0 ? &head->run[head->n_run - 1] : NULL;
	if (last != NULL && (uint8_t *)last->iov_base + last->iov_len == p) {
		last->iov_len += len;
		head->run_bytes += len;
	} else {
		(void)seg_run_ref(head, p, len); /* there is room */
	}
	return p;
}

/* --- records --- */

/* Adds one record at the append point; h->seq, gen, off, first, durable are
 * set here. The room was checked. */
static int seg_put(struct seg_head *head, struct seg_hdr *h,
		   const struct iovec *iov, int niov)
{
	size_t pad = (size_t)(seg_pad8(h->len) - h->len);
	uint8_t *p;

	h->gen = head->gen;
	h->off = head->off;
	h->seq = ++head->seq;
	h->first = head->first;
	h->durable = head->durable;
	p = seg_run_stage(head, SEG_HEADER_LEN);
	if (p == NULL)
		return -EIO;
	seg_hdr_encode(h, head->seed, p);
	for (int i = 0; i < niov; i++) {
		if (iov[i].iov_len == 0)
			continue;
		if (iov[i].iov_len > SEG_COPY_MAX) {
			if (seg_run_ref(head, iov[i].iov_base,
					iov[i].iov_len) != 0)
				return -EIO;
			continue;
		}
		p = seg_run_stage(head, iov[i].iov_len);
		if (p == NULL)
			return -EIO;
		memcpy(p, iov[i].iov_base, iov[i].iov_len);
	}
	if (pad > 0) {
		p = seg_run_stage(head, pad);
		if (p == NULL)
			return -EIO;
		memset(p, 0, pad);
	}
	head->off += seg_rec_size(h->len);
	return 0;
}

static int seg_put_pad(struct seg_head *head, uint64_t gap)
{
	static const uint8_t zeros[2 * SEG_BULK_ALIGN];
	struct seg_hdr h = { .type = SEG_PAD };
	struct iovec iov;

	assert(gap >= SEG_HEADER_LEN && gap <= sizeof(zeros));
	h.len = gap - SEG_HEADER_LEN;
	iov.iov_base = (void *)(uintptr_t)zeros;
	iov.iov_len = (size_t)h.len;
	return seg_put(head, &h, &iov, 1);
}

/* Bytes of padding that put a large body on an alignment. */
static uint64_t seg_bulk_gap(const struct seg_head *head, uint64_t off,
			     uint64_t len)
{
	uint64_t gap;

	if (!head->config.bulk || len < SEG_BULK_LARGE)
		return 0;
	gap = (0 - off - SEG_HEADER_LEN) % SEG_BULK_ALIGN;
	return gap > 0 && gap < SEG_HEADER_LEN ? gap + SEG_BULK_ALIGN : gap;
}

/* Writes and syncs all that was put; then it is durable. */
static int seg_sync(struct seg_head *head)
{
	uint64_t start, took;
	int rv = seg_run_write(head);

	if (rv != 0)
		return rv;
	if (head->durable == head->seq)
		return 0;
	start = env_now_ns(head->env);
	if (!SEG_MUTATES(NO_SYNC))
		rv = head->vfs->ops->fdatasync(head->cur);
	if (rv != 0)
		return seg_fail(head, "fdatasync of segment", rv);
	seg_direct_synced(head);
	head->durable = head->seq;
	head->loose_ns = 0;
	__atomic_store_n(&head->loose, false, __ATOMIC_RELEASE);
	__atomic_store_n(&head->start_gen, head->gen, __ATOMIC_RELEASE);
	seg_stat_add(&head->stats.syncs, 1);
	took = env_now_ns(head->env) - start;
	head->sync_ns += took / 8 - head->sync_ns / 8;
	seg_stat_add(&head->stats.sync_ns, took);
	return 0;
}

/* What follows the fixed part: ranges, and what the owner adds. */
static int seg_start_gather(struct seg_head *head, uint64_t gen,
			    uint32_t *ret_n)
{
	struct seg_ranges ranges = { 0 };
	int rv = seg_table_ranges(head, &ranges);

	buf_reset(&head->start_buf);
	seg_ranges_encode(&ranges, &head->start_buf);
	*ret_n = (uint32_t)ranges.n;
	seg_ranges_fini(&ranges);
	if (rv == 0 && head->config.start_body != NULL)
		head->config.start_body(head->config.arg, gen,
					&head->start_buf);
	return rv != 0 ? rv : head->start_buf.err;
}

static int seg_put_start(struct seg_head *head, uint32_t n_ranges)
{
	struct seg_hdr h = { .type = SEG_START };
	struct seg_start start = {
		.gen = head->gen,
		.seq = head->seq + 1,
		.prev_gen = head->prev_gen,
		.prev_first = head->prev_first,
		.prev_seq = head->prev_seq,
		.prev_end = head->prev_end,
		.size = head->size,
		.n_ranges = n_ranges,
	};
	struct iovec iov[2];
	uint8_t fixed[SEG_START_FIXED];

	memcpy(start.store_id, head->config.store_id, 16);
	seg_start_encode(&start, fixed);
	iov[0].iov_base = fixed;
	iov[0].iov_len = sizeof(fixed);
	iov[1].iov_base = head->start_buf.data;
	iov[1].iov_len = head->start_buf.len;
	h.len = sizeof(fixed) + head->start_buf.len;
	h.hash = seg_hash_iov(iov, 2);
	head->first = head->seq + 1;
	if (seg_put(head, &h, iov, 2) != 0)
		return -EIO;
	/* start_buf and fixed do not outlive this call */
	return seg_run_write(head);
}

/* Syncs and seals the current segment. Sets whether zeros are worth while. */
static int seg_end(struct seg_head *head, bool *ret_fill)
{
	int rv = seg_sync(head);

	if (rv != 0)
		return rv;
	*ret_fill = head->off / ++head->cur_flushes < SEG_POOL_WORTH;
	head->prev_gen = head->gen;
	head->prev_first = head->first;
	head->prev_seq = head->seq;
	head->prev_end = head->off;
	seg_direct_close(head);
	/* a good part of it is not needed; if that fails it stays longer */
	if (head->size - head->off > head->size / 8 &&
	    head->vfs->ops->truncate(head->cur, head->off) == 0)
		seg_table_shrink(head, head->gen, head->off);
	seg_table_set(head, head->gen, SEG_STATE_SEALED);
	head->cur = NULL;
	return 0;
}

/*
 * Cuts what a crash left behind the end of the log, for good before a START
 * says where the log goes on: once that segment is freed nothing does, and what
 * was left would be taken for rot, or for records.
 */
static int seg_cut(struct seg_head *head)
{
	struct vfs_file *f = NULL;
	int rv = seg_open_gen(head, head->prev_gen, O_RDWR, &f);

	if (rv == 0)
		rv = head->vfs->ops->truncate(f, head->prev_end);
	if (rv == 0)
		rv = head->vfs->ops->fdatasync(f);
	if (f != NULL)
		head->vfs->ops->close(f);
	if (rv != 0)
		return seg_fail(head, "cut of segment", rv);
	seg_table_shrink(head, head->prev_gen, head->prev_end);
	head->cut = false;
	return 0;
}

/* A file for the next segment, with need bytes at least, becomes cur. */
static int seg_take(struct seg_head *head, uint64_t need)
{
	uint64_t gen = head->last_gen + 1, size = 0;
	struct vfs_file *f = NULL;
	int rv = seg_pool_take(head, gen, need, &f, &size);

	if (rv != 0)
		return rv;
	rv = seg_table_add(head, gen, size, SEG_STATE_CURRENT, f);
	if (rv != 0) {
		head->vfs->ops->close(f);
		return rv;
	}
	head->cur = f;
	head->gen = gen;
	head->last_gen = gen;
	head->seed = seg_seed(head->config.store_id, gen);
	head->size = size;
	head->off = 0;
	head->run_off = 0;
	head->cur_flushes = 0;
	seg_direct_open(head);
	seg_stat_add(&head->stats.segments, 1);
	seg_stat_add(&head->stats.bytes, size);
	return 0;
}

/* Ends the current segment and begins one with room for a body of len. */
static int seg_begin(struct seg_head *head, uint64_t len)
{
	uint32_t n_ranges = 0;
	bool fill = true, last = false;
	uint64_t need;
	int rv;

	if (head->cur != NULL) {
		rv = seg_end(head, &fill);
		if (rv != 0)
			return rv;
	}
	if (head->cut) {
		rv = seg_cut(head);
		if (rv != 0)
			return rv;
	}
	if (head->stage == NULL)
		head->stage = mem_alloc(SEG_STAGE);
	if (head->stage == NULL)
		return seg_fail(head, "memory for writing", -ENOMEM);
	rv = seg_start_gather(head, head->last_gen + 1, &n_ranges);
	if (rv != 0)
		return seg_fail(head, "start of segment", rv);
	need = seg_rec_size(SEG_START_FIXED + head->start_buf.len);
	need += seg_bulk_gap(head, need, len) + seg_rec_size(len) +
		SEG_HEADER_LEN;
	do
		rv = seg_take(head, need);
	while (seg_got_space(head, rv, &last));
	if (rv != 0)
		return seg_fail(head, "new segment", rv);
	rv = seg_put_start(head, n_ranges);
	if (head->filler != NULL && fill)
		env_thread_kick(head->env, head->filler);
	return rv;
}

static int seg_put_append(struct seg_head *head, struct seg_append *a)
{
	struct seg_hdr h = {
		.type = a->type,
		.flags = a->flags,
		.group = a->group,
		.a = a->a,
		.b = a->b,
		.id = a->id,
	};
	uint64_t gap;
	int rv;

	if (a->type == SEG_NONE)
		return 0;
	for (int i = 0; i < a->niov; i++)
		h.len += a->iov[i].iov_len;
	if (!a->has_hash)
		a->hash = seg_hash_iov(a->iov, a->niov);
	h.hash = a->hash;
	gap = seg_bulk_gap(head, head->off, h.len);
	if (head->cur == NULL || a->roll ||
	    head->off + gap + seg_rec_size(h.len) +
						 SEG_HEADER_LEN >
					 head->size) {
		rv = seg_begin(head, h.len);
		if (rv != 0)
			return rv;
		gap = seg_bulk_gap(head, head->off, h.len);
	}
	if (gap > 0) {
		rv = seg_put_pad(head, gap);
		if (rv != 0)
			return rv;
	}
	a->pos.gen = head->gen;
	a->pos.off = head->off;
	a->body_off = head->off + SEG_HEADER_LEN;
	seg_stat_add(&head->stats.appended_records, 1);
	seg_stat_add(&head->stats.appended_bytes, h.len);
	rv = seg_put(head, &h, a->iov, a->niov);
	if (rv == 0 && a->type == SEG_FREED)
		seg_table_set(head, a->a, SEG_STATE_UNLISTED);
	return rv;
}

static int seg_put_mark(struct seg_head *head)
{
	struct seg_hdr h = { .type = SEG_MARK, .hash = seg_hash("", 0) };
	int rv;

	assert(head->off + SEG_HEADER_LEN <= head->size);
	rv = seg_put(head, &h, NULL, 0);
	if (rv == 0)
		rv = seg_run_write(head);
	head->marked = head->seq;
	return rv;
}

/* --- batches --- */

/* Takes what all ports have; the busy ones, linked by next_busy. */
static struct seg_port *seg_batch_take(struct seg_head *head)
{
	struct seg_port *busy = NULL, **tail = &busy;

	(void)pthread_mutex_lock(&head->lock);
	for (struct seg_port *p = head->ports; p != NULL; p = p->next) {
		if (p->pending == NULL)
			continue;
		p->batch = p->pending;
		p->pending = NULL;
		p->pending_tail = &p->pending;
		p->next_busy = NULL;
		*tail = p;
		tail = &p->next_busy;
	}
	(void)pthread_mutex_unlock(&head->lock);
	return busy;
}

/*
 * Hands p's batch back to its loop. p may be gone when this returns, but not
 * before the post: until done ran, these appends are under way. Posted without
 * the lock, as the loop that wakes up takes it first of all.
 */
static void seg_batch_complete(struct seg_head *head, struct seg_port *p)
{
	struct seg_append *a = p->batch, **tail = &p->batch;
	bool post;

	while (*tail != NULL)
		tail = &(*tail)->next;
	p->batch = NULL;
	(void)pthread_mutex_lock(&head->lock);
	*p->ready_tail = a;
	p->ready_tail = tail;
	post = !p->done_posted;
	p->done_posted = true;
	(void)pthread_mutex_unlock(&head->lock);
	if (post)
		env_post(p->env, &p->done);
}

/* --- loose appends --- */

/* What p's batch waits for a sync with goes to held; what is left of it? */
static bool seg_batch_hold(struct seg_port *p)
{
	struct seg_append **at = &p->batch, *a;

	while ((a = *at) != NULL) {
		if (a->type != SEG_NONE || SEG_MUTATES(NO_HOLD)) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		a->next = NULL;
		*p->held_tail = a;
		p->held_tail = &a->next;
	}
	return p->batch != NULL;
}

/* After a sync: what waited for it goes before the batches, if any. */
static void seg_held_complete(struct seg_head *head)
{
	struct seg_port *next;

	(void)pthread_mutex_lock(&head->lock);
	for (struct seg_port *p = head->ports; p != NULL; p = next) {
		bool post = p->held != NULL && !p->done_posted;

		next = p->next;
		if (p->held == NULL)
			continue;
		*p->ready_tail = p->held;
		p->ready_tail = p->held_tail;
		p->held = NULL;
		p->held_tail = &p->held;
		p->done_posted = true;
		if (post)
			env_post(p->env, &p->done);
	}
	(void)pthread_mutex_unlock(&head->lock);
}

/* When a sync of what is loose is due, from now; 0: at once. */
static uint64_t seg_loose_left(const struct seg_head *head)
{
	uint64_t since = env_now_ns(head->env) - head->loose_ns;

	return since < SEG_LOOSE_NS ? SEG_LOOSE_NS - since : 0;
}

/* Makes durable what the batch needs to be, or what has waited for long. */
static int seg_settle(struct seg_head *head, bool firm)
{
	int rv;

	if (!firm && head->durable != head->seq) {
		if (head->loose_ns == 0) {
			/* told of only behind this */
			head->loose_ns = env_now_ns(head->env);
			__atomic_store_n(&head->loose, true, __ATOMIC_RELEASE);
		}
		if (seg_loose_left(head) > 0)
			return seg_run_write(head);
	}
	rv = seg_sync(head);
	if (rv == 0)
		seg_held_complete(head);
	return rv;
}

/* Segments that do not count go once a newer one is durable. */
static void seg_unlink_voids(struct seg_head *head)
{
	/* what stays is found void again at the next start */
	for (size_t i = 0; i < head->n_voids; i++)
		(void)seg_unlink_gen(head, head->voids[i]);
	head->n_voids = 0;
	mem_free(head->voids);
	head->voids = NULL;
}

/* Puts the batches of all busy ports; *ret_firm: one of them wants a sync. */
static int seg_put_batches(struct seg_head *head, struct seg_port *busy,
			   bool *ret_firm)
{
	*ret_firm = false;
	for (struct seg_port *p = busy; p != NULL; p = p->next_busy)
		for (struct seg_append *a = p->batch; a != NULL; a = a->next) {
			int rv = seg_put_append(head, a);

			if (rv != 0)
				return rv;
			*ret_firm |= !a->loose &&
				     !SEG_MUTATES(ALL_LOOSE);
		}
	return 0;
}

/* One group commit. False when nothing was pending or the head failed. */
static bool seg_flush(struct seg_head *head)
{
	struct seg_port *busy = head->failed ? NULL : seg_batch_take(head);
	bool firm;

	if (busy == NULL)
		return false;
	if (seg_put_batches(head, busy, &firm) != 0 ||
	    seg_settle(head, firm) != 0)
		return false;
	if (head->n_voids > 0 && head->durable == head->seq)
		seg_unlink_voids(head);
	__atomic_store_n(&head->last_seq, head->seq, __ATOMIC_RELAXED);
	head->cur_flushes++;
	seg_stat_add(&head->stats.flushes, 1);
	while (busy != NULL) {
		struct seg_port *p = busy;

		busy = p->next_busy;
		if (head->durable == head->seq || seg_batch_hold(p))
			seg_batch_complete(head, p);
	}
	return true;
}

/* When there is something to do without a kick, from now. */
static uint64_t seg_flush_later(const struct seg_head *head)
{
	if (head->failed || head->cur == NULL)
		return ENV_THREAD_IDLE;
	if (head->loose_ns != 0)
		return seg_loose_left(head);
	return head->marked == head->seq ? ENV_THREAD_IDLE : SEG_MARK_DELAY_NS;
}

uint64_t seg_flush_run(void *arg)
{
	struct seg_head *head = arg;
	bool worked = false;

	while (seg_flush(head))
		worked = true;
	if (head->failed || head->cur == NULL)
		return ENV_THREAD_IDLE;
	if (head->loose_ns != 0 && seg_loose_left(head) == 0) {
		if (seg_settle(head, true) != 0)
			return ENV_THREAD_IDLE;
		worked = true;
	}
	if (!worked && head->loose_ns == 0 && head->marked != head->seq) {
		(void)seg_put_mark(head);
		__atomic_store_n(&head->last_seq, head->seq, __ATOMIC_RELAXED);
	}
	return seg_flush_later(head);
}

/*
 * Whether all that is pending is little, fits the segment there is, and syncs
 * were fast lately.
 */
static bool seg_is_quick(struct seg_head *head)
{
	uint64_t bytes = SEG_HEADER_LEN; /* of the MARK at the end */
	unsigned n = 0;
	bool roll = false;

	if (head->failed || head->cur == NULL ||
	    head->sync_ns > SEG_LEND_SYNC_NS)
		return false;
	(void)pthread_mutex_lock(&head->lock);
	for (struct seg_port *p = head->ports; p != NULL; p = p->next)
		for (struct seg_append *a = p->pending;
		     a != NULL && n <= SEG_LEND_APPENDS; a = a->next) {
			uint64_t len = 0;

			for (int i = 0; i < a->niov; i++)
				len += a->iov[i].iov_len;
			bytes += seg_rec_size(len);
			roll |= a->roll;
			n++;
		}
	(void)pthread_mutex_unlock(&head->lock);
	return !roll && n <= SEG_LEND_APPENDS && bytes <= SEG_LEND_BYTES &&
	       bytes <= head->size - head->off;
}

uint64_t seg_flush_lent(void *arg)
{
	struct seg_head *head = arg;

	if (!seg_is_quick(head))
		return 0;
	if (seg_flush(head))
		seg_stat_add(&head->stats.lent, 1);
	return seg_flush_later(head);
}

void seg_flush_close(struct seg_head *head)
{
	while (seg_flush(head))
		continue;
	if (head->failed || head->cur == NULL)
		return;
	if (head->marked != head->seq && seg_put_mark(head) != 0)
		return;
	/*
	 * The next process begins another segment: without the tail it has
	 * nothing to search for an end. If that fails it searches.
	 */
	(void)head->vfs->ops->truncate(head->cur, head->off);
	if (head->durable != head->seq && seg_sync(head) == 0)
		seg_held_complete(head);
}
