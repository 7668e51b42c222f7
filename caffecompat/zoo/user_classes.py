"""The classes of a user's network: how many, and their names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from caffecompat.errors import CaffeCompatError
from caffecompat.files import read_text
from caffecompat.formats.label_map import parse_label_map
from caffecompat.zoo.network import Task
from caffecompat.zoo.user_data import IGNORED, Listed, OnProgress, UserData

__all__ = ["Classes", "choose_classes"]

_BACKGROUND = ("none_of_the_above", "background", "__background__")


@dataclass(frozen=True)
class Classes:
    """Of a network for a user's data.

    Attributes:
        count: of a detection network with the background among them.
        file: name of the file that says them: a label map, of a detection network, or a name a line.
        text: its content.
    """

    count: int
    file: str
    text: str


def choose_classes(
    task: Task,
    given: int | None,
    labels: str,
    data: UserData | None,
    on_note: Callable[[str], None],
    on_progress: OnProgress,
) -> Classes:
    """The classes that the user says, or that a file of names, the data's own names or its labels show.

    Args:
        given: how many, as ``--classes`` has it.
        labels: a label map or a file with a name a line; "" for the data's own.

    Raises:
        CaffeCompatError: nothing says how many there are, or the data has others.
    """
    text = read_text(labels, "the names of the classes") if labels else data.label_map if data else ""
    names = _parsed(text, labels or "the data's label map", task) if text else dict(data.names) if data else {}
    if task == "detection":
        return _with_background(given, names, text, data, on_note, on_progress)
    found = max(names) + 1 if names else data.classes_found(on_progress) if data and given is None else 0
    if given is None and not found:
        raise CaffeCompatError("nothing says how many classes there are; give --classes N")
    count = given or found
    if names and found > count:
        raise CaffeCompatError(f"--classes {count}: the data's names are of {found} classes")
    if given is None:
        on_note(f"{count} classes, as {'their names say' if names else 'the labels show'}")
    _check_lines(data, count)
    if data and task == "segmentation" and given is not None:
        _check_label_pictures(data, count, on_progress)
    lines = [names.get(at, f"class{at}") for at in range(count)]
    if len(names) < count:
        on_note(f"labels.txt has made-up names of {_all_or(count - len(names), count)}: write yours")
    return Classes(count, "labels.txt", "".join(f"{line}\n" for line in lines))


def _with_background(
    given: int | None,
    names: Mapping[int, str],
    text: str,
    data: UserData | None,
    on_note: Callable[[str], None],
    on_progress: OnProgress,
) -> Classes:
    """Classes of objects, counted from 1, and the background, which is class 0."""
    found = max(names) + 1 if names else data.classes_found(on_progress) if data and given is None else 0
    if given is None and found < 2:
        raise CaffeCompatError("nothing says how many classes there are; give --classes N, the background among them")
    count = given or found
    if names and given == found - 1:
        count = found
        on_note(f"{given} classes and the background, which is class 0: num_classes is {count}")
    elif names and count < found:
        raise CaffeCompatError(
            f"--classes {count}: the label map has {found - 1} classes, which are {found} with the background (class 0)"
        )
    else:
        on_note(f"{count} classes: {count - 1} of objects, and the background, which is class 0")
    if count < 2:
        raise CaffeCompatError(f"--classes {count}: expected 2 at least, for the background is one of them (class 0)")
    missing = [number for number in range(1, count) if number not in names]
    if missing:
        on_note(f"labelmap.prototxt has made-up names of {_all_or(len(missing), count - 1)}: write yours")
        text = _label_map({**{number: f"class{number}" for number in missing}, **names})
    return Classes(count, "labelmap.prototxt", text or _label_map(names))


def _all_or(some: int, count: int) -> str:
    return "classes" if some == count else f"{some} of {count} classes"


def _label_map(names: Mapping[int, str]) -> str:
    from caffecompat.data.annotated_recipes import label_map_text

    return label_map_text([(names[number], number, names[number]) for number in sorted(names) if number])


def _parsed(text: str, path: str, task: Task) -> dict[int, str]:
    """Names by number of a label map or of lines; those of lines for a detection network begin with 1."""
    if not re.search(r"\bitem\s*\{", text):
        lines = [line.strip() for line in text.split("\n")]
        return dict(enumerate((line for line in lines if line), int(task == "detection")))
    found = parse_label_map(text, path, unique=False)
    if task == "detection" and 0 in found.names and found.names[0].lower() not in _BACKGROUND:
        raise CaffeCompatError(
            f"{path}: the class {found.names[0]!r} has the label 0, which is the background's; count classes from 1"
        )
    return found.names if task == "detection" else found.display


def _check_lines(data: UserData | None, count: int) -> None:
    if not isinstance(data, Listed):
        return
    for _, label, line in data.lines:
        if isinstance(label, int) and label >= count:
            raise CaffeCompatError(
                f"{os.fspath(data.source.path)}:{line}: the class is {label}, but {count} classes count from 0 to "
                f"{count - 1}"
            )


def _check_label_pictures(data: UserData, count: int, on_progress: OnProgress) -> None:
    """Label pictures hold no class that the network does not have; training would end at the first such pixel."""
    shown = data.classes_found(on_progress)
    if shown > count:
        raise CaffeCompatError(
            f"{data.source.path}: label pictures have the class {shown - 1}, but {count} classes count from 0 to "
            f"{count - 1}; give --classes {shown}, or {IGNORED} to the pixels that do not count"
        )
