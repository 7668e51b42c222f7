"""The ImageData layer that Vitis AI calibrates from: pictures as in training, lists as Xilinx' reader wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.data import make_source
from caffecompat.deploy.deploy_net import deploy_net
from caffecompat.deploy.moved_paths import lead_paths
from caffecompat.deploy.vitis_pictures import DeployError, calibration_input, read_calibration
from caffecompat.formats.mean import write_mean
from caffecompat.formats.picture import encode_picture
from caffecompat.schema import open_net, pb

BODY = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


IMAGES = 'type: "ImageData" image_data_param { source: "train/list.txt" root_folder: "train/img/" }'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of 16x20 (height x width) and their list, train/; the current directory is its parent."""
    monkeypatch.chdir(tmp_path)
    Path("train/img").mkdir(parents=True)
    rng = np.random.default_rng(1)
    for index in range(3):
        picture = encode_picture(rng.integers(0, 255, (16, 20, 3), np.uint8), ".png")
        assert picture is not None
        Path(f"train/img/{index}.png").write_bytes(picture)
    Path("train/list.txt").write_text("0.png 0\n1.png 1\n2.png 0\n")
    mean = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((3, 16, 20), np.float32)
    write_mean("train/mean.binaryproto", mean)
    write_mean("train/small.binaryproto", mean[:, :8, :8])
    write_mean("train/gray.binaryproto", mean[1:2])
    return tmp_path


def _made(transform: str = "", image: str = "", data: str = "", size=None, channels=None):
    """The ImageData layer of a net, its report, and a batch that it reads when written to out/."""
    source = (
        data or f'type: "ImageData" image_data_param {{ source: "train/list.txt" root_folder: "train/img/" {image} }}'
    )
    Path("train/net.prototxt").write_text(
        f'layer {{ name: "data" {source} top: "data" top: "label" transform_param {{ {transform} }} }}' + BODY
    )
    deployed = deploy_net(open_net("train/net.prototxt"), size=size, channels=channels)
    message = pb.NetParameter()
    message.CopyFrom(deployed.message)
    listing = read_calibration("train/list.txt", "train/img/")
    layer, notes = calibration_input(message, deployed, listing, "train/net.prototxt")
    Path("out").mkdir(exist_ok=True)
    lead_paths(message, "train/net.prototxt", "out")
    reader = make_source(layer, pb.TEST, relative_to="out/float.prototxt")
    batch = reader.next()[0]
    reader.close()
    return layer, notes, batch


CASES = {  # transform_param, image_data_param -> new_height, new_width, crop (0: the whole), what the batch holds
    ("", "new_height: 12 new_width: 14"): (12, 14, 0, (1, 3, 12, 14)),
    ("crop_size: 12", ""): (0, 0, 12, (1, 3, 12, 12)),
    ("crop_size: 12", "new_height: 14 new_width: 15"): (14, 15, 12, (1, 3, 12, 12)),
    ("crop_size: 12 mean_file: 'train/mean.binaryproto'", ""): (16, 20, 12, (1, 3, 12, 12)),
    ("crop_size: 12 mean_file: 'mean.binaryproto'", ""): (16, 20, 12, (1, 3, 12, 12)),  # next to the prototxt
    ("crop_size: 12 mean_file: 'mean.binaryproto'", "is_color: true new_height: 16 new_width: 20"): (
        16, 20, 12, (1, 3, 12, 12)),
    ("mean_file: 'mean.binaryproto'", "new_height: 16 new_width: 20"): (16, 20, 0, (1, 3, 16, 20)),
    ("crop_size: 12 mean_value: 9", "is_color: false"): (0, 0, 12, (1, 1, 12, 12)),
    ("crop_size: 12 mean_file: 'gray.binaryproto'", "is_color: false"): (16, 20, 12, (1, 1, 12, 12)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_pictures_are_those_of_training(folder: Path, case: tuple[str, str]) -> None:
    height, width, crop, shape = CASES[case]
    layer, notes, batch = _made(*case)
    source, transform = layer.image_data_param, layer.transform_param
    assert (source.new_height, source.new_width, transform.crop_size) == (height, width, crop)
    assert transform.HasField("resize_param") == (not crop)
    assert source.is_color == (shape[1] == 3) and not notes
    assert batch.shape == shape
    if "mean_file" in case[0]:
        assert transform.mean_file.startswith("../train/")


@pytest.mark.parametrize("way", ["short_side: 14", "random_resized_crop_param { }", "scale_min: 0.5 scale_max: 2"])
def test_sizes_that_only_we_know_are_left_out(folder: Path, way: str) -> None:
    layer, [note], batch = _made(f"crop_size: 12 {way}")
    assert f"by {way.split()[0].rstrip(':')}: calibration pictures are resized to 12x12 as a whole" in note
    assert batch.shape == (1, 3, 12, 12) and (layer.image_data_param.new_height, layer.image_data_param.new_width) == (
        12,
        12,
    )


def test_a_crop_that_is_no_square(folder: Path) -> None:
    layer, _, batch = _made("crop_h: 10 crop_w: 12")
    assert (layer.transform_param.crop_h, layer.transform_param.crop_w) == (10, 12) and batch.shape == (1, 3, 10, 12)


@pytest.mark.parametrize(
    ("transform", "size", "told"),
    [
        ("crop_size: 12 mean_file: 'mean.binaryproto'", (8, 8), "training crops 12x12 out of its pictures"),
        ("crop_size: 12 mean_file: 'small.binaryproto'", None, "the crop 12x12 is larger than the pictures"),
        ("mean_file: 'small.binaryproto'", (12, 12), "the mean file is 8x8"),
    ],
)
def test_a_mean_file_that_does_not_fit_counts_by_its_channels(
    folder: Path, transform: str, size: tuple[int, int] | None, told: str
) -> None:
    layer, notes, batch = _made(transform, size=size)
    wanted = size or (12, 12)
    assert told in " ".join(notes) and "the means of its channels are taken" in notes[-1]
    assert list(layer.transform_param.mean_value) == [0, 1, 2] and not layer.transform_param.mean_file
    assert batch.shape == (1, 3, *wanted) and not layer.transform_param.crop_size


@pytest.mark.parametrize("data", ["", 'type: "Data" data_param { source: "gone" batch_size: 2 }'])
def test_a_mean_file_that_is_not_here_leaves_its_size_to_the_user(folder: Path, data: str) -> None:
    Path("train/net.prototxt").write_text(
        f'layer {{ name: "data" {data or IMAGES} top: "data" top: "label" '
        'transform_param { mean_file: "gone.binaryproto" crop_size: 12 } }' + BODY
    )
    deployed = deploy_net(open_net("train/net.prototxt"))
    message = pb.NetParameter()
    message.CopyFrom(deployed.message)
    layer, notes = calibration_input(message, deployed, read_calibration("train/list.txt", "train/img/"), None)
    assert layer.transform_param.crop_size == 12 and not layer.image_data_param.new_height
    assert layer.transform_param.mean_file == "gone.binaryproto"
    assert notes == [
        "warning: cannot read the mean file gone.binaryproto: No such file or directory; put its size in as new_height "
        "and new_width, which calibration pictures must have"
    ]


def test_data_that_is_not_here_is_told(folder: Path) -> None:
    layer, notes, batch = _made("crop_size: 12", data='type: "Data" data_param { source: "gone" batch_size: 2 }')
    assert "whose size is not known without its data" in notes[0]
    assert batch.shape == (1, 3, 12, 12) and not layer.transform_param.crop_size


def test_what_no_picture_fits_is_refused(folder: Path) -> None:
    with pytest.raises(DeployError, match=r"has 1 channel.s., the net's input 3: nothing fits both"):
        _made("crop_size: 12 mean_file: 'gray.binaryproto'")
    with pytest.raises(
        DeployError, match=r"(?s)training cuts 18x18 out of .* smaller:\n  train/list.txt:1: train/img/0"
    ):
        _made("crop_size: 18", data='type: "ImageData" image_data_param { source: "gone" batch_size: 2 }')
    for channels in (2, 4):
        with pytest.raises(DeployError, match=f"has {channels} channels; pictures that ImageData reads have 1 or 3"):
            _made("crop_size: 12", data='type: "Data" data_param { source: "gone" }', channels=channels)


# -------------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize(
    "text",
    ["0.png\n1.png\n", "0.png 1\n1.png\n", "0.png 0.png\n1.png labels/1.png\n", "\n0.png 1 2 3\n\n1.png\t7 8\n"],
)
def test_lists_without_labels_are_completed(folder: Path, text: str) -> None:
    Path("list.txt").write_text(text)
    listing = read_calibration("list.txt", "train/img/")
    assert [line.split()[0] for line in listing.text.splitlines()] == ["0.png", "1.png"]
    assert all(len(line.split()) == 2 and line.split()[1].isdigit() for line in listing.text.splitlines())
    assert "a 0 was put there" in listing.notes[0]


def test_right_lists_stay(folder: Path) -> None:
    listing = read_calibration("train/list.txt", "train/img/")
    assert (listing.text, listing.notes, listing.root) == ("", [], "train/img/")


@pytest.mark.parametrize("line", ["my photo.png 0", "my photo.png", "img/a b.png", "a 1 2.png 3"])
def test_names_with_blanks_are_named_by_line(folder: Path, line: str) -> None:
    Path("list.txt").write_text(f"0.png 0\n{line}\n")
    with pytest.raises(DeployError, match=f"(?s)blank.*\n  list.txt:2: {line}"):
        read_calibration("list.txt", "train/img/")


def test_a_name_whose_first_word_is_a_picture_too(folder: Path) -> None:
    Path("train/img/0.png copy.png").write_bytes(Path("train/img/0.png").read_bytes())
    Path("list.txt").write_text("0.png copy.png 1\n")
    with pytest.raises(DeployError, match=r"list.txt:1"):
        read_calibration("list.txt", "train/img/")


@pytest.mark.parametrize("place", ["here", "beside"])
def test_pictures_without_a_root_folder_are_found(folder: Path, place: str) -> None:
    listing = Path("list.txt" if place == "here" else "train/img/list.txt")
    listing.write_text("train/img/0.png 0\n" if place == "here" else "0.png 0\n")
    found = read_calibration(str(listing), "")
    assert found.root == ("./" if place == "here" else "train/img/")
    message = pb.NetParameter()
    message.layer.add().image_data_param.root_folder = found.root
    lead_paths(message, None, "out/deep")
    assert message.layer[0].image_data_param.root_folder == ("../../" if place == "here" else "../../train/img/")


def test_what_is_missing_is_told(folder: Path) -> None:
    Path("list.txt").write_text("0.png 0\ngone.png 0\n")
    assert "1 of 2 pictures are not here, first list.txt:2: train/img/gone.png" in read_calibration(
        "list.txt", "train/img/"
    ).notes[0]  # fmt: skip
    assert "nowhere.txt is not here" in read_calibration("nowhere.txt", "").notes[0]


# ------------------------------------------------------------------------------------------------- paths


def test_paths_lead_from_where_the_file_is(folder: Path) -> None:
    net = pb.NetParameter()
    layer = net.layer.add()
    layer.transform_param.mean_file = "mean.binaryproto"
    layer.image_data_param.source = "train/list.txt"
    layer.data_param.source = "not/here"
    layer.detection_output_param.save_output_param.label_map_file = "list.txt"
    layer.infogain_loss_param.source = str(folder / "train/list.txt")
    lead_paths(net, "train/net.prototxt", "out")
    assert layer.transform_param.mean_file == "../train/mean.binaryproto"
    assert layer.image_data_param.source == "../train/list.txt"
    assert layer.data_param.source == "not/here"
    assert layer.detection_output_param.save_output_param.label_map_file == "../train/list.txt"
    assert layer.infogain_loss_param.source == str(folder / "train/list.txt")
