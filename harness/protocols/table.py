"""Every protocol by name. A new one is a codec of two pure functions and an entry here."""

from harness.protocols import instances, oip, oip_grpc, raw
from harness.protocols.codec import Codec

CODECS: dict[str, Codec] = {codec.name: codec for codec in (
    raw.JSON, oip.HTTP, oip.BINARY, oip_grpc.GRPC, raw.TORCHSERVE, instances.TFSERVING, raw.SAGEMAKER,
    instances.VERTEX)}
