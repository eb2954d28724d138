"""The same notes service without the mistakes. It shares no code with the library; verify must find nothing broken."""

import hashlib
import hmac
import json
import os
import secrets
import time
from collections import defaultdict, deque
from html import escape
from typing import Annotated, Literal
from urllib.parse import parse_qs
from uuid import uuid4

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

app = FastAPI(title="Notes, sound")
HOOK_KEY = os.environ["HOOK_SECRET"].encode()
ADMIN_KEY = hashlib.sha256(os.environ["ADMIN_KEY"].encode()).hexdigest()
USERS: dict[str, dict] = {
    "admin": {"id": uuid4().hex, "username": "admin", "role": "admin", "key": ADMIN_KEY}
}
SESSIONS: dict[str, tuple[str, str]] = {}
NOTES: dict[str, dict] = {}
RELEASES: list[dict] = []
TASKS: dict[str, dict] = {}
FORM_KEY = secrets.token_bytes(32)
SEEN: set[str] = set()
HITS: dict[str, deque] = defaultdict(deque)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Newcomer(Strict):
    username: str = Field(min_length=1, max_length=100)


class Login(Strict):
    username: str = Field(max_length=100)
    key: str = Field(max_length=100)


class Note(Strict):
    title: str = Field(max_length=200)
    text: str = Field("", max_length=2000)


class Role(Strict):
    role: Literal["user", "admin"]


class Profile(Strict):
    nickname: str = Field("", max_length=100)


@app.exception_handler(Exception)
async def hide(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "something went wrong"}, 500)


@app.exception_handler(RequestValidationError)
async def invalid(request: Request, error: RequestValidationError) -> Response:
    return JSONResponse({"detail": "the request is not valid"}, 422)


def limited(key: str, amount: int) -> None:
    hits, now = HITS[key], time.monotonic()
    while hits and hits[0] < now - 60:
        hits.popleft()
    hits.append(now)
    if len(hits) > amount:
        raise HTTPException(429, headers={"Retry-After": "60"})


def me(request: Request) -> dict:
    token = hashlib.sha256(request.cookies.get("__Host-session", "").encode()).hexdigest()
    name, agent = SESSIONS.get(token, ("", ""))
    bound = f"{request.client.host}|{request.headers.get('user-agent')}"
    if name not in USERS or agent != bound:
        raise HTTPException(401)
    return USERS[name]


def administrator(user: Annotated[dict, Depends(me)]) -> dict:
    if user["role"] != "admin":
        raise HTTPException(403)
    return user


def own_note(note_id: str, user: Annotated[dict, Depends(me)]) -> dict:
    note = NOTES.get(note_id)
    if note is None or note["owner"] != user["id"]:
        raise HTTPException(404)
    return note


@app.get("/menu")
async def menu() -> list[str]:
    return ["soup", "bread"]


@app.post("/register", status_code=201)
async def register(newcomer: Newcomer, request: Request) -> dict:
    limited(f"register {request.client.host}", 8)
    if newcomer.username in USERS:
        raise HTTPException(409)
    key = secrets.token_urlsafe(24)
    digest = hashlib.sha256(key.encode()).hexdigest()
    USERS[newcomer.username] = {
        "id": uuid4().hex,
        "username": newcomer.username,
        "role": "user",
        "key": digest,
    }
    return {"key": key}


@app.post("/login")
async def login(given: Login, request: Request, response: Response) -> dict:
    user = USERS.get(given.username, {"key": ""})
    digest = hashlib.sha256(given.key.encode()).hexdigest()
    if not hmac.compare_digest(user["key"], digest):
        limited(f"failures {request.client.host}", 10)
        raise HTTPException(401)
    token = secrets.token_urlsafe(32)
    bound = f"{request.client.host}|{request.headers.get('user-agent')}"
    SESSIONS[hashlib.sha256(token.encode()).hexdigest()] = (given.username, bound)
    response.set_cookie("__Host-session", token, httponly=True, secure=True, samesite="lax", path="/")
    return {"ok": True}


@app.post("/logout")
async def logout(request: Request, response: Response) -> dict:
    SESSIONS.pop(hashlib.sha256(request.cookies.get("__Host-session", "").encode()).hexdigest(), None)
    response.delete_cookie("__Host-session", path="/", secure=True, httponly=True, samesite="lax")
    return {"ok": True}


@app.get("/me")
async def who(user: Annotated[dict, Depends(me)]) -> dict:
    return {name: user.get(name, "") for name in ("id", "username", "role", "nickname")}


@app.patch("/me")
async def change(profile: Profile, user: Annotated[dict, Depends(me)]) -> dict:
    user["nickname"] = profile.nickname
    return {"ok": True}


@app.get("/notes")
async def notes(user: Annotated[dict, Depends(me)]) -> list[dict]:
    return [note for note in NOTES.values() if note["owner"] == user["id"]]


@app.post("/notes", status_code=201)
async def write(note: Note, user: Annotated[dict, Depends(me)]) -> dict:
    made = {"id": uuid4().hex, "owner": user["id"], **note.model_dump()}
    NOTES[made["id"]] = made
    return made


@app.get("/notes/{note_id}")
async def read(note: Annotated[dict, Depends(own_note)]) -> dict:
    return note


@app.patch("/notes/{note_id}")
async def rewrite(given: Note, note: Annotated[dict, Depends(own_note)]) -> dict:
    note.update(given.model_dump())
    return note


@app.delete("/notes/{note_id}", status_code=204)
async def remove(note: Annotated[dict, Depends(own_note)]) -> None:
    NOTES.pop(note["id"], None)


@app.get("/people")
async def people(user: Annotated[dict, Depends(me)]) -> list[dict]:
    return [{"username": one["username"]} for one in USERS.values()]


@app.get("/admin/users", dependencies=[Depends(administrator)])
async def users() -> list[str]:
    return list(USERS)


@app.get("/admin/report", dependencies=[Depends(administrator)])
async def report() -> dict:
    return {"notes": len(NOTES)}


@app.put("/admin/users/{name}", dependencies=[Depends(administrator)])
async def appoint(name: str, role: Role) -> dict:
    if name not in USERS:
        raise HTTPException(404)
    USERS[name]["role"] = role.role
    return {"ok": True}


@app.post("/hooks/github")
async def hook(request: Request) -> dict:
    body = await request.body()
    proof = "sha256=" + hmac.new(HOOK_KEY, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(proof, request.headers.get("x-hub-signature-256", "")):
        raise HTTPException(401)
    digest = hashlib.sha256(body).hexdigest()
    if digest in SEEN:
        return {"status": "duplicate"}
    SEEN.add(digest)
    RELEASES.append(json.loads(body))
    return {"status": "accepted"}


@app.get("/releases")
async def releases(user: Annotated[dict, Depends(me)]) -> list[dict]:
    return RELEASES


SCRIPT = """document.querySelector("button.done").addEventListener("click", async (event) => {
  const token = document.querySelector('input[name="csrf"]').value;
  const headers = {"Content-Type": "application/json", "X-CSRF-Token": token};
  await fetch(event.target.dataset.to, {method: "POST", headers, body: '{"state": "done"}'});
  location.reload();
});"""


def page(content: str) -> HTMLResponse:
    return HTMLResponse(f"<!doctype html><title>Tasks</title><main>{content}</main>")


def form_token(request: Request) -> str:
    return hmac.new(FORM_KEY, request.cookies.get("__Host-session", "").encode(), hashlib.sha256).hexdigest()


def form(request: Request, action: str, content: str) -> str:
    hidden = f'<input type="hidden" name="csrf" value="{form_token(request)}">'
    return f'<form method="post" action="{action}">{hidden}{content}</form>'


async def sent(request: Request, user: Annotated[dict, Depends(me)]) -> dict[str, str]:
    body = (await request.body())[:10_000]
    given = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    token = given.get("csrf") or request.headers.get("x-csrf-token", "")
    if not hmac.compare_digest(token.encode(), form_token(request).encode()):
        raise HTTPException(403)
    return given


def own_task(task_id: str, user: Annotated[dict, Depends(me)]) -> dict:
    found = TASKS.get(task_id)
    if found is None or found["owner"] != user["id"]:
        raise HTTPException(404)
    return found


OwnTask = Annotated[dict, Depends(own_task)]
Sent = Annotated[dict, Depends(sent)]


@app.get("/", include_in_schema=False)
async def desk(request: Request) -> Response:
    try:
        user = me(request)
    except HTTPException:
        return page("<h1>Tasks</h1><p>Log in to see yours.</p>")
    own = [one for one in TASKS.values() if one["owner"] == user["id"]]
    rows = "".join(f'<li><a href="/tasks/{one["id"]}">{escape(one["title"])}</a></li>' for one in own)
    add = form(request, "/tasks", '<input name="title" maxlength="200" required><button>Add</button>')
    return page(f"<h1>Tasks</h1><ul>{rows}</ul>{add}")


@app.post("/tasks", include_in_schema=False)
async def add(given: Sent, user: Annotated[dict, Depends(me)]) -> Response:
    title = given.get("title", "")[:200]
    made = {"id": uuid4().hex, "owner": user["id"], "title": title, "state": "open"}
    TASKS[made["id"]] = made
    return RedirectResponse(f"/tasks/{made['id']}", 303)


@app.get("/tasks/{task_id}", include_in_schema=False)
async def task(found: OwnTask, request: Request) -> Response:
    here = f"/tasks/{found['id']}"
    title = f'<input name="title" maxlength="200" value="{escape(found["title"])}"><button>Rename</button>'
    return page(
        f"<h1>{escape(found['title'])}</h1><p>{found['state']}</p>{form(request, here, title)}"
        f"{form(request, here + '/delete', '<button>Delete</button>')}"
        f'<button class="done" data-to="{here}/state">Done</button><script>{SCRIPT}</script>'
    )


@app.post("/tasks/{task_id}", include_in_schema=False)
async def rename(found: OwnTask, given: Sent) -> Response:
    found["title"] = given.get("title", "")[:200]
    return RedirectResponse(f"/tasks/{found['id']}", 303)


@app.post("/tasks/{task_id}/delete", include_in_schema=False)
async def drop(found: OwnTask, given: Sent) -> Response:
    TASKS.pop(found["id"], None)
    return RedirectResponse("/", 303)


@app.post("/tasks/{task_id}/state", include_in_schema=False)
async def move(found: OwnTask, request: Request, given: Sent) -> dict:
    if await request.json() != {"state": "done"}:
        raise HTTPException(422)
    found["state"] = "done"
    return {"ok": True}
