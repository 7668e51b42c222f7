"""Run a Python script whose `import caffe` gets caffecompat's pycaffe.

caffecompat run my_training.py --the-scripts own flags
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import runpy
import sys
import traceback
from types import TracebackType

from caffecompat.cli.common.dropped_names import todays_spelling
from caffecompat.cli.common.flags import UsageError
from caffecompat.errors import CaffeCompatError

HELP = "run a script that says 'import caffe'"

_CONVERT = (
    "This looks like Python 2; caffecompat runs on Python 3. To convert the script (the original stays as .bak):\n"
    "    2to3 -w {script}    (comes with Python up to 3.12; later: pip install fissix, then fissix -w {script})"
)

# Lines on which Python 3 gives up: statements print and exec, `except A, e`, `raise A, e`, <>, 0777, 5L, ur"", `x`.
_PYTHON_2_LINE = re.compile(
    r"""^\s*(print|exec)\s+[^=\s] | ^\s*(except|raise)\s+[\w.()]+\s*, | <> | \b0\d+\b | \b\d+[lL]\b | \bur['"] | `
    | def\s+\w+\(.*\(.*\).*\): | \blambda\s*\(""",
    re.VERBOSE,
)
_PYTHON_2_NAMES = {"basestring", "cPickle", "ConfigParser", "cStringIO", "execfile", "file", "has_key", "iteritems"}
_PYTHON_2_NAMES |= {"iterkeys", "itervalues", "long", "raw_input", "reduce", "StringIO", "unicode", "urllib2", "xrange"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("script", help="the Python file; what follows it are its own arguments")


def run(args: argparse.Namespace) -> int:
    _check_syntax(args.script)

    from caffecompat.pycaffe import install

    install()
    sys.argv = [args.script, *args.passed_on]
    sys.path.insert(0, os.path.dirname(os.path.abspath(args.script)))
    try:
        runpy.run_path(args.script, run_name="__main__")
    except Exception as error:
        if args.debug:
            raise
        _print_traceback(error, args.script)
        return 1
    return 0


def _check_syntax(script: str) -> None:
    try:
        with open(script, "rb") as file:
            source = file.read()
    except OSError as error:
        raise UsageError(f"caffecompat run: {script}: {error.strerror}") from None
    try:
        ast.parse(source, script)
    except SyntaxError as error:
        hint = "\n" + _CONVERT.format(script=script) if _is_python2(error) else ""
        raise CaffeCompatError(
            f"{script}:{error.lineno}: {error.msg}\n    {(error.text or '').strip()}{hint}"
        ) from None


def _is_python2(error: Exception) -> bool:
    """Whether Python 2 code is what makes such an error."""
    if isinstance(error, SyntaxError):
        return isinstance(error, TabError) or bool(_PYTHON_2_LINE.search(error.text or ""))
    return isinstance(error, (NameError, AttributeError, ImportError)) and error.name in _PYTHON_2_NAMES


def _print_traceback(error: Exception, script: str) -> None:
    """The traceback from the script on: how it came to run is no news."""
    own: TracebackType | None = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename != script:
        own = own.tb_next
    traceback.print_exception(type(error), error, own or error.__traceback__)
    place, line = _own_line(error, script)
    spelling = todays_spelling(error, line)
    if spelling:
        print(f"note: {place}: {spelling}", file=sys.stderr)
    if _is_python2(error):
        file = getattr(error, "filename", None) or script  # of a SyntaxError in a module that the script imports
        print(f"note: {_CONVERT.format(script=file)}", file=sys.stderr)


def _own_line(error: Exception, script: str) -> tuple[str, str]:
    """``file:line`` and text of the last call in the user's own code: the script, or a module next to or below it."""
    folder = os.path.dirname(os.path.abspath(script)) + os.sep
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == script
        or (os.path.abspath(frame.filename).startswith(folder) and "site-packages" not in frame.filename)
    ]
    return (f"{own[-1].filename}:{own[-1].lineno}", own[-1].line or "") if own else (script, "")
