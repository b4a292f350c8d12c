#include "tests/unit/raft_peers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int peers_apply(void *arg, struct raft_group *g,
		       const struct raft_cmd *cmd)
{
	struct peers *f = arg;

	if (f->park && g == f->group)
		return -EAGAIN;
	if (f->on_apply != NULL)
		f->on_apply(f, g, cmd);
	f->n_applied++;
	return 0;
}

static void peers_role(void *arg, struct raft_group *g, bool leader)
{
	struct peers *f = arg;

	(void)g;
	f->leader = leader;
}

static void peers_lags(void *arg, struct raft_group *g, uint64_t from)
{
	struct peers *f = arg;

	(void)g;
	f->lags_from = from;
	f->n_lags++;
}

static void peers_install(void *arg, struct raft_group *g)
{
	struct peers *f = arg;

	(void)g;
	f->n_installs++;
}

static uint64_t peers_room(void *arg)
{
	const struct peers *f = arg;

	return f->room == NULL ? UINT64_MAX : *f->room;
}

static void peers_send(void *arg, uint64_t to, const uint8_t *frame, size_t len)
{
	struct peers *f = arg;
	struct raft_wire_frame w;
	struct wire_reader r;
	uint32_t n;

	if (raft_frame_decode(&w, frame, len) != 0)
		abort();
	r = wire_vec_reader(w.messages, &n);
	f->n_frames++;
	f->n_messages += n;
	for (; n > 0 && f->n_sent < PEERS_SENT; n--) {
		struct raft_item item;

		raft_item_get(&r, &item);
		f->to[f->n_sent] = to;
		if (raft_msg_decode(item.type, item.msg, &f->sent[f->n_sent],
				    &f->extra[f->n_sent]) != 0)
			abort();
		f->n_sent++;
	}
}

static int peers_record(void *arg, const struct seg_rec *rec)
{
	struct peers *f = arg;

	return raft_host_recover(f->host, rec);
}

static void peers_start_body(void *arg, uint64_t gen, struct buf *b)
{
	struct peers *f = arg;

	raft_host_start_body(f->host, gen, b);
}

static const uint64_t voters[] = { 1, 2, 3, 4, 5 };

int peers_start(struct peers *f)
{
	struct raft_host_config hc = {
		.id = 1, .apply = peers_apply, .role = peers_role,
		.send = peers_send, .room = peers_room, .lags = peers_lags,
		.install = peers_install, .arg = f,
		.election_ms = PEERS_ELECTION_MS,
		.heartbeat_ms = PEERS_HEARTBEAT_MS,
		.read_barrier = f->read_barrier,
		.cache_bytes = f->cache_bytes,
	};
	struct seg_config sc = {
		.dir = "/log", .segment_size = 1u << 16, .first_size = 1u << 15,
		.on_record = peers_record, .start_body = peers_start_body,
		.arg = f,
	};
	struct raft_group_config gc = {
		.voters = voters, .applied = f->rows.index,
		.term = f->rows.term, .conf_index = f->rows.conf_index,
		.conf = f->rows.conf,
	};
	struct errbuf e;

	if (f->n_voters == 0)
		f->n_voters = 3;
	gc.n_voters = f->n_voters;

	f->mini = minienv_new(crashfs_vfs(f->fs), 5);
	hc.env = minienv_env(f->mini);
	if (raft_host_new(&hc, &f->host) != 0 ||
	    seg_head_open(hc.env, &sc, &f->log, &e) != 0 ||
	    seg_port_new(f->log, hc.env, &f->port) != 0)
		return -1;
	raft_host_set_log(f->host, f->log, f->port);
	if (raft_host_open_group(f->host, &gc, &f->group, &e) != 0 ||
	    raft_host_start(f->host) != 0)
		return -1;
	minienv_run(f->mini);
	return 0;
}

struct raft_group *peers_open_group(struct peers *f, uint16_t group)
{
	struct raft_group_config gc = {
		.group = group, .voters = voters, .n_voters = f->n_voters,
	};
	struct raft_group *g;
	struct errbuf e;

	assert_int_equal(raft_host_open_group(f->host, &gc, &g, &e), 0);
	minienv_run(f->mini);
	return g;
}

void peers_stop(struct peers *f)
{
	seg_head_close(f->log);
	raft_host_free(f->host);
	seg_port_free(f->port);
	minienv_free(f->mini);
}

void peers_cut(struct peers *f)
{
	crashfs_freeze(f->fs, true);
	seg_head_abandon(f->log);
	raft_host_free(f->host);
	seg_port_free(f->port);
	minienv_free(f->mini);
	crashfs_crash(f->fs, 7);
}

int peers_setup(void **state)
{
	struct peers *f = calloc(1, sizeof *f);

	f->fs = crashfs_new(1);
	*state = f;
	return peers_start(f);
}

int peers_teardown(void **state)
{
	struct peers *f = *state;

	peers_stop(f);
	crashfs_free(f->fs);
	free(f);
	return 0;
}

void peers_quarantine_over(struct peers *f)
{
	minienv_advance(f->mini, PEERS_ELECTION_MS * 1000000ull);
	f->n_sent = 0;
}

int peers_bytes(struct peers *f, uint64_t from, uint8_t type,
		const struct buf *msg)
{
	struct raft_item item = {
		f->group_id, type, wire_bytes(msg->data, msg->len),
	};
	struct raft_wire_frame w = {
		.magic = RAFT_FRAME_MAGIC, .version = RAFT_FRAME_VERSION,
		.session = 100 + from, .number = ++f->number[from],
	};
	struct wire_vec v;
	struct buf b;
	int rv;

	wire_vec_init(&v);
	raft_item_put(&v, &item);
	w.messages = wire_vec_bytes(&v);
	buf_init(&b, 0);
	assert_int_equal(raft_wire_frame_encode(&w, &b), 0);
	rv = raft_host_receive(f->host, from, b.data, b.len);
	buf_fini(&b);
	wire_vec_fini(&v);
	return rv;
}

int peers_say_extra(struct peers *f, uint64_t from,
		    const struct raft_message *m, const struct raft_extra *x)
{
	struct buf b;
	int rv;

	buf_init(&b, 0);
	assert_int_equal(raft_msg_encode(m, x, &b), 0);
	rv = peers_bytes(f, from, (uint8_t)m->type, &b);
	buf_fini(&b);
	return rv;
}

int peers_say(struct peers *f, uint64_t from, const struct raft_message *m,
	      uint64_t stamp)
{
	struct raft_extra x = { .stamp = stamp };

	return peers_say_extra(f, from, m, &x);
}

int peers_append(struct peers *f, uint64_t from, struct raft_wire_append w,
		 const struct raft_wire_entry *e, unsigned n)
{
	struct wire_vec v;
	struct buf b;
	int rv;

	wire_vec_init(&v);
	for (unsigned i = 0; i < n; i++)
		raft_wire_entry_put(&v, &e[i]);
	w.entries = wire_vec_bytes(&v);
	buf_init(&b, 0);
	assert_int_equal(raft_wire_append_encode(&w, &b), 0);
	rv = peers_bytes(f, from, RAFT_APPEND_ENTRIES, &b);
	buf_fini(&b);
	wire_vec_fini(&v);
	return rv;
}

struct raft_message peers_vote(uint64_t term, uint64_t from, bool pre,
			       uint64_t index)
{
	struct raft_message m = { .type = RAFT_REQUEST_VOTE };

	m.request_vote = (struct raft_request_vote){
		.version = 2, .term = term, .candidate_id = from,
		.last_log_index = index, .last_log_term = 1, .pre_vote = pre,
	};
	return m;
}

struct raft_message peers_result(uint64_t term, uint64_t last_index)
{
	struct raft_message m = { .type = RAFT_APPEND_ENTRIES_RESULT };

	m.append_entries_result = (struct raft_append_entries_result){
		.version = 2, .term = term, .last_log_index = last_index,
		.features = 1, .capacity = 1,
	};
	return m;
}

/* From as many others as make a majority. */
static void peers_majority(struct peers *f, const struct raft_message *m)
{
	for (unsigned i = 0; i < f->n_voters / 2; i++)
		assert_int_equal(peers_say(f, 2 + i, m, 0), 0);
	minienv_run(f->mini);
}

uint64_t peers_lead(struct peers *f)
{
	struct raft_message m = { .type = RAFT_REQUEST_VOTE_RESULT };
	uint64_t term;

	while (raft_state(&f->group->r) != RAFT_CANDIDATE)
		minienv_advance(f->mini, 100000000);
	term = raft_group_term(f->group) + 1;
	for (int pre = 1; pre >= 0; pre--) {
		m.request_vote_result = (struct raft_request_vote_result){
			.version = 2, .term = term, .vote_granted = true,
			.pre_vote = pre != 0, .features = 1, .capacity = 1,
		};
		peers_majority(f, &m);
	}
	assert_int_equal(raft_state(&f->group->r), RAFT_LEADER);
	m = peers_result(term, rlog_last(&f->group->log));
	peers_majority(f, &m);
	assert_true(raft_group_is_leader(f->group));
	return term;
}

const struct raft_message *peers_last(const struct peers *f, uint64_t to,
				      uint8_t type, struct raft_extra *ret)
{
	for (unsigned i = f->n_sent; i > 0; i--)
		if (f->to[i - 1] == to && f->sent[i - 1].type == type) {
			if (ret != NULL)
				*ret = f->extra[i - 1];
			return &f->sent[i - 1];
		}
	return NULL;
}
