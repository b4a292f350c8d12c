/*
 * Values of a portable stream go into the log of this store, its rows into a
 * local stream that says where they are now.
 *
 * Happy path of a step: a worker writes the rows of the step before to
 * DIR/NNNNN.new, with the places that their values have got, and goes on through
 * DIR/NNNNN.fetch for about a MiB -> VALUE records -> durable -> the next one. At
 * the end the file is synced.
 *
 * The cleaner of the log is held from before the first record: until these rows
 * are in place nobody sees what they name. Values in front of a row belong to that
 * row; so what has to be remembered is the places of one row's values.
 *
 * Failure modes: as of fetching. What is in the log by then is dead. A disk that
 * has no room for all of it is told before anything goes into the log, which
 * stops the process when it cannot be written.
 */
#include "storaged/shard_snap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "storaged/ns_values.h"

struct take_value {
	struct seg_append append;
	struct shard_fetch *f;
	uint8_t *bytes; /* owned */
};

/* Where a value is now. */
struct take_place {
	struct wire_u128 hash;
	uint32_t len;
	uint64_t gen, off;
};

/* A row of the step: its bytes are in `bytes`. */
struct take_row {
	size_t at, key_len, len;
	size_t values; /* of the step, in front of it and of rows before it */
};

struct shard_take {
	struct rows_stream_reader *reader;
	struct rows_stream_writer *writer;
	struct vfs_file *file;
	struct buf in, out;
	uint64_t read_off, write_off;
	bool read_all, finished;
	/* the step */
	struct take_value **values;
	size_t n_values, cap_values;
	struct take_row *rows;
	size_t n_rows, cap_rows;
	struct buf bytes;
	size_t collected;
	size_t under_way;
	/* of the row to come */
	struct take_place *places;
	size_t n_places, cap_places, next_place;
	struct buf row;
};

static int take_grow(void *array, size_t *cap, size_t n, size_t size)
{
	void **p = array, *grown;
	size_t want = *cap == 0 ? 64 : *cap * 2;

	if (n < *cap)
		return 0;
	grown = mem_realloc(*p, want * size);
	if (grown == NULL)
		return -ENOMEM;
	*p = grown;
	*cap = want;
	return 0;
}

static void take_drop_step(struct shard_take *t)
{
	for (size_t i = 0; i < t->n_values; i++) {
		mem_free(t->values[i]->bytes);
		mem_free(t->values[i]);
	}
	t->n_values = t->n_rows = t->collected = 0;
	buf_reset(&t->bytes);
}

void shard_take_free(struct shard_take *t)
{
	if (t == NULL)
		return;
	take_drop_step(t);
	rows_stream_reader_free(t->reader);
	rows_stream_writer_free(t->writer);
	if (t->file != NULL)
		t->file->vfs->ops->close(t->file);
	mem_free(t->values);
	mem_free(t->rows);
	mem_free(t->places);
	buf_fini(&t->in);
	buf_fini(&t->out);
	buf_fini(&t->bytes);
	buf_fini(&t->row);
	mem_free(t);
}

/* --- worker: what the reader hands out --- */

static int take_on_value(void *arg, struct wire_u128 hash,
			 struct wire_bytes bytes)
{
	struct shard_fetch *f = arg;
	struct shard_take *t = f->take;
	struct take_value *v;

	if (bytes.len == 0 || bytes.len > WIRE_CHUNK)
		return -EBADMSG;
	if (take_grow(&t->values, &t->cap_values, t->n_values,
		      sizeof *t->values) != 0)
		return -ENOMEM;
	v = mem_zalloc(sizeof *v);
	if (v == NULL)
		return -ENOMEM;
	v->f = f;
	v->bytes = mem_dup(bytes.p, bytes.len);
	if (v->bytes == NULL) {
		mem_free(v);
		return -ENOMEM;
	}
	v->append.hash = hash;
	v->append.iov[0] = (struct iovec){ v->bytes, bytes.len };
	t->values[t->n_values++] = v;
	t->collected += bytes.len;
	return 0;
}

static int take_on_row(void *arg, struct wire_bytes key,
		       struct wire_bytes value)
{
	struct shard_fetch *f = arg;
	struct shard_take *t = f->take;

	if (key.p[0] == 0xff) /* no type is that high, no key range has it */
		return -EBADMSG;
	if (take_grow(&t->rows, &t->cap_rows, t->n_rows, sizeof *t->rows) != 0)
		return -ENOMEM;
	t->rows[t->n_rows++] = (struct take_row){
		.at = t->bytes.len, .key_len = key.len, .len = value.len,
		.values = t->n_values,
	};
	buf_add(&t->bytes, key.p, key.len);
	buf_add(&t->bytes, value.p, value.len);
	t->collected += key.len + value.len;
	return t->bytes.err;
}

/* --- worker: rows of the step before --- */

static int take_move(void *arg, const struct ns_value_at *v)
{
	struct shard_take *t = arg;

	/* they come in the order of their names, mostly */
	for (size_t i = 0; i < t->n_places; i++) {
		const struct take_place *p =
			&t->places[(t->next_place + i) % t->n_places];

		if (!wire_u128_eq(p->hash, v->hash) || p->len != v->len)
			continue;
		t->next_place = (t->next_place + i) % t->n_places;
		ns_value_move(t->row.data, v->at, p->gen, p->off);
		return 0;
	}
	return -EBADMSG; /* a row without one of its values */
}

static int take_place(struct shard_take *t, const struct take_value *v)
{
	if (take_grow(&t->places, &t->cap_places, t->n_places,
		      sizeof *t->places) != 0)
		return -ENOMEM;
	t->places[t->n_places++] = (struct take_place){
		.hash = v->append.hash,
		.len = (uint32_t)v->append.iov[0].iov_len,
		.gen = v->append.pos.gen, .off = v->append.body_off,
	};
	return 0;
}

static int take_write_row(struct shard_take *t, const struct take_row *r,
			  size_t *value)
{
	const uint8_t *key = t->bytes.data + r->at;
	int rv = 0;

	for (; *value < r->values && rv == 0; (*value)++)
		rv = take_place(t, t->values[*value]);
	if (rv != 0)
		return rv;
	buf_reset(&t->row);
	buf_add(&t->row, key + r->key_len, r->len);
	if (t->row.err != 0)
		return t->row.err;
	if (ns_has_values(key[0]))
		rv = ns_values_each(key[0], wire_bytes(key + r->key_len, r->len),
				    take_move, t);
	t->n_places = t->next_place = 0;
	if (rv == 0)
		rv = rows_stream_push(t->writer, wire_bytes(key, r->key_len),
				      wire_bytes(t->row.data, r->len),
				      &t->out);
	return rv == -EIO ? -EBADMSG : rv; /* no such row */
}

static int take_flush(struct shard_take *t)
{
	struct iovec iov = { t->out.data, t->out.len };
	int rv;

	if (t->out.len == 0)
		return 0;
	rv = t->file->vfs->ops->pwritev(t->file, &iov, 1, t->write_off);
	t->write_off += t->out.len;
	buf_reset(&t->out);
	return rv;
}

static int take_write(struct shard_take *t)
{
	size_t value = 0;
	int rv = 0;

	for (size_t i = 0; i < t->n_rows && rv == 0; i++) {
		rv = take_write_row(t, &t->rows[i], &value);
		if (rv == 0 && t->out.len >= SNAP_PIECE)
			rv = take_flush(t);
	}
	for (; value < t->n_values && rv == 0; value++)
		rv = take_place(t, t->values[value]);
	take_drop_step(t);
	return rv == 0 ? take_flush(t) : rv;
}

static int take_finish(struct shard_take *t)
{
	int rv;

	if (t->n_places > 0) /* of no row */
		return -EBADMSG;
	rv = rows_stream_push_end(t->writer, &t->out);
	if (rv == 0)
		rv = take_flush(t);
	if (rv == 0)
		rv = t->file->vfs->ops->fdatasync(t->file);
	t->finished = rv == 0;
	return rv;
}

/* --- worker: a step --- */

static int take_open(struct shard_fetch *f)
{
	struct rows_stream_head head = {
		.group = f->head.group, .at = f->head.at,
		.store = f->set->config.store,
	};
	struct vfs *vfs = f->set->env->vfs;
	struct shard_take *t = f->take;
	char *path;
	int rv = shard_snap_unlink(f->set, f->g->id, RAFT_SNAP_NEW);

	if (rv == 0)
		rv = rows_stream_pusher_new(&head, &t->writer);
	if (rv != 0)
		return rv;
	path = raft_snap_path(f->set->config.snap_dir, f->g->id, RAFT_SNAP_NEW);
	rv = path == NULL ? -ENOMEM
			  : vfs->ops->open(vfs, path, O_RDWR | O_CREAT | O_EXCL,
					   0600, &t->file);
	mem_free(path);
	return rv;
}

static int take_read(struct shard_fetch *f)
{
	size_t step = f->set->config.snap_piece, piece = step / 4;
	struct shard_take *t = f->take;
	int rv = 0;

	while (rv == 0 && t->collected < step) {
		uint8_t *p;
		ssize_t n;

		buf_reset(&t->in);
		p = buf_reserve(&t->in, piece);
		if (p == NULL)
			return t->in.err;
		n = f->file->vfs->ops->pread(f->file, p, piece,
					     t->read_off, 0);
		if (n <= 0)
			return n == 0 ? -EBADMSG : (int)n;
		t->read_off += (uint64_t)n;
		rv = rows_stream_feed(t->reader, p, (size_t)n);
	}
	t->read_all = rv == 1;
	return rv == 1 ? 0 : rv;
}

static void take_run(struct env_work *work)
{
	struct shard_fetch *f = CONTAINER_OF(work, struct shard_fetch, work);
	struct shard_take *t = f->take;
	int rv = t->file == NULL ? take_open(f) : take_write(t);

	if (rv == 0 && !t->read_all)
		rv = take_read(f);
	else if (rv == 0)
		rv = take_finish(t);
	f->rv = rv;
}

/* --- loop --- */

static void take_step(struct shard_fetch *f);

static void take_appended(struct seg_append *a)
{
	struct take_value *v = CONTAINER_OF(a, struct take_value, append);
	struct shard_fetch *f = v->f;

	if (--f->take->under_way > 0)
		return;
	f->busy = false;
	take_step(f);
}

static void take_append(struct shard_fetch *f)
{
	struct shard_take *t = f->take;

	f->state = FETCH_APPEND;
	f->busy = true;
	t->under_way = t->n_values;
	for (size_t i = 0; i < t->n_values; i++) {
		struct seg_append *a = &t->values[i]->append;

		a->type = SEG_VALUE;
		a->group = f->g->id;
		a->niov = 1;
		a->has_hash = true;
		a->done = take_appended;
		seg_append(f->set->port, a);
	}
}

static void take_ran(struct env_work *work)
{
	struct shard_fetch *f = CONTAINER_OF(work, struct shard_fetch, work);
	struct shard_take *t = f->take;

	f->busy = false;
	if (f->rv != 0)
		shard_fetch_end(f, f->rv);
	else if (t->finished)
		shard_fetch_ready(f);
	else if (t->n_values > 0)
		take_append(f);
	else
		take_step(f);
}

static void take_step(struct shard_fetch *f)
{
	f->state = FETCH_TAKE;
	f->busy = true;
	f->work.run = take_run;
	f->work.done = take_ran;
	env_work(f->set->env, &f->work);
}

/* Values and rows are as much again as the stream, at most. */
static bool take_has_room(const struct shard_fetch *f)
{
	const struct shard_config *config = &f->set->config;
	uint64_t total, avail;

	if (config->space == NULL)
		return true;
	config->space(config->arg, &total, &avail);
	return avail / 2 >= f->off;
}

int shard_take_begin(struct shard_fetch *f)
{
	const struct rows_stream_sink sink = {
		.value = take_on_value, .row = take_on_row, .arg = f,
	};
	struct shard_take *t;

	if (!take_has_room(f))
		return -ENOSPC;
	t = mem_zalloc(sizeof *t);
	if (t == NULL)
		return -ENOMEM;
	buf_init(&t->in, 0);
	buf_init(&t->out, 0);
	buf_init(&t->bytes, 0);
	buf_init(&t->row, 0);
	f->take = t;
	t->reader = rows_stream_reader_new(&sink);
	if (t->reader == NULL)
		return -ENOMEM;
	shard_hold(f->set, true);
	f->held = true;
	take_step(f);
	return 0;
}
