"""Fuzz one reader of files guided by the code that inputs reach: atheris, with our sound files and our mutators.

    pip install atheris
    python tools/fuzz/guided.py npy --seconds 600 --keep crashes/

fuzz.py draws inputs by chance and goes over everything; this goes deeper into one reader, whose pure Python is
instrumented. It stops at the first input that comes to a bad end, which stays in --keep; fuzz.py says what that is.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", metavar="READER", help="one that reads files (fuzz.py --list)")
    parser.add_argument("--seconds", type=int, default=600, metavar="N", help="how long (600)")
    parser.add_argument("--keep", type=Path, default=Path("crashes"), metavar="DIR", help="for inputs (crashes/)")
    args = parser.parse_args()
    import atheris

    with atheris.instrument_imports(include=["caffecompat"]):
        from damage import knowing
        from mutators import mutate
        from outcome import GOOD, classified
        from targets import TARGETS

    target = TARGETS[args.reader]
    folder = Path(tempfile.mkdtemp(prefix="caffecompat-guided-"))
    (folder / "seeds").mkdir()
    originals = [path for path in target.seeds(folder / "seeds") if path.is_file()]
    if not originals:
        parser.error(f"{args.reader} reads folders; fuzz.py damages their files")
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, original in enumerate(originals):  # the first byte says after which file an input is named
        (corpus / original.name).write_bytes(bytes([number]) + original.read_bytes())
    args.keep.mkdir(parents=True, exist_ok=True)

    def read(data: bytes) -> None:
        if not data:
            return
        path = folder / f"x_{originals[data[0] % len(originals)].name}"
        path.write_bytes(data[1:])
        try:
            target.read(path)
        except Exception as problem:
            if classified(problem, target.command)[0] not in GOOD:
                raise

    def damage(data: bytes, most: int, seed: int) -> bytes:
        generator = random.Random(seed)
        name = originals[data[0] % len(originals)].name if data else ""
        return (data[:1] + mutate(data[1:], generator, target.mutators or knowing(name)))[:most]

    options = [f"-max_total_time={args.seconds}", "-timeout=30", "-rss_limit_mb=4096", "-max_len=200000"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={args.keep}/", str(corpus)], read, custom_mutator=damage)
    try:
        atheris.Fuzz()  # ends the process
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
