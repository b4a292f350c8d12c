#ifndef COMMON_ROWS_ROWS_BACK_H
#define COMMON_ROWS_ROWS_BACK_H
/*
 * Private to common/rows: what a back must do. Functions as in rows.h; every
 * back and iterator begins with these structs.
 */
#include "common/rows/rows.h"

struct rows_back_ops {
	void (*close)(struct rows_back *back);
	int (*get)(struct rows_back *back, struct wire_bytes key,
		   uint8_t **ret_value, size_t *ret_len);
	int (*checkpoint)(struct rows_back *back);
	int (*write)(struct rows_back *back, const struct rows_batch *b);
	int (*iter_new)(struct rows_back *back, struct rows_iter **ret_it);
	/* The next row, or the one at the last seek; 0, -ENOENT, -EIO. */
	int (*iter_next)(struct rows_iter *it, struct wire_bytes *ret_key,
			 struct wire_bytes *ret_value);
	void (*iter_seek)(struct rows_iter *it, struct wire_bytes key);
	int (*iter_get)(struct rows_iter *it, struct wire_bytes key,
			struct wire_bytes *ret_value);
	void (*iter_free)(struct rows_iter *it);
};

struct rows_back {
	const struct rows_back_ops *ops;
};

struct rows_iter {
	struct rows_back *back; /* borrowed */
	struct buf from, to;    /* [from, to) */
};

/*
 * A batch is its operations one after the other: kind u8, key length u32,
 * value length u32, key, value; host order, it never leaves the process.
 */
struct rows_batch {
	struct buf ops;
};
struct rows_op {
	bool del;
	struct wire_bytes key, value;
};
/* Goes through a batch: *pos starts at 0. False at the end. */
bool rows_batch_next(const struct rows_batch *b, size_t *pos,
		     struct rows_op *ret_op);

#endif
