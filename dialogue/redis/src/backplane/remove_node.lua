-- Removes the members of a dead node from a room.
-- KEYS: 1 hash of members
-- ARGV: 1 node
-- Returns the number of connections removed.
local removed = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, #ARGV[1]) == ARGV[1] then
    removed = removed + redis.call('HGET', KEYS[1], field)
    redis.call('HDEL', KEYS[1], field)
  end
end
if removed > 0 and redis.call('HINCRBY', KEYS[1], '', -removed) <= 0 then redis.call('HDEL', KEYS[1], '') end
return removed
