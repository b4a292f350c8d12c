#ifndef TESTS_SIM_SIM_CHUNK_H
#define TESTS_SIM_SIM_CHUNK_H
/*
 * The chunks of one store under faults. Shared by tests/sim/sim_chunk*.c:
 *
 *   sim_chunk.c         a run, its end step by step, what it is made of
 *   sim_chunk_model.c   what each chunk may be, must be, must not be
 *   sim_chunk_client.c  what clients ask for
 *   sim_chunk_check.c   index, segments and counts compared with each other
 *   sim_chunk_proc.c    processes: the store, its head, its cleaner
 *   sim_chunk_plant.c   bugs to be found, seams
 *
 * The index is no file: what a crash leaves of it is an image in the world.
 */
#include "storaged/chunk_impl.h"
#include "storaged/compact.h"
#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_plant.h"

#define LOOPS 2u
#define VERSIONS 2u /* bytes that may be put under one name: 1, 2 */

struct world;
struct proc;

/*
 * A chunk of the model. What changes it has a tick; who asked after the last
 * one must be told exactly what is here, whoever asked before may be told
 * what was.
 */
struct chunk {
	struct slice *slice;
	uint32_t index;
	uint8_t may;      /* bit v: a record with version v may count */
	uint8_t have;     /* if it is there it is this version; 0: not known */
	bool absent;      /* it may not be there */
	bool gone;        /* in this life it is not */
	bool sealed;      /* nor in any other, unless the index is lost */
	unsigned puts;    /* under way */
	uint64_t changed; /* tick */
	uint64_t put;     /* tick of the last begin or end of a put */
	uint64_t seq;     /* no record of it is behind that */
	unsigned got;     /* life whose memory may have its bytes */
	/* the cleaner's */
	bool copying, moved;
	bool stale;            /* a reader was shown that last */
	struct chunk_row from; /* where it was before */
};

struct slice {
	struct wire_u128 id;
	unsigned n;         /* chunks */
	uint32_t first;     /* index of chunk 0 */
	struct chunk *chunks;
	unsigned put;       /* chunks that a put began of */
	bool contested;     /* other bytes come, too; all through one loop */
	unsigned drops;     /* under way */
	uint64_t drop_tick; /* of the last begin or end of one */
	unsigned drop_life; /* of the last one; 0: never */
};

enum op_kind { OP_PUT, OP_GET, OP_CHECK, OP_DROP };
#define OP_SLICES 64u

/* A request under way. */
struct op {
	struct proc *p;
	enum op_kind kind;
	struct chunk *chunk;
	unsigned version;   /* of a put */
	enum put_how { PUT_GOOD, PUT_BAD_HASH, PUT_EMPTY } how;
	uint32_t off, len;  /* of a get */
	bool read;          /* a check with bytes */
	struct slice *slices[OP_SLICES];
	unsigned n_slices;
	uint64_t tick;      /* when it began */
	uint64_t at;        /* ns */
	uint64_t faults;    /* of the disk, by then */
	struct op *prev, *next;
};

/* A process. */
struct proc {
	struct world *w;
	struct env *env;
	unsigned life;
	struct rows_back *back;
	struct chunk_store *cs;
	struct seg_head *bulk;
	unsigned n_loops;
	struct seg_port *ports[LOOPS];
	struct chunk_loop *loops[LOOPS];
	struct compact *compact;
	uint64_t kept;      /* bytes of the reserve */
	uint64_t rots;      /* records that its start reported lost */
	bool ending;        /* what ends now has no outcome */
	int64_t run;        /* begin of the cleaning that was counted last */
	struct op *ops;     /* under way */
	unsigned n_ops;
};

struct world {
	struct sim_cluster *c;
	struct rows_mem_image *image; /* what a crash leaves of the index */
	bool lose_index;    /* the next start finds none */
	unsigned lives;
	uint64_t tick;
	uint64_t faults;    /* of the disk when it last did something wrong */
	uint64_t faults_at; /* ns */
	uint64_t rots;      /* records that starts reported lost */
	uint64_t lost;      /* chunks that were missing for that */
	struct slice **slices;
	unsigned n_slices, cap_slices;
	/* how this seed is */
	unsigned loops, permille_large, most_len, most_chunks;
	uint64_t segment, first;
	uint64_t work_hi;   /* ns */
	unsigned rush;      /* requests a step, at most */
	unsigned live;      /* slices, about */
	unsigned lose;      /* permille of starts without an index */
	bool watch;         /* the cleaner begins by itself as well */
	uint64_t rate;      /* of the cleaner */
	uint64_t reserve;   /* bytes of the disk; 0: no need */
	/* the end */
	unsigned step;      /* of it */
	unsigned step_life; /* in which the step began; 0: it has not */
	unsigned at_slice, at_chunk;
	bool done;
};

static inline struct sim *sim_of(const struct world *w)
{
	return sim_cluster_sim(w->c);
}
/* NULL: it is down. */
struct proc *world_proc(struct world *w);

/* --- sim_chunk_model.c --- */
struct slice *model_slice_new(struct world *w);
/* NULL: it is none of ours. */
struct slice *model_slice(struct world *w, struct wire_u128 id);
struct chunk *model_chunk(struct world *w, const struct chunk_id *id);
struct chunk_id model_id(const struct chunk *k);
uint32_t model_len(const struct world *w, const struct chunk *k,
		   unsigned version);
/* Bytes of a version. */
struct body *model_body(const struct world *w, const struct chunk *k,
			unsigned version);
void model_put_began(struct op *op);
void model_put_ended(struct op *op, uint32_t status);
void model_drop_began(struct op *op);
void model_drop_ended(struct op *op, uint32_t status);
void model_get_ended(struct op *op, uint32_t status, const struct body *body);
void model_check_ended(struct op *op, uint32_t status, uint32_t len);
/* A process has recovered; last: sequence of its newest record. */
void model_started(struct proc *p, uint64_t last);
/* A start goes through all records: what was dropped may be back. */
void model_looked_again(struct world *w);
/* The index is durable, with all records up to seq. */
void model_saved(struct world *w, uint64_t seq);
/* The cleaner appends a copy. */
void model_copied(struct world *w, const struct chunk_id *id);

/* --- sim_chunk_client.c --- */
void client_step(struct world *w, struct proc *p);
/* The process ends in good order, soon, if it is quiet then. */
void client_stop(struct world *w);
void client_put(struct proc *p, struct chunk *k, unsigned version,
		enum put_how how);
/* off, len 0: all of it. */
void client_get(struct proc *p, struct chunk *k, uint32_t off, uint32_t len);
void client_check(struct proc *p, struct chunk *k, bool read);
void client_drop(struct proc *p, struct slice *const *slices, unsigned n);
/* The process is gone, and with it what it had under way. */
void client_lost(struct proc *p);

/* --- sim_chunk_check.c --- */
/* Counts of segments, of the store, and rows. */
void check_counts(struct proc *p);
/* Which slices are said to be here. */
void check_slices(struct proc *p);
/* All sealed segments: the records that the index points at, counted. */
void check_scan(struct proc *p);
/* A hash over all rows of the index. */
uint64_t check_hash(struct proc *p);

/* --- sim_chunk_proc.c --- */
void *proc_start(struct sim_cluster *c, unsigned node, struct env *env);
void proc_stop(struct sim_cluster *c, unsigned node, void *proc, bool crash);
void proc_died(struct sim_cluster *c, unsigned node, void *proc);
/* The disk is as full as a store would refuse puts. */
bool proc_is_full(struct proc *p);
/* Nothing is on its way to the disk. */
bool proc_is_quiet(const struct proc *p);

/* --- sim_chunk_plant.c --- */
void sim_chunk_plant(void);
extern struct proc *sim_chunk_proc; /* that runs, or starts; NULL: none */
enum plant {
	PLANT_NONE,
	PLANT_AHEAD,   /* index and answer do not wait for the disk */
	PLANT_COPY,    /* nor does the index for copies */
	PLANT_UNSAVED, /* segments are freed before the index is saved */
	PLANT_LAST,    /* a save says more than has got to the index */
	PLANT_LATE,    /* what was dropped is moved */
	PLANT_NOHASH,  /* any hash will do */
	PLANT_FIRST,   /* a start does not know copies */
	PLANT_COUNT,   /* drops count more than there was */
	PLANT_STAY,    /* no segment is empty */
	PLANT_ONCE,    /* a start does not look twice */
	PLANT_KEEP,    /* what took the place of a lost chunk stays there */
	PLANT_PIECE,   /* pieces are not compared */
};

#endif
