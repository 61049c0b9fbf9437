"""Which bodies are image data, in every way to write the URL; the views that read data know no others."""

import pytest

from glance_api.http.bodies import is_transfer
from glance_common.server import RequestHead

V1 = {"accept": "application/vnd.openstack.images-v1.1"}
V2 = {"accept": "application/vnd.openstack.images-v2.1"}


@pytest.mark.parametrize(("method", "target", "headers"), [
    ("PUT", "/v2/images/x/file", {}), ("PUT", "/v2.9/images/x/stage", {}), ("PUT", "//v2/images/x/file?a=b", {}),
    ("PUT", "/v2/images/x/%66ile", {}), ("PUT", "http://host:9292/v2/images/x/file", {}),
    ("PUT", "/images/x/file", V2), ("PUT", "/v1/images/x/file", V2),
    ("POST", "/v1/images", {}), ("POST", "//v1/images", {}),
    ("PUT", "/v1.1/images/x", {}), ("POST", "/images", V1), ("POST", "/v2/images", V1),
])
def test_image_data(method, target, headers):
    assert is_transfer(RequestHead(method, target, headers))


@pytest.mark.parametrize(("method", "target", "headers"), [
    ("POST", "/v2/images/x/file", {}), ("GET", "/v2/images/x/file", {}), ("POST", "/v2/images", {}),
    ("PATCH", "/v2/images/x", {}), ("PUT", "/v2/images/x/members/file", {}), ("PUT", "/v2/images/x/tags/file", {}),
    ("PUT", "/v2/metadefs/namespaces/file", {}), ("PUT", "/v2/images/file", {}), ("PUT", "/x/v2/images/x/file", {}),
    ("PUT", "/v1/images/x/members", {}), ("DELETE", "/v1/images/x", {}), ("POST", "/v1/images", V2),
    ("POST", "/healthcheck", {}), ("PUT", "*", {}), ("PUT", "", {}),
    ("PUT", "http://[v1/images", {}),
])
def test_documents(method, target, headers):
    assert not is_transfer(RequestHead(method, target, headers))
