#!/usr/bin/env python3
"""The newest boto3 with default settings, in a venv of its own."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from leo import *

VENV = os.environ.get("LEO_VENV", os.path.join(TOP, "build-venv"))


def venv_python():
    python = os.path.join(VENV, "bin", "python3")
    if not os.path.exists(python):
        run(sys.executable, "-m", "venv", VENV)
    if run(python, "-c", "import boto3", check=False).returncode != 0:
        p = run(python, "-m", "pip", "install", "-q", "boto3", check=False, timeout=600)
        if p.returncode != 0:
            skip_all(f"cannot install boto3: {p.stderr.strip().splitlines()[-1]}")
    return python


def main():
    if os.environ.get("LEO_IN_VENV") != "1":
        python = venv_python()
        os.execve(python, [python, os.path.abspath(__file__)], dict(os.environ, LEO_IN_VENV="1"))
    import boto3
    import botocore
    from boto3.s3.transfer import TransferConfig
    from botocore.exceptions import ClientError

    print(f"# boto3 {boto3.__version__}, botocore {botocore.__version__}")
    server = Server(spread=1)
    access, secret = server.credentials()
    s3 = boto3.client("s3", endpoint_url=server.endpoint, region_name=REGION,
                      aws_access_key_id=access, aws_secret_access_key=secret)
    d = tmpdir()
    t = Tap()

    def code_of(fn, *a, **kw):
        try:
            fn(*a, **kw)
        except ClientError as err:
            return err.response["Error"]["Code"]
        return "none"

    def objects():
        s3.create_bucket(Bucket="pyt")
        r = s3.put_object(Bucket="pyt", Key="k/ü", Body=b"data", Metadata={"a": "b"}, CacheControl="no-store")
        eq(r["ETag"], '"' + hashlib.md5(b"data").hexdigest() + '"', "ETag")
        assert r.get("ChecksumCRC32") or r.get("ChecksumCRC64NVME"), r
        r = s3.get_object(Bucket="pyt", Key="k/ü")
        eq((r["Body"].read(), r["Metadata"], r["CacheControl"]), (b"data", {"a": "b"}, "no-store"), "GET")
        eq(code_of(s3.get_object, Bucket="pyt", Key="none"), "NoSuchKey", "missing key")
        eq(code_of(s3.get_object, Bucket="none", Key="none"), "NoSuchBucket", "missing bucket")
        eq(code_of(s3.head_object, Bucket="pyt", Key="none"), "404", "HEAD")

    def checksums():
        for alg in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
            try:
                r = s3.put_object(Bucket="pyt", Key=f"c/{alg}", Body=b"x" * 50000, ChecksumAlgorithm=alg)
            except Exception as err:
                if "MissingDependency" in type(err).__name__:
                    print(f"# {alg}: needs awscrt")
                    continue
                raise
            got = s3.head_object(Bucket="pyt", Key=f"c/{alg}", ChecksumMode="ENABLED")
            eq(got[f"Checksum{alg}"], r[f"Checksum{alg}"], alg)

    def conditions():
        s3.put_object(Bucket="pyt", Key="cond", Body=b"1", IfNoneMatch="*")
        eq(code_of(s3.put_object, Bucket="pyt", Key="cond", Body=b"2", IfNoneMatch="*"), "PreconditionFailed", "create-only")
        tag = s3.head_object(Bucket="pyt", Key="cond")["ETag"]
        s3.put_object(Bucket="pyt", Key="cond", Body=b"3", IfMatch=tag)
        eq(code_of(s3.put_object, Bucket="pyt", Key="cond", Body=b"4", IfMatch=tag), "PreconditionFailed", "CAS")
        eq(code_of(s3.get_object, Bucket="pyt", Key="cond", IfMatch=tag), "PreconditionFailed", "read")
        now = s3.head_object(Bucket="pyt", Key="cond")["ETag"]
        eq(code_of(s3.get_object, Bucket="pyt", Key="cond", IfNoneMatch=now), "304", "not modified")
        source = {"Bucket": "pyt", "Key": "cond"}
        s3.copy_object(Bucket="pyt", Key="copy", CopySource=source, CopySourceIfMatch=now)
        eq(code_of(s3.copy_object, Bucket="pyt", Key="copy", CopySource=source, CopySourceIfMatch=tag), "PreconditionFailed", "source")
        eq(code_of(s3.copy_object, Bucket="pyt", Key="copy", CopySource=source, CopySourceIfNoneMatch=now), "PreconditionFailed", "source")
        for want, etag in (("PreconditionFailed", tag), ("none", now)):
            up = s3.create_multipart_upload(Bucket="pyt", Key="copy")["UploadId"]
            r = s3.upload_part(Bucket="pyt", Key="copy", UploadId=up, PartNumber=1, Body=b"part")
            got = code_of(s3.complete_multipart_upload, Bucket="pyt", Key="copy", UploadId=up, IfMatch=etag,
                          MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": r["ETag"]}]})
            eq(got, want, "Complete")
            if got != "none":
                s3.abort_multipart_upload(Bucket="pyt", Key="copy", UploadId=up)
        known = s3.meta.service_model.operation_model("DeleteObject").input_shape.members
        if "IfMatch" in known:
            eq(code_of(s3.delete_object, Bucket="pyt", Key="copy", IfMatch=now), "PreconditionFailed", "DELETE")
            s3.delete_object(Bucket="pyt", Key="copy", IfMatch=s3.head_object(Bucket="pyt", Key="copy")["ETag"])
            eq(code_of(s3.head_object, Bucket="pyt", Key="copy"), "404", "deleted")
        else:
            print("# this boto3 has no conditions on DELETE")

    def multipart():
        path = os.path.join(d, "mp")
        with open(path, "wb") as f:
            f.write(os.urandom(17 * 1024 * 1024 + 5))
        s3.upload_file(path, "pyt", "mp", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
        head = s3.head_object(Bucket="pyt", Key="mp")
        assert head["ETag"].endswith('-4"'), head["ETag"]
        s3.download_file("pyt", "mp", path + ".back")
        run("cmp", path, path + ".back")
        up = s3.create_multipart_upload(Bucket="pyt", Key="manual")["UploadId"]
        listed = s3.list_multipart_uploads(Bucket="pyt")["Uploads"]
        eq([(u["Key"], u["UploadId"]) for u in listed], [("manual", up)], "uploads")
        parts = []
        for n in (1, 2):
            body = bytes([n]) * (5 << 20 if n == 1 else 100)
            r = s3.upload_part(Bucket="pyt", Key="manual", UploadId=up, PartNumber=n, Body=body)
            parts.append({"PartNumber": n, "ETag": r["ETag"]})
        eq(len(s3.list_parts(Bucket="pyt", Key="manual", UploadId=up)["Parts"]), 2, "parts")
        eq(code_of(s3.complete_multipart_upload, Bucket="pyt", Key="manual", UploadId=up,
                   MultipartUpload={"Parts": parts[::-1]}), "InvalidPartOrder", "order")
        s3.complete_multipart_upload(Bucket="pyt", Key="manual", UploadId=up, MultipartUpload={"Parts": parts})
        eq(s3.head_object(Bucket="pyt", Key="manual")["ContentLength"], (5 << 20) + 100, "size")
        s3.complete_multipart_upload(Bucket="pyt", Key="manual", UploadId=up, MultipartUpload={"Parts": parts})  # again
        a = s3.get_object_attributes(Bucket="pyt", Key="manual", ObjectAttributes=["ObjectParts", "ObjectSize"])
        eq((a["ObjectParts"]["TotalPartsCount"], a["ObjectSize"]), (2, (5 << 20) + 100), "attributes")
        part2 = s3.get_object(Bucket="pyt", Key="manual", PartNumber=2)
        eq((part2["PartsCount"], part2["Body"].read()), (2, b"\2" * 100), "part 2")
        up = s3.create_multipart_upload(Bucket="pyt", Key="gone")["UploadId"]
        s3.abort_multipart_upload(Bucket="pyt", Key="gone", UploadId=up)
        eq(code_of(s3.upload_part, Bucket="pyt", Key="gone", UploadId=up, PartNumber=1, Body=b"x"), "NoSuchUpload", "aborted")
        up = s3.create_multipart_upload(Bucket="pyt", Key="pc")["UploadId"]
        r = s3.upload_part_copy(Bucket="pyt", Key="pc", UploadId=up, PartNumber=1,
                                CopySource={"Bucket": "pyt", "Key": "mp"}, CopySourceRange=f"bytes=0-{6 << 20}")
        s3.complete_multipart_upload(Bucket="pyt", Key="pc", UploadId=up,
                                     MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": r["CopyPartResult"]["ETag"]}]})
        with open(path, "rb") as f:
            want = f.read((6 << 20) + 1)
        assert s3.get_object(Bucket="pyt", Key="pc")["Body"].read() == want, "UploadPartCopy"

    def listing():
        for i in range(25):
            s3.put_object(Bucket="pyt", Key=f"l/{i:02d}/x", Body=b"")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="pyt", Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": 7})
        got = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
        eq(got, [f"l/{i:02d}/" for i in range(25)], "prefixes")
        v1 = s3.list_objects(Bucket="pyt", Prefix="l/", MaxKeys=10)
        eq((len(v1["Contents"]), v1["IsTruncated"]), (10, True), "V1")

    def delete_objects():
        keys = [o["Key"] for o in s3.list_objects_v2(Bucket="pyt")["Contents"]]
        r = s3.delete_objects(Bucket="pyt", Delete={"Objects": [{"Key": k} for k in keys]})
        eq(len(r["Deleted"]), len(keys), "deleted")
        s3.delete_bucket(Bucket="pyt")
        eq(s3.list_buckets()["Buckets"], [], "no bucket left")

    for fn in (objects, checksums, conditions, multipart, listing, delete_objects):
        t.run(f"boto3: {fn.__name__.replace('_', ' ')}", fn)
    t.end()


main()
