"""A notes service with the mistakes that people make. It shares no code with the library; verify must find each.

The faults carry labels: F1 no ownership, F2 no role check, F3 bare cookie, F4 mass assignment, F5 unlimited login,
F6 signature not checked, F7 replays accepted, F8 a route that nobody guards, F9 stack traces, F10 default account,
F11 a session keeps the role that its person had at login, F12 a list of people with all that is known of them.
"""

import json
import os
import traceback
from uuid import uuid4

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict

app = FastAPI(title="Notes, flawed")
USERS = {"admin": {"id": "1", "username": "admin", "password": "admin", "role": "admin"}}  # F10
SESSIONS: dict[str, str] = {}
POWERS: dict[str, str] = {}
NOTES: dict[str, dict] = {}
RELEASES: list[dict] = []


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
