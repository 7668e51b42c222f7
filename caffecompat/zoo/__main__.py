"""``python -m caffecompat.zoo DIR`` writes every network's folder into DIR."""

import sys
from pathlib import Path

from caffecompat.zoo import NETWORKS, network_files


def main(target: Path) -> None:
    """Write the files of all networks below `target`."""
    for name, network in NETWORKS.items():
        folder = target / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in network_files(network).items():
            (folder / file).write_text(text)


main(Path(sys.argv[1]))
