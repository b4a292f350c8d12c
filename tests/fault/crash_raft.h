#ifndef TESTS_FAULT_CRASH_RAFT_H
#define TESTS_FAULT_CRASH_RAFT_H
/* Inside of crash_raft: a process, and the leaders that it follows. */
#include "common/raft/raft_check.h"
#include "common/raft/raft_gate.h"
#include "common/raft/raft_impl.h"
#include "common/raft/raft_snap.h"
#include "tests/fault/crash_main.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"
#include "tests/lib/slowwork.h"

enum { BUSY, IDLE, FOLLOW, GROUPS };
#define ME 1
#define INDEXES 6000 /* of a group in a history */

/* What was promised about the group that follows. */
struct follow {
	uint64_t stored;               /* entries the leader was told of */
	uint64_t term[INDEXES];        /* of them */
	uint64_t told_term, told_vote; /* to any peer */
	/* the scripted leader: what it sent last */
	uint64_t leader, lead_term, sent, sent_term[INDEXES], commit;
	uint64_t number[4], session;   /* frames */
};

struct model {
	uint64_t chain[GROUPS][INDEXES]; /* state behind each command */
	uint64_t index[GROUPS];          /* highest applied anywhere */
	uint64_t told[GROUPS];           /* highest index a client heard of */
	uint64_t acked[GROUPS];          /* ... that no power cut may take */
	struct follow f;
};

/* A process. */
struct proc {
	struct crash_run *run;
	struct model *m;
	struct crashfs *fs;
	struct minienv *mini;
	struct env *env;
	struct seg_head *log;
	struct seg_port *port;
	struct rows_back *back;
	struct rows *rows;
	struct rows_txn *txn;
	struct raft_host *host;
	struct raft_check *check;
	struct raft_gate gate;
	struct raft_start *start;
	struct raft_snaps *snaps;
	bool partial;                    /* without the group that follows */
	struct raft_group *groups[GROUPS];
	uint64_t chain[GROUPS], applied[GROUPS];
	/* entries that were no commands, not in the rows yet; 0: none */
	uint64_t passed[GROUPS], passed_term[GROUPS];
	struct seg_free frees[64];
	unsigned n_frees;
	bool dead;                       /* it only looks at an image */
	struct slowwork slow;            /* from work() on */
	char bad[CRASH_BAD];
};

void proc_bad(struct proc *p, const char *what, uint64_t a, uint64_t b);

/* --- crash_raft_lead.c --- */

/* raft_host_config.send */
void lead_on_send(void *arg, uint64_t to, const uint8_t *frame, size_t len);
/* Entries from a point that the follower has, n new ones behind. */
void lead_append(struct proc *p, uint64_t prev, unsigned n);
/* Another leader, which has what is committed and maybe more. */
void lead_change(struct proc *p);
/* Somebody wants to lead. */
void lead_ask_vote(struct proc *p);

#endif
