#!/usr/bin/env python3
"""s3cmd."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *


def main():
    if run("which", "s3cmd", check=False).returncode != 0:
        skip_all("no s3cmd here")
    server = Server()
    access, secret = server.credentials()
    d = tmpdir()
    conf = os.path.join(d, "s3cfg")
    with open(conf, "w") as f:
        f.write(f"[default]\naccess_key = {access}\nsecret_key = {secret}\n"
                f"host_base = 127.0.0.1:{server.port}\nhost_bucket = 127.0.0.1:{server.port}\n"
                "use_https = False\n")
    t = Tap()

    def s3cmd(*args):
        return run("s3cmd", "-c", conf, "--no-progress", *args)

    def work():
        s3cmd("mb", "s3://cmd")
        small, big = os.path.join(d, "small"), os.path.join(d, "big")
        with open(small, "w") as f:
            f.write("small\n")
        with open(big, "wb") as f:
            f.write(os.urandom(20 << 20))
        s3cmd("put", small, "s3://cmd/a/small")
        s3cmd("put", big, "s3://cmd/big")  # multipart: 15 MiB parts
        s3cmd("get", "s3://cmd/big", big + ".back")
        run("cmp", big, big + ".back")
        assert "s3://cmd/a/small" in s3cmd("ls", "-r", "s3://cmd").stdout
        s3cmd("cp", "s3://cmd/a/small", "s3://cmd/copy")
        s3cmd("mv", "s3://cmd/copy", "s3://cmd/moved")
        assert "small" in s3cmd("info", "s3://cmd/a/small").stdout
        s3cmd("del", "--recursive", "--force", "s3://cmd")
        s3cmd("rb", "s3://cmd")

    t.run("s3cmd: mb, put, get, ls, cp, mv, info, del, rb", work)
    t.end()


main()
