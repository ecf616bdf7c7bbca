"""Commands in odd processes: closed and full streams, other encodings, warnings that raise."""

import ast
import os
import subprocess
import sys

import pytest

COMMAND = """
import sys, warnings
from trainer.run import command
def main(argv):
{body}
command.run(main)
"""


def command_of(body: str) -> str:
    """The code of a command whose `main` has these lines."""
    return COMMAND.format(body="\n".join(f"    {each}" for each in body.splitlines()))


def shell(body: str, line: str = "{}", *, python: str = "", **variables: str):
    """Runs a command whose `main` has these lines, by a line of the shell; {} is the command."""
    started = f'{sys.executable} {python} -c "$CODE"'
    return subprocess.run(
        ["bash", "-c", line.format(started)], capture_output=True, timeout=60, check=False,
        env={**os.environ, "CODE": command_of(body), **variables},
    )  # fmt: skip


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(closed, tmp_path):
    """And no file of the command becomes one of them."""
    file = tmp_path / "a"
    body = f"""
with open({str(file)!r}, "w") as file:
    print("printed", flush=True)
    print("printed", file=sys.stderr, flush=True)
    file.write("written")
"""
    assert shell(body, "{} " + closed).returncode == 0
    assert file.read_text() == "written"


@pytest.mark.parametrize("printed", ["print('a')", "print('a', flush=True)"])
def test_a_full_device_for_what_is_printed_is_a_sentence(printed):
    done = shell(printed, "{} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == (
        b"The disk is full (No space left on device). Free some room, then give the same "
        b"command again.\n"
    )


def test_a_full_device_for_errors_leaves_the_status_and_the_sentence():
    done = shell("raise command.RunError('a')", "{} 2> /dev/full")
    assert (done.returncode, done.stdout) == (1, b"a\n")
    assert shell("raise command.RunError('a')", "{} > /dev/full 2>&1").returncode == 1


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_is_gone_is_status_1(stream):
    body = f"""
import os
read, write = os.pipe()
os.close(read)
os.dup2(write, sys.{stream}.fileno())
print("a", file=sys.{stream}, flush=True)
"""
    done = shell(body)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_missing_memory_is_a_sentence():
    done = shell("print(len(bytearray(10**10)))", "ulimit -v 1000000; {}")
    assert done.returncode == 1
    assert done.stderr.startswith(b"There is not enough memory")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["a ± b …", "a\\udcff"])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_what_a_terminal_can_not_show_is_escaped(text, encoding):
    body = f'print("{text}")\nraise command.RunError("{text}")'
    done = shell(body, PYTHONIOENCODING=encoding)
    assert done.returncode == 1
    escaped = ast.literal_eval(f'"{text}"').encode(encoding, "backslashreplace") + b"\n"
    assert (done.stdout, done.stderr) == (escaped, escaped)


@pytest.mark.parametrize("python,variables", [("-W error", {}), ("", {"PYTHONWARNINGS": "error"})])
def test_a_warning_of_a_library_ends_nothing(python, variables):
    body = "warnings.warn('old', DeprecationWarning)\nprint('goes on')"
    done = shell(body, python=python, **variables)
    assert (done.returncode, done.stdout) == (0, b"goes on\n")
    assert b"DeprecationWarning: old" in done.stderr


@pytest.mark.parametrize("backend", ["nope", "module://nope", "TkAgg"])
def test_plots_need_no_backend_of_the_users(backend):
    body = "from matplotlib import get_backend\nprint(get_backend().lower())"
    done = shell(body, MPLBACKEND=backend)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"agg\n", b"")


@pytest.mark.parametrize("python", ["-I", "-OO"])
def test_a_command_needs_nothing_of_the_environment(python):
    body = "print('goes on')"
    path = os.pathsep.join(filter(None, sys.path))
    code = f"import sys; sys.path[:] = {path!r}.split({os.pathsep!r})\n{command_of(body)}"
    done = shell(body, "env -i {}", python=python, CODE=code)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"goes on\n", b"")
