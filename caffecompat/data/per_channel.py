"""Values of which there is one for all channels of a picture, or one each."""

from __future__ import annotations

from collections.abc import Sized

from caffecompat.data.source import DataError

__all__ = ["check_per_channel"]

_GRAY = (
    ": the picture is gray. transform_param { force_color: true } (or is_color: true, or a database that is built "
    "without --encoded) makes three channels of it; or give 1"
)


def check_per_channel(
    values: Sized, channels: int, what: str, refusal: type[Exception] = DataError, gray: str = _GRAY
) -> None:
    """Refuse a count of values that is neither 1 nor that of the channels.

    Args:
        what: the setting, for the message: "mean_value".
        gray: how a gray picture gets its three channels.

    Raises:
        refusal: it is; for colors on a gray picture the message says how the picture gets its channels.
    """
    count = len(values)
    if count in (1, channels):
        return
    if channels == 1:
        cure = gray if count == 3 else "; give 1"
    else:
        cure = f"; give 1 or {channels}"
    raise refusal(f"{count} {what}(s) for {channels} channel(s){cure}")
