"""The house: imports between rooms go one way, and every room has a sign."""

import ast
import itertools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = ROOT / "trainer"
COMMANDS = {"main", "crossval", "features", "compare", "report", "predict", "explain", "export",
            "evaluate", "serve"}  # fmt: skip
ROOMS = ("augmentation", "run", "input_pipeline", "model", "evaluation", "training", "execution",
         "inference", "reporting")  # fmt: skip
GROUND = {"augmentation", "run", "config"}
# What each room, or file beside the rooms, may import of the others.
MAY_IMPORT = {
    "augmentation": set(),
    "run": set(),
    "config_flags": {"config", "run"},
    "inputs": {"config", "run", "input_pipeline"},
    "config": {"augmentation", "run"},
    "input_pipeline": GROUND,
    "model": GROUND | {"input_pipeline"},
    "evaluation": {"run", "config"},
    "training": GROUND | {"input_pipeline", "model", "evaluation"},
    "execution": GROUND | {"input_pipeline", "model", "training"},
    "inference": GROUND | {"input_pipeline", "model", "evaluation"},
    "reporting": {"run", "config", "evaluation"},
    "scoring": GROUND | {"input_pipeline", "model", "evaluation", "inference", "training"},
    "board": GROUND | {"input_pipeline", "model", "evaluation", "inference", "training"},
    "train": GROUND | set(ROOMS) | {"scoring", "board"},
    "fold_assignment": {"run", "input_pipeline", "training"},
    "cross_validation": GROUND | set(ROOMS) | {"fold_assignment"},
    "seeds": {"config", "run", "evaluation", "training", "train"},
    "api": {"config", "inputs", "run", "model", "evaluation", "inference", "execution"}
    | {"train", "cross_validation"},
}
OF_COMMANDS = {"config", "config_flags", "inputs", "run", "train", "seeds", "cross_validation",
               "input_pipeline", "execution", "model", "inference", "reporting"}  # fmt: skip
# Config is below all else: of the rooms it may know these files alone.
OF_CONFIG = {"trainer.augmentation.presets", "trainer.run.files", "trainer.run.errors",
             "trainer.run.records"}  # fmt: skip
FILES = sorted(HOUSE.rglob("*.py"))


def name_of(path: Path) -> str:
    """`trainer.model.vgg16`, and `trainer.model` for its `__init__.py`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in FILES}


def imports(path: Path) -> set[str]:
    """Modules that a file imports, those inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in below if name in MODULES}
            names |= modules | ({node.module} if modules != below else set())
    return names


def place(module: str) -> str:
    """The room of a module, or its own name where it stands beside them."""
    return module.split(".")[1]


IMPORTS = {name: imports(path) for name, path in MODULES.items()}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    if module == "trainer":
        return
    own = place(module)
    allowed = MAY_IMPORT.get(own)
    if own in COMMANDS:
        allowed = OF_COMMANDS
    assert allowed is not None, f"{own} has no place in the house: add it to MAY_IMPORT"
    for other in IMPORTS[module]:
        if other.startswith("trainer."):
            assert place(other) in allowed | {own}, f"{module} imports {other}"


def test_config_knows_little_of_the_rooms():
    ours = {name for name in IMPORTS["trainer.config"] if name.startswith("trainer.")}
    assert ours <= OF_CONFIG


def test_no_file_imports_itself_on_any_way():
    """In the order that this finds, every file imports only those before it."""
    left, order = dict(IMPORTS), []
    while left:
        ready = [name for name, names in left.items() if not names & (left.keys() - {name})]
        assert ready, f"a circle among {sorted(left)}"
        order += ready
        for name in ready:
            del left[name]
    assert len(order) == len(MODULES)


def test_nothing_imports_a_command():
    for module, names in IMPORTS.items():
        assert not names & {f"trainer.{name}" for name in COMMANDS}, module


@pytest.mark.parametrize(
    "package,not_imported",
    [("trainer", ("tuning", "benchmarks", "tests")),
     ("covid_tfds", ("trainer", "tuning", "benchmarks", "tests")),
     ("tuning", ("benchmarks", "tests"))],
)  # fmt: skip
def test_packages_import_downwards(package, not_imported):
    for path in (ROOT / package).rglob("*.py"):
        tops = {name.partition(".")[0] for name in imports(path)}
        assert not tops & set(not_imported), path


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_is_short(name):
    assert len((HOUSE / f"{name}.py").read_text().splitlines()) <= 60


def test_no_file_is_long():
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_every_folder_with_code_is_a_room():
    assert {path.parent.name for path in FILES} - {"trainer"} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_the_sign_of_a_room_names_every_module(room):
    sign = ast.get_docstring(ast.parse((HOUSE / room / "__init__.py").read_text()))
    modules = {path.stem for path in (HOUSE / room).glob("*.py")} - {"__init__"}
    assert {name for name in modules if f"`{name}`" not in sign} == set()


def test_no_room_bears_the_name_of_a_file():
    names = [path.stem for path in HOUSE.glob("*.py")]
    assert not set(names) & set(ROOMS)
    for one, other in itertools.combinations([*names, *ROOMS], 2):
        assert one != other
