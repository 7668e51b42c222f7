"""Take videos apart.

caffecompat video frames drive.avi frames/ --every 30   # pictures, and frames/list.txt for ImageData and lmdb build
"""

from __future__ import annotations

from caffecompat.cli.common.group import Group

HELP = "frames: pictures of a video"

_PARTS = Group(__name__, "frames")
add_flags, run = _PARTS.add_flags, _PARTS.run
