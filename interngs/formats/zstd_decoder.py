# SPDX-License-Identifier: GPL-3.0-or-later
"""Decodes Zstandard frames in plain Python, written from RFC 8878; content checksums are not verified.

For machines without a Zstandard module; about half a megabyte a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAGIC = b"\x28\xb5\x2f\xfd"
BLOCK_LIMIT = 1 << 17

# Section 3.1.1.3.2.1.1: base value and extra bits of each literal-length and match-length code.
_LITERAL_CODES = [(n, 0) for n in range(16)] + [
    (16, 1), (18, 1), (20, 1), (22, 1), (24, 2), (28, 2), (32, 3), (40, 3), (48, 4), (64, 6), (128, 7), (256, 8),
    (512, 9), (1024, 10), (2048, 11), (4096, 12), (8192, 13), (16384, 14), (32768, 15), (65536, 16)]
_MATCH_CODES = [(n + 3, 0) for n in range(32)] + [
    (35, 1), (37, 1), (39, 1), (41, 1), (43, 2), (47, 2), (51, 3), (59, 3), (67, 4), (83, 4), (99, 5), (131, 7),
    (259, 8), (515, 9), (1027, 10), (2051, 11), (4099, 12), (8195, 13), (16387, 14), (32771, 15), (65539, 16)]
# Section 3.1.1.3.2.2: predefined distributions, -1 for "less than one".
_LITERAL_DEFAULT = ([4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1,
                     -1, -1, -1, -1], 6)
_MATCH_DEFAULT = ([1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1], 6)
_OFFSET_DEFAULT = ([1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1], 5)


class ZstdError(ValueError):
    """The bytes are no valid Zstandard frame, or hold more than was asked for."""


@dataclass(frozen=True)
class FseTable:
    """A finite-state entropy table: per state its symbol, the bits to read and the base of the next state."""

    accuracy: int
    symbols: list[int]
    bits: list[int]
    bases: list[int]


@dataclass(frozen=True)
class HuffmanTable:
    """All codes of up to ``max_bits`` bits, padded: the symbol and the true length at each index."""

    max_bits: int
    symbols: bytes
    lengths: bytes


@dataclass
class _Memory:
    """What one block of a frame hands to the next."""

    huffman: HuffmanTable | None = None
    tables: list[FseTable | None] = field(default_factory=lambda: [None, None, None])
    offsets: list[int] = field(default_factory=lambda: [1, 4, 8])


class _BackwardBits:
    """Bits of a stream that is read from its end; the highest set bit of the last byte only marks the start."""

    def __init__(self, data: bytes) -> None:
        if not data or data[-1] == 0:
            raise ZstdError("a bit stream has no end mark")
        self.data = data
        self.position = 8 * len(data) - 9 + data[-1].bit_length()

    def read(self, count: int) -> int:
        """The next ``count`` bits; past the beginning they are zeros, and ``position`` goes below 0."""
        self.position -= count
        low = self.position
        if low < 0:
            value = int.from_bytes(self.data[:(low + count + 7) // 8 if low + count > 0 else 0], "little")
            return (value << -low) & ((1 << count) - 1)
        value = int.from_bytes(self.data[low >> 3:(low + count + 7) >> 3], "little")
        return (value >> (low & 7)) & ((1 << count) - 1)


def decode_frames(data: bytes, size_limit: int) -> bytes:
    """The content of one or more frames after each other.

    Raises:
        ZstdError: broken frames, a dictionary that is not here, or more than ``size_limit`` bytes.
    """
    out = bytearray()
    at = 0
    try:
        while at < len(data):
            magic = data[at:at + 4]
            if magic[1:] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5:     # skippable frame
                at += 8 + int.from_bytes(data[at + 4:at + 8], "little")
            elif magic == MAGIC:
                at = _frame(data, at + 4, out, size_limit)
            else:
                raise ZstdError("no Zstandard frame begins here")
    except IndexError as error:
        raise ZstdError("a frame is cut short or its tables are inconsistent") from error
    if at > len(data):
        raise ZstdError("the last frame is cut short")
    return bytes(out)


def _frame(data: bytes, at: int, out: bytearray, size_limit: int) -> int:
    descriptor = data[at]
    single_segment = descriptor >> 5 & 1
    at += 1 + (1 - single_segment)
    dictionary_bytes = (0, 1, 2, 4)[descriptor & 3]
    if any(data[at:at + dictionary_bytes]):
        raise ZstdError("the frame needs a dictionary")
    size_bytes = (single_segment, 2, 4, 8)[descriptor >> 6]
    at += dictionary_bytes + size_bytes
    memory, frame_start = _Memory(), len(out)
    while True:
        header = int.from_bytes(data[at:at + 3], "little")
        if at + 3 > len(data):
            raise ZstdError("a block header is cut short")
        at += 3
        is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
        length = size if kind != 1 else 1
        if kind == 3 or at + length > len(data) or (kind != 1 and size > BLOCK_LIMIT):
            raise ZstdError("a block is cut short or of unknown kind")
        if len(out) + (size if kind < 2 else 0) > size_limit:
            raise ZstdError(f"more than {size_limit} bytes")
        if kind == 0:
            out += data[at:at + size]
        elif kind == 1:
            out += data[at:at + 1] * size
        else:
            _compressed_block(data[at:at + size], out, frame_start, memory, size_limit)
        at += length
        if is_last:
            return at + 4 * (descriptor >> 2 & 1)


def _compressed_block(block: bytes, out: bytearray, frame_start: int, memory: _Memory, size_limit: int) -> None:
    literals, at = _literals(block, memory)
    count = block[at]
    at += 1
    if count >= 128:
        if count < 255:
            count = ((count - 128) << 8) + block[at]
            at += 1
        else:
            count = int.from_bytes(block[at:at + 2], "little") + 0x7F00
            at += 2
    if count == 0:
        if len(out) + len(literals) > size_limit:
            raise ZstdError(f"more than {size_limit} bytes")
        out += literals
        return
    modes = block[at]
    at += 1
    defaults = (_LITERAL_DEFAULT, _OFFSET_DEFAULT, _MATCH_DEFAULT)
    most = ((9, 35), (8, 31), (9, 52))
    for which in range(3):
        mode = modes >> (6 - 2 * which) & 3
        if mode == 0:
            memory.tables[which] = _fse_table(*defaults[which])
        elif mode == 1:
            memory.tables[which] = FseTable(0, [block[at]], [0], [0])
            at += 1
        elif mode == 2:
            probabilities, accuracy, used = _fse_header(block[at:], *most[which])
            memory.tables[which] = _fse_table(probabilities, accuracy)
            at += used
    _sequences(_BackwardBits(block[at:]), count, literals, out, frame_start, memory, size_limit)


def _sequences(bits: _BackwardBits, count: int, literals: bytes, out: bytearray, frame_start: int, memory: _Memory,
               size_limit: int) -> None:
    literal_table, offset_table, match_table = memory.tables
    if literal_table is None or offset_table is None or match_table is None:
        raise ZstdError("a block repeats a table that was never given")
    literal_state = bits.read(literal_table.accuracy)
    offset_state = bits.read(offset_table.accuracy)
    match_state = bits.read(match_table.accuracy)
    limit, taken = min(size_limit, len(out) + BLOCK_LIMIT), 0
    literal_bits, match_bits, offset_bits = literal_table.bits, match_table.bits, offset_table.bits
    for index in range(count):
        code = offset_table.symbols[offset_state]
        if code > 31:
            raise ZstdError("an offset code is too large")
        match_length, match_extra = _MATCH_CODES[match_table.symbols[match_state]]
        literal_length, literal_extra = _LITERAL_CODES[literal_table.symbols[literal_state]]
        # All bits of a sequence in one read; the first field stands highest.
        value = bits.read(code + match_extra + literal_extra)
        literal_length += value & ((1 << literal_extra) - 1)
        value >>= literal_extra
        match_length += value & ((1 << match_extra) - 1)
        raw_offset = (1 << code) + (value >> match_extra)
        if index + 1 < count:
            width, middle, low = literal_bits[literal_state], match_bits[match_state], offset_bits[offset_state]
            value = bits.read(width + middle + low)
            offset_state = offset_table.bases[offset_state] + (value & ((1 << low) - 1))
            value >>= low
            match_state = match_table.bases[match_state] + (value & ((1 << middle) - 1))
            literal_state = literal_table.bases[literal_state] + (value >> middle)
        if bits.position < 0:
            raise ZstdError("the sequences are cut short")
        offset = _offset(raw_offset, literal_length, memory.offsets)
        out += literals[taken:taken + literal_length]
        taken += literal_length
        start = len(out) - offset
        if start < frame_start or offset == 0 or taken > len(literals) or len(out) + match_length > limit:
            raise ZstdError("a match reaches outside the data")
        if offset >= match_length:
            out += out[start:start + match_length]
        else:
            pattern = bytes(out[start:])
            out += (pattern * (match_length // offset + 1))[:match_length]
    if len(out) + len(literals) - taken > limit:
        raise ZstdError("a block holds too much")
    out += literals[taken:]


def _offset(raw: int, literal_length: int, offsets: list[int]) -> int:
    """Resolve repeat codes 1 to 3 and keep the three latest offsets (section 3.1.1.5)."""
    if raw > 3:
        offsets[:] = [raw - 3, offsets[0], offsets[1]]
        return offsets[0]
    which = raw - 1 + (literal_length == 0)
    if which == 0:
        return offsets[0]
    value = offsets[0] - 1 if which == 3 else offsets[which]
    offsets[:] = [value, offsets[0], offsets[1] if which > 1 else offsets[2]]
    return value


def _literals(block: bytes, memory: _Memory) -> tuple[bytes, int]:
    """The literals of a block and the number of bytes that their section took (section 3.1.1.3.1)."""
    kind, size_format = block[0] & 3, block[0] >> 2 & 3
    if kind < 2:
        header_bytes = (1, 2, 1, 3)[size_format]
        size = int.from_bytes(block[:header_bytes], "little") >> (3 if header_bytes == 1 else 4)
        used = header_bytes + (size if kind == 0 else 1)
        if used > len(block) or size > BLOCK_LIMIT:
            raise ZstdError("the literals are cut short")
        return (block[header_bytes:used] if kind == 0 else block[header_bytes:used] * size), used
    header_bytes, width = ((3, 10), (3, 10), (4, 14), (5, 18))[size_format]
    header = int.from_bytes(block[:header_bytes], "little") >> 4
    size, packed = header & ((1 << width) - 1), header >> width
    used = header_bytes + packed
    if used > len(block) or size > BLOCK_LIMIT:
        raise ZstdError("the literals are cut short")
    at = header_bytes
    if kind == 2:
        memory.huffman, tree_bytes = _huffman_tree(block[at:used])
        at += tree_bytes
    if memory.huffman is None:
        raise ZstdError("a block repeats a Huffman tree that was never given")
    if size_format == 0:
        return _huffman_stream(block[at:used], memory.huffman, size), used
    first, second, third = (int.from_bytes(block[at + i:at + i + 2], "little") for i in (0, 2, 4))
    starts = [at + 6, at + 6 + first, at + 6 + first + second, at + 6 + first + second + third, used]
    if starts[3] > used:
        raise ZstdError("the literal streams are cut short")
    quarter = (size + 3) // 4
    sizes = [quarter, quarter, quarter, size - 3 * quarter]
    if sizes[3] < 0:
        raise ZstdError("the literal streams are too short")
    streams = [_huffman_stream(block[starts[i]:starts[i + 1]], memory.huffman, sizes[i]) for i in range(4)]
    return b"".join(streams), used


def _huffman_stream(data: bytes, table: HuffmanTable, count: int) -> bytes:
    bits = _BackwardBits(data)
    # Two zero bytes below the stream: no code is longer, so the last ones need no special case.
    padded, position = b"\0\0" + data, bits.position + 16
    symbols, lengths, width = table.symbols, table.lengths, table.max_bits
    mask, out, base, window = (1 << width) - 1, bytearray(count), position, 0
    for index in range(count):
        if position - width < base:
            if position < 16:
                raise ZstdError("a literal stream is cut short")
            base = max(position - 512, 0) & ~7
            window = int.from_bytes(padded[base >> 3:(position + 7) >> 3], "little")
        code = window >> (position - width - base) & mask
        out[index] = symbols[code]
        position -= lengths[code]
    if position != 16:
        raise ZstdError("a literal stream has another length than was said")
    return bytes(out)


def _huffman_tree(data: bytes) -> tuple[HuffmanTable, int]:
    """The tree that stands at the start of ``data`` and its length in bytes (section 4.2.1)."""
    head = data[0]
    if head >= 128:
        count = head - 127
        used = 1 + (count + 1) // 2
        weights = [data[1 + i // 2] >> (0 if i % 2 else 4) & 15 for i in range(count)]
    else:
        used = 1 + head
        if used > len(data):
            raise ZstdError("a Huffman tree is cut short")
        weights = _fse_weights(data[1:used])
    total = sum(1 << weight >> 1 for weight in weights)
    if total == 0:
        raise ZstdError("a Huffman tree is empty")
    max_bits = total.bit_length()
    rest = (1 << max_bits) - total
    if max_bits > 11 or rest & (rest - 1) or len(weights) > 255:
        raise ZstdError("a Huffman tree does not add up")
    weights.append(rest.bit_length())
    symbols, lengths = bytearray(), bytearray()
    for weight in range(1, max_bits + 1):
        for symbol, own in enumerate(weights):
            if own == weight:
                symbols += bytes([symbol]) * (1 << (weight - 1))
                lengths += bytes([max_bits + 1 - weight]) * (1 << (weight - 1))
    return HuffmanTable(max_bits, bytes(symbols), bytes(lengths)), used


def _fse_weights(data: bytes) -> list[int]:
    """Huffman weights coded by two interleaved states (section 4.2.1.2)."""
    probabilities, accuracy, used = _fse_header(data, 6, 255)
    table = _fse_table(probabilities, accuracy)
    bits = _BackwardBits(data[used:])
    states = [bits.read(accuracy), bits.read(accuracy)]
    weights: list[int] = []
    which = 0
    while len(weights) < 255:
        state = states[which]
        weights.append(table.symbols[state])
        need = table.bits[state]
        if bits.position < need:
            weights.append(table.symbols[states[1 - which]])
            return weights
        states[which] = table.bases[state] + bits.read(need)
        which = 1 - which
    raise ZstdError("a Huffman tree has too many weights")


def _fse_header(data: bytes, most_accuracy: int, most_symbol: int) -> tuple[list[int], int, int]:
    """Probabilities, accuracy and bytes used of a table description (section 4.1.1)."""
    value = int.from_bytes(data[:512], "little")
    accuracy, position = (value & 15) + 5, 4
    if accuracy > most_accuracy:
        raise ZstdError("an entropy table is too large")
    remaining, probabilities = (1 << accuracy) + 1, []
    while remaining > 1:
        width = remaining.bit_length()
        threshold, field_value = (1 << width) - 1 - remaining, value >> position & ((1 << width) - 1)
        low = field_value & ((1 << (width - 1)) - 1)
        if low < threshold:
            field_value, position = low, position + width - 1
        else:
            position += width
            if field_value >= 1 << (width - 1):
                field_value -= threshold
        probability = field_value - 1
        remaining -= abs(probability)
        probabilities.append(probability)
        while probability == 0:
            repeat = value >> position & 3
            position += 2
            probabilities += [0] * repeat
            if repeat != 3:
                break
        if len(probabilities) > most_symbol + 1 or remaining < 1 or position > 8 * len(data):
            raise ZstdError("an entropy table does not add up")
    return probabilities, accuracy, (position + 7) // 8


def _fse_table(probabilities: list[int], accuracy: int) -> FseTable:
    """The decoding table (section 4.1.1, "from normalized distribution to decoding tables")."""
    size = 1 << accuracy
    symbols = [0] * size
    high = size
    for symbol, probability in enumerate(probabilities):
        if probability == -1:
            high -= 1
            symbols[high] = symbol
    step, place = (size >> 1) + (size >> 3) + 3, 0
    for symbol, probability in enumerate(probabilities):
        for _ in range(max(probability, 0)):
            symbols[place] = symbol
            place = (place + step) & (size - 1)
            while place >= high:
                place = (place + step) & (size - 1)
    following = [1 if probability == -1 else probability for probability in probabilities]
    bits, bases = [0] * size, [0] * size
    for state, symbol in enumerate(symbols):
        number = following[symbol]
        following[symbol] += 1
        bits[state] = accuracy - number.bit_length() + 1
        bases[state] = (number << bits[state]) - size
    return FseTable(accuracy, symbols, bits, bases)
