-- Sets the numbers of connections that users have in a room at one node, and publishes the changes.
-- KEYS: 1 hash of members: node id and user id to connections, '' to the total
-- ARGV: 1 channel, 2 node, 3 maximum number of connections in the room or '', 4 message to publish, 5.. user,
--       connections
-- Returns 1; or 0, and changes nothing, if the room would have more connections than that.
local delta, before = 0, {}
for i = 5, #ARGV, 2 do
  local old = tonumber(redis.call('HGET', KEYS[1], ARGV[2] .. ARGV[i]) or 0)
  delta = delta + ARGV[i + 1] - old
end
if ARGV[3] ~= '' and delta > 0 and tonumber(redis.call('HGET', KEYS[1], '') or 0) + delta > tonumber(ARGV[3]) then
  return 0
end
for i = 5, #ARGV, 2 do
  if ARGV[i + 1] == '0' then
    redis.call('HDEL', KEYS[1], ARGV[2] .. ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[2] .. ARGV[i], ARGV[i + 1])
  end
end
if delta ~= 0 and redis.call('HINCRBY', KEYS[1], '', delta) <= 0 then redis.call('HDEL', KEYS[1], '') end
redis.call('SPUBLISH', ARGV[1], ARGV[4])
return 1
