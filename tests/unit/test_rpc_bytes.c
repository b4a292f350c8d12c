/*
 * What strangers say to a server: garbage at every step, and honest frames cut
 * into pieces of any size.
 */
#include "tests/unit/rpcfix.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* --- garbage --- */

struct stranger {
	pthread_t thread;
	atomic_int left; /* tries to go */
	atomic_int stuck; /* connections the server did not close */
	unsigned seed;
};

static size_t stranger_frame(uint8_t *out, uint8_t type, uint16_t tag,
			     uint64_t number, const struct buf *payload,
			     uint32_t body)
{
	struct frame f = { .type = type, .tag = tag, .id = 1,
			   .number = number, .body_len = body,
			   .payload_len = (uint32_t)payload->len,
			   .payload_sum = frame_sum(payload->data,
						    payload->len) };

	frame_encode(&f, out);
	if (payload->len > 0)
		memcpy(out + FRAME_HEADER_LEN, payload->data, payload->len);
	return FRAME_HEADER_LEN + payload->len;
}

/* HELLO (perhaps damaged), then something that no client says. */
static size_t stranger_say(struct stranger *t, uint8_t *out, unsigned kind)
{
	struct rpc_hello hello = { .proto = 1, .role = wire_cstr("gateway"),
				   .link = 77 + kind };
	struct rpc_getattr get = { .ino = 1 };
	struct buf b;
	size_t n;

	if (kind == 0) {
		for (n = 0; n < 500; n++)
			out[n] = (uint8_t)rand_r(&t->seed);
		return n;
	}
	if (kind == 1)
		hello.role = wire_cstr("king");
	if (kind == 2)
		hello.proto = 99;
	if (kind == 3)
		hello.channel = 2;
	buf_init(&b, 0);
	rpc_hello_encode(&hello, &b);
	n = stranger_frame(out, FRAME_REQUEST, RPC_TAG_hello, 1, &b, 0);
	if (kind == 4)
		out[n - 1] ^= 1;
	if (kind == 5)
		n += stranger_frame(out + n, FRAME_REQUEST, RPC_TAG_getattr,
				    2, &b, 0);
	buf_fini(&b);
	if (kind < 6)
		return n;
	(void)get;
	return n;
}

/* Said after the server's answer to HELLO. */
static size_t stranger_say_more(struct stranger *t, uint8_t *out, unsigned kind)
{
	struct rpc_getattr get = { .ino = 1 };
	struct buf b;
	size_t n = 0;

	buf_init(&b, 0);
	rpc_getattr_encode(&get, &b);
	switch (kind) {
	case 6: /* a gap in the numbers */
		n = stranger_frame(out, FRAME_REQUEST, RPC_TAG_getattr, 9, &b,
				   0);
		break;
	case 7: /* a body that belongs to nothing */
		n = stranger_frame(out, FRAME_BODY, 0, 2, &b, 8);
		break;
	case 8: /* more body than announced */
		n = stranger_frame(out, FRAME_REQUEST, RPC_TAG_chunk_put, 2,
				   &b, 4);
		n += stranger_frame(out + n, FRAME_BODY, 0, 3, &b, 0);
		break;
	case 9: /* a reply to a server */
		n = stranger_frame(out, FRAME_REPLY, 0, 2, &b, 0);
		break;
	case 10: /* a damaged payload */
		n = stranger_frame(out, FRAME_REQUEST, RPC_TAG_getattr, 2, &b,
				   0);
		out[n - 1] ^= 1;
		break;
	default:
		for (n = 0; n < 300; n++)
			out[n] = (uint8_t)rand_r(&t->seed);
	}
	buf_fini(&b);
	return n;
}

static void stranger_try(struct stranger *t, unsigned kind)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = 20 };
	uint8_t bytes[2048];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t n;
	ssize_t got;

	strcpy(sun.sun_path, fixture_addr + 5);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0)
		abort();
	n = stranger_say(t, bytes, kind);
	(void)send(fd, bytes, n, MSG_NOSIGNAL);
	if (kind >= 6) {
		if (read(fd, bytes, sizeof(bytes)) <= 0)
			atomic_fetch_add(&t->stuck, 1);
		n = stranger_say_more(t, bytes, kind);
		(void)send(fd, bytes, n, MSG_NOSIGNAL);
	}
	do {
		got = read(fd, bytes, sizeof(bytes));
	} while (got > 0);
	if (got < 0 && errno != ECONNRESET)
		atomic_fetch_add(&t->stuck, 1);
	close(fd);
}

static struct stranger stranger;

static void garbage_done(void *arg, const struct rpc_reply *r)
{
	struct side *s = arg;

	if (r->status != RPC_STATUS_OK)
		s->bad++;
	s->done++;
}

static void *stranger_main(void *arg)
{
	struct stranger *t = arg;

	for (unsigned i = 0; i < 60; i++)
		stranger_try(t, i % 12);
	atomic_store(&t->left, 0);
	return NULL;
}

static void garbage_poll(struct env_timer *timer)
{
	struct side *s = CONTAINER_OF(timer, struct side, timer);

	if (atomic_load(&stranger.left) == 0 && s->done == s->sent) {
		side_finish(s);
		return;
	}
	/* honest work goes on beside it */
	if (s->done == s->sent) {
		s->sent++;
		SEND(s, getattr, 0, NULL, garbage_done, s, .ino = 1);
	}
	env_timer_set(side_env(s), timer, 1000000);
}

static void garbage_start(struct side *s)
{
	if (s->index == 0 &&
	    pthread_create(&stranger.thread, NULL, stranger_main, &stranger))
		abort();
	s->timer.cb = garbage_poll;
	env_timer_set(side_env(s), &s->timer, 1000000);
}

static void test_garbage(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	atomic_store(&stranger.left, 1);
	stranger.seed = (unsigned)time(NULL);
	print_message("# seed %u\n", stranger.seed);
	fixture_run(&f, 2, false, garbage_start);
	pthread_join(stranger.thread, NULL);
	assert_int_equal(atomic_load(&stranger.stuck), 0);
	assert_int_equal(f.sides[0].bad + f.sides[1].bad, 0);
}

/* --- bodies that come in pieces of any size --- */

#define PIECES_BODY 700000u
#define PIECES_CALLS 12u
/* with the headers of their frames */
#define PIECES_MAX (PIECES_BODY + 16u * FRAME_HEADER_LEN)

static uint8_t pieces_byte(unsigned call, uint32_t i)
{
	return (uint8_t)(i * 31 + i / 251 + call);
}

static size_t pieces_put(uint8_t *out, struct frame *f, const uint8_t *payload,
			 size_t len)
{
	f->payload_len = (uint32_t)len;
	f->payload_sum = frame_sum(payload, len);
	f->number++;
	frame_encode(f, out);
	if (len > 0)
		memcpy(out + FRAME_HEADER_LEN, payload, len);
	return FRAME_HEADER_LEN + len;
}

/* CHUNK_PUT with a body, as frames; *number is that of the frame before. */
static size_t pieces_say(uint8_t *out, unsigned call, uint64_t *number)
{
	struct rpc_chunk_put put;
	struct frame f = { .type = FRAME_REQUEST, .tag = RPC_TAG_chunk_put,
			   .id = call + 1, .number = *number,
			   .body_len = PIECES_BODY };
	uint8_t *body = malloc(PIECES_BODY);
	struct buf b;
	size_t n;

	for (uint32_t i = 0; i < PIECES_BODY; i++)
		body[i] = pieces_byte(call, i);
	memset(&put, 0, sizeof(put));
	buf_init(&b, 0);
	rpc_chunk_put_encode(&put, &b);
	n = pieces_put(out, &f, b.data, b.len);
	buf_fini(&b);
	f.type = FRAME_BODY;
	for (uint32_t at = 0, len; at < PIECES_BODY; at += len) {
		len = PIECES_BODY - at < FRAME_BODY_PART ? PIECES_BODY - at
							 : FRAME_BODY_PART;
		n += pieces_put(out + n, &f, body + at, len);
	}
	free(body);
	*number = f.number;
	return n;
}

static bool pieces_read(int fd, uint8_t *to, size_t len)
{
	return recv(fd, to, len, MSG_WAITALL) == (ssize_t)len;
}

/* The echo of one call, with the right bytes? */
static bool pieces_heard(int fd, unsigned call, uint8_t *scratch)
{
	struct frame f;
	uint32_t have = 0;

	if (!pieces_read(fd, scratch, FRAME_HEADER_LEN) ||
	    frame_decode(&f, scratch) != 0 || f.type != FRAME_REPLY ||
	    f.id != call + 1 || f.status != 0 || f.body_len != PIECES_BODY ||
	    !pieces_read(fd, scratch, f.payload_len))
		return false;
	while (have < PIECES_BODY) {
		if (!pieces_read(fd, scratch, FRAME_HEADER_LEN) ||
		    frame_decode(&f, scratch) != 0 || f.type != FRAME_BODY ||
		    !pieces_read(fd, scratch, f.payload_len))
			return false;
		for (uint32_t i = 0; i < f.payload_len; i++)
			if (scratch[i] != pieces_byte(call, have + i))
				return false;
		have += f.payload_len;
	}
	return true;
}

/* Mostly few bytes, at times many: headers are cut anywhere. */
static void pieces_send(int fd, const uint8_t *p, size_t len, unsigned *seed)
{
	size_t at = 0;

	while (at < len) {
		unsigned roll = (unsigned)rand_r(seed);
		size_t n = roll % 4 == 0 ? 1 + roll / 4 % 200000
					 : 1 + roll / 4 % 90;
		ssize_t sent = send(fd, p + at, n < len - at ? n : len - at,
				    MSG_NOSIGNAL);

		if (sent < 0)
			return; /* the echo will be missing */
		at += (size_t)sent;
	}
}

static int pieces_connect(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = 20 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, fixture_addr + 5);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0)
		abort();
	return fd;
}

static void *pieces_main(void *arg)
{
	struct stranger *t = arg;
	uint8_t *bytes = malloc(PIECES_MAX);
	uint64_t number = 1;
	int fd = pieces_connect();
	size_t n = stranger_say(t, bytes, 6);
	struct frame f;

	(void)send(fd, bytes, n, MSG_NOSIGNAL);
	if (!pieces_read(fd, bytes, FRAME_HEADER_LEN) ||
	    frame_decode(&f, bytes) != 0 ||
	    !pieces_read(fd, bytes, f.payload_len))
		atomic_fetch_add(&t->stuck, 1);
	for (unsigned call = 0; call < PIECES_CALLS; call++) {
		n = pieces_say(bytes, call, &number);
		pieces_send(fd, bytes, n, &t->seed);
		if (!pieces_heard(fd, call, bytes))
			atomic_fetch_add(&t->stuck, 1);
	}
	close(fd);
	free(bytes);
	atomic_store(&t->left, 0);
	return NULL;
}

static void pieces_start(struct side *s)
{
	if (pthread_create(&stranger.thread, NULL, pieces_main, &stranger))
		abort();
	s->timer.cb = garbage_poll;
	env_timer_set(side_env(s), &s->timer, 1000000);
}

static void test_pieces(void **state)
{
	struct fixture f = { 0 };

	(void)state;
	atomic_store(&stranger.left, 1);
	atomic_store(&stranger.stuck, 0);
	stranger.seed = (unsigned)time(NULL);
	print_message("# seed %u\n", stranger.seed);
	fixture_run(&f, 1, false, pieces_start);
	pthread_join(stranger.thread, NULL);
	assert_int_equal(atomic_load(&stranger.stuck), 0);
	assert_int_equal(f.sides[0].bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_pieces),
	};

	return fixture_main(tests);
}
