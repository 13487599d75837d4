-- Takes a peer that is gone out of a room.
-- KEYS: 1 members
-- ARGV: 1 peer
local gone = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, #ARGV[1]) == ARGV[1] then
    gone = gone + redis.call('HGET', KEYS[1], field)
    redis.call('HDEL', KEYS[1], field)
  end
end
if gone > 0 and redis.call('HINCRBY', KEYS[1], '', -gone) <= 0 then redis.call('HDEL', KEYS[1], '') end
return gone
