"""UDPRoute on the real process: flows across reloads, workers, removals, and the end."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.manifests import Tree, gateway, listener, service, tcp_route, udp_route, udp_service, write
from tests.support.ports import free_port
from tests.support.process import Gateway, http_get, loopback_address, running, wait_until
from tests.support.threaded_backend import backend
from tests.support.threaded_udp import Client, Talker, UdpBackend, udp_backend

PORT = 5300


def _simple(host: str, app: UdpBackend, *more: Tree) -> list[Tree]:
    parts = [gateway("gw", host, listener("dns", PORT, "UDP")), udp_route("r", ("app", 1))]
    return [*parts, udp_service("app", app.endpoint), *more]


def _bound(host: str) -> bool:
    """Tell whether somebody is bound to the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, PORT))
        except OSError:
            return True
    return False


def _metric(gw: Gateway, name: str) -> float:
    lines = [line for line in gw.get("/metrics").body.decode().splitlines() if line.startswith(f"{name}{{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_a_reload_keeps_the_flows_whose_endpoint_stays_and_moves_the_others(tmp_path: Path) -> None:
    host = loopback_address()
    with udp_backend("one") as one, udp_backend("two") as two:
        write(tmp_path, *_simple(host, one))
        with running(tmp_path) as gw, Client(host, PORT) as client, Client(host, PORT) as later:
            first = client.ask()
            assert first[0] == "one"
            write(tmp_path, *_simple(host, one)[:2], udp_service("app", one.endpoint, two.endpoint))
            report = gw.reload()
            assert (report["result"], report["connections"]["kept"]) == ("applied", 1)
            assert client.ask() == first  # the same flow: the same socket towards the backend
            write(tmp_path, *_simple(host, two))
            gw.reload()
            assert client.ask()[0] == "two"
            assert later.ask()[0] == "two"


def test_many_reloads_lose_no_datagram_of_a_flow(tmp_path: Path) -> None:
    host = loopback_address()
    with udp_backend("one") as one, udp_backend("two") as two:
        write(tmp_path, *_simple(host, one))
        with running(tmp_path) as gw, Client(host, PORT) as client:
            first = client.ask()
            for n in range(30):
                more = [udp_service(f"more{n}", two.endpoint)]
                listeners = [listener("dns", PORT, "UDP"), listener("extra", PORT + 1 + n % 2, "UDP")]
                write(tmp_path, gateway("gw", host, *listeners), *_simple(host, one)[1:], *more)
                gw.signal(signal.SIGHUP)
                for _ in range(20):
                    assert client.ask() == first
            assert gw.reload()["result"] in ("applied", "unchanged")


def test_tcp_and_udp_share_a_port_number(tmp_path: Path) -> None:
    host = loopback_address()
    with udp_backend() as app, backend("web") as web:
        gate = gateway("gw", host, listener("udp", PORT, "UDP"), listener("tcp", PORT, "TCP"))
        routes = [udp_route("u", ("app", 1)), tcp_route("t", "web", section="tcp")]
        write(tmp_path, gate, *routes, udp_service("app", app.endpoint), service("web", web.endpoint))
        with running(tmp_path) as gw, Client(host, PORT) as client:
            assert client.ask()[0] == "app"
            assert http_get(host, PORT).status == 200
            attached = {
                each["name"]: each["attachedRoutes"] for each in gw.objects()["Gateway", "gw"]["status"]["listeners"]
            }
            assert attached == {"udp": 1, "tcp": 1}
            gw.wait_log(rf"listening address={host}:{PORT}/udp protocol=UDP listeners=default/gw/udp")
            write(tmp_path, gateway("gw", host, listener("tcp", PORT, "TCP")), *routes, service("web", web.endpoint))
            gw.reload()
            assert http_get(host, PORT).status == 200  # the other transport's removal is none of its business


def test_clients_keep_their_worker_and_a_killed_one_is_replaced(tmp_path: Path) -> None:
    host = loopback_address()
    with udp_backend() as app:
        write(tmp_path, *_simple(host, app))
        with running(tmp_path, workers=2) as gw:
            n = 50  # the kernel gives all of them to one worker once in 10^15 times
            clients = [Client(host, PORT) for _ in range(n)]
            seen = [client.ask() for client in clients]
            assert len(set(seen)) == n
            assert [client.ask() for client in clients] == seen
            victim = gw.worker_pids()[0]
            os.kill(victim, signal.SIGKILL)
            waited = [client.sock.send(b"x") for client in clients]  # some wait in the dead worker's queue
            again = [client.sock.recv(100) for client in clients]
            assert len(waited) == len(again) == n
            same = sum(
                f"{name} {address} ".encode() in answer for (name, address), answer in zip(seen, again, strict=True)
            )
            assert 0 < same < n  # flows of the living worker went on, the others began anew
            for client in clients:
                client.sock.close()


def test_a_removed_listener_serves_its_flows_and_gives_the_port_back(tmp_path: Path) -> None:
    host = loopback_address()
    with udp_backend() as app:
        write(tmp_path, *_simple(host, app))
        without = [gateway("gw", host, listener("other", PORT + 1, "UDP")), udp_service("app", app.endpoint)]
        arguments = ["--drain", "15"]  # for so long the port is kept, too
        with running(tmp_path, arguments=arguments) as gw, Client(host, PORT) as old, Client(host, PORT) as new:
            with Talker(old) as talker:
                first = talker.ask()
                write(tmp_path, *without)
                assert gw.reload()["connections"]["draining"] == 1
                assert talker.ask() == first
                assert new.try_ask() is None
                write(tmp_path, *_simple(host, app))
                assert gw.reload()["result"] == "applied"  # back again before its flows had ended
                assert talker.ask() == first
                assert new.ask()[0] == "app"
                write(tmp_path, *without)
                gw.reload()
                assert talker.ask() == first
                assert set(talker.answers) == {first}
            wait_until(lambda: not _bound(host), "the port to be free")
            gw.wait_until(lambda: gw.state()["reload"]["connections"]["finished"] >= 2, "the flows to end")


def test_a_port_in_use_is_told_with_its_transport(tmp_path: Path) -> None:
    host = loopback_address()
    with udp_backend() as app, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((host, PORT))
        gate = gateway("gw", host, listener("dns", PORT, "UDP"), listener("tcp", PORT, "TCP"))
        write(tmp_path, gate, udp_route("r", ("app", 1), section="dns"), udp_service("app", app.endpoint))
        with running(tmp_path) as gw:
            gw.wait_log(rf"bind_failed address={host}:{PORT}/udp .*ss -lunp")
            unbound = {"address": host, "port": PORT, "transport": "udp", "error": "Address already in use"}
            assert gw.state()["reload"]["unbound"] == [unbound]
            listeners = gw.objects()["Gateway", "gw"]["status"]["listeners"]
            accepted = {
                each["name"]: condition["reason"]
                for each in listeners
                for condition in each["conditions"]
                if condition["type"] == "Accepted"
            }
            assert accepted == {"dns": "PortUnavailable", "tcp": "Accepted"}
            other.close()
            assert gw.reload()["unbound"] == []
            with Client(host, PORT) as client:
                assert client.ask()[0] == "app"


def test_the_end_waits_for_flows_to_fall_silent_and_logs_them(tmp_path: Path) -> None:
    host = loopback_address()
    with udp_backend() as app:
        write(tmp_path, *_simple(host, app))
        arguments = ["--access-log", "-", "--drain", "600"]
        with running(tmp_path, arguments=arguments) as gw, Client(host, PORT) as client:
            client.ask(b"12345")
            assert _metric(gw, "gatewayproxy_datagrams_total") == 2
            assert _metric(gw, "gatewayproxy_downstream_connections") == 1
            with Talker(client) as talker:
                gw.signal(signal.SIGTERM)
                gw.wait_log("stopping signal=SIGTERM")
                assert talker.ask()[0] == "app"
            assert gw.wait_exit() == 0
            n_asked = len(talker.answers)
            (line,) = (json.loads(line) for line in gw.output if '"udp"' in line)
            assert (line["protocol"], line["route"], line["endpoint"]) == ("udp", "UDPRoute default/r", app.endpoint)
            assert (line["bytes_in"], line["client"]) == (5 + n_asked, "127.0.0.1")
            assert "reason" not in line


def test_a_wildcard_listener_answers_from_the_address_that_was_asked(tmp_path: Path) -> None:
    port = free_port()
    with udp_backend() as app:
        gate = gateway("gw", "127.0.0.1", listener("dns", port, "UDP"))
        del gate["spec"]["addresses"]  # type: ignore[attr-defined]
        write(tmp_path, gate, udp_route("r", ("app", 1)), udp_service("app", app.endpoint))
        with running(tmp_path):
            for host in ("127.0.0.1", "127.0.0.2", "127.1.2.3", "::1"):
                with Client(host, port) as client:  # connected: hears nobody else
                    assert client.ask()[0] == "app"


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "silent backend"])
def test_a_flood_of_clients_takes_bounded_memory_and_descriptors(tmp_path: Path, answered: bool) -> None:
    host = loopback_address()
    with udp_backend() as app, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        endpoint = app.endpoint if answered else f"127.0.0.1:{mute.getsockname()[1]}"
        write(tmp_path, *_simple(host, app)[:2], udp_service("app", endpoint))
        arguments = ["--udp-flows", "2000"]
        with running(tmp_path, workers=1, arguments=arguments) as gw:
            (pid,) = gw.worker_pids()
            _flood(host, 4_000, 1)
            gw.wait_until(lambda: _metric(gw, "gatewayproxy_downstream_connections") == 2_000, "the table to be full")
            before = _resident_bytes(pid)
            _flood(host, 16_000, 2)
            gw.wait_until(lambda: _n_seen(gw) >= 20_000, "the flood to pass")
            assert _metric(gw, "gatewayproxy_downstream_connections") == 2_000
            assert len(os.listdir(f"/proc/{pid}/fd")) < 2_000 + 100
            assert _resident_bytes(pid) - before < 4 << 20


def _flood(host: str, n: int, net: int) -> None:
    """Send one datagram from each of *n* addresses."""
    for i in range(n):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((f"127.{32 + net}.{i >> 7 & 255}.{i & 127 | 128}", 0))
            sock.sendto(b"x", (host, PORT))


def _n_seen(gw: Gateway) -> float:
    text = gw.get("/metrics").body.decode()
    counted = ('gatewayproxy_datagrams_total{direction="in"', 'reason="queue_full"}')
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if any(each in line for each in counted))


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
