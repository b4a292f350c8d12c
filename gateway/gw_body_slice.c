/*
 * Bodies that go into a slice.
 *
 * Happy path, plain: http -> memory of the slice's chunk -> hashed there by
 * the crews of gw_hash while the chunk fills, is sent, is stored -> end of
 * body: the last chunk is sent at once -> all hashed: promises compared -> all
 * stored -> done. aws-chunked: http -> cur piece -> queue -> decoded and hashed
 * -> out -> slice -> all given: promises compared -> as above.
 *
 * Failure modes: those of gw_body.c; a failed slice ends with the status'
 * error. Bytes of a body that broke its promises may be stored by then: the
 * slice has no reference and is swept.
 *
 * At most GW_BODY_PIECES pieces, or GW_BODY_AHEAD bytes, wait to be hashed;
 * then reading stops, as it does while the slice is full.
 */
#include "gateway/gw_body_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#define GW_BODY_AHEAD (2u << 20)
#define GW_BODY_RUN (1024u << 10)    /* bytes of one job */
#define GW_BODY_HASH_HERE (16u << 10) /* less is hashed at once */

static void gw_slice_step(struct gw_body *b);

/* Both must have come, in any order. */
static void gw_slice_settle(struct gw_body *b)
{
	if (b->verified && b->stored)
		gw_body_finish(b, S3_OK);
}

static void gw_slice_refused(struct gw_body *b);

static void gw_slice_drain_cb(void *arg)
{
	gw_slice_refused(arg); /* it may have failed meanwhile */
	gw_slice_step(arg);
}

static void gw_slice_done_cb(void *arg, uint32_t status)
{
	struct gw_body *b = arg;

	if (status != RPC_STATUS_OK) {
		gw_body_finish(b, s3_error_from_status(status, S3_CTX_WRITE));
		return;
	}
	b->stored = true;
	gw_slice_settle(b);
}

int gw_body_slice_init(struct gw_body *b, uint16_t home)
{
	static const struct client_slice_cbs cbs = {
		.on_drain = gw_slice_drain_cb,
		.done = gw_slice_done_cb,
	};

	b->queue.tail = &b->queue.head;
	b->out.tail = &b->out.head;
	b->slice = client_slice_new(b->r->l->client, home, &cbs, b);
	if (b->slice == NULL)
		return -ENOMEM;
	client_slice_expect(b->slice, b->plan.len);
	b->slice_id = client_slice_id(b->slice);
	return 0;
}

/* The slice took less than it was given: an error, or full. */
static void gw_slice_refused(struct gw_body *b)
{
	uint32_t status = client_slice_error(b->slice);

	if (status != RPC_STATUS_OK && b->err == S3_OK)
		b->err = s3_error_from_status(status, S3_CTX_WRITE);
}

static void gw_slice_pause(struct gw_body *b)
{
	b->paused = true;
	http_pause(b->r->http);
}

/* --- plain --- */

/* n bytes more were written to body, the chunk being filled. */
static int gw_part_add(struct gw_body *b, struct body *body, size_t n)
{
	struct gw_part *p = b->last_part;

	if (b->sums == NULL)
		return 0;
	if (p == NULL || p->body != body) {
		p = mem_zalloc(sizeof(*p));
		if (p == NULL)
			return -ENOMEM;
		p->body = body_ref(body);
		*(b->parts == NULL ? &b->parts : &b->last_part->next) = p;
		b->last_part = p;
	}
	p->len += (uint32_t)n;
	b->unhashed += n;
	return 0;
}

static void gw_part_drop(struct gw_body *b)
{
	struct gw_part *p = b->parts;

	b->parts = p->next;
	if (b->parts == NULL)
		b->last_part = NULL;
	body_unref(p->body);
	mem_free(p);
}

static void gw_part_done(struct gw_body *b, size_t n)
{
	b->parts->hashed += (uint32_t)n;
	b->unhashed -= n;
}

static void gw_part_job_done(struct gw_hash_job *job)
{
	struct gw_body *b = CONTAINER_OF(job, struct gw_body, job);

	b->hashing = false;
	gw_part_done(b, job->len);
	gw_slice_step(b);
	gw_body_job_end(b);
}

/* Hashes what is worth it; false when there is nothing to do now. */
static bool gw_part_hash(struct gw_body *b)
{
	struct gw_part *p = b->parts;
	bool last;
	size_t n;

	if (p == NULL || b->hashing)
		return false;
	n = p->len - p->hashed;
	last = p->next == NULL && !b->ended; /* more may come to it */
	if (n == 0 && !last) {
		gw_part_drop(b);
		return true;
	}
	if (last && n < GW_BODY_RUN)
		return false;
	if (n < GW_BODY_HASH_HERE) {
		s3_sums_update(b->sums, p->body->data + p->hashed, n);
		gw_part_done(b, n);
		return true;
	}
	gw_body_job(b, p->body->data + p->hashed,
		    n < GW_BODY_RUN ? n : GW_BODY_RUN, gw_part_job_done);
	return true;
}

/* n bytes are where the slice had reserved room. */
static void gw_plain_add(struct gw_body *b, size_t n)
{
	if (gw_part_add(b, client_slice_body(b->slice), n) != 0)
		b->err = S3_ERR_OUT_OF_MEMORY;
	else
		client_slice_commit(b->slice, n);
}

static void gw_plain_data(struct gw_body *b, struct evbuffer *buf)
{
	const uint8_t *p;
	size_t n;

	while ((n = http_body_peek(buf, &p)) > 0) {
		size_t room;
		uint8_t *to = client_slice_reserve(b->slice, &room);

		if (to == NULL) {
			gw_slice_refused(b);
			break;
		}
		n = n < room ? n : room;
		memcpy(to, p, n);
		http_body_drain(buf, n);
		gw_plain_add(b, n);
		if (b->err != S3_OK)
			return;
	}
	if (n > 0 || b->unhashed > GW_BODY_AHEAD)
		gw_slice_pause(b);
}

/* --- aws-chunked --- */

static void gw_list_add(struct gw_piece_list *l, struct gw_piece *p)
{
	p->next = NULL;
	*l->tail = p;
	l->tail = &p->next;
}

static struct gw_piece *gw_list_take(struct gw_piece_list *l)
{
	struct gw_piece *p = l->head;

	if (p != NULL) {
		l->head = p->next;
		if (l->head == NULL)
			l->tail = &l->head;
	}
	return p;
}

static void gw_list_free(struct gw_piece_list *l)
{
	for (struct gw_piece *p; (p = gw_list_take(l)) != NULL;)
		mem_free(p);
}

static struct gw_piece *gw_piece_get(struct gw_body *b)
{
	struct gw_piece *p = b->spare;

	if (p == NULL)
		p = mem_alloc(sizeof(*p));
	b->spare = NULL;
	if (p != NULL) {
		p->len = p->off = 0;
		b->n_pieces++;
	}
	return p;
}

static void gw_piece_put(struct gw_body *b, struct gw_piece *p)
{
	b->n_pieces--;
	if (b->spare == NULL)
		b->spare = p;
	else
		mem_free(p);
}

static void gw_piece_job_done(struct gw_hash_job *job)
{
	struct gw_body *b = CONTAINER_OF(job, struct gw_body, job);

	b->hashing = false;
	b->busy->len = job->len;
	gw_list_add(&b->out, b->busy);
	b->busy = NULL;
	if (b->err == S3_OK)
		b->err = b->job_err;
	gw_slice_step(b);
	gw_body_job_end(b);
}

/* The next piece to a worker; a short one is done here. */
static bool gw_piece_hash(struct gw_body *b)
{
	struct gw_piece *p;

	if (b->busy != NULL || b->queue.head == NULL || b->err != S3_OK)
		return false;
	p = gw_list_take(&b->queue);
	if (p->len < GW_BODY_HASH_HERE) {
		b->err = gw_body_digest(b, p->data, &p->len);
		gw_list_add(&b->out, p);
		return true;
	}
	b->busy = p;
	gw_body_job(b, p->data, p->len, gw_piece_job_done);
	return true;
}

static bool gw_piece_store(struct gw_body *b)
{
	struct gw_piece *p = b->out.head;

	if (p == NULL || b->err != S3_OK)
		return false;
	p->off += client_slice_add(b->slice, p->data + p->off,
				   p->len - p->off);
	if (p->off < p->len) {
		gw_slice_refused(b); /* full: on_drain goes on */
		return false;
	}
	(void)gw_list_take(&b->out);
	gw_piece_put(b, p);
	return true;
}

static void gw_chunked_data(struct gw_body *b, struct evbuffer *buf)
{
	const uint8_t *p;
	size_t n;

	while ((n = http_body_peek(buf, &p)) > 0) {
		size_t room;

		if (b->cur == NULL && b->n_pieces == GW_BODY_PIECES) {
			gw_slice_pause(b);
			return;
		}
		if (b->cur == NULL)
			b->cur = gw_piece_get(b);
		if (b->cur == NULL) {
			b->err = S3_ERR_OUT_OF_MEMORY;
			return;
		}
		room = GW_BODY_PIECE - b->cur->len;
		n = n < room ? n : room;
		memcpy(b->cur->data + b->cur->len, p, n);
		b->cur->len += n;
		http_body_drain(buf, n);
		if (b->cur->len == GW_BODY_PIECE) {
			gw_list_add(&b->queue, b->cur);
			b->cur = NULL;
		}
	}
}

/* --- both --- */

static bool gw_slice_may_resume(const struct gw_body *b)
{
	if (b->chunked != NULL)
		return b->n_pieces < GW_BODY_PIECES;
	return b->unhashed <= GW_BODY_AHEAD && !client_slice_full(b->slice);
}

/* Nothing is left to be hashed, or to be given to the slice. */
static bool gw_slice_is_hashed(const struct gw_body *b)
{
	return b->ended && !b->hashing && b->parts == NULL &&
	       b->queue.head == NULL && b->out.head == NULL;
}

/* After any event. */
static void gw_slice_step(struct gw_body *b)
{
	if (b->done == NULL || b->verified)
		return;
	while (b->err == S3_OK &&
	       (gw_part_hash(b) || gw_piece_hash(b) || gw_piece_store(b)))
		;
	if (b->err == S3_OK && gw_slice_is_hashed(b)) {
		b->err = gw_body_verify(b, client_slice_len(b->slice));
		b->verified = b->err == S3_OK;
	}
	if (b->err != S3_OK) {
		gw_body_finish(b, b->err);
		return;
	}
	if (b->paused && gw_slice_may_resume(b)) {
		b->paused = false;
		http_resume(b->r->http);
	}
	if (!b->finishing && b->ended && (b->chunked == NULL || b->verified)) {
		b->finishing = true;
		client_slice_finish(b->slice);
	}
	gw_slice_settle(b);
}

void gw_body_slice_data(struct gw_body *b, struct evbuffer *buf)
{
	if (b->chunked != NULL)
		gw_chunked_data(b, buf);
	else
		gw_plain_data(b, buf);
	gw_slice_step(b);
}

uint8_t *gw_body_slice_room(struct gw_body *b, size_t *ret_len)
{
	/* full, or failed: the buffer's way deals with it */
	return client_slice_reserve(b->slice, ret_len);
}

void gw_body_slice_direct(struct gw_body *b, size_t n)
{
	gw_plain_add(b, n);
	if (b->unhashed > GW_BODY_AHEAD && !b->paused)
		gw_slice_pause(b);
	gw_slice_step(b);
}

void gw_body_slice_end(struct gw_body *b)
{
	if (b->cur != NULL)
		gw_list_add(&b->queue, b->cur);
	b->cur = NULL;
	gw_slice_step(b);
}

void gw_body_slice_free(struct gw_body *b)
{
	client_slice_free(b->slice);
	while (b->parts != NULL)
		gw_part_drop(b);
	if (b->queue.tail != NULL) {
		gw_list_free(&b->queue);
		gw_list_free(&b->out);
	}
	mem_free(b->cur);
	mem_free(b->spare);
}
