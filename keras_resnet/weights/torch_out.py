"""The way out: our networks' weights under torchvision's and timm's names."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from keras_resnet.checks import expect
from keras_resnet.files import completed
from keras_resnet.weights.layers import Affine, Layer, Norm
from keras_resnet.weights.load import refuse_contradictions
from keras_resnet.weights.pretrained import PretrainedWeights
from keras_resnet.weights.readers import read_keras_model, torch_layers
from keras_resnet.weights.schemes import SCHEMES, Scheme
from keras_resnet.weights.wiring import traits

SUFFIX = ".safetensors"
DENSE = ("fc", "classifier")  # torch's other dense layers are 1x1 convolutions
WRITTEN = [scheme for scheme in SCHEMES if "timm" in scheme.title]


def to_torch(model: keras.Model, path: str | Path) -> Path:
    """Writes a network's weights under the names of torchvision and timm, without torch.

    There, `network.load_state_dict(safetensors.torch.load_file(path), strict=True)` loads them into the network of the
    same kind, which then gives the same logits.

    Args:
        model: A network of this package, also a loaded one.
        path: A `.safetensors` file that does not exist yet.

    Returns:
        The path.

    Raises:
        ValueError: If neither torchvision nor timm has such a network, if the model computes otherwise than theirs
            (`stride_in="1x1"`, Caffe's stem, the shortcuts A and C), or if the path exists.

    >>> import keras_resnet
    >>> keras_resnet.to_torch(keras_resnet.ResNet18(), "resnet18.safetensors")  # doctest: +SKIP
    """
    path = Path(path)
    expect(
        path.suffix == SUFFIX and path.parent.is_dir(), "path", f"a path in a folder, that ends in {SUFFIX}", str(path)
    )
    tensors = dict(state(model, scheme_for(model)))
    expect_same_network(model, tensors)
    from safetensors.numpy import save_file

    with completed(path) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})
    return path


def scheme_for(model: keras.Model) -> Scheme:
    """The first that has a name for every layer with weights."""
    weighted = [layer.name for layer in model.layers if layer.weights]
    fitting = [scheme for scheme in WRITTEN if all(map(scheme.candidates, weighted))]
    expect(weighted and fitting, "model", "a ResNet, ResNeXt, SE-ResNet, ResNetV2 or DenseNet, as timm has", model.name)
    return fitting[0]


def state(model: keras.Model, scheme: Scheme) -> Iterator[tuple[str, np.ndarray]]:
    pooled = traits(model).get("shortcut") == "D"  # torch's first layer of a shortcut is then the pool
    for name, layer in read_keras_model(model).layers.items():
        candidates = scheme.candidates(name)
        torchs = candidates[pooled if "skip" in name and len(candidates) > 1 else 0]
        for parameter, array in parameters(torchs, layer, scheme):
            yield f"{torchs}.{parameter}", np.ascontiguousarray(array)


def parameters(torchs: str, layer: Layer, scheme: Scheme) -> Iterator[tuple[str, np.ndarray]]:
    """HWIO becomes OIHW, and another epsilon goes into gamma."""
    if isinstance(layer, Affine):
        kernel = np.transpose(layer.kernel, (3, 2, 0, 1)).astype("float32")
        yield "weight", kernel[:, :, 0, 0] if torchs in DENSE else kernel
        if layer.bias is not None:
            yield "bias", layer.bias.astype("float32")
    elif isinstance(layer, Norm):
        variance, theirs = layer.variance.astype("float64"), scheme.epsilon or 0
        scale = np.sqrt((variance + theirs) / (variance + (layer.epsilon or theirs)))
        yield "weight", (layer.gamma * scale).astype("float32")
        yield from (("bias", layer.beta), ("running_mean", layer.mean), ("running_var", layer.variance))
        yield "num_batches_tracked", np.array(0, "int64")


def expect_same_network(model: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Raises an error if torch's network of these names computes otherwise: what they imply must be the model's."""
    shortcut = traits(model).get("shortcut", "B")
    expect(shortcut in ("B", "D"), "model", "a network with shortcut 'B' or 'D', as timm's", f"shortcut={shortcut!r}")
    refuse_contradictions(model, PretrainedWeights("torch", torch_layers(tensors).layers))
