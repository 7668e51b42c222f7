"""Make a folder that trains, scores and exports a network of the zoo for your own data.

    caffecompat new --list
    caffecompat new lenet --train train.txt --classes 10 digits/
    caffecompat new espnet --size 512x256 --batch 8 --train pairs.txt --val val.txt --measure-mean street/
    caffecompat new ssd300_resnet34 --train boxes.txt --val boxes_val.txt --weights resnet34.pth signs/

DIR gets solver.prototxt, train_val.prototxt and deploy.prototxt (where there are two stages of training,
solver_encoder.prototxt and so on, too), the names of the classes (labels.txt or labelmap.prototxt) and a README.md;
then the next commands are printed. Run them from where you are: the paths in the files start here, as in Caffe.

LIST is a file of lines 'picture class' (classification), 'picture label-picture' (segmentation; 255 is ignored) or
'picture annotation-file' (detection; also COCO's instances_*.json: the first command builds a database of it). A
folder, several paths with commas or a pattern are databases, as 'lmdb build' makes them. Without --val the tests read
the pictures to train on, without --train the files have placeholders.

Without --classes the names say how many there are (--labels, or classes.txt, labels.txt, labelmap.prototxt next to the
data), or else the labels themselves. A detection network's number has the background among them, which is class 0.

The recipe is the published one: as many passes over your pictures, and as many pictures an update (--batch changes how
many of them are computed at a time). --weights takes a torch state_dict (its first convolution's inputs are reversed,
R, G, B to B, G, R, unless --noswap-colors is given) or any file that 'weights convert' reads, and lists what landed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from caffecompat import glog
from caffecompat.cli.common.flags import COUNT, NATURAL, UsageError, add_switch
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.picture_flags import size_of
from caffecompat.cli.common.progress import live_line, progress_flag

if TYPE_CHECKING:
    from caffecompat.zoo.new_network import NewNetwork
    from caffecompat.zoo.user_data import OnProgress

HELP = "a folder with a network of the zoo for your own data"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("network", nargs="?", metavar="NETWORK", help="one of --list")
    parser.add_argument("dir", nargs="?", type=output(), metavar="DIR", help="folder to write")
    add_switch(parser, "list", "the networks: task, learned parameters, MACs, source")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the text")
    parser.add_argument("--classes", type=COUNT, metavar="N", help="how many; the background of detection is one")
    parser.add_argument("--size", metavar="WxH", help="of the deployed input, as in 512x256 (default: as published)")
    parser.add_argument("--crop", type=NATURAL, metavar="N", help="train on NxN cut out of the pictures; 0: whole ones")
    parser.add_argument("--batch", type=COUNT, metavar="N", help="pictures a batch")
    parser.add_argument("--train", metavar="LIST|LMDB", help="pictures to train on")
    parser.add_argument("--val", metavar="LIST|LMDB", help="pictures to test with")
    parser.add_argument("--root-folder", default="", metavar="DIR", help="where the lists' paths start (here)")
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, one a line, or a label map")
    parser.add_argument("--weights", metavar="FILE", help="start from these, as a torch backbone's .pth")
    add_switch(parser, "swap-colors", "torch's weights take R, G, B: reverse the first inputs", default=True)
    add_switch(parser, "measure-mean", "measure mean and deviation of the channels instead of the published ones")
    add_switch(parser, "force", "write over files of a folder that is not empty")
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    if args.list:
        if args.network:
            raise UsageError("caffecompat new: --list takes no network")
        _list(args.json)
        return 0
    if not args.network or not args.dir:
        raise UsageError("caffecompat new: expected NETWORK and DIR; 'caffecompat new --list' shows the networks")

    from caffecompat.zoo.new_network import new_network

    with _progress(args.progress) as on_progress:
        made = new_network(
            args.network, args.dir, classes=args.classes, size=size_of(args), crop=args.crop, batch=args.batch,
            train=args.train, val=args.val, root_folder=args.root_folder, labels=args.labels, weights=args.weights,
            swap_colors=args.swap_colors, measure_mean=args.measure_mean, force=args.force, on_progress=on_progress,
        )  # fmt: skip
    if args.json:
        _print_json(made)
    else:
        print("\n".join(_text(args.network, made)))
    return 0


def _text(name: str, made: NewNetwork) -> Iterator[str]:
    import os

    recipe = made.recipe
    crops = f", trained on {recipe.crop}x{recipe.crop}" if recipe.crop else ""
    yield f"wrote {made.folder}/: {', '.join(made.files)}"
    yield f"{name}: {recipe.classes} classes, pictures of {recipe.width}x{recipe.height}{crops}"
    yield from (f"  {note}" for note in made.notes)
    yield f"\nThe next commands, to be run in {os.getcwd()}:\n"
    yield from (f"    {command}" for command in made.commands)


def _print_json(made: NewNetwork) -> None:
    import json
    from dataclasses import asdict

    print(json.dumps(asdict(made), indent=1))


def _list(as_json: bool) -> None:
    import json

    from caffecompat.zoo import NETWORKS

    rows: list[dict[str, Any]] = [
        {
            "network": network.name,
            "task": network.task,
            "parameters": network.parameters,
            "macs": network.macs,
            "input": f"{network.recipe.width}x{network.recipe.height}",
            "classes": network.recipe.classes,
            "source": network.source,
        }
        for network in sorted(NETWORKS.values(), key=lambda network: (network.task, network.name))
    ]
    if as_json:
        print(json.dumps({"networks": rows}, indent=1))
        return
    head = ("network", "task", "parameters", "MACs", "at", "source")
    lines = [head] + [
        (
            row["network"],
            row["task"],
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e6:,.3f} M",
            row["input"],
            row["source"],
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.rjust(width) if at in (2, 3) else cell.ljust(width)
                 for at, (cell, width) in enumerate(zip(line, widths, strict=True))]  # fmt: skip
        print("  ".join(cells).rstrip())


@contextmanager
def _progress(when: str) -> Iterator[OnProgress]:
    """The live line of each step; a log line when it begins."""
    with ExitStack() as stack:
        current: dict[str, Any] = {"what": ""}

        def step(what: str, done: int, total: int) -> None:
            if what != current["what"]:
                stack.close()
                glog.info(f"{what}: {total:,} pictures", "new.py:1")
                current.update(what=what, update=stack.enter_context(live_line(total, "pictures", when)))
            current["update"](done, what)

        yield step
