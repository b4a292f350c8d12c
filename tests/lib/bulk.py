#!/usr/bin/env python3
"""PUTs of millions of small objects, for tests that need so many: a process of its own with several connections,
requests in batches, signed by itself (SigV4).

    bulk.py PORT BUCKET FORMAT FROM TO STEP SIZE

Keys are FORMAT.format(n) for n in range(FROM, TO, STEP), of characters that need no quoting; a value is value_of(key,
SIZE). A server that goes away is waited for, and what it had not acknowledged is sent again. Prints how many were.
"""

import datetime
import hashlib
import hmac
import itertools
import os
import re
import socket
import sys
import time

REGION = "us-east-1"
CONNECTIONS, BATCH = 8, 32
WAIT = 120  # seconds, for a server that is away


def value_of(key, size):
    unit = f"{key}:".encode()
    return (unit * (size // len(unit) + 1))[:size]


class Signer:
    """Of one instant, which the server takes for 15 minutes."""

    def __init__(self, host, access, secret):
        now = datetime.datetime.now(datetime.timezone.utc)
        self.made = time.monotonic()
        self.stamp = now.strftime("%Y%m%dT%H%M%SZ")
        self.host = host
        self.scope = f"{self.stamp[:8]}/{REGION}/s3/aws4_request"
        self.access = access
        key = ("AWS4" + secret).encode()
        for part in (self.stamp[:8], REGION, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        self.key = key

    def put(self, path, body):
        headers = f"host:{self.host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{self.stamp}\n"
        signed = "host;x-amz-content-sha256;x-amz-date"
        canonical = f"PUT\n{path}\n\n{headers}\n{signed}\nUNSIGNED-PAYLOAD"
        to_sign = f"AWS4-HMAC-SHA256\n{self.stamp}\n{self.scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self.key, to_sign.encode(), "sha256").hex()
        return (
            f"PUT {path} HTTP/1.1\r\nHost: {self.host}\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n"
            f"x-amz-date: {self.stamp}\r\nContent-Length: {len(body)}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={self.access}/{self.scope}, SignedHeaders={signed}, "
            f"Signature={signature}\r\n\r\n"
        ).encode() + body


class Connection:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = []  # keys without an answer

    def send(self, keys, requests):
        self.sent = keys
        self.sock.sendall(b"".join(requests))

    def collect(self):
        """Reads the answers to what was sent."""
        data, n = b"", len(self.sent)
        while data.count(b"\r\n\r\n") < n:
            got = self.sock.recv(65536)
            data += got
            if not got:
                break
        statuses = re.findall(rb"HTTP/1.1 (\d\d\d) ", data)
        for status in statuses:
            if status not in (b"200", b"500", b"503"):
                raise SystemExit(f"refused: {data[-600:]!r}")
        if len(statuses) < n or set(statuses) != {b"200"}:
            raise ConnectionError("the server is going, or coming")
        self.sent = []
        return n


class Loader:
    def __init__(self, port, bucket, size):
        self.port, self.bucket, self.size = port, bucket, size
        self.credentials = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        self.signer = None
        self.done = 0

    def connect(self):
        end = time.monotonic() + WAIT
        while True:
            try:
                return [Connection(self.port) for _ in range(CONNECTIONS)]
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def requests(self, keys):
        if self.signer is None or time.monotonic() - self.signer.made > 300:
            self.signer = Signer(f"127.0.0.1:{self.port}", *self.credentials)
        return [self.signer.put(f"/{self.bucket}/{key}", value_of(key, self.size)) for key in keys]

    def run(self, keys):
        keys, again = iter(keys), []
        conns = self.connect()
        while True:
            try:
                for c in conns:
                    if c.sent:
                        self.done += c.collect()
                    batch, again = again[:BATCH], again[BATCH:]
                    batch += itertools.islice(keys, BATCH - len(batch))
                    if batch:
                        c.sent = batch  # whatever becomes of them
                        c.send(batch, self.requests(batch))
                if not any(c.sent for c in conns):
                    return
            except OSError:
                for c in conns:
                    again += c.sent
                    c.sock.close()
                conns = self.connect()


def main():
    port, bucket, form = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    first, last, step, size = map(int, sys.argv[4:8])
    loader = Loader(port, bucket, size)
    loader.run(form.format(n) for n in range(first, last, step))
    print(loader.done)


if __name__ == "__main__":
    main()
