"""Which hosts are this machine, and what a connection to any other must have: TLS, and its certificate verified."""

import ipaddress
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import certifi
from psycopg.conninfo import make_conninfo

from kapman_resources.connection_errors import parse
from kapman_resources.errors import DatabaseError

UNTRUSTED = "its certificate is not signed by an authority that this machine trusts, or is another host's"
TRUST = "Check the address; the certificates of a private authority belong into the file that SSL_CERT_FILE names."
_ROOT_CERTIFICATE = Path("~/.postgresql/root.crt")
"""Where libpq looks for the authorities to trust."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine and nothing else; brackets of IPv6 don't matter."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def is_local(conninfo: str) -> bool:
    """Whether a libpq URL or connection string leads to this machine only: loopback or a Unix socket.

    What it leaves out comes from libpq's own variables (`PGHOST`, `PGHOSTADDR`). A name counts as remote even
    where it resolves to loopback, and so does what only a service file knows: when in doubt, it's remote.

    Raises:
        DatabaseError: it can't be read.
    """
    given = parse(conninfo)
    if given.get("service") or ("host" not in given and os.environ.get("PGSERVICE")):
        return False
    hosts = [
        host
        for parameter, variable in (("host", "PGHOST"), ("hostaddr", "PGHOSTADDR"))
        for host in (given.get(parameter) or os.environ.get(variable, "")).split(",")
    ]
    return all(not host or host.startswith(("/", "@")) or is_loopback(host) for host in hosts)


def verified(conninfo: str) -> str:
    """The connection string with TLS and a verified certificate demanded, unless the server is this machine.

    libpq's own default (`prefer`) encrypts if the server likes, and asks nobody for a certificate. Whoever says
    `sslmode`, in the string, in `PGSSLMODE` or in a service file, is taken at their word. A string that can't
    be read comes back as it is.
    """
    try:
        given = parse(conninfo)
    except DatabaseError:
        return conninfo
    said = "sslmode" in given or "PGSSLMODE" in os.environ or "service" in given or "PGSERVICE" in os.environ
    if said or is_local(conninfo):
        return conninfo
    named = "sslrootcert" in given or "PGSSLROOTCERT" in os.environ or _ROOT_CERTIFICATE.expanduser().exists()
    return make_conninfo(conninfo, sslmode="verify-full", **({} if named else {"sslrootcert": authorities()}))


def authorities() -> str:
    """The file of the certificate authorities that this machine trusts (`SSL_CERT_FILE`, if set).

    libpq's `sslrootcert=system` would ask the OpenSSL that psycopg's wheel brings, which looks in a folder
    that no machine has.
    """
    return ssl.get_default_verify_paths().cafile or certifi.where()


def require_tls(url: str, plain_http_hosts: str) -> str:
    """The URL of an HTTP API or object store, if keys and data are safe on the way there.

    plain_http_hosts: hosts beyond this machine that may be spoken to without TLS, separated by commas.

    Raises:
        ValueError: it isn't `https://`, or it holds credentials; a sentence without the URL.
    """
    parts = urlsplit(url)
    # Not only as user and password: a bare / in a secret ends the host's part of the URL before the @.
    if "@" in url or parts.query or parts.fragment:
        raise ValueError("an address holds no user, password, ? or #: keys have settings of their own")
    host = (parts.hostname or "").lower()
    allowed = {name.strip().lower() for name in plain_http_hosts.split(",")}
    if parts.scheme == "http" and not is_loopback(host) and host not in allowed:
        raise ValueError(
            f"http:// to {host!r} would show keys and data to everybody on the way, and let them change "
            f"what comes back; use https://, or set KAPMAN_PLAIN_HTTP_HOSTS={host} if that network is yours alone"
        )
    return url
