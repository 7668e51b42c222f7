"""The one exception that means "the user can mend this"."""

from __future__ import annotations

__all__ = ["CaffeCompatError"]


class CaffeCompatError(Exception):
    """A mistake in the user's files, flags or surroundings.

    The message is written for the person at the prompt: what was read, where
    (``file:line:column`` when known), what was expected and what to do. The
    command line prints it without a traceback and exits with status 2.
    """
