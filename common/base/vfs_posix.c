#include "common/base/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/mem.h"

#define POSIX_IOV 256 /* iovecs handed to the kernel at once */

struct posix_file {
	struct vfs_file base;
	int fd;
};

static int posix_fd(const struct vfs_file *f)
{
	return ((const struct posix_file *)(const void *)f)->fd;
}

static int posix_open(struct vfs *vfs, const char *path, int flags,
		      mode_t mode, struct vfs_file **ret_file)
{
	struct posix_file *f = mem_zalloc(sizeof(*f));
	int rv;

	if (f == NULL)
		return -ENOMEM;
	f->base.vfs = vfs;
	do {
		f->fd = open(path, flags | O_CLOEXEC, mode);
	} while (f->fd < 0 && errno == EINTR);
	if (f->fd < 0) {
		rv = -errno;
		mem_free(f);
		return rv;
	}
	*ret_file = &f->base;
	return 0;
}

/*
 * A short answer of RWF_NOWAIT means that the rest is not in memory (or is
 * the end of the file): both are left to a read that may wait.
 */
static ssize_t posix_pread_nowait(int fd, void *buf, size_t len, uint64_t off)
{
	struct iovec iov = { buf, len };
	ssize_t n = preadv2(fd, &iov, 1, (off_t)off, RWF_NOWAIT);

	if (n < 0)
		return errno == EOPNOTSUPP || errno == EINTR ||
			       errno == ENOSYS ? -EAGAIN : -errno;
	if (n > 0 && (size_t)n < len)
		return -EAGAIN;
	return n;
}

static ssize_t posix_pread(struct vfs_file *f, void *buf, size_t len,
			   uint64_t off, int flags)
{
	size_t done = 0;

	if ((flags & VFS_NOWAIT) != 0)
		return posix_pread_nowait(posix_fd(f), buf, len, off);
	while (done < len) {
		ssize_t n = pread(posix_fd(f), (char *)buf + done, len - done,
				  (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Copies the iovecs that remain when `skip` bytes of the first are written. */
static int posix_iov_rest(const struct iovec *iov, int niov, size_t skip,
			  struct iovec *out)
{
	int n = niov < POSIX_IOV ? niov : POSIX_IOV;

	memcpy(out, iov, (size_t)n * sizeof(*out));
	out[0].iov_base = (char *)out[0].iov_base + skip;
	out[0].iov_len -= skip;
	return n;
}

static int posix_pwritev(struct vfs_file *f, const struct iovec *iov, int niov,
			 uint64_t off)
{
	struct iovec part[POSIX_IOV];
	size_t skip = 0;

	for (;;) {
		ssize_t n;

		while (niov > 0 && skip >= iov->iov_len) {
			skip -= iov->iov_len;
			iov++;
			niov--;
		}
		if (niov == 0)
			return 0;
		n = pwritev(posix_fd(f), part,
			    posix_iov_rest(iov, niov, skip, part), (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		off += (uint64_t)n;
		skip += (size_t)n;
	}
}

static int posix_fdatasync(struct vfs_file *f)
{
	return fdatasync(posix_fd(f)) == 0 ? 0 : -errno;
}

static int posix_fsync(struct vfs_file *f)
{
	return fsync(posix_fd(f)) == 0 ? 0 : -errno;
}

static int posix_truncate(struct vfs_file *f, uint64_t size)
{
	return ftruncate(posix_fd(f), (off_t)size) == 0 ? 0 : -errno;
}

/* Unlike posix_fallocate() it writes nothing where that is not supported. */
static int posix_allocate(struct vfs_file *f, uint64_t len)
{
	int rv;

	do
		rv = fallocate(posix_fd(f), 0, 0, (off_t)len);
	while (rv != 0 && errno == EINTR);
	return rv == 0 ? 0 : -errno;
}

static void posix_forget(struct vfs_file *f, uint64_t off, uint64_t len)
{
	(void)posix_fadvise(posix_fd(f), (off_t)off, (off_t)len,
			    POSIX_FADV_DONTNEED);
}

static int posix_size(struct vfs_file *f, uint64_t *ret_size)
{
	struct stat st;

	if (fstat(posix_fd(f), &st) != 0)
		return -errno;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

static void posix_close(struct vfs_file *f)
{
	if (f == NULL)
		return;
	(void)close(posix_fd(f)); /* what must last was synced before */
	mem_free(f);
}

static int posix_rename(struct vfs *vfs, const char *from, const char *to)
{
	(void)vfs;
	return rename(from, to) == 0 ? 0 : -errno;
}

static int posix_unlink(struct vfs *vfs, const char *path)
{
	(void)vfs;
	return unlink(path) == 0 ? 0 : -errno;
}

static int posix_mkdir(struct vfs *vfs, const char *path, mode_t mode)
{
	(void)vfs;
	return mkdir(path, mode) == 0 ? 0 : -errno;
}

static int posix_sync_dir(struct vfs *vfs, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rv = 0;

	(void)vfs;
	if (fd < 0)
		return -errno;
	if (fsync(fd) != 0)
		rv = -errno;
	(void)close(fd);
	return rv;
}

static int posix_list(struct vfs *vfs, const char *path, vfs_list_fn cb,
		      void *arg)
{
	DIR *d = opendir(path);
	struct dirent *de;
	int rv = 0;

	(void)vfs;
	if (d == NULL)
		return -errno;
	for (;;) {
		errno = 0;
		de = readdir(d);
		if (de == NULL) {
			rv = -errno;
			break;
		}
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		rv = cb(arg, de->d_name);
		if (rv != 0)
			break;
	}
	(void)closedir(d);
	return rv;
}

static int posix_space(struct vfs *vfs, const char *path, uint64_t *ret_total,
		       uint64_t *ret_avail)
{
	struct statvfs st;

	(void)vfs;
	if (statvfs(path, &st) != 0)
		return -errno;
	*ret_total = (uint64_t)st.f_blocks * st.f_frsize;
	*ret_avail = (uint64_t)st.f_bavail * st.f_frsize;
	return 0;
}

static const struct vfs_ops posix_ops = {
	.open = posix_open,
	.pread = posix_pread,
	.pwritev = posix_pwritev,
	.fdatasync = posix_fdatasync,
	.fsync = posix_fsync,
	.truncate = posix_truncate,
	.allocate = posix_allocate,
	.forget = posix_forget,
	.size = posix_size,
	.close = posix_close,
	.rename = posix_rename,
	.unlink = posix_unlink,
	.mkdir = posix_mkdir,
	.sync_dir = posix_sync_dir,
	.list = posix_list,
	.space = posix_space,
};

struct vfs *vfs_posix(void)
{
	static struct vfs vfs = { &posix_ops, NULL };

	return &vfs;
}
