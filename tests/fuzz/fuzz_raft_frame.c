/*
 * Fuzz target: what raft hosts send each other. The first byte picks a whole
 * frame, one message, or a configuration. Property: what a message decodes to
 * can be encoded, and decodes to the same again.
 */
#include "tests/fuzz/fuzz.h"

#include "common/raft/raft_impl.h"

static void message(uint8_t type, struct wire_bytes msg)
{
	struct raft_message m = { 0 }, again = { 0 };
	struct raft_extra x, none;
	struct raft_wire_entry e;
	struct wire_reader r;
	struct buf a, b;
	uint32_t n;

	if (raft_msg_decode(type, msg, &m, &x) != 0)
		return;
	if (type == RAFT_APPEND_ENTRIES) {
		r = wire_vec_reader(x.entries, &n);
		FUZZ_MUST(n == m.append_entries.n_entries);
		for (; n > 0; n--) {
			raft_wire_entry_get(&r, &e);
			FUZZ_MUST(r.err == 0);
		}
		FUZZ_MUST(r.left == 0);
		return;
	}
	buf_init(&a, 0);
	buf_init(&b, 0);
	FUZZ_MUST(raft_msg_encode(&m, &x, &a) == 0);
	FUZZ_MUST(raft_msg_decode(type, wire_bytes(a.data, a.len), &again,
				  &none) == 0);
	FUZZ_MUST(raft_msg_encode(&again, &none, &b) == 0);
	FUZZ_MUST(wire_bytes_eq(wire_bytes(a.data, a.len),
				wire_bytes(b.data, b.len)));
	buf_fini(&a);
	buf_fini(&b);
}

static void frame(struct wire_bytes bytes)
{
	struct raft_wire_frame f;
	struct raft_item item;
	struct wire_reader r;
	uint32_t n;

	if (raft_frame_decode(&f, bytes.p, bytes.len) != 0)
		return;
	r = wire_vec_reader(f.messages, &n);
	for (; n > 0; n--) {
		raft_item_get(&r, &item);
		FUZZ_MUST(r.err == 0);
		message(item.type, item.msg);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t pick = fuzz_u8(&in);

	if (pick == 0)
		frame(fuzz_rest(&in));
	else if (pick == 0xff)
		(void)raft_conf_check(in.p, in.left);
	else
		message(pick, fuzz_rest(&in));
	return 0;
}
