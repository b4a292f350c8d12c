#ifndef COMMON_SEG_SEG_RCV_H
#define COMMON_SEG_SEG_RCV_H
/*
 * Shared by the two files of the recovery: seg_find.c looks at what there is,
 * seg_recover.c walks it. Start-up only, one thread.
 */
#include "common/seg/seg_int.h"

#define SEG_WINDOW (1u << 20)
#define SEG_WINDOW_BULK (16u << 10)

/* A segment file found. */
struct seg_ent {
	uint64_t gen, size;
	bool looked;       /* the fields up to lost were learnt */
	bool out;          /* older than a START that does not list it: void */
	uint64_t first;    /* sequence of its START; 0: not known */
	uint64_t limit;    /* records from this sequence on do not count */
	bool has_start;    /* START is whole; then: */
	uint64_t prev_gen, prev_first;
	struct seg_ranges ranges;
	uint64_t accepted; /* records that count */
	uint64_t end;      /* offset behind the last of them */
	bool lost;         /* rot was reported for all it held */
};

/* A record that counts and is not known to be durable. */
struct seg_above {
	size_t ent;
	struct seg_hdr hdr;
};

struct seg_rcv {
	struct seg_head *head;
	struct errbuf *e;
	struct seg_ent *ents; /* by generation */
	size_t n, cap;
	size_t from;          /* the walk begins here */
	struct seg_ranges must; /* must be there, as far as was handed out */
	struct seg_scan scan;
	struct vfs_file *f;   /* of the segment being walked */
	bool verify;          /* check bodies while walking */
	uint64_t expect;      /* next sequence; 0 before the first segment */
	uint64_t dmax;        /* highest durable mark seen */
	bool ended;           /* what is behind the last record never counted */
	struct seg_above *above;
	size_t above_at, above_n, above_cap;
	int err;
};

/* --- seg_find.c; 0 or -errno, e may be set --- */
/* Fills ents, from, and last_gen of the head. */
int seg_rcv_find(struct seg_rcv *r);
int seg_rcv_open(struct seg_rcv *r, const struct seg_ent *ent,
		 struct vfs_file **ret_file);
/* Rule 1: may hold records that count. */
bool seg_ent_counts(const struct seg_ent *ent);
/* Rule 4: nothing that must be there is missing. */
int seg_rcv_missed(struct seg_rcv *r);
void seg_rcv_fini(struct seg_rcv *r);

#endif
