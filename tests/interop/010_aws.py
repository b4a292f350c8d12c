#!/usr/bin/env python3
"""The aws command line."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *


def main():
    if run("which", "aws", check=False).returncode != 0:
        skip_all("no aws command here")
    server = Server()
    env = server.env()
    d = tmpdir()
    t = Tap()

    def aws(*args, check=True):
        return run("aws", "--endpoint-url", server.endpoint, *args, env=env, check=check)

    def basics():
        aws("s3", "mb", "s3://tool")
        big = os.path.join(d, "big")
        with open(big, "wb") as f:
            for _ in range(25 if SLOW > 1 else 200):
                f.write(os.urandom(1 << 20))
        aws("s3", "cp", "--no-progress", big, "s3://tool/dir/big")
        aws("s3", "cp", "--no-progress", "s3://tool/dir/big", big + ".back")
        run("cmp", big, big + ".back")
        with open(os.path.join(d, "small"), "w") as f:
            f.write("small\n")
        aws("s3", "cp", os.path.join(d, "small"), "s3://tool/small")
        assert "small" in aws("s3", "ls", "s3://tool").stdout
        assert "PRE dir/" in aws("s3", "ls", "s3://tool").stdout
        aws("s3", "mv", "s3://tool/small", "s3://tool/moved")
        eq(aws("s3", "cp", "s3://tool/moved", "-").stdout, "small\n", "moved")
        url = aws("s3", "presign", "s3://tool/moved").stdout.strip()
        eq(run("curl", "-sS", url).stdout, "small\n", "presigned")
        bad = run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url + "x").stdout
        eq(bad, "403", "a changed presigned URL")

    def sync():
        src = os.path.join(d, "tree")
        for i in range(40):
            os.makedirs(os.path.join(src, f"d{i % 4}"), exist_ok=True)
            with open(os.path.join(src, f"d{i % 4}", f"f{i}"), "wb") as f:
                f.write(os.urandom(i * 500))
            # aws compares with a time in whole seconds
            os.utime(f.name, (1e9 + i, 1e9 + i))
        aws("s3", "sync", "--no-progress", src, "s3://tool/tree")
        eq(aws("s3", "sync", "--no-progress", src, "s3://tool/tree").stdout, "", "again: nothing")
        aws("s3", "sync", "--no-progress", "s3://tool/tree", src + ".back")
        run("diff", "-r", src, src + ".back")

    def api():
        aws("s3api", "put-object", "--bucket", "tool", "--key", "m", "--body", os.path.join(d, "small"),
            "--metadata", "color=blue", "--content-type", "text/x-test", "--checksum-algorithm", "SHA256")
        got = json.loads(aws("s3api", "head-object", "--bucket", "tool", "--key", "m").stdout)
        eq((got["Metadata"], got["ContentType"]), ({"color": "blue"}, "text/x-test"), "metadata")
        aws("s3api", "copy-object", "--bucket", "tool", "--key", "m2", "--copy-source", "tool/m")
        got = json.loads(aws("s3api", "head-object", "--bucket", "tool", "--key", "m2").stdout)
        eq(got["Metadata"], {"color": "blue"}, "copied metadata")
        out = os.path.join(d, "range")
        aws("s3api", "get-object", "--bucket", "tool", "--key", "m", "--range", "bytes=1-3", out)
        with open(out) as f:
            eq(f.read(), "mal", "range")
        p = aws("s3api", "get-bucket-policy", "--bucket", "tool", check=False)
        assert "NoSuchBucketPolicy" in p.stderr, p.stderr

    def clean_up():
        aws("s3", "rm", "--recursive", "s3://tool")
        aws("s3", "rb", "s3://tool")
        eq(aws("s3", "ls").stdout, "", "nothing left")

    for fn in (basics, sync, api, clean_up):
        t.run(f"aws: {fn.__name__.replace('_', ' ')}", fn)
    t.end()


main()
