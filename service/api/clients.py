"""The client of a request, for the shares of queues: the address, and within it the connection.

A request with a key belongs to the key, wherever it comes from: all addresses that use one key divide its share.

Behind a proxy all clients share its address, unless the proxy is trusted to name them (`RITMO_TRUSTED_PROXIES`): then
the last address in X-Forwarded-For that is not itself a trusted proxy's counts. An IPv6 subscriber has 2^64 addresses,
so the first half of one is the client.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from starlette.types import Scope

from service.runtime.fair_share import ANONYMOUS, Client
from service.settings import Network

ACCOUNT = "ritmo.account"  # key of a scope: the account of the request's key (`service.api.accounts`)
_MAX_HEADER = 1024  # bytes of X-Forwarded-For that are looked at, from its end


class ClientFinder:
    """Tells clients apart; `proxies` are those that are trusted."""

    def __init__(self, proxies: tuple[Network, ...] = ()) -> None:
        self._proxies = proxies

    def find(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Client:
        """The client of the connection in `scope`, or the one for which a trusted proxy sends the request."""
        peer = scope.get("client")
        account = scope.get(ACCOUNT)
        if account is not None:
            return Client(account.group, self.address(scope, headers), account)
        if peer is None:
            return ANONYMOUS
        host, port = peer
        if self._proxies and self._is_proxy(host):
            forwarded = self._forwarded(headers.get(b"x-forwarded-for", b""))
            if forwarded:
                return Client(group_of(forwarded), forwarded)
        return Client(group_of(host) if ":" in host else host, port)

    def address(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """The address of the client, as a trusted proxy says or as the connection shows; empty where there is none."""
        peer = scope.get("client")
        if peer is None:
            return ""
        host: str = peer[0]
        forwarded = ""
        if self._proxies and self._is_proxy(host):
            forwarded = self._forwarded(headers.get(b"x-forwarded-for", b""))
        return forwarded or host

    def _forwarded(self, header: bytes) -> str:
        """The last address in `header` that is no proxy's; empty where there is none, or something else before it."""
        for part in reversed(header[-_MAX_HEADER:].decode("latin-1").split(",")):
            address = part.strip()
            try:
                ipaddress.ip_address(address)
            except ValueError:
                return ""
            if not self._is_proxy(address):
                return address
        return ""

    def _is_proxy(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


@lru_cache(maxsize=1024)
def group_of(address: str) -> str:
    """What has a share of its own: an IPv4 address, or the network of 64 bits that an IPv6 address is in."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False).network_address)
