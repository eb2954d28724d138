"""A notes service with the mistakes that people make. It shares no code with the library; verify must find each.

The faults carry labels: F1 no ownership, F2 no role check, F3 bare cookie, F4 mass assignment, F5 unlimited login,
F6 signature not checked, F7 replays accepted, F8 a route that nobody guards, F9 stack traces, F10 default account,
F11 a session keeps the role that its person had at login, F12 a list of people with all that is known of them,
F13 pages of tasks, which no description names, forget whose task it is, F14 so does what a page's script sends.
"""

import json
import os
import traceback
from html import escape
from urllib.parse import parse_qs
from uuid import uuid4

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict

app = FastAPI(title="Notes, flawed")
USERS = {"admin": {"id": "1", "username": "admin", "password": "admin", "role": "admin"}}  # F10
SESSIONS: dict[str, str] = {}
POWERS: dict[str, str] = {}
NOTES: dict[str, dict] = {}
RELEASES: list[dict] = []
TASKS: dict[str, dict] = {}


class Account(BaseModel):
    model_config = ConfigDict(extra="allow")
    username: str
    password: str


class Note(BaseModel):
    title: str
    text: str = ""


class Role(BaseModel):
    role: str


class Profile(BaseModel):
    model_config = ConfigDict(extra="allow")
    nickname: str = ""


@app.exception_handler(Exception)
async def show(request: Request, error: Exception) -> Response:
    return PlainTextResponse("".join(traceback.format_exception(error)), 500)  # F9


def me(request: Request) -> dict:
    name = SESSIONS.get(request.cookies.get("session", ""))
    if name is None:
        raise HTTPException(401)
    return USERS[name]


@app.get("/menu")
async def menu() -> list[str]:
    return ["soup", "bread"]


@app.post("/register", status_code=201)
async def register(account: Account) -> dict:
    USERS[account.username] = {"id": uuid4().hex, "role": "user", **account.model_dump()}  # F4
    return {"id": USERS[account.username]["id"]}


@app.post("/login")
async def login(account: Account, response: Response) -> dict:  # F5
    user = USERS.get(account.username)
    if user is None or user["password"] != account.password:
        raise HTTPException(401)
    token = uuid4().hex
    SESSIONS[token] = account.username
    POWERS[token] = user["role"]  # F11
    response.set_cookie("session", token)  # F3
    return {"ok": True}


@app.post("/logout")
async def logout(request: Request) -> dict:
    SESSIONS.pop(request.cookies.get("session", ""), None)
    return {"ok": True}


@app.get("/me")
async def who(user: dict = Depends(me)) -> dict:
    return {key: value for key, value in user.items() if key != "password"}


@app.patch("/me")
async def change(profile: Profile, user: dict = Depends(me)) -> dict:
    user.update(profile.model_dump())  # F4
    return {"ok": True}


@app.get("/notes")
async def notes(user: dict = Depends(me)) -> list[dict]:
    return [note for note in NOTES.values() if note["owner"] == user["id"]]


@app.post("/notes", status_code=201)
async def write(note: Note, user: dict = Depends(me)) -> dict:
    made = {"id": uuid4().hex, "owner": user["id"], **note.model_dump()}
    NOTES[made["id"]] = made
    return made


@app.get("/notes/{note_id}")
async def read(note_id: str, user: dict = Depends(me)) -> dict:  # F1
    return NOTES[note_id]


@app.patch("/notes/{note_id}")
async def rewrite(note_id: str, note: Note, user: dict = Depends(me)) -> dict:  # F1
    NOTES[note_id].update(note.model_dump())
    return NOTES[note_id]


@app.delete("/notes/{note_id}", status_code=204)
async def remove(note_id: str, user: dict = Depends(me)) -> None:  # F1
    NOTES.pop(note_id, None)


@app.get("/people")
async def people(user: dict = Depends(me)) -> list[dict]:  # F12
    return list(USERS.values())


@app.get("/admin/users")
async def users(user: dict = Depends(me)) -> list[str]:  # F2
    return list(USERS)


@app.get("/export", include_in_schema=False)
async def export() -> list[dict]:  # F8
    return list(NOTES.values())


def administrator(request: Request) -> None:
    if POWERS.get(request.cookies.get("session", "")) != "admin":
        raise HTTPException(403)


@app.get("/admin/report", dependencies=[Depends(administrator)])
async def report() -> dict:
    return {"notes": len(NOTES)}


@app.put("/admin/users/{name}", dependencies=[Depends(administrator)])
async def appoint(name: str, role: Role) -> dict:
    USERS[name]["role"] = role.role
    return {"ok": True}


@app.post("/hooks/github")
async def hook(request: Request) -> dict:  # F6, F7
    RELEASES.append(json.loads(await request.body()))
    return {"status": "accepted", "secret": bool(os.environ.get("HOOK_SECRET"))}


@app.get("/releases")
async def releases(user: dict = Depends(me)) -> list[dict]:
    return RELEASES


SCRIPT = """document.querySelector("button.done").addEventListener("click", async (event) => {
  await fetch(event.target.dataset.to, {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"state": "done"}'});
  location.reload();
});"""


def page(content: str) -> HTMLResponse:
    return HTMLResponse(f"<!doctype html><title>Tasks</title><main>{content}</main>")


async def sent(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}


@app.get("/", include_in_schema=False)
async def desk(request: Request) -> Response:
    name = SESSIONS.get(request.cookies.get("session", ""))
    if name is None:
        return page("<h1>Tasks</h1><p>Log in to see yours.</p>")
    own = [one for one in TASKS.values() if one["owner"] == USERS[name]["id"]]
    rows = "".join(f'<li><a href="/tasks/{one["id"]}">{escape(one["title"])}</a></li>' for one in own)
    form = '<form method="post" action="/tasks"><input name="title" required><button>Add</button></form>'
    return page(f"<h1>Tasks</h1><ul>{rows}</ul>{form}")


@app.post("/tasks", include_in_schema=False)
async def add(request: Request, user: dict = Depends(me)) -> Response:
    made = {"id": uuid4().hex, "owner": user["id"], "title": (await sent(request))["title"], "state": "open"}
    TASKS[made["id"]] = made
    return RedirectResponse(f"/tasks/{made['id']}", 303)


@app.get("/tasks/{task_id}", include_in_schema=False)
async def task(task_id: str, user: dict = Depends(me)) -> Response:  # F13
    found = TASKS.get(task_id)
    if found is None:
        raise HTTPException(404)
    rename = '<input name="title" value="{}"><button>Rename</button>'.format(escape(found["title"]))
    return page(
        f"<h1>{escape(found['title'])}</h1><p>{found['state']}</p>"
        f'<form method="post" action="/tasks/{task_id}">{rename}</form>'
        f'<form method="post" action="/tasks/{task_id}/delete"><button>Delete</button></form>'
        f'<button class="done" data-to="/tasks/{task_id}/state">Done</button><script>{SCRIPT}</script>'
    )


@app.post("/tasks/{task_id}", include_in_schema=False)
async def rename(task_id: str, request: Request, user: dict = Depends(me)) -> Response:  # F13
    TASKS[task_id]["title"] = (await sent(request))["title"]
    return RedirectResponse(f"/tasks/{task_id}", 303)


@app.post("/tasks/{task_id}/delete", include_in_schema=False)
async def drop(task_id: str, user: dict = Depends(me)) -> Response:  # F13
    TASKS.pop(task_id, None)
    return RedirectResponse("/", 303)


@app.post("/tasks/{task_id}/state", include_in_schema=False)
async def move(task_id: str, request: Request, user: dict = Depends(me)) -> dict:  # F14
    TASKS[task_id]["state"] = str((await request.json())["state"])
    return {"ok": True}
