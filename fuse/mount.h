#ifndef FUSE_MOUNT_H
#define FUSE_MOUNT_H
/*
 * One mount: a libfuse session whose device is read by our event loop, a
 * client of the cluster, and the state between them.
 *
 * Everything runs on one loop. A request of the kernel becomes one struct fop
 * (fop.h), which is answered exactly once, whenever its RPCs have ended; no
 * handler waits.
 *
 * Happy path: client ready -> root found -> mounted -> INIT answered ->
 * on_ready(0) -> requests -> SIGTERM or unmount -> flush -> on_end().
 */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include "common/base/env.h"
#include "common/base/errbuf.h"
#include "common/base/loop.h"
#include "common/client/client.h"
#include "fuse/inode.h"
#include "fuse/options.h"

struct event;
struct fhandle;
struct inval;
struct loop;

/* A thread that was answered ESTALE, and of what: see stale.h. */
struct mount_stale {
	pid_t pid;    /* 0: none */
	uint64_t ino; /* 0: it walks its path again */
	bool opens;   /* for an open(), to which OPEN said so */
	bool twice;   /* by a LOOKUP that another one of its walk follows */
	uint64_t at_ns;
	struct finode *ahead; /* ref'd: opened for it; NULL: not yet */
	uint64_t ahead_ns, session; /* of that open */
};
#define MOUNT_STALE_MAX 16

/* A thread whose request ran into timeout=: see fop.c. */
struct mount_waited {
	pid_t pid; /* 0: none */
	uint64_t at_ns;
};
#define MOUNT_WAITED_MAX 64

enum mount_state {
	MOUNT_STARTING,
	MOUNT_RUNNING,
	MOUNT_STOPPING, /* flushing; requests are still served */
	MOUNT_DRAINING, /* no more requests; those under way end */
	MOUNT_GONE,     /* on_end() was called */
};

struct mount_callbacks {
	/* INIT was answered: the mount works. */
	void (*on_ready)(void *arg);
	/* It is over; err != 0: e says why. Nothing more comes. */
	void (*on_end)(void *arg, int err, const struct errbuf *e);
	void *arg;
};

struct mount {
	const struct mount_options *opt; /* borrowed */
	struct loop *loop;               /* borrowed */
	struct env *env;
	struct client_set *set;          /* borrowed */
	struct client *client;
	struct mount_callbacks cbs;
	enum mount_state state;

	struct fuse_session *se;
	struct event *dev_event; /* reads the device */
	/*
	 * Looked for before sleep: requests, and answers about rows, about
	 * bytes, and of writes, which are fast where they wait for no disk.
	 */
	struct loop_luck requests, reads, fetches, writes;
	struct fuse_buf dev_buf;
	bool dev_paused;         /* too many requests under way */
	bool dev_batched;        /* there was more than one at the last turn */
	unsigned fops;           /* requests under way */
	unsigned calls;          /* RPCs under way that are of no request */
	struct env_timer trim_timer; /* is it quiet? Then memory goes back */
	struct env_work trim_work;   /* one of `calls` */
	bool trim_on;                /* one of them is under way */
	uint64_t served, trim_served; /* requests; until the timer was set */

	struct finode_table inodes;
	struct finode *root;
	bool all_buckets; /* root is the synthetic directory of buckets */
	struct {
		uint64_t version, bucket; /* of the snapshot; its root */
		bool is;
	} loose; /* the last answer of finode_is_loose() */
	bool was_loose; /* it was true once: fsync asks the shard */
	LIST_HEAD(, fhandle) handles; /* all that are open */
	struct mount_stale stale[MOUNT_STALE_MAX];
	unsigned stale_next;
	struct mount_waited waited[MOUNT_WAITED_MAX];
	unsigned waited_next;
	uint64_t skipped; /* names that could not be shown */

	struct finode_list idle; /* closed by all, the leader not told yet */
	unsigned n_idle;
	struct env_timer idle_timer;
	bool idle_timer_on;

	struct finode_list dirty; /* oldest first */
	uint64_t dirty_bytes;     /* unsent, those being sent included */
	unsigned flushes;         /* commits under way */
	struct fop_queue throttled;
	struct env_timer flush_timer;
	bool flush_timer_on;
	uint64_t ahead_bytes; /* fetched for readers and still held */
	uint64_t ahead_max;   /* above it they hold what they need at once */

	struct inval *inval;
	struct env_timer assert_timer;
	uint64_t asserted_session; /* that opens were told for */
	struct env_timer start_timer; /* start, and waiting for the end */
	uint64_t drain_ns; /* when draining began */
	struct env_task init_task;
	struct env_task end_task;
	int end_err;
	struct errbuf end_text;
	const char *walk; /* rest of the path to the root */
};

/* Node id and inode number of the synthetic root. */
#define MOUNT_ROOT_INO FUSE_ROOT_ID

/*
 * Starts on the set's loop 0; everything later is told by the callbacks.
 * 0 or -errno (then no callback comes).
 */
int mount_new(const struct mount_options *opt, struct loop *loop,
	      struct client_set *set, const struct mount_callbacks *cbs,
	      struct mount **ret_mount);
/* client_set_start()'s ready function; arg is the mount. */
void mount_client_ready(void *arg, int status);
/* Flushes everything, unmounts, then on_end(0). Any number of times. */
void mount_stop(struct mount *m);
/*
 * Unmounts unless that is done, and frees; before the client set is freed.
 * False: requests are still under way, m and the client set must stay until
 * the process exits.
 */
bool mount_free(struct mount *m);

/* device.c: the kernel's side. */
int device_open(struct mount *m, struct errbuf *e);
void device_pause(struct mount *m); /* reads no more requests, for good */
void device_close(struct mount *m);
void device_check(struct mount *m); /* after a request ended */
/* A request goes on; luck: which of m's answers it waits for. */
void device_sent(struct mount *m, struct loop_luck *luck);

/* Internal: the mount is over. */
void mount_end(struct mount *m, int err);

#endif
