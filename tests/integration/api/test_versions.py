"""Version documents do not depend on anything behind the API."""


def test_without_registry(make_api):
    client = make_api(registry_port=1).app.test_client()
    assert client.get("/").status_code == 300
    assert client.get("/versions").status_code == 200
    assert client.get("/healthcheck").status_code == 200
