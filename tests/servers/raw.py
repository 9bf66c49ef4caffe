"""A server that sends given bytes, for answers that no HTTP library sends."""

import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[str, int], Iterable[bytes]]  # from the head of a request and the number of earlier ones


@dataclass
class Raw:
    """One host, for `execution.endpoints`."""

    endpoints: dict[str, str]
    heads: list[str] = field(default_factory=list)  # of the requests, in order of arrival


@contextmanager
def serve_raw(host: str, answer: Answer, pause_s: float = 0.0) -> Iterator[Raw]:
    """Send the pieces of each answer with a pause after each, then close the connection without a reset."""
    closing = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        raw = Raw({host: f"http://127.0.0.1:{listening.getsockname()[1]}/"})
        thread = threading.Thread(target=_listen, args=(listening, raw, answer, pause_s, closing), daemon=True)
        thread.start()
        try:
            yield raw
        finally:
            closing.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _listen(listening: socket.socket, raw: Raw, answer: Answer, pause_s: float, closing: threading.Event) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # it is closed
            return
        threading.Thread(target=_send, args=(connection, raw, answer, pause_s, closing), daemon=True).start()


def _send(connection: socket.socket, raw: Raw, answer: Answer, pause_s: float, closing: threading.Event) -> None:
    with connection, suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head:
            head += (came := connection.recv(65536))
            if not came:
                return
        raw.heads.append(head.decode("latin-1"))
        for piece in answer(raw.heads[-1], len(raw.heads) - 1):
            connection.sendall(piece)
            if closing.wait(pause_s):
                return
        connection.shutdown(socket.SHUT_WR)


def answer_with(data: bytes, status: str = "200 OK", **headers: object) -> bytes:
    """A complete answer; `Content-Length` is that of the data unless given."""
    sent = {"Connection": "close", "Content_Length": len(data), **headers}
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in sent.items() if value is not None]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode("latin-1") + data


def start_of(head: str) -> int:
    """The first byte that a request asks for."""
    asked = re.search(r"^Range: bytes=(\d+)-", head, re.MULTILINE)
    return int(asked[1]) if asked else 0
