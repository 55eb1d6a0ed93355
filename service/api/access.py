"""Access: what is checked of every request before its route sees it.

The name under which a browser reached the service (a page of a stranger can make its own name mean this machine: DNS
rebinding), the origin of the page that opens a WebSocket or changes the service, and the caller's key: whether it is
valid, has the scope of the route (`service.api.route_scopes`), and has requests left.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from functools import lru_cache

from starlette.types import Scope

from service.api.accounts import Account, KeyRing
from service.api.clients import ACCOUNT
from service.api.route_scopes import ADMIN, needed
from service.contract.errors import AccessDenied
from service.settings import LOCAL_NAMES

_MAX_HOST_BYTES = 255
_LIVE = "LIVE"  # the method of a WebSocket in the table of scopes


class HostList:
    """The names that the service answers to: `example.org`, `*.example.org`, or `local`."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(name for name in names if not name.startswith("*."))
        self._domains = tuple(name[1:] for name in names if name.startswith("*."))
        self.allows: Callable[[bytes], bool] = lru_cache(maxsize=256)(self._allows)

    def _allows(self, host: bytes) -> bool:
        """Whether `host`, the value of the header, is one of them; its port is left out."""
        name = _without_port(host.decode("latin-1").strip().lower()).rstrip(".")
        if name in self._names or (self._domains and name.endswith(self._domains)):
            return True
        return LOCAL_NAMES in self._names and _is_local(name)


class Access:
    """The checks; `keys` is None where none is needed."""

    def __init__(self, hosts: Sequence[str], origins: Sequence[str], keys: KeyRing | None) -> None:
        """`hosts`: the names that the service answers to, empty for all; `origins`: of pages that may call."""
        self._hosts = HostList(hosts) if hosts else None
        self._origins = frozenset(origins)
        self.keys = keys
        # Whether there is anything to check of requests to models.
        self.is_restricted = bool(hosts) or keys is not None

    def check(self, scope: Scope, path: str, has_route: Callable[[Scope], bool]) -> None:
        """Raise `AccessDenied` or `RateLimited` where the request in `scope` may not go on to its route.

        The account of its key is in the scope afterwards. `has_route` tells whether a route takes the request: one
        that none takes is refused as such, with any scopes of the key.
        """
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if self._hosts is not None:
            self._check_host(self._hosts, headers)
        is_live = scope["type"] == "websocket"
        scopes = needed(_LIVE if is_live else scope["method"], path)
        if is_live or (scopes is ADMIN and self.keys is None):
            self._check_origin(headers)
        if self.keys is None or not scopes:
            return
        account = self.keys.authenticate(headers, live=is_live)
        scope[ACCOUNT] = account
        if not account.may(scopes) and (scopes is not ADMIN or has_route(scope)):
            detail = f"this route needs a key with the scope {' or '.join(sorted(scopes))}"
            raise AccessDenied(detail, code="forbidden")
        account.charge_request()

    @staticmethod
    def _check_host(hosts: HostList, headers: list[tuple[bytes, bytes]]) -> None:
        for name, value in headers:
            if name == b"host":
                if len(value) <= _MAX_HOST_BYTES and hosts.allows(value):
                    return
                detail = "RITMO_ALLOWED_HOSTS lists the names under which the service answers, and this is none of them"
                raise AccessDenied(detail, code="host_not_allowed")

    def _check_origin(self, headers: list[tuple[bytes, bytes]]) -> None:
        """A browser tells where the page that asks comes from; other clients say nothing, or what they like."""
        fields = dict(headers)
        origin = fields.get(b"origin", b"").decode("latin-1").strip().lower()
        if not origin or "*" in self._origins or origin in self._origins:
            return
        if origin.partition("://")[2] != fields.get(b"host", b"").decode("latin-1").strip().lower():
            detail = "this page comes from another origin: RITMO_CORS_ORIGINS lists those that may call"
            raise AccessDenied(detail, code="origin_not_allowed")


def account_of(scope: Scope) -> Account | None:
    """The account of the key that the request in `scope` showed; None where none was needed."""
    account: Account | None = scope.get(ACCOUNT)
    return account


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


def _is_local(name: str) -> bool:
    """Whether no public DNS can make `name` mean this machine: an address, or a name without a dot."""
    if "." not in name and ":" not in name:
        return bool(name)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.endswith(".localhost")
    return True
