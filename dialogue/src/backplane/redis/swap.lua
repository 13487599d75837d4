-- Writes or removes a record if it is what it was.
-- KEYS: 1 values, 2 the names in their order
-- ARGV: 1 name, 2 '1' if there was one, 3 what it was, 4 '1' if there is to be one, 5 what it is to be
-- Yields 1, or 0 if it is another.
local now = redis.call('HGET', KEYS[1], ARGV[1])
if (now and '1' or '') ~= ARGV[2] or (now and now ~= ARGV[3]) then return 0 end
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[5])
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return 1
