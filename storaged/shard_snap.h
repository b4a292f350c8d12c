#ifndef STORAGED_SHARD_SNAP_H
#define STORAGED_SHARD_SNAP_H
/*
 * Rows that go from one member of a shard to another that lags behind the log
 * of its leader. Private to storaged/shard*.c; the set's loop only.
 *
 *   shard_snap_serve.c    hands the rows of a shard out
 *   shard_snap_fetch.c    gets them aside, piece by piece
 *   shard_snap_take.c     puts their values into the log of this store
 *   shard_snap_install.c  makes them the rows of the shard
 */
#include "common/raft/raft_snap.h"
#include "storaged/shard_impl.h"

#define SNAP_PIECE ((size_t)1 << 20) /* bytes on the wire at once, at most */
#define SNAP_STEP_NS 1000000u        /* between steps on workers */

/*
 * What of another member's rows is here:
 *
 *   ASK -> STORE -> ASK ... -> TAKE -> APPEND -> TAKE ... -> READY -> INSTALL
 */
enum shard_fetch_state {
	FETCH_ASK,     /* a piece was asked for, or will be */
	FETCH_STORE,   /* a worker writes it to a file */
	FETCH_TAKE,    /* a worker goes on through the file */
	FETCH_APPEND,  /* values are on their way into the log */
	FETCH_READY,   /* all of it is here, durable */
	FETCH_INSTALL, /* it becomes the rows: no way back */
};

struct shard_take;

struct shard_fetch {
	struct shard_set *set;
	struct shard_group *g;
	enum shard_fetch_state state;
	uint64_t from;              /* the store that is asked */
	bool busy;                  /* something is under way */
	bool held;                  /* the cleaner of the log */
	/* the stream */
	uint64_t stream, off;       /* off: of the next piece */
	bool more;
	unsigned tries;             /* for this piece */
	struct body *piece;
	struct rows_stream_reader *check;
	struct rows_stream_head head; /* conf: owned; index 0: not known yet */
	struct vfs_file *file;
	struct shard_take *take;
	struct raft_snap_loader *loader;
	struct env_work work;
	struct env_timer timer;
	int rv;                     /* of a worker */
	bool renamed, loaded;       /* while it is installed */
	struct shard_derived derived;
};

/* --- shard_snap_serve.c --- */
/* No more answers; frees all. */
void shard_serve_free(struct shard_set *set);
/* shard_set_stop(): who waits is told. */
void shard_serve_stop(struct shard_set *set);

/* --- shard_snap_fetch.c --- */
void shard_on_lags(void *arg, struct raft_group *raft, uint64_t from);
/* It came to nothing: rv. Nothing is under way. */
void shard_fetch_end(struct shard_fetch *f, int rv);
/* Frees; the env runs nothing of it any more. */
void shard_fetch_free(struct shard_fetch *f);
/* The file of the group with that suffix goes; worker. 0 or of unlink. */
int shard_snap_unlink(struct shard_set *set, uint16_t group,
		      const char *suffix);
/* All was fetched and taken. */
void shard_fetch_ready(struct shard_fetch *f);

/* --- shard_snap_take.c --- */
/* The file of f is whole. 0, -ENOMEM, -ENOSPC. */
int shard_take_begin(struct shard_fetch *f);
void shard_take_free(struct shard_take *t); /* NULL is fine */

/* --- shard_snap_install.c --- */
void shard_on_install(void *arg, struct raft_group *raft);

/* --- shard.c --- */
/* The cleaner of the log frees nothing. */
void shard_hold(struct shard_set *set, bool on);

#endif
