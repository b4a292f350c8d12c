"""Makes the disk of a server go wrong: the other side of baddisk.c.

    bad = BadDisk()
    server = Server(env=bad.env())
    bad.arm("sync", "/log/")      # the next fdatasync there gives EIO
"""

import mmap
import os
import struct

from leo import BUILD, tmpdir

KINDS = {"not": 0, "sync": 1, "write": 2, "full": 3, "read": 4, "flip": 5}
LAYOUT = struct.Struct("=IIIII236s")


class BadDisk:
    def __init__(self):
        self.library = os.path.join(BUILD, "tests", "lib", "baddisk.so")
        if not os.path.exists(self.library):
            raise AssertionError("tests/lib/baddisk.so was not built")
        self.path = os.path.join(tmpdir(), "baddisk")
        with open(self.path, "wb") as f:
            f.write(bytes(LAYOUT.size))
        with open(self.path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), LAYOUT.size)

    def env(self):
        asan = os.environ.get("ASAN_OPTIONS", "")
        return dict(
            os.environ,
            LD_PRELOAD=self.library,
            BADDISK=self.path,
            ASAN_OPTIONS=f"{asan}:verify_asan_link_order=0".strip(":"),
        )

    def arm(self, kind, path, times=1, every=1):
        """`times` calls, one of `every`, on files with path in theirs."""
        self.map[:4] = struct.pack("=I", 0)
        self.map[4:] = LAYOUT.pack(0, every, 0, 0, times, path.encode())[4:]
        self.map[:4] = struct.pack("=I", KINDS[kind])

    def disarm(self):
        """Calls that went wrong since arm()."""
        self.map[:4] = struct.pack("=I", 0)
        return self.hits()

    def hits(self):
        return struct.unpack("=I", self.map[12:16])[0]

    def seen(self):
        """All such calls since arm()."""
        return struct.unpack("=I", self.map[8:12])[0]
