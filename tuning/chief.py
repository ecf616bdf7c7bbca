"""The chief: serves the oracle to workers, and does without those that die or hang.

KerasTuner's own server waits for ever for a worker that is gone. This one serves the same calls and
notes when each worker was last heard of: asking for a trial and, while one runs, asking after it.
"""

import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_chief
from keras_tuner.src.engine import trial as trial_lib

from trainer.run.errors import RunError
from tuning.oracles import Kept

# What workers say beside KerasTuner's messages, which have no room for it.
SEARCH, DATASET, REASON = "search", "dataset", "reason-bin"
_TICK = 0.2  # seconds
_FAREWELL = 10.0  # seconds in which workers that wait for a trial hear that there is none


class Servicer(oracle_chief.OracleServicer):
    """KerasTuner's, with leases.

    Attributes:
        seen: When each worker was last heard of, by its id.
    """

    def __init__(self, oracle: Kept, search: str) -> None:
        """Has seen no worker yet.

        Args:
            oracle: Of the search.
            search: Digest of the search that workers must be part of.
        """
        super().__init__(oracle)
        self._search, self.seen = search, {}

    def CreateTrial(self, request: Any, context: grpc.ServicerContext) -> Any:
        """A trial, for a worker of the same search with the same images."""
        metadata = dict(context.invocation_metadata())
        if metadata.get(SEARCH) != self._search:
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                "the chief's flags are others than this worker's. Start all with the same.",
            )
        if not self.oracle.saw(metadata.get(DATASET, "")):
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                "this worker's images are others than those that the search has seen. Build the "
                "same dataset on all machines.",
            )
        self.seen[request.tuner_id] = time.monotonic()
        return super().CreateTrial(request, context)

    def GetTrial(self, request: Any, context: grpc.ServicerContext) -> Any:
        """A trial; who asks after the one that it runs is alive."""
        for tuner_id, trial in list(self.oracle.ongoing_trials.items()):
            if trial.trial_id == request.trial_id:
                self.seen[tuner_id] = time.monotonic()
        return super().GetTrial(request, context)

    def EndTrial(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Ends a trial with its reason, which KerasTuner's message leaves behind."""
        trial = trial_lib.Trial.from_proto(request.trial)
        reason = dict(context.invocation_metadata()).get(REASON, b"")
        trial.message = reason.decode(errors="replace") or None
        self.oracle.end_trial(trial)
        return protos.get_service().EndTrialResponse()


def serve(
    oracle: Kept,
    *,
    address: str,
    search: str,
    timeout: float,
    stop: Callable[[], None],
) -> None:
    """Serves until all trials have ended.

    Args:
        oracle: Of the search.
        address: HOST:PORT to listen on.
        search: Digest of the search.
        timeout: Seconds after which a silent worker is taken for dead.
        stop: Called several times a second; may raise to end the search.

    Raises:
        RunError: The address can't be had.
    """
    # One thread: KerasTuner's calls are handled one after the other.
    # Without the option a second chief could take the same port, and the system would share out the
    # workers among the two.
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=1), options=(("grpc.so_reuseport", 0),)
    )
    servicer = Servicer(oracle, search)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        raise RunError(
            f"The chief can't listen on {address}. Give an address of this machine and a free port "
            "as KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT."
        ) from None
    server.start()
    begun = time.monotonic()
    try:
        while not _over(oracle, servicer):
            stop()
            time.sleep(_TICK)
            _take_back(oracle, servicer.seen, begun, timeout)
        until = time.monotonic() + _FAREWELL
        while oracle.tuner_ids and time.monotonic() < until:
            time.sleep(_TICK)
    finally:
        server.stop(1).wait()


def _over(oracle: Kept, servicer: Servicer) -> bool:
    if oracle.open_trials or not oracle.trials:
        return False
    if servicer.stop_triggered:
        return True
    # With nobody there to ask, the chief asks: the last worker may have died behind its last trial.
    return not oracle.tuner_ids and oracle.is_exhausted()


def _take_back(oracle: Kept, seen: dict[str, float], begun: float, timeout: float) -> None:
    """Takes trials back from silent workers; who ran one before this chief began has time, too."""
    now = time.monotonic()
    for tuner_id in {*oracle.ongoing_trials, *oracle.tuner_ids}:
        if now - seen.get(tuner_id, begun) > timeout:
            oracle.take_back(tuner_id, f"its worker made no step in {timeout:g} s")
