"""Split layers as Caffe inserts and names them."""

from caffecompat.net import Net
from caffecompat.net.layer import Split
from tests.net.nets import INPUT, conv, layer, make_net


def names(net: Net) -> list[str]:
    return [step.name for step in net.steps]


def test_names_follow_the_maker_even_in_place() -> None:
    text = (
        INPUT
        + conv("c", "data")
        + layer("ReLU", "c", "c", name="r")
        + layer("TanH", "c", "t")
        + layer("TanH", "c", "u")
    )
    net = make_net(text)
    assert names(net) == ["data", "c", "r", "c_r_0_split", "t", "u"]
    split = net.steps[3]
    assert isinstance(split, Split) and split.maker is net.layers[2]
    assert [step for step in net.steps if step is not split] == net.layers
    assert (split.split_bottoms, split.tops) == (["c"], ["c_r_0_split_0", "c_r_0_split_1"])
    assert [step.split_bottoms for step in net.steps[4:]] == [["c_r_0_split_0"], ["c_r_0_split_1"]]
    assert [step.bottoms for step in net.layers[3:]] == [["c"], ["c"]]


def test_one_reader_needs_no_split() -> None:
    assert names(make_net(INPUT + conv("c", "data"))) == ["data", "c"]


def test_stated_loss_weight_is_a_reader_and_moves_to_the_split() -> None:
    net = make_net(INPUT + layer("Reduction", "data", "s", "loss_weight: 0.5") + layer("Power", "s", "p"))
    assert names(net) == ["data", "s", "s_s_0_split", "p"]
    assert [step.split_loss_weights for step in net.steps[1:3]] == [[], [0.5, 0.0]]
    assert net.layers[1].loss_weights == [0.5] and net.loss_weights == {"s": 0.5}
    saved = net.message_with_splits()
    assert [list(param.loss_weight) for param in saved.layer[1:3]] == [[], [0.5, 0.0]]
    assert list(saved.layer[3].bottom) == ["s_s_0_split_1"]
