"""Damage sound files in a way that can be repeated, and count what the readers and the command line make of them.

    python tools/fuzz/fuzz.py --inputs 20000 --seed 1
    python tools/fuzz/fuzz.py --inputs 5000 --reader lmdb --reader "verb train"
    python tools/fuzz/fuzz.py --reader npy --only 1234 --seed 1    # one input again, with its traceback

A seed and a number always mean the same damage. Inputs of one reader are read one after another in a process of its
own, which is replaced when it dies, and now and then; a thousand a second is usual. Bad ends are an exception that is
not made for people, the death of the process, a hang (30 seconds; of a command: one that does not stop when it is
interrupted), more than 4 GB of memory, and a value that cannot be right. Each is shown with what repeats it, and the
exit status is 1.

mutators.py damages bytes of any kind; formats.py, prototxt.py and wire.py know formats; seeds.py and world.py make the
sound files; readers.py, net_readers.py and verbs.py read as users' commands do; targets.py lists them.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pkgutil import walk_packages
from types import FrameType
from typing import IO

from damage import copied, damaged
from outcome import GOOD, Finding, Tally, classified
from targets import TARGETS, Target, shared_out
from world import silent, take

import caffecompat

__all__ = ["fuzz"]

_LIMIT_S = 30.0
_PATIENCE_S = 3.0  # of a command, before it is interrupted
_LIMIT_BYTES = 4 << 30
_INPUTS_OF_A_PROCESS = 2000
_ROUND = 50_000  # inputs


def fuzz(name: str, count: int, seed: int, folder: Path, *, start: int = 0, keep: Path | None = None) -> Tally:
    """Read `count` damaged inputs of one target, those with the numbers from `start` on.

    Args:
        folder: where seeds are made, or were made by an earlier call.
        keep: a folder for the inputs that came to no good end.
    """
    tally = Tally(name)
    number, end = start, start + count
    while number < end:
        last = min(end, number + _INPUTS_OF_A_PROCESS)
        number = _run_process(name, range(number, last), seed, folder, tally)
    if keep is not None:
        _keep(tally, seed, folder, keep)
    return tally


def _run_process(name: str, numbers: range, seed: int, folder: Path, tally: Tally) -> int:
    """Read inputs in a child; returns the number of the next input."""
    ours, theirs = os.pipe()
    notes = folder / "faults"  # what faulthandler says of a death
    child = os.fork()
    if not child:
        os.close(ours)
        with open(notes, "w") as faults:
            _work(name, numbers, seed, folder, theirs, faults)
    os.close(theirs)
    number = numbers.start
    try:
        with os.fdopen(ours, encoding="utf-8", errors="replace") as lines:
            if next(lines, "") != "ready\n":
                raise RuntimeError(f"{name}: a sound file cannot be read: {notes.read_text()}")
            for line in lines:
                ended, kind, seconds, text = line.rstrip("\n").split("\t", 3)
                number = int(ended) + 1
                _count(tally, int(ended), kind, float(seconds), text)
    finally:
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        kind = "hang" if code == -signal.SIGALRM else "death"
        where = " ".join(notes.read_text().split())[:600]
        _count(tally, number, kind, 0.0, f"exit status {code}: {where}")
        number += 1
    return number


def _count(tally: Tally, number: int, kind: str, seconds: float, text: str) -> None:
    tally.counts[kind] += 1
    tally.seconds += seconds
    if seconds > tally.slowest:
        tally.slowest, tally.slowest_number = seconds, number
    if kind not in GOOD:
        tally.findings.append(Finding(tally.reader, number, kind, text))


def _originals(target: Target, name: str, folder: Path) -> list[Path]:
    """The target's sound files, made and read once."""
    seeds, ready = folder / name.replace(" ", "_"), folder / f"{name.replace(' ', '_')}.ready"
    if ready.exists():
        return [Path(line) for line in ready.read_text().splitlines()]
    shutil.rmtree(seeds, ignore_errors=True)
    seeds.mkdir()
    originals = target.seeds(seeds)
    for original in originals:
        with tempfile.TemporaryDirectory(dir=folder) as copy:
            target.read(copied(original, Path(copy)))
    ready.write_text("".join(f"{path}\n" for path in originals))
    return originals


def _work(name: str, numbers: range, seed: int, folder: Path, out: int, faults: IO[str]) -> None:
    """Read the inputs, a line for each; never returns."""
    import resource

    target = TARGETS[name]
    work = folder / f"work{os.getpid()}"
    try:
        with silent():
            originals = _originals(target, name, folder)
            os.write(out, b"ready\n")
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + _LIMIT_BYTES,) * 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            faulthandler.enable(faults)
            for number in numbers:
                began = time.process_time()  # whatever else the machine does
                kind, text = _one(target, _make(name, originals, number, seed, work), faults)
                text = " ".join(text.split())[:500]
                line = f"{number}\t{kind}\t{time.process_time() - began:.4f}\t{text}\n"
                os.write(out, line.encode("utf-8", "backslashreplace"))
    except BaseException:
        traceback.print_exc(file=faults)
        faults.flush()
        os._exit(70)
    finally:
        os.chdir("/")
        shutil.rmtree(work, ignore_errors=True)
    os._exit(0)


def _make(name: str, originals: list[Path], number: int, seed: int, work: Path) -> Path:
    """The input of that number."""
    os.chdir(work.parent)
    work.mkdir(exist_ok=True)
    for entry in os.scandir(work):  # to remove the folder itself takes long on some file systems
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    target = TARGETS[name]
    generator = random.Random(f"{seed} {name} {number}")
    return damaged(generator.choice(originals), work, generator, target.mutators, target.command)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """What Ctrl-C does; a second alarm finds nobody who waits for it."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, file=_faults, chain=True)
    signal.setitimer(signal.ITIMER_REAL, _LIMIT_S)
    raise KeyboardInterrupt


_faults: IO[str] = sys.stderr


def _one(target: Target, path: Path, faults: IO[str]) -> tuple[str, str]:
    """Read an input with an eye on the clock."""
    global _faults
    _faults = faults
    faulthandler.unregister(signal.SIGALRM)
    if target.command:
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S)
    else:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.register(signal.SIGALRM, file=faults, chain=True)
        signal.setitimer(signal.ITIMER_REAL, _LIMIT_S)
    try:
        target.read(path)
        return "read", ""
    except (Exception, KeyboardInterrupt) as problem:
        return classified(problem, target.command)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _keep(tally: Tally, seed: int, folder: Path, keep: Path) -> None:
    for finding in tally.findings:
        target = keep / f"{finding.reader.replace(' ', '_')}_{seed}_{finding.number}"
        if not target.exists():
            made = _make(finding.reader, _originals(TARGETS[finding.reader], finding.reader, folder), finding.number,
                         seed, folder / "kept")  # fmt: skip
            keep.mkdir(parents=True, exist_ok=True)
            shutil.move(made, target)


def _again(name: str, number: int, seed: int, folder: Path, keep: Path | None) -> int:
    """Read one input again, in this process, with the traceback of what it raises."""
    target = TARGETS[name]
    with silent():
        originals = _originals(target, name, folder)
    path = _make(name, originals, number, seed, folder / "work")
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        take(path, keep / path.name)
    try:
        target.read(path)
        kind = "read"
    except Exception as problem:
        traceback.print_exc()
        kind, _ = classified(problem, target.command)
    print(f"{path.name}: {kind}")
    return 0 if kind in GOOD else 1


def _groups(findings: list[Finding]) -> Iterator[str]:
    """Findings of the same place together, with the first numbers of each."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault(
            (finding.reader, finding.kind, finding.text.partition(":")[0][:120] + finding.text[:60]), []
        ).append(finding)
    for (reader, kind, _), alike in sorted(groups.items()):
        numbers = ", ".join(str(finding.number) for finding in alike[:5])
        yield f"  {reader} {numbers}: {len(alike)} x {kind}: {alike[0].text}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20000, metavar="N", help="in all (20000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the damage (1)")
    parser.add_argument("--reader", action="append", metavar="NAME", help="this one alone; repeatable (all)")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="put the inputs that came to no good end there, and that of --only"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="make the sound files there, or take those made before"
    )
    parser.add_argument(
        "--only", type=int, metavar="NUMBER", help="read this input of the --reader, with its traceback"
    )
    parser.add_argument("--list", action="store_true", help="name the readers")
    args = parser.parse_args()
    names = args.reader or list(TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        parser.error(f"no such reader: {', '.join(unknown)}; --list names them")
    if args.list:
        print(*TARGETS, sep="\n")
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # of which disks know nothing
    with tempfile.TemporaryDirectory(prefix="caffecompat-fuzz-", dir=memory) as own:
        folder = (args.folder or Path(own)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if args.only is not None:
            return _again(names[0], args.only, args.seed, folder, args.keep)
        return _all(names, args.inputs, args.seed, folder, args.keep)


def _import_all() -> None:
    """Import what the readers and verbs do, once instead of in each process."""
    for module in walk_packages(caffecompat.__path__, "caffecompat."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("torch._decomp", "matplotlib.figure", "onnx", "onnxruntime", "h5py", "safetensors.numpy"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _all(names: list[str], inputs: int, seed: int, folder: Path, keep: Path | None) -> int:
    """Read the inputs in rounds, so that a run that is interrupted has been to all targets."""
    _import_all()
    tallies = {name: Tally(name) for name in names}
    began, done = time.monotonic(), 0
    with contextlib.suppress(KeyboardInterrupt):
        while done < inputs:
            before, done = done, min(inputs, done + _ROUND)
            first = shared_out(names, before)
            for name, last in shared_out(names, done).items():
                if last == first[name]:
                    continue
                tally = fuzz(name, last - first[name], seed, folder, start=first[name], keep=keep)
                print(tally.line(), *_groups(tally.findings), sep="\n", flush=True)
                tallies[name].add(tally)
    if done > _ROUND:
        print("", "in all:", *(tally.line() for tally in tallies.values()), sep="\n")
    total = sum((tally.counts for tally in tallies.values()), Counter[str]())
    findings = sum(len(tally.findings) for tally in tallies.values())
    ends = ", ".join(f"{count} {kind}" for kind, count in total.most_common())
    print(f"{total.total()} inputs in {time.monotonic() - began:.0f} s: {ends}; {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
