"""Chief and workers over real gRPC, as threads; the trials are not trained."""

import socket
import subprocess
import sys
import textwrap
import threading
import time

import keras_tuner
import pytest
from keras_tuner.src.engine import trial as trial_lib

from tests.helpers.commands import ROOT
from tests.helpers.searches import metrics_of, open_oracle, run_trials
from trainer.run.errors import RunError
from tuning import chief, processes, search, worker
from tuning.folder import Folder
from tuning.pulse import Pulse

PATIENCE = 2.0  # --worker_timeout in these tests


class Chief:
    """A chief in a thread, which can be stopped as if it were killed, but for its port."""

    def __init__(self, folder, port, trials=4, search="digest"):
        self.oracle = open_oracle("random", folder, trials=trials)
        self._stop, self.error = False, None
        self.thread = threading.Thread(target=self._serve, args=(port, search), daemon=True)
        self.thread.start()

    def _serve(self, port, search):
        try:
            chief.serve(self.oracle, address=f"127.0.0.1:{port}", search=search, timeout=PATIENCE,
                        stop=self._look)  # fmt: skip
        except InterruptedError:
            pass
        except RunError as error:
            self.error = error

    def _look(self):
        if self._stop:
            raise InterruptedError

    def stop(self):
        self._stop = True
        self.thread.join(30)

    def ended(self, seconds=30):
        self.thread.join(seconds)
        return not self.thread.is_alive()


@pytest.fixture
def port(monkeypatch):
    number = processes.free_port()
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(number))
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "unnamed")
    return number


def client(folder, search="digest", dataset="images", timeout=20.0):
    return worker.Client(open_oracle("random", folder / "nowhere"), search, dataset, timeout)


class Named:
    """A client under the name of a worker, as `run_trials` takes an oracle."""

    def __init__(self, line, name):
        self._line, self._name = line, name
        self.update_trial, self.end_trial = line.update_trial, line.end_trial

    def create_trial(self, _):
        return self._line.create_trial(self._name)


def test_two_workers_share_the_trials_and_the_chief_ends(tmp_path, port):
    lead = Chief(tmp_path, port, trials=12)
    workers = [
        threading.Thread(target=run_trials, args=(Named(client(tmp_path), name),))
        for name in ("a", "b")
    ]
    for each in workers:
        each.start()
    for each in workers:
        each.join(30)
    assert lead.ended()
    (tmp_path / "alone").mkdir()
    alone = open_oracle("random", tmp_path / "alone", trials=12)
    run_trials(alone)
    assert {i: t.hyperparameters.values for i, t in lead.oracle.trials.items()} == {
        i: t.hyperparameters.values for i, t in alone.trials.items()
    }
    assert {t.status for t in lead.oracle.trials.values()} == {"COMPLETED"}


def test_a_dead_workers_trial_is_given_away_and_the_chief_ends(tmp_path, port):
    lead, line = Chief(tmp_path, port), client(tmp_path)
    lost = line.create_trial("dead")  # and never heard of again
    run_trials(Named(line, "alive"))  # comes to the end of the others before that is noticed
    assert lead.ended()
    assert lead.oracle.deaths == {lost.trial_id: 1}
    assert sorted(lead.oracle.trials) == ["0", "1", "2", "3"]
    assert {t.status for t in lead.oracle.trials.values()} == {"COMPLETED"}


def test_a_worker_with_signs_of_life_keeps_its_trial(tmp_path, port):
    Chief(tmp_path, port)
    line = client(tmp_path, timeout=PATIENCE)
    pulse = Pulse()
    trial = line.create_trial("slow")
    with line.alive(trial.trial_id, pulse):
        for _ in range(4):
            time.sleep(PATIENCE / 2)
            pulse.beat()
    assert client(tmp_path).create_trial("other").trial_id != trial.trial_id


def test_the_chief_ends_when_the_last_worker_died_behind_the_last_trial(tmp_path, port):
    lead, line = Chief(tmp_path, port, trials=2), client(tmp_path)
    run_trials(Named(line, "dead"), stop_after=2)  # does not ask whether there is more
    assert lead.ended()


def test_a_chief_that_comes_back_goes_on_and_no_call_is_lost(tmp_path, port):
    first, line = Chief(tmp_path, port), client(tmp_path)
    trial = line.create_trial("worker")
    first.stop()
    back = threading.Timer(1.0, lambda: chiefs.append(Chief(tmp_path, port)))
    chiefs: list[Chief] = []
    back.start()
    line.update_trial(trial.trial_id, metrics_of(trial))  # there is no chief now
    trial.status = "COMPLETED"
    line.end_trial(trial)
    run_trials(Named(line, "worker"))
    assert chiefs[0].ended()
    assert len(chiefs[0].oracle.end_order) == 4


def test_an_idle_worker_sleeps_between_polls(tmp_path, port):
    lead, line = Chief(tmp_path, port, trials=1), client(tmp_path)
    lead.oracle.populate_space = lambda _: {"status": "IDLE"}
    begin = time.monotonic()
    for _ in range(3):
        assert line.create_trial("idle").status == "IDLE"
    assert time.monotonic() - begin >= 3.0


def test_the_reason_of_a_failure_reaches_the_chief(tmp_path, port):
    lead, line = Chief(tmp_path, port, trials=1), client(tmp_path)
    trial = line.create_trial("worker")
    failed = trial_lib.Trial(trial.hyperparameters, trial.trial_id, "FAILED")
    failed.message = "Out of memory: ünd more" + " und mehr ü" * 1000
    line.end_trial(failed)
    assert line.create_trial("worker").status == "STOPPED"
    assert lead.ended()
    assert lead.oracle.trials["0"].message.endswith(" und mehr ü" * 300)


@pytest.mark.parametrize(
    ("other", "words"), [({"search": "x"}, "flags are others"), ({"dataset": "x"}, "images are")]
)
def test_a_worker_of_another_search_or_with_other_images_is_refused(tmp_path, port, other, words):
    Chief(tmp_path, port)
    client(tmp_path).create_trial("first")
    with pytest.raises(RunError, match=words):
        client(tmp_path, **other).create_trial("second")


def test_without_a_chief_a_worker_gives_up_after_its_timeout(tmp_path, port):
    begin = time.monotonic()
    with pytest.raises(RunError, match="No chief at 127"):
        client(tmp_path, timeout=1.5).create_trial("alone")
    assert 1.5 <= time.monotonic() - begin < 10


def test_an_address_that_is_taken_is_an_error(tmp_path, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        other = Chief(tmp_path, port)
        assert other.ended()
    assert "can't listen on" in str(other.error)


def test_a_second_chief_at_the_same_address_is_refused(tmp_path, port):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = Chief(tmp_path / "first", port)
    client(tmp_path).create_trial("worker")  # it listens
    second = Chief(tmp_path / "second", port)
    assert second.ended()
    assert "can't listen on" in str(second.error)
    first.stop()


class Orphaned(keras_tuner.HyperModel):
    """Its trial is trained, but when it ends there is no chief any more."""

    def __init__(self, lead):
        super().__init__()
        self._lead = lead

    def build(self, hp):
        pass

    def fit(self, hp, model):
        self._lead.stop()
        return {"val_accuracy": 0.5}


def test_a_trial_that_ends_without_a_chief_has_not_failed(tmp_path, port):
    lead = Chief(tmp_path, port)
    line, pulse = client(tmp_path, timeout=1.5), Pulse()
    tuner = search.Tuner(open_oracle("random", tmp_path / "nowhere"), Orphaned(lead),
                         Folder(tmp_path / "worker"), pulse, lambda: None)  # fmt: skip
    tuner.work_for(line)
    with pytest.raises(RunError, match="No chief at"):
        search.run(tuner)
    assert [trial.status for trial in lead.oracle.trials.values()] == ["RUNNING"]


def test_a_hung_trial_ends_its_worker_with_a_status_of_its_own(tmp_path, port):
    Chief(tmp_path, port)
    program = f"""
        import pathlib, time
        from tests.helpers.searches import open_oracle
        from tuning.pulse import Pulse
        from tuning.worker import Client
        oracle, pulse = open_oracle("random", pathlib.Path({str(tmp_path / "nowhere")!r})), Pulse()
        line = Client(oracle, "digest", "images", 1.0)
        trial = line.create_trial("hung")
        with line.alive(trial.trial_id, pulse), pulse.watched():
            time.sleep(60)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, timeout=50,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == worker.HUNG
    assert "made no step in 1 s (--worker_timeout)" in done.stderr
