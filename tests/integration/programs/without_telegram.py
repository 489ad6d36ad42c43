"""Runs a bot of docs/bots.md as pasted (and in uvloop, if that is named), with this terminal in Telegram's place.

A line of stdin is what one getUpdates brings, [[user, text], …] as JSON; each sendMessage is a line of stdout, [user, text]. What was not confirmed by a
later getUpdates is brought again, as Telegram does.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
import threading
from itertools import count
from typing import Any

import uvloop
from pydantic import TypeAdapter

UPDATES: list[dict[str, Any]] = []
NUMBERS = count(1)
BOT = {"id": 42, "is_bot": True, "first_name": "Bot", "username": "bot"}


def listen() -> None:
    for line in sys.stdin:
        UPDATES.extend(update(*said) for said in json.loads(line))


def update(user: int, text: str) -> dict[str, Any]:
    message = {
        "message_id": next(NUMBERS),
        "date": 1,
        "chat": {"id": user, "type": "private"},
        "from": {"id": user, "is_bot": False, "first_name": "U"},
        "text": text,
        "entities": [{"type": "bot_command", "offset": 0, "length": len(text)}] if text.startswith("/") else [],
    }
    return {"update_id": next(NUMBERS), "message": message}


async def answer(method: str, parameters: dict[str, Any]) -> Any:
    if method == "getMe":
        return BOT
    if method == "getUpdates":
        UPDATES[:] = [it for it in UPDATES if it["update_id"] >= (parameters.get("offset") or 0)]
        for _ in range(100 if parameters.get("timeout") else 1):
            if UPDATES:
                break
            await asyncio.sleep(0.01)
        return UPDATES[:100]
    if method == "sendMessage":
        print(json.dumps([parameters["chat_id"], parameters["text"]]), flush=True)
        return {"message_id": next(NUMBERS), "date": 1, "chat": {"id": parameters["chat_id"], "type": "private"}}
    return True


async def of_aiogram(self: Any, bot: Any, method: Any, timeout: Any = None) -> Any:
    result = await answer(method.__api_method__, method.model_dump(exclude_none=True))
    return TypeAdapter(method.__returning__).validate_python(result, context={"bot": bot})


async def of_telegram(self: Any, url: str, method: str, request_data: Any = None, **_: Any) -> tuple[int, bytes]:
    parameters = request_data.parameters if request_data else {}
    return 200, json.dumps({"ok": True, "result": await answer(url.rsplit("/", 1)[1], parameters)}).encode()


if __name__ == "__main__":
    if "uvloop" in sys.argv[2:]:
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    if sys.argv[1].startswith("aiogram"):
        from aiogram.client.session.aiohttp import AiohttpSession

        AiohttpSession.make_request = of_aiogram  # type: ignore[method-assign]
    else:
        from telegram.request import HTTPXRequest

        HTTPXRequest.do_request = of_telegram  # type: ignore[method-assign]
    threading.Thread(target=listen, daemon=True).start()
    runpy.run_path(sys.argv[1], run_name="__main__")
