/*
 * Fuzz target: a server and a peer that says anything, over the two sockets of
 * a link. The input is a list of steps: frames (mostly well made: checksums,
 * numbers and lengths are right unless a step says otherwise), parts of
 * bodies, raw bytes, cancels, closed ends; the loop runs between them. Handlers
 * answer at once, late, with a body, or with an error. Properties: what comes
 * back are frames, numbered without a gap, with their checksums; a reply is to
 * a request that was sent, and to each there is one at most; its body is as
 * long as it said.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/loop.h"
#include "common/base/mem.h"
#include "common/rpc/rpc_impl.h"

#define STEPS 200
#define PARKED 64
#define FIRST_TURNS 6
#define LAST_TURNS 12

/* One of the two sockets, as the peer sees it. */
struct end {
	int fd;           /* -1: closed */
	uint64_t number;  /* of the last frame sent */
	uint64_t heard;   /* of the last frame that came */
	struct buf in;
};

struct run {
	struct fuzz_in in;
	struct loop_set *loops;
	struct rpc_server *server;
	struct env_task turn;
	struct end ends[2];
	unsigned wait; /* turns until the first step: for the HELLOs */
	unsigned steps, idle;
	uint8_t asked[256], answered[256]; /* by id */
	uint32_t owed[256];                /* bytes of the reply's body */
	struct rpc_req *parked[PARKED];
	unsigned n_parked;
};

/* --- handlers --- */

static void release(struct run *r)
{
	while (r->n_parked > 0)
		rpc_reply(r->parked[--r->n_parked], NULL, NULL);
}

static struct body *some_body(uint32_t len)
{
	struct body *b = body_new(len);

	FUZZ_MUST(b != NULL);
	memset(b->data, 7, len);
	b->len = len;
	return b;
}

static void on_request(void *arg, struct rpc_req *req)
{
	struct run *r = arg;
	struct buf out;

	switch (req->group % 5) {
	case 0:
		if (r->n_parked < PARKED) {
			r->parked[r->n_parked++] = req;
			return;
		}
		rpc_reply_error(req, RPC_STATUS_BUSY, 3, "parked");
		return;
	case 1:
		rpc_reply(req, NULL, some_body(1 + req->group * 11u));
		return;
	case 2:
		rpc_reply_error(req, RPC_STATUS_NOENT, 0, NULL);
		return;
	case 3:
		rpc_reply(req, NULL,
			  req->body == NULL ? NULL : body_ref(req->body));
		return;
	default:
		buf_init(&out, 0);
		buf_add(&out, req->payload, req->payload_len);
		rpc_reply(req, &out, NULL);
		release(r);
		return;
	}
}

/* --- what the peer says --- */

static void end_close(struct end *e)
{
	if (e->fd >= 0)
		(void)close(e->fd);
	e->fd = -1;
}

/* What the socket does not take is lost, as are the bytes behind it. */
static void end_write(struct end *e, const uint8_t *p, size_t len)
{
	if (e->fd < 0 || len == 0)
		return;
	if (send(e->fd, p, len, MSG_NOSIGNAL) != (ssize_t)len)
		end_close(e);
}

enum { BAD_NUMBER = 1, BAD_SUM = 2, BAD_HEAD = 4 };

static void say(struct end *e, struct frame *f, struct wire_bytes payload,
		unsigned bad)
{
	uint8_t head[FRAME_HEADER_LEN];

	f->payload_len = (uint32_t)payload.len;
	f->payload_sum = frame_sum(payload.p, payload.len);
	f->number = ++e->number;
	if ((bad & BAD_NUMBER) != 0)
		f->number += 1;
	if ((bad & BAD_SUM) != 0)
		f->payload_sum ^= 1;
	frame_encode(f, head);
	if ((bad & BAD_HEAD) != 0)
		head[bad % FRAME_HEADER_LEN] ^= 1;
	end_write(e, head, sizeof head);
	end_write(e, payload.p, payload.len);
}

static void say_hello(struct end *e, uint8_t channel, uint8_t how)
{
	struct rpc_hello m = {
		.proto = RPC_PROTO + (how >> 4), .link = 256,
		.role = wire_cstr(rpc_role_text(1u << how % 5)),
		.channel = channel,
	};
	struct frame f = { .type = FRAME_REQUEST, .tag = RPC_TAG_hello };
	struct buf b;

	buf_init(&b, 0);
	FUZZ_MUST(rpc_hello_encode(&m, &b) == 0);
	say(e, &f, wire_bytes(b.data, b.len), 0);
	buf_fini(&b);
}

/* A request; its payload is often one that the tag may have. */
static void say_request(struct run *r, struct end *e, uint8_t what)
{
	static const uint16_t tags[] = {
		RPC_TAG_getattr, RPC_TAG_chunk_put, RPC_TAG_chunk_get,
		RPC_TAG_session_renew,
	};
	struct frame f = {
		.type = FRAME_REQUEST, .id = fuzz_u8(&r->in),
		.group = fuzz_u8(&r->in),
	};
	struct wire_bytes payload;
	unsigned bad = 0;

	f.tag = (what & 16) != 0 ? fuzz_u8(&r->in) : tags[f.id % 4];
	if ((what & 32) != 0)
		f.body_len = fuzz_u16(&r->in);
	if ((what & 64) != 0)
		bad = fuzz_u8(&r->in);
	payload = fuzz_take(&r->in, fuzz_u8(&r->in));
	if (r->asked[f.id] < 255)
		r->asked[f.id]++;
	say(e, &f, payload, bad);
}

static void say_part(struct run *r, struct end *e, uint8_t what)
{
	struct frame f = { .type = FRAME_BODY, .id = fuzz_u8(&r->in) };
	uint32_t len = (what & 16) != 0 ? fuzz_u16(&r->in) : fuzz_u8(&r->in);
	uint8_t *bytes = calloc(1, len + 1);

	FUZZ_MUST(bytes != NULL);
	f.flags = (what & 32) != 0 ? FRAME_F_REPLY_BODY : 0;
	say(e, &f, wire_bytes(bytes, len), (what & 64) != 0 ? BAD_SUM : 0);
	free(bytes);
}

static void step(struct run *r)
{
	uint8_t what = fuzz_u8(&r->in);
	struct end *e = &r->ends[what >> 7];
	struct frame f = { .type = FRAME_CANCEL };
	struct wire_bytes b;

	switch (what & 15) {
	case 0:
		b = fuzz_take(&r->in, fuzz_u8(&r->in));
		end_write(e, b.p, b.len);
		break;
	case 1:
		f.id = fuzz_u8(&r->in);
		say(e, &f, wire_bytes(NULL, 0), 0);
		break;
	case 2:
		if ((what & 16) != 0)
			end_close(e);
		else if (e->fd >= 0)
			(void)shutdown(e->fd, SHUT_WR);
		break;
	case 3:
		f.type = FRAME_REPLY;
		f.id = fuzz_u8(&r->in);
		say(e, &f, fuzz_take(&r->in, 8), 0);
		break;
	case 4:
	case 5:
	case 6:
		say_part(r, e, what);
		break;
	default:
		say_request(r, e, what);
		break;
	}
}

/* --- what comes back --- */

static void hear_frame(struct run *r, struct end *e, const struct frame *f)
{
	uint8_t id = (uint8_t)f->id;

	FUZZ_MUST(f->number == ++e->heard);
	FUZZ_MUST(f->id < 256);
	if (f->type == FRAME_BODY) {
		FUZZ_MUST((f->flags & FRAME_F_REPLY_BODY) != 0);
		FUZZ_MUST(f->payload_len <= r->owed[id]);
		r->owed[id] -= f->payload_len;
		return;
	}
	FUZZ_MUST(f->type == FRAME_REPLY);
	if (f->tag == RPC_TAG_hello && f->id == 0 && e->heard == 1)
		return;
	FUZZ_MUST(r->answered[id] < r->asked[id] || r->asked[id] == 255);
	r->answered[id]++;
	r->owed[id] += f->body_len;
}

static void hear(struct run *r, struct end *e)
{
	uint8_t bytes[4096];
	size_t at = 0;
	ssize_t n;

	while (e->fd >= 0 && (n = read(e->fd, bytes, sizeof bytes)) > 0)
		buf_add(&e->in, bytes, (size_t)n);
	FUZZ_MUST(e->in.err == 0);
	while (e->in.len - at >= FRAME_HEADER_LEN) {
		const uint8_t *p = e->in.data + at;
		struct frame f;

		FUZZ_MUST(frame_decode(&f, p) == 0);
		if (e->in.len - at - FRAME_HEADER_LEN < f.payload_len)
			break;
		FUZZ_MUST(f.payload_sum == frame_sum(p + FRAME_HEADER_LEN,
						     f.payload_len));
		hear_frame(r, e, &f);
		at += FRAME_HEADER_LEN + f.payload_len;
	}
	if (at > 0) {
		memmove(e->in.data, e->in.data + at, e->in.len - at);
		e->in.len -= at;
	}
}

/* --- the loop --- */

static void on_turn(struct env_task *task)
{
	struct run *r = CONTAINER_OF(task, struct run, turn);

	hear(r, &r->ends[0]);
	hear(r, &r->ends[1]);
	if (r->wait > 0) {
		r->wait--;
	} else if (r->steps < STEPS && r->in.left > 0) {
		r->steps++;
		step(r);
	} else if (r->idle++ == LAST_TURNS / 2) {
		release(r);
	} else if (r->idle > LAST_TURNS) {
		rpc_server_free(r->server);
		loop_set_stop(r->loops);
		return;
	}
	env_post(loop_env(loop_set_get(r->loops, 0)), task);
}

static void run_open(struct run *r, uint8_t how)
{
	const struct rpc_info *info;
	size_t n;

	r->wait = (how & 0x80) == 0 ? FIRST_TURNS : 0;
	FUZZ_MUST(loop_set_new(1, 1, &r->loops) == 0);
	FUZZ_MUST(rpc_server_new(r->loops, &r->server) == 0);
	info = rpc_info_all(&n);
	for (size_t i = 0; i < n; i++)
		if (info[i].tag != RPC_TAG_hello)
			rpc_server_handle(r->server, info[i].tag, on_request,
					  r);
	for (uint8_t i = 0; i < 2; i++) {
		int fds[2];

		buf_init(&r->ends[i].in, 0);
		FUZZ_MUST(socketpair(AF_UNIX,
				     SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
				     0, fds) == 0);
		r->ends[i].fd = fds[0];
		rpc_greet_accept(r->server, fds[1]);
		if ((how >> i & 1) == 0)
			say_hello(&r->ends[i], i, how >> 2 & 31);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run r = { .in = { data, size }, .turn.run = on_turn };

	run_open(&r, fuzz_u8(&r.in));
	env_post(loop_env(loop_set_get(r.loops, 0)), &r.turn);
	loop_set_run(r.loops);
	for (unsigned i = 0; i < 2; i++) {
		end_close(&r.ends[i]);
		buf_fini(&r.ends[i].in);
	}
	release(&r);
	loop_set_free(r.loops);
	return 0;
}
