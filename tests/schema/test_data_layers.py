from __future__ import annotations

import pytest

from caffecompat.data.source import _sources
from caffecompat.layers import layer_types
from caffecompat.schema import parse_text, pb
from caffecompat.schema.data_layers import batch_sizes, data_layer, data_layer_types, is_input, reads_data


def test_every_type_has_a_source_and_settings_of_its_own() -> None:
    assert sorted(_sources) == data_layer_types()
    for name in data_layer_types():
        kind = data_layer(name)
        assert kind is not None
        settings = pb.LayerParameter.DESCRIPTOR.fields_by_name[kind.settings].message_type
        assert {"batch_size", "shape"} & set(settings.fields_by_name), name
        assert not kind.as_stored or "new_height" in settings.fields_by_name, name


def test_no_type_is_also_that_of_a_layer_that_computes() -> None:
    assert not set(data_layer_types()) & set(layer_types())
    assert data_layer("Convolution") is None


@pytest.mark.parametrize(
    ("text", "reads", "sizes"),
    [
        ('type: "Data" data_param { batch_size: 4 }', True, [("batch_size", 4)]),
        ('type: "ImageData" image_data_param { source: "list" }', True, [("batch_size", 1)]),
        ('type: "WindowData" window_data_param { batch_size: 3 }', True, [("batch_size", 3)]),
        ('type: "DummyData" dummy_data_param { shape { dim: 2 dim: 3 } }', True, [("the first dim", 2)]),
        ('type: "Input" input_param { shape { dim: 5 } shape { dim: 1 } }', False, [("the first dim", 5)]),
        ('type: "MemoryData" memory_data_param { batch_size: 6 }', False, [("batch_size", 6)]),
        ('type: "Convolution" data_param { batch_size: 4 }', False, []),
    ],
)
def test_what_reads_data_and_by_how_many_items(text: str, reads: bool, sizes: list[tuple[str, int]]) -> None:
    layer = parse_text(text, pb.LayerParameter())
    assert reads_data(layer) is reads and batch_sizes(layer) == sizes
    assert is_input(layer) is text.startswith('type: "Input"')
