"""R-CNN window files."""

from pathlib import Path

import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.formats.window_file import read_window_file

TEXT = """# 0
/pictures/a.jpg
3
480
640
2
1 0.75 10 20 30 40
0 0 5 5 9 9
# 1
b.jpg 3 100 200 0
# 2
c.jpg
3
50
60
1
7 .5 0 0 59 49
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "windows.txt"
    path.write_text(text)
    return path


def test_entries(tmp_path: Path) -> None:
    first, second, third = read_window_file(write(tmp_path, TEXT))
    assert (first.path, first.line, first.channels, first.height, first.width) == ("/pictures/a.jpg", 1, 3, 480, 640)
    np.testing.assert_allclose(first.windows, [[1, 0.75, 10, 20, 30, 40], [0, 0, 5, 5, 9, 9]])
    assert second.windows.shape == (0, 6)
    assert third.path == "c.jpg" and third.line == 11 and third.windows.tolist() == [[7, 0.5, 0, 0, 59, 49]]


def test_line_breaks_are_blanks(tmp_path: Path) -> None:
    a = read_window_file(write(tmp_path, TEXT))
    b = read_window_file(write(tmp_path, TEXT.replace("\n", " ")))
    assert [picture[2:5] for picture in a] == [picture[2:5] for picture in b]
    assert all((x.windows == y.windows).all() for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# 1", "# 5", r"windows.txt:9: picture number 1 \(from 0\) has the index 5"),
        ("# 1", "1", "windows.txt:9: expected '# 1', the beginning of a picture's entry, found '1'"),
        ("480", "high", "windows.txt:4: expected the picture's height, a whole number, found 'high'"),
        ("0.75", "much", "windows.txt:8: the 2 windows that end here are not all numbers: .*much"),
        ("10 20 30 40", "10 20.5 30 40", "windows.txt:8: of the 2 windows that end here some have .* not whole"),
        ("7 .5 0 0 59 49\n", "7 .5 0", "windows.txt:17: the file ends where a window .*1 are announced"),
        (TEXT, " ", "windows.txt is empty"),
    ],
)
def test_mistakes_are_placed(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(CaffeCompatError, match=message):
        read_window_file(write(tmp_path, TEXT.replace(old, new, 1)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaffeCompatError, match=r"cannot read the window file .*none\.txt: No such file"):
        read_window_file(tmp_path / "none.txt")
