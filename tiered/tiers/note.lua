-- Keep where a store of record is. KEYS: the note; ARGV: the place, PX. Returns what was noted before, if that was a text.
local before = redis.pcall('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return type(before) == 'string' and before or false
