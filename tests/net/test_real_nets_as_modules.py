"""Copies, pickles, state_dicts and hooks of real nets, on tensors without memory."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch

from caffecompat.net import Net
from caffecompat.schema import open_net
from tests.net.test_real_prototxts_build import NO_NETS, REAL, Shapes, _nets, _states, pyloss

__all__ = ["pyloss"]  # a fixture that every test here uses

SAMPLE = 9  # one net of so many is looked at; 1 is all of them, which takes minutes


@pytest.mark.skipif(not REAL.is_dir(), reason="real prototxts (../shared) are not here")
@pytest.mark.parametrize("path", _nets()[::SAMPLE], ids=lambda path: str(path.relative_to(REAL)))
def test_real_nets(path: Path) -> None:
    if str(path.relative_to(REAL)) in NO_NETS:
        pytest.skip("it makes no net, in Caffe either")
    for phase, stages in _states(path):
        with torch.device("meta"):
            net = Net(open_net(path), phase, stages=stages, sources=Shapes(), log=False)
            _check_copies(net)
            _check_hooks(net)


def _check_copies(net: Net) -> None:
    own = set(net.parameters())
    assert len(own) == len(net.params)
    for made in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert made.code == net.code
        assert list(made.state_dict()) == list(net.state_dict())
        assert {param.blob for param in made.params} == set(made.parameters())
        assert len(made.params) == len(net.params) and not own & set(made.parameters())
        made.load_state_dict(net.state_dict())


def _check_hooks(net: Net) -> None:
    called: list[str] = []
    backward: set[str] = set()
    names = {layer.module: layer.name for layer in net.layers if layer.module is not None}
    for module, name in names.items():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        module.register_full_backward_hook(lambda *_, name=name: backward.add(name))
    tops = net({blob: torch.zeros(shape) for blob, shape in net.fed_shapes.items()})
    assert called == list(names.values())
    loss = net.loss(tops)
    if loss.requires_grad:
        loss.backward()
        learning = {param.layer for param in net.params if param.lr_mult}
        reached = {step.name for step in net.steps if step.needs_backward}
        assert learning & reached <= backward
