"""Paths inside a prototxt that is written to another folder than it was read from."""

from __future__ import annotations

import os

from caffecompat.paths import look_up
from caffecompat.schema import pb

__all__ = ["lead_paths", "path_from"]

# Fields that name files or folders to read; in prototxts they lead from the current directory or the file's folder.
_FILES = {
    "car_img_source", "car_mask_source", "data_dir", "image_dir", "image_dir2", "image_list_path", "image_list_path2",
    "label_dir", "label_list_path", "label_map_file", "lane_video_source", "mean_file", "name_size_file", "root_folder",
    "source", "text_img_source", "video_file",
}  # fmt: skip


def lead_paths(message: pb.NetParameter, relative_to: str | os.PathLike[str] | None, folder: str) -> None:
    """Let the relative paths of a NetParameter, or of any message in one, lead from a folder; changes `message`.

    A path that leads nowhere stays as it is: what it names may be put there later.

    Args:
        relative_to: the prototxt that they were read from, next to which they may lead somewhere.
        folder: where the message is written.
    """
    for descriptor, value in message.ListFields():
        repeated = not isinstance(value, str) and hasattr(value, "__len__") and not hasattr(value, "DESCRIPTOR")
        if descriptor.message_type is not None:
            for part in value if repeated else (value,):
                lead_paths(part, relative_to, folder)
        elif descriptor.name in _FILES and repeated:
            value[:] = [path_from(folder, look_up(path, relative_to) or path) for path in value]
        elif descriptor.name in _FILES:
            setattr(message, descriptor.name, path_from(folder, look_up(value, relative_to) or value))


def path_from(folder: str, path: str) -> str:
    """A path as it leads from a folder; absolute ones, and what is not there, as they are. A slash at the end stays."""
    if not path or os.path.isabs(path) or not os.path.exists(path):
        return path
    relative = os.path.relpath(os.path.realpath(path), os.path.realpath(folder or os.curdir))
    if not path.endswith("/"):
        return relative
    return "" if relative == os.curdir else relative + "/"
