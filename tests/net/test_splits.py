"""Split layers as Caffe inserts and names them."""

from caffecompat.net.splits import insert_splits
from tests.net.nets import INPUT, conv, layer, message


def test_names_follow_the_maker_even_in_place() -> None:
    text = (
        INPUT
        + conv("c", "data")
        + layer("ReLU", "c", "c", name="r")
        + layer("TanH", "c", "t")
        + layer("TanH", "c", "u")
    )
    split, origins = insert_splits(message(text))
    assert [x.name for x in split.layer] == ["data", "c", "r", "c_r_0_split", "t", "u"]
    assert origins == [0, 1, 2, None, 3, 4]
    assert list(split.layer[3].bottom) == ["c"]
    assert list(split.layer[3].top) == ["c_r_0_split_0", "c_r_0_split_1"]
    assert [x.bottom[0] for x in split.layer[4:]] == ["c_r_0_split_0", "c_r_0_split_1"]


def test_one_reader_needs_no_split() -> None:
    split, _ = insert_splits(message(INPUT + conv("c", "data")))
    assert [x.name for x in split.layer] == ["data", "c"]


def test_stated_loss_weight_is_a_reader_and_moves_to_the_split() -> None:
    text = INPUT + layer("Reduction", "data", "s", "loss_weight: 0.5") + layer("Power", "s", "p")
    split, _ = insert_splits(message(text))
    assert [x.name for x in split.layer] == ["data", "s", "s_s_0_split", "p"]
    assert list(split.layer[1].loss_weight) == []
    assert list(split.layer[2].loss_weight) == [0.5, 0.0]
    assert list(split.layer[3].bottom) == ["s_s_0_split_1"]
