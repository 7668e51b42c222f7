"""Reading whole files that a user names."""

from __future__ import annotations

import os

from caffecompat.errors import CaffeCompatError

__all__ = ["read_bytes", "read_text"]


def read_bytes(path: str, refusal: type[Exception] = CaffeCompatError) -> bytes:
    """All of a file.

    Raises:
        refusal: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise refusal(f"cannot read {path}: {error.strerror}") from None


def read_text(
    path: str | os.PathLike[str],
    what: str,
    refusal: type[Exception] = CaffeCompatError,
    *,
    more: str = "",
) -> str:
    """All of a UTF-8 text file, without the mark that some editors put in front.

    Args:
        what: the file's role, for the message: "the label map".
        more: put behind the message.

    Raises:
        refusal: it cannot be read, or is not text.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise refusal(f"cannot read {what} {os.fspath(path)}: {reason}{more}") from None
