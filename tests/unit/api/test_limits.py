"""Where limits come from, and the growing room of uploads that do not say how much they bring."""

from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import responses
from tests.unit.api.conftest import make_conf

from glance_api import cli
from glance_api.services import limits, quotas
from glance_api.services.quotas import LEAST_STEP, MOST_STEP, Reservation
from glance_common.config.loading import ConfigError
from glance_common.model.errors import Gone, OutcomeUnknown, TooLarge, Unavailable
from glance_common.model.limits import Limits, Usage

KEYSTONE = "http://keystone.test/v3"
ACCOUNT = {
    "auth_type": "password", "auth_url": KEYSTONE, "username": "glance", "password": "very secret",
    "project_name": "service", "user_domain_name": "Default", "project_domain_name": "Default",
}


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1", 1), ("12B", 12), ("2KB", 2048), ("3MB", 3 * 2**20), ("1GB", 2**30), ("2TB", 2**41),
     ("9223372036854775807", 2**63 - 1)],
)
def test_a_storage_quota_has_units(text, size):
    assert limits.ByteCount()(text) == size


@pytest.mark.parametrize(
    "text", ["", "B", "1 GB", "1gb", "1K", "1KiB", "-1", "1.5GB", "one", "1GB ", "²", "8388608TB", "9" * 5000]
)
def test_a_storage_quota_that_cannot_be_read_stops_the_start(text, tmp_path):
    path = tmp_path / "glance-api.conf"
    path.write_text(f'[DEFAULT]\nuser_storage_quota = "{text}"\n')
    with pytest.raises(ConfigError, match=r"user_storage_quota = .*B, KB, MB, GB or TB \(powers of 1024\)"):
        cli.load(["--config-file", str(path)])


def test_a_storage_quota_holds_for_every_owner():
    source = limits.source(make_conf({"user_storage_quota": "1KB"}))
    assert source.of("a") == Limits("a", {"user_storage_quota": 1024})
    assert source.of(None) is None
    assert limits.source(make_conf()).of("a") is None


@pytest.fixture
def source(tmp_path):
    """Build the source of limits from ``[oslo_limit]`` with these options changed; None leaves one out."""

    def make(**options):
        path = tmp_path / "glance-api.conf"
        values = {"endpoint_id": "e1", **ACCOUNT, **options}
        lines = [f"{name} = {value}" for name, value in values.items() if value is not None]
        path.write_text("\n".join(["[DEFAULT]", "use_keystone_limits = true", "[oslo_limit]", *lines]))
        return limits.source(make_conf(files=[str(path)]))

    return make


@pytest.fixture
def keystone():
    """Keystone with one endpoint of ours, limits registered for it, and others for project p."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as http:
        catalog = [{
            "type": "identity", "name": "keystone", "id": "i",
            "endpoints": [{"interface": "public", "region": "R", "region_id": "R", "url": KEYSTONE, "id": "k"}],
        }]
        token = {"token": {
            "methods": ["password"], "expires_at": "2999-01-01T00:00:00.000000Z", "catalog": catalog,
            "user": {"id": "u", "name": "glance", "domain": {"id": "d", "name": "D"}},
            "issued_at": "2026-01-01T00:00:00Z",
        }}
        http.post(f"{KEYSTONE}/auth/tokens", json=token, status=201, headers={"X-Subject-Token": "t"})
        version = {"version": {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{KEYSTONE}/"}]}}
        http.get(KEYSTONE, json=version)
        endpoint = {"id": "e1", "service_id": "s1", "region_id": "R"}
        http.get(f"{KEYSTONE}/endpoints/e1", json={"endpoint": endpoint})
        http.get(f"{KEYSTONE}/services", json={"services": [{"id": "s1"}]})
        http.get(f"{KEYSTONE}/endpoints", json={"endpoints": [endpoint]})
        registered = {"image_size_total": 100, "image_count_total": 5, "image_count_uploading": -1, "servers": 9}
        http.get(f"{KEYSTONE}/registered_limits", json={"registered_limits": [
            {"resource_name": name, "default_limit": limit} for name, limit in registered.items()
        ]})
        http.get(f"{KEYSTONE}/limits", json={"limits": [{"resource_name": "image_size_total", "resource_limit": 7}]})
        yield http


def asked(keystone, path):
    """Return the query of the last call of ``path``."""
    urls = [urlsplit(call.request.url) for call in keystone.calls if call.request.url.startswith(f"{KEYSTONE}{path}?")]
    return {name: values[0] for name, values in parse_qs(urls[-1].query).items()}


def test_unified_limits_of_a_project_come_before_the_registered_ones(source, keystone):
    """What is not registered is 0, what is negative has no limit."""
    found = source().of("p")
    assert found == Limits("p", {"image_size_total": 7, "image_stage_total": 0, "image_count_total": 5})
    assert asked(keystone, "/limits") == {"service_id": "s1", "region_id": "R", "project_id": "p"}
    assert asked(keystone, "/registered_limits") == {"service_id": "s1", "region_id": "R"}


def test_the_endpoint_can_be_looked_up(source, keystone):
    options = {"endpoint_service_type": "image", "endpoint_region_name": "R", "endpoint_interface": "internalURL"}
    source(endpoint_id=None, **options).of("p")
    assert asked(keystone, "/services") == {"type": "image"}
    assert asked(keystone, "/endpoints") == {"service_id": "s1", "interface": "internal", "region_id": "R"}


def test_an_endpoint_that_is_not_unique_is_unavailable(source, keystone, caplog):
    keystone.replace("GET", f"{KEYSTONE}/services", json={"services": [{"id": "s1"}, {"id": "s2"}]})
    with pytest.raises(Unavailable, match="Keystone"):
        source(endpoint_id=None, endpoint_service_type="image").of("p")
    assert "names 2 services instead of one" in caplog.text


def test_limits_are_asked_anew_each_time(source, keystone):
    unified_limits = source()
    unified_limits.of("p")
    keystone.replace("GET", f"{KEYSTONE}/limits", json={"limits": []})
    found = unified_limits.of("p")
    assert found is not None
    assert found.values["image_size_total"] == 100


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_limits_that_keystone_does_not_tell_are_unavailable(source, keystone, caplog, status):
    keystone.replace("GET", f"{KEYSTONE}/registered_limits", status=status)
    with pytest.raises(Unavailable, match="Keystone"):
        source().of("p")
    assert "very secret" not in caplog.text


def test_an_image_of_nobody_has_no_limits(source):
    assert source().of(None) is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"endpoint_id": None}, r"endpoint_id .* needs one of endpoint_id, endpoint_service_type"),
        ({"auth_type": None}, r"auth_type .* needs an account"),
        ({"auth_type": "magic"}, r"auth_type = magic"),
        ({"auth_url": None}, r"auth_type = password: .*auth_url"),
    ],
)
def test_unified_limits_without_account_or_endpoint_stop_the_start(source, options, text):
    with pytest.raises(ConfigError, match=rf"\[oslo_limit\] {text}"):
        source(**options)


class Room:
    """A registry with room for ``free`` bytes; ``answers`` come first."""

    def __init__(self, free, *answers):
        self.free = free
        self.answers = list(answers)
        self.asked = []

    def reserve(self, _context, _attempt, *, at_least, at_most, limits):
        self.asked.append((at_least, at_most))
        if self.answers:
            raise self.answers.pop(0)
        if at_least > self.free:
            raise TooLarge("user_storage_quota is exceeded")
        return min(at_most, self.free)


@pytest.fixture
def waited(monkeypatch):
    """The pauses of waiting, which pass at once."""
    pauses = []
    clock = SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pauses.append)
    monkeypatch.setattr(quotas, "time", clock)
    return pauses


def reservation(room):
    glance = SimpleNamespace(registry=SimpleNamespace(usage=room))
    return Reservation(glance, None, SimpleNamespace(attempt="a"), Limits("own", {"user_storage_quota": 1}))


def test_steps_grow_with_what_came(waited):
    room = Room(2**62)
    growing = reservation(room)
    for size in range(2**20, 2**32, 2**22):
        growing.cover(size)
    assert room.asked[0] == (2**20, 2**20 + LEAST_STEP)
    steps = [at_most - at_least for at_least, at_most in room.asked]
    assert steps == sorted(steps)
    assert steps[-1] == MOST_STEP
    assert len(steps) < 16
    assert waited == []


def test_the_last_bytes_of_a_limit_can_be_used(waited):
    growing = reservation(Room(LEAST_STEP + 5))
    growing.cover(1)
    growing.cover(LEAST_STEP + 5)
    with pytest.raises(TooLarge):
        growing.cover(LEAST_STEP + 6)
    assert 9.9 < sum(waited) < 11


def test_a_refused_step_waits_for_others_to_give_room_back(waited):
    growing = reservation(Room(100, TooLarge("full"), Unavailable("the registry restarts"), TooLarge("full")))
    growing.cover(50)
    assert len(waited) == 3


def test_s40_a_limit_is_not_waited_for_while_a_tool_goes_on_writing(waited):
    growing = reservation(Room(100, Unavailable("the registry restarts")))
    growing.cover(50, wait=False)
    assert (len(waited), growing.reserved) == (1, 100)
    with pytest.raises(TooLarge):
        growing.cover(101, wait=False)
    assert len(waited) == 1


def test_an_upload_that_is_over_does_not_wait(waited):
    with pytest.raises(Gone):
        reservation(Room(100, Gone("deleted"))).cover(1)
    assert waited == []


def test_a_registry_that_does_not_answer_ends_the_upload_cleanly(waited):
    """Not as an unknown outcome, after which the bytes would have to stay."""
    with pytest.raises(Unavailable) as raised:
        reservation(Room(100, *[OutcomeUnknown("no answer")] * 100)).cover(1)
    assert type(raised.value) is Unavailable


def test_usage_is_shown_in_the_units_of_the_limits():
    used = Usage(size=5 * 2**20 + 1, stage=2**20, images=3, uploading=1)
    glance = SimpleNamespace(
        settings=SimpleNamespace(use_keystone_limits=True),
        limits=SimpleNamespace(of=lambda owner: Limits(owner, {"image_size_total": 10, "image_count_total": 5})),
        registry=SimpleNamespace(usage=SimpleNamespace(of_owner=lambda _context, _owner: used)),
    )
    assert quotas.usage(glance, SimpleNamespace(project_id="p")) == {
        "image_size_total": {"usage": 5, "limit": 10},
        "image_stage_total": {"usage": 1, "limit": -1},
        "image_count_total": {"usage": 3, "limit": 5},
        "image_count_uploading": {"usage": 1, "limit": -1},
    }


def test_without_unified_limits_usage_is_empty(api):
    assert api.call("GET", "/v2/info/usage").json == {"usage": {}}
