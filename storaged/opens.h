#ifndef STORAGED_OPENS_H
#define STORAGED_OPENS_H
/*
 * Who holds which inode of a shard open: soft state in the memory of the
 * shard's leader (DESIGN section 6). Of the opens of OPEN and MKNOD a session
 * has one of each inode, however often it says so, with the highest number it
 * said: a CLOSE with a higher one ends it. Those of OBJECT are told apart by
 * their numbers, and each ends with its own CLOSE. So no try of a request that
 * comes late opens twice or ends what was opened behind it; but an open that
 * comes after its CLOSE stays until the session ends. One that is being made
 * counts as well. Loop only.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPENS_MAX (1u << 20) /* open_ids of a shard */

struct open_id {
	uint64_t ino, session;
	uint64_t number; /* rises from request to request of a client */
	bool object;     /* of OBJECT */
};

struct opens_node;

struct opens {
	struct opens_node **buckets; /* by inode */
	size_t n_buckets;            /* power of two */
	size_t n;                    /* nodes */
};

void opens_init(struct opens *o);
void opens_fini(struct opens *o); /* empty and usable again afterwards */
/* An open is being made; 0, -ENOMEM, or -EBUSY when there are OPENS_MAX. */
int opens_begin(struct opens *o, struct open_id id);
/* It is not made after all. */
void opens_undo(struct opens *o, struct open_id id);
/* It is made; 0, or -ENOENT: closed, or its session ended, meanwhile. */
int opens_made(struct opens *o, struct open_id id);
/* A CLOSE with that number; 0, or -ENOENT when there is nothing it ends. */
int opens_del(struct opens *o, struct open_id id);
/* Takes all opens of a session away; how many it had. */
uint64_t opens_end(struct opens *o, uint64_t session);
/* Opens of ino by all sessions. */
uint64_t opens_count(const struct opens *o, uint64_t ino);

#endif
