"""`POST /forecast` in its simplest form, one series with values and an id alone, with few objects for each request.

What is checked, computed, answered and counted is the same as on the other ways (`service.api.dispatch`,
`service.api.fast_path`): whatever is not of this form, or would not be answered, is left to them.
"""

from __future__ import annotations

import time
import weakref
from asyncio import Future, get_running_loop
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from msgspec import Struct
from starlette.types import Scope

from service.api.access import Access
from service.api.accounts import API_KEY, AUTHORIZATION, Account, KeyRing
from service.api.byte_budget import ByteBudget
from service.api.clients import ClientFinder
from service.api.fast_path import MAX_BYTES
from service.api.inference import FREE_NUMBERS
from service.api.model_route import digest_header
from service.api.problems import Answer, Header
from service.api.request import complete_headers, request_id
from service.api.request_metrics import RequestMetrics
from service.api.request_recorder import CLIENT_CLOSED_REQUEST
from service.api.route_scopes import INFER
from service.codec.common import JSON
from service.codec.forecast import ForecastCodec
from service.codec.forecast_types import DEFAULT_MODEL
from service.codec.single_forecasts import SingleForm, single_form
from service.contract.errors import AccessDenied, RitmoError
from service.contract.types import BatchResult
from service.registry.registry import Registry
from service.registry.served import Served
from service.runtime.compiled import Functions
from service.runtime.fair_share import Client
from service.settings import Settings

PATH = "/forecast"
_MAX_KINDS = 1024  # that are kept: all are forgotten when they are too many
_Key = tuple[str, int, tuple[float, ...] | None]  # model, steps, levels
_PLAIN_ACCEPT = (b"*/*", JSON.encode())
# Fields that change nothing of the answer while the connection stays.
_BROWSER_FIELDS = {b"accept-language", b"cache-control", b"pragma", b"sec-fetch-mode"}
_TRANSPORT_FIELDS = {b"accept-encoding", b"connection", b"content-length", b"host", b"user-agent"}
_WITHOUT_EFFECT = frozenset({b"accept", b"content-type"} | _TRANSPORT_FIELDS | _BROWSER_FIELDS)


class Connection(Protocol):
    """What a request needs of its connection."""

    def reply(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send an answer."""

    def reply_well(self, answer: bytes) -> None:
        """Send an answer of status 200; the connection adds its first lines."""


class Caller:
    """Who asks on a connection, and what its last request showed for a key."""

    __slots__ = ("_account", "_fields", "_generation", "client", "payer")

    def __init__(self, client: Client) -> None:
        self.client = client  # without a key
        self.payer = client  # with the key that it showed last, and has paid
        self._fields: Sequence[Header] = ()  # of the head with that key
        self._generation = -1  # of the keys that were asked for it
        self._account: Account | None = None

    def authenticate(self, keys: KeyRing, fields: Sequence[Header]) -> Account:
        """The account of the key in `fields`, for requests to models; raises `AccessDenied`.

        Fields are looked through again where they are not the same list as before, or the keys have changed since.
        """
        known = self._account
        if known is not None and self._fields is fields and self._generation == keys.generation and known.is_valid:
            return known
        account = keys.authenticate(fields)
        if not account.may(INFER):
            raise AccessDenied("the key has another scope", code="forbidden")
        self._fields, self._generation, self._account = fields, keys.generation, account
        self.payer = Client(account.group, self.client.group)
        return account


class _Kind(Struct, frozen=True, eq=False):
    """Requests for the same of the same model."""

    served: weakref.ref[Served]  # a version that was replaced goes with its last request
    form: SingleForm
    head: bytes  # of an answer, from its first field of its own to its time in the queue


class SingleForecast:
    """A request that is being computed."""

    __slots__ = (
        "_account",
        "_connection",
        "_held_bytes",
        "_is_open",
        "_item_id",
        "_kind",
        "_n_missing",
        "_n_values",
        "_results",
        "_route",
        "_served",
        "_started",
        "request_id",
    )

    def __init__(
        self,
        route: SingleForecasts,
        served: Served,
        kind: _Kind,
        connection: Connection,
        held_bytes: int,
        started: float,
        account: Account | None,
    ) -> None:
        self._account = account
        self._is_open = True
        self._route = route
        self._served = served
        self._kind = kind
        self._connection = connection
        self._held_bytes = held_bytes
        self._started = started
        self._results: Future[BatchResult] | None = None
        self.request_id = request_id(None)

    def begin(self, values: bytes, n_missing: int, item_id: str | None, deadline: float, client: Client) -> None:
        """Have it computed; raises what keeps it from that."""
        self._n_values, self._n_missing, self._item_id = len(values) >> 3, n_missing, item_id
        item = self._kind.form.item(np.frombuffer(values))
        self._results = self._served.submit([item], deadline, client, self._settled)

    def refuse(self, error: Exception) -> None:
        """Answer `error`, as soon as the connection waits for it."""
        get_running_loop().call_soon(self._refuse, error)

    def _refuse(self, error: Exception) -> None:
        if self._is_open:
            self._reply(self._route.fail(error, self.request_id))

    def cancel(self, answer: Answer | None = None) -> None:
        """Drop what is being computed: the connection is lost, or `answer` is sent instead."""
        results, self._results = self._results, None
        if results is not None:
            results.cancel()
        if answer is None:
            self._close(CLIENT_CLOSED_REQUEST)
        else:
            self._reply(answer)

    def _settled(self, results: Future[BatchResult]) -> None:
        self._results = None  # they refer to this method
        kind = self._kind
        try:
            result = results.result()
            forecast = result.results[0]
            text = self._route.write_answer(
                kind.head,
                kind.form.pieces,
                self._item_id,
                kind.form.numbers(forecast),
                self._n_values,
                self._n_missing,
                forecast.season,
                result.queue_seconds * 1e3,
                result.compute_seconds * 1e3,
                self.request_id if self._account is None else self.request_id + self._account.header_lines(),
            )
            if text is None:
                raise RuntimeError("the numbers of a forecast do not fit its text")
        except Exception as error:  # noqa: BLE001 (every exception becomes an answer)
            self._reply(self._route.fail(error, self.request_id))
            return
        self._connection.reply_well(text)
        self._close(200)

    def _reply(self, answer: Answer) -> None:
        fields = complete_headers(answer, self.request_id)
        if self._account is not None:
            fields = [*fields, *self._account.headers()]
        self._connection.reply(answer.status, fields, answer.body)
        self._close(answer.status)

    def _close(self, status: int) -> None:
        self._is_open = False
        route = self._route
        route.budget.release(self._held_bytes)
        route.metrics.record(PATH, self._served.manifest.name, status, time.monotonic() - self._started)


class SingleForecasts:
    """Begins the requests of the simplest form."""

    def __init__(
        self,
        functions: Functions,
        codec: ForecastCodec,
        registry: Registry,
        settings: Settings,
        access: Access,
        budget: ByteBudget,
        metrics: RequestMetrics,
        fail: Callable[[Exception, str], Answer],
    ) -> None:
        """`access` is that of all requests; `fail` answers an exception."""
        self._read_request = functions.read_request
        self.write_answer = functions.write_answer
        self._codec = codec
        self._registry = registry
        self._hosts = Access(settings.hosts, (), None)  # what it checks depends on a request's head alone
        self._keys: KeyRing | None = access.keys
        self._without_effect = _WITHOUT_EFFECT if access.keys is None else _WITHOUT_EFFECT | {AUTHORIZATION, API_KEY}
        self._longest = settings.max_observations
        self._max_body = min(settings.max_body_bytes, MAX_BYTES)
        self._timeout = settings.timeout_ms / 1000
        self._kinds: dict[_Key, _Kind] = {}
        self._unable: dict[_Key, weakref.ref[Served] | None] = {}  # by which version it is not answered here, if by any
        self.budget = budget
        self.metrics = metrics
        self.fail = fail
        self._clients = ClientFinder()

    def caller(self, scope: Scope) -> Caller:
        """Who asks on the connection in `scope`."""
        return Caller(self._clients.find(scope, {}))

    def takes(self, scope: Scope) -> bool:
        """Whether a request with the head in `scope` asks for nothing but what its body says, of this service."""
        try:
            self._hosts.check(scope, PATH, lambda _: True)
        except RitmoError:
            return False
        fields: list[tuple[bytes, bytes]] = scope["headers"]
        values = dict(fields)
        return (
            len(values) == len(fields)
            and self._without_effect.issuperset(values)
            and values.get(b"content-type") == JSON.encode()
            and values.get(b"accept", b"*/*") in _PLAIN_ACCEPT
            and scope["path"] == scope["root_path"] + PATH
            and scope["method"] == "POST"
            and not scope["query_string"]
        )

    def begin(
        self,
        data: bytes,
        body_at: int,
        fields: Sequence[Header],
        started: float,
        caller: Caller,
        connection: Connection,
    ) -> SingleForecast | None:
        """Have the request computed that has its body from `body_at` on; None where nothing has happened.

        `fields` are those of its head, `started` is when its first byte came (`time.monotonic()`).
        """
        n_bytes = len(data) - body_at
        request_parts = self._read_request(data, body_at) if n_bytes <= self._max_body else None
        if request_parts is None:
            return None
        name, values, n_missing, item_id, steps, levels = request_parts
        reference = DEFAULT_MODEL if name is None else name
        key = reference, steps, levels
        try:
            served = self._registry.get(reference)
            kind = self._kinds.get(key)
            if kind is None or kind.served() is not served:
                kind = self._kind_of(served, key)
            n_values = len(values) >> 3
            if kind is None or n_values not in kind.form.lengths or (n_missing and not kind.form.reads_missing):
                return None
            account, client = None, caller.client
            if self._keys is not None:
                account, client = caller.authenticate(self._keys, fields), caller.payer
            self.budget.acquire(n_bytes)
        except RitmoError:
            return None
        refusal: Exception | None = None
        try:
            if account is not None:
                refusal = account.charge_forecast(n_values)
        except RitmoError:
            self.budget.release(n_bytes)
            return None
        request = SingleForecast(self, served, kind, connection, n_bytes, started, account)
        try:
            if refusal is None:
                request.begin(values, n_missing, item_id, started + self._timeout, client)
        except Exception as error:  # noqa: BLE001 (every exception becomes an answer)
            if account is None:
                self.budget.release(n_bytes)  # the other ways meet it again, and answer it
                return None
            refusal = error
        if refusal is not None:
            request.refuse(refusal)
        return request

    def _kind_of(self, served: Served, key: _Key) -> _Kind | None:
        """The kind of requests that ask for `key`; None where they are not answered here, and the first time: to make
        one takes as long as an answer, and would not pay for a single request."""
        if key not in self._unable:
            if len(self._unable) >= _MAX_KINDS:
                self._unable.clear()
                self._kinds.clear()
            self._unable[key] = None
            return None
        unable = self._unable[key]
        if unable is not None and unable() is served:
            return None
        _, steps, levels = key
        kind = self._new_kind(served, steps, levels)
        if kind is None:
            self._unable[key] = weakref.ref(served)
        else:
            self._kinds[key] = kind
        return kind

    def _new_kind(self, served: Served, steps: int, levels: tuple[float, ...] | None) -> _Kind | None:
        manifest = served.manifest
        if manifest.task != "forecast":
            return None
        try:
            form = single_form(self._codec, steps, levels, manifest, self._longest, FREE_NUMBERS)
        except RitmoError:
            return None
        if form is None:
            return None
        head = b"content-type: application/json\r\n%b: %b\r\n" % digest_header(manifest.sha256)
        return _Kind(weakref.ref(served), form, head + b"server-timing: queue;dur=")
