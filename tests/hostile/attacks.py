"""Files that lie: each is written over a sound one, and says in its name what it tries."""

import bz2
import json
import pickle
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np

from helpers import caffe_files as caffe
from hostile.sound import (
    caffe_layers,
    called,
    integer,
    listed,
    mapping,
    named,
    network,
    state_dict,
    storage,
    tensor,
    tensors,
    text,
    write_pth,
    write_th,
    write_zip,
)

HUGE = 2**30
ATTACKS = {}  # name -> (suffix, function)
SECRET = "secret.bin"  # beside every file: what must not be read


def attack(*suffixes):
    def add(function):
        for suffix in suffixes:
            ATTACKS[f"{function.__name__}{suffix}"] = suffix, function
        return function

    return add


# HDF5, alone and in an archive


def in_hdf5(function):
    """Applies the change to the weights of either file, with the path of a kernel."""

    def changed(path, **more):
        if path.suffix == ".keras":
            members = members_of(path)
            inner = path.with_suffix(".inner.h5")
            inner.write_bytes(members["model.weights.h5"])
            change(inner)
            write_zip(path, {**members, "model.weights.h5": inner.read_bytes()})
            inner.unlink()
        else:
            change(path)

    def change(path):
        with h5py.File(path, "a") as file:
            function(file, kernel_in(file), path)

    changed.__name__ = function.__name__
    return attack(".weights.h5", ".keras")(changed)


def kernel_in(file):
    """A group of variables and the shape of its kernel."""
    found = []
    file.visititems(lambda name, item: found.append(name) if getattr(item, "ndim", 0) == 4 else None)
    return sorted(name for name in found if name.startswith("layers"))[0]


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@in_hdf5
def external_storage(file, name, path):
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "float32", external=[(str(path.parent / SECRET), 0, h5py.h5f.UNLIMITED)])


@in_hdf5
def external_storage_that_nobody_asked_for(file, name, path):
    file.create_dataset("more", (4,), "float32", external=[(str(path.parent / SECRET), 0, h5py.h5f.UNLIMITED)])


@in_hdf5
def external_link(file, name, path):
    del file[name]
    file[name] = h5py.ExternalLink(str(path.parent / "secret.h5"), "/secret")


@in_hdf5
def external_group(file, name, path):
    group = name.rpartition("/")[0]
    del file[group]
    file[group] = h5py.ExternalLink(str(path.parent / "secret.h5"), "/")


@in_hdf5
def soft_link(file, name, path):
    del file[name]
    file[name] = h5py.SoftLink("/vars")


@in_hdf5
def hard_link(file, name, path):
    file["again"] = file["layers"]


@in_hdf5
def circle(file, name, path):
    file["layers/again"] = file["layers"]


@in_hdf5
def virtual(file, name, path):
    shape = file[name].shape
    del file[name]
    layout = h5py.VirtualLayout(shape, "float32")
    layout[:] = h5py.VirtualSource(str(path.parent / "secret.h5"), "secret", shape)
    file.create_virtual_dataset(name, layout)


def replaced(file, name, *arguments, **more):
    del file[name]
    file.create_dataset(name, *arguments, **more)


@in_hdf5
def declares_much_in_chunks(file, name, path):
    replaced(file, name, (HUGE,), "float32", chunks=(2**20,))


@in_hdf5
def declares_much_packed(file, name, path):
    replaced(file, name, (2**14, 2**16), "float32", chunks=(2**10, 2**10), compression="gzip", fillvalue=1.5)


@in_hdf5
def declares_much_at_once(file, name, path):
    replaced(file, name, (HUGE,), "float64")


@in_hdf5
def another_array_is_large(file, name, path):
    file.create_dataset("optimizer/large", (HUGE,), "float32", chunks=(2**20,))


@in_hdf5
def chunk_larger_than_the_array(file, name, path):
    shape = file[name].shape
    replaced(file, name, shape, "float32", chunks=(1, 1, 1, 2**28), maxshape=(None,) * 4)


@in_hdf5
def wide_numbers(file, name, path):
    replaced(file, name, file[name].shape, "S1000000")


@in_hdf5
def texts(file, name, path):
    replaced(file, name, file[name].shape, h5py.string_dtype())


@in_hdf5
def references(file, name, path):
    replaced(file, name, file[name].shape, h5py.ref_dtype)


@in_hdf5
def records(file, name, path):
    replaced(file, name, file[name].shape, [("a", "f4", (1000,))])


@in_hdf5
def complex_numbers(file, name, path):
    replaced(file, name, file[name].shape, "complex64")


@in_hdf5
def nothing(file, name, path):
    del file[name]
    file[name] = h5py.Empty("f4")


@in_hdf5
def nested_groups(file, name, path):
    group = file["layers"]
    for _ in range(4000):
        group = group.create_group("g")


@in_hdf5
def many_groups(file, name, path):
    for number in range(5_000):
        file.create_group(f"layers/{number}")


@in_hdf5
def large_name(file, name, path):
    file[name].parent.attrs["name"] = "x" * 60_000


@in_hdf5
def numbers_for_a_name(file, name, path):
    file[name].parent.attrs["name"] = np.arange(5)


@in_hdf5
def escapes_in_a_name(file, name, path):
    file[name].parent.attrs["name"] = "\x1b]0;title\x07\x1b[2J\u202e"


@in_hdf5
def type_for_a_kernel(file, name, path):
    del file[name]
    file[name] = np.dtype("float32")


@in_hdf5
def marked_bfloat16(file, name, path):
    file[name].attrs["dtype"] = "bfloat16"


@in_hdf5
def not_finite(file, name, path):
    file[name][0, 0, 0, 0] = np.nan


@in_hdf5
def infinite_double(file, name, path):
    replaced(file, name, data=np.full(file[name].shape, 1e300))


@in_hdf5
def negative_variance(file, name, path):
    norms = [item for item in file["layers"].values() if len(item.get("vars", ())) == 4]
    norms[0]["vars/3"][0] = -1


@in_hdf5
def packed_and_never_written(file, name, path):
    shape = file[name].shape
    replaced(file, name, shape, "float32", chunks=shape, compression="lzf", shuffle=True, fletcher32=True)


# Keras' archive


def in_archive(function):
    """Writes other members."""

    def changed(path):
        write_members(path, function(members_of(path), path))

    changed.__name__ = function.__name__
    return attack(".keras")(changed)


def write_members(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            content, packed = content if isinstance(content, tuple) else (content, zipfile.ZIP_STORED)
            archive.writestr(name, content, packed)


def spaces(content, packed=zipfile.ZIP_DEFLATED):
    return content + b" " * 2**26, packed


@in_archive
def config_of_spaces(members, path):
    return {**members, "config.json": spaces(members["config.json"])}


@in_archive
def card_of_spaces(members, path):
    return {**members, "keras_resnet.json": spaces(members["keras_resnet.json"])}


@in_archive
def weights_of_spaces(members, path):
    return {**members, "model.weights.h5": spaces(members["model.weights.h5"])}


@in_archive
def metadata_of_spaces(members, path):
    return {**members, "metadata.json": spaces(members["metadata.json"])}


@in_archive
def config_in_bzip2(members, path):
    return {**members, "config.json": spaces(members["config.json"], zipfile.ZIP_BZIP2)}


@in_archive
def card_in_lzma(members, path):
    return {**members, "keras_resnet.json": spaces(members["keras_resnet.json"], zipfile.ZIP_LZMA)}


@in_archive
def config_of_lists(members, path):
    return {**members, "config.json": b"[" + b"[]," * 5_000_000 + b"0]"}


@in_archive
def card_of_lists(members, path):
    return {**members, "keras_resnet.json": b"[" + b"[]," * 600_000 + b"0]"}


@in_archive
def nested_config(members, path):
    return {**members, "config.json": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"}


@in_archive
def nested_card(members, path):
    return {**members, "keras_resnet.json": b"[" * 100_000}


@in_archive
def huge_numbers_in_the_config(members, path):
    return {**members, "config.json": members["config.json"].replace(b'"filters": 4', b'"filters": ' + b"9" * 5000)}


@in_archive
def no_config(members, path):
    return {name: content for name, content in members.items() if name != "config.json"}


@in_archive
def no_weights(members, path):
    return {name: content for name, content in members.items() if name != "model.weights.h5"}


@in_archive
def unknown_members(members, path):
    return {**members, "assets/vocabulary.txt": b"a"}


@in_archive
def paths_outside(members, path):
    return {**members, f"../../{SECRET}": b"overwritten", "/tmp/overwritten-by-a-zip": b"a"}


@attack(".keras")
def two_configs(path):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("config.json", "{}")


@attack(".keras")
def large_table_of_contents(path):
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(60_000):
            archive.writestr(f"{number:0100}", b"")


@in_archive
def vocabulary_from_a_file(members, path):
    layer = {"vocabulary": str(path.parent / SECRET), "name": "lookup"}
    return {**members, "config.json": with_layer(members, "StringLookup", layer)}


@in_archive
def code_in_a_lambda(members, path):
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
    return {**members, "config.json": with_layer(members, "Lambda", {"function": code, "name": "code"})}


def with_layer(members, kind, settings):
    config = json.loads(members["config.json"])
    layer = {"module": "keras.layers", "class_name": kind, "config": settings, "registered_name": None}
    config["config"]["layers"][1] |= layer
    return json.dumps(config)


def in_settings(key, value, kind="BatchNormalization"):
    def changed(members, path):
        config = json.loads(members["config.json"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == kind:
                layer["config"][key] = value
        return {**members, "config.json": json.dumps(config)}

    changed.__name__ = f"{key}_is_{value}"
    return in_archive(changed)


for wrong in (0, -1e-3, float("nan"), float("inf"), "x", [1e-3], None, True):
    in_settings("epsilon", wrong)
for wrong in (5, [], ["a", "b"], {"a": 1}):
    in_settings("strides", wrong, "Conv2D")
    in_settings("dilation_rate", wrong, "Conv2D")


def on_card(**changes):
    def changed(members, path):
        return {**members, "keras_resnet.json": json.dumps(json.loads(members["keras_resnet.json"]) | changes)}

    changed.__name__ = "card_with_" + "_".join(f"{key}_{str(value)[:20]!a}" for key, value in changes.items())
    return in_archive(changed)


on_card(class_names=["\x1b[2J", "\x07", "\u202eabc"])
on_card(class_names=[["a"], 1])
on_card(preprocessing=[1])
on_card(preprocessing={"mean": "abc", "std": {}})
on_card(input_shape=5)
on_card(input_shape={"a": 1})
on_card(config=[1])


# torch's files


def in_torch(function):
    """Writes another pickle, in either format."""

    def changed(path):
        state = state_dict(network())
        write = write_pth if path.suffix == ".pth" else write_th
        more = () if path.suffix == ".pth" else (b"N",)
        write(path, state, function(state, tensors(state, *more), more))

    changed.__name__ = function.__name__
    return attack(".pth", ".th")(changed)


def first_as(make):
    """The first tensor is another one of the same storage."""

    def content(state, pickles, more):
        name, array = next(iter(state.items()))
        told = storage("0", array.size, "FloatStorage", *more)
        return mapping({**pickles, name: make(told, array)})

    return content


def torch_attack(name, make):
    content = first_as(make)
    content.__name__ = name
    in_torch(content)


torch_attack("stride_of_0", lambda told, array: tensor(told, (2**15, 2**15), (0, 0)))
torch_attack("stride_of_0_in_the_right_shape", lambda told, array: tensor(told, array.shape, (0, 0, 0, 0)))
torch_attack("overlapping", lambda told, array: tensor(told, array.shape, (1, 1, 1, 1)))
torch_attack("negative_stride", lambda told, array: tensor(told, array.shape, (-1, 9, 3, 1)))
torch_attack("huge_stride", lambda told, array: tensor(told, array.shape, (2**62, 9, 3, 1)))
torch_attack("offset_outside", lambda told, array: tensor(told, array.shape, (27, 9, 3, 1), 10**9))
torch_attack("negative_offset", lambda told, array: tensor(told, array.shape, (27, 9, 3, 1), -4))
torch_attack("negative_shape", lambda told, array: tensor(told, (-4, -3, 3, 3), (27, 9, 3, 1)))
torch_attack("huge_shape", lambda told, array: tensor(told, (2**40, 2**40), (2**40, 1)))
torch_attack("hundred_dimensions", lambda told, array: tensor(told, (1,) * 100, (1,) * 100))
torch_attack("no_storage", lambda told, array: tensor(b"N", array.shape, (27, 9, 3, 1)))
torch_attack("integers", lambda told, array: tensor(told.replace(b"Float", b"Long"), array.shape, (27, 9, 3, 1)))
torch_attack(
    "unknown_storage", lambda told, array: tensor(told.replace(b"Float", b"Quint"), array.shape, (27, 9, 3, 1))
)
torch_attack("storage_larger_than_told", lambda told, array: tensor(
    storage("0", 2**40), (2**20, 2**20), (2**20, 1)))  # fmt: skip


def beside(name, extra):
    """Something that is no tensor, beside the tensors."""

    def content(state, pickles, more):
        return mapping({"state_dict": mapping(pickles), "more": extra})

    content.__name__ = name
    in_torch(content)


beside("runs_a_command", called(named("os", "system"), text("touch overwritten")))
beside("runs_builtins", called(named("builtins", "eval"), text("1")))
beside("reserves_bytes", called(named("builtins", "bytearray"), integer(2**33)))
beside("encodes", called(named("_codecs", "encode"), text("a" * 1000), text("utf-32")))
beside("memo_of_2_gigabytes", b"Nr" + (2**31 - 1).to_bytes(4, "little"))
beside("text_of_4_gigabytes", b"X" + (2**32 - 1).to_bytes(4, "little"))
beside("bytes_of_exabytes", b"\x8e" + (2**62).to_bytes(8, "little"))
beside("integer_of_gigabytes", b"\x8b" + (2**31 - 1).to_bytes(4, "little"))
beside("nested_lists", b"(" * 200_000 + b"l" * 200_000)
beside("nested_tuples_as_a_key", b"}" + b"N" + b"\x85" * 500_000 + b"Ns")
beside("stack_underflow", b"0000")
beside("wrong_memo", b"h\x07")
beside("two_dicts_of_lists", listed(*[b"]"] * 200_000))


@attack(".pth")
def compressed(path):
    write_pth(path, {name: np.zeros(2**19, "float32") for name in state_dict(network())}, packed=zipfile.ZIP_DEFLATED)


@attack(".pth")
def flipped_in_a_storage(path):
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("net/data/0").header_offset + 60
    content[place] ^= 1
    path.write_bytes(content)


@attack(".pth")
def no_storages(path):
    write_zip(path, {"net/data.pkl": members_of(path)["net/data.pkl"]})


@attack(".pth")
def pickle_of_spaces(path):
    members = members_of(path)
    write_members(path, {**members, "net/data.pkl": spaces(members["net/data.pkl"])})


@attack(".pth")
def not_finite_in_torch(path):
    state = state_dict(network())
    next(iter(state.values())).flat[0] = np.inf
    write_pth(path, state)


@attack(".th")
def sizes_that_are_none(path):
    state = state_dict(network())
    write_th(path, state, sizes=[2**60] * len(state))


@attack(".th")
def pythons_own_pickle(path):
    path.write_bytes(pickle.dumps({"conv": np.ones(3)}))


@attack(".pth", ".th")
def empty(path):
    path.write_bytes(b"")


# safetensors


def with_header(name, change):
    def changed(path):
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header, data = change(json.loads(content[8 : 8 + size]), content[8 + size :])
        header = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + data)

    changed.__name__ = name
    attack(".safetensors")(changed)


def first_told(**changes):
    def change(header, data):
        name = next(iter(header))
        return {**header, name: header[name] | changes}, data

    return change


with_header("shape_of_others", first_told(shape=[2**31, 2**31]))
with_header("negative_shape_told", first_told(shape=[-1, -4]))
with_header("text_for_a_shape", first_told(shape="abc"))
with_header("offsets_outside", first_told(data_offsets=[0, 2**40]))
with_header("offsets_backwards", first_told(data_offsets=[400, 0]))
with_header("offsets_that_overlap", first_told(data_offsets=[0, 16]))
with_header("unknown_type", first_told(dtype="F128"))
with_header("bfloat16_told", first_told(dtype="BF16"))
with_header("header_of_spaces", lambda header, data: (json.dumps(header).encode() + b" " * 80_000_000, data))
with_header("header_of_lists", lambda header, data: (b"{" + b'"a":[' * 1_000_000, data))
with_header("many_tensors", lambda header, data: (
    {f"{n}.weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(110_000)}, b""))  # fmt: skip


@attack(".safetensors")
def header_of_exabytes(path):
    path.write_bytes((2**60).to_bytes(8, "little") + path.read_bytes()[8:])


@attack(".safetensors", ".th")
def large_in_truth(path):
    """An honest large array that the network does not want; on disk a hole."""
    if path.suffix == ".th":
        state = state_dict(network())
        write_th(path, state, mapping({**tensors(state, b"N"), "more.weight": tensor(
            storage("99", HUGE // 2, "FloatStorage", b"N"), (HUGE // 2,), (1,))}))  # fmt: skip
    else:
        header = json.dumps(
            {"a.weight": {"dtype": "F32", "shape": [HUGE // 2], "data_offsets": [0, HUGE * 2]}}
        ).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)
    with open(path, "ab") as file:
        file.truncate(path.stat().st_size + 2 * HUGE)


# Caffe


def varint(number):
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def message(number, content):
    return varint(8 * number + 2) + varint(len(content)) + content


def caffe_attack(name, content):
    def changed(path):
        path.write_bytes(content() if callable(content) else content)

    changed.__name__ = name
    attack(".caffemodel")(changed)


def spoiled(change):
    def content():
        net = caffe.net(list(caffe_layers(network())))
        change(net)
        return net.SerializeToString()

    return content


caffe_attack("empty_layers", message(100, b"") * 3_000_000)
caffe_attack("empty_blobs", message(100, message(7, b"") * 3_000_000))
caffe_attack("nested_messages", lambda: message(100, message(106, b"\x30\x01" * 5_000_000)))
caffe_attack("unpacked_values", lambda: message(100, message(7, b"\x2d\0\0\0\0" * 1_000_000)))
caffe_attack("endless_number", b"\xff" * 100)
caffe_attack("length_outside", varint(8 * 100 + 2) + varint(2**60))
caffe_attack("group", b"\xa3\x06" * 1000)
caffe_attack("huge_blob_shape", spoiled(lambda net: net.layer[0].blobs[0].shape.dim.__setitem__(0, 2**62)))
caffe_attack("caffe_eps_of_0", spoiled(lambda net: setattr(net.layer[1].batch_norm_param, "eps", 0)))
caffe_attack("caffe_eps_below_0", spoiled(lambda net: setattr(net.layer[1].batch_norm_param, "eps", -1)))
caffe_attack("caffe_not_finite", spoiled(lambda net: net.layer[0].blobs[0].data.__setitem__(0, np.nan)))
caffe_attack("caffe_large_name", spoiled(lambda net: setattr(net.layer[0], "name", b"x" * 3_000_000)))


# NumPy's archive


def npz_attack(name, header, more=b""):
    def changed(path):
        told = repr(header).encode() if isinstance(header, dict) else header
        content = b"\x93NUMPY\x02\x00" + len(told).to_bytes(4, "little") + told + more
        write_members(path, {**members_of(path), "00000.npy": (content, zipfile.ZIP_DEFLATED)})

    changed.__name__ = name
    attack(".npz")(changed)


def npy(shape, descr="<f4"):
    return {"descr": descr, "fortran_order": False, "shape": shape}


npz_attack("npz_huge_shape", npy((2**40,)))
npz_attack("npz_packed", npy((2**25,)), b"\0" * 2**27)
npz_attack("npz_objects", npy((1,), "|O"), pickle.dumps([1]))
npz_attack("npz_nested_header", b"(" * 9000 + b")" * 9000)
npz_attack("npz_large_header", b" " * 20_000_000)
npz_attack("npz_negative_shape", npy((-1,)))
npz_attack("npz_records", npy((1,), [("a", "<f4", (1000,))]), b"\0" * 4000)
npz_attack("npz_texts", npy((), "<U100000000"))


@attack(".npz")
def npz_of_no_state(path):
    write_zip(path, {name: content for name, content in members_of(path).items() if name != "state.npy"})


def write_secrets(folder):
    """Numbers that a file beside them could show, in a file and in HDF5."""
    folder = Path(folder)
    np.full(10_000, 1234.5, "float32").tofile(folder / SECRET)
    with h5py.File(folder / "secret.h5", "w") as file:
        file["secret"] = np.full(1000, 1234.5, "float32")
    (folder / "bzip2").write_bytes(bz2.compress(b""))
