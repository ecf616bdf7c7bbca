"""Nothing writes a file but through `files.written_whole`, with reasons where it is otherwise.

Read off the sources: a call that writes stands in a `with written_whole(...) as beside`, and names
`beside` or what a `with` inside of that is bound to.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("trainer", "tuning", "covid_tfds")
# Functions and methods that write a file, whatever object they are of.
WRITERS = {
    "BackupAndRestore", "CSVLogger", "FileHandler", "ModelCheckpoint", "NamedTemporaryFile",
    "TFRecordWriter", "TensorBoard", "copy2", "copyfile", "copyfileobj", "copytree",
    "create_file_writer", "dump", "export", "extract", "extractall", "get_file", "imsave",
    "imwrite", "mknod", "mkstemp", "save", "save_model", "save_weights", "savefig", "savetxt",
    "savez", "savez_compressed", "to_csv", "to_parquet", "to_pickle", "tofile", "touch",
    "truncate", "urlretrieve", "write_bytes", "write_text", "writestr",
}  # fmt: skip
OPENERS = {"File", "FileIO", "GFile", "TarFile", "ZipFile", "fdopen", "open"}  # if the mode says so
FLAGS = {"O_APPEND", "O_CREAT", "O_RDWR", "O_TRUNC", "O_WRONLY"}  # of os.open

_TO_MEMORY = "into memory, not into a file"
_PART = "writes to the path that its caller has from written_whole"
_LOCK = "an empty file that is locked"
_TFDS = "into the folder in which TFDS builds, which gets its name when all of it is on the disk"
EXCEPTIONS = {
    "trainer/input_pipeline/cache.py:CachedRows.filling": f"append only; {_LOCK}",
    "trainer/input_pipeline/cache_files.py:_opened": _LOCK,
    "trainer/input_pipeline/cache_files.py:open_file": "append only; each row has a checksum",
    "trainer/input_pipeline/cache_files.py:open_for_use": _LOCK,
    "trainer/evaluation/linear_model.py:_write": _TO_MEMORY,
    "trainer/inference/litert_model.py:write": _PART,
    "trainer/inference/onnx_model.py:write": _PART,
    "trainer/inference/saved_model.py:write": _PART,
    "trainer/inference/answer_cards.py:_figure": _TO_MEMORY,
    "trainer/inference/gallery_page.py:_figure": _TO_MEMORY,
    "trainer/model/saved.py:_archive": _TO_MEMORY,
    "trainer/model/saved.py:_rewrite": _PART,
    "trainer/model/weights.py:_from_download": "Keras' download, whose MD5 is compared",
    "trainer/reporting/figures.py:svg": _TO_MEMORY,
    "trainer/reporting/pages.py:of_pixels": _TO_MEMORY,
    "trainer/run/command.py:_drop_unwritten": "the null device",
    "trainer/run/lease.py:Lease._put": "written beside, then linked: it shall not replace a file",
    "trainer/run/lease.py:_open": "the lease, renewed in place by the process that has it",
    "trainer/run/libraries.py:no_greeting": "the null device",
    "trainer/run/process.py:_open_streams": "the null device",
    "trainer/run/saved_state.py:write": _TO_MEMORY,
    "trainer/board.py:writer_of": "TensorBoard's, append only; a checksum a record",
    "trainer/training/checkpoint.py:Checkpoints.rewind": "TensorBoard's, append only",
    "trainer/training/loop.py:_Loop._save": "calls Checkpoints.save",
    "tuning/oracle.py:Proposals.__init__": "the search's log: append only, each line flushed",
    "tuning/oracle.py:Proposals._replay": "the search's log: removes a torn last line",
    "tuning/record.py:Record._write": "calls Proposals.export",
    "tuning/results.py:write_curves": "into a folder that is renamed when the curves are there",
    "tuning/retraining.py:_run": _TO_MEMORY,
    "tuning/retraining.py:_unpack": "a run that ended elsewhere; whole when its manifest says so",
    "covid_tfds/croissant.py:write": _TFDS,
    "covid_tfds/digests.py:write": _TFDS,
    "covid_tfds/patient_key.py:_make": "written beside, then linked: it shall not replace a file",
    "covid_tfds/phantom/__main__.py:main": "an image at a path that a user names",
    "covid_tfds/progress.py:no_greeting": "the null device",
    "covid_tfds/reading/__init__.py:encode": _TO_MEMORY,
    "covid_tfds/replacing.py:alone": _LOCK,
    "covid_tfds/replacing.py:recover": _LOCK,
    "covid_tfds/report.py:Report.write": _TFDS,
    "covid_tfds/report.py:_write_csv": _TFDS,
}


class Reader:
    """Reads one source.

    Attributes:
        whole: Functions that hand out a path of `written_whole`.
        ours: Functions, and modules of functions, that are read for themselves.
    """

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)
        self.whole, self.ours = {"written_whole"}, {"self"}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef):
                self.ours.add(node.name)
                last = node.body[-1]
                if isinstance(last, ast.Return) and self.hands_out(last):
                    self.whole.add(node.name)
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in PACKAGES:
                self.ours |= {alias.asname or alias.name for alias in node.names}

    def hands_out(self, node: ast.AST) -> bool:
        calls = (each for each in ast.walk(node) if isinstance(each, ast.Call))
        return any(name_of(each.func) in self.whole for each in calls)

    def writes(self, call: ast.Call) -> bool:
        """Whether a call writes a file: by its name, or by the mode or flags that it opens with."""
        name = name_of(call.func)
        of = call.func.value if isinstance(call.func, ast.Attribute) else call.func
        if getattr(of, "id", "") in self.ours:
            return False
        if name in WRITERS or (name == "copy" and len(call.args) > 1):  # else of a dictionary
            return True
        values = [*call.args, *(keyword.value for keyword in call.keywords)]
        modes = [each.value for each in values if isinstance(each, ast.Constant)]
        modes = [mode for mode in modes if isinstance(mode, str) and len(mode) < 4]
        flags = {name_of(each) for value in values for each in ast.walk(value)}
        asks = bool(flags & FLAGS) or any(set(mode) & set("wax+") for mode in modes)
        return name in OPENERS and asks

    def unsafe(
        self, node: ast.AST, inside: str = "", beside: frozenset[str] = frozenset()
    ) -> Iterator[str]:
        """The functions in which a call writes a file of another name than a `beside`."""
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inside = f"{inside}.{node.name}".lstrip(".")
        if isinstance(node, ast.With) and (beside or any(map(self.hands_out, node.items))):
            bound = [item.optional_vars for item in node.items if item.optional_vars]
            beside = beside.union(*map(names_in, bound))
        if isinstance(node, ast.Call) and self.writes(node) and not names_in(node) & beside:
            yield inside
        for child in ast.iter_child_nodes(node):
            yield from self.unsafe(child, inside, beside)


def name_of(called: ast.AST) -> str:
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def names_in(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def unsafe(text: str) -> list[str]:
    reader = Reader(text)
    return list(reader.unsafe(reader.tree))


def all_unsafe() -> set[str]:
    return {
        f"{path.relative_to(ROOT).as_posix()}:{function}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for function in unsafe(path.read_text(encoding="utf-8"))
    }


def test_every_file_is_written_whole_or_has_a_reason():
    assert all_unsafe() - set(EXCEPTIONS) == set()


def test_no_reason_outlives_its_exception():
    assert set(EXCEPTIONS) - all_unsafe() == set()


@pytest.mark.parametrize(
    "call",
    ['open(path, "w")', 'open(path, mode="ab")', 'path.open("r+b")', 'open(path, "x")',
     "path.write_text(text)", "path.write_bytes(data)", "np.save(path, rows)", "rows.tofile(path)",
     "np.savez(path, rows=rows)", "figure.savefig(path)", "json.dump(rows, path)",
     "model.save(path)", "self.model.save_weights(path)", "shutil.copy(old, path)",
     "shutil.copytree(old, path)", "table.to_csv(path)", 'h5py.File(path, "w")',
     'zipfile.ZipFile(path, "a")', "os.open(path, os.O_WRONLY | os.O_CREAT)", "path.touch()",
     "tf.io.TFRecordWriter(path)", 'tf.io.gfile.GFile(path, "w")', "os.truncate(path, 0)"],
)  # fmt: skip
def test_a_line_that_writes_is_seen_wherever_it_stands(call):
    assert unsafe(f"def write():\n    {call}\n") == ["write"]
    assert unsafe(f"class A:\n    def b(self):\n        return [{call} for _ in x]\n") == ["A.b"]
    assert unsafe(f"with written_whole(path) as beside:\n    pass\n{call}\n") == [""]
    # Inside of the block, but not to the path that it gives.
    assert unsafe(f"with files.written_whole(path) as beside:\n    {call}\n") == [""]
    assert not unsafe(f"with written_whole(path) as path:\n    {call}\n")


@pytest.mark.parametrize(
    "lines",
    ['with written_whole(p) as beside, open(beside, "w") as file:\n    json.dump(rows, file)',
     "def mine(p):\n    return written_whole(p)\nwith mine(p) as beside:\n    beside.touch()",
     "def save(p):\n    pass\nsave(path)", "from trainer.model import saved\nsaved.save(m, path)",
     "open(path)", 'open(path, "rb")', "path.read_text()", "values.copy()",
     "os.open(p, os.O_RDONLY)"],
)  # fmt: skip
def test_a_line_that_reads_or_writes_whole_is_no_fault(lines):
    assert unsafe(lines) == []
