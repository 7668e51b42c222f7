"""Relative paths inside prototxts: each kind leads from the current directory, and else from the prototxt's folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat import CaffeCompatError, Solver, glog
from caffecompat.cli.main import main
from caffecompat.data import make_source
from caffecompat.data.preprocess import stated_preprocess
from caffecompat.forks import Fork
from caffecompat.formats.database import open_database
from caffecompat.formats.mean import read_mean, write_mean
from caffecompat.net import Net
from caffecompat.paths import find_file, look_up
from caffecompat.schema import open_net, pb

BATCH = "batch_size: 1"
# A data layer of each type that names files, and which of the files it needs; the first is the one it names.
SOURCES = {
    "ImageData": (f'type: "ImageData" image_data_param {{ source: "in/list.txt" {BATCH} }}', ["list.txt", "0.png"]),
    "root folder": (
        f'type: "ImageData" image_data_param {{ source: "in/plain.txt" root_folder: "in/" {BATCH} }}',
        ["plain.txt", "0.png"],
    ),
    "mean": (
        f'type: "ImageData" image_data_param {{ source: "in/list.txt" {BATCH} }} '
        'transform_param { mean_file: "in/mean.binaryproto" }',
        ["mean.binaryproto", "list.txt"],
    ),
    "old mean": (
        f'type: "Data" data_param {{ source: "in/db" {BATCH} backend: LMDB mean_file: "in/mean.binaryproto" }}',
        ["db", "mean.binaryproto"],
    ),
    "ImageSegData": (
        f'type: "ImageSegData" image_data_param {{ source: "in/pairs.txt" {BATCH} }}',
        ["pairs.txt", "0.png"],
    ),
    "DenseImageData": (
        f'type: "DenseImageData" dense_image_data_param {{ source: "in/pairs.txt" {BATCH} }}',
        ["pairs.txt", "1.png"],
    ),
    "ImageLabelListData": (
        'type: "ImageLabelListData" image_label_data_param { image_list_path: "in/names.txt" '
        f'label_list_path: "in/labels.txt" {BATCH} }}',
        ["names.txt", "labels.txt", "0.png"],
    ),
    "HDF5Data": (f'type: "HDF5Data" hdf5_data_param {{ source: "in/h5.txt" {BATCH} }}', ["h5.txt", "data.h5"]),
    "WindowData": (
        f'type: "WindowData" window_data_param {{ source: "in/windows.txt" {BATCH} fg_fraction: 1 }} '
        'transform_param { crop_size: 4 mean_file: "in/mean.binaryproto" }',
        ["windows.txt", "mean.binaryproto", "0.png"],
    ),
    "Data": (f'type: "Data" data_param {{ source: "in/db" {BATCH} backend: LMDB }}', ["db"]),
    "ImageLabelData": (
        'type: "ImageLabelData" image_label_data_param { image_list_path: "in/db" '
        f'label_list_path: "in/db2" {BATCH} }}',
        ["db", "db2"],
    ),
    "VideoData": (
        f'type: "VideoData" data_param {{ {BATCH} }} video_data_param {{ video_type: VIDEO video_file: "in/v.avi" }}',
        ["v.avi"],
    ),
}  # fmt: skip


def _record(pixels: np.ndarray) -> bytes:
    height, width, channels = pixels.shape
    data = pixels.transpose(2, 0, 1).tobytes()
    datum = pb.Datum(channels=channels, height=height, width=width, label=1, data=data)
    return bytes(datum.SerializeToString())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project: a folder `in` with every kind of file. Paths in lists lead from the project."""
    folder = tmp_path_factory.mktemp("project")
    inside = folder / "in"
    inside.mkdir()
    pixels = np.random.default_rng(0).integers(0, 9, (8, 8, 3), np.uint8)
    cv2.imwrite(str(inside / "0.png"), pixels)
    cv2.imwrite(str(inside / "1.png"), pixels[:, :, :1])
    for name, text in {
        "list.txt": "in/0.png 1\n",
        "plain.txt": "0.png 1\n",
        "pairs.txt": "in/0.png in/1.png\n",
        "names.txt": "in/0.png\n",
        "labels.txt": "in/1.png\n",
        "h5.txt": "in/data.h5\n",
        "windows.txt": "# 0\nin/0.png\n3 8 8\n2\n1 1.0 0 0 7 7\n1 0.0 0 0 7 7\n",
        "sizes.txt": "0 8 8\n",
        "labelmap.prototxt": 'item { name: "x" label: 1 display_name: "x" }\n',
    }.items():
        (inside / name).write_text(text)
    with h5py.File(inside / "data.h5", "w") as file:
        file["a"] = file["b"] = np.zeros((2, 3), "f4")
    write_mean(inside / "mean.binaryproto", np.full((3, 8, 8), 5, np.float32))
    for name, record in (("db", pixels), ("db2", pixels[:, :, :1])):
        with open_database(inside / name, "lmdb", "w") as database:
            database.put([(b"0", _record(record))])
    writer = cv2.VideoWriter(str(inside / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (16, 16))
    writer.write(np.zeros((16, 16, 3), np.uint8))
    writer.release()
    (inside / "gains.binaryproto").write_bytes(pb.BlobProto(data=[1, 0, 0, 1]).SerializeToString())
    return folder


@pytest.fixture
def project(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project; the current directory is another folder."""
    shutil.copytree(files, tmp_path / "project")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def _net_file(project: Path, text: str) -> Path:
    path = project / "net.prototxt"
    path.write_text(f'layer {{ name: "d" top: "a" top: "b" {text} }}\n')
    return path


def _batch(path: Path) -> list[np.ndarray]:
    layer = open_net(path).message.layer[0]
    fork = Fork.SSD if layer.type == "VideoData" else Fork.BVLC
    with make_source(layer, "TRAIN", fork, path) as source:
        return [array.copy() for array in source.next()]


@pytest.mark.parametrize(("text", "needed"), SOURCES.values(), ids=SOURCES)
def test_data_layers(project: Path, monkeypatch: pytest.MonkeyPatch, text: str, needed: list[str]) -> None:
    path = _net_file(project, text)
    relative_to = _batch(path)
    # What lies in the current directory comes first.
    for name in needed:
        shutil.move(project / "in" / name, project / name)
    with pytest.raises(CaffeCompatError) as caught:
        _batch(path)
    places = f"tried {Path.cwd() / 'in' / needed[0]} and {project / 'in' / needed[0]} (beside {path})"
    assert f"in/{needed[0]}: there is no such file or folder; {places}" in str(caught.value)
    Path("in").mkdir()
    for name in needed:
        shutil.move(project / name, Path("in") / name)
    for one, other in zip(_batch(path), relative_to, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["ImageData", "root folder", "ImageSegData", "ImageLabelListData", "WindowData"])
def test_a_picture_of_a_list_that_is_at_neither_place(project: Path, kind: str) -> None:
    path = _net_file(project, SOURCES[kind][0])
    (project / "in" / "0.png").unlink()
    with pytest.raises(CaffeCompatError) as caught:
        _batch(path)
    places = f"tried {Path.cwd() / 'in/0.png'} and {project / 'in/0.png'} (beside {path})"
    assert "o such file" in str(caught.value) and places in str(caught.value)


def test_a_file_that_a_list_of_hdf5_files_lacks(project: Path) -> None:
    path = _net_file(project, SOURCES["HDF5Data"][0])
    (project / "in" / "data.h5").unlink()
    with pytest.raises(CaffeCompatError, match=r"h5\.txt: in/data\.h5: there is no such file or folder; tried .* and "):
        _batch(path)


FED = """
layer { name: "x" type: "Input" top: "x" top: "y" input_param { shape { dim: 1 dim: 2 } shape { dim: 1 } } }
"""
GAINS = (
    FED
    + """
layer { name: "l" type: "InfogainLoss" bottom: "x" bottom: "y" top: "l"
  infogain_loss_param { source: "in/gains.binaryproto" } }
"""
)


def test_infogain_matrix(project: Path) -> None:
    path = project / "net.prototxt"
    path.write_text(GAINS)
    made = Net(path, "TRAIN", log=False).forward({"x": np.zeros((1, 2), "f4"), "y": np.zeros(1, "f4")})
    assert float(made["l"]) == pytest.approx(np.log(2))
    (project / "in" / "gains.binaryproto").unlink()
    with pytest.raises(
        CaffeCompatError, match=r"infogain_loss_param\.source: in/gains\.binaryproto: .*; tried .* and "
    ):
        Net(path, "TRAIN", log=False)


def test_files_of_detections(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = """
layer { name: "x" type: "Input" top: "l" top: "c" top: "p" input_param { shape { dim: [1, 4] } shape { dim: [1, 2] }
  shape { dim: [1, 2, 4] } } }
layer { name: "out" type: "DetectionOutput" bottom: "l" bottom: "c" bottom: "p" top: "out"
  detection_output_param { num_classes: 2 nms_param { top_k: 5 } save_output_param { output_directory: "results"
    output_name_prefix: "r" output_format: "VOC" label_map_file: "in/labelmap.prototxt"
    name_size_file: "in/sizes.txt" } } }
"""
    path = project / "net.prototxt"
    path.write_text(text)
    Net(path, "TEST", log=False)
    assert "boxes will not be saved" not in capfd.readouterr().err
    for name in ("labelmap.prototxt", "sizes.txt"):
        (project / "in" / name).rename(project / name)
        Net(path, "TEST", log=False)
        said = capfd.readouterr().err
        assert (
            f"in/{name}: there is no such file or folder; tried {Path.cwd()}/in/{name} and {project}/in/{name}" in said
        )
        (project / name).rename(project / "in" / name)


def test_mean_file_of_a_deploy_net(project: Path) -> None:
    path = project / "deploy.prototxt"
    path.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [1, 3, 8, 8] } } '
        'transform_param { mean_file: "in/mean.binaryproto" } }'
    )
    prepared = stated_preprocess(open_net(path).message.layer, str(path))
    assert prepared is not None and prepared.mean == (5, 5, 5)
    with pytest.raises(CaffeCompatError, match=r"mean_file: gone: there is no such file or folder; tried .* and "):
        read_mean("gone", path)


# ------------------------------------------------------------------------------------------------ solvers

TRAINED = (
    FED
    + """
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "more" type: "InnerProduct" bottom: "x" top: "more" inner_product_param { num_output: 3 }
  include { phase: TEST } }
layer { name: "l" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "l" }
"""
)
SOLVER = 'net: "in/net.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "s" '
TESTED = "test_iter: 1 test_interval: 1 "


def _weights(path: Path, value: float, *layers: str) -> None:
    net = Net(open_net(path), "TEST", log=False)
    for layer in net.layers:
        for slot in layer.slots:
            slot.tensor().fill_(value)
    net.save(path.parent / "all.caffemodel")
    message = pb.NetParameter.FromString((path.parent / "all.caffemodel").read_bytes())
    left = [layer for layer in message.layer if layer.name in layers]
    out = pb.NetParameter(name="w", layer=left)
    path.with_name(f"{value:g}.caffemodel").write_bytes(out.SerializeToString())


@pytest.fixture
def solved(project: Path) -> Path:
    """A solver whose net and weights lie in `in` next to it; 1.caffemodel has layer ip, 2.caffemodel both layers."""
    net = project / "in" / "net.prototxt"
    net.write_text(TRAINED)
    _weights(net, 1, "ip")
    _weights(net, 2, "ip", "more")
    return project / "solver.prototxt"


@pytest.mark.parametrize(
    ("text", "ip"),
    [
        ('weights: "in/2.caffemodel"', 2),
        ('weights: "in/2.caffemodel" weights: "in/1.caffemodel"', 1),
        ('weights: "in/1.caffemodel, in/2.caffemodel"', 2),
        ('weights: "in/2.caffemodel,in/1.caffemodel" weights: "in/2.caffemodel"', 2),
    ],
)
def test_solvers_start_from_their_weights(solved: Path, text: str, ip: float) -> None:
    """In every kind of solver, and in layers of the test net alone too (BVLC InitTestNets)."""
    solved.write_text(SOLVER + TESTED + text)
    for nets in (Solver(solved), caffe.get_solver(str(solved))._solver, caffe.AdamSolver(str(solved))._solver):
        assert (nets.net.blobs_by_layer()["ip"][0] == ip).all()
        test = nets.test_nets[0].blobs_by_layer()
        assert (test["ip"][0] == ip).all() and (test["more"][0] == 2).all()
        assert np.shares_memory(test["ip"][0], nets.net.blobs_by_layer()["ip"][0])


def test_weights_that_replace_the_solvers_own(solved: Path) -> None:
    solved.write_text(SOLVER + 'weights: "in/2.caffemodel"')
    made = Solver(solved, weights=solved.parent / "in" / "1.caffemodel").net
    assert (made.blobs_by_layer()["ip"][0] == 1).all()
    assert not (Solver(solved, weights=[]).net.blobs_by_layer()["ip"][0] == 2).any()
    assert (Solver(solved, overrides=["weights=in/1.caffemodel"]).net.blobs_by_layer()["ip"][0] == 1).any()


def test_the_command_lines_weights_and_snapshots_win(solved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    solved.write_text(SOLVER + 'weights: "in/2.caffemodel"')
    train = ["train", "--solver", str(solved), "--dry-run"]
    assert main(train) == 0
    assert "Finetuning from" in capfd.readouterr().err
    assert main([*train, "--weights", str(solved.parent / "in/1.caffemodel")]) == 0
    said = capfd.readouterr().err
    assert "in/1.caffemodel" in said and "Finetuning from in/2.caffemodel" not in said
    solver = Solver(solved)
    solver.snapshot()
    (solved.parent / "in" / "2.caffemodel").unlink()
    assert main([*train, "--snapshot", "s_iter_0.solverstate"]) == 0
    assert main([*train, "--resume", "auto"]) == 0


@pytest.mark.parametrize(
    ("text", "field", "path"),
    [
        (SOLVER + 'weights: "in/3.caffemodel"', "weights", "in/3.caffemodel"),
        (SOLVER + 'weights: "in/1.caffemodel,in/4.caffemodel"', "weights", "in/4.caffemodel"),
        (SOLVER.replace("in/net", "in/no"), "net", "in/no.prototxt"),
        (SOLVER.replace("net:", "train_net:").replace("in/net", "no"), "train_net", "no.prototxt"),
        (SOLVER + TESTED + 'test_net: "gone.prototxt"', "test_net", "gone.prototxt"),
    ],
)
def test_what_a_solver_names_and_is_not_there(solved: Path, text: str, field: str, path: str) -> None:
    solved.write_text(text)
    for make in (Solver, lambda file: caffe.SGDSolver(str(file))):
        with pytest.raises(CaffeCompatError) as caught:
            make(solved)
        places = f"tried {Path.cwd() / path} and {solved.parent / path} (beside {solved})"
        assert f"{solved}: {field}: {path}: there is no such file or folder; {places}" in str(caught.value)


def test_weights_of_another_net_are_an_error(solved: Path) -> None:
    solved.write_text(SOLVER.replace("in/net", "in/other") + 'weights: "in/1.caffemodel"')
    (solved.parent / "in" / "other.prototxt").write_text(TRAINED.replace('"ip"', '"fc"'))
    with pytest.raises(CaffeCompatError, match="none of its layers is in this net"):
        caffe.SGDSolver(str(solved))


@pytest.mark.parametrize("field", ["net_param", "train_net_param"])
def test_paths_of_a_net_inside_a_solver_lead_from_the_solvers_folder(project: Path, field: str) -> None:
    path = project / "solver.prototxt"
    layer = f'layer {{ name: "d" top: "a" top: "b" {SOURCES["ImageData"][0]} }}'
    path.write_text(
        f'{field} {{ {layer} {GAINS.replace(chr(10), " ")} }} base_lr: 1 lr_policy: "fixed" snapshot_prefix: "s"'
    )
    assert Solver(path).net.blob_shapes["a"] == (1, 3, 8, 8)


# ------------------------------------------------------------------------------------------------ the mechanism


def test_one_folder_is_named_once_and_absolute_paths_have_no_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for relative_to in (None, "net.prototxt", tmp_path / "net.prototxt"):
        with pytest.raises(CaffeCompatError) as caught:
            find_file("x/y", relative_to)
        assert str(caught.value) == f"x/y: there is no such file or folder; tried {tmp_path}/x/y"
    with pytest.raises(CaffeCompatError, match=r"^/x/y: there is no such file or folder$"):
        find_file("/x/y", "a/net.prototxt")
    assert look_up("", "a/net.prototxt") is None


def test_a_name_like_it_is_told_and_what_was_found_beside_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "train.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CaffeCompatError, match=r"; did you mean .*train\.txt\?$"):
        find_file("trian.txt", "a/net.prototxt", field="source")
    lines: list[str] = []
    glog.set_sink(lines.append)
    try:
        assert find_file("train.txt", "a/net.prototxt") == os.path.join("a", "train.txt")
        assert find_file("a\\train.txt", "a/net.prototxt") == "a/train.txt"
    finally:
        glog.set_sink(None)
    assert len(lines) == 1 and "train.txt is not in the current directory; using a/train.txt" in lines[0]


@pytest.mark.parametrize(
    "path", ["/workspace/model/train_val.prototxt", "model/train_val.prototxt", "D:\\\\m\\\\train_val.prototxt"]
)
def test_a_file_beside_a_prototxt_of_another_machine_is_named(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published solvers have the paths of their authors' machines; the net lies in the same folder."""
    monkeypatch.chdir(tmp_path)
    Path("espnet").mkdir()
    Path("espnet/train_val.prototxt").write_text("")
    Path("espnet/solver.prototxt").write_text(f'net: "{path}"\nbase_lr: 1 lr_policy: "fixed" max_iter: 1')
    with pytest.raises(
        CaffeCompatError, match=r"; there is espnet/train_val\.prototxt, which the text, or --set, can name"
    ):
        Solver("espnet/solver.prototxt")


def test_a_current_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(CaffeCompatError, match="no such file or folder; the current folder is gone"):
        find_file("list.txt", None, CaffeCompatError)
