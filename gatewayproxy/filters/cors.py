"""CORS: which origins' scripts may read the answers of a rule (HTTPCORSFilter, GEP-1767). Pure."""

from __future__ import annotations

from typing import Final

from gatewayproxy.fields import Fields, Text
from gatewayproxy.fields.edits import LocalFilter
from gatewayproxy.fields.shapes import HEADER_NAME
from gatewayproxy.model.plan import FilterChain
from gatewayproxy.model.traffic import Cors
from gatewayproxy.wire.origins import normal_origin

__all__ = ["read"]

ORIGIN: Final = Text(
    'an origin such as https://app.example.com, https://*.example.com or "*"',
    r"\*|https?://((\*\.)?([a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(:[0-9]{1,5})?",
    shortest=1,
    longest=253,
)
METHOD: Final = Text("a method such as GET", r"GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|\*")


def read(fields: Fields) -> LocalFilter:
    """Read `cors`."""
    cors = Cors(
        origins=tuple(normal_origin(origin) for origin in _read_list(fields, "allowOrigins", ORIGIN, most=64)),
        methods=_read_list(fields, "allowMethods", METHOD, most=9),
        headers=_read_list(fields, "allowHeaders", HEADER_NAME, most=64),
        expose=tuple(n.encode() for n in fields.texts("exposeHeaders", HEADER_NAME, most=64, unique=True)),
        credentials=fields.boolean("allowCredentials", False),
        max_age_s=fields.integer("maxAge", 1, 2**31 - 1, 5),
    )
    if cors.credentials and b"*" in cors.expose:
        fields.warn("exposeHeaders", '"*" means nothing beside allowCredentials', "list the names")
    return LocalFilter(FilterChain(cors=cors))


def _read_list(fields: Fields, name: str, rule: Text, *, most: int) -> tuple[bytes, ...]:
    values = fields.texts(name, rule, most=most, unique=True)
    if "*" in values and len(values) > 1:
        fields.error(name, '"*" must stand alone', 'remove "*", or all the others')
    return tuple(value.encode() for value in values)
