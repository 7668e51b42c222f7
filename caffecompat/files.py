"""Reading whole files that a user names."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import IO, Any

from caffecompat.errors import CaffeCompatError, brief

__all__ = ["decode_text", "is_utf16", "read_bytes", "read_json", "read_text", "read_whole", "refuse_endless"]

_HEAD = 2048


def read_whole(path: str | os.PathLike[str]) -> bytes:
    """All of a file or a pipe.

    Raises:
        OSError: it cannot be read, or is a device without end, as ``/dev/zero``.
        ValueError: no file has such a name.
    """
    with open(path, "rb") as file:
        refuse_endless(file)
        return file.read()


def refuse_endless(file: IO[Any]) -> None:
    """Raise an OSError where an open file is a device without end, as ``/dev/zero``."""
    about = os.fstat(file.fileno())
    if stat.S_ISCHR(about.st_mode) and not file.isatty() and about.st_rdev != os.stat(os.devnull).st_rdev:
        raise OSError(errno.EINVAL, "it is a device, which has no end")


def read_bytes(path: str, refusal: type[Exception] = CaffeCompatError) -> bytes:
    """All of a file.

    Raises:
        refusal: it cannot be read.
    """
    try:
        return read_whole(path)
    except OSError as error:
        raise refusal(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise refusal(f"cannot read {path!r}: no file has such a name") from None


def read_text(
    path: str | os.PathLike[str],
    what: str,
    refusal: type[Exception] = CaffeCompatError,
    *,
    more: str = "",
    errors: str = "strict",
) -> str:
    """All of a text file in UTF-8 or UTF-16, without the mark that some editors put in front; lines end in ``\\n``.

    Args:
        what: the file's role, for the message: "the label map".
        more: put after the message.
        errors: for bytes that are no such text, as for `bytes.decode`.

    Raises:
        refusal: it cannot be read, or is not text.
    """
    try:
        return decode_text(read_whole(path), errors)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise refusal(f"cannot read {what} {os.fspath(path)}: {reason}{more}") from None


def read_json(path: str | os.PathLike[str], what: str, refusal: type[Exception] = CaffeCompatError) -> Any:
    """The content of a JSON file.

    Args:
        what: the file's role, for the message: "the annotations".

    Raises:
        refusal: it cannot be read, or is not JSON (the message has line and column), also where it is nested or has
            numbers so long that no sensible file has them.
    """
    name = os.fspath(path)
    text = read_text(path, what, refusal)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise refusal(f"{name}:{error.lineno}:{error.colno}: this is not JSON: {error.msg}") from None
    except RecursionError:
        raise refusal(f"{name}: this JSON is malformed: its brackets are nested too deep") from None
    except ValueError as error:
        raise refusal(f"{name}: this JSON is malformed: {brief(error)}") from None


def decode_text(data: bytes, errors: str = "strict") -> str:
    """Text in UTF-8, or in UTF-16 as Windows' editors and shells write it, with the mark in front or without.

    Raises:
        UnicodeDecodeError: it is neither; not with another handler of `errors` than "strict".
    """
    encoding = _utf16(data[:_HEAD]) or "utf-8-sig"
    text = data.decode(encoding, errors)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def is_utf16(data: bytes) -> bool:
    """Whether `decode_text` takes the data for UTF-16."""
    return _utf16(data[:_HEAD]) is not None


def _utf16(head: bytes) -> str | None:
    """The encoding of a UTF-16 text; without a mark it has zero bytes at every other place, and only there."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    pairs = len(head) // 2
    high, low = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if pairs < 2 or (high > 0) == (low > 0) or max(high, low) < 0.3 * pairs:
        return None
    encoding = "utf-16-be" if high else "utf-16-le"
    text = head[: 2 * pairs].decode(encoding, "replace")
    return encoding if all(letter >= " " or letter in "\t\n\r\f" for letter in text) else None
