"""A network's answers for files, streamed: all cores read ahead while it computes."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence

import numpy as np

from trainer.inference import image_files
from trainer.inference.image_files import ImageFile
from trainer.inference.network import BATCH, Network


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a network makes of one file.

    Attributes:
        file: Its name.
        probabilities: By class name, 0..1; they sum to 1. None where the file can't be used.
        error: Why it can't be used, else "".
        notes: Sentences on what the answer is worth; see `notes.notes_of`.
        square: uint8 [size, size, 1], 0..255: what the network saw.
    """

    file: str
    probabilities: Mapping[str, float] | None
    error: str = ""
    notes: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    square: np.ndarray | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def class_name(self) -> str | None:
        """The most probable class, the first of equals; None where the file can't be used."""
        if self.probabilities is None:
            return None
        return max(self.probabilities, key=self.probabilities.__getitem__)


def answers(
    network: Network,
    files: Iterable[ImageFile],
    *,
    on_progress: Callable[[int], object] = lambda done: None,
    left_out: MutableSequence[str] | None = None,
) -> Iterator[Answer]:
    """Answers for files, in their order; some hundred of them are in memory at a time.

    Args:
        network: The network.
        files: What is to be read. One that can't be used has an answer with its error.
        on_progress: Called with the number of files of each batch.
        left_out: Takes the names of what lies among the images of a folder or a zip and is none,
            by its content and by its name; they have no answer.
    """

    results = image_files.read(files, network.square)
    while batch := list(itertools.islice(results, BATCH)):
        for file, answer in zip(*_answered(network, batch), strict=True):
            if file.is_left_out(answer.error):
                if left_out is not None:
                    left_out.append(file.name)
            else:
                yield answer
        on_progress(len(batch))


def _answered(
    network: Network, batch: Sequence[tuple[ImageFile, np.ndarray | str]]
) -> tuple[list[ImageFile], list[Answer]]:
    squares = [each for _, each in batch if not isinstance(each, str)]
    rows = iter(network.probabilities(np.stack(squares)) if squares else ())
    made = []
    for file, each in batch:
        if isinstance(each, str):
            made.append(Answer(file.name, None, each, network.notes))
            continue
        # By way of text: as many digits as bring the same float32 back.
        shares = (float(str(share)) for share in next(rows))
        probabilities = dict(zip(network.class_names, shares, strict=True))
        made.append(Answer(file.name, probabilities, "", network.notes, each))
    return [file for file, _ in batch], made
