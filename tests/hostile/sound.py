"""Sound files of a small network in every format that the package reads; written without torch."""

import zipfile
from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import save_file

import keras_resnet
from helpers import caffe_files as caffe
from keras_resnet.training.checkpoint import Checkpoint

ROW = keras_resnet.ResNetConfig(stages=((4,), (8,)), stem_filters=4, shortcut="B")
FORMATS = (".weights.h5", ".keras", ".safetensors", ".pth", ".th", ".caffemodel", ".npz")


def network(seed=0):
    """All of its weights are drawn, variances from 0.5."""
    model = keras_resnet.resnet(ROW, classes=3, input_shape=(8, 8, 3))
    random = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def checkpoint(path, model, writer):
    (path.parent / "log").write_text("epoch\n1\n")
    made = Checkpoint(path, [], path.parent / "log", None, {}, writer)
    made.set_model(model)
    return made


def arrays_of(model):
    return {layer.name: [np.array(weight) for weight in layer.weights] for layer in model.layers if layer.weights}


def state_dict(model):
    """torch's layout under our names."""
    found = {}
    for name, arrays in arrays_of(model).items():
        if len(arrays) == 4:
            found |= dict(
                zip(
                    (f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
                    arrays,
                    strict=True,
                )
            )
        else:
            kernel, *bias = arrays
            found[f"{name}.weight"] = np.ascontiguousarray(
                kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
            )
            found |= {f"{name}.bias": part for part in bias}
    return found


def caffe_layers(model):
    for name, arrays in arrays_of(model).items():
        if len(arrays) == 4:
            gamma, beta, mean, variance = arrays
            yield caffe.batch_norm(name, name, name, mean, variance)
            yield caffe.scale(f"{name}_scale", name, name, gamma, beta)
        elif arrays[0].ndim == 4:
            yield caffe.convolution(name, "in", name, arrays[0], stride=model.get_layer(name).strides[0])
        else:
            yield caffe.inner_product(name, "in", name, *arrays)


# Pickles as torch writes them, opcode by opcode


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def text(value):
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def integer(value):
    length = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)


def listed(*items):
    return b"(" + b"".join(items) + b"t"


def called(function, *arguments):
    return function + listed(*arguments) + b"R"


def mapping(items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def pickled(content):
    return b"\x80\x02" + content + b"."


def storage(key, size, kind="FloatStorage", *more):
    return listed(text("storage"), named("torch", kind), text(key), text("cpu"), integer(size), *more) + b"Q"


def tensor(told, shape, strides, offset=0):
    sizes, steps = (listed(*map(integer, numbers)) for numbers in (shape, strides))
    hooks = called(named("collections", "OrderedDict"))
    return called(named("torch._utils", "_rebuild_tensor_v2"), told, integer(offset), sizes, steps, b"\x89", hooks)


def strides_of(array):
    return [step // array.itemsize for step in array.strides]


def tensors(state, *more):
    """Pickled, each in a storage of its own, which has its number for a key."""
    return {
        name: tensor(storage(str(key), array.size, "FloatStorage", *more), array.shape, strides_of(array))
        for key, (name, array) in enumerate(state.items())
    }


def write_zip(path, members, packed=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def write_pth(path, state, content=None, **more):
    """torch's format since 1.6."""
    members = {f"net/data/{key}": array.tobytes() for key, array in enumerate(state.values())}
    write_zip(path, {"net/data.pkl": pickled(content or mapping(tensors(state))), **members}, **more)


def write_th(path, state, content=None, sizes=None):
    """torch's format before 1.6."""
    magic, protocol = pickled(integer(0x1950A86A20F9469CFC6C)), pickled(integer(1001))
    facts = pickled(b"}(" + text("little_endian") + b"\x88u")
    keys = pickled(b"](" + b"".join(text(str(key)) for key in range(len(state))) + b"e")
    sizes = sizes or [array.size for array in state.values()]
    storages = [size.to_bytes(8, "little") + array.tobytes() for size, array in zip(sizes, state.values(), strict=True)]
    content = pickled(content or mapping(tensors(state, b"N")))
    path.write_bytes(b"".join([magic, protocol, facts, content, keys, *storages]))


def named_for(suffix, folder):
    """A path under which the package reads the format: a checkpoint has one name."""
    return folder / ("checkpoint.npz" if suffix == ".npz" else f"net{suffix}")


def write_all(folder):
    """The model, and its file in every format."""
    model, state = network(), None
    state = state_dict(model)
    files = {suffix: named_for(suffix, Path(folder)) for suffix in FORMATS}
    model.save_weights(files[".weights.h5"])
    save_file(state, files[".safetensors"])
    write_pth(files[".pth"], state)
    write_th(files[".th"], state)
    caffe.write(files[".caffemodel"], list(caffe_layers(model)))
    first_epoch = checkpoint(files[".npz"], model, writer=True)
    first_epoch.epochs = 1
    first_epoch.write()
    model.save(files[".keras"])
    return model, files
