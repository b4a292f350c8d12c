/*
 * Happy path: READ -> covered by streams and fetched: answered at once; else
 * it waits in the handle's queue until the stream has its bytes. Streams are
 * long, so that the shard is seldom asked where the bytes are; one that is far
 * ahead of the reader pauses, and what lies behind the reader is dropped (all
 * of it when handles that are not read from hold too much). A few
 * chunks are under way at a time: with one, store, disk and we would work one
 * after the other, and many would come all at once.
 *
 * Failure modes: a stream ends with an error: its waiting READs fail, the
 * stream is dropped, the next READ starts a new one; the file changes under
 * the streams: dropped, waiting READs fetch their own ranges.
 *
 * What came with the OPEN is read at once or not at all: it is too old soon, as
 * whoever waits between open() and read() may wait for a writer elsewhere.
 *
 * A READ must be answered in full unless the file ends: the kernel takes a
 * short answer for the end of the file.
 */
#include "fuse/reader.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "fuse/handle.h"

#define READER_WINDOW_MIN (256u << 10)
#define READER_WINDOW_MAX (64u << 20)
#define READER_AHEAD_MAX (8u << 20)
#define READER_CHUNKS 6u /* under way */
#define READER_ALIGN_FROM (1u << 20)
#define READER_JUMP (1u << 20) /* READs of one stream may change places */
#define READER_IOV_MAX 64
#define READER_OPEN_NS UINT64_C(100000000)

/* Bytes [off, off + len) of the file are body[from, from + len). */
struct rpiece {
	struct body *body; /* ref'd */
	uint32_t from, len;
	uint64_t off;
};

/* One range being fetched, or fetched. */
struct rstream {
	struct mount *m;
	struct client_read *read; /* owned; NULL when ended, or came with OPEN */
	struct rstream *next;
	uint64_t off, end; /* planned range, but for what was dropped of it */
	uint64_t have;     /* fetched up to here */
	bool paused;       /* far enough ahead of the reader */
	bool ended;        /* nothing more comes */
	int err;
	uint64_t version;  /* came with OPEN: data_version, else 0 */
	uint64_t came_ns;  /* ... and when */
	struct rpiece *piece;
	unsigned n, cap;
	struct fhandle *h; /* borrowed; whose queue waits; NULL: of one op */
	struct fop *op;    /* borrowed; the READ it is for */
};

static void reader_on_stream(struct rstream *s);

/* The first n pieces. */
static void rstream_drop(struct rstream *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		s->m->ahead_bytes -= s->piece[i].len;
		body_unref(s->piece[i].body);
	}
	if (n < s->n)
		s->off = s->piece[n].off;
	if (n > 0)
		memmove(s->piece, s->piece + n,
			(s->n - n) * sizeof(*s->piece));
	s->n -= n;
}

void rstream_free(struct rstream *s)
{
	if (s == NULL)
		return;
	client_read_free(s->read);
	rstream_drop(s, s->n);
	mem_free(s->piece);
	mem_free(s);
}

/* 0 or -ENOMEM. */
static int rstream_add(struct rstream *s, struct body *body, uint32_t from,
		       uint32_t len)
{
	if (s->n == s->cap) {
		unsigned cap = s->cap == 0 ? 4 : s->cap * 2;
		struct rpiece *p = mem_realloc(s->piece, cap * sizeof(*p));

		if (p == NULL)
			return -ENOMEM;
		s->piece = p;
		s->cap = cap;
	}
	s->piece[s->n++] = (struct rpiece){
		.body = body_ref(body), .from = from, .len = len,
		.off = s->have,
	};
	s->have += len;
	s->m->ahead_bytes += len;
	return 0;
}

static void rstream_data(void *arg, struct body *body, uint32_t from,
			 uint32_t len)
{
	struct rstream *s = arg;

	if (s->err != 0)
		return;
	s->err = rstream_add(s, body, from, len);
	reader_on_stream(s); /* its end may be far, also with an error */
}

static void rstream_done(void *arg, uint32_t status)
{
	struct rstream *s = arg;

	s->ended = true;
	if (s->err == 0)
		s->err = rpc_status_errno(status);
	reader_on_stream(s);
}

/* NULL: no memory. The bytes come through reader_on_stream(). */
static struct rstream *rstream_new(struct mount *m, struct finode *f,
				   uint64_t off, uint64_t len,
				   uint64_t deadline)
{
	static const struct client_read_cbs cbs = {
		.data = rstream_data, .done = rstream_done,
	};
	struct client_read_spec spec = { .ino = f->ino, .off = off,
					 .len = len,
					 .ahead = READER_CHUNKS - 1,
					 .deadline = deadline };
	struct rstream *s = mem_zalloc(sizeof(*s));

	if (s == NULL)
		return NULL;
	s->m = m;
	s->off = s->have = off;
	s->end = off + len;
	s->read = client_read_start(m->client, &spec, &cbs, s);
	if (s->read == NULL) {
		mem_free(s);
		return NULL;
	}
	device_sent(m, &m->fetches);
	return s;
}

/* Of an answer's extents those that are bytes in its body, in order. */
static int rstream_fill(struct rstream *s, struct wire_bytes extents,
			struct body *body)
{
	struct wire_reader r;
	uint32_t n;
	int rv = 0;

	for (r = wire_vec_reader(extents, &n); rv == 0 && n > 0; n--) {
		struct wire_extent e;

		wire_get_extent(&r, &e);
		if (r.err != 0 || e.kind != WIRE_EXT_INLINE ||
		    e.pos != s->have || e.slice_off > body->len ||
		    e.len > body->len - e.slice_off)
			return -EBADMSG;
		rv = rstream_add(s, body, (uint32_t)e.slice_off,
				 (uint32_t)e.len);
	}
	return rv;
}

struct rstream *rstream_of_open(struct mount *m, const struct rpc_read_rsp *rsp,
				struct body *body)
{
	struct rstream *s;

	if (body == NULL || rsp->covered < rsp->attr.size)
		return NULL;
	s = mem_zalloc(sizeof(*s));
	if (s == NULL)
		return NULL;
	s->m = m;
	s->end = rsp->attr.size + 1; /* it ends in front of that */
	s->ended = true;
	s->version = rsp->attr.data_version;
	s->came_ns = env_now_ns(m->env);
	if (rstream_fill(s, rsp->extents, body) == 0 &&
	    s->have == rsp->attr.size)
		return s;
	rstream_free(s); /* holes, or chunks: READ goes for them */
	return NULL;
}

/* --- answers --- */

/*
 * Pieces of s that overlap [off, end) as iovecs. Returns how many there are,
 * also those that found no room.
 */
static unsigned rstream_iov(const struct rstream *s, uint64_t off,
			    uint64_t end, struct iovec *iov, unsigned room)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n; i++) {
		const struct rpiece *p = &s->piece[i];
		uint64_t from = p->off > off ? p->off : off;
		uint64_t to = p->off + p->len < end ? p->off + p->len : end;

		if (from >= to)
			continue;
		if (n < room)
			iov[n] = (struct iovec){
				.iov_base = p->body->data + p->from +
					    (from - p->off),
				.iov_len = (size_t)(to - from),
			};
		n++;
	}
	return n;
}

static unsigned reader_iov(const struct rstream *s, uint64_t off,
			   uint64_t end, struct iovec *iov, unsigned room)
{
	unsigned n = 0;

	for (; s != NULL && s->off < end; s = s->next)
		n += rstream_iov(s, off, end, n < room ? iov + n : iov,
				 n < room ? room - n : 0);
	return n;
}

/* Copies what is fetched and lays the unsent bytes over it. */
static void reader_answer_copy(struct fop *op, const struct rstream *s,
			       unsigned n)
{
	uint64_t end = op->off + op->size;
	struct iovec *iov = mem_calloc(n, sizeof(*iov));
	size_t len = 0, most;

	op->out = mem_zalloc(op->size);
	if (op->out == NULL || (iov == NULL && n > 0)) {
		mem_free(iov);
		fop_reply_err(op, -ENOMEM);
		return;
	}
	(void)reader_iov(s, op->off, end, iov, n);
	for (unsigned i = 0; i < n; i++) {
		memcpy(op->out + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	mem_free(iov);
	wbuf_overlay(&op->snap, op->off, op->size, op->out);
	if (op->snap_end < end)
		end = op->snap_end;
	most = end > op->off ? (size_t)(end - op->off) : 0;
	fop_reply_buf(op, op->out, len > most ? len : most);
}

/* All bytes of the range, or up to the end of the file, are in s and on. */
static void reader_answer(struct fop *op, const struct rstream *s)
{
	struct iovec iov[READER_IOV_MAX];
	unsigned n = reader_iov(s, op->off, op->off + op->size, iov,
				READER_IOV_MAX);

	if (n > READER_IOV_MAX || op->snap_end > op->off)
		reader_answer_copy(op, s, n);
	else
		fop_reply_iov(op, iov, (int)n);
}

/* Remembers unsent bytes of the range. True: they are all of it. */
static bool reader_snap(struct fop *op)
{
	struct finode *f = op->f;
	const struct wbuf *from[] = { &f->flushing, &f->dirty };
	uint64_t end = op->off + op->size;

	for (int w = 0; w < 2; w++) {
		const struct wbuf *b = from[w];

		if (b->n > 0 && wbuf_end(b) > op->snap_end)
			op->snap_end = wbuf_end(b);
		for (unsigned i = 0; i < b->n; i++) {
			const struct wbuf_ext *x = &b->ext[i];
			uint64_t at = x->off > op->off ? x->off : op->off;
			uint64_t to = x->off + x->len < end ? x->off + x->len
							    : end;

			if (at < to &&
			    wbuf_write(&op->snap, at, x->data + (at - x->off),
				       (size_t)(to - at)) != 0)
				op->snap_end = UINT64_MAX;
		}
	}
	return wbuf_covers(&op->snap, op->off, op->size);
}

/* A stream of its own for one READ. */
static void reader_fetch(struct fop *op)
{
	op->stream = rstream_new(op->m, op->f, op->off, op->size,
				 op->deadline);
	if (op->stream == NULL) {
		fop_reply_err(op, -ENOMEM);
		return;
	}
	op->stream->op = op;
}

/* --- streams of a handle --- */

void reader_init(struct reader *r)
{
	memset(r, 0, sizeof(*r));
	r->window = READER_WINDOW_MIN;
	fop_queue_init(&r->waiting);
}

static void reader_drop_first(struct reader *r)
{
	struct rstream *s = r->first;

	r->first = s->next;
	if (r->first == NULL)
		r->last = NULL;
	rstream_free(s);
}

/* Waiting READs get streams of their own. */
static void reader_drop(struct reader *r)
{
	struct fop *op;

	while (r->first != NULL)
		reader_drop_first(r);
	while ((op = fop_queue_take(&r->waiting)) != NULL)
		reader_fetch(op);
}

void reader_take(struct fhandle *h, struct rstream *s)
{
	struct reader *r = &h->reader;

	if (s == NULL)
		return;
	s->h = h;
	r->first = r->last = s;
	r->version = s->version;
}

void reader_fini(struct reader *r)
{
	struct fop *op;

	while (r->first != NULL)
		reader_drop_first(r);
	while ((op = fop_queue_take(&r->waiting)) != NULL)
		fop_reply_err(op, -EIO);
}

/*
 * Where a stream of about `window` bytes from off on shall end: long ones on
 * the end of a chunk, as streams write them. A long part of a chunk costs the
 * store as much as the whole.
 */
static uint64_t reader_stop(uint64_t off, uint32_t window)
{
	uint64_t end = off + window;

	return window < READER_ALIGN_FROM ? end
					  : (end + WIRE_CHUNK - 1) /
						    WIRE_CHUNK * WIRE_CHUNK;
}

/* One more stream behind the last, or a first one at off. */
static bool reader_extend(struct fhandle *h, uint64_t off)
{
	struct reader *r = &h->reader;
	struct mount *m = h->f->m;
	struct rstream *s;

	if (r->last != NULL)
		off = r->last->end;
	s = rstream_new(m, h->f, off, reader_stop(off, r->window) - off, 0);
	if (s == NULL)
		return false;
	s->h = h;
	if (r->last == NULL) {
		r->first = s;
		r->version = h->f->attr.data_version;
	} else {
		r->last->next = s;
	}
	r->last = s;
	if (r->window < READER_WINDOW_MAX &&
	    m->ahead_bytes < m->ahead_max / 2)
		r->window *= 2;
	return true;
}

/* Is this stream's end the end of the file? */
static bool rstream_is_eof(const struct rstream *s)
{
	return s->ended && s->err == 0 && s->have < s->end;
}

/* So much is fetched ahead of the reader. */
static uint64_t reader_ahead(const struct fhandle *h)
{
	uint64_t ahead = h->reader.window / 2;

	if (h->f->m->ahead_bytes >= h->f->m->ahead_max)
		return 0;
	return ahead < READER_AHEAD_MAX ? ahead : READER_AHEAD_MAX;
}

/* What a READ waits for lies in front of next_off, so it never pauses. */
static void reader_pace(struct fhandle *h, struct rstream *s)
{
	uint64_t until = h->reader.next_off + reader_ahead(h);

	if (!s->ended && s->paused != (s->have >= until)) {
		s->paused = !s->paused;
		if (s->paused)
			client_read_pause(s->read);
		else
			client_read_resume(s->read);
	}
}

enum reader_has { READER_HAS_NOT, READER_HAS_PART, READER_HAS_ALL };

/* Can the READ be answered from the streams now? */
static enum reader_has reader_has(const struct reader *r, const struct fop *op,
				  const struct rstream **ret_stream)
{
	uint64_t at = op->off, end = op->off + op->size;
	const struct rstream *s = r->first;

	while (s != NULL && s->end <= at)
		s = s->next;
	if (s == NULL || s->off > at)
		return READER_HAS_NOT;
	*ret_stream = s;
	for (; s != NULL && at < end; s = s->next) {
		if (s->err != 0)
			return READER_HAS_NOT;
		if (rstream_is_eof(s))
			return READER_HAS_ALL;
		if (s->have < s->end && s->have < end)
			return READER_HAS_PART;
		at = s->end;
	}
	return at >= end ? READER_HAS_ALL : READER_HAS_PART;
}

/* Answers those whose bytes have come. */
static void reader_serve(struct fhandle *h)
{
	struct reader *r = &h->reader;
	struct fop_queue q = r->waiting;
	struct fop *op;

	if (q.first == NULL)
		return;
	fop_queue_init(&r->waiting);
	while ((op = fop_queue_take(&q)) != NULL) {
		const struct rstream *s = NULL;

		switch (reader_has(r, op, &s)) {
		case READER_HAS_ALL:
			reader_answer(op, s);
			break;
		case READER_HAS_PART:
			fop_queue_add(&r->waiting, op);
			break;
		case READER_HAS_NOT:
			/* It meets the stream's error itself, if that lasts. */
			reader_fetch(op);
			break;
		}
	}
}

static void reader_on_stream(struct rstream *s)
{
	if (s->h != NULL) {
		reader_pace(s->h, s);
		reader_serve(s->h);
		return;
	}
	if (!s->ended)
		return;
	if (s->err != 0)
		fop_reply_err(s->op, s->err);
	else
		reader_answer(s->op, s);
}

/* Do the streams still show the file as it is? */
static void reader_check(struct fhandle *h, const struct fop *op)
{
	struct reader *r = &h->reader;
	const struct rstream *last = r->last;

	if (last == NULL)
		return;
	if (r->version != h->f->attr.data_version || last->err != 0 ||
	    (last->version != 0 &&
	     env_now_ns(last->m->env) - last->came_ns > READER_OPEN_NS) ||
	    (rstream_is_eof(last) && op->off + op->size > last->have &&
	     h->f->attr.size > last->have))
		reader_drop(r);
}

static bool reader_is_sequential(const struct reader *r, uint64_t off)
{
	return off == r->next_off ||
	       (off > r->next_off && off - r->next_off <= READER_JUMP);
}

/*
 * What lies behind the reader, whose READ at off comes now, and behind those
 * that wait, is of no use any more.
 */
static void reader_trim(struct reader *r, uint64_t off)
{
	struct rstream *s;
	unsigned n = 0;

	for (const struct fop *op = r->waiting.first; op != NULL;
	     op = op->next)
		off = op->off < off ? op->off : off;
	off = off > READER_JUMP ? off - READER_JUMP : 0;
	while (r->first != NULL && r->first != r->last &&
	       r->first->end <= off)
		reader_drop_first(r);
	s = r->first;
	while (s != NULL && n + 1 < s->n &&
	       s->piece[n].off + s->piece[n].len <= off)
		n++;
	if (n > 0)
		rstream_drop(s, n);
}

/*
 * Much is held: handles that wait for nothing drop theirs, as their next READ
 * may never come, and others could not fetch at all for it.
 */
static void reader_make_room(struct fhandle *h)
{
	struct mount *m = h->f->m;
	struct fhandle *i;

	if (m->ahead_bytes < m->ahead_max)
		return;
	LIST_FOREACH(i, &m->handles, link)
		if (i != h && i->reader.waiting.first == NULL)
			reader_drop(&i->reader);
}

static bool reader_plan(struct fhandle *h, struct fop *op)
{
	struct reader *r = &h->reader;
	uint64_t end = op->off + op->size;

	if (r->first != NULL &&
	    (op->off < r->first->off || op->off > r->last->end))
		return false;
	if (r->first == NULL && !reader_extend(h, op->off))
		return false;
	while (r->last->end < end && !rstream_is_eof(r->last))
		if (!reader_extend(h, 0))
			return false;
	/* Soon the last one is used up: fetch the next meanwhile. */
	if (r->last->end < end + reader_ahead(h) && !rstream_is_eof(r->last) &&
	    r->last->end < h->f->attr.size)
		(void)reader_extend(h, 0);
	for (struct rstream *s = r->first; s != NULL; s = s->next)
		reader_pace(h, s);
	return true;
}

void reader_read(struct fop *op)
{
	struct fhandle *h = op->h;
	struct reader *r = &h->reader;
	bool sequential;

	if (finode_is_dirty(op->f) && reader_snap(op)) {
		reader_answer(op, NULL);
		return;
	}
	if (op->snap_end == UINT64_MAX) {
		fop_reply_err(op, -ENOMEM);
		return;
	}
	reader_make_room(h);
	reader_check(h, op);
	sequential = reader_is_sequential(r, op->off);
	if (!sequential && (r->first == NULL || op->off < r->first->off ||
			    op->off >= r->last->end)) {
		reader_drop(r);
		r->window = READER_WINDOW_MIN;
		r->next_off = op->off + op->size;
		reader_fetch(op);
		return;
	}
	if (op->off + op->size > r->next_off)
		r->next_off = op->off + op->size;
	if (!reader_plan(h, op)) {
		reader_drop(r);
		reader_fetch(op);
		return;
	}
	reader_trim(r, op->off);
	fop_queue_add(&r->waiting, op);
	reader_serve(h);
}
