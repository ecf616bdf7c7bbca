"""What certainly does not fit into the memory is said before it is tried."""

import types

import psutil
import pytest

import trainer as api
from tests.helpers.trainings import quick
from trainer.config import Config
from trainer.run.errors import ConfigFailedError as Failed
from trainer.training import memory

GIB = 2**30


@pytest.fixture
def sized(monkeypatch):
    """A machine of some GiB."""

    def of(gib: float) -> None:
        there = types.SimpleNamespace(total=int(gib * GIB))
        monkeypatch.setattr(psutil, "virtual_memory", lambda: there)

    return of


@pytest.mark.parametrize("size", [150, 1024])
def test_a_head_that_is_too_large_is_refused_before_the_dataset_is_read(
    size, data_dir, sized, tmp_path
):
    sized(100.0)
    config = quick(data_dir, head_units=10**6, image_size=size, width=1.0)
    with pytest.raises(Failed, match=r"--head_units=1000000 .* GiB .* Lower --head_units"):
        api.fit(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_whitening_that_is_too_large_is_refused(sized):
    config = Config(normalization="zca", image_size=1024)
    sized(7.9)
    with pytest.raises(Failed, match=r"fitted to 512 images of --image_size=1024.* 8\.0 GiB"):
        memory.require_whitening(config, 5000)
    memory.require_whitening(config, 300)
    sized(8.1)
    memory.require_whitening(config, 5000)


def test_weights_count_with_their_gradients_and_the_optimizer(sized):
    """4 x 4 x 512 inputs and 2^16 units are 2 GiB of weights: with Adam four times that."""
    settings = {"image_size": 128, "head_units": 2**16, "classes": 2}
    sized(7.9)
    with pytest.raises(Failed, match=r"take at least 8\.0 GiB with their gradients"):
        memory.require_parameters(Config(**settings))
    memory.require_parameters(Config(**settings, optimizer="sgd"))
    memory.require_parameters(Config(**settings, pooling="average"))
    sized(8.1)
    memory.require_parameters(Config(**settings))


def test_each_member_counts(sized):
    settings = {"image_size": 128, "head_units": 2**16, "classes": 2, "ensemble": 5}
    sized(39.9)
    with pytest.raises(Failed, match=r"at --image_size=128 and --ensemble=5 makes .* 40\.0 GiB "
                       r".* Lower --head_units or --ensemble, or give --pooling"):  # fmt: skip
        memory.require_parameters(Config(**settings))
    tuned = {"fine_tune_from": "block3", "image_size": 1024, "batch_size": 100}
    memory.require_batch(Config(**tuned), 100)
    with pytest.raises(Failed, match=r"at --image_size=1024 and --ensemble=5, .* Lower "
                       r"--batch_size, --ensemble or --image_size, or train fewer"):  # fmt: skip
        memory.require_batch(Config(**tuned, ensemble=5), 100)


def test_a_batch_counts_no_more_images_than_there_are(sized):
    config = Config(fine_tune_from="block1", image_size=1024, batch_size=4096)
    sized(8.0)
    with pytest.raises(Failed, match=r"A batch of 1000 images \(--batch_size=4096\) takes at"):
        memory.require_batch(config, 1000)
    memory.require_batch(config, 10)
    memory.require_batch(Config(image_size=1024, batch_size=4096), 1000)  # a head alone


def test_images_that_pass_the_network_at_once_have_to_fit(sized):
    config = Config(image_size=1024)
    sized(15.0)
    with pytest.raises(Failed, match=r"64 images of --image_size=1024 .* 16\.0 GiB"):
        memory.require_pass(config, 10_000)
    memory.require_pass(config, 10)
    memory.require_pass(config, 0)


def test_a_system_that_does_not_say_what_it_has_refuses_nothing(monkeypatch):
    def absent():
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", absent)
    memory.require_parameters(Config(head_units=10**6))
