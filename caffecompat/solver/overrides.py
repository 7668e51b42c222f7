"""``--set NAME=VALUE``: solver fields, and fields of the net's layers, changed from the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import Message

from caffecompat.errors import CaffeCompatError
from caffecompat.net.learning import Learning
from caffecompat.net.precision import Amp
from caffecompat.schema import NetDocument, parse_text, pb
from caffecompat.schema.block_readers import BLOCK_READERS, KNOWN_TYPES
from caffecompat.schema.fork_fields import BVLC_NAMES, rename_fields_of
from caffecompat.schema.layer_patterns import is_pattern, matches_layer, no_match
from caffecompat.schema.pool import is_repeated
from caffecompat.schema.upgrade import rewrite_snapshot_prefix
from caffecompat.wording import did_you_mean

__all__ = ["LayerSettings", "apply_to_solver", "split_overrides"]


def split_overrides(settings: Sequence[str], param: pb.SolverParameter) -> tuple[list[str], list[str]]:
    """Separate solver settings (``base_lr=0.01``) from layer settings (``data.image_data_param.source=train.txt``).

    Raises:
        CaffeCompatError: a setting has no ``=``, or names neither a solver field nor a path into a layer.
    """
    fields = param.DESCRIPTOR.fields_by_name
    solver, layers = [], []
    for setting in map(_as_text, settings):
        name, equals, _ = setting.partition("=")
        if not equals:
            raise CaffeCompatError(f"--set {setting}: expected NAME=VALUE, for example --set base_lr=0.01")
        if name.split(".")[0] in fields:
            solver.append(setting)
        elif "." in name:
            layers.append(setting)
        else:
            raise CaffeCompatError(f"--set {setting}: the solver has no field {name!r}{did_you_mean(name, fields)}")
    return solver, layers


def apply_to_solver(param: pb.SolverParameter, settings: Sequence[str], path: str | None = None) -> None:
    """Set solver fields; what is set replaces what the file says.

    A comma-separated value fills a repeated field, a further setting of it appends. A ``snapshot_prefix`` means what
    it does in the file, so that a folder is completed by the name of the solver's file `path`.
    """
    set_before: set[str] = set()
    for setting in settings:
        name, _, value = setting.partition("=")
        _set_path(param, name.split("."), value, setting, append=name in set_before)
        set_before.add(name)
    if path and "snapshot_prefix" in set_before:
        rewrite_snapshot_prefix(param, path)


class LayerSettings:
    """Settings of layers, ``LAYER.field.field=value``, for a solver's nets; a layer name may hold dots itself.

    In the place of the name, a pattern with ``*`` and ``?`` names all layers that it matches and that read the block
    which is set; ``@TYPE`` names those of a type.

    Attributes:
        learning, amp: what else is asked of the nets; see :class:`caffecompat.Net`.
    """

    def __init__(
        self,
        settings: Sequence[str] = (),
        learning: Learning = Learning(),  # noqa: B008 (frozen)
        amp: Amp | None = None,
    ) -> None:
        self.learning, self.amp = learning, amp
        self._settings = list(map(_as_text, settings))
        self._used: set[str] = set()
        self._names: set[str] = set()
        self._types: set[str] = set()
        self._paths: list[str] = []

    def apply(self, document: NetDocument) -> None:
        """Set the fields of this net's layers; a repeated field takes all of its settings.

        A fork's field is set in place of BVLC's that says the same (``ceil_mode`` of ``round_mode``).

        Raises:
            CaffeCompatError: a layer has no such field, or two settings of one layer disagree.
        """
        layers = document.message.layer
        self._paths.append(document.path)
        self._names.update(layer.name for layer in layers)
        self._types.update(layer.type for layer in layers)
        set_before: set[tuple[str, str]] = set()  # layer and field
        changed: list[pb.LayerParameter] = []
        for setting in self._settings:
            path, _, value = setting.partition("=")
            named, names = _layers_of(path, layers)
            field = ".".join(names)
            for layer in named:
                twin = BVLC_NAMES.get(names[-1])
                if twin is not None and (layer.name, ".".join([*names[:-1], twin])) not in set_before:
                    _holder(layer, names, setting).ClearField(twin)
                _set_path(layer, names, value, setting, append=(layer.name, field) in set_before)
                changed.append(layer)
            set_before.update((layer.name, field) for layer in named)
            if named:
                self._used.add(setting)
        for layer in changed:
            rename_fields_of(layer)

    def check_all_used(self) -> None:
        """To be called when all nets are there: one of them must have each layer.

        Raises:
            CaffeCompatError: none has it.
        """
        for setting in self._settings:
            if setting not in self._used:
                files = " and ".join(dict.fromkeys(self._paths))
                pattern, names = _parted(setting.partition("=")[0])
                missing = no_match(pattern, self._names, self._types)
                reads = f" and that reads {names[0]}" if _is_wild(pattern) and names[0] in BLOCK_READERS else ""
                raise CaffeCompatError(f"--set {setting}: {files} {missing}{reads}")


def _as_text(setting: str) -> str:
    """The setting; a word of the command line may hold bytes that are no text, and a prototxt's fields may not."""
    try:
        setting.encode()
    except UnicodeEncodeError:
        raise CaffeCompatError(f"--set {setting}: is not UTF-8") from None
    return setting


def _layers_of(path: str, layers: Iterable[pb.LayerParameter]) -> tuple[list[pb.LayerParameter], list[str]]:
    """The layers that a setting's path names, and the fields that follow; the longest name where several fit."""
    matches = [layer for layer in layers if path.startswith(layer.name + ".")]
    if matches:
        longest = max(len(layer.name) for layer in matches)
        return [layer for layer in matches if len(layer.name) == longest], path[longest + 1 :].split(".")
    pattern, names = _parted(path)
    if not is_pattern(pattern):
        return [], names
    named = [layer for layer in layers if matches_layer(pattern, layer)]
    if _is_wild(pattern):
        named = [layer for layer in named if _reads(layer, names[0])]
    return named, names


def _parted(path: str) -> tuple[str, list[str]]:
    """A path's pattern and its fields, which begin with the first that layers have; else at the first dot."""
    words = path.split(".")
    fields = pb.LayerParameter.DESCRIPTOR.fields_by_name
    at = next((index for index, word in enumerate(words) if index and word in fields), 1)
    return ".".join(words[:at]), words[at:]


def _is_wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _reads(layer: pb.LayerParameter, field: str) -> bool:
    """Whether a layer's type obeys a field: not where that is the block of other types."""
    readers = BLOCK_READERS.get(field)
    return readers is None or layer.type in readers or layer.type not in KNOWN_TYPES


def _set_path(message: Message, path: list[str], value: str, setting: str, *, append: bool) -> None:
    """Set a field of a message or of one inside it; the text is read as the whole's, which says what has an effect."""
    holder = _holder(message, path, setting)
    field = _field(holder, path[-1], setting)
    if not (append and is_repeated(field)):
        holder.ClearField(field.name)
    if field.message_type is not None:
        text = value if value.lstrip().startswith("{") else "{ " + value + " }"
    elif field.cpp_type == field.CPPTYPE_STRING:
        text = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    else:
        text = f"[{value}]" if is_repeated(field) else value
    text = f"{field.name}: {text}"
    for name in reversed(path[:-1]):
        text = f"{name} {{ {text} }}"
    parse_text(text, message, name=f"--set {setting}", strict=True)


def _holder(message: Message, path: list[str], setting: str) -> Message:
    """The message whose field the path ends in."""
    for name in path[:-1]:
        field = _field(message, name, setting)
        if field.message_type is None or is_repeated(field):
            raise CaffeCompatError(f"--set {setting}: {name} has no fields of its own")
        message = getattr(message, name)
    return message


def _field(message: Message, name: str, setting: str) -> Any:
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        hint = did_you_mean(name, message.DESCRIPTOR.fields_by_name)
        raise CaffeCompatError(f"--set {setting}: {message.DESCRIPTOR.name} has no field {name!r}{hint}")
    return field
