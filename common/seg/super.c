#include "common/seg/super.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/base/be.h"
#include "common/base/buf.h"
#include "common/base/mem.h"
#include "common/base/xxh.h"
#include "common/seg/seg_int.h"

#define SUPER_SIZE 4096u
#define SUPER_SUM (SUPER_SIZE - 8)

#define SUPER_BEGUN 1u

static const char super_magic[8] = "LEOFSSUP";

static int super_decode(const uint8_t *p, const char *path, struct super *ret,
			struct errbuf *e)
{
	uint32_t format = be32dec(p + 8);

	if (memcmp(p, super_magic, sizeof(super_magic)) != 0)
		return errbuf_set(e, -EINVAL, "%s is no super block", path);
	if (format != SUPER_FORMAT)
		return errbuf_set(e, -EINVAL,
				  "%s has format version %u, this program "
				  "knows version %u only",
				  path, format, SUPER_FORMAT);
	if (!SEG_MUTATES(SUPER_SUM) &&
	    be64dec(p + SUPER_SUM) != XXH3_64bits(p, SUPER_SUM))
		return errbuf_set(e, -EBADMSG, "%s is damaged (checksum)",
				  path);
	if (p[12] != SUPER_ROLE_STORE && p[12] != SUPER_ROLE_MANAGER)
		return errbuf_set(e, -EINVAL, "%s has unknown role %u", path,
				  p[12]);
	ret->role = p[12];
	ret->begun = (p[13] & SUPER_BEGUN) != 0;
	ret->store = (struct wire_u128){ be64dec(p + 16), be64dec(p + 24) };
	ret->cluster = (struct wire_u128){ be64dec(p + 32),
					   be64dec(p + 40) };
	ret->raft_id = be64dec(p + 48);
	return 0;
}

int super_read(struct vfs *vfs, const char *dir, struct super *ret,
	       struct errbuf *e)
{
	char *path = mem_printf("%s/super", dir);
	struct vfs_file *f = NULL;
	uint8_t data[SUPER_SIZE];
	uint64_t size = 0;
	ssize_t n = 0;
	int rv;

	if (path == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	rv = vfs->ops->open(vfs, path, O_RDONLY, 0, &f);
	if (rv == 0)
		rv = vfs->ops->size(f, &size);
	if (rv == 0 && size != sizeof(data)) {
		rv = errbuf_set(e, -EINVAL, "%s is no super block", path);
		goto out;
	}
	for (size_t at = 0; rv == 0 && at < sizeof(data); at += (size_t)n) {
		n = vfs->ops->pread(f, data + at, sizeof(data) - at, at, 0);
		if (n <= 0)
			rv = n < 0 ? (int)n : -EIO;
	}
	if (rv != 0)
		errbuf_set(e, rv, "cannot read %s: %s", path, strerror(-rv));
	else
		rv = super_decode(data, path, ret, e);
out:
	if (f != NULL)
		vfs->ops->close(f);
	mem_free(path);
	return rv;
}

static int super_replace(struct vfs *vfs, const char *dir, const char *path,
			 const char *temp, uint8_t *data)
{
	struct iovec iov = { data, SUPER_SIZE };
	struct vfs_file *f = NULL;
	int rv;

	rv = vfs->ops->open(vfs, temp, O_RDWR | O_CREAT, 0600, &f);
	if (rv != 0)
		return rv;
	rv = vfs->ops->truncate(f, 0);
	if (rv == 0)
		rv = vfs->ops->pwritev(f, &iov, 1, 0);
	if (rv == 0)
		rv = vfs->ops->fdatasync(f);
	vfs->ops->close(f);
	if (rv == 0)
		rv = vfs->ops->rename(vfs, temp, path);
	if (rv == 0)
		rv = vfs->ops->sync_dir(vfs, dir);
	return rv;
}

void super_store_bytes(const struct super *s, uint8_t ret_id[16])
{
	be64enc(ret_id, s->store.hi);
	be64enc(ret_id + 8, s->store.lo);
}

int super_write(struct vfs *vfs, const char *dir, const struct super *s)
{
	uint8_t data[SUPER_SIZE] = { 0 };
	char *path = mem_printf("%s/super", dir);
	char *temp = mem_printf("%s/super.tmp", dir);
	int rv = -ENOMEM;

	memcpy(data, super_magic, sizeof(super_magic));
	be32enc(data + 8, SUPER_FORMAT);
	data[12] = s->role;
	data[13] = s->begun ? SUPER_BEGUN : 0;
	super_store_bytes(s, data + 16);
	be64enc(data + 32, s->cluster.hi);
	be64enc(data + 40, s->cluster.lo);
	be64enc(data + 48, s->raft_id);
	be64enc(data + SUPER_SUM, XXH3_64bits(data, SUPER_SUM));
	if (path != NULL && temp != NULL)
		rv = super_replace(vfs, dir, path, temp, data);
	mem_free(path);
	mem_free(temp);
	return rv;
}

int super_begin(struct vfs *vfs, const char *dir, struct super *s)
{
	struct super begun = *s;
	int rv = 0;

	begun.begun = true;
	if (!s->begun)
		rv = super_write(vfs, dir, &begun);
	if (rv == 0)
		s->begun = true;
	return rv;
}

int super_check_log(const struct super *s, const char *dir, uint64_t last_seq,
		    struct errbuf *e)
{
	if (!s->begun || last_seq > 0)
		return 0;
	return errbuf_set(e, -EIO,
			  "%s/log is gone: what was acknowledged cannot be "
			  "told any more", dir);
}
