"""gRPC clients and servers of other people, grpcio and grpclib, behind one interface; messages are bytes."""

from __future__ import annotations

from typing import Any

from grpclib.encoding.base import CodecBase

__all__ = ["Bytes"]


class Bytes(CodecBase):
    """Messages as they are on the wire, for grpclib."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return bytes(data)
