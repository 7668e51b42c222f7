"""convert_imageset and compute_image_mean as Caffe's users type them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from caffecompat.cli.main import main
from caffecompat.formats.database import open_database
from caffecompat.formats.datum import decode_datum
from caffecompat.formats.mean import read_mean


@pytest.fixture
def data(golden, tmp_path, monkeypatch):
    """The recorded data as the current folder, where paths of its lists lead."""
    monkeypatch.chdir(golden / "data")
    return golden / "data"


def recorded_commands(golden):
    lines = (golden / "data/flags.txt").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize("name", ["db_raw_lmdb", "db_gray_lmdb", "db_encpng_lmdb", "db_encorig_lmdb", "db_raw_leveldb"])
def test_the_recorded_command_makes_the_recorded_database(data, golden, tmp_path, name):
    if "leveldb" in name:
        pytest.importorskip("plyvel")
    words = shlex.split(recorded_commands(golden)[name])
    assert main([*words[:-1], str(tmp_path / name)]) == 0
    with open_database(tmp_path / name) as made, open_database(data / name) as recorded:
        assert made.backend == recorded.backend
        for (key, one), (recorded_key, other) in zip(made, recorded, strict=True):
            ours, theirs = decode_datum(one), decode_datum(other)
            assert key == recorded_key
            assert (ours.label, ours.encoded, ours.shape) == (theirs.label, theirs.encoded, theirs.shape)
            difference = abs(ours.image().astype(int) - theirs.image())
            assert difference.max() <= (1 if key.endswith(b".jpg") else 0)


def test_the_log_has_caffes_lines(data, tmp_path, capfd):
    assert main(["convert_imageset", "-shuffle", "images/", "list.txt", str(tmp_path / "db")]) == 0
    log = capfd.readouterr().err
    assert re.search(r"^I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ convert_imageset\.cpp:86\] Shuffling data$", log, re.M)
    assert re.search(r"convert_imageset\.cpp:89\] A total of 10 images\.$", log, re.M)
    assert re.search(rf"db_lmdb\.cpp:35\] Opened lmdb {tmp_path}/db$", log, re.M)
    assert re.search(r"convert_imageset\.cpp:153\] Processed 10 files\.$", log, re.M)


def test_every_thousand_files_are_logged(data, tmp_path, capfd):
    (tmp_path / "list.txt").write_text("im07.png 1\n" * 2300)
    assert main(["convert_imageset", "images/", str(tmp_path / "list.txt"), str(tmp_path / "db"), "--encoded"]) == 0
    assert re.findall(r"Processed (\d+) files", capfd.readouterr().err) == ["1000", "2000", "2300"]


def test_shuffling_numbers_the_keys_anew_and_repeats(data, tmp_path):
    for name in ("a", "b"):
        flags = ["--shuffle=true", "--encoded"]
        assert main(["convert_imageset", *flags, "images/", "list.txt", str(tmp_path / name)]) == 0
    with open_database(tmp_path / "a") as a, open_database(tmp_path / "b") as b:
        assert list(a) == list(b)
        keys = list(a.keys())
    assert [key[:8] for key in keys] == [b"%08d" % index for index in range(10)]
    assert [key[9:] for key in keys] != sorted(key[9:] for key in keys)


def test_unreadable_images_are_left_out_with_a_line_each_and_a_count(data, tmp_path, capfd):
    (tmp_path / "list.txt").write_text("im00.jpg 1\nnone.jpg 2\nim01.png 3\n../list.txt 4\n")
    assert main(["convert_imageset", "images/", str(tmp_path / "list.txt"), str(tmp_path / "db")]) == 0
    log = capfd.readouterr().err
    assert re.search(
        r"^E.* io\.cpp:80\] Could not open or find file images/none\.jpg \(.*list\.txt:2: .*No such", log, re.M
    )
    assert re.search(
        r"^E.* Could not open or find file images/\.\./list\.txt \(.*list\.txt:4: .*not a picture", log, re.M
    )
    assert "Processed 2 files." in log
    assert "2 of 4 images could not be read" in log
    with open_database(tmp_path / "db") as database:
        assert list(database.keys()) == [b"00000000_im00.jpg", b"00000002_im01.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["images/", "none.txt", "DB"], "cannot read the list none.txt: No such file"),
        (["images/", "list.txt", "db_raw_lmdb"], "db_raw_lmdb exists already"),
        (["images/", "list.txt", "DB", "--check_size"], "Incorrect data field size"),
        (["images/", "list.txt", "DB", "--backend=hdf5"], "invalid choice: 'hdf5'"),
        (["images/", "list.txt", "DB/none/db"], "No such file or directory"),
        (["nowhere/", "list.txt", "DB"], "none of the 10 records could be made"),
        (["images/", "list.txt"], "DB_NAME"),
    ],
)
def test_mistakes_exit_with_2_and_leave_nothing(data, tmp_path, capfd, words, said):
    words = [word.replace("DB", str(tmp_path / "db")) for word in words]
    assert main(["convert_imageset", *words]) == 2
    assert said in capfd.readouterr().err
    assert not (tmp_path / "db").exists()


def test_ctrl_c_exits_with_130_and_can_be_continued(data, tmp_path, monkeypatch, capfd):
    from caffecompat.data import build

    def interrupted_after_five(batches):
        yield next(batches)
        raise KeyboardInterrupt

    original = build._batches
    monkeypatch.setattr(build, "_BATCH_RECORDS", 5)
    monkeypatch.setattr(build, "_batches", lambda records: interrupted_after_five(original(records)))
    words = ["convert_imageset", "--encoded", "images/", "list.txt", str(tmp_path / "db")]
    assert main(words) == 130
    assert "interrupted: " in (said := capfd.readouterr().err)
    assert "db.partial keeps 5 records; the same command goes on" in said
    assert not (tmp_path / "db").exists()
    monkeypatch.setattr(build, "_batches", original)
    assert main(words) == 0
    assert "db.partial after 5 images" in capfd.readouterr().err
    with open_database(tmp_path / "db") as database:
        assert len(database) == 10


@pytest.mark.parametrize("name", ["raw", "gray", "encpng"])
def test_means_are_the_recorded_ones(data, tmp_path, name, capfd):
    output = tmp_path / "mean.binaryproto"
    assert main(["compute_image_mean", f"db_{name}_lmdb", str(output)]) == 0
    assert output.read_bytes() == (data / f"mean_db_{name}_lmdb.binaryproto").read_bytes()
    lines = re.findall(r"compute_image_mean\.cpp:(\d+)\] (.*)", capfd.readouterr().err)
    channels = 1 if name == "gray" else 3
    assert [line for line, _ in lines] == ["70", "101", "108", "114"] + ["119"] * channels
    assert lines[3][1] == f"Number of channels: {channels}"
    value = read_mean(output)[0].mean(dtype="float64")
    assert lines[4][1] == f"mean_value channel [0]: {value:.6g}"


def test_the_mean_of_a_leveldb_is_that_of_the_lmdb(data, tmp_path):
    pytest.importorskip("plyvel")
    output = tmp_path / "mean"
    assert main(["compute_image_mean", "--backend=leveldb", "db_raw_leveldb", str(output)]) == 0
    assert output.read_bytes() == (data / "mean_db_raw_lmdb.binaryproto").read_bytes()


def test_a_mean_needs_no_output_file(data, tmp_path, monkeypatch, capfd):
    assert main(["compute_image_mean", "db_gray_lmdb"]) == 0
    assert "Write to" not in capfd.readouterr().err


def test_a_mean_of_differing_sizes_says_which_record(data, tmp_path, capfd):
    assert main(["compute_image_mean", "db_encorig_lmdb", str(tmp_path / "mean")]) == 2
    assert "record 00000001_im01.png is 3x59x43, the first is 3x35x41" in capfd.readouterr().err
    assert not (tmp_path / "mean").exists()


def test_torch_is_not_imported(data, tmp_path):
    shutil.copytree("db_gray_lmdb", tmp_path / "db")
    code = (
        "import sys; from caffecompat.cli.main import main; "
        "assert main(['convert_imageset', '--encoded', 'images/', 'list.txt', sys.argv[1] + '/new']) == 0; "
        "assert main(['compute_image_mean', sys.argv[1] + '/db']) == 0; "
        "assert main(['lmdb', 'verify', sys.argv[1] + '/db']) == 0; "
        "sys.exit('torch' in sys.modules)"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
