"""The ICC profile in the header of a JPEG XL codestream (ISO/IEC 18181-1, annex E): decoded, then predicted."""

from __future__ import annotations

from dcdr_deploy.imaging.jpegxl.bits import Bits, BrokenStreamError
from dcdr_deploy.imaging.jpegxl.entropy import Reader

LONGEST = 2**21
"""Bytes; the largest real profiles have about 2 MB."""

_CONTEXTS = 41
_HEADER = 128
_UNKNOWN_TAG, _CURVES_TAG, _COLORANTS_TAG, _FIRST_TAG = 1, 2, 3, 4
_TAGS = (
    b"cprt", b"wtpt", b"bkpt", b"rXYZ", b"gXYZ", b"bXYZ", b"kXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"chad", b"desc",
    b"chrm", b"dmnd", b"dmdd", b"lumi",
)  # fmt: skip
_OF_TWENTY_BYTES = frozenset({b"rXYZ", b"gXYZ", b"bXYZ", b"kXYZ", b"wtpt", b"bkpt", b"lumi"})
_INSERT, _SHUFFLE_2, _SHUFFLE_4, _PREDICT, _XYZ, _FIRST_TYPE = 1, 2, 3, 4, 10, 16
_TYPES = (b"XYZ ", b"desc", b"text", b"mluc", b"para", b"curv", b"sf32", b"gbd ")
_D50 = bytes.fromhex("0000f6d6000100000000d32d")


def read_profile(bits: Bits) -> bytes:
    """Read the profile that begins at a bit.

    Raises:
        BrokenStreamError: it is damaged, or longer than :data:`LONGEST`.
    """
    size = bits.long()
    if size > LONGEST:
        raise BrokenStreamError(f"a profile of {size:,} bytes")
    reader = Reader(bits, _CONTEXTS)
    packed = bytearray()
    for place in range(size):
        before, further = packed[-1] if place else 0, packed[-2] if place > 1 else 0
        value = reader.number(_context(place, before, further))
        if value > 255:
            raise BrokenStreamError("a byte above 255")
        packed.append(value)
    reader.check_end()
    try:
        return _Profile(bytes(packed)).carried_out()
    except IndexError as error:
        raise BrokenStreamError("a profile that ends too early") from error


def _context(place: int, before: int, further: int) -> int:
    """Which of the contexts a byte has, by the two before it (E.4.1)."""
    if place <= _HEADER:
        return 0
    return 1 + _first_kind(before) + 8 * _second_kind(further)


def _first_kind(byte: int) -> int:
    common = _common_kind(byte)
    if common is not None:
        return common
    if byte < 16:
        return (2, 3)[byte] if byte < 2 else 4
    return 6 if byte == 255 else 5 if byte > 240 else 7


def _second_kind(byte: int) -> int:
    common = _common_kind(byte)
    if common is not None:
        return common
    return 2 if byte < 16 else 3 if byte > 240 else 4


def _common_kind(byte: int) -> int | None:
    letter = chr(byte)
    if letter.isascii() and letter.isalpha():
        return 0
    return 1 if letter in "0123456789.," else None


class _Profile:
    """Commands and data that make a profile (E.4.2 to E.4.5)."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed
        self._at = 0
        self._size = self._number()
        commands = self._number()
        self._commands_at, self._commands_end = self._at, self._at + commands
        self._at = self._commands_end
        self._made = bytearray()
        if self._size > LONGEST or self._commands_end > len(packed):
            raise BrokenStreamError("a profile that is too long")

    def carried_out(self) -> bytes:
        """Carry all commands out; return what they make."""
        self._header()
        if self._more():
            self._tags()
        while self._more():
            self._command()
        if len(self._made) != self._size:
            raise BrokenStreamError("a profile of another length than stated")
        return bytes(self._made)

    def _more(self) -> bool:
        if len(self._made) > self._size:
            raise BrokenStreamError("a profile that is too long")
        return self._commands_at < self._commands_end

    def _header(self) -> None:
        guess = bytearray(_HEADER)
        guess[0:4] = self._size.to_bytes(4, "big")
        guess[8] = 4
        guess[12:24] = b"mntrRGB XYZ "
        guess[36:40] = b"acsp"
        guess[68:80] = _D50
        made = self._made
        while len(made) < min(_HEADER, self._size):
            place = len(made)
            if place == 8:
                guess[80:84] = made[4:8]
            elif place == 41 and made[40:41] in (b"A", b"M"):
                guess[41:44] = b"PPL" if made[40] == ord("A") else b"SFT"
            elif place == 42 and made[40:42] in (b"SG", b"SU"):
                guess[42:44] = b"I " if made[41] == ord("G") else b"NW"
            made.append((self._data(1)[0] + guess[place]) & 255)

    def _tags(self) -> None:
        count = self._argument()
        if not count:
            return
        count -= 1
        self._append(count)
        start, size = _HEADER + 12 * count, 0
        while self._more():
            command = self._command_byte()
            code = command & 63
            if not code:
                return
            tag = self._tag_name(code)
            start += size
            if tag in _OF_TWENTY_BYTES:
                size = 20
            if command & 64:
                start = self._argument()
            self._made += tag
            self._append(start)
            if command & 128:
                size = self._argument()
            self._append(size)
            if code == _CURVES_TAG:
                for more in (b"gTRC", b"bTRC"):
                    self._made += more
                    self._append(start)
                    self._append(size)
            elif code == _COLORANTS_TAG:
                for number, more in enumerate((b"gXYZ", b"bXYZ"), 1):
                    self._made += more
                    self._append(start + number * size)
                    self._append(size)

    def _tag_name(self, code: int) -> bytes:
        if code == _UNKNOWN_TAG:
            return self._data(4)
        if code in (_CURVES_TAG, _COLORANTS_TAG):
            return b"rTRC" if code == _CURVES_TAG else b"rXYZ"
        return _TAGS[code - _FIRST_TAG]

    def _command(self) -> None:
        command = self._command_byte()
        if command == _INSERT:
            self._made += self._data(self._argument())
        elif command in (_SHUFFLE_2, _SHUFFLE_4):
            self._made += _unshuffled(self._data(self._argument()), 2 if command == _SHUFFLE_2 else 4)
        elif command == _PREDICT:
            self._predict()
        elif command == _XYZ:
            self._made += b"XYZ \0\0\0\0" + self._data(12)
        elif _FIRST_TYPE <= command < _FIRST_TYPE + len(_TYPES):
            self._made += _TYPES[command - _FIRST_TYPE] + bytes(4)
        else:
            raise BrokenStreamError(f"a command {command}")

    def _predict(self) -> None:
        flags = self._command_byte()
        width, order = (flags & 3) + 1, flags >> 2 & 3
        stride = self._argument() if flags & 16 else width
        made = self._made
        if width == 3 or order == 3 or stride < width or 4 * stride >= len(made):
            raise BrokenStreamError("a prediction of nothing")
        count = self._argument()
        rest = self._data(count)
        if width > 1:
            rest = _unshuffled(rest, width)
        begin = len(made)
        for number, residual in enumerate(rest):
            at = begin + number // width * width
            places = [at - back * stride for back in (1, 2, 3)]
            one, two, three = (int.from_bytes(made[place : place + width], "big") for place in places)
            value = (one, 2 * one - two, 3 * one - 3 * two + three)[order]
            made.append(((value >> 8 * (width - 1 - number % width)) + residual) & 255)

    def _append(self, number: int) -> None:
        self._made += (number & 0xFFFFFFFF).to_bytes(4, "big")

    def _data(self, size: int) -> bytes:
        if self._at + size > len(self._packed):
            raise BrokenStreamError("a profile that ends too early")
        self._at += size
        return self._packed[self._at - size : self._at]

    def _command_byte(self) -> int:
        self._commands_at += 1
        return self._packed[self._commands_at - 1]

    def _argument(self) -> int:
        """A number among the commands."""
        place, self._at = self._at, self._commands_at
        value = self._number()
        self._commands_at, self._at = self._at, place
        return value

    def _number(self) -> int:
        """Seven bits a byte, the least significant first."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self._data(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise BrokenStreamError("a number of too many bytes")


def _unshuffled(data: bytes, width: int) -> bytes:
    """Bytes by their significance as numbers again (E.4.5)."""
    height = -(-len(data) // width)
    result = bytearray()
    start = place = 0
    for _ in data:
        result.append(data[place])
        place += height
        if place >= len(data):
            start += 1
            place = start
    return bytes(result)
