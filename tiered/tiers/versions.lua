-- Reserve ARGV[1] versions: above the counter, and above the server's clock in µs in case the counter was evicted.
-- Returns the last of them. Microseconds stay below 2^53 until the year 2255, so plain numbers are exact.
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local last = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), clock) + tonumber(ARGV[1])
redis.call('SET', KEYS[1], string.format('%.0f', last))
return string.format('%.0f', last)
