-- Take, extend or release a lease: a key that holds its owner's token and expires.
-- KEYS: the lease; ARGV: what to do, token, PX, not after (server's Unix ms, 0 = any time; for "take").
-- Returns 1 if the token holds the lease (or held it until now), 0 if it does not, -1 if a "take" came too late.
local held = redis.call('GET', KEYS[1])
if ARGV[1] == 'take' then
  local not_after = tonumber(ARGV[4])
  if not_after > 0 then
    local now = redis.call('TIME')
    if now[1] * 1000 + now[2] / 1000 > not_after then return -1 end
  end
  if held and held ~= ARGV[2] then return 0 end
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
if held ~= ARGV[2] then return 0 end
if ARGV[1] == 'extend' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) else redis.call('DEL', KEYS[1]) end
return 1
