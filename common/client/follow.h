#ifndef COMMON_CLIENT_FOLLOW_H
#define COMMON_CLIENT_FOLLOW_H
/*
 * A request that one shard cannot answer alone: what to send next. Pure, so
 * that client, tests and simulator follow in the same way.
 *
 * A reply ELSEWHERE says which shard goes on, with what (RPC_WALK). A page of
 * LIST may end at a directory of another shard, and hold entries that only
 * another shard can describe: pages are joined here. What that shard does not
 * know any more was replaced, or is gone: its key is listed again. ROOT_REMOVE
 * comes back to the root after each directory that was in the way.
 *
 * One thread at a time. Mutations need a new number for each request that is
 * sent to another place; see call.c.
 */
#include "common/base/buf.h"
#include "common/wire/msgs.h"

struct client_follow;

struct client_hop {
	uint16_t tag;       /* of the request; LIST asks SUMMARY in between */
	uint16_t shard;     /* where it goes */
	struct buf request; /* its payload */
};

/*
 * hop: what was sent, status and payload what came back. 1: send hop again,
 * which was changed. 0: that is the end; ret_answer, when it is not empty, is
 * the payload instead of the one that came. *f: NULL at first.
 * -ENOMEM, -EBADMSG: the reply makes no sense.
 */
int client_follow(struct client_follow **f, struct client_hop *hop,
		  uint32_t status, struct wire_bytes payload,
		  struct buf *ret_answer);
void client_follow_free(struct client_follow *f); /* NULL is fine */

/* Where a request goes first: the shard of the inode that it begins with. */
uint16_t client_first_shard(uint16_t tag, struct wire_bytes request);

#endif
