#ifndef COMMON_RAFT_RAFT_SNAP_INT_H
#define COMMON_RAFT_RAFT_SNAP_INT_H
/* Shared by raft_snap.c and raft_snap_load.c only. */
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
bool raft_snap_name_parse(const char *name, uint16_t *ret_group);
/* 0, -EBADMSG, or of reading. */
int raft_snap_look(struct vfs *vfs, const char *dir, const char *name,
		   struct raft_snap_file *ret);
/* Blocks. Afterwards the rows of the group are those of the file, durable. */
int raft_snap_load(struct vfs *vfs, const char *dir, const char *name,
		   uint16_t group, struct rows_back *back);
/* NULL: there is none. */
const struct raft_snap_file *raft_start_file(const struct raft_start *s,
					     uint16_t group);

#endif
