#ifndef COMMON_RAFT_RAFT_SNAP_INT_H
#define COMMON_RAFT_RAFT_SNAP_INT_H
/* Shared by raft_snap.c, raft_snap_load.c and raft_snap_rows.c only. */
#include "common/raft/raft_snap.h"

#define RAFT_SNAP_NAME_MAX 24

/* What the head of a file says. */
struct raft_snap_file {
	uint16_t group;
	bool bad; /* it is there, and no snapshot */
	uint64_t index, need, bytes;
	struct wire_u128 store;
};

void raft_snap_name(uint16_t group, char name[RAFT_SNAP_NAME_MAX]);
bool raft_snap_name_parse(const char *name, const char *suffix,
			  uint16_t *ret_group);
/* 0, -EBADMSG, or of reading. */
int raft_snap_look(struct vfs *vfs, const char *path,
		   struct raft_snap_file *ret);
/*
 * Feeds r with the next piece of a file; buf is for it. As rows_stream_feed();
 * -EBADMSG also where there is no more, or it cannot be read.
 */
int raft_snap_feed(struct vfs_file *f, struct rows_stream_reader *r,
		   struct buf *buf, size_t piece, uint64_t *off);
/* Blocks. Afterwards the rows of the group are those of the file, durable. */
int raft_snap_load(struct vfs *vfs, const char *path, uint16_t group,
		   struct rows_back *back);
/* NULL: there is none. */
const struct raft_snap_file *raft_start_file(const struct raft_start *s,
					     uint16_t group);

#endif
