/*
 * Fuzz target: the first byte picks a request of the table, the rest is its
 * payload. What decodes must pass through encode and decode unchanged.
 * Built with -fsanitize=fuzzer -DFUZZ_ENGINE it is a libFuzzer target;
 * otherwise it runs the files named, or a fixed number of random inputs.
 */
#include <stdint.h>
#include <stdio.h>
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

#ifndef FUZZ_ENGINE
static void run_file(const char *path)
{
	static uint8_t in[1 << 20];
	FILE *f = fopen(path, "re");

	if (f == NULL)
		return;
	LLVMFuzzerTestOneInput(in, fread(in, 1, sizeof(in), f));
	fclose(f);
}

int main(int argc, char **argv)
{
	uint8_t in[512];

	for (int i = 1; i < argc; i++)
		run_file(argv[i]);
	if (argc > 1)
		return 0;
	srandom(1);
	for (unsigned i = 0; i < 200000; i++) {
		size_t n = 1 + (size_t)random() % (sizeof(in) - 1);

		for (size_t k = 0; k < n; k++)
			in[k] = random() % 3 ? 0 : (uint8_t)random();
		in[0] = (uint8_t)i;
		LLVMFuzzerTestOneInput(in, n);
	}
	printf("1..1\nok 1 - 200000 random payloads\n");
	return 0;
}
#endif
