"""Settings of the service in one frozen typed object: options beat the environment (`RITMO_*`), which beats defaults.

They are read once at start-up and passed down; no other module of the service reads the environment.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "RITMO_"
OTHER_VARIABLES = {"RITMO_DATA", "RITMO_REQUIRE_DATA"}  # of the training commands and of the tests
LOCAL_NAMES = "local"  # in a list of hosts: addresses, and names without a dot
MIN_KEY_BYTES = 16
MAX_WORKERS = 1024  # a typing mistake of three more digits would start processes until nothing is left
MAX_THREADS = 64  # a request brings 1,024 items at most: too few to keep more threads busy

_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_][A-Za-z0-9._\-]*|\[?[0-9A-Fa-f:]+(%[A-Za-z0-9]+)?\]?")
_ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.\-\[\]:]+|null")
_DEFAULT = re.compile(r"(forecaster|digits)=[a-z0-9][a-z0-9-]{0,63}")
_PIN = re.compile(r"[a-z0-9][a-z0-9-]{0,63}=[1-9][0-9]{0,8}")
WIRES = ("oip", "sagemaker", "nixtla", "mcp")

LogLevel = Literal["debug", "info", "warning", "error"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
Wait = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class EngineSettings(BaseModel):
    """Settings that every command has: which models are loaded, and what computes their answers."""

    models: Path = Field(default=Path("models"), description="folder of models, one <name>/<version>/ each")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto (the first GPU, else the CPU), cpu, cuda or cuda:<n>",
    )
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)] | None = Field(
        default=None,
        le=64,
        description="threads that share large batches, in each process; unset: one for each CPU, at most 4",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _values_are_not_empty(cls, value: object) -> object:
        # An empty host would listen on all addresses, an empty key would be replaced by a random one.
        if isinstance(value, str) and not value.strip():
            raise ValueError("must not be empty")
        return value


def _assignments(text: str | None) -> dict[str, str]:
    """The parts of `a=b,c=d`; none of an empty text."""
    pairs = (pair.strip().partition("=") for pair in (text or "").split(",") if pair.strip())
    return {name: value for name, _, value in pairs}


class Settings(EngineSettings, BaseSettings):
    """Settings of the service, each an option or a variable of the environment: --port 9000 or RITMO_PORT=9000.

    An option wins over the environment.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    published_host: str | None = Field(
        default=None,
        description="address at which others reach the service where it is not `host`: a port forwarded to it",
    )
    management_port: int | None = Field(
        default=None, ge=0, le=65535, description="another port for /livez, /readyz and /metrics, never behind requests"
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=MAX_WORKERS,
        description="processes that serve (at most 1,024); each loads the models for itself",
    )

    model_load_seconds: float = Field(
        default=300.0,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="that a model may take to load; then it has failed",
    )

    model_fault_limit: int = Field(
        default=10,
        ge=0,
        description="answers in a row that are not sound, after which a model is taken out; 0: it stays",
    )

    model_updates: Literal["none", "poll", "command"] = Field(
        default="command",
        description="versions found while it serves: none, on command (SIGHUP, POST /models/…), or by polling besides",
    )
    model_poll_seconds: Wait = Field(default=10.0, description="between two looks at the folder of models")
    model_management: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="whether POST /models/… may change what is served; auto: on a loopback address, or with keys",
    )
    model_versions: Count | None = Field(
        default=None, description="of each model only the last so many versions are loaded at the start; unset: all"
    )
    model_pins: str | None = Field(
        default=None, description="versions that bare names mean, as forecaster=3,digits=2; unset: the highest"
    )
    default_models: str | None = Field(
        default=None,
        description="models that answer where a request names none, as forecaster=shops,digits=ours: the bare names "
        "forecaster and digits mean these then",
    )

    max_body_bytes: Count = Field(default=4 << 20, description="largest request body; a longer one gets 413")
    max_held_bytes: Count = Field(
        default=256 << 20,
        description="requests, messages and answers held in memory, all connections together; beyond: 503",
    )
    max_head_bytes: int = Field(
        default=64 << 10, ge=1 << 10, description="largest head of a request; a longer one gets 414 or 431"
    )
    max_header_fields: Count = Field(default=100, description="fields in the head of a request; more get 431")
    max_table_bytes: int = Field(
        default=1 << 30,
        ge=0,
        description="largest table in a request; beyond max_body_bytes it is kept in a temporary file, and answered in "
        "parts. 0: none is",
    )
    max_items: Count = Field(default=1024, description="series or digits in one request")
    max_observations: Count = Field(default=100_000, description="values of one series")
    max_answer_numbers: Count = Field(default=750_000, description="numbers in one answer, all series together")
    max_image_bytes: Count = Field(
        default=16 << 20, description="largest image file; a body of /classify-digit may hold one, in base64 too"
    )
    max_pixels: Count = Field(
        default=64_000_000, description="width x height of the images of one request, checked before decoding"
    )
    max_image_scans: Count = Field(
        default=64, description="scans of a progressive JPEG, each of which goes over the whole image"
    )
    max_image_chunks: Count = Field(default=8192, description="parts of a PNG or TIFF file, and of the head of a JPEG")
    max_run_length_bytes: Count = Field(default=1 << 20, description="bytes of a BMP that is run-length encoded")
    max_queue_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="estimated seconds of work that may wait, shared out between clients; more gets 503",
    )
    max_queue_items: Count = Field(default=65_536, description="series and digits that may wait, likewise")
    max_queue_observations: Count = Field(default=4_000_000, description="observations that may wait, likewise")
    trusted_proxies: str | None = Field(
        default=None,
        description="addresses or networks, commas between, whose X-Forwarded-For names the client; unset: none",
    )
    timeout_ms: Count = Field(default=30_000, le=3_600_000, description="deadline of a request that states none")

    api_keys: Path | None = Field(
        default=None, description="file of API keys, made by `ritmo keys`; watched. Unset: nobody needs one"
    )
    authentication: Literal["auto", "none"] = Field(
        default="auto",
        description="auto: without keys the service serves this machine only, and else does not start; none: anybody",
    )
    audit_log: Path | None = Field(default=None, description="file for a line of JSON about each request; unset: none")
    allowed_hosts: str | None = Field(
        default=None,
        description="names the service answers to, commas between: example.org, *.example.org, local (addresses and "
        "names without a dot), * for all; unset: local where it serves this machine only, else *",
    )
    tls_certificate: Path | None = Field(
        default=None, description="file of the certificate and its chain (PEM); watched. Unset: no TLS"
    )
    tls_key: Path | None = Field(default=None, description="file of its private key (PEM)")
    trusted_keys: Path | None = Field(
        default=None,
        description="file of public keys, one a line: only models that one of them signed are loaded; unset: all",
    )

    state_keys_file: Path | None = Field(
        default=None, description="file of such secrets, one a line, in place of `state_keys`; watched"
    )
    state_keys: SecretStr | None = Field(
        default=None,
        description="secrets of 16 bytes or more, commas between: the first signs tokens, any verifies; unset: random",
    )
    state_ttl_seconds: Count = Field(default=604_800, description="how long a state token is good for")
    max_live_connections: Count = Field(
        default=10_000,
        description="live connections (WebSocket) of one process; more get 503, or the place of a client that has more "
        "of them",
    )
    max_message_bytes: Count = Field(default=1 << 20, description="largest message of a live connection")

    receive_seconds: Wait = Field(
        default=30.0, description="for a head or a live message to arrive, and between two parts of a body; then 408"
    )
    send_seconds: Wait = Field(
        default=30.0, description="after which a client that takes no more of its answer is cut off"
    )
    keep_alive_seconds: Wait = Field(
        default=75.0, description="an idle connection stays open: longer than load balancers keep theirs"
    )
    wires: str = Field(
        default=",".join(WIRES), description="foreign protocols that are served, commas between; none for none"
    )
    page: Literal["on", "off"] = Field(default="on", description="the page at /: on, or off for the API alone")

    drain_delay_seconds: Seconds = Field(
        default=1.0, description="after SIGTERM: how long /readyz says 503 while requests are still taken"
    )
    drain_seconds: Seconds = Field(default=20.0, description="after that: how long requests in flight may go on")
    cors_origins: str | None = Field(
        default=None,
        description="origins of pages that may call the service from a browser, commas between; * for any; unset: none",
    )
    traces_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        description="OTLP/HTTP collector that gets a span of every request (extra tracing); unset: no traces",
    )
    compiled: Literal["on", "off"] = Field(
        default="on", description="small requests by the extension in C, where it was built; off: in pure Python"
    )
    log_level: LogLevel = Field(default="info", description="debug, info, warning or error")
    access_log: bool = Field(default=False, description="log a line for every request (costs about 10 us each)")

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, value: str | None) -> str | None:
        for origin in (value or "*").split(","):
            if not _ORIGIN.fullmatch(origin.strip()):
                raise ValueError("must be * or origins such as https://example.org or http://localhost:3000")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_are_names(cls, value: str | None) -> str | None:
        for name in (value or "*").split(","):
            if not _HOST.fullmatch(name.strip()):
                raise ValueError(
                    "must be names such as example.org, *.example.org or 127.0.0.1 without a port; local; or *"
                )
        return value

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that the service answers to, none for all."""
        names = tuple(name.strip().lower().strip("[]") for name in (self.allowed_hosts or "*").split(","))
        return () if "*" in names else names

    @field_validator("traces_endpoint")
    @classmethod
    def _traces_can_be_sent(cls, value: str | None) -> str | None:
        if value is not None and find_spec("opentelemetry.exporter") is None:
            raise ValueError("needs the extra tracing: pip install 'ritmo[tracing]'")
        return value

    @field_validator("state_keys")
    @classmethod
    def _keys_are_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        keys = _split(value)
        if value is not None and not keys:
            raise ValueError("must not be empty")
        if any(len(key) < MIN_KEY_BYTES for key in keys):
            raise ValueError(f"every key must have at least {MIN_KEY_BYTES} bytes")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, value: str | None) -> str | None:
        _networks(value)
        return value

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of `trusted_proxies`."""
        return _networks(self.trusted_proxies)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of pages that may call the service, or `*` alone."""
        return tuple(origin.strip().lower() for origin in (self.cors_origins or "").split(",") if origin.strip())

    @field_validator("wires")
    @classmethod
    def _wires_are_known(cls, value: str) -> str:
        unknown = [name for name in value.replace(" ", "").split(",") if name not in {*WIRES, "none"}]
        if unknown:
            raise ValueError(f"{unknown[0]} is none of {', '.join(WIRES)}, none")
        return value

    @property
    def served_wires(self) -> tuple[str, ...]:
        """The foreign protocols that are served."""
        names = self.wires.replace(" ", "").split(",")
        return tuple(name for name in WIRES if name in names)

    @field_validator("model_pins")
    @classmethod
    def _pins_are_versions(cls, value: str | None) -> str | None:
        for pin in (value or "a=1").split(","):
            if not _PIN.fullmatch(pin.strip()):
                raise ValueError("must be names with their versions, such as forecaster=3,digits=2")
        return value

    @property
    def pins(self) -> dict[str, int]:
        """The versions of `model_pins` by name."""
        return {name: int(version) for name, version in _assignments(self.model_pins).items()}

    @field_validator("default_models")
    @classmethod
    def _defaults_are_names(cls, value: str | None) -> str | None:
        for pair in (value or "digits=a").split(","):
            if not _DEFAULT.fullmatch(pair.strip()):
                raise ValueError("must be forecaster or digits with a name each, such as forecaster=shops,digits=ours")
        return value

    @property
    def default_names(self) -> dict[str, str]:
        """The models of `default_models` by the name that they answer for."""
        return _assignments(self.default_models)

    @property
    def models_may_be_managed(self) -> bool:
        """Whether requests may change which models are served."""
        if self.model_updates == "none" or self.model_management == "off":
            return False
        if self.model_management == "on" or self.api_keys is not None:  # routes that need the scope `admin`
            return True
        return all(map(_is_loopback, (self.host, self.published_host or self.host)))

    @property
    def scheme(self) -> str:
        """Of the service's addresses."""
        return "https" if self.tls_certificate else "http"

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The keys of state tokens; the first one signs."""
        return _split(self.state_keys)

    @model_validator(mode="after")
    def _secrets_agree(self) -> Self:
        """Two sources of one secret would leave open which counts."""
        if self.api_keys is not None and self.authentication == "none":
            raise ValueError("authentication must not be none where api_keys are given")
        if self.state_keys is not None and self.state_keys_file is not None:
            raise ValueError("state_keys and state_keys_file: one of both")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.management_port == self.port != 0:
            raise ValueError("management_port must be another port than port")
        return self

    @model_validator(mode="after")
    def _a_request_fits_the_queue(self) -> Self:
        """A request that the limits allow must be one that an idle engine can take."""
        if self.max_items > self.max_queue_items:
            raise ValueError("max_items must not exceed max_queue_items")
        if self.max_observations > self.max_queue_observations:
            raise ValueError("max_observations must not exceed max_queue_observations")
        return self


def _is_loopback(host: str) -> bool:
    """Whether `host` is written as this machine alone; the names of others are not looked up."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _networks(text: str | None) -> tuple[Network, ...]:
    """Addresses and networks, commas between; raises `ValueError` for what is neither."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",")) if text else ()


def _split(keys: SecretStr | None) -> tuple[bytes, ...]:
    parts = (part.strip() for part in (keys.get_secret_value() if keys else "").split(","))
    return tuple(part.encode() for part in parts if part)


def unknown_variables(names: Iterable[str]) -> dict[str, str | None]:
    """Names that begin with `RITMO_` but have no meaning, each with the nearest name of a setting (or None)."""
    variables = [PREFIX + name.upper() for name in Settings.model_fields]
    meaningful = OTHER_VARIABLES.union(variables)
    unknown = sorted(name for name in names if name.startswith(PREFIX) and name.upper() not in meaningful)
    return {name: next(iter(difflib.get_close_matches(name, variables, n=1)), None) for name in unknown}
