"""What the dataset says when its user has to mend something."""

from absl import app


class DatasetError(Exception):
    """A source, table or request that can't be used; the message says what and how to mend it."""


class _PlainMessage(app.ExceptionHandler):
    """Shows a `DatasetError` under `tfds build` as its message, without a traceback."""

    def wants(self, exc: BaseException) -> bool:
        return isinstance(exc, DatasetError)

    def handle(self, exc: BaseException) -> None:
        raise SystemExit(f"\n{exc}") from None


app.install_exception_handler(_PlainMessage())
