"""Sets of drawn street scenes on disk: pictures, labels, lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from caffecompat.data.parallel import ordered_map
from caffecompat.data.street_scene import CLASSES, draw_scene
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.picture import encode_picture

__all__ = ["write_streets"]

# The class's colors in pictures for people, R G B (Cityscapes').
_PALETTE = "128 64 128, 244 35 232, 70 70 70, 153 153 153, 107 142 35, 70 130 180, 220 20 60, 0 0 142"


def write_streets(
    folder: Path, counts: dict[str, int], *, seed: int = 0, width: int = 256, height: int = 128,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Path]:  # fmt: skip
    """Draw sets of scenes: ``<set>/000000.png`` and ``<set>/000000_labels.png``, the list ``<set>.txt`` of each set,
    and ``classes.txt`` and ``palette.txt``.

    Args:
        folder: where to; made if absent.
        counts: scenes in each set, by its name; sets share no scene.
        on_progress: called with how many scenes of all sets are there.

    Returns:
        The list of each set; paths in it are relative to `folder`'s own.
    """

    def draw(job: tuple[str, int, int]) -> str:
        name, index, number = job
        scene = draw_scene(seed, number, width, height)
        files = f"{name}/{index:06}.png", f"{name}/{index:06}_labels.png"
        for file, pixels in zip(files, (scene.picture, scene.labels), strict=True):
            with open(folder / file, "wb") as out:
                out.write(encode_picture(pixels, "png") or b"")
        return f"{folder.name}/{files[0]} {folder.name}/{files[1]}\n"

    first = 0
    lists = {}
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        lines = []
        for line in ordered_map(draw, [(name, index, first + index) for index in range(count)]):
            lines.append(line)
            on_progress(first + len(lines))
        lists[name] = folder / f"{name}.txt"
        _write_text(lists[name], "".join(lines))
        first += count
    _write_text(folder / "classes.txt", "".join(f"{name}\n" for name in CLASSES))
    colors = _PALETTE.split(", ")
    _write_text(folder / "palette.txt", "".join(f"{rgb} {name}\n" for rgb, name in zip(colors, CLASSES, strict=True)))
    return lists


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())
