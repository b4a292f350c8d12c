#ifndef STORAGED_STORAGED_H
#define STORAGED_STORAGED_H
/*
 * A storage daemon as a part of a process: its store, the way it joins the
 * managers, its heartbeats. Loop 0.
 */
#include "storaged/store.h"

struct storaged;

/* What programs let users set; rows of a settings table (conf.h). */
struct storaged_settings {
	uint64_t segment_size, reader_lease_ms, opens_grace_ms;
	uint64_t compact_rate, compact_threshold, compact_min_dead;
	uint64_t orphans_period_ms, orphans_grace_ms;
	uint64_t dir_split_names;
	uint64_t reads; /* enum storaged_reads */
};
enum storaged_reads { STORAGED_READS_LEASE, STORAGED_READS_BARRIER };
/* AT(field): its offset in the program's struct. */
#define STORAGED_SETTINGS(AT) \
	{ "segment.size", CONF_SIZE, AT(segment_size), "64MiB", 8u << 20, \
	  1u << 30, "bytes", NULL, false, \
	  "Size of the files that bytes are appended to, and whose space " \
	  "compaction gives back. Smaller ones suit a small disk." }, \
	{ "reader.lease", CONF_MS, AT(reader_lease_ms), "60s", 1000, 86400000, \
	  "ms", NULL, false, \
	  "How long the bytes of a file that was removed or rewritten stay " \
	  "readable for those who are reading it." }, \
	{ "opens.grace", CONF_MS, AT(opens_grace_ms), "60s", 1000, 3600000, \
	  "ms", NULL, false, \
	  "Grace period after a start: how long mounts may take to say again " \
	  "which files they hold open. Until it is over, no file that lost " \
	  "its last name is removed. Mounts say it every 20 s: a shorter " \
	  "period can take such a file from who still has it open." }, \
	{ "compaction.rate", CONF_SIZE, AT(compact_rate), "64MiB", 0, \
	  (uint64_t)1 << 40, "bytes", NULL, false, \
	  "Bytes that compaction copies in a second; 0: as fast as it can. " \
	  "When the disk is nearly full it does not wait." }, \
	{ "compaction.threshold", CONF_U64, AT(compact_threshold), "60", 0, \
	  100, "", NULL, false, \
	  "Compaction begins by itself when no more than this percentage of " \
	  "the bytes on the disk is in use; 0: only on command, or when the " \
	  "disk is nearly full." }, \
	{ "compaction.min_dead", CONF_SIZE, AT(compact_min_dead), "256MiB", \
	  0, (uint64_t)1 << 50, "bytes", NULL, false, \
	  "... and at least so many bytes are not in use." }, \
	{ "orphans.period", CONF_MS, AT(orphans_period_ms), "1h", 1000, \
	  86400000, "ms", NULL, false, \
	  "How often chunks are looked for that nothing names." }, \
	{ "orphans.grace", CONF_MS, AT(orphans_grace_ms), "1h", 1000, \
	  86400000, "ms", NULL, false, \
	  "How long one is kept whose client is gone." }, \
	{ "dir_split_names", CONF_U64, AT(dir_split_names), "1000000", 64, \
	  INT64_MAX, "", NULL, false, \
	  "Entries of a directory in one shard from which on half of them " \
	  "move, in the background, to other shards." }, \
	{ "reads", CONF_ENUM, AT(reads), "lease", 0, 0, "", "lease|barrier", \
	  false, \
	  "How the leader of a shard with several voters answers a read. " \
	  "lease: alone, as long as the others promised to elect nobody " \
	  "else. barrier: after a round to them; for machines whose clock " \
	  "can stand still while time passes, as that of a virtual machine " \
	  "put to sleep may. A shard with one voter always answers at once." },

struct storaged_config {
	struct loop_set *loops;
	struct rpc_server *server; /* ours */
	const char *dir;           /* of the store */
	const char *addr;          /* where others reach us, "unix:PATH" */
	const char *manager;       /* address of the managers */
	bool manager_is_local;     /* they are in this process, on `server` */
	struct storaged_settings settings;
	bool is_check;             /* store.h; asks to be told its shards, and
				    * leaves no address with the managers */
	uint64_t spread_names;     /* store_config.spread_names */
};

/* Opens the store (blocks for recovery) and registers its handlers. */
int storaged_open(const struct storaged_config *config,
		  struct storaged **ret_storaged, struct errbuf *e);
/*
 * Joins the managers (again and again until they answer), starts the shards;
 * ready(arg) when all of them lead. A refusal by the managers ends the
 * process with one sentence.
 */
int storaged_start(struct storaged *s, void (*ready)(void *arg), void *arg,
		   struct errbuf *e);
/* After the loops have stopped. */
void storaged_close(struct storaged *s);

#endif
