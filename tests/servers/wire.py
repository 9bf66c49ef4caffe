"""Sends replies in pieces, with pauses or not to the end, as each reply requires."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import unquote, urlsplit

from tests.servers.exchange import Reply, Request

_PIECE_BYTES = 16_384


class Play(Protocol):
    """The source of the replies."""

    closing: threading.Event  # ends all pauses

    def answer(self, request: Request) -> Reply: ...


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests and sends replies."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        host, slash, path = parts.path.removeprefix("/").partition("/")
        request = Request(unquote(host), slash + unquote(path), parts.query, self.headers)
        self._send(request, self.server.play.answer(request))

    def _send(self, request: Request, reply: Reply) -> None:
        stop = reply.content.size_bytes if reply.stop is None else reply.stop
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif reply.is_endless:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(stop - reply.start))
        self.end_headers()
        length = stop - reply.start
        is_cut = reply.closes_at is not None and reply.closes_at < length
        for piece in self._pieces(reply, (reply.closes_at or 0) if is_cut else length):
            request.num_bytes += len(piece)  # before the client has it, so that tests find it counted
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.is_chunked else piece)
        if is_cut:
            self.close_connection = True
        elif reply.is_chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _pieces(self, reply: Reply, length: int) -> Iterator[bytes]:
        closing = self.server.play.closing
        done = 0
        while done < length or reply.stalls_at == done:
            if reply.stalls_at == done:
                closing.wait(reply.stalls_s)
            if closing.is_set() or done == length:
                return
            end = min(length, done + _PIECE_BYTES)
            if reply.stalls_at is not None and done < reply.stalls_at:
                end = min(end, reply.stalls_at)
            yield reply.content.read(reply.start + done, reply.start + end)
            done = end

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: `Server.requests` has all requests."""


class Listener(ThreadingHTTPServer):
    """A port with its connections, which `close` ends."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.play: Play
        self._connections: set[socket.socket] = set()

    def process_request(self, request: socket.socket, client_address: object) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
