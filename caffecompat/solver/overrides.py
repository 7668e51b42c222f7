"""``--set NAME=VALUE``: solver fields, and fields of the net's layers, changed from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffecompat.errors import CaffeCompatError
from caffecompat.schema import NetDocument, parse_text
from caffecompat.schema.pool import is_repeated
from caffecompat.wording import did_you_mean

__all__ = ["apply_to_net", "apply_to_solver", "split_overrides"]


def split_overrides(settings: Sequence[str], param: Any) -> tuple[list[str], list[str]]:
    """Separate solver settings (``base_lr=0.01``) from layer settings (``data.image_data_param.source=train.txt``).

    Raises:
        CaffeCompatError: a setting has no ``=``, or names neither a solver field nor a path into a layer.
    """
    fields = param.DESCRIPTOR.fields_by_name
    solver, layers = [], []
    for setting in settings:
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


def apply_to_solver(param: Any, settings: Sequence[str]) -> None:
    """Set solver fields; a setting replaces what the file says, a comma-separated value fills a repeated field."""
    for setting in settings:
        name, _, value = setting.partition("=")
        _set_path(param, name.split("."), value, setting)


def apply_to_net(document: NetDocument, settings: Sequence[str]) -> None:
    """Set fields of layers, by ``LAYER.field.field=value``; a layer name may hold dots itself.

    Raises:
        CaffeCompatError: the net has no such layer, or the layer no such field.
    """
    for setting in settings:
        path, _, value = setting.partition("=")
        matches = [layer for layer in document.message.layer if path.startswith(layer.name + ".")]
        if not matches:
            names = {layer.name for layer in document.message.layer}
            hint = did_you_mean(path.split(".")[0], names)
            raise CaffeCompatError(f"--set {setting}: {document.path} has no layer of that name{hint}")
        longest = max(len(layer.name) for layer in matches)
        for layer in matches:
            if len(layer.name) == longest:
                _set_path(layer, path[longest + 1 :].split("."), value, setting)


def _set_path(message: Any, path: list[str], value: str, setting: str) -> None:
    for name in path[:-1]:
        field = _field(message, name, setting)
        if field.message_type is None or is_repeated(field):
            raise CaffeCompatError(f"--set {setting}: {name} has no fields of its own")
        message = getattr(message, name)
    field = _field(message, path[-1], setting)
    message.ClearField(field.name)
    if field.message_type is not None:
        text = value if value.lstrip().startswith("{") else "{ " + value + " }"
    elif field.cpp_type == field.CPPTYPE_STRING:
        text = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    else:
        text = f"[{value}]" if is_repeated(field) else value
    parse_text(f"{field.name}: {text}", message, name=f"--set {setting}", strict=True)


def _field(message: Any, name: str, setting: str) -> Any:
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        hint = did_you_mean(name, message.DESCRIPTOR.fields_by_name)
        raise CaffeCompatError(f"--set {setting}: {message.DESCRIPTOR.name} has no field {name!r}{hint}")
    return field
