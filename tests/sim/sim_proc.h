#ifndef TESTS_SIM_SIM_PROC_H
#define TESTS_SIM_SIM_PROC_H
/*
 * A simulated process with a log and a Raft host. The simulators' own struct
 * proc begins with it, so what the cluster, the host and the log head call with
 * that for argument may stand here.
 */
#include "common/raft/raft_host.h"
#include "common/seg/seg.h"
#include "common/seg/super.h"
#include "tests/sim/sim_cluster.h"

struct sim_proc {
	struct sim_cluster *c;
	unsigned node;
	struct env *env;
	struct super super;
	struct seg_head *log;
	struct seg_port *port;
	struct raft_host *host;
	struct sim_store *store; /* sim_store.h; NULL: it is none */
};

void sim_proc_init(struct sim_proc *p, struct sim_cluster *c, unsigned node,
		   struct env *env);

/*
 * The super block: /super, made on an empty disk. Whoever needs p->super calls
 * it before sim_proc_open_log() does.
 */
int sim_proc_open_super(struct sim_proc *p, struct errbuf *e);
/*
 * Opens the log: /log, in small segments. config says who gets records, rot
 * and START, with p for argument; what it says of the rest is not looked at.
 */
int sim_proc_open_log(struct sim_proc *p, const struct seg_config *config,
		      struct errbuf *e);
/* For the log that was opened; free it with seg_port_free(). */
void sim_proc_open_port(struct sim_proc *p);
void sim_proc_close_log(struct sim_proc *p, bool crash);
/* A scan found rot: no disk did anything wrong, no rot. */
void sim_proc_check_rot(struct sim_proc *p, const struct seg_rot *rot);

/* --- called with a process --- */
/* struct sim_ops */
int sim_proc_receive(void *proc, uint64_t from, const uint8_t *frame,
		     size_t len);
void sim_proc_link_reset(void *proc, uint64_t peer);
/* struct raft_host_config, struct shard_config */
void sim_proc_send(void *proc, uint64_t to, const uint8_t *frame, size_t len);
/* ns_check(): there should be none */
void sim_proc_finding(void *proc, const char *text);

#endif
