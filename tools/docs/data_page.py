"""The reference of data layers: what each reads, its tops, its fields, and those that prepare pictures."""

from __future__ import annotations

from collections.abc import Iterator

from field_tables import block_message, field_table, forks_text, linked_messages
from page_text import code, plain, table

from caffecompat.schema import dialects
from caffecompat.schema.data_layers import data_layer, data_layer_types

__all__ = ["data_page"]


def data_page() -> Iterator[tuple[str, str]]:
    """Path and text of the page."""
    rows = []
    blocks: dict[str, list[str]] = {}
    for kind in data_layer_types():
        layer = data_layer(kind)
        assert layer is not None
        blocks.setdefault(layer.settings, []).append(kind)
        stated = layer.states_shapes or layer.fed
        size = "stated" if stated else "those of its data" if layer.shapes_from_data else "those of its pictures"
        rows.append(
            [
                code(kind),
                f"[{code(layer.settings)}](#{layer.settings})",
                "the caller's" if layer.fed else "read from a source",
                layer.labels.value,
                size,
                "yes" if layer.prepares else "no",
                forks_text(dialects.layer_forks(kind)[:1]) or "ours",
            ]
        )
    text = (
        "# Data layers\n\nLayers without bottoms, whose tops come from databases, lists, HDF5 files or the caller. "
        "Pictures are (N, C, H, W) float32 in B, G, R order, as Caffe has them. Made from the schema.\n\n"
        + table(["type", "settings", "data", "other tops", "sizes", "transform_param", "in"], rows)
    )
    for block, kinds in sorted(blocks.items()):
        message = block_message(block)
        text += f"\n## {block}\n\nOf {', '.join(map(code, kinds))}. {plain(dialects.message_note(message).text)}\n\n"
        text += field_table(message)
    for block in ("annotated_data_param", "transform_param"):
        message = block_message(block)
        text += f"\n## {block}\n\n{plain(dialects.message_note(message).text)}\n\n{field_table(message)}"
        for inner in linked_messages(message):
            if "." not in inner:
                text += f"\n### {block}: {inner}\n\n{plain(dialects.message_note(inner).text)}\n\n{field_table(inner)}"
    yield "reference/data.md", text
