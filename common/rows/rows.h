#ifndef COMMON_ROWS_ROWS_H
#define COMMON_ROWS_ROWS_H
/*
 * The ordered state of shards: byte strings to byte strings, in three layers.
 *
 *   rows_back  one per store: leveldb, or memory (tests). Blocking; workers
 *              only. Opening yields exactly the last checkpoint or memtable
 *              flush (DESIGN section 5).
 *   rows       one per loop: overlay of written rows until the writer has put
 *              them into the back, and a bounded cache of read ones.
 *   rows_txn   one command: reads through, collects writes; commit moves them
 *              into the overlay, abort leaves nothing. A read of a row that
 *              is not resident returns -EAGAIN and is noted as needed: the
 *              host loads it with rows_txn_load() and runs the command again.
 *
 * So apply is pure: (rows, command) -> (rows, answer), never blocking.
 */
#include "common/base/env.h"
#include "common/base/errbuf.h"
#include "common/wire/wire.h"

struct rows_back;
struct rows;
struct rows_txn;
struct rows_iter;

/* --- back; every call may block: workers or start-up only --- */

/*
 * Opens (creates) the database; deletes leveldb's own *.log files first.
 * 0, -errno; -EBADMSG when it is damaged, or was found to be by an earlier
 * process (e says how).
 */
int rows_back_open(const char *path, size_t cache_bytes,
		   struct rows_back **ret_back, struct errbuf *e);
/*
 * The same; one that is damaged is moved to path.damaged, in place of what was
 * there, and a new one is opened: *ret_damaged, and e says how.
 */
int rows_back_open_new(const char *path, size_t cache_bytes,
		       struct rows_back **ret_back, bool *ret_damaged,
		       struct errbuf *e);
/*
 * The memory back. A close without a checkpoint is a crash: the next one over
 * the same image begins with its last checkpoint.
 */
struct rows_mem_image; /* what a crash leaves: the last checkpoint */
int rows_back_mem(struct rows_mem_image *image, struct rows_back **ret_back);
struct rows_mem_image *rows_mem_image_new(void);
/* Another one that begins with the same checkpoint. NULL: out of memory. */
struct rows_mem_image *rows_mem_image_copy(struct rows_mem_image *image);
void rows_mem_image_free(struct rows_mem_image *image);
void rows_back_close(struct rows_back *back);

/* ret_value is malloc'ed (mem_free). 0, -ENOENT, -EIO. */
int rows_back_get(struct rows_back *back, struct wire_bytes key,
		  uint8_t **ret_value, size_t *ret_len);
/*
 * Makes everything written before the call durable; 0 or -EIO (sticky). The
 * back may be written and read by other threads meanwhile.
 */
int rows_back_checkpoint(struct rows_back *back);

/*
 * Iteration over [from, to) (to.len 0 = no end) as of now. Bytes are borrowed
 * until the next rows_iter_next() or rows_iter_seek().
 */
int rows_iter_new(struct rows_back *back, struct wire_bytes from,
		  struct wire_bytes to, struct rows_iter **ret_it);
/* 0, -ENOENT at the end, -EIO. */
int rows_iter_next(struct rows_iter *it, struct wire_bytes *ret_key,
		   struct wire_bytes *ret_value);
/* Goes on at the first key >= key (forward or backward). */
void rows_iter_seek(struct rows_iter *it, struct wire_bytes key);
/*
 * One row as the iterator sees it, also outside its range; it stays where it
 * is. 0 (borrowed until the next rows_iter_get()), -ENOENT, -EIO.
 */
int rows_iter_get(struct rows_iter *it, struct wire_bytes key,
		  struct wire_bytes *ret_value);
void rows_iter_free(struct rows_iter *it);

/* A batch of puts and deletes, written atomically. */
struct rows_batch;
struct rows_batch *rows_batch_new(void);
void rows_batch_put(struct rows_batch *b, struct wire_bytes key,
		    struct wire_bytes value);
void rows_batch_del(struct rows_batch *b, struct wire_bytes key);
/* Writing it will give err: something could not be put. */
void rows_batch_fail(struct rows_batch *b, int err);
size_t rows_batch_bytes(const struct rows_batch *b);
void rows_batch_reset(struct rows_batch *b);
int rows_batch_write(struct rows_back *back, struct rows_batch *b);
void rows_batch_free(struct rows_batch *b);

/* --- per loop --- */

/*
 * cache_bytes bounds clean rows kept (0 = 8 MiB); what is above 8 MiB goes
 * when no row was wanted for 10 seconds. 0 or -errno.
 */
int rows_new(struct env *env, struct rows_back *back, size_t cache_bytes,
	     struct rows **ret_rows);
/*
 * Waits for nothing: unwritten rows are lost (the log has them). Its txns are
 * freed before, and the env runs nothing of it any more: loop and workers have
 * stopped, or (simulator) dropped what this process had queued.
 */
void rows_free(struct rows *rows);

/*
 * done(status) when everything committed before the call is in the back, so
 * an iterator made on a worker after that sees it. LIST and READDIR stand on
 * this. Never inline. status: 0, or the error of a batch that could not be
 * written (sticky: the process must stop). Returns 0, or -ENOMEM and done is
 * not called.
 */
typedef void (*rows_sync_fn)(void *arg, int status);
int rows_sync(struct rows *rows, rows_sync_fn done, void *arg);
/*
 * Rows must not be in the back before the log that made them is durable: the
 * gate is asked before a batch is written. ask() is true when all that is
 * committed may be; else rows_gate_open() comes when what was committed before
 * the call may be, never inside it. hurry: somebody waits; so it may be asked
 * once more meanwhile. None, the default: it may.
 */
struct rows_gate {
	bool (*ask)(void *arg, bool hurry);
	void *arg;
};
void rows_set_gate(struct rows *rows, const struct rows_gate *gate);
void rows_gate_open(struct rows *rows);
/*
 * Blocks: writes all that waits. Only when loop and workers have stopped, on a
 * clean way out. 0 or -errno.
 */
int rows_flush(struct rows *rows);
/* Bytes that wait to be written: hosts push back when it grows. */
size_t rows_dirty_bytes(const struct rows *rows);

/*
 * Somebody else replaced the rows in [from, to) in the back, in which nothing
 * was committed since a rows_sync() that is done: what is resident of them
 * goes. Any txn loads again what it wants to see again; values that were lent
 * to it stay.
 */
void rows_replaced(struct rows *rows, struct wire_bytes from,
		   struct wire_bytes to);

/* --- one command --- */

struct rows_txn *rows_txn_new(struct rows *rows); /* NULL: out of memory */
/* Also while a load is under way: its done() is not called then. */
void rows_txn_free(struct rows_txn *t);
/* Drops writes, needs and pins; ready for another run. */
void rows_txn_reset(struct rows_txn *t);

/*
 * Drops writes and needs, keeps pins and what was loaded: for a second run
 * of a command that was tried out before.
 */
void rows_txn_rewind(struct rows_txn *t);

/*
 * 0 with *ret_value borrowed until the txn is reset, committed or freed;
 * -ENOENT: known to be absent; -EAGAIN: not resident, noted as needed.
 * Reads see the txn's own writes.
 */
int rows_get(struct rows_txn *t, struct wire_bytes key,
	     struct wire_bytes *ret_value);
/*
 * The first row with from <= key < to (to.len 0 = no end). 0, -ENOENT (none),
 * -EAGAIN (noted). Sees the txn's own writes and every commit so far. What was
 * loaded of a range serves this txn alone, until its reset: unlike rows_get()
 * a new txn always loads first, so keep it out of hot paths.
 */
int rows_first(struct rows_txn *t, struct wire_bytes from,
	       struct wire_bytes to, struct wire_bytes *ret_key,
	       struct wire_bytes *ret_value);
/* 0 or -ENOMEM (sticky: commit then fails too). Bytes are copied. */
int rows_put(struct rows_txn *t, struct wire_bytes key,
	     struct wire_bytes value);
int rows_del(struct rows_txn *t, struct wire_bytes key);
/*
 * The commit makes known that no row begins with these ROWS_PREFIX bytes but
 * those that are committed with it or later: while all of them are resident,
 * rows_get() of another one answers -ENOENT at once. A hint: it may get lost.
 */
#define ROWS_PREFIX 11 /* group u16, type u8, id u64 */
void rows_set_fresh(struct rows_txn *t, struct wire_bytes prefix);

/* True when a read since the last reset returned -EAGAIN. */
bool rows_txn_needs(const struct rows_txn *t);
/*
 * Loads all needed rows on a worker, keeps them resident for t until it is
 * reset by commit or free, then calls done(status) on the loop (posted).
 * t was reset of writes by this call; run the command again in done.
 * -EIO means the back cannot be read: the process must stop.
 */
void rows_txn_load(struct rows_txn *t, rows_sync_fn done, void *arg);
/*
 * Moves the writes into the overlay and resets t. 0; -ENOMEM of a put or del;
 * the sticky error of rows_sync().
 */
int rows_txn_commit(struct rows_txn *t);

/*
 * Tests: make every n-th resident row look absent from memory once (0 = off),
 * so that -EAGAIN paths run.
 */
void rows_set_forget(struct rows *rows, unsigned every);

#endif
