"""Open Inference Protocol over gRPC: ModelInfer's messages, one BYTES element in and one out.

The two messages need three kinds of field, so their wire format is written and read here, without the protobuf runtime
and its generated code; tests hold it against `tritonclient`'s. Source: the protocol's grpc_predict_v2.proto
(ModelInferRequest, ModelInferResponse) and the protobuf encoding guide.
"""

from collections.abc import Iterator

from harness.protocols.codec import MODEL, Codec, Headers
from harness.protocols.oip import INPUT, OUTPUT, element, tensor

SERVICE = "/inference.GRPCInferenceService"
_VARINT, _I64, _BYTES, _I32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10


def wrap(body: bytes, _content_type: str) -> bytes:
    """A ModelInferRequest that brings the element in raw_input_contents."""
    shape = _field(3, b"\x01\x01")  # packed int64
    described = _field(1, INPUT.encode()) + _field(2, b"BYTES") + shape
    return (_field(1, MODEL.encode()) + _field(5, described) + _field(6, _field(1, OUTPUT.encode()))
            + _field(7, tensor(body)))


def unwrap(answer: bytes, _headers: Headers) -> bytes:
    """The one element of the output, from raw_output_contents or from the tensor's own contents. Raises ValueError."""
    try:
        fields = list(_fields(answer))
        outputs = [list(_fields(value)) for number, value in fields if number == 5]
        raw = [value for number, value in fields if number == 6]
        at = [index for index, output in enumerate(outputs) if (1, OUTPUT.encode()) in output]
        if len(at) != 1:
            raise ValueError(f"the answer holds {len(at)} outputs named '{OUTPUT}'")
        if raw:
            return element(raw[at[0]] if at[0] < len(raw) else b"")
        contents = [each for number, value in outputs[at[0]] if number == 5
                    for inner, each in _fields(value) if inner == 8]
    except IndexError:
        raise ValueError(f"the answer of {len(answer)} bytes is no ModelInferResponse: it is cut short") from None
    if len(contents) != 1:
        raise ValueError(f"the output '{OUTPUT}' holds {len(contents)} elements")
    return contents[0]


def server(answer: bytes) -> tuple[str, str]:
    """Name and version from a ServerMetadataResponse. Raises ValueError."""
    try:
        told = dict(_fields(answer))
    except IndexError:
        raise ValueError(f"the answer of {len(answer)} bytes is no ServerMetadataResponse: it is cut short") from None
    return told.get(1, b"").decode(), told.get(2, b"").decode()


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, value) of every length-delimited field; others are passed over. Raises IndexError where the message is
    cut short, ValueError for what protobuf does not write."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _read_varint(message, at)
            continue
        if kind == _BYTES:
            size, at = _read_varint(message, at)
        elif kind in (_I64, _I32):
            size = 8 if kind == _I64 else 4
        else:
            raise ValueError(f"the answer is no protobuf message: a field of kind {kind}")
        if at + size > len(message):
            raise IndexError(at)
        if kind == _BYTES:
            yield key >> 3, message[at:at + size]
        at += size


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where the next thing begins."""
    value = 0
    for shift in range(_MOST_VARINT_BYTES):
        byte = message[at]
        value |= (byte & 0x7F) << 7 * shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("the answer is no protobuf message: a number has no end")


GRPC = Codec("oip-grpc", lambda _type: "application/grpc", lambda _model: f"{SERVICE}/ModelInfer", wrap, unwrap,
             ready=lambda _model: f"{SERVICE}/ModelReady", transport="grpc", probe=_field(1, MODEL.encode()),
             metadata=f"{SERVICE}/ServerMetadata", server=server)
