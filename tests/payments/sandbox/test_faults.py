"""Faults: each does what it says to the caller, and the sandbox itself says what really happened."""

import threading

import httpx
import pytest
import stripe

from tests.payments.sandbox.support import until

INTENT = {
    "amount": 1999,
    "currency": "eur",
    "payment_method": "pm_card_visa",
    "confirm": "true",
    "metadata[op]": "one",
}
CREATE = "payment_intents.create"


def create(sandbox, key=None, timeout=10.0, **change):
    headers = {"Idempotency-Key": key} if key else {}
    headers["Authorization"] = "Bearer sk_test_sandbox_0123456789"
    return httpx.post(
        f"{sandbox.url}/v1/payment_intents",
        data={**INTENT, **change},
        headers=headers,
        timeout=timeout,
        trust_env=False,
    )


@pytest.mark.parametrize(("kind", "made"), [("refuse", 0), ("drop_after", 1)])
def test_a_broken_connection_before_and_after_the_effect(sandbox, kind, made):
    sandbox.fault(kind, CREATE)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        create(sandbox, "k")
    assert len(sandbox.objects("charge")) == made
    assert create(sandbox, "k").status_code == 200
    assert len(sandbox.objects("charge")) == 1
    assert [call["status"] for call in sandbox.calls(CREATE)] == [0, 200]


@pytest.mark.parametrize(("kind", "made"), [("timeout_before", 0), ("timeout_after", 1)])
def test_silence_before_and_after_the_effect(sandbox, kind, made):
    sandbox.fault(kind, CREATE, seconds=1.0)
    with pytest.raises(httpx.ReadTimeout):
        create(sandbox, f"k-{kind}", timeout=0.5)
    until(lambda: sandbox.calls(CREATE))
    assert len(sandbox.objects("charge")) == made


@pytest.mark.parametrize(("kind", "made"), [("error_before", 0), ("error_after", 1)])
def test_a_500_is_kept_under_its_key_whether_or_not_there_was_an_effect(sandbox, kind, made):
    sandbox.fault(kind, CREATE)
    for _ in range(2):
        answer = create(sandbox, f"k-{kind}")
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "api_error")
    assert answer.headers["idempotent-replayed"] == "true"
    assert len(sandbox.objects("charge")) == made


def test_a_500_from_in_front_of_the_api_is_not_kept(sandbox):
    sandbox.fault("error_before", CREATE, saved=False)
    assert create(sandbox, "k").status_code == 500
    assert create(sandbox, "k").status_code == 200


def test_a_key_in_use_conflicts(sandbox):
    sandbox.fault("slow", CREATE, seconds=1.5)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(create(sandbox, "k")))
    thread.start()
    until(
        lambda: sandbox.http.get("/_sandbox/faults").json() == {"faults": []}
    )  # it has been taken, so it is inside
    conflict = create(sandbox, "k")
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "idempotency_key_in_use")
    assert create(sandbox, "other").status_code == 200
    thread.join()
    assert answers[0].status_code == 200
    assert create(sandbox, "k").json()["id"] == answers[0].json()["id"]
    assert len(sandbox.objects("charge")) == 2


def test_many_at_once_under_one_key_make_one(sandbox):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(create(sandbox, "k").status_code)) for _ in range(12)
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert set(answers) <= {200, 409}
    assert len(sandbox.objects("charge")) == 1


def test_a_fault_meets_only_its_operation_and_only_so_often(sandbox):
    sandbox.fault("rate_limit", "refunds.create", times=2)
    assert create(sandbox).status_code == 200
    intent = sandbox.objects("payment_intent")[0]["id"]
    answers = [
        sandbox.post("/v1/refunds", {"payment_intent": intent, "amount": 1}).status_code for _ in range(3)
    ]
    assert answers == [429, 429, 200]
    assert sandbox.http.get("/_sandbox/faults").json() == {"faults": []}


def test_faults_fire_in_the_order_they_were_armed_and_can_be_cleared(sandbox):
    sandbox.fault("rate_limit")
    sandbox.fault("error_before", saved=False)
    assert [create(sandbox).status_code for _ in range(3)] == [429, 500, 200]
    sandbox.fault("error_before", times=5)
    sandbox.control("faults/clear")
    assert create(sandbox).status_code == 200


def test_objects_are_counted_by_metadata(sandbox):
    create(sandbox, **{"metadata[op]": "a"})
    create(sandbox, **{"metadata[op]": "b"})
    create(sandbox, **{"metadata[op]": "b", "metadata[with space]": "x"})
    assert len(sandbox.objects("payment_intent", **{"metadata[op]": "b"})) == 2
    assert len(sandbox.objects("charge", **{"metadata[op]": "a"})) == 1
    assert len(sandbox.objects("payment_intent", **{"metadata[with space]": "x"})) == 1
    assert sandbox.objects("payment_intent", **{"metadata[op]": "c"}) == []
    assert len(sandbox.objects("payment_intent", status="succeeded", amount="1999")) == 3


def test_everything_survives_a_kill_keys_and_armed_faults_included(sandbox):
    first = create(sandbox, "k").json()
    sandbox.fault("rate_limit", CREATE)
    sandbox.kill()
    sandbox.start()
    assert create(sandbox, "other").status_code == 429
    again = create(sandbox, "k")
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (first["id"], "true")
    assert sandbox.get(f"/v1/payment_intents/{first['id']}").json()["status"] == "succeeded"


def test_a_refund_can_fail_after_all(sandbox, api):
    create(sandbox)
    refund = api.refunds.create({"payment_intent": sandbox.objects("payment_intent")[0]["id"]})
    sandbox.control(f"refunds/{refund.id}/fail")
    assert api.refunds.retrieve(refund.id).status == "failed"
    assert sandbox.objects("charge")[0]["amount_refunded"] == 0
    assert api.events.list({"type": "refund.failed"}).data[0].data.object["id"] == refund.id
    with pytest.raises(stripe.InvalidRequestError):
        api.refunds.retrieve("re_none")


def test_the_control_face_takes_no_forms_and_no_foreign_names(sandbox):
    for body in (
        {"content": b"{}", "headers": {"Content-Type": "text/plain"}},
        {"data": {"a": "1"}},
        {"content": b""},
    ):
        assert sandbox.http.post("/_sandbox/reset", **body).status_code == 415
    for host in ("evil.test", "127.0.0.1.evil.test", "localhost.evil.test"):
        assert sandbox.http.get("/_sandbox/objects", headers={"Host": host}).status_code == 400
        assert sandbox.http.get("/pay/x", headers={"Host": host}).status_code == 400
    assert (
        sandbox.http.get("/_sandbox/objects", headers={"Host": f"pay.localhost:{sandbox.port}"}).status_code
        == 200
    )


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "explode"},
        {"kind": "slow", "operation": "customers.create"},
        {"kind": "slow", "times": 0},
        {"kind": "slow", "times": True},
        {"kind": "slow", "seconds": -1},
        {"kind": "slow", "saved": "yes"},
        {"kind": "slow", "colour": 1},
        {},
    ],
)
def test_an_unknown_fault_is_refused(sandbox, body):
    assert sandbox.http.post("/_sandbox/faults", json=body).status_code == 400


def test_it_listens_on_loopback_only_and_refuses_literal_keys(sandbox, tmp_path):
    import subprocess
    import sys

    with open(f"/proc/{sandbox.process.pid}/net/tcp") as table:
        listening = [
            line.split()[1]
            for line in table
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{sandbox.port:04X}")
        ]
    assert listening == [f"0100007F:{sandbox.port:04X}"]
    command = [
        sys.executable,
        "-m",
        "redoubt.payments.sandbox",
        "--state",
        str(tmp_path / "x"),
        "--api-key-ref",
        "sk_live_hunter2",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "hunter2" not in done.stderr + done.stdout
