"""Whose certificate it is: the names of an endpoint's certificate against those a BackendTls asks for. Pure.

DNS names compare as RFC 9525 §6.3 says: case-insensitive, a wildcard of the certificate stands for the whole leftmost
label. The common name of the subject is not looked at (§2.1). URIs compare byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gatewayproxy.model.plan import BackendTls

__all__ = ["has_wanted_name", "wanted_names"]


def has_wanted_name(names: Iterable[tuple[str, str]], tls: BackendTls) -> bool:
    """Return whether one of a certificate's (type, name) pairs, as `ssl` spells them, is one that *tls* asks for."""
    for kind, name in names:
        if kind == "DNS" and any(_covers(wanted, name) for wanted in tls.names):
            return True
        if kind == "URI" and name in tls.uris:
            return True
    return False


def wanted_names(tls: BackendTls) -> Sequence[str]:
    """Return the names that *tls* asks for, to be shown."""
    return (*tls.names, *tls.uris)


def _covers(wanted: str, presented: str) -> bool:
    wanted, presented = wanted.lower(), presented.lower()
    if wanted == presented:
        return True
    if wanted.startswith("*."):  # ours, SubjectAltName.hostname: as every wildcard of the API, any number of labels
        return _is_name(presented) and presented.endswith(wanted[1:])
    label, _, parent = wanted.partition(".")
    # RFC 9525 §6.3: the wildcard is a label of its own; "*.com" would be a name that nobody owns.
    return presented == f"*.{parent}" and "." in parent and bool(label)


def _is_name(presented: str) -> bool:
    """Tell a DNS name, or a wildcard one, from what a careless authority may have signed."""
    labels = presented.removeprefix("*.").split(".")
    return all(label.replace("-", "").replace("_", "").isalnum() and label.isascii() for label in labels)
