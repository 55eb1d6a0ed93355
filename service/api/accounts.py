"""API keys within a process: the account of a key, whether it is valid, and what it has left.

The keys are those of the file `RITMO_API_KEYS`, which is watched. A key is recognised by its id and compared by its
SHA-256 in constant time; an id that does not exist takes as long. An account outlives a change of the file, so that its
limits go on counting, and a connection that stays open learns that its key was revoked.
"""

from __future__ import annotations

import hmac
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from service.api.problems import Header
from service.contract.errors import AccessDenied, InvalidRequest, RateLimited, RitmoError
from service.runtime.allowances import Allowances
from service.runtime.key_file import (
    RESOURCES,
    KeyEntry,
    KeyFileError,
    Rate,
    id_of,
    key_digest,
    parse_keys,
    parse_rate,
    read_keys,
    replace_file,
)

AUTHORIZATION, API_KEY = b"authorization", b"x-api-key"
# A browser's WebSocket sends no header of its choice, but subprotocols: it offers PROTOCOL and PROTOCOL_KEY + key.
SUBPROTOCOLS, PROTOCOL, PROTOCOL_KEY = b"sec-websocket-protocol", "ritmo", b"ritmo.key."
REQUESTS, OBSERVATIONS = RESOURCES.index("requests"), RESOURCES.index("observations")
_WORK = {
    "forecast": OBSERVATIONS,
    "classify-digit": RESOURCES.index("pictures"),
}
_CREDENTIALS = frozenset((AUTHORIZATION, API_KEY))
_MAX_KEY_BYTES = 128
_MAX_KNOWN = 4096
_NOBODY = bytes(32)  # the digest that a key without an account is compared with
_DOUBLED = "send one key, once: several were sent"
_PERIODS = {1: "a second", 60: "a minute", 3600: "an hour", 86_400: "a day"}

logger = logging.getLogger(__name__)


class Account:
    """One key: what it may do and has left."""

    def __init__(self, entry: KeyEntry, allowances: Allowances, clock: Callable[[], float]) -> None:
        self.id = entry.id
        self.group = f"key {entry.id}"  # of the client, see `service.runtime.fair_share.Client`
        self._number = int(entry.id, 16) + 1
        self._allowances = allowances
        self._clock = clock
        self.change(entry)

    def change(self, entry: KeyEntry) -> None:
        """Go on as `entry` says now."""
        self.digest = bytes.fromhex(entry.sha256)
        self.scopes = frozenset(entry.scopes)
        self._valid_until = entry.valid_until
        texts = [getattr(entry.limits, name) for name in RESOURCES]
        self._rates: list[Rate | None] = [parse_rate(text) if text else None for text in texts]
        self._max_connections = entry.limits.live_connections
        self._work = {task: (index, self._rates[index]) for task, index in _WORK.items()}
        limited = [(name, index, rate) for index, name in enumerate(RESOURCES) if (rate := self._rates[index])]
        self._limits = tuple((index, rate.amount, rate.seconds) for _, index, rate in limited)
        self._left = tuple((", " if place else "") + f'"{name}";r=' for place, (name, *_) in enumerate(limited))
        policy = ", ".join(f'"{name}";q={rate.amount};w={rate.seconds:.0f}' for name, _, rate in limited)
        self._policy: Header = (b"ratelimit-policy", policy.encode())
        if limited:
            first_lines = f"\r\nratelimit-policy: {policy}\r\nratelimit: {self._left[0]}"
            self._left_in_lines = (first_lines, *self._left[1:])
        observations = self._rates[OBSERVATIONS]
        self._most_values = math.inf if observations is None else observations.amount
        # Of one request and the values of one series, what is limited.
        self._forecast_limits = tuple(limit for limit in self._limits if limit[0] in (REQUESTS, OBSERVATIONS))
        self._forecast_counts = slice(self._rates[REQUESTS] is None, 1 + (observations is not None))

    def remove(self) -> None:
        """The file has this key no more."""
        self._valid_until = 0.0

    @property
    def is_valid(self) -> bool:
        """Whether the key is neither revoked nor expired, by the clock of the system."""
        return self._clock() < self._valid_until

    def may(self, scopes: frozenset[str]) -> bool:
        """Whether the key has one of `scopes`; `admin` has all."""
        return "admin" in self.scopes or not self.scopes.isdisjoint(scopes)

    def charge_request(self) -> None:
        """One more request, or message of a live connection; raises `RateLimited`."""
        rate = self._rates[REQUESTS]
        if rate is not None:
            self._take(REQUESTS, 1, rate)

    def charge(self, task: str, items: int, values: int) -> None:
        """Work that is about to be queued: the values of series, or a number of digits.

        Raises `RateLimited`, and `InvalidRequest` (`too_many_items`) for more than the key may ever send at once.
        """
        resource, rate = self._work[task]
        count = values if task == "forecast" else items
        if rate is None or not count:
            return
        if count > rate.amount:
            raise _too_many(resource, rate, count)
        self._take(resource, count, rate)

    def charge_forecast(self, values: int) -> RitmoError | None:
        """One more request, and the `values` of its one series: `charge_request` and `charge` in one.

        Raises where the request is refused; where it was charged and its values are refused, that is returned.
        """
        if values > self._most_values:
            self.charge_request()
            return _too_many(OBSERVATIONS, Rate(*self._forecast_limits[-1][1:]), values)
        limits = self._forecast_limits
        if not limits:
            return None
        counts: tuple[int, ...] = (1, values)
        refused = self._allowances.take_in_turn(self._number, limits, counts[self._forecast_counts])
        if refused is None:
            return None
        place, wait = refused
        resource, amount, seconds = limits[place]
        error = _rate_limited(resource, Rate(amount, seconds), wait)
        if resource == REQUESTS:
            raise error
        return error

    def _take(self, resource: int, count: int, rate: Rate) -> None:
        wait = self._allowances.take(self._number, resource, count, rate)
        if wait:
            raise _rate_limited(resource, rate, wait)

    def connect(self) -> None:
        """One more live connection; raises `RateLimited`."""
        if not self._allowances.connect(self._number, self._max_connections):
            raise RateLimited(f"this key may have {self._max_connections} live connections at a time", 5.0)

    def disconnect(self) -> None:
        """A live connection has ended."""
        self._allowances.disconnect(self._number)

    def headers(self) -> list[Header]:
        """What is left (`RateLimit` of draft-ietf-httpapi-ratelimit-headers); none where nothing is limited."""
        if not self._limits:
            return []
        left = self._allowances.describe(self._number, self._limits, self._left)
        return [self._policy, (b"ratelimit", left.encode())]

    def header_lines(self) -> str:
        """`headers` as the lines of an answer's head, each behind the end of the one before."""
        if not self._limits:
            return ""
        return self._allowances.describe(self._number, self._limits, self._left_in_lines)


class KeyRing:
    """The accounts of all keys, by their ids."""

    def __init__(
        self,
        path: Path,
        allowances: Allowances | None = None,
        last_good: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`last_good`: a copy of the file, shared by the processes of a service, for a start while it is broken."""
        self.path = path
        self._allowances = allowances or Allowances()
        self._last_good = last_good
        self._clock = clock
        self._accounts: dict[bytes, Account] = {}
        self.generation = 0  # how often the file was read: what an earlier one said of a key is to be asked again
        # Fields that were found good, so that a key is not digested for each request. A dictionary finds them by a hash
        # with a secret of the process (SipHash), so what is nearly a key takes no longer than what is none.
        self._known: dict[tuple[bytes, bytes], Account] = {}

    def load(self) -> None:
        """Read the file; raises `KeyFileError`, and then nothing has changed."""
        try:
            entries = read_keys(self.path)
        except KeyFileError as error:
            if self._accounts or self._last_good is None or not self._last_good.exists():
                raise
            logger.error("the last good copy of the keys is in use: %s", error)
            entries = read_keys(self._last_good)
        else:
            self._keep(entries)
        accounts: dict[bytes, Account] = {}
        for entry in entries:
            name = entry.id.encode()
            account = self._accounts.get(name)
            if account is None:
                account = Account(entry, self._allowances, self._clock)
            else:
                account.change(entry)
            accounts[name] = account
        for name in self._accounts.keys() - accounts.keys():
            self._accounts[name].remove()
        self._accounts = accounts
        self._known.clear()
        self.generation += 1
        if not accounts:
            logger.warning("%s holds no key: nobody can use the service", self.path)

    def _keep(self, entries: Sequence[KeyEntry]) -> None:
        """Keep a copy for processes that start later; it is checked as the file itself is."""
        if self._last_good is None:
            return
        try:
            content = self.path.read_bytes()
            if parse_keys(content, "the copy") == entries:
                replace_file(self._last_good, content)
        except (OSError, KeyFileError) as error:
            logger.warning("no copy of the keys is kept: %s", error)

    def authenticate(self, headers: Sequence[tuple[bytes, bytes]], *, live: bool = False) -> Account:
        """The account of the one key in `headers`; `live`: of a WebSocket's handshake. Raises `AccessDenied`."""
        shown = [field for field in headers if field[0] in _CREDENTIALS]
        if len(shown) == 1 and not live:
            known = self._known.get(shown[0])
            if known is not None and known.is_valid:
                return known
        if live:
            shown += [(name, value) for name, value in headers if name == SUBPROTOCOLS and PROTOCOL_KEY in value]
        if len(shown) != 1:
            missing = "send a key: 'Authorization: Bearer …' or 'X-API-Key: …'"
            raise _unauthenticated(_DOUBLED if shown else missing)
        key = _key_in(*shown[0])
        account = self._accounts.get(id_of(key) or b"")
        digest = _NOBODY if account is None else account.digest
        if not hmac.compare_digest(key_digest(key), digest) or account is None:
            raise _unauthenticated("the key is not valid")
        if not account.is_valid:
            raise _unauthenticated("the key has expired or was revoked")
        if not live and len(self._known) < _MAX_KNOWN:
            self._known[shown[0]] = account
        return account


def _key_in(name: bytes, value: bytes) -> bytes:
    """The key in a header; raises `AccessDenied`."""
    if name == AUTHORIZATION:
        scheme, _, key = value.partition(b" ")
        if scheme.lower() != b"bearer":
            raise _unauthenticated("the scheme of Authorization is Bearer")
    elif name == SUBPROTOCOLS:
        offers = [offer.strip() for offer in value.split(b",")]
        keys = [offer.removeprefix(PROTOCOL_KEY) for offer in offers if offer.startswith(PROTOCOL_KEY)]
        if len(keys) != 1:
            raise _unauthenticated(_DOUBLED)
        key = keys[0]
    else:
        key = value
    return key.strip()[: _MAX_KEY_BYTES + 1]


def _unauthenticated(detail: str) -> AccessDenied:
    return AccessDenied(detail, code="unauthenticated")


def _too_many(resource: int, rate: Rate, count: int) -> InvalidRequest:
    detail = f"{count} {RESOURCES[resource]} at once: this key may send {_text(resource, rate)}"
    return InvalidRequest(detail, code="too_many_items")


def _rate_limited(resource: int, rate: Rate, wait: float) -> RateLimited:
    return RateLimited(f"this key may send {_text(resource, rate)}: go on in {wait:.1f} s", wait)


def _text(resource: int, rate: Rate) -> str:
    return f"{rate.amount} {RESOURCES[resource]} {_PERIODS[int(rate.seconds)]}"
