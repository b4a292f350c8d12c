#!/usr/bin/env python3
"""rclone with the profile Minio."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *


def main():
    if run("which", "rclone", check=False).returncode != 0:
        skip_all("no rclone here")
    server = Server()
    access, secret = server.credentials()
    d = tmpdir()
    conf = os.path.join(d, "rclone.conf")
    with open(conf, "w") as f:
        f.write(f"[leo]\ntype = s3\nprovider = Minio\naccess_key_id = {access}\n"
                f"secret_access_key = {secret}\nendpoint = {server.endpoint}\nregion = {REGION}\n")
    print("# " + run("rclone", "version").stdout.splitlines()[0])
    t = Tap()

    def rclone(*args):
        return run("rclone", "--config", conf, *args)

    def sync_check_purge():
        src = os.path.join(d, "src")
        for i in range(120):
            os.makedirs(os.path.join(src, f"d{i % 9}", "sub"), exist_ok=True)
            with open(os.path.join(src, f"d{i % 9}", "sub" if i % 2 else "", f"f {i} ü"), "wb") as f:
                f.write(os.urandom(i * 321))
        with open(os.path.join(src, "large"), "wb") as f:
            f.write(os.urandom(12 << 20))
        rclone("mkdir", "leo:rcl")
        rclone("sync", "--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M", src, "leo:rcl/tree")
        rclone("check", src, "leo:rcl/tree")
        rclone("check", "--download", src, "leo:rcl/tree")
        os.unlink(os.path.join(src, "large"))
        rclone("sync", src, "leo:rcl/tree")
        rclone("check", src, "leo:rcl/tree")
        rclone("sync", "leo:rcl/tree", os.path.join(d, "back"))
        run("diff", "-r", src, os.path.join(d, "back"))
        rclone("moveto", "leo:rcl/tree/d1", "leo:rcl/moved")
        rclone("purge", "leo:rcl/tree")
        rclone("purge", "leo:rcl")
        eq(rclone("lsd", "leo:").stdout, "", "nothing left")

    t.run("rclone: sync, check, moveto, purge", sync_check_purge)
    t.end()


main()
