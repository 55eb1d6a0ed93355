"""Whether a service would be open to others than this machine; one without keys does not start then, unless told so."""

from __future__ import annotations

import ipaddress
import socket

from service.settings import LOCAL_NAMES, Settings


def is_local(host: str) -> bool:
    """Whether `host` means this machine alone: every address of it is a loopback address."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):  # it is no name: a part of it is empty, or longer than 63 characters
        return False
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def exposed_host(settings: Settings) -> str:
    """The address at which others reach the service."""
    return settings.published_host or settings.host


def refusal(settings: Settings) -> str | None:
    """Why a service with `settings` must not start, None where it may."""
    host = exposed_host(settings)
    if settings.api_keys is not None or settings.authentication == "none" or is_local(host):
        return None
    return (
        f"the service would be open to everybody who reaches {host}, and does not start: make a key "
        "(ritmo keys add --file keys.json) and set RITMO_API_KEYS=keys.json, listen on 127.0.0.1 alone "
        "(RITMO_HOST; for a forwarded port RITMO_PUBLISHED_HOST), or say RITMO_AUTHENTICATION=none"
    )


def with_hosts(settings: Settings) -> Settings:
    """`settings` with the names that the service answers to, where none are set.

    On this machine: names that no stranger can point at it.
    """
    if settings.allowed_hosts is not None or not is_local(exposed_host(settings)):
        return settings
    return settings.model_copy(update={"allowed_hosts": LOCAL_NAMES})
