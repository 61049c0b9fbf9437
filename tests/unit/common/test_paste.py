"""Paste files of an installation of the original: what counts of them, and what is told."""

import pytest
from oslo_config import cfg

from glance_common import health_switches
from glance_common.config import paste
from glance_common.config.loading import ConfigError
from glance_common.config.paste import FilterKind
from glance_common.config.paste_findings import paste_findings
from glance_common.health_switches import HealthSwitches

STOCK = """
[composite:glance-api]
paste.composite_factory = glance.api:root_app_factory
/: api
/healthcheck: healthcheck
[composite:glance-api-keystone+cachemanagement]
paste.composite_factory = glance.api:root_app_factory
/: api
/healthcheck: healthcheck
[composite:api]
paste.composite_factory = glance.api:pipeline_factory
default = cors http_proxy_to_wsgi versionnegotiation osprofiler unauthenticated-context rootapp
keystone+cachemanagement = cors versionnegotiation authtoken context cache cachemanage rootapp
[composite:rootapp]
paste.composite_factory = glance.api:root_app_factory
/: apiversions
/v2: apiv2app
[app:apiversions]
paste.app_factory = glance.api.versions:create_resource
[app:apiv2app]
paste.app_factory = glance.api.v2.router:API.factory
[app:healthcheck]
paste.app_factory = oslo_middleware:Healthcheck.app_factory
backends = disable_by_file
disable_by_file_path = /etc/glance/healthcheck_disable
[filter:versionnegotiation]
paste.filter_factory = glance.api.middleware.version_negotiation:VersionNegotiationFilter.factory
[filter:cache]
paste.filter_factory = glance.api.middleware.cache:CacheFilter.factory
[filter:cachemanage]
paste.filter_factory = glance.api.middleware.cache_manage:CacheManageFilter.factory
[filter:context]
paste.filter_factory = glance.api.middleware.context:ContextMiddleware.factory
[filter:unauthenticated-context]
paste.filter_factory = glance.api.middleware.context:UnauthenticatedContextMiddleware.factory
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
delay_auth_decision = true
[filter:osprofiler]
paste.filter_factory = osprofiler.web:WsgiMiddleware.factory
[filter:cors]
paste.filter_factory =  oslo_middleware.cors:filter_factory
oslo_config_project = glance
oslo_config_program = glance-api
[filter:http_proxy_to_wsgi]
paste.filter_factory = oslo_middleware:HTTPProxyToWSGI.factory
"""
"""The structure of the file of release 33.0.0."""

OLD = """
[pipeline:glance-api]
pipeline = healthcheck versionnegotiation osprofiler unauthenticated-context rootapp
[pipeline:glance-api-trusted-auth]
pipeline = healthcheck context rootapp
[app:rootapp]
paste.composite_factory = glance.api:root_app_factory
[filter:healthcheck]
use = egg:oslo.middleware#healthcheck
disable_by_file_path = {folder}/off
detailed = true
[filter:versionnegotiation]
paste.filter_factory = glance.api.middleware.version_negotiation:VersionNegotiationFilter.factory
[filter:context]
paste.filter_factory = glance.api.middleware.context:ContextMiddleware.factory
[filter:unauthenticated-context]
paste.filter_factory = glance.api.middleware.context:UnauthenticatedContextMiddleware.factory
[filter:osprofiler]
paste.filter_factory = osprofiler.web:WsgiMiddleware.factory
hmac_keys = SECRET_KEY  #DEPRECATED
"""
"""The structure of a file of 2016."""


@pytest.fixture
def load(tmp_path):
    def make(text, flavor=None, prog="glance-api", **options):
        (tmp_path / f"{prog}-paste.ini").write_text(text.replace("{folder}", str(tmp_path)))
        main = tmp_path / f"{prog}.conf"
        main.write_text("")
        conf = cfg.ConfigOpts()
        conf.register_opts([cfg.StrOpt("flavor"), paste.CONFIG_FILE_OPT], paste.GROUP)
        conf.register_opts(health_switches.OPTS, health_switches.GROUP)
        conf(["--config-file", str(main)], project="glance", prog=prog)
        conf.set_override("flavor", flavor, paste.GROUP)
        for name, value in options.items():
            conf.set_override(name, value, health_switches.GROUP)
        return conf

    return make


@pytest.mark.parametrize(
    ("text", "flavor", "kinds"),
    [
        (STOCK, "", {FilterKind.NO_AUTH, FilterKind.PROXY, FilterKind.CORS, FilterKind.PROFILER, FilterKind.SERVED}),
        (STOCK, "keystone+cachemanagement", {
            FilterKind.TOKEN, FilterKind.CONTEXT, FilterKind.CACHE, FilterKind.CACHE_MANAGEMENT, FilterKind.CORS,
            FilterKind.SERVED,
        }),
        (STOCK, "none-of-these", None),
        (OLD, "trusted-auth", {FilterKind.HEALTH, FilterKind.CONTEXT, FilterKind.SERVED}),
    ],
)
def test_the_pipeline_of_a_flavor(load, text, flavor, kinds):
    assert paste.read(load(text)).kinds(flavor) == kinds


@pytest.mark.parametrize("flavor", [None, "keystone+cachemanagement"])
def test_of_a_stock_file_nothing_is_said(load, flavor):
    assert paste_findings(load(STOCK, flavor)) == []


def test_what_has_no_effect_is_told_once(load, tmp_path):
    where = f"{tmp_path}/glance-api-paste.ini: "
    answer = "the public answer is OK or DOWN; the rest stands at metrics_bind"
    assert paste_findings(load(OLD)) == [
        (f"{where}[filter:healthcheck] detailed has no effect: {answer}", False),
        (f"{where}[filter:osprofiler] hmac_keys has no effect: it stands in [profiler]", False),
    ]


@pytest.mark.parametrize(
    ("part", "text", "is_wrong"),
    [
        ("", "the pipeline names x, which has no section", True),
        ("[filter:x]\npaste.filter_factory = glance.api.middleware.caching:CacheFilter.factory",
         "[filter:x] names glance.api.middleware.caching:CacheFilter.factory, which does not exist", True),
        ("[filter:x]\nuse = egg:oslo.middleware#none",
         "[filter:x] names egg:oslo.middleware#none, which does not exist", True),
        ("[filter:x]\na = b", "[filter:x] names no class, which does not exist", True),
        ("[filter:x]\npaste.filter_factory = site.audit:Filter.factory",
         "[filter:x] has no effect: site.audit:Filter.factory is not loaded, the pipeline is in code", False),
        ("[filter:x]\nuse = egg:oslo.middleware#sizelimit",
         "[filter:x] has no effect: [DEFAULT] max_json_body bounds the documents of requests", False),
        ("[filter:x]\npaste.filter_factory = glance.api.middleware.gzip:GzipMiddleware.factory",
         "[filter:x] has no effect: set [DEFAULT] compress_documents", False),
        ("[filter:x]\npaste.filter_factory = keystonemiddleware.auth_token:filter_factory\nauth_host = k",
         "[filter:x] auth_host has no effect: it stands in [keystone_authtoken]", False),
        ("[filter:x]\nuse = egg:oslo.middleware#cors\nallowed_origin = k",
         "[filter:x] allowed_origin has no effect: it stands in [cors]", False),
        ("[filter:x]\nuse = egg:oslo.middleware#healthcheck\npath = /alive",
         "[filter:x] path has no effect: the path is /healthcheck", False),
        ("[filter:x]\nuse = egg:oslo.middleware#healthcheck\nbackends = disable_by_file, mine",
         "[filter:x] backends mine has no effect: the checks are those of the service", False),
    ],
)
def test_each_part_that_is_not_obeyed_is_named(load, tmp_path, part, text, is_wrong):
    conf = load(f"[pipeline:glance-api]\npipeline = x\n{part}\n")
    assert paste_findings(conf) == [(f"{tmp_path}/glance-api-paste.ini: {text}", is_wrong)]


def test_the_registry_has_a_file_of_its_own(load):
    conf = load("[pipeline:glance-registry]\npipeline = x\n", "keystone", prog="glance-registry")
    [(text, is_wrong)] = paste_findings(conf)
    assert "glance-registry-paste.ini: the pipeline names x" in text
    assert is_wrong


def test_a_file_of_another_program_is_wrong(load):
    assert [is_wrong for _, is_wrong in paste_findings(load("[pipeline:other]\npipeline = x\n"))] == [True]


@pytest.mark.parametrize(
    ("text", "line"), [("[a]\nb = 1\nno key here\n", 3), ("key = 1\n", 1), ("[a\n", 1)],
)
def test_a_file_with_an_error_is_told_with_its_line(load, tmp_path, text, line):
    with pytest.raises(ConfigError) as caught:
        paste.read(load(text))
    assert str(caught.value) == (
        f"[paste_deploy] config_file = {tmp_path}/glance-api-paste.ini: cannot be parsed in line {line}"
    )


def test_a_named_file_that_is_missing_stops_the_start(load):
    conf = load(STOCK)
    conf.set_override("config_file", "/no/such.ini", paste.GROUP)
    with pytest.raises(ConfigError, match=r"config_file = /no/such.ini: there is no such file"):
        paste.read(conf)


def test_other_programs_have_none(load):
    assert paste.read(load(STOCK, prog="glance-scrubber")).sections == {}


def switches(conf, port=9292):
    return HealthSwitches.from_conf(conf, paste.read(conf).health_options(), port)


def test_arc19_a_file_takes_a_server_out_of_service(load, tmp_path):
    found = switches(load(STOCK, disable_by_file_path=str(tmp_path / "elsewhere")))
    assert found.disabling == ("/etc/glance/healthcheck_disable",), "the paste file wins"
    found = switches(load(OLD))
    assert found.reason() is None
    (tmp_path / "off").touch()
    assert found.reason() == "DISABLED BY FILE"


def test_files_of_single_ports_and_files_that_must_exist(load, tmp_path):
    conf = load(
        "", disable_by_file_paths=[f"9292:{tmp_path}/api", f"9191:{tmp_path}/registry"],
        enable_by_file_paths=[f"{tmp_path}/on", f"{tmp_path}/also"], disable_by_file_path=None,
    )
    found = switches(conf)
    assert found.reason() == "FILE PATH MISSING"
    (tmp_path / "also").touch()
    assert found.reason() is None
    (tmp_path / "registry").touch()
    assert found.reason() is None
    assert switches(conf, 9191).reason() == "DISABLED BY FILE"
    (tmp_path / "api").touch()
    assert found.reason() == "DISABLED BY FILE"
    conf.set_override("backends", ["disable_by_file"], health_switches.GROUP)
    assert switches(conf) == HealthSwitches(), "only what backends names counts"


@pytest.mark.parametrize(
    ("address", "hidden"), [("10.1.2.3", False), ("11.1.2.3", True), ("fd00::7", False), ("-", True)],
)
def test_who_may_ask_for_the_health(load, address, hidden):
    found = switches(load("", allowed_source_ranges=["10.0.0.0/8", "fd00::/8"]))
    assert found.hides_from({"REMOTE_ADDR": address}) is hidden


@pytest.mark.parametrize("where", ["option", "file"])
def test_proxied_questions_are_ignored_when_asked_for(load, where):
    text = "[filter:h]\nuse = egg:oslo.middleware#healthcheck\nignore_proxied_requests = True\n"
    conf = load(text if where == "file" else "", ignore_proxied_requests=where == "option")
    found = switches(conf)
    assert found.hides_from({"HTTP_X_FORWARDED_FOR": "1.2.3.4"})
    assert not found.hides_from({"REMOTE_ADDR": "1.2.3.4"})


def test_a_network_that_is_none_stops_the_start(load):
    with pytest.raises(ConfigError, match=r"\[healthcheck\] allowed_source_ranges = everywhere"):
        switches(load("", allowed_source_ranges=["everywhere"]))
