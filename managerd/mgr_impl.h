#ifndef MANAGERD_MGR_IMPL_H
#define MANAGERD_MGR_IMPL_H
/*
 * Inside of the manager; loop 0 only unless said otherwise.
 */
#include "common/base/buf.h"
#include "common/base/env.h"
#include "common/base/space.h"
#include "common/client/client.h"
#include "common/raft/raft_check.h"
#include "common/raft/raft_snap.h"
#include "common/raft/raft_trim.h"
#include "common/rows/rows_applied.h"
#include "common/seg/seg.h"
#include "common/seg/super.h"
#include "common/wire/counts.h"
#include "managerd/manager.h"
#include "managerd/mgr_state.h"

#define MGR_GROUP 0

struct fsck_run;
struct http_server;
struct mgr_sessions;

/* The encoded cluster snapshot; immutable and counted. */
struct mgr_image {
	unsigned refs; /* loop 0 only */
	uint64_t version;
	uint8_t *bytes;
	size_t len;
};

/* Someone who waits for a version; called back with the newest image. */
struct mgr_waiter {
	struct mgr_waiter *next;
	uint64_t version; /* wake when image->version >= version */
	uint64_t until_ns; /* or at this time (env clock) */
	void (*done)(struct mgr_waiter *w, struct mgr_image *image);
};

typedef void (*mgr_done_fn)(void *arg, uint32_t status,
			    struct wire_bytes payload);

/* What a heartbeat says of a head of its store. */
#define MGR_HEADS 4
struct mgr_head {
	char name[16]; /* lower case letters */
	uint64_t segments, bytes, live;
};

struct manager {
	struct env *env;
	struct loop *loop;
	struct loop_set *loops;
	struct rpc_server *server; /* borrowed */
	char *dir, *conf_dir, *rpc_addr, *admin_addr, *region;
	struct super super;
	uint8_t durability;        /* of a new cluster */

	struct space space;
	struct seg_head *log;
	struct seg_port *port;
	struct rows_back *back;
	struct rows *rows;
	struct raft_host *host;
	struct raft_group *group;

	/* apply: one command at a time, parked while its rows are loaded */
	struct rows_txn *txn;
	struct mgr_answer answer;
	/* how far the rows are, and entries that were no commands */
	uint64_t applied, passed, passed_term;
	struct rows_txn *passed_txn;
	bool leading;
	bool alone;                 /* manager_config */
	void (*ready)(void *arg);
	void *ready_arg;

	/* the snapshot handed out */
	struct mgr_image *image;    /* newest built, NULL before the first */
	bool building;              /* one build at a time */
	bool stale;                 /* rows changed since the build began */
	struct mgr_waiter *waiters;
	struct env_timer wait_timer;
	struct raft_check *check;
	struct raft_start *start;   /* row snapshots at the start */
	struct raft_snaps *snaps;
	struct raft_trim *trim;     /* frees what no start reads any more */
	char *snap_dir;
	struct errbuf *open_e;      /* while the log is scanned */

	struct mgr_sessions *sessions;
	uint32_t lease_ms;          /* of a session */
	struct client_set *clients; /* towards the shards */
	struct fsck_run *fsck;      /* the last one, or NULL: mgr_fsck.h */
	struct http_server *http;
	char *token;                /* of the admin API */
	uint64_t started_ns;
	uint64_t store_total, store_avail; /* last heartbeat */
	uint64_t beat_ns;
	struct wire_u128 beat_store; /* whose; zero: none yet */
	struct mgr_head heads[MGR_HEADS];
	unsigned n_heads;
	struct store_counts counts;  /* the same of what it counts */
};

/* --- mgr_apply.c --- */

/*
 * Replicates a command; done once with what mgr_apply answered, or with
 * NOT_LEADER / UNKNOWN_OUTCOME, or NOSPC: the disk is full, and it makes
 * something. payload is taken. Never inline.
 */
void mgr_submit(struct manager *m, uint8_t cmd, struct buf *payload,
		mgr_done_fn done, void *arg);
/* Encodes a command struct and submits it. */
#define MGR_SUBMIT(m, name, cmd, done, arg) \
	do { \
		struct buf mgr_payload; \
		buf_init(&mgr_payload, 0); \
		(void)mgr_##name##_encode((cmd), &mgr_payload); \
		mgr_submit((m), MGR_CMD_##name, &mgr_payload, (done), (arg)); \
	} while (0)
int mgr_on_apply(void *arg, struct raft_group *g, const struct raft_cmd *cmd);
int mgr_on_passed(void *arg, struct raft_group *g,
		  const struct raft_passed *p);
int mgr_check_begin(void *arg);

/* --- mgr_watch.c --- */

/* Rows changed: build a new image when somebody waits. */
void mgr_watch_changed(struct manager *m);
/* w->done is called once (maybe inside this call) with an image, borrowed, or
 * with NULL when the manager stops. */
void mgr_watch_wait(struct manager *m, struct mgr_waiter *w, uint64_t version,
		    uint64_t wait_ms);
void mgr_watch_stop(struct manager *m);

/* --- mgr_usage.c --- */

typedef void (*mgr_usage_fn)(void *arg, uint32_t status,
			     const struct rpc_usage_rsp *sum);
/* What a bucket holds in all shards; done once, not inside. 0 or -ENOMEM. */
int mgr_usage(struct manager *m, uint64_t root, uint64_t bucket,
	      mgr_usage_fn done, void *arg);

/* --- mgr_bucket.c: multi-step, resumable --- */

/* done(arg, status, encoded bucket_create_rsp / bucket_delete_rsp) */
void mgr_bucket_create(struct manager *m, const struct rpc_bucket_create *req,
		       mgr_done_fn done, void *arg);
void mgr_bucket_delete(struct manager *m, const struct rpc_bucket_delete *req,
		       bool any_owner, mgr_done_fn done, void *arg);
/* After becoming leader: goes on with what an earlier one left. */
void mgr_bucket_resume(struct manager *m);

/* --- mgr_sessions.c --- */

int mgr_sessions_new(struct manager *m); /* 0 or -ENOMEM */
/* This manager leads: sessions have their time from now on. */
void mgr_sessions_lead(struct manager *m);
void mgr_sessions_free(struct manager *m);
/* False: not yet read; then nobody can be told about a session. */
bool mgr_sessions_known(const struct manager *m);
/* Its record is there. 0 or -ENOMEM. */
int mgr_sessions_opened(struct manager *m, uint64_t id, struct wire_bytes kind,
			struct wire_bytes host);
/* False: unknown or over. */
bool mgr_sessions_renew(struct manager *m, uint64_t id);
/* Has ended, or did so long ago. */
bool mgr_sessions_over(const struct manager *m, uint64_t id);
struct mgr_session_info {
	uint64_t id;
	const char *kind, *host;
	int64_t opened;     /* ns since 1970 */
	bool expired;       /* the shards are being told */
	uint64_t silent_ns; /* since it was renewed */
};
void mgr_sessions_each(const struct manager *m,
		       void (*each)(void *arg,
				    const struct mgr_session_info *info),
		       void *arg);

/* --- mgr_rpc.c --- */
void mgr_rpc_register(struct manager *m);

/* --- mgr_first.c --- */
/* First start: cluster id, user, key, credentials file, admin token. */
int mgr_first_files(struct manager *m, struct errbuf *e);
/* Tells leofs-adm --data where the admin port is: conf_dir/admin.url. */
int mgr_write_admin_url(struct manager *m, struct errbuf *e);
void mgr_first_init(struct manager *m, mgr_done_fn done, void *arg);
/* A fresh access key id (20) and secret (40 characters); buffers hold NUL. */
void mgr_make_key(struct env *env, char access[21], char secret[41]);

/* --- admin.c --- */
int mgr_admin_start(struct manager *m, struct errbuf *e);
void mgr_admin_stop(struct manager *m);

#endif
