"""Drops on the page as a browser sends them, by HTTP."""

import json
import secrets

UPLOAD, CALL = "/gradio_api/upload", "/gradio_api/call/answer"


def form(files: dict[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of an upload of files by name."""
    boundary = secrets.token_hex(8)
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        .encode() + data + b"\r\n"
        for name, data in files.items()
    )  # fmt: skip
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return body + f"--{boundary}--\r\n".encode(), kind


def asking(*keys: str) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request for the answer for what was uploaded."""
    files = [{"path": key, "meta": {"_type": "gradio.FileData"}} for key in keys]
    return json.dumps({"data": [files]}).encode(), {"Content-Type": "application/json"}


def answered(events: str) -> str:
    """The HTML that came, or the sentence of an error in parentheses."""
    kind, data = (line.partition(": ")[2] for line in events.strip().splitlines()[-2:])
    values = json.loads(data)
    return values[0] if kind == "complete" else f"({values['error']})"
