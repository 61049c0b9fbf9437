"""The tasks API (API section 15)."""

import pytest

NEW = {
    "type": "import",
    "input": {"import_from": "http://example.org/image", "import_from_format": "qcow2", "image_properties": {}},
}


def new(**changes):
    """Return a new task whose input is changed."""
    return {**NEW, "input": {**NEW["input"], **changes}}


def test_a_task_is_made_and_shown(api):
    made = api.call("POST", "/v2/tasks", json=NEW, roles="admin")
    assert made.status_code == 201
    task = made.json
    assert made.headers["Location"] == f"/v2/tasks/{task['id']}"
    assert (task["type"], task["status"], task["input"], task["message"]) == ("import", "pending", NEW["input"], "")
    assert task["created_at"] == "2026-11-21T10:00:00Z"
    assert task["schema"] == "/v2/schemas/task"
    assert api.call("GET", task["self"], roles="admin").json == task
    listed = api.call("GET", "/v2/tasks?limit=1", roles="admin").json
    (stub,) = listed["tasks"]
    assert task.keys() - stub.keys() == {"input", "result", "message"}
    assert listed["first"] == "/v2/tasks?limit=1"
    assert listed["next"] == f"/v2/tasks?limit=1&marker={task['id']}"
    assert api.app.extensions["glance"].work.event.is_set()


@pytest.mark.parametrize(
    "body",
    [
        [], {}, {"type": "import"}, {**NEW, "type": "export"}, {**NEW, "type": "api_image_import"},
        {**NEW, "input": []},
        new(import_from=None), new(import_from=""), new(import_from_format=None), new(image_properties=None),
        new(image_properties={"disk_format": "raw"}), new(image_properties={"id": "x"}),
        new(image_properties={"disk_format": "nonsense", "container_format": "bare"}),
        new(image_properties={"disk_format": "raw", "container_format": "bare", "min_ram": -1}),
    ],
)
def test_s54_tasks_that_cannot_be(api, body):
    assert api.call("POST", "/v2/tasks", json=body, roles="admin").status_code == 400
    assert api.registry.operations.made == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1/", "http://0x7f000001/", "ftp://example.org/"])
def test_s31_sources_pass_the_filter(api, url):
    refused = api.call("POST", "/v2/tasks", json=new(import_from=url), roles="admin")
    assert refused.status_code == 400
    assert "import_from" in refused.text


def test_s50_tasks_are_for_administrators(api):
    task = api.call("POST", "/v2/tasks", json=NEW, roles="admin").json
    for method, path, body in (("POST", "/v2/tasks", NEW), ("GET", "/v2/tasks", None), ("GET", task["self"], None)):
        assert api.call(method, path, json=body).status_code == 403
    other = "/v2/tasks/22222222-2222-4222-8222-222222222222"
    assert api.call("GET", other, roles="admin").status_code == 404


def test_a_policy_may_let_others_see_their_own_tasks(make_api, tmp_path):
    (tmp_path / "policy.yaml").write_text('tasks_api_access: "role:member"\n')
    api = make_api(oslo_policy__policy_file=str(tmp_path / "policy.yaml"))
    task = api.call("POST", "/v2/tasks", json=NEW).json
    assert api.call("GET", task["self"]).status_code == 200
    assert api.call("GET", task["self"], project="other").status_code == 404


@pytest.mark.parametrize(
    "query", ["marker=x", "sort_key=input", "sort_dir=up", "type=api_image_import", "status=done", "limit=-1"]
)
def test_lists_that_cannot_be(api, query):
    assert api.call("GET", f"/v2/tasks?{query}", roles="admin").status_code == 400


def test_a_list_is_asked_as_wanted(api):
    path = "/v2/tasks?type=import&status=failure&sort_key=type&sort_dir=asc&limit=5"
    assert api.call("GET", path, roles="admin").json["tasks"] == []
    assert api.registry.images.queries[-1] == {
        "limit": 5, "marker": None, "sort_key": "kind", "sort_dir": "asc", "kind": "import", "status": "failure",
    }


def test_tasks_are_not_deleted(api):
    refused = api.call("DELETE", "/v2/tasks/22222222-2222-4222-8222-222222222222", roles="admin")
    assert refused.status_code == 405
    assert refused.headers["Allow"] == "GET"


def test_schemas(api):
    task, tasks = api.call("GET", "/v2/schemas/task").json, api.call("GET", "/v2/schemas/tasks").json
    assert task["properties"].keys() - {"input", "result", "message"} == tasks["properties"]["tasks"]["items"][
        "properties"
    ].keys()
    assert tasks["properties"].keys() == {"tasks", "schema", "first", "next"}
