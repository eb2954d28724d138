"""Settings: wrong ones never start an app, and the report says where without saying what."""

import pytest

from redoubt.core.secrets import SecretRef
from redoubt.core.settings import Settings, SettingsError

GOOD = """
[app]
name = "shop"
profile = "development"
base_url = "https://shop.localhost:8443"
rp_id = "shop.localhost"
[charge]
provider_key = "env:STRIPE_KEY"
provider_url = "http://pay.localhost:8026"
webhook_secrets = ["env:WH_NEW", "file:var/wh_old"]
[mail]
from = "login@shop.test"
tls = "none"
[limits.rules.login]
amount = 5
per_seconds = 60
[webhooks.github]
secrets = ["env:GITHUB_SECRET"]
[egress]
allow = ["api.stripe.com:443"]
private = ["127.0.0.1:8026"]
[server]
trusted_proxies = ["10.0.0.0/8"]
"""


def load(tmp_path, text, env=None):
    (tmp_path / "redoubt.toml").write_text(text)
    return Settings.load(tmp_path, env or {})


def problems(tmp_path, text, env=None):
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text, env)
    return error.value.problems


def test_good_settings_load_and_are_frozen(tmp_path):
    settings = load(tmp_path, GOOD)
    assert settings.app.name == "shop"
    assert settings.development
    assert settings.mail.sender == "login@shop.test"
    assert settings.limits.rules["login"].amount == 5
    assert settings.webhooks["github"].secrets == [SecretRef("env", "GITHUB_SECRET")]
    with pytest.raises(ValueError):
        settings.app.profile = "production"


def test_an_empty_file_is_a_production_app_with_its_state_under_var(tmp_path):
    settings = load(tmp_path, "")
    assert settings.app.profile == "production"
    assert settings.database_url().reveal() == f"sqlite:///{tmp_path}/var/app.db"
    assert settings.charge_database_url().reveal() == f"sqlite:///{tmp_path}/var/charge.db"
    assert settings.keyring_path == tmp_path / "var/keys/keyring"
    assert str(settings.master_ref) == "file:var/keys/master.key"


def test_moving_the_state_moves_everything_that_is_not_set(tmp_path):
    env = {"REDOUBT_APP__STATE_DIR": "/elsewhere", "REDOUBT_DATABASE__URL": "sqlite:///mine.db"}
    settings = load(tmp_path, "", env)
    assert settings.database_url().reveal() == f"sqlite:///{tmp_path}/mine.db"
    assert settings.charge_database_url().reveal() == "sqlite:////elsewhere/charge.db"
    assert str(settings.checkpoint_dir) == "/elsewhere/checkpoints"
    assert str(settings.master_ref) == "file:/elsewhere/keys/master.key"


SECRET_FIELDS = [
    ('[charge]\nprovider_key = "{}"', "charge.provider_key"),
    ('[charge]\nwebhook_secrets = ["env:OK", "{}"]', "charge.webhook_secrets[1]"),
    ('[mail]\npassword = "{}"', "mail.password"),
    ('[webhooks.github]\nsecrets = ["{}"]', "webhooks.github.secrets[0]"),
    ('[keys]\nmaster = "{}"', "keys.master"),
    ('[server]\ntls_key = "{}"', "server.tls_key"),
    ('[charge]\nmaster = "{}"', "charge.master"),
    ('[database]\nurl = "postgresql://app:{}@db/app"', "database.url"),
    ('[database]\nurl = "postgresql://db/app?password={}"', "database.url"),
    ('[limits]\nstore = "redis://:{}@cache/0"', "limits.store"),
    ('[database]\nurl = "{}"', "database.url"),
]


@pytest.mark.parametrize(("text", "path"), SECRET_FIELDS)
def test_a_literal_secret_is_refused_with_file_key_and_what_is_allowed(tmp_path, text, path):
    (line,) = problems(tmp_path, text.format("hunter2secret"))
    assert line.startswith(f"{tmp_path / 'redoubt.toml'}: {path}: ")
    assert "env:NAME or file:PATH" in line
    assert "hunter2" not in line


def test_a_literal_from_the_environment_is_refused_and_named(tmp_path):
    (line,) = problems(tmp_path, "", {"REDOUBT_CHARGE__PROVIDER_KEY": "sk_live_hunter2"})
    assert line.startswith("REDOUBT_CHARGE__PROVIDER_KEY (environment): charge.provider_key: ")
    assert "hunter2" not in line


def test_a_store_without_a_password_may_be_written_out(tmp_path):
    settings = load(
        tmp_path,
        '[database]\nurl = "postgresql:///app?host=/run/pg"\n[limits]\nstore = "redis://cache:6379/0"',
    )
    assert settings.database_url().reveal() == "postgresql:///app?host=/run/pg"
    assert settings.limits_store().reveal() == "redis://cache:6379/0"


def test_a_store_behind_a_reference_is_revealed_only_on_use(tmp_path):
    settings = load(tmp_path, '[database]\nurl = "env:DB"', {"DB": "postgresql://app:hunter2@db/app"})
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.database_url().reveal() == "postgresql://app:hunter2@db/app"


def test_every_mistake_is_reported_at_once(tmp_path):
    lines = problems(
        tmp_path,
        """
        colour = "red"
        [app]
        nme = "shop"
        profile = "prod"
        [audit]
        retention_days = 30
        [server]
        port = 70000
        trusted_proxies = ["everyone"]
        [egress]
        allow = ["*.stripe.com:443", "https://api.stripe.com", "host:0"]
        [limits.rules.login]
        amount = 0
        per_seconds = 60
        [webhooks.github]
        secret = "env:X"
        """,
    )
    text = "\n".join(lines)
    for path in (
        "colour: unknown key; allowed here: app, audit, charge",
        "app.nme: unknown key; allowed here: base_url, name",
        "app.profile: input should be 'development' or 'production'",
        "audit.retention_days: ",
        "server.port: ",
        "server.trusted_proxies[0]: ",
        "egress.allow[0]: must be HOST:PORT",
        "egress.allow[1]: must be HOST:PORT",
        "egress.allow[2]: must be HOST:PORT",
        "limits.rules.login.amount: ",
        "webhooks.github.secret: unknown key; allowed here: secrets, url",
    ):
        assert path in text
    assert len(lines) == 11


def test_retention_below_a_year_is_refused(tmp_path):
    assert "365" in problems(tmp_path, "[audit]\nretention_days = 364")[0]
    assert load(tmp_path, "[audit]\nretention_days = 365").audit.retention_days == 365


def test_a_broken_file_is_reported_by_position_without_quoting_it(tmp_path):
    (line,) = problems(tmp_path, '[charge]\nprovider_key = sk_live_hunter2"\n')
    assert "line 2" in line
    assert "hunter2" not in line
    (tmp_path / "redoubt.toml").unlink()
    with pytest.raises(SettingsError, match="no such file"):
        Settings.load(tmp_path, {})


def test_the_environment_overrides_with_lists_and_nested_names(tmp_path):
    settings = load(
        tmp_path,
        GOOD,
        {
            "REDOUBT_SERVER__PORT": "9443",
            "REDOUBT_EGRESS__ALLOW": "a.example:443, b.example:443",
            "REDOUBT_WEBHOOKS__GITHUB__SECRETS": "env:NEW,env:OLD",
            "REDOUBT_LIMITS__RULES__LOGIN__AMOUNT": "7",
            "REDOUBT_VECTORS": "/somewhere",
            "UNRELATED__X": "1",
        },
    )
    assert settings.server.port == 9443
    assert settings.egress.allow == ["a.example:443", "b.example:443"]
    assert [str(ref) for ref in settings.webhooks["github"].secrets] == ["env:NEW", "env:OLD"]
    assert settings.limits.rules["login"].amount == 7


def test_an_unknown_variable_of_ours_is_refused(tmp_path):
    (line,) = problems(tmp_path, "", {"REDOUBT_SERVER__PROT": "1"})
    assert line.startswith("REDOUBT_SERVER__PROT (environment): server.prot: unknown key; allowed here: host")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ('[app]\nbase_url = "http://shop.example"', "https in production"),
        ('[egress]\nprivate = ["127.0.0.1:1"]', "development profile only"),
        ('[mail]\ntls = "none"\nhost = "relay.example"', "starttls"),
        ('[charge]\nprovider_url = "http://pay.example"', "https in production"),
        ('[app]\nbase_url = "https://shop.example"\nrp_id = "evil.example"', "rp_id"),
        ('[app]\nbase_url = "https://shop.example"\nrp_id = "hop.example"', "rp_id"),
        ("[webhooks.Bad]\nsecrets = []", "lower-case"),
        ('[app]\nbase_url = "https://u:p@shop.example"', "without user or password"),
    ],
)
def test_combinations_that_would_weaken_production_are_refused(tmp_path, change, reason):
    assert reason in problems(tmp_path, change)[0]


def test_a_parent_domain_is_a_valid_rp_id(tmp_path):
    assert (
        load(tmp_path, '[app]\nbase_url = "https://a.shop.example"\nrp_id = "shop.example"').app.rp_id
        == "shop.example"
    )
