"""Names of the zoo's networks where a verb takes a net's file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError
from caffecompat.wording import did_you_mean

if TYPE_CHECKING:
    from caffecompat.schema import NetSource

__all__ = ["file_or_network"]


def file_or_network(name: str) -> NetSource:
    """The path of a file, or the published deploy net of the zoo's network of that name, where there is no such file.

    Raises:
        CaffeCompatError: there is neither, and the name is no path.
    """
    if os.path.isfile(name) or any(letter in name for letter in "/\\."):
        return name
    from caffecompat.schema import NetDocument, parse_text, pb
    from caffecompat.zoo import NETWORKS, network_files

    if name not in NETWORKS:
        raise CaffeCompatError(
            f"{name}: there is no such file, and no such network in the zoo{did_you_mean(name, NETWORKS)} "
            "('caffecompat new --list' shows them)"
        )
    message = parse_text(network_files(NETWORKS[name])["deploy.prototxt"], pb.NetParameter())
    return NetDocument.from_message(message, name)
