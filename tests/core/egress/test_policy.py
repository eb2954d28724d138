"""The corpus: no spelling of a forbidden place gets through, and no address that is not public."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redoubt.core.egress import EgressPolicy, EgressRefused, EgressUnsupported, parse_target
from redoubt.core.egress.addresses import kind

POLICY = EgressPolicy(allow=["api.example.com:443", "8.8.8.8:443", "127.0.0.1:443", "[2606:4700::1]:443"])

SPELLINGS = [  # loopback, metadata and friends, as SSRF lists have them
    "https://2130706433/", "https://017700000001/", "https://0x7f000001/", "https://0x7f.1/", "https://127.1/",
    "https://127.0.1/", "https://0177.0.0.1/", "https://127.0.0.01/", "https://0/", "https://0x0/", "https://00/",
    "https://127.0.0.1./", "https://2852039166/", "https://0xa9fea9fe/", "https://169.254.43518/", "https://1.1.1.1.1/",
    "https://127.0.0.0x1/", "https://256.256.256.256/", "https://１２７.０.０.１x.1/", "https://①②⑦.⓪.⓪.①/",
    "https://[::1%25lo]/", "https://[::1%lo]/", "https://[::ffff:127.0.0.1/", "https://[127.0.0.1]/", "https://[]/",
    "https://[::1]]/", "https://[v1.fe]/", "https://[::]:0/",
    "https://api.example.com@127.0.0.1/", "https://user:pw@api.example.com/", "https://api.example.com:443@evil.test/",
    "https://@api.example.com/", "https://api.example.com%2f@evil.test/", "https://api.example.com%00.evil.test/",
    "https://api.example.com\\@evil.test/", "https://api.example.com\\.evil.test/", "https:\\\\api.example.com/",
    "https://api.example.com\t/", "https://api.example.com\n/", " https://api.example.com/", "https://api.example.com /",
    "https://api.example.com\x00/", "https://api.example.com./", "https://.api.example.com/", "https://api..example.com/",
    "https://-a.example.com/", "https://a-.example.com/", "https://ex*mple.com/", "https://api.example.com:99999/",
    "https://api.example.com:-1/", "https://api.example.com:0/", "https://api.example.com:4a/", "https:///", "https://",
    "https:api.example.com", "//api.example.com/", "api.example.com", "", "file:///etc/passwd", "gopher://127.0.0.1/",
    "ftp://api.example.com/", "dict://127.0.0.1:11211/", "javascript:alert(1)", "data:text/html,x", "ws://api.example.com/",
    "http+unix://%2Frun%2Fx.sock/", "unix:/run/x.sock", "https://" + "a" * 64 + ".com/", "https://" + "a." * 130 + "com/",
    "https://api.example.com/" + "x" * 9000, "https://xn--/", "https://a\u200db.com/", "https://\ufe52example.com/",
    "https://api.example.com／evil/", "https://exa mple.com/", "https://e\u0301\u0301\u2024com/",
]  # fmt: skip


@pytest.mark.parametrize("url", SPELLINGS)
def test_unclear_spellings_are_refused(url):
    with pytest.raises(EgressRefused):
        POLICY.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.test/",
        "https://api.example.com.evil.test/",
        "https://evil-api.example.com/",
        "https://example.com/",
        "https://api.example.com:8443/",
        "https://8.8.4.4/",
        "https://api.example.comm/",
        "https://аpi.example.com/",  # a Cyrillic letter
        "https://localhost/",
        "https://[::1]/",
        "https://[::ffff:8.8.8.8]/",
    ],
)
def test_what_is_not_listed_exactly_is_refused(url):
    with pytest.raises(EgressRefused) as refused:
        POLICY.check(url)
    assert refused.value.reason in ("not-allowed", "host-unclear")


def test_plain_http_is_refused_even_to_a_listed_host():
    with pytest.raises(EgressRefused) as refused:
        EgressPolicy(allow=["api.example.com:80"]).check("http://api.example.com/")
    assert refused.value.reason == "plain-http"


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.example.com/v1?x=%2e#f", "api.example.com:443"),
        ("https://API.Example.COM:443", "api.example.com:443"),
        ("https://8.8.8.8/", "8.8.8.8:443"),
        ("https://[2606:4700:0:0::1]/", "[2606:4700::1]:443"),
    ],
)
def test_what_is_listed_passes_in_its_normal_form(url, key):
    assert POLICY.check(url).key == key


def test_international_names_are_compared_in_ascii():
    assert (
        EgressPolicy(allow=["bücher.example:443"]).check("https://BÜCHER.example/").host
        == "xn--bcher-kva.example"
    )


FORBIDDEN = [
    ("0.0.0.0", "unspecified"), ("0.1.2.3", "unspecified"), ("10.0.0.1", "private"), ("100.64.0.1", "cgnat"),
    ("100.100.100.200", "metadata"), ("127.0.0.1", "loopback"), ("127.255.255.254", "loopback"),
    ("169.254.169.254", "metadata"), ("169.254.170.2", "metadata"), ("169.254.1.1", "link-local"),
    ("168.63.129.16", "metadata"), ("172.16.0.1", "private"), ("172.31.255.255", "private"), ("192.0.0.1", "reserved"),
    ("192.0.0.192", "metadata"), ("192.0.2.1", "documentation"), ("192.88.99.1", "6to4"), ("192.168.1.1", "private"),
    ("198.18.0.1", "benchmark"), ("198.19.255.255", "benchmark"), ("198.51.100.1", "documentation"),
    ("203.0.113.9", "documentation"), ("224.0.0.1", "multicast"), ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"), ("255.255.255.255", "reserved"), ("::", "v4-compatible"), ("::1", "loopback"),
    ("::ffff:127.0.0.1", "v4-mapped"), ("::ffff:8.8.8.8", "v4-mapped"), ("::ffff:a9fe:a9fe", "v4-mapped"),
    ("::127.0.0.1", "v4-compatible"), ("::ffff:0:127.0.0.1", "v4-translated"), ("64:ff9b::7f00:1", "nat64"),
    ("64:ff9b::169.254.169.254", "nat64"), ("64:ff9b:1::7f00:1", "nat64"), ("100::1", "reserved"),
    ("2001::1", "teredo"), ("2001:0:53aa:64c::1", "teredo"), ("2001:10::1", "reserved"), ("2001:20::1", "reserved"),
    ("2001:db8::1", "documentation"), ("2002:7f00:1::", "6to4"), ("2002:a9fe:a9fe::1", "6to4"), ("3fff::1", "documentation"),
    ("5f00::1", "reserved"), ("fc00::1", "private"), ("fd00:ec2::254", "metadata"), ("fd20:ce::254", "metadata"),
    ("fe80::1", "link-local"), ("fe80::1%eth0", "link-local"), ("fec0::1", "site-local"), ("ff02::1", "multicast"),
    ("2606:4700::5efe:7f00:1", "isatap"), ("2606:4700::200:5efe:a00:1", "isatap"), ("4000::1", "reserved"),
]  # fmt: skip


@pytest.mark.parametrize(("address", "found"), FORBIDDEN)
def test_an_address_that_is_not_public_is_refused_by_kind(address, found):
    assert kind(ipaddress.ip_address(address)) == found
    with pytest.raises(EgressRefused) as refused:
        POLICY.check_address("api.example.com", 443, address)
    assert refused.value.reason == found


@given(st.ip_addresses())
def test_whatever_passes_is_global_unicast(address):
    if kind(address) == "public":
        assert address.is_global
        for trait in ("is_multicast", "is_private", "is_loopback", "is_link_local", "is_unspecified"):
            assert not getattr(address, trait)
        assert address.version == 4 or (
            address.sixtofour is None and address.teredo is None and address.ipv4_mapped is None
        )


def test_public_addresses_pass():
    for address in ("8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:82a::200e"):
        POLICY.check_address("api.example.com", 443, address)


@pytest.mark.parametrize("junk", ["", "localhost", "127.1", "1.2.3.4.5", "8.8.8.8\n"])
def test_an_unreadable_address_is_refused(junk):
    with pytest.raises(EgressRefused):
        POLICY.check_address("api.example.com", 443, junk)


def test_a_development_host_may_be_loopback_or_private_but_never_metadata():
    policy = EgressPolicy(private=["pay.localhost:8026", "10.1.2.3:80"], profile="development")
    assert policy.check("http://pay.localhost:8026/v1").host == "pay.localhost"
    policy.check_address("pay.localhost", 8026, "127.0.0.1")
    policy.check_address("10.1.2.3", 80, "10.1.2.3")
    for address, found in FORBIDDEN:
        if found not in ("loopback", "private"):
            with pytest.raises(EgressRefused):
                policy.check_address("pay.localhost", 8026, address)
    with pytest.raises(EgressRefused):
        policy.check("http://pay.localhost:8027/")


def test_private_hosts_exist_in_development_only():
    with pytest.raises(EgressRefused) as refused:
        EgressPolicy(private=["127.0.0.1:1"], profile="production")
    assert refused.value.reason == "profile"


def test_an_internal_service_is_reached_over_tls_only():
    policy = EgressPolicy(internal=["127.0.0.1:8444"])
    policy.check("https://127.0.0.1:8444/charge")
    policy.check_address("127.0.0.1", 8444, "127.0.0.1")
    with pytest.raises(EgressRefused):
        policy.check("http://127.0.0.1:8444/charge")


def test_pins_are_refused_by_name_until_they_are_enforced():
    with pytest.raises(EgressUnsupported, match="pins"):
        EgressPolicy(allow=["api.example.com:443"], pins={"api.example.com:443": ["sha256/x", "sha256/y"]})


@given(st.text(max_size=40))
def test_no_text_reaches_beyond_the_list(text):
    for url in (
        text,
        f"https://{text}/",
        f"https://api.example.com{text}",
        f"https://{text}@api.example.com/",
    ):
        try:
            target = POLICY.check(url)
        except EgressRefused:
            continue
        assert target.key in POLICY.allow
        assert parse_target(url) == target


def test_bad_list_entries_are_refused_when_the_policy_is_made():
    for entry in ("*.example.com:443", "user@host:443", "0x7f.1:443", "host:0"):
        with pytest.raises(EgressRefused):
            EgressPolicy(allow=[entry])
