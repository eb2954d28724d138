import pytest
import stripe

from tests.payments.sandbox.support import KEY, Receiver, Sandbox


@pytest.fixture(scope="session")
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="session")
def process(tmp_path_factory, receiver):
    made = Sandbox(tmp_path_factory.mktemp("sandbox"), receiver.url)
    yield made
    assert made.stop() in (0, -15)


@pytest.fixture
def sandbox(process, receiver):
    process.control("reset")
    receiver.seen.clear()
    receiver.answers.clear()
    return process


@pytest.fixture
def api(sandbox, monkeypatch):
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    client = stripe.StripeClient(
        KEY,
        base_addresses={"api": sandbox.url},
        max_network_retries=0,
        http_client=stripe.HTTPXClient(timeout=3, allow_sync_methods=True),
    )
    return client.v1
