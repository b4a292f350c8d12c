#ifndef COMMON_BASE_ENV_H
#define COMMON_BASE_ENV_H
/*
 * The seam: everything that makes a run differ from another one.
 *
 * Code that decides anything takes a `struct env *` and asks it for time,
 * randomness, timers, workers and files; it never calls the system itself.
 * Production builds an env on a libevent loop (loop.h); tests/sim builds one
 * on a seeded event heap. One env belongs to one loop (= one thread).
 *
 * Threads: env_post() and env_thread_kick() may be called from any thread,
 * vfs calls too; everything else from the env's own loop only.
 * Callbacks (tasks, timers, work done) run on the env's loop and never inside
 * the call that registered them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct env;
struct vfs;
struct vfs_file;

#define CONTAINER_OF(ptr, type, member) \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* A deferred call; embedded in its owner, queued at most once at a time. */
struct env_task {
	void (*run)(struct env_task *task); /* set by the owner */
	struct env_task *next;              /* queue link, private */
};

/* A one-shot timer; zero-initialise, set cb, then env_timer_set(). */
struct env_timer {
	void (*cb)(struct env_timer *timer); /* set by the owner */
	void *impl;                          /* private to the env */
};

/* A call on a worker thread: run() there, then done() on the loop. */
struct env_work {
	void (*run)(struct env_work *work);  /* worker thread; may block */
	void (*done)(struct env_work *work); /* loop, exactly once */
	struct env *env;                     /* set by env_work() */
	struct env_work *next;               /* queue link, private */
};

/*
 * A serial executor (a flusher, a writer): run(arg) is called on a thread of
 * its own, never twice at once, at least once after every kick, and again when
 * the time it returned has passed. Returns nanoseconds until it wants to run
 * again without a kick, or ENV_THREAD_IDLE.
 */
#define ENV_THREAD_IDLE UINT64_MAX
struct env_thread;
typedef uint64_t (*env_thread_fn)(void *arg);

struct env_ops {
	uint64_t (*now_ns)(struct env *env);
	int64_t (*wall_ns)(struct env *env);
	void (*random)(struct env *env, void *buf, size_t len);
	void (*post)(struct env *env, struct env_task *task);
	void (*timer_set)(struct env *env, struct env_timer *timer,
			  uint64_t delay_ns);
	void (*timer_cancel)(struct env *env, struct env_timer *timer);
	void (*work)(struct env *env, struct env_work *work);
	int (*thread_new)(struct env *env, const char *name, env_thread_fn run,
			  void *arg, struct env_thread **ret_thread);
	void (*thread_kick)(struct env_thread *thread);
	bool (*thread_lend)(struct env *env, struct env_thread *thread,
			    env_thread_fn run);
	void (*thread_free)(struct env_thread *thread);
};

struct env {
	const struct env_ops *ops;
	struct vfs *vfs; /* borrowed; shared by all loops of a process */
	void *impl;      /* private to the implementation */
};

/* CLOCK_BOOTTIME in nanoseconds: leases, timeouts, latencies. */
static inline uint64_t env_now_ns(struct env *env)
{
	return env->ops->now_ns(env);
}

static inline uint64_t env_now_ms(struct env *env)
{
	return env->ops->now_ns(env) / 1000000;
}

/* CLOCK_REALTIME in nanoseconds since 1970: stamps for users only. */
static inline int64_t env_wall_ns(struct env *env)
{
	return env->ops->wall_ns(env);
}

/* Fills buf with random bytes (getrandom in production, seeded in tests). */
static inline void env_random(struct env *env, void *buf, size_t len)
{
	env->ops->random(env, buf, len);
}

/* Queues task to run once on env's loop, in the order of posting. */
static inline void env_post(struct env *env, struct env_task *task)
{
	env->ops->post(env, task);
}

/* (Re)arms timer to fire once after delay_ns. */
static inline void env_timer_set(struct env *env, struct env_timer *timer,
				 uint64_t delay_ns)
{
	env->ops->timer_set(env, timer, delay_ns);
}

/* Disarms timer and frees what the env kept for it; safe when not armed. */
static inline void env_timer_cancel(struct env *env, struct env_timer *timer)
{
	env->ops->timer_cancel(env, timer);
}

/* Hands work to the worker pool. */
static inline void env_work(struct env *env, struct env_work *work)
{
	work->env = env;
	env->ops->work(env, work);
}

/* Starts a serial executor; 0 or -errno. */
static inline int env_thread_new(struct env *env, const char *name,
				 env_thread_fn run, void *arg,
				 struct env_thread **ret_thread)
{
	return env->ops->thread_new(env, name, run, arg, ret_thread);
}

/*
 * Asks for one more run(); any thread. The thread carries its own ops, so the
 * env is passed only to find them.
 */
static inline void env_thread_kick(struct env *env, struct env_thread *thread)
{
	env->ops->thread_kick(thread);
}

/*
 * A kick that may be obeyed here and now: when the executor rests, and env's
 * loop has nobody waiting for it as far as it can tell, run(arg) is called in
 * place of the executor's own function, which sees it as a run of its own:
 * never twice at once, and due again after what run() returned (0: the
 * executor goes on at once). Else it is a kick. True: run() was called. Env's
 * loop only.
 */
static inline bool env_thread_lend(struct env *env, struct env_thread *thread,
				   env_thread_fn run)
{
	return env->ops->thread_lend(env, thread, run);
}

/* Lets a run() in progress end, then joins and frees. NULL is fine. */
static inline void env_thread_free(struct env *env, struct env_thread *thread)
{
	if (thread != NULL)
		env->ops->thread_free(thread);
}

/*
 * Files. All return 0 (or a count) or negative errno, and may be called from
 * any thread. Paths are relative to nothing: callers pass whole paths.
 */
#define VFS_NOWAIT 1 /* preadv2(RWF_NOWAIT): -EAGAIN when it would block */

typedef int (*vfs_list_fn)(void *arg, const char *name);

struct vfs_ops {
	/* flags: O_RDONLY/O_RDWR/O_CREAT/O_EXCL/O_DIRECT as open(2) */
	int (*open)(struct vfs *vfs, const char *path, int flags, mode_t mode,
		    struct vfs_file **ret_file);
	ssize_t (*pread)(struct vfs_file *f, void *buf, size_t len,
			 uint64_t off, int flags);
	/* Writes all of iov or fails. */
	int (*pwritev)(struct vfs_file *f, const struct iovec *iov, int niov,
		       uint64_t off);
	int (*fdatasync)(struct vfs_file *f);
	int (*fsync)(struct vfs_file *f);
	int (*truncate)(struct vfs_file *f, uint64_t size);
	/* Makes it len bytes at least, all of them taken from the disk. */
	int (*allocate)(struct vfs_file *f, uint64_t len);
	/* A hint: what whole pages of [off, off + len) hold is not kept in
	 * memory, unless it is to be written still. */
	void (*forget)(struct vfs_file *f, uint64_t off, uint64_t len);
	int (*size)(struct vfs_file *f, uint64_t *ret_size);
	void (*close)(struct vfs_file *f);
	int (*rename)(struct vfs *vfs, const char *from, const char *to);
	int (*unlink)(struct vfs *vfs, const char *path);
	int (*mkdir)(struct vfs *vfs, const char *path, mode_t mode);
	int (*sync_dir)(struct vfs *vfs, const char *path);
	/* Calls cb for each name but . and ..; stops when it returns != 0. */
	int (*list)(struct vfs *vfs, const char *path, vfs_list_fn cb,
		    void *arg);
	/* Bytes of the file system that holds path. */
	int (*space)(struct vfs *vfs, const char *path, uint64_t *ret_total,
		     uint64_t *ret_avail);
};

struct vfs {
	const struct vfs_ops *ops;
	void *impl;
};

/* Every vfs_file begins with this. */
struct vfs_file {
	struct vfs *vfs;
};

/* The real file system; static, never freed. */
struct vfs *vfs_posix(void);

#endif
