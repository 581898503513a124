"""When the guard takes a reload back, and when it does not, by counts."""

from __future__ import annotations

import math
import random

import pytest

from gatewayproxy.dataplane.protocols.answers import ANSWERS
from gatewayproxy.model.refusals import REFUSALS
from gatewayproxy.ops.guard import ALPHA, MAX_JOINED, Counts, RuleName, Sample, Touched, fisher, judge
from gatewayproxy.ops.guarding import FAILURES, sample_of
from gatewayproxy.ops.snapshot import Row, RowName, Snapshot

LISTENER = "ns/gw/http"
A, B = RuleName("rule a", LISTENER), RuleName("rule b", LISTENER)
LOOKS = 30


def sample(at: float, *, unmatched: int = 0, **counts: tuple[int, int]) -> Sample:
    """Return counters of rules by their letter, as (requests, errors)."""
    rules = {RuleName(f"rule {name}", LISTENER): Counts(*pair) for name, pair in counts.items()}
    return Sample(at, rules, {LISTENER: unmatched} if unmatched else {})


CHANGED_A = Touched(changed=frozenset(["rule a"]))


@pytest.mark.parametrize(
    ("before", "after", "touched", "subject"),
    [
        pytest.param(sample(30, a=(100, 0)), sample(5, a=(20, 20)), CHANGED_A, "rule a", id="everything fails now"),
        pytest.param(sample(30, a=(1000, 10)), sample(5, a=(500, 100)), CHANGED_A, "rule a", id="a fifth fails now"),
        pytest.param(
            sample(30, a=(100, 0), b=(9000, 0)), sample(5, a=(20, 20), b=(1500, 0)), CHANGED_A, "rule a",
            id="a small rule beside a busy one",
        ),
        pytest.param(
            sample(30, a=(100, 0)), sample(5, b=(20, 20)),
            Touched(added=frozenset(["rule b"]), removed=frozenset(["rule a"])), f"rules changed on {LISTENER}",
            id="a rule that took another's place",
        ),
        pytest.param(
            sample(30, a=(300, 0)), sample(10, unmatched=90, a=(5, 0)), CHANGED_A, f"rules changed on {LISTENER}",
            id="what the rule used to get is 404 now",
        ),
        pytest.param(
            sample(30, a=(300, 0)), sample(10, unmatched=90), Touched(removed=frozenset(["rule a"])),
            f"rules changed on {LISTENER}", id="a removed rule whose clients go on asking",
        ),
        pytest.param(
            sample(30, a=(100, 0)), sample(5, a=(20, 20)), Touched(everything=True), "rule a",
            id="it is not known what changed",
        ),
    ],
)  # fmt: skip
def test_what_gets_worse_is_named(before: Sample, after: Sample, touched: Touched, subject: str) -> None:
    verdict = judge(before, after, touched, ever=before, looks=LOOKS)
    assert verdict is not None
    assert verdict.subject == subject
    assert verdict.p < ALPHA / LOOKS


@pytest.mark.parametrize(
    ("before", "after", "touched"),
    [
        pytest.param(sample(30, a=(100, 0)), sample(5, a=(100, 0)), CHANGED_A, id="all is well"),
        pytest.param(sample(30, a=(100, 90)), sample(5, a=(100, 95)), CHANGED_A, id="it was bad before"),
        pytest.param(sample(30, a=(100, 90)), sample(5, a=(100, 10)), CHANGED_A, id="it got better"),
        pytest.param(sample(30, a=(100, 0), b=(100, 0)), sample(5, a=(50, 0), b=(50, 50)), CHANGED_A, id="another"),
        pytest.param(sample(30, a=(100, 0)), sample(5, a=(9, 9)), CHANGED_A, id="too few requests after"),
        pytest.param(sample(30, a=(9, 0)), sample(5, a=(100, 100)), CHANGED_A, id="too few requests before"),
        pytest.param(sample(30, a=(100, 0)), sample(5, a=(100, 4)), CHANGED_A, id="too few errors"),
        pytest.param(sample(30, a=(90_000, 0)), sample(5, a=(90_000, 900)), CHANGED_A, id="a rise of one in a hundred"),
        pytest.param(sample(30), sample(5, b=(90, 90)), Touched(added=frozenset(["rule b"])), id="a rule nobody had"),
        pytest.param(sample(30, a=(300, 0)), sample(10, unmatched=900, a=(100, 0)), CHANGED_A, id="a scanner's 404s"),
        pytest.param(sample(30, a=(300, 0)), sample(10, a=(10, 0)), CHANGED_A, id="clients that went away"),
        pytest.param(
            sample(30, unmatched=900, a=(300, 0)), sample(10, unmatched=300, a=(10, 0)), CHANGED_A,
            id="404s as ever, and clients that went away",
        ),
    ],
)  # fmt: skip
def test_the_rest_is_left_alone(before: Sample, after: Sample, touched: Touched) -> None:
    assert judge(before, after, touched, ever=before, looks=LOOKS) is None


STREAMS = RuleName("TCPRoute ns/r rule 0 on ns/gw/tcp", LISTENER)
CHANGED_STREAMS = Touched(changed=frozenset([STREAMS.text]))


def streams(at: float, n: int, failures: int) -> Sample:
    return Sample(at, {STREAMS: Counts(n)}, {}, {LISTENER: failures})


def test_streams_that_we_fail_ourselves_are_errors_without_a_status() -> None:
    before = streams(30, 100, 0)
    verdict = judge(before, streams(5, 20, 20), CHANGED_STREAMS, ever=before, looks=LOOKS)
    assert verdict is not None
    assert (verdict.subject, verdict.after) == (f"streams of rules changed on {LISTENER}", Counts(20, 20))


def test_streams_that_get_nowhere_are_counted_though_no_rule_counts_them() -> None:
    before = streams(30, 100, 0)
    assert judge(before, streams(5, 0, 20), CHANGED_STREAMS, ever=before, looks=LOOKS) is not None


@pytest.mark.parametrize("unmatched", [pytest.param({}, id="refused"), pytest.param({LISTENER: 40}, id="no route")])
def test_datagrams_that_one_client_sends_again_and_again_are_no_evidence(unmatched: dict[str, int]) -> None:
    rule = RuleName("UDPRoute ns/r rule 0 on ns/gw/udp", LISTENER)
    before, after = Sample(30, {rule: Counts(300)}), Sample(10, {rule: Counts(5)}, unmatched, {LISTENER: 40})
    assert judge(before, after, Touched(changed=frozenset([rule.text])), ever=before, looks=LOOKS) is None


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_failures_of_others_on_a_listener_are_not_taken_for_those_of_a_rule_that_counts_its_own(kind: str) -> None:
    rule = RuleName(f"{kind} ns/r rule 0 on ns/gw/http", LISTENER)
    before, after = Sample(30, {rule: Counts(100)}), Sample(5, {rule: Counts(20)}, {}, {LISTENER: 20})
    assert judge(before, after, Touched(changed=frozenset([rule.text])), ever=before, looks=LOOKS) is None


def test_calls_of_grpc_that_failed_are_errors_beside_answers_of_class_5xx() -> None:
    snapshot = Snapshot()
    name = RowName("ns/gw/http", "GRPCRoute", "ns/r", 0, "", "ns/app:80")
    snapshot.rows[name] = Row([0, 0, 30, 0, 0, 2], [], 0.0, 0, 0, 0, 0, failed_calls=7)
    rule = RuleName("GRPCRoute ns/r rule 0 on ns/gw/http", "ns/gw/http")
    assert sample_of(1.0, snapshot).rules == {rule: Counts(32, 9)}


def test_every_answer_that_is_our_failure_is_known() -> None:
    of_clients = {"bad_version", "method_too_long", "unknown_protocol"}
    answers = {reason for reason, (status, _) in ANSWERS.items() if status >= 500}
    assert (answers | REFUSALS.keys()) - of_clients == FAILURES


def test_a_rule_asked_seldom_is_compared_with_all_of_its_past() -> None:
    recent, ever = sample(30, a=(3, 0)), sample(9000, a=(200, 1))
    verdict = judge(recent, sample(20, a=(12, 12)), CHANGED_A, ever=ever, looks=LOOKS)
    assert verdict is not None
    assert verdict.before == Counts(200, 1)


def test_many_subjects_and_looks_ask_for_more_evidence() -> None:
    before, after = sample(30, a=(40, 0)), sample(5, a=(40, 8))
    many = {RuleName(f"rule {n}", LISTENER): Counts(40, 0) for n in range(1000)}
    crowded = Sample(30, {**before.rules, **many})
    p = fisher(Counts(40, 0), Counts(40, 8))
    assert judge(before, after, CHANGED_A, ever=before, looks=1) is not None
    assert p > ALPHA / 1000
    assert judge(crowded, Sample(5, {**after.rules, **many}), Touched(everything=True), ever=before, looks=1) is None


def test_counters_of_a_worker_that_started_anew_do_not_go_back() -> None:
    assert Counts(5, 1).since(Counts(100, 50)) == Counts(5, 1)
    assert Counts(105, 51).since(Counts(100, 50)) == Counts(5, 1)


@pytest.mark.parametrize("seed", range(40))
def test_the_probability_is_that_of_all_tables_counted_out(seed: int) -> None:
    chance = random.Random(seed)
    before = Counts(n := chance.randrange(1, 60), chance.randrange(0, n + 1))
    after = Counts(m := chance.randrange(1, 60), chance.randrange(0, m + 1))
    errors, every = before.errors + after.errors, math.comb(before.n + after.n, after.n)
    tables = range(after.errors, min(errors, after.n) + 1)
    exact = sum(math.comb(errors, k) * math.comb(before.n + after.n - errors, after.n - k) for k in tables) / every
    if after.share > before.share:
        assert fisher(before, after) == pytest.approx(exact, rel=1e-9)
    else:
        assert fisher(before, after) == 1.0


def test_large_counts_take_no_time_and_do_not_overflow() -> None:
    z = 1999 / math.sqrt(2 * 10**5 + 2000)  # so many, the normal distribution says nearly the same
    normal = math.erfc(z / math.sqrt(2)) / 2
    assert fisher(Counts(10**8, 10**5), Counts(10**8, 10**5 + 2000)) == pytest.approx(normal, rel=0.03)
    assert fisher(Counts(10**8, 0), Counts(10**8, 10**8)) == 0.0


def test_reloads_that_change_no_share_are_seldom_taken_back() -> None:
    chance, reverted = random.Random(7), 0
    for _ in range(400):
        base = Counts(60, sum(chance.random() < 0.2 for _ in range(60)))
        before, n, errors = Sample(30, {A: base}), 0, 0
        for look in range(1, LOOKS + 1):
            n, errors = n + 4, errors + sum(chance.random() < 0.2 for _ in range(4))
            if judge(before, Sample(look, {A: Counts(n, errors)}), CHANGED_A, ever=before, looks=LOOKS) is not None:
                reverted += 1
                break
    assert reverted <= 400 * ALPHA


def test_reloads_without_end_are_joined_up_to_a_bound_and_then_all_rules_are_watched() -> None:
    names = frozenset(f"rule {n}" for n in range(MAX_JOINED))
    assert Touched(changed=names).joined(Touched()) == Touched(changed=names)
    assert Touched(changed=names).joined(Touched(added=frozenset(["one more"]))) == Touched(everything=True)
    assert Touched(everything=True).joined(Touched(changed=names)) == Touched(everything=True)
