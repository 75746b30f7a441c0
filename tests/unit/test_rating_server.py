"""The rating page's server: what it serves, and whom it refuses."""

import dataclasses
import http.client
import io
import json

import pytest
from PIL import Image
from rating_page import pairs, rows, serving, singles

from editbench.errors import UserError


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path / "r.csv", singles(3)) as server:
        yield server


def ask(server, path, body=None, raw=None, **headers):
    """Returns status, headers and body of a request; a path without a leading slash is behind the token."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    path = path if path.startswith("/") else f"/{server.token}/{path}"
    if body is not None or raw is not None:
        headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): v for name, v in headers.items()}
        connection.request("POST", path, raw if raw is not None else json.dumps(body), headers)
    else:
        connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    answer = response.status, dict(response.headers), response.read()
    connection.close()
    return answer


def test_the_page_names_its_own_parts_and_no_other_place(server):
    status, headers, page = ask(server, "")
    policy = headers["Content-Security-Policy"]
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    assert status == 200 and page.decode().count(f'nonce="{nonce}"') == 2 and b"{{" not in page
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    assert b"http://" not in page and b"https://" not in page
    assert headers["Referrer-Policy"] == "no-referrer" and headers["X-Content-Type-Options"] == "nosniff"
    assert nonce not in ask(server, "")[1]["Content-Security-Policy"], "another one each time"


def test_several_sources_have_a_place_each(tmp_path):
    one = singles(1)[0]
    sample = dataclasses.replace(one.other.sample, images_sha256=["ab" * 32, "cd" * 32, "ef" * 32])
    three = dataclasses.replace(one, other=dataclasses.replace(one.other, sample=sample))
    with serving(tmp_path / "several.csv", [three]) as server:
        state = json.loads(ask(server, "state")[2])
    assert state["question"]["images"] == ["source", "source2", "source3", "edited"]


def test_a_session_by_http(server, tmp_path):
    state = json.loads(ask(server, "state")[2])
    assert state["question"] == {"number": 0, "images": ["source", "edited"], "instruction": "Change it"}
    status, headers, png = ask(server, "image/0/edited")
    assert status == 200 and headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(png)).size == (40, 30)
    assert json.loads(ask(server, "answer", {"number": 0, "answer": 7})[2])["question"]["number"] == 1
    assert ask(server, "answer", {"number": 0, "answer": 7})[0] == 409
    assert json.loads(ask(server, "undo", {})[2])["question"]["number"] == 0
    assert json.loads(ask(server, "skip", {"number": 0})[2])["skipped"] == 1
    assert ask(server, "answer", {"number": 1, "answer": 3})[0] == 200
    assert [(row["sample_id"], row["score"]) for row in rows(tmp_path / "r.csv")] == [("s1", "3")]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 403),
        ("/state", {}, 403),
        ("/wrong-token/state", {}, 403),
        ("//state", {}, 403),
        ("state", {"Host": "evil.example"}, 403),
        ("state", {"Host": "127.0.0.1:1"}, 403),
        ("nothing", {}, 404),
        ("image/0/../../secret", {}, 404),
        ("image/0/left", {}, 404),
        ("image/-1/source", {}, 404),
        ("answer", {}, 404),
    ],
)
def test_another_host_token_or_path_is_refused(server, path, headers, status):
    found, _, body = ask(server, path, **headers)
    assert found == status and server.token.encode() not in body
    assert "error" in json.loads(body)


def test_localhost_is_the_same_host(server):
    assert ask(server, "state", Host=f"localhost:{server.server_port}")[0] == 200


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"raw": b"x" * 5000}, 413),
        ({"Content_Length": "-1"}, 413),
        ({"raw": b"no json"}, 400),
        ({"raw": b"[" * 4000}, 400),
        ({"raw": b"[1]"}, 400),
        ({"raw": b'{"number": 0, "answer": 99}'}, 400),
        ({"raw": b'{"number": "0", "answer": 9}'}, 404),
        ({"raw": b'{"number": 1, "answer": 9}'}, 409),
    ],
)
def test_what_other_pages_could_post_is_refused_and_writes_nothing(server, tmp_path, given, status):
    given = {"raw": b'{"number": 0, "answer": 9}'} | given
    assert ask(server, "answer", **given)[0] == status
    assert rows(tmp_path / "r.csv") == []


def test_our_own_page_may_post(server, tmp_path):
    origin = f"http://127.0.0.1:{server.server_port}"
    assert ask(server, "answer", {"number": 0, "answer": 9}, Origin=origin)[0] == 200
    assert len(rows(tmp_path / "r.csv")) == 1


def test_a_pair_does_not_tell_which_is_which(tmp_path):
    with serving(tmp_path / "p.csv", pairs(2)) as server:
        state = ask(server, "state")[2].decode()
        assert json.loads(state)["question"]["images"] == ["source", "left", "right"]
        assert "base" not in state and "other" not in state and "old" not in state
        assert ask(server, "answer", {"number": 0, "answer": "right"})[0] == 200
    assert [row["preference"] for row in rows(tmp_path / "p.csv")] == ["1"]


def test_only_the_loopback_listens_and_a_taken_port_is_said(server, tmp_path):
    assert server.server_address[0] == "127.0.0.1"
    for port, words in ((server.server_port, "it is in use"), (99999, "cannot be had")):
        with pytest.raises(UserError, match=words), serving(tmp_path / f"{port}.csv", singles(1), port):
            pass
