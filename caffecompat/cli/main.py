"""``caffecompat VERB ...``: find the verb, read its flags, run it, turn mistakes into messages."""

from __future__ import annotations

import _thread
import contextlib
import errno
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from caffecompat.cli.every_verb import EveryVerbFlags, is_for_every_verb, takes_value
from caffecompat.cli.flags import EVERY_VERB
from caffecompat.cli.outputs import protected_inputs
from caffecompat.cli.streams import drop_output, lasting_streams
from caffecompat.cli.verbs import VERBS, parser_of, split_verb, verb_module
from caffecompat.errors import CaffeCompatError, notes
from caffecompat.threads import configure_threads

__all__ = ["main"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LONGEST_IMPORT = 5.0  # seconds that Ctrl-C may wait


def _usage() -> str:
    lines = ["caffecompat: Caffe without Caffe", "", "usage: caffecompat VERB [flags]", ""]
    for group, names in VERBS.items():
        lines.append(group)
        lines += [f"  {name:<26}{verb_module(name).HELP}" for name in names]
        lines.append("")
    lines += ["caffecompat help VERB tells a verb's flags.", "", EVERY_VERB]
    return "\n".join(lines)


def _split_script(tokens: list[str]) -> tuple[list[str], list[str]]:
    """The command's own tokens, and what follows the script of ``run``: its arguments, whatever they look like."""
    values = {at + 1 for at, token in enumerate(tokens) if takes_value(token)}
    words = [at for at, token in enumerate(tokens) if not token.startswith("-") and at not in values][:2]
    flags = [token for at, token in enumerate(tokens[: words[0]] if words else ()) if at not in values]
    if len(words) < 2 or tokens[words[0]] != "run" or not all(map(is_for_every_verb, flags)):
        return tokens, []
    return tokens[: words[1] + 1], tokens[words[1] + 1 :]


def _print_error(message: str) -> None:
    with contextlib.suppress(OSError):  # stderr on a full disk
        print(f"error: {message}", file=sys.stderr)


@contextlib.contextmanager
def _interrupts_after_imports() -> Iterator[None]:
    """Hold Ctrl-C back while a module is imported, a few seconds at most.

    Importing torch is most of a command's first second. There Python drops an interrupt (in callbacks of its own, in
    others' "except:"), and the command would go on; or it stops for good, at the lock of a module that is half there.
    """
    since = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal since
        since = since or time.monotonic()
        if _is_importing(frame) and time.monotonic() - since < _LONGEST_IMPORT:
            again = threading.Timer(0.05, _thread.interrupt_main)
            again.daemon = True
            again.start()
            return
        since = 0.0
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield  # another's handler stays
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0 is done, 1 is "the data says no" (a difference, a violation, a failed
    verification) or that the result could not be written, 2 a wrong command
    or unreadable input, 130 interrupted.
    """
    configure_threads()
    with lasting_streams():
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(tokens: list[str]) -> int:
    """The same on streams that outlive their readers."""
    own, _ = _split_script(tokens)
    debug = "--debug" in own or "-debug" in own
    try:
        with _interrupts_after_imports():
            try:
                status = _dispatch(tokens, debug)
            except SystemExit:  # of --help
                sys.stdout.flush()
                raise
            sys.stdout.flush()
        return status
    except KeyboardInterrupt as stop:
        if debug:
            raise
        print(f"interrupted: {stop}" if str(stop) else "interrupted", file=sys.stderr)
        return 130
    except Exception as problem:
        if debug or not (isinstance(problem, (CaffeCompatError, OSError)) or notes(problem)):
            raise
        _print_error(_described(problem))
        if isinstance(problem, OSError) and problem.filename is None:
            drop_output()
        return _status(problem)


def _status(problem: Exception) -> int:
    if isinstance(problem, CaffeCompatError):
        return problem.status
    return 1 if isinstance(problem, OSError) and problem.errno in _FULL else 2


def _described(problem: Exception) -> str:
    if isinstance(problem, CaffeCompatError):
        return str(problem)
    if notes(problem):  # the user's own code (a Python layer) failed; the note says where
        return f"{'; '.join(notes(problem))}: {type(problem).__name__}: {problem}"
    assert isinstance(problem, OSError)
    if problem.filename is None and problem.errno in _FULL:
        return f"the results cannot be written: {problem.strerror}"
    what = f"{problem.filename}: " if problem.filename is not None else ""
    return f"{what}{problem.strerror or problem}"


def _dispatch(argv: list[str], debug: bool) -> int:
    """Find the verb and run it."""
    tokens, passed_on = _split_script(argv)
    tokens = [token for token in tokens if token not in ("--debug", "-debug")]
    flags, tokens = EveryVerbFlags.take(tokens)
    if tokens[:1] in (["--version"], ["-version"]):
        from caffecompat import __version__

        print(f"caffecompat {__version__}")
        return 0
    if tokens[:1] == ["help"] and len(tokens) > 1:
        tokens = [*tokens[1:], "--help"]
    if not tokens or tokens[0] in ("-h", "-help", "--help", "help"):
        print(_usage())
        return 0 if tokens else 2
    verb, rest = split_verb(tokens)
    with flags.in_force():
        args = parser_of(verb, lambda line: print(line, file=sys.stderr)).parse_args(rest)
        args.debug, args.passed_on = debug, passed_on
        with protected_inputs(f"caffecompat {verb}", args):
            return int(verb_module(verb).run(args))


if __name__ == "__main__":
    sys.exit(main())
