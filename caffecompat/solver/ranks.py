"""The processes that train one net together: torch.distributed's group, and what they tell each other."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from caffecompat import glog
from caffecompat.errors import CaffeCompatError
from caffecompat.solver.gathering import name_of_group
from caffecompat.solver.heartbeat import Heartbeat
from caffecompat.solver.place import Place
from caffecompat.threads import share_cores

__all__ = ["ALONE", "PeerError", "Ranks", "joined"]

_GATHERING = timedelta(minutes=5)  # until all processes of a group have come
_FIRST = 0.5  # seconds
_ENDED = " has ended: "
_FOREVER = timedelta(days=30)  # the heartbeat notices which process is gone, sooner than a time-out of torch's could


class PeerError(CaffeCompatError):
    """Another process of the group has failed, so that this one cannot go on; nothing it has is worth a snapshot."""

    status = 1


class Ranks:
    """A group of processes, or this process alone; each method is called by all of them in the same order.

    Attributes:
        rank, size: this one's number, from 0, and how many there are.
        statistics: the group in which batch statistics are exchanged.
    """

    rank, size = 0, 1
    statistics: dist.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that logs and writes snapshots."""
        return self.rank == 0

    @property
    def failed(self) -> bool:
        """Whether another process is known to have failed."""
        return False

    def same(self, value: Any) -> Any:
        """The first one's value."""
        return value

    def all(self, value: Any) -> list[Any]:
        """The values of all, by rank."""
        return [value]

    def most(self, number: int) -> int:
        """The greatest of all numbers."""
        return number

    def mean(self, number: Tensor) -> Tensor:
        """The mean of all numbers; new memory where there are several."""
        if self.size == 1:
            return number
        total = number.clone()
        self.finish(self.begin_sum(total))
        return total / self.size

    def begin_sum(self, tensor: Tensor) -> dist.Work | None:
        """Begin to put the sum of all in the tensor's place; `finish` waits for it."""
        return None

    def finish(self, work: dist.Work | None) -> None:
        """Wait for a sum."""

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Put the first one's values into the tensors of all."""

    def end(self, error: BaseException | None = None) -> bool:
        """Leave the group: in order, when all have come to their end, or with the others informed of an error.

        Returns:
            Whether another process has ended by the same error before, as all do where a file is wrong.
        """
        return False

    def explained(self, error: BaseException) -> BaseException:
        """What to raise for an error: `PeerError` where it only shows that another process has failed."""
        return error


ALONE = Ranks()


class _Group(Ranks):
    """Several processes."""

    def __init__(self, place: Place, device: torch.device) -> None:
        self.rank, self.size = place.rank, place.size
        # Objects and numbers of the host go by gloo also where gradients go by NCCL.
        backend = "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl"
        try:
            store = _store(place)
            dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.size, timeout=_FOREVER)
        except (RuntimeError, ValueError, TimeoutError) as problem:  # torch's DistError is the first
            raise CaffeCompatError(
                f"process {self.rank} of {self.size} cannot join the others at {place.host}:{place.port}: "
                f"{str(problem).splitlines()[0]}; all of them must be started at about the same time"
            ) from None
        self.statistics = dist.new_group(timeout=_FOREVER)
        self._heart = Heartbeat(store, self.rank, self.size)
        self._heart.start()

    @property
    def failed(self) -> bool:
        return bool(self._heart.failure)

    def same(self, value: Any) -> Any:
        found = [value]
        with self._explaining():
            dist.broadcast_object_list(found, 0, device=torch.device("cpu"))
        return found[0]

    def all(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.size
        with self._explaining():
            dist.all_gather_object(found, value)
        return found

    def most(self, number: int) -> int:
        tensor = torch.tensor(number)
        with self._explaining():
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def begin_sum(self, tensor: Tensor) -> dist.Work | None:
        with self._explaining():
            work: dist.Work | None = dist.all_reduce(tensor, async_op=True)
        return work

    def finish(self, work: dist.Work | None) -> None:
        with self._explaining():
            if work is not None:
                work.wait()

    @torch.no_grad()
    def spread(self, tensors: Sequence[Tensor]) -> None:
        with self._explaining():
            for tensor in tensors:
                whole = tensor.contiguous()
                dist.broadcast(whole, 0)
                if whole is not tensor:
                    tensor.copy_(whole)

    def end(self, error: BaseException | None = None) -> bool:
        if error is None:
            with self._explaining():
                dist.barrier()
            self._heart.stop()
            dist.destroy_process_group()
        elif isinstance(error, PeerError):
            self._heart.stop()
        else:
            if self.rank:
                time.sleep(_FIRST)  # the first one, whose log is read, says what all come to
            own = f"process {self.rank} of {self.size}{_ENDED}{_said(error)}"
            earliest = self._heart.stop(own)
            return earliest != own and earliest.partition(_ENDED)[2] == _said(error)
        return False

    def explained(self, error: BaseException) -> BaseException:
        # A connection that breaks is a RuntimeError, as much else is: only a failed process makes it one of its own.
        if not isinstance(error, RuntimeError) or isinstance(error, CaffeCompatError):
            return error
        failure = self._heart.wait_for_failure()
        return PeerError(failure) if failure else error

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as problem:
            failure = self._heart.wait_for_failure() or (
                f"the connection to another process is lost: {str(problem).splitlines()[0]}"
            )
            raise PeerError(failure) from None


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, CaffeCompatError) else f"{type(error).__name__}: {error}".rstrip(": ")


def _store(place: Place) -> Any:
    """The store of the group; under torchrun its agent's, which survives a restart of the processes."""
    from_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(  # type: ignore[attr-defined]
        place.host, place.port, place.size, is_master=place.rank == 0 and not from_agent, timeout=_GATHERING
    )
    name = name_of_group(store, place.rank, place.size, _GATHERING.total_seconds())
    return dist.PrefixStore(name, store)  # type: ignore[attr-defined]


@contextlib.contextmanager
def joined(place: Place | None, device: torch.device) -> Iterator[Ranks]:
    """The group of that place while it lasts; without one this process alone.

    Raises:
        CaffeCompatError: the others do not come.
        PeerError: another process has failed.
    """
    if place is None or place.size == 1:
        yield ALONE
        return
    glog.info(f"Process {place.rank} of {place.size}: waiting for the others at {place.host}:{place.port}")
    ranks = _Group(place, device)
    share_cores(place.local_size)
    try:
        yield ranks
        ranks.end()
    except BaseException as error:
        if ranks.end(error) and place.local:  # the first one of each machine says it
            raise SystemExit(getattr(error, "status", 1)) from None
        raise
    finally:
        share_cores(1)
