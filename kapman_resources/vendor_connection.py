"""A connection to the vendor: httpx's requests and answers over aiohttp's connections.

A page costs httpx's own transport three times the processor time that it costs aiohttp, which reads HTTP in
C. And there is no client around it: cookies, redirects and ways to authenticate are what nobody wants
here, and take as long as aiohttp does.

A module of its own, imported when something is to be fetched: importing aiohttp takes a third of a second.
"""

import ssl
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from kapman_resources.hosts import is_loopback


class VendorConnection(AiohttpTransport):
    """One connection at a time to one origin; raises httpx.TransportError whatever goes wrong on it."""

    def __init__(self, base: httpx.URL, context: ssl.SSLContext) -> None:
        proxy = _proxy(base)
        super().__init__(
            verify=context,
            proxy=httpx.Proxy(proxy) if proxy else None,
            client=lambda: aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1, ssl=context), cookie_jar=aiohttp.DummyCookieJar()
            ),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, whose body is still to be read, as bytes came: not inflated."""
        try:
            return await super().handle_async_request(request)
        except aiohttp.ClientError as error:  # those that the transport doesn't translate: it was not HTTP
            raise httpx.RemoteProtocolError(str(error), request=request) from error


def _proxy(base: httpx.URL) -> str | None:
    """What the environment names as the proxy on the way to an address; none between us and this machine."""
    if is_loopback(base.host) or proxy_bypass(base.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(base.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy
