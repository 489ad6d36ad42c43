"""Every figure in one run, side by side with its peer, and a picture: `make bench`, about ten minutes on a quiet machine.

python -m benchmarks --parts ratios,mixed --json figures.json --picture docs/images/performance.png

Ratios are of medians of turns taken one after the other. Times of a busy machine mean little, ratios more; a bare fdatasync
above 1 ms makes everything durable meaningless.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import machine
from benchmarks.figures import FIGURES, amount, only_see_that_it_works


def ratios() -> None:
    from benchmarks import ratios

    ratios.main()


def tasks() -> None:
    from benchmarks import asyncio_ratios

    asyncio.run(asyncio_ratios.main())


def couchbase() -> None:
    from benchmarks import couchbase_ratios

    couchbase_ratios.main()


def metrics() -> None:
    from benchmarks import metrics

    metrics.main()


def memory() -> None:
    from benchmarks import memory_size

    memory_size.main()


def million() -> None:
    from benchmarks import million

    million.main()


def one_key() -> None:
    from benchmarks import one_key

    one_key.main()


PARTS = {part.__name__: part for part in (ratios, tasks, one_key, couchbase, metrics, memory, million)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--parts", default=",".join([*PARTS, "mixed"]), help="default: all")
    parser.add_argument("--json", type=Path, help="every turn of every figure")
    parser.add_argument("--picture", type=Path, help="of the load on whole stores and of the ratios (needs matplotlib)")
    parser.add_argument("--quick", action="store_true", help="one turn of each: whether it works, not what it measures")
    options = parser.parse_args()
    if options.quick:
        only_see_that_it_works()
    names = options.parts.split(",")
    if unknown := set(names) - {*PARTS, "mixed"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join([*PARTS, 'mixed'])}")
    where = machine.describe()
    print(where)
    for name in names:
        if name in PARTS:
            print(f"\n{name}")
            PARTS[name]()
    rounds = {}
    if "mixed" in names:
        from benchmarks import mixed
        from benchmarks.systems import installed

        print("\nmixed: 95 % get, 5 % set, Zipf over 20,000 keys, 2,000 in memory")
        systems = [it for it in installed() if "breaker" not in it]
        rounds = mixed.measure(systems, rounds=amount(5, 1), seconds=amount(2.0, 0.3))
        print("\n".join(mixed.table(rounds)))
    if options.json:
        whole = {
            "machine": where,
            "figures": [it.as_dict() for it in FIGURES],
            "mixed": mixed.as_dict(rounds) if rounds else {},
        }
        options.json.write_text(json.dumps(whole, indent=1) + "\n")
    if options.picture:
        from benchmarks.picture import draw

        draw(options.picture, FIGURES, rounds, where)
    return 0


if __name__ == "__main__":
    sys.exit(main())
