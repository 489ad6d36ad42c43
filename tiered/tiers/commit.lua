-- Apply the writes of one commit, all of them conditional on the generation that the caller believes.
-- KEYS: the generation key, the epoch key, then the keys; ARGV: generation, now (ms), then frame, PX (0 = keep), expect for each.
-- Returns the generation if it is another; else the epoch (of the same moment) and for each write -1 (refused, was
-- there), 0 (refused), 1 (applied, was absent), 2 (applied, was
-- there), 3 (a newer version is there, or this one was reserved half a minute ago: the caller takes new ones and tries again).
local function header(frame)
  if not frame or #frame < 33 or string.sub(frame, 1, 3) ~= '\245t\1' then return 0, 0, 1, 0 end
  local hi, lo, expires_hi, expires_lo = struct.unpack('>I4I4I4I4', frame, 6)
  return hi, lo, string.byte(frame, 4) % 2, expires_hi * 4294967296 + expires_lo
end
local generation = tonumber(redis.call('GET', KEYS[1]) or '1')
if not generation then return redis.error_reply('WRONGTYPE the generation key holds no number') end
if generation ~= tonumber(ARGV[1]) then return generation end
local epoch = redis.call('GET', KEYS[2]) or '0'
if not tonumber(epoch) then return redis.error_reply('WRONGTYPE the epoch key holds no number') end
local now, results, plan = tonumber(ARGV[2]), {}, {}
-- A version is at least the server's microseconds when it was reserved: one from before a tombstone that has expired
-- since might be below it.
local time = redis.call('TIME')
local oldest = (tonumber(time[1]) - 30) * 1000000
for i = 3, #KEYS do
  local at = 3 * (i - 3) + 3
  local frame, expect = ARGV[at], ARGV[at + 2]
  local held = plan[KEYS[i]] or redis.call('GET', KEYS[i])
  local held_hi, held_lo, gone, expires = header(held)
  local hi, lo = header(frame)
  local there = held and gone == 0 and (expires == 0 or expires > now)
  local matches = expect == ''
  if not matches then
    local expect_hi, expect_lo = struct.unpack('>I4I4', expect)
    if there then matches = expect_hi == held_hi and expect_lo == held_lo
    else matches = expect_hi == 0 and expect_lo == 0 end
  end
  if hi * 4294967296 + lo < oldest or hi < held_hi or (hi == held_hi and lo <= held_lo) then return {epoch, {3}}
  elseif not matches then results[i - 2] = there and -1 or 0
  else
    results[i - 2] = there and 2 or 1
    plan[KEYS[i]] = frame
  end
end
for i = 3, #KEYS do
  if results[i - 2] > 0 then
    local at = 3 * (i - 3) + 3
    if ARGV[at + 1] == '0' then redis.call('SET', KEYS[i], ARGV[at])
    else redis.call('SET', KEYS[i], ARGV[at], 'PX', tonumber(ARGV[at + 1])) end
  end
end
return {epoch, results}
