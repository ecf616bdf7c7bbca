"""A worker's line to the chief: calls that outlive a chief's restart, and signs of life."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_client
from keras_tuner.src.engine import trial as trial_lib

from trainer.run.errors import RunError
from tuning import roles
from tuning.chief import DATASET, REASON, SEARCH
from tuning.oracles import NOT_NOW, Kept
from tuning.pulse import Pulse

HUNG = 75  # exit status of a worker whose trial stood still
_IDLE = 1.0  # seconds between two questions whether there is a trial now
_AGAIN = 0.5  # seconds between two tries to reach the chief
_CALL = 120.0  # seconds for one call: bayesian thinks before it answers
_SIGN = 10.0  # most seconds between two signs of life
_LONGEST_REASON = 4000  # bytes; gRPC takes 8 KiB of metadata
_CHANNEL = (("grpc.max_reconnect_backoff_ms", 2000), ("grpc.initial_reconnect_backoff_ms", 200))


class Client(oracle_client.OracleClient):
    """KerasTuner's client of the chief's oracle, but for its hour of waiting.

    Every call may be made twice: the oracle takes a result once.
    """

    def __init__(self, oracle: Kept, search: str, dataset: str, timeout: float) -> None:
        """Connects to the chief at KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT.

        Args:
            oracle: The local one, for its space.
            search: Digest of the search, see `settings.digest`.
            dataset: Fingerprint of this worker's images.
            timeout: Seconds without a chief after which a call gives up.
        """
        self._oracle, self._timeout = oracle, timeout
        self._about = ((SEARCH, search), (DATASET, dataset))
        self.tuner_id = os.environ["KERASTUNER_TUNER_ID"]
        self._address = roles.address()
        channel = grpc.insecure_channel(self._address, _CHANNEL)
        self.stub = protos.get_service_grpc().OracleStub(channel)

    def get_space(self) -> Any:
        """The space, which is declared before the search and does not grow."""
        return self._oracle.get_space()

    def update_space(self, hyperparameters: Any) -> None:
        """Nothing is added to the space."""

    def create_trial(self, tuner_id: str) -> trial_lib.Trial:
        """The next trial; waits a moment where there is none now."""
        request = protos.get_service().CreateTrialRequest(tuner_id=tuner_id)
        trial = trial_lib.Trial.from_proto(self._call("CreateTrial", request, self._about).trial)
        if trial.status == NOT_NOW:
            time.sleep(_IDLE)
        return trial

    def update_trial(self, trial_id: str, metrics: dict, step: int = 0) -> trial_lib.Trial:
        """Reports metrics."""
        request = protos.get_service().UpdateTrialRequest(
            trial_id=trial_id, metrics=metrics, step=step
        )
        return trial_lib.Trial.from_proto(self._call("UpdateTrial", request).trial)

    def end_trial(self, trial: trial_lib.Trial) -> None:
        """Reports the end, and the reason of a failure."""
        request = protos.get_service().EndTrialRequest(trial=trial.to_proto())
        reason = (trial.message or "").encode(errors="replace")[-_LONGEST_REASON:]
        self._call("EndTrial", request, ((REASON, reason),))

    def get_trial(self, trial_id: str) -> trial_lib.Trial:
        """A trial as the chief knows it."""
        request = protos.get_service().GetTrialRequest(trial_id=trial_id)
        return trial_lib.Trial.from_proto(self._call("GetTrial", request).trial)

    @contextlib.contextmanager
    def alive(self, trial_id: str, pulse: Pulse) -> Iterator[None]:
        """Tells the chief that a trial goes on, as long as it does; ends the process if not."""
        over = threading.Event()

        def report() -> None:
            request = protos.get_service().GetTrialRequest(trial_id=trial_id)
            while not over.wait(min(self._timeout / 4, _SIGN)):
                if pulse.age() > self._timeout:
                    print(
                        f"Trial {trial_id} made no step in {self._timeout:g} s "
                        "(--worker_timeout); this worker ends.",
                        file=sys.stderr,
                        flush=True,
                    )
                    os._exit(HUNG)  # what hangs can't end by itself
                with contextlib.suppress(grpc.RpcError):
                    self.stub.GetTrial(request, timeout=_SIGN)

        reporter = threading.Thread(target=report, daemon=True)
        reporter.start()
        try:
            yield
        finally:
            over.set()
            reporter.join()

    def _call(self, name: str, request: Any, metadata: tuple = ()) -> Any:
        """One call, made again while there is no chief.

        Raises:
            RunError: The chief refuses, or was not there for the whole timeout.
        """
        until = time.monotonic() + self._timeout
        while True:
            try:
                return getattr(self.stub, name)(request, timeout=_CALL, metadata=metadata)
            except grpc.RpcError as error:
                code = error.code()
                if code == grpc.StatusCode.FAILED_PRECONDITION:
                    raise RunError(f"Refused by {self._address}: {error.details()}") from None
                gone = code in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    grpc.StatusCode.CANCELLED,
                )
                if not gone:
                    raise
                if time.monotonic() > until:
                    raise RunError(
                        f"No chief at {self._address} for {self._timeout:g} s (--worker_timeout). "
                        "Start it, or see whether the search is over."
                    ) from None
            time.sleep(_AGAIN)
