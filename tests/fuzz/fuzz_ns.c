/*
 * Fuzz target: messages to a shard, one after the other: tag u8, length u16,
 * payload. Properties (the harness has them): every message is answered, two
 * replicas answer alike and stay alike, and the checker finds nothing.
 */
#include "tests/fuzz/fuzz.h"

#include "tests/lib/nsharness.h"

enum { SHARD = 1, MESSAGES_MAX = 64, OPENS_MAX = 64 };
enum { SAY_OPEN = 0xf0 }; /* this inode is held open from now on */

static void commands(struct wire_bytes b)
{
	struct ns_cmd c;

	if (ns_cmd_decode(&c, b.p, b.len, 1, 0) == 0)
		FUZZ_MUST(c.payload >= b.p + NS_CMD_HEADER &&
			  c.payload + c.len == b.p + b.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t forget = fuzz_u8(&in) % 8;
	struct nsh *h = nsh_new(SHARD, forget);
	unsigned opens = 0;

	commands(wire_bytes(data, size));
	for (unsigned i = 0; i < MESSAGES_MAX && in.left > 0; i++) {
		uint8_t tag = fuzz_u8(&in);
		struct wire_bytes b = fuzz_take(&in, fuzz_u16(&in));
		struct buf payload = { .data = fuzz_copy(b), .len = b.len };
		const struct rpc_info *info = rpc_info(tag);
		struct fuzz_in p = { b.p, b.len };

		if (tag == SAY_OPEN && opens++ < OPENS_MAX)
			nsh_open(h, fuzz_int(&p, 8));
		/* the steps of TXN_END were made by a coordinator */
		if (info != NULL && tag != RPC_TAG_txn_end &&
		    (info->kind == 'W' || info->kind == 'R'))
			(void)nsh_send(h, tag, &payload);
		free(payload.data);
	}
	nsh_end_all(h);
	FUZZ_MUST(nsh_free(h) == 0);
	return 0;
}
