-- Remove each key that still holds exactly the bytes given for it. KEYS: the entries; ARGV: what each must hold.
-- Returns how many were removed.
local removed = 0
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[i] then removed = removed + redis.call('UNLINK', key) end
end
return removed
