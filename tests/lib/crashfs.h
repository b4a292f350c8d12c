#ifndef TESTS_LIB_CRASHFS_H
#define TESTS_LIB_CRASHFS_H
/*
 * A file system in memory that knows what a power cut may take.
 *
 * Each file has a current and a durable image. Of every 512-byte sector
 * written since the file's last fsync a power cut leaves the new bytes, the
 * old ones, or a part of the new ones and garbage behind (only bytes that a
 * write changed can become garbage); some sectors reach the durable image by
 * themselves before that, as write-back would do it. The length ends anywhere
 * between the durable and the current one. Creates, renames, unlinks and
 * mkdirs since the directory's last sync_dir survive as a prefix or as any
 * subset that still makes sense in order.
 *
 * Any thread (one mutex inside). Deterministic: same seed and calls, same
 * bytes. Open files stay usable until closed, on their own file system only.
 * With O_DIRECT what is not on 4 KiB, in memory or in the file, is refused.
 */
#include "common/base/env.h"

struct crashfs;

/* Aborts when out of memory, like all of this library. */
struct crashfs *crashfs_new(uint64_t seed);
void crashfs_free(struct crashfs *fs); /* after all files are closed */
struct vfs *crashfs_vfs(struct crashfs *fs);

/*
 * The disk after a power cut now, as a new file system; fs goes on unchanged
 * (many images of one moment can be drawn with different seeds). Everything
 * in the image is durable. Faults are not inherited.
 */
struct crashfs *crashfs_image(struct crashfs *fs, uint64_t seed);
/* What a killed process leaves: the current state, still not durable. */
struct crashfs *crashfs_clone(struct crashfs *fs);
/*
 * Power cut in place: fs becomes one such image. Files that are open go dead:
 * writes and syncs on them succeed and do nothing, reads give -EIO. So
 * abandon or close the old process before new files are opened.
 */
void crashfs_crash(struct crashfs *fs, uint64_t seed);
/*
 * true: from now on everything that changes the disk succeeds and does
 * nothing (a process torn down after its power was cut). crashfs_crash()
 * switches it off.
 */
void crashfs_freeze(struct crashfs *fs, bool frozen);

/* Faults. Counts are of calls from now on; 0 switches off. */
struct crashfs_faults {
	uint64_t fail_sync_at;    /* n-th fdatasync/fsync/sync_dir: -EIO */
	uint64_t fail_write_at;   /* n-th pwritev: -EIO, wrote a part */
	uint64_t fail_read_at;    /* n-th pread: -EIO */
	uint64_t flip_read_at;    /* n-th pread: one bit of the result */
	uint64_t flip_read_every; /* one pread of this many, at random */
	uint64_t flips_left;      /* of those: so many; 0: no limit */
	uint64_t cold_every;      /* one pread with VFS_NOWAIT of this many */
	uint64_t capacity;        /* bytes; writes beyond: -ENOSPC */
	bool ignore_sync;         /* a disk that lies: syncs do nothing */
	bool no_direct_open;      /* opening with O_DIRECT: -EINVAL */
	bool no_direct_read;      /* reads of what was opened so: -EINVAL */
	/* Reads of which path, from which offset, may be flipped; NULL: all */
	bool (*may_flip)(void *arg, const char *path, uint64_t off);
	void *arg;
};
void crashfs_set_faults(struct crashfs *fs, const struct crashfs_faults *f);
/* As set, counts as far as they have come. */
void crashfs_get_faults(struct crashfs *fs, struct crashfs_faults *ret);

struct crashfs_stats {
	uint64_t reads, writes, syncs, dir_syncs, read_bytes, write_bytes;
	uint64_t forgotten;       /* bytes of whole pages that need no cache */
	uint64_t direct_reads, direct_writes; /* some of them, O_DIRECT */
	uint64_t calls;           /* of all kinds that can change the disk */
	uint64_t files;           /* names now */
	uint64_t dirty_sectors;   /* a power cut could take */
	uint64_t pending_dir_ops;
	uint64_t used;            /* bytes of all files */
	uint64_t faults;          /* of the above that happened */
	/* those, one kind each */
	uint64_t failed_syncs, failed_writes, failed_reads, flips;
	uint64_t full;            /* writes that found no room */
};
void crashfs_get_stats(struct crashfs *fs, struct crashfs_stats *ret);
uint64_t crashfs_n_faults(struct crashfs *fs); /* of the stats; cheap */

/*
 * Called before every call that can change the disk (write, sync, create,
 * rename, ...): a test draws images here, between any two system calls. The
 * mutex is not held; the hook must not write to fs.
 */
void crashfs_set_hook(struct crashfs *fs, void (*hook)(void *arg), void *arg);

/* Rot: flips one bit of the stored file, durable and current. 0 or -errno. */
int crashfs_flip(struct crashfs *fs, const char *path, uint64_t off,
		 unsigned bit);
/*
 * A misdirected write: len bytes at off are what another file (or this one)
 * has at from_off, durable and current; from NULL: zeros, as if the write that
 * made them had gone elsewhere. 0 or -errno.
 */
int crashfs_misdirect(struct crashfs *fs, const char *path, uint64_t off,
		      const char *from, uint64_t from_off, size_t len);
/* Name of the i-th file (no directory) and its length; NULL behind the last. */
const char *crashfs_file(struct crashfs *fs, size_t i, uint64_t *ret_len);
/*
 * Copies the first len bytes to buf if a power cut now could change neither
 * them nor the name of the file.
 */
bool crashfs_settled(struct crashfs *fs, const char *path, void *buf,
		     size_t len);
/* A new, empty disk; as crashfs_crash() for what is open. */
void crashfs_wipe(struct crashfs *fs);
/* Hash over all names, lengths and current bytes: equal disks, equal hash. */
uint64_t crashfs_hash(struct crashfs *fs);

#endif
