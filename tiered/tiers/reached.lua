-- Note that a store of record has come as far as version ARGV[1], for ARGV[2] ms; with ARGV[3] "1" although more was noted before.
-- Versions stay below 2^53, so plain numbers are exact.
local before = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
if ARGV[3] == '1' or before <= tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
