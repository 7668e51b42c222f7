"""Compute blobs of a trained net over its data and store them in databases, as Caffe's extract_features does.

    caffecompat extract_features net.caffemodel net_with_data.prototxt fc7,prob feats/fc7,feats/prob 10 lmdb GPU 0

Each record is a Datum of floats whose key counts from 0000000000. The prototxt's TEST phase brings the data.
"""

from __future__ import annotations

import argparse

from caffecompat import glog
from caffecompat.cli.common.flags import COUNT, UsageError, split_commas, weight_files
from caffecompat.cli.common.loaded_weights import check_loaded, missing_flag
from caffecompat.cli.common.net_flags import net_flags, open_model
from caffecompat.cli.common.outputs import make_folder_above
from caffecompat.cli.common.progress import live_line, progress_flag

HELP = "store blobs of a net, computed over its data, in databases"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", metavar="pretrained_net_param", help="caffemodel")
    parser.add_argument("model", metavar="feature_extraction_proto_file", help="prototxt with a data layer")
    parser.add_argument("blobs", metavar="extract_feature_blob_name1[,name2,...]", help="blobs to store")
    parser.add_argument("datasets", metavar="save_feature_dataset_name1[,name2,...]", help="one a blob; must not exist")
    parser.add_argument("batches", metavar="num_mini_batches", type=COUNT, help="batches to compute")
    parser.add_argument("backend", metavar="db_type", help="lmdb or leveldb")
    parser.add_argument("mode", nargs="?", default="CPU", metavar="CPU/GPU", help="where to compute (CPU)")
    parser.add_argument("device_id", nargs="?", metavar="DEVICE_ID", help="number of the GPU (0)")
    net_flags(parser)
    missing_flag(parser)
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    blobs, datasets = split_commas(args.blobs), split_commas(args.datasets)
    if len(blobs) != len(datasets):
        raise UsageError(
            f"caffecompat extract_features: the numbers of blob names and dataset names must be equal: "
            f"{len(blobs)} ({args.blobs}) and {len(datasets)} ({args.datasets})"
        )
    if args.mode.upper() not in ("CPU", "GPU"):
        raise UsageError(f"caffecompat extract_features: {args.mode}: expected CPU or GPU")

    from caffecompat.cli.common.devices import choose_device
    from caffecompat.data import make_source
    from caffecompat.evaluate.features import write_features
    from caffecompat.net import Net
    from caffecompat.schema import pb

    gpu = (args.device_id or "0") if args.mode.upper() == "GPU" else None
    if gpu:
        glog.error("Using GPU", "extract_features.cpp:56")
        glog.error(f"Using Device_id={gpu}", "extract_features.cpp:62")
    else:
        glog.error("Using CPU", "extract_features.cpp:66")
    device, _ = choose_device(gpu, None)
    net = Net(open_model(args, args.model), pb.TEST, sources=make_source, weights=weight_files(args.weights))
    check_loaded(net.loaded, args.weights, args)
    net.to(device)

    for dataset in datasets:
        make_folder_above(dataset)

    def on_records(blob: str, count: int) -> None:
        glog.error(f"Extracted features of {count} query images for feature blob {blob}", "extract_features.cpp:173")

    glog.error("Extracting Features", "extract_features.cpp:138")
    with live_line(args.batches, "batches", args.progress) as update:
        write_features(
            net, dict(zip(blobs, datasets, strict=True)), args.batches, args.backend,
            on_open=lambda path: glog.info(f"Opening dataset {path}", "extract_features.cpp:130"),
            on_records=on_records, on_batch=lambda done: update(done, ""),
        )  # fmt: skip
    net.close()
    glog.error("Successfully extracted the features!", "extract_features.cpp:188")
    return 0
