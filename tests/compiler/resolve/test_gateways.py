"""Which Gateways are ours, and what is said about those that are not."""

import pytest

from gatewayproxy.compiler.pipeline import Compiler
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.model.status import Problem, Severity

CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: shared}
spec: {controllerName: example.com/theirs}
---
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: shared
  listeners: [{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: site}]}}]
"""


def problems(text: str, controller_name: str = "gatewayproxy.io/controller") -> list[Problem]:
    options = CompileOptions(controller_name=controller_name)
    return list(Compiler().compile([Source("all.yaml", text.encode())], options, {}).status.problems)


def test_a_gateway_of_another_controller_is_told_with_the_flag_that_would_serve_it() -> None:
    [told] = problems(CLASS + GATEWAY)
    assert told.severity is Severity.WARNING
    assert told.field == "spec.gatewayClassName"
    assert told.message == "not served: GatewayClass shared is of controller example.com/theirs, not ours"
    assert "--controller-name example.com/theirs" in told.hint


@pytest.mark.parametrize(
    ("text", "controller_name"),
    [
        pytest.param(CLASS + GATEWAY, "example.com/theirs", id="a class of ours"),
        pytest.param(GATEWAY, "example.com/any", id="a class without a document"),
    ],
)
def test_a_secret_that_is_missing_is_told_with_what_it_needs(text: str, controller_name: str) -> None:
    [told] = problems(text, controller_name)
    assert told.severity is Severity.ERROR
    assert told.message == (
        "InvalidCertificateRef: Secret default/site: does not exist; add it, with tls.crt and tls.key or the "
        "annotations gatewayproxy.io/cert-file and gatewayproxy.io/key-file"
    )


def test_a_certificate_file_that_is_missing_is_told_with_how_to_make_it() -> None:
    secret = """---
apiVersion: v1
kind: Secret
metadata:
  name: site
  annotations: {gatewayproxy.io/cert-file: a dir/site.crt, gatewayproxy.io/key-file: site.key}
"""
    told = [each for each in problems(GATEWAY + secret) if each.field.startswith("spec.listeners")]
    assert "site.crt, which annotation gatewayproxy.io/cert-file names, cannot be read" in told[0].message
    assert "mkdir -p 'a dir' . && openssl req " in told[0].hint
    assert told[0].hint.endswith("-keyout site.key -out 'a dir/site.crt'")
