#ifndef COMMON_WIRE_FRAME_H
#define COMMON_WIRE_FRAME_H
/*
 * The fixed frame header in front of every payload and body part.
 * Big-endian, FRAME_HEADER_LEN bytes:
 *   magic u32 "LEOF" | version u8 | type u8 | flags u16 | tag u16 | group u16 |
 *   request id u64 | target store u128 | epoch u64 | status u32 |
 *   payload length u32 | body length u32 (whole body of this message) |
 *   frame number u64 | payload checksum u64 (xxh3) | header checksum u64 (xxh3)
 */
#include <stddef.h>
#include <stdint.h>

#include "common/wire/wire.h"

#define FRAME_MAGIC 0x4c454f46u
#define FRAME_VERSION 1
#define FRAME_HEADER_LEN 80
#define FRAME_PAYLOAD_MAX (1u << 20) /* of REQUEST and REPLY */
#define FRAME_BODY_MAX (4u << 20)    /* of one message, over BODY frames */
#define FRAME_BODY_PART (256u << 10) /* payload of one BODY frame */

enum frame_type {
	FRAME_REQUEST = 1,
	FRAME_REPLY = 2,
	FRAME_BODY = 3,   /* part of the body of the message with this id */
	FRAME_CANCEL = 4, /* the caller no longer waits for this id */
};
/* flags: which of the two messages with this id a BODY belongs to */
#define FRAME_F_REPLY_BODY 1u
/* of a REQUEST: it may be answered before it is durable (durability memory) */
#define FRAME_F_LOOSE 2u

struct frame {
	uint8_t type;
	uint16_t flags;
	uint16_t tag;
	uint16_t group;   /* shard */
	uint64_t id;
	struct wire_u128 store; /* zero: any */
	uint64_t epoch;
	uint32_t status;
	uint32_t payload_len;
	uint32_t body_len;
	uint64_t number;  /* counts frames of this direction, from 1 */
	uint64_t payload_sum;
};

/* Writes FRAME_HEADER_LEN bytes. */
void frame_encode(const struct frame *f, uint8_t *out);
/* Checks magic, version, type, lengths, checksum. 0, -EPROTO, -EMSGSIZE. */
int frame_decode(struct frame *f, const uint8_t *in);
uint64_t frame_sum(const void *payload, size_t len);

#endif
