"""What the codecs of forecasts and digits have in common: what each offers, and the types that both use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, BinaryIO, Protocol, TypeVar

from msgspec import Meta, Struct

from service.contract.errors import InvalidRequest
from service.contract.manifest import Manifest, Task
from service.contract.types import Floats, Item

JSON = "application/json"
CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
TABLES = (CSV, PARQUET)  # read and written
READ_TABLES = (*TABLES, XLSX)
CSV_NAMES = frozenset({"application/csv", "text/tab-separated-values", "application/vnd.ms-excel"})  # of the same
ANY_IMAGE = "image/*"  # in a route's media types: with any header, an image is known by its first bytes
# Types that say nothing of the content: of a body sent with none, by curl --data-binary, as any file.
UNSPECIFIC = ("", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded")
ALL_INPUTS = "#/inputs/{}"  # template of the pointers to the inputs of a request
MESSAGE = "#"  # template of the pointer to the single input of a live message, which is the message itself
STATE_NUMBERS = 4  # numbers of a state that are put into a token in the time of one number of JSON
INPUT_NUMBERS = 50  # numbers of a series that are read, or written, in the time that each digit takes besides

ModelReference = Annotated[str, Meta(max_length=256)]
RequestedModel = Annotated[str, Meta(max_length=256, description="a name, or name@version")]
ItemId = Annotated[str, Meta(max_length=256, description="echoed in the answer")]
StateToken = Annotated[str, Meta(description="token of an earlier answer: what it was about goes on from there")]
ReturnState = Annotated[bool, Meta(description="answer a token with which a later request can go on from here")]
Timeout = Annotated[int, Meta(ge=1, le=3_600_000, description="deadline for the whole request, in milliseconds")]


class Body(Struct, frozen=True, eq=False, gc=False):
    """The body of a request, its type, and the query string of the request."""

    content: bytes
    media_type: str = JSON  # lower case, without parameters
    content_type: bytes = b""  # the header as it came, with parameters such as the boundary of a form
    query_string: bytes = b""
    file: BinaryIO | None = None  # what is too large for `content`, open at its beginning; closed with the request


class ModelAnswer(Struct, frozen=True):
    """What the answer of every route to a model begins with."""

    model: str
    model_version: str
    model_digest: str


class Opening(Struct, forbid_unknown_fields=True, frozen=True):
    """The first message of a live connection; subclasses add the model and the parameters."""

    item_id: ItemId | None = None
    state: StateToken | None = None


Reset = Annotated[bool, Meta(description="forget what came before; model and parameters stay")]


class SequenceState(Struct, frozen=True, eq=False, gc=False):
    """The state of a series or digit after all observations (values or rows) of it so far."""

    state: Floats  # (S,)
    observations: int
    missing: int = 0  # of the observations
    truncated: int = 0  # of the observations: those the model was not shown, since it uses only the last part
    season: int = 0  # as stated with the first observations; 0 = not stated
    flags: int = 0  # eight bits for the codec that makes the items


class Parameters(Protocol):
    """What all parameters have."""

    @property
    def timeout_ms(self) -> int | None: ...


class ModelRequest(Protocol):
    """A decoded request, or the decoded opening of a live connection."""

    @property
    def model(self) -> str: ...
    @property
    def parameters(self) -> Parameters: ...


class Call(Protocol):
    """The items of a request or message, with what is needed to encode their results."""

    @property
    def items(self) -> Sequence[Item]: ...
    @property
    def answer_size(self) -> int:
        """Numbers that the answer will hold, tokens counted by the time they take."""


RequestT = TypeVar("RequestT", bound=ModelRequest)
CallT = TypeVar("CallT", bound=Call)
OpeningT = TypeVar("OpeningT", bound=ModelRequest)


def unsupported_media_type(media_type: str, media_types: Sequence[str]) -> InvalidRequest:
    """The refusal of a body of a type that is none of `media_types`, or of none, with the types that are read."""
    reason = "this Content-Type is not read here" if media_type else "the request has no Content-Type"
    first, *further = (name for name in media_types if name != ANY_IMAGE)
    alternatives = f", {', '.join(further[:-1])} or {further[-1]}" if further else ""
    detail = f"{reason}: send 'Content-Type: {first}'{alternatives}"
    return InvalidRequest(detail, code="unsupported_media_type")


class Codec(Protocol[RequestT, CallT, OpeningT]):
    """Bytes to items and results to bytes, for one task: `decode`, `to_items`, (the model), `encode`.

    Live connections use the other four. All but `encode` and `encode_message` raise `InvalidRequest`.
    """

    @property
    def task(self) -> Task: ...
    @property
    def media_types(self) -> tuple[str, ...]:
        """Of the bodies that `decode` reads."""

    @property
    def max_body_bytes(self) -> int: ...

    def decode(self, body: Body, /) -> RequestT:
        """The request in `body`, checked as far as that is possible without the model."""

    def preparation_size(self, request: RequestT, /) -> int:
        """How much work `to_items` is for the request, in the time that one number of a series takes."""

    def to_items(self, request: RequestT, manifest: Manifest, deadline: float, /) -> CallT:
        """The items for the model of `manifest`; work that takes long ends at `deadline` (`DeadlineExceeded`)."""

    def encode(self, call: CallT, results: Sequence[Any], /) -> bytes:
        """The answer, one prediction for each of the `results`."""

    def decode_opening(self, content: bytes, /) -> OpeningT:
        """The first message of a live connection."""

    def resume(self, opening: OpeningT, manifest: Manifest, /) -> SequenceState | None:
        """The state that `opening` begins with, None for a new series or digit; checks its parameters too."""

    def message_to_items(
        self, content: bytes, opening: OpeningT, manifest: Manifest, resumed_from: SequenceState | None, /
    ) -> CallT | None:
        """The single item of a later message; None where it asks for a new beginning (`reset`) and brings nothing."""

    def opening_to_items(
        self, opening: OpeningT, manifest: Manifest, resumed_from: SequenceState | None, /
    ) -> CallT | None:
        """The single item of a first message that brings values already; None where it does not."""

    def encode_message(self, call: CallT, results: Sequence[Any], /) -> tuple[bytes, SequenceState]:
        """The prediction object, and the state that the next message resumes from."""

    def continued(self, opening: OpeningT, call: CallT, /) -> OpeningT:
        """`opening` as it is for the message after that of `call`."""

    def last_token(self, state: SequenceState, manifest: Manifest, /) -> str | None:
        """The token of `state` for another service to resume from, None where no other service could open it."""
