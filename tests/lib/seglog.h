#ifndef TESTS_LIB_SEGLOG_H
#define TESTS_LIB_SEGLOG_H
/*
 * A head under test and what it must hold. Each appended record has a number
 * (in a) from which all its fields and bytes follow, so whatever recovery
 * returns can be judged alone; the model is the list of numbers in order.
 *
 * What was recovered counts as acknowledged: the owner acts on it.
 *
 * Segments below `need` may be freed. Each START says the `need` of its time,
 * and recovery begins there.
 */
#include "common/seg/seg.h"
#include "tests/lib/minienv.h"

struct seglog_item {
	uint64_t num;
	uint64_t len;
	struct seg_pos pos; /* known once acked */
	uint64_t seq;       /* known once recovered */
};

/* A segment that is gone, or may be. */
struct seglog_freed {
	uint64_t gen;
	bool done; /* done() came: it is gone for good */
};

struct seglog_free; /* one under way */

struct seglog {
	struct seg_config config;
	struct seg_head *head;
	struct seg_port *port;
	/*
	 * The model: items [0, acked) must survive, the rest may; [0, told) if
	 * the process alone dies.
	 */
	struct seglog_item *items;
	size_t n, cap, acked, told;
	struct seglog_freed *freed;
	size_t n_freed;
	struct seglog_free *frees; /* under way */
	uint64_t need;     /* records of older segments are not needed */
	/* what the last open returned */
	size_t found;      /* items; in order, from the first */
	size_t handed;     /* of them, through on_record */
	size_t lost;       /* items that rot took */
	uint64_t from;     /* generation where it began, 0: all */
	uint64_t rot;      /* sequences reported lost */
	uint64_t starts;   /* START records */
	char bad[200];     /* first thing that is wrong, or "" */
	bool allow_rot;
	uint64_t pending;  /* appends without done() */
};

/* Numbers start at 1 again: a history replays alone. No two models at a time. */
void seglog_renumber(void);
/* Defaults for small tests: 16 KiB segments, the first of 8 KiB. */
void seglog_init(struct seglog *l, const char *dir);
void seglog_fini(struct seglog *l);
/* A second one with the same model, not open. */
void seglog_copy(struct seglog *to, const struct seglog *from);
/*
 * Opens (recovers) and compares with the model: bad is set when an item is
 * missing, different, out of order or never was. Then the model is what was
 * found. 0 or what seg_head_open() gave.
 */
int seglog_open(struct seglog *l, struct env *env);
/* Appends an item of len bytes; acked in done(). */
void seglog_append(struct seglog *l, size_t len);
/* The same; it and all before it are only told of then. */
void seglog_append_loose(struct seglog *l, size_t len);
/* What was appended before is acked when it is done; SEG_NONE. */
void seglog_sync(struct seglog *l, bool loose);
void seglog_close(struct seglog *l);   /* port, then head */
void seglog_abandon(struct seglog *l);
/* Notes what is wrong, unless something was noted before. */
void seglog_bad(struct seglog *l, const char *what, uint64_t num);
/* Body byte i of record num. */
void seglog_fill(uint64_t num, uint8_t *buf, size_t len);
/* Everything acknowledged so far is not needed any more, but for the segment
 * of the last item. */
void seglog_pass(struct seglog *l);
/* Frees a sealed segment below need: the k-th of them; false: there is none. */
bool seglog_free_one(struct seglog *l, uint64_t k);
bool seglog_is_freed(const struct seglog *l, uint64_t gen);
/* Reads item i back through seg_read() and compares; 0 or -errno. */
int seglog_read(struct seglog *l, size_t i);

#endif
