#ifndef COMMON_ROWS_ROWS_APPLIED_H
#define COMMON_ROWS_ROWS_APPLIED_H
/*
 * How far the rows of a Raft group are: two rows under the group's number and
 * type 0x00, which belongs to the host and not to the state machine. Written
 * in the transaction of the command, so that any durable prefix of the rows
 * says which prefix of the log it is, and has what Raft wants of a snapshot.
 */
#include "common/rows/rows.h"

struct rows_applied {
	uint64_t index, term;      /* of the last entry; 0: none */
	int64_t now;               /* time of the last command, as it likes */
	uint64_t moved;            /* times that positions in rows were changed
				      without a command, as it likes */
	uint64_t conf_index;       /* newest configuration up to it; 0: none */
	uint8_t *conf;             /* its bytes; owned */
	size_t conf_len;
};

#define ROWS_APPLIED_KEY 10
/* group u16, 0x00, "applied"; the other key is "conf". */
void rows_applied_key(uint16_t group, uint8_t out[ROWS_APPLIED_KEY]);

/* Blocks. Zeros where a row is absent. 0, -EIO, -ENOMEM. */
int rows_applied_read(struct rows_back *back, uint16_t group,
		      struct rows_applied *ret);
/* The same from an iterator that stands in front of the group's rows. */
int rows_applied_iter(struct rows_iter *it, uint16_t group,
		      struct rows_applied *ret);
void rows_applied_fini(struct rows_applied *a);

/* index, term, now, moved; 0 or -ENOMEM. */
int rows_applied_put(struct rows_txn *t, uint16_t group,
		     const struct rows_applied *a);
/* Both rows; errors stay in the batch. */
void rows_applied_batch(struct rows_batch *b, uint16_t group,
			const struct rows_applied *a);
/* A configuration was applied; 0 or -ENOMEM. */
int rows_applied_put_conf(struct rows_txn *t, uint16_t group, uint64_t index,
			  struct wire_bytes conf);

#endif
