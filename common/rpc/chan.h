#ifndef COMMON_RPC_CHAN_H
#define COMMON_RPC_CHAN_H
/*
 * One connection that carries frames: whole messages in, whole messages out.
 * Owns the conn, counts frames in both directions, verifies checksums and
 * lengths. One loop only. Any error of next or send means: close it.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/conn.h"
#include "common/wire/frame.h"

struct rpc_chan {
	struct conn *conn;  /* owned; NULL when closed */
	uint64_t sent;      /* number of the last frame sent */
	uint64_t received;  /* number of the last frame received */
	int state;          /* of the message being received */
	struct frame head;  /* its header */
	uint32_t part;      /* length of the BODY frame being received, */
	uint32_t part_have; /* ... of which so much is in body */
	uint64_t part_sum;
	uint8_t next[FRAME_HEADER_LEN]; /* header of the next BODY frame, */
	uint32_t next_have;             /* ... so much of it */
	uint8_t *payload;   /* own copy, when a body follows */
	struct body *body;  /* being filled */
	size_t lent;        /* bytes of input lent until the next call */
};

/* A received message; end it with rpc_in_fini(). */
struct rpc_in {
	struct frame head;
	const uint8_t *payload; /* borrowed: from the input, or own */
	uint8_t *own;           /* owned copy, or NULL */
	struct body *body;      /* owned reference, or NULL */
};
void rpc_in_fini(struct rpc_in *in);

/* Takes conn. */
void rpc_chan_init(struct rpc_chan *ch, struct conn *conn);
void rpc_chan_fini(struct rpc_chan *ch);
/*
 * The next whole message of the input: 1 with *ret_in set, 0 when more bytes
 * are needed, -EPROTO, -EMSGSIZE, -EBADMSG (checksum) or -ENOMEM.
 */
int rpc_chan_next(struct rpc_chan *ch, struct rpc_in *ret_in);
/*
 * For conn_cbs.on_room and on_direct: bytes of a body go from the socket to
 * where they stay. After rpc_chan_direct() call rpc_chan_next() as ever.
 */
uint8_t *rpc_chan_room(struct rpc_chan *ch, size_t *ret_len);
void rpc_chan_direct(struct rpc_chan *ch, size_t n);
/*
 * Queues a message; head without lengths, number and checksum. payload (may be
 * NULL) and the reference to body (may be NULL) are taken, even on failure.
 * 0 or -ENOMEM, -EMSGSIZE.
 */
int rpc_chan_send(struct rpc_chan *ch, const struct frame *head,
		  struct buf *payload, struct body *body);
/* As above, but copies payload: the caller may need it again. */
int rpc_chan_send_copy(struct rpc_chan *ch, const struct frame *head,
		       struct wire_bytes payload, struct body *body);

#endif
