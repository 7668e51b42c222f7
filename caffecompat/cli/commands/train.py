"""Train or fine-tune a net from its solver.prototxt, as `caffe train` does.

caffecompat train --solver solver.prototxt --weights pretrained.caffemodel
caffecompat train --solver solver.prototxt --snapshot net_iter_5000.solverstate
caffecompat train --solver solver.prototxt --set base_lr=0.001 --set data.image_data_param.source=train.txt
"""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from caffecompat import glog
from caffecompat.cli.common.flags import (
    INT32,
    UsageError,
    add_switch,
    device_flags,
    finite,
    loader_threads_flag,
    split_commas,
    weight_files,
)
from caffecompat.cli.common.monitoring import monitored, monitoring_flags
from caffecompat.cli.common.net_flags import amp_flag
from caffecompat.cli.common.outputs import output
from caffecompat.cli.common.progress import live_line, no_line, progress_flag
from caffecompat.forks import named_fork
from caffecompat.printable import printable

if TYPE_CHECKING:
    import torch

    from caffecompat.schema import pb
    from caffecompat.solver import Solver
    from caffecompat.solver.ranks import Ranks
    from caffecompat.solver.signals import SignalActions

MOST_PROCESSES = 512  # more is a slip of the finger
BETWEEN_LINES = 0.25  # seconds, as often as the line is drawn
ERROR = 2  # glog's number for errors: what processes but the first one log

HELP = "train or fine-tune a net from its solver.prototxt"


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--solver", metavar="FILE", help="the solver definition (required)")
    parser.add_argument("--weights", metavar="A,B", help="weights to start from, copied by layer name, in order")
    parser.add_argument("--snapshot", metavar="FILE", help="solverstate to resume from (ours or original Caffe's)")
    parser.add_argument(
        "--resume", metavar="auto", help="'auto': resume from the newest whole snapshot of the prefix, if any"
    )
    add_switch(
        parser,
        "resume-like-caffe",
        "resume with data from the beginning and fresh random numbers, whatever the .resume file says",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings",
                        help="change a solver field, or LAYER.FIELD of the net; '*_bn.FIELD' is of all layers that "
                        "match, '@BatchNorm.FIELD' of those of a type; repeatable")  # fmt: skip
    parser.add_argument("--lr-mult", action="append", default=[], metavar="PATTERN=X",
                        help="the lr_mult of all weights of the layers that match, in the place of the file's: "
                        "'fc*=10', '@Convolution=0'; repeatable")  # fmt: skip
    add_switch(
        parser, "freeze-bn", "BatchNorm (and PSPNet's BN) normalizes by its stored statistics, in TRAIN too, and they "
        "stay as they are; its scale and bias, and those of a Scale layer right after it, do not learn",
    )  # fmt: skip
    amp_flag(parser)
    add_switch(
        parser, "compile", "compute by what torch.compile makes of the nets; the first iterations take longer, and "
        "random numbers are others",
    )  # fmt: skip
    add_switch(parser, "cuda-graphs", "with --compile on a GPU: replay the kernels of a pass as one; for fixed shapes")
    add_switch(
        parser, "checkpoint-activations", "hold fewer blobs for the backward pass and compute the others again there: "
        "larger batches fit, the numbers are the same, and an iteration takes about a third longer",
    )  # fmt: skip
    add_switch(parser, "tf32", "let a GPU multiply float32 with the 10 bits of TF32")
    parser.add_argument("--epochs", type=_above_0, metavar="P",
                        help="go P times through the training data; instead of max_iter")  # fmt: skip
    parser.add_argument("--level", type=INT32, metavar="N", help="NetState level")
    parser.add_argument("--stage", metavar="A,B", help="NetState stages")
    parser.add_argument("--sigint-effect", metavar="ACTION", default="stop", help="on Ctrl-C: stop, snapshot or none")
    parser.add_argument(
        "--sighup-effect", metavar="ACTION", default="snapshot", help="on SIGHUP: snapshot, stop or none"
    )
    parser.add_argument("--sigterm-effect", metavar="ACTION", default="stop", help="on SIGTERM: stop, snapshot or none")
    add_switch(parser, "dry-run", "build the nets, print what would be trained, and stop")
    add_switch(
        parser, "skip-mismatched", "leave layers whose shapes differ from the weight file at their initial values"
    )
    add_switch(parser, "strict", "unknown fields in the prototxts are errors")
    device_flags(parser)
    loader_threads_flag(parser)
    monitoring_flags(parser)
    parser.add_argument("--processes", type=_at_least_1, metavar="N",
                        help="train in N processes on the CPU, each with its part of the data; an iteration takes N "
                        "times as many batches. --gpu with several numbers starts a process a GPU by itself, torchrun "
                        "and srun start their own")  # fmt: skip
    add_switch(
        parser, "sync-bn", "with several processes: BatchNorm (and BN) takes the statistics of all their batches; "
        "Caffe's are each process's own",
    )  # fmt: skip
    parser.add_argument("--report", metavar="DIR", help="keep DIR/report.html up to date, a page with curves and "
                        "scores to look at while it trains, and the log in DIR/train.log")  # fmt: skip
    parser.add_argument("--log-records", type=output(), metavar="FILE",
                        help="for debugging: write which record of which layer each iteration reads, a line each; "
                        "several processes write FILE.0, FILE.1, ...")  # fmt: skip
    parser.add_argument("--console", choices=("caffe", "terse"), default="caffe",
                        help="what stderr gets: Caffe's log (default), or a short line a display, test and snapshot, "
                        "while the log is added to PREFIX.log beside the snapshots")  # fmt: skip
    progress_flag(parser)


def run(args: argparse.Namespace) -> int:
    if not args.solver:
        raise UsageError("caffecompat train: needs a solver definition: --solver solver.prototxt")
    if args.snapshot and (args.weights or args.resume):
        other = "--weights" if args.weights else "--resume"
        raise UsageError(f"caffecompat train: give --snapshot to resume or {other}, not both")
    if args.resume_like_caffe and not (args.snapshot or args.resume):
        raise UsageError("caffecompat train: --resume-like-caffe needs --snapshot FILE or --resume auto")
    if args.epochs is not None and any(setting.startswith("max_iter=") for setting in args.settings):
        raise UsageError("caffecompat train: give --epochs or --set max_iter, not both")
    if args.processes and args.gpu:
        raise UsageError("caffecompat train: --gpu starts a process a GPU by itself; leave out --processes")
    if args.processes and (args.device or "cpu").lower() != "cpu":
        raise UsageError(
            f"caffecompat train: --processes computes on the CPU; leave out --device {args.device}, or take "
            "--gpu 0,1, which starts a process a GPU"
        )
    if args.cuda_graphs and not args.compile:
        raise UsageError("caffecompat train: --cuda-graphs needs --compile")
    if args.tensorboard_histograms and not args.tensorboard:
        raise UsageError("caffecompat train: --tensorboard-histograms needs --tensorboard DIR")
    if args.compile and args.checkpoint_activations:
        raise UsageError("caffecompat train: give --compile or --checkpoint-activations, not both")
    if args.resume not in (None, "auto"):
        raise UsageError(f"caffecompat train: --resume takes 'auto'; name a solverstate with --snapshot {args.resume}")

    from caffecompat.cli.common.devices import cards_of, choose_device, own_card
    from caffecompat.cli.common.processes import end_with_starter, run_together
    from caffecompat.schema import read_solver
    from caffecompat.solver.place import place_of
    from caffecompat.solver.ranks import joined
    from caffecompat.solver.signals import SignalActions

    place = place_of(os.environ)
    count = args.processes or len(cards_of(args.gpu, args.device)) or 1
    if place is None and count > 1 and not args.dry_run:
        read_solver(args.solver, strict=args.strict)  # what is wrong with it is said once
        return run_together(args.command_line, count)
    if place is not None:
        end_with_starter(os.environ)
        if args.processes not in (None, place.size):
            raise UsageError(f"caffecompat train: --processes {args.processes}, in a group of {place.size} processes")
        if place.rank:
            glog.set_min_level(ERROR)
            args.progress = "never"
    signals = SignalActions(args.sigint_effect, args.sighup_effect, args.sigterm_effect)
    param = read_solver(args.solver, strict=args.strict)
    _merge_state(param, args)
    if place is not None:
        args.gpu = own_card(args.gpu, args.device, param, place.local)
    device, devices = choose_device(args.gpu, "cpu" if args.processes else args.device, param, tf32=args.tf32)
    if device.type == "cpu" and (args.tf32 or args.cuda_graphs):
        glog.warning(f"--{'tf32' if args.tf32 else 'cuda-graphs'} has no effect on the CPU")
    with joined(None if args.dry_run else place, device) as ranks, _report(args, ranks), _console(args, param, ranks):
        cards = max(devices, args.processes or 1) if ranks.size == 1 else 1
        return _train(args, param, device, cards, signals, ranks)


def _report(args: argparse.Namespace, ranks: Ranks) -> AbstractContextManager[None]:
    """The page that follows the training, of the first process; and lines that say what runs."""
    if not args.report or args.dry_run or not ranks.is_first:
        return nullcontext()
    from caffecompat.report.live_report import live_report

    return live_report(args.report, resume=bool(args.resume or args.snapshot))


def _console(args: argparse.Namespace, param: pb.SolverParameter, ranks: Ranks) -> AbstractContextManager[None]:
    """Short lines of the first process instead of Caffe's log, where they are asked for."""
    if args.console != "terse" or args.dry_run or not ranks.is_first:
        return nullcontext()
    from caffecompat.cli.common.terse_console import terse_console

    prefix = _final_prefix(param, args) or os.path.splitext(args.solver)[0]
    return terse_console(f"{prefix}.log")


def _train(
    args: argparse.Namespace, param: pb.SolverParameter, device: torch.device, cards: int, signals: SignalActions,
    ranks: Ranks,
) -> int:  # fmt: skip
    """Make the solver and train, in each of the processes.

    Args:
        cards: whose batches this one process computes.
    """
    from caffecompat.cli.common.versions import versions
    from caffecompat.solver import Solver
    from caffecompat.solver.execution import Execution
    from caffecompat.solver.snapshot_files import stored_fork

    words = shlex.join(args.command_line).encode("utf-8", "backslashreplace").decode()  # file names can be any bytes
    glog.info(printable(f"Command: caffecompat {words}"))
    glog.info(f"Versions: {versions()}")
    resume = args.snapshot or (ranks.same(_newest(param, args) if ranks.is_first else None) if args.resume else None)
    fork = stored_fork(resume) if resume and named_fork() is None else None
    solver = Solver(
        param, path=args.solver, overrides=args.settings, device=device, strict=args.strict, fork=fork,
        weights=[] if resume else weight_files(args.weights), skip_mismatched=args.skip_mismatched,
        # BVLC's effective batch on n GPUs is n batches averaged, which is what n times iter_size computes.
        epochs=args.epochs, cards=cards, lr_mults=args.lr_mult, freeze_bn=args.freeze_bn,
        amp=args.amp, ranks=ranks, sync_bn=args.sync_bn,
        execution=Execution(args.compile, args.cuda_graphs, args.checkpoint_activations),
    )  # fmt: skip
    solver.signals = signals
    if args.dry_run:
        from caffecompat.cli.common.dry_run import print_plan

        print_plan(solver, resume)
        return 0
    if resume:
        glog.info(f"Resuming from {resume}", "caffe.cpp:235")
        if args.weights:
            glog.info(f"--weights {args.weights}: not used, as the run goes on from a snapshot", "caffe.cpp:235")
        solver.restore(resume, like_caffe=args.resume_like_caffe)
    glog.info("Starting Optimization", "caffe.cpp:245")
    if args.log_records:
        _log_records(args.log_records, solver)
    with _shown_live(solver, args.progress), monitored(solver, args):
        solver.train()
    glog.info("Optimization Done.", "caffe.cpp:250")
    return 0


@contextmanager
def _shown_live(solver: Solver, progress: str) -> Iterator[None]:
    """Meanwhile a line has the iteration, the epoch, the loss and the speed."""
    epochs, last = solver.epochs, solver.param.max_iter
    whole = f"/{epochs.after(last):.4g}" if epochs else ""
    shown = 0.0
    with live_line(last, "iter", progress, start=solver.iter) as update:

        def show(s: Solver) -> None:
            nonlocal shown
            if update is no_line or (time.monotonic() - shown < BETWEEN_LINES and s.iter < s.param.max_iter):
                return  # a loss that is on a GPU yet would be waited for
            shown = time.monotonic()
            epoch = f"epoch {epochs.after(s.iter):.2f}{whole}, " if epochs else ""
            speed = s.display.speed.describe(s.iter, short=True)
            update(s.iter, ", ".join([f"{epoch}loss {s.smoothed_loss:.4g}", *([speed] if speed else [])]))

        solver.observers.append(show)
        yield


def _log_records(path: str, solver: Solver) -> None:
    from caffecompat.solver.record_log import RecordLog

    ranks = solver.ranks
    records = RecordLog(path if ranks.size == 1 else f"{path}.{ranks.rank}", solver.net)
    records.iteration = solver.iter

    def count(_: Solver) -> None:
        records.iteration = solver.iter

    solver.observers.append(count)


def _at_least_1(text: str) -> int:
    """A whole number from 1 on, of a flag."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_PROCESSES:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MOST_PROCESSES}, it is {text}")
    return int(text)


def _above_0(text: str) -> float:
    """A number above 0, of a flag."""
    number = finite(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"must be a number above 0, it is {text}")
    return number


def _merge_state(param: pb.SolverParameter, args: argparse.Namespace) -> None:
    if args.level is not None:
        param.train_state.level = args.level
    if args.stage:
        param.train_state.stage.extend(split_commas(args.stage))


def _newest(param: pb.SolverParameter, args: argparse.Namespace) -> str | None:
    """The newest whole snapshot under the prefix that the solver will have."""
    from caffecompat.solver.snapshot_files import newest_snapshot

    prefix = _final_prefix(param, args)
    found = newest_snapshot(prefix)
    if not found:
        glog.info(f"--resume auto: no {prefix}_iter_*.solverstate yet; starting from the beginning")
    return found


def _final_prefix(param: pb.SolverParameter, args: argparse.Namespace) -> str:
    """The snapshot_prefix that the solver will have: the file's, or that of --set."""
    from caffecompat.solver.overrides import apply_to_solver, split_overrides

    changed = type(param)()
    changed.CopyFrom(param)
    apply_to_solver(changed, split_overrides(args.settings, changed)[0], args.solver)
    return changed.snapshot_prefix
