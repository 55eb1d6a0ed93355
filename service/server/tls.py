"""TLS by certificate files: each is tried before it is used, and read again when it changes.

A new certificate serves connections that open from then on; those that are open keep theirs. One that cannot be used
(half written, of another key, expired) leaves the last good one. The protocol above is HTTP/1.1, and nothing else is
offered to clients.
"""

from __future__ import annotations

import logging
import ssl
import time
from pathlib import Path

from service.runtime.watched_file import UnusableFile, WatchedFiles, read_watched

_EXPIRED = 10  # OpenSSL: X509_V_ERR_CERT_HAS_EXPIRED
_OTHER_KEY = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")  # the last: of another kind
_WARN_DAYS = 14.0
_DAY = 86_400.0
_MAX_BYTES = 1 << 20  # of a file; the longest chains have some ten thousand
_ROUNDS = 8  # of messages in the handshake that tries a certificate; two are enough

logger = logging.getLogger(__name__)


class CertificateError(UnusableFile):
    """The files cannot be used; the text says why."""


class Certificate:
    """The certificate in use. `context` is that of a listener; it hands every new connection to the latest files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises `CertificateError`; a certificate that has expired is used all the same at the start, and logged."""
        self._files = (certificate, key)
        self.expires = 0.0  # seconds since 1970, 0 where it has expired
        self._warned = 0.0
        self._current: ssl.SSLContext | None = None
        self.context = new_context(*self._files)
        self.context.sni_callback = self._choose
        self.watched = WatchedFiles("certificate", self._files, self._load)

    def check(self) -> None:
        """Read the files again where they have changed, and log an end that comes near."""
        self.watched.check()
        days = (self.expires - time.time()) / _DAY
        ended = days <= 0 < self.expires - self._warned  # since the last warning
        if days < _WARN_DAYS and (ended or time.time() - self._warned > _DAY):
            self._warned = time.time()
            if days <= 0:
                logger.error("the certificate %s has expired: clients refuse it", self._files[0])
            else:
                logger.warning("the certificate %s expires in %.1f days", self._files[0], days)

    def _load(self) -> None:
        context = new_context(*self._files)
        expires = expiry(self._files[0], context)
        if not expires and self.expires > time.time():
            raise CertificateError(f"{self._files[0]} has expired")
        self._current, self.expires, self._warned = context, expires, 0.0

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """OpenSSL calls this for every handshake, also where the client names no server."""
        if self._current is not None:
            connection.context = self._current


def new_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What serves with these files; raises `CertificateError`."""
    for path in (certificate, key):
        try:
            read_watched(path, _MAX_BYTES)  # OpenSSL would wait for what a named pipe never sends
        except UnusableFile as error:
            raise CertificateError(f"{certificate} and {key} cannot be used: {error}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")  # a key with a password: an error, no prompt
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CertificateError(f"{certificate} and {key} cannot be used: {_in_words(error)}") from error
    return context


def _in_words(error: OSError | ValueError) -> str:
    """Why OpenSSL does not take a certificate with its key."""
    if isinstance(error, ssl.SSLError):
        if error.reason in _OTHER_KEY:
            return "the key is not that of the certificate"
        if error.reason is None:  # "PEM lib": OpenSSL says no more
            return "one of them is not whole, not in PEM, or a key with a password"
        return error.reason
    return getattr(error, "strerror", None) or str(error)


def expiry(certificate: Path, context: ssl.SSLContext) -> float:
    """When the certificate of `context` expires (seconds since 1970), 0 where it has; found in a handshake in memory.

    Raises `CertificateError` where the handshake fails for any other reason.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(certificate)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate is trusted for itself
    try:
        shown = handshake(client, context).getpeercert()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            return 0.0
        raise CertificateError(f"{certificate} cannot be used: {error.verify_message}") from error
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError(f"{certificate} cannot be used: {error}") from error
    return float(ssl.cert_time_to_seconds(str(shown["notAfter"]))) if shown else 0.0


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, host: str | None = None) -> ssl.SSLObject:
    """The client's end of a connection to `host` between two contexts, in memory; raises `ssl.SSLError`."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=host)
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        for side in (asking, serving):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return asking
