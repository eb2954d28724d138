"""What the built shop's guard holds to: who signs in how, and what a killed capability answers."""

from __future__ import annotations

from redoubt.audit import Actor
from redoubt.guard import switches

from .test_shop_api import order, product
from .world import World


async def test_nobody_who_works_here_signs_in_by_mail(world: World):
    assert world.guard.services.identity.config.passkey_roles == {"support", "finance", "operator"}


async def test_a_killed_payment_is_refused_in_words_and_the_order_stays(world: World):
    operator, customer = world.person("operator"), world.person("customer")
    mine = await order(customer, await product(operator))
    by = Actor("operator", operator.user)
    await world.core.db.write(lambda tx: switches.kill(tx, world.core, "payments", reason="test", by=by))
    await world.guard.services.switches.refresh()
    answer = await customer.post(f"/api/orders/{mine['id']}/pay")
    assert (answer.status_code, answer.json()["code"]) == (503, "switched-off")
    assert world.rows("SELECT count(*) AS n FROM payments") == [{"n": 0}]
    assert (await customer.get(f"/api/orders/{mine['id']}")).json()["status"] == "placed"
