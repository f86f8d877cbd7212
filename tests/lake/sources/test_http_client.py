"""The HTTP client: what it retries, how long it waits, and the size that it refuses."""

import gzip
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import SecretStr

from errors import PeerError, SourceError
from lake.sources.http_client import HttpClient, Limits, ResponseTooLarge
from settings import Endpoint
from tests.conftest import free_port
from tests.lake.sources.conftest import Reader
from tests.lake.sources.peer import Peer, Reply, plain

TOKEN = "a-secret-token"


def endpoint(url: str) -> Endpoint:
    return Endpoint(peer="loki", cluster="studio", url=url, token=SecretStr(TOKEN))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_failing_server_is_retried_with_growing_waits(peer: Peer, reader: Reader, status: int) -> None:
    peer.script = [Reply(status=status)] * 3 + [plain({"fine": True})]
    client = reader(endpoint(peer.url))
    assert client.get_json("/x", {"q": "a b"}) == {"fine": True}
    assert client.faults == {str(status): 3}
    assert client.requests == len(peer.requests) == 4
    assert [0.25 * 2**n <= wait <= 0.5 * 2**n for n, wait in enumerate(reader.waits)] == [True] * 3
    assert peer.requests[-1].parameters == {"q": "a b"}


def test_waits_and_tries_are_limited(peer: Peer, reader: Reader) -> None:
    peer.answer = lambda _: Reply(status=503)
    reader.limits = replace(reader.limits, tries=12, backoff_max_s=8)
    with pytest.raises(PeerError, match=r"loki 'studio': /x failed 12 times, at last: 503"):
        reader(endpoint(peer.url)).get("/x")
    assert len(reader.waits) == 11
    assert max(reader.waits) <= 8
    assert min(reader.waits[-5:]) >= 4


@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_a_permanent_refusal_is_not_retried(peer: Peer, reader: Reader, status: int) -> None:
    peer.script = [Reply(b'{"error":"parse error at char 3"}', status=status)]
    with pytest.raises(SourceError, match=rf"loki 'studio' refuses /x \({status}\): parse error at char 3"):
        reader(endpoint(peer.url)).get("/x")
    assert len(peer.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_token_is_named_by_its_setting_and_never_shown(peer: Peer, reader: Reader, status: int) -> None:
    peer.script = [Reply(f'{{"error":"no such token {TOKEN}"}}'.encode(), status=status)]
    with pytest.raises(SourceError, match="FUELLINE_LOKI_TOKEN") as refused:
        reader(endpoint(peer.url)).get("/x")
    assert peer.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in str(refused.value) + repr(endpoint(peer.url))


def test_retry_after_is_obeyed_in_seconds_and_as_a_date(peer: Peer, reader: Reader) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    peer.script = [
        Reply(status=429, headers={"Retry-After": "17"}),
        Reply(status=503, headers={"Retry-After": at}),
        Reply(status=429, headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        plain({}),
    ]
    reader(endpoint(peer.url)).get("/x")
    assert reader.waits[0] == 17
    assert 0 < reader.waits[1] <= 50
    assert reader.waits[2] == 0


def test_a_longer_wait_than_the_limit_fails_at_once(peer: Peer, reader: Reader) -> None:
    peer.script = [Reply(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(PeerError, match=r"429.*may be requested again in 3600 s, not before"):
        reader(endpoint(peer.url)).get("/x")
    assert reader.waits == []


def test_a_spent_quota_of_github_is_waited_for(peer: Peer, reader: Reader) -> None:
    reset = int(datetime.now(UTC).timestamp()) + 40
    spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
    peer.script = [Reply(status=403, headers=spent), plain({})]
    reader(endpoint(peer.url)).get("/x")
    assert 1 <= reader.waits[0] <= 41


def test_an_unreachable_server_is_retried_and_then_reported(reader: Reader) -> None:
    client = reader(endpoint(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(PeerError, match="failed 4 times, at last: down"):
        client.get("/x")
    assert client.faults == {"down": 4}


def test_a_server_that_does_not_answer_is_a_timeout(peer: Peer, reader: Reader) -> None:
    peer.script = [Reply(late_s=30)]
    peer.answer = lambda _: plain({"late": False})
    reader.limits = replace(reader.limits, read_s=0.3)
    client = reader(endpoint(peer.url))
    assert client.get_json("/x") == {"late": False}
    assert client.faults == {"timeout": 1}


@pytest.mark.parametrize("compressed", [False, True])
def test_a_truncated_response_is_retried(peer: Peer, reader: Reader, compressed: bool) -> None:
    whole = Reply(b'{"rows":[1,2,3,4,5,6,7,8]}', compressed=compressed)
    peer.script = [replace(whole, cut=12), whole]
    client = reader(endpoint(peer.url))
    assert client.get_json("/x") == {"rows": [1, 2, 3, 4, 5, 6, 7, 8]}
    assert client.faults == {"truncated": 1}


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b'{"rows":[1,2', b"\xff\xfe"])
def test_a_body_that_is_not_json_fails_at_once(peer: Peer, reader: Reader, body: bytes) -> None:
    peer.script = [Reply(body)]
    with pytest.raises(PeerError, match=f"/x answered {len(body)} bytes that are not JSON"):
        reader(endpoint(peer.url)).get_json("/x")
    assert len(peer.requests) == 1


def test_a_response_that_is_too_large_after_decompression_is_refused(peer: Peer, reader: Reader) -> None:
    bomb = Reply(b" " * 3_000_000, compressed=True)
    assert len(gzip.compress(bomb.body)) < 10_000
    peer.script = [bomb]
    reader.limits = replace(reader.limits, body_bytes=1_000_000)
    with pytest.raises(ResponseTooLarge, match="more than 1000000 bytes; request less at once"):
        reader(endpoint(peer.url)).get("/x")


def test_a_redirect_is_not_followed_with_the_token(peer: Peer, other_peer: Peer, reader: Reader) -> None:
    peer.script = [Reply(status=302, headers={"Location": other_peer.url})]
    with pytest.raises(SourceError, match="set FUELLINE_LOKI to the server's new address"):
        reader(endpoint(peer.url)).get("/x")
    assert other_peer.requests == []


def test_requests_are_spaced(peer: Peer, reader: Reader) -> None:
    peer.answer = lambda _: plain({})
    reader.limits = replace(reader.limits, between_s=60)
    client = reader(endpoint(peer.url))
    client.get("/x")
    client.get("/x")
    assert [59 < wait <= 60 for wait in reader.waits] == [True]


@pytest.mark.parametrize("ahead_s", [-7200, 3, 90])
def test_a_wrong_clock_is_reported_once(
    peer: Peer, reader: Reader, caplog: pytest.LogCaptureFixture, ahead_s: int
) -> None:
    wrong = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead_s), usegmt=True)
    peer.answer = lambda _: plain({}, Date=wrong)
    client = reader(endpoint(peer.url))
    client.get("/x")
    client.get("/x")
    assert abs(client.skew_s - ahead_s) < 60
    assert caplog.text.count("its clock differs") == (abs(ahead_s) > 60)


def test_limits_of_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Limits(tries=0)
    assert HttpClient(endpoint("http://x")).limits == Limits()


def test_a_retry_after_that_cannot_be_read_is_an_ordinary_wait(peer: Peer, reader: Reader) -> None:
    peer.script = [Reply(status=503, headers={"Retry-After": "soon"}), plain({})]
    reader(endpoint(peer.url)).get("/x")
    assert 0.25 <= reader.waits[0] <= 0.5
