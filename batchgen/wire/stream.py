"""An answer as it arrives: image data to its sink, everything else to a small skeleton.

    body bytes ──> ReplyStream.feed ──┬─ base64 of an image ──> decoded ──> ImageSink.write
                                      └─ all other bytes ──────────────────> skeleton

Nearly all of an answer is one or a few base64 strings of megabytes; the rest is a kilobyte or two
of JSON. The stream therefore follows just enough of the JSON to know, at the first quote of a
string, whether it is the `data` of an `inlineData`: it keeps a stack of the open containers with
their current keys. Such a string goes to a sink, and its number stands in the skeleton in its
place (a server's own string never stands there, so the two cannot be mistaken for each other).

Memory: the skeleton, about 3 MiB at most, and nothing of the images. A string of more than 1 MiB
that is no image is shortened to that, and to 1 KiB once there are 2 MiB; a secret is taken out of
it first, since one that is cut in two is not found any more. Where an answer has tens of thousands
of values, no more than a hundred members are kept of each further container besides those with a
picture in them: a parser makes up to two hundred bytes of one. The document stays valid, and
`is_shortened` says so. Nothing here waits or touches a file; whoever feeds the stream paces it.
"""

import json
import re
from collections.abc import Callable
from typing import Final, Protocol

from batchgen.errors import BadReply, NotTheApi, TooLarge
from batchgen.wire.base64_stream import Base64Error, Base64Stream

MAX_SKELETON_BYTES: Final = 3 << 20
MAX_STRING_BYTES: Final = 1 << 20
_MUCH_BYTES: Final = 2 << 20
_MAX_FURTHER_BYTES: Final = 1 << 10
# Beyond these bounds, so that what stands on one of them is whole: a key in any of its spellings.
_MARGIN_BYTES: Final = 64 << 10
# An answer with many values, or much text, keeps no more than so many members of each container.
MANY_VALUES: Final = 20_000
MAX_VALUES: Final = 2 * MANY_VALUES
_MAX_MEMBERS: Final = 100
# Braces, brackets, colons, commas and strings: some seconds of work, in pieces.
MAX_MARKS: Final = 8_000_000
MAX_DEPTH: Final = 100
MAX_IMAGES: Final = 100

# Marks, and strings that are whole, short and without escapes: nearly all of those that there are.
# A key comes with its colon.
_STRUCTURE = re.compile(rb'"(?:([^"\\]{0,64})"(?:[ \t\r\n]{0,8}(:))?)?|[{}\[\]:,]')
_MUCH_SPACE = re.compile(rb"[ \t\r\n]{2,}")
_LITTLE_BYTES: Final = 64
_STRING_BODY = re.compile(rb'(?:[^"\\]+|\\.)*+', re.DOTALL)
_WHOLE_ESCAPES = re.compile(rb'(?:[^"\\]+|\\u[0-9a-fA-F]{4}|\\[^u])*+', re.DOTALL)
# The same, and malformed ones: all but one that goes on behind the end of the text.
_UNCUT_ESCAPES = re.compile(
    rb"(?:[^\\]+|\\u[0-9a-fA-F]{4}|\\u(?![0-9a-fA-F]{0,3}\Z)|\\[^u])*+", re.DOTALL
)
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_IMAGE_PARENTS: Final = frozenset({"inlineData", "inline_data"})
_BOM: Final = b"\xef\xbb\xbf"
_QUOTE: Final = 0x22
# The groups of a string in _STRUCTURE, by what it is.
_WHOLE: Final = 1
_WITH_COLON: Final = 2
_COMMA: Final = 0x2C
_WHITESPACE: Final = b" \t\r\n"
# What JSON lets a backslash stand before, as far as base64 can hold it.
_SHORT_ESCAPES: Final = {b"/": b"/", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"f": b"\f"}
_NO_BASE64: Final = b"\xff"


class ImageSink(Protocol):
    """Where the bytes of one image go."""

    def write(self, data: bytes) -> None:
        """Take the next bytes, in order."""

    def close(self, fault: str | None) -> None:
        """The image's text has ended; `fault` says why its data cannot be whole, if so."""


class _Container:
    """An open object or array: the key being read or valued, and what is expected next.

    Attributes:
        n_members: How many of its members have ended.
        start, n_values, n_images: Where its present member begins in the skeleton, and what had
            been counted before it.
    """

    __slots__ = ("at_key", "is_object", "key", "n_images", "n_members", "n_values", "start")

    def __init__(self, start: int, n_values: int, n_images: int, *, is_object: bool) -> None:
        self.is_object = is_object
        self.at_key = is_object
        self.key = ""
        self.n_members = 0
        self.start = start
        self.n_values = n_values
        self.n_images = n_images


class ReplyStream:
    """Parse one JSON answer from chunks cut anywhere.

    Feed every chunk, then call `end()` and `skeleton()`. An image's sink is opened at its first
    quote, so an answer that never comes opens nothing.

    What holds more than a sane answer (depth, images, skeleton) is followed to its end all the
    same, for the images in it, and refused then. Syntax is checked once, on the skeleton, by
    whoever parses it.

    Raises:
        NotTheApi: The body begins like a web page.
        TooLarge: It is nothing but structure, and there is no end to it.
    """

    def __init__(
        self,
        open_sink: Callable[[int], ImageSink],
        redact: Callable[[bytes], bytes] = lambda text: text,
    ) -> None:
        """Set where images go: `open_sink(n)` is called at the start of the n-th, from 0.

        What `redact` takes out of a string is gone before that is shortened.
        """
        self._open_sink = open_sink
        self._redact = redact
        self._skeleton = bytearray()
        self._stack: list[_Container] = []
        self._n_below = 0
        self._n_marks = 0
        self._n_values = 0
        self._excess: str | None = None
        self._read: Callable[[bytes, int], int] = self._read_start
        self._held = b""
        self._string_start = 0
        self._max_string_bytes = MAX_STRING_BYTES
        self._string_is_key = False
        self._sink: ImageSink | None = None
        self._base64 = Base64Stream()
        self._fault: str | None = None
        self.n_images = 0
        self.is_shortened = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body, of any length."""
        if self._held:
            chunk, self._held = self._held + chunk, b""
        at, end = 0, len(chunk)
        while at < end:
            at = self._read(chunk, at)
        if len(self._skeleton) > MAX_SKELETON_BYTES + MAX_STRING_BYTES:
            self._exceeds(f"with more than {MAX_SKELETON_BYTES >> 20} MiB besides its pictures")
        if self._n_values > MAX_VALUES:
            self._exceeds(f"with more than {MAX_VALUES:,} values that cannot be left out")
        if self._n_marks > MAX_MARKS:
            raise TooLarge(f"an answer with more than {MAX_MARKS:,} marks of JSON", tries=0)
        if self._excess is not None and self._read == self._read_structure:
            self._skeleton.clear()  # nobody reads it any more

    def end(self) -> None:
        """Say that all of the body has been fed.

        Raises:
            BadReply: It holds more than a sane answer; may be billed, and is not asked for again.
        """
        if self._excess is not None:
            raise BadReply(f"an answer {self._excess}", tries=0)

    def skeleton(self) -> bytes:
        """The answer without its images, each replaced by its number as a string.

        After a cut answer it is the beginning of a document, and no image is closed.
        """
        return bytes(self._skeleton)

    @property
    def n_bytes(self) -> int:
        """How large the skeleton is."""
        return len(self._skeleton)

    @property
    def is_whole(self) -> bool:
        """Whether the outermost object or array has been closed, and can be read."""
        return (
            self._excess is None
            and not self._stack
            and self._skeleton.rstrip(_WHITESPACE).endswith((b"}", b"]"))
        )

    # Each reader takes the chunk from a position and returns the position where it stopped:
    # at the end of the chunk, or where another reader goes on.

    def _read_start(self, chunk: bytes, at: int) -> int:
        """Skip a byte order mark; then white space is skipped, and a web page seen as such."""
        head = chunk[at:]
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._held = head
            return len(chunk)
        self._read = self._read_space
        return at + len(_BOM) if head.startswith(_BOM) else at

    def _read_space(self, chunk: bytes, at: int) -> int:
        head = chunk[at:].lstrip(_WHITESPACE)
        if head.startswith(b"<"):
            raise NotTheApi(
                "the address answers with a web page instead of the API: check the base URL"
            )
        if head:
            self._read = self._read_structure
        return len(chunk) - len(head)

    def _read_structure(self, chunk: bytes, at: int) -> int:
        """Follow braces, brackets, colons and commas up to the next string."""
        skeleton, stack = self._skeleton, self._stack
        for token in _STRUCTURE.finditer(chunk, at):
            start, end = token.span()
            mark = chunk[start]
            self._n_marks += 1
            if mark == _QUOTE:
                is_key, kind = self._is_at_key, token.lastindex
                if is_key and kind == _WITH_COLON:
                    stack[-1].key = token[1].decode("utf-8", "replace")
                    stack[-1].at_key = False
                elif is_key or kind != _WHOLE or self._is_at_image:
                    self._keep(chunk, at, start + 1)
                    self._begin_string()
                    return start + 1
            if start - at < _LITTLE_BYTES:
                skeleton += chunk[at:end]
            else:
                self._keep(chunk, at, start)
                skeleton += token[0]
            if mark != _QUOTE:
                self._follow(mark)
            at = end
        self._keep(chunk, at, len(chunk))
        return len(chunk)

    @property
    def _is_at_key(self) -> bool:
        """Whether a string that begins here is a key."""
        stack = self._stack
        return bool(stack) and stack[-1].at_key and not self._n_below

    @property
    def _is_at_image(self) -> bool:
        """Whether a string that begins here is the data of an image."""
        stack = self._stack
        return (
            len(stack) > 1
            and stack[-1].key == "data"
            and stack[-2].key in _IMAGE_PARENTS
            and not self._n_below
            and not stack[-1].at_key
        )

    def _keep(self, chunk: bytes, at: int, end: int) -> None:
        """Add a piece of structure to the skeleton; of much white space a little will do."""
        piece = chunk[at:end]
        self._skeleton += piece if end - at < _LITTLE_BYTES else _MUCH_SPACE.sub(b" ", piece)

    def _follow(self, mark: int) -> None:
        stack = self._stack
        match mark:
            case 0x2C if stack and not self._n_below:  # , a key follows in an object
                stack[-1].at_key = stack[-1].is_object
                self._end_member(stack[-1], mark)
            case 0x7B | 0x5B if len(stack) == MAX_DEPTH:
                self._exceeds(f"nested deeper than {MAX_DEPTH} levels")
                self._n_below += 1
            case 0x7B | 0x5B:  # { [
                self._n_values += 1
                counted = (len(self._skeleton), self._n_values, self.n_images)
                stack.append(_Container(*counted, is_object=mark == 0x7B))  # noqa: PLR2004
            case 0x7D | 0x5D if self._n_below:
                self._n_below -= 1
            case 0x7D | 0x5D if stack:  # } ]
                self._end_member(stack.pop(), mark)
            case 0x3A if stack and not self._n_below:  # : a value follows
                stack[-1].at_key = False

    def _end_member(self, container: _Container, mark: int) -> None:
        """Leave out the member that ends with this mark, if there are too many like it."""
        skeleton = self._skeleton
        container.n_members += 1
        self._n_values += 1
        is_left_out = container.n_members > _MAX_MEMBERS and (
            self._n_values > MANY_VALUES or len(skeleton) > _MUCH_BYTES
        )
        if is_left_out and container.n_images == self.n_images and self._excess is None:
            self.is_shortened = True
            self._n_values = container.n_values
            del skeleton[container.start :]
            if mark != _COMMA:
                if skeleton.endswith(b","):
                    del skeleton[-1]
                skeleton.append(mark)
        container.start, container.n_values = len(skeleton), self._n_values
        container.n_images = self.n_images

    def _exceeds(self, what: str) -> None:
        self._excess = self._excess or what

    def _begin_string(self) -> None:
        self._string_start = len(self._skeleton)
        is_much = self._string_start > _MUCH_BYTES
        self._max_string_bytes = _MAX_FURTHER_BYTES if is_much else MAX_STRING_BYTES
        self._string_is_key = self._is_at_key
        if self._is_at_image:
            self._begin_image()
        else:
            self._read = self._read_string

    def _read_string(self, chunk: bytes, at: int) -> int:
        """Copy a string that is no image, up to its closing quote."""
        body = _STRING_BODY.match(chunk, at)
        end = body.end() if body else at
        room = self._max_string_bytes + _MARGIN_BYTES - (len(self._skeleton) - self._string_start)
        self._skeleton += chunk[at : min(end, at + max(room, 0))]
        if end == len(chunk):
            return end
        if chunk[end] != _QUOTE:  # a backslash that ends the chunk
            self._held = chunk[end:]
            return len(chunk)
        self._end_string()
        return end + 1

    def _end_string(self) -> None:
        if len(self._skeleton) - self._string_start > self._max_string_bytes:
            kept = self._redact(bytes(self._skeleton[self._string_start :]))
            kept = kept[: self._max_string_bytes]
            whole = _WHOLE_ESCAPES.match(kept)
            self.is_shortened = True
            self._skeleton[self._string_start :] = whole.group() if whole else b""
        if self._string_is_key:
            self._stack[-1].key = _unquote(bytes(self._skeleton[self._string_start :]))
        self._skeleton += b'"'
        self._read = self._read_structure

    def _begin_image(self) -> None:
        self._read = self._read_image
        if self.n_images == MAX_IMAGES:
            self._exceeds(f"with more than {MAX_IMAGES} images")
            self._skeleton += b'"'
            return
        self._skeleton += b'%d"' % self.n_images
        self._sink = self._open_sink(self.n_images)
        self._base64, self._fault = Base64Stream(), None
        self.n_images += 1

    def _read_image(self, chunk: bytes, at: int) -> int:
        """Decode the text of an image, up to its closing quote."""
        stop = chunk.find(b'"', at)
        whole = at == 0 and stop < 0
        stop = stop if stop >= 0 else len(chunk)
        if chunk.find(b"\\", at, stop) >= 0:
            return self._read_escaped_image(chunk, at)
        self._decode(chunk if whole else chunk[at:stop])
        if stop == len(chunk):
            return stop
        self._end_image()
        return stop + 1

    def _read_escaped_image(self, chunk: bytes, at: int) -> int:
        """The same where escapes stand in the text; one that the chunk cuts waits for the next."""
        body = _STRING_BODY.match(chunk, at)
        stop = body.end() if body else at
        text = chunk[at:stop]
        if stop < len(chunk) and chunk[stop] == _QUOTE:
            self._decode(_unescape(text))
            self._end_image()
            return stop + 1
        uncut = _UNCUT_ESCAPES.match(text)
        cut = uncut.end() if uncut else 0
        self._decode(_unescape(text[:cut]))
        self._held = chunk[at + cut :]
        return len(chunk)

    def _decode(self, text: bytes) -> None:
        if self._sink is None or self._fault is not None:
            return
        try:
            data = self._base64.feed(text)
        except Base64Error as error:
            self._fault = str(error)
            data = error.decoded
        if data:
            self._sink.write(data)

    def _end_image(self) -> None:
        self._read = self._read_structure
        sink, self._sink = self._sink, None
        if sink is None:
            return
        if self._fault is None:
            try:
                rest = self._base64.close()
            except Base64Error as error:
                self._fault = str(error)
            else:
                if rest:
                    sink.write(rest)
        sink.close(self._fault)


def _unquote(raw: bytes) -> str:
    """A key as JSON means it; a malformed one is kept as it is, the final parse will refuse it."""
    if b"\\" in raw:
        try:
            return str(json.loads('"' + raw.decode("utf-8", "replace") + '"', strict=False))
        except ValueError:
            pass
    return raw.decode("utf-8", "replace")


def _unescape(text: bytes) -> bytes:
    """Undo JSON escapes in base64 text; what base64 cannot hold becomes a byte that is invalid."""
    if text.count(b"\\") == text.count(b"\\/"):  # each of them, so none is itself escaped
        return text.replace(b"\\/", b"/")
    return _ESCAPE.sub(_unescape_one, text)


def _unescape_one(escape: re.Match[bytes]) -> bytes:
    code, short = escape.groups()
    if code is None:
        return _SHORT_ESCAPES.get(short, _NO_BASE64)
    point = int(code, 16)
    return bytes((point,)) if point < 128 else _NO_BASE64  # noqa: PLR2004 - ASCII
