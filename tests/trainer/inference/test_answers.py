"""The claims of streamed answers: every file has its own, and none ends the work."""

import threading

import numpy as np
import pytest

from covid_tfds.parallel import CORES
from covid_tfds.reading import encode
from covid_tfds.sources.listing import Unreadable
from tests.covid_tfds.reading.made_files import TWELVE, dicom
from tests.helpers.images import radiograph
from tests.helpers.small_networks import lively
from trainer.inference import network
from trainer.inference.answers import answers
from trainer.inference.image_files import ImageFile
from trainer.model import saved

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> network.Network:
    model = lively(classes=3)
    path = tmp_path_factory.mktemp("network") / "m.keras"
    saved.save(model, path, ("one", "two", "three"))
    return network.load(path)


def image(name: str, data: bytes, *, named: bool = True) -> ImageFile:
    return ImageFile(name, lambda: data, named)


def drawn(seed: int) -> bytes:
    return encode(radiograph(seed, (80, 90)))


def test_every_file_has_its_answer_in_order(net):
    data = {f"{i}.png": drawn(i) if i % 9 else b"no image" for i in range(150)}
    done = list(answers(net, [image(*each) for each in data.items()]))
    assert [answer.file for answer in done] == list(data)
    for i, answer in enumerate(done):
        if i % 9 == 0:
            assert (answer.error, answer.class_name) == ("not an image", None)
            assert answer.probabilities is answer.square is None
            continue
        square = net.square(radiograph(i, (80, 90)))
        (wanted,) = net.probabilities(square[None])
        assert (answer.square == square).all() and not answer.error
        assert list(answer.probabilities) == ["one", "two", "three"]
        np.testing.assert_allclose(list(answer.probabilities.values()), wanted, atol=1e-6)
        assert answer.class_name == net.class_names[wanted.argmax()]
    assert {answer.notes for answer in done} == {net.notes}


def test_what_can_not_be_read_ends_nothing(net):
    def gone() -> bytes:
        raise Unreadable("file has vanished")

    files = [ImageFile("gone.png", gone), image("a.png", b""), image("b.png", drawn(1))]
    errors = [answer.error for answer in answers(net, files)]
    assert errors == ["file has vanished", "empty file", ""]


def test_files_of_another_kind_in_folders_are_left_out_and_named(net):
    files = [
        image("in/README.md", b"read me", named=False),
        image("in/damaged.png", b"read me", named=False),
        image("in/scan.txt", drawn(1), named=False),  # an image whatever its name
        image("README.md", b"read me"),
    ]
    left_out: list[str] = []
    done = {each.file: each.error for each in answers(net, files, left_out=left_out)}
    assert left_out == ["in/README.md"]
    wrong = "not an image"
    assert done == {"in/damaged.png": wrong, "in/scan.txt": "", "README.md": wrong}


def test_nothing_of_a_person_is_in_an_answer(net):
    data = dicom(TWELVE, 12, PatientID="PERSON-7", PatientName="Doe^Jane")
    (answer,) = answers(net, [image("a.dcm", data)])
    assert answer.probabilities is not None
    assert "PERSON" not in repr(answer) and "Doe" not in repr(answer)


def test_few_files_are_read_ahead(net):
    """However many there are, and however slow the network is."""
    read, lock, data = set(), threading.Lock(), drawn(1)

    def file(i: int) -> ImageFile:
        def content() -> bytes:
            with lock:
                read.add(i)
            return data

        return ImageFile(f"{i}.png", content)

    total, counted = 2000, []
    for count, _ in enumerate(answers(net, map(file, range(total)), on_progress=counted.append), 1):
        with lock:
            assert len(read) - count < 32 + 64 * CORES + 64
    assert (count, sum(counted)) == (total, total)
