"""What the dataset says when its user has to mend something."""

import sys

from absl import app


class DatasetError(Exception):
    """A source, table or request that can't be used; the message says what and how to mend it."""


class _PlainMessage(app.ExceptionHandler):
    """Shows a `DatasetError` under `tfds build` as its message, without a traceback."""

    def wants(self, exc: BaseException) -> bool:
        return isinstance(exc, DatasetError)

    def handle(self, exc: BaseException) -> None:
        # absl raises the error again once its handlers are done; what prints it then is this hook.
        sys.excepthook = lambda *_: print(f"\n{exc}", file=sys.stderr)


app.install_exception_handler(_PlainMessage())
