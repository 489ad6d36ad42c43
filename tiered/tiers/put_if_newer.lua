-- Store each frame only if its version is higher than the one held, and tell the channel either way.
-- KEYS: the entries; ARGV: not after (server's Unix ms, 0 = any time), channel ("" = none), then frame, PX for each.
-- Returns -1 if it came too late; else 1 (stored) or 0 (refused as not newer) for each.
-- A version is compared as two 32-bit halves: Lua's numbers are doubles and string order depends on the locale.
-- The message is, for each entry, 8 bytes of version, 4 bytes of the key's length, and the key.
local not_after, channel = tonumber(ARGV[1]), ARGV[2]
if not_after > 0 then
  local now = redis.call('TIME')
  if now[1] * 1000 + now[2] / 1000 > not_after then return -1 end
end
local function version(frame)
  if not frame or #frame < 33 or string.sub(frame, 1, 3) ~= '\245t\1' then return 0, 0 end
  return struct.unpack('>I4I4', frame, 6)
end
-- All reads come before the first write: a key of another type fails the batch while nothing has been written.
local held, results, message = {}, {}, {}
for _, key in ipairs(KEYS) do held[key] = redis.call('GET', key) end
for i, key in ipairs(KEYS) do
  local frame, px = ARGV[2 * i + 1], tonumber(ARGV[2 * i + 2])
  local held_hi, held_lo = version(held[key])
  local hi, lo = version(frame)
  if hi > held_hi or (hi == held_hi and lo > held_lo) then
    redis.call('SET', key, frame, 'PX', px)
    held[key], results[i] = frame, 1
  else
    results[i] = 0
  end
  message[i] = string.sub(frame, 6, 13) .. struct.pack('>I4', #key) .. key
end
if channel ~= '' then redis.call('PUBLISH', channel, table.concat(message)) end
return results
