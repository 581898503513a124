"""Messages of Envoy's ext_authz v3 on Google's Protocol Buffers: a second opinion on `wire.ext_authz`.

The schema is made here from the numbers and types of the .proto files, as far as authorization servers use them.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["METHOD", "SERVICE", "CheckRequest", "CheckResponse", "HeaderValueOption"]

SERVICE: Final = "envoy.service.auth.v3.Authorization"
METHOD: Final = "Check"

_PACKAGE: Final = "ext_authz"
_SCHEMA: Final = {  # message: its fields as "number name type", "*" repeated
    "CheckRequest": "1 attributes AttributeContext",
    "AttributeContext": "1 source Peer, 2 destination Peer, 4 request Request, 10 context_extensions *Entry",
    "Peer": "1 address Address, 2 service string, 4 principal string, 5 certificate string",
    "Address": "1 socket_address SocketAddress",
    "SocketAddress": "1 protocol int32, 2 address string, 3 port_value uint32",
    "Request": "1 time Timestamp, 2 http HttpRequest",
    "Timestamp": "1 seconds int64, 2 nanos int32",
    "HttpRequest": (
        "1 id string, 2 method string, 3 headers *Entry, 4 path string, 5 host string, 6 scheme string, "
        "7 query string, 8 fragment string, 9 size int64, 10 protocol string, 11 body string, 12 raw_body bytes"
    ),
    "Entry": "1 key string, 2 value string",  # of a map
    "CheckResponse": "1 status Status, 2 denied_response DeniedHttpResponse, 3 ok_response OkHttpResponse",
    "Status": "1 code int32, 2 message string",
    "DeniedHttpResponse": "1 status HttpStatus, 2 headers *HeaderValueOption, 3 body string",
    "OkHttpResponse": (
        "2 headers *HeaderValueOption, 5 headers_to_remove *string, 6 response_headers_to_add *HeaderValueOption, "
        "7 query_parameters_to_set *Entry, 8 query_parameters_to_remove *string"
    ),
    "HttpStatus": "1 code int32",
    "HeaderValueOption": "1 header HeaderValue, 2 append BoolValue, 3 append_action int32, 4 keep_empty_value bool",
    "HeaderValue": "1 key string, 2 value string, 3 raw_value bytes",
    "BoolValue": "1 value bool",
}
_Field: Final = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES, "bool": _Field.TYPE_BOOL, "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64, "uint32": _Field.TYPE_UINT32,
}  # fmt: skip


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="ext_authz.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _SCHEMA.items():
        made = file.message_type.add(name=name)
        for each in fields.split(", "):
            number, label, kind = each.split(" ")
            field = made.field.add(name=label, number=int(number))
            field.label = _Field.LABEL_REPEATED if kind[0] == "*" else _Field.LABEL_OPTIONAL
            kind = kind.removeprefix("*")
            field.type = _SCALARS.get(kind, _Field.TYPE_MESSAGE)
            if kind not in _SCALARS:
                field.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _SCHEMA}


_MADE: Final = _messages()
CheckRequest: Final = _MADE["CheckRequest"]
CheckResponse: Final = _MADE["CheckResponse"]
HeaderValueOption: Final = _MADE["HeaderValueOption"]
