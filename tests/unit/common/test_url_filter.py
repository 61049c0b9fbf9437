"""The URL filter against URLs that want to reach what they must not (S-22, S-32, S-33; security section 3)."""

import socket
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from oslo_config import cfg

from glance_common.config import loading
from glance_common.config.loading import ConfigError
from glance_common.fetch import url_filter
from glance_common.fetch.url_filter import UrlFilter, UrlRefused, without_credentials

PUBLIC = "93.184.216.34"


def rules(**changes: Any) -> SimpleNamespace:
    values = {opt.dest: opt.default for opt in url_filter.OPTIONS}
    return SimpleNamespace(**{**values, **changes})


def resolver(*addresses: str) -> Any:
    def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


def make(*addresses: str, **changes: Any) -> UrlFilter:
    return UrlFilter(rules(**changes), resolver(*(addresses or (PUBLIC,))))


def refused(url: str, subject: UrlFilter | None = None, **kwargs: Any) -> str:
    with pytest.raises(UrlRefused) as caught:
        (subject or make()).check(url, **kwargs)
    return str(caught.value)


# What passes


@pytest.mark.parametrize(
    ("url", "canonical", "host", "port"),
    [
        ("http://example.org", "http://example.org/", "example.org", 80),
        ("HTTPS://Example.ORG./a%20b?c=d&e#fragment", "https://example.org/a%20b?c=d&e", "example.org", 443),
        ("http://example.org:443/", "http://example.org:443/", "example.org", 443),
        ("http://example.org:080/x", "http://example.org/x", "example.org", 80),
        ("http://my_mirror-1.example.org/x", "http://my_mirror-1.example.org/x", "my_mirror-1.example.org", 80),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example", 80),
        ("http://[2606:2800:220:1::1]:80/x", "http://[2606:2800:220:1::1]/x", "2606:2800:220:1::1", 80),
        ("http://[2606:2800:0220:0001:0:0:0:1]/x", "http://[2606:2800:220:1::1]/x", "2606:2800:220:1::1", 80),
        ("http://93.184.216.34/x", "http://93.184.216.34/x", "93.184.216.34", 80),
        ("http://example.org?x=/../", "http://example.org/?x=/../", "example.org", 80),
        ("http://1.example.org/", "http://1.example.org/", "1.example.org", 80),
    ],
)
def test_good_urls_come_out_in_one_spelling(url: str, canonical: str, host: str, port: int):
    checked = make().check(url)
    assert (checked.url, checked.host, checked.port) == (canonical, host, port)
    assert checked.addresses == ((host,) if host[:2] in {"93", "26"} else (PUBLIC,))
    assert checked.credentials is None
    assert make().check(canonical).url == canonical


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("HTTP://Example.ORG:80#a@b", "HTTP://Example.ORG:80#a@b"),
        ("http://user:se@cret@example.org/", None),
        ("https://user:secret@Example.org?@#", "https://Example.org?@#"),
        ("http://user:secret@example.org/c//d@e?f=@g//h#i@j//k", "http://example.org/c//d@e?f=@g//h#i@j//k"),
        ("http://user:p%40w@[::1]:8080/x", "http://[::1]:8080/x"),
        ("ftp://example.org/", None),
    ],
)
def test_s02_only_user_and_password_are_taken_off_a_url(url: str, shown: str | None):
    if shown is None:
        with pytest.raises(UrlRefused):
            without_credentials(url)
    else:
        assert without_credentials(url) == shown


def test_only_usable_addresses_remain_in_order():
    checked = make("127.0.0.1", "2606:2800:220:1::1", "::1", PUBLIC, "10.0.0.1").check("http://example.org/")
    assert checked.addresses == ("2606:2800:220:1::1", PUBLIC)


# The form of the URL


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "//example.org/", "/etc/passwd", "http:", "http:/", "http://", "http:///x",
        "http://:80/", "http://./", "http://../", "http://.example.org/", "http://a..b/", "http://-a.org/",
        "http://a-.org/", "http://exa mple.org/", " http://example.org/", "http://example.org/ x",
        "http://example.org/\n", "http://exam\tple.org/", "http://example.org\r\nX: y/",
        "http://example.org\\@127.0.0.1/", "http:\\\\example.org/", "http://example.org/\x7f",
        "http://example.org/\x00", "http://ex\u00e4mple.org/", "http://\uff11\uff12\uff17.0.0.1/",
        "http://127\u30020\u30020\u30021/", "http://example.org/\u2028", "http://%31%32%37.0.0.1/",
        "http://exam%70le.org/", "http://example.org:/", "http://example.org:0/", "http://example.org:65536/",
        "http://example.org:80:80/", "http://example.org:+80/", "http://example.org:8 0/",
        "http://example.org:http/", "http://[::1", "http://::1]/", "http://[]/", "http://[example.org]/",
        "http://[::1]x/", "http://x[::1]/", "http://[fe80::1%25eth0]/", "http://[v1.x]/", "http://[::1]:x/",
        "http://" + "a" * 64 + ".org/",
        "http://" + "a." * 127 + "org/",
        "http://*.example.org/", "http://example.org,evil.org/", "http://example.org;/", "http://exa'mple.org/",
    ],
)
def test_malformed_urls(url: str):
    assert refused(url, make(allowed_ports=[]))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.org/", "gopher://example.org/", "unix:/run/x", "data:,x",
        "javascript:x", "httpx://a/",
    ],
)
@pytest.mark.parametrize("allowed", [["http", "https"], []])
def test_only_http_and_https_are_ever_fetched(url: str, allowed: list[str]):
    assert "must be http or https" in refused(url, make(allowed_schemes=allowed))


@pytest.mark.parametrize(
    "url", ["http://user:secret@example.org/", "http://user@example.org/", "http://@example.org/", "http://:@h/"]
)
def test_userinfo_is_refused_and_not_repeated(url: str):
    message = refused(url)
    assert message == "the URL must not contain a user or password"


def test_userinfo_for_the_store_that_needs_it():
    checked = make().check("http://us%40er:p%3Ass@example.org/x", userinfo=True)
    assert checked.credentials == ("us@er", "p:ss")
    assert checked.url == "http://example.org/x"
    assert "p:ss" not in repr(checked)


@pytest.mark.parametrize(
    "url",
    [
        "http://user@h/", "http://a:b:c@h/", "http://:b@h/", "http://a:b@c@h/", "http://@h/",
        "http://example.org@127.0.0.1:80@h/",
    ],
)
def test_userinfo_needs_exactly_one_colon(url: str):
    assert "exactly one colon" in refused(url, userinfo=True)


# Addresses in disguise


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7F.0.0.1", "017700000001", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.01",
        "127.0.0.1.", "0", "0x", "00000000.0.0.1", "0x7f.1", "127.0.0.0x1", "1.2.3.4.5", "256.1.1.1",
        "127.0.0.1.2130706433", "3232235777", "169.0xfea9fe", "0251.0376.0251.0376", "2852039166", "0xA9FEA9FE",
        "0x7f000001.", "999999999999999999999", "127.0.0.1%00", "127。0。0。1",
    ],
)
def test_s22_no_other_spelling_of_an_address_gets_through(host: str):
    subject = UrlFilter(rules(), lambda name, port: [str(entry[4][0]) for entry in socket.getaddrinfo(name, port)])
    assert refused(f"http://{host}/", subject)


FORBIDDEN = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "224.0.0.1",
    "239.255.255.250", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1",
    "192.0.0.1", "::1", "::", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "100::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::127.0.0.1", "::169.254.169.254", "::7f00:1",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.0.192", "192.88.99.1", "168.63.129.16", "3fff::1", "5f00::1",
    "::ffff:0:127.0.0.1", "2001:20::1", "192.31.196.1", "100.100.100.200", "fd00:ec2::254", "fe80::1%eth0",
    "not an address", "",
]
PRIVATE = [
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd12:3456::1", "fc00::1",
    "::ffff:10.0.0.1", "2002:c0a8:101::1", "::10.0.0.1", "64:ff9b::a00:1",
]


@pytest.mark.parametrize("address", FORBIDDEN)
@pytest.mark.parametrize("private", [False, True])
def test_s33_names_that_resolve_to_forbidden_addresses(address: str, private: bool):
    message = refused("http://example.org/", make(address, allow_private_networks=private))
    assert message == "host example.org has no address that may be contacted"


@pytest.mark.parametrize("address", PRIVATE)
def test_private_networks_only_when_allowed(address: str):
    refused("http://example.org/", make(address))
    assert make(address, allow_private_networks=True).check("http://example.org/").addresses == (address,)


@pytest.mark.parametrize(
    "address", [text for text in FORBIDDEN + PRIVATE if text and "%" not in text and " " not in text]
)
@pytest.mark.parametrize("resolve", [True, False])
def test_forbidden_addresses_written_in_the_url(address: str, resolve: bool):
    host = f"[{address}]" if ":" in address else address
    refused(f"http://{host}/", resolve=resolve)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::1"]
)
def test_public_addresses_pass(address: str):
    assert make(address).check("http://example.org/").addresses == (address,)


def test_an_unknown_name_and_a_forbidden_address_read_alike():
    def fail(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert refused("http://example.org/", UrlFilter(rules(), fail)) == refused("http://example.org/", make("10.0.0.1"))


def test_s33_a_name_is_resolved_once():
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    subject = UrlFilter(rules(), lambda host, port: next(answers))
    assert subject.check("http://rebind.example.org/").addresses == (PUBLIC,)
    assert list(answers) == [["127.0.0.1"], ["127.0.0.1"]]


def test_a_proxy_resolves_by_itself():
    def fail(host: str, port: int) -> Sequence[str]:
        raise AssertionError("not to be asked")

    assert UrlFilter(rules(), fail).check("http://example.org/", resolve=False).addresses == ()


def test_the_system_resolver_refuses_nothing_by_itself():
    assert "127.0.0.1" in url_filter.system_resolver("localhost", 80)
    refused("http://localhost/", UrlFilter(rules()))
    refused("http://LOCALHOST./", UrlFilter(rules()))


# Lists


def test_ports():
    assert refused("http://example.org:22/") == "port 22 is not allowed"
    assert refused("http://example.org/", make(allowed_ports=[443])) == "port 80 is not allowed"
    assert refused("https://example.org/", make(allowed_ports=[80])) == "port 443 is not allowed"
    assert refused("http://example.org/", make(allowed_ports=[], disallowed_ports=[80])) == "port 80 is not allowed"
    assert make(allowed_ports=[8080], disallowed_ports=[8080]).check("http://example.org:8080/").port == 8080
    assert make(allowed_ports=[]).check("http://example.org:8080/").port == 8080


def test_schemes():
    assert refused("http://example.org/", make(allowed_schemes=["https"])) == "scheme http is not allowed"
    assert (
        refused("http://example.org/", make(allowed_schemes=[], disallowed_schemes=["HTTP"]))
        == "scheme http is not allowed"
    )
    assert make(allowed_schemes=["HTTP"], disallowed_schemes=["http"]).check("http://example.org/").scheme == "http"


@pytest.mark.parametrize("url", ["http://evil.org/", "http://EVIL.org./", "http://evil.org:80/"])
def test_disallowed_hosts(url: str):
    assert refused(url, make(disallowed_hosts=["Evil.org."])) == "host evil.org is not allowed"


def test_allowed_hosts_are_the_only_ones():
    subject = make(allowed_hosts=["mirror.example.org"], disallowed_hosts=["mirror.example.org"])
    assert subject.check("http://MIRROR.example.org/").host == "mirror.example.org"
    assert refused("http://example.org/", subject) == "host example.org is not allowed"
    assert refused("http://mirror.example.org.evil.org/", subject) == "host mirror.example.org.evil.org is not allowed"


@pytest.mark.parametrize(
    ("entry", "url"), [("127.0.0.1", "http://127.0.0.1/"), ("[::1]", "http://[0:0::1]/"), ("::1", "http://[::1]/")]
)
def test_allowed_hosts_skip_the_address_rules(entry: str, url: str):
    assert make(allowed_hosts=[entry]).check(url).addresses


def test_an_allowed_name_may_have_any_address():
    assert make("10.0.0.7", allowed_hosts=["mirror"]).check("http://mirror/").addresses == ("10.0.0.7",)


@pytest.mark.parametrize("entry", [PUBLIC, "93.184.0.0/16", "93.184.216.34/32"])
@pytest.mark.parametrize("address", [PUBLIC, f"::ffff:{PUBLIC}", "64:ff9b::5db8:d822"])
def test_disallowed_addresses_count_after_resolution(entry: str, address: str):
    refused("http://example.org/", make(address, disallowed_hosts=[entry]))
    assert make(address, "8.8.8.8", disallowed_hosts=[entry]).check("http://example.org/").addresses == ("8.8.8.8",)


def test_disallowed_address_in_the_url():
    refused("http://[2606:4700::1111]/", make(disallowed_hosts=["2606:4700::/32"]))


@pytest.mark.parametrize("option", ["allowed_hosts", "disallowed_hosts"])
@pytest.mark.parametrize("entry", ["*.example.org", "http://example.org", "example.org:80", "a b", "", "127.1"])
def test_host_lists_that_could_never_match_stop_the_start(option: str, entry: str):
    with pytest.raises(ConfigError, match=f"import_filtering_opts. {option} = .*must be host names or addresses"):
        make(**{option: [entry]})


def test_a_network_is_not_an_allowed_host():
    with pytest.raises(ConfigError):
        make(allowed_hosts=["10.0.0.0/8"])


# Options


def from_file(tmp_path: Any, text: str) -> cfg.ConfigOpts:
    path = tmp_path / "filter.conf"
    path.write_text("[import_filtering_opts]\n" + text)
    conf = cfg.ConfigOpts()
    loading.register(conf, url_filter.list_opts())
    conf(["--config-file", str(path)], project="glance", default_config_dirs=[])
    return conf


@pytest.mark.parametrize("text", ["[a.org, b.org]", "a.org, b.org", "[a.org,b.org]", "a.org,b.org,"])
def test_lists_with_and_without_brackets(tmp_path: Any, text: str):
    conf = from_file(tmp_path, f"allowed_hosts = {text}\nallowed_ports = [8080]\n")
    subject = UrlFilter.from_conf(conf, resolver(PUBLIC))
    assert subject.check("http://b.org:8080/").host == "b.org"
    assert conf.import_filtering_opts.allowed_hosts == ["a.org", "b.org"]


def test_empty_list_with_brackets(tmp_path: Any):
    subject = UrlFilter.from_conf(
        from_file(tmp_path, "allowed_ports = []\ndisallowed_ports = [25]\n"), resolver(PUBLIC)
    )
    assert subject.check("http://example.org:8080/").port == 8080
    assert refused("http://example.org:25/", subject)


@pytest.mark.parametrize(
    "text", ["allowed_ports = [80, x]", "allowed_ports = [70000]", "allowed_hosts = [a", "allowed_hosts = a]"]
)
def test_bad_lists(tmp_path: Any, text: str):
    with pytest.raises(ConfigError, match=r"\[import_filtering_opts\] allowed_"):
        loading.check_values(from_file(tmp_path, text + "\n"), url_filter.list_opts())


def test_defaults(tmp_path: Any):
    group = from_file(tmp_path, "").import_filtering_opts
    assert group.allowed_schemes == ["http", "https"]
    assert group.allowed_ports == [80, 443]
    assert (group.disallowed_schemes, group.allowed_hosts, group.disallowed_hosts, group.disallowed_ports) == (
        [],
        [],
        [],
        [],
    )
    assert group.allow_private_networks is False
