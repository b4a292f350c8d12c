/*
 * Framing.
 *
 * Happy path of receiving: header -> payload -> (BODY header -> part) * until
 * the announced body is complete. A message without a body is lent straight
 * from the input buffer; one with a body has its payload copied once, because
 * the parts follow behind it. Parts, and the headers between them, are read
 * from the socket to where they belong (rpc_chan_room) but for what came with
 * the bytes before.
 *
 * Failure modes: bad header, gap in the numbers, checksum, a BODY frame that
 * belongs to nothing or is longer than announced, out of memory. All end the
 * connection; the peer's calls then end as UNAVAILABLE.
 */
#include "common/rpc/chan.h"

#include <errno.h>
#include <string.h>

#include <event2/buffer.h>

#include "common/base/mem.h"

/* Payloads from here on are handed to the output by reference. */
#define CHAN_COPY_MAX 2048

enum {
	CHAN_HEAD = 0,
	CHAN_PAYLOAD,
	CHAN_PART_HEAD,
	CHAN_PART,
};

void rpc_chan_init(struct rpc_chan *ch, struct conn *conn)
{
	memset(ch, 0, sizeof(*ch));
	ch->conn = conn;
}

/* What the last message borrowed goes back. */
static void chan_release(struct rpc_chan *ch)
{
	if (ch->lent > 0)
		evbuffer_drain(conn_input(ch->conn), ch->lent);
	ch->lent = 0;
}

void rpc_in_fini(struct rpc_in *in)
{
	mem_free(in->own);
	in->own = NULL;
	body_unref(in->body);
	in->body = NULL;
}

void rpc_chan_fini(struct rpc_chan *ch)
{
	if (ch->conn != NULL)
		conn_free(ch->conn);
	mem_free(ch->payload);
	body_unref(ch->body);
	memset(ch, 0, sizeof(*ch));
}

/* Takes one header: 0 or -errno. */
static int chan_header(struct rpc_chan *ch, const uint8_t *p, struct frame *f)
{
	int rv = frame_decode(f, p);

	if (rv != 0)
		return rv;
	if (f->number != ch->received + 1)
		return -EPROTO;
	ch->received++;
	return 0;
}

static int chan_head(struct rpc_chan *ch)
{
	struct evbuffer *in = conn_input(ch->conn);
	const uint8_t *p;
	int rv;

	if (evbuffer_get_length(in) < FRAME_HEADER_LEN)
		return 0;
	p = evbuffer_pullup(in, FRAME_HEADER_LEN);
	if (p == NULL)
		return -ENOMEM;
	rv = chan_header(ch, p, &ch->head);
	if (rv != 0)
		return rv;
	evbuffer_drain(in, FRAME_HEADER_LEN);
	if (ch->head.type == FRAME_BODY)
		return -EPROTO;
	ch->state = CHAN_PAYLOAD;
	return 1;
}

static void chan_deliver(struct rpc_chan *ch, const uint8_t *payload,
			 struct rpc_in *ret_in)
{
	ret_in->head = ch->head;
	ret_in->payload = payload;
	ret_in->own = ch->payload;
	ret_in->body = ch->body;
	ch->payload = NULL;
	ch->body = NULL;
	ch->state = CHAN_HEAD;
}

/* 1: go on, 2: message complete, 0: more bytes needed. */
static int chan_payload(struct rpc_chan *ch, struct rpc_in *ret_in)
{
	struct evbuffer *in = conn_input(ch->conn);
	size_t len = ch->head.payload_len;
	const uint8_t *p = NULL;

	if (evbuffer_get_length(in) < len)
		return 0;
	if (len > 0) {
		p = evbuffer_pullup(in, (ev_ssize_t)len);
		if (p == NULL)
			return -ENOMEM;
	}
	if (frame_sum(p, len) != ch->head.payload_sum)
		return -EBADMSG;
	if (ch->head.body_len == 0) {
		ch->lent = len;
		chan_deliver(ch, p, ret_in);
		return 2;
	}
	ch->payload = mem_dup(p, len);
	ch->body = body_new(ch->head.body_len);
	if (ch->payload == NULL || ch->body == NULL)
		return -ENOMEM;
	evbuffer_drain(in, len);
	ch->state = CHAN_PART_HEAD;
	return 1;
}

/* Moves what the input has to `to`, of which *have of len are there. */
static bool chan_take(struct rpc_chan *ch, uint8_t *to, uint32_t *have,
		      uint32_t len)
{
	int n = evbuffer_remove(conn_input(ch->conn), to + *have, len - *have);

	if (n > 0)
		*have += (uint32_t)n;
	return *have == len;
}

static int chan_part_head(struct rpc_chan *ch)
{
	struct frame f;
	int rv;

	if (!chan_take(ch, ch->next, &ch->next_have, FRAME_HEADER_LEN))
		return 0;
	ch->next_have = 0;
	rv = chan_header(ch, ch->next, &f);
	if (rv != 0)
		return rv;
	if (f.type != FRAME_BODY || f.id != ch->head.id ||
	    f.payload_len > ch->head.body_len - ch->body->len)
		return -EPROTO;
	ch->part = f.payload_len;
	ch->part_have = 0;
	ch->part_sum = f.payload_sum;
	ch->state = CHAN_PART;
	return 1;
}

static int chan_part(struct rpc_chan *ch, struct rpc_in *ret_in)
{
	uint8_t *to = ch->body->data + ch->body->len;

	if (!chan_take(ch, to, &ch->part_have, ch->part))
		return 0;
	if (frame_sum(to, ch->part) != ch->part_sum)
		return -EBADMSG;
	ch->body->len += ch->part;
	if (ch->body->len < ch->head.body_len) {
		ch->state = CHAN_PART_HEAD;
		return 1;
	}
	chan_deliver(ch, ch->payload, ret_in);
	return 2;
}

int rpc_chan_next(struct rpc_chan *ch, struct rpc_in *ret_in)
{
	int rv = 1;

	chan_release(ch);
	while (rv == 1) {
		switch (ch->state) {
		case CHAN_HEAD:
			rv = chan_head(ch);
			break;
		case CHAN_PAYLOAD:
			rv = chan_payload(ch, ret_in);
			break;
		case CHAN_PART_HEAD:
			rv = chan_part_head(ch);
			break;
		default:
			rv = chan_part(ch, ret_in);
			break;
		}
	}
	return rv == 2 ? 1 : rv;
}

uint8_t *rpc_chan_room(struct rpc_chan *ch, size_t *ret_len)
{
	if (ch->state == CHAN_PART_HEAD) {
		*ret_len = FRAME_HEADER_LEN - ch->next_have;
		return ch->next + ch->next_have;
	}
	if (ch->state != CHAN_PART)
		return NULL;
	*ret_len = ch->part - ch->part_have;
	return ch->body->data + ch->body->len + ch->part_have;
}

void rpc_chan_direct(struct rpc_chan *ch, size_t n)
{
	if (ch->state == CHAN_PART_HEAD)
		ch->next_have += (uint32_t)n;
	else
		ch->part_have += (uint32_t)n;
}

/* --- sending --- */

static void chan_free_cb(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	mem_free(arg);
}

static void chan_unref_cb(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	body_unref(arg);
}

static int chan_put_head(struct rpc_chan *ch, struct frame *f,
			 const uint8_t *payload, size_t len)
{
	uint8_t bytes[FRAME_HEADER_LEN];

	f->payload_len = (uint32_t)len;
	f->payload_sum = frame_sum(payload, len);
	f->number = ++ch->sent;
	frame_encode(f, bytes);
	return evbuffer_add(conn_output(ch->conn), bytes, sizeof(bytes)) == 0 ?
		       0 : -ENOMEM;
}

/* Large ones by reference, the buf is empty then. */
static int chan_take_payload(struct rpc_chan *ch, struct buf *payload)
{
	size_t len;
	uint8_t *p = buf_take(payload, &len);

	if (evbuffer_add_reference(conn_output(ch->conn), p, len,
				   chan_free_cb, p) == 0)
		return 0;
	mem_free(p);
	return -ENOMEM;
}

static int chan_put_body(struct rpc_chan *ch, const struct frame *head,
			 struct body *body)
{
	struct frame f = *head;
	int rv;

	f.type = FRAME_BODY;
	f.flags = head->type == FRAME_REPLY ? FRAME_F_REPLY_BODY : 0;
	for (uint32_t at = 0; at < body->len; at += f.payload_len) {
		uint32_t n = body->len - at;

		if (n > FRAME_BODY_PART)
			n = FRAME_BODY_PART;
		rv = chan_put_head(ch, &f, body->data + at, n);
		if (rv != 0)
			return rv;
		if (evbuffer_add_reference(conn_output(ch->conn),
					   body->data + at, n, chan_unref_cb,
					   body_ref(body)) != 0) {
			body_unref(body);
			return -ENOMEM;
		}
	}
	return 0;
}

/* Takes body, and the bytes of owner (may be NULL) when they are many. */
static int chan_send(struct rpc_chan *ch, const struct frame *head,
		     struct wire_bytes payload, struct buf *owner,
		     struct body *body)
{
	struct frame f = *head;
	int rv;

	f.body_len = body == NULL ? 0 : body->len;
	if (payload.len > FRAME_PAYLOAD_MAX || f.body_len > FRAME_BODY_MAX)
		rv = -EMSGSIZE;
	else
		rv = chan_put_head(ch, &f, payload.p, payload.len);
	if (rv == 0 && owner != NULL && payload.len > CHAN_COPY_MAX)
		rv = chan_take_payload(ch, owner);
	else if (rv == 0 && payload.len > 0 &&
		 evbuffer_add(conn_output(ch->conn), payload.p,
			      payload.len) != 0)
		rv = -ENOMEM;
	if (rv == 0 && f.body_len > 0)
		rv = chan_put_body(ch, &f, body);
	body_unref(body);
	if (rv == 0)
		conn_flush(ch->conn);
	return rv;
}

int rpc_chan_send(struct rpc_chan *ch, const struct frame *head,
		  struct buf *payload, struct body *body)
{
	struct wire_bytes bytes = { NULL, 0 };
	int rv;

	if (payload != NULL)
		bytes = wire_bytes(payload->data, payload->len);
	rv = chan_send(ch, head, bytes, payload, body);
	if (payload != NULL)
		buf_fini(payload);
	return rv;
}

int rpc_chan_send_copy(struct rpc_chan *ch, const struct frame *head,
		       struct wire_bytes payload, struct body *body)
{
	return chan_send(ch, head, payload, NULL, body);
}
