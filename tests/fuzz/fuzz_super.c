/*
 * Fuzz target: the super block. The first byte says whether the file has its
 * right length, checksum and version. Property: what is read can be written and read
 * again; every refusal is a sentence.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>

#include <xxhash.h>

#include "common/seg/super.h"
#include "tests/lib/crashfs.h"

enum { SIZE = 4096 };

static void put_file(struct vfs *vfs, uint8_t *p, size_t len)
{
	struct iovec iov = { p, len };
	struct vfs_file *f;

	FUZZ_MUST(vfs->ops->mkdir(vfs, "s", 0700) == 0);
	FUZZ_MUST(vfs->ops->open(vfs, "s/super", O_RDWR | O_CREAT, 0600,
				 &f) == 0);
	FUZZ_MUST(len == 0 || vfs->ops->pwritev(f, &iov, 1, 0) == 0);
	vfs->ops->close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct crashfs *fs = crashfs_new(1);
	struct vfs *vfs = crashfs_vfs(fs);
	struct fuzz_in in = { data, size };
	uint8_t how = fuzz_u8(&in), image[SIZE] = { 0 };
	struct wire_bytes b = fuzz_take(&in, SIZE);
	struct errbuf e = { "" };
	struct super s, again;
	uint64_t sum;

	if (b.len > 0)
		memcpy(image, b.p, b.len);
	if ((how & 4) != 0)
		image[11] = SUPER_FORMAT;
	if ((how & 1) != 0) {
		sum = XXH3_64bits(image, SIZE - 8);
		for (int i = 0; i < 8; i++)
			image[SIZE - 8 + i] = (uint8_t)(sum >> (56 - 8 * i));
	}
	put_file(vfs, image, (how & 2) != 0 ? b.len : SIZE);
	if (super_read(vfs, "s", &s, &e) == 0) {
		FUZZ_MUST(super_write(vfs, "s", &s) == 0);
		FUZZ_MUST(super_read(vfs, "s", &again, &e) == 0);
		FUZZ_MUST(again.store.hi == s.store.hi &&
			  again.store.lo == s.store.lo &&
			  again.cluster.hi == s.cluster.hi &&
			  again.cluster.lo == s.cluster.lo &&
			  again.raft_id == s.raft_id && again.role == s.role);
	} else {
		FUZZ_MUST(e.text[0] != '\0');
	}
	crashfs_free(fs);
	return 0;
}
