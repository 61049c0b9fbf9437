"""Under which address clients find what the service names, also behind a proxy and for pages of other origins."""

import pytest
from tests.unit.api.conftest import make_conf

from glance_api.http import middleware
from glance_api.http.middleware import CORS_DEFAULTS, outer
from glance_api.http.proxy import ProxyHeaders

IMAGES, NAMESPACES = "/v2/images", "/v2/metadefs/namespaces"
ORIGIN = "https://horizon.example.com"
CORS = {"cors.allowed_origin": [ORIGIN]}
PROXY = {"oslo_middleware.enable_proxy_headers_parsing": True}
SAID = {
    "X-Forwarded-Proto": "https", "X-Forwarded-Host": "images.example.com", "X-Forwarded-Prefix": "/image",
    "X-Forwarded-For": "192.0.2.7",
}
TASK = {
    "type": "import",
    "input": {"import_from": "http://example.org/image", "import_from_format": "qcow2", "image_properties": {}},
}


@pytest.fixture
def behind(make_api):
    """Build an API behind the layers that these options switch on."""

    def make(layers, **options):
        conf = make_conf({**layers, **options})
        api = make_api(conf)
        inner = api.app.wsgi_app
        inner._app = outer(conf)(inner._app)
        return api

    return make


def created(api, **how):
    """Create one of each that has an address; return its document and its Location."""
    how["headers"] = {"Origin": ORIGIN, **how.get("headers", {})}
    calls = {
        "image": ("POST", IMAGES, {"json": {"name": "x"}}),
        "task": ("POST", "/v2/tasks", {"json": TASK, "roles": "admin"}),
        "namespace": ("POST", NAMESPACES, {"json": {"namespace": "A b"}, "roles": "admin"}),
        "v1": ("POST", "/v1/images", {}),
    }
    answers = {name: api.call(method, path, **{**how, **call}) for name, (method, path, call) in calls.items()}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(calls, 201)
    assert all(len(answer.headers.getlist("Location")) == 1 for answer in answers.values())
    ids = {name: answer.json.get("id") for name, answer in answers.items()}
    ids["v1"] = answers["v1"].json["image"]["id"]
    return {name: answer.headers["Location"] for name, answer in answers.items()}, ids


def expected(ids, path="", base="http://localhost"):
    return {
        "image": f"{path}/v2/images/{ids['image']}", "task": f"{path}/v2/tasks/{ids['task']}",
        "namespace": f"{base}/v2/metadefs/namespaces/A%20b", "v1": f"{path}/v1/images/{ids['v1']}",
    }


@pytest.mark.parametrize("layers", [{}, CORS, PROXY, {**CORS, **PROXY}])
def test_what_was_created_is_found(behind, layers):
    locations, ids = created(behind(layers))
    assert locations == expected(ids)


@pytest.mark.parametrize("layers", [PROXY, {**CORS, **PROXY}])
def test_behind_a_prefix_every_address_has_it(behind, layers):
    api = behind(layers)
    locations, ids = created(api, headers=SAID)
    assert locations == expected(ids, "/image", "https://images.example.com/image")
    versions = api.call("GET", "/versions", headers=SAID).json["versions"]
    assert versions[0]["links"][0]["href"] == "https://images.example.com/image/v2/"
    assert api.call("GET", "/v2/openapi.json", headers=SAID).json["servers"] == [{"url": "/image"}]
    # Clients put these behind the endpoint, which has the prefix.
    image = api.call("GET", f"{IMAGES}/{ids['image']}", headers=SAID).json
    assert [image[name] for name in ("self", "file", "schema")] == [
        f"{IMAGES}/{ids['image']}", f"{IMAGES}/{ids['image']}/file", "/v2/schemas/image"
    ]
    page = api.call("GET", f"{IMAGES}?limit=1", headers=SAID).json
    assert (page["first"], page["next"].partition("?")[0]) == (f"{IMAGES}?limit=1", IMAGES)


def test_s82_headers_are_not_believed_unless_an_operator_says_so(behind):
    api = behind(CORS)
    told = {**SAID, "X-Forwarded-Port": "8443", "Forwarded": "for=192.0.2.7;proto=https;host=evil.example.com"}
    locations, ids = created(api, headers=told)
    assert locations == expected(ids)
    assert api.call("GET", "/", headers=told).json["versions"][0]["links"][0]["href"] == "http://localhost/v2/"


def test_the_public_endpoint_wins(behind):
    api = behind(PROXY, public_endpoint="https://cloud.example.org/glance/")
    locations, ids = created(api, headers=SAID)
    assert locations == expected(ids, "/glance", "https://cloud.example.org/glance")
    href = api.call("GET", "/", headers=SAID).json["versions"][0]["links"][0]["href"]
    assert href == "https://cloud.example.org/glance/v2/"
    assert api.call("GET", "/v2/openapi.json").json["servers"] == [{"url": "https://cloud.example.org/glance"}]


def test_a_layer_of_webob_leaves_the_location_alone(api):
    """Keystone's middleware and the profiler answer through webob too, which would make it a URL."""
    webob = pytest.importorskip("webob.dec", reason="webob comes with the extra keystone")
    inner = api.app.wsgi_app
    inner._app = webob.wsgify.middleware(lambda request, app: request.get_response(app))(inner._app)
    locations, ids = created(api)
    assert locations == expected(ids)


def test_errors_have_no_location(api):
    assert "Location" not in api.call("POST", IMAGES, json={"size": 3}).headers


def seen(**headers):
    """Return address, base URL and prefix that the application behind a proxy with these headers sees."""
    environ = {
        "wsgi.url_scheme": "http", "HTTP_HOST": "api1:9292", "SERVER_NAME": "api1", "SERVER_PORT": "9292",
        "REMOTE_ADDR": "10.0.0.1", "SCRIPT_NAME": "",
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }
    ProxyHeaders(lambda *_: [])(environ, lambda *_: lambda _: None)
    return environ["REMOTE_ADDR"], f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}", environ["SCRIPT_NAME"]


UNTOLD = ("10.0.0.1", "http://api1:9292", "")


@pytest.mark.parametrize(
    ("header", "address", "base"),
    [
        ("for=192.0.2.60;proto=https;host=images.example.com", "192.0.2.60", "https://images.example.com"),
        ("For=192.0.2.60; PROTO=HTTPS ;Host=a.example:8443", "192.0.2.60", "https://a.example:8443"),
        ('for="192.0.2.60:4711";by=_x;host="a.example"', "192.0.2.60", "http://a.example"),
        ('for="[2001:db8::17]:4711";host="[2001:db8::1]:9292"', "2001:db8::17", "http://[2001:db8::1]:9292"),
        ('for="[2001:db8::17]"', "2001:db8::17", "http://api1:9292"),
        (r'host="a\.exa\mple"', "10.0.0.1", "http://a.example"),
        ("proto=https;host=a.example:443", "10.0.0.1", "https://a.example"),
        # Several hops: the last value of each parameter.
        ("for=198.51.100.9;host=evil.example, for=192.0.2.60;host=a.example", "192.0.2.60", "http://a.example"),
        ("for=192.0.2.60;proto=https;host=evil.example,for=10.0.0.7", "10.0.0.7", "http://api1:9292"),
        ("host=evil.example, for=192.0.2.60;proto=https", "192.0.2.60", "https://api1:9292"),
        (",, for=192.0.2.60 ;; ;proto=https,", "192.0.2.60", "https://api1:9292"),
        # An address that is kept secret, or is none.
        ("for=unknown;proto=https", "10.0.0.1", "https://api1:9292"), ("for=_hidden", "10.0.0.1", "http://api1:9292"),
        ("for=1.2.3", "10.0.0.1", "http://api1:9292"), ('for="[2001:db8"', "10.0.0.1", "http://api1:9292"),
        # Values that make no URL.
        ("proto=ftp;host=a.example", "10.0.0.1", "http://a.example"), ('host="a/b"', "10.0.0.1", "http://api1:9292"),
        ('host="a.example:0"', "10.0.0.1", "http://api1:9292"), ('host="x y"', "10.0.0.1", "http://api1:9292"),
        ('host="a.example:99999"', "10.0.0.1", "http://api1:9292"), ('host="u@a"', "10.0.0.1", "http://api1:9292"),
        ('proto="";host=""', "10.0.0.1", "http://api1:9292"),
    ],
)
def test_forwarded(header, address, base):
    assert seen(forwarded=header) == (address, base, "")


@pytest.mark.parametrize(
    "header",
    [
        "for", "for=", "=x", 'host="a.example', "host=a.example proto=https", "for==x", 'for="a"b', "host=é", "\x00",
        "host=a.example;" * 500, '"' * 4000, ";" * 100_000, "for=192.0.2.1/host=a.example", 'host="a\\',
    ],
)
def test_a_malformed_header_is_not_believed(header):
    assert seen(forwarded=header) == UNTOLD
    assert seen(forwarded=header, x_forwarded_host="a.example") == ("10.0.0.1", "http://a.example", "")


@pytest.mark.parametrize(
    ("headers", "address", "base"),
    [
        ({"proto": "https", "host": "a.example", "for": "192.0.2.7"}, "192.0.2.7", "https://a.example"),
        ({"proto": "http, https", "host": "evil, a.example", "for": "1.2.3.4, 192.0.2.7"},
         "192.0.2.7", "https://a.example"),
        ({"host": "a.example", "port": "8443"}, "10.0.0.1", "http://a.example:8443"),
        ({"host": "a.example:1", "port": "8443", "proto": "https"}, "10.0.0.1", "https://a.example:8443"),
        ({"port": "8443"}, "10.0.0.1", "http://api1:8443"), ({"port": "80"}, "10.0.0.1", "http://api1"),
        ({"port": "443", "proto": "https", "host": "[2001:db8::1]:1"}, "10.0.0.1", "https://[2001:db8::1]"),
        ({"for": "192.0.2.7:4711"}, "192.0.2.7", "http://api1:9292"),
        ({"for": "2001:db8::17"}, "2001:db8::17", "http://api1:9292"),
        *(({"port": port}, "10.0.0.1", "http://api1:9292") for port in ("0", "x", "-1", "65536", "9" * 99)),
        ({"host": "a b", "port": "1"}, "10.0.0.1", "http://api1:9292"),
        ({"host": "[::1", "proto": "gopher", "for": "x"}, "10.0.0.1", "http://api1:9292"),
        ({"host": "a," * 5000 + "b"}, "10.0.0.1", "http://api1:9292"),
    ],
)
def test_the_older_headers(headers, address, base):
    assert seen(**{f"x_forwarded_{name}": value for name, value in headers.items()}) == (address, base, "")


def test_forwarded_wins_and_the_older_headers_tell_the_rest():
    told = seen(
        forwarded="host=a.example", x_forwarded_host="b.example", x_forwarded_proto="https", x_forwarded_port="8443"
    )
    assert told == ("10.0.0.1", "https://a.example", "")


@pytest.mark.parametrize(
    ("told", "prefix"),
    [
        ("/image", "/image"), ("/image/", "/image"), ("/a/b.c-d", "/a/b.c-d"), ("/a%20b", "/a b"), ("/", ""),
        ("/evil, /image", "/image"), ("image", ""), ("//evil.example", ""), ("/a b", ""), ("/a?b", ""), ("/a#b", ""),
        ("/%zz", ""), ("/a\\b", ""), ("https://evil.example", ""), ("/é", ""), ("/" + "a" * 5000, ""),
    ],
)
def test_prefixes(told, prefix):
    assert seen(x_forwarded_prefix=told) == ("10.0.0.1", "http://api1:9292", prefix)


def test_a_prefix_is_quoted_in_links(behind):
    api = behind(PROXY)
    locations, ids = created(api, headers={"X-Forwarded-Prefix": "/%C3%A4%20b"})
    assert locations == expected(ids, "/%C3%A4%20b", "http://localhost/%C3%A4%20b")


ALLOWED = ("X-OpenStack-Image-Size", "X-Image-Meta-Store", "Range", "X-Auth-Token", "Content-Type", "If-None-Match")


@pytest.mark.parametrize("name", [*ALLOWED, *(name.lower() for name in ALLOWED)])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"])
def test_s84_pages_of_an_allowed_origin_may_send_what_the_api_reads(behind, name, method):
    ask = {"Origin": ORIGIN, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": name}
    answer = behind(CORS).call("OPTIONS", f"{IMAGES}/x/file", headers=ask)
    assert (answer.status_code, answer.headers.get("Access-Control-Allow-Origin")) == (200, ORIGIN)
    # Only the origin that the option names.
    refused = behind(CORS).call("OPTIONS", IMAGES, headers={**ask, "Origin": "https://evil.example.com"})
    assert "Access-Control-Allow-Origin" not in refused.headers


def test_pages_of_an_allowed_origin_may_read_what_the_api_answers(behind):
    answer = behind(CORS).call("POST", IMAGES, json={}, headers={"Origin": ORIGIN})
    exposed = {name.strip().lower() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
    plain = {"content-type", "content-length", "vary"}
    sent = {name.lower() for name in dict(answer.headers) if not name.lower().startswith("access-control-")}
    assert sent - plain <= exposed
    assert exposed == {name.lower() for name in CORS_DEFAULTS["expose_headers"]}
    assert middleware.cors_opts()
