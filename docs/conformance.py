"""Write docs/conformance.md: what is proven of the Gateway API, feature by feature, and by which tests.

    python docs/conformance.py --results restart=RUN.json reload=RUN.json

reads what runs of the official suite have found, one file for each mode (the gateway started anew for each test, or
reloaded between them), and keeps the essence as conformance.json; without `--results` the page is written from that.
A run is a list of {test, feature, verdict, data_plane_checks, status_checks, status_skipped}. Tests of ours are in
tests/features.yaml, the rules of objects in tests/compiler/manifests/rules.yaml. A test holds the page to all of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DOCS = Path(__file__).parent
TESTS = DOCS.parent / "tests"
MEASURED = DOCS / "conformance.json"
PAGE = DOCS / "conformance.md"
RELEASE = "v1.6"

# Why an official test may be left out; any other that is skipped has failed.
NOT_APPLICABLE = {
    "GatewayInfrastructure": "asks that the Pods and Services which a cluster runs for a Gateway have its labels and"
    " annotations; a gateway that runs from files creates none, so `GatewayInfrastructurePropagation` is not claimed",
    "TLSRouteListenerMixedTerminationNotSupported": "is for gateways without `TLSRouteModeMixed`",
    "TLSRouteListenerTerminateNotSupported": "is for gateways without `TLSRouteModeTerminate`",
}

HEAD = f"""\
# Conformance

What of the Gateway API ({RELEASE}, both channels) is proven, and by what. Written by `make docs` from runs of the
official conformance suite and from `tests/features.yaml`; do not edit it. A GatewayClass lists as
`status.supportedFeatures` the features that are `supported` here, no more and no fewer: a feature is, if all its
official tests pass in every mode, with no check left out, and tests of ours hold what the official ones do not ask.

## How it is measured

The expectations of the official suite, every test that is not about meshes, are held to a real `gatewayproxy run` in
file mode. Each test's manifests are files of its folder, beside the GatewayClass, Gateways and Services of the suite's
own setup; requests go over loopback to the addresses and ports of those Gateways, through real backends; objects that a
test creates, patches or deletes are files rewritten, then a reload. Every condition, reason, count and
`observedGeneration` that it asks of an object is read from `gatewayproxy get all -A -o json`. In mode *restart* a
gateway is started for each test; in mode *reload* one gateway serves them all, and only its files change. To write this
page from new runs:

    make docs RESULTS="restart=restart.json reload=reload.json"

A file of results is a list with an object for each test: `test`, `feature`, `verdict` (`PASS`, `FAIL`, `SKIP`),
`data_plane_checks`, `status_checks` and `status_skipped`, the number of checks left out. Tests of ours need no
results: `make test` runs them.
"""


class Verdict(NamedTuple):
    """What one official test said in one mode."""

    verdict: str  # PASS, FAIL or SKIP
    n_checks: int

    @property
    def cell(self) -> str:
        return f"pass, {self.n_checks} checks" if self.verdict == "PASS" else self.verdict.lower()


class OfficialTest(NamedTuple):
    """A test of the official suite, and what it said by mode."""

    name: str
    feature: str
    verdicts: Mapping[str, Verdict]

    @property
    def passes(self) -> bool:
        return all(each.verdict == "PASS" for each in self.verdicts.values())

    @property
    def applies(self) -> bool:
        """Tell whether there was anything to check: some tests are for gateways that lack a feature."""
        return any(each.verdict != "SKIP" for each in self.verdicts.values())


def measure(results: Mapping[str, Path]) -> dict[str, Any]:
    """Return the essence of runs, by mode."""
    tests: dict[str, Any] = {}
    for mode, path in results.items():
        for found in json.loads(path.read_text()):
            row = tests.setdefault(found["test"], {"feature": found["feature"], "modes": {}})
            row["modes"][mode] = [_verdict(found), found["data_plane_checks"] + found["status_checks"]]
    return {"modes": list(results), "tests": dict(sorted(tests.items()))}


def _verdict(found: Mapping[str, Any]) -> str:
    """Return a test's verdict; one that left out what it should not has failed."""
    left_out = found["verdict"] == "SKIP" and found["test"] not in NOT_APPLICABLE
    return "FAIL" if left_out or found["status_skipped"] else str(found["verdict"])


def official_tests(measured: Mapping[str, Any]) -> list[OfficialTest]:
    """Return every official test; one that a mode did not run has failed there."""
    absent = ["FAIL", 0]
    return [
        OfficialTest(
            name, row["feature"], {mode: Verdict(*row["modes"].get(mode, absent)) for mode in measured["modes"]}
        )
        for name, row in measured["tests"].items()
    ]


def own_tests(section: str = "features") -> dict[str, list[str]]:
    """Return the tests of ours by feature, or by what is "beyond" the named ones: paths under tests/."""
    tests: dict[str, list[str]] = yaml.safe_load((TESTS / "features.yaml").read_text())[section]
    return tests


def supported(measured: Mapping[str, Any]) -> list[str]:
    """Return the features that are proven."""
    own = own_tests()
    return [name for name, tests in _by_feature(measured).items() if own.get(name) and _is_proven(tests)]


def page(measured: Mapping[str, Any]) -> str:
    """Return the page."""
    return "\n".join([HEAD, _summary(measured), _features(measured), _beyond(), _tests(measured), _rules()])


def _by_feature(measured: Mapping[str, Any]) -> dict[str, list[OfficialTest]]:
    features: dict[str, list[OfficialTest]] = {}
    for test in official_tests(measured):
        features.setdefault(test.feature, []).append(test)
    return dict(sorted(features.items()))


def _is_proven(tests: Sequence[OfficialTest]) -> bool:
    applying = [test for test in tests if test.applies]
    return bool(applying) and all(test.passes for test in applying)


def _summary(measured: Mapping[str, Any]) -> str:
    tests = [test for test in official_tests(measured) if test.applies]
    rows = []
    for mode in measured["modes"]:
        found = [test.verdicts[mode] for test in tests]
        n_passed = sum(each.verdict == "PASS" for each in found)
        rows.append((mode, f"{n_passed} of {len(found)}", sum(each.n_checks for each in found)))
    return _table(("mode", "official tests that pass", "checks"), rows) + "\nTests that do not apply:\n\n" + _asides()


def _asides() -> str:
    return "".join(f"- `{name}` {reason}.\n" for name, reason in NOT_APPLICABLE.items())


def _features(measured: Mapping[str, Any]) -> str:
    own = own_tests()
    rows = []
    for name, tests in _by_feature(measured).items():
        state = "supported" if own.get(name) and _is_proven(tests) else "not claimed"
        official = _names(test.name for test in tests if test.applies)
        rows.append((f"`{name}`", official, _names(own.get(name, [])), state))
    head = "## Features\n\nTests of ours are paths below `tests/`.\n\n"
    return head + _table(("feature", "official tests", "tests of ours", "state"), rows)


def _beyond() -> str:
    rows = [(what, _names(tests)) for what, tests in own_tests("beyond").items()]
    head = "## Beyond the named features\n\nServed and tested, while the suite has no feature or no test of it.\n\n"
    return head + _table(("what", "tests of ours"), rows)


def _tests(measured: Mapping[str, Any]) -> str:
    modes = measured["modes"]
    rows = [
        (f"`{test.name}`", f"`{test.feature}`", *(test.verdicts[mode].cell for mode in modes))
        for test in official_tests(measured)
        if test.applies
    ]
    return "## Official tests\n\n" + _table(("test", "feature", *modes), rows)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _rules() -> str:
    found: dict[str, dict[str, None]] = {}
    says: dict[str, str] = {}
    for row in yaml.safe_load((TESTS / "compiler" / "manifests" / "rules.yaml").read_text()):
        found.setdefault(row["name"], {}).update(dict.fromkeys(row["at"]))
        says.setdefault(row["name"], row["says"])
    rows = [(f"`{name}`", _places(places), says[name].replace("|", r"\|")) for name, places in found.items()]
    head = (
        "## Rules across fields\n\nWhat an API server would refuse beyond the shape of single fields, each with an"
        " example of both sides in\n`compiler/manifests/rules.yaml`, and all of them beside the official rules.\n\n"
    )
    return head + _table(("rule", "where", "the error says"), rows)


def _places(places: Iterable[str]) -> str:
    """Return schema paths with the kinds that have them: "`spec.rules` of GRPCRoute, HTTPRoute"."""
    kinds: dict[str, list[str]] = {}
    for place in places:
        kind, path = place.split(" ")
        kinds.setdefault(path, []).append(kind)
    paths: dict[str, list[str]] = {}
    for path, having in kinds.items():
        paths.setdefault(", ".join(having), []).append(f"`{path}`")
    return "; ".join(f"{', '.join(found)} of {having}" for having, found in paths.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write docs/conformance.md.")
    parser.add_argument(
        "--results", nargs="+", metavar="MODE=FILE", default=[], help="what runs of the official suite found"
    )
    results = dict(each.split("=", 1) for each in parser.parse_args().results)
    if results:
        measured = measure({mode: Path(file) for mode, file in results.items()})
        MEASURED.write_text(_json(measured))
    PAGE.write_text(page(json.loads(MEASURED.read_text())))


def _json(measured: Mapping[str, Any]) -> str:
    """Return *measured* with a line for each test, so that a diff can be read."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in measured["tests"].items())
    return f'{{\n "modes": {json.dumps(measured["modes"])},\n "tests": {{\n{lines}\n }}\n}}\n'


if __name__ == "__main__":
    main()
