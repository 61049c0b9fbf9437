"""The Flask application of both services: what it leaves out of Flask's work changes no answer."""

import pytest
from flask import Flask, request

from glance_common.routing import RestApplication


@pytest.fixture
def app() -> Flask:
    made = RestApplication("test")
    made.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    made.add_url_rule("/plain/<name>", view_func=lambda name: {"name": name, "q": request.args.get("q")}, endpoint="a")
    made.add_url_rule("/rest/<rest:name>", view_func=lambda name: {"name": name}, endpoint="b")
    return made


@pytest.mark.parametrize("host", ["image.example", "image.example:9292", "[::1]:9292", "", "a b", "ä", "x" * 5000])
def test_the_host_decides_nothing(app, host):
    answer = app.test_client().get("/plain/one", headers={"Host": host})
    assert (answer.status_code, answer.json["name"]) == (200, "one")


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("/plain/%C3%A4", 200, "ä"), ("/plain/%FF", 200, "�"), ("/plain/one/", 404, None), ("/plain//one", 404, None),
        ("/rest/a/b//c", 200, "a/b//c"), ("/rest/a%2Fb", 200, "a/b"), ("/rest/%0A", 200, "\n"), ("/nothing", 404, None),
    ],
)
def test_a_path_is_taken_as_it_was_sent(app, path, status, name):
    answer = app.test_client().get(path)
    assert answer.status_code == status
    assert name is None or answer.json["name"] == name


def test_the_query_and_the_method_arrive(app):
    client = app.test_client()
    assert client.get("/plain/one?q=%C3%A4").json["q"] == "ä"
    assert client.post("/plain/one").status_code == 405
    assert client.open("/plain/one", method="OPTIONS").status_code == 405


def test_no_answer_sets_a_cookie(app):
    answer = app.test_client().get("/plain/one", headers={"Cookie": "session=something"})
    assert "Set-Cookie" not in answer.headers
    assert "Vary" not in answer.headers
