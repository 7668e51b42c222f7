"""``caffecompat run`` names the line and today's spelling where libraries dropped what a script uses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = {
    "np.float": ("import numpy as np\nx = 1\ny = np.float(x)\n", 3, "numpy has no 'float' any more; write float"),
    "tostring": ("import numpy as np\nnp.zeros(2).tostring()\n", 2, "ndarray has no 'tostring' any more; write array."),
    "imported": ("from collections import Iterable\n", 1, "write collections.abc.Iterable"),
    "module that is gone": (
        "from scipy.misc import imread, imresize\n",
        1,
        "scipy has no 'misc' any more; write for imread: cv2.imread(path) (B, G, R) or PIL.Image.open(path); "
        "for imresize: cv2.resize(image, (width, height))",
    ),
    "attribute of a module": ("import scipy.ndimage\nscipy.ndimage.imread('x')\n", 2, "write cv2.imread"),
    "cv2": ("import cv2\ncv2.CV_AA\n", 2, "write cv2.LINE_AA"),
    "time": ("import time\ntime.clock()\n", 2, "write time.perf_counter"),
    "fromstring": ("import numpy as np\nnp.fromstring(b'abcd', np.uint8)\n", 2, "np.frombuffer(data, dtype)"),
    "pickled arrays": (
        "import numpy as np\nnp.save('a.npy', np.array([{}]))\nnp.load('a.npy')\n", 3, "allow_pickle=True"
    ),
    "lmdb keys": (
        "import lmdb\nwith lmdb.open('db').begin(write=True) as txn:\n    txn.put('a', b'1')\n", 3, "key.encode()"
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripts_in_process: None) -> Iterator[Path]:
    """A current folder, with a scipy that has no misc, as today's."""
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "libraries/scipy"
    (package / "ndimage").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "ndimage/__init__.py").touch()
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    sys.path.insert(0, str(tmp_path / "libraries"))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        del sys.modules[name]


@pytest.mark.parametrize("case", SCRIPTS)
@pytest.mark.parametrize("inside", ["the script", "a module beside it"])
def test_todays_spelling(case: str, inside: str, folder: Path, command) -> None:
    code, line, spelling = SCRIPTS[case]
    name = "script.py" if inside == "the script" else f"helper_{list(SCRIPTS).index(case)}.py"
    Path("script.py").write_text(f"import {name[:-3]}\n")
    Path(name).write_text(code)
    result = command("run", "script.py")
    assert result.status == 1
    (note,) = [text for text in result.err.splitlines() if text.startswith("note: ")]
    assert f"{name}:{line}: " in note and spelling in note


def test_other_errors_get_no_note(folder: Path, command) -> None:
    Path("script.py").write_text("import numpy as np\nnp.no_such_thing\n")
    result = command("run", "script.py")
    assert result.status == 1 and "note: " not in result.err
