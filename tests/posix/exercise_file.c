/*
 * The operations themselves. Each one first does to the copy in memory what
 * must happen, then to the file, and compares what it can see. Offsets behind
 * the end are brought inside where an operation needs bytes that are there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/posix/exercise.h"

struct ex_file {
	const struct ex_config *config;
	struct ex_fault *fault;
	uint8_t *good; /* what the file must hold */
	uint8_t *buf;  /* what it says */
	uint32_t size;
	int fd, append_fd;
	unsigned opened; /* times */
	bool direct;     /* as it is open now: not to be mapped */
};

#define EX_TEXT(name, text, weight) text,
static const char *const ex_names[] = { EX_OPS(EX_TEXT) };

const char *ex_name(unsigned kind)
{
	return ex_names[kind];
}

void ex_format(const struct ex_op *op, char *out, size_t len)
{
	(void)snprintf(out, len,
		       "%s %" PRIu32 " %" PRIu32 " %" PRIu32 " %d",
		       ex_names[op->kind], op->off, op->len, op->arg,
		       op->keep);
}

static bool __attribute__((format(printf, 2, 3)))
ex_fail(struct ex_file *x, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(x->fault->text, sizeof(x->fault->text), fmt, ap);
	va_end(ap);
	return false;
}

static bool ex_error(struct ex_file *x, const char *call)
{
	return ex_fail(x, "%s: %s", call, strerror(errno));
}

static bool ex_same(struct ex_file *x, const char *call, uint32_t off,
		    uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (x->buf[off + i] != x->good[off + i])
			return ex_fail(x, "%s of %" PRIu32 "+%" PRIu32
				       ": byte %" PRIu32 " is %02x, should be "
				       "%02x (size %" PRIu32 ")", call, off,
				       len, off + i, x->buf[off + i],
				       x->good[off + i], x->size);
	return true;
}

/* Bytes that say where they were written, and when. */
static void ex_fill(struct ex_file *x, uint32_t off, uint32_t len,
		    uint32_t seed)
{
	for (uint32_t i = 0; i < len; i++)
		x->good[off + i] = (uint8_t)(1 + (seed + off + i) % 255);
	if (off + len > x->size)
		x->size = off + len;
}

/* [off, off + len) inside the file; false: it is empty. */
static bool ex_inside(const struct ex_file *x, uint32_t *off, uint32_t *len)
{
	if (x->size == 0)
		return false;
	*off %= x->size;
	if (*len > x->size - *off)
		*len = x->size - *off;
	return true;
}

/* --- open --- */

static bool ex_open(struct ex_file *x, int flags)
{
	const char *path = x->config->path[0];

	if (x->config->path[1] != NULL && x->opened % 2 == 1)
		path = x->config->path[1];
	x->opened++;
	x->direct = x->config->direct && x->opened % 4 > 1;
	if (x->direct)
		flags |= O_DIRECT;
	x->fd = open(path, O_RDWR | O_CLOEXEC | flags, 0644);
	if (x->fd < 0)
		return ex_error(x, "open");
	x->append_fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	return x->append_fd >= 0 || ex_error(x, "open for append");
}

static bool ex_close(struct ex_file *x)
{
	bool ok = true;

	if (x->fd >= 0 && close(x->fd) != 0)
		ok = ex_error(x, "close");
	if (x->append_fd >= 0 && close(x->append_fd) != 0)
		ok = ex_error(x, "close");
	x->fd = x->append_fd = -1;
	return ok;
}

static bool ex_do_size(struct ex_file *x, const struct ex_op *op)
{
	struct stat st;

	(void)op;
	if (fstat(x->fd, &st) != 0)
		return ex_error(x, "fstat");
	if (st.st_size != (off_t)x->size)
		return ex_fail(x, "size is %jd, should be %" PRIu32,
			       (intmax_t)st.st_size, x->size);
	return true;
}

static bool ex_do_reopen(struct ex_file *x, const struct ex_op *op)
{
	return ex_close(x) && ex_open(x, 0) && ex_do_size(x, op);
}

/* --- bytes --- */

static bool ex_do_read(struct ex_file *x, const struct ex_op *op)
{
	uint32_t want = op->off >= x->size ? 0 : x->size - op->off;
	ssize_t n = pread(x->fd, x->buf + op->off, op->len, op->off);

	if (n < 0)
		return ex_error(x, "read");
	if (want > op->len)
		want = op->len;
	if ((uint32_t)n != want)
		return ex_fail(x, "read of %" PRIu32 "+%" PRIu32 ": %zd bytes,"
			       " should be %" PRIu32 " (size %" PRIu32 ")",
			       op->off, op->len, n, want, x->size);
	return ex_same(x, "read", op->off, want);
}

static bool ex_do_write(struct ex_file *x, const struct ex_op *op)
{
	ssize_t n;

	ex_fill(x, op->off, op->len, op->arg);
	n = pwrite(x->fd, x->good + op->off, op->len, op->off);
	if (n != (ssize_t)op->len)
		return n < 0 ? ex_error(x, "write") : ex_fail(x, "short write");
	return true;
}

static bool ex_do_append(struct ex_file *x, const struct ex_op *op)
{
	uint32_t off = x->size, len = op->len;
	ssize_t n;

	if (len > x->config->max - off)
		len = x->config->max - off;
	if (len == 0)
		return true;
	ex_fill(x, off, len, op->arg);
	n = write(x->append_fd, x->good + off, len);
	if (n != (ssize_t)len)
		return n < 0 ? ex_error(x, "append") : ex_fail(x, "short write");
	return true;
}

static bool ex_do_truncate(struct ex_file *x, const struct ex_op *op)
{
	/* what lies behind the end must be zeros when it comes back */
	memset(x->good + op->off, 0, x->config->max - op->off);
	x->size = op->off;
	return ftruncate(x->fd, op->off) == 0 || ex_error(x, "ftruncate");
}

static bool ex_do_fsync(struct ex_file *x, const struct ex_op *op)
{
	int rv = op->keep ? fdatasync(x->fd) : fsync(x->fd);

	return rv == 0 || ex_error(x, "fsync");
}

/* --- mmap --- */

static uint8_t *ex_map(struct ex_file *x, uint32_t off, uint32_t len,
		       int prot, size_t *ret_len)
{
	uint32_t in = off % 4096;
	void *p;

	*ret_len = in + len;
	p = mmap(NULL, *ret_len, prot, MAP_SHARED, x->fd, off - in);
	if (p == MAP_FAILED) {
		(void)ex_error(x, "mmap");
		return NULL;
	}
	return (uint8_t *)p + in;
}

static bool ex_unmap(struct ex_file *x, uint8_t *p, size_t len)
{
	void *start = (void *)((uintptr_t)p & ~(uintptr_t)4095);

	return munmap(start, len) == 0 || ex_error(x, "munmap");
}

static bool ex_do_mapread(struct ex_file *x, const struct ex_op *op)
{
	uint32_t off = op->off, len = op->len;
	size_t mapped;
	uint8_t *p;

	if (x->direct || !ex_inside(x, &off, &len))
		return true;
	p = ex_map(x, off, len, PROT_READ, &mapped);
	if (p == NULL)
		return false;
	memcpy(x->buf + off, p, len);
	return ex_unmap(x, p, mapped) && ex_same(x, "mapread", off, len);
}

static bool ex_do_mapwrite(struct ex_file *x, const struct ex_op *op)
{
	uint32_t off = op->off, len = op->len;
	size_t mapped;
	uint8_t *p;

	if (x->direct || !ex_inside(x, &off, &len))
		return true;
	p = ex_map(x, off, len, PROT_READ | PROT_WRITE, &mapped);
	if (p == NULL)
		return false;
	ex_fill(x, off, len, op->arg);
	memcpy(p, x->good + off, len);
	if (op->keep && msync(p - off % 4096, mapped, MS_SYNC) != 0)
		return ex_error(x, "msync");
	return ex_unmap(x, p, mapped);
}

/* --- holes --- */

static bool ex_zeros(struct ex_file *x, uint64_t from, uint64_t to)
{
	for (; from < to; from++)
		if (x->good[from] != 0)
			return ex_fail(x, "byte %" PRIu64 " in a hole should "
				       "be %02x", from, x->good[from]);
	return true;
}

/* Data at or behind off, nothing but zeros before it; then a hole behind. */
static bool ex_do_seek(struct ex_file *x, const struct ex_op *op)
{
	off_t data = lseek(x->fd, op->off, SEEK_DATA), hole;

	if (op->off >= x->size)
		return (data < 0 && errno == ENXIO) ||
		       ex_fail(x, "SEEK_DATA behind the end: %jd",
			       (intmax_t)data);
	if (data < 0 && errno != ENXIO)
		return ex_error(x, "SEEK_DATA");
	if (!ex_zeros(x, op->off, data < 0 ? x->size : (uint64_t)data))
		return false;
	if (data < 0)
		return true;
	if (data < (off_t)op->off || data >= (off_t)x->size)
		return ex_fail(x, "SEEK_DATA %" PRIu32 ": %jd", op->off,
			       (intmax_t)data);
	hole = lseek(x->fd, data, SEEK_HOLE);
	if (hole <= data || hole > (off_t)x->size)
		return ex_fail(x, "SEEK_HOLE %jd: %jd, size %" PRIu32,
			       (intmax_t)data, (intmax_t)hole, x->size);
	return true;
}

static bool ex_do_punch(struct ex_file *x, const struct ex_op *op)
{
	memset(x->good + op->off, 0, op->len);
	return fallocate(x->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 op->off, op->len) == 0 ||
	       ex_error(x, "punch");
}

static void ex_grow(struct ex_file *x, const struct ex_op *op)
{
	if (!op->keep && op->off + op->len > x->size)
		x->size = op->off + op->len;
}

static bool ex_do_zero(struct ex_file *x, const struct ex_op *op)
{
	int mode = FALLOC_FL_ZERO_RANGE;

	memset(x->good + op->off, 0, op->len);
	ex_grow(x, op);
	if (op->keep)
		mode |= FALLOC_FL_KEEP_SIZE;
	return fallocate(x->fd, mode, op->off, op->len) == 0 ||
	       ex_error(x, "zero range");
}

static bool ex_do_alloc(struct ex_file *x, const struct ex_op *op)
{
	int mode = op->keep ? FALLOC_FL_KEEP_SIZE : 0;

	ex_grow(x, op);
	return fallocate(x->fd, mode, op->off, op->len) == 0 ||
	       ex_error(x, "fallocate");
}

/* --- copy --- */

static bool ex_do_copy(struct ex_file *x, const struct ex_op *op)
{
	off_t from, to = op->arg;
	uint32_t off = op->off, len = op->len;

	if (!ex_inside(x, &off, &len))
		return true;
	if (len > x->config->max - op->arg)
		len = x->config->max - op->arg;
	/* the two ranges of one file must not overlap */
	if (op->arg < off + len && off < op->arg + len)
		len = op->arg > off ? op->arg - off : off - op->arg;
	if (len == 0)
		return true;
	memmove(x->good + op->arg, x->good + off, len);
	if (op->arg + len > x->size)
		x->size = op->arg + len;
	from = off;
	while (len > 0) {
		ssize_t n = copy_file_range(x->fd, &from, x->fd, &to, len, 0);

		if (n <= 0)
			return n < 0 ? ex_error(x, "copy_file_range")
				     : ex_fail(x, "copy_file_range ends early");
		len -= (uint32_t)n;
	}
	return true;
}

/* --- runs --- */

static bool ex_do(struct ex_file *x, const struct ex_op *op)
{
	static bool (*const table[])(struct ex_file *, const struct ex_op *) = {
		[EX_READ] = ex_do_read, [EX_WRITE] = ex_do_write,
		[EX_APPEND] = ex_do_append, [EX_TRUNCATE] = ex_do_truncate,
		[EX_MAPREAD] = ex_do_mapread, [EX_MAPWRITE] = ex_do_mapwrite,
		[EX_FSYNC] = ex_do_fsync, [EX_REOPEN] = ex_do_reopen,
		[EX_SIZE] = ex_do_size, [EX_SEEK] = ex_do_seek,
		[EX_PUNCH] = ex_do_punch, [EX_ZERO] = ex_do_zero,
		[EX_ALLOC] = ex_do_alloc, [EX_COPY] = ex_do_copy,
	};

	return table[op->kind](x, op);
}

/* At the end everything is compared, also through the other path. */
static bool ex_compare_all(struct ex_file *x)
{
	const struct ex_op whole = { .kind = EX_READ,
				     .len = x->config->max };

	return ex_do_size(x, &whole) && ex_do_read(x, &whole) &&
	       ex_do_reopen(x, &whole) && ex_do_read(x, &whole);
}

bool ex_run(const struct ex_config *config, const struct ex_op *ops, size_t n,
	    struct ex_fault *ret_fault)
{
	struct ex_file x = { .config = config, .fault = ret_fault,
			     .fd = -1, .append_fd = -1 };
	bool ok;
	size_t i;

	x.good = calloc(1, config->max);
	x.buf = aligned_alloc(4096, (config->max + 4095) & ~4095u);
	if (x.good == NULL || x.buf == NULL)
		abort();
	(void)unlink(config->path[0]);
	ok = ex_open(&x, O_CREAT | O_TRUNC);
	for (i = 0; ok && i < n; i++)
		if (!(config->skip & 1u << ops[i].kind))
			ok = ex_do(&x, &ops[i]);
	ret_fault->op = ok ? n - 1 : i - 1;
	if (ok)
		ok = ex_compare_all(&x);
	ok = ex_close(&x) && ok;
	free(x.good);
	free(x.buf);
	return ok;
}

/* --- what is there --- */

static unsigned ex_probe_alloc(int fd)
{
	static const struct {
		unsigned kind;
		int mode;
	} modes[] = {
		{ EX_PUNCH, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE },
		{ EX_ZERO, FALLOC_FL_ZERO_RANGE },
		{ EX_ZERO, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE },
		{ EX_ALLOC, 0 },
		{ EX_ALLOC, FALLOC_FL_KEEP_SIZE },
	};
	unsigned skip = 0;

	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++)
		if (fallocate(fd, modes[i].mode, 0, 1) != 0 &&
		    errno == EOPNOTSUPP)
			skip |= 1u << modes[i].kind;
	return skip;
}

unsigned ex_probe(const struct ex_config *config)
{
	int fd = open(config->path[0], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	unsigned skip;

	if (fd < 0 || pwrite(fd, "1", 1, 0) != 1) {
		fprintf(stderr, "exercise: %s: %s\n", config->path[0],
			strerror(errno));
		exit(2);
	}
	skip = ex_probe_alloc(fd);
	(void)close(fd);
	return skip;
}
