"""The house as its plan says: who imports whom, what importing costs, which names are public, how large the core is."""

import ast
import builtins
import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import keras
import pytest

import keras_resnet
from keras_resnet import NETWORKS, applications
from keras_resnet.networks import blocks, config

ROOT = Path(keras_resnet.__file__).parent

FLOORS = [  # from the ground up: a room imports rooms of the floors below it, and no others
    {"checks", "machine"},
    {"files", "kernels"},
    {"modelcard"},
    {"graph"},
    {"predict", "weights", "data"},
    {"networks"},
    {"applications", "training"},
    {"analysis"},
    {"serving"},
    {"experiment"},
    {"tuning"},
    {"cli", "run"},
    {"__main__", "__init__"},
]
MOST_ROOMS = 20


def modules(room):
    return sorted((ROOT / room).glob("*.py")) if (ROOT / room).is_dir() else [ROOT / f"{room}.py"]


def imported(path):
    """The rooms of ours in a module's import statements."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("keras_resnet."))
        elif isinstance(node, ast.ImportFrom) and node.module == "keras_resnet":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_resnet."):
            yield node.module.split(".")[1]


def test_every_module_belongs_to_a_room():
    rooms = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in ROOT.rglob("*.py")}
    assert rooms == set().union(*FLOORS)
    assert len(rooms) <= MOST_ROOMS


@pytest.mark.parametrize("floor", range(len(FLOORS)))
def test_no_arrow_points_up(floor):
    below = set().union(*FLOORS[:floor])
    for room in FLOORS[floor]:
        assert {name for path in modules(room) for name in imported(path)} - {room} <= below, room


LIGHT = """
checks files/archives files/disk files/paths files/renaming files/state files/writing modelcard
networks/arguments networks/config networks/families weights/sources weights/catalogue data/parameters
"""


@pytest.mark.parametrize("room", [*LIGHT.split(), "training/recipes", "experiment/run"])
def test_arithmetic_needs_the_standard_library_alone(room):
    nodes = ast.walk(ast.parse((ROOT / f"{room}.py").read_text()))
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.names[0].name if isinstance(node, ast.Import) else node.module for node in imports}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names | {"keras_resnet"}


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_imports_lazy_loader_alone():
    more = loaded_by("import keras_resnet") - loaded_by("pass")
    foreign = {name for name in more if name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"keras_resnet", "lazy_loader"}


@pytest.mark.slow
def test_building_a_network_loads_neither_data_nor_training():
    more = loaded_by("import keras_resnet; keras_resnet.build('resnet20')") - loaded_by("import keras")
    foreign = {
        name for name in more if name.split(".")[0] not in sys.stdlib_module_names | {"keras_resnet", "lazy_loader"}
    }
    assert not foreign
    assert not {name for name in more if name.startswith(("keras_resnet.data", "keras_resnet.training"))}


ROOMS = {"analysis", "applications", "data", "training", "weights"}  # that users import from


PUBLIC = """
NETWORKS ORDERS PREPROCESSINGS RECIPES SHORTCUTS STEMS
Card Complexity DenseNetConfig FractalNetConfig GroupedConv2D HyperResNet Preprocessing Recipe ResNetConfig
__version__ build card complexity decode_predictions densenet ensemble evaluate export features
fold_batch_norm fractalnet freeze load_data load_model load_weights names portable preprocessing pretrained
rematerialize resnet search strategy to_torch train
"""


def test_public_names():
    assert set(keras_resnet.__all__) == {*PUBLIC.split(), *ROOMS, *applications.__all__}
    assert dir(keras_resnet) == sorted(keras_resnet.__all__)


@pytest.mark.parametrize("name", keras_resnet.__all__)
def test_every_public_name_is_there_whatever_was_imported_before(name):
    """Importing a module puts it under its name into the package."""
    for path in ROOT.glob("*.py"):
        if path.stem not in ("__init__", "__main__"):
            import_module(f"keras_resnet.{path.stem}")
    assert inspect.ismodule(getattr(keras_resnet, name)) == (name in ROOMS)


def test_no_room_has_the_name_of_a_public_function():
    rooms = {path.stem for path in ROOT.iterdir()}
    assert rooms & set(keras_resnet.__all__) == ROOMS


def test_importing_everything_hides_no_module_of_the_standard_library():
    assert not set(keras_resnet.__all__) & (sys.stdlib_module_names | set(dir(builtins)))
    names = {}
    exec("from keras_resnet import *", names)
    assert names["train"] is keras_resnet.train


@pytest.mark.slow
def test_rooms_are_modules_and_attributes():
    code = "import keras_resnet; " + "; ".join(
        f"assert keras_resnet.{room}.__all__; from keras_resnet.{room} import *" for room in sorted(ROOMS)
    )
    assert {f"keras_resnet.{room}" for room in ROOMS} <= loaded_by(code)


@pytest.mark.slow
def test_a_type_checker_sees_the_real_types_in_a_users_script(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "script.py"]
    paths = {"MYPYPATH": str(ROOT.parent), "PATH": os.environ["PATH"]}
    process = subprocess.run(command, cwd=tmp_path, env=paths, capture_output=True, text=True)
    said = [line.split(": ", 2)[-1] for line in process.stdout.splitlines()[:-1]]
    assert said == [
        'Revealed type is "keras_resnet.data.sources.Source"',
        'Revealed type is "int"',
        'Revealed type is "keras_resnet.applications.Application"',
        'Argument 1 to "names" has incompatible type "int"; expected "str"  [arg-type]',
        'Module has no attribute "trian"; maybe "train"?  [attr-defined]',
    ]


SCRIPT = """
import keras_resnet
from keras_resnet.applications import ResNet18

reveal_type(keras_resnet.load_data("digits"))
reveal_type(keras_resnet.RECIPES["fast"].epochs)
reveal_type(ResNet18)
keras_resnet.names(3)
keras_resnet.trian
"""


def test_the_version_is_a_literal_that_the_build_reads_without_importing_anything():
    assert f'__version__ = "{keras_resnet.__version__}"' in (ROOT / "__init__.py").read_text()


def test_there_is_a_function_for_every_network():
    functions = [getattr(applications, name) for name in applications.__all__]
    assert {inspect.signature(function).parameters["name"].default for function in functions} == set(NETWORKS)


@pytest.mark.parametrize("name", applications.__all__)
def test_functions_have_their_own_name_and_cite_their_paper(name):
    function = getattr(applications, name)
    assert function.__name__ == name
    assert "arXiv:" in function.__doc__


@pytest.mark.parametrize("name", ["ResNet50", "ResNet152", "DenseNet121"])
def test_functions_have_the_arguments_of_keras_applications(name):
    ours = inspect.signature(getattr(keras_resnet, name)).parameters
    theirs = inspect.signature(getattr(keras.applications, name)).parameters
    assert list(ours) == [*theirs, "channel_order", "remat", "config_changes"]
    assert {key: ours[key].default for key in theirs} == {
        key: parameter.default for key, parameter in theirs.items()
    } | {"weights": None, "classes": None}


def test_tables_have_the_keys_that_configs_may_name():
    tables = {"stem": blocks.STEMS, "order": blocks.ORDERS, "branch": blocks.BRANCHES, "shortcut": blocks.SHORTCUTS}
    for field, table in tables.items():
        literal = config.ResNetConfig.__annotations__[field]
        assert set(table) == set(literal.__args__)
    assert set(config.STEM_STRIDES) == set(blocks.STEMS)


@pytest.mark.parametrize("stem", blocks.STEMS)
def test_plans_know_the_strides_of_the_stems(stem):
    row = config.ResNetConfig(stages=((8,),), stem=stem, stem_filters=8)
    assert blocks.STEMS[stem](keras.Input((64, 64, 3)), row).shape[1] == 64 // config.STEM_STRIDES[stem]


def lines_of_code(path):
    """Without blank lines, comments and docstrings."""
    source = path.read_text()
    nodes = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    )
    documented = [node for node in nodes if ast.get_docstring(node)]
    docstrings = {line for node in documented for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    lines = enumerate(source.splitlines(), start=1)
    return sum(number not in docstrings and line.strip() != "" and line.strip()[0] != "#" for number, line in lines)


def test_the_residual_core_can_be_read_at_one_sitting():
    assert sum(lines_of_code(ROOT / f"networks/{room}.py") for room in ("config", "layers", "blocks", "resnet")) < 380


PRIVATE_NAMES = ("graph/keras_private.py", "training/tensorflow_private.py", "tuning/keras_tuner_private.py")
PRIVATE_MODULES = ("keras.src", "tensorflow.python", "keras_tuner.src")
MOST_PRIVATE_NAMES = 10


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def own_names(tree):
    """What a module's classes call their own: what they define, and what they assign of themselves."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node):
            yield node.attr


def is_own(node):
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def private_names(tree):
    """Of other packages: attributes, also by `getattr`, and modules. `os._exit` and the like are documented."""
    own = set(own_names(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if ast.unparse(node.value) not in ("os", "sys") and not (is_own(node) and node.attr in own):
                yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            named = getattr(node.args[1], "value", "")
            if isinstance(named, str) and is_private(named):
                yield named
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PRIVATE_MODULES):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PRIVATE_MODULES))


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("model._layers", ["_layers"]),
        ("super()._build()", ["_build"]),
        ("self._tracker", ["_tracker"]),
        ("self._mine = 1; self._mine", []),
        ("os._exit(1); x.__dict__; self.public", []),
        ("getattr(layer, '_call_has_training_arg', False)", ["_call_has_training_arg"]),
        ("import keras.src.backend", ["keras.src.backend"]),
        ("from tensorflow.python.eager import context", ["tensorflow.python.eager.context"]),
    ],
)
def test_private_names_are_seen(code, names):
    assert list(private_names(ast.parse(code))) == names


def test_private_names_of_other_packages_are_few_and_stand_in_one_file_a_package():
    used = {
        path.relative_to(ROOT).as_posix(): set(private_names(ast.parse(path.read_text())))
        for path in ROOT.rglob("*.py")
    }
    assert {path: names for path, names in used.items() if names and path not in PRIVATE_NAMES} == {}
    assert sum(len(used[path]) for path in PRIVATE_NAMES) <= MOST_PRIVATE_NAMES


def files_run(function, *arguments):
    """The files of the package's `networks` in which functions are called meanwhile."""
    files = set()

    def see(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.parent == ROOT / "networks":
            files.add(path.stem)

    sys.setprofile(see)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return files


@pytest.mark.slow
def test_a_resnet_50_is_read_in_four_files_from_its_images_to_its_head():
    trunk = import_module("keras_resnet.networks.resnet").trunk
    images, he_normal = keras.Input((224, 224, 3)), {"he_normal"}  # how a kernel starts, and not what the network is
    assert files_run(trunk, images, NETWORKS["resnet50"]) - he_normal == {"config", "layers", "blocks", "resnet"}


@pytest.mark.parametrize(
    "statement",
    [
        "from keras_resnet.networks.zoo import NETWORKS, PAPERS, names, row; names(); row('resnet50', shortcut='A')",
        "from keras_resnet.weights.sources import expect_source; expect_source('cifar10', (3, 3, 3))",
        "from keras_resnet import modelcard",
        "import keras_resnet; keras_resnet.pretrained()",
        "import keras_resnet\ntry: keras_resnet.build('resnet50', weights='a1_in2k')\nexcept ValueError: pass",
        "import keras_resnet\ntry: keras_resnet.build('resnet51')\nexcept ValueError: pass",
        "import keras_resnet\ntry: keras_resnet.build('resnet50', weights='missing.pth')\nexcept ValueError: pass",
        "import keras_resnet\ntry: keras_resnet.build('resnet50', input_shape=(7, 7, 3))\nexcept ValueError: pass",
        "import keras_resnet\ntry: keras_resnet.ResNet50(classes=0)\nexcept ValueError: pass",
    ],
)
def test_rows_sources_and_their_errors_need_no_keras(statement):
    code = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"keras", "numpy", "tensorflow"} & set(done.stdout.split())
