#ifndef FUSE_FOP_H
#define FUSE_FOP_H
/*
 * One request of the kernel, from its handler until its answer.
 *
 * fop_new() ... exactly one fop_*reply*(), which frees it. In between it may
 * wait in one RPC (FOP_SEND) or in one queue (flush.h, open).
 *
 * All its RPCs together take no longer than timeout=. The kernel may need two
 * requests for one call of a program: a thread whose request ran into that
 * limit just before is not made to wait once more.
 *
 * Interrupted by a signal that ends it (ending.h): an RPC that changes nothing is
 * given up, EINTR. What may change something goes on; when it has no answer
 * FOP_INTR_NS later the program gets EINTR, and the request goes on without it
 * (fop_is_gone()). Other signals change nothing; as the kernel tells of the first
 * one alone, they are looked at again every FOP_INTR_NS.
 * Loop only.
 */
#include "fuse/mount.h"

struct fhandle;
struct fname;
struct rstream;

typedef void (*fop_then_fn)(struct fop *op);

/* A raw component and which row it means. */
struct fname {
	uint8_t how;    /* RPC_NAME_* */
	bool if_hidden; /* right only if a directory hides this file */
	bool is_long;   /* longer than NAME_MAX: may be found, not made */
	uint32_t len;
	uint8_t comp[];
};

#define FOP_INTR_NS UINT64_C(1000000000)

struct fop {
	fuse_req_t req; /* NULL: nobody waits for the answer any more */
	struct mount *m;
	struct finode *f;  /* ref'd; the inode or directory of the request */
	struct finode *f2; /* ref'd; second directory, or new inode */
	struct fhandle *h; /* borrowed: the kernel keeps it until RELEASE */
	struct fname *name, *name2;
	struct client_call *call; /* RPC under way */
	rpc_done_fn done;         /* its callback */
	uint64_t begun_ns;        /* when it came, env ns */
	uint64_t deadline;        /* of all its RPCs, env ns */
	uid_t uid;                /* who asks */
	gid_t gid;
	pid_t pid;                /* the thread */
	bool readonly;            /* changes nothing */
	bool kills;               /* not of root: set-id bits go with bytes */
	struct env_timer intr;    /* interrupted: time to look again */
	bool ended;               /* answered; the task still points here */
	bool task_queued;
	struct env_task task;     /* interrupt */
	struct fop *next;         /* queue link */
	fop_then_fn then;         /* what to do after the wait */
	fop_then_fn after;        /* and after that */
	uint64_t wait_flush;      /* flush number that must have ended */

	/* Arguments, by kind of request. */
	mode_t mode;
	dev_t rdev;
	unsigned flags;
	int open_flags;
	uint64_t off;
	size_t size;
	char *text;       /* symlink target, xattr name; owned */
	void *value;      /* xattr value, bytes to append; owned */
	size_t value_len;
	struct stat st;
	int valid;        /* FUSE_SET_ATTR_* */
	bool held;        /* an open without check of the name */
	/* a lookup, see stale.h: */
	bool told, told_twice;   /* ESTALE of f before */
	bool walk_opens, starts; /* for an open(); the first one of its walk */
	bool ahead;       /* an open that was made ahead, see stale.h */
	uint64_t walk_ns; /* in a second walk: when ESTALE was told; 0: no */
	bool plus;        /* readdirplus */
	uint64_t number;  /* next entry of a directory to give */
	uint8_t *out;     /* buffer being filled; owned */
	size_t out_len;
	struct wbuf snap;       /* unsent bytes when a read began; append */
	uint64_t snap_end;
	struct rstream *stream; /* own stream of a read; owned */
	uint64_t stamp;         /* when a page was asked for */
};

/* NULL: no memory, and the request was answered so. node 0: no inode. */
struct fop *fop_new(fuse_req_t req, uint64_t node);
struct mount *fop_mount(fuse_req_t req);
/* True when the program has had its answer: EINTR. Handles may be closed. */
static inline bool fop_is_gone(const struct fop *op)
{
	return op->req == NULL;
}

/* Decodes a name: 0, -EINVAL (no row is shown so), -ENOMEM. */
int fop_decode_name(const char *name, struct fname **ret_name);
/* The same for op. 0, or the request was answered with an error. */
int fop_set_name(struct fop *op, const char *name, struct fname **ret_name);

/* --- answers: each frees op --- */
void fop_reply_err(struct fop *op, int err); /* 0 or negative errno */
void fop_reply_attr(struct fop *op);         /* of op->f */
/* A name was found or made: counts a lookup. */
void fop_reply_entry(struct fop *op, struct finode *f);
void fop_reply_buf(struct fop *op, const void *data, size_t len);
void fop_reply_iov(struct fop *op, const struct iovec *iov, int n);
void fop_reply_write(struct fop *op, size_t n);
void fop_end(struct fop *op); /* answered by other means */
/* Fills what LOOKUP, CREATE and READDIRPLUS tell about f. */
void fop_fill_entry(const struct mount *m, struct finode *f,
		    struct fuse_entry_param *ret_entry);

/* --- RPC --- */
/* Sends for op; done gets op as arg and calls fop_status() first. */
#define FOP_SEND(op, msg, request, done_) \
	fop_sent((op), FOP_CALL(op, msg, CLIENT_FIRST, request, done_))
#define FOP_CALL(op, msg, shard, request, done_) \
	CLIENT_SEND_HOW((op)->m->client, msg, (shard), \
			(&(const struct client_how){ \
				(op)->deadline, finode_is_loose((op)->f) }), \
			(request), (done_), (op))
/* No call: answers ENOMEM. */
void fop_sent(struct fop *op, struct client_call *call);
/* 0, or op was answered with the error. */
int fop_status(struct fop *op, const struct rpc_reply *reply);
/*
 * The same with the payload decoded, true when it is there:
 * FOP_REPLY(op, reply, lookup_rsp, &rsp)
 */
#define FOP_REPLY(op, reply, msg, ret_rsp) \
	(fop_status((op), (reply)) == 0 && \
	 fop_decoded((op), rpc_##msg##_decode((ret_rsp), (reply)->payload, \
					      (reply)->len)))
bool fop_decoded(struct fop *op, int rv);

/* --- queues --- */
void fop_queue_init(struct fop_queue *q);
void fop_queue_add(struct fop_queue *q, struct fop *op);
struct fop *fop_queue_take(struct fop_queue *q); /* NULL: empty */

#endif
