"""The text lists: what counts as a line, and errors that name lines."""

from __future__ import annotations

import pytest

from caffecompat.formats.image_list import (
    ListedImage,
    ListedPair,
    ListError,
    lists_pairs,
    open_image_list,
    open_pair_list,
    open_path_list,
    read_image_list,
    read_pair_list,
)


@pytest.fixture
def write(tmp_path):
    def put(text, encoding="utf-8"):
        path = tmp_path / "list.txt"
        path.write_bytes(text.encode(encoding))
        return path

    return put


def test_paths_may_hold_blanks(write):
    path = write("a.png 3\nim with space.png 12\n\nb.jpg\t-1\r\n  c.png  7  \n")
    assert read_image_list(path) == [
        ListedImage("a.png", 3, 1),
        ListedImage("im with space.png", 12, 2),
        ListedImage("b.jpg", -1, 4),
        ListedImage("c.png", 7, 5),
    ]


def test_the_recorded_list(golden):
    entries = read_image_list(golden / "data/list.txt")
    assert len(entries) == 10
    assert entries[-1] == ListedImage("im with space.png", 3, 10)


def test_all_wrong_lines_are_named_at_once(write):
    path = write("a.png 3\nb.png\nc.png cat\nd.png 3000000000\n")
    with pytest.raises(ListError) as caught:
        read_image_list(path)
    assert [f"list.txt:{line}:" in str(caught.value) for line in (1, 2, 3, 4)] == [False, True, True, True]
    assert "'c.png cat'" in str(caught.value)


def test_many_wrong_lines_are_counted(write):
    with pytest.raises(ListError, match="and 15 more lines"):
        read_image_list(write("x\n" * 25))


def test_pairs(write):
    path = write('i/0.png l/0.png\n"i/a b.png" "l/a b.png"\ni/2.png\tl/2.png 5\n')
    assert read_pair_list(path) == [
        ListedPair("i/0.png", "l/0.png", 1),
        ListedPair("i/a b.png", "l/a b.png", 2),
        ListedPair("i/2.png", "l/2.png", 3),
    ]


def test_one_column_is_an_error_unless_labels_are_not_wanted(write):
    path = write("i/0.png\n")
    assert read_pair_list(path, labels=False) == [ListedPair("i/0.png", "", 1)]
    with pytest.raises(ListError, match=r"list\.txt:1: expected 'picture label-picture', found 'i/0\.png'"):
        read_pair_list(path)


@pytest.mark.parametrize("after", ["", " ", "\t", " " * 5, " \t" * 40])
def test_any_blanks_may_follow_a_line_and_make_no_column(write, after):
    assert read_image_list(write(f"a.png 7{after}\n")) == [ListedImage("a.png", 7, 1)]
    assert read_pair_list(write(f"i.png l.png{after}\n")) == [ListedPair("i.png", "l.png", 1)]
    assert list(open_path_list(write(f"i.png{after}\n"))) == [("i.png", 1)]
    with pytest.raises(ListError, match=r"list\.txt:2: expected 'path label'"):
        open_image_list(write(f"a.png 7\na.png{after}\n"))
    with pytest.raises(ListError, match=r"list\.txt:2: expected 'picture label-picture'"):
        open_pair_list(write(f"i.png l.png\ni.png{after}\n"))


def test_which_list_it_is_shows_in_its_first_line(write):
    assert lists_pairs(write("\na.png b.png\n"))
    assert not lists_pairs(write("a.png 3\n"))
    assert not lists_pairs(write("a.png -3\n"))


def test_a_missing_empty_or_binary_list(write, tmp_path):
    with pytest.raises(ListError, match="No such file"):
        read_image_list(tmp_path / "none.txt")
    for nothing in ("", "\n", "\n \n", "\ufeff"):
        for opened in (open_image_list, open_pair_list, open_path_list):
            with pytest.raises(ListError, match="lists no"):
                opened(write(nothing))
    with pytest.raises(ListError, match="not a text file"):
        read_image_list(write("\x89PNG\0\0\0\r 3\n", "latin-1"))


def test_names_that_are_not_utf8_survive(write):
    import os

    path = write("b\xe4r.png 1\n", "latin-1")
    assert os.fsencode(read_image_list(path)[0].path) == b"b\xe4r.png"


def test_a_byte_order_mark_is_no_part_of_the_first_path(write):
    assert read_image_list(write("a.png 1\n", "utf-8-sig"))[0].path == "a.png"
