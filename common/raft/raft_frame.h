#ifndef COMMON_RAFT_RAFT_FRAME_H
#define COMMON_RAFT_RAFT_FRAME_H
/*
 * What hosts say to each other. A frame carries messages of many groups from
 * one host to another; within a session (until a link is reset) frames are
 * numbered from 1 without gaps. Every field of libraft's messages travels,
 * versions and capacities too: it decides by them.
 *
 * Decoders check everything libraft would assert, so that no bytes from a
 * peer can stop the process: -EPROTO.
 */
#include "common/wire/wire.h"

struct raft_message;

#define RAFT_FRAME_MAGIC 0x4c465246u /* LFRF */
#define RAFT_FRAME_VERSION 1
#define RAFT_FRAME_BYTES (1u << 20)  /* a frame is closed beyond that */
#define RAFT_ENTRY_MAX (8u << 20)    /* bytes of one entry */
#define RAFT_INDEX_MAX (1ull << 62)
#define RAFT_CONF_SERVERS 64

#define RAFT_WIRE_FRAME(F) \
	F(u32, magic) F(u8, version) F(u64, session) F(u64, number) \
	F(list, messages) /* u16 group, u8 type, blob message */
#define RAFT_WIRE_VOTE(F) \
	F(u8, version) F(u64, term) F(u64, candidate) F(u64, last_index) \
	F(u64, last_term) F(u8, disrupt_leader) F(u8, pre_vote)
#define RAFT_WIRE_VOTE_RESULT(F) \
	F(u8, version) F(u64, term) F(u8, granted) F(u8, pre_vote) \
	F(u16, features) F(u16, capacity)
#define RAFT_WIRE_APPEND(F) \
	F(u8, version) F(u64, term) F(u64, prev_index) F(u64, prev_term) \
	F(u64, commit) F(list, entries) /* u64 term, u8 type, blob data */ \
	F(u64, stamp)
#define RAFT_WIRE_APPEND_RESULT(F) \
	F(u8, version) F(u64, term) F(u64, rejected) F(u64, last_index) \
	F(u16, features) F(u16, capacity) F(u64, stamp) \
	F(u64, applied) F(u8, busy)
#define RAFT_WIRE_TIMEOUT_NOW(F) \
	F(u8, version) F(u64, term) F(u64, last_index) F(u64, last_term)

/* Which configuration and where the rows are, the owner of the rows knows. */
#define RAFT_WIRE_SNAPSHOT(F) \
	F(u8, version) F(u64, term) F(u64, last_index) F(u64, last_term)

WIRE_STRUCT(raft_wire, frame, RAFT_WIRE_FRAME)
WIRE_STRUCT(raft_wire, vote, RAFT_WIRE_VOTE)
WIRE_STRUCT(raft_wire, vote_result, RAFT_WIRE_VOTE_RESULT)
WIRE_STRUCT(raft_wire, append, RAFT_WIRE_APPEND)
WIRE_STRUCT(raft_wire, append_result, RAFT_WIRE_APPEND_RESULT)
WIRE_STRUCT(raft_wire, timeout_now, RAFT_WIRE_TIMEOUT_NOW)
WIRE_STRUCT(raft_wire, snapshot, RAFT_WIRE_SNAPSHOT)

/* One message inside a frame. */
struct raft_item {
	uint16_t group;
	uint8_t type; /* enum raft_message_type */
	struct wire_bytes msg;
};
void raft_item_put(struct wire_vec *v, const struct raft_item *item);
void raft_item_get(struct wire_reader *r, struct raft_item *item);

/* Checks the frame and every message in it. 0 or -EPROTO. */
int raft_frame_decode(struct raft_wire_frame *f, const void *p, size_t len);

/* What a message carries beside libraft's fields. */
struct raft_extra {
	struct wire_bytes entries; /* AppendEntries: still encoded */
	/*
	 * AppendEntries: the leader's clock (env_now_ns) when it was made. Its
	 * result: the newest one that came from that leader in that term, 0 =
	 * none; an opaque number to the follower.
	 */
	uint64_t stamp;
	/* result: entries applied; some are not on disk yet */
	uint64_t applied;
	bool busy;
};

/* Encodes any message but AppendEntries; -ENOTSUP for others. */
int raft_msg_encode(const struct raft_message *m, const struct raft_extra *x,
		    struct buf *out);
/*
 * Decodes and checks. m's server fields are left alone; entries of an
 * AppendEntries are in *x only (m has their number).
 */
int raft_msg_decode(uint8_t type, struct wire_bytes msg,
		    struct raft_message *m, struct raft_extra *x);

/* One entry of an AppendEntries. */
struct raft_wire_entry {
	uint64_t term;
	uint8_t type; /* enum raft_entry_type */
	struct wire_bytes data;
};
void raft_wire_entry_put(struct wire_vec *v, const struct raft_wire_entry *e);
void raft_wire_entry_get(struct wire_reader *r, struct raft_wire_entry *e);

/* Body of a configuration entry; libraft's own format. 0 or -EPROTO. */
int raft_conf_check(const void *p, size_t len);

#endif
