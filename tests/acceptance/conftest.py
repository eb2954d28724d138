"""One built shop for all acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.shop import ROOT, RunningShop, build, running


@pytest.fixture(scope="session")
def built_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT / "examples" / "shop" / "spec.yaml", tmp_path_factory.mktemp("built") / "shop")


@pytest.fixture(scope="module")
def shop(built_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    with running(built_shop, tmp_path_factory.mktemp("state") / "var") as found:
        yield found
