-- Put each frame if its version is higher than that of what is held.
-- KEYS: the keys; ARGV: frame, PX (ms) for each. Returns 1 or 0 for each.
-- Versions are 64-bit and Lua's numbers are doubles, so two 32-bit halves are compared.
local function version(frame)
  if not frame or #frame < 33 or string.sub(frame, 1, 3) ~= '\245t\1' then return 0, 0 end
  return struct.unpack('>I4I4', frame, 6)
end
-- All reads come before the first write: a key of another type fails the batch while nothing has been written.
local held, results = {}, {}
for _, key in ipairs(KEYS) do held[key] = redis.call('GET', key) end
for i, key in ipairs(KEYS) do
  local frame, px = ARGV[2 * i - 1], tonumber(ARGV[2 * i])
  local held_hi, held_lo = version(held[key])
  local hi, lo = version(frame)
  if hi > held_hi or (hi == held_hi and lo > held_lo) then
    redis.call('SET', key, frame, 'PX', px)
    held[key], results[i] = frame, 1
  else
    results[i] = 0
  end
end
return results
