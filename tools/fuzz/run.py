"""Damage sound files in a way that can be repeated, and count what their readers make of them.

    python tools/fuzz/run.py                       # 2000 damaged inputs for each reader
    python tools/fuzz/run.py lmdb picture --count 100000 --start 5000

Good outcomes are "read" (the damage did no harm, or cannot be seen) and "refused" (a CaffeCompatError). Bad ones are an
exception of another kind, the death of the process, and more than 30 seconds or 4 GB; each is printed with what repeats
it. The readers run in a process of their own. The exit status is 1 where there was a bad one. mutators.py damages bytes
without knowing what they are; formats.py knows enough of a format to damage what lies below its checksums and
lengths; seeds.py makes the sound files; readers.py reads as users' commands do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from mutators import mutate

__all__ = ["Outcome", "fuzz"]

_LIMIT_S = 30
_LIMIT_BYTES = 4 << 30


class Outcome(Counter[str]):
    """How many inputs came to which end; `bad` has a line for each that should not have been."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []


def fuzz(reader: str, count: int, start: int = 0) -> Outcome:
    """Read `count` damaged inputs, those with the numbers from `start` on; a number always means the same damage."""
    outcome = Outcome()
    number, end = start, start + count
    with tempfile.TemporaryDirectory(prefix="caffecompat-fuzz-") as folder:  # which a dead worker cannot remove
        while number < end:
            command = [
                sys.executable,
                __file__,
                "--worker",
                reader,
                "--start",
                str(number),
                "--count",
                str(end - number),
            ]
            with subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "TMPDIR": folder},
            ) as process:
                number = _watch(process, reader, number, outcome)
    return outcome


def _watch(process: subprocess.Popen[str], reader: str, number: int, outcome: Outcome) -> int:
    """Count what the worker says until it ends; returns the number of the next input."""
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError(f"{reader}: a sound file cannot be read; try: python tools/fuzz/run.py --worker {reader}")
    for line in process.stdout:
        ended, kind, text = line.rstrip("\n").split("\t", 2)
        number = int(ended) + 1
        outcome[kind] += 1
        if kind not in ("read", "refused"):
            outcome.bad.append(f"{reader} {ended}: {kind}: {text}")
    status = process.wait()
    if not status:
        return number
    kind = "hang" if status == -signal.SIGALRM else "death"
    outcome[kind] += 1
    outcome.bad.append(f"{reader} {number}: {kind}: exit status {status}")
    return number + 1


def damaged(reader: str, number: int, originals: list[Path], folder: Path) -> Path:
    """The input of that number, made in a folder: a copy of a sound file or database with one file damaged."""
    from readers import READERS

    generator = random.Random(f"{reader} {number}")
    original = generator.choice(originals)
    target = folder / f"x_{original.name}"
    if original.is_file():
        target.write_bytes(mutate(original.read_bytes(), generator, READERS[reader].mutators))
        return target
    shutil.copytree(original, target)
    files = sorted(path for path in target.iterdir() if path.stat().st_size and not path.name.startswith("LOG"))
    victim = generator.choice(files)
    victim.write_bytes(mutate(victim.read_bytes(), generator, READERS[reader].mutators))
    return target


def _work(reader: str, start: int, count: int) -> None:
    """Read the inputs, a line of output for each."""
    import resource

    from readers import READERS

    from caffecompat.errors import CaffeCompatError

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    with tempfile.TemporaryDirectory(prefix="caffecompat-fuzz-") as name:
        made, work = Path(name, "seeds"), Path(name, "work")
        made.mkdir()
        originals = READERS[reader].seeds(made)
        for original in originals:
            READERS[reader].read(original)
        out.write("ready\n")
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + _LIMIT_BYTES,) * 2)
        for number in range(start, start + count):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            path = damaged(reader, number, originals, work)
            signal.alarm(_LIMIT_S)
            kind, text = "read", ""
            try:
                READERS[reader].read(path)
            except CaffeCompatError as problem:
                kind, text = "refused", str(problem)
            except MemoryError:
                kind = "memory"
            except Exception as problem:
                kind, text = "exception", f"{type(problem).__name__}: {problem}"
            signal.alarm(0)
            out.write(f"{number}\t{kind}\t{' '.join(text.split())[:300]}\n")
            out.flush()


def main() -> int:
    from readers import READERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}; default: all")
    parser.add_argument("--count", type=int, default=2000, metavar="N", help="inputs for each (2000)")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="number of the first one (0)")
    parser.add_argument("--keep", metavar="DIR", help="only make the input --start of the one reader, there")
    parser.add_argument("--worker", metavar="READER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.readers) - set(READERS)
    if unknown:
        parser.error(f"no such reader: {', '.join(sorted(unknown))}")
    if args.worker:
        _work(args.worker, args.start, args.count)
        return 0
    if args.keep:
        folder = Path(args.keep)
        (folder / "seeds").mkdir(parents=True)
        print(damaged(args.readers[0], args.start, READERS[args.readers[0]].seeds(folder / "seeds"), folder))
        return 0
    bad = 0
    for reader in args.readers or READERS:
        outcome = fuzz(reader, args.count, args.start)
        print(f"{reader:12} {', '.join(f'{number} {kind}' for kind, number in outcome.most_common())}", flush=True)
        for line in outcome.bad:
            print(f"  {line}", flush=True)
        bad += len(outcome.bad)
    return 1 if bad else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
