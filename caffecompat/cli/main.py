"""``caffecompat VERB ...``: find the verb, read its flags, run it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from caffecompat.cli.common.every_verb import EveryVerbFlags, is_for_every_verb, takes_value
from caffecompat.cli.common.flags import EVERY_VERB
from caffecompat.cli.common.outputs import protected_inputs
from caffecompat.cli.process import exit_status, fewer_collections, lasting_streams
from caffecompat.cli.verbs import VERBS, parser_of, split_verb, verb_module
from caffecompat.glog import configure_logging
from caffecompat.threads import choose_loader_threads, configure_threads

__all__ = ["main"]


_FIRST_STEPS = """caffecompat: Caffe without Caffe

  look     caffecompat summary train_val.prototxt       layers, shapes, parameters
           caffecompat draw train_val.prototxt --html net.html
  train    caffecompat train --solver solver.prototxt --weights pretrained.caffemodel
           caffecompat new espnet --train train.txt my_net/    files for your own pictures
  test     caffecompat test --model train_val.prototxt --weights net.caffemodel
           caffecompat segment | detect | classify      pictures, folders, videos
  export   caffecompat export onnx --model deploy.prototxt --weights net.caffemodel net.onnx
           caffecompat check deploy.prototxt --target dpu
  try      caffecompat demo                             all of it on generated pictures, in minutes
           caffecompat doctor                           what is installed, what is missing

'caffecompat help' lists all verbs, 'caffecompat help VERB' the flags of one."""


def _usage() -> str:
    lines = ["caffecompat: Caffe without Caffe", "", "usage: caffecompat VERB [flags]", ""]
    for group, names in VERBS.items():
        lines.append(group)
        lines += [f"  {name:<26}{verb_module(name).HELP}" for name in names]
        lines.append("")
    lines += ["caffecompat help VERB lists a verb's flags.", "", EVERY_VERB]
    return "\n".join(lines)


def _split_script(tokens: list[str]) -> tuple[list[str], list[str]]:
    """The command's own tokens, and what follows the script of ``run``: its arguments, whatever they look like."""
    values = {at + 1 for at, token in enumerate(tokens) if takes_value(token)}
    words = [at for at, token in enumerate(tokens) if not token.startswith("-") and at not in values][:2]
    flags = [token for at, token in enumerate(tokens[: words[0]] if words else ()) if at not in values]
    if len(words) < 2 or tokens[words[0]] != "run" or not all(map(is_for_every_verb, flags)):
        return tokens, []
    return tokens[: words[1] + 1], tokens[words[1] + 1 :]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (see `process.exit_status`)."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    own, _ = _split_script(tokens)
    debug = "--debug" in own or "-debug" in own
    configure_threads()
    configure_logging()
    with fewer_collections(), lasting_streams(escapes="run" not in own):  # a script's own colors are its business
        return exit_status(lambda: _dispatch(tokens, debug), debug)


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
        print(_usage() if tokens else _FIRST_STEPS)
        return 0 if tokens else 2
    verb, rest = split_verb(tokens)
    with flags.in_force(), contextlib.nullcontext() if verb == "run" else flags.on_python_path():
        args = parser_of(verb, lambda line: print(line, file=sys.stderr)).parse_args(rest)
        args.debug, args.passed_on = debug, passed_on
        choose_loader_threads(getattr(args, "loader_threads", 0))
        with protected_inputs(f"caffecompat {verb}", args):
            args.command_line = argv  # after the check, to which its words would all be inputs
            return int(verb_module(verb).run(args))


if __name__ == "__main__":
    sys.exit(main())
