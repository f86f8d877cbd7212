"""One message to a Slack channel, by an incoming webhook.

The webhook's address is a credential: whoever has it can post. It is never written to a log or an error.
"""

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from errors import PeerError

TIMEOUT_S = 10.0


def post(webhook: str, text: str) -> None:
    """Post a text in Slack's markup. It is not retried: a message that was taken without an answer would come twice.

    Raises:
        PeerError: Slack refused it, or did not answer in time.
    """
    try:
        with _pool(webhook) as pool:
            status = pool.request("POST", webhook, json={"text": text}).status
    except (HTTPError, OSError, ValueError) as error:  # from None: the cause may contain the address
        raise PeerError(f"Slack cannot be reached ({type(error).__name__}); see FUELLINE_SLACK") from None
    if not 200 <= status < 300:
        raise PeerError(f"Slack answered {status}; check the webhook in FUELLINE_SLACK")


def _pool(webhook: str) -> urllib3.PoolManager:
    """Connections to the webhook, through the proxy that the environment names for it."""
    address = urlsplit(webhook)
    proxy = None if proxy_bypass(address.hostname or "") else getproxies().get(address.scheme)
    if proxy:
        return urllib3.ProxyManager(proxy, timeout=TIMEOUT_S, retries=False)
    return urllib3.PoolManager(timeout=TIMEOUT_S, retries=False)
