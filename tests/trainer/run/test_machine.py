"""What a machine refuses: sentences of its errors, and the room on a disk known ahead."""

import errno
import os
import re
import shutil

import pytest

from tests.helpers.machines import largest_file, small_disk
from trainer.input_pipeline import cache_files, cache_folders
from trainer.input_pipeline.cache import CachedRows, Spec
from trainer.run import files, machine
from trainer.run.errors import RunError


def refused(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


SENTENCES = {
    errno.ENOSPC: ("The disk is full (No space left on device: a/b).", "Free some room"),
    errno.EDQUOT: ("The quota of the disk is used up (Disk quota exceeded: a/b).", "Free some"),
    errno.EFBIG: ("A file would grow over the limit", "Raise the limit"),
    errno.EMFILE: ("The system refused: Too many open files: a/b.", "(ulimit -n)"),
    errno.ENAMETOOLONG: ("The system refused: File name too long: a/b.", "Give a shorter path."),
    errno.ENOMEM: ("There is not enough memory", "Give a smaller --batch_size"),
    **{
        number: (f"The system refused: {os.strerror(number)}: a/b.", "the same command again.")
        for number in (errno.ESTALE, errno.EBUSY, errno.EIO, errno.EXDEV, errno.EROFS, errno.EACCES)
    },
}


@pytest.mark.parametrize("number", SENTENCES, ids=errno.errorcode.get)
def test_an_error_of_the_system_says_what_is_wrong_and_how_to_mend_it(number):
    what, mend = SENTENCES[number]
    text = machine.sentence(refused(number, "a/b"))
    assert text.startswith(what) and mend in text


@pytest.mark.parametrize("count,text", [
    (61_000_000, "58.2 MiB"), (2**30 - 1, "1,024.0 MiB"), (2**30, "1.0 GiB"),
    (2**41, "2,048.0 GiB"),
])  # fmt: skip
def test_bytes_are_shown_in_mebibytes_or_gibibytes(count, text):
    assert machine.size(count) == text


def test_a_file_that_is_not_whole_yet_is_named_as_it_will_be():
    error = refused(errno.ENOSPC, "a/.17.0123abcd.metrics.json")
    assert "(No space left on device: a/metrics.json)" in machine.sentence(error)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), MemoryError("Unable to allocate 9.3 GiB for an array"),
     ImportError("libx.so: failed to map segment from shared object"),
     RuntimeError("can't start new thread")],
)  # fmt: skip
def test_missing_memory_names_the_settings_to_lower(error):
    assert "--batch_size, --image_size or --head_units" in machine.sentence(error)


@pytest.mark.parametrize(
    "error", [ValueError("a"), ImportError("No module named 'a'"), RuntimeError("a"), KeyError("a")]
)
def test_an_error_of_the_program_is_none_of_the_machine(error):
    assert machine.sentence(error) is None


def test_errors_of_tensorflow_are_sentences_where_the_machine_made_them():
    errors = pytest.importorskip("tensorflow").errors
    disk = errors.ResourceExhaustedError(None, None, "{{function_node x}} a/b; No space left on "
                                         "device\n\tFailed to flush 2 events")  # fmt: skip
    assert machine.sentence(disk) == (
        "The disk is full (a/b; No space left on device). Free some room, then give the same "
        "command again."
    )
    memory = errors.ResourceExhaustedError(None, None, "OOM when allocating tensor [32,64,64,64]")
    assert machine.sentence(memory).startswith("There is not enough memory (OOM when allocating")
    called = errors.UnknownError(None, None, "OSError: [Errno 5] Input/output error\nTraceback")
    assert machine.sentence(called).startswith("The system refused: Input/output error.")
    ours = errors.UnknownError(None, None, "CacheError: The cache is damaged. Mend it.\nTraceback")
    assert machine.sentence(ours) == "The cache is damaged. Mend it."
    torn = errors.DataLossError(None, None, "truncated record at 12\nin a/b.tfrecord")
    assert machine.sentence(torn).startswith("The system refused: truncated record at 12. See to")
    assert machine.sentence(errors.InvalidArgumentError(None, None, "shapes [2] and [3]")) is None


def test_what_has_no_room_is_refused_with_the_numbers(tmp_path):
    with small_disk(tmp_path / "disk", 3) as disk:
        machine.require_room(disk / "not" / "there" / "yet", 2 * 2**20, "its network")
        with pytest.raises(RunError) as refusal:
            machine.require_room(disk / "runs", 71 * 2**20, "its network")
    assert str(refusal.value) == (
        f"{disk / 'runs'} needs 71.0 MiB for its network, and its disk has 3.0 MiB free. Free some "
        "room, or give a folder on another disk."
    )


def test_a_disk_that_gives_no_size_is_not_taken_for_a_full_one(tmp_path, monkeypatch):
    """As FUSE mounts without an answer to `statvfs`."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 0))
    machine.require_room(tmp_path, 2**40, "its network")
    assert cache_folders.make_room(tmp_path, 2**40, 2**41)


def test_a_file_over_the_limit_of_the_process_is_refused_with_the_numbers(tmp_path):
    machine.require_file(tmp_path, 2**40)
    with largest_file(2**20), pytest.raises(RunError, match=r"needs 3.0 MiB, .* write 1.0"):
        machine.require_file(tmp_path, 3 * 2**20)


def test_a_file_that_finds_no_room_is_named_and_the_one_before_stays(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, [1])
    with largest_file(1000), pytest.raises(OSError) as error:
        files.write_json(path, list(range(10_000)))
    assert machine.is_full(error.value)
    assert str(path) in machine.sentence(error.value)
    assert path.read_text() == "[\n 1\n]\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_disk_that_fills_up_leaves_the_file_before_and_nothing_beside_it(tmp_path):
    with small_disk(tmp_path / "disk", 1) as disk:
        files.write_json(disk / "a.json", [1])
        with pytest.raises(OSError, match="No space left") as error:
            files.write_sealed(disk / "a.json", bytes(2 * 2**20))
        assert error.value.errno == errno.ENOSPC
        assert [each.name for each in disk.iterdir()] == ["a.json"]
        assert (disk / "a.json").read_text() == "[\n 1\n]\n"


def test_a_disk_that_takes_no_more_files_is_not_called_full(tmp_path):
    with small_disk(tmp_path / "disk", 10, files=2) as disk:
        (disk / "a").touch()
        with pytest.raises(OSError) as error:
            files.write_json(disk / "b.json", [1])
        path = re.escape(str(disk / "b.json"))
        assert re.fullmatch(
            rf"The disk takes no more files \(.*: {path}\). Remove some \(df -i counts them\), "
            "then give the same command again.",
            machine.sentence(error.value),
        )
        with pytest.raises(cache_files.CacheError, match="takes no more files"):
            CachedRows(disk, Spec("square", (4,), "uint8", {}))


def test_a_disk_that_counts_no_files_is_full_where_it_says_so(tmp_path, monkeypatch):
    def statvfs(path):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "statvfs", statvfs)
    text = machine.sentence(refused(errno.ENOSPC, str(tmp_path / "a.json")))
    assert text.startswith("The disk is full (No space left on device:")


def test_the_folder_of_the_command_is_named_where_it_is_what_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for path in ("a", ""):
        with pytest.raises(OSError) as error:
            open(path).close() if path else os.getcwd()
        assert "started in was removed. Change to one" in machine.sentence(error.value)
    with pytest.raises(OSError) as error:
        open(tmp_path / "b").close()
    assert f"No such file or directory: {tmp_path / 'b'}" in machine.sentence(error.value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError) as error:
        open("b").close()
    assert "No such file or directory: b" in machine.sentence(error.value)


def test_what_a_run_can_do_without_costs_a_line(capsys):
    made = []
    assert machine.attempted("The plots", "The run has all else.", made.append, 1)
    assert made == [1] and capsys.readouterr().err == ""

    def fail() -> None:
        raise ValueError("no font\nis there")

    assert not machine.attempted("The plots", "The run has all else.", fail)
    assert capsys.readouterr().err == (
        "The plots could not be written (ValueError: no font). The run has all else.\n"
    )
