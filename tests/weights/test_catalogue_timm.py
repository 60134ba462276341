"""The catalogue against timm: every row's fields, every network's logits, and every way of reading images."""

import gc
from collections.abc import Iterator

import keras
import numpy as np
import pytest

import keras_resnet
from helpers.live import live
from keras_resnet import pretrained
from keras_resnet.weights.catalogue import Checkpoint

ON_HUB = [row for row in pretrained() if row.source.startswith("hf://")]
SIZE = 64  # pixels, at which all networks are compared
TOLERANCE = 1e-4  # of the largest logit
STANDARD_DEVIATIONS = 0.02
# Ranges of the norms' gammas. With the usual one timm's float32 and float64 differ by 3e-2 in the deepest network.
GAMMAS = {"resnetrs420": (0.45, 0.95)}
USUAL_GAMMAS = (0.5, 1.0)


def repository(row: Checkpoint) -> str:
    return row.source.removeprefix("hf://")


def architecture(row: Checkpoint) -> str:
    """timm's name of the network."""
    return repository(row).removeprefix("timm/").partition(".")[0]


def timms(row: Checkpoint):
    """timm's own record of the checkpoint."""
    return live("timm").models.get_pretrained_cfg(repository(row).removeprefix("timm/"))


@pytest.mark.slow
def test_every_row_says_what_timm_says():
    live("timm")
    assert len(ON_HUB) == 119
    for row in ON_HUB:
        theirs, (reads, share) = timms(row), row.preprocessing
        assert (repository(row), row.licence) == (theirs.hf_hub_id, theirs.license)
        assert (row.classes, (3, row.size, row.size)) == (theirs.num_classes, theirs.input_size)
        assert (share, reads.interpolation) == (theirs.crop_pct, theirs.interpolation)
        np.testing.assert_allclose(reads.mean, 255 * np.array(theirs.mean))
        np.testing.assert_allclose(reads.std, 255 * np.array(theirs.std))
        assert theirs.crop_mode == "center"


def first_of(key) -> list[Checkpoint]:
    """One row for every value of the key."""
    return list({key(row): row for row in reversed(ON_HUB)}.values())[::-1]


def randomized(network, gammas: tuple[float, float]):
    """timm's network with norms that do something."""
    torch = live("torch")
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, *gammas)
            torch.nn.init.normal_(module.bias, 0, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


@pytest.fixture
def compared(online, tmp_path):
    """Publishes timm's network on the fake hub, loads it by its tag, and gives both networks' logits."""
    torch, save = live("torch"), pytest.importorskip("safetensors.torch").save

    def compared(row: Checkpoint):
        network = live("timm").create_model(architecture(row), pretrained=False, num_classes=row.classes)
        network = randomized(network, GAMMAS.get(row.network, USUAL_GAMMAS))
        online.add(repository(row), {"model.safetensors": save(network.state_dict())})
        images = np.random.default_rng(1).normal(size=(2, SIZE, SIZE, 3)).astype("float32")
        with torch.no_grad():
            theirs = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
        del network
        gc.collect()
        settings = {"classifier_activation": None} if row.classes else {"include_top": False, "pooling": "avg"}
        ours = keras_resnet.build(row.network, weights=row.tag, input_shape=(SIZE, SIZE, 3), **settings)
        return ours(images).numpy(), theirs

    yield compared
    keras.backend.clear_session()
    for path in tmp_path.rglob("*.safetensors"):
        path.resolve().unlink()


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of the largest logit."""
    assert theirs.std(1).min() > 0
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.filterwarnings("ignore:The weights of .* not for commercial use")
@pytest.mark.exhaustive
@pytest.mark.parametrize("row", first_of(architecture), ids=architecture)
def test_every_network_loads_timms_file_and_gives_its_logits(compared, row, record_property):
    found = difference(*compared(row))
    record_property("difference", found)
    print(f"{architecture(row)}: {found:.1e} of the largest logit")
    assert found < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["bamboo"])
def test_a_checkpoint_without_a_classifier_gives_timms_features(compared, tag):
    (row,) = [row for row in pretrained("resnet50") if row.tag == tag]
    assert difference(*compared(row)) < TOLERANCE


def photographs() -> Iterator[np.ndarray]:
    """Ten pieces, of several sizes and forms, of scikit-learn's two photographs."""
    both = pytest.importorskip("sklearn.datasets").load_sample_images().images
    boxes = [(0, 0, 427, 640), (0, 0, 427, 300), (27, 200, 400, 431), (100, 100, 301, 512), (3, 40, 300, 340)]
    for photograph in both:
        yield from (photograph[top : top + tall, left : left + wide] for top, left, tall, wide in boxes)


def way(row: Checkpoint):
    return row.size, row.crop, row.interpolation, row.normalization


@pytest.mark.slow
@pytest.mark.parametrize("row", first_of(way), ids=lambda row: "-".join(map(str, way(row))))
def test_every_way_of_reading_images_is_timms(row):
    data, image = live("timm").data, pytest.importorskip("PIL.Image")
    transform = data.create_transform(**data.resolve_data_config(pretrained_cfg=timms(row).to_dict()))
    reads, share = row.preprocessing
    images = keras.Input((row.size, row.size, 3))
    ours = keras_resnet.preprocessing(keras.Model(images, images * 1), reads.for_input((row.size, row.size, 3), share))
    worst = []
    for photograph in photographs():
        theirs = transform(image.fromarray(photograph)).numpy().transpose(1, 2, 0)
        worst.append(np.abs(ours(photograph[np.newaxis])[0].numpy() - theirs))
    print(f"{way(row)}: largest {max(part.max() for part in worst):.3f}, mean {np.mean(worst):.4f}")
    assert max(part.max() for part in worst) < STANDARD_DEVIATIONS
