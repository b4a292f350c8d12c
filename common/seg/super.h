#ifndef COMMON_SEG_SUPER_H
#define COMMON_SEG_SUPER_H
/*
 * The super block of a store directory: who this store is and which format it
 * has (docs/DISK_FORMAT.md). Read at start-up, written when the store joins a
 * cluster; both block.
 */
#include "common/base/env.h"
#include "common/base/errbuf.h"
#include "common/wire/wire.h"

#define SUPER_FORMAT 3

enum super_role { SUPER_ROLE_STORE = 1, SUPER_ROLE_MANAGER = 2 };

struct super {
	struct wire_u128 store;   /* store id */
	struct wire_u128 cluster; /* 0: none yet */
	uint64_t raft_id; /* 0: not given yet */
	uint8_t role;     /* enum super_role */
	bool begun;       /* its log holds records */
};

/*
 * 0, -ENOENT when there is none, -EINVAL when it is no super block or of
 * another format, -EBADMSG when damaged, or what reading gave; e says it.
 */
int super_read(struct vfs *vfs, const char *dir, struct super *ret,
	       struct errbuf *e);
/*
 * Replaces it as a whole; durable when it returns 0, else -errno. dir must be
 * there.
 */
int super_write(struct vfs *vfs, const char *dir, const struct super *s);
/*
 * Notes, once, that the log head holds records that are durable. From then on
 * a directory without them is not a new one. 0 or -errno.
 */
int super_begin(struct vfs *vfs, const char *dir, struct super *s);
/* 0, or -EIO when the log should hold records and its last sequence is 0. */
int super_check_log(const struct super *s, const char *dir, uint64_t last_seq,
		    struct errbuf *e);
/* The store id as seg_config wants it. */
void super_store_bytes(const struct super *s, uint8_t ret_id[16]);

#endif
