"""Fills so many bytes with what programs in Python keep, says its number, and waits until its standard input closes."""

import array
import json
import os
import random
import sys

TARGET = int(sys.argv[1])
RANDOM = random.Random(1)
LETTERS = "eeeeettttaaaooiinnsshhrrddlucmfwygpb"
WORDS = ["".join(RANDOM.choices(LETTERS, k=RANDOM.randint(2, 12))) for _ in range(20000)]


class Point:
    __slots__ = ("x", "y", "label")

    def __init__(self):
        self.x, self.y, self.label = RANDOM.gauss(0, 1), RANDOM.gauss(0, 1), word()


def word():
    return WORDS[int(len(WORDS) * RANDOM.random() ** 3)]


def text(count):
    return " ".join(word() for _ in range(count))


def user(number):
    return {
        "id": number,
        "name": word().title() + " " + word().title(),
        "email": f"{word()}.{number}@{word()}.example",
        "active": RANDOM.random() < 0.7,
        "score": round(RANDOM.random() * 100, 2),
        "tags": [word() for _ in range(RANDOM.randint(0, 6))],
        "address": {"street": text(2), "number": RANDOM.randint(1, 200), "zip": str(RANDOM.randint(10000, 99999))},
    }


def log_lines(number):
    return [
        f"2026-11-{RANDOM.randint(1, 30):02}T{RANDOM.randint(0, 23):02}:{RANDOM.randint(0, 59):02}Z INFO request {number} "
        f"/{word()}/{word()} took {RANDOM.randint(1, 900)} ms"
        for _ in range(20)
    ]


def walk(_):
    value, steps = 100.0, array.array("d")
    for _ in range(500):
        value += RANDOM.gauss(0, 0.1)
        steps.append(value)
    return steps


KINDS = {
    user: 12,
    lambda number: json.loads(json.dumps(user(number))): 6,
    log_lines: 5,
    lambda _: text(RANDOM.randint(20, 600)): 5,
    walk: 1,
    lambda _: {word(): RANDOM.randrange(10**6) for _ in range(50)}: 3,
    lambda _: [[RANDOM.randrange(256) for _ in range(20)] for _ in range(20)]: 2,
    lambda _: {RANDOM.randrange(10**9) for _ in range(60)}: 2,
    lambda _: [Point() for _ in range(20)]: 3,
    lambda _: tuple(RANDOM.random() for _ in range(30)): 2,
    lambda _: RANDOM.randbytes(RANDOM.randint(200, 6000)): 1,
    lambda _: bytearray(RANDOM.choice((1024, 8192))): 1,
}


def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) * 1024


kept = []
while resident() < TARGET:
    for kind in RANDOM.choices(list(KINDS), weights=KINDS.values(), k=500):
        kept.append(kind(len(kept)))
        # Holes, as programs have them.
        if RANDOM.random() < 0.15:
            kept[RANDOM.randrange(len(kept))] = None
print("ready", os.getpid(), flush=True)
sys.stdin.read()
