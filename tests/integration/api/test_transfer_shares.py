"""One project cannot take every transfer of a server process."""

import io

import pytest

OCTETS = {"Content-Type": "application/octet-stream"}
RAW = {"disk_format": "raw", "container_format": "bare"}
DATA = b"\x01some data"


class Never(io.BytesIO):
    """The body of an upload that does not get this far."""

    def read(self, *_size):
        raise AssertionError("the body of a refused upload was read")


@pytest.fixture
def api(make_api):
    """An API with four transfers, three of them for one project."""
    return make_api(max_transfers=4)


def image_of(api, project):
    image = api.create(project=project, **RAW)["id"]
    uploaded = api.call("PUT", f"/v2/images/{image}/file", data=DATA, headers=OCTETS, project=project)
    assert uploaded.status_code == 204
    return image


def begin(api, image, project):
    """Begin a download; its permit is taken until the answer is closed."""
    identity = {"X-Identity-Status": "Confirmed", "X-User-Id": "u", "X-Roles": "member", "X-Project-Id": project}
    return api.app.test_client().get(f"/v2/images/{image}/file", headers=identity)


def test_s26_one_project_leaves_a_quarter_of_the_transfers_to_others(api):
    greedy, other = image_of(api, "greedy"), image_of(api, "other")
    running = [begin(api, greedy, "greedy") for _ in range(3)]
    assert {answer.status_code for answer in running} == {200}
    refused = begin(api, greedy, "greedy")
    assert (refused.status_code, int(refused.headers["Retry-After"])) == (503, 5)
    assert "max_transfers_per_project" in refused.text
    queued = api.create(project="greedy", **RAW)["id"]
    unread = {"input_stream": Never(), "headers": {**OCTETS, "Content-Length": "9"}}
    for path, request in ((f"/v2/images/{queued}/file", unread),
                          (f"/v1/images/{queued}", {"data": DATA, "headers": OCTETS})):
        assert api.call("PUT", path, project="greedy", **request).status_code == 503, path
    assert api.call("GET", f"/v1/images/{greedy}", project="greedy").status_code == 503
    served = api.call("GET", f"/v2/images/{other}/file", project="other")
    assert (served.status_code, served.data) == (200, DATA)
    running.pop().close()
    assert api.call("GET", f"/v2/images/{greedy}/file", project="greedy").data == DATA
    for answer in running:
        answer.close()


def test_without_a_share_one_project_may_have_all(make_api):
    api = make_api(max_transfers=4, max_transfers_per_project=0)
    image = image_of(api, "own")
    running = [begin(api, image, "own") for _ in range(4)]
    assert {answer.status_code for answer in running} == {200}
    refused = begin(api, image, "own")
    assert refused.status_code == 503
    assert "all 4 transfers" in refused.text
    for answer in running:
        answer.close()
