/*
 * Fuzz target: the first byte picks a message of the table (its tag, or 0x80
 * on for replies, in their order), the rest is its payload. What decodes must
 * pass through encode and decode unchanged.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/wire/frame.h"
#include "common/wire/msgs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define F_TRY(name) \
	{ \
		struct rpc_##name m; \
		if (rpc_##name##_decode(&m, data, size) == 0 && \
		    (rpc_##name##_encode(&m, &a) != 0 || \
		     rpc_##name##_decode(&m, a.data, a.len) != 0 || \
		     rpc_##name##_encode(&m, &b) != 0 || a.len != b.len || \
		     memcmp(a.data, b.data, a.len) != 0)) \
			abort(); \
	}
#define F_REQ(tag, name, FIELDS, rsp, roles, kind) \
	case tag: \
		F_TRY(name) \
		break;
#define F_RSP_ID(name, FIELDS) F_ID_##name,
enum { F_ID_BASE = 0x7f, RPC_RESPONSES(F_RSP_ID) };
#define F_RSP(name, FIELDS) \
	case F_ID_##name: \
		F_TRY(name) \
		break;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf a, b;
	struct frame f;
	uint8_t pick;

	if (size == 0)
		return 0;
	pick = *data++;
	size--;
	buf_init(&a, 0);
	buf_init(&b, 0);
	switch (pick) {
	case 0:
		if (size >= FRAME_HEADER_LEN)
			(void)frame_decode(&f, data); /* must not crash */
		break;
		RPC_REQUESTS(F_REQ)
		RPC_RESPONSES(F_RSP)
	default:
		break;
	}
	buf_fini(&a);
	buf_fini(&b);
	return 0;
}
