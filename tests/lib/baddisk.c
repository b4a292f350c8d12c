/*
 * A disk that goes wrong under a real process: loaded with LD_PRELOAD, told
 * what to do through a file that the test maps as well (BADDISK=PATH of it;
 * tests/lib/baddisk.py is the other side).
 *
 * Of the calls of `kind` on files whose path has `path` in it every `every`-th
 * goes wrong, until `left` of them have. Segments in the making count only when
 * `path` says so: the head goes on without them (common/seg/seg_pool.c).
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define BAD_POOL "pool-" /* names of segments in the making */

enum { BAD_NOT, BAD_SYNC, BAD_WRITE, BAD_FULL, BAD_READ, BAD_FLIP };

/* Host byte order; layout known to baddisk.py. */
struct bad {
	uint32_t kind, every;
	uint32_t seen, hits; /* atomic */
	uint32_t left;       /* atomic */
	char path[236];
};

static struct bad *bad_map(void)
{
	static struct bad *map; /* atomic; made twice by two threads: no harm */
	struct bad *m = __atomic_load_n(&map, __ATOMIC_ACQUIRE);
	const char *path = getenv("BADDISK");
	int fd;

	if (m != NULL || path == NULL)
		return m;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (m == MAP_FAILED)
		return NULL;
	__atomic_store_n(&map, m, __ATOMIC_RELEASE);
	return m;
}

/* Takes one of those that are left. */
static int bad_take(struct bad *m)
{
	uint32_t left = __atomic_load_n(&m->left, __ATOMIC_RELAXED);

	while (left > 0)
		if (__atomic_compare_exchange_n(&m->left, &left, left - 1, 0,
						__ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return 1;
	return 0;
}

/* Does this call on fd go wrong? */
static int bad_now(uint32_t kind, int fd)
{
	struct bad *m = bad_map();
	char link[64], path[4096];
	ssize_t n;

	if (m == NULL || __atomic_load_n(&m->kind, __ATOMIC_ACQUIRE) != kind)
		return 0;
	(void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path - 1);
	if (n < 0)
		return 0;
	path[n] = '\0';
	if (strstr(path, m->path) == NULL ||
	    (strstr(path, BAD_POOL) != NULL &&
	     strstr(m->path, BAD_POOL) == NULL))
		return 0;
	if ((__atomic_add_fetch(&m->seen, 1, __ATOMIC_RELAXED)) %
		    (m->every == 0 ? 1 : m->every) != 0 || !bad_take(m))
		return 0;
	__atomic_fetch_add(&m->hits, 1, __ATOMIC_RELAXED);
	return 1;
}

#define NEXT(name) \
	((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

int fdatasync(int fd)
{
	if (bad_now(BAD_SYNC, fd)) {
		errno = EIO;
		return -1;
	}
	return NEXT(fdatasync)(fd);
}

int fsync(int fd)
{
	if (bad_now(BAD_SYNC, fd)) {
		errno = EIO;
		return -1;
	}
	return NEXT(fsync)(fd);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	if (bad_now(BAD_WRITE, fd)) {
		errno = EIO;
		return -1;
	}
	if (bad_now(BAD_FULL, fd)) {
		errno = ENOSPC;
		return -1;
	}
	return NEXT(pwritev)(fd, iov, n, off);
}

static ssize_t bad_read(int fd, void *buf, ssize_t n)
{
	if (n <= 0)
		return n;
	if (bad_now(BAD_READ, fd)) {
		errno = EIO;
		return -1;
	}
	if (bad_now(BAD_FLIP, fd)) {
		uint8_t *p = buf;
		uint32_t r = (uint32_t)random();

		p[r / 8 % (uint32_t)n] ^= (uint8_t)(1u << r % 8);
	}
	return n;
}

ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	return bad_read(fd, buf, NEXT(pread)(fd, buf, len, off));
}

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	ssize_t got = NEXT(preadv2)(fd, iov, n, off, flags);

	/* flips are of the first buffer; ours have one */
	if (got > (ssize_t)iov->iov_len)
		return got;
	return bad_read(fd, iov->iov_base, got);
}
