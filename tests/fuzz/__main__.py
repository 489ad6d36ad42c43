"""Coverage-guided fuzzing with atheris: python -m tests.fuzz TARGET|all [RUNS]. Needs `pip install -e '.[dev,fuzz]'`.

Each target runs in a process of its own. A finding ends it: the input is printed and kept in the current directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LONGEST, TIMEOUT = 4096, 25


def fuzz(name: str, runs: int) -> None:
    """Fuzz one target in this process; does not return."""
    import atheris

    with atheris.instrument_imports(include=["tiered"]):
        from tests.fuzz.targets import TARGETS
        from tiered import chain_url
    chain_url._third_parties = lambda: ()  # looking through all installed packages takes longer than everything else
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as directory:
        for n, data in enumerate(target.seeds):
            Path(directory, f"{n:03}").write_bytes(data)
        options = [f"-runs={runs}", f"-max_len={LONGEST}", f"-timeout={TIMEOUT}", "-rss_limit_mb=2048", "-verbosity=1"]
        atheris.Setup([sys.argv[0], *options, f"-artifact_prefix=fuzz-{name}-", directory], target.run)
        atheris.Fuzz()


def main(argv: list[str]) -> int:
    """Fuzz one target, or all of them one after the other; 1 if one of them has found something."""
    name, runs = (argv[0] if argv else "all"), int(argv[1]) if len(argv) > 1 else 1_000_000
    if name != "all":
        fuzz(name, runs)
        return 0
    from tests.fuzz.targets import TARGETS

    failed = []
    for each in TARGETS:
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "tests.fuzz", each, str(runs)], stderr=subprocess.PIPE, text=True)
        seconds = time.monotonic() - began
        print(
            f"{each:16} {runs:>10,} inputs  {seconds:7.0f} s  {'ok' if not done.returncode else 'FAILED'}", flush=True
        )
        if done.returncode:
            failed.append(each)
            print(done.stderr[-4000:])
    return bool(failed)


if __name__ == "__main__":
    for setting in [name for name in os.environ if name.startswith("TIERED_")]:
        del os.environ[setting]  # settings are a target
    sys.exit(main(sys.argv[1:]))
