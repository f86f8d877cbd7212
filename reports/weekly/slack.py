"""One message to a Slack channel, through an incoming webhook.

The webhook's address is a credential: whoever has it can post. It never stands in a log or in an error.
"""

import json
import urllib.error
import urllib.request

from errors import PeerError

TIMEOUT_S = 10.0


def post(webhook: str, text: str) -> None:
    """Post a text in Slack's own markup.

    Raises:
        PeerError: Slack did not take it, or did not answer in time.
    """
    body = json.dumps({"text": text}).encode()
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(webhook, body, kind, method="POST")  # noqa: S310 - the settings admit http(s) alone
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise PeerError(f"Slack answered {error.code}; look at the webhook in FUELLINE_SLACK") from None
    except (OSError, ValueError) as error:  # from None: the cause may spell the address out
        raise PeerError(f"Slack cannot be reached ({type(error).__name__}); see FUELLINE_SLACK") from None


def escaped(text: str) -> str:
    """A text whose characters Slack would take for its own markup stand for themselves."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
