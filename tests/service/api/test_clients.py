"""Whose request it is: by address and connection, or as a trusted proxy says."""

from __future__ import annotations

from typing import Any

import pytest

from service.api.clients import ClientFinder, group_of
from service.runtime.fair_share import ANONYMOUS, Client
from service.settings import Settings

PROXIES = Settings(trusted_proxies="10.0.0.0/8, 192.0.2.7,2001:db8::/32").proxies


def found(host: str, forwarded: str = "", finder: ClientFinder | None = None) -> Client:
    headers = {b"x-forwarded-for": forwarded.encode("latin-1")} if forwarded else {}
    scope: dict[str, Any] = {"client": (host, 5000)}
    return (finder or ClientFinder(PROXIES)).find(scope, headers)


def test_a_client_is_its_address_and_its_connection() -> None:
    assert found("198.51.100.1") == Client("198.51.100.1", 5000)


@pytest.mark.parametrize("client", [None, {}])
def test_a_connection_without_an_address_is_nobody_in_particular(client: dict[str, Any] | None) -> None:
    assert ClientFinder().find({"client": None} if client is None else client, {}) == ANONYMOUS


@pytest.mark.parametrize("finder", [ClientFinder(), ClientFinder(PROXIES)])
def test_what_a_stranger_forwards_counts_for_nothing(finder: ClientFinder) -> None:
    assert found("198.51.100.1", "203.0.113.5", finder) == Client("198.51.100.1", 5000)


@pytest.mark.parametrize(
    ("proxy", "forwarded", "address"),
    [
        ("10.1.2.3", "203.0.113.5", "203.0.113.5"),
        ("10.1.2.3", "198.51.100.9, 203.0.113.5", "203.0.113.5"),  # what is before it may be invented
        ("10.1.2.3", "203.0.113.5, 192.0.2.7 ,10.9.9.9", "203.0.113.5"),
        ("2001:db8::1", "203.0.113.5", "203.0.113.5"),
    ],
)
def test_a_trusted_proxy_names_the_client(proxy: str, forwarded: str, address: str) -> None:
    assert found(proxy, forwarded) == Client(address, address)


@pytest.mark.parametrize("forwarded", ["", "unknown", "203.0.113.5, nonsense", "10.0.0.1", "\xff", "1.2.3.4:80", ","])
def test_a_proxy_that_names_nobody_is_a_client_itself(forwarded: str) -> None:
    assert found("10.1.2.3", forwarded) == Client("10.1.2.3", 5000)


def test_an_endless_list_is_looked_at_from_its_end() -> None:
    assert found("10.1.2.3", "1.1.1.1, " * 100_000 + "203.0.113.5").group == "203.0.113.5"


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    assert group_of("2001:db8:1:2::1") == group_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::"
    assert group_of("2001:db8:1:3::1") != group_of("2001:db8:1:2::1")
    assert found("2001:db9::5").group == "2001:db9::"
    assert group_of("::ffff:203.0.113.5") == "203.0.113.5"
