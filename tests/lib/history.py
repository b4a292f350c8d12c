"""Are what clients saw and one order of all operations the same thing?

Histories are lists of Op. An operation took effect at one instant between its
start and its end, or, when its outcome is not known (end NEVER), at any later
one or not at all. check() says None, or what is wrong, key by key:

- Writes of values that are all different, and reads: the zone method of
  Gibbons and Korach, O(n log n). A value's zone spans what is known of its
  life; zones in which it must have been the value all the time may not overlap,
  and none that it could have had for a moment may lie within such a one.
- With deletes and compare-and-set: a search over the orders that are possible,
  kept small by few clients a key.

Shares no code with the server. Run by itself it checks itself.
"""

import bisect
import collections
import random
import sys
import time

NEVER = float("inf")
# kind: "w" wrote arg; "r" read arg; "cas" wrote arg[1] if arg[0] was there: ok
# False says that it was not. None stands for "no such key".
Op = collections.namedtuple("Op", "key kind arg ok start end")


class Recorder:
    """Collects the operations of one client."""

    def __init__(self):
        self.ops = []

    def read(self, key, fn):
        """fn() returns the value; raises when the outcome is not known."""
        start = time.monotonic()
        value = fn()
        self.ops.append(Op(key, "r", value, True, start, time.monotonic()))
        return value

    def write(self, key, value, fn):
        """fn() returns False when it certainly did not happen."""
        start = time.monotonic()
        try:
            done = fn()
        except Exception:
            self.ops.append(Op(key, "w", value, True, start, NEVER))
            raise
        if done is not False:
            self.ops.append(Op(key, "w", value, True, start, time.monotonic()))

    def cas(self, key, old, new, fn):
        """fn() returns whether it took place."""
        start = time.monotonic()
        try:
            done = fn()
        except Exception:
            self.ops.append(Op(key, "cas", (old, new), True, start, NEVER))
            raise
        self.ops.append(Op(key, "cas", (old, new), done, start, time.monotonic()))
        return done


# --- registers whose values are all different ---


def check_zones(ops, first=None):
    writes = {first: (-NEVER, -NEVER)}
    reads = collections.defaultdict(list)
    for op in ops:
        if op.kind == "w":
            if op.arg in writes:
                raise ValueError(f"{op.arg!r} is written twice")
            writes[op.arg] = (op.start, op.end)
        else:
            reads[op.arg].append((op.start, op.end))
    for value, seen in reads.items():
        if value not in writes:
            return f"{value!r} was read, but never written"
        if min(end for _, end in seen) < writes[value][0]:
            return f"{value!r} was read before it was written"
    forward, backward = [], []
    for value, (start, end) in writes.items():
        seen = reads.get(value, [])
        if end == NEVER and not seen:
            continue  # nobody saw it: it may not have happened
        low = min([end] + [e for _, e in seen])
        high = max([start] + [s for s, _ in seen])
        if low < high:
            forward.append((low, high, value))
        else:
            backward.append((high, low, value))
    forward.sort(key=lambda z: z[:2])
    for a, b in zip(forward, forward[1:]):
        if b[0] < a[1]:
            return f"{a[2]!r} and {b[2]!r} were there at the same time"
    lows = [z[0] for z in forward]
    for low, high, value in backward:
        i = bisect.bisect_left(lows, low) - 1
        if i >= 0 and high < forward[i][1]:
            return f"{value!r} was there while {forward[i][2]!r} was"
    return None


# --- with deletes and compare-and-set ---

LIMIT = 200000  # states; a test with fewer clients or keys is what then helps


def _after(op, value):
    """The value behind op, or op is not possible: then ValueError."""
    if op.kind == "w":
        return op.arg
    if op.kind == "r":
        if value != op.arg:
            raise ValueError
        return value
    old, new = op.arg
    if (value == old) != op.ok and op.end != NEVER:
        raise ValueError
    if value != old:
        return value
    return new


class _States:
    """(value, operations that happened and have not ended), without those that
    others make needless: an operation without a known end that has not happened
    yet leaves more to come than one that has."""

    def __init__(self):
        self.sets = {}
        self.n = 0

    def add(self, value, done, lost):
        of = self.sets.setdefault((value, done), [])
        if any(other <= lost for other in of):
            return False
        kept = [other for other in of if not lost <= other]
        self.n += 1 + len(kept) - len(of)
        kept.append(lost)
        self.sets[(value, done)] = kept
        if self.n > LIMIT:
            raise RuntimeError("too many possible orders")
        return True

    def __iter__(self):
        for (value, done), of in self.sets.items():
            for lost in of:
                yield value, done, lost


UNSEEN = ("nobody asked for it",)


def _alike(ops, first):
    """Gives all values that no read and no compare-and-set names one name: they
    differ in nothing. Then, for each operation without a known end, the one
    before it of the same effect, or None: an order that has the later one
    without the earlier one is an order with the two changed over, so the later
    one need not be tried first. k of them make k + 1 sets, not 2 to the k."""
    named = {first, None}
    named.update(op.arg for op in ops if op.kind == "r")
    named.update(op.arg[0] for op in ops if op.kind == "cas")

    def alike(op):
        if op.kind == "w":
            return op if op.arg in named else op._replace(arg=UNSEEN)
        return op if op.kind == "r" or op.arg[1] in named else op._replace(arg=(op.arg[0], UNSEEN))

    ops = [alike(op) for op in sorted(ops, key=lambda op: op.start)]
    last, before = {}, [None] * len(ops)
    for i, op in enumerate(ops):
        if op.end == NEVER:
            before[i] = last.get((op.kind, op.arg))
            last[(op.kind, op.arg)] = i
    return ops, before


def _closure(states, pending, ops, before):
    """All that can be reached by letting pending operations happen."""
    out = _States()
    frontier = []
    for state in states:
        if out.add(*state):
            frontier.append(state)
    while frontier:
        value, done, lost = frontier.pop()
        for i in pending:
            if i in done or i in lost or not (before[i] is None or before[i] in lost):
                continue
            try:
                new = _after(ops[i], value)
            except ValueError:
                continue
            if ops[i].end == NEVER:
                if new == value:
                    continue
                state = (new, done, lost | {i})
            else:
                state = (new, done | {i}, lost)
            if out.add(*state):
                frontier.append(state)
    return out


def check_search(ops, first=None):
    ops, before = _alike([op for op in ops if op.end != NEVER or op.kind != "r"], first)
    events = sorted(
        [(op.start, 0, i) for i, op in enumerate(ops)]
        + [(op.end, 1, i) for i, op in enumerate(ops) if op.end != NEVER]
    )
    states = [(first, frozenset(), frozenset())]
    pending = set()
    for _, ended, i in events:
        if not ended:
            pending.add(i)
            continue
        reached = _closure(states, pending, ops, before)
        pending.discard(i)
        states = [(v, done - {i}, lost) for v, done, lost in reached if i in done]
        if not states:
            op = ops[i]
            return f"no order explains {op.kind} {op.arg!r} ok={op.ok}"
    return None


def check(ops, first=None):
    """first: the value of every key before. None, or what is wrong."""
    keys = collections.defaultdict(list)
    for op in ops:
        keys[op.key].append(op)
    for key, of_key in sorted(keys.items()):
        plain = all(op.kind == "r" or (op.kind == "w" and op.arg is not None) for op in of_key)
        wrong = (check_zones if plain else check_search)(of_key, first)
        if wrong:
            return f"key {key}: {wrong}"
    return None


# --- of itself ---


def make(rng, n, clients, all_kinds, losses=0.05):
    """A history that did happen, of one key."""
    ops, now, value, fresh = [], 0.0, None, 0
    free = [0.0] * clients  # when each client has its answer
    for _ in range(n):
        c = rng.randrange(clients)
        now = max(now + rng.random() * 0.3, free[c])
        start, end = max(free[c], now - rng.random()), now + rng.random()
        free[c] = end
        kind = rng.choice(["w", "r", "r", "d", "cas", "create"] if all_kinds else ["w", "r"])
        fresh += 1
        if kind == "r":
            ops.append(Op("k", "r", value, True, start, end))
            continue
        lost = rng.random() < losses
        happened = not lost or rng.random() < 0.5
        if kind in ("w", "d"):
            new = fresh if kind == "w" else None
            ops.append(Op("k", "w", new, True, start, NEVER if lost else end))
        else:
            old = None if kind == "create" else rng.choice([value, value, fresh - 1])
            new = fresh
            ok = value == old
            ops.append(Op("k", "cas", (old, new), ok, start, NEVER if lost else end))
            happened = happened and ok
        if happened:
            value = new
    return ops


def spoil(rng, ops):
    """Lets some reads see what was there long before."""
    ops = list(ops)
    seen = [i for i, op in enumerate(ops) if op.kind == "r" and op.arg is not None]
    for i in rng.sample(seen[len(seen) // 2:], 2):
        early = [ops[j].arg for j in seen if ops[j].end < ops[i].start - 5 and ops[j].arg != ops[i].arg]
        if early:
            ops[i] = ops[i]._replace(arg=early[0])
    return ops


def self_test(seed):
    rng = random.Random(seed)
    found = spoilt = 0
    for _ in range(15):
        ops = make(rng, 200, 4, False)
        assert check_zones(ops) is None, (seed, check_zones(ops))
        assert check_search(ops[:120]) is None, seed
        bad = spoil(rng, ops)
        assert (check_zones(bad[:120]) is None) == (check_search(bad[:120]) is None), seed
        spoilt += 1
        found += check_zones(bad) is not None
        ops = make(rng, 200, 4, True)
        assert check_search(ops) is None, (seed, check_search(ops))
        bad = spoil(rng, ops)
        spoilt += 1
        found += check_search(bad) is not None
        # an outage: what nobody got an answer to may come true at any time
        ops = make(rng, 100, 3, True, 0.5)
        assert check_search(ops) is None, (seed, check_search(ops))
    assert found > spoilt * 0.6, f"seed {seed}: noticed {found} of {spoilt}"
    return found, spoilt


if __name__ == "__main__":
    s = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(1 << 32)
    print("seed", s, "noticed %d of %d" % self_test(s))
    t = time.monotonic()
    big = make(random.Random(s), 1000000, 8, False)
    t = time.monotonic()
    print(check_zones(big), "%.1f s for %d operations" % (time.monotonic() - t, len(big)))
