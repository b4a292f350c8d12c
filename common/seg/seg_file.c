/*
 * Names of segments, and the table of those that count.
 *
 * A reader holds a segment while it reads: so the file of one that is freed
 * meanwhile stays until the reader leaves, and no reader ever sees bytes that
 * are not of the segment it asked for. Once the table says GONE nobody gets
 * in, and the last one out wakes who waits to take the file away.
 *
 * Files stay open, up to a limit; then one that nobody holds and that was not
 * used for a round is closed. The one that is written stays.
 */
#include "common/seg/seg_int.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"

unsigned seg_open_max = SEG_OPEN_MAX;

void seg_name(uint64_t gen, char name[SEG_NAME_MAX])
{
	(void)snprintf(name, SEG_NAME_MAX, "%016" PRIx64 ".seg", gen);
}

bool seg_name_parse(const char *name, uint64_t *ret_gen)
{
	uint64_t gen = 0;

	if (strlen(name) != 20 || strcmp(name + 16, ".seg") != 0)
		return false;
	for (int i = 0; i < 16; i++) {
		const char *digits = "0123456789abcdef";
		const char *d = strchr(digits, name[i]);

		if (d == NULL)
			return false;
		gen = gen << 4 | (uint64_t)(d - digits);
	}
	if (gen == 0)
		return false;
	*ret_gen = gen;
	return true;
}

char *seg_path(const struct seg_head *head, const char *name)
{
	return mem_printf("%s/%s", head->dir, name);
}

int seg_open_named(struct seg_head *head, const char *name, int flags,
		   struct vfs_file **ret_file)
{
	char *path = seg_path(head, name);
	int rv;

	if (path == NULL)
		return -ENOMEM;
	rv = head->vfs->ops->open(head->vfs, path, flags, 0600, ret_file);
	mem_free(path);
	return rv;
}

int seg_open_gen(struct seg_head *head, uint64_t gen, int flags,
		 struct vfs_file **ret_file)
{
	char name[SEG_NAME_MAX];

	seg_name(gen, name);
	return seg_open_named(head, name, flags, ret_file);
}

int seg_unlink_gen(struct seg_head *head, uint64_t gen)
{
	char name[SEG_NAME_MAX];
	char *path;
	int rv;

	seg_name(gen, name);
	path = seg_path(head, name);
	if (path == NULL)
		return -ENOMEM;
	rv = head->vfs->ops->unlink(head->vfs, path);
	mem_free(path);
	return rv;
}

/* --- the table; its functions with _at are called with the lock held --- */

static void seg_table_lock(struct seg_head *head)
{
	(void)pthread_mutex_lock(&head->files_lock);
}

static void seg_table_unlock(struct seg_head *head)
{
	(void)pthread_mutex_unlock(&head->files_lock);
}

/* Where gen stands, or would stand. */
static size_t seg_table_at(const struct seg_head *head, uint64_t gen)
{
	size_t lo = 0, hi = head->n_files;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (head->files[mid]->gen < gen)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct seg_file *seg_table_find_at(const struct seg_head *head,
					  uint64_t gen)
{
	size_t i = seg_table_at(head, gen);

	return i < head->n_files && head->files[i]->gen == gen ? head->files[i]
							       : NULL;
}

static void seg_table_close_at(struct seg_head *head, struct seg_file *s)
{
	struct vfs_file **both[] = { &s->f, &s->direct };

	for (unsigned i = 0; i < 2; i++) {
		if (*both[i] == NULL)
			continue;
		head->vfs->ops->close(*both[i]);
		*both[i] = NULL;
		head->n_open--;
	}
}

/* Makes room for one more open file, if some file can go. */
static void seg_table_evict_at(struct seg_head *head)
{
	for (size_t i = 0; i < 2 * head->n_files; i++) {
		struct seg_file *s;

		if (head->n_open < seg_open_max)
			return;
		s = head->files[head->hand++ % head->n_files];
		if (s->f == NULL || s->users > 0 || s->state == SEG_STATE_CURRENT)
			continue;
		if (!s->recent)
			seg_table_close_at(head, s);
		s->recent = false;
	}
}

static int seg_table_grow_at(struct seg_head *head)
{
	size_t cap = head->cap_files == 0 ? 16 : head->cap_files * 2;
	struct seg_file **p;

	if (head->n_files < head->cap_files)
		return 0;
	p = mem_realloc(head->files, cap * sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	head->files = p;
	head->cap_files = cap;
	return 0;
}

int seg_table_add(struct seg_head *head, uint64_t gen, uint64_t bytes,
		  enum seg_state state, struct vfs_file *f)
{
	struct seg_file *s = mem_zalloc(sizeof(*s));
	int rv;

	if (s == NULL)
		return -ENOMEM;
	*s = (struct seg_file){
		.gen = gen, .bytes = bytes, .state = state, .f = f,
	};
	seg_table_lock(head);
	rv = seg_table_grow_at(head);
	if (rv == 0) {
		assert(head->n_files == 0 ||
		       head->files[head->n_files - 1]->gen < gen);
		head->files[head->n_files++] = s;
		if (f != NULL)
			head->n_open++;
		seg_table_evict_at(head);
	}
	seg_table_unlock(head);
	if (rv != 0)
		mem_free(s);
	return rv;
}

void seg_table_set(struct seg_head *head, uint64_t gen, enum seg_state state)
{
	struct seg_file *s;

	seg_table_lock(head);
	s = seg_table_find_at(head, gen);
	assert(s != NULL && s->state < state);
	s->state = state;
	seg_table_unlock(head);
}

void seg_table_shrink(struct seg_head *head, uint64_t gen, uint64_t bytes)
{
	struct seg_file *s;

	seg_table_lock(head);
	s = seg_table_find_at(head, gen);
	seg_stat_add(&head->stats.bytes, bytes - s->bytes);
	s->bytes = bytes;
	seg_table_unlock(head);
}

int seg_table_freeing(struct seg_head *head, uint64_t gen)
{
	struct seg_file *s;
	int rv = 0;

	seg_table_lock(head);
	s = seg_table_find_at(head, gen);
	if (s == NULL || s->state > SEG_STATE_SEALED)
		rv = -ENOENT;
	else if (s->state == SEG_STATE_CURRENT)
		rv = -EBUSY;
	else
		s->state = SEG_STATE_FREEING;
	seg_table_unlock(head);
	return rv;
}

int seg_table_ranges(struct seg_head *head, struct seg_ranges *ret)
{
	int rv = 0;

	seg_table_lock(head);
	for (size_t i = 0; i < head->n_files && rv == 0; i++)
		if (head->files[i]->state < SEG_STATE_UNLISTED ||
		    SEG_MUTATES(FREE_LISTED))
			rv = seg_ranges_add(ret, head->files[i]->gen);
	seg_table_unlock(head);
	return rv;
}

int seg_segments(struct seg_head *head, struct seg_info **ret_infos,
		 size_t *ret_n)
{
	struct seg_info *infos = NULL;
	size_t n = 0;

	seg_table_lock(head);
	if (head->n_files > 0) {
		infos = mem_calloc(head->n_files, sizeof(*infos));
		if (infos == NULL) {
			seg_table_unlock(head);
			return -ENOMEM;
		}
	}
	for (size_t i = 0; i < head->n_files; i++) {
		const struct seg_file *s = head->files[i];

		if (s->state == SEG_STATE_SEALED)
			infos[n++] = (struct seg_info){ s->gen, s->bytes };
	}
	seg_table_unlock(head);
	if (n == 0) {
		mem_free(infos);
		infos = NULL;
	}
	*ret_infos = infos;
	*ret_n = n;
	return 0;
}

void seg_table_drop(struct seg_head *head, uint64_t gen)
{
	struct seg_file *s;
	size_t i;

	seg_table_lock(head);
	s = seg_table_find_at(head, gen);
	assert(s != NULL && s->state == SEG_STATE_GONE);
	while (s->users > 0)
		(void)pthread_cond_wait(&head->files_idle, &head->files_lock);
	seg_table_close_at(head, s);
	i = seg_table_at(head, gen); /* others may have gone meanwhile */
	head->n_files--;
	memmove(&head->files[i], &head->files[i + 1],
		(head->n_files - i) * sizeof(*head->files));
	seg_stat_add(&head->stats.segments, -1ull);
	seg_stat_add(&head->stats.bytes, -s->bytes);
	seg_table_unlock(head);
	mem_free(s);
}

void seg_table_free(struct seg_head *head)
{
	for (size_t i = 0; i < head->n_files; i++) {
		seg_table_close_at(head, head->files[i]);
		mem_free(head->files[i]);
	}
	mem_free(head->files);
	head->files = NULL;
	head->n_files = 0;
}

/* --- readers --- */

/*
 * Opens the file of s, which the caller holds, into *at, one of its two
 * handles; the lock is not held.
 */
static int seg_file_open(struct seg_head *head, struct seg_file *s, int flags,
			 struct vfs_file **at)
{
	struct vfs_file *f = NULL;
	int rv = seg_open_gen(head, s->gen, flags, &f);

	if (rv != 0) /* it must be there: not the answer "freed" */
		return rv == -ENOENT ? -EIO : rv;
	seg_table_lock(head);
	if (*at == NULL) {
		*at = f;
		f = NULL;
		head->n_open++;
		seg_table_evict_at(head);
	}
	seg_table_unlock(head);
	if (f != NULL) /* another reader was faster */
		head->vfs->ops->close(f);
	return 0;
}

int seg_file_use(struct seg_head *head, uint64_t gen, bool nowait,
		 struct seg_file **ret_file)
{
	struct seg_file *s;
	bool open = true;
	int rv = 0;

	seg_table_lock(head);
	s = seg_table_find_at(head, gen);
	if (s == NULL || s->state == SEG_STATE_GONE)
		rv = -ENOENT;
	else
		open = s->f != NULL;
	if (rv == 0 && !open && nowait)
		rv = -EAGAIN; /* opening may block */
	if (rv == 0) {
		s->users++;
		s->recent = true;
	}
	seg_table_unlock(head);
	if (!open && rv == 0) {
		rv = seg_file_open(head, s, O_RDWR, &s->f);
		if (rv != 0)
			seg_file_leave(head, s);
	}
	if (rv == 0)
		*ret_file = s;
	return rv;
}

int seg_file_direct(struct seg_head *head, struct seg_file *s,
		    struct vfs_file **ret_file)
{
	struct vfs_file *f;
	int rv = 0;

	seg_table_lock(head);
	f = s->direct;
	seg_table_unlock(head);
	if (f == NULL) {
		rv = seg_file_open(head, s, O_RDWR | O_DIRECT, &s->direct);
		f = s->direct; /* stays: we hold s */
	}
	if (rv == 0)
		*ret_file = f;
	return rv;
}

int seg_file_use_next(struct seg_head *head, uint64_t gen,
		      struct seg_file **ret_file)
{
	uint64_t next = 0;
	size_t i;

	seg_table_lock(head);
	i = seg_table_at(head, gen + 1);
	if (i < head->n_files)
		next = head->files[i]->gen;
	seg_table_unlock(head);
	return next == 0 ? -ENOENT : seg_file_use(head, next, false, ret_file);
}

bool seg_file_sealed(struct seg_head *head, const struct seg_file *s)
{
	bool sealed;

	seg_table_lock(head);
	sealed = s->state != SEG_STATE_CURRENT;
	seg_table_unlock(head);
	return sealed;
}

void seg_file_leave(struct seg_head *head, struct seg_file *s)
{
	seg_table_lock(head);
	if (--s->users == 0 && s->state == SEG_STATE_GONE)
		(void)pthread_cond_broadcast(&head->files_idle);
	seg_table_unlock(head);
}

int seg_pread_all(struct vfs_file *f, void *buf, size_t len, uint64_t off,
		  int flags)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = f->vfs->ops->pread(f, p, len, off, flags);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO; /* asked for bytes behind the end */
		p += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

int seg_read(struct seg_head *head, uint64_t gen, uint64_t off, void *buf,
	     size_t len, int flags)
{
	struct seg_file *s;
	int rv = seg_file_use(head, gen, (flags & VFS_NOWAIT) != 0, &s);

	if (rv != 0)
		return rv;
	rv = seg_pread_all(s->f, buf, len, off, flags);
	seg_file_leave(head, s);
	return rv;
}
