/*
 * Fuzz target: the frame header of RPC, as it is or (first byte odd) with a
 * right checksum. Property: what is taken is within the limits and encodes to
 * the same bytes.
 */
#include "tests/fuzz/fuzz.h"

#include <xxhash.h>

#include "common/wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t how = fuzz_u8(&in), head[FRAME_HEADER_LEN] = { 0 };
	uint8_t again[FRAME_HEADER_LEN];
	struct wire_bytes b = fuzz_take(&in, sizeof(head));
	struct frame f;
	uint64_t sum;

	if (b.len > 0)
		memcpy(head, b.p, b.len);
	if ((how & 1) != 0) {
		sum = XXH3_64bits(head, sizeof(head) - 8);
		for (int i = 0; i < 8; i++)
			head[sizeof(head) - 8 + (size_t)i] =
				(uint8_t)(sum >> (56 - 8 * i));
	}
	if (frame_decode(&f, head) != 0)
		return 0;
	FUZZ_MUST(f.payload_len <= FRAME_PAYLOAD_MAX &&
		  f.body_len <= FRAME_BODY_MAX);
	frame_encode(&f, again);
	FUZZ_MUST(memcmp(head, again, sizeof(head)) == 0);
	return 0;
}
