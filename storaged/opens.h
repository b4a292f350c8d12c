#ifndef STORAGED_OPENS_H
#define STORAGED_OPENS_H
/*
 * Who holds which inode of a shard open: soft state in the memory of the
 * shard's leader (DESIGN section 6). A session may open an inode several
 * times; each open is closed once. One that is being made counts as well, but
 * no CLOSE and no other one that fails takes it away. Loop only.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPENS_MAX (1u << 20) /* (inode, session) pairs of a shard */

struct opens_node;

struct opens {
	struct opens_node **buckets; /* by inode */
	size_t n_buckets;            /* power of two */
	size_t n;                    /* pairs */
};

void opens_init(struct opens *o);
void opens_fini(struct opens *o); /* empty and usable again afterwards */
/* An open is being made; 0, -ENOMEM, or -EBUSY when there are OPENS_MAX. */
int opens_begin(struct opens *o, uint64_t ino, uint64_t session);
/* It is not made after all. */
void opens_undo(struct opens *o, uint64_t ino, uint64_t session);
/*
 * It is made; once: the session has one of this inode then, however many it
 * had. 0, or -ENOENT when its session ended meanwhile.
 */
int opens_made(struct opens *o, uint64_t ino, uint64_t session, bool once);
/* Takes one open away; 0, or -ENOENT when that session has none. */
int opens_del(struct opens *o, uint64_t ino, uint64_t session);
/* Takes all opens of a session away; how many inodes it had. */
uint64_t opens_end(struct opens *o, uint64_t session);
/* Opens of ino by all sessions. */
uint64_t opens_count(const struct opens *o, uint64_t ino);

#endif
