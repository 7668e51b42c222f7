"""Every file of weights of the real collection against the inventory that was made of it by other means."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from caffecompat.formats import WeightsError, open_weights
from caffecompat.formats.inventory import blob_stats, inventory
from caffecompat.formats.solverstate import read_solverstate

NUMBERS = r"mean=\s*(\S+) std=\s*(\S+) min=\s*(\S+) max=\s*(\S+) f4hash=(\w+)"
BLOB = re.compile(r"\s+blob(\d+) (\[[\d, ]*\])\s+" + NUMBERS)
LAYER = re.compile(r"\s*(\d+) (\S*)\s+(\S+)\s+bottom=")
HISTORY = re.compile(r"history\[(\d+)\] (\[[\d, ]*\]) .*" + NUMBERS)
DATASET = re.compile(r"/(?:data/)?(\S+)/(\d+)\s+(\[[\d, ]*\]) .*" + NUMBERS)


def files(shared: Path, pattern: str) -> list[Path]:
    return sorted((shared / "real").rglob(pattern))


def fits(values: np.ndarray, shape: str, mean: str, std: str, least: str, most: str, digest: str) -> bool:
    """Whether an array is the one that a line of an inventory describes."""
    stats = blob_stats(values)
    numbers = [stats["mean"], stats["std"], stats["min"], stats["max"]]
    expected = [float(text) for text in (mean, std, least, most)]
    return (
        str(list(values.shape)) == shape
        and hashlib.sha256(np.ascontiguousarray(values, "<f4").tobytes()).hexdigest()[:16] == digest
        and bool(np.allclose(numbers, expected, rtol=2e-6, atol=1e-12))
    )


def test_caffemodels(shared: Path) -> None:
    counted = {"files": 0, "layers": 0, "blobs": 0}
    for path in files(shared, "*.caffemodel"):
        text = path.with_name(path.name + ".inventory.txt").read_text()
        file = open_weights(path)
        generation = re.search(r"format=\{'(V\d)'", text)
        assert generation and file.format == generation[1], path
        assert f"parameters={inventory(file)['parameters']}\n" in text
        layers = [match.groups() for line in text.splitlines() if (match := LAYER.match(line))]
        assert [name for _, name, _ in layers] == [layer.name for layer in file.layers], path
        if file.format == "V2":
            assert [kind for _, _, kind in layers] == [layer.type for layer in file.layers]
        found = [blob for layer in file.layers for blob in layer.blobs]
        described = [match.groups() for line in text.splitlines() if (match := BLOB.match(line))]
        assert len(found) == len(described), path
        for blob, (_, *line) in zip(found, described, strict=True):
            assert fits(blob.array(), *line), (path, line)
        counted["files"] += 1
        counted["layers"] += len(layers)
        counted["blobs"] += len(found)
    assert counted == {"files": 13, "layers": 1386, "blobs": 1499}


def test_hdf5_weights(shared: Path) -> None:
    for path in files(shared, "*.caffemodel.h5"):
        lines = path.with_name(path.name + ".inventory.txt").read_text().splitlines()
        blobs = {layer.name: layer.blobs for layer in open_weights(path).layers}
        described = [match.groups() for line in lines if (match := DATASET.match(line))]
        assert len(described) == sum(map(len, blobs.values())) == 10
        for layer, index, *line in described:
            assert fits(blobs[layer][int(index)].array(), *line), (path, layer, index)


@pytest.mark.parametrize("pattern", ["*.solverstate", "*.solverstate.h5"])
def test_solver_states(shared: Path, pattern: str) -> None:
    found = files(shared, pattern)
    assert len(found) == (3 if pattern == "*.solverstate" else 1)
    for path in found:
        text = path.with_name(path.name + ".inventory.txt").read_text()
        state = read_solverstate(path)
        lines = text.splitlines()
        if pattern == "*.solverstate":
            assert f"iter={state.iter} " in text and f"learned_net={state.learned_net!r}" in text
            described = [match.groups() for line in lines if (match := HISTORY.match(line))]
        else:
            assert state.iter == 5000 and state.learned_net.endswith("cifar10_quick_iter_5000.caffemodel.h5")
            described = [match.groups()[1:] for line in lines if (match := DATASET.match(line))]
        assert len(described) == len(state.history)
        for index, *line in described:
            assert fits(state.history[int(index)], *line), (path, index)


def test_a_cut_anywhere_in_a_real_file_is_refused(shared: Path, tmp_path: Path) -> None:
    content = (shared / "real/mtcnn/det1.caffemodel").read_bytes()
    path = tmp_path / "w"
    for cut in range(100, len(content), 997):
        path.write_bytes(content[:cut])
        with pytest.raises(WeightsError, match="the file ends inside layer "):
            open_weights(path)
