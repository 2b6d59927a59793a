"""HTTP connections to public addresses only, for a server that downloads what its visitors name.

The name is looked up once, and the connection goes to the address that was checked: a name server that answers
differently the second time gains nothing. Each redirect opens a connection of its own, so it is checked too.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError
from urllib3.util.connection import create_connection

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


class NotPublicError(Exception):
    """A host has an address that is not public. Not an OSError: urllib3 would try again."""


def public_session() -> requests.Session:
    """A session that connects to public addresses only. It ignores proxies and other settings of the environment.

    Raises:
        NotPublicError: from its requests, before anything is sent.
    """
    session = requests.Session()
    session.trust_env = False  # a proxy would look the name up again, and may stand in the private network
    session.mount("http://", _PublicAdapter())
    session.mount("https://", _PublicAdapter())
    return session


def is_public(address: str) -> bool:
    """Whether an IP address is reachable from the whole internet.

    Not public: private, loopback, link-local (169.254.169.254 of the clouds), multicast, reserved, unspecified; also an
    IPv6 address that stands for such an IPv4 address (mapped, 6to4, NAT64).
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(found.packed[-4:])
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def _checked_address(host: str, port: int) -> str:
    """The first address of a host, all of whose addresses are public."""
    addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in addresses:
        if not is_public(address):
            raise NotPublicError(f"{host} has the address {address}")
    return addresses[0]


def _connect(connection: HTTPConnection) -> socket.socket:
    try:
        address = _checked_address(connection.host, connection.port)
    except (OSError, UnicodeError) as error:
        reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
        raise NameResolutionError(connection.host, connection, reason) from error
    found: Any = connection.timeout
    return create_connection((address, connection.port), found, socket_options=connection.socket_options)


class _PublicHTTPConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self)


class _PublicHTTPSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self)  # the certificate is checked against the host's name, as always


class _PublicHTTPPool(HTTPConnectionPool):
    ConnectionCls = _PublicHTTPConnection


class _PublicHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPSConnection


class _PublicAdapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _PublicHTTPPool, "https": _PublicHTTPSPool}
