"""What does a Redis server do by itself, so that writers cannot overwrite one another?"""

from typing import Final

HEAD: Final = 16
"""Bytes before each payload: a row's clocks, or a group's revision."""
JOIN_KEYS: Final = b"join_keys"
"""The field of a view's rows that says what they are kept under."""
OTHER_KEYS: Final = "OTHERKEYS"
"""How the error begins if that is not what the writer says."""

# KEYS: rows, view. ARGV: join keys, schema id, schema, clock of the newest row, a first generation, then the values.
_PRELUDE: Final = """
local rows, view = KEYS[1], KEYS[2]
local known = redis.call('HGET', rows, 'join_keys')
if known and known ~= ARGV[1] then return redis.error_reply('OTHERKEYS ' .. known) end

local function older(a, b)
  local a1, a2, a3, a4 = struct.unpack('>i4I4i4I4', a)
  local b1, b2, b3, b4 = struct.unpack('>i4I4i4I4', b)
  if a1 ~= b1 then return a1 < b1 end
  if a2 ~= b2 then return a2 < b2 end
  if a3 ~= b3 then return a3 < b3 end
  return a4 < b4
end

local function remember()
  redis.call('HSET', rows, 'join_keys', ARGV[1])
  redis.call('HSET', view, 'schema', ARGV[2], 'schema:' .. ARGV[2], ARGV[3])
  local newest = redis.call('HGET', view, 'watermark')
  if not newest or older(newest, ARGV[4]) then redis.call('HSET', view, 'watermark', ARGV[4]) end
  redis.call('HSETNX', view, 'generation', ARGV[5])
  redis.call('HINCRBY', view, 'generation', 1)
end
"""
WRITE: Final = f"""{_PRELUDE}
local written = 0
for i = 6, #ARGV, 2 do
  local old = redis.call('HGET', rows, ARGV[i])
  if not old or not older(ARGV[i + 1], old) then
    redis.call('HSET', rows, ARGV[i], ARGV[i + 1])
    written = written + 1
  end
end
remember()
return written
"""
MERGE: Final = f"""{_PRELUDE}
local lost, kept = {{}}, 0
for i = 6, #ARGV, 3 do
  local old = redis.call('HGET', rows, ARGV[i])
  if (old and string.sub(old, 1, {HEAD}) or '') == ARGV[i + 1] then
    redis.call('HSET', rows, ARGV[i], ARGV[i + 2])
    kept = kept + 1
  else
    lost[#lost + 1] = (i - 6) / 3
  end
end
if kept > 0 then remember() end
return lost
"""
# KEYS: rows, view. ARGV: a field and the first bytes of its value, again and again.
EXPIRE: Final = f"""
local rows, view, gone = KEYS[1], KEYS[2], 0
for i = 1, #ARGV, 2 do
  local old = redis.call('HGET', rows, ARGV[i])
  if old and string.sub(old, 1, {HEAD}) == ARGV[i + 1] then
    gone = gone + redis.call('HDEL', rows, ARGV[i])
  end
end
if gone > 0 then redis.call('HINCRBY', view, 'generation', 1) end
return gone
"""
