/*
 * For tests/functional/125_unnamed.py: stores one chunk under a slice id that
 * nothing names, as a client does that dies before its commit.
 *   putchunk ADDR SHARD SECOND BYTES
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/loop.h"
#include "common/base/xxh.h"
#include "common/rpc/rpc.h"
#include "common/wire/msgs.h"
#include "common/wire/status.h"

#define SESSION 0x7ffffffffffe /* of nobody */

struct put {
	struct loop_set *set;
	uint32_t status;
};

static void put_done(void *arg, const struct rpc_reply *reply)
{
	struct put *p = arg;

	p->status = reply->status;
	loop_set_stop(p->set);
}

static int put_send(struct put *p, struct rpc_peer_link *link,
		    struct wire_u128 slice, uint32_t len)
{
	struct body *body = body_new(len);
	struct rpc_chunk_put req = { .slice = slice };
	struct buf payload;
	struct rpc_send send = {
		.tag = RPC_TAG_chunk_put, .group = slice_home(slice),
		.payload = &payload, .body = body, .done = put_done, .arg = p,
	};
	XXH128_hash_t h;

	if (body == NULL)
		return -1;
	memset(body->data, 'x', len);
	body->len = len;
	h = XXH3_128bits(body->data, len);
	req.hash = (struct wire_u128){ h.high64, h.low64 };
	buf_init(&payload, 0);
	(void)rpc_chunk_put_encode(&req, &payload);
	return rpc_link_send(link, &send) == NULL ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct put p = { .status = RPC_STATUS_UNAVAILABLE };
	struct rpc_peer_link *link;
	struct wire_u128 slice;

	if (argc != 5) {
		fputs("usage: putchunk ADDR SHARD SECOND BYTES\n", stderr);
		return 2;
	}
	slice = slice_make((uint16_t)atoi(argv[2]),
			   (uint32_t)strtoul(argv[3], NULL, 10), SESSION, 0);
	if (loop_set_new(1, 0, &p.set) != 0 ||
	    rpc_link_new(loop_set_get(p.set, 0), argv[1], RPC_ROLE_MOUNT, NULL,
			 &link) != 0 ||
	    put_send(&p, link, slice, (uint32_t)atoi(argv[4])) != 0)
		return 2;
	loop_set_run(p.set);
	rpc_link_free(link);
	loop_set_free(p.set);
	if (p.status == RPC_STATUS_OK)
		return 0;
	fprintf(stderr, "putchunk: %s\n", rpc_status_text(p.status));
	return 1;
}
