"""Pickles of plain values, read without `pickle`: a pickle is a program, and none of it is run here.

Of its opcodes, only those are followed that build dicts, lists, tuples, sets, texts, bytes, numbers, booleans and None.
Each other one (GLOBAL, REDUCE, BUILD, PERSID, EXT1 ...) is refused where it stands, before it does anything: there is
no code here that could look up a name or call it. Size, steps and keys are bounded, so that a small file stays small.
"""

from __future__ import annotations

import io
import pickletools
import re
from pathlib import Path
from typing import Any

from openmedq.errors import SourceError

MAX_BYTES = 2**26
MAX_STEPS = 2**21  # a step of one byte can build 216 (a set): at most 0.5 GB. 20,000 records take 0.6 million
MAX_KEY = 2**60  # hashes of whole numbers wrap soon above it, and a file could make them all collide
MAX_PROTOCOL = 5

_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_LENGTH_BYTES = {"SHORT_BINUNICODE": 1, "BINUNICODE": 4, "BINUNICODE8": 8, "SHORT_BINSTRING": 1, "BINSTRING": 4}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

_DOTTED = re.compile(r"[A-Za-z_][\w.]{0,80} [A-Za-z_][\w.]{0,80}", re.ASCII)
_QUOTED = re.compile(rb"""(['"])((?:[^\\]|\\[\\'"nrt]|\\x[0-9a-f]{2})*)\1\n""")  # as Python 2 quotes a text
_ESCAPED = re.compile(rb"\\(?:x(..)|(.))", re.DOTALL)
_CONTROLS = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class _Refused(Exception):  # noqa: N818 it never leaves this module: it becomes a SourceError
    """The pickle holds something that is not followed: what."""


def read_pickle(path: Path, advice: str) -> Any:
    """The plain value in a pickle file, as `load_pickle`; a file that is too large is not even opened."""
    _check_size(path.stat().st_size, str(path), advice)
    return load_pickle(path.read_bytes(), str(path), advice)


def load_pickle(data: bytes, where: str, advice: str) -> Any:
    """The plain value in a pickle; bytes that are not UTF-8 become lone surrogates, in that text alone.

    Lists and dicts may hold themselves, and one may stand in several places. What follows the end is not looked at.

    Raises:
        SourceError: in one line: `where` it is, what is refused or damaged, and `advice`.
    """
    _check_size(len(data), where, advice)
    machine = _Machine(data)
    try:
        return machine.run()
    except _Refused as refused:
        raise SourceError(f"{where}: refused at byte {machine.at}: {refused}; {advice}") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError):  # their words may repeat the file's text
        raise SourceError(f"{where}: not a whole pickle (damaged or cut at byte {machine.at}); {advice}") from None


def _check_size(size_bytes: int, where: str, advice: str) -> None:
    if size_bytes > MAX_BYTES:
        raise SourceError(f"{where}: {size_bytes} bytes are too many for a pickle of plain values; {advice}")


class _Machine:
    """The stack that a pickle's opcodes work on."""

    def __init__(self, data: bytes) -> None:
        self.at = 0  # byte of the current opcode
        self._file = io.BytesIO(data)
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # stacks below each open mark
        self._memo: dict[int, Any] = {}  # no list: an index is the file's word, and may be huge

    def run(self) -> Any:
        """Follow the opcodes to the end; the one value that is then on the stack."""
        for _ in range(MAX_STEPS):
            self.at = self._file.tell()
            opcode = _OPCODES[self._file.read(1)]
            if opcode.name == "STOP":
                (value,) = self._stack
                if self._below:
                    raise ValueError
                return value
            self._follow(opcode)
        raise _Refused(f"it builds more than {MAX_STEPS} values")

    def _follow(self, opcode: pickletools.OpcodeInfo) -> None:
        name, stack = opcode.name, self._stack
        if name in _LENGTH_BYTES:
            stack.append(self._take_text(_LENGTH_BYTES[name]))
        elif name == "STRING":
            stack.append(self._take_quoted())
        elif name in _LITERALS:
            stack.append(self._take_argument(opcode))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _GETS:
            stack.append(self._memo[self._take_argument(opcode)])
        elif name in _PUTS:
            self._memo[self._take_argument(opcode)] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP" and stack:
            stack.pop()
        elif name in ("POP", "POP_MARK"):
            self._take_marked()
        elif name == "MARK":
            self._below.append(stack)
            self._stack = []
        elif name in _TUPLES:
            items = tuple(stack[-_TUPLES[name] :])
            if len(items) < _TUPLES[name]:
                raise IndexError
            stack[-_TUPLES[name] :] = [items]
        elif name == "PROTO":
            if self._take_argument(opcode) > MAX_PROTOCOL:
                raise _Refused(f"its protocol is above {MAX_PROTOCOL}")
        elif name == "FRAME":
            self._take_argument(opcode)  # a hint for reading ahead
        else:
            self._build(opcode)

    def _build(self, opcode: pickletools.OpcodeInfo) -> None:
        match opcode.name:
            case "TUPLE" | "LIST" | "DICT":
                items = self._take_marked()
                built: tuple[Any, ...] | list[Any] | dict[Any, Any] = items
                if opcode.name == "TUPLE":
                    built = tuple(items)
                elif opcode.name == "DICT":
                    built = {}
                    _set(built, items)
                self._stack.append(built)
            case "APPEND":
                item = self._stack.pop()
                _extend(self._stack[-1], [item])
            case "APPENDS":
                items = self._take_marked()
                _extend(self._stack[-1], items)
            case "SETITEM":
                value, key = self._stack.pop(), self._stack.pop()
                _set(self._stack[-1], [key, value])
            case "SETITEMS":
                items = self._take_marked()
                _set(self._stack[-1], items)
            case "ADDITEMS":
                items = self._take_marked()
                _add(self._stack[-1], items)
            case _:
                raise self._refuse(opcode)

    def _refuse(self, opcode: pickletools.OpcodeInfo) -> _Refused:
        named = ""
        if opcode.name in ("GLOBAL", "INST"):
            named = b" ".join(self._file.readline(99).removesuffix(b"\n") for _ in range(2)).decode("latin-1")
        elif opcode.name == "STACK_GLOBAL":
            named = " ".join(item for item in self._stack[-2:] if isinstance(item, str))
        what = f" of `{named.replace(' ', '.')}`" if _DOTTED.fullmatch(named) else ""
        return _Refused(f"opcode {opcode.name}{what} builds more than plain values, and could run any code")

    def _take_argument(self, opcode: pickletools.OpcodeInfo) -> Any:
        if opcode.arg is None:
            raise ValueError
        return opcode.arg.reader(self._file)

    def _take_text(self, num_bytes: int) -> str:
        length = int.from_bytes(self._file.read(num_bytes), "little")
        return _decode(self._file.read(length))  # where the file is shorter, `run` finds no STOP

    def _take_quoted(self) -> str:
        match = _QUOTED.fullmatch(self._file.readline())
        if match is None:
            raise ValueError
        return _decode(_ESCAPED.sub(_unescape, match[2]))

    def _take_marked(self) -> list[Any]:
        """What lies above the last mark, which is closed."""
        items = self._stack
        self._stack = self._below.pop()
        return items


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")  # as Python writes it
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode()) if match[1] else _CONTROLS.get(match[2], match[2])


def _extend(built: Any, items: list[Any]) -> None:
    if not isinstance(built, list):
        raise TypeError
    built.extend(items)


def _set(built: Any, items: list[Any]) -> None:
    if not isinstance(built, dict) or len(items) % 2:
        raise TypeError
    for key, value in zip(items[::2], items[1::2], strict=True):
        built[_check_key(key)] = value


def _add(built: Any, items: list[Any]) -> None:
    if not isinstance(built, set):
        raise TypeError
    built.update(_check_key(item) for item in items)


def _check_key(key: Any) -> Any:
    """A key or a member of a set: the hash of nested tuples could take forever, that of large numbers collide."""
    if isinstance(key, str | bytes | float) or key is None or (isinstance(key, int) and abs(key) < MAX_KEY):
        return key
    raise _Refused("a key is no text and no small number")
