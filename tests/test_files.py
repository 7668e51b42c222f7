"""Text in the encodings and spellings that other systems write."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatError
from caffecompat.files import decode_text, is_utf16, read_text, read_whole
from caffecompat.formats.image_list import ListError, open_path_list, read_image_list, read_pair_list
from caffecompat.formats.window_file import read_window_file
from caffecompat.paths import find_file, with_slashes
from caffecompat.schema import PrototxtError, read_net

TEXT = 'name: "größer"\r\nlayer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 } } }\r\n'
ENCODED = {
    "utf-8": TEXT.encode(),
    "utf-8 with mark": TEXT.encode("utf-8-sig"),
    "utf-16 le with mark": b"\xff\xfe" + TEXT.encode("utf-16-le"),
    "utf-16 be with mark": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "utf-16 le": TEXT.encode("utf-16-le"),
    "utf-16 be": TEXT.encode("utf-16-be"),
    "utf-32 with mark": TEXT.encode("utf-32"),
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_every_encoding_gives_the_same_text(encoding: str, tmp_path: Path) -> None:
    data = ENCODED[encoding]
    assert decode_text(data) == TEXT.replace("\r\n", "\n")
    path = tmp_path / "net.prototxt"
    path.write_bytes(data)
    assert read_net(path).name == "größer"
    assert read_text(path, "the text").startswith('name: "größer"\nlayer')


@pytest.mark.parametrize("data", [b"", b"a", b"ab", bytes(64), b"\x0a\x04name\x00\x01\x00\x02", b"l\x00\x01\x00" * 40])
def test_binary_data_is_not_taken_for_utf16(data: bytes) -> None:
    assert not is_utf16(data)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_lists_are_read_in_every_encoding_with_either_slash(encoding: str, ends: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(ends.join(["train\\cats\\a cat.jpg 3", "dogs/b.jpg 4", ""]).encode(encoding))
    assert [(entry.path, entry.label, entry.line) for entry in read_image_list(path)] == [
        ("train/cats/a cat.jpg", 3, 1), ("dogs/b.jpg", 4, 2)
    ]  # fmt: skip
    path.write_bytes(ends.join(['"img\\a b.png" lab\\a.png', "img/c.png lab/c.png"]).encode(encoding))
    assert [entry[:2] for entry in read_pair_list(path)] == [("img/a b.png", "lab/a.png"), ("img/c.png", "lab/c.png")]
    path.write_bytes(ends.join(["img\\a.png", "img\\b.png"]).encode(encoding))
    assert [name for name, _ in open_path_list(path)] == ["img/a.png", "img/b.png"]
    path.write_bytes(ends.join(["# 0", "", "img\\a.png", "3 10 20", "1", "1 0.5 0 0 5 5", ""]).encode(encoding))
    assert [picture.path for picture in read_window_file(path)] == ["img/a.png"]


def test_a_file_whose_name_has_a_backslash_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a\\b.jpg").write_bytes(b"x")
    assert with_slashes("a\\b.jpg") == "a\\b.jpg"
    assert with_slashes("c\\b.jpg") == "c/b.jpg"
    Path("lists").mkdir()
    Path("lists/train.txt").write_text("x")
    assert find_file("lists\\train.txt", tmp_path / "net.prototxt") == "lists/train.txt"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!DOCTYPE html>\n<html>", "a web page (HTML)"),
        ("\n\n  <html lang='en'>{}", "a web page (HTML)"),
        ("<head><title>caffe/deploy.prototxt at master</title>", "a web page (HTML)"),
        ("<?xml version='1.0'?><net/>", "an XML file"),
        ("404: Not Found", "what a server says"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    ],
)
def test_what_is_saved_instead_of_a_prototxt_is_named_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    for data in (text.encode(), text.encode("utf-16")):
        path.write_bytes(data)
        with pytest.raises(PrototxtError) as caught:
            read_net(path)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_web_page_is_no_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("<!DOCTYPE html>\n<html>\n<a 1\n")
    with pytest.raises(ListError, match="a web page"):
        read_image_list(path)


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(CaffeCompatError, match=r"cannot read the names .*: it is not a text file"):
        read_text(path, "the names")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no /dev/zero")
@pytest.mark.parametrize("words", [
    ["summary", "/dev/zero"], ["train", "--solver", "/dev/full"], ["weights", "show", "/dev/zero"],
    ["parse-log", "/dev/zero"], ["lmdb", "build", "/dev/zero", "db"],
], ids=" ".join)  # fmt: skip
def test_a_device_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "it is a device, which has no end" in capsys.readouterr().err


def test_an_empty_device_and_a_pipe_are_read(tmp_path: Path) -> None:
    assert read_whole(os.devnull) == b""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", f"printf text > '{pipe}'"]):
        assert read_whole(pipe) == b"text"
