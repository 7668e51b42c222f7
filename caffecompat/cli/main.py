"""``caffecompat VERB ...``: find the verb, read its flags, run it, turn mistakes into messages."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from caffecompat.cli.flags import FlagParser, UsageError
from caffecompat.errors import CaffeCompatError, notes

__all__ = ["VERBS", "main"]

# In the order of the help page.
VERBS: dict[str, tuple[str, ...]] = {
    "Train and measure": ("train", "test", "time", "eval", "parse-log", "plot", "device_query"),
    "Data sets": (
        "convert_imageset",
        "convert_annoset",
        "create_label_map",
        "get_image_size",
        "compute_image_mean",
        "extract_features",
        "lmdb",
    ),
    "Files": (
        "diff",
        "check",
        "summary",
        "draw",
        "weights",
        "export",
        "merge-bn",
        "dump-blobs",
        "compare-blobs",
        "upgrade_net_proto_text",
        "upgrade_net_proto_binary",
        "upgrade_solver_proto_text",
    ),
    "Run": ("segment", "detect", "classify", "detect_windows", "run", "demo"),
}


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"caffecompat.cli.{verb.replace('-', '_')}")


def _known(verb: str) -> str | None:
    plain = verb.replace("-", "_")
    for name in (name for names in VERBS.values() for name in names):
        if name.replace("-", "_") == plain:
            return name
    return None


def _usage() -> str:
    lines = ["caffecompat: Caffe without Caffe", "", "usage: caffecompat VERB [flags]", ""]
    for group, names in VERBS.items():
        lines.append(group)
        lines += [f"  {name:<26}{_module(name).HELP}" for name in names]
        lines.append("")
    lines.append("caffecompat VERB --help tells a verb's flags. Every verb takes --debug (tracebacks of errors),")
    lines.append(
        "--proto FILE (a caffe.proto of your own fork) and --layers FILE (its layers, as torch modules in Python)."
    )
    return "\n".join(lines)


def _split_verb(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The verb and the rest; gflags allows flags before the verb."""
    for at, token in enumerate(argv):
        name = _known(token)
        if name:
            return name, [*argv[:at], *argv[at + 1 :]]
    words = [token for token in argv if not token.startswith("-")]
    if not words:
        raise UsageError(f"caffecompat: no verb given\n\n{_usage()}")
    near = difflib.get_close_matches(words[0], [name for names in VERBS.values() for name in names], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"caffecompat: unknown verb {words[0]!r}{hint}\nSee 'caffecompat --help'.")


def _split_script(tokens: list[str]) -> tuple[list[str], list[str]]:
    """The command's own tokens, and what follows the script of ``run``: its arguments, whatever they look like."""
    if tokens[:1] != ["run"]:
        return tokens, []
    script = next((at for at, token in enumerate(tokens) if at and not token.startswith("-")), len(tokens))
    return tokens[: script + 1], tokens[script + 1 :]


def _take(tokens: list[str], flag: str) -> tuple[list[str], list[str]]:
    """Separate a flag of every verb, ``--flag VALUE`` or ``--flag=VALUE``, from the other tokens."""
    rest, values = [], []
    words = iter(tokens)
    for token in words:
        name, equals, value = token.partition("=")
        if name not in (f"--{flag}", f"-{flag}"):
            rest.append(token)
        elif equals:
            values.append(value)
        else:
            values.append(next(words, ""))
            if not values[-1]:
                raise UsageError(f"caffecompat: --{flag} needs a file")
    return rest, values


def _extend(protos: Sequence[str], layer_files: Sequence[str]) -> None:
    """Take in a user's own fork: its schema, then its layers."""
    from caffecompat.schema.user_proto import use_proto

    for path in protos:
        use_proto(path)
    if layer_files:
        from caffecompat.layers.user_layers import load_layers

        for path in layer_files:
            load_layers(path)


def _print_error(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)


def _parse(verb: str, rest: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    module = _module(verb)
    parser = FlagParser(
        prog=f"caffecompat {verb}",
        description=module.__doc__,
        notice=lambda line: print(line, file=sys.stderr),
    )
    module.add_flags(parser)
    return module, parser.parse_args(rest)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0 is done, 1 is "the data says no" (a difference, a violation, a failed
    verification), 2 a wrong command or unreadable input, 130 interrupted.
    """
    tokens, passed_on = _split_script(list(sys.argv[1:] if argv is None else argv))
    debug = "--debug" in tokens or "-debug" in tokens
    tokens = [token for token in tokens if token not in ("--debug", "-debug")]
    try:
        tokens, protos = _take(tokens, "proto")
        tokens, layer_files = _take(tokens, "layers")
        if tokens[:1] in (["--version"], ["-version"]):
            from caffecompat import __version__

            print(f"caffecompat {__version__}")
            return 0
        if not tokens or tokens[0] in ("-h", "-help", "--help", "help"):
            print(_usage())
            return 0 if tokens else 2
        verb, rest = _split_verb(tokens)
        if protos or layer_files:
            _extend(protos, layer_files)
        module, args = _parse(verb, rest)
        args.debug, args.passed_on = debug, passed_on
        return int(module.run(args))
    except CaffeCompatError as problem:
        if debug:
            raise
        _print_error(str(problem))
        return 2
    except KeyboardInterrupt as stop:
        if debug:
            raise
        print(f"interrupted: {stop}" if str(stop) else "interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our stdout (head, less) has left; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as problem:
        if debug or not notes(problem):
            raise
        # The user's own code (a Python layer) failed; the note says where.
        _print_error(f"{'; '.join(notes(problem))}: {type(problem).__name__}: {problem}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
