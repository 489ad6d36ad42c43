"""python -m benchmarks.outage.flapping PORT: a proxy before that port of loopback; prints its own, obeys lines of stdin."""

from __future__ import annotations

import sys

from tiered.testing.chaos.proxy import Proxy


def main() -> None:
    with Proxy("127.0.0.1", int(sys.argv[1])) as proxy:
        print(proxy.port, flush=True)
        for line in sys.stdin:
            if line.strip() == "flap":
                proxy.flap(up=0.2, down=0.3)
            else:
                proxy.pass_through()
            print("done", flush=True)


if __name__ == "__main__":
    main()
