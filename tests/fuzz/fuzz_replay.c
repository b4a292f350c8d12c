/*
 * Fuzz target: the log as a Raft host reads it at a start. The input says what
 * the records are (in a real log: every one is whole and has its hash), what
 * START says, and what the rows of the groups say. Properties: a group that
 * cannot be opened says why in one sentence; of one that opens, entries are
 * applied in order, and each as it was written once; what one start found the
 * next one finds again.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "common/base/log.h"
#include "common/base/xxh.h"
#include "common/raft/raft_impl.h"
#include "common/rows/rows_applied.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"

#define ME 1
#define GROUPS 3
#define RECORDS 200
#define BYTES_MAX 64

/* One that was written. */
struct written {
	struct seg_append append;
	uint8_t body[BYTES_MAX];
	uint8_t *conf; /* or a configuration; owned */
};

struct run {
	struct fuzz_in in;
	struct minienv *mini;
	struct seg_head *log;
	struct seg_port *port;
	struct raft_host *host;
	struct wire_bytes start; /* what STARTs say for the owner */
	struct written *records[RECORDS];
	unsigned n;
	uint64_t last[GROUPS];   /* index of the last entry written */
	uint64_t applied[GROUPS];
	uint64_t digest;         /* of what was applied */
};

/* --- writing it --- */

static void on_written(struct seg_append *a)
{
	(void)a;
}

static void on_start_body(void *arg, uint64_t gen, struct buf *buf)
{
	struct run *r = arg;

	(void)gen;
	if (r->host != NULL)
		raft_host_start_body(r->host, gen, buf);
	else
		buf_add(buf, r->start.p, r->start.len);
}

/* A configuration as groups have it: up to three voters. */
static void conf_body(struct run *r, struct written *w, unsigned voters)
{
	struct raft_configuration c;
	struct raft_buffer b;

	raft_configuration_init(&c);
	for (unsigned i = 0; i <= voters % 3; i++) {
		char address[8];

		(void)snprintf(address, sizeof address, "%u", i + ME);
		FUZZ_MUST(raft_configuration_add(&c, i + ME, address,
						 RAFT_VOTER) == 0);
	}
	FUZZ_MUST(raft_configuration_encode(&c, &b) == 0);
	raft_configuration_close(&c);
	w->conf = fuzz_copy(wire_bytes(b.base, b.len));
	w->append.iov[0] = (struct iovec){ w->conf, b.len };
	raft_free(b.base);
	(void)r;
}

static void any_body(struct run *r, struct written *w)
{
	struct wire_bytes b = fuzz_take(&r->in, fuzz_u8(&r->in) % BYTES_MAX);

	if (b.len > 0)
		memcpy(w->body, b.p, b.len);
	w->append.iov[0] = (struct iovec){ w->body, b.len };
}

static void entry(struct run *r, struct written *w, uint8_t how)
{
	struct seg_append *a = &w->append;

	a->type = SEG_ENTRY;
	a->flags = (how & 4) != 0 ? RAFT_CHANGE : RAFT_COMMAND;
	a->a = (how & 1) != 0 ? fuzz_u8(&r->in) : r->last[a->group] + 1;
	a->b = 1 + (fuzz_u8(&r->in) & 3);
	if ((how & 2) != 0) { /* a copy, of a run that may be whole */
		a->id.hi = fuzz_u8(&r->in);
		a->id.lo = (how & 8) != 0 ? a->a : fuzz_u8(&r->in);
	}
	r->last[a->group] = a->a;
	if ((how & 4) != 0 && (how & 16) == 0)
		conf_body(r, w, fuzz_u8(&r->in));
	else
		any_body(r, w);
}

static void record(struct run *r)
{
	struct written *w = calloc(1, sizeof *w);
	uint8_t what = fuzz_u8(&r->in);
	struct seg_append *a;

	FUZZ_MUST(w != NULL);
	a = &w->append;
	a->done = on_written;
	a->niov = 1;
	a->group = (uint16_t)((what >> 4) % GROUPS);
	a->roll = what >= 0xf0;
	switch (what & 15) {
	case 0: /* anything that is a record of an owner */
		a->type = SEG_ENTRY + fuzz_u8(&r->in) % 7;
		if (a->type == SEG_FREED)
			a->type = SEG_HARD;
		a->flags = fuzz_u8(&r->in);
		a->group = fuzz_u16(&r->in);
		a->a = fuzz_int(&r->in, 8);
		a->b = fuzz_int(&r->in, 8);
		a->id.hi = fuzz_int(&r->in, 8);
		a->id.lo = fuzz_int(&r->in, 8);
		any_body(r, w);
		break;
	case 1:
		a->type = SEG_HARD;
		a->a = fuzz_u8(&r->in);
		a->b = fuzz_u8(&r->in) % 4;
		break;
	case 2:
		a->type = SEG_RESET;
		a->a = fuzz_u8(&r->in);
		a->b = a->a == 0 ? 0 : 1 + (fuzz_u8(&r->in) & 3);
		break;
	case 3:
		a->type = SEG_VALUE;
		any_body(r, w);
		break;
	case 4:
		r->start = fuzz_take(&r->in, fuzz_u8(&r->in));
		a->type = SEG_CHECKPOINT;
		a->roll = true;
		break;
	default:
		entry(r, w, fuzz_u8(&r->in));
		break;
	}
	r->records[r->n++] = w;
	seg_append(r->port, a);
	minienv_run(r->mini);
}

/* --- reading it --- */

static bool was_written(const struct run *r, uint16_t group,
			const struct raft_cmd *cmd)
{
	for (unsigned i = 0; i < r->n; i++) {
		const struct seg_append *a = &r->records[i]->append;

		if (a->type == SEG_ENTRY && a->group == group &&
		    a->a == cmd->index && a->b == cmd->term &&
		    a->iov[0].iov_len == cmd->len &&
		    (cmd->len == 0 ||
		     memcmp(a->iov[0].iov_base, cmd->data, cmd->len) == 0))
			return true;
	}
	return false;
}

static int on_apply(void *arg, struct raft_group *g, const struct raft_cmd *cmd)
{
	uint16_t group = raft_group_id(g);
	struct run *r = arg;
	uint64_t w[3] = { group, cmd->index, cmd->term };

	FUZZ_MUST(group < GROUPS);
	FUZZ_MUST(cmd->index > r->applied[group]);
	FUZZ_MUST(was_written(r, group, cmd));
	r->applied[group] = cmd->index;
	r->digest = XXH3_64bits_withSeed(w, sizeof w, r->digest);
	return 0;
}

static int on_passed(void *arg, struct raft_group *g,
		     const struct raft_passed *p)
{
	struct run *r = arg;

	FUZZ_MUST(p->index > r->applied[raft_group_id(g)]);
	r->applied[raft_group_id(g)] = p->index;
	return 0;
}

static void on_send(void *arg, uint64_t to, const uint8_t *frame, size_t len)
{
	(void)arg;
	(void)to;
	(void)frame;
	(void)len;
}

static int on_record(void *arg, const struct seg_rec *rec)
{
	struct run *r = arg;

	return raft_host_recover(r->host, rec);
}

static int on_scan_from(void *arg, const struct seg_rec *start, uint64_t *ret)
{
	struct run *r = arg;

	*ret = raft_start_need(start);
	return raft_host_recover(r->host, start);
}

static int open_log(struct run *r, bool read)
{
	struct seg_config config = {
		.dir = "log", .segment_size = 4096, .first_size = 4096,
		.on_record = read ? on_record : NULL,
		.scan_from = read ? on_scan_from : NULL,
		.start_body = on_start_body, .arg = r,
	};
	struct errbuf e = { "" };
	int rv = seg_head_open(minienv_env(r->mini), &config, &r->log, &e);

	FUZZ_MUST(rv == 0 || e.text[0] != '\0');
	if (rv == 0)
		FUZZ_MUST(seg_port_new(r->log, minienv_env(r->mini),
				       &r->port) == 0);
	return rv;
}

static void close_log(struct run *r)
{
	if (r->log == NULL)
		return;
	seg_head_close(r->log);
	seg_port_free(r->port);
	r->log = NULL;
}

/* What rows say of a group. */
struct says {
	uint64_t applied, term, conf_index;
	unsigned voters; /* of a new group; 0: it is an old one */
	bool doubt;
};

static void open_group(struct run *r, uint16_t group, const struct says *s)
{
	static const uint64_t voters[] = { ME, 2, 3 };
	struct written conf = { .conf = NULL };
	struct raft_group_config config = {
		.group = group, .voters = voters, .n_voters = s->voters,
		.applied = s->applied, .term = s->term,
		.conf_index = s->conf_index,
	};
	struct raft_group *g;
	struct errbuf e = { "" };
	int rv;

	conf_body(r, &conf, s->voters);
	if (s->conf_index > 0)
		config.conf = wire_bytes(conf.conf,
					 conf.append.iov[0].iov_len);
	r->applied[group] = s->applied;
	rv = raft_host_open_group(r->host, &config, &g, &e);
	FUZZ_MUST(rv == 0 || e.text[0] != '\0');
	free(conf.conf);
}

static uint64_t replay(struct run *r, const struct says says[GROUPS])
{
	struct raft_host_config hc = {
		.env = minienv_env(r->mini), .id = ME, .apply = on_apply,
		.passed = on_passed, .send = on_send, .arg = r,
	};

	r->digest = 0;
	FUZZ_MUST(raft_host_new(&hc, &r->host) == 0);
	for (uint16_t i = 0; i < GROUPS; i++)
		if (says[i].doubt)
			FUZZ_MUST(raft_host_recover_doubt(r->host, i) == 0);
	if (open_log(r, true) == 0) {
		raft_host_set_log(r->host, r->log, r->port);
		for (uint16_t i = 0; i < GROUPS; i++)
			open_group(r, i, &says[i]);
		FUZZ_MUST(raft_host_start(r->host) == 0);
		minienv_run(r->mini);
	}
	if (r->log != NULL)
		seg_head_abandon(r->log);
	raft_host_free(r->host);
	if (r->log != NULL)
		seg_port_free(r->port);
	r->log = NULL;
	r->host = NULL;
	return r->digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct crashfs *fs = crashfs_new(1), *copy;
	struct run r = { .in = { data, size } };
	struct says says[GROUPS];
	uint64_t digest;

	log_set_level(LOG_LEVEL_ERROR);
	r.mini = minienv_new(crashfs_vfs(fs), 1);
	for (unsigned i = 0; i < GROUPS; i++) {
		uint8_t how = fuzz_u8(&r.in);

		says[i] = (struct says){
			.applied = (how & 1) != 0 ? fuzz_u8(&r.in) : 0,
			.term = (how & 2) != 0 ? fuzz_u8(&r.in) : 0,
			.conf_index = (how & 4) != 0 ? fuzz_u8(&r.in) : 0,
			.voters = how >> 3 & 3,
			.doubt = (how & 32) != 0,
		};
	}
	FUZZ_MUST(open_log(&r, false) == 0);
	while (r.n < RECORDS && r.in.left > 0)
		record(&r);
	close_log(&r);
	minienv_free(r.mini);
	copy = crashfs_clone(fs);
	r.mini = minienv_new(crashfs_vfs(fs), 1);
	digest = replay(&r, says);
	minienv_free(r.mini);
	r.mini = minienv_new(crashfs_vfs(copy), 2);
	FUZZ_MUST(replay(&r, says) == digest);
	minienv_free(r.mini);
	for (unsigned i = 0; i < r.n; i++) {
		free(r.records[i]->conf);
		free(r.records[i]);
	}
	crashfs_free(copy);
	crashfs_free(fs);
	return 0;
}
