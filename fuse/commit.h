#ifndef FUSE_COMMIT_H
#define FUSE_COMMIT_H
/*
 * Sends written bytes of one inode and commits them with one WRITE: inline in
 * that message when they are few, else as one slice whose chunks are durable
 * before the WRITE leaves (metadata never before its bytes).
 * Loop only; done is called once, never inside commit_start().
 */
#include "common/wire/msgs.h"
#include "fuse/wbuf.h"

struct commit;
struct finode;

struct commit_result {
	int err;               /* 0 or negative errno */
	struct wire_attr attr; /* after it, when err is 0 */
	uint64_t pos;          /* where the first byte went: append */
};
typedef void (*commit_done_fn)(void *arg, const struct commit_result *result);

struct commit_how {
	int64_t mtime_ns;
	uint32_t flags;    /* RPC_WRITE_* */
	uint64_t deadline; /* env ns: it fails when not done by then; 0: none */
};
/*
 * bytes are borrowed until done. With RPC_WRITE_APPEND offsets count from the
 * end of the file. 0 or -ENOMEM (done is not called).
 */
int commit_start(struct finode *f, const struct wbuf *bytes,
		 const struct commit_how *how, commit_done_fn done, void *arg);

#endif
