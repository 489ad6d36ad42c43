-- Give a generation key a number that it never had: above the server's clock in µs, and above all that were given before.
-- The clock, because a server that came back with an old snapshot has forgotten what it gave since.
-- KEYS: the key, the highest number given; ARGV: what the key counts as while it is not there. Returns the new number.
local before, newest = redis.call('GET', KEYS[1]) or ARGV[1], redis.call('GET', KEYS[2]) or '0'
if not (tonumber(before) and tonumber(newest)) then return redis.error_reply('WRONGTYPE a generation key holds no number') end
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local new = string.format('%.0f', math.max(clock, tonumber(before) + 1, tonumber(newest) + 1))
redis.call('SET', KEYS[1], new)
redis.call('SET', KEYS[2], new)
return new
