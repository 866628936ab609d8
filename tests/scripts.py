"""Runs a step's Lua script as a pure function, to hold it against its Python twin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from redis import Redis

from crossauth_django.stores import Outcome, Step, Write

# The script's own `redis` reads the values that it is handed and notes what it would write.
_FRAME = """
local now = tonumber(ARGV[1])
local values, writes, position = {}, {}, {}
for i = 1, #KEYS do
  position[KEYS[i]] = i
  if ARGV[1 + i] ~= "-" then values[i] = string.sub(ARGV[1 + i], 2) end
end
for i = 0, #KEYS do table.remove(ARGV, 1) end
local function write(key, value, ttl)
  values[position[key]] = value
  writes[#writes + 1] = {position[key] - 1, value or "-", ttl or "0"}
end
local commands = {
  GET = function(key) return values[position[key]] or false end,
  MGET = function(...)
    local found = {}
    for i, key in ipairs({...}) do found[i] = values[position[key]] or false end
    return found
  end,
  SET = function(key, value, px, ttl)
    if px ~= "PX" or tonumber(ttl) <= 0 then error("not in the contract") end
    write(key, value, ttl)
  end,
  DEL = function(...)
    for _, key in ipairs({...}) do write(key) end
  end,
}
local redis = {call = function(command, ...) return commands[command](...) end}
local function script()
%s
end
return {script(), writes}
"""


class Lua:
    """The scripts on a server that is running."""

    def __init__(self) -> None:
        self._redis = Redis.from_url(os.environ["CROSSAUTH_TEST_REDIS_URL"])

    def outcome(
        self, step: Step, values: Sequence[str | None], now: int, args: Sequence[str]
    ) -> Outcome:
        keys = [f"key {position}" for position in range(len(values))]
        given = ["-" if value is None else f"+{value}" for value in values]
        reply, writes = self._redis.eval(
            _FRAME % step.source, len(keys), *keys, now, *given, *args
        )
        return Outcome(
            [_text(item) for item in reply],
            {
                position: Write(None)
                if ttl == b"0"
                else Write(str(_text(value)), int(ttl))
                for position, value, ttl in writes
            },
        )

    def close(self) -> None:
        self._redis.close()


def _text(item: Any) -> Any:
    return item.decode() if isinstance(item, bytes) else item
