"""Blob names resolved to values; what cannot be resolved is explained."""

import torch

from caffecompat.net.graph import build_graph
from tests.net.nets import INPUT, LABEL, conv, layer, make_net, message


def texts(net: str) -> list[str]:
    return [problem.text for problem in build_graph(message(net), message(net)).problems]


def test_in_place_makes_a_new_value_of_the_blob() -> None:
    graph = build_graph(
        message(INPUT + conv("c", "data") + layer("ReLU", "c", "c", name="r") + layer("TanH", "c", "t"))
    )
    first, second = graph.layers[1].top_values[0], graph.layers[2].top_values[0]
    assert (first.blob, first.version, second.version) == ("c", 0, 1)
    assert graph.layers[3].bottom_values == [second]
    assert [value.blob for value in graph.outputs] == ["t"]


def test_reader_before_an_in_place_layer_sees_the_old_value() -> None:
    net = make_net(
        INPUT + layer("Power", "data", "a") + layer("Power", "data", "data", "power_param { shift: 1 }", "p")
    )
    data = torch.randn(2, 3, 6, 6)
    tops = net.forward({"data": data})
    assert torch.equal(tops["a"], data)
    assert torch.allclose(tops["data"], data + 1)


def test_outputs_are_sorted_by_name() -> None:
    graph = build_graph(
        message(INPUT + layer("TanH", "data", "z") + layer("TanH", "data", "B") + layer("TanH", "data", "a"))
    )
    assert [value.blob for value in graph.outputs] == ["B", "a", "z"]


def test_missing_bottoms_are_explained() -> None:
    assert "did you mean 'conv1'?" in texts(INPUT + conv("conv1", "data") + layer("ReLU", "conv_1", "r"))[0]
    assert "layer 'b' makes it further down" in texts(INPUT + layer("ReLU", "b", "r") + layer("TanH", "data", "b"))[0]
    assert "there are: data" in texts(INPUT + layer("ReLU", "xyz", "r"))[0]


def test_bottom_left_out_of_the_phase_is_explained() -> None:
    whole = message('layer { name: "d" type: "Input" top: "x" include { phase: TRAIN } }' + layer("ReLU", "x", "y"))
    filtered = message(layer("ReLU", "x", "y"))
    [problem] = build_graph(filtered, whole).problems
    assert "layer 'd' makes it, but only with phase TRAIN" in problem.text


def test_two_makers_of_a_top() -> None:
    [problem] = texts(INPUT + conv("a", "data", "x") + conv("b", "data", "x"))
    assert problem.startswith("top 'x' is made by layer 'a' already")
    # The same name at another position is no in-place layer.
    text = INPUT + LABEL + 'layer { name: "c" type: "Concat" bottom: "label" bottom: "data" top: "data" }'
    assert len(texts(text)) == 1


def test_loss_without_top_counts_in_the_objective_but_is_no_output() -> None:
    net = make_net(INPUT + LABEL + 'layer { name: "l" type: "EuclideanLoss" bottom: "data" bottom: "data" }')
    assert net.outputs == ["label"]
    assert list(net.loss_weights.values()) == [1.0]
    tops = net.forward({"data": torch.ones(2, 3, 6, 6), "label": torch.zeros(2)})
    assert float(net.loss(tops)) == 0.0
