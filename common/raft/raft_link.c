/*
 * Frames between hosts.
 *
 * All messages of a turn for one peer go in one frame (more when they are
 * large). A link is in order and without loss, or broken: the sender numbers
 * the frames of a session, the receiver takes session and number as they
 * should come and drops everything else until a new session begins, with
 * frame 1, after the link was reset. libraft stalls on silent loss.
 */
#include "common/raft/raft_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

#define RAFT_READY_MAX (64u << 20) /* bytes queued within a turn */

/* Drops what is queued; what follows is a new session. */
static void raft_peer_reset_out(struct raft_host *h, struct raft_peer *p)
{
	wire_vec_fini(&p->out);
	wire_vec_init(&p->out);
	buf_reset(&p->ready);
	do
		env_random(h->env, &p->out_session, sizeof p->out_session);
	while (p->out_session == 0);
	p->out_number = 0;
}

struct raft_peer *raft_peer_get(struct raft_host *h, uint64_t id)
{
	struct raft_peer *p;

	for (p = h->peers; p != NULL; p = p->next)
		if (p->id == id)
			return p;
	p = mem_zalloc(sizeof *p);
	if (p == NULL)
		return NULL;
	p->id = id;
	(void)snprintf(p->address, sizeof p->address, "%" PRIu64, id);
	wire_vec_init(&p->out);
	buf_init(&p->ready, RAFT_READY_MAX);
	raft_peer_reset_out(h, p);
	p->next = h->peers;
	h->peers = p;
	return p;
}

/* Turns the messages gathered into a frame. */
static void raft_peer_close_frame(struct raft_host *h, struct raft_peer *p)
{
	struct raft_wire_frame f = {
		.magic = RAFT_FRAME_MAGIC,
		.version = RAFT_FRAME_VERSION,
		.session = p->out_session,
		.number = p->out_number + 1,
	};
	size_t at = p->ready.len;
	uint32_t len = 0;

	if (p->out.count == 0)
		return;
	f.messages = wire_vec_bytes(&p->out);
	if (p->out.buf.err == 0) {
		buf_add(&p->ready, &len, sizeof len);
		(void)raft_wire_frame_encode(&f, &p->ready);
	}
	if (p->out.buf.err != 0 || p->ready.err != 0) {
		raft_peer_reset_out(h, p);
		return;
	}
	len = (uint32_t)(p->ready.len - at - sizeof len);
	memcpy(p->ready.data + at, &len, sizeof len);
	p->out_number++;
	buf_reset(&p->out.buf);
	p->out.count = 0;
}

void raft_peer_put(struct raft_host *h, uint64_t to, uint16_t group,
		   uint8_t type, struct wire_bytes msg)
{
	struct raft_item item = { group, type, msg };
	struct raft_peer *p = raft_peer_get(h, to);

	if (p == NULL || h->config.send == NULL)
		return;
	/* a vector holds 16 MiB, one message at most half of it */
	if (p->out.buf.len + msg.len > 2 * RAFT_FRAME_BYTES)
		raft_peer_close_frame(h, p);
	raft_item_put(&p->out, &item);
	if (p->out.buf.len >= RAFT_FRAME_BYTES || p->out.buf.err != 0)
		raft_peer_close_frame(h, p);
}

static void raft_peer_flush(struct raft_host *h, struct raft_peer *p)
{
	size_t at = 0;

	raft_peer_close_frame(h, p);
	while (at < p->ready.len) {
		uint32_t len;

		memcpy(&len, p->ready.data + at, sizeof len);
		at += sizeof len;
		h->config.send(h->config.arg, p->id, p->ready.data + at, len);
		at += len;
	}
	if (p->ready.cap > 4 * RAFT_FRAME_BYTES) {
		buf_fini(&p->ready);
		buf_init(&p->ready, RAFT_READY_MAX);
	}
	buf_reset(&p->ready);
}

void raft_peers_flush(struct raft_host *h)
{
	for (struct raft_peer *p = h->peers; p != NULL; p = p->next)
		if (p->out.count > 0 || p->ready.len > 0)
			raft_peer_flush(h, p);
}

void raft_peers_free(struct raft_host *h)
{
	while (h->peers != NULL) {
		struct raft_peer *p = h->peers;

		h->peers = p->next;
		wire_vec_fini(&p->out);
		buf_fini(&p->ready);
		mem_free(p);
	}
}

void raft_host_link_reset(struct raft_host *h, uint64_t peer)
{
	struct raft_peer *p = raft_peer_get(h, peer);

	if (p == NULL)
		return;
	raft_peer_reset_out(h, p);
	p->in_session = 0;
	p->in_number = 0;
}

/* True when f is the next one of its session. */
static bool raft_peer_accept(struct raft_peer *p,
			     const struct raft_wire_frame *f)
{
	if (f->session != p->in_session) {
		if (f->number != 1)
			return false;
		p->in_session = f->session;
		p->in_number = 0;
	}
	if (f->number != p->in_number + 1 &&
	    !RAFT_MUTATES(ANY_FRAME))
		return false;
	p->in_number++;
	return true;
}

int raft_host_receive(struct raft_host *h, uint64_t from, const uint8_t *frame,
		      size_t len)
{
	struct raft_wire_frame f;
	struct wire_reader r;
	struct raft_peer *p;
	uint32_t n;
	int rv = raft_frame_decode(&f, frame, len);

	if (rv != 0 || from == 0 || from == h->config.id)
		return -EPROTO;
	p = raft_peer_get(h, from);
	if (p == NULL)
		return -ENOMEM;
	if (!raft_peer_accept(p, &f))
		return -ESTALE;
	r = wire_vec_reader(f.messages, &n);
	for (; n > 0; n--) {
		struct raft_extra x;
		struct raft_message m;
		struct raft_item item;
		struct raft_group *g;

		raft_item_get(&r, &item);
		g = raft_host_find(h, item.group);
		if (g == NULL || g->state != RAFT_GROUP_RUNNING)
			continue;
		memset(&m, 0, sizeof m);
		if (raft_msg_decode(item.type, item.msg, &m, &x) != 0)
			continue;
		m.server_id = from;
		m.server_address = p->address;
		raft_step_receive(g, &m, &x);
	}
	return 0;
}
