"""Problems: RFC 9457 on the wire, nothing of the inside in them."""

import json

import pytest

from redoubt.core.problem import Problem, internal_error, problem_response


def test_a_problem_goes_out_as_problem_json_that_nobody_caches():
    problem = Problem(
        429,
        "rate-limited",
        "Too many requests.",
        detail="Wait.",
        headers={"Retry-After": "3"},
        extra={"rule": "login"},
    )
    response = problem_response(problem, "req-1")
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "3"
    assert response.headers["cache-control"] == "no-store"
    assert json.loads(response.body) == {
        "type": "urn:redoubt:problem:rate-limited",
        "title": "Too many requests.",
        "status": 429,
        "code": "rate-limited",
        "detail": "Wait.",
        "request_id": "req-1",
        "rule": "login",
    }


def test_members_that_are_not_known_are_left_out():
    assert json.loads(problem_response(Problem(404, "not-found", "Not found."), None).body).keys() == {
        "type",
        "title",
        "status",
        "code",
    }


def test_extensions_cannot_replace_standard_members_and_success_is_no_problem():
    with pytest.raises(ValueError):
        Problem(400, "x", "X.", extra={"status": 200})
    for status in (200, 302, 600):
        with pytest.raises(ValueError):
            Problem(status, "x", "X.")


def test_a_handler_cannot_make_a_problem_cacheable():
    response = problem_response(Problem(403, "denied", "Denied.", headers={"Cache-Control": "public"}), None)
    assert response.headers.getlist("cache-control") == ["no-store"]


def test_the_internal_error_names_nothing():
    assert (
        json.loads(problem_response(internal_error(), None).body)["title"]
        == "Something went wrong on our side."
    )
