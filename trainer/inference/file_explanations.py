"""One call of `trainer.explain`: from paths to pictures, a table and the check of the maps."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from trainer.inference import explanation_plots, image_files, randomized
from trainer.inference.explanations import Explanation, explained
from trainer.inference.image_files import ImageFiles
from trainer.inference.lungs import Masks
from trainer.inference.network import Network, load
from trainer.run import files
from trainer.run.errors import RunError
from trainer.run.progress import columns, fitted, note, progress, working
from trainer.run.text import counted, listed, number, shortened, table

_END = ".explained.png"  # behind the name of a file, so that no picture takes an image's place
_NAMED = 3  # paths of a message
_LONGEST = 180  # bytes of a name, so that there is room for what is written beside it meanwhile
_LONG = 34  # letters of a name on the screen


@dataclasses.dataclass(frozen=True, eq=False)
class Explained:
    """What `explain` made.

    Attributes:
        network: Whose answers were explained.
        explanations: One an image.
        pictures: Where each is drawn; None where it is not.
        correlations: How alike the Grad-CAM maps are with those of random weights, of
            `randomized.correlations`.
        errors: Of each file that can't be used, the reason.
        masks: The folder of masks of lungs; None: none was given.
    """

    network: Network
    explanations: list[Explanation]
    pictures: list[pathlib.Path | None]
    correlations: dict[str, np.ndarray]
    errors: dict[str, str]
    masks: pathlib.Path | None = None

    @property
    def check(self) -> str:
        """How much of the maps is the network's, in words; "" without any image."""
        return randomized.sentence(self.correlations) if self.explanations else ""


def explain(
    run: str | os.PathLike,
    paths: Sequence[str | os.PathLike],
    *,
    class_name: str = "",
    masks: str | os.PathLike = "",
    output: str | os.PathLike = "",
) -> Explained:
    """Explains a network's answers for files, and draws them.

    Args:
        run: A run folder, or a file .keras.
        paths: Of files, folders and zips, and patterns; see `ImageFiles`.
        class_name: The class that the maps are of; "": of each image the most probable.
        masks: A folder of masks of the lungs, see `lungs.Masks`; "": none.
        output: A folder for a picture of each, made where it is missing; "": none are drawn.

    Raises:
        ConfigError: The network has no such class.
        RunError: There is no network, no file, or no folder of masks; or a mask is none.
    """
    with working("loading the network"):
        network = load(run)
    of_lungs = Masks(masks) if masks else None
    with working("reading the files"):
        images, errors = _read(ImageFiles(paths), paths)
    folder = pathlib.Path(files.expanded(output)) if output else None
    if folder is not None and images:
        files.make_folder(folder)
    pictures = _pictures([name for name, _ in images], folder)
    if not images:
        return Explained(network, [], [], {}, errors)
    left = iter(pictures)
    with progress(len(images), "explaining") as bar:

        def draw(explanation: Explanation) -> None:
            if path := next(left):
                explanation_plots.panels(explanation, network.notes, path)
            bar.update(1)

        made, correlations = explained(network, images, class_name, of_lungs, draw)
    masked = None if of_lungs is None else of_lungs.folder
    return Explained(network, made, pictures, correlations, errors, masked)


def _read(
    there: ImageFiles, paths: Sequence[str | os.PathLike]
) -> tuple[list[tuple[str, np.ndarray]], dict[str, str]]:
    """Names and pixels of the files that can be used, and of the others the reasons."""
    images, errors = [], {}
    own = [file for file in there if file.named or not file.name.endswith(_END)]  # not ours
    for file, each in image_files.read(own, lambda pixels: pixels):
        if not isinstance(each, str):
            images.append((file.name, each))
        elif not file.is_left_out(each):
            errors[file.name] = each
    if not images and not errors:
        where = f" in {listed(list(map(str, paths[:_NAMED])))}" if paths else ": no path was given"
        raise RunError(f"There is no image{where}.")
    return images, errors


def _pictures(names: Sequence[str], folder: pathlib.Path | None) -> list[pathlib.Path | None]:
    """A path for the picture of each image.

    Equal names have their folder's before them; where that is equal, too, later ones are numbered.
    """
    paths: list[pathlib.Path | None] = []
    of_name = collections.Counter(map(os.path.basename, names))
    counts: collections.Counter[str] = collections.Counter()
    for above, name in map(os.path.split, names):
        if of_name[name] > 1 and os.path.basename(above):
            name = f"{os.path.basename(above)}-{name}"
        name = os.fsencode(name)[:_LONGEST].decode(errors="ignore")
        counts[name] += 1
        number_ = f"-{counts[name]}" if counts[name] > 1 else ""
        paths.append(folder and folder / f"{name}{number_}{_END}")
    return paths


def show(result: Explained) -> None:
    """Prints a table, the check, where the pictures are, and what the answers are worth."""
    made, errors = result.explanations, result.errors
    with_lungs = any(each.lungs for each in made)
    without = [each.name for each in made if not each.lungs] if result.masks else []
    long = _LONG if columns() else max([len(each.name) for each in made], default=0)
    header = ["file", "class", "p"] + ["map in lungs", "lungs"] * with_lungs
    if made:
        print(table([header, *(_cells(each, with_lungs, long) for each in made)], align="<<"))
        print()
        if with_lungs:
            print(fitted(_of_lungs(made)))
        print(fitted(result.check))
        if result.pictures[0]:
            print(fitted(f"{counted(len(made), 'picture')}: {result.pictures[0].parent}"))
    for sentence in result.network.worth():
        print(fitted(sentence))
    if without:
        count = f"{len(without)} of {counted(len(made), 'image')}"
        note(f"--masks {result.masks} has no mask of {count}, first {without[0]}.")
    for name, reason in errors.items():
        note(f"{name}: {reason}")
    if errors:
        note(f"{len(errors)} of {counted(len(errors) + len(made), 'file')} can't be used.")


def _cells(each: Explanation, with_lungs: bool, long: int) -> list[str]:
    name = each.name if len(each.name) <= long else f"…{each.name[1 - long :]}"
    cells = [name, shortened(each.class_names[each.label]), number(each.probabilities[each.label])]
    if with_lungs:
        inside = [share if np.isfinite(share) else None for share in each.lungs or ()]
        cells += [number(share, decimals=2) for share in inside or (None, None)]
    return cells


def _of_lungs(made: Sequence[Explanation]) -> str:
    inside = [each.lungs for each in made if each.lungs and np.isfinite(each.lungs.share)]
    if not inside:
        return "No map of an image with a mask has anything to show."
    share, area = np.mean(np.array(inside), axis=0)
    text = (
        f"Inside the lungs lie {share:.2f} of a Grad-CAM map on average, and {area:.2f} of the "
        "square: a map without any preference would have as much there."
    )
    left = sum(not each.lungs for each in made)
    return text + f" {counted(left, 'image')} had no mask." * bool(left)
