"""Whole networks with their real weights (or seeded ones) against what the original Caffe computed."""

from pathlib import Path

import numpy as np
import pytest

import caffecompat.pycaffe as caffe

NETS = [
    "alexnet caffenet cifar10_full cifar10_quick_h5weights cifar10_quick_v1weights cifar10_quick_v2weights",
    "enet_encoder_realweights enet_realweights espnet_encoder_realweights espnet_realweights fpn_seeded googlenet",
    "lenet_v1weights lenet_v2weights mtcnn_det1 mtcnn_det2 mtcnn_det3 slim320 squeezenet_v1_0 squeezenet_v1_1",
    "unet_full_seeded unet_lite_seeded wechat_sr",
]


def seeded(kind: str, count: int, index: int, shape: tuple[int, ...], rng: np.random.RandomState) -> np.ndarray:
    """The values that the record drew for a parameter blob."""
    if kind == "BatchNorm" and count in (3, 5):
        # Every one of them is drawn, also those not used, because the record's generator moved on.
        if count == 5:
            drawn = [
                rng.standard_normal(shape),
                rng.standard_normal(shape),
                rng.standard_normal(shape),
                rng.rand(*shape),
            ]
            return (1 + 0.1 * drawn[0], 0.1 * drawn[1], 0.1 * drawn[2], 1 + drawn[3], np.zeros(shape))[index]
        drawn = [rng.standard_normal(shape), rng.rand(*shape)]
        return (0.1 * drawn[0], 1 + drawn[1], np.ones(shape))[index]
    scale = np.sqrt(2.0 * shape[0] / np.prod(shape)) if len(shape) > 1 else 0.1
    return rng.standard_normal(shape) * scale


@pytest.mark.parametrize("name", " ".join(NETS).split())
def test_net(shared: Path, name: str) -> None:
    path, real = shared / "golden" / "nets" / f"{name}.npz", shared / "real"
    if not path.exists():
        pytest.skip("no recorded nets")
    record = np.load(path)
    net = caffe.Net(real / str(record["prototxt"]), caffe.TEST)
    weights = str(record["weights"])
    if weights != "-":
        net.copy_from(real / weights)
    else:
        rng = np.random.RandomState(int(record["seed"]))
        kinds = dict(zip(net._layer_names, (layer.type for layer in net.layers), strict=True))
        for layer, blobs in net.params.items():
            for index, blob in enumerate(blobs):
                blob.data[...] = seeded(kinds[layer], len(blobs), index, blob.shape, rng)
    for key in record.files:
        if key.startswith("input/"):
            net.blobs[key[6:]].reshape(*record[key].shape)
            net.blobs[key[6:]].data[...] = record[key]
    net.reshape()
    net.forward()
    blobs = [key[6:] for key in record.files if key.startswith("shape/")]
    assert blobs
    for blob in blobs:
        got = net.blobs[blob].data
        assert got.shape == tuple(record[f"shape/{blob}"]), blob
        mean, std, low, high, norm = record[f"stat/{blob}"]
        tolerance = 2e-3 * max(abs(low), abs(high)) + 1e-5
        assert got.mean() == pytest.approx(mean, abs=tolerance), blob
        assert got.std() == pytest.approx(std, abs=tolerance), blob
        assert np.linalg.norm(got.ravel().astype(np.float64)) == pytest.approx(norm, rel=2e-3, abs=1e-4), blob
        np.testing.assert_allclose(got.ravel()[:200], record[f"head/{blob}"], rtol=0, atol=tolerance, err_msg=blob)
