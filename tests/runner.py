#!/usr/bin/env python3
"""Runs suites of TAP programs: runner.py LOGDIR SUITE[:JOBS[:SECONDS]]=PROGRAM,... ...

Prints one line per program that does not pass, one line per suite (counts and
seconds), and last the counts of all: "N passed, N failed, N skipped". Exit
status 1 when anything failed. The output of each program is kept in LOGDIR.
"""

import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time

TIMEOUT = float(os.environ.get("LEO_TEST_TIMEOUT", "300"))
LINE = re.compile(r"^(not )?ok\b[^#]*(?:# *(SKIP)\b *(.*))?", re.I)


def run_one(program, logdir, timeout):
    """Returns (passed, failed, skipped, seconds, complaints)."""
    name = os.path.basename(program)
    log = os.path.join(logdir, re.sub(r"[^\w.-]", "_", program) + ".log")
    start = time.monotonic()
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    with open(log, "wb") as out:
        try:
            child = subprocess.Popen(
                [os.path.abspath(program)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=env, start_new_session=True, cwd=logdir,
            )
        except OSError as e:  # not executable, for one: the others run all the same
            out.write(f"{e}\n".encode())
            return 0, 1, 0, 0.0, [f"FAILED: {name}: does not start (log: {log})"]
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGTERM)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                pass
            code = "timeout"
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
    passed = failed = skipped = 0
    reason = ""  # of all of it
    complaints = []
    with open(log, errors="replace") as f:
        for line in f:
            if line.startswith("1..0 # SKIP "):
                reason = line[12:].strip()
            m = LINE.match(line)
            if not m:
                continue
            if m.group(2):
                skipped += 1
                complaints.append(f"skipped: {name}: {line.strip()}")
            elif m.group(1):
                failed += 1
                complaints.append(f"FAILED: {name}: {line.strip()} (log: {log})")
            else:
                passed += 1
    if code == 77 and passed + failed == 0 and reason:
        skipped += 1
        complaints.append(f"skipped: {name}: {reason}")
    elif code != 0 and failed == 0:
        failed += 1
        complaints.append(f"FAILED: {name}: exit {code} (log: {log})")
    elif passed + failed + skipped == 0:
        failed += 1
        complaints.append(f"FAILED: {name}: no test ran (log: {log})")
    return passed, failed, skipped, time.monotonic() - start, complaints


def run_suite(name, jobs, timeout, programs, logdir):
    start = time.monotonic()
    total = [0, 0, 0]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(lambda p: run_one(p, logdir, timeout), programs):
            for i in range(3):
                total[i] += result[i]
            for text in result[4]:
                print("  " + text, flush=True)
                if text.startswith("FAILED"):
                    log = text.split("(log: ")[1].rstrip(")")
                    with open(log, errors="replace") as f:
                        for line in f.readlines()[-40:]:
                            print("    | " + line.rstrip(), flush=True)
    print(
        f"{name:<12} {total[0]:5} passed {total[1]:3} failed {total[2]:3} skipped"
        f" {time.monotonic() - start:7.1f} s",
        flush=True,
    )
    return total


def main():
    logdir = sys.argv[1]
    os.makedirs(logdir, exist_ok=True)
    total = [0, 0, 0]
    for arg in sys.argv[2:]:
        head, programs = arg.split("=", 1)
        name, jobs, seconds = (head.split(":") + ["", ""])[:3]
        timeout = max(TIMEOUT, float(seconds or 0))
        programs = [p for p in programs.split(",") if p]
        if not programs:
            continue
        got = run_suite(name, int(jobs or 1), timeout, programs, logdir)
        total = [a + b for a, b in zip(total, got)]
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped", flush=True)
    sys.exit(1 if total[1] or not total[0] else 0)


main()
