"""``python -m caffecompat.zoo DIR`` writes every network's folder into DIR."""

import sys
from pathlib import Path

from caffecompat.zoo import NETWORKS


def main(target: Path) -> None:
    """Write the prototxts of all networks below `target`."""
    for name, files in NETWORKS.items():
        folder = target / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files().items():
            (folder / file).write_text(text)


main(Path(sys.argv[1]))
